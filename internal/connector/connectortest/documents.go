package connectortest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
)

func documentChecks(h Harness) []check {
	orders, parcels := has[order.Decoder](h.Bare), has[shipment.Decoder](h.Bare)
	out := []check{
		{"document/order_ids_above_2^53", orders, orderIDs},
		{"document/order_money_is_exact", orders, exact},
		{"document/order_money_is_not_rounded", orders, unrounded},
		{"document/order_times_are_instants", orders, orderTimes},
		{"document/order_garbage", orders, orderGarbage},
		{"document/parcel_ids_above_2^53", parcels, parcelIDs},
		{"document/parcel_times_are_instants", parcels, parcelTimes},
		{"document/parcel_quantities_are_whole", parcels, wholeQuantities},
		{"document/parcel_garbage", parcels, parcelGarbage},
	}
	for _, u := range h.Unknown {
		out = append(out, check{"document/unknown_" + u.Name, orders || parcels, func(t testing.TB, h Harness) string { return unheard(t, h, u) }})
	}
	if len(h.Unknown) == 0 {
		out = append(out, check{"document/unknown", orders || parcels, func(t testing.TB, _ Harness) string {
			t.Error("the harness has no document with an unknown value")
			return ""
		}})
	}
	return out
}

func spec() OrderSpec {
	return OrderSpec{ID: "9007199254740993", Line: "9007199254740995", Customer: "9007199254740997", Price: "24.00",
		PlacedAt: "2026-07-01T11:00:00Z", UpdatedAt: "2026-07-01T11:30:00Z"}
}

func parcel() ParcelSpec {
	return ParcelSpec{ID: "9007199254740993", OrderRef: "9007199254740995", ShippedAt: "2026-07-01T11:00:00Z", Quantity: "2"}
}

func decodeOrder(t testing.TB, h Harness, s OrderSpec) retail.Order {
	t.Helper()
	if h.Order == nil {
		t.Fatal("the harness writes no orders")
	}
	o, _, err := must[order.Decoder](t, h.Bare).DecodeOrder(h.Order(s))
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return o
}

func decodeParcel(t testing.TB, h Harness, s ParcelSpec) (retail.Shipment, error) {
	t.Helper()
	if h.Parcel == nil {
		t.Fatal("the harness writes no parcels")
	}
	return must[shipment.Decoder](t, h.Bare).DecodeShipment(h.Parcel(s))
}

func orderIDs(t testing.TB, h Harness) string {
	s := spec()
	o := decodeOrder(t, h, s)
	if o.ExternalID != s.ID || len(o.Lines) != 1 || o.Lines[0].ExternalID != s.Line || o.CustomerRef != s.Customer {
		t.Errorf("the ids are %s, %+v, %s, want %s, %s, %s", o.ExternalID, o.Lines, o.CustomerRef, s.ID, s.Line, s.Customer)
	}
	// An error must name the order all the same.
	broken := spec()
	broken.Price = "a lot"
	o, _, err := must[order.Decoder](t, h.Bare).DecodeOrder(h.Order(broken))
	if err == nil || o.ExternalID != s.ID {
		t.Errorf("an order that cannot be read is named %q, %v", o.ExternalID, err)
	}
	return ""
}

// Amounts that a float64 does not hold, or holds only until it is multiplied.
var amounts = []string{"0.01", "0.07", "0.29", "1.15", "4.35", "8.41", "19.99", "1234567.89", "21474836.48", "90071992547409.93"}

func exact(t testing.TB, h Harness) string {
	for _, a := range amounts {
		s := spec()
		s.Price = a
		o := decodeOrder(t, h, s)
		if got := o.Totals.Total.String(); got != a {
			t.Errorf("the total %s is read as %s", a, got)
		}
		if got := o.Totals.Lines.String(); got != a {
			t.Errorf("lines of %s are read as %s", a, got)
		}
	}
	return ""
}

func unrounded(t testing.TB, h Harness) string {
	for _, a := range []string{"10.005", "0.001", "1e2", "NaN", "", "10,50", "99999999999999999999.99"} {
		s := spec()
		s.Price = a
		_, _, err := must[order.Decoder](t, h.Bare).DecodeOrder(h.Order(s))
		f := fault.Of(err)
		if f == nil || f.Kind == fault.Retryable || f.Field == "" {
			t.Errorf("an amount of %q: %v does not name the field", a, err)
		}
	}
	return ""
}

// Instants as vendors write them.
var instants = []struct{ text, utc string }{
	{"2026-03-08T01:59:59-05:00", "2026-03-08T06:59:59Z"}, // before New York springs forward
	{"2026-03-08T03:00:00-04:00", "2026-03-08T07:00:00Z"}, // a second later
	{"2026-11-01T01:30:00-04:00", "2026-11-01T05:30:00Z"}, // the hour that comes twice
	{"2026-11-01T01:30:00-05:00", "2026-11-01T06:30:00Z"},
	{"2026-07-01T00:30:00+05:45", "2026-06-30T18:45:00Z"},
	{"2026-06-30T23:59:59Z", "2026-06-30T23:59:59Z"},
}

