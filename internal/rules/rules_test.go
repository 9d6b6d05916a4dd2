package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/waybillhq/waybill/internal/rules"
)

func TestAQuantityIsReadInItsUnitOrRefused(t *testing.T) {
	mug := rules.Product{SKU: "MUG", Packs: map[string]int64{"case": 12, "pallet": 480}}
	tea := rules.Product{SKU: "TEA", Unit: rules.Gram}
	for _, c := range []struct {
		of           rules.Product
		number, unit string
		want         int64
		says         string
	}{
		{mug, "3", "", 3, ""}, {mug, "3", "each", 3, ""}, {mug, "2", "case", 24, ""}, {mug, "-1", "pallet", -480, ""}, {mug, "0.5", "case", 6, ""},
		{tea, "1.25", "kg", 1250, ""}, {tea, "40", "g", 40, ""}, {tea, "0.001", "kg", 1, ""},
		{mug, "0.5", "", 0, "fraction of a piece"}, {mug, "0.1", "case", 0, "fraction of a piece"}, {tea, "0.0001", "kg", 0, "fraction of a gram"},
		{mug, "1", "kg", 0, "is not counted in"}, {tea, "1", "each", 0, "is not counted in"}, {mug, "1e3", "", 0, "no decimal"}, {mug, "", "", 0, "no decimal"},
		{mug, "1.", "", 0, "no decimal"}, {mug, "--1", "", 0, "no decimal"}, {mug, "9999999999999", "pallet", 0, "is more than"}, {mug, "99999999999999", "", 0, "no decimal"},
	} {
		got, err := c.of.Quantity(c.number, c.unit)
		if c.says == "" && (err != nil || got != c.want) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s %s of %s: %d, %v", c.number, c.unit, c.of.SKU, got, err)
		}
	}
}

func TestKitsExplodeInProportionAndNeverContainThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p rules.Policy
		for n := range rapid.IntRange(1, 6).Draw(t, "kits") {
			x := rules.Product{SKU: fmt.Sprint("K", n)}
			for range rapid.IntRange(1, 3).Draw(t, "components") {
				// Only of earlier ones, so that there is no cycle.
				sku := fmt.Sprint("S", rapid.IntRange(0, 4).Draw(t, "sku"))
				if n > 0 && rapid.Bool().Draw(t, "nested") {
					sku = fmt.Sprint("K", rapid.IntRange(0, n-1).Draw(t, "kit"))
				}
				x.Components = append(x.Components, rules.Component{SKU: sku, Quantity: rapid.Int64Range(1, 4).Draw(t, "each")})
			}
			p.Products = append(p.Products, x)
		}
		kit := p.Products[len(p.Products)-1].SKU
		n := rapid.Int64Range(1, 50).Draw(t, "n")
		one, err := p.Explode(kit, 1)
		if err != nil {
			t.Fatal(err)
		}
		many, err := p.Explode(kit, n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range one {
			one[i].Quantity *= n
			if strings.HasPrefix(one[i].SKU, "K") {
				t.Fatalf("a kit is left: %v", one)
			}
		}
		if d := cmp.Diff(one, many); d != "" {
			t.Fatal(d)
		}
		last := &p.Products[len(p.Products)-1]
		last.Components = append(last.Components, rules.Component{SKU: kit, Quantity: 1})
		if _, err := p.Explode(kit, 1); err == nil || len(p.Check(nil)) == 0 {
			t.Fatal("a kit that contains itself passes")
		}
	})
}

