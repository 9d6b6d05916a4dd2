package shipbob_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

var stocked = []shipbobtest.Item{{SKU: "MUG", Name: "Mug", OnHand: 10}, {SKU: "TEE", Name: "T-shirt", OnHand: 3}}

func TestReleaseSendsTheDocumentedOrder(t *testing.T) {
	var got, header = map[string]any{}, http.Header{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &got); err != nil {
			t.Error(err)
		}
		header = r.Header
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":9007199254740993,"reference_id":"o-1","order_number":"#1001"}`)
	})
	receipt, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 2), line("TEE", 1), line("MUG", 3)), shopper())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(effect.Receipt{Ref: "9007199254740993", Number: "#1001"}, receipt); diff != "" {
		t.Errorf("an id above 2^53 is kept exactly (-want +got):\n%s", diff)
	}
	if header.Get("Authorization") != "Bearer pat-simulator" || header.Get("shipbob_channel_id") != "433" {
		t.Errorf("credential or channel is missing: %v", header)
	}
	want := map[string]any{
		"reference_id": "o-1", "order_number": "#1001", "type": "DTC", "shipping_method": "Standard", "purchase_date": "2026-03-01T12:00:00Z",
		"products": []any{
			map[string]any{"reference_id": "MUG", "name": nil, "quantity": 5.0},
			map[string]any{"reference_id": "TEE", "name": nil, "quantity": 1.0},
		},
		"recipient": map[string]any{"name": "Zenobia Marker", "email": "zq.marker@example.com", "phone_number": "+1 555 0100", "address": map[string]any{
			"address1": "12 Marker Street", "city": "Markerville", "state": "IL", "zip_code": "60804", "country": "US",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
}

func TestReleaseNeedsAPermit(t *testing.T) {
	c, _ := simulate(t, shipbobtest.Options{Catalogue: stocked})
	_, err := c.Release(t.Context(), effect.Permit{}, release("o-1", line("MUG", 1)), shopper())
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal})
}

func TestAReleaseIsFoundAgainByItsReference(t *testing.T) {
	c, _ := simulate(t, shipbobtest.Options{Catalogue: stocked, FirstID: 1 << 53})
	if _, found, err := c.FindRelease(t.Context(), release("o-1")); err != nil || found {
		t.Fatalf("found before it was released: %v, %v", found, err)
	}
	first, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1)), shopper())
	if err != nil {
		t.Fatal(err)
	}
	found, ok, err := c.FindRelease(t.Context(), release("o-1"))
	if err != nil || !ok || found.Ref != first.Ref || len(found.Ref) != 16 {
		t.Errorf("found %+v, %v, %v; want %+v", found, ok, err, first)
	}
	if _, ok, _ := c.FindRelease(t.Context(), release("o-")); ok {
		t.Error("another reference finds the order")
	}
}

func TestADuplicateReferenceIsTheSameEffect(t *testing.T) {
	c, url := simulate(t, shipbobtest.Options{Catalogue: stocked})
	rel := release("o-1", line("MUG", 1))
	first, err := c.Release(t.Context(), effecttest.Permit("k"), rel, shopper())
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Release(t.Context(), effecttest.Permit("k"), rel, shopper())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the second release gives another receipt (-first +second):\n%s", diff)
	}
	var orders []json.RawMessage
	if inspect(t, url, "orders", &orders); len(orders) != 1 {
		t.Errorf("%d orders exist, want 1", len(orders))
	}
}

func TestALostAnswerIsOfUnknownOutcomeAndReadBack(t *testing.T) {
	c, url := simulate(t, shipbobtest.Options{Catalogue: stocked})
	command(t, url, "faults", `{"fault":"error","operation":"create-order","status":503,"when":"after"}`)
	rel := release("o-1", line("MUG", 1))
	_, err := c.Release(t.Context(), effecttest.Permit("k"), rel, shopper())
	wantFault(t, err, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true})
	if r, ok, err := c.FindRelease(t.Context(), rel); err != nil || !ok || r.Ref == "" {
		t.Errorf("read back %+v, %v, %v", r, ok, err)
	}
}

