package shopifytest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// order is an order as its webhook tells it, and what became of its lines.
type order struct {
	gid               string
	doc               map[string]any // the REST form; numbers are json.Number
	updated           time.Time
	lines             []*line
	fulfillmentOrders []*fulfillmentOrder
	fulfillments      []*fulfillment
}

type line struct {
	gid string
	doc map[string]any
}

type fulfillmentOrder struct {
	gid    string
	order  *order
	status string // FulfillmentOrderStatus
	lines  []*fulfillmentOrderLine
}

type fulfillmentOrderLine struct {
	gid              string
	line             *line
	total, remaining int64
}

type fulfillment struct {
	gid, name string
	order     *order
	created   time.Time
	hidden    func() bool // tells whether reads do not show it yet; nil is never
	tracking  []tracking
	lines     []fulfillmentLine
}

type tracking struct{ company, number, url string }

type fulfillmentLine struct {
	gid      string
	line     *line
	quantity int64
}

func (o *order) number() string { return o.gid[strings.LastIndexByte(o.gid, '/')+1:] }

// cursor orders by update and then by id; hexadecimal keeps the order.
func (o *order) cursor() string {
	return hex.EncodeToString(fmt.Appendf(nil, "%s|%20s", o.updated.UTC().Format(time.RFC3339), o.number()))
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func objects(v any) []map[string]any {
	vs, _ := v.([]any)
	out := make([]map[string]any, 0, len(vs))
	for _, x := range vs {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func gidOf(doc map[string]any, kind string) string {
	if s := text(doc["admin_graphql_api_id"]); s != "" {
		return s
	}
	if s := text(doc["id"]); s != "" {
		return "gid://shopify/" + kind + "/" + s
	}
	return ""
}

// adopt takes an order in from its REST form.
func (s *Server) adopt(raw []byte, parts int) (*order, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	o := &order{}
	if err := dec.Decode(&o.doc); err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	if o.gid = gidOf(o.doc, "Order"); o.gid == "" {
		return nil, errors.New("the payload has no id")
	}
	if _, twice := s.byGID[o.gid]; twice {
		return nil, fmt.Errorf("order %s exists", o.gid)
	}
	at, err := time.Parse(time.RFC3339, text(o.doc["updated_at"]))
	if err != nil {
		at = s.opts.Now()
	}
	o.updated = at.UTC()
	for _, d := range objects(o.doc["line_items"]) {
		o.lines = append(o.lines, &line{gidOf(d, "LineItem"), d})
	}
	s.assign(o, parts)
	s.orders = append(s.orders, o)
	s.byGID[o.gid] = o
	return o, nil
}

// assign spreads the lines that can be fulfilled over fulfillment orders.
func (s *Server) assign(o *order, parts int) {
	for i, l := range o.lines {
		n, ok := integer(l.doc["fulfillable_quantity"])
		if !ok {
			n, _ = integer(l.doc["quantity"])
		}
		if n <= 0 || l.doc["gift_card"] == true {
			continue
		}
		k := i % parts
		for len(o.fulfillmentOrders) <= k {
			fo := &fulfillmentOrder{gid: gid("FulfillmentOrder", s.id()), order: o, status: "OPEN"}
			o.fulfillmentOrders = append(o.fulfillmentOrders, fo)
			s.byGID[fo.gid] = fo
		}
		fo := o.fulfillmentOrders[k]
		fo.lines = append(fo.lines, &fulfillmentOrderLine{gid("FulfillmentOrderLineItem", s.id()), l, n, n})
	}
	if text(o.doc["cancelled_at"]) != "" {
		o.close("CLOSED")
	}
}

func (o *order) close(status string) {
	for _, fo := range o.fulfillmentOrders {
		if fo.status == "OPEN" || fo.status == "IN_PROGRESS" {
			fo.status = status
		}
	}
}

func (s *Server) touch(o *order) {
	o.updated = s.opts.Now().UTC().Truncate(time.Second)
	o.doc["updated_at"] = o.updated.Format(time.RFC3339)
}

func (s *Server) find(id string) (*order, error) {
	i := slices.IndexFunc(s.orders, func(o *order) bool { return o.gid == id || o.number() == id })
	if i < 0 {
		return nil, fmt.Errorf("no order %q", id)
	}
	return s.orders[i], nil
}

// status is the order's OrderDisplayFulfillmentStatus.
func (o *order) status() string {
	var left, done int64
	for _, fo := range o.fulfillmentOrders {
		for _, l := range fo.lines {
			left += l.remaining
		}
	}
	for _, f := range o.fulfillments {
		for _, l := range f.lines {
			done += l.quantity
		}
	}
	switch {
	case done == 0:
		return "UNFULFILLED"
	case left == 0:
		return "FULFILLED"
	}
	return "PARTIALLY_FULFILLED"
}

func (s *Server) fulfilled(o *order, f *fulfillment) {
	f.name = text(o.doc["name"]) + "." + strconv.Itoa(len(o.fulfillments)+1)
	o.fulfillments = append(o.fulfillments, f)
	s.byGID[f.gid] = f
	switch o.status() {
	case "FULFILLED":
		o.doc["fulfillment_status"] = "fulfilled"
	case "PARTIALLY_FULFILLED":
		o.doc["fulfillment_status"] = "partial"
	}
	for _, l := range f.lines {
		if n, ok := integer(l.line.doc["fulfillable_quantity"]); ok {
			l.line.doc["fulfillable_quantity"] = n - l.quantity
		}
	}
	s.touch(o)
}
