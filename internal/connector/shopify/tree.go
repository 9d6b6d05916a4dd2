package shopify

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/fault"
)

// kind is the kind of a JSON value; the zero value is null.
type kind uint8

const (
	null kind = iota
	boolean
	number
	str
	list
	object
)

// value is one JSON value. Texts and numbers are parts of the payload's own
// bytes: neither ids nor money ever pass through a float.
type value struct {
	kind  kind
	truth bool
	text  string  // of a string or number
	parts []entry // of a list or object
}

// entry is a member of an object or, without a key, an item of a list.
type entry struct {
	key string
	value
}

func (v *value) member(key string) *value {
	for i := range v.parts {
		if v.parts[i].key == key {
			return &v.parts[i].value
		}
	}
	return nil
}

// tree reads a document in one pass. encoding/json has found it valid, so what
// is read here needs no second look at its syntax.
type tree struct {
	s  string
	at int
	// way are the keys that lead to where it reads, for faults.
	way []string
	// open are the parts of the lists and objects that are not closed yet: each
	// is copied once, when its size is known.
	open []entry
	err  *fault.Error
}

func (t *tree) space() {
	for t.at < len(t.s) {
		switch t.s[t.at] {
		case ' ', '\t', '\n', '\r':
			t.at++
		default:
			return
		}
	}
}

// take passes a byte that may come next, after space.
func (t *tree) take(c byte) bool {
	t.space()
	if t.at < len(t.s) && t.s[t.at] == c {
		t.at++
		return true
	}
	return false
}

func (t *tree) value(depth int) (v value) {
	t.space()
	if t.err != nil || t.at >= len(t.s) {
		return v
	}
	switch c := t.s[t.at]; c {
	case '{', '[':
		if depth >= maxDepth {
			t.err = fault.New(fault.Permanent, fault.Validation, "the payload is nested deeper than %d levels", maxDepth)
			return v
		}
		t.at++
		if c == '[' {
			v.kind, v.parts = list, t.items(depth)
		} else {
			v.kind, v.parts = object, t.members(depth)
		}
	case '"':
		v.kind, v.text = str, t.string()
	case 't':
		v.kind, v.truth, t.at = boolean, true, t.at+4
	case 'f':
		v.kind, t.at = boolean, t.at+5
	case 'n':
		t.at += 4
	default:
		from := t.at
		for t.at < len(t.s) && strings.IndexByte("+-.eE0123456789", t.s[t.at]) >= 0 {
			t.at++
		}
		v.kind, v.text = number, t.s[from:t.at]
	}
	return v
}

func (t *tree) items(depth int) []entry {
	from := len(t.open)
	for !t.take(']') && t.err == nil && t.at < len(t.s) {
		v := t.value(depth + 1)
		t.open = append(t.open, entry{value: v})
		t.take(',')
	}
	return t.close(from)
}

// close takes the parts from an index on off the open ones.
func (t *tree) close(from int) []entry {
	out := make([]entry, len(t.open)-from)
	copy(out, t.open[from:])
	t.open = t.open[:from]
	return out
}

// manyKeys is where finding a doubled key pair by pair would cost more than a
// set.
const manyKeys = 64

func (t *tree) members(depth int) []entry {
	from := len(t.open)
	var seen map[string]bool
	for !t.take('}') && t.err == nil && t.at < len(t.s) {
		t.space()
		key := t.string()
		twice := seen[key]
		if seen == nil {
			for _, e := range t.open[from:] {
				twice = twice || e.key == key
			}
		}
		t.way = append(t.way, key)
		if twice && t.err == nil {
			t.err = fault.New(fault.Permanent, fault.Validation, "the key is given twice").At(clipField(strings.Join(t.way, ".")), "")
			break
		}
		t.take(':')
		v := t.value(depth + 1)
		t.open = append(t.open, entry{key, v})
		t.way = t.way[:len(t.way)-1]
		switch n := len(t.open) - from; {
		case seen != nil:
			seen[key] = true
		case n == manyKeys:
			seen = make(map[string]bool, 2*manyKeys)
			for _, e := range t.open[from:] {
				seen[e.key] = true
			}
		}
		t.take(',')
	}
	return t.close(from)
}

// string reads a string at its opening quote. One without escapes is a part of
// the document; the others are encoding/json's to read.
func (t *tree) string() string {
	from := t.at
	plain := true
	for t.at++; t.at < len(t.s) && t.s[t.at] != '"'; t.at++ {
		if t.s[t.at] == '\\' {
			plain = false
			t.at++
		}
	}
	t.at++
	raw := t.s[from:min(t.at, len(t.s))]
	if plain && len(raw) >= 2 && utf8.ValidString(raw) {
		return raw[1 : len(raw)-1]
	}
	var s string
	if err := json.Unmarshal([]byte(raw), &s); err != nil && t.err == nil {
		t.err = fault.New(fault.Permanent, fault.Validation, "the payload is not JSON")
	}
	return s
}
