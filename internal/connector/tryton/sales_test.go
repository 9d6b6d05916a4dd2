//go:build unix

package tryton_test

import (
	"fmt"
	"testing"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

func taxed(l retail.OrderLine, tax string) retail.OrderLine {
	l.Taxes = []retail.TaxLine{{Title: "State tax", Rate: "0.0825", Amount: amount(tax, l.UnitPrice.Currency)}}
	return l
}

func discounted(l retail.OrderLine, off ...string) retail.OrderLine {
	for _, d := range off {
		l.Discounts = append(l.Discounts, amount(d, l.UnitPrice.Currency))
	}
	return l
}

func TestTheSalesTotalIsTheOrdersToTheCent(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		for _, tc := range []struct {
			name  string
			order retail.Order
			want  string
		}{
			{"one article", retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 1)}}, "24.00"},
			{"several of a price with cents", retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 7)}}, "125.65"},
			{"tax on top", retail.Order{Lines: []retail.OrderLine{taxed(item("MUG-STONE", "17.95", 3), "4.44")}}, "58.29"},
			{"tax contained", retail.Order{TaxIncluded: true, Lines: []retail.OrderLine{taxed(item("MUG-STONE", "17.95", 3), "8.60")}}, "53.85"},
			{"a discount on each line", retail.Order{Lines: []retail.OrderLine{
				discounted(item("MUG-STONE", "17.95", 3), "1.80", "0.01"), discounted(item("TEE-BLK-M", "24.00", 1), "3.33"),
			}}, "72.71"},
			{"everything at once", retail.Order{
				Lines: []retail.OrderLine{
					discounted(taxed(item("MUG-STONE", "17.95", 3), "4.11"), "4.01"), taxed(item("TEE-BLK-M", "24.00", 2), "3.96"),
				},
				Shipping: []retail.ShippingLine{{Title: "Express", Price: usd("9.99"), Discounts: []retail.Money{usd("2.00")}, Taxes: []retail.TaxLine{{Amount: usd("0.66")}}}},
				Totals:   retail.Totals{Tip: usd("5.00"), Fees: usd("1.25"), Rounding: usd("-0.02")},
			}, "120.79"},
			{"duties", retail.Order{Lines: []retail.OrderLine{func() retail.OrderLine {
				l := item("TEE-BLK-M", "24.00", 2)
				l.Duties = []retail.Money{usd("3.10"), usd("0.07")}
				return l
			}()}}, "51.17"},
			{"a unit price finer than Tryton keeps", retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "0.033335", 3333)}}, "111.11"},
			{"half a cent, which Tryton rounds to even and the channel up", retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "0.125", 1), item("MUG-STONE", "0.125", 5)}}, "0.76"},
			{"a free order", retail.Order{Lines: []retail.OrderLine{discounted(item("MUG-STONE", "17.95", 2), "35.90")}}, "0.00"},
			{"an article for nothing", retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "0.00", 2)}}, "0.00"},
			{"a gift card beside an article", retail.Order{Lines: []retail.OrderLine{
				item("MUG-STONE", "17.95", 1),
				{SKU: "GIFT-50", Title: "Gift card", GiftCard: true, UnitPrice: price("50.00", "USD"), Quantities: retail.Quantities{Ordered: 1, Unallocated: 1}},
			}}, "67.95"},
			{"a line of which some are canceled", retail.Order{Lines: []retail.OrderLine{func() retail.OrderLine {
				l := item("MUG-STONE", "17.95", 3)
				l.Quantities = retail.Quantities{Ordered: 3, Unallocated: 1, Canceled: 2}
				return l
			}()}}, "53.85"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				o := order(t, tc.order)
				so := confirmed(t, c, o)
				got, err := c.SalesOrderTotal(t.Context(), so)
				if err != nil || got != o.Totals.Total || got.String() != tc.want {
					t.Fatalf("total %s (%v), want %s", got, err, tc.want)
				}
				if _, err := c.PostInvoice(t.Context(), permit, so); err != nil {
					t.Fatal(err)
				}
				sales, err := c.Sales(t.Context(), o.ID)
				if err != nil || len(sales) != 1 || len(sales[0].Invoices) != 1 || sales[0].Invoices[0].Total != o.Totals.Total {
					t.Errorf("the invoice differs: %+v (%v)", sales, err)
				}
			})
		}
	})
}

