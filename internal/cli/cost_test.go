//go:build unix

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAnIdleMonthIsPricedFromTheTemplates(t *testing.T) {
	code, out, errs := run(t, "", "cost", "--idle")
	if code != 0 || !strings.Contains(out, "of 15") || !strings.Contains(out, "a tenant") || !strings.Contains(out, "empty receives") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	code, out, errs = run(t, "", "cost", "--idle", "--json")
	var r struct {
		Total float64 `json:"total_dollars"`
	}
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || r.Total <= 0 {
		t.Errorf("code %d, %v\n%s%s", code, err, out, errs)
	}
}
