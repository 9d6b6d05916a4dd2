package shopify

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// maxInputArray is the vendor's bound of any input array.
const maxInputArray = 250

// ShipmentSettle is how long after a send a read-back that finds nothing can
// be believed: fulfillmentCreate answers when it is done, so it is the longest
// exchange (10 s) and an allowance for a read that lags behind.
func (c *Connector) ShipmentSettle() time.Duration { return 30 * time.Second }

// ConfirmShipment tells the shop that the shipment's lines have left, under
// its tracking number and without a mail to the shopper. Lines are found in
// the order's open fulfillment orders by the order line, and by SKU where the
// shipment names no line. What fulfillments with the same tracking number
// already cover is not sent again, so a confirmation that broke off between
// two calls completes.
//
// A shipment of more than the shop has open, and the shop's own user errors,
// are Exceptions of class state_conflict. Receipt.Ref is the fulfillment's
// gid; Data["fulfillments"] lists all where the shipment needed several.
func (c *Connector) ConfirmShipment(ctx context.Context, p effect.Permit, o retail.Order, s retail.Shipment) (effect.Receipt, error) {
	gid, err := orderGID(o.ExternalID)
	if err != nil {
		return effect.Receipt{}, err
	}
	want, err := wanted(o, s)
	if err != nil {
		return effect.Receipt{}, err
	}
	done, open, err := c.openOrders(ctx, gid, s.Tracking)
	if err != nil {
		return effect.Receipt{}, fmt.Errorf("reading the fulfillment orders of order %s: %w", o.ExternalID, err)
	}
	for _, f := range done {
		want.subtract(f.lines)
	}
	if len(done) > 0 && want.left() == 0 {
		return receipt(done), nil
	}
	picks := pick(open, &want)
	if rest := want.firstLeft(); rest != nil {
		return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict,
			"the shop has %d fewer units open to fulfil than were shipped", rest.quantity).At(rest.field, rest.sku)
	}
	for _, batch := range batches(picks) {
		f, err := c.create(ctx, p, s, batch)
		if err != nil {
			return effect.Receipt{}, fmt.Errorf("confirming shipment %s of order %s: %w", s.ExternalID, o.ExternalID, err)
		}
		done = append(done, f)
	}
	return receipt(done), nil
}

// create sends one fulfillmentCreate.
func (c *Connector) create(ctx context.Context, p effect.Permit, s retail.Shipment, batch []orderPick) (fulfillment, error) {
	groups := make([]map[string]any, 0, len(batch))
	for _, g := range batch {
		in := map[string]any{"fulfillmentOrderId": g.id}
		if !g.whole {
			lines := make([]map[string]any, 0, len(g.lines))
			for _, l := range g.lines {
				lines = append(lines, map[string]any{"id": l.id, "quantity": l.quantity})
			}
			in["fulfillmentOrderLineItems"] = lines
		}
		groups = append(groups, in)
	}
	input := map[string]any{"lineItemsByFulfillmentOrder": groups, "notifyCustomer": false}
	tracking := map[string]any{}
	for key, v := range map[string]string{"company": s.Carrier, "number": s.Tracking, "url": s.TrackingURL} {
		if v != "" {
			tracking[key] = v
		}
	}
	if len(tracking) > 0 {
		input["trackingInfo"] = tracking
	}
	var data struct {
		Create struct {
			Fulfillment *fulfillment `json:"fulfillment"`
			UserErrors  []struct {
				Field   []string `json:"field"`
				Message string   `json:"message"`
			} `json:"userErrors"`
		} `json:"fulfillmentCreate"`
	}
	if err := c.mutate(ctx, p, fulfillmentCreateMutation, map[string]any{"fulfillment": input}, &data); err != nil {
		return fulfillment{}, err
	}
	if errs := data.Create.UserErrors; len(errs) > 0 {
		return fulfillment{}, fault.New(fault.Exception, fault.StateConflict, "the shop refuses the fulfillment: %s", clip(errs[0].Message)).
			At(strings.Join(errs[0].Field, "."), "")
	}
	if data.Create.Fulfillment == nil || data.Create.Fulfillment.ID == "" {
		return fulfillment{}, fault.New(fault.Retryable, fault.Connectivity, "the answer names neither a fulfillment nor an error").OutcomeUnknown()
	}
	return *data.Create.Fulfillment, nil
}

