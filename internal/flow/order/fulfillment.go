package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// Fulfillment is the phase from a received order to its release. Each method
// is one task: it looks first, so running it twice, or the phase from its
// middle, changes nothing.
type Fulfillment struct {
	Life        document.Life
	Effects     *effect.Ledger
	Stock       stock.Store
	Payloads    inbox.Payloads
	Connections flow.Connections
}

// stale is the age from which an order is read again at its channel before
// its first effect and before its release: it may have been canceled
// meanwhile. What was read again is good for fresh.
const (
	stale = 5 * time.Minute
	fresh = time.Minute
)

// reviewAfter is when a released order is looked at again, should no shipment
// have been announced.
const reviewAfter = 30 * time.Minute

// Keys of the phase's effects.
const (
	CustomerEffect     = "customer"
	ShipToEffect       = "address"
	SalesOrderEffect   = "sales_order"
	ConfirmOrderEffect = "sales_order_confirm"
	ReleaseEffect      = "release"
)

// salesOrderCreated tells that the ERP has the order, confirmed and certified.
const salesOrderCreated = "sales_order_created"

// loaded is an order under work.
type loaded struct {
	head  document.Head
	order retail.Order
	route flow.Route
}

func (f Fulfillment) load(ctx context.Context, t document.Task) (loaded, error) {
	h, err := f.Life.Hold(ctx, t)
	if err != nil {
		return loaded{}, err
	}
	w := loaded{head: h}
	if err := f.Life.Store.Body(ctx, h.Key, h.Body, &w.order); err != nil {
		return loaded{}, fmt.Errorf("reading order %s: %w", h.ID, err)
	}
	w.route, err = f.Connections.Route(ctx, h.Tenant, h.Connection)
	return w, err
}

// Validate refuses what cannot be fulfilled before anything leaves the house,
// and ends an order that its channel has canceled.
func (f Fulfillment) Validate(ctx context.Context, t document.Task) error {
	w, err := f.load(ctx, t)
	if err != nil {
		return err
	}
	if w.head.State != retail.Received && w.head.State != retail.Accepted {
		return nil
	}
	if w.head, err = f.drain(ctx, w.head); err != nil {
		return err
	}
	canceled, err := f.canceled(ctx, &w)
	if err != nil {
		return err
	}
	if canceled {
		// A run that died may have reserved what it never got to say.
		if err := f.unreserve(ctx, w); err != nil {
			return err
		}
		c, err := f.Life.Next(w.head, retail.Canceled, document.Step{Type: document.Event(w.head.Type, "canceled"), Data: map[string]string{"by": "channel"}})
		if err != nil {
			return err
		}
		return f.Life.Commit(ctx, c)
	}
	if w.head.State == retail.Accepted {
		return nil
	}
	if _, err := retail.Certify(w.order); err != nil {
		return fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "certifying the order's money")
	}
	ships, begun := false, false
	for i, l := range w.order.Lines {
		if !l.Quantities.Balanced() {
			return fault.New(fault.Permanent, fault.Validation, "the line's quantities do not add up").At(fmt.Sprintf("lines[%d].quantities", i), l.ID)
		}
		ships = ships || (l.RequiresShipping && l.Quantities.Unallocated > 0)
		begun = begun || (l.RequiresShipping && l.Quantities.Shipped > 0)
	}
	if !ships && begun {
		return fault.New(fault.Exception, fault.StateConflict, "the channel says that all of the order is fulfilled already; nothing is left to ship").At("lines", w.order.Number)
	}
	if !ships {
		return fault.New(fault.Exception, fault.Validation, "the order has nothing to ship; only orders with goods are handled").At("lines", w.order.Number)
	}
	c, err := f.Life.Next(w.head, retail.Validated, document.Step{Type: document.Event(w.head.Type, "validated")})
	if err != nil {
		return err
	}
	// Validated and accepted in one commit: holds come between them later.
	steps := c.Steps
	c, err = f.Life.Next(c.Head, retail.Accepted, document.Step{Type: document.Event(w.head.Type, "accepted")})
	if err != nil {
		return err
	}
	c.Steps = append(steps, c.Steps...)
	return f.Life.Commit(ctx, c)
}

