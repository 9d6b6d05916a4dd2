package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
)

func TestAFaultArrivesAsItLeft(t *testing.T) {
	f := fault.Wrap(fault.Exception, fault.TotalsDiffer, errors.New("12.50 against 12.51"), "certifying").
		At("total", "12.51").After(3 * time.Second).OutcomeUnknown()
	got := fault.Decode(fault.Encode(fmt.Errorf("creating the sales order: %w", f)))
	if got.Kind != f.Kind || got.Class != f.Class || got.Field != f.Field || got.Value != f.Value ||
		got.RetryAfter != f.RetryAfter || !got.Unknown || got.Message != "certifying: 12.50 against 12.51" {
		t.Errorf("got %+v, want %+v", got, f)
	}
}

func TestWhatCarriesNoFaultIsRetried(t *testing.T) {
	for _, s := range []string{"", "Task timed out after 90.00 seconds", `{"errorType":"Runtime.ExitError"}`, fault.Encode(errors.New("plain"))} {
		if got := fault.Decode(s); got.Kind != fault.Retryable {
			t.Errorf("%q is %s", s, got.Kind)
		}
	}
}
