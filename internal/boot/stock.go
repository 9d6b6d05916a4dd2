package boot

import (
	"context"

	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// Ledger records what sources and people say about stock.
func (p *Platform) Ledger() stock.Ledger {
	return stock.Ledger{Store: p.Store, Life: p.Life(), Policy: p.StockPolicy}
}

// StockPolicy is a retailer's rules about stock. Where the file names no
// locations, those of its routes are all there are.
func (p *Platform) StockPolicy(ctx context.Context, t retail.Tenant) (rules.Policy, error) {
	r, err := p.Connections().Retailer(ctx, t)
	if err != nil {
		return rules.Policy{}, err
	}
	policy := r.Stock
	if len(policy.Locations) == 0 {
		seen := map[string]bool{}
		for _, w := range r.Routes {
			if !seen[w.Location] {
				seen[w.Location], policy.Locations = true, append(policy.Locations, rules.Location{Code: w.Location})
			}
		}
	}
	return policy, nil
}
