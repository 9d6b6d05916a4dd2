package order

import (
	"context"
	"fmt"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Class is the retention class of channels' payloads.
const Class = "order"

// Intake turns a delivery into a received order, or into an explained
// exception. Whatever it returns nil for is kept for ever.
type Intake struct {
	Life        document.Life
	Inbox       inbox.Store
	Payloads    inbox.Payloads
	Connections flow.Connections
	// Start begins the fulfillment phase. A failed start is no failure: the
	// due time that the order was saved with brings it back.
	Start func(ctx context.Context, t document.Task) error
}

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

// read is a payload as the channel's order. Where it fails, what could be read
// is returned.
type read struct {
	order  retail.Order
	person retail.Person
	config int64  // version of the configuration
	bytes  []byte // the payload
	raw    string // where it is kept
}

// decode translates a payload.
func (d delivery) decode(ctx context.Context, body []byte, raw string) (read, error) {
	r := read{bytes: body, raw: raw}
	dec, err := flow.Port[Decoder](ctx, d.Connections, d.Tenant, d.Connection, "decode orders")
	if err == nil {
		r.order, r.person, err = dec.DecodeOrder(body)
	}
	r.order.Schema, r.order.Tenant, r.order.Channel = retail.SchemaVersion, d.Tenant, d.Connection
	return r, err
}

// prove holds a decoded order to what an accepted one must be.
func (d delivery) prove(ctx context.Context, r *read) error {
	if _, err := retail.Certify(r.order); err != nil {
		return fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "certifying the order's money").At("total_price", r.order.Totals.Total.String())
	}
	route, err := d.Connections.Route(ctx, d.Tenant, d.Connection)
	r.config = route.ConfigVersion
	return err
}

func (d delivery) accept(ctx context.Context) (string, error) {
	if d.Unreadable != nil {
		return d.refuse(ctx, read{}, d.Unreadable)
	}
	r, err := d.decode(ctx, d.Bytes, d.Raw)
	if err != nil && (d.Exception == "" || fault.KindOf(err) == fault.Retryable) {
		return d.refuse(ctx, r, err)
	}
	if k, found, kerr := d.Subject(ctx, "order", r.order.ExternalID); kerr != nil || found {
		if kerr != nil {
			return "", kerr
		}
		return d.about(ctx, k, r, err)
	}
	if err == nil {
		err = d.prove(ctx, &r)
	}
	if err != nil {
		return d.refuse(ctx, r, err)
	}
	h, change, err := d.create(ctx, &r)
	if err != nil {
		return "", err
	}
	if _, err := d.Finish(ctx, inbox.Accepted, document.Transaction{Changes: []document.Change{change}}); err != nil {
		return "", err
	}
	if h.Open() {
		_ = d.Start(ctx, document.Task{Schema: retail.SchemaVersion, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: h.Run}) // the due time is the backstop
	}
	return inbox.Accepted, nil
}

// head is a new order's head: run 1 owns it until the phase's lease ends.
func (d delivery) head(r read) document.Head {
	now, o := d.Life.Now(), r.order
	return document.Head{
		Key: document.Key{Tenant: d.Tenant, Type: document.Order, ID: d.Life.NewID()}, Schema: retail.SchemaVersion,
		State: retail.Received, Run: 1, Due: now.Add(document.PhaseLease), Connection: d.Connection,
		ExternalID: o.ExternalID, Number: o.Number, SourceVersion: o.SourceVersion, SourceHash: inbox.Hash(r.bytes),
		Total: o.Totals.Total, Correlation: d.Event(), Raw: r.raw, CreatedAt: now, UpdatedAt: now,
	}
}

