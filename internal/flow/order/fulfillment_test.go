package order_test

import (
	"context"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// target is an ERP and a warehouse in one, counting what was made.
type target struct {
	parties, addresses, sales, confirms, releases int
	total                                         retail.Money
	lose                                          bool // the next sales order is made and its answer lost
	released                                      retail.Release
}

func (x *target) CreateCustomer(context.Context, effect.Permit, string, retail.Person) (effect.Receipt, error) {
	x.parties++
	return effect.Receipt{Ref: "p"}, nil
}
func (x *target) FindCustomer(context.Context, string) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "p"}, x.parties > 0, nil
}
func (x *target) CreateAddress(context.Context, effect.Permit, effect.Receipt, retail.Address) (effect.Receipt, error) {
	x.addresses++
	return effect.Receipt{Ref: "a"}, nil
}
func (x *target) FindAddress(context.Context, effect.Receipt, retail.Address) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "a"}, x.addresses > 0, nil
}
func (*target) CustomerSettle() time.Duration { return time.Second }
func (x *target) CreateSalesOrder(_ context.Context, _ effect.Permit, o retail.Order, _, _, _ effect.Receipt) (effect.Receipt, error) {
	x.sales++
	if x.total.Currency == "" {
		x.total = o.Totals.Total
	}
	if x.lose {
		x.lose = false
		return effect.Receipt{}, fault.New(fault.Retryable, fault.Connectivity, "no answer").OutcomeUnknown()
	}
	return effect.Receipt{Ref: "7"}, nil
}
func (x *target) FindSalesOrder(context.Context, retail.Order) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "7"}, x.sales > 0, nil
}
func (x *target) ConfirmSalesOrder(context.Context, effect.Permit, effect.Receipt) (effect.Receipt, error) {
	x.confirms++
	return effect.Receipt{Ref: "7", Number: "S7"}, nil
}
func (x *target) SalesOrderConfirmed(context.Context, effect.Receipt) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "7", Number: "S7"}, x.confirms > 0, nil
}
func (x *target) SalesOrderTotal(context.Context, effect.Receipt) (retail.Money, error) {
	return x.total, nil
}
func (*target) SalesOrderSettle() time.Duration { return time.Second }
func (x *target) Release(_ context.Context, _ effect.Permit, r retail.Release, _ retail.Person) (effect.Receipt, error) {
	x.releases++
	x.released = r
	return effect.Receipt{Ref: "w1", Number: "W1"}, nil
}
func (x *target) FindRelease(context.Context, retail.Release) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "w1"}, x.releases > 0, nil
}
func (*target) ReleaseSettle() time.Duration { return time.Second }

// both opens the shop for the channel and the target for the rest.
type both struct {
	shop
	target *target
}

func (b both) Open(ctx context.Context, t retail.Tenant, connection string) (any, error) {
	if connection == "shop" {
		return b.shop.Open(ctx, t, connection)
	}
	return b.target, nil
}

func (b *bench) phase(x *target) order.Fulfillment {
	return order.Fulfillment{
		Life: b.in.Life, Stock: b.store, Payloads: b.blobs, Connections: both{b.in.Connections.(shop), x},
		Effects: &effect.Ledger{Store: b.store, Now: b.in.Life.Now, NewID: b.in.Life.NewID},
	}
}

func (b *bench) receive(onHand int64) (document.Task, string) {
	b.Helper()
	body, id := b.payload(2)
	if onHand > 0 {
		if err := b.store.Apply(b.Context(), b.tenant, []stock.Move{{SKU: "MUG-STONE", Location: "MAIN", Type: "opening",
			Connection: "erp", Document: "opening", Line: "MUG-STONE", OnHand: onHand, OccurredAt: noon, RecordedAt: noon}}); err != nil {
			b.Fatal(err)
		}
	}
	b.take("e-"+id, body)
	return b.started[len(b.started)-1], id
}

