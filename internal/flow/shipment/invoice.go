package shipment

import (
	"context"
	"fmt"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/retail"
)

// Invoice posts the shipment at the ERP and, once the order is shipped
// completely, the order's invoice. It runs beside Confirm on the same shipment,
// and beside other shipments of the order: whoever comes last finds the order
// shipped, and the ledger keeps the invoice to one.
func (p Phase) Invoice(ctx context.Context, t document.Task) error {
	w, err := p.recorded(ctx, t)
	if err != nil {
		return err
	}
	if err := p.postShipment(ctx, t, w); err != nil {
		return err
	}
	if w.parent.State != retail.Shipped {
		return nil
	}
	return p.postInvoice(ctx, t, w)
}

func (p Phase) postShipment(ctx context.Context, t document.Task, w loaded) error {
	if done, err := p.told(ctx, w.head, posted); err != nil || done {
		return err
	}
	route, so, err := p.salesOrder(ctx, w)
	if err != nil {
		return err
	}
	erp, err := flow.Port[Shipments](ctx, p.Connections, w.head.Tenant, route.ERP, "post shipments")
	if err != nil {
		return err
	}
	r, err := p.Effects.Do(ctx, effect.Effect{
		Subject: w.subject(), Key: ERPShipmentEffect, Payload: w.parcel(so.Ref), Settle: erp.ShipmentSettle(),
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) {
			return erp.ShipmentPosted(ctx, so, w.shipment)
		},
		Send: func(ctx context.Context, permit effect.Permit) (effect.Receipt, error) {
			return erp.PostShipment(ctx, permit, so, w.shipment)
		},
	})
	if err != nil {
		return fmt.Errorf("posting the shipment at the ERP: %w", err)
	}
	return p.tell(ctx, t, news{
		key: w.head.Key, verb: posted, data: map[string]string{"erp": route.ERP, "ref": r.Ref, "number": r.Number, "sales_order": so.Number},
		refs: []document.Ref{{Tenant: w.head.Tenant, Connection: route.ERP, Type: "erp_shipment", External: numberOf(r)}},
	})
}

func (p Phase) postInvoice(ctx context.Context, t document.Task, w loaded) error {
	if done, err := p.told(ctx, w.parent, invoiced); err != nil || done {
		return err
	}
	route, so, err := p.salesOrder(ctx, w)
	if err != nil {
		return err
	}
	invoices, err := flow.Port[Invoices](ctx, p.Connections, w.head.Tenant, route.ERP, "post invoices")
	if err != nil {
		return err
	}
	shipments, err := flow.Port[Shipments](ctx, p.Connections, w.head.Tenant, route.ERP, "post shipments")
	if err != nil {
		return err
	}
	r, err := p.Effects.Do(ctx, effect.Effect{
		Subject: w.orderSubject(), Key: InvoiceEffect, Payload: so.Ref, Settle: shipments.ShipmentSettle(),
		Lookup: func(ctx context.Context) (effect.Receipt, bool, error) { return invoices.InvoicePosted(ctx, so) },
		Send: func(ctx context.Context, permit effect.Permit) (effect.Receipt, error) {
			return invoices.PostInvoice(ctx, permit, so)
		},
	})
	if err != nil {
		return fmt.Errorf("posting the order's invoice: %w", err)
	}
	return p.tell(ctx, t, news{
		key: w.parent.Key, verb: invoiced, data: map[string]string{"erp": route.ERP, "ref": r.Ref, "number": r.Number},
		refs: []document.Ref{{Tenant: w.head.Tenant, Connection: route.ERP, Type: "invoice", External: numberOf(r)}},
	})
}

// salesOrder finds the order at its ERP by what the ledger proves.
func (p Phase) salesOrder(ctx context.Context, w loaded) (flow.Route, effect.Receipt, error) {
	route, err := p.Connections.Route(ctx, w.parent.Tenant, w.parent.Connection)
	if err != nil {
		return route, effect.Receipt{}, err
	}
	so, err := proven(ctx, p.Effects.Store, w.orderSubject(), salesOrderEffect, "sales_order")
	return route, so, err
}
