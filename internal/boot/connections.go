package boot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/credential"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// keep is how long configuration and credentials may be seen as they were, and
// lasting how long a connector serves while they are the same: what it
// remembers, a session for one, is worth many requests.
const (
	keep    = 60 * time.Second
	lasting = 15 * time.Minute
)

// Connections opens connections from the stored configuration. Its answers are
// kept for a minute; failures are not kept.
type Connections struct {
	Store  tenancy.Store
	Sealer credential.Sealer
	Client *egress.Client
	// Rates governs what is asked of each connection.
	Rates *rate.Governor
	Now   func() time.Time

	// Maps are the value maps that are kept apart from the configuration; nil
	// where there are none.
	Maps *mapping.Reader

	// Overrides evaluates them; without it, documents that they are for are
	// refused.
	Overrides Evaluator

	mu        sync.Mutex
	rules     map[openKey]compiled
	retailers map[retail.Tenant]kept[tenancy.Retailer]
	opened    map[openKey]kept[any]
	open      map[openKey]connector
}

// Evaluator makes a connection's overrides ready. It is a method and no function,
// so that it is linked only into what opens connections, too.
type Evaluator interface {
	Compile(connection string, overrides []mapping.Override) (*mapping.Rules, []mapping.Problem)
}

type evaluator struct{}

func (evaluator) Compile(connection string, overrides []mapping.Override) (*mapping.Rules, []mapping.Problem) {
	return mapping.Compile(connection, overrides)
}

// connector is an opened one, and what it was opened of.
type connector struct {
	opened any
	of     string
	until  time.Time
}

type kept[T any] struct {
	value T
	until time.Time
}

type openKey struct {
	tenant     retail.Tenant
	connection string
}

// compiled are a connection's overrides as of one version.
type compiled struct {
	version int64
	rules   *mapping.Rules
}

// Retailer returns a tenant's configuration.
func (c *Connections) Retailer(ctx context.Context, t retail.Tenant) (tenancy.Retailer, error) {
	now := c.Now()
	c.mu.Lock()
	k, ok := c.retailers[t]
	c.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.value, nil
	}
	return c.reread(ctx, t, now)
}

// reread returns a tenant's configuration as it is now.
func (c *Connections) reread(ctx context.Context, t retail.Tenant, now time.Time) (tenancy.Retailer, error) {
	r, err := c.Store.Retailer(ctx, t)
	if errors.Is(err, tenancy.ErrNotFound) {
		return r, fault.Wrap(fault.Permanent, fault.Configuration, err, "reading the configuration").At("tenant", t.String())
	}
	if err != nil {
		return r, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retailers == nil {
		c.retailers = map[retail.Tenant]kept[tenancy.Retailer]{}
	}
	c.retailers[t] = kept[tenancy.Retailer]{r, now.Add(keep)}
	return r, nil
}

// Route implements flow.Connections.
func (c *Connections) Route(ctx context.Context, t retail.Tenant, channel string) (flow.Route, error) {
	r, err := c.Retailer(ctx, t)
	if err != nil {
		return flow.Route{}, err
	}
	w, ok := r.Route(channel)
	if !ok {
		return flow.Route{}, fault.New(fault.Permanent, fault.Configuration, "the retailer's configuration has no route for this channel").At("routes.channel", channel)
	}
	return flow.Route{Channel: w.Channel, ERP: w.ERP, Warehouse: w.Warehouse, Location: w.Location, ConfigVersion: r.Version, Policy: &r.Stock}, nil
}

// Limits are a connection's own, or its vendor's published ones.
func Limits(c tenancy.Connection) rate.Limits {
	if c.Limits != (rate.Limits{}) {
		return c.Limits
	}
	return catalog.Limits(c.Connector)
}

// Ready implements what flow.Ready asks.
func (c *Connections) Ready(ctx context.Context, t retail.Tenant, connection string) (proven bool, err error) {
	r, err := c.Retailer(ctx, t)
	if err != nil {
		return false, err
	}
	conn, ok := r.Connection(connection)
	if !ok {
		return true, nil // opening it says so
	}
	return c.Rates.Gate(rate.Key{Tenant: t, Connection: connection}, Limits(conn)).Ready(ctx)
}

// Open implements flow.Connections.
func (c *Connections) Open(ctx context.Context, t retail.Tenant, connection string) (any, error) {
	key, now := openKey{t, connection}, c.Now()
	c.mu.Lock()
	k, ok := c.opened[key]
	c.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.value, nil
	}
	r, err := c.Retailer(ctx, t)
	if err != nil {
		return nil, err
	}
	opened, err := c.connector(ctx, key, &r, now)
	if err != nil {
		return nil, err
	}
	conn, _ := r.Connection(connection)
	opened = catalog.Translate(opened, c.Translator(r, conn))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened == nil {
		c.opened = map[openKey]kept[any]{}
	}
	c.opened[key] = kept[any]{opened, now.Add(keep)}
	return opened, nil
}

