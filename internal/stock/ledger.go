package stock

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
	"github.com/waybillhq/waybill/internal/rules"
)

// Operator is the source of what people do by hand. It owns no position and may
// move all of them: each of its movements names who and why, and is audited.
const Operator = "operator"

// Ledger records what sources say about stock: it knows who may say it, in
// which units, and what to tell people.
type Ledger struct {
	Store Store
	// Policy is the retailer's rules as of now.
	Policy func(ctx context.Context, t retail.Tenant) (rules.Policy, error)
	// Life describes exceptions; its store keeps them.
	Life document.Life
}

// Person is who does something by hand, and why.
type Person struct{ By, Reason string }

func refused(class fault.Class, field, value, format string, args ...any) error {
	return fault.New(fault.Exception, class, format, args...).At(field, value)
}

// check refuses movements and counts that a source may not give.
func check(p rules.Policy, source, location, sku string) error {
	l, known := p.Location(location)
	switch {
	case sku == "":
		return refused(fault.Validation, "sku", sku, "the movement names no SKU")
	case !known:
		codes := make([]string, len(p.Locations))
		for i, x := range p.Locations {
			codes[i] = x.Code
		}
		return refused(fault.Mapping, "location", location, "the retailer has no such location; it has %s", strings.Join(codes, ", "))
	case len(p.Product(sku).Components) > 0:
		return refused(fault.Validation, "sku", sku, "it is a kit, which has no stock of its own; move its components")
	case l.Owner != "" && source != l.Owner && source != Operator:
		return refused(fault.StateConflict, "connection", source, "the stock at %s is counted by %s; only its movements and counts are taken there", location, l.Owner)
	}
	return nil
}

var sourced = map[string]bool{Receipt: true, Sale: true, Return: true, TransferOut: true, TransferIn: true, Adjustment: true, StatusChange: true}

// Record takes a source's movements, each once. One that is refused keeps those
// after it from being recorded, and changes nothing.
func (l Ledger) Record(ctx context.Context, t retail.Tenant, source string, moves []Move) error {
	p, err := l.Policy(ctx, t)
	if err != nil {
		return err
	}
	for i := range moves {
		m := &moves[i]
		m.Connection, m.RecordedAt = source, l.Life.Now()
		if err := l.valid(ctx, t, p, *m); err != nil {
			return fmt.Errorf("movement %d: %w", i+1, err)
		}
	}
	for _, m := range moves {
		if err := l.Store.Apply(ctx, t, []Move{m}); err != nil {
			return err
		}
		if err := l.watch(ctx, t, m); err != nil {
			return err
		}
	}
	return nil
}

func (l Ledger) valid(ctx context.Context, t retail.Tenant, p rules.Policy, m Move) error {
	if err := check(p, m.Connection, m.Location, m.SKU); err != nil {
		return err
	}
	switch {
	case !sourced[m.Type]:
		return refused(fault.Validation, "type", m.Type, "no source gives movements of this type")
	case m.Document == "":
		return refused(fault.Validation, "document", "", "the movement names no document, by which it would be known again")
	case m.OnHand == 0 && m.Damaged == 0 && m.QualityHold == 0 && m.InTransit == 0:
		return refused(fault.Validation, "quantity", "0", "the movement moves nothing")
	case m.OccurredAt.IsZero():
		return refused(fault.Validation, "occurred_at", "", "the movement does not say when it happened")
	case m.Type == Receipt && m.OnHand < 0, m.Type == Sale && m.OnHand > 0, m.Type == Return && m.OnHand < 0:
		return refused(fault.Validation, "quantity", fmt.Sprint(m.OnHand), "a %s does not move on hand by %+d", m.Type, m.OnHand)
	case m.Type == StatusChange && m.OnHand != 0:
		return refused(fault.Validation, "quantity", fmt.Sprint(m.OnHand), "a change of status leaves on hand as it is")
	}
	if m.Type == Receipt || m.Type == TransferIn || m.Type == Return {
		return nil // goods may arrive where none were
	}
	found, err := l.Store.Positions(ctx, t, m.Location, []string{m.SKU})
	if err == nil && len(found) == 0 {
		err = fault.Wrap(fault.Exception, fault.Mapping, &Unknown{m.SKU, m.Location}, "moving").At("sku", m.SKU)
	}
	return err
}

