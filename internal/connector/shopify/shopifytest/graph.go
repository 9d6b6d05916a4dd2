package shopifytest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) queryRoot() *obj {
	return &obj{"QueryRoot", map[string]any{
		"order": resolver(func(args map[string]any) (any, error) {
			o, ok := s.byGID[text(args["id"])].(*order)
			if !ok {
				return nil, nil
			}
			return orderObject(o), nil
		}),
		"orders": resolver(s.listOrders),
		"fulfillmentOrder": resolver(func(args map[string]any) (any, error) {
			fo, ok := s.byGID[text(args["id"])].(*fulfillmentOrder)
			if !ok {
				return nil, nil
			}
			return fulfillmentOrderObject(fo), nil
		}),
		"fulfillment": resolver(func(args map[string]any) (any, error) {
			f, ok := s.byGID[text(args["id"])].(*fulfillment)
			if !ok {
				return nil, nil
			}
			return fulfillmentObject(f), nil
		}),
		"shop": &obj{"Shop", map[string]any{"name": s.opts.Shop, "myshopifyDomain": s.opts.Shop, "currencyCode": s.opts.Currency}},
	}}
}

var term = regexp.MustCompile(`(\w+):(>=|<=|>|<)?('[^']*'|"[^"]*"|\S+)`)

// listOrders is the orders query: updated_at, created_at and name in the
// search syntax, sorted by update or by id.
func (s *Server) listOrders(args map[string]any) (any, error) {
	keep := make([]*order, 0, len(s.orders))
	for _, o := range s.orders {
		ok, err := matches(o, text(args["query"]))
		if err != nil {
			return nil, err
		}
		if ok {
			keep = append(keep, o)
		}
	}
	if args["reverse"] == true {
		return nil, fmt.Errorf("the simulator does not list in reverse")
	}
	switch text(args["sortKey"]) {
	case "UPDATED_AT":
		slices.SortFunc(keep, func(a, b *order) int { return strings.Compare(a.cursor(), b.cursor()) })
		// A cursor is a place in the order of updates: it holds although the
		// order it was taken from has moved on.
		if after := text(args["after"]); after != "" {
			keep = slices.DeleteFunc(keep, func(o *order) bool { return o.cursor() <= after })
			delete(args, "after")
		}
	case "", "PROCESSED_AT", "CREATED_AT", "ID":
	default:
		return nil, fmt.Errorf("the simulator does not sort by %v", args["sortKey"])
	}
	items := make([]item, len(keep))
	for i, o := range keep {
		items[i] = item{o.cursor(), func() *obj { return orderObject(o) }}
	}
	return page("Order", items, args)
}

func matches(o *order, query string) (bool, error) {
	for _, t := range term.FindAllStringSubmatch(query, -1) {
		want := strings.Trim(t[3], `'"`)
		switch t[1] {
		case "updated_at", "created_at":
			at := o.updated
			if t[1] == "created_at" {
				at, _ = time.Parse(time.RFC3339, text(o.doc["created_at"]))
			}
			w, err := time.Parse(time.RFC3339, want)
			if err != nil {
				return false, fmt.Errorf("the simulator reads times in RFC 3339, not %q", want)
			}
			c := at.Compare(w)
			if ok := map[string]bool{">=": c >= 0, "<=": c <= 0, ">": c > 0, "<": c < 0, "": c == 0}[t[2]]; !ok {
				return false, nil
			}
		case "name":
			if strings.TrimPrefix(text(o.doc["name"]), "#") != strings.TrimPrefix(want, "#") {
				return false, nil
			}
		default:
			return false, fmt.Errorf("the simulator does not search by %s", t[1])
		}
	}
	return true, nil
}

