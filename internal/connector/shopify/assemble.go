package shopify

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// tally adds amounts of one currency and keeps the first failure.
type tally struct {
	currency retail.Currency
	digits   int // of the currency
	err      error
}

func (t *tally) sum(ms ...retail.Money) retail.Money {
	total := retail.Money{Currency: t.currency}
	for _, m := range ms {
		if m.Currency == "" && m.Amount == 0 {
			continue
		}
		n, err := total.Add(m)
		if err != nil {
			if t.err == nil {
				t.err = fault.Wrap(fault.Permanent, fault.Validation, err, "adding the order's amounts")
			}
			return total
		}
		total = n
	}
	return total
}

func (t *tally) product(p retail.Price, quantity int64) retail.Money {
	// The usual line needs no rounding and no more than 64 bits.
	if p.Currency == t.currency && p.FractionDigits == t.digits && p.Amount >= 0 && p.Amount <= math.MaxInt32 && quantity >= 0 && quantity <= math.MaxInt32 {
		return retail.Money{Amount: p.Amount * quantity, Currency: p.Currency}
	}
	m, err := p.Times(quantity)
	if err != nil && t.err == nil {
		t.err = fault.Wrap(fault.Permanent, fault.Validation, err, "multiplying a line")
	}
	return m
}

// price is the unit price that equals an amount in the order's currency.
func (t *tally) price(a amount) retail.Price {
	return retail.Price{Amount: a.Amount, FractionDigits: t.digits, Currency: t.currency}
}

// assemble derives the canonical order from what the source states.
func assemble(s source) (retail.Order, error) {
	t := &tally{currency: s.currency, digits: s.currency.Exponent()}
	tips, goods := splitTips(s, t)
	if err := lineFaults(goods); err != nil {
		return retail.Order{}, err
	}
	if err := settleDeliveries(&s, t); err != nil {
		return retail.Order{}, err
	}
	o := s.canonical()
	o.Lines = make([]retail.OrderLine, 0, len(goods))
	for i, l := range goods {
		o.Lines = append(o.Lines, retail.OrderLine{
			ID: strconv.Itoa(i + 1), ExternalID: l.id, SKU: l.sku, Title: l.title,
			UnitPrice: t.price(l.price), Discounts: l.discounts, Taxes: l.taxes, Duties: l.duties,
			RequiresShipping: l.requiresShipping, GiftCard: l.giftCard,
			Quantities: retail.Quantities{Ordered: l.quantity, Unallocated: l.open, Shipped: l.current - l.open, Canceled: l.quantity - l.current},
		})
	}
	if s.dutiesIncluded {
		dropIncludedDuties(&o, &s)
	}
	a := newAccount(&s, &o, t)
	a.measure()
	a.spread()
	a.declare(tips)
	if t.err != nil {
		return o, t.err
	}
	a.settleRounding()
	a.presentment(tips)
	return o, t.err
}

// splitTips takes tips out of the merchandise. Shopify may state a tip both in
// total_tip_received and as a line item without a product; counted as goods it
// would be asked of a warehouse, and counted twice the total would not hold.
// Where the vendor's mark is absent, lines that look like tips are taken for
// tips only if they add up to the declared tip exactly.
func splitTips(s source, t *tally) (tips, goods []sourceLine) {
	var maybe []retail.Money
	for _, l := range s.lines {
		if l.maybeTip && !l.markedTip {
			maybe = append(maybe, t.product(t.price(l.price), l.quantity))
		}
	}
	unmarked := s.tip.shop.Amount > 0 && t.sum(maybe...).Amount == s.tip.shop.Amount
	if len(maybe) == 0 && !slices.ContainsFunc(s.lines, func(l sourceLine) bool { return l.markedTip }) {
		return nil, s.lines
	}
	for _, l := range s.lines {
		if l.markedTip || (l.maybeTip && unmarked) {
			tips = append(tips, l)
		} else {
			goods = append(goods, l)
		}
	}
	return tips, goods
}

