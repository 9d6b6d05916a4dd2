package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/retail"
)

// caught is what a machine's Catch leaves of a task that failed so.
func caught(t *testing.T, err error) *Caught {
	t.Helper()
	var failed messages.InvokeResponse_Error
	if !errors.As(taskError(err), &failed) {
		t.Fatalf("%v is no task's error", err)
	}
	cause, merr := json.Marshal(map[string]string{"errorMessage": failed.Message, "errorType": failed.Type})
	if merr != nil {
		t.Fatal(merr)
	}
	return &Caught{Error: failed.Type, Cause: string(cause)}
}

func TestTheLongestWaitOfTwoBranchesIsKept(t *testing.T) {
	limited := fault.New(fault.Retryable, fault.RateLimited, "429").After(40 * time.Second)
	other := fault.New(fault.Retryable, fault.Connectivity, "503")
	bad := fault.New(fault.Exception, fault.Mapping, "unknown")
	for _, order := range [][]error{{limited, other}, {other, limited}, {bad, limited}, {limited, bad}} {
		var j Joined
		for _, err := range order {
			j.Branches = append(j.Branches, struct {
				Caught *Caught `json:"caught"`
			}{caught(t, err)})
		}
		if got := fault.RetryAfterOf(j.Failure()); got != 40*time.Second {
			t.Errorf("%v: a wait of %s", order, got)
		}
	}
}

func TestWhatATaskFailedWithArrivesAtTheStepThatRestsIt(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		kind  fault.Kind
		after time.Duration
	}{
		"a wait that was asked for": {fault.New(fault.Retryable, fault.RateLimited, "429").After(time.Minute), fault.Retryable, time.Minute},
		"what a human decides":      {fault.New(fault.Exception, fault.Mapping, "unknown"), fault.Exception, 0},
		"what is broken":            {fault.New(fault.Permanent, fault.Configuration, "no route"), fault.Permanent, 0},
		"a commit that was lost":    {fmt.Errorf("committing: %w", document.ErrConflict), fault.Retryable, time.Second},
		"nothing classified":        {errors.New("down"), fault.Retryable, 0},
	} {
		got := Failed{Caught: *caught(t, c.err)}.Fault()
		if fault.KindOf(got) != c.kind || fault.RetryAfterOf(got) != c.after || errors.Is(got, document.ErrSuperseded) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, died := range []Caught{{Error: "States.Timeout"}, {Error: "Runtime.ExitError", Cause: `{"errorType":"Runtime.ExitError"}`}} {
		if err := (Failed{Caught: died}).Fault(); fault.KindOf(err) != fault.Retryable || err == nil {
			t.Errorf("%+v: %v", died, err)
		}
	}
	if err := taskError(nil); err != nil {
		t.Error(err)
	}
}

// Whoever took the document over decides about it, whatever befell the branches.
func TestARunThatIsSupersededInOneBranchIsOver(t *testing.T) {
	superseded, other := fmt.Errorf("confirming: %w", document.ErrSuperseded), fault.New(fault.Retryable, fault.Connectivity, "503").After(time.Minute)
	for _, order := range [][]error{{superseded, nil}, {nil, superseded}, {superseded, other}, {other, superseded}} {
		var j Joined
		for _, err := range order {
			b := struct {
				Caught *Caught `json:"caught"`
			}{}
			if err != nil {
				b.Caught = caught(t, err)
			}
			j.Branches = append(j.Branches, b)
		}
		if err := j.Failure(); !errors.Is(err, document.ErrSuperseded) {
			t.Errorf("%v: %v", order, err)
		}
	}
}

// resting is a document in its first run, and the life that it has.
func resting(t *testing.T) (document.Life, *memory.Store, document.Task) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 1))})
	tenant, err := retail.ParseTenant("north")
	task := document.Task{Schema: 1, Tenant: tenant, Type: document.Order, ID: "o1", Run: 1}
	if err == nil {
		err = store.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: document.Head{Key: task.Key(), State: retail.Received, Run: 1, Due: now}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return document.Life{Store: store, Now: clock, NewID: func() string { return "x1" }, Jitter: func(time.Duration) time.Duration { return 0 }}, store, task
}

