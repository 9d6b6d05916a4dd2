package simulation

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Failure is a scenario that shows a problem.
type Failure struct {
	Scenario Scenario
	Problem  Problem
}

// Stats are what many courses came to.
type Stats struct {
	Seeds     int64
	Documents int64
	Calls     int64
	Took      time.Duration
}

func (s Stats) String() string {
	return fmt.Sprintf("%d seeds, %d documents, %d calls in %.1f s: %.0f seeds/s", s.Seeds, s.Documents, s.Calls, s.Took.Seconds(), float64(s.Seeds)/s.Took.Seconds())
}

// Explore runs n seeds from the first one, on all cores, until one fails.
func Explore(machines map[string]*Machine, first uint64, n int, now func() time.Time) (Stats, *Failure) {
	var next, seeds, documents, calls atomic.Int64
	var mu sync.Mutex
	var failure *Failure
	began := now()
	// Courses are short and leave everything behind.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				mu.Lock()
				stop := failure != nil && failure.Scenario.Seed < first+uint64(i)
				mu.Unlock()
				if i >= int64(n) || stop {
					return
				}
				s := Plan(first + uint64(i))
				r := Run(s, machines, nil)
				seeds.Add(1)
				documents.Add(int64(r.Documents))
				calls.Add(int64(r.Calls))
				if r.Problem != nil {
					mu.Lock()
					if failure == nil || s.Seed < failure.Scenario.Seed {
						failure = &Failure{s, *r.Problem}
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return Stats{seeds.Load(), documents.Load(), calls.Load(), now().Sub(began)}, failure
}

// Shrink leaves out what is not needed for a scenario to break the same
// invariant: faults and orders, one after the other.
func Shrink(f Failure, machines map[string]*Machine) Failure {
	try := func(s Scenario) bool {
		r := Run(s, machines, nil)
		if r.Problem == nil || r.Problem.Invariant != f.Problem.Invariant {
			return false
		}
		f = Failure{s, *r.Problem}
		return true
	}
	for smaller := true; smaller; {
		smaller = false
		for i := 0; i < len(f.Scenario.Orders) && len(f.Scenario.Orders) > 1; i++ {
			s := f.Scenario
			s.Orders = append(append([]OrderPlan{}, s.Orders[:i]...), s.Orders[i+1:]...)
			if try(s) {
				smaller = true
				i--
			}
		}
		for _, fault := range Faults() {
			if _, on := f.Scenario.Faults[fault]; on && try(f.Scenario.without(fault)) {
				smaller = true
			}
		}
		for i := range f.Scenario.Orders {
			for _, less := range []func(*OrderPlan){
				func(o *OrderPlan) { o.UpdateAt = 0 }, func(o *OrderPlan) { o.CancelAt = 0 }, func(o *OrderPlan) { o.HandAt = 0 }, func(o *OrderPlan) { o.Parcels = 1 },
				func(o *OrderPlan) { o.Lines = 1 }, func(o *OrderPlan) { o.Kind = "" },
			} {
				s := f.Scenario
				s.Orders = append([]OrderPlan{}, s.Orders...)
				before := s.Orders[i]
				less(&s.Orders[i])
				if s.Orders[i] != before && try(s) {
					smaller = true
				}
			}
		}
	}
	return f
}

// Report writes the shortest trace of a failure, and how to repeat it.
func Report(out io.Writer, f Failure, machines map[string]*Machine) error {
	small := Shrink(f, machines)
	var b strings.Builder
	b.WriteString(f.Problem.String() + "\nreduced to: " + small.Scenario.String() + "\n")
	for _, o := range small.Scenario.Orders {
		fmt.Fprintf(&b, "order: %+v\n", o)
	}
	Run(small.Scenario, machines, &b)
	fmt.Fprintf(&b, "repeat it with: make simulate SEED=%d TRACE=/dev/stdout\n", f.Scenario.Seed)
	_, err := io.WriteString(out, b.String())
	return err
}
