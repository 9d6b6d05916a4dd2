// Package port puts a connection's value maps and overrides around what its
// connector can do. Each type here has those methods of one port that carry a
// document; embedded beside a connector they replace the connector's own, and
// flows find all of its capabilities as before.
package port

import (
	"context"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// Orders decodes a channel's orders.
type Orders struct {
	Inner order.Decoder
	By    *mapping.Translator
}

// DecodeOrder implements order.Decoder. What a map refuses is known by its
// numbers only, and stays without lines, so that it is decoded again once the
// map is complete and never goes on half translated.
func (x Orders) DecodeOrder(raw []byte) (retail.Order, retail.Person, error) {
	o, person, err := x.Inner.DecodeOrder(raw)
	if err != nil || x.By.Empty() {
		return o, person, err
	}
	ctx, stop := context.WithTimeout(context.Background(), mapping.Patient)
	defer stop()
	out, err := x.By.Order(ctx, mapping.Decode, o)
	if err != nil {
		return retail.Order{Schema: o.Schema, ExternalID: o.ExternalID, Number: o.Number, SourceVersion: o.SourceVersion,
			SourceUpdatedAt: o.SourceUpdatedAt, PlacedAt: o.PlacedAt, Currency: o.Currency, Totals: o.Totals, CanceledAt: o.CanceledAt}, retail.Person{}, err
	}
	return out, person, nil
}

// TranslatesOrders tells a wrapped connector from a bare one.
func (Orders) TranslatesOrders() {}

// Parcels decodes a warehouse's shipments.
type Parcels struct {
	Inner shipment.Decoder
	By    *mapping.Translator
}

// DecodeShipment implements shipment.Decoder; see DecodeOrder.
func (x Parcels) DecodeShipment(raw []byte) (retail.Shipment, error) {
	s, err := x.Inner.DecodeShipment(raw)
	if err != nil || x.By.Empty() {
		return s, err
	}
	ctx, stop := context.WithTimeout(context.Background(), mapping.Patient)
	defer stop()
	out, err := x.By.Shipment(ctx, mapping.Decode, s)
	if err != nil {
		s.Lines = nil
		return s, err
	}
	return out, nil
}

// TranslatesParcels tells a wrapped connector from a bare one.
func (Parcels) TranslatesParcels() {}

// SalesOrders writes orders to an ERP.
type SalesOrders struct {
	Inner order.SalesOrders
	By    *mapping.Translator
}

// CreateSalesOrder implements order.SalesOrders.
func (x SalesOrders) CreateSalesOrder(ctx context.Context, p effect.Permit, o retail.Order, customer, shipTo, billTo effect.Receipt) (effect.Receipt, error) {
	o, err := x.By.Order(ctx, mapping.Encode, o)
	if err != nil {
		return effect.Receipt{}, err
	}
	return x.Inner.CreateSalesOrder(ctx, p, o, customer, shipTo, billTo)
}

// FindSalesOrder implements order.SalesOrders.
func (x SalesOrders) FindSalesOrder(ctx context.Context, o retail.Order) (effect.Receipt, bool, error) {
	o, err := x.By.ReadingBack().Order(ctx, mapping.Encode, o)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	return x.Inner.FindSalesOrder(ctx, o)
}

// Releases hands orders to a warehouse.
type Releases struct {
	Inner order.Releaser
	By    *mapping.Translator
}

// Release implements order.Releaser.
func (x Releases) Release(ctx context.Context, p effect.Permit, r retail.Release, person retail.Person) (effect.Receipt, error) {
	r, err := x.By.Release(ctx, r)
	if err != nil {
		return effect.Receipt{}, err
	}
	return x.Inner.Release(ctx, p, r, person)
}

// FindRelease implements order.Releaser.
func (x Releases) FindRelease(ctx context.Context, r retail.Release) (effect.Receipt, bool, error) {
	r, err := x.By.ReadingBack().Release(ctx, r)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	return x.Inner.FindRelease(ctx, r)
}

// Confirmations tells a channel what has left.
type Confirmations struct {
	Inner shipment.Channel
	By    *mapping.Translator
}

// ConfirmShipment implements shipment.Channel.
func (x Confirmations) ConfirmShipment(ctx context.Context, p effect.Permit, o retail.Order, s retail.Shipment) (effect.Receipt, error) {
	s, err := x.By.Shipment(ctx, mapping.Encode, s)
	if err != nil {
		return effect.Receipt{}, err
	}
	return x.Inner.ConfirmShipment(ctx, p, o, s)
}

// FindShipment implements shipment.Channel.
func (x Confirmations) FindShipment(ctx context.Context, o retail.Order, s retail.Shipment) (effect.Receipt, bool, error) {
	s, err := x.By.ReadingBack().Shipment(ctx, mapping.Encode, s)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	return x.Inner.FindShipment(ctx, o, s)
}

// Shipments posts parcels to an ERP.
type Shipments struct {
	Inner shipment.Shipments
	By    *mapping.Translator
}

// PostShipment implements shipment.Shipments.
func (x Shipments) PostShipment(ctx context.Context, p effect.Permit, so effect.Receipt, s retail.Shipment) (effect.Receipt, error) {
	s, err := x.By.Shipment(ctx, mapping.Encode, s)
	if err != nil {
		return effect.Receipt{}, err
	}
	return x.Inner.PostShipment(ctx, p, so, s)
}

// ShipmentPosted implements shipment.Shipments.
func (x Shipments) ShipmentPosted(ctx context.Context, so effect.Receipt, s retail.Shipment) (effect.Receipt, bool, error) {
	s, err := x.By.ReadingBack().Shipment(ctx, mapping.Encode, s)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	return x.Inner.ShipmentPosted(ctx, so, s)
}
