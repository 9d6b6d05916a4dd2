package shopifytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Placement is the body of POST /_control/orders: lines by SKU, or a complete
// vendor order. An order by SKU is deterministic in its number; orders vary in
// customer, discount, shipping and the tax on it.
type Placement struct {
	SKUs []PlacedSKU `json:"skus"`
	// Email replaces the rotating customer's.
	Email string `json:"email"`
	// LineCount repeats the SKUs (the catalogue, if none are named) over so
	// many lines.
	LineCount int `json:"line_count"`
	// Plain leaves out the varying discounts.
	Plain bool `json:"plain"`
	// FulfillmentOrders splits the lines over so many; 1.
	FulfillmentOrders int `json:"fulfillment_orders"`
	// At is when it was placed; now, if zero.
	At time.Time `json:"at"`
	// DropWebhook sends none; Duplicate sends so many further copies.
	DropWebhook bool `json:"drop_webhook"`
	Duplicate   int  `json:"duplicate"`
	// Payload is an order as a webhook carries it, sent byte for byte.
	Payload json.RawMessage `json:"payload"`
}

// PlacedSKU is one line. A SKU outside the catalogue costs 10.00 unless Price
// says otherwise.
type PlacedSKU struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Price    string `json:"price"`
}

// Placed is the answer to a placement.
type Placed struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Total string `json:"total"`
}

// Place places an order and delivers orders/create as Options say.
func (s *Server) Place(p Placement) (Placed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := []byte(p.Payload)
	if len(raw) == 0 {
		doc, err := s.build(p)
		if err != nil {
			return Placed{}, err
		}
		if raw, err = json.Marshal(doc); err != nil {
			return Placed{}, err
		}
	}
	o, err := s.adopt(raw, max(p.FulfillmentOrders, 1))
	if err != nil {
		return Placed{}, err
	}
	if !p.DropWebhook {
		s.announce("orders/create", o, raw, p.Duplicate)
	}
	return Placed{o.number(), text(o.doc["name"]), text(o.doc["total_price"])}, nil
}

type placedLine struct {
	product   Product
	quantity  int64
	unit, off int64
}

// build makes a REST order: the shape of orders_2026-07.schema.json.
func (s *Server) build(p Placement) (map[string]any, error) {
	lines, err := s.price(p)
	if err != nil {
		return nil, err
	}
	n := s.nextNumber
	s.nextNumber++
	b := &builder{s: s, n: n, lines: lines, plain: p.Plain, digits: digitsOf(s.opts.Currency), now: s.opts.Now().UTC().Truncate(time.Second)}
	if !p.At.IsZero() {
		b.now = p.At.UTC().Truncate(time.Second)
	}
	b.discount()
	return b.order(p.Email)
}

func (s *Server) price(p Placement) ([]placedLine, error) {
	skus := p.SKUs
	if len(skus) == 0 && p.LineCount > 0 {
		for _, c := range s.opts.Catalogue {
			skus = append(skus, PlacedSKU{SKU: c.SKU, Quantity: 1})
		}
	}
	if len(skus) == 0 {
		return nil, errors.New("name skus, a line_count or a payload")
	}
	count := max(p.LineCount, len(skus))
	lines := make([]placedLine, 0, count)
	for i := range count {
		want := skus[i%len(skus)]
		pr := Product{SKU: want.SKU, Title: "Item " + want.SKU, Price: "10.00", Grams: 100, TaxRate: "0.0825"}
		for _, c := range s.opts.Catalogue {
			if c.SKU == want.SKU {
				pr = c
			}
		}
		if want.Price != "" {
			pr.Price = want.Price
		}
		unit, err := parseAmount(pr.Price, digitsOf(s.opts.Currency))
		if err != nil {
			return nil, fmt.Errorf("pricing %s: %w", want.SKU, err)
		}
		lines = append(lines, placedLine{product: pr, quantity: max(want.Quantity, 1), unit: unit})
	}
	return lines, nil
}

type builder struct {
	s      *Server
	n      int
	lines  []placedLine
	plain  bool
	digits int
	now    time.Time

	application map[string]any
	code        string
	offTotal    int64
}

// discount varies with the order's number: none, ten per cent by code over all
// lines, or a fixed amount off the first line.
func (b *builder) discount() {
	if b.plain {
		return
	}
	switch b.n % 3 {
	case 1:
		b.code = "WELCOME10"
		b.application = map[string]any{"target_type": "line_item", "type": "discount_code", "value": "10.0", "value_type": "percentage",
			"allocation_method": "across", "target_selection": "all", "code": b.code}
		var net int64
		for _, l := range b.lines {
			net += l.unit * l.quantity
		}
		b.across((net + 5) / 10)
	case 2:
		off := min(pow10(b.digits)*3+1, b.lines[0].unit*b.lines[0].quantity)
		b.application = map[string]any{"target_type": "line_item", "type": "automatic", "value": b.amount(off), "value_type": "fixed_amount",
			"allocation_method": "each", "target_selection": "entitled", "title": "Launch week"}
		b.lines[0].off = off
		b.offTotal = off
	}
}

