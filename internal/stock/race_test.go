//go:build unix

package stock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/stock"
)

const workers = 64

// stores are the two that must sell nothing twice.
func stores(t testing.TB) map[string]stock.Store {
	t.Helper()
	s, _ := local(t)
	return map[string]stock.Store{"memory": memory.New(memory.Options{Now: time.Now}), "DynamoDB": s}
}

// local is the adapter over the template's own tables, with its meter.
func local(t testing.TB) (*dynamo.Store, *meter.Meter) {
	t.Helper()
	cfg := localtest.Config(t)
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artifacts-" + localtest.Account(), Template: "../../infra/data.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "data", TemplateURL: url, Parameters: map[string]string{"Partner": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	m := &meter.Meter{}
	cfg.APIOptions = m.Attach(cfg.APIOptions)
	return dynamo.New(cfg, dynamo.Tables{Inventory: out["InventoryTable"], Audit: out["AuditTable"]}), m
}

// patiently repeats what was refused because of others at the same time, as a
// redelivery does.
func patiently(do func() error) (err error) {
	for range 1000 {
		err = do()
		if f := fault.Of(err); f == nil || f.Kind != fault.Retryable {
			return err
		}
	}
	return err
}

func put(t testing.TB, s stock.Store, sku string, n int64) {
	t.Helper()
	if err := s.Apply(t.Context(), acme, []stock.Move{{SKU: sku, Location: "MAIN", Type: stock.Opening, Document: "opening", Line: sku, OnHand: n, OccurredAt: noon, RecordedAt: noon}}); err != nil {
		t.Fatal(err)
	}
}

func of(sku, line string, n int64) stock.Item {
	return stock.Item{SKU: sku, Location: "MAIN", Line: line, Quantity: n, Until: noon}
}

func TestOneUnitGoesToExactlyOneOfAThousandBuyers(t *testing.T) {
	const buyers = 1000
	for name, s := range stores(t) {
		for what, x := range map[string]struct {
			stock map[string]int64
			items []stock.Item
		}{
			"a plain SKU":        {map[string]int64{"P": 1}, []stock.Item{of("P", "1", 1)}},
			"a kit":              {map[string]int64{"KA": 1, "KB": 2}, []stock.Item{of("KA", "1", 1), of("KB", "1", 2)}},
			"an order of lines":  {map[string]int64{"LA": 50_000, "LB": 1, "LC": 50_000}, []stock.Item{of("LA", "1", 2), of("LB", "2", 1), of("LC", "3", 1)}},
			"one SKU in 2 lines": {map[string]int64{"T": 3}, []stock.Item{of("T", "1", 1), of("T", "2", 1)}},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				for sku, n := range x.stock {
					put(t, s, sku, n)
				}
				var won, next atomic.Int64
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for n := next.Add(1); n <= buyers; n = next.Add(1) {
							err := patiently(func() error { return s.Reserve(context.Background(), acme, fmt.Sprint("o", n), x.items, noon) })
							var short *stock.Short
							switch {
							case err == nil:
								won.Add(1)
							case !errors.As(err, &short):
								t.Errorf("buyer %d: %v", n, err)
							}
						}
					})
				}
				wg.Wait()
				if won.Load() != 1 {
					t.Errorf("%d buyers have the one unit", won.Load())
				}
				for sku := range x.stock {
					if found, _, err := stock.Prove(t.Context(), s, acme, sku); err != nil || len(found) > 0 {
						t.Error(found, err)
					}
				}
			})
		}
	}
}

// What a client does with one position.
type (
	asked struct {
		sku, what, order string // reserve, release, read
		quantity         int64
	}
	answered struct {
		short, unknown bool
		unreserved     int64
	}
	// state is a position: what is free, and what each order holds of it.
	state struct {
		free  int64
		holds string // order=quantity;… in order
	}
)

func held(holds, order string) (int64, bool) {
	var n int64
	for rest := holds; rest != ""; {
		var o string
		var q int64
		i := 0
		for rest[i] != ';' {
			i++
		}
		_, _ = fmt.Sscanf(rest[:i], "%s %d", &o, &q)
		if o == order {
			return q, true
		}
		rest = rest[i+1:]
	}
	return n, false
}

func without(holds, order string, q int64) string {
	part := fmt.Sprintf("%s %d;", order, q)
	for i := 0; i+len(part) <= len(holds); i++ {
		if holds[i:i+len(part)] == part && (i == 0 || holds[i-1] == ';') {
			return holds[:i] + holds[i+len(part):]
		}
	}
	return holds
}

// with keeps the orders sorted, so that equal states are equal.
func with(holds, order string, q int64) string {
	part := fmt.Sprintf("%s %d;", order, q)
	at := 0
	for at < len(holds) && holds[at:] < part {
		for holds[at] != ';' {
			at++
		}
		at++
	}
	return holds[:at] + part + holds[at:]
}

