package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// Result is what a course came to.
type Result struct {
	Problem *Problem
	// Writes are the side effects that were counted, Calls all calls of ports.
	Writes, Calls int
	// Course are the side effects before all deliveries are repeated.
	Course      int
	Documents   int
	VendorCalls int
	CallsOf     map[string]int // by connection
	Starts      int
	End         time.Duration
}

// Run carries out a scenario. Its trace, if wanted, is the same each time.
func Run(s Scenario, machines map[string]*Machine, trace io.Writer) Result {
	w := newWorld(s, machines, trace)
	defer w.end()
	w.tell("%s", s)
	w.begin()
	w.settle(calm)
	if w.problem == nil {
		w.settled()
	}
	if w.problem == nil && w.decide() {
		w.settled()
	}
	course := w.writes
	if w.problem == nil && len(s.Crashes) < 2 { // pairs of crashes are many
		w.replayChangesNothing()
	}
	r := Result{CallsOf: map[string]int{}, Course: course, Problem: w.problem, Writes: w.writes, Calls: w.calls, Documents: len(w.heads), Starts: w.starts, End: w.now}
	for _, t := range w.tenants {
		for _, v := range []*vendor{&t.shop.vendor, &t.erp.vendor, &t.wms.vendor} {
			r.VendorCalls += v.calls
			r.CallsOf[v.conn] += v.calls
		}
	}
	return r
}

// settle runs until nothing can come any more. That is long before its
// patience ends, or when the last delayed delivery has been dealt with.
func (w *world) settle(from time.Duration) {
	for end := from + patience; w.problem == nil && w.now < end; {
		w.run(min(w.now+10*time.Minute, end))
		if w.now >= from && w.idle() {
			return
		}
		if w.now == end && w.coming > 0 && end < latest {
			w.ontime()
			end = latest + patience
		}
	}
}

// decide lets people mend what was wrong, and press retry for all that is
// parked, twice each, until nothing more goes on.
func (w *world) decide() bool {
	w.mended = true
	for _, t := range w.tenants {
		for _, l := range locations {
			for _, sku := range append([]string{unknownSKU}, skus...) {
				// The books of the counted ones stay as they were but for this.
				if err := w.store.Apply(context.Background(), t.id, []stock.Move{{SKU: sku, Location: l, Type: "receipt", Document: l, OnHand: receipt, OccurredAt: w.time()}}); err != nil {
					panic(err)
				}
			}
		}
		for _, o := range t.shop.orders {
			for _, r := range t.erp.sales {
				if o.plan.Kind == OffByCent && r.of == o.order.ExternalID && r.total != o.order.Totals.Total {
					r.total = o.order.Totals.Total
				}
			}
		}
	}
	any := false
	for range 3 {
		for _, t := range w.tenants {
			for _, x := range w.openExceptions(t.id) {
				any = true
				for range 2 {
					w.soon(time.Second, func() { w.press(t, x.ID) })
				}
			}
		}
		w.settle(w.now + time.Minute)
	}
	return any
}

func (w *world) press(t *tenant, id string) {
	w.spawn("operator", 0, func() {
		_, _ = w.invoke("operator", time.Minute, document.Task{}, 0, func(ctx context.Context) error {
			r, err := w.desk.Retry(ctx, t.id, id, exception.Actor{By: "operator", Reason: "its cause is mended"})
			w.tell("retry of %s: %s %v", id, r.Outcome, err)
			return err
		})
	})
}

const (
	unknownSKU = "NOBODY-KNOWS"
	receipt    = 100 * onHand
)

// idle reports whether all documents have ended and nothing is on its way.
func (w *world) idle() bool {
	if w.coming > 0 || len(w.live) > 0 {
		return false
	}
	for _, q := range []string{orderQueue, shipmentQueue, resumeQueue} {
		if _, waits := w.queues.Next(q); waits {
			return false
		}
	}
	for _, k := range w.order {
		if !w.ended(w.heads[k]) {
			return false
		}
	}
	for _, t := range w.tenants {
		for _, o := range t.shop.orders {
			if _, found := w.head(t.id, "shop", "order", o.order.ExternalID); !found && o.plan.Kind != Garbage {
				return false
			}
		}
		for _, p := range t.wms.parcels {
			if _, found := w.head(t.id, "wms", "shipment", p.shipment.ExternalID); !found {
				return false
			}
		}
	}
	return true
}

// ontime holds that courses converge: all that had come by the time when
// faults ended has an end when patience does.
func (w *world) ontime() {
	for _, k := range w.order {
		if h := w.heads[k]; h.CreatedAt.Before(epoch.Add(calm)) && !w.ended(h) {
			w.fail("convergence", "%s %s is still %s, due %s, run %d, attempt %d", k.Type, k.ID, h.State, h.Due.Sub(epoch), h.Run, h.Attempt)
		}
	}
}