func orderObject(o *order) *obj {
	d := o.doc
	return &obj{"Order", map[string]any{
		"id": o.gid, "legacyResourceId": o.number(), "name": d["name"],
		"createdAt": utc(d["created_at"]), "processedAt": utc(or(d["processed_at"], d["created_at"])), "updatedAt": o.updated.Format(time.RFC3339),
		"cancelledAt": utc(d["cancelled_at"]), "closedAt": utc(d["closed_at"]),
		"currencyCode": d["currency"], "presentmentCurrencyCode": or(d["presentment_currency"], d["currency"]),
		"taxesIncluded": d["taxes_included"] == true, "dutiesIncluded": d["duties_included"] == true, "test": d["test"] == true,
		"displayFinancialStatus":   orNull(strings.ToUpper(text(d["financial_status"]))),
		"displayFulfillmentStatus": o.status(),
		"email":                    d["email"], "phone": d["phone"], "note": d["note"],
		"customer":        customerObject(object(d["customer"])),
		"shippingAddress": addressObject(object(d["shipping_address"])), "billingAddress": addressObject(object(d["billing_address"])),
		"subtotalPriceSet": set(d, "subtotal_price"), "totalDiscountsSet": set(d, "total_discounts"),
		"totalShippingPriceSet": set(d, "total_shipping_price"), "originalTotalDutiesSet": set(d, "original_total_duties"),
		"originalTotalAdditionalFeesSet": set(d, "original_total_additional_fees"), "totalTaxSet": set(d, "total_tax"),
		"totalPriceSet": set(d, "total_price"), "currentTotalPriceSet": set(d, "current_total_price"),
		"totalTipReceivedSet": or(set(d, "total_tip_received"), zero(d)),
		"totalCashRoundingAdjustment": &obj{"CashRoundingAdjustment", map[string]any{
			"paymentSet": or(set(d, "total_cash_rounding_payment_adjustment"), zero(d)),
			"refundSet":  or(set(d, "total_cash_rounding_refund_adjustment"), zero(d)),
		}},
		"shippingLines": resolver(func(args map[string]any) (any, error) {
			var items []item
			for i, m := range objects(d["shipping_lines"]) {
				if m["is_removed"] == true && args["includeRemovals"] != true {
					continue
				}
				items = append(items, item{strconv.Itoa(i), func() *obj { return deliveryObject(m, d) }})
			}
			return page("ShippingLine", items, args)
		}),
		"lineItems": resolver(func(args map[string]any) (any, error) {
			items := make([]item, len(o.lines))
			for i, l := range o.lines {
				items[i] = item{"line-" + strconv.Itoa(i), func() *obj { return lineObject(l, d) }}
			}
			return page("LineItem", items, args)
		}),
		"fulfillmentOrders": resolver(func(args map[string]any) (any, error) {
			items := make([]item, len(o.fulfillmentOrders))
			for i, fo := range o.fulfillmentOrders {
				items[i] = item{fo.gid, func() *obj { return fulfillmentOrderObject(fo) }}
			}
			return page("FulfillmentOrder", items, args)
		}),
		"fulfillments": resolver(func(args map[string]any) (any, error) {
			out := []any{}
			n, sized := pageSize(args)
			for _, f := range o.fulfillments {
				if sized && int64(len(out)) >= n {
					break
				}
				if f.hidden != nil && f.hidden() {
					continue
				}
				out = append(out, fulfillmentObject(f))
			}
			return out, nil
		}),
	}}
}

func or(v, otherwise any) any {
	if v == nil || v == "" {
		return otherwise
	}
	if o, ok := v.(*obj); ok && o == nil {
		return otherwise
	}
	return v
}