func run(ctx context.Context, f order.Fulfillment, t document.Task) error {
	for _, step := range []func(context.Context, document.Task) error{f.Validate, f.Allocate, f.SalesOrder, f.Release} {
		if err := step(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func TestRunningThePhaseTwiceMakesEverythingOnce(t *testing.T) {
	b, x := newBench(t), &target{}
	f := b.phase(x)
	task, id := b.receive(10)
	for range 2 {
		if err := run(t.Context(), f, task); err != nil {
			t.Fatal(err)
		}
	}
	if x.parties != 1 || x.addresses != 1 || x.sales != 1 || x.confirms != 1 || x.releases != 1 {
		t.Errorf("made %+v", x)
	}
	h := b.head(id)
	if h.State != retail.Released || h.Defective() || !h.Due.Equal(noon.Add(30*time.Minute)) {
		t.Errorf("head = %+v", h)
	}
	p, err := b.store.Positions(t.Context(), b.tenant, "MAIN", []string{"MUG-STONE"})
	if err != nil || p["MUG-STONE"].Reserved != 2 || p["MUG-STONE"].OnHand != 10 {
		t.Errorf("position %+v, %v", p, err)
	}
	if x.released.Reference != h.ID || len(x.released.Lines) != 2 {
		t.Errorf("released %+v", x.released)
	}
	found, err := b.store.Resolve(t.Context(), document.Ref{Tenant: b.tenant, Connection: "erp", Type: "sales_order", External: "S7"},
		document.Ref{Tenant: b.tenant, Connection: "warehouse", Type: "fulfillment_order", External: "w1"})
	if err != nil || len(found) != 2 {
		t.Errorf("its numbers lead to %v, %v", found, err)
	}
}

func TestALostAnswerOfTheERPMakesNoSecondOrder(t *testing.T) {
	b, x := newBench(t), &target{lose: true}
	f := b.phase(x)
	task, _ := b.receive(10)
	if err := run(t.Context(), f, task); fault.KindOf(err) != fault.Retryable {
		t.Fatalf("err = %v", err)
	}
	if err := run(t.Context(), f, task); err != nil || x.sales != 1 || x.releases != 1 {
		t.Errorf("err = %v, made %+v", err, x)
	}
}

func TestWhatTheBusinessMustDecideNamesItsFieldAndReleasesNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		onHand int64
		total  retail.Money
		class  fault.Class
	}{
		{"an unknown SKU", 0, retail.Money{}, fault.Mapping},
		{"too little stock", 1, retail.Money{}, fault.InventoryShortage},
		{"an ERP total that differs by a cent", 10, retail.Money{Amount: 1, Currency: "USD"}, fault.TotalsDiffer},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, x := newBench(t), &target{total: c.total}
			task, _ := b.receive(c.onHand)
			f := fault.Of(run(t.Context(), b.phase(x), task))
			if f == nil || f.Kind != fault.Exception || f.Class != c.class || f.Field == "" || x.releases != 0 {
				t.Errorf("fault = %+v, released %d times", f, x.releases)
			}
			if c.class == fault.InventoryShortage {
				p, err := b.store.Positions(t.Context(), b.tenant, "MAIN", []string{"MUG-STONE"})
				if err != nil || p["MUG-STONE"].Reserved != 0 {
					t.Errorf("a shortage keeps stock: %+v, %v", p, err)
				}
			}
		})
	}
}

func TestACanceledOrderIsNeverReleased(t *testing.T) {
	b, x := newBench(t), &target{}
	f := b.phase(x)
	task, id := b.receive(10)
	if err := f.Validate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	h := b.head(id)
	h.CancelAsked = true
	if err := b.in.Life.Commit(t.Context(), document.Change{Head: h}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context, document.Task) error{f.SalesOrder, f.Release} {
		if err := step(t.Context(), task); fault.KindOf(err) != fault.Exception {
			t.Errorf("err = %v", err)
		}
	}
	if x.sales != 0 || x.releases != 0 {
		t.Errorf("made %+v", x)
	}
}
