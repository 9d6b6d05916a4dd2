package effect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Lease is how long a sender owns an effect. Send is given less, so that it
// has ended when the lease ends.
const (
	Lease    = 75 * time.Second
	SendTime = 65 * time.Second
	// busyWait is the first wait for an effect that somebody else is sending.
	busyWait = time.Second
	// slowLook is the age of an intent from which it is renewed before the send.
	slowLook = time.Second
)

// Status is an effect's place in its life.
type Status string

const (
	// Sending: a holder may be talking to the vendor right now.
	Sending Status = "sending"
	// Refused: the vendor definitely did not do it.
	Refused Status = "refused"
	// Unknown: it may have been done.
	Unknown Status = "unknown"
	// Confirmed: it was done; the receipt is the proof.
	Confirmed Status = "confirmed"
)

// Subject is the document, or other thing, under which an effect is kept.
type Subject struct {
	Tenant retail.Tenant
	Type   string
	ID     string
}

// Record is an effect as stored. Payload hash and key never change.
type Record struct {
	Subject    Subject
	Key        string // kind#ordinal
	Status     Status
	Hash       string
	Holder     string
	LeaseUntil time.Time
	SentAt     time.Time // when the send that is in question began
	EmptyReads int       // read-backs since SentAt that found nothing
	Attempts   int
	Receipt    Receipt
	Version    int64
}

// ErrLost is returned by Update when somebody else changed the record.
var ErrLost = errors.New("effect was changed by somebody else")

// Store keeps effects.
type Store interface {
	// Create stores r unless its key exists; then it returns what is there.
	Create(ctx context.Context, r Record) (existing *Record, err error)
	// Update replaces the record that has r.Version, or fails with ErrLost;
	// the stored version is r.Version + 1.
	Update(ctx context.Context, r Record) error
	// Effect returns a record, or nil.
	Effect(ctx context.Context, s Subject, key string) (*Record, error)
}

// Ledger does effects at most once as far as the vendor lets itself be asked.
type Ledger struct {
	Store Store
	Now   func() time.Time
	NewID func() string
}

// Effect is one write to a vendor and the way to find out whether it happened.
type Effect struct {
	Subject Subject
	Key     string // unique within the subject: kind, or kind#ordinal
	Payload any    // what is sent, for the hash; the same key must carry the same payload for ever
	// Settle is the vendor's longest processing time plus the lag of its
	// reads: an empty read-back earlier than this proves nothing.
	Settle time.Duration
	// LookFirst asks before the first send too, for things that may exist
	// without us (a customer).
	LookFirst bool
	// Lookup reads the effect back by key or parent. nil: the vendor cannot be
	// asked, and an unknown outcome needs a human.
	Lookup func(ctx context.Context) (Receipt, bool, error)
	// Send does it.
	Send func(ctx context.Context, p Permit) (Receipt, error)
}

// Do makes the effect happen, or says why not. It is safe to call again after
// any crash: a confirmed effect returns its receipt, a running one is
// Retryable, and one of unknown outcome is read back before it is repeated.
func (l *Ledger) Do(ctx context.Context, e Effect) (Receipt, error) {
	if err := l.timeLeft(ctx); err != nil {
		return Receipt{}, err
	}
	hash, err := payloadHash(e.Payload)
	if err != nil {
		return Receipt{}, fault.Wrap(fault.Permanent, fault.Internal, err, "hashing the payload of %s", e.Key)
	}
	now, holder := l.Now(), l.NewID()
	rec := Record{Subject: e.Subject, Key: e.Key, Status: Sending, Hash: hash, Holder: holder,
		LeaseUntil: now.Add(Lease), SentAt: now, Attempts: 1, Version: 1}
	var existing *Record
	if e.LookFirst {
		// Done most often by an earlier document: a read costs a tenth of a
		// refused write.
		if existing, err = l.Store.Effect(ctx, e.Subject, e.Key); err != nil {
			return Receipt{}, fmt.Errorf("reading effect %s: %w", e.Key, err)
		}
	}
	if existing == nil {
		if existing, err = l.Store.Create(ctx, rec); err != nil {
			return Receipt{}, fmt.Errorf("recording the intent of %s: %w", e.Key, err)
		}
	}
	if existing == nil {
		if e.LookFirst {
			if r, found, err := l.look(ctx, e, &rec, Refused); err != nil || found {
				return r, err
			}
		}
		return l.send(ctx, e, rec)
	}
	rec = *existing
	if rec.Hash != hash {
		return Receipt{}, fault.New(fault.Permanent, fault.Internal, "the payload of effect %s changed after it was recorded", e.Key)
	}
	switch {
	case rec.Status == Confirmed:
		return rec.Receipt, nil
	case rec.Status == Sending && now.Before(rec.LeaseUntil):
		// A living sender is done in a second or two and a dead one only when its
		// lease ends: the caller's own back-off meets both.
		return Receipt{}, fault.New(fault.Retryable, fault.StateConflict, "effect %s is being sent by another run", e.Key).After(min(rec.LeaseUntil.Sub(now), busyWait))
	}
	resend := rec.Status == Refused
	rec.Status, rec.Holder, rec.LeaseUntil = Sending, holder, now.Add(Lease)
	rec.Attempts++
	if resend {
		rec.SentAt, rec.EmptyReads = now, 0
	}
	if err := l.update(ctx, &rec); err != nil {
		return Receipt{}, err
	}
	if !resend {
		if r, done, err := l.settle(ctx, e, &rec); err != nil || done {
			return r, err
		}
	} else if e.LookFirst {
		if r, found, err := l.look(ctx, e, &rec, Refused); err != nil || found {
			return r, err
		}
	}
	return l.send(ctx, e, rec)
}

