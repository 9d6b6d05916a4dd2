package shipbob_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

const parcel = `{
 "id": 9007199254740993, "order_id": 9007199254740995, "reference_id": "o-1", "status": "Completed",
 "actual_fulfillment_date": "2026-03-01T06:30:00.1234567-06:00", "last_update_at": "2026-03-01T13:00:00Z", "ship_option": "Standard",
 "tracking": {"carrier":"USPS","carrier_service":"Ground Advantage","tracking_number":"94001","tracking_url":"https://tools.usps.com/?n=94001"},
 "products": [
  {"id":1,"reference_id":"MUG","sku":"MUG-SB","name":"Mug","inventory_items":[{"id":11,"quantity":2},{"id":11,"quantity":1,"lot":"B"}]},
  {"id":2,"reference_id":null,"sku":"TEE","inventory_items":[{"id":12,"quantity":1}]},
  {"id":3,"reference_id":"MUG","sku":"MUG-SB","inventory_items":[{"id":11,"quantity":4}]},
  {"id":4,"reference_id":"CAP","inventory_items":[{"id":13,"quantity":0}]}
 ]}`

func TestAShipmentIsDecoded(t *testing.T) {
	got, err := decoder(t).DecodeShipment([]byte(parcel))
	if err != nil {
		t.Fatal(err)
	}
	want := retail.Shipment{
		Schema: retail.SchemaVersion, ExternalID: "9007199254740993", OrderRef: "9007199254740995", Reference: "o-1",
		Carrier: "USPS", Service: "Ground Advantage", Tracking: "94001", TrackingURL: "https://tools.usps.com/?n=94001",
		ShippedAt: time.Date(2026, 3, 1, 12, 30, 0, 123456700, time.UTC), SourceVersion: "2026-03-01T13:00:00Z",
		Lines: []retail.ShipmentLine{{SKU: "MUG", Quantity: 7}, {SKU: "TEE", Quantity: 1}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b retail.Tenant) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShipmentsThatCannotBeTakenSayWhy(t *testing.T) {
	edit := func(old, new string) string {
		if !strings.Contains(parcel, old) {
			t.Fatalf("the sample has no %s", old)
		}
		return strings.Replace(parcel, old, new, 1)
	}
	permanent := func(field string) fault.Error {
		return fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: field}
	}
	const both = "9007199254740993/9007199254740995"
	for _, tc := range []struct {
		name, raw string
		want      fault.Error
		ids       string // ExternalID/OrderRef that are known all the same
	}{
		{"text that is not JSON", `{`, permanent("shipment"), "/"},
		{"a list", `[]`, permanent("shipment"), "/"},
		{"null", `null`, permanent("shipment"), "/"},
		{"no id", edit(`"id": 9007199254740993, `, ``), permanent("id"), "/9007199254740995"},
		{"an id with a fraction", edit(`9007199254740993`, `9.5`), permanent("id"), "/9007199254740995"},
		{"no order", edit(`"order_id": 9007199254740995, `, ``), permanent("order_id"), "9007199254740993/"},
		{"a cancelled shipment", edit(`Completed`, `Cancelled`), fault.Error{Kind: fault.Exception, Class: fault.StateConflict, Field: "status", Value: "Cancelled"}, both},
		{"a quantity as text", edit(`"quantity":2`, `"quantity":"two"`), permanent("products[0].inventory_items[0].quantity"), both},
		{"a negative quantity", edit(`"quantity":2`, `"quantity":-2`), permanent("products[0].inventory_items[0].quantity"), both},
		{"a fraction of a quantity", edit(`"quantity":2`, `"quantity":2.5`), permanent("products[0].inventory_items[0].quantity"), both},
		{"no quantity", edit(`"quantity":2`, `"n":2`), permanent("products[0].inventory_items[0].quantity"), both},
		{"an absurd quantity", edit(`"quantity":2`, `"quantity":1e30`), permanent("products[0].inventory_items[0].quantity"), both},
		{"a bundle", edit(`{"id":11,"quantity":1,`, `{"id":19,"quantity":1,`), fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[0].inventory_items[1].id", Value: "MUG"}, both},
		{"a product without reference and SKU", edit(`"sku":"TEE"`, `"sku":""`), fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[1].reference_id"}, both},
		{"a date without a zone", edit(`.1234567-06:00`, ``), permanent("actual_fulfillment_date"), both},
		{"an id given twice", edit(`"id": 9007199254740993, `, `"id": 9007199254740993, "id": 5, `), permanent("id"), "/"},
		{"a status given twice", edit(`"status": "Completed"`, `"status": "Completed", "status": "Cancelled"`), permanent("status"), "/"},
		{"a status given twice, once with escapes", edit(`"status": "Completed"`, `"status": "Completed", "st\u0061tus": "Cancelled"`), permanent("status"), "/"},
		{"a quantity given twice", edit(`"quantity":1,"lot"`, `"quantity":1,"quantity":9,"lot"`), permanent("products[0].inventory_items[1].quantity"), "/"},
		{"a quantity in another case of its key", edit(`"quantity":2`, `"Quantity":2`), permanent("products[0].inventory_items[0].quantity"), both},
		{"an id in another case of its key", edit(`"id": 9007199254740993`, `"ID": 9007199254740993`), permanent("id"), "/9007199254740995"},
		{"a tracking number with an exponent", edit(`"94001"`, `1e+21`), permanent("tracking.tracking_number"), both},
		{"a tracking number with a fraction", edit(`"94001"`, `94001.0`), permanent("tracking.tracking_number"), both},
		{"a tracking number below zero", edit(`"94001"`, `-94001`), permanent("tracking.tracking_number"), both},
		{"products that are no list", edit(`"products": [`, `"products": {}, "x": [`), permanent("products"), both},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := decoder(t).DecodeShipment([]byte(tc.raw))
			wantFault(t, err, tc.want)
			if got := s.ExternalID + "/" + s.OrderRef; got != tc.ids {
				t.Errorf("ids are %s, want %s", got, tc.ids)
			}
		})
	}
}

func TestWhatCountsAsShipped(t *testing.T) {
	const products = `"products":[{"reference_id":"A","inventory_items":[{"id":1,"quantity":1}]}]`
	const dated, tracked = `"actual_fulfillment_date":"2026-03-01T12:00:00Z",`, `"tracking":{"tracking_number":"T"},`
	// A warehouse's "no date".
	const never = `"actual_fulfillment_date":"0001-01-01T00:00:00+00:00",`
	type verdict struct {
		listed bool
		class  fault.Class // of the refusal
	}
	shipped, stays, people := verdict{true, ""}, verdict{false, fault.StateConflict}, verdict{true, fault.Validation}
	for _, tc := range []struct {
		name, body string
		want       verdict
	}{
		{"completed", `"status":"Completed",` + dated + products, shipped},
		{"labelled", `"status":"LabeledCreated",` + dated + products, shipped},
		{"completed, in another case", `"status":"COMPLETED",` + dated + products, shipped},
		{"labelled, in another case", `"status":"labeledCreated",` + dated + products, shipped},
		{"freight with a PRO number", `"status":"Exception",` + `"tracking":{"pro_number":"P","shipping_date":"2026-03-01T00:00:00Z"},` + products, shipped},
		{"an exception on the parcel's way", `"status":"exception",` + tracked + dated + products, shipped},
		{"no status, with tracking and a date", `"status":null,` + tracked + dated + products, shipped},
		{"processing", `"status":"Processing",` + products, stays},
		{"processing with a label but no date", `"status":"Processing",` + tracked + products, stays},
		{"processing with a label and the date that is none", `"status":"Processing",` + tracked + never + products, stays},
		{"processing with a label and the day that is none", `"status":"Processing","tracking":{"tracking_number":"T","shipping_date":"0001-01-01T00:00:00"},` + products, stays},
		{"on hold with a label and the date that is none", `"status":"OnHold",` + tracked + never + products, stays},
		{"on hold", `"status":"OnHold",` + products, stays},
		{"cancelled, though it had a label", `"status":"Cancelled",` + tracked + dated + products, stays},
		{"cancelled, in another case", `"status":"cancelled",` + tracked + dated + products, stays},
		{"cancelled, in the other spelling", `"status":"Canceled",` + tracked + dated + products, stays},
		{"an unknown status with tracking and a date", `"status":"Teleported",` + tracked + dated + products, people},
		{"an unknown status with a date", `"status":"Teleported",` + dated + products, people},
		{"an unknown status of freight", `"status":"Teleported","tracking":{"pro_number":"P","shipping_date":"2026-03-01T00:00:00Z"},` + products, people},
		{"an unknown status with a label but no date", `"status":"Picking",` + tracked + products, stays},
		{"an unknown status with the date that is none", `"status":"Picking",` + tracked + never + products, stays},
		{"a status in another case of its key", `"status":"Cancelled","Status":"Completed",` + tracked + dated + products, stays},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := `{"id":5,"order_id":6,` + tc.body + `}`
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[`+raw+`]`) })
			listed, err := c.ListShipments(t.Context(), "6")
			if err != nil {
				t.Fatal(err)
			}
			if got := len(listed) == 1; got != tc.want.listed {
				t.Errorf("listed %v, want %v", got, tc.want.listed)
			}
			_, err = c.DecodeShipment([]byte(raw))
			switch f := fault.Of(err); {
			case tc.want.class == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want.class != "" && (f == nil || f.Kind != fault.Exception || f.Class != tc.want.class || f.Field != "status"):
				t.Errorf("got %v, want an exception of class %s at status", err, tc.want.class)
			}
		})
	}
}

func TestOnlyWebLinksAreKept(t *testing.T) {
	for link, kept := range map[string]bool{
		"https://t.example/1": true, "http://t.example/1": true, "javascript:alert(1)": false, "//t.example/1": false, "string": false, "data:text/html,x": false,
	} {
		raw := strings.Replace(parcel, "https://tools.usps.com/?n=94001", link, 1)
		s, err := decoder(t).DecodeShipment([]byte(raw))
		if err != nil || (s.TrackingURL == link) != kept {
			t.Errorf("%s becomes %q, %v", link, s.TrackingURL, err)
		}
	}
}

func TestAListedShipmentReadsAsItsWebhook(t *testing.T) {
	bodies := make(chan []byte, 8)
	c, url := simulate(t, shipbobtest.Options{Catalogue: stocked, RetryDelays: []time.Duration{}})
	hook := newHook(t, func(h http.Header, body []byte) int {
		if err := c.VerifyWebhook(h, body, []string{"whsec_c2VjcmV0"}, clock()); err != nil {
			t.Error(err)
		}
		bodies <- body
		return http.StatusOK
	})
	command(t, url, "webhook", `{"url":"`+hook+`","secret":"whsec_c2VjcmV0"}`)
	r, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 2), line("TEE", 3)), shopper())
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := c.ListShipments(t.Context(), r.Ref); err != nil || len(listed) != 0 {
		t.Fatalf("%d shipments before any shipped, %v", len(listed), err)
	}
	command(t, url, "ship", `{"order_id":`+r.Ref+`,"short":{"TEE":1}}`)
	listed, err := c.ListShipments(t.Context(), r.Ref)
	if err != nil || len(listed) != 1 {
		t.Fatalf("%d shipments, %v; the short part has not shipped", len(listed), err)
	}
	fromList, err := c.DecodeShipment(listed[0].Raw)
	if err != nil {
		t.Fatal(err)
	}
	fromHook, err := c.DecodeShipment(<-bodies)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromList, fromHook, cmp.Comparer(func(a, b retail.Tenant) bool { return a == b })); diff != "" {
		t.Errorf("webhook and listing differ (-list +webhook):\n%s", diff)
	}
	want := []retail.ShipmentLine{{SKU: "MUG", Quantity: 2}, {SKU: "TEE", Quantity: 2}}
	if diff := cmp.Diff(want, fromList.Lines); diff != "" || fromList.Reference != "o-1" || fromList.OrderRef != r.Ref || listed[0].ExternalID != fromList.ExternalID || !listed[0].UpdatedAt.Equal(noon) {
		t.Errorf("%+v from %+v: %s", fromList, listed[0], diff)
	}
}

func TestListingRefusals(t *testing.T) {
	c, _ := simulate(t, shipbobtest.Options{})
	_, err := c.ListShipments(t.Context(), "404")
	wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.MissingReference, Field: "order_id", Value: "404"})
	_, err = c.ListShipments(t.Context(), "../channel")
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "order_id", Value: "../channel"})
}

func TestAShipmentThatCannotBeReadDoesNotHideItsNeighbours(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"id":1,"order_id":6,"products":7},`+parcel+`]`)
	})
	listed, err := c.ListShipments(t.Context(), "6")
	if err != nil || len(listed) != 2 || listed[0].ExternalID != "1" {
		t.Errorf("listed %+v, %v", listed, err)
	}
}

