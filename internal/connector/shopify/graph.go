package shopify

import (
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// readGraph reads the order as ListOrders and FetchOrder give it: the fields
// of fragment Whole, with every line in lineItems.nodes.
func readGraph(doc node) source {
	var s source
	identify(&s, required(doc.get("id")).gid("Order"), doc.get("name").text())
	s.currency = required(doc.get("currencyCode")).currency()
	s.presentment = doc.get("presentmentCurrencyCode").currency()
	s.updated = required(doc.get("updatedAt")).time()
	if s.placed = doc.get("processedAt").time(); s.placed.IsZero() {
		s.placed = required(doc.get("createdAt")).time()
	}
	if t := doc.get("cancelledAt").time(); !t.IsZero() {
		s.cancelled = &t
	}
	s.taxIncluded = doc.get("taxesIncluded").flag(false)
	s.dutiesIncluded = doc.get("dutiesIncluded").flag(false)
	s.test = doc.get("test").flag(false)
	s.financial = strings.ToLower(doc.get("displayFinancialStatus").text())
	for _, key := range []string{"lineItems", "shippingLines"} {
		if doc.follow(key, "pageInfo", "hasNextPage").flag(false) {
			doc.r.fail(fault.New(fault.Permanent, fault.Validation, "the list is not complete").At(key, ""))
		}
	}
	items := doc.get("lineItems")
	if !items.has("edges") {
		required(items.get("nodes"))
	}
	lines := nodes(items)
	s.lines = make([]sourceLine, 0, len(lines))
	for _, n := range lines {
		s.lines = append(s.lines, graphLine(n, s.currency))
	}
	for _, n := range nodes(doc.get("shippingLines")) {
		if !n.get("isRemoved").flag(false) {
			s.deliveries = append(s.deliveries, graphDelivery(n, &s))
		}
	}
	s.subtotal = s.graph(doc.get("subtotalPriceSet"))
	s.discounts = s.graph(doc.get("totalDiscountsSet"))
	s.shipping = s.graph(doc.get("totalShippingPriceSet"))
	s.duties = s.graph(doc.get("originalTotalDutiesSet"))
	s.fees = s.graph(doc.get("originalTotalAdditionalFeesSet"))
	s.tip = s.graph(doc.get("totalTipReceivedSet"))
	s.tax = s.graph(doc.get("totalTaxSet"))
	doc.r.signed = true
	s.rounding = s.graph(doc.follow("totalCashRoundingAdjustment", "paymentSet"))
	doc.r.signed = false
	s.total = s.graph(required(doc.get("totalPriceSet")))
	graphPerson(doc, &s)
	return s
}

// nodes are those of a connection, which a query may also have asked for by
// their edges.
func nodes(n node) []node {
	if !n.has("edges") {
		return slices.Collect(n.get("nodes").each)
	}
	edges := n.get("edges")
	out := make([]node, 0, edges.length())
	for e := range edges.each {
		out = append(out, required(e.get("node")))
	}
	return out
}

func (s *source) graph(n node) bag {
	b := bag{shop: n.get("shopMoney").side("currencyCode", s.currency)}
	if s.presentment != "" {
		b.presentment = n.get("presentmentMoney").side("currencyCode", s.presentment)
	}
	return b
}

func graphShop(n node, c retail.Currency) amount {
	return required(n.get("shopMoney")).side("currencyCode", c)
}

func graphLine(n node, c retail.Currency) sourceLine {
	l := sourceLine{
		node: n,
		id:   required(n.get("id")).gid("LineItem"), sku: strings.TrimSpace(n.get("sku").text()), title: n.get("title").text(),
		price:            graphShop(n.get("originalUnitPriceSet"), c),
		quantity:         n.get("quantity").count(),
		requiresShipping: n.get("requiresShipping").flag(true),
		giftCard:         n.get("isGiftCard").flag(false),
		taxes:            graphTaxes(n, c),
	}
	l.current = l.quantity
	if !n.get("currentQuantity").missing() {
		l.current = n.get("currentQuantity").count()
	}
	l.open = l.current
	if open := n.get("unfulfilledQuantity"); !open.missing() {
		l.open = min(open.count(), l.current)
	}
	for a := range n.get("discountAllocations").each {
		l.discounts = appendNonZero(l.discounts, graphShop(a.get("allocatedAmountSet"), c))
	}
	for d := range n.get("duties").each {
		l.duties = appendNonZero(l.duties, graphShop(d.get("price"), c))
		l.taxes = append(l.taxes, graphTaxes(d, c)...)
	}
	l.maybeTip = l.sku == "" && n.get("product").missing() && !l.requiresShipping && !l.giftCard && len(l.taxes) == 0
	return l
}

func graphTaxes(n node, c retail.Currency) []retail.TaxLine {
	var out []retail.TaxLine
	for t := range n.get("taxLines").each {
		out = append(out, retail.TaxLine{Title: t.get("title").text(), Rate: rate(t.get("rate")), Amount: graphShop(t.get("priceSet"), c).Money})
	}
	return out
}

func graphDelivery(n node, s *source) sourceDelivery {
	d := sourceDelivery{title: n.get("title").text(), code: n.get("code").text(), taxes: graphTaxes(n, s.currency)}
	d.price, d.discounted = s.graph(required(n.get("originalPriceSet"))), s.graph(n.get("discountedPriceSet"))
	for a := range n.get("discountAllocations").each {
		d.discounts = append(d.discounts, s.graph(a.get("allocatedAmountSet")))
	}
	return d
}

func graphPerson(doc node, s *source) {
	customer := doc.get("customer")
	s.customer = customer.get("id").gid("Customer")
	s.person = retail.Person{
		Name:  fullName(customer.get("firstName").loose(), customer.get("lastName").loose()),
		Email: first(doc.get("email").loose(), customer.follow("defaultEmailAddress", "emailAddress").loose()),
		Phone: first(doc.get("phone").loose(), customer.follow("defaultPhoneNumber", "phoneNumber").loose()),
	}
	s.addresses(graphAddress(doc.get("shippingAddress")), graphAddress(doc.get("billingAddress")))
	s.country = country(doc.follow("shippingAddress", "countryCodeV2"))
}

func graphAddress(n node) retail.Address {
	return retail.Address{
		Name:    first(n.get("name").loose(), fullName(n.get("firstName").loose(), n.get("lastName").loose())),
		Company: n.get("company").loose(), Line1: n.get("address1").loose(), Line2: n.get("address2").loose(),
		City: n.get("city").loose(), Region: n.get("provinceCode").loose(), PostalCode: n.get("zip").loose(),
		Country: n.get("countryCodeV2").loose(), Phone: n.get("phone").loose(),
	}
}

// addresses sets both, and the person's name where the customer has none.
func (s *source) addresses(shipping, billing retail.Address) {
	s.person.Shipping, s.person.Billing = shipping, billing
	s.person.Name = first(s.person.Name, shipping.Name, billing.Name)
}

// country is an ISO 3166-1 alpha-2 code, or empty where the order has none.
func country(n node) string {
	c := n.text()
	if c == "" {
		return ""
	}
	if len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
		n.r.fail(fault.New(fault.Exception, fault.Address, "is not an ISO 3166-1 country code").At(n.path(), reference(c)))
		return ""
	}
	return c
}

// rate is the tax rate's own digits; it takes no part in arithmetic.
func rate(n node) string {
	switch n.kind() {
	case null:
		return ""
	case number, str:
		return n.words()
	default:
		n.malformed("a number")
		return ""
	}
}

func fullName(given, family string) string {
	return strings.TrimSpace(given + " " + family)
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}
