package catalog

import (
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/mapping/port"
)

// Translate puts a connection's maps and overrides around its connector, which
// can do afterwards what it could before.
func Translate(opened any, by *mapping.Translator) any {
	switch c := opened.(type) {
	case *shopify.Connector:
		return translatedShopify{behindShopify{c}, port.Orders{Inner: c, By: by}, port.Confirmations{Inner: c, By: by}}
	case *shipbob.Connector:
		return translatedShipBob{behindShipBob{c}, port.Releases{Inner: c, By: by}, port.Parcels{Inner: c, By: by}}
	case *tryton.Connector:
		return translatedTryton{behindTryton{c}, port.SalesOrders{Inner: c, By: by}, port.Shipments{Inner: c, By: by}}
	}
	return opened
}

// A connector stands one step behind the ports, so that Go takes a method from
// the port where both have it.
type (
	behindShopify struct{ *shopify.Connector }
	behindShipBob struct{ *shipbob.Connector }
	behindTryton  struct{ *tryton.Connector }

	translatedShopify struct {
		behindShopify
		port.Orders
		port.Confirmations
	}
	translatedShipBob struct {
		behindShipBob
		port.Releases
		port.Parcels
	}
	translatedTryton struct {
		behindTryton
		port.SalesOrders
		port.Shipments
	}
)

// Carries tells whether documents of the kind pass a connection in the
// direction.
func Carries(opened any, document string, d mapping.Direction) bool {
	switch document + " " + string(d) {
	case "order decode":
		return has[order.Decoder](opened)
	case "order encode":
		return has[order.SalesOrders](opened)
	case "release encode":
		return has[order.Releaser](opened)
	case "shipment decode":
		return has[shipment.Decoder](opened)
	case "shipment encode":
		return has[shipment.Channel](opened) || has[shipment.Shipments](opened)
	}
	return false
}

// Carried names the documents that pass a connection.
func Carried(opened any) string {
	var out []string
	for _, d := range []mapping.Direction{mapping.Decode, mapping.Encode} {
		for _, document := range []string{"order", "release", "shipment"} {
			if Carries(opened, document, d) {
				out = append(out, string(d)+" "+document)
			}
		}
	}
	return strings.Join(out, ", ")
}

// Uses tells whether documents with values of the kind pass a connection in the
// direction.
func Uses(opened any, k mapping.Kind, d mapping.Direction) bool {
	for _, document := range mapping.Documents(k, d) {
		if Carries(opened, document, d) {
			return true
		}
	}
	return false
}

// Usual is the direction in which a connection mostly meets values of a kind:
// a channel is read, an ERP and a warehouse are told.
func Usual(opened any, k mapping.Kind) mapping.Direction {
	switch {
	case Carries(opened, "order", mapping.Decode) && slices.Contains(mapping.Documents(k, mapping.Decode), "order"):
		return mapping.Decode
	case Uses(opened, k, mapping.Encode):
		return mapping.Encode
	}
	return mapping.Decode
}
