package shipment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// Record moves the shipped quantities: in the order and the shipment in one
// transaction, then in stock.
//
// Which order lines a parcel fills is decided by that transaction, against
// whatever other parcels of the order are recorded at the same time; only then
// is a movement's natural key (shipment, order line) fixed. Stock therefore
// follows the commit and is moved again, to no effect, by every later run, so
// that a crash in between neither loses nor doubles a movement.
func (p Phase) Record(ctx context.Context, t document.Task) error {
	var w loaded
	err := contend(func() (err error) {
		w, err = p.record(ctx, t)
		return err
	})
	if err != nil {
		return err
	}
	return p.move(ctx, w)
}

func (p Phase) record(ctx context.Context, t document.Task) (loaded, error) {
	w, err := p.load(ctx, t)
	if err != nil || w.head.State != retail.Received {
		return w, err
	}
	if err := shippable(w.parent); err != nil {
		return w, p.verdict(ctx, w, err)
	}
	var taken *retail.SourcingDecision
	if w.shipment.Lines, taken, err = assign(w.order, w.order.ShippedFrom(w.shipment.OrderRef), w.shipment.Lines); err != nil {
		return w, p.verdict(ctx, w, err)
	}
	w.order.Sourcing = taken
	own, err := p.Life.Next(w.head, retail.Recorded, document.Step{Type: document.Event(w.head.Type, "recorded"), Data: map[string]string{
		"order": w.parent.ID, "lines": fmt.Sprint(len(w.shipment.Lines)), "units": fmt.Sprint(units(w.shipment.Lines)),
	}})
	if err != nil {
		return w, err
	}
	own.Head.Attempt = 0
	own.Head.Body++
	own.Body = w.shipment
	order, err := p.ship(ctx, w)
	if err != nil {
		return w, err
	}
	return w, p.commit(ctx, own, order)
}

