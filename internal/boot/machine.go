package boot

import (
	"encoding/json"
	"errors"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
)

// Caught is what Catch leaves of a failed task.
type Caught struct {
	Error string `json:"Error"`
	Cause string `json:"Cause"`
}

// fault reads the task's fault. A task that died or ran out of time has none;
// it may have done anything, and is Retryable.
func (c Caught) fault() error {
	if c.Error == Superseded {
		return document.ErrSuperseded
	}
	var cause struct {
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal([]byte(c.Cause), &cause); err != nil || cause.Message == "" {
		return fault.New(fault.Retryable, fault.Internal, "the task ended with %s", c.Error)
	}
	return fault.Decode(cause.Message)
}

// Failed is the input of document-rest.
type Failed struct {
	document.Task
	Caught Caught `json:"caught"`
}

// Fault is why the run failed.
func (f Failed) Fault() error { return f.Caught.fault() }

// Joined is the input of a task that joins parallel branches: each of them
// caught its own failure.
type Joined struct {
	document.Task
	Branches []struct {
		Caught *Caught `json:"caught"`
	} `json:"branches"`
}

// Failure is why a branch failed, or nil. What time can mend comes first: a
// document is parked only when nothing but a human can help. Of two waits the
// longer one is kept, for one vendor's wish holds whatever befell the other.
func (j Joined) Failure() error {
	var worst error
	for _, b := range j.Branches {
		if b.Caught == nil {
			continue
		}
		err := b.Caught.fault()
		if errors.Is(err, document.ErrSuperseded) {
			return err
		}
		waits := fault.KindOf(err) == fault.Retryable
		if worst == nil || waits && (fault.KindOf(worst) != fault.Retryable || fault.RetryAfterOf(err) > fault.RetryAfterOf(worst)) {
			worst = err
		}
	}
	return worst
}
