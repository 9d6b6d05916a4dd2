package shopify

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// maxDepth bounds the nesting of a document; the deepest official sample has 8.
const maxDepth = 64

// reader is a document being decoded. It keeps the first fault met, so that
// the decoder reads straight on and checks once.
type reader struct {
	*tree
	err *fault.Error
	// digits are those of the currency that was asked for last.
	currency retail.Currency
	digits   int
	// signed is set while an amount is read that may be below zero.
	signed bool
}

func (r *reader) fail(f *fault.Error) {
	if r.err == nil {
		r.err = f
	}
}

// node is a place in a document, with or without a value.
type node struct {
	r *reader
	// at is the value's index; where there is none, it is negative, and key
	// leads here from the value at up.
	at, up int32
	key    string
}

func (n node) value() *value { return &n.r.values[n.at] }

// path names the node for a fault.
func (n node) path() string {
	if n.at >= 0 {
		return n.r.path(int(n.at))
	}
	return join(n.r.path(int(n.up)), n.key)
}

// words are the text of a string or a number's digits.
func (n node) words() string { return n.r.tree.at(n.value().text) }

func (n node) kind() kind {
	if n.at < 0 {
		return null
	}
	return n.value().kind
}

// parse reads one JSON object into r. Text after it, a key given twice and
// nesting past maxDepth are refused: two readers of such a document may
// disagree.
func parse(r *reader, raw []byte) (root node, ok bool) {
	switch {
	case r.read(raw):
	case r.tree.err != nil && json.Valid(raw):
		r.fail(r.tree.err)
		return root, false
	default:
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not one JSON document (%d bytes)", len(raw)))
		return root, false
	}
	if r.values[0].kind != object {
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not a JSON object"))
		return root, false
	}
	return node{r: r}, true
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
	if n.at < 0 {
		return node{r: n.r, at: -1, up: n.up, key: join(n.key, key)}
	}
	switch n.value().kind {
	case object:
		if at := n.r.member(n.at, key); at > 0 {
			return node{r: n.r, at: at}
		}
	case null:
	default:
		n.malformed("an object")
	}
	return node{r: n.r, at: -1, up: n.at, key: key}
}

// follow is get for several keys.
func (n node) follow(keys ...string) node {
	for _, k := range keys {
		n = n.get(k)
	}
	return n
}

// has reports a key that is present, be it null.
func (n node) has(key string) bool { return n.kind() == object && n.r.member(n.at, key) > 0 }

// each ranges over a list of objects.
func (n node) each(yield func(node) bool) {
	switch n.kind() {
	case null:
		return
	case list:
	default:
		n.malformed("a list")
		return
	}
	for i, end := n.at+1, n.value().next; i < end; i = n.r.values[i].next {
		item := node{r: n.r, at: i}
		if item.value().kind != object {
			item.malformed("an object")
			item = node{r: n.r, at: -1, up: i}
		}
		if !yield(item) {
			return
		}
	}
}

// length is how many items a list has.
func (n node) length() (items int) {
	if n.kind() != list {
		return 0
	}
	for i, end := n.at+1, n.value().next; i < end; i = n.r.values[i].next {
		items++
	}
	return items
}

func (n node) text() string {
	switch n.kind() {
	case null:
		return ""
	case str:
		return n.words()
	default:
		n.malformed("a string")
		return ""
	}
}

// loose is text that some producers write as a number: a name, a code, a
// postal code.
func (n node) loose() string {
	if n.kind() == number {
		return n.words()
	}
	return n.text()
}

func (n node) flag(otherwise bool) bool {
	switch n.kind() {
	case null:
		return otherwise
	case boolean:
		return n.value().truth
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
	i, err := strconv.ParseInt(n.words(), 10, 64)
	if err != nil || i < 0 {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a whole number of at least zero").At(n.path(), reference(n.words())))
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
		s = n.words()
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
	id := gid(s, kind)
	if id == "" {
		n.r.fail(notGID(kind).At(n.path(), reference(s)))
	}
	return id
}

// gid is the number in an id of the kind, or empty.
func gid(s, kind string) string {
	tail, ok := strings.CutPrefix(s, "gid://shopify/")
	if ok {
		tail, ok = strings.CutPrefix(tail, kind)
	}
	if ok {
		tail, ok = strings.CutPrefix(tail, "/")
	}
	tail, _, _ = strings.Cut(tail, "?")
	if !ok || !digits(tail) {
		return ""
	}
	return tail
}

func notGID(kind string) *fault.Error {
	return fault.New(fault.Permanent, fault.Validation, "must be an id such as gid://shopify/%s/1", kind)
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
		s = n.words()
	default:
		n.malformed("a decimal")
		return amount{}
	}
	if c == "" {
		return amount{}
	}
	if c != n.r.currency {
		n.r.currency, n.r.digits = c, c.Exponent()
	}
	if strings.HasPrefix(s, "-") && strings.Trim(s, "-0.") != "" && !n.r.signed {
		n.r.fail(fault.New(fault.Exception, fault.Validation, "must not be below zero").At(n.path(), reference(s)))
		return amount{}
	}
	if minor, ok := short(s, n.r.digits); ok {
		return amount{Money: retail.Money{Amount: minor, Currency: c}, set: true, from: n}
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

// short reads a decimal as money is usually written: up to 17 digits, no more
// after the point than the currency has. It gives what retail.ParseMoney does.
func short(s string, places int) (minor int64, ok bool) {
	if s == "" || len(s) > 17 || places < 0 {
		return 0, false
	}
	i := 0
	if s[0] == '-' {
		i = 1
	}
	from := i
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		minor = minor*10 + int64(s[i]-'0')
	}
	if i == from {
		return 0, false
	}
	if i < len(s) {
		if s[i] != '.' || i+1 == len(s) {
			return 0, false
		}
		for i++; i < len(s) && s[i]-'0' <= 9 && places > 0; i++ {
			minor = minor*10 + int64(s[i]-'0')
			places--
		}
		if i < len(s) {
			return 0, false
		}
	}
	for ; places > 0; places-- {
		if minor > math.MaxInt64/10 {
			return 0, false
		}
		minor *= 10
	}
	if s[0] == '-' {
		minor = -minor
	}
	return minor, true
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
