package shipbob

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// dated is the version before a path, and parameter one inside it, as documents
// and requests write them.
var (
	dated     = regexp.MustCompile(`^/(\d{4}-\d{2}|\d\.\d)\b`)
	parameter = regexp.MustCompile(`/(:\w+|\{\{?\w+\}?\}|\d+)`)
)

// topics are those of the API (Webhooks.Topics), of its webhooks as a third party
// describes them, and of the API's versions 1.0 and 2.0.
var topics = strings.Fields(`order.shipped order.shipment.delivered order.shipment.exception order.shipment.on_hold order.shipment.cancelled
	return.created return.updated return.completed billing.charge.created billing.refund.created billing.credit.created
	order.shipment.tracking.updated order.shipment.address.updated order.shipment.line_item.added order.shipment.line_item.removed
	order.shipment.line_item.updated order.shipment.shipping_service.updated
	wro.created wro.updated wro.completed wro.box.arrived wro.box.scanned wro.box.stowed
	order_shipped shipment_delivered shipment_exception shipment_onhold shipment_cancelled`)

// TopicOf is the topic that a file's name begins with, such as order.shipped of
// order.shipped/1, or empty where ShipBob has no such topic.
func (c *Connector) TopicOf(name string) string {
	topic, _, _ := strings.Cut(name, "/")
	if !slices.Contains(topics, topic) {
		return ""
	}
	return topic
}

// Inspect looks at a body that ShipBob sent or answered with. what is the
// webhook's topic, "GET 2026-01/order/:orderId/shipment 200" for an answer, or
// empty, and then the body itself must tell.
func (c *Connector) Inspect(what string, raw []byte, each func(place, object string, canonical any, err error)) {
	method, rest, answered := strings.Cut(what, " ")
	if !answered {
		if what != "" && what != TopicShipped && what != "order_shipped" {
			each("", what, nil, fault.New(fault.Permanent, fault.Validation, "the topic is not handled").At("topic", what))
			return
		}
		c.inspectBody(raw, each)
		return
	}
	path, code, told := strings.Cut(rest, " ")
	status := http.StatusOK
	if n, err := strconv.Atoi(code); told && err == nil {
		status = n
	}
	if _, after, hosted := strings.Cut(path, "://"); hosted {
		_, path, _ = strings.Cut(after, "/")
	}
	path, _, _ = strings.Cut("/"+strings.TrimPrefix(path, "/"), "?")
	path = parameter.ReplaceAllString(dated.ReplaceAllString(path, ""), "/:id")
	call := method + " " + path
	switch call {
	case "POST /order":
		each(c.inspectCreated(raw, status))
		return
	case "GET /order", "GET /order/:id/shipment", "GET /shipment/:id", "GET /inventory-level":
	default:
		each("", "", nil, fault.New(fault.Permanent, fault.Validation, "the endpoint is not used").At("endpoint", call))
		return
	}
	if status != http.StatusOK {
		each("", fmt.Sprintf("answer %d", status), refused(&egress.Response{Status: status, Body: raw}, path), nil)
		return
	}
	switch call {
	case "GET /order":
		c.inspectOrders(raw, each)
	case "GET /inventory-level":
		each(inspectStock(raw))
	default:
		c.inspectBody(raw, each)
	}
}

// inspectCreated reads the answer to a release.
func (c *Connector) inspectCreated(raw []byte, status int) (place, object string, canonical any, err error) {
	res := &egress.Response{Status: status, Body: raw}
	switch {
	case status >= 200 && status < 300:
		receipt, err := created(res, "")
		return "", "receipt of a release", receipt, err
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity || status == http.StatusConflict:
		f, _ := rejection(res, createOrder{})
		return "", fmt.Sprintf("answer %d", status), f, nil
	default:
		return "", fmt.Sprintf("answer %d", status), refused(res, "/order"), nil
	}
}

// inspectBody tells by its members what a body is: a shipment or several, an
// order with its shipments, or a page of stock.
func (c *Connector) inspectBody(raw []byte, each func(string, string, any, error)) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || list == nil {
		c.inspectOne(raw, each)
		return
	}
	for i, item := range list {
		place := "[" + strconv.Itoa(i) + "]"
		// ShipBob lists no lists. To follow them would read the innermost as
		// often as they are deep.
		if item[0] == '[' {
			each(place, "list", nil, malformed(place, "is a list inside a list"))
			continue
		}
		c.inspectOne(item, func(inner, object string, canonical any, err error) { each(place+inner, object, canonical, err) })
	}
	if len(list) == 0 {
		each("", "empty list", list, nil)
	}
}

func (c *Connector) inspectOne(raw []byte, each func(string, string, any, error)) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		m = nil
	}
	_, ordered := m["order_id"]
	shipments, shipped := m["shipments"]
	switch {
	case !ordered && shipped:
		each("", "order", nil, fault.New(fault.Permanent, fault.Validation, "is missing: an order is no shipment, but may list some").At("order_id", ""))
		var inner []json.RawMessage
		if json.Unmarshal(shipments, &inner) == nil {
			for i, s := range inner {
				out, err := c.DecodeShipment(s)
				each("shipments["+strconv.Itoa(i)+"]", "shipment", out, err)
			}
		}
	case m["items"] != nil && !ordered:
		each(inspectStock(raw))
	default:
		s, err := c.DecodeShipment(raw)
		each("", "shipment", s, err)
	}
}

// inspectOrders reads a release back out of a listing of orders.
func (c *Connector) inspectOrders(raw []byte, each func(string, string, any, error)) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || list == nil {
		each("", "orders", nil, malformed("orders", "is not a JSON array"))
		return
	}
	for i, item := range list {
		place := "[" + strconv.Itoa(i) + "]"
		var o orderView
		switch err := unmarshal(item, &o); {
		case err != nil:
			each(place, "order", nil, unreadable(err, place, "is not of the documented type"))
		case o.ID == "":
			each(place, "order", nil, malformed(place+".id", "is not an order's id"))
		default:
			each(place, "receipt of a release", effect.Receipt{Ref: string(o.ID), Number: o.OrderNumber}, nil)
		}
	}
}

// inspectStock reads one page of quantities.
func inspectStock(raw []byte) (place, object string, canonical any, err error) {
	var page levelPage
	if err := unmarshal(raw, &page); err != nil {
		return "", "stock", nil, unreadable(err, "items", "is not of the documented type")
	}
	onHand := newCount()
	if err := onHand.add(page); err != nil {
		return "", "stock", nil, err
	}
	return "", "stock", onHand.stock, nil
}
