package order_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// ruled is a retailer with rules about stock, over the store in memory.
type ruled struct {
	*testing.T
	store  *memory.Store
	policy rules.Policy
	now    time.Time
	target *targets
	mu     sync.Mutex
	ids    int
}

// targets are the vendors; each release is an order of its own.
type targets struct {
	target
	all []retail.Release
}

func (x *targets) Release(_ context.Context, _ effect.Permit, r retail.Release, _ retail.Person) (effect.Receipt, error) {
	x.all = append(x.all, r)
	return effect.Receipt{Ref: "w-" + r.Reference}, nil
}

func (r *ruled) Open(context.Context, retail.Tenant, string) (any, error) { return r.target, nil }
func (r *ruled) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{Channel: "shop", ERP: "erp", Warehouse: "warehouse", Location: "MAIN", ConfigVersion: 3, Policy: &r.policy}, nil
}

func newRuled(t *testing.T, p rules.Policy, positions map[string]map[string]int64) *ruled {
	t.Helper()
	r := &ruled{T: t, policy: p, now: noon, target: &targets{}}
	r.store = memory.New(memory.Options{Now: func() time.Time { return r.now }})
	for l, skus := range positions {
		for sku, n := range skus {
			if err := r.store.Apply(t.Context(), tenantOf(t), []stock.Move{{SKU: sku, Location: l, Type: stock.Opening, Document: l, OnHand: n}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func tenantOf(t *testing.T) retail.Tenant {
	t.Helper()
	tn, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	return tn
}

func (r *ruled) life() document.Life {
	return document.Life{Store: r.store, Now: func() time.Time { return r.now }, Jitter: func(time.Duration) time.Duration { return 0 },
		NewID: func() string { r.mu.Lock(); defer r.mu.Unlock(); r.ids++; return fmt.Sprint("id", r.ids) }}
}

func (r *ruled) phase() order.Fulfillment {
	return order.Fulfillment{Life: r.life(), Stock: r.store, Connections: r, Effects: &effect.Ledger{Store: r.store, Now: func() time.Time { return r.now }, NewID: r.life().NewID}}
}

// accept stores an accepted order of SKUs and quantities.
func (r *ruled) accept(id string, lines ...any) document.Task {
	r.Helper()
	return r.acceptAs(id, retail.Person{Name: "Ann"}, func(*retail.Order) {}, lines...)
}

// acceptAs is accept of an order that somebody places in another way.
func (r *ruled) acceptAs(id string, who retail.Person, change func(*retail.Order), lines ...any) document.Task {
	r.Helper()
	zero := retail.Money{Currency: "USD"}
	o := retail.Order{Tenant: tenantOf(r.T), ID: id, Number: "#" + id, Currency: "USD", DestinationCountry: "US",
		Totals: retail.Totals{Lines: zero, Discounts: zero, Shipping: zero, Duties: zero, Fees: zero, Tip: zero, Tax: zero, Rounding: zero, Total: zero}}
	for i := 0; i+1 < len(lines); i += 2 {
		count, ok := lines[i+1].(int)
		if !ok {
			r.Fatalf("%v is no quantity", lines[i+1])
		}
		n := int64(count)
		o.Lines = append(o.Lines, retail.OrderLine{ID: fmt.Sprint(i/2 + 1), SKU: lines[i].(string), RequiresShipping: true, Quantities: retail.Quantities{Ordered: n, Unallocated: n}})
	}
	change(&o)
	k := document.Key{Tenant: tenantOf(r.T), Type: document.Order, ID: id}
	err := r.store.Commit(r.Context(), document.Transaction{Changes: []document.Change{{Head: document.Head{Key: k, State: retail.Accepted, Run: 1, Body: 1, Connection: "shop", Number: o.Number,
		Due: r.now.Add(time.Hour), CreatedAt: r.now, UpdatedAt: r.now}, Body: o, Person: &who}}})
	if err != nil {
		r.Fatal(err)
	}
	return document.Task{Schema: 1, Tenant: k.Tenant, Type: k.Type, ID: id, Run: 1}
}

func (r *ruled) order(id string) (o retail.Order) {
	r.Helper()
	k := document.Key{Tenant: tenantOf(r.T), Type: document.Order, ID: id}
	h, err := r.store.Head(r.Context(), k)
	if err == nil {
		err = r.store.Body(r.Context(), k, h.Body, &o)
	}
	if err != nil {
		r.Fatal(err)
	}
	return o
}

// has fails unless a position has the numbers, and its ledger says so.
func (r *ruled) has(sku, location string, onHand, reserved int64) {
	r.Helper()
	kept, err := r.store.Stock(r.Context(), tenantOf(r.T), sku)
	if err != nil {
		r.Fatal(err)
	}
	i := slices.IndexFunc(kept.Positions, func(p stock.Position) bool { return p.Location == location })
	if i < 0 || kept.Positions[i].OnHand != onHand || kept.Positions[i].Reserved != reserved {
		r.Errorf("%s at %s: %+v, want %d on hand and %d reserved", sku, location, kept.Positions, onHand, reserved)
	}
	if found, _, err := stock.Prove(r.Context(), r.store, tenantOf(r.T), sku); err != nil || len(found) > 0 {
		r.Error(found, err)
	}
}

var two = rules.Policy{Locations: []rules.Location{{Code: "MAIN", Warehouse: "warehouse", Priority: 1}, {Code: "CITY", Warehouse: "store", Priority: 5, SafetyStock: 1}}}

func TestTheBestLocationThatHasEverythingShipsTheOrder(t *testing.T) {
	r := newRuled(t, two, map[string]map[string]int64{"MAIN": {"MUG": 1}, "CITY": {"MUG": 9}})
	for id, want := range map[string]string{"o1": "CITY"} {
		task := r.accept(id, "MUG", 3)
		for range 2 {
			if err := r.phase().Allocate(t.Context(), task); err != nil {
				t.Fatal(err)
			}
		}
		o := r.order(id)
		if got := o.Locations(); !slices.Equal(got, []string{want}) || o.Sourcing.ConfigVersion != 3 || len(o.Sourcing.Considered) != 2 {
			t.Errorf("sourcing = %+v", o.Sourcing)
		}
	}
	r.has("MUG", "MAIN", 1, 0)
	r.has("MUG", "CITY", 9, 3)
	if err := r.phase().Release(t.Context(), r.task("o1")); err != nil {
		t.Fatal(err)
	}
	if len(r.target.all) != 1 || r.target.all[0].Location != "CITY" || r.order("o1").Sourcing.Releases[0].Warehouse != "store" {
		t.Errorf("released %+v", r.target.all)
	}
}

func (r *ruled) task(id string) document.Task {
	return document.Task{Schema: 1, Tenant: tenantOf(r.T), Type: document.Order, ID: id, Run: 1}
}

func TestASplitOrderIsReleasedAndShippedWhereEachPartLies(t *testing.T) {
	p := two
	p.Sourcing.MaxLocations = 2
	p.Products = []rules.Product{{SKU: "KIT", Components: []rules.Component{{SKU: "CUP", Quantity: 2}, {SKU: "BOX", Quantity: 1}}}}
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 2, "CUP": 1, "BOX": 5}, "CITY": {"MUG": 4, "CUP": 9, "BOX": 9}})
	task := r.accept("o1", "MUG", 5, "KIT", 2)
	for _, step := range []func(context.Context, document.Task) error{r.phase().Allocate, r.phase().Release, r.phase().Release} {
		if err := step(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	r.has("CUP", "CITY", 9, 4)
	r.has("BOX", "CITY", 9, 2)
	r.has("MUG", "CITY", 4, 3)
	r.has("MUG", "MAIN", 2, 2)
	if len(r.target.all) != 2 || r.target.all[0].Reference != "o1" || r.target.all[1].Reference != "o1-2" {
		t.Fatalf("released %+v", r.target.all)
	}
	// Each parcel takes from where it lay; the second is told twice.
	s := shipment.Phase{Life: r.life(), Effects: r.phase().Effects, Stock: r.store, Connections: r}
	for n, rel := range r.target.all {
		x := retail.Shipment{Tenant: task.Tenant, ID: fmt.Sprint("s", n), OrderID: "o1", Warehouse: "w", ExternalID: fmt.Sprint(n), OrderRef: "w-" + rel.Reference, ShippedAt: r.now}
		for _, l := range rel.Lines {
			x.Lines = append(x.Lines, retail.ShipmentLine{SKU: l.SKU, Quantity: l.Quantity})
		}
		k := document.Key{Tenant: task.Tenant, Type: document.Shipment, ID: x.ID}
		if err := r.store.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: document.Head{Key: k, State: retail.Received, Run: 1, Body: 1, Parent: "o1",
			Connection: "w", Due: r.now.Add(time.Hour)}, Body: x}}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Record(t.Context(), document.Task{Schema: 1, Tenant: task.Tenant, Type: document.Shipment, ID: x.ID, Run: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.has("MUG", "MAIN", 0, 0)
	r.has("MUG", "CITY", 1, 0)
	r.has("CUP", "CITY", 5, 0)
	r.has("BOX", "CITY", 7, 0)
	r.has("CUP", "MAIN", 1, 0)
	for _, a := range r.order("o1").Sourcing.Allocations {
		if a.Shipped != a.Units {
			t.Errorf("allocation %+v", a)
		}
	}
}

func TestAShortageKeepsNothingSaysWhyAndIsWaitedFor(t *testing.T) {
	r := newRuled(t, two, map[string]map[string]int64{"MAIN": {"MUG": 1, "TEE": 9}, "CITY": {"MUG": 2}})
	task := r.accept("o1", "TEE", 2, "MUG", 2)
	err := r.phase().Allocate(t.Context(), task)
	if f := fault.Of(err); f == nil || f.Class != fault.InventoryShortage && f.Class != fault.Mapping {
		t.Fatalf("err = %v", err)
	}
	r.has("MUG", "MAIN", 1, 0)
	r.has("TEE", "MAIN", 9, 0)
	if d := r.order("o1").Sourcing; d == nil || len(d.Considered) != 2 || len(d.Allocations) != 0 {
		t.Errorf("decision %+v", d)
	}
	kept, err := r.store.Stock(t.Context(), task.Tenant, "MUG")
	if err != nil || len(kept.Demand) != 1 || kept.Demand[0].Quantity != 2 {
		t.Errorf("demand %+v, %v", kept.Demand, err)
	}
	// Goods arrive, and the next run takes them; nothing is waited for any more.
	if err := r.store.Apply(t.Context(), task.Tenant, []stock.Move{{SKU: "MUG", Location: "MAIN", Type: stock.Receipt, Document: "r", OnHand: 5}}); err != nil {
		t.Fatal(err)
	}
	next, ok, err := r.life().Resume(t.Context(), task.Key(), 1)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := r.phase().Allocate(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	r.has("MUG", "MAIN", 6, 2)
	if kept, err = r.store.Stock(t.Context(), task.Tenant, "MUG"); err != nil || len(kept.Demand) != 0 {
		t.Errorf("demand %+v, %v", kept.Demand, err)
	}
	h, err := r.store.Head(t.Context(), task.Key())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.phase().Unreserve(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	r.has("MUG", "MAIN", 6, 0)
	r.has("TEE", "MAIN", 9, 0)
}

func TestABackorderIsReservedWhereItIsAllowed(t *testing.T) {
	p := two
	p.Sourcing.Backorder = true
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 1}, "CITY": {"MUG": 1}})
	if err := r.phase().Allocate(t.Context(), r.accept("o1", "MUG", 3)); err != nil {
		t.Fatal(err)
	}
	r.has("MUG", "MAIN", 1, 3)
	if !r.order("o1").Sourcing.Backordered {
		t.Error("the order does not say that it waits")
	}
}

func TestALocationThatIsFullForTodayIsPassedOver(t *testing.T) {
	p := two
	p.Locations = slices.Clone(two.Locations)
	p.Locations[0].DailyOrders = 1
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}, "CITY": {"MUG": 9}})
	for _, id := range []string{"o1", "o2"} {
		if err := r.phase().Allocate(t.Context(), r.accept(id, "MUG", 1)); err != nil {
			t.Fatal(err)
		}
	}
	r.has("MUG", "MAIN", 9, 1)
	r.has("MUG", "CITY", 9, 1)
	// Its order ends before it is shipped, and the location takes another one.
	h, err := r.store.Head(t.Context(), r.task("o1").Key())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.phase().Unreserve(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"o3", "o4"} {
		if err := r.phase().Allocate(t.Context(), r.accept(id, "MUG", 1)); err != nil {
			t.Fatal(err)
		}
	}
	r.has("MUG", "MAIN", 9, 1)
	r.has("MUG", "CITY", 9, 2)
}

func TestALocationsDayIsThatOfItsTimeZone(t *testing.T) {
	p := at("MAIN")
	p.Locations[0].DailyOrders, p.Locations[0].TimeZone = 5, "Pacific/Auckland"
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}})
	if err := r.phase().Allocate(t.Context(), r.accept("o1", "MUG", 1)); err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]int64{noon.Format(time.DateOnly): 0, noon.AddDate(0, 0, 1).Format(time.DateOnly): 1} {
		if n, err := r.store.Orders(t.Context(), tenantOf(t), "MAIN", day); err != nil || n != want {
			t.Errorf("%d orders on %s, want %d, %v", n, day, want, err)
		}
	}
}

