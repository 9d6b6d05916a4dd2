// Package catalog lists the connectors, one line each. What a connector can do
// is told by its methods, which flows ask for as interfaces.
package catalog

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/rate"
)

type opener func(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error)

type connector struct {
	open opener
	// settings is the type that a connection's settings are decoded into.
	settings reflect.Type
	// secrets are the names of its credentials.
	secrets []string
	// limits are the vendor's published ones, with room left for whoever else
	// uses the same credential.
	limits rate.Limits
	// bare are the least settings under which it decodes; nothing is connected.
	bare string
}

var connectors = map[string]connector{
	// ShipBob: 150 requests a minute; 120 and a burst of 20 stay below in any minute.
	"shipbob": {open(shipbob.New), reflect.TypeFor[shipbob.Settings](), []string{"access_token"}, rate.Limits{PerSecond: 2, Burst: 20}, `{"channel_id":"1"}`},
	// Shopify counts points, which its answers tell; the connector paces by them.
	"shopify": {open(shopify.New), reflect.TypeFor[shopify.Settings](), []string{"access_token"}, rate.Limits{}, `{"shop":"decode.myshopify.com"}`},
	// Tryton publishes none; each request is a database transaction.
	"tryton": {open(tryton.New), reflect.TypeFor[tryton.Settings](), []string{"password"}, rate.Limits{InFlight: 8},
		`{"url":"https://erp.example.com","database":"erp","user":"waybill","company":"Company","currency":"USD","warehouse":"WH"}`},
}

func open[C any](f func(json.RawMessage, map[string]string, *egress.Client, func() time.Time) (C, error)) opener {
	return func(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error) {
		return f(settings, secrets, client, now)
	}
}

// Names lists the connectors.
func Names() []string { return slices.Sorted(maps.Keys(connectors)) }

// Bare returns settings that open a connector for what needs no vendor.
func Bare(name string) string {
	if c, ok := connectors[name]; ok {
		return c.bare
	}
	return "{}"
}

// Limits are what a connector's vendor publishes.
func Limits(name string) rate.Limits { return connectors[name].limits }

// Settings is the type of a connector's settings, whose json tags are the keys
// that there are.
func Settings(name string) (t reflect.Type, ok bool) {
	c, ok := connectors[name]
	return c.settings, ok
}

// Secrets are the names of a connector's credentials.
func Secrets(name string) []string { return connectors[name].secrets }

// Open makes a connector from a connection's settings. client may be nil for
// one that only verifies and decodes.
func Open(name string, settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error) {
	c, ok := connectors[name]
	if !ok {
		return nil, fault.New(fault.Permanent, fault.Configuration, "there is no such connector; there are %s", strings.Join(Names(), ", ")).At("connector", name)
	}
	return c.open(settings, secrets, client, now)
}
