package shopify

import (
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
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
	name
	text  span  // of a string or number
	next  int32 // the index after it and all that it contains
	kind  kind
	truth bool
}

// name is what an object has a value under; the zero value is that of one which
// is no member.
type name struct {
	key  span
	hash uint32 // of the key and the object, not 0
	in   int32  // the object
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
	// slots are the members of all objects, by their hashes: an index into values
	// each, or 0. Their number is a power of two and at least twice the members'.
	slots []int32
	named int
	seed  maphash.Seed
	// err is a reason to refuse what is JSON all the same.
	err *fault.Error
}

// kept bounds what a tree keeps for the next document: an order of some
// hundred lines.
const kept = 1 << 13

// fewest is how many slots a document's members begin with.
const fewest = 1 << 11

var trees = sync.Pool{New: func() any { return newTree() }}

// newTree has a seed of its own: nobody can write a document whose keys all
// meet in one slot.
func newTree() *tree {
	return &tree{values: make([]value, 0, fewest/2), slots: make([]int32, fewest), seed: maphash.MakeSeed()}
}

// release lets another document use the tree. Nothing may look at it after.
func (t *tree) release() {
	if cap(t.values) > kept {
		return
	}
	t.s, t.values, t.unescaped, t.err = "", t.values[:0], nil, nil
	t.named = 0
	clear(t.slots)
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
	at := t.value(t.space(0), 0, name{})
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
func (t *tree) value(at, depth int, as name) int {
	if at >= len(t.s) {
		return failed
	}
	v := value{name: as, next: int32(len(t.values) + 1)}
	switch t.s[at] {
	case '"':
		v.kind = str
		v.text, at = t.string(at)
	case '{', '[':
		return t.container(at, depth, as)
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

func (t *tree) container(at, depth int, as name) int {
	if depth >= maxDepth {
		t.err = fault.New(fault.Permanent, fault.Validation, "the payload is nested deeper than %d levels", maxDepth)
		return failed
	}
	me := len(t.values)
	v := value{name: as, kind: object}
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
		if at = t.value(t.space(at), depth+1, name{}); at == failed {
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
		as := name{key: key, hash: t.hash(int32(me), t.at(key)), in: int32(me)}
		if !t.add(as) {
			t.err = fault.New(fault.Permanent, fault.Validation, "the key is given twice").At(clipField(join(t.path(me), t.at(key))), "")
			return failed
		}
		if at = t.value(t.space(at+1), depth+1, as); at == failed {
			return failed
		}
		switch at = t.space(at); {
		case t.is(at, ','):
			at++
		case t.is(at, '}'):
			return at + 1
		default:
			return failed
		}
	}
}

// hash is that of an object's member; it is not 0.
func (t *tree) hash(object int32, key string) uint32 {
	h := maphash.String(t.seed, key) ^ uint64(object)*0x9e3779b97f4a7c15
	return uint32(h^h>>32) | 1
}

// slot is where a member stands, or the empty one where it would.
func (t *tree) slot(object int32, key string, hash uint32) *int32 {
	mask := uint32(len(t.slots) - 1)
	for i := hash >> 1 & mask; ; i = (i + 1) & mask {
		at := &t.slots[i]
		if *at == 0 {
			return at
		}
		if v := &t.values[*at]; v.hash == hash && v.in == object && t.at(v.key) == key {
			return at
		}
	}
}

// add gives the value that is read next its slot, unless its object has another
// of that name.
func (t *tree) add(as name) bool {
	if t.named++; 2*t.named > len(t.slots) {
		t.slots = make([]int32, 2*len(t.slots))
		for i, v := range t.values {
			if v.hash != 0 {
				*t.slot(v.in, t.at(v.key), v.hash) = int32(i)
			}
		}
	}
	at := t.slot(as.in, t.at(as.key), as.hash)
	if *at != 0 {
		return false
	}
	*at = int32(len(t.values))
	return true
}

// member is the index of an object's member, or 0.
func (t *tree) member(object int32, key string) int32 {
	return *t.slot(object, key, t.hash(object, key))
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
	x := binary.LittleEndian.Uint64([]byte(s)) // which copies nothing
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