// A location's orders of the day must not be counted by another day.
func TestATimeZoneThatIsNotKnownParksTheOrder(t *testing.T) {
	p := at("MAIN")
	p.Locations[0].DailyOrders, p.Locations[0].TimeZone = 5, "Pacific/Atlantis"
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}})
	f := fault.Of(r.phase().Allocate(t.Context(), r.accept("o1", "MUG", 1)))
	if f == nil || f.Kind != fault.Permanent || f.Class != fault.Configuration || f.Field != "locations.time_zone" || f.Value != "Pacific/Atlantis" {
		t.Fatalf("err = %v", f)
	}
	r.has("MUG", "MAIN", 9, 0)
}

// What an order took and never said that it has does not stay reserved for ever.
func TestAReservationThatNobodyClaimsIsGivenBackOnceItIsNeeded(t *testing.T) {
	r := newRuled(t, two, map[string]map[string]int64{"MAIN": {"MUG": 2}, "CITY": {"MUG": 0}})
	tn := tenantOf(t)
	r.accept("lost", "MUG", 2)
	if err := r.store.Reserve(t.Context(), tn, "lost", []stock.Item{{SKU: "MUG", Location: "MAIN", Line: "1", Quantity: 2, Until: r.now.Add(time.Hour)}}, r.now); err != nil {
		t.Fatal(err)
	}
	task := r.accept("o1", "MUG", 2)
	if f := fault.Of(r.phase().Allocate(t.Context(), task)); f == nil || f.Class != fault.InventoryShortage {
		t.Fatalf("what another order is about to have was taken: %v", f)
	}
	r.now = r.now.Add(2 * time.Hour)
	if err := r.phase().Allocate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	r.has("MUG", "MAIN", 2, 2)
	kept, err := r.store.Stock(t.Context(), tn, "MUG")
	if err != nil || len(kept.Holds) != 1 || kept.Holds[0].Order != "o1" {
		t.Errorf("holds %+v, %v", kept.Holds, err)
	}
}

