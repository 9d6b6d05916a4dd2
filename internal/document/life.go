package document

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// The time-outs form one chain; a test asserts its order. A vendor exchange
// (egress.Timeout) ends before the effect's lease, the lease before the task,
// the task before its machine, and the machine before the phase's lease, so
// that whoever comes after an owner finds the owner gone.
const (
	TaskTimeout    = 90 * time.Second
	MachineTimeout = 280 * time.Second
	PhaseLease     = 330 * time.Second
)

// ErrSuperseded ends a task whose run is no longer the document's.
var ErrSuperseded = errors.New("another run has taken the document over")

// Task is the input of a state machine and of each of its tasks: ids only.
type Task struct {
	Schema int           `json:"schema"`
	Tenant retail.Tenant `json:"tenant"`
	Type   string        `json:"type"`
	ID     string        `json:"id"`
	Run    int64         `json:"run"`
}

// Key names the task's document.
func (t Task) Key() Key { return Key{Tenant: t.Tenant, Type: t.Type, ID: t.ID} }

// Life moves documents. Time, ids and jitter are ports, so that a simulation
// can own them.
type Life struct {
	Store  Store
	Now    func() time.Time
	NewID  func() string
	Jitter func(d time.Duration) time.Duration // uniform in [0, d)
}

// Hold returns the head if the task's run still owns it, and ErrSuperseded if
// another run, a parking or the end came in between.
func (l Life) Hold(ctx context.Context, t Task) (Head, error) {
	h, err := l.Store.Head(ctx, t.Key())
	if err != nil {
		return Head{}, fmt.Errorf("reading the head of %s %s: %w", t.Type, t.ID, err)
	}
	if h.Run != t.Run || h.Parked != "" || !h.Open() {
		return Head{}, ErrSuperseded
	}
	return h, nil
}

// Event names a timeline entry: Event("order", "accepted") is
// retail.order.accepted.v1.
func Event(docType, verb string) string { return "retail." + docType + "." + verb + ".v1" }

// Mentions reports whether a timeline has an entry of the type.
func Mentions(steps []Step, event string) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Type == event })
}

// Next prepares a change: the head with its next state and the steps numbered
// after the last one. Illegal transitions are refused.
func (l Life) Next(h Head, to retail.State, steps ...Step) (Change, error) {
	if err := retail.CanMove(h.Type, h.State, to); err != nil {
		return Change{}, fault.Wrap(fault.Permanent, fault.StateConflict, err, "moving %s", h.ID)
	}
	now := l.Now()
	h.State, h.UpdatedAt = to, now
	for i := range steps {
		h.Sequence++
		steps[i].Seq, steps[i].At, steps[i].Run, steps[i].Correlation = h.Sequence, now, h.Run, h.Correlation
	}
	if retail.Final(h.Type, to) {
		h.Due = time.Time{}
	}
	return Change{Head: h, Steps: steps}, nil
}

// Commit writes one change; losing a race means another run is at work.
func (l Life) Commit(ctx context.Context, c Change) error {
	return l.Store.Commit(ctx, Transaction{Changes: []Change{c}})
}

// CommitFree commits changes without those of their refs that other documents
// have: a number that cannot be searched by is no reason to stop.
func (l Life) CommitFree(ctx context.Context, changes ...Change) error {
	err := l.Store.Commit(ctx, Transaction{Changes: changes})
	if !errors.Is(err, ErrRefTaken) {
		return err
	}
	changes = slices.Clone(changes)
	for i, c := range changes {
		taken, err := l.Store.Resolve(ctx, c.Refs...)
		if err != nil {
			return err
		}
		changes[i].Refs = slices.DeleteFunc(slices.Clone(c.Refs), func(r Ref) bool {
			owner, owned := taken[r]
			return owned && owner != c.Head.Key
		})
	}
	return l.Store.Commit(ctx, Transaction{Changes: changes})
}

// Resume gives the document to a new run and returns the task to start. ok is
// false where nothing is to be done.
func (l Life) Resume(ctx context.Context, k Key, run int64) (t Task, ok bool, err error) {
	return l.take(ctx, k, func(h Head) bool { return h.Run == run })
}

// take gives an open document that fits to its next run. The commit replaces
// the very head that fitted.
func (l Life) take(ctx context.Context, k Key, fits func(Head) bool) (t Task, ok bool, err error) {
	h, err := l.Store.Head(ctx, k)
	if errors.Is(err, ErrNotFound) {
		return Task{}, false, nil
	}
	if err != nil {
		return Task{}, false, fmt.Errorf("reading the head of %s %s: %w", k.Type, k.ID, err)
	}
	if !h.Open() || h.Parked != "" || !fits(h) {
		return Task{}, false, nil
	}
	h.Run++
	h.Due = l.Now().Add(PhaseLease)
	h.UpdatedAt = l.Now()
	if err := l.Commit(ctx, Change{Head: h}); err != nil {
		if errors.Is(err, ErrConflict) {
			return Task{}, false, nil // whoever changed it owns it now
		}
		return Task{}, false, fmt.Errorf("taking over %s %s: %w", k.Type, k.ID, err)
	}
	return Task{Schema: retail.SchemaVersion, Tenant: k.Tenant, Type: k.Type, ID: k.ID, Run: h.Run}, true, nil
}

// Backoff bounds.
const (
	firstWait = 2 * time.Second
	maxWait   = 10 * time.Minute
	// turnAttempt is the attempt from which a wait for a turn grows no more: 32 s.
	turnAttempt = 5
)

