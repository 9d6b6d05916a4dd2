package order_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/retail"
)

var errDown = fault.New(fault.Retryable, fault.Connectivity, "the vendor does not answer")

// late is the vendors of an order that was received long ago.
type late struct {
	shop
	target
	now     time.Time
	body    string // of the order at the channel
	proven  bool   // what is known of the ERP and the warehouse
	shut    error
	targets []string // connections that were asked about
	down    bool     // they do not answer
	asked   int      // times the channel was asked for the order
	looked  int      // times the ERP or the warehouse was asked whether it has it
	totals  int      // times the ERP was asked for the order's total
}

type lateChannel struct {
	order.Decoder
	*late
}

func (c lateChannel) FetchOrder(context.Context, string) ([]byte, bool, error) {
	c.asked++
	return []byte(c.body), true, nil
}

func (l *late) Open(ctx context.Context, t retail.Tenant, connection string) (any, error) {
	opened, err := l.shop.Open(ctx, t, connection)
	if connection == "shop" {
		return lateChannel{opened.(order.Decoder), l}, err
	}
	return l, err
}

func (l *late) Ready(_ context.Context, _ retail.Tenant, connection string) (bool, error) {
	l.targets = append(l.targets, connection)
	return l.proven, l.shut
}

func (l *late) FindSalesOrder(ctx context.Context, o retail.Order) (effect.Receipt, bool, error) {
	l.looked++
	if l.down {
		return effect.Receipt{}, false, errDown
	}
	return l.target.FindSalesOrder(ctx, o)
}

func (l *late) SalesOrderTotal(ctx context.Context, so effect.Receipt) (retail.Money, error) {
	l.totals++
	return l.target.SalesOrderTotal(ctx, so)
}

func (l *late) FindRelease(ctx context.Context, r retail.Release) (effect.Receipt, bool, error) {
	l.looked++
	if l.down {
		return effect.Receipt{}, false, errDown
	}
	return l.target.FindRelease(ctx, r)
}

func (l *late) Release(ctx context.Context, p effect.Permit, r retail.Release, who retail.Person) (effect.Receipt, error) {
	if l.down {
		return effect.Receipt{}, errDown
	}
	return l.target.Release(ctx, p, r, who)
}

