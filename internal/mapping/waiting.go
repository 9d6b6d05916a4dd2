package mapping

import (
	"regexp"
	"slices"
	"strings"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Waiting are the exceptions that wait for one value to be mapped.
type Waiting struct {
	Tenant     retail.Tenant
	Connection string
	Kind       Kind
	Value      string
	// Channels are the connections whose documents go to Connection: what is
	// written there is parked with the channel's order.
	Channels []string
}

// fields are where a kind's values stand, by direction, without positions.
var fields = map[Direction]map[Kind][]string{
	Decode: {SKU: {"lines[].sku"}, Tax: {"lines[].tax_lines[].title", "shipping[].tax_lines[].title"}, Payment: {"financial_status"}, Carrier: {"carrier"}},
	Encode: {SKU: {"lines[].sku"}, Tax: {"lines[].tax_lines[].title", "shipping[].tax_lines[].title"}, Carrier: {"carrier", "shipping_method"}, Location: {"location"}},
}

// Applies tells whether a document has values of the kind in this direction
// yet. No document has reasons or units.
func Applies(k Kind, d Direction) bool { return len(fields[d][k]) > 0 }

// Documents are the documents that have values of the kind in this direction.
func Documents(k Kind, d Direction) []string {
	switch {
	case k == SKU && d == Decode:
		return []string{"order", "shipment"}
	case k == SKU:
		return []string{"order", "shipment", "release"}
	case k == Tax, k == Payment && d == Decode:
		return []string{"order"}
	case k == Carrier && d == Decode:
		return []string{"shipment"}
	case k == Carrier:
		return []string{"shipment", "release"}
	case k == Location && d == Encode:
		return []string{"release"}
	}
	return nil
}

// Fingerprints are those of the exceptions that strict maps raise for the value.
func (w Waiting) Fingerprints() []string {
	var out []string
	add := func(parked, field string) {
		out = append(out, document.Fingerprint(&fault.Error{Class: fault.Mapping, Field: field, Value: w.Value}, parked))
	}
	for _, f := range fields[Decode][w.Kind] {
		add(w.Connection, f)
	}
	for _, f := range fields[Encode][w.Kind] {
		for _, c := range append([]string{w.Connection}, w.Channels...) {
			add(c, w.Connection+":"+f)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

var position = regexp.MustCompile(`\[\d+\]`)

// ends are the last parts of connectors' own field paths, by kind: their
// exceptions, such as a product that an ERP does not know, wait for the same.
var ends = map[Kind][]string{
	SKU: {"sku", "reference_id", "code"}, Tax: {"title"}, Payment: {"financial_status"}, Carrier: {"carrier", "shipping_method", "company"}, Location: {"location", "location_id"},
}

// Direction tells in which direction the value of an exception stands.
func (w Waiting) Direction(x document.Exception) Direction {
	if strings.HasPrefix(x.Field, w.Connection+":") || x.Connection != w.Connection {
		return Encode
	}
	return Decode
}

// Match tells whether an exception waits for the value: it is among
// Fingerprints, or a connector or the stock raised it about the same value.
func (w Waiting) Match(x document.Exception) bool {
	if x.Tenant != w.Tenant || x.Class != string(fault.Mapping) || !sameValue(x.Value, w.Value) {
		return false
	}
	if slices.Contains(w.Fingerprints(), x.Fingerprint) {
		return true
	}
	of, field, qualified := strings.Cut(x.Field, ":")
	switch {
	case qualified && of != w.Connection:
		return false
	case !qualified:
		field = x.Field
	}
	if !qualified && x.Connection != w.Connection && !slices.Contains(w.Channels, x.Connection) {
		return false
	}
	field = position.ReplaceAllString(field, "")
	return slices.Contains(ends[w.Kind], field[strings.LastIndexByte(field, '.')+1:])
}

// sameValue compares with an exception's value, which may be cut.
func sameValue(shown, value string) bool {
	cut, was := strings.CutSuffix(shown, "…")
	return shown == value || (was && strings.HasPrefix(value, cut))
}
