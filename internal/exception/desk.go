// Package exception is what people decide about what is parked: to try it
// again, to correct it, to end it, or to close what needs nothing more. Each
// decision names who took it and why, is written down in the transaction that
// carries it out, and may be pressed twice.
package exception

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Store keeps documents and their exceptions.
type Store interface {
	document.Store
	// OpenExceptions lists what is not resolved, oldest first.
	OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error)
}

// Actor is who decides, and why. Both are required.
type Actor struct{ By, Reason string }

// Desk carries decisions out.
type Desk struct {
	Life     document.Life
	Store    Store
	Effects  *effect.Ledger
	Payloads inbox.Payloads
	// Enqueue hands a replay to the intake of its class.
	Enqueue func(ctx context.Context, class string, m inbox.Message) error
	// Start begins a document's next run; the due time is its backstop.
	Start func(ctx context.Context, t document.Task) error
	// Try reads a payload as the intake of its class would, and returns the
	// external id that it tells. It changes nothing.
	Try func(ctx context.Context, class string, t retail.Tenant, connection string, payload []byte) (externalID string, err error)
	// Unreserve gives back the stock that an order holds.
	Unreserve func(ctx context.Context, h document.Head) error
}

// Outcomes of a decision.
const (
	Replayed  = "replay asked" // the intake works on it
	Continued = "document continues"
	Canceled  = "document canceled"
	Closed    = "resolved"
	Changed   = "changed"
	Reopened  = "opened again" // nothing could take its replay in
	// Repeated: it had been decided before; nothing else was done.
	Repeated = "decided before"
)

// Result is what a decision did.
type Result struct {
	Exception document.Exception `json:"exception"`
	Outcome   string             `json:"outcome"`
}

// refused is a decision that cannot be carried out, and what is possible.
func refused(x document.Exception, format string, args ...any) error {
	return fault.New(fault.Exception, fault.StateConflict, format, args...).At("exception", x.ID)
}

// decide reads the exception and lets do prepare what is committed, again where
// somebody else was faster.
func (d Desk) decide(ctx context.Context, t retail.Tenant, id, verb string, a Actor, do func(x *document.Exception, tx *document.Transaction) (string, error)) (Result, error) {
	if strings.TrimSpace(a.By) == "" {
		return Result{}, fault.New(fault.Permanent, fault.Validation, "say who decides").At("by", "")
	}
	if strings.TrimSpace(a.Reason) == "" {
		return Result{}, fault.New(fault.Permanent, fault.Validation, "say why; it is kept with the decision").At("reason", "")
	}
	var err error
	for range 5 {
		var x document.Exception
		if x, err = d.Store.Exception(ctx, t, id); err != nil {
			if errors.Is(err, document.ErrNotFound) {
				return Result{}, fault.Wrap(fault.Permanent, fault.MissingReference, err, "there is no such exception").At("exception", id)
			}
			return Result{}, fmt.Errorf("reading exception %s: %w", id, err)
		}
		tx := document.Transaction{}
		before := x
		var outcome string
		if outcome, err = do(&x, &tx); err != nil {
			return Result{before, ""}, err
		}
		if outcome == Repeated {
			return Result{x, outcome}, nil
		}
		tx.Exceptions = []document.Exception{x}
		tx.Audit = []document.Audit{{Tenant: t, ID: d.Life.NewID(), At: d.Life.Now(), By: a.By, Verb: "exception." + verb, Subject: x.ID,
			Reason: a.Reason, Data: map[string]string{"document": x.Document, "class": x.Class, "outcome": outcome}}}
		if err = d.Store.Commit(ctx, tx); err == nil {
			x.Version++
			return Result{x, outcome}, nil
		}
		if !errors.Is(err, document.ErrConflict) {
			return Result{before, ""}, fmt.Errorf("committing: %w", err)
		}
	}
	return Result{}, fault.Wrap(fault.Retryable, fault.StateConflict, err, "others change this exception at the same time; press again")
}

func (d Desk) resolve(x *document.Exception, how string) {
	x.State, x.Resolution, x.ResolvedAt = document.Resolved, how, d.Life.Now()
}