type sample struct {
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Status   int             `json:"status"`
	Response json.RawMessage `json:"response_body"`
}

// exchanges are the public exchanges of testdata/SOURCE.md.
func exchanges(t testing.TB) []sample {
	t.Helper()
	var out []sample
	if err := json.Unmarshal(unpack(t, "samples/postman_responses.json.gz"), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPublicSamplesDecodeOrAreRefusedForTheStatedReason(t *testing.T) {
	c := decoder(t)
	seen := 0
	check := func(name string, raw []byte, want fault.Error, id, order string) {
		seen++
		s, err := c.DecodeShipment(raw)
		wantFault(t, err, want)
		if s.ExternalID != id || s.OrderRef != order {
			t.Errorf("%s: ids %s, %s; want %s, %s", name, s.ExternalID, s.OrderRef, id, order)
		}
	}
	// The generator of the samples gave up below a depth, and wrote
	// {"value":"<Error: Too many levels…>"} where the schema has scalars.
	for _, e := range exchanges(t) {
		switch e.URL {
		case "2026-01/shipment/:shipmentId":
			// Two lots of one item, both without a quantity.
			check(e.URL, e.Response, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "products[0].inventory_items[0].quantity"}, "6502", "8802")
		case "2026-01/order/:orderId/shipment":
			var all []json.RawMessage
			if err := json.Unmarshal(e.Response, &all); err != nil || len(all) != 2 {
				t.Fatalf("%d shipments, %v", len(all), err)
			}
			check(e.URL, all[0], fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "products.reference_id"}, "183", "248")
			check(e.URL, all[1], fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "products.reference_id"}, "7711", "8258")
		}
	}
	if seen != 3 {
		t.Errorf("%d shipments in the samples, want 3", seen)
	}
}

