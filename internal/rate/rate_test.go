package rate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a store with a clock, and instances of functions that share it.
type world struct {
	store *memory.Store
	now   time.Time
	key   rate.Key
	slept time.Duration
}

func newWorld(t testing.TB) *world {
	t.Helper()
	tn, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{now: noon, key: rate.Key{Tenant: tn, Connection: "erp"}}
	w.store = memory.New(memory.Options{Now: func() time.Time { return w.now }, Dice: rand.New(rand.NewPCG(1, 1))})
	return w
}

// instance is one warm function.
func (w *world) instance(name string) *rate.Governor {
	return &rate.Governor{Store: w.store, Now: func() time.Time { return w.now }, NewID: func() string { return name },
		Sleep: func(_ context.Context, d time.Duration) error { w.now, w.slept = w.now.Add(d), w.slept+d; return nil }}
}

func (w *world) state(t testing.TB) rate.State {
	t.Helper()
	s, err := w.store.Rate(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var down = fault.New(fault.Retryable, fault.Connectivity, "down")

func TestNoMoreThanThePublishedRateIsAskedByAllTogether(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{PerSecond: 2, Burst: 20}
	var gates []*rate.Gate
	for i := range 7 {
		gates = append(gates, w.instance(fmt.Sprint("f", i)).Gate(w.key, limits))
	}
	var sent []time.Time
	for range 4000 {
		w.now = w.now.Add(50 * time.Millisecond)
		for _, g := range gates {
			if g.Enter(t.Context()) == nil {
				sent = append(sent, w.now)
				g.Leave(t.Context(), nil)
			}
		}
	}
	// ShipBob's rule: 150 in any minute.
	for i := range sent {
		n := 0
		for j := i; j < len(sent) && sent[j].Sub(sent[i]) < time.Minute; j++ {
			n++
		}
		if n > 150 {
			t.Fatalf("%d requests in the minute from %s on", n, sent[i])
		}
	}
	if want := int(w.now.Sub(noon).Seconds() * 2 * 0.9); len(sent) < want {
		t.Errorf("%d requests of the %d that were allowed", len(sent), want)
	}
}

func TestWhatIsNotUsedIsGivenBack(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{PerSecond: 0.001, Burst: 8, InFlight: 1}
	for i := range 8 {
		g := w.instance(fmt.Sprint("f", i))
		gate := g.Gate(w.key, limits)
		if err := gate.Enter(t.Context()); err != nil {
			t.Fatalf("instance %d: %v; state %+v", i, err, w.state(t))
		}
		gate.Leave(t.Context(), nil)
		g.Done(t.Context())
		if s := w.state(t); len(s.Holders(w.now)) > 0 || s.Tokens < 6.9-float64(i) {
			t.Fatalf("after instance %d: %+v", i, s)
		}
	}
}

func TestOnlySoManyTalkToAVendorAtOnceAndTheDeadLoseTheirPlace(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{InFlight: 2}
	a, b, c := w.instance("a"), w.instance("b"), w.instance("c")
	for _, g := range []*rate.Governor{a, b, a} {
		if err := g.Gate(w.key, limits).Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	err := c.Gate(w.key, limits).Enter(t.Context())
	if f := fault.Of(err); f == nil || f.Kind != fault.Retryable || f.RetryAfter <= 0 {
		t.Fatalf("a third: %v", err)
	}
	a.Done(t.Context())
	if err := c.Gate(w.key, limits).Enter(t.Context()); err != nil {
		t.Errorf("after one is done: %v", err)
	}
	w.now = w.now.Add(2 * time.Minute) // b died
	if err := w.instance("d").Gate(w.key, limits).Enter(t.Context()); err != nil {
		t.Errorf("after one died: %v", err)
	}
}

func TestAWaitThatTheVendorAsksForHoldsForEverybody(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a").Gate(w.key, rate.Limits{}), w.instance("b").Gate(w.key, rate.Limits{})
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Leave(t.Context(), fault.New(fault.Retryable, fault.RateLimited, "429").After(30*time.Second))
	for name, g := range map[string]*rate.Gate{"its own": a, "another": b} {
		if err := g.Enter(t.Context()); fault.RetryAfterOf(err) != 30*time.Second {
			t.Errorf("%s instance: %v", name, err)
		}
	}
	w.now = w.now.Add(30 * time.Second)
	if err := b.Enter(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestACircuitOpensForOneConnectionAndOneProbeAtATimeClosesIt(t *testing.T) {
	w := newWorld(t)
	other := rate.Key{Tenant: w.key.Tenant, Connection: "erp2"}
	a, b := w.instance("a"), w.instance("b")
	for range 5 {
		g := a.Gate(w.key, rate.Limits{})
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.Leave(t.Context(), down)
	}
	if err := b.Gate(w.key, rate.Limits{}).Enter(t.Context()); fault.KindOf(err) != fault.Retryable || err == nil {
		t.Fatalf("after five failures: %v", err)
	}
	if err := b.Gate(other, rate.Limits{}).Enter(t.Context()); err != nil {
		t.Errorf("another connection of the same vendor: %v", err)
	}
	w.now = w.now.Add(16 * time.Second)
	if err := a.Gate(w.key, rate.Limits{}).Enter(t.Context()); err != nil {
		t.Fatalf("the probe: %v", err)
	}
	if err := b.Gate(w.key, rate.Limits{}).Enter(t.Context()); err == nil {
		t.Fatal("two probe at once")
	}
	a.Gate(w.key, rate.Limits{}).Leave(t.Context(), down)
	if err := b.Gate(w.key, rate.Limits{}).Enter(t.Context()); err == nil {
		t.Fatal("open after a failed probe")
	}
	w.now = w.now.Add(31 * time.Second)
	if err := b.Gate(w.key, rate.Limits{}).Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Gate(w.key, rate.Limits{}).Leave(t.Context(), nil)
	if err := a.Gate(w.key, rate.Limits{}).Enter(t.Context()); err != nil || w.state(t).Failures != 0 {
		t.Errorf("after a probe succeeded: %v", err)
	}
}

func TestAProbeThatDiedIsTakenOver(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a").Gate(w.key, rate.Limits{})
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Leave(t.Context(), fault.New(fault.Permanent, fault.Authentication, "401"))
	w.now = w.now.Add(time.Minute)
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	if err := w.instance("b").Gate(w.key, rate.Limits{}).Enter(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatWasGivenBackIsNotUsedAgain(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{PerSecond: 0.001, Burst: 4}
	a, b := w.instance("a"), w.instance("b")
	passed := 0
	enter := func(g *rate.Governor, times int) {
		for range times {
			if g.Gate(w.key, limits).Enter(t.Context()) == nil {
				passed++
				g.Gate(w.key, limits).Leave(t.Context(), nil)
			}
		}
	}
	enter(a, 1)
	a.Done(t.Context())
	enter(b, 4)
	enter(a, 4)
	if passed != 4 {
		t.Errorf("%d requests of a burst of 4", passed)
	}
}

func TestNobodyWaitsLongInsideAnInvocationHoweverOftenOthersAreFaster(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{PerSecond: 4, Burst: 1}
	other := w.instance("b").Gate(w.key, limits)
	a := w.instance("a")
	sleep, slept := a.Sleep, 0
	a.Sleep = func(ctx context.Context, d time.Duration) error {
		err := sleep(ctx, d)
		if slept++; slept < 20 {
			_ = other.Enter(ctx)
		}
		return err
	}
	_ = other.Enter(t.Context())
	if err := a.Gate(w.key, limits).Enter(t.Context()); fault.RetryAfterOf(err) <= 0 || w.slept > time.Second {
		t.Errorf("waits %s, %v", w.slept, err)
	}
}

func TestARefusedCredentialOpensTheCircuitAtOnce(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a").Gate(w.key, rate.Limits{}), w.instance("b").Gate(w.key, rate.Limits{})
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Leave(t.Context(), fault.New(fault.Permanent, fault.Authentication, "401"))
	for name, g := range map[string]*rate.Gate{"its own": a, "another": b} {
		if err := g.Enter(t.Context()); fault.KindOf(err) != fault.Retryable || fault.RetryAfterOf(err) <= 0 {
			t.Errorf("%s instance: %v", name, err)
		}
	}
}

// Who stops waiting, or fails by itself, says nothing about the vendor.
func TestTheCallersOwnFailureNeitherOpensNorClosesTheCircuit(t *testing.T) {
	w := newWorld(t)
	g := w.instance("a").Gate(w.key, rate.Limits{})
	for _, err := range []error{down, down, down, down, context.Canceled, context.Canceled, down} {
		if g.Enter(t.Context()) != nil {
			t.Fatal("open too early")
		}
		g.Leave(t.Context(), err)
	}
	if err := g.Enter(t.Context()); err == nil || w.state(t).Failures != 5 {
		t.Errorf("after five failures: %v, %+v", err, w.state(t))
	}
}

func TestWhoeverIsAtWorkKeepsItsPlaceForAsLongAsAnyTask(t *testing.T) {
	w := newWorld(t)
	limits := rate.Limits{InFlight: 1}
	a, b := w.instance("a").Gate(w.key, limits), w.instance("b").Gate(w.key, limits)
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = noon.Add(document.TaskTimeout)
	if err := b.Enter(t.Context()); err == nil {
		t.Error("a task may be at work still")
	}
	// One that works for longer takes its place anew.
	w.now = noon.Add(2 * time.Minute)
	if err := a.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Second)
	if err := b.Enter(t.Context()); err == nil {
		t.Error("two talk to a vendor that allows one")
	}
}

func TestARefusalThatMayBeOverIsLookedUpAgain(t *testing.T) {
	w := newWorld(t)
	g := w.instance("a")
	gate := g.Gate(w.key, rate.Limits{PerSecond: 1, Burst: 4})
	for range 4 {
		if err := gate.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	decide := func(do func(*rate.State) bool) {
		t.Helper()
		if _, err := g.Decide(t.Context(), w.key, do); err != nil {
			t.Fatal(err)
		}
	}
	decide(func(s *rate.State) bool { s.Paused = &rate.Pause{At: w.now, By: "ann"}; return true })
	if _, err := gate.Ready(t.Context()); err == nil {
		t.Fatal("ready although paused")
	}
	decide((*rate.State).Resume)
	w.now = w.now.Add(5 * time.Second) // what it saw is not old yet
	if err := gate.Enter(t.Context()); err != nil {
		t.Errorf("after it was resumed: %v", err)
	}
}

func TestWhoeverResumesAConnectionEndsWhateverHoldsItUp(t *testing.T) {
	for name, befall := range map[string]func(*rate.State){
		"a pause":        func(s *rate.State) { s.Paused = &rate.Pause{By: "ann"} },
		"a vendor's own": func(s *rate.State) { s.Throttled(noon, time.Hour) },
		"a circuit":      func(s *rate.State) { s.Failed(noon, fault.Authentication) },
	} {
		var s rate.State
		befall(&s)
		if _, _, refused := s.Take(noon, rate.Limits{}, "a", 1); refused == nil {
			t.Errorf("%s lets requests pass", name)
		}
		if changed := s.Resume(); !changed {
			t.Errorf("%s: nothing to resume", name)
		}
		if _, _, refused := s.Take(noon, rate.Limits{}, "a", 1); refused != nil || s.Resume() {
			t.Errorf("%s, resumed: %v", name, refused)
		}
	}
}

func TestABucketBeginsEmptyAfterTheWaitThatItsVendorAskedFor(t *testing.T) {
	limits := rate.Limits{PerSecond: 1, Burst: 20}
	var s rate.State
	s.Throttled(noon, 30*time.Second)
	if _, _, refused := s.Take(noon.Add(30*time.Second), limits, "a", 4); refused == nil {
		t.Error("a burst at once")
	}
	if lease, _, refused := s.Take(noon.Add(32*time.Second), limits, "a", 4); refused != nil || lease.Tokens != 2 {
		t.Errorf("two seconds later: %+v, %v", lease, refused)
	}
}

func TestADecisionIsTakenAgainWhereSomebodyWasFaster(t *testing.T) {
	w := newWorld(t)
	g, gate := w.instance("a"), w.instance("b").Gate(w.key, rate.Limits{})
	tries := 0
	s, err := g.Decide(t.Context(), w.key, func(s *rate.State) bool {
		if tries++; tries < 3 {
			_ = gate.Enter(t.Context())
			gate.Leave(t.Context(), down)
		}
		s.Paused = &rate.Pause{At: w.now, By: "ann"}
		return true
	})
	if got := w.state(t); err != nil || got.Paused == nil || got.Failures != 2 || s.Version != got.Version {
		t.Errorf("%+v, %v after %d tries", got, err, tries)
	}
}

func TestLookingWhetherAnythingWouldPassTakesNothing(t *testing.T) {
	w := newWorld(t)
	g := w.instance("a").Gate(w.key, rate.Limits{PerSecond: 0.001, Burst: 1, InFlight: 1})
	for range 3 {
		if proven, err := g.Ready(t.Context()); err != nil || !proven {
			t.Fatal(proven, err)
		}
	}
	if s := w.state(t); s.Version != 0 {
		t.Errorf("looking changed %+v", s)
	}
	other := w.instance("b").Gate(w.key, rate.Limits{})
	for range 5 {
		_ = other.Enter(t.Context())
		other.Leave(t.Context(), down)
	}
	if _, err := g.Ready(t.Context()); err == nil || fault.RetryAfterOf(err) <= 0 {
		t.Errorf("with an open circuit: %v", err)
	}
	if err := g.Enter(t.Context()); err == nil {
		t.Error("entered through an open circuit")
	}
	w.now = w.now.Add(15 * time.Second)
	if proven, err := g.Ready(t.Context()); err != nil || proven {
		t.Errorf("before the request that decides: proven %v, %v", proven, err)
	}
	if err := g.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Ready(t.Context()); err == nil {
		t.Error("a second one is told to try")
	}
	g.Leave(t.Context(), nil)
	if _, err := g.Ready(t.Context()); err == nil {
		t.Error("nothing passes for a quarter of an hour, and it is ready")
	}
	one := w.instance("c").Gate(w.key, rate.Limits{InFlight: 1})
	if _, err := one.Ready(t.Context()); err == nil {
		t.Error("somebody else talks to the vendor, and it is ready")
	}
	w.now = w.now.Add(999 * time.Second) // one more is worth waiting for
	if proven, err := g.Ready(t.Context()); err != nil || !proven {
		t.Errorf("after it answered: proven %v, %v", proven, err)
	}
}

func TestAPauseHoldsUntilItIsResumed(t *testing.T) {
	w := newWorld(t)
	g := w.instance("a")
	gate := g.Gate(w.key, rate.Limits{})
	if err := gate.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decide(t.Context(), w.key, func(s *rate.State) bool { s.Paused = &rate.Pause{At: w.now, By: "ann"}; return true }); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	if err := gate.Enter(t.Context()); fault.KindOf(err) != fault.Retryable || fault.RetryAfterOf(err) < time.Minute || fault.RetryAfterOf(err) > rate.LongestRest {
		t.Errorf("a minute after the pause: %v", err)
	}
	if _, err := g.Decide(t.Context(), w.key, (*rate.State).Resume); err != nil {
		t.Fatal(err)
	}
	if err := gate.Enter(t.Context()); err != nil {
		t.Error(err)
	}
}

// A vendor that is down for four hours while orders keep coming is asked little
// more than once for each of them.
func TestAnOutageOfHoursCostsATenthOfACallForEachDocumentAtMost(t *testing.T) {
	w := newWorld(t)
	gate := w.instance("a").Gate(w.key, rate.Limits{})
	dice := rand.New(rand.NewPCG(7, 7))
	life := document.Life{Jitter: func(d time.Duration) time.Duration { return time.Duration(dice.Int64N(int64(d) + 1)) }}
	type doc struct {
		due     time.Time
		attempt int
		calls   int
	}
	const outage = 4 * time.Hour
	var docs []*doc
	during, after, closed := 0, 0, 0
	for tick := time.Duration(0); closed < 720; tick += time.Second {
		w.now = noon.Add(tick)
		if tick%(20*time.Second) == 0 && tick < outage { // 720 orders
			docs = append(docs, &doc{due: w.now})
		}
		if tick > outage+12*time.Minute {
			t.Fatalf("%d of %d are closed 12 minutes after the outage", closed, len(docs))
		}
		for _, d := range docs {
			if d.due.IsZero() || w.now.Before(d.due) {
				continue
			}
			err := gate.Enter(t.Context())
			if err == nil {
				d.calls++
				if tick < outage {
					during++
					err = down
				} else {
					after++
				}
				gate.Leave(t.Context(), err)
			}
			if err == nil {
				closed, d.due = closed+1, time.Time{}
				continue
			}
			d.attempt++
			d.due = w.now.Add(life.Wait(d.attempt, fault.RetryAfterOf(err)))
		}
	}
	if ratio := float64(during+after) / float64(len(docs)); ratio > 1.1 {
		t.Errorf("%d calls during and %d after the outage for %d documents: %.2f each", during, after, len(docs), ratio)
	}
}

// Whatever happens, the row never lets more through than the limits say.
func TestABucketNeverHoldsMoreThanItsBurst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := rate.Limits{PerSecond: rapid.Float64Range(0.1, 50).Draw(t, "rate"), Burst: rapid.IntRange(1, 50).Draw(t, "burst"), InFlight: rapid.IntRange(0, 3).Draw(t, "slots")}
		var s rate.State
		now, granted := noon, 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "later")))
			holder := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "holder")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				s.Return(now, l, holder, rapid.IntRange(0, granted).Draw(t, "unused"))
			case 1:
				s.Throttled(now, time.Second)
			default:
				if lease, _, refused := s.Take(now, l, holder, rapid.IntRange(1, 8).Draw(t, "want")); refused == nil {
					granted += lease.Tokens
				} else if refused.RetryAfter <= 0 || refused.Kind != fault.Retryable {
					t.Fatalf("refused without a time: %v", refused)
				}
			}
			if s.Tokens < 0 || s.Tokens > float64(l.Burst) || (l.InFlight > 0 && len(s.Holders(now)) > l.InFlight) {
				t.Fatalf("%+v under %+v", s, l)
			}
		}
	})
}