func quietPlatform() *Platform {
	return &Platform{Log: slog.New(slog.DiscardHandler), Meter: &meter.Meter{}}
}

// A message waits a quarter of an hour at most; what must wait for longer is
// brought back by its due time alone.
func TestARestIsAMessageThatComesNoSoonerThanAsked(t *testing.T) {
	for name, c := range map[string]struct {
		cause  error
		wait   time.Duration // of the message; 0: none
		parked bool
	}{
		"a minute":           {fault.New(fault.Retryable, fault.Connectivity, "503").After(time.Minute), time.Minute, false},
		"a quarter hour":     {fault.New(fault.Retryable, fault.Connectivity, "503").After(15 * time.Minute), 15 * time.Minute, false},
		"an hour":            {fault.New(fault.Retryable, fault.Connectivity, "503").After(time.Hour), 0, false},
		"until it is mended": {fault.New(fault.Exception, fault.Mapping, "unknown"), 0, true},
	} {
		life, store, task := resting(t)
		var waits []time.Duration
		rest := quietPlatform().Rest(life, func(_ context.Context, next document.Task, wait time.Duration) error {
			if next != task {
				t.Errorf("%s: a message for %+v", name, next)
			}
			waits = append(waits, wait)
			return nil
		})
		err := rest(t.Context(), Failed{Task: task, Caught: *caught(t, c.cause)})
		h, herr := store.Head(t.Context(), task.Key())
		if err != nil || herr != nil || (len(waits) == 1) != (c.wait > 0) || len(waits) == 1 && waits[0] != c.wait || (h.Parked != "") != c.parked {
			t.Errorf("%s: messages after %v, %v; %+v", name, waits, err, h)
		}
		if asked := fault.RetryAfterOf(c.cause); !c.parked && h.Due.Before(life.Now().Add(asked)) {
			t.Errorf("%s: due %s", name, h.Due)
		}
	}
}

func TestASweepSendsWhatIsOverdueAndAResumeStartsIt(t *testing.T) {
	life, _, task := resting(t)
	var sent []document.Task
	overdue := 0
	sweep := Sweep(life, func(_ context.Context, ts []document.Task) error { sent = ts; return nil }, func(n int, _ time.Duration) { overdue = n })
	if err := sweep(t.Context()); err != nil || overdue != 1 || len(sent) != 1 || sent[0].Run != 0 || sent[0].ID != task.ID {
		t.Fatalf("%d overdue, sent %v, %v", overdue, sent, err)
	}
	away := errors.New("throttled")
	var started []document.Task
	resume := Resume(life, func(_ context.Context, next document.Task) error { started = append(started, next); return away })
	if outcome, err := resume(t.Context(), sent[0]); outcome != "resumed" || !errors.Is(err, away) || len(started) != 1 || started[0].Run != 2 {
		t.Errorf("%s, %v; started %v", outcome, err, started)
	}
	if outcome, err := resume(t.Context(), sent[0]); outcome != "superseded" || err != nil || len(started) != 1 {
		t.Errorf("a second message: %s, %v; started %v", outcome, err, started)
	}
}

func TestAJoinEndsNothingWhereABranchFailed(t *testing.T) {
	_, _, task := resting(t)
	ended := 0
	join := quietPlatform().Join("shipment-close", func(context.Context, document.Task) error { ended++; return nil })
	in := Joined{Task: task}
	in.Branches = append(in.Branches, struct {
		Caught *Caught `json:"caught"`
	}{caught(t, fault.New(fault.Retryable, fault.Connectivity, "503"))})
	if err := join(t.Context(), in); err == nil || ended > 0 {
		t.Errorf("%v, ended %d times", err, ended)
	}
	in.Branches[0].Caught = nil
	if err := join(t.Context(), in); err != nil || ended != 1 {
		t.Errorf("%v, ended %d times", err, ended)
	}
}
