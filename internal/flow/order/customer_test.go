package order_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/retail"
)

// forgetful is an ERP that never finds a party again: what is made once is the
// ledger's doing.
type forgetful struct {
	target
	made   []string
	sought []string          // customers
	shipTo map[string]string // sales order → address
}

func (x *forgetful) CreateCustomer(_ context.Context, _ effect.Permit, ref string, _ retail.Person) (effect.Receipt, error) {
	x.made = append(x.made, ref)
	return effect.Receipt{Ref: "party of " + ref}, nil
}

func (x *forgetful) FindCustomer(_ context.Context, ref string) (effect.Receipt, bool, error) {
	x.sought = append(x.sought, ref)
	return effect.Receipt{}, false, nil
}

func (x *forgetful) CreateAddress(_ context.Context, _ effect.Permit, of effect.Receipt, a retail.Address) (effect.Receipt, error) {
	x.made = append(x.made, a.City+" of "+of.Ref)
	return effect.Receipt{Ref: a.City}, nil
}

func (x *forgetful) FindAddress(context.Context, effect.Receipt, retail.Address) (effect.Receipt, bool, error) {
	return effect.Receipt{}, false, nil
}

func (x *forgetful) CreateSalesOrder(ctx context.Context, p effect.Permit, o retail.Order, customer, shipTo, invoiceTo effect.Receipt) (effect.Receipt, error) {
	x.shipTo[o.ID] = shipTo.Ref
	return x.target.CreateSalesOrder(ctx, p, o, customer, shipTo, invoiceTo)
}

// elsewhere routes orders to one of two ERPs.
type elsewhere struct {
	*ruled
	erp   string
	opens map[string]*forgetful
}

func (e *elsewhere) Open(_ context.Context, _ retail.Tenant, connection string) (any, error) {
	return e.opens[connection], nil
}

func (e *elsewhere) Route(ctx context.Context, t retail.Tenant, channel string) (flow.Route, error) {
	r, err := e.ruled.Route(ctx, t, channel)
	r.ERP = e.erp
	return r, err
}

func TestABuyerIsOnePartyAndEachOfTheirAddressesOneToo(t *testing.T) {
	r := newRuled(t, at("MAIN"), map[string]map[string]int64{"MAIN": {"MUG": 99}})
	e := &elsewhere{r, "erp", map[string]*forgetful{"erp": {shipTo: map[string]string{}}, "erp2": {shipTo: map[string]string{}}}}
	f := r.phase()
	f.Connections = e
	for i, c := range []struct{ buyer, city, erp string }{
		{"c1", "Rome", "erp"}, {"c1", "Rome", "erp"}, {"c1", "Oslo", "erp"}, {"c2", "Rome", "erp"}, {"", "Rome", "erp"}, {"", "Rome", "erp"}, {"c1", "Rome", "erp2"},
	} {
		id := fmt.Sprint("o", i)
		e.erp = c.erp
		e.opens[c.erp].total = retail.Money{}
		task := r.acceptAs(id, retail.Person{Name: "Ann", Shipping: retail.Address{City: c.city}}, func(o *retail.Order) { o.CustomerRef = c.buyer }, "MUG", 1)
		for _, step := range []func(context.Context, document.Task) error{f.Allocate, f.SalesOrder} {
			if err := step(t.Context(), task); err != nil {
				t.Fatal(id, err)
			}
		}
		if got := e.opens[c.erp].shipTo[id]; got != c.city {
			t.Errorf("%s goes to %q, not to %s", id, got, c.city)
		}
	}
	for erp, want := range map[string][]string{
		"erp": {"shop:c1", "Rome of party of shop:c1", "Oslo of party of shop:c1", "shop:c2", "Rome of party of shop:c2",
			"order:o4", "Rome of party of order:o4", "order:o5", "Rome of party of order:o5"},
		"erp2": {"shop:c1", "Rome of party of shop:c1"},
	} {
		if got := e.opens[erp].made; !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", erp, got, want)
		}
	}
	// Only who may be known there without us is looked for, and once.
	if got, want := e.opens["erp"].sought, []string{"shop:c1", "shop:c2"}; !slices.Equal(got, want) {
		t.Errorf("erp is asked for %q, want %q", got, want)
	}
}

func TestAnOrderWhoseMoneyChangedIsNotSentUnderTheSameEffect(t *testing.T) {
	r := newRuled(t, at("MAIN"), map[string]map[string]int64{"MAIN": {"MUG": 9}})
	r.target.lose = true
	task := r.accept("o1", "MUG", 1)
	if err := r.phase().Allocate(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if err := r.phase().SalesOrder(t.Context(), task); fault.KindOf(err) != fault.Retryable {
		t.Fatal(err)
	}
	h, err := r.store.Head(t.Context(), task.Key())
	if err != nil {
		t.Fatal(err)
	}
	o := r.order("o1")
	o.Totals.Total.Amount++
	h.Body++
	if err := r.store.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: h, Body: o}}}); err != nil {
		t.Fatal(err)
	}
	if f := fault.Of(r.phase().SalesOrder(t.Context(), task)); f == nil || f.Kind != fault.Permanent || r.target.confirms != 0 {
		t.Errorf("%v, confirmed %d times", f, r.target.confirms)
	}
}