// An order that is on its way says that it has its goods, however long it takes.
func TestWhatASourcedOrderHoldsIsNobodyElses(t *testing.T) {
	r := newRuled(t, two, map[string]map[string]int64{"MAIN": {"MUG": 2}, "CITY": {"MUG": 0}})
	if err := r.phase().Allocate(t.Context(), r.accept("o1", "MUG", 2)); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(48 * time.Hour)
	if f := fault.Of(r.phase().Allocate(t.Context(), r.accept("o2", "MUG", 1))); f == nil || f.Class != fault.InventoryShortage {
		t.Errorf("%v", f)
	}
	r.has("MUG", "MAIN", 2, 2)
	kept, err := r.store.Stock(t.Context(), tenantOf(t), "MUG")
	if err != nil || len(kept.Holds) != 1 || kept.Holds[0].Order != "o1" {
		t.Errorf("holds %+v, %v", kept.Holds, err)
	}
}

func TestAPickupIsTakenFromWhereItIsPickedUp(t *testing.T) {
	for name, c := range map[string]struct {
		city  int64
		short bool
	}{"it lies there": {5, false}, "it lies elsewhere": {1, true}} { // one of which is safety stock
		t.Run(name, func(t *testing.T) {
			p := two
			p.Locations = slices.Clone(two.Locations)
			for i := range p.Locations {
				p.Locations[i].Capabilities = []string{"ship", "pickup"}
			}
			r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}, "CITY": {"MUG": c.city}})
			err := r.phase().Allocate(t.Context(), r.acceptAs("o1", retail.Person{Name: "Ann"}, func(o *retail.Order) {
				o.FulfillmentPreference, o.PickupLocation = "pickup", "CITY"
			}, "MUG", 1))
			if f := fault.Of(err); (f != nil && f.Class == fault.InventoryShortage) != c.short || (err != nil) != c.short {
				t.Fatal(err)
			}
			r.has("MUG", "MAIN", 9, 0)
			if !c.short {
				r.has("MUG", "CITY", 5, 1)
			}
		})
	}
}

