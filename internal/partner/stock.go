package partner

import (
	"maps"
	"time"

	"github.com/waybillhq/waybill/internal/rules"
)

type locationFile struct {
	Code         string           `yaml:"code"`
	Owner        string           `yaml:"owner"`
	Warehouse    string           `yaml:"warehouse"`
	Capabilities []string         `yaml:"capabilities"`
	Closed       bool             `yaml:"closed"`
	Channels     []string         `yaml:"channels"`
	DailyOrders  int64            `yaml:"daily_orders"`
	TimeZone     string           `yaml:"time_zone"`
	SafetyStock  int64            `yaml:"safety_stock"`
	Priority     int64            `yaml:"priority"`
	Cost         int64            `yaml:"cost"`
	Distance     map[string]int64 `yaml:"distance"`
}

type sourcingFile struct {
	MaxLocations int         `yaml:"max_locations"`
	Backorder    bool        `yaml:"backorder"`
	Attempts     int         `yaml:"attempts"`
	Weights      weightsFile `yaml:"weights"`
}

type weightsFile struct {
	Priority int64 `yaml:"priority"`
	Cost     int64 `yaml:"cost"`
	Distance int64 `yaml:"distance"`
	Split    int64 `yaml:"split"`
}

type productFile struct {
	SKU        string           `yaml:"sku"`
	Unit       string           `yaml:"unit"`
	Packs      map[string]int64 `yaml:"packs"`
	Components []componentFile  `yaml:"components"`
}

type componentFile struct {
	SKU      string `yaml:"sku"`
	Quantity int64  `yaml:"quantity"`
}

// stock reads the rules about stock; what is wrong with them is found with the
// rest of the configuration.
func (f file) stock(r retailerFile) rules.Policy {
	var p rules.Policy
	for _, l := range r.Locations {
		l.Distance = maps.Clone(l.Distance)
		p.Locations = append(p.Locations, rules.Location(l))
	}
	p.Sourcing = rules.Sourcing{MaxLocations: r.Sourcing.MaxLocations, Backorder: r.Sourcing.Backorder, Attempts: r.Sourcing.Attempts, Weights: rules.Weights(r.Sourcing.Weights)}
	for _, x := range r.Products {
		out := rules.Product{SKU: x.SKU, Unit: rules.Unit(x.Unit), Packs: x.Packs}
		for _, c := range x.Components {
			out.Components = append(out.Components, rules.Component(c))
		}
		p.Products = append(p.Products, out)
	}
	if r.ClockSkew != "" {
		d, err := time.ParseDuration(r.ClockSkew)
		if err != nil || d <= 0 {
			f.add("clock_skew", r.ClockSkew+" is no duration", "such as 10m, which it is if it is left out")
		}
		p.Skew = d
	}
	return p
}