// verdict is err, unless the shipment was changed since it was read. It was
// read before its order: a second start of the same run may have recorded the
// parcel in between, and the order then has nothing left for it.
func (p Phase) verdict(ctx context.Context, w loaded, err error) error {
	h, rerr := p.Life.Store.Head(ctx, w.head.Key)
	if rerr != nil {
		return fmt.Errorf("reading the head of shipment %s again: %w", w.head.ID, rerr)
	}
	if h.Version != w.head.Version {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// shippable refuses a parcel for an order that no warehouse was asked to ship.
func shippable(order document.Head) error {
	switch order.State {
	case retail.Released, retail.InFulfillment, retail.Shipped, retail.Closed:
		// Of a shipped order nothing is left, which the lines will tell.
		return nil
	case retail.Sourcing:
		return fault.New(fault.Retryable, fault.StateConflict, "the order's release is not committed yet").After(2 * time.Second)
	default:
		return fault.New(fault.Exception, fault.StateConflict, "the parcel is for an order that is not released").At("order.state", string(order.State))
	}
}

// assign spreads what a warehouse counted by SKU over the order's released
// lines, in the order's sequence, and moves the quantities there. Of an order
// that is split over locations only what was allocated at the parcel's is
// filled. It returns one line for each order line, and the order's allocations
// with what is shipped of them. On an error the order is not to be used.
func assign(o retail.Order, from string, counted []retail.ShipmentLine) ([]retail.ShipmentLine, *retail.SourcingDecision, error) {
	left, shipped := room(o, from)
	lines, err := fill(o, left, counted)
	if err != nil || shipped == nil {
		return lines, shipped, err
	}
	for _, l := range lines {
		for i := range shipped.Allocations {
			if a := &shipped.Allocations[i]; a.Line == l.OrderLine && a.Location == from {
				a.Shipped += l.Quantity
			}
		}
	}
	return lines, shipped, nil
}

// room is what may still leave a location, by order line; nil is anything that
// is released. The decision is a copy.
func room(o retail.Order, from string) (map[string]int64, *retail.SourcingDecision) {
	if o.Sourcing == nil {
		return nil, nil
	}
	own := *o.Sourcing
	own.Allocations = slices.Clone(own.Allocations)
	if len(o.Locations()) < 2 || from == "" {
		return nil, &own
	}
	left := map[string]int64{}
	for _, a := range own.Allocations {
		if a.Location == from {
			left[a.Line] = a.Units - a.Shipped
		}
	}
	return left, &own
}

func fill(o retail.Order, room map[string]int64, counted []retail.ShipmentLine) ([]retail.ShipmentLine, error) {
	if len(counted) == 0 {
		return nil, fault.New(fault.Permanent, fault.Validation, "the shipment is empty").At("lines", "")
	}
	taken := make([]int64, len(o.Lines))
	for i, l := range counted {
		if l.Quantity <= 0 {
			return nil, fault.New(fault.Permanent, fault.Validation, "the line ships no quantity").At(fmt.Sprintf("lines[%d].quantity", i), l.SKU)
		}
		left, known := l.Quantity, false
		for j := range o.Lines {
			if o.Lines[j].SKU != l.SKU {
				continue
			}
			known = true
			q := &o.Lines[j].Quantities
			n := min(left, q.Released)
			if room != nil {
				n = min(n, room[o.Lines[j].ID])
				room[o.Lines[j].ID] -= n
			}
			q.Released, q.Shipped = q.Released-n, q.Shipped+n
			taken[j] += n
			left -= n
		}
		field := fmt.Sprintf("lines[%d].sku", i)
		if !known {
			return nil, fault.New(fault.Exception, fault.Mapping, "the order has no line with this SKU").At(field, l.SKU)
		}
		if left > 0 {
			return nil, fault.New(fault.Exception, fault.StateConflict, "the parcel holds %d more than the order still had released", left).At(field, l.SKU)
		}
	}
	var out []retail.ShipmentLine
	for j, n := range taken {
		if n > 0 {
			out = append(out, retail.ShipmentLine{OrderLine: o.Lines[j].ID, SKU: o.Lines[j].SKU, Quantity: n})
		}
	}
	return out, nil
}

func units(lines []retail.ShipmentLine) int64 {
	var n int64
	for _, l := range lines {
		n += l.Quantity
	}
	return n
}

// ship prepares the order's change. Its run stays: a fulfillment phase that
// has yet to rest may hold it.
func (p Phase) ship(ctx context.Context, w loaded) (document.Change, error) {
	h, steps := w.parent, []document.Step(nil)
	p.review(&h)
	if h.State == retail.Released {
		c, err := p.Life.Next(h, retail.InFulfillment, document.Step{Type: document.Event(h.Type, "fulfillment_started")})
		if err != nil {
			return c, err
		}
		h, steps = c.Head, c.Steps
	}
	to, verb := retail.InFulfillment, partlyShipped
	if !waits(w.order) {
		to, verb = retail.Shipped, wholeShipped
	}
	c, err := p.Life.Next(h, to, document.Step{Type: document.Event(h.Type, verb), Data: map[string]string{
		"shipment": w.head.ID, "tracking_number": w.shipment.Tracking, "carrier": w.shipment.Carrier, "units": fmt.Sprint(units(w.shipment.Lines)),
	}})
	if err != nil {
		return c, err
	}
	c.Steps = append(steps, c.Steps...)
	c.Head.Body++
	c.Body = w.order
	// The number is the shipment's at the warehouse's connection, and the
	// order's at its channel's.
	if usable(w.shipment.Tracking) {
		c.Refs = []document.Ref{{Tenant: h.Tenant, Connection: h.Connection, Type: trackingRef, External: w.shipment.Tracking}}
	}
	return c, nil
}

// waits reports whether anything of the order is still to be shipped.
func waits(o retail.Order) bool {
	for _, l := range o.Lines {
		if l.Quantities.Unallocated+l.Quantities.Allocated+l.Quantities.Released > 0 {
			return true
		}
	}
	return false
}

// move takes a recorded shipment's lines off the shelf where they were
// reserved, and off the order's reservation. Movements that are recorded
// already are skipped.
func (p Phase) move(ctx context.Context, w loaded) error {
	from := w.order.ShippedFrom(w.shipment.OrderRef)
	if from == "" {
		// The order was allocated before that was written down.
		route, err := p.Connections.Route(ctx, w.parent.Tenant, w.parent.Connection)
		if err != nil {
			return err
		}
		from = route.Location
	}
	sales := p.sales(w, from)
	if err := p.Stock.Apply(ctx, w.head.Tenant, sales); err != nil {
		return fmt.Errorf("moving the stock of shipment %s: %w", w.head.ID, err)
	}
	return stock.Ledger{Store: p.Stock, Life: p.Life}.Drifted(ctx, w.head.Tenant, sales)
}

// sales are a movement for each line, or for each component where it is a kit.
func (p Phase) sales(w loaded, from string) []stock.Move {
	now := p.Life.Now()
	var out []stock.Move
	for _, l := range w.shipment.Lines {
		parts := []retail.Allocation{{SKU: l.SKU, Quantity: 1, Units: 1}}
		if w.order.Sourcing != nil {
			own := slices.DeleteFunc(slices.Clone(w.order.Sourcing.Allocations), func(a retail.Allocation) bool { return a.Line != l.OrderLine || a.Location != from })
			if len(own) > 0 {
				parts = own
			}
		}
		for _, a := range parts {
			out = append(out, stock.Move{
				SKU: a.SKU, Location: from, Type: stock.Sale, Connection: w.head.Connection, Document: w.head.ID, Line: l.OrderLine,
				OnHand: -l.Quantity * a.Quantity / a.Units, OccurredAt: w.shipment.ShippedAt, RecordedAt: now, Hold: w.parent.ID,
			})
		}
	}
	return out
}
