package mapping_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/mapping"
)

func TestAFileIsTakenLineByLine(t *testing.T) {
	got, err := mapping.ReadCSV(strings.NewReader("\xef\xbb\xbfFrom,To\r\nA,1\r\nB\r\nA,1\r\n\"C,D\",3\r\nA,2\r\n,4\r\nE, 5\r\nF\"x,6\r\nG,7,encode\r\nH,8,up\r\nI,9\r\n"), mapping.Decode)
	must(t, err)
	var entries, rejected []string
	for _, e := range got.Entries {
		entries = append(entries, fmt.Sprintf("%s %s→%s", e.Direction, e.From, e.To))
	}
	for _, r := range got.Rejected {
		rejected = append(rejected, fmt.Sprintf("%d %s", r.Line, r.Reason))
	}
	if want := "decode A→1, decode C,D→3, encode G→7, decode I→9"; strings.Join(entries, ", ") != want {
		t.Errorf("entries = %v", entries)
	}
	want := []string{"3 has 1 columns", `6 contradicts line 2, which makes it "1" instead of "2"`, "7 from: the value is empty", "8 to: the value begins or ends with a blank", `9 bare "`, `11 "up" is no direction`}
	if len(rejected) != len(want) || got.Repeated != 1 || got.Lines != 11 {
		t.Fatalf("rejected = %q, repeated %d, lines %d", rejected, got.Repeated, got.Lines)
	}
	for i := range want {
		if !strings.HasPrefix(rejected[i], want[i]) {
			t.Errorf("rejected %q, want %q", rejected[i], want[i])
		}
	}
	got, err = mapping.ReadCSV(strings.NewReader("A;1\nB;2\n"), mapping.Encode)
	if err != nil || len(got.Entries) != 2 || got.Entries[1].To != "2" || got.Entries[1].Direction != mapping.Encode {
		t.Errorf("semicolons: %+v, %v", got, err)
	}
}
