package shopify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// readREST reads the webhook's form. Ids come from admin_graphql_api_id where
// it is there, because some producers round the numeric id through a float.
func readREST(doc node) source {
	var s source
	id := doc.get("admin_graphql_api_id").gid("Order")
	if id == "" && doc.get("admin_graphql_api_id").missing() {
		id = doc.get("id").id()
	}
	identify(&s, id, orderName(doc))
	if id == "" && doc.r.err == nil {
		doc.r.fail(fault.New(fault.Permanent, fault.Validation, "the order has no id").At("id", ""))
	}
	s.currency = required(doc.get("currency")).currency()
	s.presentment = doc.get("presentment_currency").currency()
	s.updated = required(doc.get("updated_at")).time()
	if s.placed = doc.get("processed_at").time(); s.placed.IsZero() {
		s.placed = required(doc.get("created_at")).time()
	}
	if t := doc.get("cancelled_at").time(); !t.IsZero() {
		s.cancelled = &t
	}
	s.taxIncluded = doc.get("taxes_included").flag(false)
	s.dutiesIncluded = doc.get("duties_included").flag(false)
	s.test = doc.get("test").flag(false)
	s.financial = strings.ToLower(doc.get("financial_status").text())
	s.unheard(doc.get("cancel_reason"), "customer", "declined", "fraud", "inventory", "other", "staff")
	s.unheard(doc.get("fulfillment_status"), "fulfilled", "partial", "restocked", "unfulfilled", "unshipped", "not_eligible")
	lines := required(doc.get("line_items"))
	s.lines = make([]sourceLine, 0, lines.length())
	for n := range lines.each {
		s.lines = append(s.lines, restLine(n, s.currency))
		s.unheard(n.get("fulfillment_status"), "fulfilled", "partial", "restocked", "unfulfilled", "not_eligible")
	}
	for n := range doc.get("shipping_lines").each {
		if !n.get("is_removed").flag(false) {
			s.deliveries = append(s.deliveries, restDelivery(n, &s))
		}
	}
	s.declaredLines = s.rest(doc, "total_line_items_price", "total_line_items_price_set")
	s.subtotal = s.rest(doc, "subtotal_price", "subtotal_price_set")
	s.discounts = s.rest(doc, "total_discounts", "total_discounts_set")
	s.shipping = s.rest(doc, "total_shipping_price", "total_shipping_price_set")
	s.duties = s.rest(doc, "original_total_duties", "original_total_duties_set")
	s.fees = s.rest(doc, "original_total_additional_fees", "original_total_additional_fees_set")
	s.tip = s.rest(doc, "total_tip_received", "total_tip_received_set")
	s.tax = s.rest(doc, "total_tax", "total_tax_set")
	doc.r.signed = true
	s.rounding = s.rest(doc, "total_cash_rounding_payment_adjustment", "total_cash_rounding_payment_adjustment_set")
	doc.r.signed = false
	s.total = s.rest(doc, "total_price", "total_price_set")
	if !s.total.shop.set {
		required(doc.get("total_price"))
	}
	restPerson(doc, &s)
	return s
}

// unheard notes a word that this version does not know, so that it is not lost.
func (s *source) unheard(n node, known ...string) {
	if w := n.text(); w != "" && !slices.Contains(known, strings.ToLower(w)) && reference(w) != "" {
		s.notes = append(s.notes, fmt.Sprintf("the shop states %s %q, which is not known here", n.path(), reference(w)))
	}
}

// orderName is what the shopper sees. Where it is not told, the shop's default
// form of it is made of the order's number.
func orderName(doc node) string {
	if name := doc.get("name").loose(); name != "" {
		return name
	}
	if number := doc.get("order_number").loose(); digits(number) {
		return "#" + number
	}
	return ""
}

// required reports a member that is missing or an empty text, and returns it.
func required(n node) node {
	switch {
	case n.missing():
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "is missing").At(n.path(), ""))
	case n.kind() == str && n.words() == "":
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "is empty").At(n.path(), ""))
	}
	return n
}

// rest reads an amount that stands as "key" in the shop's currency and as of,
// which is "key_set", in both.
func (s *source) rest(n node, key, of string) bag {
	set := n.get(of)
	b := bag{shop: n.get(key).money(s.currency)}
	switch shop := set.get("shop_money").side("currency_code", s.currency); {
	case !b.shop.set:
		b.shop = shop
	case shop.set && shop.Money != b.shop.Money:
		// The certificate holds the amount to the others; which of the two it is
		// matters to nobody else.
		s.notes = append(s.notes, fmt.Sprintf("the document contradicts itself: %s is %s %s, which counts, and %s is %s", b.shop.from.path(), b.shop, s.currency, shop.from.path(), shop))
	}
	if s.presentment != "" {
		b.presentment = set.get("presentment_money").side("currency_code", s.presentment)
	}
	return b
}