// Adjust changes on hand by hand. The document is the person's own number of
// it: the same adjustment given again changes nothing. It returns the
// movement's id.
func (l Ledger) Adjust(ctx context.Context, t retail.Tenant, sku, location string, by int64, number string, who Person) (Move, error) {
	if who.By == "" || who.Reason == "" {
		return Move{}, refused(fault.Validation, "reason", "", "say who adjusts and why; it is kept with the movement")
	}
	p, err := l.Policy(ctx, t)
	if err != nil {
		return Move{}, err
	}
	now := l.Life.Now()
	m := Move{SKU: sku, Location: location, Type: Adjustment, Connection: Operator, Document: number, Line: "1", OnHand: by, Reason: who.Reason, By: who.By,
		OccurredAt: now, RecordedAt: now}
	if err := l.valid(ctx, t, p, m); err != nil {
		return m, err
	}
	if err := l.there(ctx, t, m); err != nil {
		return m, err
	}
	return m, l.byHand(ctx, t, m, who, "stock.adjust")
}

// there refuses to take away by hand more than there is, which is a number
// mistyped. What sources report is taken as it is: the world may say so.
func (l Ledger) there(ctx context.Context, t retail.Tenant, m Move) error {
	found, err := l.Store.Positions(ctx, t, m.Location, []string{m.SKU})
	if err != nil || m.OnHand >= 0 || found[m.SKU].OnHand+m.OnHand >= 0 {
		return err
	}
	if _, err := l.Store.Movement(ctx, t, m.SKU, m.ID()); !errors.Is(err, ErrNoMovement) {
		return err // recorded before: the ledger tells whether as the same
	}
	return refused(fault.Validation, "by", fmt.Sprint(m.OnHand), "%s at %s has %d on hand; %d cannot be taken from it. If there is less than that, count it: waybill stock count",
		m.SKU, m.Location, found[m.SKU].OnHand, -m.OnHand)
}

func (l Ledger) byHand(ctx context.Context, t retail.Tenant, m Move, who Person, verb string) error {
	_, err := l.Store.ApplyTogether(ctx, t, []Move{m}, l.audit(t, verb, m, who))
	if err != nil {
		return err
	}
	return l.watch(ctx, t, m)
}

func (l Ledger) audit(t retail.Tenant, verb string, m Move, who Person) document.Audit {
	return document.Audit{Tenant: t, ID: l.Life.NewID(), At: l.Life.Now(), By: who.By, Verb: verb, Subject: m.SKU + "@" + m.Location, Reason: who.Reason,
		Data: map[string]string{"movement": m.ID(), "on_hand": fmt.Sprintf("%+d", m.OnHand), "document": m.Document, "reverses": m.Reverses}}
}

// Reverse takes a movement back, once: what it was is recorded again with the
// opposite sign and the same time. Counts and openings are not reversed; the
// next count replaces them.
func (l Ledger) Reverse(ctx context.Context, t retail.Tenant, sku, id string, who Person) (Move, error) {
	if who.By == "" || who.Reason == "" {
		return Move{}, refused(fault.Validation, "reason", "", "say who reverses and why; it is kept with the movement")
	}
	was, err := l.Store.Movement(ctx, t, sku, id)
	if errors.Is(err, ErrNoMovement) {
		return was, fault.Wrap(fault.Exception, fault.MissingReference, err, "reversing").At("movement", id)
	}
	if err != nil {
		return was, err
	}
	switch was.Type {
	case CountMove, Opening:
		return was, refused(fault.StateConflict, "movement", id, "a count is not reversed; count again")
	case Reversal:
		return was, refused(fault.StateConflict, "movement", id, "it is a reversal itself; record what happened as a new movement")
	}
	m := Move{SKU: was.SKU, Location: was.Location, Type: Reversal, Connection: was.Connection, Document: id, Line: was.Line, OnHand: -was.OnHand, Damaged: -was.Damaged,
		QualityHold: -was.QualityHold, InTransit: -was.InTransit, Reason: who.Reason, By: who.By, OccurredAt: was.OccurredAt, RecordedAt: l.Life.Now(), Reverses: id}
	fresh, err := l.Store.ApplyTogether(ctx, t, []Move{m}, l.audit(t, "stock.reverse", m, who))
	if err != nil {
		return m, err
	}
	// Whoever reversed it before may have died before people were told.
	if err := l.watch(ctx, t, m); err != nil {
		return m, err
	}
	if !fresh {
		return m, refused(fault.Duplicate, "movement", id, "it was reversed before, by movement %s", m.ID())
	}
	return m, nil
}

