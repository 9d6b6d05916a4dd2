package retail

import (
	"errors"
	"testing"
)

func usd(n int64) Money { return Money{n, "USD"} }

// balanced is 2 × 10.00 − 1.50 + 5.00 shipping + 1.85 tax + 1.00 tip.
func balanced() Order {
	return Order{
		Currency: "USD",
		Lines: []OrderLine{{ID: "1", UnitPrice: PriceOf(usd(1000)), Discounts: []Money{usd(150)},
			Taxes: []TaxLine{{Amount: usd(150)}}, Quantities: Quantities{Ordered: 2, Unallocated: 2}}},
		Shipping: []ShippingLine{{Price: usd(700), Discounts: []Money{usd(200)}, Taxes: []TaxLine{{Amount: usd(35)}}}},
		Totals: Totals{Lines: usd(2000), Discounts: usd(150), Shipping: usd(500), Tax: usd(185), Tip: usd(100),
			Duties: usd(0), Total: usd(2635)},
	}
}

func TestTheCertificateHoldsToTheCent(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Order)
		broken string
	}{
		{"as it is", func(*Order) {}, ""},
		{"included tax is not added again", func(o *Order) { o.TaxIncluded = true; o.Totals.Total = usd(2450) }, ""},
		{"a rounding adjustment counts", func(o *Order) { o.Totals.Rounding = usd(-2); o.Totals.Total = usd(2633) }, ""},
		{"a free order", func(o *Order) {
			*o = Order{Currency: "USD", Totals: Totals{Lines: usd(0), Discounts: usd(0), Shipping: usd(0), Duties: usd(0), Tax: usd(0), Total: usd(0)}}
		}, ""},
		{"one cent of total", func(o *Order) { o.Totals.Total = usd(2636) }, "total"},
		{"one cent of tax", func(o *Order) { o.Lines[0].Taxes[0].Amount = usd(149) }, "tax"},
		{"a lost discount", func(o *Order) { o.Lines[0].Discounts = nil }, "discounts"},
		{"a changed quantity", func(o *Order) { o.Lines[0].Quantities.Ordered = 3 }, "lines"},
		{"a changed shipping charge", func(o *Order) { o.Shipping[0].Price = usd(800) }, "shipping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := balanced()
			c.change(&o)
			cert, err := Certify(o)
			var im *Imbalance
			switch {
			case c.broken == "" && (err != nil || !cert.Holds):
				t.Errorf("does not hold: %v", err)
			case c.broken != "" && (!errors.As(err, &im) || im.Row.Component != c.broken || cert.Holds):
				t.Errorf("err = %v, want an imbalance of %s", err, c.broken)
			}
		})
	}
}

func TestACertificateOfMixedCurrenciesIsRefused(t *testing.T) {
	o := balanced()
	o.Lines[0].Taxes[0].Amount.Currency = "EUR"
	if _, err := Certify(o); !errors.Is(err, ErrCurrencies) {
		t.Errorf("err = %v", err)
	}
}

func TestAClosedDocumentNeverReopens(t *testing.T) {
	for typ, states := range transitions {
		for from, tos := range states {
			for _, to := range tos {
				if err := CanMove(typ, from, to); err != nil {
					t.Error(err)
				}
				if Final(typ, from) {
					t.Errorf("%s %s is final and moves on", typ, from)
				}
			}
		}
		if err := CanMove(typ, Closed, Received); err == nil || !Final(typ, Closed) {
			t.Errorf("a closed %s reopens", typ)
		}
	}
	if CanMove("order", Canceled, Released) == nil {
		t.Error("a canceled order is released")
	}
}

func TestOneTenantsKeysNeverBeginWithAnothers(t *testing.T) {
	for _, bad := range []string{"", "Acme", "a#b", "a/b", "a b", "ä"} {
		if _, err := ParseTenant(bad); err == nil {
			t.Errorf("tenant %q was accepted", bad)
		}
	}
	a, _ := ParseTenant("acme")
	if got := a.Key("order", "1"); got != "T#acme#order#1" {
		t.Errorf("key = %s", got)
	}
}