func restLine(n node, c retail.Currency) sourceLine {
	l := sourceLine{
		node: n,
		id:   n.get("admin_graphql_api_id").gid("LineItem"), sku: strings.TrimSpace(n.get("sku").loose()), title: n.get("title").loose(),
		price:            restAmount(n, "price", c),
		quantity:         n.get("quantity").count(),
		requiresShipping: n.get("requires_shipping").flag(true),
		giftCard:         n.get("gift_card").flag(false),
		taxes:            restTaxes(n, c),
	}
	if !l.price.set {
		required(n.get("price"))
	}
	if l.id == "" {
		if l.id = n.get("id").id(); l.id == "" {
			required(n.get("id"))
		}
	}
	l.current = l.quantity
	if !n.get("current_quantity").missing() {
		l.current = n.get("current_quantity").count()
	}
	l.open = l.current
	switch open := n.get("fulfillable_quantity"); {
	case !open.missing():
		l.open = min(open.count(), l.current)
	case strings.EqualFold(n.get("fulfillment_status").text(), "fulfilled"):
		l.open = 0
	}
	// An empty list says that nothing was discounted; an absent one says
	// nothing, and then the line's own total is all there is.
	if allocations := n.get("discount_allocations"); !allocations.missing() {
		for a := range allocations.each {
			l.discounts = appendNonZero(l.discounts, restAmount(a, "amount", c))
		}
	} else {
		l.discounts = appendNonZero(l.discounts, restAmount(n, "total_discount", c))
	}
	for d := range n.get("duties").each {
		l.duties = appendNonZero(l.duties, d.follow("shop_money").side("currency_code", c))
		if d.get("shop_money").missing() {
			l.duties = appendNonZero(l.duties, restAmount(d, "price", c))
		}
		l.taxes = append(l.taxes, restTaxes(d, c)...)
	}
	bare := l.sku == "" && n.get("product_id").missing()
	for _, mark := range []string{"tip_payment_gateway", "tip_payment_method", "tip"} {
		// A mark without a value is on tips, and on all lines of some producers.
		l.markedTip = l.markedTip || !n.get(mark).missing() || bare && n.has(mark)
	}
	l.maybeTip = bare && !l.requiresShipping && !l.giftCard && len(l.taxes) == 0
	return l
}

// restAmount reads "key" or, without it, the shop side of "key_set".
func restAmount(n node, key string, c retail.Currency) amount {
	if a := n.get(key); !a.missing() {
		return a.money(c)
	}
	return n.follow(key+"_set", "shop_money").side("currency_code", c)
}

func appendNonZero(ms []retail.Money, a amount) []retail.Money {
	if !a.set || a.IsZero() {
		return ms
	}
	return append(ms, a.Money)
}

func restTaxes(n node, c retail.Currency) []retail.TaxLine {
	var out []retail.TaxLine
	for t := range n.get("tax_lines").each {
		a := restAmount(t, "price", c)
		if !a.set {
			required(t.get("price"))
		}
		out = append(out, retail.TaxLine{Title: t.get("title").loose(), Rate: rate(t.get("rate")), Amount: a.Money})
	}
	return out
}

func restDelivery(n node, s *source) sourceDelivery {
	d := sourceDelivery{title: n.get("title").loose(), code: n.get("code").loose(), taxes: restTaxes(n, s.currency)}
	d.price, d.discounted = s.rest(n, "price", "price_set"), s.rest(n, "discounted_price", "discounted_price_set")
	if !d.price.shop.set {
		required(n.get("price"))
	}
	for a := range n.get("discount_allocations").each {
		d.discounts = append(d.discounts, s.rest(a, "amount", "amount_set"))
	}
	return d
}

func restPerson(doc node, s *source) {
	customer := doc.get("customer")
	s.customer = customer.get("admin_graphql_api_id").gid("Customer")
	if s.customer == "" {
		s.customer = customer.get("id").id()
	}
	s.person = retail.Person{
		Name:  fullName(customer.get("first_name").loose(), customer.get("last_name").loose()),
		Email: first(doc.get("email").loose(), doc.get("contact_email").loose(), customer.get("email").loose()),
		Phone: first(doc.get("phone").loose(), customer.get("phone").loose()),
	}
	s.addresses(restAddress(doc.get("shipping_address")), restAddress(doc.get("billing_address")))
	s.country = country(doc.follow("shipping_address", "country_code"))
}

func restAddress(n node) retail.Address {
	return retail.Address{
		Name:    first(n.get("name").loose(), fullName(n.get("first_name").loose(), n.get("last_name").loose())),
		Company: n.get("company").loose(), Line1: n.get("address1").loose(), Line2: n.get("address2").loose(),
		City: n.get("city").loose(), Region: n.get("province_code").loose(), PostalCode: n.get("zip").loose(),
		Country: n.get("country_code").loose(), Phone: n.get("phone").loose(),
	}
}
