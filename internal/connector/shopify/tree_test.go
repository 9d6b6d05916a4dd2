package shopify

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// plain is a value as encoding/json would read it.
func (v *value) plain() any {
	switch v.kind {
	case boolean:
		return v.truth
	case number:
		return json.Number(v.text)
	case str:
		return v.text
	case list:
		out := make([]any, len(v.parts))
		for i := range v.parts {
			out[i] = v.parts[i].plain()
		}
		return out
	case object:
		out := map[string]any{}
		for i := range v.parts {
			out[v.parts[i].key] = v.parts[i].plain()
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
		r := &reader{}
		got := parse(r, raw)
		if !json.Valid(raw) {
			if r.err == nil {
				t.Fatalf("%q is no JSON and was read", raw)
			}
			return
		}
		if r.err != nil {
			return // stricter than JSON: doubled keys, depth, no object
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.v.plain(), want) {
			t.Errorf("%q is read as %#v, not %#v", raw, got.v.plain(), want)
		}
	})
}

func TestADoubledKeyIsRefusedAmongFewAndAmongMany(t *testing.T) {
	for _, n := range []int{1, 5, manyKeys - 1, manyKeys, 3 * manyKeys} {
		var b strings.Builder
		b.WriteString(`{"outer":{`)
		for i := range n {
			b.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
		}
		b.WriteString(`"k":2}}`)
		r := &reader{}
		parse(r, []byte(b.String()))
		if r.err == nil || r.err.Field != "outer.k" {
			t.Errorf("among %d: %v", n, r.err)
		}
	}
}