func TestOnlyWhatIsToBeShippedIsReserved(t *testing.T) {
	p := two
	p.Products = []rules.Product{{SKU: "KIT", Components: []rules.Component{{SKU: "CUP", Quantity: 2}}}}
	r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9, "CARD": 9, "HAT": 9, "CUP": 9}, "CITY": {}})
	err := r.phase().Allocate(t.Context(), r.acceptAs("o1", retail.Person{Name: "Ann"}, func(o *retail.Order) {
		o.Lines[0].Quantities = retail.Quantities{Ordered: 5, Canceled: 3, Unallocated: 2}
		o.Lines[1].RequiresShipping = false
		o.Lines[2].Quantities = retail.Quantities{Ordered: 4, Canceled: 4}
		o.Lines[3].Quantities = retail.Quantities{Ordered: 5, Canceled: 1, Shipped: 1, Unallocated: 3}
	}, "MUG", 5, "CARD", 1, "HAT", 4, "KIT", 5))
	if err != nil {
		t.Fatal(err)
	}
	r.has("MUG", "MAIN", 9, 2)
	r.has("CARD", "MAIN", 9, 0)
	r.has("HAT", "MAIN", 9, 0)
	r.has("CUP", "MAIN", 9, 6)
	want := []retail.Allocation{{Line: "1", SKU: "MUG", Location: "MAIN", Warehouse: "warehouse", Quantity: 2, Units: 2}, {Line: "4", SKU: "CUP", Location: "MAIN", Warehouse: "warehouse", Quantity: 6, Units: 3}}
	if got := r.order("o1").Sourcing.Allocations; !slices.Equal(got, want) {
		t.Errorf("allocated %+v", got)
	}
}