// across gives each line its part of a discount by cumulative rounding, so
// that the parts sum to the whole.
func (b *builder) across(off int64) {
	var net, done, given int64
	for _, l := range b.lines {
		net += l.unit * l.quantity
	}
	if net == 0 {
		return
	}
	for i := range b.lines {
		l := &b.lines[i]
		done += l.unit * l.quantity
		upTo := divide(new(big.Int).Mul(big.NewInt(off), big.NewInt(done)), big.NewInt(net))
		l.off = upTo - given
		given = upTo
	}
	b.offTotal = off
}

// divide rounds half up; both must be positive.
func divide(a, c *big.Int) int64 {
	twice := new(big.Int).Add(new(big.Int).Lsh(a, 1), c)
	return twice.Quo(twice, new(big.Int).Lsh(c, 1)).Int64()
}

// taxOn is net × rate, rounded half up to the minor unit.
func taxOn(net int64, rate string) int64 {
	r, ok := new(big.Rat).SetString(rate)
	if !ok || net <= 0 {
		return 0
	}
	return divide(new(big.Int).Mul(big.NewInt(net), r.Num()), r.Denom())
}

func (b *builder) amount(n int64) string { return formatAmount(n, b.digits) }

func (b *builder) set(n int64) map[string]any {
	m := func() map[string]any {
		return map[string]any{"amount": b.amount(n), "currency_code": b.s.opts.Currency}
	}
	return map[string]any{"shop_money": m(), "presentment_money": m()}
}

func (b *builder) both(doc map[string]any, key string, n int64) {
	doc[key], doc[key+"_set"] = b.amount(n), b.set(n)
}

func (b *builder) taxLine(n int64, rate string) map[string]any {
	return map[string]any{"channel_liable": false, "price": b.amount(n), "price_set": b.set(n), "rate": json.Number(rate), "title": "Sales tax"}
}

