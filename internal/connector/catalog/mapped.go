package catalog

import (
	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/tryton"
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