// model is what a position does, one thing at a time. An operation of unknown
// outcome may happen at any time after it was begun, or, which is the same, when
// nobody looks any more.
func model(opening int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{free: opening} },
		// Each position is an object of its own.
		Partition: func(history []porcupine.Operation) (out [][]porcupine.Operation) {
			at := map[string]int{}
			for _, o := range history {
				sku := o.Input.(asked).sku
				if _, ok := at[sku]; !ok {
					at[sku], out = len(out), append(out, nil)
				}
				out[at[sku]] = append(out[at[sku]], o)
			}
			return out
		},
		Step: func(s, in, out any) (bool, any) {
			st, a, r := s.(state), in.(asked), out.(answered)
			have, known := held(st.holds, a.order)
			switch a.what {
			case "read":
				return r.unknown || st.free == r.unreserved, st
			case "reserve":
				if known {
					return r.unknown || !r.short, st
				}
				if st.free < a.quantity {
					return r.unknown || r.short, st
				}
				return r.unknown || !r.short, state{st.free - a.quantity, with(st.holds, a.order, a.quantity)}
			default: // release; what is not held is not released
				if !known {
					return true, st
				}
				return true, state{st.free + have, without(st.holds, a.order, have)}
			}
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	}
}

// positions that the clients of a history share, and what is on each.
const positions, opening = 8, 5

// history lets 64 clients work at once, some of whom never hear
// what came of it.
func history(t *testing.T, s stock.Store, sku string, seed uint64, each int) []porcupine.Operation {
	t.Helper()
	for n := range positions {
		put(t, s, fmt.Sprint(sku, "-", n), opening)
	}
	var mu sync.Mutex
	var ops []porcupine.Operation
	var wg sync.WaitGroup
	began := time.Now()
	gate := make(chan struct{})
	for w := range workers {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(w)))
			order, sku := fmt.Sprint("o", w), fmt.Sprint(sku, "-", w%positions)
			<-gate
			for range each {
				a := asked{sku: sku, what: []string{"reserve", "reserve", "release", "read"}[dice.IntN(4)], order: order, quantity: 1}
				lose := dice.IntN(25) == 0
				ctx, cancel := context.WithCancel(context.Background())
				if lose {
					// Cut off somewhere between asking and hearing.
					time.AfterFunc(time.Duration(dice.IntN(4000))*time.Microsecond, cancel)
				}
				call := time.Since(began).Nanoseconds()
				var r answered
				err := patiently(func() (err error) {
					switch a.what {
					case "reserve":
						err = s.Reserve(ctx, acme, a.order, []stock.Item{of(sku, "1", a.quantity)}, noon)
					case "release":
						err = s.Release(ctx, acme, a.order, []stock.Item{of(sku, "1", a.quantity)}, noon)
					default:
						var ps map[string]stock.Position
						ps, err = s.Positions(ctx, acme, "MAIN", []string{sku})
						r.unreserved = ps[sku].Unreserved
					}
					return err
				})
				back := time.Since(began).Nanoseconds()
				var short *stock.Short
				switch {
				case lose:
					// Nobody heard what came of it, and it may still happen.
					r.unknown, back = true, math.MaxInt64
				case errors.As(err, &short):
					r.short = true
				case err != nil:
					t.Errorf("%+v: %v", a, err)
				}
				cancel()
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: w, Input: a, Output: r, Call: call, Return: back})
				mu.Unlock()
				if r.unknown {
					return // its client is gone: what it began overlaps with all that comes
				}
			}
		})
	}
	close(gate)
	wg.Wait()
	return ops
}

func TestPositionsAreLinearizableThoughAnswersAreLost(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			want := 10_000
			if testing.Short() {
				want = 1000
			}
			sum, unknown := 0, 0
			for n := 0; sum < want; n++ {
				ops := history(t, s, fmt.Sprint("S", n), uint64(n), 6)
				for _, o := range ops {
					if o.Output.(answered).unknown {
						unknown++
					}
				}
				sum += len(ops)
				if got := porcupine.CheckOperationsTimeout(model(opening), ops, 30*time.Second); got != porcupine.Ok {
					t.Fatalf("history %d of %d operations: %s", n, len(ops), got)
				}
			}
			t.Logf("%d operations of %d clients at once, %d of unknown outcome", sum, workers, unknown)
			if unknown == 0 {
				t.Error("every answer was heard")
			}
		})
	}
}

// The checker is not blind: a store that sells twice is caught.
func TestTheCheckerCatchesAUnitSoldTwice(t *testing.T) {
	ops := []porcupine.Operation{
		{ClientId: 0, Input: asked{"A", "reserve", "o0", 20}, Output: answered{}, Call: 0, Return: 10},
		{ClientId: 1, Input: asked{"A", "reserve", "o1", 1}, Output: answered{}, Call: 5, Return: 20},
	}
	if porcupine.CheckOperations(model(20), ops) {
		t.Error("21 of 20 pass")
	}
	ops[1].Output = answered{unknown: true}
	ops[1].Return = math.MaxInt64
	if !porcupine.CheckOperations(model(20), ops) {
		t.Error("an operation of unknown outcome is taken for a fact")
	}
}