// drain takes in what waited behind the order while it was parked, in the order
// of the channel's versions. Each event leaves the queue in the transaction that
// says what it changed.
func (f Fulfillment) drain(ctx context.Context, h document.Head) (document.Head, error) {
	if h.Waiting == 0 {
		return h, nil
	}
	waiting, err := f.Life.Store.Pending(ctx, h.Key)
	if err != nil {
		return h, err
	}
	for _, p := range waiting {
		body, err := f.Payloads.Get(ctx, p.Raw)
		if err != nil {
			return h, err
		}
		decoder, err := flow.Port[Decoder](ctx, f.Connections, h.Tenant, h.Connection, "decode orders")
		if err != nil {
			return h, err
		}
		o, _, err := decoder.DecodeOrder(body)
		if err != nil {
			return h, err
		}
		h.Waiting--
		c, outcome, err := snapshot(f.Life, h, o, inbox.Hash(body), "pending")
		if err == nil && outcome != inbox.Updated {
			c, err = f.Life.Next(h, h.State)
		}
		if err != nil {
			return h, err
		}
		if err := f.Life.Store.Commit(ctx, document.Transaction{Changes: []document.Change{c}, Drained: []document.Pending{p}}); err != nil {
			return h, err
		}
		h = c.Head
		h.Version++
	}
	return h, nil
}

// canceled tells whether the channel has canceled the order; one that waited
// long is asked for again, and goes no further if somebody else has shipped it.
func (f Fulfillment) canceled(ctx context.Context, w *loaded) (bool, error) {
	if w.head.CancelAsked || w.order.CanceledAt != nil {
		return true, nil
	}
	if !f.late(w.head) {
		return false, nil
	}
	asked := f.Life.Now()
	opened, err := f.Connections.Open(ctx, w.head.Tenant, w.head.Connection)
	if err != nil {
		return false, err
	}
	fetcher, can := opened.(Fetcher)
	decoder, decodes := opened.(Decoder)
	if !can || !decodes {
		return false, nil
	}
	raw, found, err := fetcher.FetchOrder(ctx, w.head.ExternalID)
	if err != nil {
		return false, fmt.Errorf("reading the order at its channel: %w", err)
	}
	if !found {
		return false, fault.New(fault.Exception, fault.MissingReference, "the channel no longer knows the order").At("external_id", w.head.ExternalID)
	}
	now, _, err := decoder.DecodeOrder(raw)
	if err != nil {
		return false, err
	}
	if now.CanceledAt != nil {
		return true, nil
	}
	if err := elsewhere(w.order, now); err != nil {
		return false, err
	}
	// Kept at once: when many orders come back together, most are sent away by
	// the target's rate and would ask again seconds later.
	c, err := f.Life.Next(w.head, w.head.State)
	if err != nil {
		return false, err
	}
	c.Head.CheckedAt = asked
	if err := f.Life.Commit(ctx, c); err != nil {
		return false, err
	}
	w.head = c.Head
	w.head.Version++
	return false, nil
}

// elsewhere refuses an order of which somebody else has shipped units since it
// was taken in: none of ours is shipped before it is released, and what we would
// release is no longer wanted.
func elsewhere(then, now retail.Order) error {
	shipped := map[string]int64{}
	for _, l := range then.Lines {
		shipped[l.ExternalID] = l.Quantities.Shipped
	}
	for i, l := range now.Lines {
		if before, known := shipped[l.ExternalID]; known && l.RequiresShipping && l.Quantities.Shipped > before {
			return fault.New(fault.Exception, fault.StateConflict, "%d of %d units were fulfilled at the channel meanwhile, and not by us; what is left has to be settled there",
				l.Quantities.Shipped-before, l.Quantities.Ordered-l.Quantities.Canceled).At(fmt.Sprintf("lines[%d].quantities.shipped", i), l.SKU)
		}
	}
	return nil
}

// late tells whether what is known of the order is stale.
func (f Fulfillment) late(h document.Head) bool {
	now := f.Life.Now()
	return now.Sub(h.CreatedAt) >= stale && now.Sub(h.CheckedAt) >= fresh
}

// Unreserve gives back what a sourced order holds of the stock. Giving back
// twice changes nothing.
func (f Fulfillment) Unreserve(ctx context.Context, h document.Head) error {
	w := loaded{head: h}
	if err := f.Life.Store.Body(ctx, h.Key, h.Body, &w.order); err != nil {
		return fmt.Errorf("reading order %s: %w", h.ID, err)
	}
	var err error
	if w.route, err = f.Connections.Route(ctx, h.Tenant, h.Connection); err != nil {
		return err
	}
	return f.unreserve(ctx, w)
}

