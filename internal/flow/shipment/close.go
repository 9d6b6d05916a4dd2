package shipment

import (
	"context"
	"fmt"
	"strings"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Close ends a shipment that its channel and its ERP know, and with the last
// one the order.
//
// The order's own timeline says which parcels were recorded for it, and each
// closing writes there, in the transaction that closes the shipment, that this
// parcel is done. Both are conditional on the order's version, so of two
// shipments that close at once the second sees the first: the order closes with
// the one that completes the list, if it is shipped and invoiced. A parcel that
// is only announced, or parked before it was recorded, is not on the list,
// because it has moved nothing.
func (p Phase) Close(ctx context.Context, t document.Task) error {
	return contend(func() error {
		w, err := p.recorded(ctx, t)
		if err != nil {
			return err
		}
		steps, err := p.Life.Store.Steps(ctx, w.head)
		if err != nil {
			return err
		}
		missing := untold(steps, w.head.Type, confirmed, posted)
		order, lacks, err := p.release(ctx, w)
		if err != nil {
			return err
		}
		if missing = append(missing, lacks...); len(missing) > 0 {
			return fault.New(fault.Retryable, fault.StateConflict, "the shipment cannot close before it is told: %s", strings.Join(missing, ", "))
		}
		own, err := p.Life.Next(w.head, retail.Closed, document.Step{Type: document.Event(w.head.Type, "closed")})
		if err != nil {
			return err
		}
		own.Head.Attempt = 0
		return p.commit(ctx, own, order)
	})
}

// untold returns those of the verbs that the timeline lacks, as events.
func untold(steps []document.Step, docType string, verbs ...string) []string {
	var out []string
	for _, verb := range verbs {
		if event := document.Event(docType, verb); !document.Mentions(steps, event) {
			out = append(out, event)
		}
	}
	return out
}

// release prepares the order's change for a shipment that closes, which is the
// order's end where the shipment is the last. lacks is what must be told first.
func (p Phase) release(ctx context.Context, w loaded) (c document.Change, lacks []string, err error) {
	h := w.parent
	steps, err := p.Life.Store.Steps(ctx, h)
	if err != nil {
		return c, nil, err
	}
	c, err = p.Life.Next(h, h.State, document.Step{Type: document.Event(h.Type, shipmentClosed), Data: map[string]string{"shipment": w.head.ID}})
	if err != nil {
		return c, nil, err
	}
	recorded, open := parcels(steps)
	delete(open, w.head.ID)
	if h.State != retail.Shipped || len(open) > 0 {
		return c, nil, nil
	}
	if lacks = untold(steps, h.Type, invoiced); len(lacks) > 0 {
		return c, lacks, nil
	}
	told := c.Steps
	c, err = p.Life.Next(c.Head, retail.Closed, document.Step{Type: document.Event(h.Type, "closed"), Data: map[string]string{"shipments": fmt.Sprint(recorded)}})
	c.Steps = append(told, c.Steps...)
	return c, nil, err
}

// parcels reads an order's timeline: how many shipments it records, and which
// of them are not closed.
func parcels(steps []document.Step) (recorded int, open map[string]bool) {
	open = map[string]bool{}
	for _, s := range steps {
		switch s.Type {
		case document.Event(document.Order, partlyShipped), document.Event(document.Order, wholeShipped):
			recorded++
			open[s.Data["shipment"]] = true
		case document.Event(document.Order, shipmentClosed):
			delete(open, s.Data["shipment"])
		}
	}
	return recorded, open
}
