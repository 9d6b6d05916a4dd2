package boot

import (
	"context"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
)

// Desk carries out what people decide about exceptions. What it starts or
// hands over goes through queues, so that it needs no vendor.
func (p *Platform) Desk() exception.Desk {
	return exception.Desk{
		Life: p.Life(), Store: p.Store, Effects: p.Effects(), Payloads: p.Payloads(), Try: p.Try, Unreserve: p.Fulfillment().Unreserve,
		Enqueue: p.replayed,
		Start:   func(ctx context.Context, t document.Task) error { return p.Machines().Start(ctx, t) },
	}
}

// Try reads a payload as the intake of its class would, and changes nothing.
func (p *Platform) Try(ctx context.Context, class string, t retail.Tenant, connection string, payload []byte) (externalID string, err error) {
	if class == shipment.Class {
		d, err := flow.Port[shipment.Decoder](ctx, p.Overriding(), t, connection, "decode shipments")
		if err != nil {
			return "", err
		}
		s, err := d.DecodeShipment(payload)
		return s.ExternalID, err
	}
	d, err := flow.Port[order.Decoder](ctx, p.Overriding(), t, connection, "decode orders")
	if err != nil {
		return "", err
	}
	o, _, err := d.DecodeOrder(payload)
	o.Schema = retail.SchemaVersion
	if err == nil {
		if _, cerr := retail.Certify(o); cerr != nil {
			err = fault.Wrap(fault.Exception, fault.TotalsDiffer, cerr, "certifying the order's money").At("total_price", o.Totals.Total.String())
		}
	}
	return o.ExternalID, err
}