func number(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

// lineItems renders the lines and returns their gross, tax and weight.
func (b *builder) lineItems() (items []any, gross, tax, grams int64) {
	for _, l := range b.lines {
		id := b.s.id()
		m := map[string]any{
			"id": number(id), "admin_graphql_api_id": gid("LineItem", id), "attributed_staffs": []any{},
			"current_quantity": l.quantity, "fulfillable_quantity": l.quantity, "quantity": l.quantity,
			"fulfillment_service": "manual", "fulfillment_status": nil, "gift_card": false, "grams": l.product.Grams,
			"name": l.product.Title, "title": l.product.Title, "product_exists": true, "product_id": number(b.s.id()),
			"properties": []any{}, "requires_shipping": true, "sales_line_item_group_id": nil, "sku": l.product.SKU, "taxable": true,
			"variant_id": number(b.s.id()), "variant_inventory_management": "shopify", "variant_title": nil, "vendor": b.s.opts.Shop,
			"tax_lines": []any{}, "duties": []any{}, "discount_allocations": []any{},
		}
		b.both(m, "price", l.unit)
		b.both(m, "total_discount", 0)
		if l.off > 0 {
			m["discount_allocations"] = []any{map[string]any{"amount": b.amount(l.off), "amount_set": b.set(l.off), "discount_application_index": 0}}
		}
		t := taxOn(l.unit*l.quantity-l.off, l.product.TaxRate)
		m["tax_lines"] = []any{b.taxLine(t, l.product.TaxRate)}
		items = append(items, m)
		gross += l.unit * l.quantity
		tax += t
		grams += l.product.Grams * l.quantity
	}
	return items, gross, tax, grams
}

// shipping varies with the order's number: standard, express with tax, or
// standard made free by an automatic discount.
func (b *builder) shipping() (line map[string]any, price, off, tax int64) {
	title, code := "Standard", "STD"
	price = pow10(b.digits) * 595 / 100
	line = map[string]any{"tax_lines": []any{}, "discount_allocations": []any{}}
	switch {
	case b.n%4 == 1:
		title, code, price = "Express", "EXP", pow10(b.digits)*1250/100
		tax = taxOn(price, "0.0825")
		line["tax_lines"] = []any{b.taxLine(tax, "0.0825")}
	case b.n%4 == 3 && !b.plain:
		// The published schema knows no allocations on shipping: the
		// discounted price alone tells of the discount, as in the sample.
		off = price
	}
	for k, v := range map[string]any{
		"id": number(b.s.id()), "carrier_identifier": nil, "code": code, "title": title, "is_removed": false, "phone": nil,
		"requested_fulfillment_service_id": nil, "source": "shopify", "current_discounted_price_set": b.set(price - off),
	} {
		line[k] = v
	}
	b.both(line, "price", price)
	b.both(line, "discounted_price", price-off)
	return line, price, off, tax
}

func (b *builder) order(email string) (map[string]any, error) {
	id := b.s.id()
	items, gross, tax, grams := b.lineItems()
	ship, price, off, shipTax := b.shipping()
	c := customers[b.n%len(customers)]
	if email == "" {
		email = c.email
	}
	subtotal := gross - b.offTotal
	total := subtotal + price - off + tax + shipTax
	at := b.now.Format(time.RFC3339)
	doc := map[string]any{
		"id": number(id), "admin_graphql_api_id": gid("Order", id), "app_id": nil, "browser_ip": nil, "buyer_accepts_marketing": false,
		"cancel_reason": nil, "cancelled_at": nil, "cart_token": nil, "checkout_token": nil, "client_details": nil, "closed_at": nil,
		"confirmation_number": nil, "confirmed": true, "contact_email": email, "created_at": at, "processed_at": at, "updated_at": at,
		"currency": b.s.opts.Currency, "presentment_currency": b.s.opts.Currency, "customer_locale": "en", "device_id": nil,
		"current_total_additional_fees_set": nil, "current_total_duties_set": nil, "original_total_additional_fees_set": nil, "original_total_duties_set": nil,
		"discount_codes": []any{}, "discount_applications": []any{}, "duties_included": false, "email": email, "estimated_taxes": false,
		"financial_status": "paid", "fulfillment_status": nil, "landing_site": nil, "landing_site_ref": nil, "location_id": nil,
		"merchant_business_entity_id": "MTU0ODM4MDAwOQ", "merchant_of_record_app_id": nil,
		"name": "#" + strconv.Itoa(b.n), "note": nil, "note_attributes": []any{}, "number": b.n - 1000, "order_number": b.n,
		"order_status_url":      "https://" + b.s.opts.Shop + "/orders/" + strconv.FormatInt(id, 36),
		"payment_gateway_names": []any{"bogus"}, "payment_terms": nil, "phone": nil, "po_number": nil, "reference": nil, "referring_site": nil,
		"source_identifier": nil, "source_name": "web", "source_url": nil, "tags": "", "tax_exempt": false, "taxes_included": false, "test": false,
		"token": strconv.FormatInt(id, 36), "total_outstanding": b.amount(0), "total_tip_received": b.amount(0), "total_weight": grams, "user_id": nil,
		"total_cash_rounding_payment_adjustment_set": b.set(0), "total_cash_rounding_refund_adjustment_set": b.set(0),
		"total_shipping_price_set": b.set(price), "current_shipping_price_set": b.set(price - off),
		"tax_lines": []any{b.taxLine(tax+shipTax, "0.0825")}, "fulfillments": []any{}, "refunds": []any{}, "returns": []any{}, "line_item_groups": []any{},
		"line_items": items, "shipping_lines": []any{ship},
		"shipping_address": c.address(), "billing_address": c.address(), "customer": c.customer(b, email),
	}
	for key, n := range map[string]int64{
		"total_line_items_price": gross, "subtotal_price": subtotal, "current_subtotal_price": subtotal,
		"total_discounts": b.offTotal + off, "current_total_discounts": b.offTotal + off,
		"total_tax": tax + shipTax, "current_total_tax": tax + shipTax, "total_price": total, "current_total_price": total,
	} {
		b.both(doc, key, n)
	}
	if b.application != nil {
		doc["discount_applications"] = []any{b.application}
	}
	if b.code != "" {
		doc["discount_codes"] = []any{map[string]any{"code": b.code, "amount": b.amount(b.offTotal), "type": "percentage"}}
	}
	if off > 0 {
		free := map[string]any{"target_type": "shipping_line", "type": "automatic", "value": "100.0", "value_type": "percentage",
			"allocation_method": "each", "target_selection": "all", "title": "Free delivery"}
		doc["discount_applications"] = append(doc["discount_applications"].([]any), free)
	}
	return doc, nil
}

// digitsOf is the number of minor-unit digits of a currency (ISO 4217).
func digitsOf(currency string) int {
	switch currency {
	case "JPY", "KRW", "CLP", "ISK", "VND":
		return 0
	case "KWD", "BHD", "JOD", "OMR", "TND":
		return 3
	}
	return 2
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

func parseAmount(s string, digits int) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	frac = strings.TrimRight(frac, "0")
	if len(frac) > digits {
		return 0, fmt.Errorf("%q has more than %d decimals", s, digits)
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", digits-len(frac)), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not an amount", s)
	}
	return n, nil
}

func formatAmount(n int64, digits int) string {
	s := fmt.Sprintf("%0*d", digits+1, n)
	if digits == 0 {
		return s
	}
	return s[:len(s)-digits] + "." + s[len(s)-digits:]
}

func gid(kind string, id int64) string {
	return "gid://shopify/" + kind + "/" + strconv.FormatInt(id, 10)
}
