package shipment

import (
	"context"
	"fmt"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow"
)

// Confirm tells the order's channel what has left. It runs beside Invoice on
// the same shipment.
func (p Phase) Confirm(ctx context.Context, t document.Task) error {
	w, err := p.recorded(ctx, t)
	if err != nil {
		return err
	}
	if done, err := p.told(ctx, w.head, confirmed); err != nil || done {
		return err
	}
	channel, err := flow.Port[Channel](ctx, p.Connections, w.head.Tenant, w.parent.Connection, "confirm shipments")
	if err != nil {
		return err
	}
	r, err := p.Effects.Do(ctx, effect.Effect{
		Subject: w.subject(), Key: ConfirmEffect, Payload: w.parcel(w.order.ExternalID), Settle: channel.ShipmentSettle(),
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) {
			return channel.FindShipment(ctx, w.order, w.shipment)
		},
		Send: func(ctx context.Context, permit effect.Permit) (effect.Receipt, error) {
			return channel.ConfirmShipment(ctx, permit, w.order, w.shipment)
		},
	})
	if err != nil {
		return fmt.Errorf("confirming the shipment at its channel: %w", err)
	}
	return p.tell(ctx, t, news{
		key: w.head.Key, verb: confirmed, data: map[string]string{"channel": w.parent.Connection, "ref": r.Ref, "number": r.Number},
		refs: []document.Ref{{Tenant: w.head.Tenant, Connection: w.parent.Connection, Type: "fulfillment", External: r.Ref}},
	})
}
