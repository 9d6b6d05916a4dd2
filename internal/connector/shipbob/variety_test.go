package shipbob_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// base is a shipment of which tests write parts.
const base = `{"id":5,"order_id":6,"reference_id":"o-1","status":"STATUS","last_update_at":"2026-03-01T13:00:00Z","actual_fulfillment_date":DATE,"tracking":TRACKING,"products":PRODUCTS}`

func shipment(parts ...string) []byte {
	filled := strings.NewReplacer(parts...).Replace(base)
	return []byte(strings.NewReplacer("STATUS", "Completed", "DATE", `"2026-03-01T12:00:00Z"`, "TRACKING", `{"tracking_number":"T"}`,
		"PRODUCTS", `[{"reference_id":"A","inventory_items":[{"id":1,"quantity":1}]}]`).Replace(filled))
}

func TestShipmentsOfEveryKind(t *testing.T) {
	for _, tc := range []struct {
		name  string
		parts []string
		field string // of the refusal; empty where it is decoded
		check func(retail.Shipment) bool
	}{
		{"no tracking", []string{"TRACKING", "null"}, "", func(s retail.Shipment) bool { return s.Tracking == "" }},
		{"tracking without anything", []string{"TRACKING", `{"carrier":null,"tracking_number":null,"tracking_url":null}`}, "", func(s retail.Shipment) bool { return s.Carrier == "" }},
		{"a carrier and no number", []string{"TRACKING", `{"carrier":"UPS"}`}, "", func(s retail.Shipment) bool { return s.Carrier == "UPS" && s.Tracking == "" }},
		{"a tracking number in digits", []string{"TRACKING", `{"tracking_number":9400111899223100000001}`}, "", func(s retail.Shipment) bool { return s.Tracking == "9400111899223100000001" }},
		{"tracking that is no object", []string{"TRACKING", `"T"`}, "tracking", nil},
		{"several boxes", []string{"PRODUCTS", `[{"reference_id":"A","inventory_items":[{"id":1,"quantity":1}]},{"reference_id":"A","inventory_items":[{"id":1,"quantity":2}]}],"parent_cartons":[{"id":1},{"id":2}]`}, "",
			func(s retail.Shipment) bool { return len(s.Lines) == 1 && s.Lines[0].Quantity == 3 }},
		{"a kit", []string{"PRODUCTS", `[{"reference_id":"KIT","inventory_items":[{"id":1,"quantity":1},{"id":2,"quantity":1}]}]`}, "products[0].inventory_items[1].id", nil},
		{"a product without inventory", []string{"PRODUCTS", `[{"reference_id":"A","inventory_items":[{"id":1,"quantity":1}]},{"reference_id":"B","inventory_items":null}]`}, "products[1].inventory_items", nil},
		{"a product with no entry", []string{"PRODUCTS", `[{"reference_id":"B","inventory_items":[]}]`}, "products[0].inventory_items", nil},
		{"no products", []string{"PRODUCTS", `null`}, "products", nil},
		{"a SKU in digits", []string{"PRODUCTS", `[{"reference_id":10045,"inventory_items":[{"id":1,"quantity":1}]}]`}, "", func(s retail.Shipment) bool { return s.Lines[0].SKU == "10045" }},
		{"a SKU of another type", []string{"PRODUCTS", `[{"reference_id":["A"],"inventory_items":[{"id":1,"quantity":1}]}]`}, "products.reference_id", nil},
		{"broken UTF-8", []string{"o-1", "o-\xff"}, "shipment", nil},
		{"None", []string{"STATUS", "None", "DATE", "null"}, "status", nil},
		{"Processing", []string{"STATUS", "Processing", "DATE", "null"}, "status", nil},
		{"Exception", []string{"STATUS", "Exception", "DATE", "null"}, "status", nil},
		{"OnHold", []string{"STATUS", "OnHold", "DATE", "null"}, "status", nil},
		{"Cancelled", []string{"STATUS", "Cancelled"}, "status", nil},
		{"CleanSweeped", []string{"STATUS", "CleanSweeped", "DATE", "null"}, "status", nil},
		{"ImportReview", []string{"STATUS", "ImportReview", "DATE", "null"}, "status", nil},
		{"a date that is none", []string{"DATE", `"0001-01-01T00:00:00+00:00"`}, "", func(s retail.Shipment) bool { return s.ShippedAt.Hour() == 13 }},
		{"a date that is none, east of Greenwich", []string{"DATE", `"0001-01-01T00:00:00+05:30"`}, "", func(s retail.Shipment) bool { return s.ShippedAt.Hour() == 13 }},
		{"a date that is none, without a zone", []string{"DATE", `"0001-01-01T00:00:00"`}, "", func(s retail.Shipment) bool { return s.ShippedAt.Hour() == 13 }},
		{"a change that is none", []string{"2026-03-01T13:00:00Z", "0001-01-01T00:00:00Z"}, "", func(s retail.Shipment) bool { return s.ShippedAt.Hour() == 12 && s.SourceVersion == "" }},
		{"no date but those that are none", []string{"DATE", `"0001-01-01T00:00:00Z"`, "2026-03-01T13:00:00Z", "0001-01-01T00:00:00Z"}, "actual_fulfillment_date", nil},
		{"keys in other cases beside the right ones", []string{"o-1", `o-1","Reference_ID":"o-2","REFERENCE_ID":"o-3`}, "", func(s retail.Shipment) bool { return s.Reference == "o-1" }},
		{"LabeledCreated", []string{"STATUS", "LabeledCreated", "DATE", "null"}, "", func(s retail.Shipment) bool { return s.ShippedAt.Hour() == 13 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := decoder(t).DecodeShipment(shipment(tc.parts...))
			f := fault.Of(err)
			switch {
			case tc.field != "" && (f == nil || f.Field != tc.field || f.Kind == fault.Retryable):
				t.Errorf("got %+v, %v; want a refusal at %s", s, err, tc.field)
			case tc.field == "" && (err != nil || !tc.check(s)):
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

func TestInspectTellsAnswersAndBodiesApart(t *testing.T) {
	one := string(shipment())
	for _, tc := range []struct {
		name, file, raw string
		decoded         int
		object, field   string // of the first that is told
	}{
		{"a body", "a.json", one, 1, "shipment", ""},
		{"a body with its topic", "order.shipped__1.json", one, 1, "shipment", ""},
		{"a list", "a.json", `[` + one + `,` + one + `]`, 2, "shipment", ""},
		{"an order", "a.json", `{"id":1,"shipments":[` + one + `]}`, 1, "order", "order_id"},
		{"a page of stock", "a.json", `{"items":[{"inventory_id":1,"sku":"A","total_on_hand_quantity":3}]}`, 1, "stock", ""},
		{"stock that is none", "a.json", `{"items":[{"inventory_id":1,"sku":"A","total_on_hand_quantity":"x"}]}`, 0, "stock", "items[0].total_on_hand_quantity"},
		{"stock with a key twice", "a.json", `{"items":[{"inventory_id":1,"sku":"A","sku":"B","total_on_hand_quantity":3}]}`, 0, "stock", "items[0].sku"},
		{"a list inside a list", "a.json", `[[` + one + `]]`, 0, "list", "[0]"},
		{"a listing of shipments", "a.json", `{"method":"GET","url":"https://api.shipbob.com/2026-01/order/6/shipment","status":200,"response_body":[` + one + `]}`, 1, "shipment", ""},
		{"a release", "a.json", `{"method":"POST","url":"2.0/order","status":201,"response_body":{"id":7,"order_number":"#1"}}`, 1, "receipt of a release", ""},
		{"a release without an id", "a.json", `{"method":"POST","url":"2.0/order","status":201,"response_body":{}}`, 0, "receipt of a release", ""},
		{"a refused release", "a.json", `{"method":"POST","url":"2026-01/order","status":422,"response_body":{"recipient.address":["no"]}}`, 1, "answer 422", ""},
		{"releases", "a.json", `{"method":"GET","url":"2026-01/order","status":200,"response_body":[{"id":7,"reference_id":"o-1"}]}`, 1, "receipt of a release", ""},
		{"another endpoint", "a.json", `{"method":"GET","url":"2026-01/return/:id","status":200,"response_body":{}}`, 0, "", "endpoint"},
		{"another topic", "2026-01__return.created.json", `{}`, 0, "return.created", "topic"},
		{"another topic's sample", "order.shipment.delivered__1.json", one, 0, "order.shipment.delivered", "topic"},
		{"a topic of an earlier version", "2025-07__shipment_delivered.json", one, 0, "shipment_delivered", "topic"},
		{"the topic as an earlier version calls it", "order_shipped__legacy.json", one, 1, "shipment", ""},
		{"a name of one's own", "shipbob__parcel.1.json", one, 1, "shipment", ""},
		{"a name with a year", "2025-07__real_parcel.json", one, 1, "shipment", ""},
		{"no JSON", "a.json", `{`, 0, "shipment", "shipment"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := samples.Read(decoder(t), tc.file, []byte(tc.raw))
			if len(out) == 0 || samples.Count(out).Decoded != tc.decoded || out[0].Object != tc.object || out[0].Field != tc.field {
				t.Errorf("got %+v", out)
			}
		})
	}
}

func TestInspectCountsStockAsItIsCounted(t *testing.T) {
	const page = `{"items":[{"inventory_id":1,"sku":"MUG","total_on_hand_quantity":5},{"inventory_id":1,"sku":"MUG","total_on_hand_quantity":5},
		{"inventory_id":2,"sku":"MUG","total_on_hand_quantity":3},{"inventory_id":3,"sku":"","total_on_hand_quantity":9}],"next":null}`
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
	counted, err := c.Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := samples.Read(decoder(t), "a.json", []byte(page))
	if len(out) != 1 {
		t.Fatalf("got %+v", out)
	}
	if diff := cmp.Diff(any(counted), out[0].Canonical); diff != "" || counted["MUG"] != 8 {
		t.Errorf("counted %v (-counted +told):\n%s", counted, diff)
	}
}

// A reader that follows lists into lists takes seconds for these.
func TestNestingCostsNoMoreThanItsLength(t *testing.T) {
	for name, raw := range map[string]string{
		"lists":   strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"objects": strings.Repeat(`{"shipments":[`, 4500) + strings.Repeat("]}", 4500),
	} {
		began := time.Now()
		out := samples.Read(decoder(t), "a.json", []byte(raw))
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s take %s", name, took)
		}
		for _, o := range out {
			if o.Verdict != samples.Refused || len(o.Place) > 200 {
				t.Errorf("%s: got %s at %.200q", name, o.Verdict, o.Place)
			}
		}
	}
}

func TestEveryTopicAndStatusOfTheAPIIsKnown(t *testing.T) {
	var api struct {
		Components struct {
			Schemas map[string]struct {
				Enum []string `json:"enum"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(unpack(t, "../shipbobtest/spec/openapi_2026-01.json.gz"), &api); err != nil {
		t.Fatal(err)
	}
	topics, statuses := api.Components.Schemas["Webhooks.Topics"].Enum, api.Components.Schemas["Orders.OrderStatusEnum"].Enum
	if len(topics) == 0 || len(statuses) == 0 {
		t.Fatalf("the API has topics %v and statuses %v", topics, statuses)
	}
	for _, topic := range topics {
		if got := decoder(t).TopicOf(topic + "/1"); got != topic {
			t.Errorf("%s is taken for %q", topic, got)
		}
	}
	for _, status := range statuses {
		_, err := decoder(t).DecodeShipment(shipment("STATUS", status))
		if f := fault.Of(err); f != nil && f.Class != fault.StateConflict {
			t.Errorf("%s: %v", status, err)
		}
	}
}