func sameInstant(t testing.TB, what string, got time.Time, utc string) {
	t.Helper()
	want, err := time.Parse(time.RFC3339, utc)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("%s is %s, want %s", what, got, utc)
	}
}

func orderTimes(t testing.TB, h Harness) string {
	for _, i := range instants {
		s := spec()
		s.PlacedAt, s.UpdatedAt = i.text, i.text
		o := decodeOrder(t, h, s)
		sameInstant(t, "placed at "+i.text, o.PlacedAt, i.utc)
		sameInstant(t, "updated at "+i.text, o.SourceUpdatedAt, i.utc)
	}
	s := spec()
	s.PlacedAt = "2026-07-01 11:00" // no zone: no instant
	if _, _, err := must[order.Decoder](t, h.Bare).DecodeOrder(h.Order(s)); fault.Of(err) == nil || fault.Of(err).Field == "" {
		t.Errorf("a time without a zone: %v does not name the field", err)
	}
	return ""
}

func parcelIDs(t testing.TB, h Harness) string {
	s := parcel()
	p, err := decodeParcel(t, h, s)
	if err != nil || p.ExternalID != s.ID || p.OrderRef != s.OrderRef {
		t.Errorf("the ids are %s and %s, want %s and %s: %v", p.ExternalID, p.OrderRef, s.ID, s.OrderRef, err)
	}
	broken := parcel()
	broken.Quantity = `"many"`
	if p, err = decodeParcel(t, h, broken); err == nil || p.ExternalID != s.ID || p.OrderRef != s.OrderRef {
		t.Errorf("a parcel that cannot be read is named %q of %q, %v", p.ExternalID, p.OrderRef, err)
	}
	return ""
}

func parcelTimes(t testing.TB, h Harness) string {
	for _, i := range instants {
		s := parcel()
		s.ShippedAt = i.text
		p, err := decodeParcel(t, h, s)
		if err != nil {
			t.Fatal(err)
		}
		sameInstant(t, "shipped at "+i.text, p.ShippedAt, i.utc)
	}
	return ""
}

func wholeQuantities(t testing.TB, h Harness) string {
	for _, q := range []string{"1.5", "-1", "1e400", "9007199254740993", `"2"`, "true", "null"} {
		s := parcel()
		s.Quantity = q
		if _, err := decodeParcel(t, h, s); fault.Of(err) == nil || fault.Of(err).Kind == fault.Retryable || fault.Of(err).Field == "" {
			t.Errorf("a quantity of %s: %v does not name the field", q, err)
		}
	}
	return ""
}

// rubbish is what no decoder may take or fall over.
var rubbish = []string{"", " ", "null", "[]", "{}", "0", `"x"`, "{", `{"id":`, "\xff\xfe", "<!doctype html>", strings.Repeat("[", 100_000),
	`{"id":{},"line_items":7,"products":{}}`, `{"id":1e999}`, `{"id":9007199254740993.5}`, `{"id":true,"order_id":[]}`}

func refusesRubbish(t testing.TB, decode func(raw []byte) error) {
	t.Helper()
	for _, raw := range rubbish {
		if f := fault.Of(decode([]byte(raw))); f == nil || f.Kind == fault.Retryable {
			t.Errorf("%.40q is not refused for good: %v", raw, f)
		}
	}
}

func orderGarbage(t testing.TB, h Harness) string {
	c := must[order.Decoder](t, h.Bare)
	refusesRubbish(t, func(raw []byte) error { _, _, err := c.DecodeOrder(raw); return err })
	return ""
}

func parcelGarbage(t testing.TB, h Harness) string {
	c := must[shipment.Decoder](t, h.Bare)
	refusesRubbish(t, func(raw []byte) error { _, err := c.DecodeShipment(raw); return err })
	return ""
}

// unheard demands that a value which nobody knows is kept, or refused by name.
func unheard(t testing.TB, h Harness, u Unknown) string {
	if !strings.Contains(string(u.Raw), u.Value) {
		t.Fatalf("the document does not hold %q", u.Value)
	}
	var doc any
	var err error
	if c, ok := h.Bare.(order.Decoder); ok {
		doc, _, err = c.DecodeOrder(u.Raw)
	} else {
		doc, err = must[shipment.Decoder](t, h.Bare).DecodeShipment(u.Raw)
	}
	if err == nil {
		kept, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(kept), u.Value) {
			return "kept"
		}
		return "taken without it"
	}
	f := fault.Of(err)
	if f == nil || f.Kind == fault.Retryable || f.Field == "" || f.Value != u.Value {
		t.Errorf("%v names neither field nor value", err)
	}
	return "refused at " + f.Field
}