func (d delivery) create(ctx context.Context, r *read) (document.Head, document.Change, error) {
	h, o := d.head(*r), &r.order
	h.Body, h.ConfigVersion, o.ID = 1, r.config, h.ID
	to, steps := retail.Received, []document.Step{{Type: document.Event(h.Type, "received"), Data: map[string]string{
		"number": o.Number, "external_id": o.ExternalID, "total": o.Totals.Total.String(), "currency": string(o.Currency),
		"lines": fmt.Sprint(len(o.Lines)), "topic": d.Topic,
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
	c.Body, c.Person = o, &r.person
	c.Refs, err = d.refs(ctx, *o)
	return c.Head, c, err
}

// refs are the numbers that lead to the order. Its number is what people
// search for; a channel may give one twice, and then it leads to the first.
func (d delivery) refs(ctx context.Context, o retail.Order) ([]document.Ref, error) {
	refs := []document.Ref{d.Ref("order", o.ExternalID)}
	if o.Number == "" {
		return refs, nil
	}
	number := d.Ref("order_number", o.Number)
	found, err := d.Life.Store.Resolve(ctx, number)
	if err != nil {
		return nil, err
	}
	if _, taken := found[number]; !taken {
		refs = append(refs, number)
	}
	return refs, nil
}

// about handles a delivery about an order that is known; unread is why it
// could not be read, if it is a replay.
func (d delivery) about(ctx context.Context, k document.Key, r read, unread error) (string, error) {
	h, err := d.Life.Store.Head(ctx, k)
	if err != nil {
		return "", fmt.Errorf("reading the known order: %w", err)
	}
	switch {
	case d.Answers(h):
		return d.adopt(ctx, h, r, unread)
	case unread != nil:
		return d.Park(ctx, k, h.Number, unread)
	case inbox.Shell(h) && inbox.Hash(r.bytes) == h.SourceHash:
		return d.Finish(ctx, inbox.Repeated, document.Transaction{}) // what it waits with
	case inbox.Shell(h):
		return d.Wait(ctx, h, r.order.SourceVersion)
	}
	c, changed, err := snapshot(d.Life, h, r.order, inbox.Hash(r.bytes), d.Topic)
	if err != nil {
		return "", err
	}
	if changed == inbox.Updated {
		return d.Finish(ctx, changed, document.Transaction{Changes: []document.Change{c}})
	}
	return d.Finish(ctx, changed, document.Transaction{})
}

// snapshot prepares what a later look at an order changes: updated, or the
// outcome that says why nothing is changed.
func snapshot(life document.Life, h document.Head, o retail.Order, hash, topic string) (c document.Change, outcome string, err error) {
	switch {
	case o.SourceVersion < h.SourceVersion:
		return c, inbox.Superseded, nil
	case o.SourceVersion == h.SourceVersion && hash == h.SourceHash:
		return c, inbox.Repeated, nil
	case !h.Open() || (o.CanceledAt == nil) == !h.CancelAsked:
		// Nothing that the order's way depends on has changed.
		return c, inbox.Repeated, nil
	}
	h.CancelAsked, h.SourceVersion, h.SourceHash = o.CanceledAt != nil, o.SourceVersion, hash
	verb := "cancellation_asked"
	if !h.CancelAsked {
		verb = "cancellation_withdrawn"
	}
	c, err = life.Next(h, h.State, document.Step{Type: document.Event(h.Type, verb), Data: map[string]string{"topic": topic}})
	return c, inbox.Updated, err
}

// adopt gives a parked order the payload that answers its exception: the
// replayed one or, where that is refused still, the first of those that wait
// behind it which is not. Nothing has left the house yet, so nothing that was
// sent can differ from what the order is now.
func (d delivery) adopt(ctx context.Context, h document.Head, r read, err error) (string, error) {
	if h.State != retail.Received && h.State != retail.Accepted {
		return d.Park(ctx, h.Key, h.Number, fault.New(fault.Exception, fault.StateConflict, "the order is %s; its payload can be replaced only before stock is reserved", h.State).At("state", string(h.State)))
	}
	if err == nil {
		err = d.fits(ctx, h, &r)
	}
	if err != nil {
		if fault.KindOf(err) == fault.Retryable {
			return "", err
		}
		other, found, oerr := d.other(ctx, h)
		if oerr != nil {
			return "", oerr
		}
		if !found {
			return d.Park(ctx, h.Key, h.Number, err) // for the reason of now
		}
		r = other
	}
	o := &r.order
	o.ID = h.ID
	h.Body++
	h.ConfigVersion, h.Number, h.SourceVersion, h.SourceHash, h.Total, h.Raw = r.config, o.Number, o.SourceVersion, inbox.Hash(r.bytes), o.Totals.Total, r.raw
	c, task, err := d.Life.Unpark(h, document.Step{Type: document.Event(h.Type, "retried"), Data: map[string]string{
		"exception": h.Parked, "number": o.Number, "total": o.Totals.Total.String(), "currency": string(o.Currency),
	}})
	if err != nil {
		return "", err
	}
	if o.CanceledAt != nil {
		told := c.Steps
		if c, err = d.Life.Next(c.Head, retail.Canceled, document.Step{Type: document.Event(h.Type, "canceled"), Data: map[string]string{"by": "channel"}}); err != nil {
			return "", err
		}
		c.Steps = append(told, c.Steps...)
	}
	c.Body, c.Person = o, &r.person
	if c.Refs, err = d.refs(ctx, *o); err != nil {
		return "", err
	}
	if _, err := d.Finish(ctx, inbox.Accepted, document.Transaction{Changes: []document.Change{c}}); err != nil {
		return "", err
	}
	if c.Head.Open() {
		_ = d.Start(ctx, task) // the due time is the backstop
	}
	return inbox.Accepted, nil
}

// fits holds a payload to the order that it is to become.
func (d delivery) fits(ctx context.Context, h document.Head, r *read) error {
	if h.ExternalID != "" && r.order.ExternalID != h.ExternalID {
		return fault.New(fault.Exception, fault.Validation, "the payload is of another order than %s", h.ExternalID).At("id", r.order.ExternalID)
	}
	return d.prove(ctx, r)
}

// other is the earliest waiting payload that can be taken in.
func (d delivery) other(ctx context.Context, h document.Head) (read, bool, error) {
	if h.Waiting == 0 {
		return read{}, false, nil
	}
	waiting, err := d.Life.Store.Pending(ctx, h.Key)
	if err != nil {
		return read{}, false, err
	}
	for _, p := range waiting {
		body, err := d.Payloads.Get(ctx, p.Raw)
		if err != nil {
			return read{}, false, err
		}
		r, err := d.decode(ctx, body, p.Raw)
		if err == nil {
			err = d.fits(ctx, h, &r)
		}
		if err == nil {
			return r, true, nil
		}
		if fault.KindOf(err) == fault.Retryable {
			return read{}, false, err
		}
	}
	return read{}, false, nil
}

// refuse parks what no further attempt would take in: with a shell that owns
// the channel's id where it could be read, so that later events find it.
func (d delivery) refuse(ctx context.Context, r read, cause error) (string, error) {
	if fault.KindOf(cause) == fault.Retryable {
		return "", cause
	}
	o := r.order
	if o.ExternalID == "" {
		return d.Park(ctx, document.Key{}, "", cause)
	}
	k, found, err := d.Known(ctx, "order", o.ExternalID)
	if err != nil {
		return "", err
	}
	if found {
		return d.Park(ctx, k, o.Number, cause)
	}
	h := d.head(r)
	return d.ParkNew(ctx, h, cause, func(c *document.Change) (err error) {
		if len(o.Lines) > 0 {
			o.ID, c.Head.Body = h.ID, 1
			c.Body, c.Person = o, &r.person
		}
		c.Refs, err = d.refs(ctx, o)
		return err
	})
}