// utc is a DateTime as GraphQL writes it.
func utc(v any) any {
	t, err := time.Parse(time.RFC3339, text(v))
	if err != nil {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// set is the money bag of key: "key_set", or "key" in the shop's currency.
// Without a set the presentment side repeats the number: the amounts that the
// REST form states once are zero, or the payload has one currency.
func set(d map[string]any, key string) any {
	if d[key] == nil || object(d[key+"_set"]) != nil {
		return setIn(d, key, d["currency"])
	}
	return bagOf(d, d[key])
}

func bagOf(d map[string]any, amount any) any {
	return moneyBag(map[string]any{
		"shop_money":        map[string]any{"amount": amount, "currency_code": d["currency"]},
		"presentment_money": map[string]any{"amount": amount, "currency_code": or(d["presentment_currency"], d["currency"])},
	})
}

func setIn(d map[string]any, key string, currency any) any {
	if m := object(d[key+"_set"]); m != nil {
		return moneyBag(m)
	}
	if d[key] == nil {
		return nil
	}
	m := map[string]any{"amount": d[key], "currency_code": currency}
	return moneyBag(map[string]any{"shop_money": m, "presentment_money": m})
}

func zero(d map[string]any) any { return bagOf(d, "0.0") }

func moneyBag(m map[string]any) any {
	side := func(key string) *obj {
		x := object(m[key])
		return &obj{"MoneyV2", map[string]any{"amount": text(x["amount"]), "currencyCode": x["currency_code"]}}
	}
	return &obj{"MoneyBag", map[string]any{"shopMoney": side("shop_money"), "presentmentMoney": side("presentment_money")}}
}

func taxObjects(d map[string]any, currency any) []any {
	out := []any{}
	for _, t := range objects(d["tax_lines"]) {
		out = append(out, &obj{"TaxLine", map[string]any{"title": t["title"], "rate": t["rate"], "priceSet": setIn(t, "price", currency)}})
	}
	return out
}

func allocationObjects(d map[string]any, currency any) []any {
	out := []any{}
	for _, a := range objects(d["discount_allocations"]) {
		out = append(out, &obj{"DiscountAllocation", map[string]any{"allocatedAmountSet": setIn(a, "amount", currency)}})
	}
	return out
}

func lineObject(l *line, order map[string]any) *obj {
	d, c := l.doc, order["currency"]
	duties := []any{}
	for _, x := range objects(d["duties"]) {
		price := setIn(x, "price", c)
		if price == nil {
			price = moneyBag(x)
		}
		duties = append(duties, &obj{"Duty", map[string]any{"price": price, "taxLines": taxObjects(x, c)}})
	}
	f := map[string]any{
		"id": l.gid, "sku": orNull(text(d["sku"])), "title": d["title"], "name": d["name"],
		"quantity": d["quantity"], "currentQuantity": or(d["current_quantity"], d["quantity"]),
		"unfulfilledQuantity": or(d["fulfillable_quantity"], d["quantity"]),
		"requiresShipping":    d["requires_shipping"] != false, "isGiftCard": d["gift_card"] == true,
		"product": nil, "originalUnitPriceSet": setIn(d, "price", c),
		"discountAllocations": allocationObjects(d, c), "taxLines": taxObjects(d, c), "duties": duties,
	}
	if id := text(d["product_id"]); id != "" {
		f["product"] = &obj{"Product", map[string]any{"id": "gid://shopify/Product/" + id}}
	}
	return &obj{"LineItem", f}
}

func deliveryObject(d, order map[string]any) *obj {
	c := order["currency"]
	price := setIn(d, "price", c)
	return &obj{"ShippingLine", map[string]any{
		"id": orNull(text(d["id"])), "title": d["title"], "code": d["code"], "source": d["source"], "isRemoved": d["is_removed"] == true,
		"originalPriceSet": price, "discountedPriceSet": or(setIn(d, "discounted_price", c), price),
		"discountAllocations": allocationObjects(d, c), "taxLines": taxObjects(d, c),
	}}
}

func customerObject(d map[string]any) any {
	id := gidOf(d, "Customer")
	if id == "" {
		return nil
	}
	f := map[string]any{"id": id, "firstName": d["first_name"], "lastName": d["last_name"], "defaultEmailAddress": nil, "defaultPhoneNumber": nil}
	if e := text(d["email"]); e != "" {
		f["defaultEmailAddress"] = &obj{"CustomerEmailAddress", map[string]any{"emailAddress": e}}
	}
	if p := text(d["phone"]); p != "" {
		f["defaultPhoneNumber"] = &obj{"CustomerPhoneNumber", map[string]any{"phoneNumber": p}}
	}
	return &obj{"Customer", f}
}

func addressObject(d map[string]any) any {
	if d == nil {
		return nil
	}
	return &obj{"MailingAddress", map[string]any{
		"name": d["name"], "firstName": d["first_name"], "lastName": d["last_name"], "company": d["company"],
		"address1": d["address1"], "address2": d["address2"], "city": d["city"], "province": d["province"], "provinceCode": d["province_code"],
		"zip": d["zip"], "country": d["country"], "countryCodeV2": d["country_code"], "phone": d["phone"],
	}}
}

func fulfillmentOrderObject(fo *fulfillmentOrder) *obj {
	return &obj{"FulfillmentOrder", map[string]any{
		"id": fo.gid, "status": fo.status, "orderId": fo.order.gid, "orderName": fo.order.doc["name"],
		"lineItems": resolver(func(args map[string]any) (any, error) {
			items := make([]item, len(fo.lines))
			for i, l := range fo.lines {
				items[i] = item{l.gid, func() *obj {
					return &obj{"FulfillmentOrderLineItem", map[string]any{
						"id": l.gid, "sku": orNull(text(l.line.doc["sku"])), "remainingQuantity": l.remaining, "totalQuantity": l.total,
						"lineItem": lineObject(l.line, fo.order.doc),
					}}
				}}
			}
			return page("FulfillmentOrderLineItem", items, args)
		}),
	}}
}

func fulfillmentObject(f *fulfillment) *obj {
	info := []any{}
	var total int64
	for _, t := range f.tracking {
		info = append(info, &obj{"FulfillmentTrackingInfo", map[string]any{"company": orNull(t.company), "number": orNull(t.number), "url": orNull(t.url)}})
	}
	for _, l := range f.lines {
		total += l.quantity
	}
	return &obj{"Fulfillment", map[string]any{
		"id": f.gid, "name": f.name, "status": "SUCCESS", "createdAt": f.created.UTC().Format(time.RFC3339),
		"trackingInfo": info, "totalQuantity": total,
		"fulfillmentLineItems": resolver(func(args map[string]any) (any, error) {
			items := make([]item, len(f.lines))
			for i, l := range f.lines {
				items[i] = item{l.gid, func() *obj {
					return &obj{"FulfillmentLineItem", map[string]any{"id": l.gid, "quantity": l.quantity, "lineItem": lineObject(l.line, f.order.doc)}}
				}}
			}
			return page("FulfillmentLineItem", items, args)
		}),
	}}
}
