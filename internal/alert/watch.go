package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// Alert is one cause as it is stored and told.
type Alert struct {
	Schema      int           `json:"schema"`
	Fingerprint string        `json:"fingerprint"`
	Kind        Kind          `json:"kind"`
	Tenant      retail.Tenant `json:"tenant"`
	Connection  string        `json:"connection,omitempty"`
	Class       string        `json:"class,omitempty"`
	Level       Level         `json:"level"`
	Count       int           `json:"count"`
	Text        string        `json:"text"`
	Command     string        `json:"next,omitempty"`
	FirstAt     time.Time     `json:"first_at"`
	LastAt      time.Time     `json:"last_at"`
	// MissingAt is since when no rule sees it any more.
	MissingAt  time.Time `json:"missing_at,omitzero"`
	ResolvedAt time.Time `json:"resolved_at,omitzero"`
	Notice     Notice    `json:"notice"` // the last one
	Expires    time.Time `json:"expires_at,omitzero"`
	// Version is the optimistic lock: what is saved replaces this version, 0
	// creates.
	Version int64 `json:"version"`
}

// Active tells whether the cause is there.
func (a Alert) Active() bool { return a.ResolvedAt.IsZero() }

// Events of a notice.
const (
	Raised    = "raised"
	Escalated = "escalated"
	Repeated  = "repeated"
	Resolved  = "resolved"
)

// Notice is one telling of an alert. A newer one takes the place of one that
// could not be delivered.
type Notice struct {
	Number  int       `json:"number"` // 1 is the alert's first
	Event   string    `json:"event"`
	At      time.Time `json:"at"`
	Webhook Delivery  `json:"webhook"`
	Mail    Delivery  `json:"mail"`
	// Body is what the webhook says, equal for all attempts.
	Body string `json:"body,omitempty"`
	// Holder is who claimed the last attempt.
	Holder string `json:"holder,omitempty"`
}

// Delivery is how far a notice came at one destination.
type Delivery struct {
	State    string    `json:"state"`
	Attempts int       `json:"attempts,omitempty"`
	NextAt   time.Time `json:"next_at,omitzero"`
	Failure  string    `json:"failure,omitempty"`
}

// States of a delivery.
const (
	Waiting   = "waiting"
	Delivered = "delivered"
	GivenUp   = "given_up"
	Nowhere   = "nowhere" // no such destination is configured
)

// ErrUnsent is a notice that did not reach its destination; it is tried again.
var ErrUnsent = errors.New("a notice was not delivered")

// ErrConflict is returned for an alert that somebody else changed meanwhile.
var ErrConflict = errors.New("the alert was changed by somebody else")

// Store keeps alerts.
type Store interface {
	// Alerts lists all that are kept, by fingerprint. Reads are consistent.
	Alerts(ctx context.Context) ([]Alert, error)
	// SaveAlert replaces the version that a has, or fails with ErrConflict.
	SaveAlert(ctx context.Context, a Alert) error
}

// Destinations are where alerts go.
type Destinations struct {
	Partner string // as the partner is called
	URL     string // of the webhook; "" for none
	Secret  string
}

// Watch evaluates and tells. Several may run at a time.
type Watch struct {
	Store        Store
	Now          func() time.Time
	NewID        func() string
	Destinations func(ctx context.Context) (Destinations, error)
	// Post sends a signed message to the webhook.
	Post func(ctx context.Context, d Destinations, id string, at time.Time, body []byte) error
	// Mail publishes to whoever hears of alarms; nil where nobody does.
	Mail func(ctx context.Context, subject, text string) error
}

const (
	// quiet is how long a cause must be gone before it counts as over: queues
	// count about, and indexes lag.
	quiet = 3 * time.Minute
	// refresh is how old a stored count may be where nothing else changes.
	refresh = 15 * time.Minute
	// claim is how long a sender has for an attempt.
	claim = 2 * time.Minute
	// Attempts wait for firstWait, doubling up to lastWait, and end after
	// maxAttempts, about a day.
	firstWait   = time.Minute
	lastWait    = time.Hour
	maxAttempts = 28
	// Keep is how long a resolved alert is kept.
	Keep = 30 * 24 * time.Hour
)

