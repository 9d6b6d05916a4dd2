package tryton

import (
	"context"
	"slices"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/retail"
)

// standing are the states of a sale that was confirmed and not canceled.
var standing = []string{"confirmed", "processing", "done"}

// batched is how many sales one call reads.
const batched = 200

// SalesOrderTotals reads the totals of many sales, by reference. One that is not
// in Tryton, was never confirmed, or was canceled is absent.
func (c *Connector) SalesOrderTotals(ctx context.Context, orders []effect.Receipt) (map[string]retail.Money, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]retail.Money{}
	for some := range slices.Chunk(orders, batched) {
		var of []int64
		for _, so := range some {
			id, err := recordID(so, "sales_order")
			if err != nil {
				return nil, err
			}
			of = append(of, id)
		}
		var found []saleState
		if err := c.read(ctx, "model.sale.sale.search_read", &found, domain{{"id", "in", of}, {"company", "=", r.company}, {"state", "in", standing}},
			0, nil, nil, []string{"state", "total_amount", "currency.code"}, c.context(r)); err != nil {
			return nil, err
		}
		for _, f := range found {
			m, err := money(f.Total, f.Currency.Code)
			if err != nil {
				return nil, err
			}
			out[reference(f.ID)] = m
		}
	}
	return out, nil
}