func receipt(fs []fulfillment) effect.Receipt {
	r := effect.Receipt{Ref: fs[0].ID, Number: fs[0].Name}
	if len(fs) > 1 {
		ids := make([]string, len(fs))
		for i, f := range fs {
			ids[i] = f.ID
		}
		r.Data = map[string]string{"fulfillments": strings.Join(ids, " ")}
	}
	return r
}

// demand is what a shipment still needs, per order line or per SKU.
type demand struct{ items []demandItem }

type demandItem struct {
	line     string // the shop's line id in digits, or empty
	sku      string
	field    string
	quantity int64
}

// wanted turns a shipment's lines into the shop's line ids.
func wanted(o retail.Order, s retail.Shipment) (demand, error) {
	external := make(map[string]string, len(o.Lines))
	for _, l := range o.Lines {
		external[l.ID] = l.ExternalID
	}
	var d demand
	for i, l := range s.Lines {
		field := "lines[" + strconv.Itoa(i) + "]"
		if l.Quantity <= 0 {
			return d, fault.New(fault.Permanent, fault.Validation, "must ship at least one unit").At(field+".quantity", l.SKU)
		}
		item := demandItem{sku: l.SKU, field: field, quantity: l.Quantity}
		if l.OrderLine != "" {
			id, ok := external[l.OrderLine]
			if !ok {
				return d, fault.New(fault.Permanent, fault.MissingReference, "the order has no such line").At(field+".order_line", l.OrderLine)
			}
			item.line = id
		}
		d.items = append(d.items, item)
	}
	if len(d.items) == 0 {
		return d, fault.New(fault.Permanent, fault.Validation, "the shipment has no lines").At("lines", s.ExternalID)
	}
	return d, nil
}

// take reduces the demand by up to n units of a line and returns how many it
// took. Named lines come before demand that only knows the SKU.
func (d *demand) take(line, sku string, n int64) int64 {
	var took int64
	for _, byLine := range []bool{true, false} {
		for i := range d.items {
			it := &d.items[i]
			if byLine && (line == "" || it.line != line) || !byLine && (it.line != "" || it.sku != sku) {
				continue
			}
			k := min(it.quantity, n-took)
			it.quantity -= k
			took += k
		}
	}
	return took
}

func (d *demand) subtract(lines []fulfilledLine) {
	for _, l := range lines {
		d.take(l.line, l.sku, l.quantity)
	}
}

func (d *demand) left() int64 {
	var n int64
	for _, it := range d.items {
		n += it.quantity
	}
	return n
}

func (d *demand) firstLeft() *demandItem {
	for i := range d.items {
		if d.items[i].quantity > 0 {
			return &d.items[i]
		}
	}
	return nil
}

// orderPick is what one fulfillment order gives; whole means all that remains
// of it.
type orderPick struct {
	id    string
	whole bool
	lines []linePick
}

type linePick struct {
	id       string
	quantity int64
}