// Transfer ships goods from one location towards another: a pair of movements
// that are nothing together, in one transaction.
func (l Ledger) Transfer(ctx context.Context, t retail.Tenant, source, number, line, sku, from, to string, quantity int64, at time.Time) error {
	p, err := l.Policy(ctx, t)
	if err != nil {
		return err
	}
	if quantity <= 0 || from == to {
		return refused(fault.Validation, "quantity", fmt.Sprint(quantity), "a transfer takes 1 or more from one location to another")
	}
	out := Move{SKU: sku, Location: from, Type: TransferOut, Connection: source, Document: number, Line: line, OnHand: -quantity, OccurredAt: at, RecordedAt: l.Life.Now()}
	in := out
	in.Location, in.Type, in.OnHand, in.InTransit = to, TransferIn, 0, quantity
	if err := l.valid(ctx, t, p, out); err != nil {
		return err
	}
	if _, known := p.Location(to); !known {
		return check(p, Operator, to, sku)
	}
	if _, err := l.Store.ApplyTogether(ctx, t, []Move{out, in}); err != nil {
		return err
	}
	return l.watch(ctx, t, out)
}

// Arrive books goods in transit as received.
func (l Ledger) Arrive(ctx context.Context, t retail.Tenant, source, number, line, sku, at string, quantity int64, when time.Time) error {
	if quantity <= 0 {
		return refused(fault.Validation, "quantity", fmt.Sprint(quantity), "1 or more arrive")
	}
	return l.Record(ctx, t, source, []Move{{SKU: sku, Location: at, Type: Receipt, Document: number, Line: line, OnHand: quantity, InTransit: -quantity, OccurredAt: when}})
}

// Count is a snapshot of one position.
type Count struct {
	SKU      string
	Location string
	Source   string
	Document string // the source's number of the count
	OnHand   int64
	AsOf     time.Time
	// Who counted, where a person did.
	Who Person
}

// Counted is what a count came to.
type Counted struct {
	Move      Move
	Was, Is   int64 // on hand
	Repeated  bool  // it was recorded before
	Ambiguous int   // movements within the clocks' skew of it
}

// contests bound how often a count is weighed again while its position moves.
const contests = 20

// Count fences a position: it holds what was counted and what moved after.
func (l Ledger) Count(ctx context.Context, t retail.Tenant, c Count) (Counted, error) {
	return l.count(ctx, t, c, CountMove)
}

// Open makes a position with what is there: the opening balance. A position
// that is there already is counted instead.
func (l Ledger) Open(ctx context.Context, t retail.Tenant, c Count) (Counted, error) {
	if c.Who.By == "" || c.Who.Reason == "" {
		return Counted{}, refused(fault.Validation, "reason", "", "say who opens the position and why; it is kept with the movement")
	}
	return l.count(ctx, t, c, Opening)
}

