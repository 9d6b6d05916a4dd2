package port

import (
	"context"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// Preview is what two translations of a connection make of one payload.
type Preview struct {
	Payload  string `json:"payload"`
	Document string `json:"document"` // order, shipment or release
	Number   string `json:"number,omitempty"`
	// Today and Proposed are why the document would be parked, or "".
	Today       string               `json:"parked_today,omitempty"`
	Proposed    string               `json:"parked_then,omitempty"`
	Differences []mapping.Difference `json:"differences,omitempty"`
}

// Changes tells whether the proposal makes any difference.
func (p Preview) Changes() bool { return len(p.Differences) > 0 || p.Today != p.Proposed }

// compare translates with both.
func compare(p Preview, today, proposed func() (any, error)) (Preview, error) {
	was, err := today()
	if p.Today, err = parked(err); err != nil {
		return p, err
	}
	is, err := proposed()
	if p.Proposed, err = parked(err); err != nil {
		return p, err
	}
	if p.Today == "" && p.Proposed == "" {
		p.Differences, err = mapping.Diff(was, is)
	}
	return p, err
}

// parked is the reason of a fault that parks; other failures are errors.
func parked(err error) (string, error) {
	if f := fault.Of(err); f != nil && f.Kind != fault.Retryable {
		return f.Error(), nil
	}
	return "", err
}

// PreviewOrder compares what a channel's order is read as.
func PreviewOrder(key string, inner order.Decoder, body []byte, today, proposed *mapping.Translator) (Preview, error) {
	bare, _, err := inner.DecodeOrder(body)
	p := Preview{Payload: key, Document: "order", Number: first(bare.Number, bare.ExternalID)}
	if err != nil {
		p.Today, err = parked(err)
		p.Proposed = p.Today
		return p, err
	}
	read := func(by *mapping.Translator) func() (any, error) {
		return func() (any, error) { o, _, err := Orders{inner, by}.DecodeOrder(body); return o, err }
	}
	return compare(p, read(today), read(proposed))
}

// PreviewParcel compares what a warehouse's shipment is read as.
func PreviewParcel(key string, inner shipment.Decoder, body []byte, today, proposed *mapping.Translator) (Preview, error) {
	bare, err := inner.DecodeShipment(body)
	p := Preview{Payload: key, Document: "shipment", Number: first(bare.Tracking, bare.ExternalID)}
	if err != nil {
		p.Today, err = parked(err)
		p.Proposed = p.Today
		return p, err
	}
	read := func(by *mapping.Translator) func() (any, error) {
		return func() (any, error) { return Parcels{inner, by}.DecodeShipment(body) }
	}
	return compare(p, read(today), read(proposed))
}

// PreviewWritten compares what an order, as it was read from its channel, is
// written as to an ERP, or as a release to a warehouse's location.
func PreviewWritten(ctx context.Context, key string, o retail.Order, location string, today, proposed *mapping.Translator) (Preview, error) {
	p := Preview{Payload: key, Document: "order", Number: first(o.Number, o.ExternalID)}
	if location == "" {
		write := func(by *mapping.Translator) func() (any, error) {
			return func() (any, error) { return by.Order(ctx, mapping.Encode, o) }
		}
		return compare(p, write(today), write(proposed))
	}
	p.Document = "release"
	r := retail.Release{OrderNumber: o.Number, PlacedAt: o.PlacedAt, Location: location, ShippingMethod: o.ShippingMethod}
	for _, l := range o.Lines {
		if l.RequiresShipping && l.Quantities.Open() > 0 {
			r.Lines = append(r.Lines, retail.ReleaseLine{OrderLine: l.ID, SKU: l.SKU, Title: l.Title, Quantity: l.Quantities.Open()})
		}
	}
	write := func(by *mapping.Translator) func() (any, error) {
		return func() (any, error) { return by.Release(ctx, r) }
	}
	return compare(p, write(today), write(proposed))
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
