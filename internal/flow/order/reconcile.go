package order

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// Watermarks remember up to when a connection was listed.
type Watermarks interface {
	Watermark(ctx context.Context, t retail.Tenant, connection string) (time.Time, error)
	SetWatermark(ctx context.Context, t retail.Tenant, connection string, at time.Time) error
}

// Reconciler finds the orders that no webhook announced.
type Reconciler struct {
	Store       document.Store
	Connections flow.Connections
	Watermarks  Watermarks
	// Enqueue hands an order to the intake; it stores a large body apart.
	Enqueue func(ctx context.Context, m inbox.Message) error
	// Listener notices a channel that has become silent.
	Listener Listener
	Now      func() time.Time
}

const (
	// overlap covers the vendor's lag between a change and its listing, and
	// clocks that differ.
	overlap = 10 * time.Minute
	// restless is how old the watermark of a channel gets that lists nothing:
	// moving it every time would cost more than looking.
	restless = time.Hour
	// firstLook is how far the first listing of a new connection reaches back.
	firstLook = 48 * time.Hour
)

// ReconcileJob lists one channel's orders since the last complete listing and
// enqueues those that no document stands for. Params: connection. It runs every
// few minutes, so that its rows are kept for days.
var ReconcileJob = job.Kind{Name: "reconcile", Keep: 7 * 24 * time.Hour, Key: func(p map[string]string) (string, error) {
	if p["connection"] == "" {
		return "", fault.New(fault.Permanent, fault.Validation, "a channel's connection is needed").At("connection", "")
	}
	return p["connection"], nil
}}

// Kind is the job with its work.
func (r Reconciler) Kind() job.Kind { return ReconcileJob.With(r.part) }

// Look reconciles a channel without a job, up to so many pages: that is all of
// them most of the time, and a job's row would cost more than the look. more says
// that the listing is longer, and a job for it.
func (r Reconciler) Look(ctx context.Context, t retail.Tenant, connection string, pages int) (found int64, more bool, err error) {
	j := job.Job{Tenant: t, Params: map[string]string{"connection": connection}}
	for range pages {
		p, err := r.part(ctx, j)
		found += p.Counts.Applied
		if err != nil || p.Done {
			return found, false, err
		}
		j.Cursor = p.Cursor
	}
	return found, true, nil
}

// listing is where a reconcile stands.
type listing struct {
	Began time.Time `json:"began"`
	Since time.Time `json:"since"`
	Page  string    `json:"page,omitempty"`
}

// part deals with one page. The watermark moves only after the last, so that a
// listing that never ends is repeated as a whole.
func (r Reconciler) part(ctx context.Context, j job.Job) (job.Part, error) {
	connection := j.Params["connection"]
	lister, err := flow.Port[Lister](ctx, r.Connections, j.Tenant, connection, "list orders")
	if err != nil {
		return job.Part{}, err
	}
	at, err := r.begin(ctx, j, connection)
	if err != nil {
		return job.Part{}, err
	}
	page, next, err := lister.ListOrders(ctx, at.Since, at.Page)
	if err != nil {
		return job.Part{}, fmt.Errorf("listing the orders of %s: %w", connection, err)
	}
	p := job.Part{Done: next == ""}
	if err := r.page(ctx, j, connection, page, &p.Counts); err != nil {
		return job.Part{}, err
	}
	if !j.DryRun {
		idle := len(page) == 0 && j.Cursor == "" && at.Began.Sub(at.Since) < restless+overlap
		if !idle {
			if err := r.Listener.Hear(ctx, j.Tenant, connection, lister, page, p.Done); err != nil {
				return job.Part{}, err
			}
		}
		if p.Done && !idle {
			if err := r.Watermarks.SetWatermark(ctx, j.Tenant, connection, at.Began); err != nil {
				return job.Part{}, err
			}
		}
	}
	at.Page = next
	cursor, err := json.Marshal(at)
	if err != nil {
		return job.Part{}, fmt.Errorf("encoding the cursor: %w", err)
	}
	p.Cursor = string(cursor)
	found, listed := j.Counts.Applied+p.Counts.Applied, j.Counts.Read+p.Counts.Read
	p.Summary = fmt.Sprintf("%d of %d listed orders were unknown", found, listed)
	return p, nil
}

func (r Reconciler) begin(ctx context.Context, j job.Job, connection string) (at listing, err error) {
	if j.Cursor != "" {
		if err := json.Unmarshal([]byte(j.Cursor), &at); err != nil {
			return at, fault.Wrap(fault.Permanent, fault.Internal, err, "reading the cursor")
		}
		return at, nil
	}
	at.Began = r.Now()
	if at.Since, err = r.Watermarks.Watermark(ctx, j.Tenant, connection); err != nil {
		return at, err
	}
	if at.Since.IsZero() {
		at.Since = at.Began.Add(-firstLook)
	}
	at.Since = at.Since.Add(-overlap)
	return at, nil
}

func (r Reconciler) page(ctx context.Context, j job.Job, connection string, page []retail.Listed, c *job.Counts) error {
	refs := make([]document.Ref, len(page))
	for i, l := range page {
		refs[i] = document.Ref{Tenant: j.Tenant, Connection: connection, Type: "order", External: l.ExternalID}
	}
	known, err := r.Store.Resolve(ctx, refs...)
	if err != nil {
		return err
	}
	for i, l := range page {
		c.Read++
		if _, ok := known[refs[i]]; ok {
			c.Unchanged++
			continue
		}
		c.Applied++
		if j.DryRun {
			continue
		}
		m := inbox.Message{Schema: retail.SchemaVersion, Tenant: j.Tenant, Connection: connection, Topic: "poll",
			EventID: "poll:" + l.ExternalID + ":" + l.UpdatedAt.UTC().Format(time.RFC3339), ReceivedAt: r.Now()}
		if err := r.Enqueue(ctx, m.WithBody(l.Raw)); err != nil {
			return fmt.Errorf("enqueuing order %s: %w", l.ExternalID, err)
		}
	}
	return nil
}
