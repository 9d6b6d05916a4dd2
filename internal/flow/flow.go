// Package flow holds what every flow asks of a tenant's configuration: its
// connections, opened, and the way that documents take through them.
package flow

import (
	"context"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
)

// Route says through which connections a channel's orders go.
type Route struct {
	Channel       string // connection id
	ERP           string // connection id
	Warehouse     string // connection id
	Location      string // the warehouse's location code in stock positions
	ConfigVersion int64
	// Policy is the retailer's rules about stock; nil where the route's location
	// is all there is.
	Policy *rules.Policy
}

// Stock is the policy, or that of a retailer with one location.
func (r Route) Stock() rules.Policy {
	var p rules.Policy
	if r.Policy != nil {
		p = *r.Policy
	}
	if len(p.Locations) == 0 {
		p.Locations = []rules.Location{{Code: r.Location}}
	}
	return p
}

// ShipsFrom is the connection that ships from a location.
func (r Route) ShipsFrom(location string) string {
	if l, ok := r.Stock().Location(location); ok && l.Warehouse != "" {
		return l.Warehouse
	}
	return r.Warehouse
}

// Connections opens a tenant's connections as the configuration has them now.
type Connections interface {
	// Open returns the connector of a connection, which then tells by its
	// methods what it can do.
	Open(ctx context.Context, t retail.Tenant, connection string) (any, error)
	// Route returns the way of the channel's orders.
	Route(ctx context.Context, t retail.Tenant, channel string) (Route, error)
}

// Ready says without asking the vendor why nothing can be asked of a connection
// now, or nil. A vendor that was out of reach is not proven until it has answered.
func Ready(ctx context.Context, c Connections, t retail.Tenant, connection string) (proven bool, err error) {
	if r, ok := c.(interface {
		Ready(ctx context.Context, t retail.Tenant, connection string) (bool, error)
	}); ok {
		return r.Ready(ctx, t, connection)
	}
	return true, nil
}

// Port opens a connection and requires one capability of it.
func Port[P any](ctx context.Context, c Connections, t retail.Tenant, connection, capability string) (P, error) {
	var none P
	opened, err := c.Open(ctx, t, connection)
	if err != nil {
		return none, err
	}
	p, ok := opened.(P)
	if !ok {
		return none, fault.New(fault.Permanent, fault.Configuration, "this connection's system cannot %s", capability).At("connection", connection)
	}
	return p, nil
}