func (l Ledger) count(ctx context.Context, t retail.Tenant, c Count, typ string) (Counted, error) {
	p, err := l.Policy(ctx, t)
	if err != nil {
		return Counted{}, err
	}
	if err := check(p, c.Source, c.Location, c.SKU); err != nil {
		return Counted{}, err
	}
	now := l.Life.Now()
	f := Fence{At: c.AsOf, Skew: p.ClockSkew(), By: c.Source}
	switch {
	case c.OnHand < 0:
		return Counted{}, refused(fault.Validation, "counted", fmt.Sprint(c.OnHand), "nobody counts less than nothing")
	case c.Document == "":
		return Counted{}, refused(fault.Validation, "document", "", "the count has no number, by which it would be known again")
	case c.AsOf.IsZero():
		return Counted{}, refused(fault.Validation, "as_of", "", "the count does not say as of when it is true")
	case c.AsOf.After(now.Add(f.Skew)):
		return Counted{}, refused(fault.Validation, "as_of", c.AsOf.UTC().Format(time.RFC3339), "the count is as of a time that has not come")
	}
	for range contests {
		out, err := l.settle(ctx, t, c, typ, f)
		if !errors.Is(err, ErrMoved) {
			return out, err
		}
	}
	return Counted{}, fault.Wrap(fault.Retryable, fault.StateConflict, ErrMoved, "counting %s at %s", c.SKU, c.Location).After(time.Second)
}

func (l Ledger) settle(ctx context.Context, t retail.Tenant, c Count, typ string, f Fence) (Counted, error) {
	// The position first: whatever moves after it was read changes its version.
	found, err := l.Store.Positions(ctx, t, c.Location, []string{c.SKU})
	if err != nil {
		return Counted{}, err
	}
	was, exists := found[c.SKU]
	m := Move{SKU: c.SKU, Location: c.Location, Type: typ, Connection: c.Source, Document: c.Document, Line: c.Location, Reason: c.Who.Reason, By: c.Who.By,
		OccurredAt: c.AsOf, RecordedAt: l.Life.Now(), Counted: c.OnHand, AsOf: c.AsOf}
	if before, err := l.Store.Movement(ctx, t, c.SKU, m.ID()); err == nil {
		if before.Counted != m.Counted || before.Location != m.Location || !before.AsOf.Equal(m.AsOf) {
			return Counted{}, refused(fault.Duplicate, "document", c.Document, "it is recorded already as a count of %d as of %s; it is given again as %d as of %s. Nothing moved",
				before.Counted, before.AsOf.UTC().Format(time.RFC3339), m.Counted, m.AsOf.UTC().Format(time.RFC3339))
		}
		// Whoever recorded it may have died before people were told.
		moves, err := l.Store.Movements(ctx, t, c.SKU, c.Location, c.AsOf.Add(-f.Skew))
		if err != nil {
			return Counted{}, err
		}
		_, unsure := Weigh(c.OnHand, f, moves)
		return Counted{Move: before, Was: was.OnHand, Is: was.OnHand, Repeated: true}, l.tell(ctx, t, before, f, len(unsure))
	} else if !errors.Is(err, ErrNoMovement) {
		return Counted{}, err
	}
	switch {
	case !exists && typ != Opening:
		return Counted{}, fault.Wrap(fault.Exception, fault.Mapping, &Unknown{c.SKU, c.Location}, "counting; open the position first").At("sku", c.SKU)
	case exists && typ == Opening:
		return Counted{}, refused(fault.StateConflict, "sku", c.SKU, "the position at %s is open already with %d on hand; count it instead", c.Location, was.OnHand)
	}
	if err := was.Fence.Older(c.AsOf); err != nil {
		return Counted{}, err
	}
	moves, err := l.Store.Movements(ctx, t, c.SKU, c.Location, c.AsOf.Add(-f.Skew))
	if err != nil {
		return Counted{}, err
	}
	is, unsure := Weigh(c.OnHand, f, moves)
	m.OnHand = is - was.OnHand
	m.Applied = m.OnHand
	var audits []document.Audit
	if c.Who.By != "" {
		audits = append(audits, l.audit(t, "stock."+map[string]string{CountMove: "count", Opening: "open"}[typ], m, c.Who))
	}
	if _, err := l.Store.Settle(ctx, t, was.Version, m, f, audits...); err != nil {
		return Counted{}, err
	}
	return Counted{Move: m, Was: was.OnHand, Is: is, Ambiguous: len(unsure)}, l.tell(ctx, t, m, f, len(unsure))
}

