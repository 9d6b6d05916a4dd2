package shopify

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// fulfillment is the shop's record of what left for an order.
type fulfillment struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Status       string `json:"status"`
	TrackingInfo []struct {
		Number string `json:"number"`
	} `json:"trackingInfo"`

	lines []fulfilledLine
}

type fulfilledLine struct {
	line, sku string
	quantity  int64
}

// FindShipment reads back, by the order, whether the shop already knows the
// shipment: fulfillments with its tracking number that cover all its lines. A
// shipment without a tracking number is found only in a fulfillment without
// one that has exactly its lines and quantities. One that is covered in part is
// not found; ConfirmShipment then sends only what is missing.
func (c *Connector) FindShipment(ctx context.Context, o retail.Order, s retail.Shipment) (effect.Receipt, bool, error) {
	gid, err := orderGID(o.ExternalID)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	want, err := wanted(o, s)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	fs, err := c.fulfillmentsWith(ctx, gid, s.Tracking)
	if err != nil {
		return effect.Receipt{}, false, fmt.Errorf("reading the fulfillments of order %s: %w", o.ExternalID, err)
	}
	if s.Tracking == "" {
		for _, f := range fs {
			if want, err := wanted(o, s); err == nil && exactly(want, f.lines) {
				return receipt([]fulfillment{f}), true, nil
			}
		}
		return effect.Receipt{}, false, nil
	}
	for _, f := range fs {
		want.subtract(f.lines)
	}
	if len(fs) == 0 || want.left() > 0 {
		return effect.Receipt{}, false, nil
	}
	return receipt(fs), true, nil
}

func exactly(want demand, lines []fulfilledLine) bool {
	var n int64
	for _, l := range lines {
		n += l.quantity
	}
	if n != want.left() {
		return false
	}
	want.subtract(lines)
	return want.left() == 0
}

// live are the states of a fulfillment that took place (FulfillmentStatus).
var live = map[string]bool{"SUCCESS": true, "OPEN": true, "PENDING": true}

// fulfillmentsWith reads the order's live fulfillments that carry the tracking
// number (or, for "", none), with their lines.
func (c *Connector) fulfillmentsWith(ctx context.Context, gid, tracking string) ([]fulfillment, error) {
	var data struct {
		Order *struct {
			Fulfillments []fulfillment `json:"fulfillments"`
		} `json:"order"`
	}
	if _, err := c.query(ctx, fulfillmentsQuery, map[string]any{"id": gid, "first": fulfillmentsRead}, &data); err != nil {
		return nil, err
	}
	if data.Order == nil {
		return nil, noOrder(gid)
	}
	return c.carrying(ctx, data.Order.Fulfillments, tracking)
}

func noOrder(gid string) error {
	return fault.New(fault.Exception, fault.MissingReference, "the shop has no such order").At("external_id", tail(gid))
}

// carrying are those that took place under the tracking number (or, for "",
// under none), with their lines.
func (c *Connector) carrying(ctx context.Context, all []fulfillment, tracking string) ([]fulfillment, error) {
	var out []fulfillment
	for _, f := range all {
		if !live[f.Status] || !f.carries(tracking) {
			continue
		}
		if err := c.fulfilledLines(ctx, &f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func (f fulfillment) carries(tracking string) bool {
	for _, t := range f.TrackingInfo {
		if t.Number == tracking {
			return true
		}
	}
	return tracking == "" && len(f.TrackingInfo) == 0
}

func (c *Connector) fulfilledLines(ctx context.Context, f *fulfillment) error {
	vars := map[string]any{"id": f.ID, "first": moreFulfillment}
	for {
		var data struct {
			Fulfillment struct {
				Lines struct {
					Nodes []struct {
						Quantity json.Number `json:"quantity"`
						LineItem struct {
							ID  string `json:"id"`
							SKU string `json:"sku"`
						} `json:"lineItem"`
					} `json:"nodes"`
					PageInfo pageInfo `json:"pageInfo"`
				} `json:"fulfillmentLineItems"`
			} `json:"fulfillment"`
		}
		if _, err := c.query(ctx, fulfillmentLinesQuery, vars, &data); err != nil {
			return err
		}
		for _, n := range data.Fulfillment.Lines.Nodes {
			q, err := n.Quantity.Int64()
			if err != nil {
				return fault.New(fault.Permanent, fault.Validation, "must be a whole number").At("quantity", n.LineItem.SKU)
			}
			f.lines = append(f.lines, fulfilledLine{tail(n.LineItem.ID), n.LineItem.SKU, q})
		}
		if !data.Fulfillment.Lines.PageInfo.HasNextPage {
			return nil
		}
		vars["after"] = data.Fulfillment.Lines.PageInfo.EndCursor
	}
}
