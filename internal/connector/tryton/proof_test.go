//go:build unix

package tryton_test

import (
	"testing"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestTotalsOfManySalesAreReadInOneCall(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		var all []effect.Receipt
		for _, price := range []string{"17.95", "20.00"} {
			so := draft(t, c, order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", price, 1)}}))
			if price == "17.95" {
				if _, err := c.ConfirmSalesOrder(t.Context(), permit, so); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, so)
		}
		want, err := c.SalesOrderTotal(t.Context(), all[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.SalesOrderTotals(t.Context(), append(all, effect.Receipt{Ref: "99999999"}))
		if err != nil || len(got) != 1 || got[all[0].Ref] != want {
			t.Errorf("totals %v, want %s of %v alone; %v", got, want, all[0], err)
		}
		if got, err := c.SalesOrderTotals(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("of none: %v, %v", got, err)
		}
	})
}
