package partner_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/partner"
)

func TestRulesAboutStockAreReadAndWhatIsWrongHasItsLine(t *testing.T) {
	begin := strings.Count(goodRetailer, "\n")
	good := goodRetailer + `locations:
  - { code: MAIN, owner: warehouse, warehouse: warehouse, priority: 1 }
  - { code: CITY, capabilities: [pickup, ship], safety_stock: 2, distance: { US: 3, "*": 9 } }
sourcing: { max_locations: 2, backorder: true, weights: { priority: 2, split: 5 } }
products:
  - { sku: SET, components: [{ sku: MUG, quantity: 2 }] }
clock_skew: 5m
`
	f, err := partner.Load(folder(t, goodPartner, good), env)
	if err != nil {
		t.Fatal(err)
	}
	p := f.Retailers[0].Config.Stock
	if len(p.Locations) != 2 || p.Locations[1].Distance["*"] != 9 || p.Sourcing.MaxLocations != 2 || p.ClockSkew().Minutes() != 5 || len(p.Product("SET").Components) != 1 {
		t.Errorf("policy = %+v", p)
	}
	for _, c := range []struct {
		name, was, is string
		line          int // after the file without rules
		says          string
	}{
		{"an unknown owner", "owner: warehouse", "owner: wms", 2, `there is no connection "wms"`},
		{"a location twice", "code: CITY", "code: MAIN", 3, "is used twice"},
		{"an unknown capability", "[pickup, ship]", "[pickup, fly]", 3, `there is no capability "fly"`},
		{"negative safety stock", "safety_stock: 2", "safety_stock: -2", 3, "-2 is out of range"},
		{"no country", "US: 3", "Usa: 3", 3, `"Usa" is no country`},
		{"too many locations", "max_locations: 2", "max_locations: 99", 4, "99 is out of range"},
		{"a kit of itself", "sku: MUG", "sku: SET", 6, "contains itself"},
		{"no duration", "clock_skew: 5m", "clock_skew: soon", 7, "is no duration"},
		{"a route to no location", "code: MAIN", "code: NOWHERE", 0, `there is no location "MAIN"`},
		{"an unknown key", "backorder: true", "back_order: true", 4, "there is no such key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := partner.Load(folder(t, goodPartner, strings.Replace(good, c.was, c.is, 1)), env)
			var problems partner.Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("err = %v", err)
			}
			if p := problems[0]; p.Line != begin+c.line || !strings.Contains(p.String(), c.says) {
				t.Errorf("line %d, want %d: %s", p.Line, begin+c.line, p)
			}
		})
	}
}