// at is a policy of one location.
func at(code string) rules.Policy {
	return rules.Policy{Locations: []rules.Location{{Code: code, Warehouse: "warehouse"}}}
}

// A run reserves and dies, and its location is none of the retailer's any more.
func TestWhatAnEarlierRunReservedWhereNothingIsShippedFromAnyMoreIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(r *ruled, task document.Task) error{
		"sourced elsewhere": func(r *ruled, task document.Task) error { return r.phase().Allocate(t.Context(), task) },
		"canceled": func(r *ruled, task document.Task) error {
			h, err := r.store.Head(t.Context(), task.Key())
			if err != nil {
				return err
			}
			return r.phase().Unreserve(t.Context(), h)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuled(t, at("CITY"), map[string]map[string]int64{"MAIN": {"MUG": 5}, "CITY": {"MUG": 5}})
			first := r.accept("o1", "MUG", 2)
			if err := r.store.Reserve(t.Context(), first.Tenant, "o1", []stock.Item{{SKU: "MUG", Location: "MAIN", Line: "1", Quantity: 2, Until: r.now.Add(time.Hour)}}, r.now); err != nil {
				t.Fatal(err)
			}
			next, ok, err := r.life().Resume(t.Context(), first.Key(), 1)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if err := end(r, next); err != nil {
				t.Fatal(err)
			}
			r.has("MUG", "MAIN", 5, 0)
			r.has("MUG", "CITY", 5, map[string]int64{"sourced elsewhere": 2}[name])
		})
	}
}

// overtaken lets another execution decide between a reservation and its commit.
type overtaken struct {
	stock.Store
	by func()
}

