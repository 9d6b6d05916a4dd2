// Package replay takes stored payloads in again, through today's code and
// configuration. What they made before is found by its external ids, so that a
// replay of everything changes nothing that is right.
package replay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// Name is the job's kind.
const Name = "replay"

// Parameters of the job.
const (
	Connection = "connection"
	Class      = "class" // order or shipment
	From       = "from"  // first day of receipt, UTC, 2006-01-02
	To         = "to"    // last day, included
)

// Lister lists what is kept, in the order of keys, after a key.
type Lister interface {
	List(ctx context.Context, prefix, after string, limit int) (keys []string, err error)
}

// Replay is what the job needs.
type Replay struct {
	Payloads Lister
	// Enqueue hands a message to the intake of its class.
	Enqueue func(ctx context.Context, class string, m inbox.Message) error
	Now     func() time.Time
	// Keep is how long payloads are kept, for the words of a refusal.
	Keep time.Duration
}

// page is how many payloads a part hands over.
const page = 100

// longest range of one job, in days.
const longest = 366

const day = "2006-01-02"

// span reads the days of a job.
func span(params map[string]string) (from, to time.Time, err error) {
	for name, at := range map[string]*time.Time{From: &from, To: &to} {
		if *at, err = time.Parse(day, params[name]); err != nil {
			return from, to, fault.New(fault.Permanent, fault.Validation, "is no day such as 2026-03-01").At(name, params[name])
		}
	}
	switch days := int(to.Sub(from)/(24*time.Hour)) + 1; {
	case days < 1:
		return from, to, fault.New(fault.Permanent, fault.Validation, "lies after the last day, %s", params[To]).At(From, params[From])
	case days > longest:
		return from, to, fault.New(fault.Permanent, fault.Validation, "is %d days from the last one; a replay takes %d at most", days, longest).At(From, params[From])
	}
	return from, to, nil
}

// Kind is the job's kind. One at a time works on one connection's payloads.
func (r Replay) Kind() job.Kind {
	return job.Kind{Name: Name, Key: func(params map[string]string) (string, error) {
		if params[Connection] == "" {
			return "", fault.New(fault.Permanent, fault.Validation, "name the connection whose payloads are replayed").At(Connection, "")
		}
		if params[Class] != "order" && params[Class] != "shipment" {
			return "", fault.New(fault.Permanent, fault.Validation, "is neither order nor shipment").At(Class, params[Class])
		}
		_, _, err := span(params)
		return params[Class] + ":" + params[Connection], err
	}, Part: r.part}
}

// Check refuses a replay of what is not kept any more, before it becomes a job.
func (r Replay) Check(ctx context.Context, t retail.Tenant, params map[string]string) error {
	from, to, err := span(params)
	if err != nil {
		return err
	}
	for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
		keys, err := r.Payloads.List(ctx, inbox.RawDay(params[Class], t, params[Connection], d), "", 1)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			return nil
		}
	}
	oldest := r.Now().Add(-r.Keep).UTC().Format(day)
	return fault.New(fault.Exception, fault.MissingReference,
		"no payload of %s was received from %s to %s, or none is kept: payloads are kept %d days, those of before %s are gone. What the channel still lists and nobody took in is found by: waybill job start reconcile connection=%s",
		params[Connection], params[From], params[To], int(r.Keep.Hours()/24), oldest, params[Connection]).At(From, params[From])
}

// part hands over the payloads after the cursor, which is the last key. A part
// that is repeated hands over the same events, which the inbox knows.
func (r Replay) part(ctx context.Context, j job.Job) (job.Part, error) {
	from, to, err := span(j.Params)
	if err != nil {
		return job.Part{}, err
	}
	class, connection := j.Params[Class], j.Params[Connection]
	at, after := from, ""
	if name, key, ok := strings.Cut(j.Cursor, " "); ok {
		if at, err = time.Parse(day, name); err != nil {
			return job.Part{}, fault.Wrap(fault.Permanent, fault.Internal, err, "reading the cursor")
		}
		after = key
	}
	out := job.Part{}
	keys, err := r.Payloads.List(ctx, inbox.RawDay(class, j.Tenant, connection, at), after, page)
	if err != nil {
		return out, err
	}
	for _, key := range keys {
		out.Counts.Read++
		if j.DryRun {
			continue
		}
		if err := r.Enqueue(ctx, class, inbox.Message{Schema: retail.SchemaVersion, Tenant: j.Tenant, Connection: connection, Topic: "replay",
			EventID: "replay:" + strings.TrimPrefix(key, inbox.RawPrefix(class, j.Tenant)) + "#R" + j.ID, ReceivedAt: r.Now(), Blob: key}); err != nil {
			return out, fmt.Errorf("handing over %s: %w", key, err)
		}
		out.Counts.Applied++
	}
	switch {
	case len(keys) == page:
		out.Cursor = at.Format(day) + " " + keys[len(keys)-1]
	case at.Before(to):
		out.Cursor = at.AddDate(0, 0, 1).Format(day) + " "
	default:
		out.Done = true
	}
	out.Summary = fmt.Sprintf("%s of %s is replayed up to %s", class, connection, at.Format(day))
	return out, nil
}