// Wait is how long a document rests after its n-th failed attempt (1 first):
// doubling from 2 s to 10 min, half of it jittered, never less than the
// vendor asked for.
func (l Life) Wait(attempt int, asked time.Duration) time.Duration {
	d := maxWait
	if attempt < 10 {
		d = min(firstWait<<max(attempt-1, 0), maxWait)
	}
	d = d/2 + l.Jitter(d/2)
	return max(d, asked)
}

// Postpone ends a run that failed in a way time can mend: it counts the
// attempt and sets the due time. It returns how long to wait.
func (l Life) Postpone(ctx context.Context, h Head, cause error) (time.Duration, error) {
	f := fault.Of(cause)
	attempt := h.Attempt + 1
	// To wait for one's turn is no failure: among many it may take many attempts,
	// and whoever came first shall not wait the longest.
	if f != nil && f.Class == fault.RateLimited {
		attempt = min(attempt, turnAttempt)
	}
	h.Attempt = max(h.Attempt, attempt)
	wait := l.Wait(attempt, fault.RetryAfterOf(cause))
	data := map[string]string{"attempt": fmt.Sprint(h.Attempt), "wait_seconds": fmt.Sprint(int(wait.Seconds())), "reason": Reason(cause)}
	if f != nil {
		data["class"] = string(f.Class)
	}
	// The due time is the backstop of a delayed message that comes first.
	h.Due = l.Now().Add(wait + 30*time.Second)
	c, err := l.Next(h, h.State, Step{Type: Event(h.Type, "postponed"), Data: data})
	if err != nil {
		return 0, err
	}
	// One line of the timeline per outage, not per attempt: repeated waits are
	// told at attempts 1, 2, 4, 8, …
	if attempt&(attempt-1) != 0 {
		c.Steps, c.Head.Sequence = nil, h.Sequence
	}
	return wait, l.Commit(ctx, c)
}

// Reason is a fault's text, safe to store and show.
func Reason(err error) string {
	if f := fault.Of(err); f != nil {
		return clip(f.Error(), 500)
	}
	return clip(err.Error(), 500)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// Park prepares the exception for err and the head that it holds.
func (l Life) Park(h Head, err error) (Change, Exception, error) {
	x := l.NewException(h.Tenant, h.Connection, err)
	x.Type, x.Document, x.Number, x.AtStake, x.Raw = h.Type, h.ID, h.Number, h.Total, h.Raw
	h.Parked, h.Due = x.ID, time.Time{}
	c, nerr := l.Next(h, h.State, Step{Type: Event(h.Type, "parked"), Data: map[string]string{
		"exception": x.ID, "kind": x.Kind, "class": x.Class, "field": x.Field, "value": x.Value, "reason": x.Reason,
	}})
	return c, x, nerr
}

// Unpark prepares the next run of a parked document and the task to start
// once it is committed.
func (l Life) Unpark(h Head, steps ...Step) (Change, Task, error) {
	h.Parked, h.Attempt, h.Due = "", 0, l.Now().Add(PhaseLease)
	h.Run++
	c, err := l.Next(h, h.State, steps...)
	return c, Task{Schema: retail.SchemaVersion, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: h.Run}, err
}

// slaMinutes are the P2 targets of domain.md section 2.
var slaMinutes = map[fault.Class]int{
	fault.Connectivity: 60, fault.RateLimited: 60, fault.Authentication: 120,
	fault.Mapping: 240, fault.MissingReference: 240, fault.Validation: 240, fault.Address: 240,
	fault.InventoryShortage: 240, fault.ReservationUncovered: 240, fault.StockDrift: 240, fault.StateConflict: 240, fault.Duplicate: 480,
	fault.TotalsDiffer: 240, fault.OutcomeUnknown: 60, fault.Configuration: 120, fault.Internal: 60,
}

var actions = map[fault.Class]string{
	fault.Authentication:       "renew the connection's credential, then retry",
	fault.Mapping:              "map or create the value in the target system, then retry",
	fault.MissingReference:     "create the referenced record, then retry",
	fault.Validation:           "correct the document at its source or edit it here, then retry",
	fault.Address:              "complete the address, then retry",
	fault.InventoryShortage:    "receive stock or cancel the line, then retry",
	fault.ReservationUncovered: "find the goods and count again, or cancel one of the orders that hold them (waybill stock SKU), then resolve",
	fault.StockDrift:           "count the position again, then resolve",
	fault.StateConflict:        "look at the document in both systems, then retry or cancel",
	fault.Duplicate:            "decide which record is the right one, then resolve",
	fault.TotalsDiffer:         "compare both columns, correct the wrong one, then retry",
	fault.OutcomeUnknown:       "look in the target system, then confirm or resend",
	fault.Configuration:        "correct the connection's configuration, then retry",
}

// NewException describes a classified error as open work.
func (l Life) NewException(t retail.Tenant, connection string, err error) Exception {
	f := fault.Of(err)
	if f == nil {
		f = fault.Wrap(fault.Permanent, fault.Internal, err, "unclassified")
	}
	minutes, ok := slaMinutes[f.Class]
	if !ok {
		minutes = 240
	}
	now := l.Now()
	return Exception{
		Tenant: t, ID: l.NewID(), Kind: string(f.Kind), Class: string(f.Class), Connection: connection,
		Fingerprint: Fingerprint(f, connection), Field: f.Field, Value: clip(f.Value, 80),
		Reason: clip(f.Error(), 500), Action: actions[f.Class], State: Open, OpenedAt: now,
		DueAt: now.Add(time.Duration(minutes) * time.Minute),
	}
}

var index = regexp.MustCompile(`\[\d+\]`)

// Fingerprint is equal for failures of one cause: class, connection, field
// without positions, and reference value.
func Fingerprint(f *fault.Error, connection string) string {
	s := strings.Join([]string{string(f.Class), connection, index.ReplaceAllString(f.Field, "[]"), f.Value}, "\x00")
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