func pick(open []openOrder, d *demand) []orderPick {
	var out []orderPick
	for _, fo := range open {
		g := orderPick{id: fo.id, whole: true}
		for _, l := range fo.lines {
			n := d.take(l.line, l.sku, l.remaining)
			if n > 0 {
				g.lines = append(g.lines, linePick{l.id, n})
			}
			g.whole = g.whole && n == l.remaining
		}
		if len(g.lines) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// batches splits picks so that no call holds an array past the vendor's bound.
// Whole fulfillment orders need no lines and go together.
func batches(picks []orderPick) [][]orderPick {
	var out [][]orderPick
	var current []orderPick
	flush := func() {
		if len(current) > 0 {
			out = append(out, current)
			current = nil
		}
	}
	for _, g := range picks {
		if !g.whole && len(g.lines) > maxInputArray {
			for at := 0; at < len(g.lines); at += maxInputArray {
				out = append(out, []orderPick{{id: g.id, lines: g.lines[at:min(at+maxInputArray, len(g.lines))]}})
			}
			continue
		}
		if len(current) == maxInputArray {
			flush()
		}
		current = append(current, g)
	}
	flush()
	return out
}

// openOrder is a fulfillment order that can still be fulfilled.
type openOrder struct {
	id    string
	lines []openLine
}

type openLine struct {
	id, line, sku string
	remaining     int64
}

type remainingNode struct {
	ID        string      `json:"id"`
	SKU       string      `json:"sku"`
	Remaining json.Number `json:"remainingQuantity"`
	LineItem  struct {
		ID string `json:"id"`
	} `json:"lineItem"`
}

type remainingPage struct {
	Nodes    []remainingNode `json:"nodes"`
	PageInfo pageInfo        `json:"pageInfo"`
}

func (f *openOrder) add(p remainingPage) error {
	for _, n := range p.Nodes {
		left, err := n.Remaining.Int64()
		if err != nil {
			return fault.New(fault.Permanent, fault.Validation, "must be a whole number").At("remainingQuantity", n.SKU)
		}
		if left > 0 {
			f.lines = append(f.lines, openLine{n.ID, tail(n.LineItem.ID), n.SKU, left})
		}
	}
	return nil
}

func tail(gid string) string { return gid[strings.LastIndexByte(gid, '/')+1:] }

// openOrders reads the order's fulfillment orders that are open or in
// progress, with all their lines, and in the same query what the order's
// fulfillments with the tracking number cover already: none for "".
func (c *Connector) openOrders(ctx context.Context, gid, tracking string) (done []fulfillment, out []openOrder, err error) {
	vars := map[string]any{"id": gid, "first": fulfillmentOrders, "lines": fulfillmentLines, "done": fulfillmentsRead, "tracked": tracking != ""}
	for {
		var data struct {
			Order *struct {
				Fulfillments      []fulfillment `json:"fulfillments"`
				FulfillmentOrders struct {
					Nodes []struct {
						ID        string        `json:"id"`
						Status    string        `json:"status"`
						LineItems remainingPage `json:"lineItems"`
					} `json:"nodes"`
					PageInfo pageInfo `json:"pageInfo"`
				} `json:"fulfillmentOrders"`
			} `json:"order"`
		}
		if _, err := c.query(ctx, fulfillmentOrdersQuery, vars, &data); err != nil {
			return nil, nil, err
		}
		if data.Order == nil {
			return nil, nil, noOrder(gid)
		}
		if vars["tracked"] == true {
			if done, err = c.carrying(ctx, data.Order.Fulfillments, tracking); err != nil {
				return nil, nil, err
			}
		}
		for _, n := range data.Order.FulfillmentOrders.Nodes {
			if n.Status != "OPEN" && n.Status != "IN_PROGRESS" {
				continue
			}
			fo := openOrder{id: n.ID}
			if err := c.allLines(ctx, &fo, n.LineItems); err != nil {
				return nil, nil, err
			}
			out = append(out, fo)
		}
		info := data.Order.FulfillmentOrders.PageInfo
		if !info.HasNextPage {
			return done, out, nil
		}
		vars["after"], vars["tracked"] = info.EndCursor, false
	}
}

func (c *Connector) allLines(ctx context.Context, fo *openOrder, page remainingPage) error {
	if err := fo.add(page); err != nil {
		return err
	}
	for page.PageInfo.HasNextPage {
		var data struct {
			FulfillmentOrder struct {
				LineItems remainingPage `json:"lineItems"`
			} `json:"fulfillmentOrder"`
		}
		vars := map[string]any{"id": fo.id, "first": moreFulfillment, "after": page.PageInfo.EndCursor}
		if _, err := c.query(ctx, fulfillmentOrderLinesQuery, vars, &data); err != nil {
			return err
		}
		page = data.FulfillmentOrder.LineItems
		if err := fo.add(page); err != nil {
			return err
		}
	}
	return nil
}
