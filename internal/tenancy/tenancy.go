// Package tenancy is what a partner configures: the retailers, the connections
// of each, and the ways that orders take through them.
package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	// Functions run where no time zones are installed.
	_ "time/tzdata"

	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
)

// Retailer is one version of a retailer's configuration. It holds no secret.
type Retailer struct {
	Schema      int           `json:"schema"`
	Tenant      retail.Tenant `json:"tenant"`
	Name        string        `json:"name"`
	Version     int64         `json:"version"` // 1 for the first; a version never changes
	Connections []Connection  `json:"connections"`
	Routes      []Route       `json:"routes"`
	// Stock is where goods lie, what they are counted in, and from where orders
	// are shipped.
	Stock     rules.Policy `json:"stock,omitzero"`
	AppliedAt time.Time    `json:"applied_at"`
}

// Partner is one version of what the partner says of itself.
type Partner struct {
	Schema    int       `json:"schema"`
	Partner   string    `json:"partner"`
	Name      string    `json:"name"`
	Brand     Brand     `json:"brand"`
	Alerts    Alerts    `json:"alerts,omitzero"`
	Version   int64     `json:"version"`
	AppliedAt time.Time `json:"applied_at"`
}

// Brand is what customers see instead of ours.
type Brand struct {
	ProductName  string            `json:"product_name,omitempty"`
	SupportEmail string            `json:"support_email,omitempty"`
	SupportURL   string            `json:"support_url,omitempty"`
	Colors       map[string]string `json:"colors,omitempty"` // name → #rrggbb
}

// Alerts are where the partner wants to be told of what needs people. The
// secret that the webhook is signed with is a credential.
type Alerts struct {
	Webhook AlertWebhook `json:"webhook,omitzero"`
}

// AlertWebhook is an address that takes messages by the Standard Webhooks
// specification.
type AlertWebhook struct {
	URL string `json:"url,omitempty"`
}

// Problem is a rule that a configuration breaks.
type Problem struct {
	Field string // such as routes[0].erp
	Wrong string
	Right string // what would be accepted
}

// Connection is one endpoint of one vendor.
type Connection struct {
	ID        string          `json:"id"`
	Connector string          `json:"connector"`
	Settings  json.RawMessage `json:"settings"` // what the connector's New takes
	// TimeZone is whose midnight begins a channel's day, such as
	// America/New_York; UTC if empty.
	TimeZone string `json:"time_zone,omitempty"`
	// Hook is the token of the address that the vendor delivers to, or "".
	Hook string `json:"hook,omitempty"`
	// Limits replace what the connector's vendor publishes.
	Limits rate.Limits `json:"limits,omitzero"`
	// Maps are the value maps that the configuration itself keeps, by kind;
	// larger ones are kept apart and have versions of their own.
	Maps map[mapping.Kind]mapping.Fixed `json:"maps,omitempty"`
	// Overrides compute fields of what is read from and written to it.
	Overrides []mapping.Override `json:"overrides,omitempty"`
}

// Route is the way of one channel's orders: every field but Location is a
// connection's id, and Location the warehouse's code in stock positions.
type Route struct {
	Channel   string `json:"channel"`
	ERP       string `json:"erp"`
	Warehouse string `json:"warehouse"`
	Location  string `json:"location"`
}

// Hook is where a vendor delivers: the address's token leads to all that is
// needed to verify a delivery.
type Hook struct {
	Tenant     retail.Tenant
	Token      string
	Connection string
	Connector  string
	Settings   json.RawMessage
	Sealed     []byte // the webhook secrets, sealed for tenant and connection
}

// Secrets are what comes into force, or goes, together with a version of a
// configuration.
type Secrets struct {
	Credentials map[string][]byte // sealed, by connection; nil takes one away
	Hooks       []Hook            // created or replaced
	Closed      []string          // tokens of hooks that are taken away
}

// ErrNotFound is returned for what was never applied.
var ErrNotFound = errors.New("not configured")

// Store keeps configuration.
type Store interface {
	// Retailer returns the current version.
	Retailer(ctx context.Context, t retail.Tenant) (Retailer, error)
	// Tenants lists all retailers of the partner.
	Tenants(ctx context.Context) ([]retail.Tenant, error)
	// Credential returns the connection's sealed secrets.
	Credential(ctx context.Context, t retail.Tenant, connection string) ([]byte, error)
	// Hook returns the hook with this token.
	Hook(ctx context.Context, t retail.Tenant, token string) (Hook, error)
	// Watermark is the time up to which a connection was listed, or zero.
	Watermark(ctx context.Context, t retail.Tenant, connection string) (time.Time, error)
	// SetWatermark moves it.
	SetWatermark(ctx context.Context, t retail.Tenant, connection string, at time.Time) error
}

// Connection returns the connection with an id.
func (r Retailer) Connection(id string) (Connection, bool) {
	for _, c := range r.Connections {
		if c.ID == id {
			return c, true
		}
	}
	return Connection{}, false
}

// Route returns the way of a channel's orders.
func (r Retailer) Route(channel string) (Route, bool) {
	for _, w := range r.Routes {
		if w.Channel == channel {
			return w, true
		}
	}
	return Route{}, false
}

var connectionID = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// Check finds all that would only fail later: doubled or malformed ids, and
// routes that lead nowhere.
func (r Retailer) Check() (out []Problem) {
	add := func(field, wrong, right string) { out = append(out, Problem{field, wrong, right}) }
	seen := map[string]bool{}
	var ids []string
	for i, c := range r.Connections {
		at := fmt.Sprintf("connections[%d]", i)
		switch {
		case !connectionID.MatchString(c.ID):
			add(at+".id", fmt.Sprintf("%q is no id", c.ID), "1 to 40 of a-z, 0-9 and '-', beginning with a letter")
		case seen[c.ID]:
			add(at+".id", fmt.Sprintf("%q is used twice", c.ID), "give each connection its own")
		case c.Connector == "":
			add(at+".connector", "is missing", "the system that this connection reaches")
		}
		if wrong, right := rules.CheckZone(c.TimeZone); wrong != "" {
			add(at+".time_zone", wrong, right)
		}
		seen[c.ID] = true
		ids = append(ids, c.ID)
	}
	channels := map[string]bool{}
	for i, w := range r.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		for _, end := range []struct{ field, id string }{{"channel", w.Channel}, {"erp", w.ERP}, {"warehouse", w.Warehouse}} {
			if !seen[end.id] {
				add(at+"."+end.field, fmt.Sprintf("there is no connection %q", end.id), "there are "+strings.Join(ids, ", "))
			}
		}
		if channels[w.Channel] {
			add(at+".channel", fmt.Sprintf("%q has two routes", w.Channel), "keep one")
		}
		if wrong, right := rules.CheckCode(w.Location); wrong != "" {
			add(at+".location", wrong, right)
		} else if _, known := r.Stock.Location(w.Location); !known {
			add(at+".location", fmt.Sprintf("there is no location %q", w.Location), "one of locations")
		}
		channels[w.Channel] = true
	}
	for _, p := range r.Stock.Check(ids) {
		add(p.Field, p.Wrong, p.Right)
	}
	return out
}