// tell tells people what a count has left behind.
func (l Ledger) tell(ctx context.Context, t retail.Tenant, m Move, f Fence, unsure int) error {
	if unsure > 0 {
		if err := l.drift(ctx, t, m, f, fmt.Sprintf("%d movements within %s of the count", unsure, f.Skew)); err != nil {
			return err
		}
	}
	return l.uncovered(ctx, t, m)
}

// watch tells people what a movement has left behind.
func (l Ledger) watch(ctx context.Context, t retail.Tenant, m Move) error {
	found, err := l.Store.Positions(ctx, t, m.Location, []string{m.SKU})
	if err != nil {
		return err
	}
	p := found[m.SKU]
	if _, unsure := p.Fence.Applies(m); unsure && m.Reverses == "" {
		if err := l.drift(ctx, t, m, p.Fence, fmt.Sprintf("a %s of %+d within %s of the count", m.Type, m.OnHand, p.Fence.Skew)); err != nil {
			return err
		}
	}
	return l.cover(ctx, t, p, m)
}

// Drifted tells people of movements that are recorded and Unsure: as often as it
// is called, each count has one case.
func (l Ledger) Drifted(ctx context.Context, t retail.Tenant, moves []Move) error {
	for _, m := range moves {
		if !m.Unsure {
			continue
		}
		if err := l.watch(ctx, t, m); err != nil {
			return fmt.Errorf("telling of the drift of %s: %w", m.SKU, err)
		}
	}
	return nil
}

func (l Ledger) uncovered(ctx context.Context, t retail.Tenant, m Move) error {
	found, err := l.Store.Positions(ctx, t, m.Location, []string{m.SKU})
	if err != nil {
		return err
	}
	return l.cover(ctx, t, found[m.SKU], m)
}

func (l Ledger) cover(ctx context.Context, t retail.Tenant, p Position, m Move) error {
	if p.Unreserved >= 0 || p.Reserved == 0 {
		return nil
	}
	return l.open(ctx, t, m, fmt.Sprintf("uncovered %s %s", p.SKU, p.Location),
		fault.New(fault.Exception, fault.ReservationUncovered, "%s has %d on hand and %d reserved: %d are promised that are not there", p.Location, p.OnHand, p.Reserved, -p.Unreserved).At("sku", p.SKU))
}

func (l Ledger) drift(ctx context.Context, t retail.Tenant, m Move, f Fence, why string) error {
	return l.open(ctx, t, m, fmt.Sprintf("drift %s %s %s", m.SKU, m.Location, f.At.UTC().Format(time.RFC3339Nano)),
		fault.New(fault.Exception, fault.StockDrift, "%s: nobody knows what of it the count as of %s has seen; the lower number was taken", why, f.At.UTC().Format(time.RFC3339)).At("sku", m.SKU))
}

// open opens one exception a cause; while it is open, another is not needed. What
// a movement does after people dealt with it is a new case, and what it did before
// is not.
func (l Ledger) open(ctx context.Context, t retail.Tenant, m Move, cause string, err error) error {
	x := l.Life.NewException(t, m.Connection, err)
	sum := sha256.Sum256([]byte(cause))
	x.ID = "stock-" + hex.EncodeToString(sum[:10])
	for range 5 {
		there, rerr := l.Life.Store.Exception(ctx, t, x.ID)
		switch {
		case rerr == nil && (there.State != document.Resolved || there.ResolvedAt.After(m.RecordedAt)):
			return nil
		case rerr == nil:
			x.Version, x.Notes = there.Version, there.Notes
		case !errors.Is(rerr, document.ErrNotFound):
			return fmt.Errorf("reading exception %s: %w", x.ID, rerr)
		}
		cerr := l.Life.Store.Commit(ctx, document.Transaction{Exceptions: []document.Exception{x}})
		if !errors.Is(cerr, document.ErrConflict) {
			return cerr
		}
	}
	return nil // somebody opens it
}
