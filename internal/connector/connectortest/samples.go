package connectortest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/fault"
)

// Samples holds what becomes of the vendor's documents in testdata/samples
// against testdata/SAMPLES.md. elsewhere are published files that are not
// there, with the reason why they are no documents.
//
// A document is decoded, or refused for good by a class and, unless all of it
// is at fault, a field.
func Samples(t *testing.T, c samples.Inspector, elsewhere map[string]string) {
	t.Helper()
	dir := os.DirFS(filepath.Join("testdata", "samples"))
	var outcomes []samples.Outcome
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		read := samples.Read(c, name, content)
		if len(read) == 0 {
			t.Errorf("nothing is said of %s", name)
		}
		outcomes = append(outcomes, read...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(elsewhere)) {
		outcomes = append(outcomes, samples.Outcome{File: name, Verdict: samples.NoDocument, Reason: elsewhere[name]})
	}
	for i := range outcomes {
		o := &outcomes[i]
		o.File = strings.TrimSuffix(o.File, ".gz")
		if o.Verdict == samples.Refused && (o.Kind == "" || o.Kind == fault.Retryable || o.Reason == "") {
			t.Errorf("%s %s is refused without a reason that stands: %+v", o.File, o.Place, *o)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Samples\n\nWhat becomes of each published document; held current by `go test -run Samples`,\nwritten by `go test -run Samples -update`. An order is decoded only if its money adds up.\n\n")
	if err := samples.Table(&b, outcomes); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	if samples.Count(outcomes).Decoded == 0 {
		t.Error("no sample is decoded")
	}
	current(t, filepath.Join("testdata", "SAMPLES.md"), b.String())
}
