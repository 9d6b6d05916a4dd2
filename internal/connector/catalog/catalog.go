// Package catalog lists the connectors, one line each. What a connector can do
// is told by its methods, which flows ask for as interfaces.
package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

type opener func(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error)

var connectors = map[string]opener{
	"shipbob": open(shipbob.New),
	"shopify": open(shopify.New),
	"tryton":  open(tryton.New),
}

func open[C any](f func(json.RawMessage, map[string]string, *egress.Client, func() time.Time) (C, error)) opener {
	return func(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error) {
		return f(settings, secrets, client, now)
	}
}

// Names lists the connectors.
func Names() []string { return slices.Sorted(maps.Keys(connectors)) }

// Open makes a connector from a connection's settings. client may be nil for
// one that only verifies and decodes.
func Open(name string, settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (any, error) {
	f, ok := connectors[name]
	if !ok {
		return nil, fault.New(fault.Permanent, fault.Configuration, "there is no such connector; there are %s", strings.Join(Names(), ", ")).At("connector", name)
	}
	return f(settings, secrets, client, now)
}