// Retry lets what is parked go on: a delivery that could not be taken in is
// replayed through today's code and configuration, and a document gets its
// next run. Effects that are confirmed are not repeated.
func (d Desk) Retry(ctx context.Context, t retail.Tenant, id string, a Actor) (Result, error) {
	var task *document.Task
	r, err := d.decide(ctx, t, id, "retry", a, func(x *document.Exception, tx *document.Transaction) (string, error) {
		task = nil
		switch {
		case x.State == document.Resolved, x.State == document.Asked:
			return Repeated, nil
		case x.EventID != "":
			if x.Raw == "" {
				return "", refused(*x, "the payload was not kept; fetch the document from its channel (waybill reconcile) and resolve this")
			}
			x.State = document.Asked
			x.Retries++
			return Replayed, nil
		case x.Document == "":
			return "", refused(*x, "nothing is parked by it; resolve it once its cause is mended")
		case x.Class == string(fault.OutcomeUnknown) && x.Field == "effect":
			return "", refused(*x, "nobody knows whether %s happened; look in the target system, then confirm it with its reference, or resend it", x.Value)
		}
		x.Retries++
		next, outcome, err := d.unpark(ctx, x, tx)
		task = next
		return outcome, err
	})
	return d.after(ctx, r, task, err)
}

// unpark prepares the next run of the document that x holds. One that went on
// without it leaves nothing to do.
func (d Desk) unpark(ctx context.Context, x *document.Exception, tx *document.Transaction) (*document.Task, string, error) {
	h, err := d.head(ctx, *x)
	if err != nil {
		return nil, "", err
	}
	if h.Parked != x.ID {
		d.resolve(x, "the document went on without it")
		return nil, Closed, nil
	}
	c, task, err := d.Life.Unpark(h, document.Step{Type: document.Event(h.Type, "retried"), Data: map[string]string{"exception": x.ID}})
	if err != nil {
		return nil, "", err
	}
	tx.Changes = []document.Change{c}
	d.resolve(x, "retry")
	return &task, Continued, nil
}

func (d Desk) head(ctx context.Context, x document.Exception) (document.Head, error) {
	h, err := d.Store.Head(ctx, document.Key{Tenant: x.Tenant, Type: x.Type, ID: x.Document})
	if err != nil {
		return h, fmt.Errorf("reading %s %s: %w", x.Type, x.Document, err)
	}
	return h, nil
}

// after starts what was committed. A repeated decision enqueues its replay
// again, which the inbox knows: the first may never have been sent.
func (d Desk) after(ctx context.Context, r Result, task *document.Task, err error) (Result, error) {
	if err != nil {
		return r, err
	}
	if task != nil {
		_ = d.Start(ctx, *task) // the due time is the backstop
	}
	if r.Exception.State == document.Asked {
		return r, d.replay(ctx, r.Exception)
	}
	return r, nil
}

// replayOf is the event id of the replay that was asked for last.
func replayOf(x document.Exception) string {
	event := x.EventID
	if event == "" {
		event = "exception:" + x.ID
	}
	return fmt.Sprintf("%s#R%d", event, x.Retries)
}

func (d Desk) replay(ctx context.Context, x document.Exception) error {
	err := d.Enqueue(ctx, class(x), inbox.Message{
		Schema: retail.SchemaVersion, Tenant: x.Tenant, Connection: x.Connection, Topic: "replay", Exception: x.ID,
		EventID: replayOf(x), ReceivedAt: d.Life.Now(), Blob: x.Raw,
	})
	if err != nil {
		return fmt.Errorf("enqueuing the replay; it is recorded, press again: %w", err)
	}
	return nil
}

// Platform decides what follows by itself from what somebody decided.
const Platform = "waybill"

// DeadReplay opens an exception again whose replay is a dead letter, so that
// somebody is told and may press again. A letter that answers no exception, or
// whose replay nobody waits for any more, changes nothing.
func (d Desk) DeadReplay(ctx context.Context, queue, letter string, m inbox.Message) (Result, error) {
	if m.Exception == "" {
		return Result{}, nil
	}
	why := Actor{By: Platform, Reason: fmt.Sprintf("its replay ended as dead letter %s of %s; mend what failed there, then retry", letter, queue)}
	return d.decide(ctx, m.Tenant, m.Exception, "reopen", why, func(x *document.Exception, _ *document.Transaction) (string, error) {
		if x.State != document.Asked || m.EventID != replayOf(*x) {
			return Repeated, nil
		}
		x.State = document.Open
		x.Notes = noted(x.Notes, document.Note{At: d.Life.Now(), By: why.By, Text: why.Reason})
		return Reopened, nil
	})
}

// noted keeps the newest notes: the audit has all of them.
func noted(notes []document.Note, n document.Note) []document.Note {
	return append(slices.Clone(notes[max(0, len(notes)-maxNotes+1):]), n)
}