func TestAnUnknownSKUIsNamedWithItsLineAndNothingIsWritten(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1), item("NOT-IN-RANGE", "7.77", 2)}})
		_, err := c.CreateSalesOrder(t.Context(), permit, o, effect.Receipt{Ref: "1"}, effect.Receipt{Ref: "1"}, effect.Receipt{Ref: "1"})
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "lines[1].sku", Value: "NOT-IN-RANGE"})
		if sales, err := c.Sales(t.Context(), o.ID); err != nil || len(sales) != 0 {
			t.Errorf("sales: %+v (%v)", sales, err)
		}
	})
}

func TestASaleIsFoundByTheOrdersIDOnceItExists(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		if _, found, err := c.FindSalesOrder(t.Context(), o); err != nil || found {
			t.Fatalf("before: %t (%v)", found, err)
		}
		so := draft(t, c, o)
		if got, found, err := c.FindSalesOrder(t.Context(), o); err != nil || !found || got.Ref != so.Ref {
			t.Errorf("after: %+v, %t (%v), want %+v", got, found, err, so)
		}
		other := o
		other.ID = newID()
		if _, found, err := c.FindSalesOrder(t.Context(), other); err != nil || found {
			t.Errorf("another order of the same number: %t (%v)", found, err)
		}
	})
}

func TestTwoSalesOfOneOrderAreReported(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		draft(t, c, o)
		customer, address := customerOf(t, c, o)
		if _, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.FindSalesOrder(t.Context(), o)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Duplicate, Field: "description", Value: "waybill:" + o.ID})
	})
}

func TestConfirmingLeadsToProcessingAndIsNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		so := draft(t, c, order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}}))
		if _, done, err := c.SalesOrderConfirmed(t.Context(), so); err != nil || done {
			t.Fatalf("before: %t (%v)", done, err)
		}
		made, err := c.ConfirmSalesOrder(t.Context(), permit, so)
		if err != nil || made.Ref != so.Ref || made.Number == "" {
			t.Fatalf("%+v (%v)", made, err)
		}
		if got, done, err := c.SalesOrderConfirmed(t.Context(), so); err != nil || !done || got.Number != made.Number {
			t.Errorf("after: %+v, %t (%v)", got, done, err)
		}
		if again, err := c.ConfirmSalesOrder(t.Context(), permit, so); err != nil || again.Number != made.Number {
			t.Errorf("again: %+v (%v)", again, err)
		}
		if n := p.calls("model.sale.sale.confirm"); n != 1 {
			t.Errorf("confirmed %d times", n)
		}
	})
}

func TestAConfirmationThatBreaksOffIsContinued(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		for lost := 1; lost <= 2; lost++ {
			so := draft(t, c, order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}}))
			p.set(func(p *proxy) { p.writes, p.loseAfter = 0, lost })
			_, err := c.ConfirmSalesOrder(t.Context(), permit, so)
			p.set(func(p *proxy) { p.loseAfter = 0 })
			if f := fault.Of(err); f == nil || !f.Unknown {
				t.Fatalf("losing answer %d gives %v, want an unknown outcome", lost, err)
			}
			if r, err := c.ConfirmSalesOrder(t.Context(), permit, so); err != nil || r.Number == "" {
				t.Errorf("after answer %d was lost: %+v (%v)", lost, r, err)
			}
		}
	})
}

func TestARefusalOfTrytonsProvesThatNothingWasWritten(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		none := effect.Receipt{Ref: "99999999"}
		_, err := c.CreateSalesOrder(t.Context(), permit, o, none, none, none)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Validation})
		if sales, err := c.Sales(t.Context(), o.ID); err != nil || len(sales) != 0 {
			t.Errorf("sales: %+v (%v)", sales, err)
		}
	})
}

// long is an order of n articles, each of its own SKU.
func long(t *testing.T, n int) retail.Order {
	t.Helper()
	lines := make([]retail.OrderLine, n)
	for i := range lines {
		lines[i] = taxed(discounted(item(fmt.Sprintf("LONG-%d", i), "1.11", 2), "0.07"), "0.18")
	}
	return order(t, retail.Order{Lines: lines})
}

