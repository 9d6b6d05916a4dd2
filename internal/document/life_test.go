package document

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// one is a Store of a single document.
type one struct {
	Store
	head  Head
	steps []Step
	lost  int // commits that somebody else is faster than
	held  []Exception
}

func (o *one) Head(_ context.Context, k Key) (Head, error) {
	if k != o.head.Key {
		return Head{}, ErrNotFound
	}
	return o.head, nil
}

func (o *one) Commit(_ context.Context, t Transaction) error {
	c := t.Changes[0]
	if o.lost > 0 {
		o.lost--
		o.head.Version++
	}
	if c.Head.Version != o.head.Version {
		return ErrConflict
	}
	o.head, o.held = c.Head, append(o.held, t.Exceptions...)
	o.head.Version++
	o.steps = append(o.steps, c.Steps...)
	return nil
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newLife(t *testing.T) (Life, *one, Task) {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	o := &one{head: Head{Key: Key{tn, Order, "o1"}, State: retail.Received, Version: 3, Run: 2, Sequence: 5, Due: noon}}
	l := Life{Store: o, Now: func() time.Time { return noon }, NewID: func() string { return "id" },
		Jitter: func(time.Duration) time.Duration { return 0 }}
	return l, o, Task{Tenant: tn, Type: Order, ID: "o1", Run: 2}
}

func TestWhoeverComesAfterAnOwnerFindsItGone(t *testing.T) {
	chain := []time.Duration{egress.Timeout, effect.SendTime, effect.Lease, TaskTimeout, MachineTimeout, PhaseLease}
	for i := 1; i < len(chain); i++ {
		if chain[i-1] >= chain[i] {
			t.Errorf("time-out %d (%s) does not end before the next (%s)", i-1, chain[i-1], chain[i])
		}
	}
}

func TestATaskOfAnotherRunIsSuperseded(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Head)
		held   bool
	}{
		{"its own run", func(*Head) {}, true},
		{"a later run", func(h *Head) { h.Run = 3 }, false},
		{"parked meanwhile", func(h *Head) { h.Parked = "x" }, false},
		{"closed meanwhile", func(h *Head) { h.State = retail.Closed }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, o, task := newLife(t)
			c.change(&o.head)
			_, err := l.Hold(t.Context(), task)
			if c.held != (err == nil) || (err != nil && !errors.Is(err, ErrSuperseded)) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestResumingFencesOffTheOldRunAndHappensOnce(t *testing.T) {
	l, o, task := newLife(t)
	next, ok, err := l.Resume(t.Context(), task.Key(), 2)
	if err != nil || !ok || next.Run != 3 || !o.head.Due.Equal(noon.Add(PhaseLease)) {
		t.Fatalf("task %+v, %v, %v; due %s", next, ok, err, o.head.Due)
	}
	if _, err := l.Hold(t.Context(), task); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old run still holds: %v", err)
	}
	if _, ok, err := l.Resume(t.Context(), task.Key(), 2); ok || err != nil {
		t.Errorf("resumed twice: %v, %v", ok, err)
	}
}

func TestAPostponedDocumentHasADueAndWaitsAsLongAsItWasAsked(t *testing.T) {
	l, o, _ := newLife(t)
	wait, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.RateLimited, "429").After(time.Hour))
	if err != nil || wait != time.Hour || !o.head.Due.After(noon.Add(wait)) || o.head.Defective() {
		t.Errorf("wait %s, due %s, %v", wait, o.head.Due, err)
	}
}

func TestWaitsGrowAndStayBounded(t *testing.T) {
	l, _, _ := newLife(t)
	last := time.Duration(0)
	for attempt := 1; attempt < 100; attempt++ {
		w := l.Wait(attempt, 0)
		if w < last || w > maxWait {
			t.Fatalf("attempt %d waits %s after %s", attempt, w, last)
		}
		last = w
	}
}

// Among a crowd a document waits for its turn many times; that makes its next
// wait no longer, and a failure after it waits as a failure does.
func TestAWaitForATurnIsNoFailure(t *testing.T) {
	l, o, _ := newLife(t)
	l.Jitter = func(d time.Duration) time.Duration { return d }
	for range 50 {
		wait, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.RateLimited, "others talk to it").After(2*time.Second))
		if err != nil || wait > 32*time.Second {
			t.Fatalf("waits %s for a turn, %v", wait, err)
		}
	}
	if o.head.Attempt != turnAttempt || len(o.steps) > 4 {
		t.Errorf("attempt %d, %d entries", o.head.Attempt, len(o.steps))
	}
	if wait, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.Connectivity, "down")); err != nil || wait != 64*time.Second {
		t.Errorf("a failure waits %s, %v", wait, err)
	}
}