// settleDeliveries gives a shipping line without discount allocations the
// difference between its price and its discounted price as a discount.
func settleDeliveries(s *source, t *tally) error {
	for i := range s.deliveries {
		d := &s.deliveries[i]
		if len(d.discounts) > 0 || !d.discounted.shop.set {
			continue
		}
		off := bag{shop: d.price.shop, presentment: d.price.presentment}
		off.shop.Money = t.sum(d.price.shop.Money, d.discounted.shop.Neg())
		if off.shop.Amount < 0 {
			return fault.New(fault.Exception, fault.Validation, "the discounted price is above the price").At(d.discounted.shop.from.path(), d.discounted.shop.String())
		}
		if d.discounted.presentment.set && d.price.presentment.set {
			p := &tally{currency: s.presentment}
			off.presentment.Money = p.sum(d.price.presentment.Money, d.discounted.presentment.Neg())
		}
		if off.shop.Amount > 0 {
			d.discounts = []bag{off}
		}
	}
	return t.err
}

// dropIncludedDuties keeps duties that the prices contain out of the sum.
func dropIncludedDuties(o *retail.Order, s *source) {
	for i := range o.Lines {
		o.Lines[i].Duties = nil
	}
	if s.duties.shop.set && !s.duties.shop.IsZero() {
		o.Notes = append(o.Notes, fmt.Sprintf("prices contain duties of %s %s", s.duties.shop, s.currency))
	}
	s.duties = bag{}
}

// account holds the sums of an order while its totals are declared.
type account struct {
	s *source
	o *retail.Order
	t *tally

	nets                                []int64 // per line, price × quantity − discounts
	lines, lineDiscounts, net           retail.Money
	gross, shipDiscounts, taxes, duties retail.Money
	shipDiscountsPresentment            retail.Money
	declaredDiscounts                   retail.Money // on lines only
}

func newAccount(s *source, o *retail.Order, t *tally) *account {
	zero := t.sum()
	return &account{
		s: s, o: o, t: t, lines: zero, lineDiscounts: zero, net: zero, gross: zero,
		shipDiscounts: zero, taxes: zero, duties: zero, declaredDiscounts: zero,
	}
}

func (a *account) measure() {
	t := a.t
	a.nets = make([]int64, 0, len(a.o.Lines))
	for _, l := range a.o.Lines {
		m := t.product(l.UnitPrice, l.Quantities.Ordered)
		d := t.sum(l.Discounts...)
		a.lines = t.sum(a.lines, m)
		a.lineDiscounts = t.sum(a.lineDiscounts, d)
		a.nets = append(a.nets, max(t.sum(m, d.Neg()).Amount, 0))
		a.duties = t.sum(a.duties, t.sum(l.Duties...))
		for _, x := range l.Taxes {
			a.taxes = t.sum(a.taxes, x.Amount)
		}
	}
	a.net = t.sum(a.lines, a.lineDiscounts.Neg())
	p := &tally{currency: a.s.presentment}
	for i, l := range a.o.Shipping {
		a.gross = t.sum(a.gross, l.Price)
		a.shipDiscounts = t.sum(a.shipDiscounts, t.sum(l.Discounts...))
		for _, x := range l.Taxes {
			a.taxes = t.sum(a.taxes, x.Amount)
		}
		for _, d := range a.s.deliveries[i].discounts {
			a.shipDiscountsPresentment = p.sum(a.shipDiscountsPresentment, d.presentment.Money)
		}
	}
	// total_discounts covers lines, the order and shipping alike.
	a.declaredDiscounts = a.lineDiscounts
	if a.s.discounts.shop.set {
		a.declaredDiscounts = t.sum(a.s.discounts.shop.Money, a.shipDiscounts.Neg())
	}
}