// begin writes the whole outside world into the agenda.
func (w *world) begin() {
	for i := range w.s.Orders {
		p := w.s.Orders[i]
		t := w.tenants[p.Tenant]
		w.soon(p.At, func() { w.place(t, p) })
	}
	if w.s.Faults[Configuration] > 0 {
		for _, t := range w.tenants {
			w.at(time.Duration(w.of(Configuration).Int64N(int64(40*time.Minute))), func() {
				t.location, t.changedAt = locations[1], w.now
				w.apply(t)
				w.tell("the configuration of %s changes", t.id)
			})
		}
	}
	if w.s.Faults[Counts] > 0 {
		for _, t := range w.tenants {
			w.countStock(t)
		}
	}
	w.at(calm, func() {
		w.quiet = true
		w.tell("faults end")
	})
	w.soon(calm+time.Minute, w.redrive)
	w.at(reconcileEvery, w.reconcile)
}

// redrive is what somebody does once the outage is over: what queues gave up
// comes back.
func (w *world) redrive() {
	ctx := context.Background()
	for _, q := range []string{orderQueue, shipmentQueue, resumeQueue} {
		if _, waits := w.queues.Next(q); waits {
			w.receive(q) // buries what is to be buried
		}
		for _, m := range must(w.queues.Receive(ctx, q+"-dead", 1000)) {
			w.tell("%s of %s is driven back", m.ID, q)
			if err := errors.Join(w.queues.Send(ctx, q, m.Group, json.RawMessage(m.Body), 0), w.queues.Delete(ctx, q+"-dead", m.Receipt)); err != nil {
				panic(err)
			}
		}
		w.poll(q)
	}
}

func money(amount int64) retail.Money { return retail.Money{Amount: amount, Currency: "USD"} }

// place makes an order at its channel and lets the channel tell of it.
func (w *world) place(t *tenant, p OrderPlan) {
	who := fmt.Sprintf("%s%s-%d", mark, t.id, p.Customer)
	a := retail.Address{Name: who, Line1: who + " Street", City: who + "ville", PostalCode: "12345", Country: "US"}
	o := &channelOrder{plan: p, person: retail.Person{Name: who, Email: who + "@example.com", Phone: who, Shipping: a, Billing: a}}
	o.order = retail.Order{Tenant: t.id, ExternalID: fmt.Sprint(4000 + p.Number), Number: fmt.Sprintf("#%d", p.Number), Currency: "USD",
		PlacedAt: t.shop.clock(), CustomerRef: fmt.Sprintf("c%d", p.Customer), FulfillmentPreference: "ship", DestinationCountry: "US"}
	sum := retail.Totals{Lines: money(0), Discounts: money(0), Shipping: money(500), Duties: money(0), Fees: money(0), Tip: money(0), Tax: money(0), Rounding: money(0)}
	for i := range p.Lines {
		qty, price := int64(1+(p.Number+i)%3), int64(1099+100*i)
		sku := skus[(p.Number+i)%len(skus)]
		switch {
		case p.Kind == UnknownSKU && i == 0:
			sku = unknownSKU
		case p.Kind == Short && i == 0:
			qty = 10 * onHand
		}
		l := retail.OrderLine{ID: fmt.Sprint(i + 1), ExternalID: fmt.Sprintf("l%d", i+1), SKU: sku, Title: sku, UnitPrice: retail.PriceOf(money(price)),
			Taxes: []retail.TaxLine{{Title: "tax", Amount: money(8 * qty)}}, RequiresShipping: p.Kind != Immaterial,
			Quantities: retail.Quantities{Ordered: qty, Unallocated: qty}}
		o.order.Lines = append(o.order.Lines, l)
		sum.Lines.Amount += price * qty
		sum.Tax.Amount += 8 * qty
	}
	o.order.Shipping = []retail.ShippingLine{{Title: "standard", Price: money(500)}}
	sum.Total = money(sum.Lines.Amount + sum.Shipping.Amount + sum.Tax.Amount)
	if p.Kind == Unbalanced {
		sum.Total.Amount++
	}
	o.order.Totals = sum
	o.listed = w.now
	if w.hit(LateReads) {
		o.listed += time.Duration(w.of(LateReads).Int64N(int64(channelSettle)))
	}
	t.shop.orders = append(t.shop.orders, o)
	w.changed(t, o, "create")
	if p.UpdateAt > 0 {
		w.soon(p.UpdateAt, func() { w.changed(t, o, "updated") })
	}
	if p.HandAt > 0 {
		w.soon(p.HandAt, func() {
			for i := range o.order.Lines {
				q := &o.order.Lines[i].Quantities
				q.Shipped, q.Unallocated = q.Shipped+q.Unallocated, 0
			}
			o.byHand = w.now
			w.changed(t, o, "fulfilled")
		})
	}
	if p.CancelAt > 0 {
		w.soon(p.CancelAt, func() {
			at := t.shop.clock()
			o.order.CanceledAt, o.canceled = &at, w.now
			w.changed(t, o, "cancelled")
		})
	}
}

