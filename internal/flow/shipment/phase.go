package shipment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// Phase is the way from a received shipment to its end: Record, then Confirm
// beside Invoice, then Close. Each method is one task: it looks first, so
// running it twice, or the phase from its beginning, changes nothing.
type Phase struct {
	Life        document.Life
	Effects     *effect.Ledger
	Stock       stock.Store
	Connections flow.Connections
}

// reviewAfter is when an order that still waits for parcels is looked at
// again, should none be announced.
const reviewAfter = 30 * time.Minute

// Keys of the phase's effects. The invoice's subject is the order, because
// several shipments of an order share it; the others' is the shipment.
const (
	ConfirmEffect     = "confirm"
	ERPShipmentEffect = "erp_shipment"
	InvoiceEffect     = "invoice"
)

// Keys of the order flow's effects whose receipts lead to the order at the ERP
// and at the warehouse.
const (
	salesOrderEffect = "sales_order_confirm"
	releaseEffect    = "release"
)

// Verbs of timeline entries that later tasks look for.
const (
	partlyShipped  = "partially_shipped"
	wholeShipped   = "shipped"
	shipmentClosed = "shipment_closed"
	confirmed      = "confirmed"
	posted         = "erp_posted"
	invoiced       = "invoiced"
)

// loaded is a shipment under work, with its order.
type loaded struct {
	head     document.Head
	shipment retail.Shipment
	parent   document.Head
	order    retail.Order
}

func (p Phase) load(ctx context.Context, t document.Task) (loaded, error) {
	h, err := p.Life.Hold(ctx, t)
	if err != nil {
		return loaded{}, err
	}
	w := loaded{head: h}
	if h.Body == 0 {
		return w, fault.New(fault.Permanent, fault.Validation, "the announcement could not be read; replay it once it can")
	}
	if err := p.Life.Store.Body(ctx, h.Key, h.Body, &w.shipment); err != nil {
		return w, fmt.Errorf("reading shipment %s: %w", h.ID, err)
	}
	if w.parent, err = p.parent(ctx, &w); err != nil {
		return w, err
	}
	if err := p.Life.Store.Body(ctx, w.parent.Key, w.parent.Body, &w.order); err != nil {
		return w, fmt.Errorf("reading order %s: %w", w.parent.ID, err)
	}
	return w, nil
}

// parent reads the order's head. A shipment that was parked because its order
// was unknown is led to it here.
func (p Phase) parent(ctx context.Context, w *loaded) (document.Head, error) {
	if w.head.Parent == "" {
		h, found, err := orderOf(ctx, p.Life.Store, w.head.Tenant, w.head.Connection, w.shipment.OrderRef)
		if err == nil && !found {
			err = unknownOrder(w.shipment.OrderRef)
		}
		if err != nil {
			return document.Head{}, err
		}
		w.head.Parent, w.shipment.OrderID = h.ID, h.ID
		return h, nil
	}
	h, err := p.Life.Store.Head(ctx, document.Key{Tenant: w.head.Tenant, Type: document.Order, ID: w.head.Parent})
	if err != nil {
		return h, fmt.Errorf("reading the order of shipment %s: %w", w.head.ID, err)
	}
	return h, nil
}

// recorded loads a shipment for the tasks that come after Record.
func (p Phase) recorded(ctx context.Context, t document.Task) (loaded, error) {
	w, err := p.load(ctx, t)
	if err == nil && w.head.State != retail.Recorded {
		err = fault.New(fault.Retryable, fault.StateConflict, "the shipment is not recorded yet")
	}
	return w, err
}

func (w loaded) subject() effect.Subject {
	return effect.Subject{Tenant: w.head.Tenant, Type: w.head.Type, ID: w.head.ID}
}

func (w loaded) orderSubject() effect.Subject {
	return effect.Subject{Tenant: w.parent.Tenant, Type: w.parent.Type, ID: w.parent.ID}
}

// parcel is the part of a recorded shipment that must never change in what is
// told about it.
func (w loaded) parcel(target string) any {
	return struct {
		Target, Shipment, Tracking string
		Lines                      []retail.ShipmentLine
	}{target, w.shipment.ExternalID, w.shipment.Tracking, w.shipment.Lines}
}

// errLost marks a commit that lost its race. Nothing was written.
var errLost = errors.New("somebody else changed the document first")

func (p Phase) commit(ctx context.Context, changes ...document.Change) error {
	return lost(p.Life.CommitFree(ctx, changes...))
}

func lost(err error) error {
	f := fault.Of(err)
	if errors.Is(err, document.ErrConflict) || errors.Is(err, document.ErrRefTaken) ||
		(f != nil && f.Kind == fault.Retryable && f.Class == fault.StateConflict) {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// contests is how often a lost race is run again. Two branches of one shipment
// share its head, and all shipments of an order share the order's.
const contests = 5

// contend runs attempt until it loses no race. Each attempt must read what it
// changes, and check its run, anew.
func contend(attempt func() error) error {
	var err error
	for range contests {
		if err = attempt(); !errors.Is(err, errLost) {
			return err
		}
	}
	return fault.Wrap(fault.Retryable, fault.StateConflict, err, "too many changes at once").After(time.Second)
}

// told reports whether the document's timeline has the entry.
func (p Phase) told(ctx context.Context, h document.Head, verb string) (bool, error) {
	steps, err := p.Life.Store.Steps(ctx, h)
	return document.Mentions(steps, document.Event(h.Type, verb)), err
}

// news is one entry of a document's timeline that is told once.
type news struct {
	key  document.Key
	verb string
	data map[string]string
	refs []document.Ref // left out where another document has them
}

// tell writes n into the timeline of the shipment or of its order, under the
// shipment's run.
func (p Phase) tell(ctx context.Context, t document.Task, n news) error {
	return contend(func() error {
		h, err := p.Life.Hold(ctx, t)
		if err != nil {
			return err
		}
		own := n.key == h.Key
		if !own {
			if h, err = p.Life.Store.Head(ctx, n.key); err != nil {
				return fmt.Errorf("reading the head of %s %s: %w", n.key.Type, n.key.ID, err)
			}
		}
		// As of the head: whatever is told in between makes the commit fail.
		if done, err := p.told(ctx, h, n.verb); err != nil || done {
			return err
		}
		c, err := p.Life.Next(h, h.State, document.Step{Type: document.Event(n.key.Type, n.verb), Data: n.data})
		if err != nil {
			return err
		}
		c.Refs = slices.DeleteFunc(slices.Clone(n.refs), func(r document.Ref) bool { return !usable(r.External) })
		if own {
			c.Head.Attempt = 0
		}
		return p.commit(ctx, c)
	})
}

// numberOf is what people call a receipt's record.
func numberOf(r effect.Receipt) string {
	if r.Number != "" {
		return r.Number
	}
	return r.Ref
}

// review keeps an open order due.
func (p Phase) review(h *document.Head) {
	if due := p.Life.Now().Add(reviewAfter); h.Parked == "" && h.Due.Before(due) {
		h.Due = due
	}
}

// proven returns the receipt of an effect that another phase has done.
func proven(ctx context.Context, effects effect.Store, s effect.Subject, key, field string) (effect.Receipt, error) {
	r, err := effects.Effect(ctx, s, key)
	if err != nil {
		return effect.Receipt{}, fmt.Errorf("reading effect %s: %w", key, err)
	}
	if r == nil || r.Status != effect.Confirmed {
		return effect.Receipt{}, fault.New(fault.Exception, fault.MissingReference, "the order's effect %s is not confirmed", key).At(field, s.ID)
	}
	return r.Receipt, nil
}
