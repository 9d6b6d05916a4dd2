package retail

import "fmt"

// CertificateRow compares one component of a document's money: what its lines
// add up to against what its totals declare.
type CertificateRow struct {
	Component  string `json:"component"`
	Computed   Money  `json:"computed"`
	Declared   Money  `json:"declared"`
	Difference int64  `json:"difference_minor"`
}

// Certificate is a document's arithmetic. It holds when every row's
// difference is zero; there is no tolerance and nothing is adjusted.
type Certificate struct {
	Currency Currency         `json:"currency"`
	Holds    bool             `json:"holds"`
	Rows     []CertificateRow `json:"rows"`
}

// Imbalance is the first row of a certificate that does not hold.
type Imbalance struct{ Row CertificateRow }

func (e *Imbalance) Error() string {
	return fmt.Sprintf("%s: the document declares %s %s, its parts add up to %s (difference %s)",
		e.Row.Component, e.Row.Declared, e.Row.Declared.Currency, e.Row.Computed,
		Money{e.Row.Difference, e.Row.Declared.Currency})
}

// Certify recomputes the order's totals from its lines. The error is an
// *Imbalance where a component differs, and an arithmetic error where amounts
// mix currencies or overflow.
func Certify(o Order) (Certificate, error) {
	c := Certificate{Currency: o.Currency, Holds: true}
	acc := sum{currency: o.Currency}
	lines, discounts, shipping, duties, tax := acc, acc, acc, acc, acc
	for _, l := range o.Lines {
		m, err := l.UnitPrice.Times(l.Quantities.Ordered)
		if err != nil {
			return c, fmt.Errorf("line %s: %w", l.ID, err)
		}
		lines.add(m)
		discounts.add(l.Discounts...)
		duties.add(l.Duties...)
		for _, t := range l.Taxes {
			tax.add(t.Amount)
		}
	}
	for _, s := range o.Shipping {
		shipping.add(s.Price)
		for _, d := range s.Discounts {
			shipping.add(d.Neg())
		}
		for _, t := range s.Taxes {
			tax.add(t.Amount)
		}
	}
	t := o.Totals
	total := acc
	total.add(lines.money(), discounts.money().Neg(), shipping.money(), duties.money(), t.Fees, t.Tip, t.Rounding)
	if !o.TaxIncluded {
		total.add(tax.money())
	}
	for _, s := range []*sum{&lines, &discounts, &shipping, &duties, &tax, &total} {
		if s.err != nil {
			return c, s.err
		}
	}
	c.Rows = []CertificateRow{
		compare("lines", lines.money(), t.Lines),
		compare("discounts", discounts.money(), t.Discounts),
		compare("shipping", shipping.money(), t.Shipping),
		compare("duties", duties.money(), t.Duties),
		compare("tax", tax.money(), t.Tax),
		compare("total", total.money(), t.Total),
	}
	return c, c.settle()
}

// CertifyTarget compares what a target system stored with what it was sent.
func CertifyTarget(system string, sent, stored Money) (Certificate, error) {
	c := Certificate{Currency: sent.Currency, Holds: true, Rows: []CertificateRow{compare(system+" total", stored, sent)}}
	return c, c.settle()
}

func compare(name string, computed, declared Money) CertificateRow {
	r := CertificateRow{Component: name, Computed: computed, Declared: declared, Difference: computed.Amount - declared.Amount}
	return r
}

func (c *Certificate) settle() error {
	for _, r := range c.Rows {
		if r.Difference != 0 || r.Computed.Currency != r.Declared.Currency {
			c.Holds = false
			return &Imbalance{r}
		}
	}
	return nil
}

// sum adds amounts of one currency and keeps the first error.
type sum struct {
	currency Currency
	total    int64
	err      error
}

func (s *sum) money() Money { return Money{s.total, s.currency} }

func (s *sum) add(ms ...Money) {
	for _, m := range ms {
		if m.Currency == "" && m.Amount == 0 {
			continue
		}
		t, err := s.money().Add(m)
		if err != nil {
			if s.err == nil {
				s.err = err
			}
			return
		}
		s.total = t.Amount
	}
}