// SalesOrder makes the order exist in the ERP, exactly once and with the same
// total.
func (f Fulfillment) SalesOrder(ctx context.Context, t document.Task) error {
	w, err := f.load(ctx, t)
	if err != nil || w.head.State != retail.Sourcing {
		return err
	}
	// An order that waits for its warehouse comes by often: nobody is asked then.
	if made, err := f.made(ctx, w); err != nil || made {
		return err
	}
	person, err := f.person(ctx, w.head.Key)
	if err != nil {
		return err
	}
	customers, err := flow.Port[Customers](ctx, f.Connections, w.head.Tenant, w.route.ERP, "keep customers")
	if err != nil {
		return err
	}
	orders, err := flow.Port[SalesOrders](ctx, f.Connections, w.head.Tenant, w.route.ERP, "keep sales orders")
	if err != nil {
		return err
	}
	customer, shipTo, err := f.customer(ctx, customers, w, person)
	if err != nil {
		return fmt.Errorf("keeping the customer: %w", err)
	}
	err = f.notCanceled(ctx, &w, w.route.ERP, func(ctx context.Context) error {
		_, _, err := orders.FindSalesOrder(ctx, w.order)
		return err
	})
	if err != nil {
		return err
	}
	subject := effect.Subject{Tenant: w.head.Tenant, Type: w.head.Type, ID: w.head.ID}
	so, err := f.Effects.Do(ctx, effect.Effect{
		Subject: subject, Key: SalesOrderEffect, Payload: moneyOf(w.order), Settle: orders.SalesOrderSettle(),
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) { return orders.FindSalesOrder(ctx, w.order) },
		Send: func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
			return orders.CreateSalesOrder(ctx, p, w.order, customer, shipTo, shipTo)
		},
	})
	if err != nil {
		return fmt.Errorf("creating the sales order: %w", err)
	}
	so, err = f.Effects.Do(ctx, effect.Effect{
		Subject: subject, Key: ConfirmOrderEffect, Payload: so.Ref, Settle: orders.SalesOrderSettle(),
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) { return orders.SalesOrderConfirmed(ctx, so) },
		Send: func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
			return orders.ConfirmSalesOrder(ctx, p, so)
		},
	})
	if err != nil {
		return fmt.Errorf("confirming the sales order: %w", err)
	}
	stored, err := orders.SalesOrderTotal(ctx, so)
	if err != nil {
		return fmt.Errorf("reading the sales order's total: %w", err)
	}
	if _, err := retail.CertifyTarget("ERP", w.order.Totals.Total, stored); err != nil {
		return fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "certifying the sales order").At("total", stored.String())
	}
	return f.told(ctx, w, salesOrderCreated, so, salesOrderRef(w, so))
}

// made tells whether the sales order was confirmed, certified and told.
func (f Fulfillment) made(ctx context.Context, w loaded) (bool, error) {
	rec, err := f.Effects.Store.Effect(ctx, effect.Subject{Tenant: w.head.Tenant, Type: w.head.Type, ID: w.head.ID}, ConfirmOrderEffect)
	if err != nil || rec == nil || rec.Status != effect.Confirmed {
		return false, err
	}
	return f.mentioned(ctx, w.head, salesOrderCreated)
}

// mentioned tells whether the order's timeline has the entry. A number that
// leads to the order proves less: it may be there before the entry is.
func (f Fulfillment) mentioned(ctx context.Context, h document.Head, verb string) (bool, error) {
	steps, err := f.Life.Store.Steps(ctx, h)
	return document.Mentions(steps, document.Event(h.Type, verb)), err
}

func salesOrderRef(w loaded, so effect.Receipt) document.Ref {
	return document.Ref{Tenant: w.head.Tenant, Connection: w.route.ERP, Type: "sales_order", External: so.Number}
}

// moneyOf is the part of an order that its sales order must never change in.
func moneyOf(o retail.Order) any {
	return struct {
		ID, External string
		Totals       retail.Totals
		Lines        int
	}{o.ID, o.ExternalID, o.Totals, len(o.Lines)}
}

