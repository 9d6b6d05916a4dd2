package boot

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
)

func TestTheLongestWaitOfTwoBranchesIsKept(t *testing.T) {
	caught := func(err error) *Caught {
		cause, merr := json.Marshal(map[string]string{"errorMessage": fault.Encode(err)})
		if merr != nil {
			t.Fatal(merr)
		}
		return &Caught{Error: string(fault.KindOf(err)), Cause: string(cause)}
	}
	limited := fault.New(fault.Retryable, fault.RateLimited, "429").After(40 * time.Second)
	other := fault.New(fault.Retryable, fault.Connectivity, "503")
	bad := fault.New(fault.Exception, fault.Mapping, "unknown")
	for _, order := range [][]error{{limited, other}, {other, limited}, {bad, limited}, {limited, bad}} {
		var j Joined
		for _, err := range order {
			j.Branches = append(j.Branches, struct {
				Caught *Caught `json:"caught"`
			}{caught(err)})
		}
		if got := fault.RetryAfterOf(j.Failure()); got != 40*time.Second {
			t.Errorf("%v: a wait of %s", order, got)
		}
	}
}
