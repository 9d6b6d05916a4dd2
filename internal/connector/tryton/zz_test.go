//go:build unix

package tryton_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

func TestMeasure(t *testing.T) {
	c := connect(t)
	wait := func(what string, do func() error) {
		b := time.Now()
		for i := 0; time.Since(b) < 200*time.Second; i++ {
			x := time.Now()
			err := do()
			t.Log(what, i, time.Since(x), "total", time.Since(b), err)
			if err == nil {
				return
			}
			time.Sleep(20 * time.Second)
		}
	}
	lines := make([]retail.OrderLine, 2000)
	for i := range lines {
		lines[i] = taxed(discounted(item(fmt.Sprintf("LONG-%d", i), "1.11", 2), "0.07"), "0.18")
	}
	o := order(t, retail.Order{Lines: lines})
	customer, address := customerOf(t, c, o)
	b := time.Now()
	so, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address)
	t.Log("create", time.Since(b), err)
	wait("confirm", func() error { _, err := c.ConfirmSalesOrder(t.Context(), permit, so); return err })
	wait("invoice", func() error { _, err := c.PostInvoice(t.Context(), permit, so); return err })
	s := wantSale(t, c, o)
	t.Logf("%+v", s)
}