// customer keeps the buyer and the address in the ERP. A returning buyer is
// one subject, so that two orders placed at once make one party.
func (f Fulfillment) customer(ctx context.Context, cs Customers, w loaded, person retail.Person) (customer, address effect.Receipt, err error) {
	ref := w.head.Connection + ":" + w.order.CustomerRef
	if w.order.CustomerRef == "" {
		ref = "order:" + w.head.ID
	}
	subject := effect.Subject{Tenant: w.head.Tenant, Type: "customer", ID: w.route.ERP + ":" + ref}
	customer, err = f.Effects.Do(ctx, effect.Effect{
		Subject: subject, Key: CustomerEffect, Payload: ref, Settle: cs.CustomerSettle(),
		// A guest is known by our own id of the order, which nobody else can have
		// kept at the ERP.
		LookFirst: w.order.CustomerRef != "",
		Lookup:    func(ctx context.Context) (effect.Receipt, bool, error) { return cs.FindCustomer(ctx, ref) },
		Send: func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
			return cs.CreateCustomer(ctx, p, ref, person)
		},
	})
	if err != nil {
		return customer, address, err
	}
	key := ShipToEffect + "#" + addressHash(person.Shipping)
	address, err = f.Effects.Do(ctx, effect.Effect{
		Subject: subject, Key: key, Payload: key, Settle: cs.CustomerSettle(), LookFirst: true,
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) {
			return cs.FindAddress(ctx, customer, person.Shipping)
		},
		Send: func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
			return cs.CreateAddress(ctx, p, customer, person.Shipping)
		},
	})
	return customer, address, err
}

func addressHash(a retail.Address) string { return inbox.Hash(fmt.Appendf(nil, "%q", a)) }

func (f Fulfillment) person(ctx context.Context, k document.Key) (retail.Person, error) {
	p, err := f.Life.Store.Person(ctx, k)
	if errors.Is(err, document.ErrNotFound) {
		return p, fault.New(fault.Exception, fault.Address, "the order's personal data was erased")
	}
	return p, err
}

// notCanceled stops an order that was canceled after its ERP order or its
// reservation was begun: a canceled order is never released. While the target is
// out of reach the channel is not asked at every attempt: whether it is back is
// found out by look, a read.
func (f Fulfillment) notCanceled(ctx context.Context, w *loaded, target string, look func(context.Context) error) error {
	if f.late(w.head) {
		proven, err := flow.Ready(ctx, f.Connections, w.head.Tenant, target)
		if err == nil && !proven {
			err = look(ctx)
		}
		if err != nil {
			return err
		}
	}
	canceled, err := f.canceled(ctx, w)
	if err != nil {
		return err
	}
	if canceled {
		return fault.New(fault.Exception, fault.StateConflict, "the channel has canceled the order; it will not be released").At("cancelled_at", w.head.Number)
	}
	return nil
}

// told records an effect in the timeline once, with the number that people
// will search for.
func (f Fulfillment) told(ctx context.Context, w loaded, verb string, r effect.Receipt, refs ...document.Ref) error {
	if done, err := f.mentioned(ctx, w.head, verb); err != nil || done {
		return err
	}
	c, err := f.Life.Next(w.head, w.head.State, document.Step{Type: document.Event(w.head.Type, verb), Data: map[string]string{"ref": r.Ref, "number": r.Number}})
	if err != nil {
		return err
	}
	c.Refs = refs
	c.Head.Attempt = 0
	return f.Life.CommitFree(ctx, c)
}

