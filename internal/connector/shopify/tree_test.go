package shopify

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/retail"
)

// plain is a value as encoding/json would read it.
func (t *tree) plain(at int) any {
	v := t.values[at]
	switch v.kind {
	case boolean:
		return v.truth
	case number:
		return json.Number(t.at(v.text))
	case str:
		return t.at(v.text)
	case list:
		out := []any{}
		for i := at + 1; i < int(v.next); i = int(t.values[i].next) {
			out = append(out, t.plain(i))
		}
		return out
	case object:
		out := map[string]any{}
		for i := at + 1; i < int(v.next); i = int(t.values[i].next) {
			out[t.at(t.values[i].key)] = t.plain(i)
		}
		return out
	default:
		return nil
	}
}

// FuzzTree holds the reader to encoding/json: what both accept, both read
// alike.
func FuzzTree(f *testing.F) {
	for _, s := range []string{
		`{"id":9007199254740993,"price":"10.00","n":-1.5e+3,"ok":true,"no":false,"none":null}`,
		`{"a":[],"b":{},"c":[1,"two",[null,{"d":[{}]}]],"e":""}`,
		"{\"escapes\":\"\\\"\\\\\\u00e9\\ud83d\\ude00\\n\",\"key \\\"quoted\\\"\":1,\"raw\":\"é日本\"}",
		" \t\r\n{ \"spaced\" : [ 1 , 2 ] , \"x\" : { } } \n",
		"{\"broken\":\"\xff\xfe\",\"half\":\"\\ud800\"}",
		`{"twice":1,"twice":2}`,
		`{"` + strings.Repeat(`k":1,"k`, 1) + `":2}`,
		`{"deep":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := newTree()
		if read := got.read(raw); read != json.Valid(raw) && got.err == nil {
			t.Fatalf("%q: read %t", raw, read)
		} else if !read {
			return // no JSON, or stricter than JSON: doubled keys, depth
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.plain(0), want) {
			t.Errorf("%q is read as %#v, not %#v", raw, got.plain(0), want)
		}
	})
}

func TestADoubledKeyIsRefusedAmongFewAndAmongMany(t *testing.T) {
	for _, n := range []int{1, 5, fewest/2 - 2, fewest / 2, 3 * fewest} {
		var b strings.Builder
		b.WriteString(`{"outer":{`)
		for i := range n {
			b.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
		}
		b.WriteString(`"k":2}}`)
		r := &reader{tree: newTree()}
		parse(r, []byte(b.String()))
		if r.err == nil || r.err.Field != "outer.k" {
			t.Errorf("among %d: %v", n, r.err)
		}
	}
}

func TestAListIsOfObjects(t *testing.T) {
	for _, c := range []struct {
		json, field string
		items       int
	}{
		{`{"of":[{},{},{}]}`, "", 3}, {`{"of":[]}`, "", 0}, {`{"of":null}`, "", 0}, {`{}`, "", 0},
		{`{"of":{"a":{}}}`, "of", 0}, {`{"of":"a"}`, "of", 0},
		{`{"of":[{},[{},{}],"a",null]}`, "of[1]", 4},
	} {
		r := &reader{tree: newTree()}
		root, ok := parse(r, []byte(c.json))
		if !ok {
			t.Fatal(r.err)
		}
		of, items := root.get("of"), 0
		for item := range of.each {
			if item.missing() == (item.kind() == object) {
				t.Errorf("%s: an item is neither an object nor missing", c.json)
			}
			items++
		}
		if items != c.items || of.length() != c.items || (r.err == nil) != (c.field == "") || r.err != nil && r.err.Field != c.field {
			t.Errorf("%s: %d items of %d, %v", c.json, items, of.length(), r.err)
		}
		for range of.each {
			break // needs no other
		}
	}
}

// FuzzShort holds the short way of reading money to the long one.
func FuzzShort(f *testing.F) {
	for _, s := range []string{"0", "-0.00", "12.50", "12.5", "1.", ".5", "-", "007", "12345678901234567", "-1234567890123.45", "1e2", "1.234", "1.000", " 1", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range []retail.Currency{"JPY", "USD", "KWD"} {
			minor, ok := short(s, c.Exponent())
			if want, err := retail.ParseMoney(s, c); ok && (err != nil || want.Amount != minor) {
				t.Errorf("%q in %s is read as %d, not %d (%v)", s, c, minor, want.Amount, err)
			}
		}
	})
}
