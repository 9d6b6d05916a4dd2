package tryton

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/waybillhq/waybill/internal/fault"
)

// page is how many products one call reads: computing quantities takes Tryton
// some milliseconds a product.
const page = 500

// maxPages ends a listing that never does.
const maxPages = 2000

// Stock returns the quantity physically present in the warehouse per SKU. It
// includes what is committed to orders that have not shipped. A fraction of a
// unit does not count, and products without a code are left out. A quantity is
// negative where more was shipped than Tryton knew of.
func (c *Connector) Stock(ctx context.Context) (map[string]int64, error) {
	r := c.begin()
	if err := c.setup(ctx, r); err != nil {
		return nil, err
	}
	in := c.context(r)
	in["locations"], in["with_childs"] = ids{r.warehouse}, true
	// Without an end only what moved up to today would count, and "today"
	// depends on the company's time zone.
	in["stock_date_end"] = farFuture
	stock, last := map[string]int64{}, int64(0)
	for range maxPages {
		var found []struct {
			ID       int64       `json:"id"`
			Code     text        `json:"code"`
			Quantity json.Number `json:"quantity"`
		}
		if err := c.read(ctx, "model.product.product.search_read", &found,
			domain{{"id", ">", last}, {"type", "in", []string{"goods", "assets"}}}, 0, page, [][]string{{"id", "ASC"}}, []string{"code", "quantity"}, in); err != nil {
			return nil, fmt.Errorf("reading quantities: %w", err)
		}
		for _, p := range found {
			last = p.ID
			if p.Code == "" {
				continue
			}
			n, ok := whole(string(p.Quantity))
			if !ok {
				return nil, fault.New(fault.Permanent, fault.Validation, "is not a quantity").At("quantity", string(p.Code))
			}
			stock[string(p.Code)] += n
		}
		if len(found) < page {
			return stock, nil
		}
	}
	return nil, fault.New(fault.Permanent, fault.Validation, "Tryton's listing of products has more than %d pages", maxPages)
}

// whole is the largest whole number that s does not fall below. No quantity at
// all, for a product that never moved, is none.
func whole(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	n, ok := new(big.Rat).SetString(s)
	if !ok || len(s) > 40 {
		return 0, false
	}
	floor := new(big.Int).Div(n.Num(), n.Denom())
	return floor.Int64(), floor.IsInt64()
}
