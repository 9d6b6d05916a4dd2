package partner

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// check refuses keys that the type has no field for, empty items, and values of
// another kind than their field's; tag is what names the fields. It settles how
// the scalars decode: where a number is wanted, an unquoted variable's value is
// read as if it stood in the file, and where a text is wanted, a scalar is its
// own text.
func (f file) check(n *yaml.Node, t reflect.Type, tag, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == nullTag {
		return // as if it were left out
	}
	if t.Kind() != reflect.Interface && n.Kind != nodeKind(t) {
		f.problem(n, path, f.found(n), takes(t, tag, path))
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		f.checkFields(n, t, tag, path)
	case reflect.Slice:
		f.checkItems(n, t.Elem(), tag, path)
	case reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.check(n.Content[i+1], t.Elem(), tag, join(path, n.Content[i].Value))
		}
	case reflect.Interface:
		f.checkAny(n, path)
	default:
		f.checkScalar(n, t, tag, path)
	}
}

func nodeKind(t reflect.Type) yaml.Kind {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return yaml.MappingNode
	case reflect.Slice:
		return yaml.SequenceNode
	}
	return yaml.ScalarNode
}

func (f file) checkFields(n *yaml.Node, t reflect.Type, tag, path string) {
	names := keys(t, tag)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		at := slices.Index(names, k.Value)
		if at < 0 {
			f.problem(k, join(path, k.Value), "there is no such key", suggest(k.Value, names))
			continue
		}
		f.check(n.Content[i+1], t.Field(at).Type, tag, join(path, k.Value))
	}
}

// keys are the names of a struct's fields, in their order.
func keys(t reflect.Type, tag string) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get(tag), ",")
	}
	return names
}

// checkItems refuses empty items: the YAML library would drop them, and what is
// said of those behind would name the wrong ones.
func (f file) checkItems(n *yaml.Node, t reflect.Type, tag, path string) {
	for i, c := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if c.Kind == yaml.ScalarNode && c.ShortTag() == nullTag {
			f.problem(c, at, "the item is empty", "write "+want(t, tag, at)+", or remove its dash")
			continue
		}
		f.check(c, t, tag, at)
	}
}

// checkAny is for what a connector's settings decide later.
func (f file) checkAny(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.checkAny(n.Content[i+1], join(path, n.Content[i].Value))
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			f.checkAny(c, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.ScalarNode:
		if n.ShortTag() == "!!float" {
			f.number(n, reflect.TypeFor[float64](), "", path)
		}
	}
}

func (f file) checkScalar(n *yaml.Node, t reflect.Type, tag, path string) {
	if t.Kind() == reflect.String {
		n.Tag = strTag
		return
	}
	if f.plain[n] {
		n.Tag = ""
	}
	if t.Kind() != reflect.Bool {
		f.number(n, t, tag, path)
		return
	}
	var b bool
	if n.ShortTag() == nullTag || n.Decode(&b) != nil {
		f.problem(n, path, f.shown(n)+" is neither true nor false", takes(t, tag, path))
	}
}

// wholeFloat is up to where a float is surely the number that was written.
const wholeFloat = 1 << 53

func (f file) number(n *yaml.Node, t reflect.Type, tag, path string) {
	var x float64
	kind := n.ShortTag()
	if kind != "!!int" && kind != "!!float" || n.Decode(&x) != nil {
		f.problem(n, path, f.found(n), takes(t, tag, path))
		return
	}
	isWhole := t.Kind() != reflect.Float64 && t.Kind() != reflect.Float32
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		f.problem(n, path, f.shown(n)+" is not finite", takes(t, tag, path))
	case isWhole && x != math.Trunc(x):
		f.problem(n, path, f.shown(n)+" has a fraction", takes(t, tag, path))
	case isWhole && kind == "!!float" && math.Abs(x) > wholeFloat, isWhole && n.Decode(reflect.New(t).Interface()) != nil:
		f.problem(n, path, f.shown(n)+" is too large", takes(t, tag, path))
	}
}

// shown is a scalar as a message shows it.
func (f file) shown(n *yaml.Node) string {
	if w, ok := f.written[n]; ok {
		return w
	}
	v := n.Value
	if r := []rune(v); len(r) > 40 {
		v = string(r[:40]) + "…"
	}
	if n.ShortTag() == strTag {
		return strconv.Quote(v)
	}
	return v
}

// found says what stands where something else should.
func (f file) found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "is a mapping"
	case yaml.SequenceNode:
		return "is a list"
	}
	kind := map[string]string{"!!int": "a number", "!!float": "a number", "!!bool": "true or false", nullTag: "nothing"}[n.ShortTag()]
	if kind == "" {
		kind = "a text"
	}
	if kind == "true or false" && f.written[n] == "" {
		return "is " + n.Value
	}
	return f.shown(n) + " is " + kind
}

var lastKey = regexp.MustCompile(`[^.\[\]]+(?:\[\d+\])*$`)

func takes(t reflect.Type, tag, path string) string { return "it takes " + want(t, tag, path) }

// want says what belongs into a field, which path ends with.
func want(t reflect.Type, tag, path string) string {
	switch t.Kind() {
	case reflect.Pointer:
		return want(t.Elem(), tag, path)
	case reflect.Struct:
		return "a mapping with " + strings.Join(keys(t, tag), ", ")
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a list of " + lastKey.FindString(path) + ", each " + want(t.Elem(), tag, "")
		}
		return "a list: " + want(t.Elem(), tag, "") + " after each dash"
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return "a mapping of " + lastKey.FindString(path)
		}
		return "a mapping of names, each to " + want(t.Elem(), tag, "")
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.Int, reflect.Int64:
		return "a whole number, without quotes"
	case reflect.Float64:
		return "a number, without quotes"
	}
	return "a text"
}
