package tryton

import (
	"context"
	"fmt"
	"math/big"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// priceDigits are the decimals of a unit price in Tryton, unless its
// configuration says otherwise ([product] price_decimal).
const priceDigits = 4

// saleLine is a line of a sale. Tryton's amount of it is quantity × unit price,
// rounded half to even.
type saleLine struct {
	Sequence    int       `json:"sequence"`
	Type        string    `json:"type"`
	Product     int64     `json:"product"`
	Unit        int64     `json:"unit"`
	Quantity    int64     `json:"quantity"`
	UnitPrice   decimal   `json:"unit_price"`
	Description string    `json:"description,omitempty"`
	Taxes       []command `json:"taxes,omitempty"`

	price retail.Price
}

// bill collects the lines of one sale.
type bill struct {
	c     *Connector
	r     *records
	lines []saleLine
	// same finds the line of an article that the next one can be added to.
	same map[article]int
	want int64 // what the order's own lines add up to
	err  error
}

// article is what order lines must have in common to be one line of the sale.
type article struct {
	product     int64
	price       retail.Price
	description string
}

// saleLines are the lines whose total is the order's: articles at their full
// price, and one line on a service product for each kind of charge or
// deduction. Order lines of one article at one price are one line: Tryton
// takes some 70 ms a line to confirm, ship and invoice.
func (c *Connector) saleLines(ctx context.Context, r *records, o retail.Order) ([]saleLine, error) {
	articles, err := c.articles(ctx, r, o)
	if err != nil {
		return nil, err
	}
	b := &bill{c: c, r: r, same: map[article]int{}}
	codes := c.settings.Products
	var discounts, duties int64
	for i, l := range o.Lines {
		b.article(l, articles[i])
		for _, d := range l.Discounts {
			discounts += d.Amount
		}
		for _, d := range l.Duties {
			duties += d.Amount
		}
	}
	rounding := b.want - b.total()
	b.charge(codes.Discount, -discounts, "")
	for _, s := range o.Shipping {
		net := s.Price.Amount
		for _, d := range s.Discounts {
			net -= d.Amount
		}
		b.charge(codes.Shipping, net, s.Title)
	}
	b.charge(codes.Duties, duties, "")
	b.charge(codes.Fees, o.Totals.Fees.Amount, "")
	b.charge(codes.Tip, o.Totals.Tip.Amount, "")
	b.tax(o.Totals.Tax.Amount, o.TaxIncluded)
	b.charge(codes.Rounding, o.Totals.Rounding.Amount+rounding, "")
	got := b.total()
	if b.err != nil {
		return nil, b.err
	}
	if got != o.Totals.Total.Amount {
		return nil, fault.New(fault.Exception, fault.TotalsDiffer, "the order's parts add up to %s", retail.Money{Amount: got, Currency: o.Currency}).At("total", o.Totals.Total.String())
	}
	return b.lines, nil
}

// articles are the products of the lines, in their order; that of a line
// without a parcel is the zero product.
func (c *Connector) articles(ctx context.Context, r *records, o retail.Order) ([]product, error) {
	known := map[string]product{}
	var missing []string
	for _, sku := range skus(o) {
		if p, ok := recall(c, &c.kept.products, sku, r); ok && notAnArticle([]product{p}) == "" {
			known[sku] = p
		} else {
			missing = append(missing, sku)
		}
	}
	found := map[string][]product{}
	if len(missing) > 0 {
		var err error
		if found, err = c.products(ctx, r, missing); err != nil {
			return nil, err
		}
	}
	out := make([]product, len(o.Lines))
	for i, l := range o.Lines {
		if shipped(l) == 0 {
			continue
		}
		p, ok := known[l.SKU]
		if !ok {
			if wrong := notAnArticle(found[l.SKU]); wrong != "" {
				return nil, fault.New(fault.Exception, fault.Mapping, "%s", wrong).At(fmt.Sprintf("lines[%d].sku", i), l.SKU)
			}
			p = found[l.SKU][0]
			known[l.SKU] = p
			remember(c, &c.kept.products, l.SKU, p, r)
		}
		out[i] = p
	}
	return out, nil
}

// skus are the different SKUs that parcels of the order will carry.
func skus(o retail.Order) []string {
	seen := map[string]bool{}
	var out []string
	for _, l := range o.Lines {
		if shipped(l) > 0 && !seen[l.SKU] {
			seen[l.SKU] = true
			out = append(out, l.SKU)
		}
	}
	return out
}

// shipped is the quantity of a line that a parcel will carry.
func shipped(l retail.OrderLine) int64 {
	if !l.RequiresShipping {
		return 0
	}
	return l.Quantities.Open()
}

// article adds a line of the order. What no parcel will carry goes on a
// service product: Tryton would wait for ever to ship it.
func (b *bill) article(l retail.OrderLine, p product) {
	want, err := l.UnitPrice.Times(l.Quantities.Ordered)
	if err != nil {
		b.fail(fault.Wrap(fault.Permanent, fault.Validation, err, "multiplying the unit price").At("lines.unit_price", l.UnitPrice.String()))
		return
	}
	b.want += want.Amount
	price, n := storable(l.UnitPrice), shipped(l)
	b.merge(p, n, price, l.Title)
	b.merge(b.r.services[b.c.settings.Products.Unshipped], l.Quantities.Ordered-n, price, label(l.Title, l.SKU))
}

func (b *bill) merge(p product, n int64, price retail.Price, description string) {
	if n <= 0 {
		return
	}
	key := article{p.ID, price, description}
	if at, ok := b.same[key]; ok {
		b.lines[at].Quantity += n
		return
	}
	b.same[key] = len(b.lines)
	b.add(p, n, price, description)
}

// charge adds one unit of a service product, or nothing for zero.
func (b *bill) charge(code string, amount int64, description string) {
	if amount != 0 {
		b.add(b.r.services[code], 1, retail.PriceOf(retail.Money{Amount: amount, Currency: b.c.currency}), description)
	}
}

// tax books the exact tax that the channel collected. An invoice line can only
// go to an account of the income statement, so the tax product's amount is
// taken back at once and stays as its 100 % tax, which goes to what is owed.
func (b *bill) tax(amount int64, included bool) {
	if amount == 0 {
		return
	}
	codes := b.c.settings.Products
	b.charge(codes.Tax, amount, "")
	b.lines[len(b.lines)-1].Taxes = []command{{"add", b.r.services[codes.Tax].taxes()}}
	b.charge(codes.TaxBase, -amount, "")
	if included {
		b.charge(codes.TaxIncluded, -amount, "")
	}
}

func (b *bill) add(p product, n int64, price retail.Price, description string) {
	b.lines = append(b.lines, saleLine{
		Sequence: len(b.lines) + 1, Type: "line", Product: p.ID, Unit: p.Unit,
		Quantity: n, UnitPrice: decimal(price.String()), Description: description, price: price,
	})
}

// total is what Tryton will make of the lines so far, in minor units.
func (b *bill) total() int64 {
	sum := new(big.Int)
	for _, l := range b.lines {
		amount := lineAmount(l.price, l.Quantity)
		sum.Add(sum, amount)
		if len(l.Taxes) > 0 {
			sum.Add(sum, amount)
		}
	}
	if !sum.IsInt64() {
		b.fail(fault.New(fault.Permanent, fault.Validation, "the lines' amounts are beyond what is kept").At("lines", ""))
	}
	return sum.Int64()
}

func (b *bill) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// storable rounds a unit price to the decimals that Tryton keeps; what that
// changes goes to the rounding product.
func storable(p retail.Price) retail.Price {
	if p.FractionDigits <= priceDigits {
		return p
	}
	n := halfEven(big.NewInt(p.Amount), p.FractionDigits-priceDigits)
	return retail.Price{Amount: n.Int64(), FractionDigits: priceDigits, Currency: p.Currency}
}

// lineAmount is what Tryton makes of a line, in minor units.
func lineAmount(p retail.Price, quantity int64) *big.Int {
	n := new(big.Int).Mul(big.NewInt(p.Amount), big.NewInt(quantity))
	switch drop := p.FractionDigits - p.Currency.Exponent(); {
	case drop > 0:
		return halfEven(n, drop)
	case drop < 0:
		return n.Mul(n, pow10(-drop))
	default:
		return n
	}
}

// halfEven drops decimal digits, rounding half to even as Tryton does.
func halfEven(n *big.Int, digits int) *big.Int {
	div := pow10(digits)
	q, m := new(big.Int).DivMod(n, div, new(big.Int)) // m ≥ 0, so q is the floor
	switch m.Lsh(m, 1).Cmp(div) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, big.NewInt(int64(q.Bit(0))))
	}
	return q
}

func pow10(digits int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
}

func label(title, sku string) string {
	if sku == "" {
		return title
	}
	return title + " [" + sku + "]"
}
