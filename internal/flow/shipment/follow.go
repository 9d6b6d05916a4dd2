package shipment

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Topic is under which a warehouse's parcel waits to be taken in, announced or
// found.
const Topic = "order.shipped"

// Follower asks warehouses about orders whose parcels nobody announced.
type Follower struct {
	Life        document.Life
	Effects     effect.Store
	Connections flow.Connections
	// Enqueue hands a parcel to the intake. It fills in the connector's name,
	// and stores the body apart where it is too large for a message.
	Enqueue func(ctx context.Context, m inbox.Message) error
}

// Follow looks at the warehouse for parcels of a released order that were not
// taken in, enqueues them as if they had been announced, and sets when to look
// again. Enqueuing one twice is harmless: its event id says which parcel, as of
// when. A shipped order has nothing to ask for and only rests until its
// shipments have closed it; an order that this very run released, or in another
// state, is left as it is.
func (f Follower) Follow(ctx context.Context, t document.Task) error {
	h, err := f.Life.Hold(ctx, t)
	switch {
	case err != nil:
		return err
	case h.State == retail.Shipped:
		return f.rest(ctx, t)
	case !awaits(h):
		return nil
	case h.Due.Sub(f.Life.Now()) > document.PhaseLease:
		// A run begins with a due time of its own lease: a later one was set by the
		// release, a moment ago, and nothing can have left since.
		return nil
	}
	route, err := f.Connections.Route(ctx, h.Tenant, h.Connection)
	if err != nil {
		return err
	}
	parts, err := f.releases(ctx, h, route.Warehouse)
	if err != nil {
		return err
	}
	for _, r := range parts {
		listed, err := f.list(ctx, h.Tenant, r)
		if err != nil {
			return err
		}
		if err := f.enqueue(ctx, h.Tenant, r.Warehouse, listed); err != nil {
			return err
		}
	}
	return f.rest(ctx, t)
}

// awaits reports whether parcels of the order may still come.
func awaits(h document.Head) bool {
	return h.State == retail.Released || h.State == retail.InFulfillment
}

// releases are the warehouse orders that the order became. What only one
// location ships is known by its effect.
func (f Follower) releases(ctx context.Context, h document.Head, warehouse string) ([]retail.WarehouseRelease, error) {
	var o retail.Order
	if err := f.Life.Store.Body(ctx, h.Key, h.Body, &o); err != nil {
		return nil, fmt.Errorf("reading order %s: %w", h.ID, err)
	}
	if o.Sourcing != nil && len(o.Sourcing.Releases) > 1 {
		return o.Sourcing.Releases, nil
	}
	if o.Sourcing != nil && len(o.Sourcing.Releases) == 1 {
		warehouse = o.Sourcing.Releases[0].Warehouse
	}
	release, err := proven(ctx, f.Effects, effect.Subject{Tenant: h.Tenant, Type: h.Type, ID: h.ID}, releaseEffect, "fulfillment_order")
	if err != nil {
		return nil, err
	}
	return []retail.WarehouseRelease{{Warehouse: warehouse, Ref: release.Ref}}, nil
}

func (f Follower) list(ctx context.Context, t retail.Tenant, r retail.WarehouseRelease) ([]retail.Listed, error) {
	lister, err := flow.Port[Lister](ctx, f.Connections, t, r.Warehouse, "list shipments")
	if err != nil {
		return nil, err
	}
	listed, err := lister.ListShipments(ctx, r.Ref)
	if err != nil {
		return nil, fmt.Errorf("listing the order's shipments: %w", err)
	}
	return listed, nil
}

// enqueue hands over those shipments that no document stands for.
func (f Follower) enqueue(ctx context.Context, tenant retail.Tenant, warehouse string, listed []retail.Listed) error {
	refs := make([]document.Ref, len(listed))
	for i, l := range listed {
		refs[i] = document.Ref{Tenant: tenant, Connection: warehouse, Type: shipmentRef, External: l.ExternalID}
	}
	known, err := f.Life.Store.Resolve(ctx, refs...)
	if err != nil {
		return err
	}
	for i, l := range listed {
		if _, ok := known[refs[i]]; ok {
			continue
		}
		m := inbox.Message{Schema: retail.SchemaVersion, Tenant: tenant, Connection: warehouse, Topic: Topic,
			EventID: "poll:" + l.ExternalID + ":" + l.UpdatedAt.UTC().Format(time.RFC3339), ReceivedAt: f.Life.Now()}
		if err := f.Enqueue(ctx, m.WithBody(l.Raw)); err != nil {
			return fmt.Errorf("enqueuing shipment %s: %w", l.ExternalID, err)
		}
	}
	return nil
}

// rest sets when the order is looked at again. Whoever changed it meanwhile
// may have moved it on.
func (f Follower) rest(ctx context.Context, t document.Task) error {
	return contend(func() error {
		h, err := f.Life.Hold(ctx, t)
		if err != nil || (!awaits(h) && h.State != retail.Shipped) {
			return err
		}
		h.Due = f.Life.Now().Add(reviewAfter)
		c, err := f.Life.Next(h, h.State)
		if err != nil {
			return err
		}
		return lost(f.Life.Commit(ctx, c))
	})
}
