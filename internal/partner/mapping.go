package partner

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// mapsFile are a connection's small value maps, by kind.
type mapsFile struct {
	SKU      mapFile `yaml:"sku"`
	Location mapFile `yaml:"location"`
	Tax      mapFile `yaml:"tax"`
	Payment  mapFile `yaml:"payment"`
	Carrier  mapFile `yaml:"carrier"`
	Reason   mapFile `yaml:"reason"`
	Unit     mapFile `yaml:"unit"`
}

type mapFile struct {
	Strict bool              `yaml:"strict"`
	Decode map[string]string `yaml:"decode"` // the system's value: ours
	Encode map[string]string `yaml:"encode"` // our value: the system's
}

type overrideFile struct {
	Document  string `yaml:"document"`
	Direction string `yaml:"direction"`
	Field     string `yaml:"field"`
	Value     string `yaml:"value"`
}

// maxFileEntries bounds one direction of a map in a file. The configuration is
// one item, and read as a whole.
const maxFileEntries = 200

func (m mapsFile) kinds() map[mapping.Kind]mapFile {
	return map[mapping.Kind]mapFile{mapping.SKU: m.SKU, mapping.Location: m.Location, mapping.Tax: m.Tax, mapping.Payment: m.Payment,
		mapping.Carrier: m.Carrier, mapping.Reason: m.Reason, mapping.Unit: m.Unit}
}

// maps checks the value maps that stand in the file.
func (f file) maps(at string, m mapsFile) map[mapping.Kind]mapping.Fixed {
	out := map[mapping.Kind]mapping.Fixed{}
	for _, k := range mapping.Kinds() {
		x := m.kinds()[k]
		field := at + ".maps." + string(k)
		if !f.has(field) {
			continue
		}
		for _, d := range []struct {
			name    string
			entries map[string]string
		}{{"decode", x.Decode}, {"encode", x.Encode}} {
			if len(d.entries) > maxFileEntries {
				f.add(field+"."+d.name, fmt.Sprintf("has %d entries; %d are the most in a file", len(d.entries), maxFileEntries), "keep a larger map apart: waybill map import")
			}
			for _, from := range slices.Sorted(maps.Keys(d.entries)) {
				for _, v := range []string{from, d.entries[from]} {
					if err := mapping.CheckValue(v); err != nil {
						f.entry(field+"."+d.name, from, fmt.Sprintf("%q: %v", v, err))
					}
				}
			}
		}
		if len(x.Decode)+len(x.Encode) == 0 {
			f.add(field, "is empty", "decode: maps the system's values to ours, encode: ours to the system's")
		}
		out[k] = mapping.Fixed{Strict: x.Strict, Decode: x.Decode, Encode: x.Encode}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// entry records a problem at one entry of a map, whose key may hold what a path
// cannot.
func (f file) entry(field, key, wrong string) {
	line := 0
	if n := f.at(field); n != nil {
		line = n.Line
		if v := child(n, key); v != nil {
			line = v.Line
		}
	}
	f.tell(max(line, 1), field, wrong, "write the value as the system does")
}

// overrides checks and compiles a connection's overrides.
func (f file) overrides(at string, c connectionFile, opened any) []mapping.Override {
	var out []mapping.Override
	for i, o := range c.Overrides {
		out = append(out, mapping.Override(o))
		if opened != nil && !catalog.Carries(opened, o.Document, mapping.Direction(o.Direction)) && known(o) {
			f.add(fmt.Sprintf("%s.overrides[%d]", at, i), fmt.Sprintf("connection %s never has a document for it: %s %s", c.ID, o.Direction, o.Document),
				"it has "+catalog.Carried(opened))
		}
	}
	_, problems := mapping.Compile(c.ID, out)
	for _, p := range problems {
		field := fmt.Sprintf("%s.overrides[%d].%s", at, p.Index, p.Part)
		wrong, right := p.Wrong, p.Right
		if p.Column > 0 {
			wrong = fmt.Sprintf("column %d of the expression: %s", p.Column, wrong)
		}
		f.tell(f.expressionLine(field, p.Line), field, wrong, right)
	}
	return out
}

func known(o overrideFile) bool {
	return slices.Contains([]string{"order", "shipment", "release"}, o.Document) && slices.Contains([]string{"decode", "encode"}, o.Direction) &&
		(o.Document != "release" || o.Direction == "encode")
}

// expressionLine is where a line of an expression stands in the file.
func (f file) expressionLine(field string, line int) int {
	n := f.at(field)
	if n == nil {
		return 1
	}
	at := n.Line
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		at++ // the text begins below its mark
	}
	if n.Style&yaml.LiteralStyle != 0 && line > 1 {
		at += line - 1
	}
	return max(at, 1)
}

// idle notes the maps of kinds that no document has values of yet.
func idle(c tenancy.Connection) (out []Change) {
	for _, k := range slices.Sorted(maps.Keys(c.Maps)) {
		if !mapping.Applies(k, mapping.Decode) && !mapping.Applies(k, mapping.Encode) {
			out = append(out, Change{Sign: "!", Field: fmt.Sprintf("connections[%s].maps.%s", c.ID, k), Is: "is kept and changes nothing: no document has values of this kind yet"})
		}
	}
	return out
}
