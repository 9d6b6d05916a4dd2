package shipment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Intake turns a warehouse's delivery into a received shipment, or into an
// explained exception. Whatever it returns nil for is kept for ever.
type Intake struct {
	Life        document.Life
	Inbox       inbox.Store
	Payloads    Payloads
	Connections flow.Connections
	// Start begins the shipment phase. A failed start is no failure: the due
	// time that the shipment was saved with brings it back.
	Start func(ctx context.Context, t document.Task) error
}

// Outcomes of an intake, as remembered in the inbox.
const (
	Accepted   = "accepted"
	Parked     = "parked"
	Repeated   = "duplicate"
	Superseded = "superseded"
	Waiting    = "pending"
)

// Types of the external ids that lead to shipments and their orders.
const (
	shipmentRef = "shipment"
	orderRef    = "fulfillment_order"
	trackingRef = "tracking"
)

// maxLease bounds a lease where the caller's context has no deadline.
const maxLease = 2 * time.Minute

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
	body, unreadable := m.Payload(ctx, in.Payloads)
	if unreadable != nil {
		if fault.KindOf(unreadable) == fault.Retryable {
			return "", fmt.Errorf("reading the payload: %w", unreadable)
		}
		body = []byte(m.Body)
	}
	event, holder, now := inbox.EventKey(m.EventID, body), in.Life.NewID(), in.Life.Now()
	until := now.Add(maxLease)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	lease, err := in.Inbox.Begin(ctx, m.Tenant, m.Connection, event, holder, now, until)
	if err != nil {
		return "", err
	}
	switch lease {
	case inbox.Done:
		return Repeated, nil
	case inbox.Busy:
		return "", fault.New(fault.Retryable, fault.Duplicate, "the event is being taken in by another consumer").After(time.Second)
	}
	d := delivery{Intake: in, m: m, body: body, unreadable: unreadable, done: document.InboxDone{
		Tenant: m.Tenant, Connection: m.Connection, Event: event, Holder: holder, At: now}}
	outcome, err = d.work(ctx)
	if err != nil {
		// The redelivery should not find a lease that nobody works under.
		err = errors.Join(err, in.Inbox.Abandon(context.WithoutCancel(ctx), m.Tenant, m.Connection, event, holder))
	}
	return outcome, err
}

