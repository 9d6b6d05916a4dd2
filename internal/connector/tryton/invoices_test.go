//go:build unix

package tryton_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestAnInvoiceIsPostedOnceAndThenFound(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{taxed(item("MUG-STONE", "17.95", 2), "2.96")}})
		so := draft(t, c, o)
		_, err := c.PostInvoice(t.Context(), permit, so)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.StateConflict, Field: "sales_order", Value: so.Ref})
		if so, err = c.ConfirmSalesOrder(t.Context(), permit, so); err != nil {
			t.Fatal(err)
		}
		if _, found, err := c.InvoicePosted(t.Context(), so); err != nil || found {
			t.Fatalf("before: %t (%v)", found, err)
		}
		made, err := c.PostInvoice(t.Context(), permit, so)
		if err != nil || made.Number == "" {
			t.Fatalf("%+v (%v)", made, err)
		}
		again, err := c.PostInvoice(t.Context(), permit, so)
		if err != nil || again.Number != made.Number {
			t.Errorf("again: %+v (%v), want %+v", again, err, made)
		}
		if n := p.calls("model.account.invoice.post"); n != 1 {
			t.Errorf("posted %d times", n)
		}
		if got, found, err := c.InvoicePosted(t.Context(), so); err != nil || !found || got.Number != made.Number {
			t.Errorf("after: %+v, %t (%v)", got, found, err)
		}
	})
}

func TestAnInvoicingThatBreaksOffIsContinued(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		for _, validated := range []bool{false, true} {
			o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
			so := confirmed(t, c, o)
			if validated {
				var found []int64
				srs.administer(t, "model.account.invoice.search", &found, []any{[]any{"sales", "=", number(t, so.Ref)}}, 0, nil, nil, company)
				srs.administer(t, "model.account.invoice.validate_invoice", nil, found, company)
			}
			p.set(func(p *proxy) { p.writes, p.loseAfter = 0, 1 })
			_, err := c.PostInvoice(t.Context(), permit, so)
			p.set(func(p *proxy) { p.loseAfter = 0 })
			if f := fault.Of(err); f == nil || !f.Unknown {
				t.Fatalf("losing the answer gives %v, want an unknown outcome", err)
			}
			if _, err := c.PostInvoice(t.Context(), permit, so); err != nil {
				t.Fatal(err)
			}
			if s := wantSale(t, c, o); len(s.Invoices) != 1 || s.Invoices[0].State != "posted" || s.Invoices[0].Total != o.Totals.Total {
				t.Errorf("invoices: %+v", s.Invoices)
			}
		}
	})
}

func TestAnInvoiceThatWasPostedSinceItWasReadIsNotPostedAgain(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		so := confirmed(t, c, o)
		if _, err := c.PostShipment(t.Context(), permit, so, parcel("1Z-"+o.ID, map[string]int64{"MUG-STONE": 1})); err != nil {
			t.Fatal(err)
		}
		made, err := srs.through(t, p).PostInvoice(t.Context(), permit, so)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.PostInvoice(t.Context(), permit, so)
		if err != nil || again.Ref != made.Ref || again.Number != made.Number {
			t.Errorf("again: %+v (%v), want %+v", again, err, made)
		}
		if s := wantSale(t, c, o); len(s.Invoices) != 1 || s.Invoices[0].State != "posted" || s.Invoices[0].Total != o.Totals.Total {
			t.Errorf("invoices: %+v", s.Invoices)
		}
	})
}
