// Package shipment is the way of a parcel from a warehouse's announcement to
// the moment when stock, order, channel and ERP all know that it left.
package shipment

import (
	"context"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/retail"
)

// Decoder translates a warehouse's payload. On an error the shipment's
// ExternalID and OrderRef are set where they could be read. A shipment that
// has not left the warehouse is an Exception of class state_conflict.
type Decoder interface {
	DecodeShipment(raw []byte) (retail.Shipment, error)
}

// Lister lists what a warehouse has shipped of a released order. orderRef is
// the warehouse's id of the order.
type Lister interface {
	ListShipments(ctx context.Context, orderRef string) ([]retail.Listed, error)
}

// Channel tells a sales channel which lines of an order have left, and under
// which tracking number.
type Channel interface {
	ConfirmShipment(ctx context.Context, p effect.Permit, o retail.Order, s retail.Shipment) (effect.Receipt, error)
	FindShipment(ctx context.Context, o retail.Order, s retail.Shipment) (effect.Receipt, bool, error)
	ShipmentSettle() time.Duration
}

// Shipments posts parcels to an ERP's sales order. ShipmentSettle holds for
// reading invoices back too.
type Shipments interface {
	PostShipment(ctx context.Context, p effect.Permit, so effect.Receipt, s retail.Shipment) (effect.Receipt, error)
	ShipmentPosted(ctx context.Context, so effect.Receipt, s retail.Shipment) (effect.Receipt, bool, error)
	ShipmentSettle() time.Duration
}

// Invoices posts the one invoice of an ERP's sales order.
type Invoices interface {
	PostInvoice(ctx context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error)
	InvoicePosted(ctx context.Context, so effect.Receipt) (effect.Receipt, bool, error)
}
