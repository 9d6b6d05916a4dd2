package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Payloads keeps vendors' bytes. Put under one key twice is harmless.
type Payloads interface {
	Blobs
	Put(ctx context.Context, key string, body []byte) error
}

// Outcomes of an intake, as remembered with the event.
const (
	Accepted   = "accepted"
	Parked     = "parked"
	Repeated   = "duplicate"
	Superseded = "superseded"
	Updated    = "updated"
	Waiting    = "pending"
)

// Intake takes deliveries of one class in: each event by one consumer at a
// time, with its payload kept first, and ended in the transaction that says
// what became of it.
type Intake struct {
	Class    string // order, shipment: the retention class of the payloads
	Life     document.Life
	Events   Store
	Payloads Payloads
}

// Delivery is one event under its lease.
type Delivery struct {
	Message
	Bytes []byte
	// Unreadable is why Bytes is not what the vendor sent.
	Unreadable error
	Raw        string // where Bytes is kept
	in         Intake
	done       document.InboxDone
}

// maxLease bounds a lease where the caller's context has no deadline.
const maxLease = 2 * time.Minute

// looks is how often a lost race is looked at again under one lease: the loser
// finds the winner's document at the second look.
const looks = 3

// Take gives the delivery to accept, which ends it with Finish or Park. Its
// errors are Retryable; everything else is parked.
func (in Intake) Take(ctx context.Context, m Message, accept func(context.Context, Delivery) (string, error)) (outcome string, err error) {
	body, unreadable := m.Payload(ctx, in.Payloads)
	if unreadable != nil {
		if fault.KindOf(unreadable) == fault.Retryable {
			return "", fmt.Errorf("reading the payload: %w", unreadable)
		}
		body = []byte(m.Body)
	}
	event, holder, now := EventKey(m.EventID, body), in.Life.NewID(), in.Life.Now()
	until := now.Add(maxLease)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	lease, err := in.Events.Begin(ctx, m.Tenant, m.Connection, event, holder, now, until)
	if err != nil {
		return "", err
	}
	switch lease {
	case Done:
		return Repeated, nil
	case Busy:
		return "", fault.New(fault.Retryable, fault.Duplicate, "the event is being taken in by another consumer").After(time.Second)
	}
	d := Delivery{Message: m, Bytes: body, Unreadable: unreadable, in: in, done: document.InboxDone{
		Tenant: m.Tenant, Connection: m.Connection, Event: event, Holder: holder, At: now}}
	if outcome, err = d.work(ctx, accept); err != nil {
		// The redelivery should not find a lease that nobody works under.
		err = errors.Join(err, in.Events.Abandon(context.WithoutCancel(ctx), m.Tenant, m.Connection, event, holder))
	}
	return outcome, err
}

func (d Delivery) work(ctx context.Context, accept func(context.Context, Delivery) (string, error)) (outcome string, err error) {
	if d.Raw = d.Blob; !strings.HasPrefix(d.Blob, RawPrefix(d.in.Class, d.Tenant)) {
		d.Raw = RawKey(d.in.Class, d.Tenant, d.ReceivedAt, d.Connection, d.done.Event)
		if err := d.in.Payloads.Put(ctx, d.Raw, d.Bytes); err != nil {
			return "", fmt.Errorf("keeping the payload: %w", err)
		}
	}
	for range looks {
		outcome, err = accept(ctx, d)
		if f := fault.Of(err); f == nil || f.Class != fault.StateConflict {
			break
		}
	}
	return outcome, err
}

// RawPrefix is under which a tenant's payloads of a class are kept.
func RawPrefix(class string, t retail.Tenant) string { return "raw/" + class + "/" + t.String() + "/" }

// RawDay is under which a connection's payloads of one day (UTC) are kept.
func RawDay(class string, t retail.Tenant, connection string, day time.Time) string {
	return RawPrefix(class, t) + connection + "/" + day.UTC().Format("2006/01/02") + "/"
}

// RawKey is where an event's payload is kept: by retention class, tenant,
// connection and day.
func RawKey(class string, t retail.Tenant, received time.Time, connection, event string) string {
	sum := sha256.Sum256([]byte(connection + "\x00" + event))
	return RawDay(class, t, connection, received) + hex.EncodeToString(sum[:16]) + ".json"
}

// Event is the event's id, which is also the correlation of what it makes.
func (d Delivery) Event() string { return d.done.Event }

// Ref names an external id of the delivery's connection.
func (d Delivery) Ref(typ, external string) document.Ref {
	return document.Ref{Tenant: d.Tenant, Connection: d.Connection, Type: typ, External: external}
}

// Known leads from an external id to the document that owns it.
func (d Delivery) Known(ctx context.Context, typ, external string) (document.Key, bool, error) {
	ref := d.Ref(typ, external)
	found, err := d.in.Life.Store.Resolve(ctx, ref)
	k, ok := found[ref]
	return k, ok, err
}

// Subject leads from what the delivery is about to the document that stands for
// it: an external id or, for a replay, what its exception holds.
func (d Delivery) Subject(ctx context.Context, typ, external string) (document.Key, bool, error) {
	if d.Exception != "" {
		x, err := d.in.Life.Store.Exception(ctx, d.Tenant, d.Exception)
		if err != nil {
			return document.Key{}, false, fmt.Errorf("reading the exception that is answered: %w", err)
		}
		if x.Document != "" {
			return document.Key{Tenant: d.Tenant, Type: x.Type, ID: x.Document}, true, nil
		}
	}
	if external == "" {
		return document.Key{}, false, nil
	}
	return d.Known(ctx, typ, external)
}

