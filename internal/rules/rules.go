// Package rules are a retailer's rules about its goods as data: where stock
// lies and who counts it, in which units it is counted, what a kit is made of,
// and from where orders are shipped. Everything here is pure; numbers come
// from the retailer's file.
package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Location is one place where stock lies.
type Location struct {
	Code string `json:"code"`
	// Owner is the connection that counts the location: only its movements and
	// counts are taken. Empty: every connection's are.
	Owner string `json:"owner,omitempty"`
	// Warehouse is the connection that ships from it; the route's if empty.
	Warehouse string `json:"warehouse,omitempty"`
	// Capabilities are what the location can do: ship, pickup, ship_to_store.
	// None given means ship.
	Capabilities []string `json:"capabilities,omitempty"`
	// Closed takes the location out of sourcing; its positions stay.
	Closed bool `json:"closed,omitempty"`
	// Channels that it ships for; all if empty.
	Channels []string `json:"channels,omitempty"`
	// DailyOrders is how many orders it takes a day of its time zone; 0 is any number.
	DailyOrders int64  `json:"daily_orders,omitempty"`
	TimeZone    string `json:"time_zone,omitempty"` // UTC if empty
	// SafetyStock is kept back from orders, of each SKU, in its unit. It is
	// policy: no position holds it.
	SafetyStock int64 `json:"safety_stock,omitempty"`
	// Priority: lower ships first, each step costing PriorityWeight.
	Priority int64 `json:"priority,omitempty"`
	// Cost of one parcel from here, in any one unit of the retailer's choice.
	Cost int64 `json:"cost,omitempty"`
	// Distance to a country (ISO 3166-1 alpha-2), in any one unit; "*" is every other.
	Distance map[string]int64 `json:"distance,omitempty"`
}

// Sourcing says how a location is chosen. The lowest score wins; equal scores
// are decided by the location's code.
type Sourcing struct {
	// MaxLocations an order may be split over; 0 and 1 are no split.
	MaxLocations int `json:"max_locations,omitempty"`
	// Backorder lets an order be reserved where stock is short.
	Backorder bool `json:"backorder,omitempty"`
	// Attempts is how many candidates are tried after a lost race; 0 is DefaultAttempts.
	Attempts int     `json:"attempts,omitempty"`
	Weights  Weights `json:"weights,omitzero"`
}

// Weights multiply what a candidate is judged by. Zero weights are all one.
type Weights struct {
	Priority int64 `json:"priority,omitempty"`
	Cost     int64 `json:"cost,omitempty"`
	Distance int64 `json:"distance,omitempty"`
	Split    int64 `json:"split,omitempty"` // for each further location
}

// DefaultAttempts bound what a lost race costs.
const DefaultAttempts = 4

// DefaultSkew is by how much the clocks of a source may differ from ours.
const DefaultSkew = 10 * time.Minute

// Product is what a SKU is counted in and made of. A SKU without one is counted
// in pieces.
type Product struct {
	SKU string `json:"sku"`
	// Unit is what positions count: piece or gram.
	Unit Unit `json:"unit,omitempty"`
	// Packs are further units and how many of Unit each holds, such as case: 12.
	Packs map[string]int64 `json:"packs,omitempty"`
	// Components make the SKU a kit, which has no stock of its own.
	Components []Component `json:"components,omitempty"`
}

// Component is a part of a kit: so many of its unit in one kit.
type Component struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Unit is what a SKU is counted in.
type Unit string

// Units.
const (
	Piece Unit = "piece"
	Gram  Unit = "gram"
)

// Policy is all of a retailer's rules about stock.
type Policy struct {
	Locations []Location    `json:"locations,omitempty"`
	Sourcing  Sourcing      `json:"sourcing,omitzero"`
	Products  []Product     `json:"products,omitempty"`
	Skew      time.Duration `json:"skew,omitempty"` // DefaultSkew if zero
}

// Location finds a location; known is false where locations are configured and
// this is none of them.
func (p Policy) Location(code string) (l Location, known bool) {
	for _, l := range p.Locations {
		if l.Code == code {
			return l, true
		}
	}
	return Location{Code: code}, len(p.Locations) == 0 && code != ""
}