// RawKey is where a payload is kept: by retention class, tenant and day.
func RawKey(t retail.Tenant, received time.Time, connection, event string) string {
	sum := sha256.Sum256([]byte(connection + "\x00" + event))
	return "raw/shipment/" + t.String() + "/" + received.UTC().Format("2006/01/02") + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

// delivery is one message under its lease.
type delivery struct {
	Intake
	m          inbox.Message
	body       []byte
	unreadable error // why body is not what the vendor sent
	raw        string
	done       document.InboxDone
}

// looks is how often a lost race is looked at again under one lease: the loser
// finds the winner's document at the second look.
const looks = 3

func (d delivery) work(ctx context.Context) (outcome string, err error) {
	d.raw = RawKey(d.m.Tenant, d.m.ReceivedAt, d.m.Connection, d.done.Event)
	if err := d.Payloads.Put(ctx, d.raw, d.body); err != nil {
		return "", fmt.Errorf("keeping the payload: %w", err)
	}
	for range looks {
		outcome, err = d.accept(ctx)
		if f := fault.Of(err); f == nil || f.Class != fault.StateConflict {
			break
		}
	}
	return outcome, err
}

func (d delivery) accept(ctx context.Context) (string, error) {
	if d.unreadable != nil {
		return d.refuse(ctx, retail.Shipment{}, d.unreadable)
	}
	s, err := d.decode(ctx)
	if notYetShipped(err) {
		return d.finish(ctx, Superseded, document.Transaction{})
	}
	if err != nil {
		return d.refuse(ctx, s, err)
	}
	if k, found, err := d.known(ctx, s.ExternalID); err != nil || found {
		if err != nil {
			return "", err
		}
		return d.again(ctx, k, s)
	}
	config, err := d.place(ctx, &s)
	if err != nil {
		return d.refuse(ctx, s, err)
	}
	c, err := d.create(ctx, s, config)
	if err != nil {
		return "", err
	}
	if err := d.commit(ctx, Accepted, document.Transaction{Changes: []document.Change{c}}); err != nil {
		return "", err
	}
	h := c.Head
	_ = d.Start(ctx, document.Task{Schema: retail.SchemaVersion, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: h.Run}) // the due time is the backstop
	return Accepted, nil
}

func (d delivery) decode(ctx context.Context) (retail.Shipment, error) {
	dec, err := flow.Port[Decoder](ctx, d.Connections, d.m.Tenant, d.m.Connection, "decode shipments")
	if err != nil {
		return retail.Shipment{}, err
	}
	s, err := dec.DecodeShipment(d.body)
	s.Schema, s.Tenant, s.Warehouse = retail.SchemaVersion, d.m.Tenant, d.m.Connection
	if !usable(s.ExternalID) {
		s.ExternalID = ""
		if err == nil {
			err = fault.New(fault.Permanent, fault.Validation, "the shipment has no id").At("id", "")
		}
	}
	return s, err
}

// notYetShipped recognizes the announcement of a parcel that is still in its
// warehouse, or never left it: another one follows, or nothing happened.
func notYetShipped(err error) bool {
	f := fault.Of(err)
	return f != nil && f.Kind == fault.Exception && f.Class == fault.StateConflict
}

func (d delivery) ref(typ, external string) document.Ref {
	return document.Ref{Tenant: d.m.Tenant, Connection: d.m.Connection, Type: typ, External: external}
}

// known leads from the warehouse's id to the document that owns it.
func (d delivery) known(ctx context.Context, externalID string) (document.Key, bool, error) {
	ref := d.ref(shipmentRef, externalID)
	found, err := d.Life.Store.Resolve(ctx, ref)
	k, ok := found[ref]
	return k, ok, err
}

// place finds the order that the shipment belongs to and returns the version
// of the configuration that it is taken in under.
func (d delivery) place(ctx context.Context, s *retail.Shipment) (config int64, err error) {
	k, found, err := orderOf(ctx, d.Life.Store, d.m.Tenant, d.m.Connection, s.OrderRef)
	if err != nil {
		return 0, err
	}
	if !found {
		if d.Life.Now().Sub(d.m.ReceivedAt) < patience {
			return 0, fault.New(fault.Retryable, fault.MissingReference, "the warehouse's order is not known yet").At("order_id", s.OrderRef).After(retryAfter)
		}
		return 0, unknownOrder(s.OrderRef)
	}
	s.OrderID = k.ID
	h, err := d.Life.Store.Head(ctx, k)
	if err != nil {
		return 0, fmt.Errorf("reading the shipment's order: %w", err)
	}
	route, err := d.Connections.Route(ctx, d.m.Tenant, h.Connection)
	return route.ConfigVersion, err
}

// orderOf leads from the warehouse's id of a released order to the order.
func orderOf(ctx context.Context, store document.Store, t retail.Tenant, warehouse, external string) (document.Key, bool, error) {
	if !usable(external) {
		return document.Key{}, false, nil
	}
	ref := document.Ref{Tenant: t, Connection: warehouse, Type: orderRef, External: external}
	found, err := store.Resolve(ctx, ref)
	k := found[ref]
	return k, k.Type == document.Order, err
}

func unknownOrder(external string) error {
	return fault.New(fault.Exception, fault.MissingReference, "no released order has this id at the warehouse").At("order_id", external)
}

// head is a new shipment's head: run 1 owns it until the phase's lease ends.
func (d delivery) head(s retail.Shipment) document.Head {
	now := d.Life.Now()
	number := s.Tracking
	if !usable(number) {
		number = s.ExternalID
	}
	return document.Head{
		Key: document.Key{Tenant: d.m.Tenant, Type: document.Shipment, ID: d.Life.NewID()}, Schema: retail.SchemaVersion,
		State: retail.Received, Run: 1, Due: now.Add(document.PhaseLease), Connection: d.m.Connection,
		ExternalID: s.ExternalID, Number: number, SourceVersion: s.SourceVersion, SourceHash: bodyHash(d.body),
		Parent: s.OrderID, Correlation: d.done.Event, Raw: d.raw, CreatedAt: now, UpdatedAt: now,
	}
}

func (d delivery) create(ctx context.Context, s retail.Shipment, config int64) (document.Change, error) {
	h := d.head(s)
	h.Body, h.ConfigVersion, s.ID = 1, config, h.ID
	refs, err := d.refs(ctx, h.Key, s)
	if err != nil {
		return document.Change{}, err
	}
	c, err := d.Life.Next(h, retail.Received, document.Step{Type: document.Event(h.Type, "received"), Data: map[string]string{
		"external_id": s.ExternalID, "tracking_number": s.Tracking, "carrier": s.Carrier, "order": s.OrderID,
		"lines": fmt.Sprint(len(s.Lines)), "topic": d.m.Topic,
	}})
	c.Body, c.Refs = s, refs
	return c, err
}

func (d delivery) refs(ctx context.Context, k document.Key, s retail.Shipment) ([]document.Ref, error) {
	refs := []document.Ref{d.ref(shipmentRef, s.ExternalID)}
	free, err := freeRefs(ctx, d.Life.Store, k, d.ref(trackingRef, s.Tracking))
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

// again handles a delivery about a shipment that is known. A shipment is a
// fact: later snapshots of it add nothing.
func (d delivery) again(ctx context.Context, k document.Key, s retail.Shipment) (string, error) {
	h, err := d.Life.Store.Head(ctx, k)
	if err != nil {
		return "", fmt.Errorf("reading the known shipment: %w", err)
	}
	switch {
	case h.Parked != "" && h.Body == 0:
		// Only a shell stands there; the event waits until somebody opens it.
		return d.finish(ctx, Waiting, document.Transaction{Pending: []document.Pending{{
			Key: k, SourceVersion: s.SourceVersion, EventID: d.done.Event, Raw: d.raw, At: d.Life.Now()}}})
	case s.SourceVersion < h.SourceVersion:
		return d.finish(ctx, Superseded, document.Transaction{})
	}
	return d.finish(ctx, Repeated, document.Transaction{})
}

// refuse parks what no further attempt would take in: with a shell that owns
// the warehouse's id where it could be read, so that later events find it. A
// shell whose lines could be read is recorded once it is retried.
func (d delivery) refuse(ctx context.Context, s retail.Shipment, cause error) (string, error) {
	if fault.KindOf(cause) == fault.Retryable {
		return "", cause
	}
	if s.ExternalID == "" {
		return d.park(ctx, document.Key{}, s, cause)
	}
	k, found, err := d.known(ctx, s.ExternalID)
	if err != nil {
		return "", err
	}
	if found {
		return d.park(ctx, k, s, cause)
	}
	if k, found, err = orderOf(ctx, d.Life.Store, d.m.Tenant, d.m.Connection, s.OrderRef); err != nil {
		return "", err
	} else if found {
		s.OrderID = k.ID
	}
	h := d.head(s)
	c, x, err := d.Life.Park(h, cause)
	if err != nil {
		return "", err
	}
	x.EventID = d.done.Event
	if c.Refs, err = d.refs(ctx, h.Key, s); err != nil {
		return "", err
	}
	if len(s.Lines) > 0 {
		s.ID, c.Head.Body = h.ID, 1
		c.Body = s
	}
	return d.finish(ctx, Parked, document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}})
}

