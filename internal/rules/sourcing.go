package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Need is a quantity of one SKU for one order line, kits already exploded.
type Need struct {
	Line     string
	SKU      string
	Quantity int64
	// Whole: the line is a kit, which one location must give.
	Whole bool
}

// Request is what an order asks of the locations.
type Request struct {
	Channel string
	Country string
	// Method is what a location must be able to do: ship, pickup, ship_to_store.
	Method string
	// Pinned is the one location that may be chosen, or "".
	Pinned string
	Needs  []Need
}

// Free is what a location could give now. A SKU that it has no position for is
// absent.
type Free struct {
	Unreserved map[string]int64 // by SKU, before safety stock
	// Orders is how many it has taken today.
	Orders int64
}

// Pick is a quantity that a location shall give.
type Pick struct {
	Line     string `json:"line"`
	SKU      string `json:"sku"`
	Location string `json:"location"`
	Quantity int64  `json:"quantity"`
}

// Verdict says why a location was chosen or not.
type Verdict struct {
	Location string `json:"location"`
	Chosen   bool   `json:"chosen,omitempty"`
	Rule     string `json:"rule"`
	Why      string `json:"why"`
	Score    int64  `json:"score,omitempty"`
}

// Missing is what no allowed choice of locations has.
type Missing struct {
	Need
	Available int64
	// Known is whether any location has a position of the SKU.
	Known bool
}

// Decision is where an order is taken from, or what it lacks.
type Decision struct {
	Picks    []Pick
	Verdicts []Verdict // one for each location, by code
	Missing  []Missing
}

// Rules by which a location is chosen or rejected.
const (
	RuleParticipating = "participating"
	RuleCapability    = "capability"
	RulePinned        = "pickup_pinned"
	RuleCapacity      = "capacity"
	RuleStock         = "stock"
	RuleScore         = "score"
	RuleTie           = "tie_by_code"
	RuleSplit         = "split"
	RuleOnly          = "only_candidate"
	RuleBackorder     = "backorder"
	RuleRace          = "lost_race"
)

type candidate struct {
	Location
	free  Free
	score int64
	rest  []Need // what it cannot give
}

// Choose decides, from what is free at each location. It is a function of its
// arguments alone, so that a repeated run chooses the same.
func Choose(p Policy, q Request, free map[string]Free) Decision {
	var d Decision
	var open []candidate
	for _, l := range slices.SortedFunc(slices.Values(p.Locations), func(a, b Location) int { return strings.Compare(a.Code, b.Code) }) {
		if rule, why := rejects(l, q, free[l.Code]); rule != "" {
			d.Verdicts = append(d.Verdicts, Verdict{Location: l.Code, Rule: rule, Why: why})
			continue
		}
		open = append(open, candidate{Location: l, free: free[l.Code], score: p.score(l, q), rest: lacks(l, free[l.Code], q.Needs)})
	}
	whole := slices.DeleteFunc(slices.Clone(open), func(c candidate) bool { return len(c.rest) > 0 })
	switch {
	case len(whole) > 0:
		d.one(whole, open, q)
	case p.Sourcing.MaxLocations > 1 && d.split(p, open, q):
	case p.Sourcing.Backorder && d.backorder(open, q):
	default:
		d.short(open, q)
	}
	slices.SortFunc(d.Verdicts, func(a, b Verdict) int { return strings.Compare(a.Location, b.Location) })
	return d
}

// rejects applies the hard filters.
func rejects(l Location, q Request, f Free) (rule, why string) {
	method := q.Method
	if method == "" {
		method = "ship"
	}
	can := l.Capabilities
	if len(can) == 0 {
		can = []string{"ship"}
	}
	switch {
	case l.Closed:
		return RuleParticipating, "the location is closed to sourcing"
	case len(l.Channels) > 0 && !slices.Contains(l.Channels, q.Channel):
		return RuleParticipating, fmt.Sprintf("it ships for %s, not for %s", strings.Join(l.Channels, ", "), q.Channel)
	case q.Pinned != "" && q.Pinned != l.Code:
		return RulePinned, "the order is for " + q.Pinned
	case !slices.Contains(can, method):
		return RuleCapability, fmt.Sprintf("it can %s, not %s", strings.Join(can, ", "), method)
	case l.DailyOrders > 0 && f.Orders >= l.DailyOrders:
		return RuleCapacity, fmt.Sprintf("it has taken its %d orders of the day", l.DailyOrders)
	}
	return "", ""
}

// lacks is what a location cannot give of the needs, which are summed by SKU.
func lacks(l Location, f Free, needs []Need) (out []Need) {
	left := map[string]int64{}
	for _, n := range needs {
		if _, known := left[n.SKU]; !known {
			left[n.SKU] = f.Unreserved[n.SKU] - l.SafetyStock
		}
		give := min(max(left[n.SKU], 0), n.Quantity)
		left[n.SKU] -= give
		if give < n.Quantity {
			out = append(out, Need{n.Line, n.SKU, n.Quantity - give, n.Whole})
		}
	}
	return out
}

