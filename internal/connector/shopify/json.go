package shopify

import (
	"bytes"
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

// node is a JSON value with its path in the document. Numbers are
// json.Number: neither ids nor money ever pass through a float.
type node struct {
	r    *reader
	path string
	v    any
}

// parse reads one JSON document. Text after it, a key given twice and nesting
// past maxDepth are refused: two readers of such a document may disagree.
func parse(r *reader, raw []byte) node {
	root := node{r: r}
	if !json.Valid(raw) {
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not one JSON document (%d bytes)", len(raw)))
		return root
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := value(dec, "", 0)
	if err != nil {
		f := fault.Of(err)
		if f == nil {
			f = fault.New(fault.Permanent, fault.Validation, "the payload is not JSON")
		}
		r.fail(f)
		return root
	}
	root.v = v
	if _, ok := v.(map[string]any); !ok {
		r.fail(fault.New(fault.Permanent, fault.Validation, "the payload is not a JSON object"))
	}
	return root
}

func value(dec *json.Decoder, path string, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	d, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, fault.New(fault.Permanent, fault.Validation, "the payload is nested deeper than %d levels", maxDepth)
	}
	if d == '[' {
		list := []any{}
		for i := 0; dec.More(); i++ {
			v, err := value(dec, path, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	m := map[string]any{}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, errors.New("an object's key is not a string")
		}
		at := join(path, key)
		if _, twice := m[key]; twice {
			return nil, fault.New(fault.Permanent, fault.Validation, "the key is given twice").At(clipField(at), "")
		}
		if m[key], err = value(dec, at, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return m, err
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
	n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be %s", want).At(n.path, ""))
}

func (n node) missing() bool { return n.v == nil }

// get is the member under key; absent and null are both missing.
func (n node) get(key string) node {
	c := node{r: n.r, path: join(n.path, key)}
	if n.v == nil {
		return c
	}
	m, ok := n.v.(map[string]any)
	if !ok {
		n.malformed("an object")
		return c
	}
	c.v = m[key]
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
func (n node) has(key string) bool {
	m, _ := n.v.(map[string]any)
	_, ok := m[key]
	return ok
}

func (n node) list() []node {
	if n.v == nil {
		return nil
	}
	vs, ok := n.v.([]any)
	if !ok {
		n.malformed("a list")
		return nil
	}
	out := make([]node, len(vs))
	for i, v := range vs {
		out[i] = node{r: n.r, path: n.path + "[" + strconv.Itoa(i) + "]", v: v}
		if _, ok := v.(map[string]any); !ok {
			out[i].malformed("an object")
			out[i].v = nil
		}
	}
	return out
}

func (n node) text() string {
	if n.v == nil {
		return ""
	}
	s, ok := n.v.(string)
	if !ok {
		n.malformed("a string")
	}
	return s
}

func (n node) flag(otherwise bool) bool {
	if n.v == nil {
		return otherwise
	}
	b, ok := n.v.(bool)
	if !ok {
		n.malformed("true or false")
	}
	return b
}

// count is a whole number of at least zero.
func (n node) count() int64 {
	if n.v == nil {
		n.malformed("a whole number, and is missing")
		return 0
	}
	num, ok := n.v.(json.Number)
	if !ok {
		n.malformed("a number")
		return 0
	}
	i, err := strconv.ParseInt(num.String(), 10, 64)
	if err != nil || i < 0 {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a whole number of at least zero").At(n.path, reference(num.String())))
		return 0
	}
	return i
}

// id is an id in digits: a JSON integer, or a string of digits.
func (n node) id() string {
	var s string
	switch v := n.v.(type) {
	case nil:
		return ""
	case json.Number:
		s = v.String()
	case string:
		s = v
	}
	if !digits(s) {
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be an id in digits").At(n.path, reference(s)))
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
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be an id such as gid://shopify/%s/1", kind).At(n.path, reference(s)))
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
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a time in RFC 3339").At(n.path, reference(s)))
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
		n.r.fail(fault.New(fault.Exception, fault.Validation, "is not an ISO 4217 currency that the platform knows").At(n.path, reference(s)))
		return ""
	}
	return c
}

// money reads a decimal: a string, or a number's own digits.
func (n node) money(c retail.Currency) amount {
	var s string
	switch v := n.v.(type) {
	case nil:
		return amount{}
	case string:
		s = v
	case json.Number:
		s = v.String()
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
		n.r.fail(fault.New(fault.Exception, fault.Validation, "has more digits than %s allows", c).At(n.path, reference(s)))
	case err != nil:
		n.r.fail(fault.New(fault.Permanent, fault.Validation, "must be a decimal within the range of amounts").At(n.path, reference(s)))
	}
	return amount{Money: m, set: err == nil, path: n.path}
}

// side is one currency's part of a money bag: {amount, currency(_)code}.
func (n node) side(currencyKey string, c retail.Currency) amount {
	if n.missing() {
		return amount{}
	}
	if code := n.get(currencyKey); code.text() != "" && code.text() != string(c) {
		n.r.fail(fault.New(fault.Exception, fault.Validation, "is not in the order's currency %s", c).At(code.path, reference(code.text())))
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
