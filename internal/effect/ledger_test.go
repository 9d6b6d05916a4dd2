package effect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// memory is a Store in a map.
type memory map[string]Record

func (m memory) Create(_ context.Context, r Record) (*Record, error) {
	if old, ok := m[r.Key]; ok {
		return &old, nil
	}
	m[r.Key] = r
	return nil, nil
}

func (m memory) Update(_ context.Context, r Record) error {
	if m[r.Key].Version != r.Version {
		return ErrLost
	}
	r.Version++
	m[r.Key] = r
	return nil
}

func (m memory) Effect(_ context.Context, _ Subject, key string) (*Record, error) {
	r, ok := m[key]
	if !ok {
		return nil, nil
	}
	return &r, nil
}

// vendor does what it is told and answers as scripted.
type vendor struct {
	done    int // times the effect happened
	visible bool
	fail    []error // answers of the next sends; an unknown outcome happens first
	lookups int
}

type world struct {
	*testing.T
	ledger *Ledger
	vendor vendor
	now    time.Time
	effect Effect
}

func newWorld(t *testing.T) *world {
	tenant, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	n := 0
	w.ledger = &Ledger{Store: memory{}, Now: func() time.Time { return w.now }, NewID: func() string { n++; return fmt.Sprint(n) }}
	w.effect = Effect{
		Subject: Subject{tenant, "order", "o1"}, Key: "sales_order", Payload: "x", Settle: time.Minute,
		Lookup: func(context.Context) (Receipt, bool, error) {
			w.vendor.lookups++
			return Receipt{Ref: "7"}, w.vendor.done > 0 && w.vendor.visible, nil
		},
		Send: func(_ context.Context, p Permit) (Receipt, error) {
			if err := p.Check(); err != nil {
				t.Error(err)
			}
			if len(w.vendor.fail) > 0 {
				err := w.vendor.fail[0]
				w.vendor.fail = w.vendor.fail[1:]
				if f := fault.Of(err); f == nil || f.Unknown {
					w.vendor.done++
				}
				return Receipt{}, err
			}
			w.vendor.done++
			return Receipt{Ref: "7"}, nil
		},
	}
	return w
}

func (w *world) do() error {
	w.Helper()
	r, err := w.ledger.Do(w.Context(), w.effect)
	if err == nil && r.Ref != "7" {
		w.Errorf("receipt = %+v", r)
	}
	return err
}

var lost = fault.New(fault.Retryable, fault.Connectivity, "no answer").OutcomeUnknown()

func TestAConfirmedEffectIsNotSentAgain(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if err := w.do(); err != nil {
			t.Fatal(err)
		}
	}
	if w.vendor.done != 1 || w.vendor.lookups != 0 {
		t.Errorf("done %d times, %d lookups", w.vendor.done, w.vendor.lookups)
	}
}

func TestALostAnswerIsReadBackAndNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail, w.vendor.visible = []error{lost}, true
	if err := w.do(); !errors.Is(err, lost) {
		t.Fatalf("err = %v", err)
	}
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestAnEffectThatBecomesVisibleLateIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail = []error{lost}
	_ = w.do()
	for range 3 { // invisible, and settle has not passed
		if err := w.do(); fault.KindOf(err) != fault.Retryable || fault.RetryAfterOf(err) <= 0 {
			t.Fatalf("err = %v", err)
		}
		w.now = w.now.Add(15 * time.Second)
	}
	w.vendor.visible = true
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestAnEffectIsRepeatedOnlyAfterTwoEmptyReadsTheSecondPastSettle(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail = []error{lost}
	_ = w.do()
	w.vendor.done = 0 // it never arrived
	w.now = w.now.Add(2 * time.Minute)
	if err := w.do(); fault.KindOf(err) != fault.Retryable || w.vendor.done != 0 {
		t.Fatalf("after one empty read: err = %v, done %d times", err, w.vendor.done)
	}
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("after two: err = %v, done %d times", err, w.vendor.done)
	}
}