func (p Policy) score(l Location, q Request) int64 {
	w := p.Sourcing.Weights
	if w == (Weights{}) {
		w = Weights{1, 1, 1, 1}
	}
	far, ok := l.Distance[q.Country]
	if !ok {
		far = l.Distance["*"]
	}
	return w.Priority*l.Priority + w.Cost*l.Cost + w.Distance*far
}

// one takes the best of those that have everything.
func (d *Decision) one(whole, open []candidate, q Request) {
	best := slices.MinFunc(whole, better)
	for _, c := range open {
		v := Verdict{Location: c.Code, Score: c.score, Rule: RuleScore, Why: fmt.Sprintf("its score is %d and that of %s %d", c.score, best.Code, best.score)}
		switch {
		case c.Code == best.Code:
			v.Chosen, v.Why = true, "it has everything and the lowest score"
			if len(whole) == 1 {
				v.Rule, v.Why = RuleOnly, "no other location has everything"
			} else if slices.ContainsFunc(whole, func(o candidate) bool { return o.Code != c.Code && o.score == c.score }) {
				v.Rule, v.Why = RuleTie, "it has everything, the lowest score, and the first code of those"
			}
		case len(c.rest) > 0:
			v.Rule, v.Why = RuleStock, lacking(c)
		case c.score == best.score:
			v.Rule, v.Why = RuleTie, "it scores as "+best.Code+", whose code comes first"
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	for _, n := range q.Needs {
		d.Picks = append(d.Picks, Pick{n.Line, n.SKU, best.Code, n.Quantity})
	}
}

func better(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.Code, b.Code))
}

func lacking(c candidate) string {
	n := c.rest[0]
	why := fmt.Sprintf("it lacks %d of %s", n.Quantity, n.SKU)
	if c.SafetyStock > 0 {
		why += fmt.Sprintf(" beside its safety stock of %d", c.SafetyStock)
	}
	if len(c.rest) > 1 {
		why += fmt.Sprintf(", and of %d more lines", len(c.rest)-1)
	}
	return why
}

