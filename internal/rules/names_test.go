package rules_test

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"

	"github.com/waybillhq/waybill/internal/rules"
)

func TestACodeIsLettersDigitsAndAFewMarks(t *testing.T) {
	for _, code := range []string{"MAIN", "City-2", "wh_1", "a.b", "NL/AMS", "shelf:4", strings.Repeat("A", 64)} {
		if wrong, _ := rules.CheckCode(code); wrong != "" {
			t.Errorf("%s: %s", code, wrong)
		}
	}
	for _, code := range []string{"", " ", "MA IN", "MA#IN", "MA\tIN", "MA\nIN", "MAIN\n", "MA\u00a0IN", "\u00dcber", "-A", strings.Repeat("A", 65), strings.Repeat("A", 5000)} {
		wrong, right := rules.CheckCode(code)
		if wrong == "" || right == "" || len(wrong) > 400 {
			t.Errorf("%.70q: %q; %q", code, wrong, right)
		}
	}
}

// The machine that checks a file may have zones of its own.
func TestAZoneIsOneThatGoProgramsCarry(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	var carried []string
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, "/") && f.Name != "Factory" { // the zone of a clock that nobody has set
			carried = append(carried, f.Name)
		}
	}
	slices.Sort(carried)
	listed, err := os.ReadFile("zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(carried, "\n") + "\n"; string(listed) != want {
		t.Errorf("zones.txt lists %d bytes of names, Go carries %d; write the latter there", len(listed), len(want))
	}
	for _, name := range append(carried, "") {
		if wrong, _ := rules.CheckZone(name); wrong != "" {
			t.Error(wrong)
		}
		if _, err := time.LoadLocation(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"right/UTC", "posix/UTC", "localtime", "posixrules", "Local", "america/new_york", "New_York", " ", "\n", "UTC\n", "UTC\nGMT", "Factory", "../UTC"} {
		if wrong, right := rules.CheckZone(name); wrong == "" || !strings.Contains(right, "America/New_York") {
			t.Errorf("%q: %q; %q", name, wrong, right)
		}
	}
}

func TestADistanceIsToAnAssignedCountryCode(t *testing.T) {
	check := func(code string) []rules.Problem {
		return rules.Policy{Locations: []rules.Location{{Code: "MAIN", Distance: map[string]int64{code: 1}}}}.Check(nil)
	}
	// Reserved, withdrawn, or a user's own.
	none := strings.Fields("AC AN CP CQ CS DG EA EU EZ FQ FX IC NT PC SU TA UK UN XK XX YU ZR ZZ QO AA")
	n := 0
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string(a) + string(b)
			r, err := language.ParseRegion(code)
			country := err == nil && r.IsCountry() && r.String() == code && r.Canonicalize() == r && !slices.Contains(none, code)
			if found := check(code); (len(found) == 0) != country {
				t.Errorf("%s: %v, a country: %t", code, found, country)
			}
			if country {
				n++
			}
		}
	}
	if n != 249 {
		t.Errorf("%d countries", n)
	}
	if found := check("*"); len(found) > 0 {
		t.Error(found)
	}
	for code, says := range map[string]string{"UK": "the United Kingdom is GB", "uk": "the United Kingdom is GB", "XX": "such as US", "11": "such as US", "us": "such as US", "Usa": "such as US",
		"": "such as US", "S ": "such as US", "\nA": "such as US", "**": "such as US"} {
		if found := check(code); len(found) != 1 || found[0].Field != "locations[0].distance" || !strings.Contains(found[0].Right, says) {
			t.Errorf("%q: %+v", code, found)
		}
	}
}

func TestAProductThatCannotWorkIsRefused(t *testing.T) {
	many := rules.Product{SKU: "K"}
	for i := range rules.MaxComponents + 1 {
		many.Components = append(many.Components, rules.Component{SKU: fmt.Sprint("S", i), Quantity: 1})
	}
	for name, c := range map[string]struct {
		of           []rules.Product
		field, wrong string
	}{
		"a component stands once in a kit": {[]rules.Product{{SKU: "K", Components: []rules.Component{{SKU: "A", Quantity: 1}, {SKU: "A", Quantity: 2}}}}, "products[0].components[1].sku", `"A" stands twice in the kit`},
		"a kit has so many SKUs":           {[]rules.Product{many}, "products[0].components", "more than 45 SKUs"},
		"a kit holds no kit twice around": {[]rules.Product{{SKU: "K", Components: []rules.Component{{SKU: "L", Quantity: 1}}}, {SKU: "L", Components: []rules.Component{{SKU: "K", Quantity: 1}}}},
			"products[0].components", "kit K contains itself: K → L → K"},
		"a component has a quantity":         {[]rules.Product{{SKU: "K", Components: []rules.Component{{SKU: "A"}}}}, "products[0].components[0]", `0 of "A" is no component`},
		"a pack is not named piece":          {[]rules.Product{{SKU: "A", Packs: map[string]int64{"piece": 12}}}, "products[0].packs", `"piece" is no name for a pack: it is 1 piece already`},
		"a pack is not named each":           {[]rules.Product{{SKU: "A", Packs: map[string]int64{"each": 12}}}, "products[0].packs", `"each" is no name for a pack`},
		"a pack of grams is not named kg":    {[]rules.Product{{SKU: "A", Unit: rules.Gram, Packs: map[string]int64{"kg": 12}}}, "products[0].packs", `"kg" is no name for a pack: it is 1000 gram already`},
		"a pack of pieces may be named kg":   {[]rules.Product{{SKU: "A", Packs: map[string]int64{"kg": 12}}}, "", ""},
		"a pack of grams may be named piece": {[]rules.Product{{SKU: "A", Unit: rules.Gram, Packs: map[string]int64{"piece": 12}}}, "", ""},
		"a pack may be named version":        {[]rules.Product{{SKU: "A", Packs: map[string]int64{"version": 12}}}, "", ""},
	} {
		found := rules.Policy{Products: c.of}.Check(nil)
		if c.wrong == "" && len(found) > 0 || c.wrong != "" && (len(found) != 1 || found[0].Field != c.field || !strings.Contains(found[0].Wrong, c.wrong) || found[0].Right == "") {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// Each kit holds the next two, and those the two after: by every way through
// them the last would be met more often than can be counted.
func TestKitsThatShareKitsExplodeAtOnce(t *testing.T) {
	var p rules.Policy
	for i := range 400 {
		p.Products = append(p.Products, rules.Product{SKU: fmt.Sprint("K", i), Components: []rules.Component{{SKU: fmt.Sprint("K", i+1), Quantity: 1}, {SKU: fmt.Sprint("K", i+2), Quantity: 1}}})
	}
	begun := time.Now()
	if found := p.Check(nil); len(found) != 1 || !strings.Contains(found[0].Wrong, "holds more than 1000000000000 of") {
		t.Errorf("%d problems: %.300v", len(found), found)
	}
	p.Products = p.Products[380:]
	if found := p.Check(nil); len(found) > 0 {
		t.Error(found)
	}
	// The ways to K400 and K401 from twenty steps before are Fibonacci's.
	if got, err := p.Explode("K380", 2); err != nil || len(got) != 2 || got[0].Quantity != 2*10946 || got[1].Quantity != 2*6765 {
		t.Errorf("%v, %v", got, err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