// spread gives the lines a discount that the subtotal shows and no line
// carries. It does so only where the declared discounts tell the same amount;
// otherwise the document contradicts itself and the certificate shows it.
func (a *account) spread() {
	if !a.s.subtotal.shop.set || len(a.o.Lines) == 0 {
		return
	}
	rest := a.t.sum(a.net, a.s.subtotal.shop.Neg())
	if rest.Amount <= 0 || a.t.err != nil {
		return
	}
	if a.s.discounts.shop.set && a.t.sum(a.lineDiscounts, rest) != a.declaredDiscounts {
		return
	}
	for i, part := range retail.Allocate(rest.Amount, a.nets) {
		if part != 0 {
			l := &a.o.Lines[i]
			l.Discounts = append(l.Discounts, retail.Money{Amount: part, Currency: a.s.currency})
		}
	}
	a.lineDiscounts = a.t.sum(a.lineDiscounts, rest)
	if !a.s.discounts.shop.set {
		a.declaredDiscounts = a.lineDiscounts
	}
	a.o.Notes = append(a.o.Notes, fmt.Sprintf("an order discount of %s %s that no line carries was spread over the lines by their net amounts", rest, a.s.currency))
}

// declare fills the totals with what the document declares, and with the
// computed sum only where it declares nothing.
func (a *account) declare(tips []sourceLine) {
	s, t := a.s, a.t
	tot := retail.Totals{
		Discounts: a.declaredDiscounts,
		Duties:    or(s.duties.shop, a.duties),
		Fees:      or(s.fees.shop, t.sum()),
		Tip:       or(s.tip.shop, t.sum()),
		Tax:       or(s.tax.shop, a.taxes),
		Rounding:  or(s.rounding.shop, t.sum()),
		Total:     s.total.shop.Money,
	}
	switch {
	case s.declaredLines.shop.set:
		tot.Lines = s.declaredLines.shop.Money
	case s.subtotal.shop.set && s.discounts.shop.set:
		// The GraphQL form has no total of lines: the subtotal is that total
		// less the discounts on lines.
		tot.Lines = t.sum(s.subtotal.shop.Money, a.declaredDiscounts)
	default:
		tot.Lines = a.lines
	}
	if len(tips) > 0 {
		var inLines retail.Money
		for _, l := range tips {
			inLines = t.sum(inLines, t.product(t.price(l.price), l.quantity))
		}
		if !s.tip.shop.set || s.tip.shop.IsZero() {
			tot.Tip = inLines
		}
		if !inLines.IsZero() && tot.Lines == t.sum(a.lines, inLines) {
			tot.Lines = a.lines
		}
		a.o.Notes = append(a.o.Notes, fmt.Sprintf("a tip of %s %s that was listed as a line is not merchandise", inLines, s.currency))
	}
	net := t.sum(a.gross, a.shipDiscounts.Neg())
	tot.Shipping = net
	if s.shipping.shop.set && s.shipping.shop.Money != net {
		// The total is documented as before discounts; shops are also seen to
		// declare the discounted amount, which is then the net one already.
		tot.Shipping = t.sum(s.shipping.shop.Money, a.shipDiscounts.Neg())
	}
	a.o.Totals = tot
}

func or(declared amount, computed retail.Money) retail.Money {
	if declared.set {
		return declared.Money
	}
	return computed
}

// settleRounding decides where a cash rounding belongs. The vendor applies it
// to the payment ("the rounding adjustment that can be applied to
// totalReceived"), so a total that holds without it does not contain it.
func (a *account) settleRounding() {
	r := a.o.Totals.Rounding
	if r.IsZero() {
		return
	}
	without := *a.o
	without.Totals.Rounding = retail.Money{Currency: a.s.currency}
	if _, err := retail.Certify(without); err == nil {
		a.o.Totals = without.Totals
		a.o.Notes = append(a.o.Notes, fmt.Sprintf("a cash rounding of %s %s belongs to the payment, not to the total", r, a.s.currency))
	}
}