// Answers reports whether the delivery is the replay that somebody asked for
// of what holds the document.
func (d Delivery) Answers(h document.Head) bool { return d.Exception != "" && h.Parked == d.Exception }

// Shell reports whether a document waits to be taken in properly: what comes
// about it meanwhile waits behind it.
func Shell(h document.Head) bool { return h.Parked != "" && h.State == retail.Received }

// Wait keeps the delivery behind a parked document, whose head counts it, so
// that none is left behind when the document goes on.
func (d Delivery) Wait(ctx context.Context, h document.Head, sourceVersion string) (string, error) {
	h.Waiting++
	c, err := d.in.Life.Next(h, h.State)
	if err != nil {
		return "", err
	}
	return d.Finish(ctx, Waiting, document.Transaction{Changes: []document.Change{c}, Pending: []document.Pending{{
		Key: h.Key, SourceVersion: sourceVersion, EventID: d.done.Event, Raw: d.Raw, At: d.in.Life.Now()}}})
}

// Park opens an exception about the document k, or about none, which also
// ends the event. A replay opens the exception again that it was to answer; the
// same bytes delivered again are the same exception, open or not.
func (d Delivery) Park(ctx context.Context, k document.Key, number string, cause error) (string, error) {
	x, err := d.exception(ctx, cause)
	if err != nil {
		return "", err
	}
	if d.Exception == "" {
		if k.ID != "" {
			h, err := d.in.Life.Store.Head(ctx, k)
			if err != nil {
				return "", fmt.Errorf("reading the document that is known: %w", err)
			}
			if Shell(h) && h.SourceHash == Hash(d.Bytes) {
				return d.Finish(ctx, Repeated, document.Transaction{}) // what it waits with
			}
		}
		x.ID = "p" + Hash([]byte(d.Connection+"\x00"+k.ID+"\x00"+string(d.Bytes)))
		switch _, err := d.in.Life.Store.Exception(ctx, d.Tenant, x.ID); {
		case err == nil:
			return d.Finish(ctx, Repeated, document.Transaction{})
		case !errors.Is(err, document.ErrNotFound):
			return "", fmt.Errorf("reading the payload's exception: %w", err)
		}
	}
	if k.ID != "" || x.Document == "" {
		x.Type, x.Document, x.Number = k.Type, k.ID, number
	} // else the answer could not be read, and holds what it held
	return d.Finish(ctx, Parked, document.Transaction{Exceptions: []document.Exception{x}})
}

// ParkNew opens an exception together with the new document h that it holds.
// prepare completes the document's change.
func (d Delivery) ParkNew(ctx context.Context, h document.Head, cause error, prepare func(*document.Change) error) (string, error) {
	c, x, err := d.in.Life.Park(h, cause)
	if err != nil {
		return "", err
	}
	x.EventID = d.done.Event
	if err := prepare(&c); err != nil {
		return "", err
	}
	if d.Exception != "" {
		// Nothing could be read before, and now an id can.
		old, err := d.in.Life.Store.Exception(ctx, d.Tenant, d.Exception)
		if err != nil {
			return "", err
		}
		old.Type, old.Document, old.Number, old.AtStake = x.Type, x.Document, x.Number, x.AtStake
		c.Head.Parked, c.Steps[len(c.Steps)-1].Data["exception"] = old.ID, old.ID
		x = reopened(old, x)
	}
	return d.Finish(ctx, Parked, document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}})
}

func (d Delivery) exception(ctx context.Context, cause error) (document.Exception, error) {
	x := d.in.Life.NewException(d.Tenant, d.Connection, cause)
	x.Raw, x.EventID = d.Raw, d.done.Event
	if d.Exception == "" {
		return x, nil
	}
	old, err := d.in.Life.Store.Exception(ctx, d.Tenant, d.Exception)
	if err != nil {
		return x, fmt.Errorf("reading the exception that is answered: %w", err)
	}
	return reopened(old, x), nil
}

// reopened is an exception whose answer failed for the reason of now.
func reopened(x, now document.Exception) document.Exception {
	x.Kind, x.Class, x.Fingerprint, x.Field, x.Value, x.Reason, x.Action = now.Kind, now.Class, now.Fingerprint, now.Field, now.Value, now.Reason, now.Action
	x.State = document.Open
	return x
}

// Finish writes t together with the end of the event, and with the end of the
// exception that the delivery answers. A lost race is Retryable: the next look
// finds what the winner wrote.
func (d Delivery) Finish(ctx context.Context, outcome string, t document.Transaction) (string, error) {
	done := d.done
	done.Outcome = outcome
	t.Inbox = &done
	if d.Exception != "" && len(t.Exceptions) == 0 {
		x, err := d.in.Life.Store.Exception(ctx, d.Tenant, d.Exception)
		if err != nil {
			return "", fmt.Errorf("reading the exception that is answered: %w", err)
		}
		if x.State != document.Resolved {
			x.State, x.Resolution, x.ResolvedAt = document.Resolved, "replay: "+outcome, d.in.Life.Now()
			t.Exceptions = []document.Exception{x}
		}
	}
	err := d.in.Life.Store.Commit(ctx, t)
	if errors.Is(err, document.ErrRefTaken) || errors.Is(err, document.ErrConflict) || errors.Is(err, document.ErrLease) {
		return "", fault.Wrap(fault.Retryable, fault.StateConflict, err, "taking in the %s", d.in.Class).After(time.Second)
	}
	if err != nil {
		return "", err
	}
	return outcome, nil
}

// Hash is of a payload, by which an equal snapshot is known.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
