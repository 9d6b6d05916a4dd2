package simulation

import (
	"bytes"
	"flag"
	"testing"
	"time"
)

var (
	seeds  = flag.Int("seeds", 20_000, "how many seeds are run")
	states = flag.String("states", "../../infra/states", "the machines' definitions")
	first  = flag.Uint64("first", 1, "the first of them")
)

func machines(t testing.TB) map[string]*Machine {
	t.Helper()
	m, err := ReadMachines(*states)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// base is one order that nothing befalls.
func base() Scenario {
	return Scenario{Seed: 2, Orders: []OrderPlan{{Number: 1001, Lines: 2, Customer: 1, Parcels: 1, ShipIn: 10 * time.Minute}}}
}

func TestAnOrderThatNothingBefallsIsClosed(t *testing.T) {
	var trace bytes.Buffer
	r := Run(base(), machines(t), &trace)
	if r.Problem != nil {
		t.Fatalf("%s\n%s", r.Problem, trace.String())
	}
	if r.Documents != 2 {
		t.Errorf("%d documents\n%s", r.Documents, trace.String())
	}
	t.Logf("%+v", r)
}

func TestSeeds(t *testing.T) {
	m := machines(t)
	stats, failure := Explore(m, *first, *seeds, time.Now)
	t.Log(stats)
	if failure != nil {
		var out bytes.Buffer
		if err := Report(&out, *failure, m); err != nil {
			t.Error(err)
		}
		t.Fatalf("seed %d: %s", failure.Scenario.Seed, out.String())
	}
}

func TestASeedHasOneTrace(t *testing.T) {
	m := machines(t)
	for seed := range uint64(60) {
		var a, b bytes.Buffer
		Run(Plan(seed), m, &a)
		Run(Plan(seed), m, &b)
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("seed %d has two traces", seed)
		}
	}
}