func TestALongOutageWritesFewTimelineEntries(t *testing.T) {
	l, o, _ := newLife(t)
	for range 64 {
		if _, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.Connectivity, "down")); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.steps) != 7 {
		t.Errorf("%d entries for 64 attempts, want 7", len(o.steps))
	}
	for i, s := range o.steps {
		if s.Seq != int64(6+i) {
			t.Errorf("entry %d has number %d: the timeline has a gap", i, s.Seq)
		}
	}
}

func TestAParkedDocumentIsExplainedAndIsNoDefect(t *testing.T) {
	l, o, _ := newLife(t)
	c, x, err := l.Park(o.head, fault.New(fault.Exception, fault.Mapping, "unknown SKU").At("line_items[3].sku", "A-1"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Head.Parked != x.ID || !c.Head.Due.IsZero() || c.Head.Defective() || len(c.Steps) != 1 {
		t.Errorf("change = %+v", c)
	}
	if x.Field != "line_items[3].sku" || x.Value != "A-1" || x.Action == "" || !x.DueAt.After(noon) {
		t.Errorf("exception = %+v", x)
	}
}

func TestOneCauseHasOneFingerprint(t *testing.T) {
	f := fault.New(fault.Exception, fault.Mapping, "unknown SKU")
	a, b := f.At("line_items[3].sku", "A-1"), f.At("line_items[17].sku", "A-1")
	if Fingerprint(a, "shop") != Fingerprint(b, "shop") {
		t.Error("the position changes the cause")
	}
	if Fingerprint(a, "shop") == Fingerprint(f.At("line_items[3].sku", "A-2"), "shop") || Fingerprint(a, "shop") == Fingerprint(a, "erp") {
		t.Error("different causes share a fingerprint")
	}
}

func TestAnIllegalMoveIsRefused(t *testing.T) {
	l, o, _ := newLife(t)
	if _, err := l.Next(o.head, retail.Shipped); fault.KindOf(err) != fault.Permanent {
		t.Errorf("err = %v", err)
	}
}

func (o *one) Due(_ context.Context, shard int, before time.Time, _ int) ([]DueItem, error) {
	if shard != 3 || o.head.Due.After(before) {
		return nil, nil
	}
	return []DueItem{{Key: o.head.Key, Due: o.head.Due}}, nil
}

func TestWhatRestsAfterAFailureCanBeWokenBeforeItIsDue(t *testing.T) {
	l, o, task := newLife(t)
	for name, c := range map[string]struct {
		change func(*Head)
		woken  int
	}{
		"postponed":        {func(h *Head) { h.Attempt = 1 }, 1},
		"waits for others": {func(*Head) {}, 0},
		"parked":           {func(h *Head) { h.Attempt, h.Parked = 1, "x" }, 0},
		"due much later":   {func(h *Head) { h.Attempt, h.Due = 1, noon.Add(time.Hour) }, 0},
		"another's":        {func(h *Head) { h.Attempt, h.Tenant = 1, retail.Partner }, 0},
	} {
		was := o.head
		c.change(&o.head)
		got, err := l.Postponed(t.Context(), task.Tenant, noon.Add(time.Minute))
		if err != nil || len(got) != c.woken || (c.woken > 0 && got[0] != (Task{Schema: 1, Tenant: task.Tenant, Type: Order, ID: "o1", Run: 2})) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		o.head = was
	}
}

func TestTheWaitOfAnAttemptIsBetweenHalfAndTheWholeOfItsStep(t *testing.T) {
	l, _, _ := newLife(t)
	for attempt, step := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 9: 512 * time.Second, 10: 10 * time.Minute, 11: 10 * time.Minute, 99: 10 * time.Minute} {
		var span time.Duration
		l.Jitter = func(d time.Duration) time.Duration { span = d; return 0 }
		least := l.Wait(attempt, 0)
		l.Jitter = func(d time.Duration) time.Duration { return d }
		if most := l.Wait(attempt, 0); least != step/2 || span != step/2 || most != step {
			t.Errorf("attempt %d waits from %s to %s, jittered by %s", attempt, least, most, span)
		}
	}
}

func TestAReasonIsTheFaultsWithinItsBounds(t *testing.T) {
	whole := strings.Repeat("é", 250) // 500 bytes
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a fault":   {fmt.Errorf("outer: %w", fault.New(fault.Permanent, fault.Internal, "inner")), "inner"},
		"no fault":  {errors.New("plain"), "plain"},
		"as long":   {errors.New(whole), whole},
		"too long":  {errors.New(whole + "x"), whole + "…"},
		"cut in é?": {errors.New("x" + whole), "x" + strings.Repeat("é", 249) + "…"},
	} {
		if got := Reason(c.err); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	l, o, _ := newLife(t)
	if _, err := l.Postpone(t.Context(), o.head, errors.New("plain")); err != nil || o.steps[0].Data["class"] != "" || o.steps[0].Data["reason"] != "plain" {
		t.Errorf("%+v, %v", o.steps, err)
	}
}

func TestWhatIsParkedOverOrNotDueIsNotTakenUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Head)
		run    int64 // 0: the sweeper's
		taken  bool
	}{
		{"its run's message", func(*Head) {}, 2, true},
		{"a message of an earlier run", func(*Head) {}, 1, false},
		{"its run's message, parked", func(h *Head) { h.Parked = "x" }, 2, false},
		{"its run's message, closed", func(h *Head) { h.State = retail.Closed }, 2, false},
		{"due now", func(*Head) {}, 0, true},
		{"due in a moment", func(h *Head) { h.Due = noon.Add(1) }, 0, false},
		{"due never", func(h *Head) { h.Due = time.Time{} }, 0, false},
		{"due, parked", func(h *Head) { h.Parked = "x" }, 0, false},
		{"due, closed", func(h *Head) { h.State = retail.Closed }, 0, false},
	} {
		l, o, task := newLife(t)
		task.Run = c.run
		c.change(&o.head)
		next, ok, err := l.Wake(t.Context(), task)
		if err != nil || ok != c.taken || (o.head.Run == 3) != c.taken || ok && next.Run != 3 {
			t.Errorf("%s: %+v, %t, %v; run %d", c.name, next, ok, err, o.head.Run)
		}
	}
}