// Release asks the warehouse to ship.
func (f Fulfillment) Release(ctx context.Context, t document.Task) error {
	w, err := f.load(ctx, t)
	if err != nil || w.head.State != retail.Sourcing {
		return err
	}
	parts, target := releases(w), w.route.Warehouse
	if len(parts) > 0 {
		target = parts[0].warehouse
	}
	err = f.notCanceled(ctx, &w, target, func(ctx context.Context) error {
		warehouse, err := flow.Port[Releaser](ctx, f.Connections, w.head.Tenant, target, "ship orders")
		if err == nil && len(parts) > 0 {
			_, _, err = warehouse.FindRelease(ctx, parts[0].release)
		}
		return err
	})
	if err != nil {
		return err
	}
	person, err := f.person(ctx, w.head.Key)
	if err != nil {
		return err
	}
	var done []retail.WarehouseRelease
	var receipts []effect.Receipt
	for _, p := range parts {
		warehouse, err := flow.Port[Releaser](ctx, f.Connections, w.head.Tenant, p.warehouse, "ship orders")
		if err != nil {
			return err
		}
		receipt, err := f.Effects.Do(ctx, effect.Effect{
			Subject: effect.Subject{Tenant: w.head.Tenant, Type: w.head.Type, ID: w.head.ID}, Key: p.key,
			Payload: p.release, Settle: warehouse.ReleaseSettle(),
			Lookup: func(ctx context.Context) (effect.Receipt, bool, error) { return warehouse.FindRelease(ctx, p.release) },
			Send: func(ctx context.Context, permit effect.Permit) (effect.Receipt, error) {
				return warehouse.Release(ctx, permit, p.release, person)
			},
		})
		if err != nil {
			return fmt.Errorf("releasing to the warehouse: %w", err)
		}
		receipts = append(receipts, receipt)
		done = append(done, retail.WarehouseRelease{Location: p.release.Location, Warehouse: p.warehouse, Ref: receipt.Ref})
	}
	for i := range w.order.Lines {
		l := &w.order.Lines[i]
		q := &l.Quantities
		if l.RequiresShipping {
			q.Released, q.Allocated = q.Released+q.Allocated, 0
		} else {
			// What needs no parcel is delivered with the release.
			q.Shipped, q.Allocated = q.Shipped+q.Allocated, 0
		}
	}
	if w.order.Sourcing != nil {
		next := *w.order.Sourcing
		next.Releases = done
		w.order.Sourcing = &next
	}
	var steps []document.Step
	var refs []document.Ref
	for i, r := range done {
		steps = append(steps, document.Step{Type: "retail.fulfillment_order.released.v1", Data: map[string]string{
			"warehouse": r.Warehouse, "location": r.Location, "ref": r.Ref, "number": receipts[i].Number,
		}})
		refs = append(refs, document.Ref{Tenant: w.head.Tenant, Connection: r.Warehouse, Type: "fulfillment_order", External: r.Ref})
	}
	c, err := f.Life.Next(w.head, retail.Released, steps...)
	if err != nil {
		return err
	}
	c.Head.Body++
	c.Head.Attempt = 0
	// The order waits for its warehouse, and is looked at again should nothing
	// be heard.
	c.Head.Due = f.Life.Now().Add(reviewAfter)
	c.Body = w.order
	c.Refs = refs
	return f.Life.Commit(ctx, c)
}

// part is what one location is asked to ship.
type part struct {
	key       string // of its effect
	warehouse string // connection
	release   retail.Release
}

// releases are one for each location, in the order of the lines. The first has
// the order's own reference, as all had before orders could be split.
func releases(w loaded) (out []part) {
	at := map[string]int{}
	add := func(location, warehouse string, l retail.OrderLine, n int64) {
		i, ok := at[location]
		if !ok {
			i = len(out)
			at[location] = i
			p := part{key: ReleaseEffect, warehouse: warehouse, release: retail.Release{
				Reference: w.head.ID, OrderNumber: w.order.Number, PlacedAt: w.order.PlacedAt, Location: location, ShippingMethod: w.order.ShippingMethod,
			}}
			if i > 0 {
				p.key, p.release.Reference = ReleaseEffect+"#"+location, fmt.Sprintf("%s-%d", w.head.ID, i+1)
			}
			out = append(out, p)
		}
		out[i].release.Lines = append(out[i].release.Lines, retail.ReleaseLine{OrderLine: l.ID, SKU: l.SKU, Title: l.Title, Quantity: n})
	}
	for _, l := range w.order.Lines {
		q := l.Quantities.Allocated
		if !l.RequiresShipping || q == 0 {
			continue
		}
		told := false
		if w.order.Sourcing != nil {
			seen := map[string]bool{} // a kit has an allocation for each component
			for _, a := range w.order.Sourcing.Allocations {
				if a.Line == l.ID && !seen[a.Location] {
					seen[a.Location], told = true, true
					add(a.Location, a.Warehouse, l, a.Units)
				}
			}
		}
		if !told {
			add(w.route.Location, w.route.Warehouse, l, q)
		}
	}
	return out
}