func TestACrashWhileSendingIsAnUnknownOutcomeOnceTheLeaseEnds(t *testing.T) {
	w := newWorld(t)
	send := w.effect.Send
	w.effect.Send = func(context.Context, Permit) (Receipt, error) { w.vendor.done++; panic("killed") }
	func() {
		defer func() { _ = recover() }()
		_ = w.do()
	}()
	w.effect.Send, w.vendor.visible = send, true
	if err := w.do(); fault.KindOf(err) != fault.Retryable || w.vendor.lookups != 0 {
		t.Fatalf("while the lease holds: err = %v, %d lookups", err, w.vendor.lookups)
	}
	w.now = w.now.Add(Lease)
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestWhoMeetsALivingSenderComesBackSoonNotAtTheEndOfItsLease(t *testing.T) {
	w := newWorld(t)
	send := w.effect.Send
	w.effect.Send = func(ctx context.Context, p Permit) (Receipt, error) {
		second := w.effect
		second.Send = send
		_, err := w.ledger.Do(ctx, second)
		if fault.KindOf(err) != fault.Retryable || fault.RetryAfterOf(err) > time.Second {
			t.Errorf("the second caller is told %v, again after %s", err, fault.RetryAfterOf(err))
		}
		return send(ctx, p)
	}
	if _, err := w.ledger.Do(t.Context(), w.effect); err != nil || w.vendor.done != 1 {
		t.Errorf("done %d times, %v", w.vendor.done, err)
	}
}

func TestALookThatTookLongLeavesTheSendAWholeLease(t *testing.T) {
	w := newWorld(t)
	w.effect.LookFirst = true
	lookup, send := w.effect.Lookup, w.effect.Send
	w.effect.Lookup = func(ctx context.Context) (Receipt, bool, error) {
		w.now = w.now.Add(60 * time.Second)
		return lookup(ctx)
	}
	w.effect.Send = func(ctx context.Context, p Permit) (Receipt, error) {
		rec, err := w.ledger.Store.Effect(ctx, w.effect.Subject, w.effect.Key)
		if err != nil || rec.LeaseUntil.Sub(w.now) < SendTime || !rec.SentAt.Equal(w.now) {
			t.Errorf("the send began at %s with %+v, %v", w.now, rec, err)
		}
		return send(ctx, p)
	}
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestLooksThatFailedLeaveAnEffectThatWasNeverSentAsNotSent(t *testing.T) {
	w := newWorld(t)
	w.effect.LookFirst = true
	lookup := w.effect.Lookup
	failures := 3
	w.effect.Lookup = func(ctx context.Context) (Receipt, bool, error) {
		if failures--; failures >= 0 {
			return Receipt{}, false, fault.New(fault.Retryable, fault.Connectivity, "503")
		}
		return lookup(ctx)
	}
	for range 3 {
		if err := w.do(); fault.KindOf(err) != fault.Retryable || w.vendor.done != 0 {
			t.Fatalf("err = %v, done %d times", err, w.vendor.done)
		}
	}
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("after the looks came back: err = %v, done %d times", err, w.vendor.done)
	}
}

func TestADefiniteRefusalMayBeSentAgainAtOnce(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail = []error{fault.New(fault.Retryable, fault.RateLimited, "429")}
	_ = w.do()
	if err := w.do(); err != nil || w.vendor.done != 1 || w.vendor.lookups != 0 {
		t.Errorf("err = %v, done %d times, %d lookups", err, w.vendor.done, w.vendor.lookups)
	}
}

func TestAnUnmarkedErrorCountsAsUnknown(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail, w.vendor.visible = []error{errors.New("deadline")}, true
	_ = w.do()
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestAnUnknownOutcomeThatCannotBeAskedNeedsAHuman(t *testing.T) {
	w := newWorld(t)
	w.effect.Lookup = nil
	w.vendor.fail = []error{lost}
	_ = w.do()
	for range 2 {
		err := w.do()
		if f := fault.Of(err); f == nil || f.Kind != fault.Exception || f.Class != fault.OutcomeUnknown || w.vendor.done != 1 {
			t.Fatalf("err = %v, done %d times", err, w.vendor.done)
		}
	}
}

func TestAChangedPayloadUnderOneKeyFailsLoudly(t *testing.T) {
	w := newWorld(t)
	if err := w.do(); err != nil {
		t.Fatal(err)
	}
	w.effect.Payload = "y"
	if err := w.do(); fault.KindOf(err) != fault.Permanent {
		t.Errorf("err = %v", err)
	}
}

func TestWhatExistsWithoutUsIsFoundBeforeTheFirstSend(t *testing.T) {
	w := newWorld(t)
	w.effect.LookFirst = true
	w.vendor.done, w.vendor.visible = 1, true
	if err := w.do(); err != nil || w.vendor.done != 1 {
		t.Errorf("err = %v, done %d times", err, w.vendor.done)
	}
}

func TestAWriteWithoutAPermitIsRefused(t *testing.T) {
	if err := (Permit{}).Check(); !errors.Is(err, ErrNoPermit) {
		t.Errorf("err = %v", err)
	}
}

func (w *world) record() Record {
	w.Helper()
	r, err := w.ledger.Store.Effect(w.Context(), w.effect.Subject, w.effect.Key)
	if err != nil || r == nil {
		w.Fatal(r, err)
	}
	return *r
}

func TestAttemptsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail = []error{fault.New(fault.Retryable, fault.RateLimited, "429"), fault.New(fault.Retryable, fault.RateLimited, "429")}
	for range 3 {
		_ = w.do()
	}
	if r := w.record(); r.Attempts != 3 || r.Status != Confirmed {
		t.Errorf("%+v", r)
	}
}

func TestNothingIsBegunThatTheInvocationCouldNotFinish(t *testing.T) {
	for left, sent := range map[time.Duration]int{10 * time.Second: 0, minimumTime - time.Nanosecond: 0, minimumTime: 1} {
		w := newWorld(t)
		ctx := deadline{t.Context(), w.now.Add(left)}
		_, err := w.ledger.Do(ctx, w.effect)
		if w.vendor.done != sent || (sent == 0) != (fault.RetryAfterOf(err) > 0) {
			t.Errorf("with %s left it was sent %d times: %v", left, w.vendor.done, err)
		}
		if r, _ := w.ledger.Store.Effect(t.Context(), w.effect.Subject, w.effect.Key); (r != nil) != (sent > 0) {
			t.Errorf("with %s left the intent is %+v", left, r)
		}
	}
}

// deadline is a context whose end the ledger's own clock decides.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

func TestADoubtIsDecidedByAHumanAndACertaintyIsNot(t *testing.T) {
	happened := &Receipt{Ref: "9"}
	for name, c := range map[string]struct {
		status  Status
		leased  bool
		receipt *Receipt
		want    Status
		refused bool
	}{
		"unknown, happened":            {Unknown, false, happened, Confirmed, false},
		"unknown, did not":             {Unknown, false, nil, Refused, false},
		"a dead sender's":              {Sending, false, nil, Refused, false},
		"a living sender's":            {Sending, true, nil, Sending, true},
		"confirmed, did not":           {Confirmed, false, nil, Confirmed, true},
		"confirmed as something else":  {Confirmed, false, happened, Confirmed, true},
		"refused, happened after all":  {Refused, false, happened, Refused, true},
		"refused, decided so before":   {Refused, false, nil, Refused, false},
		"confirmed, decided so before": {Confirmed, false, &Receipt{Ref: "7"}, Confirmed, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := Record{Subject: w.effect.Subject, Key: w.effect.Key, Status: c.status, Version: 1}
			if c.status == Confirmed {
				r.Receipt.Ref = "7"
			}
			if c.leased {
				r.LeaseUntil = w.now.Add(time.Second)
			}
			if _, err := w.ledger.Store.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			err := w.ledger.Decide(t.Context(), w.effect.Subject, w.effect.Key, c.receipt)
			if got := w.record(); (err != nil) != c.refused || got.Status != c.want || (c.want == Confirmed && c.receipt == happened && !c.refused && got.Receipt.Ref != "9") {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	w := newWorld(t)
	if err := w.ledger.Decide(t.Context(), w.effect.Subject, "never", nil); fault.Of(err) == nil || fault.Of(err).Class != fault.MissingReference {
		t.Errorf("%v", err)
	}
}

// frozen is a store during whose writes the function may stand still.
type frozen struct {
	memory
	during func(Record)
}

func (f frozen) Update(ctx context.Context, r Record) error {
	f.during(r)
	return f.memory.Update(ctx, r)
}

func TestAFunctionThatWasFrozenBeforeItsSendCountsFromTheSend(t *testing.T) {
	w := newWorld(t)
	freezes := 1
	w.ledger.Store = frozen{memory{}, func(r Record) {
		if r.Status == Sending && freezes > 0 {
			freezes--
			w.now = w.now.Add(25 * time.Second)
		}
	}}
	w.effect.LookFirst = true
	lookup := w.effect.Lookup
	w.effect.Lookup = func(ctx context.Context) (Receipt, bool, error) {
		if w.vendor.lookups == 0 {
			w.now = w.now.Add(6 * time.Second)
		}
		return lookup(ctx)
	}
	var sent time.Time
	send := w.effect.Send
	w.effect.Send = func(ctx context.Context, p Permit) (Receipt, error) {
		sent = w.now
		r, err := send(ctx, p)
		w.now = w.now.Add(3 * time.Second)
		return r, err
	}
	w.vendor.fail = []error{lost}
	if err := w.do(); err == nil || sent.IsZero() {
		t.Fatal(err)
	}
	if r := w.record(); r.SentAt.Before(sent) || r.EmptyReads != 0 || r.Status != Unknown {
		t.Errorf("sent at %s, recorded as %+v", sent, r)
	}
}

func TestWhatIsSentAgainByDecisionIsProvenAbsentAnew(t *testing.T) {
	w := newWorld(t)
	w.vendor.fail = []error{lost, lost}
	_ = w.do()
	w.vendor.done = 0 // it never arrived
	w.now = w.now.Add(2 * time.Minute)
	if err := w.do(); fault.KindOf(err) != fault.Retryable || w.record().EmptyReads != 1 {
		t.Fatalf("%v, %+v", err, w.record())
	}
	if err := w.ledger.Decide(t.Context(), w.effect.Subject, w.effect.Key, nil); err != nil {
		t.Fatal(err)
	}
	_ = w.do() // this one arrives, and its answer is lost too
	w.now = w.now.Add(2 * time.Minute)
	if err := w.do(); fault.KindOf(err) != fault.Retryable || w.vendor.done != 1 {
		t.Errorf("after one empty read: %v, done %d times", err, w.vendor.done)
	}
}

func TestAnUnknownOutcomeSettlesFromWhenItsAnswerWasLost(t *testing.T) {
	w := newWorld(t)
	send := w.effect.Send
	w.effect.Send = func(ctx context.Context, p Permit) (Receipt, error) {
		w.now = w.now.Add(40 * time.Second)
		return send(ctx, p)
	}
	w.vendor.fail = []error{lost}
	_ = w.do()
	for _, after := range []time.Duration{30 * time.Second, 29 * time.Second} {
		w.now = w.now.Add(after)
		if err := w.do(); fault.KindOf(err) != fault.Retryable || w.vendor.done != 1 {
			t.Fatalf("%v, done %d times", err, w.vendor.done)
		}
	}
}

// hurried is a store that does nothing for a caller whose time is up.
type hurried struct{ memory }

func (h hurried) Update(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.memory.Update(ctx, r)
}

func TestAnOutcomeIsRecordedThoughTheCallersTimeIsUp(t *testing.T) {
	for name, answers := range map[string][]error{"done": nil, "unknown": {lost}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ledger.Store, w.vendor.fail = hurried{memory{}}, answers
			ctx, end := context.WithCancel(t.Context())
			send := w.effect.Send
			w.effect.Send = func(ctx context.Context, p Permit) (Receipt, error) {
				defer end()
				return send(ctx, p)
			}
			_, _ = w.ledger.Do(ctx, w.effect)
			if got := w.record(); got.Status == Sending {
				t.Errorf("%+v", got)
			}
		})
	}
}
