package memory_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/retail"
)

// driver opens a store whose index lags by up to lag of a clock that only
// Settle moves.
func driver(lag time.Duration) func(*testing.T) drivertest.Driver {
	return func(*testing.T) drivertest.Driver {
		now := drivertest.Now
		s := memory.New(memory.Options{Now: func() time.Time { return now }, Dice: rand.New(rand.NewPCG(1, 2)), IndexLag: lag})
		return drivertest.Driver{
			Store:  s,
			Settle: func(*testing.T) { now = now.Add(lag) },
			Stream: func(*testing.T) (out []drivertest.Entry) {
				for _, e := range s.Stream(0) {
					out = append(out, drivertest.Entry(e))
				}
				return out
			},
		}
	}
}

func TestTheStoreInMemoryPassesTheSuite(t *testing.T) { drivertest.Run(t, driver(0)) }

func TestTheStoreInMemoryPassesTheSuiteWithAnIndexThatLags(t *testing.T) {
	drivertest.Run(t, driver(time.Minute))
}

// course commits twenty documents, moves the due time of each, and writes down
// what the index lists at every second of a minute.
func course(t *testing.T, seed uint64) (out []string) {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	now := drivertest.Now
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Dice: rand.New(rand.NewPCG(seed, 0)), IndexLag: 30 * time.Second})
	for version := range int64(2) {
		for n := range 20 {
			h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: fmt.Sprint("o", n)}, Version: version, Due: now.Add(-time.Hour + time.Duration(version)*time.Minute)}
			if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: h}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 60 {
		moved := map[string]int{}
		for shard := range document.Shards {
			items, err := s.Due(t.Context(), shard, now, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				moved[it.Due.Sub(drivertest.Now).String()]++
			}
		}
		out = append(out, fmt.Sprint(moved))
		now = now.Add(time.Second)
	}
	return out
}

func TestTheIndexIsBehindByWhatTheDiceSayAndCatchesUp(t *testing.T) {
	a, b, other := course(t, 1), course(t, 1), course(t, 2)
	if !slices.Equal(a, b) || slices.Equal(a, other) {
		t.Error("the course is not the seed's")
	}
	if a[0] != "map[]" {
		t.Errorf("at once the index lists %s", a[0])
	}
	if distinct := slices.Compact(slices.Clone(a)); len(distinct) < 10 {
		t.Errorf("the index changed %d times", len(distinct))
	}
	for _, listed := range a[30:] {
		if listed != "map[-59m0s:20]" {
			t.Errorf("caught up, the index lists %s", listed)
		}
	}
}