func TestALongOrderIsKeptInSeveralCallsAndFoundOnlyOnceItIsComplete(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		o := long(t, 620)
		customer, address := customerOf(t, c, o)
		p.set(func(p *proxy) { p.writes, p.loseAfter = 0, 1 })
		if _, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address); fault.Of(err) == nil || !fault.Of(err).Unknown {
			t.Fatalf("losing the first answer gives %v, want an unknown outcome", err)
		}
		if _, found, err := c.FindSalesOrder(t.Context(), o); err != nil || found {
			t.Fatalf("half an order is found: %t (%v)", found, err)
		}
		p.set(func(p *proxy) { p.loseAfter = 0; p.methods = nil })
		so, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address)
		if err != nil {
			t.Fatal(err)
		}
		if n := p.calls("model.sale.sale.write"); n != 1 {
			t.Errorf("%d calls added lines, want 1", n)
		}
		if n := p.calls("model.product.product.search_read"); n != 0 {
			t.Errorf("%d calls read products again", n)
		}
		if got, found, err := c.FindSalesOrder(t.Context(), o); err != nil || !found || got.Ref != so.Ref {
			t.Errorf("found: %+v, %t (%v)", got, found, err)
		}
		if m, err := c.SalesOrderTotal(t.Context(), so); err != nil || m != o.Totals.Total {
			t.Errorf("total %s (%v), want %s", m, err, o.Totals.Total)
		}
		wantSale(t, c, o) // what was left of the first attempt is gone
	})
}

func TestLinesOfOneArticleAtOnePriceAreOneLine(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		lines := make([]retail.OrderLine, 2000)
		for i := range lines {
			lines[i] = taxed(item(seeded[i%3].SKU, "17.95", 1), "1.48")
		}
		o := order(t, retail.Order{Lines: lines})
		so := confirmed(t, c, o)
		if n := p.calls("model.sale.sale.write"); n != 0 {
			t.Errorf("%d calls added lines, want none", n)
		}
		if m, err := c.SalesOrderTotal(t.Context(), so); err != nil || m != o.Totals.Total {
			t.Errorf("total %s (%v), want %s", m, err, o.Totals.Total)
		}
	})
}

func decimal(s string) map[string]string {
	return map[string]string{"__class__": "Decimal", "decimal": s}
}

func addCurrency(t *testing.T, srs *series, code string, digits int, rounding string) {
	t.Helper()
	srs.administer(t, "model.currency.currency.create", nil, []any{map[string]any{
		"name": code, "code": code, "digits": digits, "rounding": decimal(rounding),
		"rates": []any{[]any{"create", []any{map[string]any{
			"rate": decimal("1.5"), "date": map[string]any{"__class__": "date", "year": 2000, "month": 1, "day": 1},
		}}}},
	}}, map[string]any{})
}

func TestCurrenciesOfOtherThanTwoDigitsKeepTheirTotals(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		for _, tc := range []struct {
			currency                           retail.Currency
			digits                             int
			rounding, unit, off, tax, shipping string
		}{
			{"JPY", 0, "1", "1980", "100", "564", "700"},
			{"BHD", 3, "0.001", "1.980", "0.101", "0.564", "0.700"},
		} {
			t.Run(string(tc.currency), func(t *testing.T) {
				addCurrency(t, srs, string(tc.currency), tc.digits, tc.rounding)
				c := srs.connect(t, func(v map[string]any) { v["currency"] = tc.currency })
				l := item("MUG-STONE", "1", 3)
				l.UnitPrice = price(tc.unit, tc.currency)
				o := order(t, retail.Order{
					Currency: tc.currency, Lines: []retail.OrderLine{taxed(discounted(l, tc.off), tc.tax)},
					Shipping: []retail.ShippingLine{{Price: amount(tc.shipping, tc.currency)}},
				})
				so := confirmed(t, c, o)
				if got, err := c.SalesOrderTotal(t.Context(), so); err != nil || got != o.Totals.Total {
					t.Errorf("total %+v (%v), want %+v", got, err, o.Totals.Total)
				}
				if _, err := c.PostInvoice(t.Context(), permit, so); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestACurrencyThatTrytonRoundsToCashIsRefused(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		addCurrency(t, srs, "CHF", 2, "0.05")
		c := srs.connect(t, func(v map[string]any) { v["currency"] = "CHF" })
		_, err := c.Stock(t.Context())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "currency", Value: "CHF"})
	})
}
