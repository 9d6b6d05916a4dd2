package catalog

import (
	"context"

	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/hook"
)

// Capability is something that flows ask of a connector.
type Capability string

// What a connector may be able to do.
const (
	Webhooks      Capability = "receive webhooks"
	Orders        Capability = "take orders in"
	OrderFetch    Capability = "read an order again"
	OrderList     Capability = "list orders"
	Customers     Capability = "keep customers"
	SalesOrders   Capability = "keep sales orders"
	Releases      Capability = "ship orders"
	Parcels       Capability = "announce parcels"
	ParcelList    Capability = "list parcels"
	Confirmations Capability = "confirm shipments to shoppers"
	Shipments     Capability = "post shipments"
	Invoices      Capability = "post invoices"
	StockCounts   Capability = "count stock"
)

// Counter reads what a warehouse has on hand, by SKU.
type Counter interface {
	Stock(ctx context.Context) (map[string]int64, error)
}

// Capabilities tells by a connector's methods what it can do.
func Capabilities(opened any) []Capability {
	var out []Capability
	add := func(can bool, c Capability) {
		if can {
			out = append(out, c)
		}
	}
	add(has[hook.Verifier](opened), Webhooks)
	add(has[order.Decoder](opened), Orders)
	add(has[order.Fetcher](opened), OrderFetch)
	add(has[order.Lister](opened), OrderList)
	add(has[order.Customers](opened), Customers)
	add(has[order.SalesOrders](opened), SalesOrders)
	add(has[order.Releaser](opened), Releases)
	add(has[shipment.Decoder](opened), Parcels)
	add(has[shipment.Lister](opened), ParcelList)
	add(has[shipment.Channel](opened), Confirmations)
	add(has[shipment.Shipments](opened), Shipments)
	add(has[shipment.Invoices](opened), Invoices)
	add(has[Counter](opened), StockCounts)
	return out
}

func has[P any](opened any) bool {
	_, ok := opened.(P)
	return ok
}