func TestAChoiceGivesExactlyWhatIsNeededFromWhatIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rules.Policy{Sourcing: rules.Sourcing{MaxLocations: rapid.IntRange(0, 3).Draw(t, "split"), Backorder: rapid.Bool().Draw(t, "backorder")}}
		free := map[string]rules.Free{}
		for n := range rapid.IntRange(1, 4).Draw(t, "locations") {
			l := rules.Location{Code: fmt.Sprint("L", n), Priority: rapid.Int64Range(0, 2).Draw(t, "priority"), SafetyStock: rapid.Int64Range(0, 2).Draw(t, "safety"), Closed: rapid.IntRange(0, 4).Draw(t, "closed") == 0}
			p.Locations = append(p.Locations, l)
			free[l.Code] = rules.Free{Unreserved: map[string]int64{"A": rapid.Int64Range(-2, 8).Draw(t, "A"), "B": rapid.Int64Range(0, 8).Draw(t, "B")}}
		}
		q := rules.Request{Channel: "shop"}
		for n := range rapid.IntRange(1, 4).Draw(t, "lines") {
			line := fmt.Sprint(n)
			if rapid.Bool().Draw(t, "kit") {
				q.Needs = append(q.Needs, rules.Need{Line: line, SKU: "A", Quantity: 1, Whole: true}, rules.Need{Line: line, SKU: "B", Quantity: 2, Whole: true})
				continue
			}
			q.Needs = append(q.Needs, rules.Need{Line: line, SKU: rapid.SampledFrom([]string{"A", "B"}).Draw(t, "sku"), Quantity: rapid.Int64Range(1, 5).Draw(t, "quantity")})
		}
		d := rules.Choose(p, q, free)
		shuffled := p
		shuffled.Locations = rapid.Permutation(p.Locations).Draw(t, "order")
		if diff := cmp.Diff(d, rules.Choose(shuffled, q, free)); diff != "" {
			t.Fatalf("the order of the locations decides: %s", diff)
		}
		if len(d.Verdicts) != len(p.Locations) {
			t.Fatalf("%d verdicts on %d locations", len(d.Verdicts), len(p.Locations))
		}
		if len(d.Missing) > 0 {
			if len(d.Picks) > 0 {
				t.Fatal("something is picked although something is missing")
			}
			return
		}
		given, taken, kits := map[[2]string]int64{}, map[[2]string]int64{}, map[string][]string{}
		backorder := slices.ContainsFunc(d.Verdicts, func(v rules.Verdict) bool { return v.Rule == rules.RuleBackorder })
		used := map[string]bool{}
		for _, x := range d.Picks {
			given[[2]string{x.Line, x.SKU}] += x.Quantity
			taken[[2]string{x.Location, x.SKU}] += x.Quantity
			used[x.Location] = true
			if !slices.Contains(kits[x.Line], x.Location) {
				kits[x.Line] = append(kits[x.Line], x.Location)
			}
		}
		for _, n := range q.Needs {
			if given[[2]string{n.Line, n.SKU}] != n.Quantity {
				t.Fatalf("line %s gets %d of %d %s", n.Line, given[[2]string{n.Line, n.SKU}], n.Quantity, n.SKU)
			}
			if n.Whole && len(kits[n.Line]) != 1 {
				t.Fatalf("kit %s is torn: %v", n.Line, kits[n.Line])
			}
		}
		for _, l := range p.Locations {
			if used[l.Code] && l.Closed {
				t.Fatal("a closed location ships")
			}
			for _, sku := range []string{"A", "B"} {
				if n := taken[[2]string{l.Code, sku}]; n > 0 && n > free[l.Code].Unreserved[sku]-l.SafetyStock && !backorder {
					t.Fatalf("%s gives %d of %d %s beside %d of safety stock", l.Code, n, free[l.Code].Unreserved[sku], sku, l.SafetyStock)
				}
			}
		}
		if len(used) > max(p.Sourcing.MaxLocations, 1) {
			t.Fatalf("split over %d locations", len(used))
		}
	})
}

