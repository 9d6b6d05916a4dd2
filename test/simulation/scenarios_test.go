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

// down is one order a minute of which the ERP does not answer for four hours.
func down(orders int) Scenario {
	s := Scenario{Seed: 6, Faults: map[Fault]float64{}, Down: 4 * time.Hour}
	for i := range orders {
		s.Orders = append(s.Orders, OrderPlan{Tenant: 0, Number: 1001 + i, At: time.Duration(i) * time.Minute, Lines: 1, Customer: 1 + i, Parcels: 1, ShipIn: 10 * time.Minute})
	}
	return s
}

// What an outage of four hours may multiply calls by: of the vendor that is
// down (retryAmplification), and of the others. An order that waits is asked for
// again at its channel while the ERP may be tried, and once it is back.
const (
	amplification = 1.1
	elsewhere     = 4.0
)

func TestRetriesDoNotMultiplyDuringAnOutage(t *testing.T) {
	const orders = 60
	m := machines(t)
	calm := down(orders)
	calm.Down = 0
	before, after := Run(calm, m, nil), Run(down(orders), m, nil)
	if before.Problem != nil || after.Problem != nil {
		t.Fatalf("%v %v", before.Problem, after.Problem)
	}
	for conn, most := range map[string]float64{"erp": amplification, "shop": elsewhere, "wms": amplification} {
		n, was := after.CallsOf[conn], before.CallsOf[conn]
		ratio := float64(n) / float64(was)
		t.Logf("%s: %d calls without an outage of the ERP, %d with one of four hours: %.2f times as many, %.1f more a document", conn, was, n, ratio, float64(n-was)/orders)
		if ratio > most {
			t.Errorf("%s: %.2f times as many calls; the bound is %.2f", conn, ratio, most)
		}
	}
}