// TestSamples holds what becomes of every published answer, of whatever
// endpoint, and prints it.
func TestSamples(t *testing.T) {
	connectortest.Samples(t, decoder(t), map[string]string{
		"openapi_2026-01.json":          "the description of the API, without examples, which the simulator is held to",
		"webhooks_asyncapi_derived.yml": "a description of webhooks by a third party, whose examples are of headers only",
	})
}

func FuzzDecodeShipment(f *testing.F) {
	f.Add([]byte(parcel))
	f.Add([]byte(`{"id":"1","order_id":2,"products":[{"inventory_items":[null]},null]}`))
	f.Add([]byte(`{"id":1,"order_id":2,"status":"Completed","tracking":null,"last_update_at":"2026-03-01T13:00:00Z","products":null}`))
	for _, e := range exchanges(f) {
		f.Add([]byte(e.Response))
	}
	c := decoder(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := c.DecodeShipment(raw)
		if err != nil {
			if fault.Of(err) == nil {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		if s.ExternalID == "" || s.OrderRef == "" || s.ShippedAt.IsZero() || len(s.Lines) == 0 {
			t.Fatalf("accepted without what a shipment must have: %+v", s)
		}
		skus := map[string]bool{}
		for _, l := range s.Lines {
			if l.SKU == "" || l.Quantity <= 0 || skus[l.SKU] {
				t.Fatalf("accepted a line that is empty or twice there: %+v", s.Lines)
			}
			skus[l.SKU] = true
		}
	})
}