func TestWhoeverLosesTheRaceForADocumentLeavesItAlone(t *testing.T) {
	l, o, task := newLife(t)
	o.lost = 1
	if _, ok, err := l.Resume(t.Context(), task.Key(), 2); ok || err != nil || o.head.Run != 2 {
		t.Errorf("%t, %v; run %d", ok, err, o.head.Run)
	}
	if _, ok, err := l.Resume(t.Context(), Key{task.Tenant, Order, "gone"}, 2); ok || err != nil {
		t.Errorf("one that is not there: %t, %v", ok, err)
	}
}

// Events about a document commit while its run ends; the run decides, not the
// version.
func TestARunThatFailedRestsAlthoughItsDocumentChanges(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		again time.Duration
	}{
		"what time can mend": {fault.New(fault.Retryable, fault.Connectivity, "down").After(time.Minute), time.Minute},
		"all else":           {fault.New(fault.Exception, fault.Mapping, "unknown"), 0},
	} {
		l, o, task := newLife(t)
		o.lost = 3
		again, err := l.Rest(t.Context(), task, c.cause)
		parked := c.again == 0
		if err != nil || again != c.again || (o.head.Parked != "") != parked || (len(o.held) == 1) != parked || o.head.Defective() {
			t.Errorf("%s: again in %s, %v; %+v, held by %+v", name, again, err, o.head, o.held)
		}
		o.head.Run++
		if _, err := l.Rest(t.Context(), task, c.cause); !errors.Is(err, ErrSuperseded) {
			t.Errorf("%s, of a run that is over: %v", name, err)
		}
	}
}

func TestAWaitForATurnTakesNothingBackOfAnOutagesWaits(t *testing.T) {
	l, o, _ := newLife(t)
	o.head.Attempt = 8
	for range 3 {
		if _, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.RateLimited, "others talk to it")); err != nil {
			t.Fatal(err)
		}
	}
	if wait, err := l.Postpone(t.Context(), o.head, fault.New(fault.Retryable, fault.Connectivity, "down")); err != nil || wait != 256*time.Second {
		t.Errorf("the ninth failure waits %s, %v", wait, err)
	}
}

func TestARetryBeginsAnewWithARunOfItsOwn(t *testing.T) {
	l, o, _ := newLife(t)
	o.head.Parked, o.head.Attempt, o.head.Due = "x", 40, time.Time{}
	c, task, err := l.Unpark(o.head)
	if h := c.Head; err != nil || h.Parked != "" || h.Attempt != 0 || h.Run != 3 || task.Run != 3 || !h.Due.Equal(noon.Add(PhaseLease)) {
		t.Errorf("%+v, %+v, %v", h, task, err)
	}
}

func TestWhatIsOverIsNeverDue(t *testing.T) {
	l, o, _ := newLife(t)
	c, err := l.Next(o.head, retail.Canceled)
	if err != nil || !c.Head.Due.IsZero() {
		t.Errorf("due %s, %v", c.Head.Due, err)
	}
}

// shards is a Store of an index with one document in each part.
type shards struct{ Store }

func (shards) Due(_ context.Context, shard int, before time.Time, _ int) ([]DueItem, error) {
	return []DueItem{{Key: Key{ID: fmt.Sprint("o", shard)}, Due: before.Add(-time.Duration(shard) * time.Second)}}, nil
}

func TestEveryPartOfTheIndexIsSweptAndTheLatestTold(t *testing.T) {
	l, _, _ := newLife(t)
	l.Store = shards{}
	tasks, lag, err := l.Overdue(t.Context(), 100)
	if err != nil || len(tasks) != Shards || tasks[Shards-1].ID != fmt.Sprint("o", Shards-1) || tasks[0].Run != 0 || lag != (Shards-1)*time.Second {
		t.Errorf("%d tasks, %s, %v", len(tasks), lag, err)
	}
}