func TestEachRuleRejectsAndSaysWhy(t *testing.T) {
	full := rules.Free{Unreserved: map[string]int64{"A": 10}}
	for _, c := range []struct {
		name string
		l    rules.Location
		q    rules.Request
		f    rules.Free
		rule string
		says string
	}{
		{"closed", rules.Location{Closed: true}, rules.Request{}, full, rules.RuleParticipating, "closed"},
		{"another channel", rules.Location{Channels: []string{"web"}}, rules.Request{Channel: "shop"}, full, rules.RuleParticipating, "not for shop"},
		{"pinned elsewhere", rules.Location{Capabilities: []string{"pickup"}}, rules.Request{Method: "pickup", Pinned: "CITY"}, full, rules.RulePinned, "CITY"},
		{"no pickup", rules.Location{}, rules.Request{Method: "pickup"}, full, rules.RuleCapability, "not pickup"},
		{"full for today", rules.Location{DailyOrders: 5}, rules.Request{}, rules.Free{Unreserved: full.Unreserved, Orders: 5}, rules.RuleCapacity, "5 orders"},
		{"too little", rules.Location{SafetyStock: 8}, rules.Request{}, full, rules.RuleStock, "safety stock of 8"},
		{"worse score", rules.Location{Priority: 9}, rules.Request{}, full, rules.RuleScore, "9"},
		{"farther", rules.Location{Distance: map[string]int64{"US": 30, "*": 1}}, rules.Request{Country: "US"}, full, rules.RuleScore, "30"},
		{"a tie", rules.Location{}, rules.Request{}, full, rules.RuleTie, "AAA"},
	} {
		c.l.Code = "MAIN"
		c.q.Needs = []rules.Need{{Line: "1", SKU: "A", Quantity: 3}}
		p := rules.Policy{Locations: []rules.Location{c.l, {Code: "AAA", Capabilities: []string{"ship", "pickup"}}}}
		d := rules.Choose(p, c.q, map[string]rules.Free{"MAIN": c.f, "AAA": full})
		v := d.Verdicts[1]
		if v.Location != "MAIN" || v.Chosen || v.Rule != c.rule || !strings.Contains(v.Why, c.says) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestAnOrderIsSplitOverAsFewLocationsAsMayBe(t *testing.T) {
	free := func(skus string) rules.Free {
		f := rules.Free{Unreserved: map[string]int64{}}
		for _, s := range strings.Split(skus, "") {
			f.Unreserved[s] = 1
		}
		return f
	}
	var needs []rules.Need
	for _, s := range strings.Split("ABCDEF", "") {
		needs = append(needs, rules.Need{Line: s, SKU: s, Quantity: 1})
	}
	for _, c := range []struct {
		name      string
		most      int
		locations []rules.Location
		free      []string
		want      string
	}{
		{"who gives most is not in the smallest choice", 2, []rules.Location{{Code: "MOST"}, {Code: "X"}, {Code: "Y"}}, []string{"ABCD", "ABE", "CDF"}, "X Y"},
		{"two suffice though three may", 3, []rules.Location{{Code: "MOST"}, {Code: "X"}, {Code: "Y"}}, []string{"ABCD", "ABE", "CDEF"}, "MOST Y"},
		{"the pair that scores lower", 2, []rules.Location{{Code: "FAR", Priority: 9}, {Code: "NEAR"}, {Code: "REST"}}, []string{"ABCDE", "ABCD", "EF"}, "NEAR REST"},
		{"equal pairs by code", 2, []rules.Location{{Code: "C"}, {Code: "B"}, {Code: "A"}}, []string{"DEF", "ABC", "DEF"}, "A B"},
		{"no two suffice", 2, []rules.Location{{Code: "X"}, {Code: "Y"}, {Code: "Z"}}, []string{"AB", "CD", "EF"}, ""},
		{"three do", 3, []rules.Location{{Code: "X"}, {Code: "Y"}, {Code: "Z"}}, []string{"AB", "CD", "EF"}, "X Y Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := rules.Policy{Locations: c.locations, Sourcing: rules.Sourcing{MaxLocations: c.most}}
			have := map[string]rules.Free{}
			for i, l := range c.locations {
				have[l.Code] = free(c.free[i])
			}
			d := rules.Choose(p, rules.Request{Needs: needs}, have)
			var used []string
			for _, x := range d.Picks {
				used = append(used, x.Location)
			}
			slices.Sort(used)
			if got := strings.Join(slices.Compact(used), " "); got != c.want || (len(d.Missing) > 0) != (c.want == "") {
				t.Errorf("split over %q, missing %v", got, d.Missing)
			}
		})
	}
}

// Whatever can be split among so many locations is split.
func TestNothingIsShortThatSomeChoiceOfLocationsHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rules.Policy{Sourcing: rules.Sourcing{MaxLocations: rapid.IntRange(1, 3).Draw(t, "split")}}
		free := map[string]rules.Free{}
		skus := []string{"A", "B", "C"}
		for n := range rapid.IntRange(1, 6).Draw(t, "locations") {
			l := rules.Location{Code: fmt.Sprint("L", n), Priority: rapid.Int64Range(0, 3).Draw(t, "priority")}
			p.Locations = append(p.Locations, l)
			free[l.Code] = rules.Free{Unreserved: map[string]int64{}}
			for _, s := range skus {
				free[l.Code].Unreserved[s] = rapid.Int64Range(0, 3).Draw(t, s)
			}
		}
		var q rules.Request
		for i, s := range skus {
			if n := rapid.Int64Range(0, 4).Draw(t, "need"); n > 0 {
				q.Needs = append(q.Needs, rules.Need{Line: fmt.Sprint(i), SKU: s, Quantity: n})
			}
		}
		fewest := 0
		for group := 1; group < 1<<len(p.Locations); group++ {
			has, size := map[string]int64{}, 0
			for i, l := range p.Locations {
				if group>>i&1 == 1 {
					size++
					for s, n := range free[l.Code].Unreserved {
						has[s] += n
					}
				}
			}
			enough := !slices.ContainsFunc(q.Needs, func(n rules.Need) bool { return has[n.SKU] < n.Quantity })
			if enough && size <= p.Sourcing.MaxLocations && (fewest == 0 || size < fewest) {
				fewest = size
			}
		}
		d := rules.Choose(p, q, free)
		used := map[string]bool{}
		for _, x := range d.Picks {
			used[x.Location] = true
		}
		if (len(d.Missing) > 0) != (fewest == 0) || len(q.Needs) > 0 && len(used) != fewest {
			t.Fatalf("split over %d locations where %d suffice; missing %v", len(used), fewest, d.Missing)
		}
	})
}
