package stock_test

import (
	"slices"
	"testing"

	"github.com/waybillhq/waybill/internal/stock"
)

func TestTheAuditFindsEachNumberThatIsNotItsLedgers(t *testing.T) {
	moves := []stock.Move{
		{SKU: "A", Location: "MAIN", Type: stock.Opening, OnHand: 10, Applied: 10},
		{SKU: "A", Location: "MAIN", Type: stock.Sale, OnHand: -3, Applied: -2, Damaged: 1, QualityHold: 2, InTransit: 3}, // a count has seen one of the three
	}
	right := stock.Position{SKU: "A", Location: "MAIN", OnHand: 8, Reserved: 4, Damaged: 1, QualityHold: 2, InTransit: 3, Unreserved: 1}
	holds := []stock.Hold{{SKU: "A", Location: "MAIN", Quantity: 1}, {SKU: "A", Location: "MAIN", Quantity: 3}, {SKU: "A", Location: "SHOP", Quantity: 0}}
	for name, c := range map[string]struct {
		change func(*stock.Position)
		want   []string
	}{
		"nothing is wrong":          {func(*stock.Position) {}, nil},
		"on hand":                   {func(p *stock.Position) { p.OnHand++ }, []string{"on_hand", "unreserved"}},
		"reserved":                  {func(p *stock.Position) { p.Reserved-- }, []string{"reserved", "unreserved"}},
		"damaged":                   {func(p *stock.Position) { p.Damaged++ }, []string{"damaged", "unreserved"}},
		"quality hold":              {func(p *stock.Position) { p.QualityHold-- }, []string{"quality_hold", "unreserved"}},
		"in transit":                {func(p *stock.Position) { p.InTransit++ }, []string{"in_transit"}},
		"unreserved":                {func(p *stock.Position) { p.Unreserved++ }, []string{"unreserved"}},
		"the position is not there": {func(p *stock.Position) { p.Location = "" }, []string{"position"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := right
			c.change(&p)
			kept := stock.SKU{Holds: holds}
			if p.Location != "" {
				kept.Positions = []stock.Position{p}
			}
			var got []string
			for _, i := range stock.Audit(kept, moves) {
				if i.SKU != "A" || i.Location != "MAIN" || i.Position == i.Ledger {
					t.Errorf("%+v", i)
				}
				got = append(got, i.Bucket)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