// again is after how long a lasting cause is told again.
func again(l Level) time.Duration {
	if l >= Urgent {
		return 4 * time.Hour
	}
	return 24 * time.Hour
}

// Summary is what a pass did.
type Summary struct {
	Active, Told, Failed int
}

// Run compares what is observed with what is stored, and tells what is new,
// worse, lasting or over. Its error is ErrUnsent where nothing but a
// destination failed. A sender that dies leaves its attempt to the next
// one, under the same message id.
func (w Watch) Run(ctx context.Context, o Observation) (Summary, error) {
	stored, err := w.Store.Alerts(ctx)
	if err != nil {
		return Summary{}, err
	}
	known := map[string]Alert{}
	for _, a := range stored {
		known[a.Fingerprint] = a
	}
	var sum Summary
	var failed, unsent []error
	var next []Alert
	for _, s := range Judge(o) {
		if slices.Contains(o.Blind, s.Kind) {
			continue
		}
		sum.Active++
		f := s.Fingerprint()
		next = append(next, seen(known[f], s, o.At))
		delete(known, f)
	}
	for _, a := range stored {
		if _, left := known[a.Fingerprint]; left {
			if !slices.Contains(o.Blind, a.Kind) {
				a = missing(a, o.At)
			}
			next = append(next, a)
		}
	}
	was := map[string]Alert{}
	for _, a := range stored {
		was[a.Fingerprint] = a
	}
	var to *Destinations
	for _, a := range next {
		due := a.Notice.Webhook.due(o.At) || a.Notice.Mail.due(o.At)
		if due && to == nil {
			d, err := w.Destinations(ctx)
			if err != nil {
				return sum, err
			}
			to = &d
		}
		told, err := w.settle(ctx, was[a.Fingerprint], a, to, due, o.At)
		if told {
			sum.Told++
		}
		switch {
		case errors.Is(err, ErrUnsent):
			sum.Failed++
			unsent = append(unsent, err)
		case err != nil:
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return sum, errors.Join(unsent...)
	}
	return sum, errors.Join(failed...)
}

// seen is the alert after a signal.
func seen(a Alert, s Signal, now time.Time) Alert {
	fresh := a.Version == 0 || !a.Active()
	if fresh {
		a = Alert{Version: a.Version, Notice: Notice{Number: a.Notice.Number}, Schema: retail.SchemaVersion, Fingerprint: s.Fingerprint(), Kind: s.Kind, Tenant: s.Tenant}
	}
	event := ""
	switch {
	case fresh:
		event = Raised
	case s.Level > a.Level:
		event = Escalated
	case now.Sub(a.Notice.At) >= again(s.Level):
		event = Repeated
	}
	if event == "" && a.Count == s.Count && a.Level == s.Level && now.Sub(a.LastAt) < refresh && a.MissingAt.IsZero() {
		return a
	}
	a.Connection, a.Class, a.Count, a.Text, a.Command = s.Connection, s.Class, s.Count, s.Text, s.Command
	// A level that fell and rises again within a notice's time is not told
	// twice.
	a.Level = max(s.Level, a.Level)
	// What came first may have been dealt with since.
	if a.FirstAt.IsZero() || s.First.Before(a.FirstAt) {
		a.FirstAt = s.First
	}
	a.LastAt, a.MissingAt = now, time.Time{}
	if event != "" {
		a.tell(event, now)
	}
	return a
}

// missing is the alert after a pass that did not see its cause.
func missing(a Alert, now time.Time) Alert {
	switch {
	case !a.Active():
	case a.MissingAt.IsZero():
		a.MissingAt = now
	case now.Sub(a.MissingAt) >= quiet:
		a.ResolvedAt, a.Expires = a.MissingAt, now.Add(Keep)
		a.tell(Resolved, now)
	}
	return a
}

func (a *Alert) tell(event string, now time.Time) {
	a.Notice = Notice{Number: a.Notice.Number + 1, Event: event, At: now, Webhook: Delivery{State: Waiting, NextAt: now}, Mail: Delivery{State: Waiting, NextAt: now}}
}

func (d Delivery) due(now time.Time) bool { return d.State == Waiting && !d.NextAt.After(now) }

// settle stores what changed, and sends what is due. The store's condition is
// the claim: of several senders one sends.
func (w Watch) settle(ctx context.Context, was, a Alert, to *Destinations, due bool, now time.Time) (told bool, err error) {
	if !due {
		if a == was {
			return false, nil
		}
		return false, ours(w.Store.SaveAlert(ctx, a))
	}
	post, send := a.Notice.Webhook.due(now), a.Notice.Mail.due(now)
	switch {
	case to.URL == "":
		a.Notice.Webhook, post = Delivery{State: Nowhere}, false
	case post:
		a.Notice.Webhook = a.Notice.Webhook.claimed(now)
		if a.Notice.Body == "" {
			if a.Notice.Body, err = body(to.Partner, a); err != nil {
				return false, err
			}
		}
	}
	switch {
	case w.Mail == nil:
		a.Notice.Mail, send = Delivery{State: Nowhere}, false
	case send:
		a.Notice.Mail = a.Notice.Mail.claimed(now)
	}
	a.Notice.Holder = w.NewID()
	switch err := w.Store.SaveAlert(ctx, a); {
	case errors.Is(err, ErrConflict):
		return false, nil // another sender has it
	case err != nil:
		return false, err
	}
	a.Version++
	var unsent []error
	if post {
		err := w.post(ctx, *to, a)
		a.Notice.Webhook = a.Notice.Webhook.after(err, w.Now())
		unsent = append(unsent, err)
	}
	if send {
		subject, text := mail(to.Partner, a)
		err := w.Mail(ctx, subject, text)
		a.Notice.Mail = a.Notice.Mail.after(err, w.Now())
		unsent = append(unsent, err)
	}
	if !post && !send {
		return false, nil
	}
	// Where this is lost, the message is sent again under its id.
	if err := ours(w.Store.SaveAlert(ctx, a)); err != nil {
		return true, errors.Join(append(unsent, err)...)
	}
	if err := errors.Join(unsent...); err != nil {
		return true, fmt.Errorf("%w: %w", ErrUnsent, err)
	}
	return true, nil
}

// ours takes a lost race for done: whoever won did it.
func ours(err error) error {
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

func (w Watch) post(ctx context.Context, to Destinations, a Alert) error {
	if err := w.Post(ctx, to, a.message(), w.Now(), []byte(a.Notice.Body)); err != nil {
		return fmt.Errorf("telling alert %s by webhook: %w", a.Fingerprint, err)
	}
	return nil
}

// message is the notice's id at its receivers, equal for all attempts.
func (a Alert) message() string { return fmt.Sprintf("alert_%s_%d", a.Fingerprint, a.Notice.Number) }

func (d Delivery) claimed(now time.Time) Delivery {
	d.Attempts++
	d.NextAt = now.Add(claim)
	return d
}

// after is the delivery once an attempt ended.
func (d Delivery) after(err error, now time.Time) Delivery {
	switch {
	case err == nil:
		return Delivery{State: Delivered, Attempts: d.Attempts}
	case d.Attempts >= maxAttempts:
		return Delivery{State: GivenUp, Attempts: d.Attempts, Failure: clip(err.Error())}
	}
	wait := lastWait
	if d.Attempts < 7 {
		wait = min(firstWait<<(d.Attempts-1), lastWait)
	}
	d.NextAt, d.Failure = now.Add(wait), clip(err.Error())
	return d
}

func clip(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}

// Try sends a test alert to every destination, whatever is stored. It returns
// what became of each by name.
func (w Watch) Try(ctx context.Context, id string) (map[string]error, error) {
	to, err := w.Destinations(ctx)
	if err != nil {
		return nil, err
	}
	now := w.Now()
	s := Signal{Kind: Test, Tenant: retail.Partner, Cause: id, Level: Open, Count: 1, First: now, Text: "this is a test; nothing is wrong", Command: "nothing"}
	a := seen(Alert{}, s, now)
	out := map[string]error{}
	if to.URL != "" {
		if a.Notice.Body, err = body(to.Partner, a); err != nil {
			return nil, err
		}
		out["webhook"] = w.post(ctx, to, a)
	}
	if w.Mail != nil {
		subject, text := mail(to.Partner, a)
		out["mail"] = w.Mail(ctx, subject, text)
	}
	return out, nil
}