func (o *overtaken) Reserve(ctx context.Context, t retail.Tenant, id string, items []stock.Item, now time.Time) error {
	err := o.Store.Reserve(ctx, t, id, items, now)
	if by := o.by; by != nil {
		o.by = nil
		by()
	}
	return err
}

func TestOfTwoExecutionsTheOneThatDecidesSecondKeepsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		other     string
		main, own int64
	}{
		"elsewhere":    {"CITY", 0, 2},
		"the same way": {"MAIN", 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuled(t, at("MAIN"), map[string]map[string]int64{"MAIN": {"MUG": 5}, "CITY": {"MUG": 5}})
			task := r.accept("o1", "MUG", 2)
			f := r.phase()
			f.Stock = &overtaken{Store: r.store, by: func() {
				r.policy = at(c.other)
				if err := r.phase().Allocate(t.Context(), task); err != nil {
					t.Error(err)
				}
			}}
			if err := f.Allocate(t.Context(), task); !errors.Is(err, document.ErrConflict) {
				t.Fatalf("err = %v", err)
			}
			r.has("MUG", "MAIN", 5, c.main)
			r.has("MUG", "CITY", 5, c.own)
		})
	}
}

// What two executions reserved under other rules, and the dead one never gave
// back, is found by the audit an hour later; what orders claim stays.
func TestTheAuditGivesBackWhatNoOrderClaims(t *testing.T) {
	r := newRuled(t, at("MAIN"), map[string]map[string]int64{"MAIN": {"MUG": 9}, "CITY": {"MUG": 9}})
	task := r.accept("o1", "MUG", 2)
	if err := r.phase().Allocate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	for order, location := range map[string]string{"o1": "CITY", "nobody": "MAIN"} {
		if err := r.store.Reserve(t.Context(), task.Tenant, order, []stock.Item{{SKU: "MUG", Location: location, Line: "1", Quantity: 2, Until: r.now.Add(time.Hour)}}, r.now); err != nil {
			t.Fatal(err)
		}
	}
	run := func() job.Part {
		t.Helper()
		p, err := stock.Auditing(r.store, lister{"MUG"}, r.phase().Unclaimed).Part(t.Context(), job.Job{Tenant: task.Tenant})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := run(); p.Counts.Applied != 0 || p.Counts.Unchanged != 1 {
		t.Errorf("too soon: %+v", p.Counts)
	}
	r.now = r.now.Add(2 * time.Hour)
	if p := run(); p.Counts.Applied != 1 || p.Counts.Read != 1 {
		t.Errorf("%+v", p.Counts)
	}
	r.has("MUG", "CITY", 9, 0)
	r.has("MUG", "MAIN", 9, 2)
}

// lister knows one page of SKUs.
type lister []string

func (l lister) SKUs(context.Context, retail.Tenant, string) ([]string, string, error) {
	return l, "", nil
}

// dying is a stock whose n-th reservation is never made.
type dying struct {
	stock.Store
	left int
}

var errDied = errors.New("the process died")

func (d *dying) Reserve(ctx context.Context, t retail.Tenant, o string, items []stock.Item, now time.Time) error {
	if d.left--; d.left < 0 {
		return errDied
	}
	return d.Store.Reserve(ctx, t, o, items, now)
}

// An order beyond one transaction is taken chunk by chunk; a run that dies in
// between is continued, and one that lacks something gives all of it back.
func TestALargeOrderIsTakenWholeOrGivenBack(t *testing.T) {
	positions := map[string]map[string]int64{"MAIN": {}, "CITY": {}}
	var lines []any
	for n := range 120 {
		sku := fmt.Sprint("S", n)
		positions["MAIN"][sku], positions["CITY"][sku] = 5, 0
		lines = append(lines, sku, 2)
	}
	r := newRuled(t, two, positions)
	task := r.accept("o1", lines...)
	f := r.phase()
	f.Stock = &dying{r.store, 2}
	if err := f.Allocate(t.Context(), task); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.phase().Allocate(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 120 {
		r.has(fmt.Sprint("S", n), "MAIN", 5, 2)
	}
	other := r.accept("o2", append(lines, "S7", 2)...)
	f.Stock = &dying{r.store, 1}
	if err := f.Allocate(t.Context(), other); err == nil {
		t.Fatal("two and two and two of five")
	}
	if x := fault.Of(r.phase().Allocate(t.Context(), other)); x == nil || x.Class != fault.InventoryShortage {
		t.Fatalf("err = %v", x)
	}
	for n := range 120 {
		r.has(fmt.Sprint("S", n), "MAIN", 5, 2)
	}
}

// watched counts what is asked of a store of stock, and may refuse reservations.
type watched struct {
	stock.Store
	looks, takes, wants int
	refuse              error
}

func (s *watched) Candidates(ctx context.Context, t retail.Tenant, order string, items []stock.Item, locations []string) ([]stock.Position, []stock.Hold, error) {
	s.looks++
	return s.Store.Candidates(ctx, t, order, items, locations)
}

func (s *watched) Holds(ctx context.Context, t retail.Tenant, sku, order string) ([]stock.Hold, error) {
	s.looks++
	return s.Store.Holds(ctx, t, sku, order)
}

func (s *watched) Want(ctx context.Context, t retail.Tenant, order string, demand []stock.Demand) error {
	s.wants++
	return s.Store.Want(ctx, t, order, demand)
}

func (s *watched) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	if s.takes++; s.refuse != nil {
		return s.refuse
	}
	return s.Store.Reserve(ctx, t, order, items, now)
}

func TestOnlyAChoiceIsLookedAt(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rules.Policy)
		run    int64
		looks  bool
	}{
		"the one location":                   {func(*rules.Policy) {}, 1, false},
		"the one location, which keeps some": {func(p *rules.Policy) { p.Locations[0].SafetyStock = 3 }, 1, false},
		"a location with so many a day":      {func(p *rules.Policy) { p.Locations[0].DailyOrders = 5 }, 1, true},
		"what may be promised beyond it":     {func(p *rules.Policy) { p.Sourcing.Backorder = true }, 1, true},
		"two locations":                      {func(p *rules.Policy) { p.Locations = append(p.Locations, rules.Location{Code: "CITY"}) }, 1, true},
		"a run after another":                {func(*rules.Policy) {}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := at("MAIN")
			c.change(&p)
			r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}})
			task := r.accept("o1", "MUG", 2)
			if c.run > 1 {
				h, err := r.store.Head(t.Context(), task.Key())
				if err != nil {
					t.Fatal(err)
				}
				h.Run, task.Run = c.run, c.run
				if err := r.life().Commit(t.Context(), document.Change{Head: h}); err != nil {
					t.Fatal(err)
				}
			}
			f, s := r.phase(), &watched{Store: r.store}
			f.Stock = s
			if err := f.Allocate(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			if (s.looks > 0) != c.looks || s.takes != 1 || (s.wants > 0) != (c.run > 1) {
				t.Errorf("looked %d times, reserved %d times, forgot %d demands", s.looks, s.takes, s.wants)
			}
			r.has("MUG", "MAIN", 9, 2)
			if r.order("o1").Sourcing.Backordered {
				t.Error("it is there and not waited for")
			}
		})
	}
}

func TestRacesAreLostOnlySoOften(t *testing.T) {
	for name, c := range map[string]struct{ attempts, want int }{"by rule": {2, 2}, "by default": {0, rules.DefaultAttempts}} {
		t.Run(name, func(t *testing.T) {
			p := two
			p.Sourcing.Attempts = c.attempts
			r := newRuled(t, p, map[string]map[string]int64{"MAIN": {"MUG": 9}, "CITY": {"MUG": 9}})
			f, s := r.phase(), &watched{Store: r.store, refuse: &stock.Short{SKU: "MUG", Location: "MAIN"}}
			f.Stock = s
			err := f.Allocate(t.Context(), r.accept("o1", "MUG", 2))
			if x := fault.Of(err); x == nil || x.Class != fault.InventoryShortage || s.takes != c.want {
				t.Errorf("reserved %d times, want %d: %v", s.takes, c.want, err)
			}
			lost := 0
			for _, v := range r.order("o1").Sourcing.Considered {
				if v.Rule == rules.RuleRace {
					lost++
				}
			}
			if lost != c.want {
				t.Errorf("%d races are told of", lost)
			}
		})
	}
}
