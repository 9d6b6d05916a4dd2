package shopify

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// sourceVersion is fixed in width and always UTC, so that versions order as
// text. The vendor's times have whole seconds.
const sourceVersion = "2006-01-02T15:04:05.000Z"

// amount is a money value that the source may not have stated.
type amount struct {
	retail.Money
	set  bool
	from node
}

// bag is one amount in the order's currency and, where another was shown to
// the shopper, in that.
type bag struct{ shop, presentment amount }

// source is an order as either form of the vendor's document states it, before
// anything is derived.
type source struct {
	id, number, customer    string
	placed, updated         time.Time
	cancelled               *time.Time
	currency, presentment   retail.Currency
	taxIncluded             bool
	dutiesIncluded, test    bool
	financial, country      string
	lines                   []sourceLine
	deliveries              []sourceDelivery
	declaredLines, subtotal bag
	discounts, shipping     bag
	duties, fees, tip, tax  bag
	rounding, total         bag
	person                  retail.Person
	notes                   []string
}

type sourceLine struct {
	node                       node
	id, sku, title             string
	price                      amount
	quantity, current, open    int64
	discounts, duties          []retail.Money
	taxes                      []retail.TaxLine
	requiresShipping, giftCard bool
	// markedTip is the vendor's own mark of a tip; maybeTip is a line without
	// product, SKU, tax and shipping, as a tip looks where there is no mark.
	markedTip, maybeTip bool
}

type sourceDelivery struct {
	title, code       string
	price, discounted bag
	discounts         []bag
	taxes             []retail.TaxLine
}

// DecodeOrder reads an order from the body of an orders/* webhook (the REST
// form) or from the GraphQL order of ListOrders and FetchOrder; the same order
// gives the same result through both. Tenant, ID and Channel stay empty.
//
// Amounts are those at the time of the order, in the shop's currency, and
// Totals are what the document declares; retail.Certify says whether they
// agree. Quantities follow the vendor's definitions: quantity counts refunded
// and removed units, as total_price does, so it is Ordered and the certificate
// holds over it; the difference to current_quantity is in the Canceled bucket,
// what is not open to be fulfilled any more in Shipped, whoever shipped it, and
// the rest is Unallocated.
//
// On a fault the order still has ExternalID and Number where those could be
// read. Malformed documents are Permanent, content that a person must settle
// (a missing SKU, an unknown currency, excess digits) is an Exception; both
// name the field. Source of the rules: shared schema orders/create 2026-07 and
// the descriptions of Order, LineItem and ShippingLine in the GraphQL schema.
func (c *Connector) DecodeOrder(raw []byte) (retail.Order, retail.Person, error) {
	t, _ := trees.Get().(*tree)
	defer t.release()
	r := &reader{tree: t}
	shell := retail.Order{Schema: retail.SchemaVersion}
	doc, ok := parse(r, raw)
	if !ok {
		return shell, retail.Person{}, r.err
	}
	var s source
	if doc.has("lineItems") {
		s = readGraph(doc)
	} else {
		s = readREST(doc)
	}
	shell.ExternalID, shell.Number = s.id, s.number
	if r.err != nil {
		return shell, retail.Person{}, r.err
	}
	o, err := assemble(s)
	if err != nil {
		return shell, retail.Person{}, err
	}
	return o, s.person, nil
}

// identify reads what a parked shell needs, before anything can fail.
func identify(s *source, id, number string) {
	s.id, s.number = id, number
}

func (s *source) canonical() retail.Order {
	o := retail.Order{
		Schema: retail.SchemaVersion, ExternalID: s.id, Number: s.number,
		PlacedAt: s.placed, SourceUpdatedAt: s.updated, SourceVersion: s.updated.Format(sourceVersion),
		Currency: s.currency, TaxIncluded: s.taxIncluded, Test: s.test,
		FulfillmentPreference: "ship", FinancialStatus: s.financial, CustomerRef: s.customer,
		CanceledAt: s.cancelled, DestinationCountry: s.country, Notes: s.notes,
	}
	for _, d := range s.deliveries {
		o.Shipping = append(o.Shipping, d.canonical())
	}
	if len(o.Shipping) > 0 {
		o.ShippingMethod = o.Shipping[0].Title
	}
	return o
}

func (d sourceDelivery) canonical() retail.ShippingLine {
	l := retail.ShippingLine{Title: d.title, Code: d.code, Price: d.price.shop.Money, Taxes: d.taxes}
	for _, x := range d.discounts {
		if !x.shop.IsZero() {
			l.Discounts = append(l.Discounts, x.shop.Money)
		}
	}
	return l
}

// lineFaults checks what every line must have.
func lineFaults(lines []sourceLine) error {
	seen := make(map[string]bool, len(lines))
	for _, l := range lines {
		switch {
		case seen[l.id]:
			return fault.New(fault.Permanent, fault.Validation, "the line is listed twice").At(l.node.path(), l.id)
		case l.sku == "":
			return fault.New(fault.Exception, fault.Mapping, "the line has no SKU, so no stock can be found for it").At(join(l.node.path(), "sku"), "")
		case strings.ContainsRune(l.sku, utf8.RuneError):
			return fault.New(fault.Exception, fault.Mapping, "the SKU is not readable text, so another one could be taken for it").At(join(l.node.path(), "sku"), "")
		case l.current > l.quantity:
			return fault.New(fault.Permanent, fault.Validation, "more units remain than were ordered").At(l.node.path(), l.sku)
		}
		seen[l.id] = true
	}
	return nil
}
