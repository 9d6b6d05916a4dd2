package shipment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Class is the retention class of warehouses' payloads.
const Class = "shipment"

// Intake turns a warehouse's delivery into a received shipment, or into an
// explained exception. Whatever it returns nil for is kept for ever.
type Intake struct {
	Life        document.Life
	Inbox       inbox.Store
	Payloads    inbox.Payloads
	Connections flow.Connections
	// Start begins the shipment phase. A failed start is no failure: the due
	// time that the shipment was saved with brings it back.
	Start func(ctx context.Context, t document.Task) error
}

// Types of the external ids that lead to shipments and their orders.
const (
	shipmentRef = "shipment"
	orderRef    = "fulfillment_order"
	trackingRef = "tracking"
)

// A warehouse may announce a parcel before the release that led to it is
// committed. For patience after its receipt an announcement of an unknown
// order is tried again; after that somebody must look.
const (
	patience   = 10 * time.Minute
	retryAfter = 5 * time.Second
)

// Take handles one message. Its errors are Retryable; everything else is
// parked.
func (in Intake) Take(ctx context.Context, m inbox.Message) (outcome string, err error) {
	i := inbox.Intake{Class: Class, Life: in.Life, Events: in.Inbox, Payloads: in.Payloads}
	return i.Take(ctx, m, func(ctx context.Context, d inbox.Delivery) (string, error) {
		return delivery{d, in}.accept(ctx)
	})
}

type delivery struct {
	inbox.Delivery
	Intake
}

// read is a payload as the warehouse's shipment. Where it fails, what could be
// read is returned.
type read struct {
	shipment retail.Shipment
	config   int64 // version of the configuration
	bytes    []byte
	raw      string // where bytes is kept
}

func (d delivery) accept(ctx context.Context) (string, error) {
	if d.Unreadable != nil {
		return d.refuse(ctx, read{}, d.Unreadable)
	}
	r, err := d.decode(ctx, d.Bytes, d.Raw)
	if notYetShipped(err) && d.Exception == "" {
		return d.Finish(ctx, inbox.Superseded, document.Transaction{})
	}
	if err != nil && (d.Exception == "" || fault.KindOf(err) == fault.Retryable) {
		return d.refuse(ctx, r, err)
	}
	if k, found, kerr := d.Subject(ctx, shipmentRef, r.shipment.ExternalID); kerr != nil || found {
		if kerr != nil {
			return "", kerr
		}
		return d.about(ctx, k, r, err)
	}
	if err == nil {
		err = d.place(ctx, &r)
	}
	if err != nil {
		return d.refuse(ctx, r, err)
	}
	c, err := d.create(ctx, r)
	if err != nil {
		return "", err
	}
	if _, err := d.Finish(ctx, inbox.Accepted, document.Transaction{Changes: []document.Change{c}}); err != nil {
		return "", err
	}
	h := c.Head
	_ = d.Start(ctx, document.Task{Schema: retail.SchemaVersion, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: h.Run}) // the due time is the backstop
	return inbox.Accepted, nil
}

func (d delivery) decode(ctx context.Context, body []byte, raw string) (read, error) {
	r := read{bytes: body, raw: raw}
	s := &r.shipment
	dec, err := flow.Port[Decoder](ctx, d.Connections, d.Tenant, d.Connection, "decode shipments")
	if err == nil {
		*s, err = dec.DecodeShipment(body)
	}
	s.Schema, s.Tenant, s.Warehouse = retail.SchemaVersion, d.Tenant, d.Connection
	if !usable(s.ExternalID) {
		s.ExternalID = ""
		if err == nil {
			err = fault.New(fault.Permanent, fault.Validation, "the shipment has no id").At("id", "")
		}
	}
	return r, err
}

// notYetShipped recognizes the announcement of a parcel that is still in its
// warehouse, or never left it: another one follows, or nothing happened.
func notYetShipped(err error) bool {
	f := fault.Of(err)
	return f != nil && f.Kind == fault.Exception && f.Class == fault.StateConflict
}

// place finds the order that the shipment belongs to and the version of the
// configuration that it is taken in under.
func (d delivery) place(ctx context.Context, r *read) error {
	s := &r.shipment
	h, found, err := orderOf(ctx, d.Life.Store, d.Tenant, d.Connection, s.OrderRef)
	if err != nil {
		return err
	}
	if !found {
		if d.Life.Now().Sub(d.ReceivedAt) < patience {
			return fault.New(fault.Retryable, fault.MissingReference, "the warehouse's order is not known yet").At("order_id", s.OrderRef).After(retryAfter)
		}
		return unknownOrder(s.OrderRef)
	}
	s.OrderID = h.ID
	route, err := d.Connections.Route(ctx, d.Tenant, h.Connection)
	r.config = route.ConfigVersion
	return err
}