// newLate brings an order to where its sales order is due, and so much later.
func newLate(t *testing.T, age time.Duration) (*bench, *late, order.Fulfillment, document.Task, string) {
	b := newBench(t)
	task, id := b.receive(10)
	body, err := b.sim.Payload(id)
	if err != nil {
		t.Fatal(err)
	}
	l := &late{shop: b.in.Connections.(shop), now: noon, body: string(body), proven: true}
	f := b.phase(&l.target)
	f.Life.Now = func() time.Time { return l.now }
	f.Effects.Now, f.Connections = f.Life.Now, l
	for _, step := range []func(context.Context, document.Task) error{f.Validate, f.Allocate} {
		if err := step(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	l.now = noon.Add(age)
	return b, l, f, task, id
}

func TestALateOrderIsReadAgainAtItsChannelOnceAMinuteAtMost(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		asks int
	}{{5*time.Minute - 1, 0}, {5 * time.Minute, 1}} {
		_, l, f, task, _ := newLate(t, c.age)
		if err := f.SalesOrder(t.Context(), task); err != nil || l.asked != c.asks {
			t.Errorf("%s old: asked %d times, %v", c.age, l.asked, err)
		}
	}
	b, l, f, task, id := newLate(t, time.Hour)
	if err := f.SalesOrder(t.Context(), task); err != nil || l.sales != 1 || l.asked != 1 {
		t.Fatalf("made %+v, asked %d times, %v", l.target, l.asked, err)
	}
	if h := b.head(id); !h.CheckedAt.Equal(l.now) || h.State != retail.Sourcing {
		t.Errorf("head %+v", h)
	}
	l.down = true
	for _, c := range []struct {
		after time.Duration
		asks  int
	}{{0, 1}, {time.Minute - 1, 1}, {time.Minute, 2}, {61 * time.Second, 2}, {10 * time.Minute, 3}} {
		l.now = noon.Add(time.Hour + c.after)
		if err := f.SalesOrder(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if err := f.Release(t.Context(), task); !errors.Is(err, errDown) || l.asked != c.asks {
			t.Errorf("%s after it was read: asked %d times, %v", c.after, l.asked, err)
		}
	}
	if l.totals != 1 || l.sales != 1 || l.confirms != 1 || l.looked != 0 {
		t.Errorf("an order that waits for its warehouse asks its ERP: made %+v, %d looks, %d totals", l.target, l.looked, l.totals)
	}
	l.down = false
	if err := f.Release(t.Context(), task); err != nil || l.releases != 1 || b.head(id).State != retail.Released {
		t.Errorf("made %+v, %v", l.target, err)
	}
}

func TestASalesOrderThatNobodyWasToldOfIsCertifiedAgain(t *testing.T) {
	b, l, f, task, id := newLate(t, time.Minute)
	died := f
	died.Life.Store = dead{b.store}
	if err := died.SalesOrder(t.Context(), task); !errors.Is(err, errDied) || l.confirms != 1 || l.totals != 1 {
		t.Fatalf("made %+v, %v", l.target, err)
	}
	for range 2 {
		if err := f.SalesOrder(t.Context(), task); err != nil || l.confirms != 1 || l.totals != 2 {
			t.Errorf("made %+v, %d totals, %v", l.target, l.totals, err)
		}
	}
	steps, err := b.store.Steps(t.Context(), b.head(id))
	if err != nil || steps[len(steps)-1].Type != "retail.order.sales_order_created.v1" {
		t.Errorf("%+v, %v", steps, err)
	}
}

func TestWhatNeedsNoParcelIsDeliveredWithTheRelease(t *testing.T) {
	r := newRuled(t, at("MAIN"), map[string]map[string]int64{"MAIN": {"MUG": 9}})
	task := r.acceptAs("o1", retail.Person{Name: "Ann"}, func(o *retail.Order) { o.Lines[1].RequiresShipping = false }, "MUG", 2, "CARD", 3)
	for _, step := range []func(context.Context, document.Task) error{r.phase().Allocate, r.phase().Release} {
		if err := step(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	o := r.order("o1")
	if q := o.Lines[0].Quantities; q != (retail.Quantities{Ordered: 2, Released: 2}) {
		t.Errorf("mugs %+v", q)
	}
	if q := o.Lines[1].Quantities; q != (retail.Quantities{Ordered: 3, Shipped: 3}) {
		t.Errorf("cards %+v", q)
	}
}

func TestALateOrderWaitsForTheWarehouseThatShipsItAndForNoOther(t *testing.T) {
	b, l, f, task, id := newLate(t, time.Hour)
	if err := f.SalesOrder(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	h := b.head(id)
	var o retail.Order
	if err := b.store.Body(t.Context(), h.Key, h.Body, &o); err != nil {
		t.Fatal(err)
	}
	for i := range o.Sourcing.Allocations {
		o.Sourcing.Allocations[i].Warehouse = "store"
	}
	h.Body++
	if err := f.Life.Commit(t.Context(), document.Change{Head: h, Body: o}); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(time.Hour)
	if err := f.Release(t.Context(), task); err != nil || !slices.Equal(l.targets, []string{"erp", "store"}) {
		t.Errorf("asked about %q, %v", l.targets, err)
	}
}

func TestALateOrderThatWasCanceledMeanwhileIsNotSentOn(t *testing.T) {
	canceled := func(body string) string {
		return strings.Replace(body, `"cancelled_at":null`, `"cancelled_at":"2026-03-01T13:00:00Z"`, 1)
	}
	_, l, f, task, _ := newLate(t, time.Hour)
	l.body = canceled(l.body)
	if err := f.SalesOrder(t.Context(), task); fault.Of(err) == nil || fault.Of(err).Class != fault.StateConflict || l.sales != 0 {
		t.Errorf("made %+v, %v", l.target, err)
	}
	_, l, f, task, _ = newLate(t, time.Hour)
	if err := f.SalesOrder(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	l.body, l.now = canceled(l.body), l.now.Add(time.Hour)
	for range 2 { // having read it is no reason not to ask again
		if err := f.Release(t.Context(), task); fault.Of(err) == nil || fault.Of(err).Class != fault.StateConflict || l.releases != 0 {
			t.Errorf("made %+v, %v", l.target, err)
		}
	}
}

func TestALateOrderThatSomebodyElseShippedMeanwhileIsNotSentOn(t *testing.T) {
	shipped := func(body string) string {
		return strings.Replace(body, `"fulfillable_quantity":1`, `"fulfillable_quantity":0`, 1)
	}
	_, l, f, task, _ := newLate(t, time.Hour)
	l.body = shipped(l.body)
	for range 2 {
		if x := fault.Of(f.SalesOrder(t.Context(), task)); x == nil || x.Kind != fault.Exception || x.Class != fault.StateConflict || l.sales != 0 {
			t.Fatalf("made %+v, %+v", l.target, x)
		}
	}
	_, l, f, task, _ = newLate(t, time.Hour)
	if err := f.SalesOrder(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	l.body, l.now = shipped(l.body), l.now.Add(time.Hour)
	if x := fault.Of(f.Release(t.Context(), task)); x == nil || x.Class != fault.StateConflict || l.releases != 0 {
		t.Errorf("made %+v, %+v", l.target, x)
	}
}

func TestTheChannelIsNotAskedWhileTheOrderCannotGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(*late)
		looked int
		asked  int
	}{
		"the circuit is open":                  {func(l *late) { l.shut = errDown }, 0, 0},
		"the next request decides, and fails":  {func(l *late) { l.proven, l.down = false, true }, 1, 0},
		"the next request decides, and passes": {func(l *late) { l.proven = false }, 1, 1},
	} {
		b, l, f, task, id := newLate(t, time.Hour)
		c.set(l)
		err := f.SalesOrder(t.Context(), task)
		if (err == nil) != (c.asked > 0) || l.asked != c.asked || l.looked != c.looked {
			t.Errorf("%s, sales order: asked %d times after %d looks, %v", name, l.asked, l.looked, err)
		}
		l.proven, l.shut, l.down = true, nil, false
		if err := f.SalesOrder(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		l.asked, l.looked, l.now = 0, 0, l.now.Add(time.Hour)
		c.set(l)
		err = f.Release(t.Context(), task)
		if (err == nil) != (c.asked > 0) || l.asked != c.asked || l.looked != c.looked {
			t.Errorf("%s, release: asked %d times after %d looks, %v", name, l.asked, l.looked, err)
		}
		if got := b.head(id).State == retail.Released; got != (c.asked > 0) {
			t.Errorf("%s: released %v", name, got)
		}
	}
	_, l, f, task, _ := newLate(t, time.Minute)
	l.shut = errDown
	if err := f.SalesOrder(t.Context(), task); err != nil || l.asked != 0 {
		t.Errorf("an order that is not late asks what is known of its ERP: %v", err)
	}
}