// class is the retention class of the exception's payload, which names its
// intake.
func class(x document.Exception) string {
	parts := strings.SplitN(x.Raw, "/", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

// Edit replaces the payload of what is parked, keeps the earlier one, and
// replays it. What an intake would refuse is refused here.
func (d Desk) Edit(ctx context.Context, t retail.Tenant, id string, a Actor, payload []byte) (Result, error) {
	r, err := d.decide(ctx, t, id, "edit", a, func(x *document.Exception, _ *document.Transaction) (string, error) {
		switch {
		case x.State == document.Resolved:
			return "", refused(*x, "it is resolved (%s); there is nothing to edit", x.Resolution)
		case x.State == document.Asked && strings.HasSuffix(x.Raw, edited(payload)):
			return Repeated, nil // perhaps it was recorded and never sent
		case x.State == document.Asked:
			return "", refused(*x, "a replay is on its way; wait for its outcome")
		case x.Raw == "":
			return "", refused(*x, "it has no payload to edit")
		}
		wanted := ""
		if x.Document != "" {
			h, err := d.head(ctx, *x)
			if err != nil {
				return "", err
			}
			if h.Parked != x.ID {
				return "", refused(*x, "the document went on without it; it is %s", h.State)
			}
			if h.State != retail.Received && h.State != retail.Accepted {
				return "", refused(*x, "the %s is %s, and other systems know it; map values, retry or cancel instead", h.Type, h.State)
			}
			wanted = h.ExternalID
		}
		external, err := d.Try(ctx, class(*x), t, x.Connection, payload)
		if err != nil {
			return "", fmt.Errorf("the edited payload would be refused too: %w", err)
		}
		if wanted != "" && external != wanted {
			return "", fault.New(fault.Exception, fault.Validation, "the edited payload is of another document; its id must stay %s", wanted).At("id", external)
		}
		// The first version's key is the stem of the others.
		stem := x.Raw
		if len(x.Payloads) > 0 {
			stem = x.Payloads[0]
		}
		next := fmt.Sprintf("%s.e%d%s", strings.TrimSuffix(stem, ".json"), len(x.Payloads)+1, edited(payload))
		if err := d.Payloads.Put(ctx, next, payload); err != nil {
			return "", fmt.Errorf("keeping the edited payload: %w", err)
		}
		x.Payloads, x.Raw = append(x.Payloads, x.Raw), next
		x.State = document.Asked
		x.Retries++
		return Replayed, nil
	})
	return d.after(ctx, r, nil, err)
}

// edited ends an edited payload's key with its bytes' hash: of two people who
// edit at the same time, the one that loses overwrites nothing.
func edited(payload []byte) string { return "-" + inbox.Hash(payload) + ".json" }

// Effects that an order leaves in other systems.
const (
	salesOrderEffect = "sales_order"
	releaseEffect    = "release"
)

// Cancel ends the document that is parked, where nobody else was told of it.
func (d Desk) Cancel(ctx context.Context, t retail.Tenant, id string, a Actor) (Result, error) {
	return d.decide(ctx, t, id, "cancel", a, func(x *document.Exception, tx *document.Transaction) (string, error) {
		switch {
		case x.State == document.Resolved:
			return Repeated, nil
		case x.State == document.Asked:
			return "", refused(*x, "a replay is on its way; wait for its outcome")
		case x.Document == "":
			return "", refused(*x, "no document stands behind it; resolve it instead")
		}
		h, err := d.head(ctx, *x)
		if err != nil {
			return "", err
		}
		if h.Parked != x.ID {
			d.resolve(x, "the document went on without it")
			return Closed, nil
		}
		to := retail.Canceled
		if h.Type == document.Shipment {
			to = retail.Rejected
		}
		if err := retail.CanMove(h.Type, h.State, to); err != nil {
			return "", refused(*x, "the %s is %s and cannot be canceled here; cancel it in the systems that know it", h.Type, h.State)
		}
		if err := d.unknownElsewhere(ctx, *x, h); err != nil {
			return "", err
		}
		// A run that died may have reserved for an accepted order what it never
		// got to say.
		if h.State == retail.Sourcing || h.State == retail.Accepted {
			if err := d.Unreserve(ctx, h); err != nil {
				return "", fmt.Errorf("giving back the order's stock: %w", err)
			}
		}
		h.Parked = ""
		h.Run++ // whatever still runs is fenced off
		c, err := d.Life.Next(h, to, document.Step{Type: document.Event(h.Type, string(to)), Data: map[string]string{"by": "operator", "exception": x.ID}})
		if err != nil {
			return "", err
		}
		tx.Changes = []document.Change{c}
		d.resolve(x, "canceled")
		return Canceled, nil
	})
}

// unknownElsewhere refuses to end what another system has, or may have.
func (d Desk) unknownElsewhere(ctx context.Context, x document.Exception, h document.Head) error {
	keys, err := d.written(ctx, h)
	if err != nil {
		return err
	}
	for _, key := range keys {
		e, err := d.Effects.Store.Effect(ctx, effect.Subject{Tenant: h.Tenant, Type: h.Type, ID: h.ID}, key)
		if err != nil {
			return fmt.Errorf("reading effect %s: %w", key, err)
		}
		if e != nil && e.Status != effect.Refused {
			known := e.Receipt.Number
			if known == "" {
				known = string(e.Status)
			}
			return refused(x, "its %s exists in another system (%s); retry it, or cancel the order at its channel", strings.NewReplacer("_", " ", "#", " from ").Replace(key), known)
		}
	}
	return nil
}

// written are the effects that make a document known elsewhere. An order that is
// split is released from each of its locations, and may lack the first release.
func (d Desk) written(ctx context.Context, h document.Head) ([]string, error) {
	keys := []string{salesOrderEffect, releaseEffect}
	if h.Type != document.Order || h.Body == 0 {
		return keys, nil
	}
	var o retail.Order
	if err := d.Store.Body(ctx, h.Key, h.Body, &o); err != nil {
		return nil, fmt.Errorf("reading order %s: %w", h.ID, err)
	}
	for _, location := range o.Locations() {
		keys = append(keys, releaseEffect+"#"+location)
	}
	return keys, nil
}

// Resolve closes an exception that needs nothing more. A document is never
// left parked by nothing.
func (d Desk) Resolve(ctx context.Context, t retail.Tenant, id string, a Actor) (Result, error) {
	return d.decide(ctx, t, id, "resolve", a, func(x *document.Exception, _ *document.Transaction) (string, error) {
		if x.State == document.Resolved {
			return Repeated, nil
		}
		if x.Document != "" {
			h, err := d.head(ctx, *x)
			if err != nil {
				return "", err
			}
			if h.Parked == x.ID {
				return "", refused(*x, "it holds %s %s, which would be stuck; retry, edit or cancel it", h.Type, h.Number)
			}
		}
		d.resolve(x, "resolved")
		return Closed, nil
	})
}

// Confirm says of an effect of unknown outcome that it happened: ref is the
// target system's id of it. The document goes on from there.
func (d Desk) Confirm(ctx context.Context, t retail.Tenant, id string, a Actor, r effect.Receipt) (Result, error) {
	if r.Ref == "" {
		return Result{}, fault.New(fault.Permanent, fault.Validation, "say the target system's id of what happened").At("ref", "")
	}
	return d.settle(ctx, t, id, "confirm", a, &r)
}

// Resend says of an effect of unknown outcome that it did not happen. It is
// sent again.
func (d Desk) Resend(ctx context.Context, t retail.Tenant, id string, a Actor) (Result, error) {
	return d.settle(ctx, t, id, "resend", a, nil)
}

func (d Desk) settle(ctx context.Context, t retail.Tenant, id, verb string, a Actor, r *effect.Receipt) (Result, error) {
	var task *document.Task
	res, err := d.decide(ctx, t, id, verb, a, func(x *document.Exception, tx *document.Transaction) (string, error) {
		task = nil
		switch {
		case x.State == document.Resolved:
			return Repeated, nil
		case x.Class != string(fault.OutcomeUnknown) || x.Field != "effect" || x.Document == "":
			return "", refused(*x, "it is about no effect of unknown outcome; retry, edit or cancel it")
		}
		if err := d.Effects.Decide(ctx, effect.Subject{Tenant: t, Type: x.Type, ID: x.Document}, x.Value, r); err != nil {
			return "", err
		}
		next, outcome, err := d.unpark(ctx, x, tx)
		task = next
		return outcome, err
	})
	return d.after(ctx, res, task, err)
}

// Assign names who works on it; an empty owner is nobody.
func (d Desk) Assign(ctx context.Context, t retail.Tenant, id string, a Actor, owner string) (Result, error) {
	return d.decide(ctx, t, id, "assign", a, func(x *document.Exception, _ *document.Transaction) (string, error) {
		if x.Owner == owner {
			return Repeated, nil
		}
		x.Owner = owner
		return Changed, nil
	})
}

// maxNotes bounds an exception's item.
const maxNotes = 50

// Note keeps the actor's reason with the exception.
func (d Desk) Note(ctx context.Context, t retail.Tenant, id string, a Actor) (Result, error) {
	return d.decide(ctx, t, id, "note", a, func(x *document.Exception, _ *document.Transaction) (string, error) {
		if n := len(x.Notes); n > 0 && x.Notes[n-1].By == a.By && x.Notes[n-1].Text == a.Reason {
			return Repeated, nil
		}
		if len(x.Notes) >= maxNotes {
			return "", refused(*x, "it has %d notes already", maxNotes)
		}
		x.Notes = append(x.Notes, document.Note{At: d.Life.Now(), By: a.By, Text: a.Reason})
		return Changed, nil
	})
}