func TestAnAnswerThatIsNotUTF8IsNotBelieved(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body := "{\"id\":7,\"reference_id\":\"r-1\",\"order_number\":\"#10\xff01\"}"
		if r.Method == http.MethodGet {
			body = "[" + body + "]"
		}
		_, _ = io.WriteString(w, body)
	})
	_, err := c.Release(t.Context(), effecttest.Permit("r-1"), release("r-1", line("MUG", 1)), shopper())
	wantFault(t, err, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Unknown: true})
	_, _, err = c.FindRelease(t.Context(), release("r-1"))
	wantFault(t, err, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity})
}

func TestWhatPeopleMustCorrectNamesTheField(t *testing.T) {
	without := func(change func(*retail.Address)) retail.Person {
		p := shopper()
		change(&p.Shipping)
		return p
	}
	for _, tc := range []struct {
		name   string
		rel    retail.Release
		person retail.Person
		want   fault.Error
	}{
		{"an unknown SKU", release("o-1", line("MUG", 1), line("NOPE", 2)), shopper(), fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[1].reference_id", Value: "NOPE"}},
		{"a line without a SKU", release("o-1", line(" ", 1)), shopper(), fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[0].reference_id", Value: "1"}},
		{"a quantity of nothing", release("o-1", line("MUG", 0)), shopper(), fault.Error{Kind: fault.Exception, Class: fault.Validation, Field: "products[0].quantity", Value: "0"}},
		{"an order of nothing", release("o-1"), shopper(), fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "products"}},
		{"a reference that the filter would split", release("o,1", line("MUG", 1)), shopper(), fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "reference_id", Value: "o,1"}},
		{"a missing street", release("o-1", line("MUG", 1)), without(func(a *retail.Address) { a.Line1 = " " }), fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.address.address1"}},
		{"a missing city", release("o-1", line("MUG", 1)), without(func(a *retail.Address) { a.City = "" }), fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.address.city"}},
		{"a missing country", release("o-1", line("MUG", 1)), without(func(a *retail.Address) { a.Country = "" }), fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.address.country"}},
		{"a missing name", release("o-1", line("MUG", 1)), without(func(a *retail.Address) { a.Name = "" }), fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.name"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, url := simulate(t, shipbobtest.Options{Catalogue: stocked})
			_, err := c.Release(t.Context(), effecttest.Permit("k"), tc.rel, tc.person)
			wantFault(t, err, tc.want)
			var orders []json.RawMessage
			if inspect(t, url, "orders", &orders); len(orders) != 0 {
				t.Errorf("%d orders exist, want none", len(orders))
			}
		})
	}
}

func TestAMalformedEMailDoesNotHoldUpTheParcel(t *testing.T) {
	c, _ := simulate(t, shipbobtest.Options{Catalogue: stocked})
	p := shopper()
	p.Email = "zq.marker at example"
	if _, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1)), p); err != nil {
		t.Error(err)
	}
}

