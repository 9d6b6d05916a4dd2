package shopify

import (
	"encoding/json"
	"math/bits"
	"strconv"
	"sync"
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
// bytes: neither ids nor money ever pass through a float. It holds no pointer,
// so that the collector has nothing to follow.
type value struct {
	key   span   // under which its object has it
	text  span   // of a string or number; an object's filter
	hash  uint32 // of the key
	next  int32  // the index after it and all that it contains
	kind  kind
	truth bool
}

// span is a part of the payload or, where to is negative, one of the texts
// that are not written in it as they read.
type span struct{ from, to int32 }

// tree is a document that is read in one pass, as its values in the order in
// which they are written: what a list or an object contains follows it.
type tree struct {
	s      string
	values []value
	// unescaped are texts that had escapes or broken UTF-8.
	unescaped []string
	// last is the object that was searched last, and found where its next search
	// begins: documents are mostly asked in the order in which they are written.
	last, found int
	// err is a reason to refuse what is JSON all the same.
	err *fault.Error
}

// kept bounds what a tree keeps for the next document: an order of some
// hundred lines.
const kept = 1 << 15

var trees = sync.Pool{New: func() any { return &tree{values: make([]value, 0, 1024)} }}

// release lets another document use the tree. Nothing may look at it after.
func (t *tree) release() {
	if cap(t.values) > kept {
		return
	}
	t.s, t.values, t.unescaped, t.err = "", t.values[:0], nil, nil
	t.last, t.found = 0, 0
	trees.Put(t)
}

func (t *tree) at(s span) string {
	if s.to < 0 {
		return t.unescaped[s.from]
	}
	return t.s[s.from:s.to]
}

// failed is the position where reading ends early.
const failed = -1

// read reads one JSON document and reports whether it is one. It accepts what
// encoding/json does, unless err says why not.
func (t *tree) read(raw []byte) bool {
	t.s = string(raw)
	at := t.value(t.space(0), 0, span{})
	return at != failed && t.space(at) == len(t.s)
}

// space is the next position that holds no space.
func (t *tree) space(at int) int {
	for at < len(t.s) {
		switch t.s[at] {
		case ' ', '\t', '\n', '\r':
			at++
		default:
			return at
		}
	}
	return at
}

// is reports whether a position holds a byte.
func (t *tree) is(at int, c byte) bool { return at < len(t.s) && t.s[at] == c }

// value reads the value at a position and returns where it ends.
func (t *tree) value(at, depth int, key span) int {
	if at >= len(t.s) {
		return failed
	}
	v := value{key: key, next: int32(len(t.values) + 1)}
	switch t.s[at] {
	case '"':
		v.kind = str
		v.text, at = t.string(at)
	case '{', '[':
		return t.container(at, depth, key)
	case 't':
		v.kind, v.truth = boolean, true
		at = t.literal(at, "true")
	case 'f':
		v.kind = boolean
		at = t.literal(at, "false")
	case 'n':
		at = t.literal(at, "null")
	default:
		end := t.number(at)
		if end == failed {
			return failed
		}
		v.kind, v.text, at = number, span{int32(at), int32(end)}, end
	}
	if at != failed {
		t.values = append(t.values, v)
	}
	return at
}

func (t *tree) literal(at int, word string) int {
	if end := at + len(word); end <= len(t.s) && t.s[at:end] == word {
		return end
	}
	return failed
}

func (t *tree) container(at, depth int, key span) int {
	if depth >= maxDepth {
		t.err = fault.New(fault.Permanent, fault.Validation, "the payload is nested deeper than %d levels", maxDepth)
		return failed
	}
	me := len(t.values)
	v := value{key: key, kind: object}
	if t.s[at] == '[' {
		v.kind = list
	}
	t.values = append(t.values, v)
	if v.kind == list {
		at = t.items(at+1, depth)
	} else {
		at = t.members(at+1, depth, me)
	}
	t.values[me].next = int32(len(t.values))
	return at
}

func (t *tree) items(at, depth int) int {
	at = t.space(at)
	if t.is(at, ']') {
		return at + 1
	}
	for {
		if at = t.value(t.space(at), depth+1, span{}); at == failed {
			return failed
		}
		switch at = t.space(at); {
		case t.is(at, ','):
			at++
		case t.is(at, ']'):
			return at + 1
		default:
			return failed
		}
	}
}

func (t *tree) members(at, depth, me int) int {
	at = t.space(at)
	if t.is(at, '}') {
		return at + 1
	}
	var had keys
	var filter uint64
	for {
		at = t.space(at)
		if !t.is(at, '"') {
			return failed
		}
		var key span
		if key, at = t.string(at); at == failed {
			return failed
		}
		if at = t.space(at); !t.is(at, ':') {
			return failed
		}
		name := t.at(key)
		h := hash(name)
		if had.add(t, me, name, h) {
			t.err = fault.New(fault.Permanent, fault.Validation, "the key is given twice").At(clipField(join(t.path(me), name)), "")
			return failed
		}
		member := len(t.values)
		if at = t.value(t.space(at+1), depth+1, key); at == failed {
			return failed
		}
		t.values[member].hash = h
		filter |= filtered(h)
		switch at = t.space(at); {
		case t.is(at, ','):
			at++
		case t.is(at, '}'):
			t.values[me].text = span{int32(filter), int32(filter >> 32)}
			return at + 1
		default:
			return failed
		}
	}
}

// keys finds a key that an object has twice. Most are told apart by a bit
// each; the rest by comparing, and by a set where that would cost too much.
type keys struct {
	seen [4]uint64
	n    int
	all  map[string]bool
}

// manyKeys is where comparing would cost more than a set.
const manyKeys = 256

// add reports whether the object has the key already.
func (k *keys) add(t *tree, object int, key string, h uint32) (twice bool) {
	if k.n++; k.n > manyKeys {
		if k.all == nil {
			k.all = make(map[string]bool, 2*manyKeys)
			for i := object + 1; i < len(t.values); i = int(t.values[i].next) {
				k.all[t.at(t.values[i].key)] = true
			}
		}
		twice = k.all[key]
		k.all[key] = true
		return twice
	}
	word, bit := &k.seen[h>>30], uint64(1)<<(h>>24&63)
	if *word&bit == 0 {
		*word |= bit
		return false
	}
	return t.find(object, key, h) >= 0
}

// hash tells most keys apart.
func hash(key string) uint32 {
	n := len(key)
	if n == 0 {
		return 0
	}
	h := uint32(n) | uint32(key[0])<<8 | uint32(key[n/2])<<16 | uint32(key[n-1])<<24
	return (h ^ uint32(key[n/3])<<4) * 0x9e3779b1
}

// member is the index of an object's member, or negative.
func (t *tree) member(object int, key string) int { return t.find(object, key, hash(key)) }

// filtered is the bit of a key in its object's filter: where it is not set, the
// object does not have the key.
func filtered(h uint32) uint64 { return 1 << (h >> 26) }

func (t *tree) find(object int, key string, h uint32) int {
	o := &t.values[object]
	if o.next == 0 { // it is being read
		return t.between(object+1, len(t.values), key, h)
	}
	if (uint64(uint32(o.text.from))|uint64(uint32(o.text.to))<<32)&filtered(h) == 0 {
		return -1
	}
	from := object + 1
	if t.last == object && t.found != 0 {
		from = t.found
	}
	i := t.between(from, int(o.next), key, h)
	if i < 0 {
		i = t.between(object+1, from, key, h)
	}
	if i >= 0 {
		t.last, t.found = object, int(t.values[i].next)
	}
	return i
}

// between looks for a key among an object's members from one index to another.
func (t *tree) between(from, to int, key string, h uint32) int {
	values := t.values[:to]
	for i := from; i < to; {
		v := &values[i]
		if v.hash == h && t.at(v.key) == key {
			return i
		}
		i = int(v.next)
	}
	return -1
}

// path names a value for a fault.
func (t *tree) path(of int) string {
	path := ""
	for at := 0; at < of; {
		i, n := at+1, 0
		for next := int(t.values[i].next); next != 0 && next <= of; next = int(t.values[i].next) {
			i, n = next, n+1
		}
		if t.values[at].kind == list {
			path += "[" + strconv.Itoa(n) + "]"
		} else {
			path = join(path, t.at(t.values[i].key))
		}
		at = i
	}
	return path
}

// string reads the string at its opening quote. One without escapes is a part
// of the document; the others are encoding/json's to read.
func (t *tree) string(at int) (text span, end int) {
	s, i := t.s, at+1
	for ; i+8 <= len(s); i += 8 {
		if odd := extraordinary(s[i : i+8]); odd != 0 {
			i += bits.TrailingZeros64(odd) / 8
			break
		}
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return span{int32(at + 1), int32(i)}, i + 1
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			return t.unusual(at, i)
		}
	}
	return span{}, failed
}