// Product is the SKU's product, or pieces.
func (p Policy) Product(sku string) Product {
	for _, x := range p.Products {
		if x.SKU == sku {
			if x.Unit == "" {
				x.Unit = Piece
			}
			return x
		}
	}
	return Product{SKU: sku, Unit: Piece}
}

// ClockSkew of the sources.
func (p Policy) ClockSkew() time.Duration {
	if p.Skew > 0 {
		return p.Skew
	}
	return DefaultSkew
}

// maxQuantity bounds any count, so that sums of many never overflow.
const maxQuantity = 1_000_000_000_000

// Quantity reads a decimal number of a unit as base units of the product:
// "2" and "case" of a product whose case holds 12 is 24, "1.5" and "kg" of a
// weighed one is 1500. Nothing is rounded.
func (x Product) Quantity(number, unit string) (int64, error) {
	per, err := x.factor(unit)
	if err != nil {
		return 0, err
	}
	digits, negative := strings.CutPrefix(number, "-")
	whole, fraction, fractional := strings.Cut(digits, ".")
	if whole == "" || !decimal(whole) || !decimal(fraction) || fractional && fraction == "" || len(whole) > 13 || len(fraction) > 9 {
		return 0, fmt.Errorf("%q is no decimal number of up to 13 digits", number)
	}
	n, scale := int64(0), int64(1)
	for _, d := range whole {
		n = n*10 + int64(d-'0')
	}
	if n > maxQuantity/per {
		return 0, fmt.Errorf("%q of %s is more than %d", number, unit, int64(maxQuantity))
	}
	n *= per
	part := int64(0)
	for _, d := range fraction {
		part, scale = part*10+int64(d-'0'), scale*10
	}
	if part > 0 {
		// per is at most 1e6 and part below 1e9: no overflow.
		if part*per%scale != 0 {
			return 0, fmt.Errorf("%q of the unit %s is a fraction of a %s, which %s is counted in; give a whole number of them", number, named(unit, x.unit()), x.unit(), x.SKU)
		}
		n += part * per / scale
	}
	if negative {
		n = -n
	}
	return n, nil
}

// named is the unit that a number without one has.
func named(unit string, own Unit) string {
	if unit == "" {
		return string(own)
	}
	return unit
}

