package simulation

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shortest writes a scenario's trace into a failure.
func shortest(t *testing.T, m map[string]*Machine, s Scenario) {
	t.Helper()
	var trace bytes.Buffer
	r := Run(s, m, &trace)
	t.Fatalf("%s: %v\n%s", s, r.Problem, trace.String())
}

// each runs scenarios on all cores and shows the first that fails.
func each(t *testing.T, n int, scenario func(i int) Scenario) {
	t.Helper()
	m := machines(t)
	var next atomic.Int64
	var mu sync.Mutex
	var failed *Scenario
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				mu.Lock()
				stop := failed != nil
				mu.Unlock()
				if i >= n || stop {
					return
				}
				s := scenario(i)
				if Run(s, m, nil).Problem != nil {
					mu.Lock()
					if failed == nil {
						failed = &s
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		shortest(t, m, *failed)
	}
}

// crashes is a scenario of one order in two parcels with planned crashes.
func crashes(c ...Crash) Scenario {
	return Scenario{Seed: 4, Faults: map[Fault]float64{}, Crashes: c,
		Orders: []OrderPlan{{Number: 1001, Lines: 2, Customer: 1, Parcels: 2, ShipIn: 3 * time.Minute}}}
}

// counts is that scenario while people count every position, some of which they
// find empty.
func counts(c ...Crash) Scenario {
	s := crashes(c...)
	s.Faults[Counts] = 1
	s.Orders[0].ShipIn = 2 * time.Hour
	return s
}

func TestACrashNeverKeepsACountToItself(t *testing.T) {
	r := Run(counts(), machines(t), nil)
	if r.Problem != nil {
		shortest(t, machines(t), counts())
	}
	t.Logf("%d side effects", r.Course)
	each(t, 2*r.Course, func(i int) Scenario { return counts(Crash{i/2 + 1, i%2 == 1}) })
}

// sideEffects is how many side effects the scenario has before its deliveries
// are repeated.
func sideEffects(t *testing.T) int {
	t.Helper()
	r := Run(crashes(), machines(t), nil)
	if r.Problem != nil {
		shortest(t, machines(t), crashes())
	}
	if r.Course < 60 {
		t.Fatalf("only %d side effects", r.Course)
	}
	return r.Course
}

func TestACrashBeforeOrAfterAnySideEffectLosesNothing(t *testing.T) {
	n := sideEffects(t)
	t.Logf("%d side effects", n)
	each(t, 2*n, func(i int) Scenario { return crashes(Crash{i/2 + 1, i%2 == 1}) })
}

func TestCrashesAtAnyTwoSideEffectsLoseNothing(t *testing.T) {
	n := sideEffects(t)
	var pairs [][2]int // of the points before and after each side effect
	for a := range 2 * n {
		for b := a + 1; b < 2*n+20; b++ { // the second course is longer than the first
			pairs = append(pairs, [2]int{a, b})
		}
	}
	t.Logf("%d pairs", len(pairs))
	step := 1
	if testing.Short() {
		step = 7
	}
	each(t, len(pairs)/step, func(i int) Scenario {
		p := pairs[i*step]
		return crashes(Crash{p[0]/2 + 1, p[0]%2 == 1}, Crash{p[1]/2 + 1, p[1]%2 == 1})
	})
}

// down is two orders a minute for four hours, during which one vendor does not
// answer. Most buyers come again.
func down(of string) Scenario {
	s := Scenario{Seed: 6, Faults: map[Fault]float64{}, Down: 4 * time.Hour, DownOf: of}
	for i := range 400 {
		s.Orders = append(s.Orders, OrderPlan{Tenant: 0, Number: 1001 + i, At: time.Duration(i) * 36 * time.Second, Lines: 1, Customer: 1 + i%200, Parcels: 1, ShipIn: 10 * time.Minute})
	}
	return s
}

// retryAmplification bounds what an outage of four hours may multiply the calls
// of every vendor by. The channel is also asked about each order that waited for
// another vendor: it may have been canceled.
func retryAmplification(t *testing.T, of string, orders int, before, after Result) {
	for _, conn := range []string{"erp", "wms", "shop"} {
		n, was := after.CallsOf[conn], before.CallsOf[conn]
		t.Logf("%s: %d calls without an outage, %d with one: %.2f times as many", conn, was, n, float64(n)/float64(was))
		most := 1.1 * float64(was)
		if conn == "shop" && of != "shop" {
			most += float64(orders)
		}
		if float64(n) > most {
			t.Errorf("%s: %d calls instead of %d; the bound is %.0f", conn, n, was, most)
		}
	}
}

func TestRetriesDoNotMultiplyDuringAnOutage(t *testing.T) {
	m := machines(t)
	calm := down("erp")
	calm.Down = 0
	before := Run(calm, m, nil)
	if before.Problem != nil {
		t.Fatal(before.Problem)
	}
	for _, of := range []string{"erp", "wms", "shop"} {
		t.Run("of "+of, func(t *testing.T) {
			after := Run(down(of), m, nil)
			if after.Problem != nil {
				t.Fatal(after.Problem)
			}
			retryAmplification(t, of, len(calm.Orders), before, after)
		})
	}
}