// presentment repeats the declared totals in the shopper's currency.
func (a *account) presentment(tips []sourceLine) {
	s := a.s
	if s.presentment == "" || s.presentment == s.currency || !s.total.presentment.set {
		return
	}
	t := &tally{currency: s.presentment}
	off := a.shipDiscountsPresentment.Neg()
	p := retail.Totals{
		Discounts: t.sum(s.discounts.presentment.Money, off),
		Shipping:  t.sum(s.shipping.presentment.Money, off),
		Duties:    t.sum(s.duties.presentment.Money), Fees: t.sum(s.fees.presentment.Money),
		Tip: t.sum(s.tip.presentment.Money), Tax: t.sum(s.tax.presentment.Money),
		Total: s.total.presentment.Money,
	}
	if s.shipping.shop.set && a.shipDiscounts.Amount != 0 && s.shipping.shop.Money == a.o.Totals.Shipping {
		p.Shipping = t.sum(s.shipping.presentment.Money)
	}
	p.Rounding = t.sum()
	if !a.o.Totals.Rounding.IsZero() {
		p.Rounding = t.sum(s.rounding.presentment.Money)
	}
	switch {
	case s.subtotal.presentment.set:
		p.Lines = t.sum(s.subtotal.presentment.Money, p.Discounts)
	default:
		p.Lines = t.sum(s.declaredLines.presentment.Money)
		if len(tips) > 0 && s.declaredLines.shop.Money != a.o.Totals.Lines {
			p.Lines = t.sum(p.Lines, p.Tip.Neg())
		}
	}
	if !a.o.Totals.Tip.IsZero() && !s.tip.presentment.set {
		// The REST form states the tip in the shop's currency only; it is what
		// the other declared amounts leave of the total.
		rest := t.sum(p.Total, p.Lines.Neg(), p.Discounts, p.Shipping.Neg(), p.Duties.Neg(), p.Fees.Neg(), p.Rounding.Neg())
		if !s.taxIncluded {
			rest = t.sum(rest, p.Tax.Neg())
		}
		p.Tip = rest
	}
	if t.err != nil {
		a.t.err = t.err
		return
	}
	if why := a.disagrees(p, t); why != "" {
		a.o.Notes = append(a.o.Notes, "the totals that the shopper saw are left out: "+why)
		return
	}
	a.o.Presentment = &p
}

// disagrees tells what is wrong with the totals in the shopper's currency. Lines
// and tip are made of the other amounts, so that a sum alone would prove little.
func (a *account) disagrees(p retail.Totals, t *tally) string {
	s := a.s
	for _, part := range []struct {
		what string
		bag  bag
	}{{"discounts", s.discounts}, {"shipping", s.shipping}, {"duties", s.duties}, {"fees", s.fees}, {"tax", s.tax}} {
		if part.bag.shop.set && !part.bag.shop.IsZero() && !part.bag.presentment.set {
			return fmt.Sprintf("%s are not told in %s", part.what, s.presentment)
		}
	}
	for _, part := range []struct {
		what   string
		amount retail.Money
	}{{"lines", p.Lines}, {"discounts", p.Discounts}, {"shipping", p.Shipping}, {"tip", p.Tip}} {
		if part.amount.Amount < 0 {
			return fmt.Sprintf("%s would be %s %s", part.what, part.amount, s.presentment)
		}
	}
	if lines := s.declaredLines.presentment; lines.set && lines.Money != p.Lines && lines.Money != t.sum(p.Lines, p.Tip) {
		return fmt.Sprintf("lines are declared as %s %s, and the other amounts leave %s", lines, s.presentment, p.Lines)
	}
	if s.taxIncluded && p.Tax.Amount > p.Total.Amount {
		return fmt.Sprintf("%s %s of tax cannot be included in %s", p.Tax, s.presentment, p.Total)
	}
	sum := t.sum(p.Lines, p.Discounts.Neg(), p.Shipping, p.Duties, p.Fees, p.Tip, p.Rounding)
	if !s.taxIncluded {
		sum = t.sum(sum, p.Tax)
	}
	if sum != p.Total || t.err != nil {
		return fmt.Sprintf("%s %s is declared, and the parts add up to %s", p.Total, s.presentment, sum)
	}
	return ""
}