// orderOf leads from the warehouse's id of a released order to the order. The id
// is known before the release is: an order may yet be canceled in between.
func orderOf(ctx context.Context, store document.Store, t retail.Tenant, warehouse, external string) (h document.Head, found bool, err error) {
	if !usable(external) {
		return h, false, nil
	}
	ref := document.Ref{Tenant: t, Connection: warehouse, Type: orderRef, External: external}
	known, err := store.Resolve(ctx, ref)
	if k := known[ref]; err != nil || k.Type != document.Order {
		return h, false, err
	}
	if h, err = store.Head(ctx, known[ref]); err != nil {
		return h, false, fmt.Errorf("reading the order of warehouse order %s: %w", external, err)
	}
	switch h.State {
	case retail.Released, retail.InFulfillment, retail.Shipped, retail.Closed, retail.Canceled:
		return h, true, nil
	}
	return h, false, nil
}

func unknownOrder(external string) error {
	return fault.New(fault.Exception, fault.MissingReference, "no released order has this id at the warehouse").At("order_id", external)
}

// head is a new shipment's head: run 1 owns it until the phase's lease ends.
func (d delivery) head(r read) document.Head {
	now := d.Life.Now()
	h := document.Head{
		Key: document.Key{Tenant: d.Tenant, Type: document.Shipment, ID: d.Life.NewID()}, Schema: retail.SchemaVersion,
		State: retail.Received, Run: 1, Due: now.Add(document.PhaseLease), Connection: d.Connection,
		Correlation: d.Event(), CreatedAt: now, UpdatedAt: now,
	}
	r.describe(&h)
	return h
}

// describe takes into the head what the payload says of the shipment.
func (r read) describe(h *document.Head) {
	s := r.shipment
	h.Number = s.Tracking
	if !usable(h.Number) {
		h.Number = s.ExternalID
	}
	h.ExternalID, h.SourceVersion, h.SourceHash, h.Parent, h.Raw, h.ConfigVersion = s.ExternalID, s.SourceVersion, inbox.Hash(r.bytes), s.OrderID, r.raw, r.config
}

func (d delivery) create(ctx context.Context, r read) (document.Change, error) {
	h, s := d.head(r), r.shipment
	h.Body, s.ID = 1, h.ID
	refs, err := d.refs(ctx, h.Key, s)
	if err != nil {
		return document.Change{}, err
	}
	c, err := d.Life.Next(h, retail.Received, document.Step{Type: document.Event(h.Type, "received"), Data: map[string]string{
		"external_id": s.ExternalID, "tracking_number": s.Tracking, "carrier": s.Carrier, "order": s.OrderID,
		"lines": fmt.Sprint(len(s.Lines)), "topic": d.Topic,
	}})
	c.Body, c.Refs = s, refs
	return c, err
}

func (d delivery) refs(ctx context.Context, k document.Key, s retail.Shipment) ([]document.Ref, error) {
	refs := []document.Ref{d.Ref(shipmentRef, s.ExternalID)}
	free, err := freeRefs(ctx, d.Life.Store, k, d.Ref(trackingRef, s.Tracking))
	return append(refs, free...), err
}

// maxExternal bounds an external id in bytes: heads stay small, and no
// vendor's ids come near it.
const maxExternal = 256

func usable(external string) bool { return external != "" && len(external) <= maxExternal }