func decimal(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

func (x Product) unit() Unit {
	if x.Unit == "" {
		return Piece
	}
	return x.Unit
}

// factor is how many base units one of unit holds.
func (x Product) factor(unit string) (int64, error) {
	base := x.unit()
	switch unit {
	case "", string(base):
		return 1, nil
	case "each":
		if base == Piece {
			return 1, nil
		}
	case "g":
		if base == Gram {
			return 1, nil
		}
	case "kg":
		if base == Gram {
			return 1000, nil
		}
	}
	if n := x.Packs[unit]; n > 0 {
		return n, nil
	}
	known := []string{string(base)}
	if base == Gram {
		known = append(known, "kg")
	}
	for name := range x.Packs {
		known = append(known, name)
	}
	slices.Sort(known)
	return 0, fmt.Errorf("%s is not counted in %q; it is counted in %s", x.SKU, unit, strings.Join(known, ", "))
}

// Explode returns what n of a SKU are made of, in the order of the SKUs: the SKU
// itself, or a kit's components, and theirs.
func (p Policy) Explode(sku string, n int64) ([]Component, error) {
	parts, err := (&explosion{product: p.Product}).of(sku)
	if err != nil {
		return nil, err
	}
	out := make([]Component, 0, len(parts))
	for s, q := range parts {
		if n > maxQuantity/q {
			return nil, fmt.Errorf("%d of kit %s hold more than %d of %s", n, sku, int64(maxQuantity), s)
		}
		out = append(out, Component{s, q * n})
	}
	slices.SortFunc(out, func(a, b Component) int { return strings.Compare(a.SKU, b.SKU) })
	return out, nil
}

// explosion explodes each kit once, however many kits hold it: of kits that
// hold two others each, a path for every way through them would never end.
type explosion struct {
	product func(sku string) Product
	done    map[string]exploded
	above   []string
}

type exploded struct {
	parts map[string]int64 // of one
	err   error
}

func (x *explosion) of(sku string) (map[string]int64, error) {
	if known, ok := x.done[sku]; ok {
		return known.parts, known.err
	}
	if i := slices.Index(x.above, sku); i >= 0 {
		way := append(slices.Clone(x.above[i:]), sku)
		if len(way) > 12 {
			way = append(way[:10], "…", sku)
		}
		return nil, fmt.Errorf("kit %s contains itself: %s", sku, strings.Join(way, " → "))
	}
	x.above = append(x.above, sku)
	parts, err := x.explode(x.product(sku))
	x.above = x.above[:len(x.above)-1]
	if x.done == nil {
		x.done = map[string]exploded{}
	}
	x.done[sku] = exploded{parts, err}
	return parts, err
}

func (x *explosion) explode(kit Product) (map[string]int64, error) {
	if len(kit.Components) == 0 {
		return map[string]int64{kit.SKU: 1}, nil
	}
	sum := map[string]int64{}
	for _, c := range kit.Components {
		if c.Quantity <= 0 {
			return nil, fmt.Errorf("kit %s holds %d of %s", kit.SKU, c.Quantity, c.SKU)
		}
		parts, err := x.of(c.SKU)
		if err != nil {
			return nil, err
		}
		for sku, n := range parts {
			if n > (maxQuantity-sum[sku])/c.Quantity {
				return nil, fmt.Errorf("kit %s holds more than %d of %s", kit.SKU, int64(maxQuantity), sku)
			}
			sum[sku] += n * c.Quantity
		}
		if len(sum) > MaxComponents {
			return nil, fmt.Errorf("kit %s is made of more than %d SKUs, which are the most", kit.SKU, MaxComponents)
		}
	}
	return sum, nil
}

// Problem is a rule that a policy breaks.
type Problem struct{ Field, Wrong, Right string }

var capabilities = []string{"pickup", "ship", "ship_to_store"}

// Check finds all that is wrong with a policy. connections and channels are
// what may be named.
func (p Policy) Check(connections []string) (out []Problem) {
	add := func(field, wrong, right string) { out = append(out, Problem{field, wrong, right}) }
	seen := map[string]bool{}
	for i, l := range p.Locations {
		at := fmt.Sprintf("locations[%d]", i)
		if wrong, right := CheckCode(l.Code); wrong != "" {
			add(at+".code", wrong, right)
		} else if seen[l.Code] {
			add(at+".code", fmt.Sprintf("%q is used twice", l.Code), "give each location its own")
		}
		seen[l.Code] = true
		for _, end := range [][2]string{{"owner", l.Owner}, {"warehouse", l.Warehouse}} {
			if end[1] != "" && !slices.Contains(connections, end[1]) {
				add(at+"."+end[0], fmt.Sprintf("there is no connection %q", end[1]), "there are "+strings.Join(connections, ", "))
			}
		}
		for j, c := range l.Channels {
			if !slices.Contains(connections, c) {
				add(fmt.Sprintf("%s.channels[%d]", at, j), fmt.Sprintf("there is no connection %q", c), "there are "+strings.Join(connections, ", "))
			}
		}
		for j, c := range l.Capabilities {
			if !slices.Contains(capabilities, c) {
				add(fmt.Sprintf("%s.capabilities[%d]", at, j), fmt.Sprintf("there is no capability %q", c), "there are "+strings.Join(capabilities, ", "))
			}
		}
		if wrong, right := CheckZone(l.TimeZone); wrong != "" {
			add(at+".time_zone", wrong, right)
		}
		for _, n := range []struct {
			field string
			is    int64
		}{{"safety_stock", l.SafetyStock}, {"daily_orders", l.DailyOrders}, {"priority", l.Priority}, {"cost", l.Cost}} {
			if n.is < 0 || n.is > 1_000_000_000 {
				add(at+"."+n.field, fmt.Sprintf("%d is out of range", n.is), "0 to 1000000000")
			}
		}
		for _, country := range slices.Sorted(maps.Keys(l.Distance)) {
			if wrong, right := checkCountry(country); wrong != "" {
				add(at+".distance", wrong, right)
			} else if d := l.Distance[country]; d < 0 || d > 1_000_000_000 {
				add(at+".distance", fmt.Sprintf("%s: %d is out of range", country, d), "0 to 1000000000")
			}
		}
	}
	if n := p.Sourcing.MaxLocations; n < 0 || n > 10 {
		add("sourcing.max_locations", fmt.Sprintf("%d is out of range", n), "1 (no split) to 10")
	}
	if n := p.Sourcing.Attempts; n < 0 || n > 20 {
		add("sourcing.attempts", fmt.Sprintf("%d is out of range", n), "1 to 20")
	}
	for _, w := range []int64{p.Sourcing.Weights.Priority, p.Sourcing.Weights.Cost, p.Sourcing.Weights.Distance, p.Sourcing.Weights.Split} {
		if w < 0 || w > 1_000_000 {
			add("sourcing.weights", fmt.Sprintf("%d is out of range", w), "0 to 1000000")
		}
	}
	if p.Skew < 0 || p.Skew > 24*time.Hour {
		add("clock_skew", p.Skew.String()+" is out of range", "0s to 24h")
	}
	return append(out, p.checkProducts()...)
}

func (p Policy) checkProducts() (out []Problem) {
	seen, told := map[string]Product{}, map[error]bool{}
	for _, x := range slices.Backward(p.Products) { // of two, the first counts
		seen[x.SKU] = x
	}
	kits := &explosion{product: func(sku string) Product {
		x := seen[sku]
		x.SKU = sku
		return x
	}}
	first := map[string]bool{}
	for i, x := range p.Products {
		at := fmt.Sprintf("products[%d]", i)
		add := func(field, wrong, right string) { out = append(out, Problem{at + field, wrong, right}) }
		switch {
		case x.SKU == "":
			add(".sku", "is missing", "the SKU as positions have it")
		case first[x.SKU]:
			add(".sku", fmt.Sprintf("%q stands twice", x.SKU), "keep one")
		}
		first[x.SKU] = true
		if x.Unit != "" && x.Unit != Piece && x.Unit != Gram {
			add(".unit", fmt.Sprintf("there is no unit %q", x.Unit), "there are gram, piece")
		}
		for _, name := range slices.Sorted(maps.Keys(x.Packs)) {
			if n := x.Packs[name]; n < 2 || n > 1_000_000 || name == "" {
				add(".packs", fmt.Sprintf("%s: %d is no pack", name, n), "a name with how many of the unit it holds, 2 to 1000000")
			} else if n, err := (Product{SKU: x.SKU, Unit: x.Unit}).factor(name); err == nil {
				add(".packs", fmt.Sprintf("%q is no name for a pack: it is %d %s already, and the pack would never be used", name, n, x.unit()), "a name of its own, such as case")
			}
		}
		part, before := map[string]bool{}, len(out)
		for j, c := range x.Components {
			switch field := fmt.Sprintf(".components[%d]", j); {
			case c.SKU == "" || c.Quantity <= 0 || c.Quantity > 1_000_000:
				add(field, fmt.Sprintf("%d of %q is no component", c.Quantity, c.SKU), "a sku and a quantity of 1 to 1000000")
			case part[c.SKU]:
				add(field+".sku", fmt.Sprintf("%q stands twice in the kit", c.SKU), "keep one, with the quantity of both")
			}
			part[c.SKU] = true
		}
		if len(x.Components) > 0 && len(x.Packs) > 0 {
			add(".packs", "a kit has no stock of its own, so it has no packs", "put packs on its components")
		}
		// A kit is as wrong as a kit in it; that is said once.
		_, err := kits.of(x.SKU)
		if err != nil && !told[err] && len(out) == before {
			add(".components", err.Error(), fmt.Sprintf("a kit's components lead to SKUs that are no kits, %d at most", MaxComponents))
		}
		told[err] = true
	}
	return out
}

// MaxComponents keeps one line of kits within one transaction.
const MaxComponents = 45