// changed makes the next snapshot of an order and announces it.
func (w *world) changed(t *tenant, o *channelOrder, verb string) {
	o.version++
	o.updated = t.shop.clock()
	o.order.SourceUpdatedAt = o.updated
	o.order.SourceVersion = o.updated.Format("2006-01-02T15:04:05.000000000Z")
	w.announce(&delivery{tenant: t, conn: "shop", topic: "order/" + verb, event: fmt.Sprintf("evt-%s-%d", o.order.ExternalID, o.version), body: o.raw(), orders: o})
}

// willShip makes the warehouse pack what it was asked to ship.
func (w *world) willShip(h *warehouse, r *released) {
	t := w.tenants[0]
	if h.tenant != t.id {
		t = w.tenants[1]
	}
	var plan OrderPlan
	for _, o := range t.shop.orders {
		if o.order.Number == r.rel.OrderNumber {
			plan = o.plan
		}
	}
	var first, second []retail.ShipmentLine
	for i, l := range r.rel.Lines {
		n := l.Quantity
		if plan.Parcels > 1 && (i > 0 || n > 1) {
			take := n / 2
			if i > 0 {
				take = 0
			}
			second = append(second, retail.ShipmentLine{SKU: l.SKU, Quantity: n - take})
			n = take
		}
		if n > 0 {
			first = append(first, retail.ShipmentLine{SKU: l.SKU, Quantity: n})
		}
	}
	for i, lines := range [][]retail.ShipmentLine{first, second} {
		if len(lines) == 0 {
			continue
		}
		w.soon(plan.ShipIn+time.Duration(i)*20*time.Second*time.Duration(plan.Number%7), func() { w.ship(t, r, lines) })
	}
}

// ship lets a parcel leave.
func (w *world) ship(t *tenant, r *released, lines []retail.ShipmentLine) {
	n := len(t.wms.parcels) + 1
	p := &parcel{of: r, shipment: retail.Shipment{Tenant: t.id, ExternalID: fmt.Sprintf("p%d", n), OrderRef: r.ref, Reference: r.rel.Reference, Carrier: "UPS",
		Tracking: fmt.Sprintf("1Z%05d", n), ShippedAt: t.wms.clock(), SourceVersion: t.wms.clock().Format("2006-01-02T15:04:05.000000000Z"), Lines: lines}}
	t.wms.parcels = append(t.wms.parcels, p)
	event := ""
	if w.s.Seed%2 == 0 {
		event = fmt.Sprintf("wms-%d", n)
	}
	w.announce(&delivery{tenant: t, conn: "wms", topic: "shipment/shipped", event: event, body: p.raw(), parcel: p})
}

// Schedules, as infra/flows.yaml has them; a test compares.
const (
	sweepEvery     = time.Minute
	reconcileEvery = 5 * time.Minute
)

// wakeSweeper lets the sweeper come at the first minute at which it can find
// something; at all others it finds nothing.
func (w *world) wakeSweeper() {
	first := time.Duration(-1)
	for _, k := range w.order {
		h := w.heads[k]
		if h.Due.IsZero() {
			continue
		}
		if due := h.Due.Sub(epoch); first < 0 || due < first {
			first = due
		}
	}
	if first < 0 {
		return
	}
	tick := (max(first, w.now) + sweepEvery).Truncate(sweepEvery)
	if w.sweeping > w.now && w.sweeping <= tick {
		return
	}
	w.sweeping = tick
	w.at(tick, func() {
		if w.sweeping != tick {
			return
		}
		w.spawn("schedule", 0, func() {
			died, _ := w.invoke("document-sweep", timeouts["document-sweep"], document.Task{}, w.skewed(), w.sweep)
			w.tell("swept %s", died)
			w.wakeSweeper()
		})
	})
}

// reconcile lists the channels as the schedule has it, where it can find
// something. A listing that would find nothing still moves the watermark.
func (w *world) reconcile() {
	more := w.now < calm+patience
	unknown := false
	for _, t := range w.tenants {
		for _, o := range t.shop.orders {
			if _, found := w.head(t.id, "shop", "order", o.order.ExternalID); !found && o.plan.Kind != Garbage {
				unknown = true
			}
		}
	}
	placed := 0
	for _, t := range w.tenants {
		placed += len(t.shop.orders)
	}
	if !unknown {
		for _, t := range w.tenants {
			if err := w.store.SetWatermark(context.Background(), t.id, "shop", w.time()); err != nil {
				panic(err)
			}
		}
		if placed == len(w.s.Orders) {
			return
		}
	} else {
		w.spawn("schedule", 0, func() {
			died, err := w.invoke("order-reconcile", timeouts["order-reconcile"], document.Task{}, w.skewed(), func(ctx context.Context) error {
				var failed []error
				for _, t := range w.tenants {
					_, _, err := w.recon.Look(ctx, t.id, "shop", 1000)
					failed = append(failed, err)
				}
				return errors.Join(failed...)
			})
			w.tell("reconciled: %v %s", err, died)
		})
	}
	if more {
		w.after(reconcileEvery, w.reconcile)
	}
}