// freeRefs returns those refs that the document can have. Two parcels may
// share a tracking number, and a number that cannot be searched by is no
// reason to stop.
func freeRefs(ctx context.Context, store document.Store, k document.Key, refs ...document.Ref) ([]document.Ref, error) {
	refs = slices.DeleteFunc(slices.Clone(refs), func(r document.Ref) bool { return !usable(r.External) })
	taken, err := store.Resolve(ctx, refs...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(refs, func(r document.Ref) bool {
		owner, owned := taken[r]
		return owned && owner != k
	}), nil
}

// about handles a delivery about a shipment that is known; unread is why it
// could not be read, if it is a replay. A shipment is a fact: later snapshots
// of it add nothing.
func (d delivery) about(ctx context.Context, k document.Key, r read, unread error) (string, error) {
	h, err := d.Life.Store.Head(ctx, k)
	if err != nil {
		return "", fmt.Errorf("reading the known shipment: %w", err)
	}
	switch {
	case d.Answers(h):
		return d.adopt(ctx, h, r, unread)
	case unread != nil:
		return d.Park(ctx, k, h.Number, unread)
	case inbox.Shell(h) && inbox.Hash(r.bytes) == h.SourceHash:
		return d.Finish(ctx, inbox.Repeated, document.Transaction{}) // what it waits with
	case inbox.Shell(h):
		return d.Wait(ctx, h, r.shipment.SourceVersion)
	case r.shipment.SourceVersion < h.SourceVersion:
		return d.Finish(ctx, inbox.Superseded, document.Transaction{})
	}
	return d.Finish(ctx, inbox.Repeated, document.Transaction{})
}

// drainedAtOnce keeps a transaction within the database's bounds.
const drainedAtOnce = 50

// adopt gives a parked shipment the payload that answers its exception: the
// replayed one or, where that is refused still, the first of those that wait
// behind it which is not. The others told of the same parcel and wait no longer.
func (d delivery) adopt(ctx context.Context, h document.Head, r read, err error) (string, error) {
	if h.State != retail.Received {
		return d.Park(ctx, h.Key, h.Number, fault.New(fault.Exception, fault.StateConflict, "the shipment is %s; its payload can be replaced only before it is recorded", h.State).At("state", string(h.State)))
	}
	waiting, werr := d.Life.Store.Pending(ctx, h.Key)
	if werr != nil {
		return "", werr
	}
	if err == nil {
		err = d.fits(ctx, h, &r)
	}
	for _, p := range waiting {
		if err == nil || fault.KindOf(err) == fault.Retryable {
			break
		}
		body, gerr := d.Payloads.Get(ctx, p.Raw)
		if gerr != nil {
			return "", gerr
		}
		other, oerr := d.decode(ctx, body, p.Raw)
		if oerr == nil {
			oerr = d.fits(ctx, h, &other)
		}
		if oerr == nil {
			r, err = other, nil
		}
	}
	if err != nil {
		if fault.KindOf(err) == fault.Retryable {
			return "", err
		}
		return d.Park(ctx, h.Key, h.Number, err) // for the reason of now
	}
	if h, waiting, err = d.shed(ctx, h, waiting); err != nil {
		return "", err
	}
	s := &r.shipment
	s.ID = h.ID
	h.Body++
	h.Waiting = 0
	r.describe(&h)
	c, task, err := d.Life.Unpark(h, document.Step{Type: document.Event(h.Type, "retried"), Data: map[string]string{
		"exception": h.Parked, "external_id": s.ExternalID, "tracking_number": s.Tracking, "order": s.OrderID,
	}})
	if err != nil {
		return "", err
	}
	c.Body = *s
	if c.Refs, err = d.refs(ctx, h.Key, *s); err != nil {
		return "", err
	}
	if _, err := d.Finish(ctx, inbox.Accepted, document.Transaction{Changes: []document.Change{c}, Drained: waiting}); err != nil {
		return "", err
	}
	_ = d.Start(ctx, task) // the due time is the backstop
	return inbox.Accepted, nil
}

// shed lets go of the latest of what waits until one transaction can end the
// rest. They told of the same parcel, of which a payload is chosen.
func (d delivery) shed(ctx context.Context, h document.Head, waiting []document.Pending) (document.Head, []document.Pending, error) {
	for len(waiting) > drainedAtOnce {
		rest := max(len(waiting)-drainedAtOnce, drainedAtOnce)
		h.Waiting = rest
		c, err := d.Life.Next(h, h.State)
		if err != nil {
			return h, nil, err
		}
		if err := d.Life.Store.Commit(ctx, document.Transaction{Changes: []document.Change{c}, Drained: waiting[rest:]}); err != nil {
			return h, nil, err
		}
		h, waiting = c.Head, waiting[:rest]
		h.Version++
	}
	return h, waiting, nil
}

// fits holds a payload to the shipment that it is to become.
func (d delivery) fits(ctx context.Context, h document.Head, r *read) error {
	if h.ExternalID != "" && r.shipment.ExternalID != h.ExternalID {
		return fault.New(fault.Exception, fault.Validation, "the payload is of another shipment than %s", h.ExternalID).At("id", r.shipment.ExternalID)
	}
	return d.place(ctx, r)
}

// refuse parks what no further attempt would take in: with a shell that owns
// the warehouse's id where it could be read, so that later events find it.
func (d delivery) refuse(ctx context.Context, r read, cause error) (string, error) {
	if fault.KindOf(cause) == fault.Retryable {
		return "", cause
	}
	s := &r.shipment
	if s.ExternalID == "" {
		return d.Park(ctx, document.Key{}, s.Tracking, cause)
	}
	k, found, err := d.Known(ctx, shipmentRef, s.ExternalID)
	if err != nil {
		return "", err
	}
	if found {
		return d.Park(ctx, k, s.Tracking, cause)
	}
	order, found, err := orderOf(ctx, d.Life.Store, d.Tenant, d.Connection, s.OrderRef)
	if err != nil {
		return "", err
	}
	if found {
		s.OrderID = order.ID
	}
	h := d.head(r)
	return d.ParkNew(ctx, h, cause, func(c *document.Change) (err error) {
		if c.Refs, err = d.refs(ctx, h.Key, *s); err == nil && len(s.Lines) > 0 {
			s.ID, c.Head.Body = h.ID, 1
			c.Body = *s
		}
		return err
	})
}
