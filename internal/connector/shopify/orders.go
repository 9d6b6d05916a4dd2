package shopify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

type pageInfo struct {
	HasNextPage bool   `json:"hasNextPage"`
	EndCursor   string `json:"endCursor"`
}

// connection is a page of a GraphQL connection, its nodes left as the vendor's
// bytes.
type connection struct {
	Nodes    []json.RawMessage `json:"nodes"`
	PageInfo pageInfo          `json:"pageInfo"`
}

// ListOrders lists the orders updated at or after since, oldest update first,
// one page a call. next continues the listing and is empty at its end. An
// order that changes meanwhile may be listed twice, never left out. Raw is a
// document that DecodeOrder reads, with all lines of the order.
//
// The vendor ends a listing at 25,000 objects; a caller that lists a longer
// time goes on from the last UpdatedAt.
func (c *Connector) ListOrders(ctx context.Context, since time.Time, cursor string) (page []retail.Listed, next string, err error) {
	vars := map[string]any{
		"first": listPage, "shipping": shippingPage, "lines": listLines, "duties": true,
		"query": fmt.Sprintf("updated_at:>='%s'", since.UTC().Format(time.RFC3339)),
	}
	if cursor != "" {
		vars["after"] = cursor
	}
	var data struct {
		Orders connection `json:"orders"`
	}
	spent, err := c.query(ctx, listOrdersQuery, vars, &data)
	if err != nil {
		return nil, "", fmt.Errorf("listing orders: %w", err)
	}
	p := &pacer{c: c}
	for _, raw := range data.Orders.Nodes {
		l, err := c.complete(ctx, p, raw, &spent)
		if err != nil {
			return nil, "", fmt.Errorf("listing orders: %w", err)
		}
		page = append(page, l)
	}
	if data.Orders.PageInfo.HasNextPage {
		next = data.Orders.PageInfo.EndCursor
	}
	return page, next, nil
}

// FetchOrder reads one order by its external id (the number, in digits), as a
// document that DecodeOrder reads. found is false where the shop has none.
func (c *Connector) FetchOrder(ctx context.Context, externalID string) (raw []byte, found bool, err error) {
	id, err := orderGID(externalID)
	if err != nil {
		return nil, false, err
	}
	var data struct {
		Order json.RawMessage `json:"order"`
	}
	vars := map[string]any{"id": id, "shipping": shippingPage, "lines": fetchLines, "duties": true}
	spent, err := c.query(ctx, fetchOrderQuery, vars, &data)
	if err != nil {
		return nil, false, fmt.Errorf("fetching order %s: %w", externalID, err)
	}
	if len(data.Order) == 0 || string(data.Order) == "null" {
		return nil, false, nil
	}
	l, err := c.complete(ctx, &pacer{c: c}, data.Order, &spent)
	if err != nil {
		return nil, false, fmt.Errorf("fetching order %s: %w", externalID, err)
	}
	return l.Raw, true, nil
}

func orderGID(externalID string) (string, error) {
	if !digits(externalID) {
		return "", fault.New(fault.Permanent, fault.Validation, "must be an order id in digits").At("external_id", reference(externalID))
	}
	return "gid://shopify/Order/" + externalID, nil
}

// head is what complete needs of an order.
type head struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	UpdatedAt     time.Time       `json:"updatedAt"`
	Duties        json.RawMessage `json:"originalTotalDutiesSet"`
	LineItems     connection      `json:"lineItems"`
	ShippingLines connection      `json:"shippingLines"`
}

// complete fetches the pages of lines that the first answer did not hold and
// puts all into one document.
func (c *Connector) complete(ctx context.Context, p *pacer, raw json.RawMessage, spent *cost) (retail.Listed, error) {
	var h head
	if err := json.Unmarshal(raw, &h); err != nil {
		return retail.Listed{}, fault.New(fault.Permanent, fault.Validation, "the listed order has not the shape that was asked for")
	}
	l := retail.Listed{Number: h.Name, UpdatedAt: h.UpdatedAt.UTC(), Raw: raw}
	if l.ExternalID = gid(h.ID, "Order"); l.ExternalID == "" {
		return l, notGID("Order").At("id", reference(h.ID))
	}
	if !h.LineItems.PageInfo.HasNextPage && !h.ShippingLines.PageInfo.HasNextPage {
		return l, nil
	}
	// Not selected and null are alike: without a total there are no duties.
	duties := len(h.Duties) > 0 && string(h.Duties) != "null"
	size := morePlain
	if duties {
		size = moreWithDuty
	}
	lines := paged{c: c, p: p, document: orderLinesQuery, field: "lineItems", head: &h, spent: spent,
		vars: map[string]any{"id": h.ID, "first": size, "duties": duties}}
	deliveries := paged{c: c, p: p, document: orderDeliveriesQuery, field: "shippingLines", head: &h, spent: spent,
		vars: map[string]any{"id": h.ID, "first": fetchLines}}
	if err := lines.follow(ctx, &h.LineItems); err != nil {
		return l, err
	}
	if err := deliveries.follow(ctx, &h.ShippingLines); err != nil {
		return l, err
	}
	whole, err := merge(raw, h)
	if err != nil {
		return l, err
	}
	l.Raw = whole
	return l, nil
}

// paged reads the further pages of one connection of one order.
type paged struct {
	c        *Connector
	p        *pacer
	document string
	field    string
	vars     map[string]any
	head     *head
	spent    *cost
}

func (g paged) follow(ctx context.Context, into *connection) error {
	for into.PageInfo.HasNextPage {
		if err := g.p.wait(ctx, *g.spent, maxQueryCost); err != nil {
			return err
		}
		g.vars["after"] = into.PageInfo.EndCursor
		var data struct {
			Order map[string]json.RawMessage `json:"order"`
		}
		spent, err := g.c.query(ctx, g.document, g.vars, &data)
		if err != nil {
			return err
		}
		*g.spent = spent
		var at time.Time
		var next connection
		if json.Unmarshal(data.Order["updatedAt"], &at) != nil || json.Unmarshal(data.Order[g.field], &next) != nil {
			return fault.New(fault.Permanent, fault.Validation, "a page of the order has not the shape that was asked for").At(g.field, "")
		}
		// Pages of two states must not become one document.
		if !at.Equal(g.head.UpdatedAt) {
			return fault.New(fault.Retryable, fault.StateConflict, "the order changed while its lines were read").At(g.field, g.head.Name)
		}
		if len(next.Nodes) == 0 && next.PageInfo.HasNextPage {
			return fault.New(fault.Retryable, fault.Connectivity, "a page of the order is empty and not the last").At(g.field, g.head.Name)
		}
		into.Nodes = append(into.Nodes, next.Nodes...)
		into.PageInfo = next.PageInfo
	}
	return nil
}

func merge(raw json.RawMessage, h head) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "reading the order again")
	}
	for key, conn := range map[string]connection{"lineItems": h.LineItems, "shippingLines": h.ShippingLines} {
		b, err := json.Marshal(conn)
		if err != nil {
			return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "joining the order's pages")
		}
		m[key] = b
	}
	whole, err := json.Marshal(m)
	if err != nil {
		return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "joining the order's pages")
	}
	return whole, nil
}