// connector opens a connection's connector, or returns the one that was opened
// of the same settings and credential. The two are replaced together and read
// apart: what is opened anew has a credential that was read between two reads of
// one version, so that no address is told the secret of another. r may become
// a later version.
func (c *Connections) connector(ctx context.Context, key openKey, r *tenancy.Retailer, now time.Time) (any, error) {
	for {
		conn, ok := r.Connection(key.connection)
		if !ok {
			return nil, fault.New(fault.Permanent, fault.Configuration, "the retailer's configuration has no such connection").At("connection", key.connection)
		}
		sealed, missing := c.Store.Credential(ctx, key.tenant, conn.ID)
		if missing != nil && !errors.Is(missing, tenancy.ErrNotFound) {
			return nil, missing
		}
		of := fmt.Sprintf("%q %q %q %v", conn.Connector, conn.Settings, sealed, Limits(conn))
		c.mu.Lock()
		k, ok := c.open[key]
		c.mu.Unlock()
		if ok && missing == nil && k.of == of && now.Before(k.until) {
			return k.opened, nil
		}
		is, err := c.reread(ctx, key.tenant, now)
		switch {
		case err != nil:
			return nil, err
		case is.Version != r.Version:
			*r = is
			continue
		case missing != nil:
			return nil, fault.Wrap(fault.Permanent, fault.Configuration, missing, "opening the connection").At("connection", conn.ID)
		}
		return c.openAnew(ctx, key, conn, sealed, of, now)
	}
}

func (c *Connections) openAnew(ctx context.Context, key openKey, conn tenancy.Connection, sealed []byte, of string, now time.Time) (any, error) {
	secrets := map[string]string{}
	if err := c.Sealer.Open(ctx, key.tenant, conn.ID, sealed, &secrets); err != nil {
		return nil, fmt.Errorf("opening the credential of %s: %w", conn.ID, err)
	}
	client := c.Client.Through(c.Rates.Gate(rate.Key{Tenant: key.tenant, Connection: conn.ID}, Limits(conn)))
	opened, err := catalog.Open(conn.Connector, conn.Settings, secrets, client, c.Now)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[openKey]connector{}
	}
	c.open[key] = connector{opened, of, now.Add(lasting)}
	return opened, nil
}

// Translator applies the maps and overrides of a connection, which are compiled
// once a version. A wrong override refuses the documents that it is for.
func (c *Connections) Translator(r tenancy.Retailer, conn tenancy.Connection) *mapping.Translator {
	by := &mapping.Translator{Tenant: r.Tenant, Connection: conn.ID, Stored: c.Maps, Fixed: map[mapping.Kind]mapping.Fixed{}}
	for k, f := range conn.Maps {
		by.Fixed[k] = f.Complete()
	}
	key := openKey{r.Tenant, conn.ID}
	c.mu.Lock()
	known, ok := c.rules[key]
	c.mu.Unlock()
	if !ok || known.version != r.Version {
		known.version = r.Version
		if c.Overrides != nil {
			known.rules, _ = c.Overrides.Compile(conn.ID, conn.Overrides)
		} else {
			known.rules = mapping.Uncomputed(conn.ID, conn.Overrides)
		}
		c.mu.Lock()
		if c.rules == nil {
			c.rules = map[openKey]compiled{}
		}
		c.rules[key] = known
		c.mu.Unlock()
	}
	by.Rules = known.rules
	return by
}