// split takes from as few locations as may be, and of as many from those with
// the lowest scores together. A line whose SKUs are a kit's components is taken
// from one location, so that the kit can be packed there.
func (d *Decision) split(p Policy, open []candidate, q Request) bool {
	giving := slices.DeleteFunc(slices.Clone(open), func(c candidate) bool {
		_, _, units := takes(c, q.Needs)
		return units == 0
	})
	slices.SortFunc(giving, better)
	var used []candidate
	var picks []Pick
	for n := 2; n <= min(p.Sourcing.MaxLocations, len(giving)) && used == nil; n++ {
		if ways(len(giving), n) > maxWays {
			used, picks = greedy(giving, q.Needs, n)
			continue
		}
		var least int64
		choices(len(giving), n, func(chosen []int) {
			group, score := make([]candidate, 0, n), int64(0)
			for _, i := range chosen {
				group = append(group, giving[i])
				score += giving[i].score
			}
			// The first of equals stays: choices come in the order of better.
			if used != nil && score >= least {
				return
			}
			if order, taken := greedy(group, q.Needs, n); order != nil {
				used, picks, least = order, taken, score
			}
		})
	}
	if used == nil {
		return false
	}
	w := max(p.Sourcing.Weights.Split, 0)
	if p.Sourcing.Weights == (Weights{}) {
		w = 1
	}
	for _, c := range open {
		v := Verdict{Location: c.Code, Score: c.score, Rule: RuleSplit, Why: "others give the order in as few parcels and score lower together"}
		if i := slices.IndexFunc(used, func(u candidate) bool { return u.Code == c.Code }); i >= 0 {
			v.Chosen, v.Why, v.Score = true, fmt.Sprintf("no location has everything; it is number %d of %d", i+1, len(used)), c.score+w*int64(i)
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	d.Picks = picks
	return true
}

// maxWays bounds how many groups of locations are looked at; beyond it the
// location that gives most is taken first.
const maxWays = 5000

// ways is how many groups of k there are among n, or more than maxWays.
func ways(n, k int) int {
	w := 1
	for i := range k {
		if w = w * (n - i) / (i + 1); w > maxWays*n {
			break
		}
	}
	return w
}

// choices calls do with each group of k of the numbers below n, ascending.
func choices(n, k int, do func([]int)) {
	chosen := make([]int, 0, k)
	var from func(int)
	from = func(next int) {
		if len(chosen) == k {
			do(chosen)
			return
		}
		for i := next; i <= n-(k-len(chosen)); i++ {
			chosen = append(chosen, i)
			from(i + 1)
			chosen = chosen[:len(chosen)-1]
		}
	}
	from(0)
}

// greedy takes the needs from at most n of the locations, each time from the one
// that gives most of what is left. It returns nil where they do not suffice.
func greedy(of []candidate, needs []Need, n int) (used []candidate, picks []Pick) {
	left := slices.Clone(needs)
	for len(left) > 0 && len(used) < n {
		var best candidate
		var bestPicks []Pick
		var bestRest []Need
		var most int64
		for _, c := range of {
			if slices.ContainsFunc(used, func(u candidate) bool { return u.Code == c.Code }) {
				continue
			}
			ps, rest, units := takes(c, left)
			if units > most || units == most && units > 0 && better(c, best) < 0 {
				best, bestPicks, bestRest, most = c, ps, rest, units
			}
		}
		if most == 0 {
			break
		}
		used, picks, left = append(used, best), append(picks, bestPicks...), bestRest
	}
	if len(left) > 0 {
		return nil, nil
	}
	return used, picks
}

// takes is what a location gives of the needs, and what is left.
func takes(c candidate, needs []Need) (picks []Pick, rest []Need, units int64) {
	left := map[string]int64{}
	have := func(sku string) int64 {
		if _, known := left[sku]; !known {
			left[sku] = max(c.free.Unreserved[sku]-c.SafetyStock, 0)
		}
		return left[sku]
	}
	for i := 0; i < len(needs); {
		j := i + 1
		for j < len(needs) && needs[j].Line == needs[i].Line {
			j++
		}
		line := needs[i:j]
		i = j
		if !line[0].Whole {
			n := line[0]
			if give := min(have(n.SKU), n.Quantity); give > 0 {
				picks, units = append(picks, Pick{n.Line, n.SKU, c.Code, give}), units+give
				left[n.SKU] -= give
				n.Quantity -= give
			}
			if n.Quantity > 0 {
				rest = append(rest, n)
			}
			continue
		}
		all := true
		for _, n := range line {
			all = all && have(n.SKU) >= n.Quantity
		}
		if !all {
			rest = append(rest, line...)
			continue
		}
		for _, n := range line {
			picks, units = append(picks, Pick{n.Line, n.SKU, c.Code, n.Quantity}), units+n.Quantity
			left[n.SKU] -= n.Quantity
		}
	}
	return picks, rest, units
}

// backorder takes everything from the best location that knows all SKUs.
func (d *Decision) backorder(open []candidate, q Request) bool {
	knows := slices.DeleteFunc(slices.Clone(open), func(c candidate) bool {
		return slices.ContainsFunc(q.Needs, func(n Need) bool { _, ok := c.free.Unreserved[n.SKU]; return !ok })
	})
	if len(knows) == 0 {
		return false
	}
	best := slices.MinFunc(knows, better)
	for _, c := range open {
		v := Verdict{Location: c.Code, Score: c.score, Rule: RuleStock, Why: lacking(c)}
		if c.Code == best.Code {
			v.Chosen, v.Rule, v.Why = true, RuleBackorder, "no location has everything, and backorders are allowed: "+lacking(c)
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	for _, n := range q.Needs {
		d.Picks = append(d.Picks, Pick{n.Line, n.SKU, best.Code, n.Quantity})
	}
	return true
}

// short says what is missing, counted over all locations that could ship.
func (d *Decision) short(open []candidate, q Request) {
	sum, known := map[string]int64{}, map[string]bool{}
	for _, n := range q.Needs {
		if _, done := sum[n.SKU]; done {
			continue
		}
		sum[n.SKU] = 0
		for _, c := range open {
			have, ok := c.free.Unreserved[n.SKU]
			known[n.SKU] = known[n.SKU] || ok
			sum[n.SKU] += max(have-c.SafetyStock, 0)
		}
	}
	left := map[string]int64{}
	for _, n := range q.Needs {
		if _, ok := left[n.SKU]; !ok {
			left[n.SKU] = sum[n.SKU]
		}
		give := min(left[n.SKU], n.Quantity)
		left[n.SKU] -= give
		if give < n.Quantity {
			d.Missing = append(d.Missing, Missing{Need{n.Line, n.SKU, n.Quantity - give, n.Whole}, sum[n.SKU], known[n.SKU]})
		}
	}
	for _, c := range open {
		v := Verdict{Location: c.Code, Score: c.score, Rule: RuleSplit, Why: "it has everything that is left, but the order may not be split so"}
		if len(c.rest) > 0 {
			v.Rule, v.Why = RuleStock, lacking(c)
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	if len(d.Missing) == 0 { // enough in sum, but spread over too many locations
		for _, n := range q.Needs {
			d.Missing = append(d.Missing, Missing{n, sum[n.SKU], known[n.SKU]})
		}
	}
}