func TestRefusalsAreClassifiedByTheFieldsTheyName(t *testing.T) {
	const quoted = `["12 Marker Street is not deliverable"]`
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   fault.Error
	}{
		{"a product in snake case", 422, `{"products[1].name":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[1].reference_id", Value: "TEE"}},
		{"a product in .NET spelling", 400, `{"$.Products[1].ReferenceId":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[1].reference_id", Value: "TEE"}},
		{"a quantity", 422, `{"Products[0].Quantity":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Validation, Field: "products[0].quantity", Value: "1"}},
		{"an address keeps its value to itself", 422, `{"recipient.address.zip_code":` + quoted + `}`, fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.address.zip_code"}},
		{"an address in .NET spelling", 422, `{"Recipient.Address.Address1":` + quoted + `}`, fault.Error{Kind: fault.Exception, Class: fault.Address, Field: "recipient.address.address1"}},
		{"a shipping method", 422, `{"ShippingMethod":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "shipping_method", Value: "Standard"}},
		{"a location", 422, `{"location_id":["x"]}`, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "location_id", Value: "0"}},
		{"what the business can correct comes first", 422, `{"location_id":["x"],"products[0].name":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "products[0].reference_id", Value: "MUG"}},
		{"a product that was not sent", 422, `{"products[7].name":["x"]}`, fault.Error{Kind: fault.Permanent, Class: fault.Validation}},
		{"an unknown field", 422, `{"` + "12 Marker Street" + `":["x"]}`, fault.Error{Kind: fault.Permanent, Class: fault.Validation}},
		{"a reference that is taken but not listed", 422, `{"reference_id":["x"]}`, fault.Error{Kind: fault.Exception, Class: fault.Duplicate, Field: "reference_id", Value: "o-1"}},
		{"a body that is not JSON", 400, `<html>`, fault.Error{Kind: fault.Permanent, Class: fault.Validation}},
		{"an unknown path", 404, `{}`, fault.Error{Kind: fault.Permanent, Class: fault.Configuration}},
		{"a slow request", 408, `{}`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
		{"a revoked token", 401, `{}`, fault.Error{Kind: fault.Permanent, Class: fault.Authentication}},
		{"too many calls", 429, `{}`, fault.Error{Kind: fault.Retryable, Class: fault.RateLimited}},
		{"an answer without an id", 201, `{}`, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Unknown: true}},
		{"an answer that is not JSON", 201, `<html>`, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Unknown: true}},
		{"an answer about another order", 201, `{"id":1,"reference_id":"o-2"}`, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Field: "reference_id", Value: "o-2", Unknown: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, `[]`)
					return
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1), line("TEE", 1)), shopper())
			wantFault(t, err, tc.want)
		})
	}
}

func TestARefusalForNoKnownReasonFindsAnOrderThatExists(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `[{"id":6,"reference_id":"o-11"},{"id":7,"reference_id":"o-1"}]`)
			return
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"":["exists"]}`)
	})
	r, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1)), shopper())
	if err != nil || r.Ref != "7" {
		t.Errorf("got %+v, %v; want order 7", r, err)
	}
}

func TestTwoThousandProductsAreReleasedAndShipped(t *testing.T) {
	var items []shipbobtest.Item
	var lines []retail.ReleaseLine
	for i := range 2000 {
		sku := fmt.Sprintf("SKU-%04d", i)
		items = append(items, shipbobtest.Item{SKU: sku, Name: sku, OnHand: 5})
		lines = append(lines, line(sku, 2))
	}
	c, url := simulate(t, shipbobtest.Options{Catalogue: items})
	r, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", lines...), shopper())
	if err != nil {
		t.Fatal(err)
	}
	command(t, url, "ship", `{"all":true}`)
	listed, err := c.ListShipments(t.Context(), r.Ref)
	if err != nil || len(listed) != 1 {
		t.Fatalf("%d shipments, %v", len(listed), err)
	}
	s, err := c.DecodeShipment(listed[0].Raw)
	if err != nil || len(s.Lines) != 2000 {
		t.Fatalf("%d lines, %v", len(s.Lines), err)
	}
	stock, err := c.Stock(t.Context())
	if err != nil || len(stock) != 2000 || stock["SKU-1999"] != 3 {
		t.Errorf("%d SKUs in stock, SKU-1999 has %d, %v", len(stock), stock["SKU-1999"], err)
	}
}

func TestSamplesOfRefusalsAreUnderstood(t *testing.T) {
	for _, e := range exchanges(t) {
		if e.Method != http.MethodPost || e.URL != "2026-01/order" {
			continue
		}
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, `[]`)
				return
			}
			w.WriteHeader(e.Status)
			_, _ = io.Copy(w, strings.NewReader(string(e.Response)))
		})
		_, err := c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1)), shopper())
		// Its keys are invented (key_0, …), so no field is attributed.
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Validation})
	}
}
