package shopifytest

import (
	"fmt"
	"slices"
)

func (s *Server) mutationRoot() *obj {
	return &obj{"Mutation", map[string]any{"fulfillmentCreate": resolver(s.fulfillmentCreate)}}
}

type take struct {
	of       *fulfillmentOrderLine
	quantity int64
}

// fulfillmentCreate fulfils lines of open fulfillment orders of one order, or
// answers with user errors and changes nothing.
func (s *Server) fulfillmentCreate(args map[string]any) (any, error) {
	in := object(args["fulfillment"])
	groups := objects(in["lineItemsByFulfillmentOrder"])
	if len(groups) == 0 {
		return refuse("Fulfillment must have at least one fulfillment order."), nil
	}
	var takes []take
	var o *order
	var touched []*fulfillmentOrder
	for _, g := range groups {
		id := text(g["fulfillmentOrderId"])
		fo, ok := s.byGID[id].(*fulfillmentOrder)
		switch {
		case !ok:
			return refuse(fmt.Sprintf("Fulfillment order %s does not exist.", id)), nil
		case o != nil && fo.order != o:
			return refuse("All fulfillment orders must belong to the same order."), nil
		case slices.Contains(touched, fo):
			return refuse(fmt.Sprintf("Fulfillment order %s is given twice.", id)), nil
		case fo.status != "OPEN" && fo.status != "IN_PROGRESS":
			return refuse(fmt.Sprintf("Fulfillment order %s has an unfulfillable status= %s.", id, fo.status)), nil
		}
		o, touched = fo.order, append(touched, fo)
		ts, complaint := fo.takes(g)
		if complaint != "" {
			return refuse(complaint), nil
		}
		takes = append(takes, ts...)
	}
	f := &fulfillment{gid: gid("Fulfillment", s.id()), order: o, created: s.opts.Now()}
	if until := s.opts.Now().Add(s.hide); s.hide > 0 {
		f.hidden = func() bool { return s.opts.Now().Before(until) }
	}
	for _, t := range takes {
		t.of.remaining -= t.quantity
		f.lines = append(f.lines, fulfillmentLine{gid("FulfillmentLineItem", s.id()), t.of.line, t.quantity})
	}
	if t := object(in["trackingInfo"]); t != nil {
		f.track(t)
	}
	for _, fo := range touched {
		fo.status = "CLOSED"
		for _, l := range fo.lines {
			if l.remaining > 0 {
				fo.status = "IN_PROGRESS"
			}
		}
	}
	s.fulfilled(o, f)
	s.update("orders/updated", o)
	return &obj{"FulfillmentCreatePayload", map[string]any{"fulfillment": fulfillmentObject(f), "userErrors": []any{}}}, nil
}

// takes are the quantities that one group asks of its fulfillment order: all
// that remains where it names no lines.
func (fo *fulfillmentOrder) takes(g map[string]any) (out []take, complaint string) {
	wanted := objects(g["fulfillmentOrderLineItems"])
	if len(wanted) == 0 {
		for _, l := range fo.lines {
			if l.remaining > 0 {
				out = append(out, take{l, l.remaining})
			}
		}
		return out, ""
	}
	seen := map[string]bool{}
	for _, w := range wanted {
		id := text(w["id"])
		n, _ := integer(w["quantity"])
		i := slices.IndexFunc(fo.lines, func(l *fulfillmentOrderLine) bool { return l.gid == id })
		if i < 0 || seen[id] {
			return nil, fmt.Sprintf("Fulfillment order line item %s does not exist or is given twice.", id)
		}
		seen[id] = true
		if n <= 0 || n > fo.lines[i].remaining {
			return nil, "Invalid fulfillment order line item quantity requested."
		}
		out = append(out, take{fo.lines[i], n})
	}
	return out, ""
}

func (f *fulfillment) track(t map[string]any) {
	numbers, urls := []string{text(t["number"])}, []string{text(t["url"])}
	if list, ok := t["numbers"].([]any); ok {
		numbers = numbers[:0]
		for _, v := range list {
			numbers = append(numbers, text(v))
		}
	}
	for i, n := range numbers {
		info := tracking{company: text(t["company"]), number: n}
		if i < len(urls) {
			info.url = urls[i]
		}
		f.tracking = append(f.tracking, info)
	}
}

func refuse(message string) *obj {
	return &obj{"FulfillmentCreatePayload", map[string]any{
		"fulfillment": nil,
		"userErrors":  []any{&obj{"UserError", map[string]any{"field": []any{"fulfillment"}, "message": message}}},
	}}
}
