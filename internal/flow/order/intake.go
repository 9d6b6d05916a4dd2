package order

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Payloads keeps vendors' bytes. Put under one key twice is harmless.
type Payloads interface {
	inbox.Blobs
	Put(ctx context.Context, key string, body []byte) error
}

// Intake turns a delivery into a received order, or into an explained
// exception. Whatever it returns nil for is kept for ever.
type Intake struct {
	Life        document.Life
	Inbox       inbox.Store
	Payloads    Payloads
	Connections flow.Connections
	// Start begins the fulfillment phase. A failed start is no failure: the
	// due time that the order was saved with brings it back.
	Start func(ctx context.Context, t document.Task) error
}

// Outcomes of an intake, as remembered in the inbox.
const (
	Accepted   = "accepted"
	Parked     = "parked"
	Repeated   = "duplicate"
	Superseded = "superseded"
	Updated    = "updated"
	Waiting    = "pending"
)

// maxLease bounds a lease where the caller's context has no deadline.
const maxLease = 2 * time.Minute

// Take handles one message. Its errors are Retryable; everything else is
// parked.
func (in Intake) Take(ctx context.Context, m inbox.Message) (outcome string, err error) {
	body, err := m.Payload(ctx, in.Payloads)
	if err != nil {
		return "", err
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
	outcome, err = in.work(ctx, m, body, event, holder)
	if err != nil {
		// The redelivery should not find a lease that nobody works under.
		err = errors.Join(err, in.Inbox.Abandon(context.WithoutCancel(ctx), m.Tenant, m.Connection, event, holder))
	}
	return outcome, err
}

// races is how often a lost race is looked at again under one lease: the loser
// finds the winner's document at the second look.
const races = 3

func (in Intake) work(ctx context.Context, m inbox.Message, body []byte, event, holder string) (outcome string, err error) {
	raw := RawKey(m.Tenant, m.ReceivedAt, m.Connection, event)
	if err := in.Payloads.Put(ctx, raw, body); err != nil {
		return "", fmt.Errorf("keeping the payload: %w", err)
	}
	d := delivery{Intake: in, m: m, body: body, raw: raw, done: document.InboxDone{
		Tenant: m.Tenant, Connection: m.Connection, Event: event, Holder: holder, At: in.Life.Now()}}
	for range races {
		outcome, err = d.accept(ctx)
		if f := fault.Of(err); f == nil || f.Class != fault.StateConflict {
			break
		}
	}
	return outcome, err
}

// RawKey is where a payload is kept: by retention class, tenant and day.
func RawKey(t retail.Tenant, received time.Time, connection, event string) string {
	sum := sha256.Sum256([]byte(connection + "\x00" + event))
	return "raw/order/" + t.String() + "/" + received.UTC().Format("2006/01/02") + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

type delivery struct {
	Intake
	m    inbox.Message
	body []byte
	raw  string
	done document.InboxDone
}

func (d delivery) accept(ctx context.Context) (string, error) {
	dec, err := flow.Port[Decoder](ctx, d.Connections, d.m.Tenant, d.m.Connection, "decode orders")
	if err != nil {
		return d.refuse(ctx, retail.Order{}, retail.Person{}, err)
	}
	o, person, err := dec.DecodeOrder(d.body)
	o.Schema, o.Tenant, o.Channel = retail.SchemaVersion, d.m.Tenant, d.m.Connection
	if err != nil {
		return d.refuse(ctx, o, person, err)
	}
	if k, found, err := d.known(ctx, o.ExternalID); err != nil || found {
		if err != nil {
			return "", err
		}
		return d.update(ctx, k, o)
	}
	if _, err := retail.Certify(o); err != nil {
		return d.refuse(ctx, o, person, fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "certifying the order's money").At("total_price", o.Totals.Total.String()))
	}
	route, err := d.Connections.Route(ctx, d.m.Tenant, d.m.Connection)
	if err != nil {
		return d.refuse(ctx, o, person, err)
	}
	h, change, err := d.create(ctx, &o, person, route.ConfigVersion)
	if err != nil {
		return "", err
	}
	if err := d.commit(ctx, Accepted, document.Transaction{Changes: []document.Change{change}}); err != nil {
		return "", err
	}
	if !h.Open() {
		return Accepted, nil
	}
	task := document.Task{Schema: retail.SchemaVersion, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: h.Run}
	_ = d.Start(ctx, task) // the due time is the backstop
	return Accepted, nil
}

// known leads from a channel's id to the document that owns it.
func (d delivery) known(ctx context.Context, externalID string) (document.Key, bool, error) {
	ref := d.ref("order", externalID)
	found, err := d.Life.Store.Resolve(ctx, ref)
	if err != nil {
		return document.Key{}, false, err
	}
	k, ok := found[ref]
	return k, ok, nil
}

func (d delivery) ref(typ, external string) document.Ref {
	return document.Ref{Tenant: d.m.Tenant, Connection: d.m.Connection, Type: typ, External: external}
}

// head is a new order's head: run 1 owns it until the phase's lease ends.
func (d delivery) head(o retail.Order) document.Head {
	now := d.Life.Now()
	return document.Head{
		Key: document.Key{Tenant: d.m.Tenant, Type: document.Order, ID: d.Life.NewID()}, Schema: retail.SchemaVersion,
		State: retail.Received, Run: 1, Due: now.Add(document.PhaseLease), Connection: d.m.Connection,
		ExternalID: o.ExternalID, Number: o.Number, SourceVersion: o.SourceVersion, SourceHash: bodyHash(d.body),
		Total: o.Totals.Total, Correlation: d.done.Event, Raw: d.raw, CreatedAt: now, UpdatedAt: now,
	}
}

func (d delivery) create(ctx context.Context, o *retail.Order, person retail.Person, config int64) (document.Head, document.Change, error) {
	h := d.head(*o)
	h.Body, h.ConfigVersion, o.ID = 1, config, h.ID
	to, steps := retail.Received, []document.Step{{Type: document.Event(h.Type, "received"), Data: map[string]string{
		"number": o.Number, "external_id": o.ExternalID, "total": o.Totals.Total.String(), "currency": string(o.Currency),
		"lines": fmt.Sprint(len(o.Lines)), "topic": d.m.Topic,
	}}}
	if o.CanceledAt != nil {
		// Canceled before we ever saw it: remembered, never released.
		to = retail.Canceled
		steps = append(steps, document.Step{Type: document.Event(h.Type, "canceled"), Data: map[string]string{"by": "channel"}})
	}
	c, err := d.Life.Next(h, to, steps...)
	if err != nil {
		return h, c, err
	}
	c.Body, c.Person = o, &person
	c.Refs, err = d.refs(ctx, *o)
	return c.Head, c, err
}

// refs are the numbers that lead to the order. Its number is what people
// search for; a channel may give one twice, and then it leads to the first.
func (d delivery) refs(ctx context.Context, o retail.Order) ([]document.Ref, error) {
	refs := []document.Ref{d.ref("order", o.ExternalID)}
	if o.Number == "" {
		return refs, nil
	}
	number := d.ref("order_number", o.Number)
	found, err := d.Life.Store.Resolve(ctx, number)
	if err != nil {
		return nil, err
	}
	if _, taken := found[number]; !taken {
		refs = append(refs, number)
	}
	return refs, nil
}

// update handles a delivery about an order that is known.
func (d delivery) update(ctx context.Context, k document.Key, o retail.Order) (string, error) {
	h, err := d.Life.Store.Head(ctx, k)
	if err != nil {
		return "", fmt.Errorf("reading the known order: %w", err)
	}
	if h.Parked != "" && h.Body == 0 {
		// Only a shell stands there; the event waits until somebody opens it.
		return d.finish(ctx, Waiting, document.Transaction{Pending: []document.Pending{{
			Key: k, SourceVersion: o.SourceVersion, EventID: d.done.Event, Raw: d.raw, At: d.Life.Now()}}})
	}
	switch {
	case o.SourceVersion < h.SourceVersion:
		return d.finish(ctx, Superseded, document.Transaction{})
	case o.SourceVersion == h.SourceVersion && bodyHash(d.body) == h.SourceHash:
		return d.finish(ctx, Repeated, document.Transaction{})
	case !h.Open() || (o.CanceledAt == nil) == !h.CancelAsked:
		// Nothing that the order's way depends on has changed.
		return d.finish(ctx, Repeated, document.Transaction{})
	}
	h.CancelAsked, h.SourceVersion, h.SourceHash = o.CanceledAt != nil, o.SourceVersion, bodyHash(d.body)
	verb := "cancellation_asked"
	if !h.CancelAsked {
		verb = "cancellation_withdrawn"
	}
	c, err := d.Life.Next(h, h.State, document.Step{Type: document.Event(h.Type, verb), Data: map[string]string{"topic": d.m.Topic}})
	if err != nil {
		return "", err
	}
	return d.finish(ctx, Updated, document.Transaction{Changes: []document.Change{c}})
}

// refuse parks what no further attempt would take in: with a shell that owns
// the channel's id where it could be read, so that later events find it.
func (d delivery) refuse(ctx context.Context, o retail.Order, person retail.Person, cause error) (string, error) {
	if fault.KindOf(cause) == fault.Retryable {
		return "", cause
	}
	if o.ExternalID == "" {
		x := d.Life.NewException(d.m.Tenant, d.m.Connection, cause)
		x.Raw, x.EventID = d.raw, d.done.Event
		return d.finish(ctx, Parked, document.Transaction{Exceptions: []document.Exception{x}})
	}
	k, found, err := d.known(ctx, o.ExternalID)
	if err != nil {
		return "", err
	}
	if found {
		x := d.Life.NewException(d.m.Tenant, d.m.Connection, cause)
		x.Raw, x.EventID, x.Type, x.Document, x.Number = d.raw, d.done.Event, k.Type, k.ID, o.Number
		return d.finish(ctx, Parked, document.Transaction{Exceptions: []document.Exception{x}})
	}
	h := d.head(o)
	c, x, err := d.Life.Park(h, cause)
	if err != nil {
		return "", err
	}
	x.EventID = d.done.Event
	if len(o.Lines) > 0 {
		o.ID, c.Head.Body = h.ID, 1
		c.Body, c.Person = o, &person
	}
	if c.Refs, err = d.refs(ctx, o); err != nil {
		return "", err
	}
	return d.finish(ctx, Parked, document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}})
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
		return fault.Wrap(fault.Retryable, fault.StateConflict, err, "taking in the order").After(time.Second)
	}
	return err
}

func bodyHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