// Decide ends a doubt that nobody but a human can: with a receipt the effect
// happened, without one it did not and may be sent. An effect whose outcome is
// known, or that may be under way, is refused.
func (l *Ledger) Decide(ctx context.Context, s Subject, key string, happened *Receipt) error {
	rec, err := l.Store.Effect(ctx, s, key)
	if err != nil {
		return fmt.Errorf("reading effect %s: %w", key, err)
	}
	to := Refused
	if happened != nil {
		to = Confirmed
	}
	switch {
	case rec == nil:
		return fault.New(fault.Exception, fault.MissingReference, "there is no effect %s", key).At("effect", key)
	case rec.Status == to && (happened == nil || rec.Receipt.Ref == happened.Ref):
		return nil // decided so before
	case rec.Status == Sending && l.Now().Before(rec.LeaseUntil):
		return fault.New(fault.Retryable, fault.StateConflict, "effect %s is being sent", key).At("effect", key)
	case rec.Status != Unknown && rec.Status != Sending:
		return fault.New(fault.Exception, fault.StateConflict, "the outcome of effect %s is known: %s %s", key, rec.Status, rec.Receipt.Ref).At("effect", key)
	}
	rec.Status, rec.Holder = to, l.NewID()
	if happened != nil {
		rec.Receipt = *happened
	}
	return l.update(ctx, rec)
}

// settle finds out about a send of unknown outcome. It returns done with the
// receipt where the vendor has it, and neither where it is proven absent: two
// empty read-backs, the second at least Settle after the send began.
func (l *Ledger) settle(ctx context.Context, e Effect, rec *Record) (Receipt, bool, error) {
	if e.Lookup == nil {
		rec.Status = Unknown
		if err := l.update(ctx, rec); err != nil {
			return Receipt{}, false, err
		}
		return Receipt{}, false, fault.New(fault.Exception, fault.OutcomeUnknown, "effect %s may have happened and the target cannot be asked", e.Key).At("effect", e.Key)
	}
	r, found, err := l.look(ctx, e, rec, Unknown)
	if err != nil || found {
		return r, found, err
	}
	now := l.Now()
	if rec.EmptyReads >= 1 && !now.Before(rec.SentAt.Add(e.Settle)) {
		rec.SentAt, rec.EmptyReads, rec.LeaseUntil = now, 0, now.Add(Lease)
		return Receipt{}, false, l.update(ctx, rec)
	}
	rec.EmptyReads++
	rec.Status = Unknown
	if err := l.update(ctx, rec); err != nil {
		return Receipt{}, false, err
	}
	wait := max(rec.SentAt.Add(e.Settle).Sub(now), time.Second)
	return Receipt{}, false, fault.New(fault.Retryable, fault.OutcomeUnknown, "effect %s is not visible yet", e.Key).After(wait)
}

// look reads the effect back and confirms it where it is found. On an error
// the lease is given up and the outcome stays what it was: refused where
// nothing was sent since.
func (l *Ledger) look(ctx context.Context, e Effect, rec *Record, was Status) (Receipt, bool, error) {
	lctx, cancel := context.WithTimeout(ctx, SendTime)
	defer cancel()
	r, found, err := e.Lookup(lctx)
	if err != nil {
		rec.Status = was
		return Receipt{}, false, errors.Join(err, l.update(ctx, rec))
	}
	if !found {
		return Receipt{}, false, nil
	}
	rec.Status, rec.Receipt = Confirmed, r
	return r, true, l.update(ctx, rec)
}

func (l *Ledger) send(ctx context.Context, e Effect, rec Record) (Receipt, error) {
	// A look may have taken most of the lease, and settle counts from the send. A
	// function that was frozen while it wrote this down writes it down again.
	for now := l.Now(); now.Sub(rec.SentAt) > slowLook; now = l.Now() {
		rec.SentAt, rec.LeaseUntil = now, now.Add(Lease)
		if err := l.update(ctx, &rec); err != nil {
			return Receipt{}, err
		}
	}
	sctx, cancel := context.WithTimeout(ctx, SendTime)
	defer cancel()
	r, err := e.Send(sctx, Permit{key: e.Subject.Tenant.Key(e.Subject.Type, e.Subject.ID, e.Key)})
	switch f := fault.Of(err); {
	case err == nil:
		rec.Status, rec.Receipt = Confirmed, r
	case f != nil && !f.Unknown:
		rec.Status = Refused
	default: // unmarked errors included: a deadline inside Send, for one
		// It may have begun late, but not after now.
		rec.Status, rec.SentAt = Unknown, l.Now()
	}
	// The vendor was told; the record must say so even if the caller's
	// deadline is near.
	uctx, ucancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer ucancel()
	return r, errors.Join(err, l.update(uctx, &rec))
}

func (l *Ledger) update(ctx context.Context, rec *Record) error {
	if err := l.Store.Update(ctx, *rec); err != nil {
		if errors.Is(err, ErrLost) {
			return fault.Wrap(fault.Retryable, fault.StateConflict, err, "updating effect %s", rec.Key)
		}
		return fmt.Errorf("updating effect %s: %w", rec.Key, err)
	}
	rec.Version++
	return nil
}

// timeLeft refuses to begin what the invocation could not finish.
func (l *Ledger) timeLeft(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if ok && deadline.Sub(l.Now()) < minimumTime {
		return fault.New(fault.Retryable, fault.Connectivity, "too little time is left to reach the vendor").After(time.Second)
	}
	return nil
}

// minimumTime is one vendor exchange and its record.
const minimumTime = 12 * time.Second

func payloadHash(p any) (string, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}
