package partner_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/partner"
)

// mapped puts lines into the shop's connection, where line 11 is the first.
func mapped(lines string) string {
	return strings.Replace(goodRetailer, "    webhook_secrets: [\"${HOOK}\"]\n", "    webhook_secrets: [\"${HOOK}\"]\n"+lines, 1)
}

func TestMapsAndOverridesAreReadFromAFile(t *testing.T) {
	dir := folder(t, goodPartner, mapped(`    maps:
      sku:
        strict: true
        decode: { OLD: NEW, 4711: MUG }
      payment:
        decode: { paid: settled }
    overrides:
      - { document: order, direction: decode, field: "lines[].title", value: "value.trim()" }
`))
	f, err := partner.Load(dir, env)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := f.Retailers[0].Config.Connection("shop")
	if !c.Maps[mapping.SKU].Strict || c.Maps[mapping.SKU].Decode["4711"] != "MUG" || c.Maps[mapping.Payment].Decode["paid"] != "settled" || len(c.Maps) != 2 {
		t.Errorf("maps = %+v", c.Maps)
	}
	if len(c.Overrides) != 1 || c.Overrides[0].Field != "lines[].title" {
		t.Errorf("overrides = %+v", c.Overrides)
	}
}

func TestAWrongMapOrOverrideIsToldWithItsLineAndPosition(t *testing.T) {
	override := func(rest string) string {
		return mapped("    overrides:\n      - document: order\n        direction: decode\n" + rest)
	}
	for _, c := range []struct {
		name, file string
		line       int
		says       []string
	}{
		{"an unknown kind", mapped("    maps:\n      skus: { decode: { A: B } }\n"), 12, []string{"maps.skus", "did you mean sku?"}},
		{"an unknown direction of a map", mapped("    maps:\n      sku: { decod: { A: B } }\n"), 12, []string{"did you mean decode?"}},
		{"an empty map", mapped("    maps:\n      sku: { strict: true }\n"), 12, []string{"is empty"}},
		{"a value with a blank", mapped("    maps:\n      sku:\n        decode:\n          A: B\n          C.D: \"E \"\n"), 15, []string{`"E "`, "blank"}},
		{"an unknown field", override("        field: shippng_method\n        value: '\"x\"'\n"), 14, []string{"overrides[0].field", "did you mean shipping_method?"}},
		{"an id", override("        field: external_id\n        value: '\"x\"'\n"), 14, []string{"identifies the document"}},
		{"the wrong type", override("        field: shipping_method\n        value: 1 + 1\n"), 15, []string{"overrides[0].value", "gives int", "string("}},
		{"an expression that does not compile", override("        field: shipping_method\n        value: order.nope\n"), 15, []string{"column 6", "undefined field 'nope'"}},
		{"an expression over lines", override("        field: shipping_method\n        value: |\n          value +\n            nope\n"), 17, []string{"column 3", "there are value, order"}},
		{"a costly expression", override("        field: lines[].sku\n        value: 'order.lines.exists(l, l.sku == value) ? value : value'\n"), 15, []string{"steps", "value map"}},
		{"a document that the connection never has", mapped("    overrides:\n      - { document: release, direction: encode, field: location, value: '\"x\"' }\n"), 12, []string{"never has", "decode order"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := partner.Load(folder(t, goodPartner, c.file), env)
			var problems partner.Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("err = %v", err)
			}
			p := problems[0]
			if p.Line != c.line {
				t.Errorf("line %d, want %d: %s", p.Line, c.line, p)
			}
			for _, s := range c.says {
				if !strings.Contains(p.String(), s) {
					t.Errorf("%q is not said in %s", s, p)
				}
			}
		})
	}
}

func TestAChangeOfAMapIsPlannedEntryByEntry(t *testing.T) {
	s := newStack()
	s.apply(t, mapped("    maps:\n      sku: { decode: { hook: A, B: C } }\n      unit: { decode: { cs: case } }\n"), env)
	plan := s.apply(t, mapped("    maps:\n      sku: { decode: { hook: X, B: C, D: E } }\n      unit: { decode: { cs: case } }\n"), env)
	want := `north  + connections[shop].maps.sku.decode.D: "E"
north  ~ connections[shop].maps.sku.decode.hook: "A" → "X"
north  ! connections[shop].maps.unit: is kept and changes nothing: no document has values of this kind yet`
	if shown(plan) != want {
		t.Errorf("the difference is\n%s\nnot\n%s", shown(plan), want)
	}
}
