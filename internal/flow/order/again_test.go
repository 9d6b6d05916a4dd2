package order_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// dead is a store of documents that no decision reaches.
type dead struct{ document.Store }

func (dead) Commit(context.Context, document.Transaction) error { return errDied }

// dies lets a run reserve and end before it can say so, and returns the next.
func (r *ruled) dies(task document.Task) document.Task {
	r.Helper()
	f := r.phase()
	f.Life.Store = dead{r.store}
	if err := f.Allocate(r.Context(), task); !errors.Is(err, errDied) {
		r.Fatal(err)
	}
	return r.next(task)
}

func (r *ruled) next(task document.Task) document.Task {
	r.Helper()
	next, ok, err := r.life().Resume(r.Context(), task.Key(), task.Run)
	if err != nil || !ok {
		r.Fatal(ok, err)
	}
	return next
}

// released counts what is given back.
type released struct {
	stock.Store
	items []stock.Item
}

func (s *released) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	s.items = append(s.items, items...)
	return s.Store.Release(ctx, t, order, items, now)
}

func TestTheNextRunKeepsWhatItNeedsOfWhatWasReservedAndGivesBackTheRest(t *testing.T) {
	clone := func() rules.Policy {
		p := two
		p.Locations = slices.Clone(two.Locations)
		return p
	}
	for name, c := range map[string]struct {
		change func(*ruled)
		back   int   // items that are given back
		main   int64 // MUG reserved there
		city   int64
		short  bool
	}{
		"nothing has changed":                {func(*ruled) {}, 0, 2, 0, false},
		"another location comes first":       {func(r *ruled) { r.policy.Locations[1].Priority = 0; r.policy.Locations[0].Priority = 9 }, 2, 0, 2, false},
		"its location takes one order a day": {func(*ruled) {}, 0, 2, 0, false},
		"what the other line needs has gone": {func(r *ruled) { r.take("HAT", "MAIN", 4); r.take("HAT", "CITY", 9) }, 2, 0, 0, true},
		"the location has less than is held": {func(r *ruled) { r.take("MUG", "MAIN", 8) }, 2, 0, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := clone()
			if name == "its location takes one order a day" {
				p.Locations[0].DailyOrders = 1
			}
			r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9, "HAT": 4}, "CITY": {"MUG": 9, "HAT": 9}})
			task := r.dies(r.accept("o1", "MUG", 2, "HAT", 1))
			r.has("MUG", "MAIN", 9, 2)
			c.change(r)
			f, s := r.phase(), &released{Store: r.store}
			f.Stock = s
			err := f.Allocate(t.Context(), task)
			if x := fault.Of(err); (err != nil) != c.short || c.short && (x.Class != fault.InventoryShortage || x.Field != "lines[1].sku" || x.Value != "HAT") {
				t.Fatal(err)
			}
			if len(s.items) != c.back {
				t.Errorf("given back: %+v", s.items)
			}
			kept, err := r.store.Stock(t.Context(), task.Tenant, "MUG")
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range kept.Positions {
				if want := map[string]int64{"MAIN": c.main, "CITY": c.city}[p.Location]; p.Reserved != want {
					t.Errorf("%d are reserved at %s, want %d", p.Reserved, p.Location, want)
				}
			}
		})
	}
}

// take lets goods be gone.
func (r *ruled) take(sku, location string, n int64) {
	r.Helper()
	err := r.store.Apply(r.Context(), tenantOf(r.T), []stock.Move{{SKU: sku, Location: location, Type: stock.Adjustment, Document: "gone from " + location, OnHand: -n}})
	if err != nil {
		r.Fatal(err)
	}
}

// An order that was short once, and reserved in a run that died, holds and waits
// for nothing once it is canceled.
func TestACanceledOrderHoldsAndWaitsForNothing(t *testing.T) {
	r := newRuled(t, two, map[string]map[string]int64{"MAIN": {"MUG": 1}, "CITY": {"MUG": 0}})
	task := r.accept("o1", "MUG", 2)
	if x := fault.Of(r.phase().Allocate(t.Context(), task)); x == nil || x.Class != fault.InventoryShortage {
		t.Fatal(x)
	}
	if err := r.store.Apply(t.Context(), task.Tenant, []stock.Move{{SKU: "MUG", Location: "MAIN", Type: stock.Receipt, Document: "r", OnHand: 5}}); err != nil {
		t.Fatal(err)
	}
	task = r.dies(r.next(task))
	// Which forgot what it waited for, and the next one waits again.
	if err := r.store.Want(t.Context(), task.Tenant, "o1", []stock.Demand{{Order: "o1", Line: "1", SKU: "MUG", Quantity: 2}}); err != nil {
		t.Fatal(err)
	}
	h, err := r.store.Head(t.Context(), task.Key())
	if err != nil {
		t.Fatal(err)
	}
	h.CancelAsked = true
	if err := r.life().Commit(t.Context(), document.Change{Head: h}); err != nil {
		t.Fatal(err)
	}
	if err := r.phase().Validate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	kept, err := r.store.Stock(t.Context(), task.Tenant, "MUG")
	if err != nil || len(kept.Holds) != 0 || len(kept.Demand) != 0 {
		t.Errorf("%+v, %v", kept, err)
	}
	if h, err = r.store.Head(t.Context(), task.Key()); err != nil || h.State != retail.Canceled {
		t.Errorf("%s, %v", h.State, err)
	}
}

func TestAnOrderOfWhichNothingIsLeftToShipIsForPeople(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*retail.OrderLine)
		refuse bool
		class  fault.Class
	}{
		"one is to be shipped":                          {func(*retail.OrderLine) {}, false, ""},
		"all of it is canceled":                         {func(l *retail.OrderLine) { l.Quantities = retail.Quantities{Ordered: 2, Canceled: 2} }, true, fault.Validation},
		"it needs no parcel":                            {func(l *retail.OrderLine) { l.RequiresShipping = false }, true, fault.Validation},
		"its channel says that somebody has shipped it": {func(l *retail.OrderLine) { l.Quantities = retail.Quantities{Ordered: 2, Shipped: 2} }, true, fault.StateConflict},
		"somebody has shipped one of them":              {func(l *retail.OrderLine) { l.Quantities = retail.Quantities{Ordered: 2, Shipped: 1, Unallocated: 1} }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuled(t, two, nil)
			task := r.acceptAs("o1", retail.Person{Name: "Ann"}, func(o *retail.Order) {
				o.Lines[0].UnitPrice = retail.Price{Currency: "USD"}
				c.change(&o.Lines[0])
			}, "MUG", 2)
			h, err := r.store.Head(t.Context(), task.Key())
			if err != nil {
				t.Fatal(err)
			}
			h.State = retail.Received
			if err := r.life().Commit(t.Context(), document.Change{Head: h}); err != nil {
				t.Fatal(err)
			}
			err = r.phase().Validate(t.Context(), task)
			if x := fault.Of(err); (err != nil) != c.refuse || c.refuse && (x.Kind != fault.Exception || x.Class != c.class || x.Field != "lines") {
				t.Errorf("%v", err)
			}
		})
	}
}