// extraordinary looks at eight bytes at once. The lowest bit that it sets is in
// the first byte that does not stand for itself in a string whatever is around
// it: quotes, backslashes, controls, and all that is not ASCII.
func extraordinary(s string) uint64 {
	const each, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	return (x | (x - each*' ') | ((x ^ each*'"') - each) | ((x ^ each*'\\') - each)) & high
}

// unusual is string from the first byte on that is not ordinary.
func (t *tree) unusual(at, i int) (text span, end int) {
	plain := true
	for ; i < len(t.s) && t.s[i] != '"'; i++ {
		switch c := t.s[i]; {
		case c < ' ':
			return span{}, failed
		case c == '\\':
			plain = false
			i++
		}
	}
	if i >= len(t.s) {
		return span{}, failed
	}
	raw := t.s[at : i+1]
	if plain && utf8.ValidString(raw) {
		return span{int32(at + 1), int32(i)}, i + 1
	}
	var read string
	if err := json.Unmarshal([]byte(raw), &read); err != nil {
		return span{}, failed
	}
	t.unescaped = append(t.unescaped, read)
	return span{int32(len(t.unescaped) - 1), -1}, i + 1
}

// number returns where the number at a position ends.
func (t *tree) number(at int) int {
	if t.is(at, '-') {
		at++
	}
	if t.is(at, '0') {
		at++
	} else if at = t.digits(at); at == failed {
		return failed
	}
	if t.is(at, '.') {
		if at = t.digits(at + 1); at == failed {
			return failed
		}
	}
	if t.is(at, 'e') || t.is(at, 'E') {
		at++
		if t.is(at, '+') || t.is(at, '-') {
			at++
		}
		return t.digits(at)
	}
	return at
}

// digits passes at least one digit.
func (t *tree) digits(at int) int {
	from := at
	for at < len(t.s) && t.s[at]-'0' <= 9 {
		at++
	}
	if at == from {
		return failed
	}
	return at
}
