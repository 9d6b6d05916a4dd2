package shopify

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/waybillhq/waybill/internal/fault"
)

// wholeOrder are the actions of orders/* whose body is a complete order, be it
// that no flow waits for them.
var wholeOrder = []string{"create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled"}

// Inspect looks at a body that a shop sent or answered with, of whatever topic:
// an order, a list of orders, a listing in the REST form, or an answer of the
// GraphQL API. topic may be empty.
func (c *Connector) Inspect(topic string, raw []byte, each func(place, object string, canonical any, err error)) {
	list := items(raw)
	if list == nil {
		c.inspectOne(topic, raw, each)
		return
	}
	for i, item := range list {
		place := "[" + strconv.Itoa(i) + "]"
		c.inspectOne(topic, item, func(inner, object string, canonical any, err error) {
			each(strings.TrimSpace(place+" "+inner), object, canonical, err)
		})
	}
	if len(list) == 0 {
		each("", "empty list", list, nil)
	}
}

func (c *Connector) inspectOne(topic string, raw []byte, each func(place, object string, canonical any, err error)) {
	var m map[string]json.RawMessage
	// What is no object is refused by the decoder.
	_ = json.Unmarshal(raw, &m)
	order := func(place string, raw []byte) {
		o, _, err := c.DecodeOrder(raw)
		each(place, "order", o, err)
	}
	resource, action, named := strings.Cut(topic, "/")
	named = named && letters(resource)
	data := m["data"]
	if string(data) == "null" {
		data = nil
	}
	switch {
	case data != nil:
		c.inspectAnswer(data, m["errors"], each, order)
	case m["errors"] != nil && m["line_items"] == nil:
		each("", "error", nil, onlyErrors(m["errors"]))
	case named && (resource != "orders" || letters(action) && !slices.Contains(wholeOrder, action)):
		each("", topic, nil, unhandled(topic))
	case otherKind(m) != "":
		each("", otherKind(m), nil, unhandled(otherKind(m)))
	case len(m) == 1 && items(m["orders"]) != nil:
		for i, o := range items(m["orders"]) {
			order("orders["+strconv.Itoa(i)+"]", o)
		}
	case len(m) == 1 && m["order"] != nil:
		order("order", m["order"])
	case len(m) == 1 && m["id"] == nil:
		for key, inner := range m {
			if inner[0] == '{' || inner[0] == '[' {
				each("", key, nil, unhandled(key))
				return
			}
		}
		order("", raw)
	default:
		order("", raw)
	}
}

// onlyErrors tells an answer's errors by the first one's code. What they say may
// quote what was asked, and with it people.
func onlyErrors(errs json.RawMessage) error {
	var coded []struct {
		Extensions struct {
			Code string `json:"code"`
		} `json:"extensions"`
	}
	f := fault.New(fault.Permanent, fault.Validation, "the answer holds errors and no data")
	if json.Unmarshal(errs, &coded) == nil && len(coded) > 0 && errorCode(coded[0].Extensions.Code) {
		return f.At("errors[0].extensions.code", coded[0].Extensions.Code)
	}
	return f.At("errors", "")
}

// errorCode tells one of the API's codes, such as MAX_COST_EXCEEDED.
func errorCode(s string) bool {
	return s != "" && len(s) <= 60 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// inspectAnswer finds the orders in the data of a GraphQL answer.
func (c *Connector) inspectAnswer(data, errs json.RawMessage, each func(string, string, any, error), order func(string, []byte)) {
	type nodes struct {
		Nodes []json.RawMessage `json:"nodes"`
		Edges []struct {
			Node json.RawMessage `json:"node"`
		} `json:"edges"`
	}
	var d struct {
		Order  json.RawMessage `json:"order"`
		Node   json.RawMessage `json:"node"`
		Orders *nodes          `json:"orders"`
	}
	err := json.Unmarshal(data, &d)
	for key, raw := range map[string]json.RawMessage{"order": d.Order, "node": d.Node} {
		if len(raw) > 0 && string(raw) != "null" {
			order("data."+key, raw)
			return
		}
	}
	switch {
	case d.Orders == nil && errorsFault(errs, cost{}, false) != nil:
		each("", "error", nil, onlyErrors(errs))
	case err != nil || d.Orders == nil:
		each("data", "answer", nil, fault.New(fault.Permanent, fault.Validation, "holds no orders").At("data", ""))
	case len(d.Orders.Nodes)+len(d.Orders.Edges) == 0:
		each("data.orders", "page of orders", []json.RawMessage{}, nil)
	default:
		for i, raw := range d.Orders.Nodes {
			order("data.orders.nodes["+strconv.Itoa(i)+"]", raw)
		}
		for i, e := range d.Orders.Edges {
			order("data.orders.edges["+strconv.Itoa(i)+"].node", e.Node)
		}
	}
}

func unhandled(topic string) error {
	return fault.New(fault.Permanent, fault.Validation, "the topic is not handled").At("topic", reference(topic))
}

// otherKind is the kind that a document's own id says it is, where that is not
// an order.
func otherKind(m map[string]json.RawMessage) string {
	for _, key := range []string{"admin_graphql_api_id", "id"} {
		var s string
		if json.Unmarshal(m[key], &s) != nil {
			continue
		}
		tail, ok := strings.CutPrefix(s, "gid://shopify/")
		if kind, _, _ := strings.Cut(tail, "/"); ok && kind != "Order" {
			return kind
		}
	}
	return ""
}

// letters tells an action from a sample's number.
func letters(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) < 0
}

func items(raw json.RawMessage) []json.RawMessage {
	var out []json.RawMessage
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}