// park opens an exception without a shell: about the document k, or none.
func (d delivery) park(ctx context.Context, k document.Key, s retail.Shipment, cause error) (string, error) {
	x := d.Life.NewException(d.m.Tenant, d.m.Connection, cause)
	x.Raw, x.EventID, x.Type, x.Document, x.Number = d.raw, d.done.Event, k.Type, k.ID, s.Tracking
	return d.finish(ctx, Parked, document.Transaction{Exceptions: []document.Exception{x}})
}

func (d delivery) finish(ctx context.Context, outcome string, t document.Transaction) (string, error) {
	if err := d.commit(ctx, outcome, t); err != nil {
		return "", err
	}
	return outcome, nil
}

// commit writes t together with the end of the inbox event. A lost race is
// Retryable: the next look finds what the winner wrote.
func (d delivery) commit(ctx context.Context, outcome string, t document.Transaction) error {
	done := d.done
	done.Outcome = outcome
	t.Inbox = &done
	err := d.Life.Store.Commit(ctx, t)
	if errors.Is(err, document.ErrRefTaken) || errors.Is(err, document.ErrConflict) || errors.Is(err, document.ErrLease) {
		return fault.Wrap(fault.Retryable, fault.StateConflict, err, "taking in the shipment").After(time.Second)
	}
	return err
}

func bodyHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
