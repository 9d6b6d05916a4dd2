package shopify

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// maxDepth bounds the nesting of a document; the deepest official sample has 8.
const maxDepth = 64

// reader keeps the first fault met while a document is read, so that the
// decoder reads straight on and checks once.
type reader struct{ err *fault.Error }

func (r *reader) fail(f *fault.Error) {
	if r.err == nil {
		r.err = f
	}
}

// node is a JSON value with its place in the document: the key or index under
// its parent.
type node struct {
	r  *reader
	up *node
	// key leads here from up; index does where key is empty.
	key   string
	index int
	v     *value // nil where it is missing
}

// path names the node for a fault.
func (n node) path() string {
	if n.up == nil {
		return ""
	}
	if n.key == "" {
		return n.up.path() + "[" + strconv.Itoa(n.index) + "]"
	}
	return join(n.up.path(), n.key)
}

func (n node) kind() kind {
	if n.v == nil {
		return null
	}
	return n.v.kind
}

// parse reads one JSON document. Text after it, a key given twice and nesting
// past maxDepth are refused: two readers of such a document may disagree.
func parse(r *reader, raw []byte) node {
	root := node{r: r}
	if !json.Valid(raw) {
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not one JSON document (%d bytes)", len(raw)))
		return root
	}
	t := tree{s: string(raw), open: make([]entry, 0, 64)}
	v := t.value(0)
	if t.err != nil {
		r.fail(t.err)
		return root
	}
	root.v = &v
	if v.kind != object {
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not a JSON object"))
	}
	return root
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// clipField bounds a path that is made of the document's own keys.
func clipField(s string) string {
	if len(s) <= 120 {
		return s
	}
	return s[:120]
}

func (n node) malformed(want string) {
	n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be %s", want).At(n.path(), ""))
}

func (n node) missing() bool { return n.kind() == null }

// get is the member under key; absent and null are both missing.
func (n node) get(key string) node {
	c := node{r: n.r, up: &n, key: key}
	switch n.kind() {
	case null:
	case object:
		c.v = n.v.member(key)
	default:
		n.malformed("an object")
	}
	return c
}

// at follows several keys.
func (n node) at(keys ...string) node {
	for _, k := range keys {
		n = n.get(k)
	}
	return n
}

// has reports a key that is present, be it null.
func (n node) has(key string) bool { return n.kind() == object && n.v.member(key) != nil }

func (n node) list() []node {
	switch n.kind() {
	case null:
		return nil
	case list:
	default:
		n.malformed("a list")
		return nil
	}
	out := make([]node, len(n.v.parts))
	for i := range n.v.parts {
		out[i] = node{r: n.r, up: &n, index: i, v: &n.v.parts[i].value}
		if out[i].kind() != object {
			out[i].malformed("an object")
			out[i].v = nil
		}
	}
	return out
}

func (n node) text() string {
	switch n.kind() {
	case null:
		return ""
	case str:
		return n.v.text
	default:
		n.malformed("a string")
		return ""
	}
}

func (n node) flag(otherwise bool) bool {
	switch n.kind() {
	case null:
		return otherwise
	case boolean:
		return n.v.truth
	default:
		n.malformed("true or false")
		return false
	}
}

// count is a whole number of at least zero.
func (n node) count() int64 {
	switch n.kind() {
	case null:
		n.malformed("a whole number, and is missing")
		return 0
	case number:
	default:
		n.malformed("a number")
		return 0
	}
	i, err := strconv.ParseInt(n.v.text, 10, 64)
	if err != nil || i < 0 {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a whole number of at least zero").At(n.path(), reference(n.v.text)))
		return 0
	}
	return i
}

// id is an id in digits: a JSON integer, or a string of digits.
func (n node) id() string {
	var s string
	switch n.kind() {
	case null:
		return ""
	case number, str:
		s = n.v.text
	}
	if !digits(s) {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be an id in digits").At(n.path(), reference(s)))
		return ""
	}
	return s
}

// gid is the number at the end of "gid://shopify/{kind}/{number}".
func (n node) gid(kind string) string {
	s := n.text()
	if s == "" {
		return ""
	}
	tail, ok := strings.CutPrefix(s, "gid://shopify/"+kind+"/")
	tail, _, _ = strings.Cut(tail, "?")
	if !ok || !digits(tail) {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be an id such as gid://shopify/%s/1", kind).At(n.path(), reference(s)))
		return ""
	}
	return tail
}

func digits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 20
}

func (n node) time() time.Time {
	s := n.text()
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a time in RFC 3339").At(n.path(), reference(s)))
		return time.Time{}
	}
	return t.UTC()
}

func (n node) currency() retail.Currency {
	s := n.text()
	if s == "" {
		return ""
	}
	c, err := retail.ParseCurrency(s)
	if err != nil {
		n.r.fail(fault.New(fault.Exception, fault.Validation, "is not an ISO 4217 currency that the platform knows").At(n.path(), reference(s)))
		return ""
	}
	return c
}

// money reads a decimal: a string, or a number's own digits.
func (n node) money(c retail.Currency) amount {
	var s string
	switch n.kind() {
	case null:
		return amount{}
	case number, str:
		s = n.v.text
	default:
		n.malformed("a decimal")
		return amount{}
	}
	if c == "" {
		return amount{}
	}
	m, err := retail.ParseMoney(s, c)
	switch {
	case errors.Is(err, retail.ErrExcessDigits):
		n.r.fail(fault.New(fault.Exception, fault.Validation, "has more digits than %s allows", c).At(n.path(), reference(s)))
	case err != nil:
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a decimal within the range of amounts").At(n.path(), reference(s)))
	}
	return amount{Money: m, set: err == nil, from: n}
}

// side is one currency's part of a money bag: {amount, currency(_)code}.
func (n node) side(currencyKey string, c retail.Currency) amount {
	if n.missing() {
		return amount{}
	}
	if code := n.get(currencyKey); code.text() != "" && code.text() != string(c) {
		n.r.fail(fault.New(fault.Exception, fault.Validation, "is not in the order's currency %s", c).At(code.path(), reference(code.text())))
	}
	return n.get("amount").money(c)
}

// reference is a value as a fault may show it. What looks like an e-mail
// address is withheld: faults are logged.
func reference(s string) string {
	if strings.ContainsAny(s, "@\n") {
		return ""
	}
	if len(s) > 60 {
		s = s[:60]
	}
	return strings.ToValidUTF8(s, "")
}
