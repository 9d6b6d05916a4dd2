package order

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
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
	Now     func() time.Time
}

const (
	// overlap covers the vendor's lag between a change and its listing, and
	// clocks that differ.
	overlap = 10 * time.Minute
	// firstLook is how far the first listing of a new connection reaches back.
	firstLook = 48 * time.Hour
)

// Channel lists one channel's orders since the last complete listing and
// enqueues those that no document stands for. The watermark moves only after
// the last page, so that an interrupted listing is repeated.
func (r Reconciler) Channel(ctx context.Context, t retail.Tenant, connection, connector string) (found int, err error) {
	lister, err := flow.Port[Lister](ctx, r.Connections, t, connection, "list orders")
	if err != nil {
		return 0, err
	}
	began := r.Now()
	since, err := r.Watermarks.Watermark(ctx, t, connection)
	if err != nil {
		return 0, err
	}
	if since.IsZero() {
		since = began.Add(-firstLook)
	}
	since = since.Add(-overlap)
	for cursor := ""; ; {
		page, next, err := lister.ListOrders(ctx, since, cursor)
		if err != nil {
			return found, fmt.Errorf("listing the orders of %s: %w", connection, err)
		}
		n, err := r.page(ctx, t, connection, connector, page)
		found += n
		if err != nil {
			return found, err
		}
		if next == "" {
			break
		}
		cursor = next
	}
	return found, r.Watermarks.SetWatermark(ctx, t, connection, began)
}

func (r Reconciler) page(ctx context.Context, t retail.Tenant, connection, connector string, page []retail.Listed) (found int, err error) {
	refs := make([]document.Ref, len(page))
	for i, l := range page {
		refs[i] = document.Ref{Tenant: t, Connection: connection, Type: "order", External: l.ExternalID}
	}
	known, err := r.Store.Resolve(ctx, refs...)
	if err != nil {
		return 0, err
	}
	for i, l := range page {
		if _, ok := known[refs[i]]; ok {
			continue
		}
		m := inbox.Message{Schema: retail.SchemaVersion, Tenant: t, Connection: connection, Connector: connector, Topic: "poll",
			EventID: "poll:" + l.ExternalID + ":" + l.UpdatedAt.UTC().Format(time.RFC3339), ReceivedAt: r.Now()}
		if err := r.Enqueue(ctx, m.WithBody(l.Raw)); err != nil {
			return found, fmt.Errorf("enqueuing order %s: %w", l.ExternalID, err)
		}
		found++
	}
	return found, nil
}
