package shopifytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func fixed() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func start(t *testing.T, opts Options) (*Server, *httptest.Server) {
	t.Helper()
	opts.AccessToken, opts.Now = "token", fixed
	s := NewServer(opts)
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); h.Close() })
	return s, h
}

func post(t *testing.T, url, token, query string, vars map[string]any) (int, map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Shopify-Access-Token", token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, out
}

const path = "/admin/api/" + Version + "/graphql.json"

func TestAPlacedOrdersPayloadPassesThePublishedSchema(t *testing.T) {
	s, _ := start(t, Options{})
	for range 24 {
		p, err := s.Place(Placement{SKUs: []PlacedSKU{{SKU: "MUG-STONE", Quantity: 3}, {SKU: "TEE-BLK-M", Quantity: 1}, {SKU: "NOT-IN-RANGE", Quantity: 2, Price: "7.77"}}})
		if err != nil {
			t.Fatal(err)
		}
		body, err := s.Payload(p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckOrderPayload(body); err != nil {
			t.Errorf("order %s: %v", p.Name, err)
		}
	}
}

func TestThePayloadCheckRefuses(t *testing.T) {
	s, _ := start(t, Options{})
	p, err := s.Place(Placement{LineCount: 2})
	if err != nil {
		t.Fatal(err)
	}
	good, err := s.Payload(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a missing member":      {`"currency":"USD",`, ``},
		"a number for a string": {`"name":"` + p.Name + `"`, `"name":1`},
		"a malformed time":      {`"created_at":"2026-07-01T12:00:00Z"`, `"created_at":"2026-07-01 12:00"`},
		"a fraction as an id":   {`"id":` + p.ID, `"id":1.5`},
		"a filled unknown list": {`"returns":[]`, `"returns":[{}]`},
		"a malformed e-mail":    {`"contact_email":"`, `"contact_email":"nobody","x":"`},
	} {
		bad := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(bad, good) {
			t.Errorf("%s: the change does not apply", name)
		} else if CheckOrderPayload(bad) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestTheShopAnswersAsTheVendor(t *testing.T) {
	s, h := start(t, Options{})
	placed, err := s.Place(Placement{LineCount: 3, DropWebhook: true})
	if err != nil {
		t.Fatal(err)
	}
	order := map[string]any{"id": "gid://shopify/Order/" + placed.ID}
	for _, tc := range []struct {
		name, path, token, query string
		vars                     map[string]any
		status                   int
		want                     string // in the answer
		violations               int
	}{
		{"a wrong token is refused", path, "other", `{ shop { name } }`, nil, 401, "[API] Invalid API key", 0},
		{"another version is not found", "/admin/api/2020-01/graphql.json", "token", `{ shop { name } }`, nil, 404, "Not Found", 1},
		{"an unknown field is refused", path, "token", `{ shop { colour } }`, nil, 200, "undefinedField", 1},
		{"a missing variable is refused", path, "token", `query A($id: ID!) { order(id: $id) { id } }`, nil, 200, "INVALID_VARIABLE", 1},
		{"a query past 1,000 points is refused", path, "token", `{ orders(first: 250) { nodes { lineItems(first: 4) { nodes { id } } } } }`, nil, 200, "MAX_COST_EXCEEDED", 1},
		{"a page past 250 is refused", path, "token", `{ orders(first: 251) { nodes { id } } }`, nil, 200, "BAD_REQUEST", 1},
		{"a connection without a size is refused", path, "token", `{ orders { nodes { id } } }`, nil, 200, "BAD_REQUEST", 1},
		{"what is not modelled is said", path, "token", `query A($id: ID!) { order(id: $id) { riskLevel } }`, order, 200, "does not model Order.riskLevel", 1},
		{"an unknown order is null", path, "token", `{ order(id: "gid://shopify/Order/5") { id } }`, nil, 200, `"order":null`, 0},
		{"aliases and fragments work", path, "token", `query A($id: ID!) { a: order(id: $id) { ...F __typename } } fragment F on Node { id }`, order, 200, `"__typename":"Order","id":"gid`, 0},
		{"edges and cursors work", path, "token", `query A($id: ID!) { order(id: $id) { lineItems(first: 1) { edges { cursor node { sku } } pageInfo { hasNextPage } } } }`, order, 200, `"hasNextPage":true`, 0},
		{"orders are searched by name", path, "token", `{ orders(first: 5, query: "name:#9") { nodes { id } } }`, nil, 200, `"nodes":[]`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(s.Violations())
			status, out := post(t, h.URL+tc.path, tc.token, tc.query, tc.vars)
			b, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if status != tc.status || !strings.Contains(string(b), tc.want) {
				t.Errorf("got %d %s, want %d with %s", status, b, tc.status, tc.want)
			}
			if got := len(s.Violations()) - before; got != tc.violations {
				t.Errorf("%d violations recorded, want %d: %v", got, tc.violations, s.Violations()[before:])
			}
		})
	}
}

func TestAnEmptyBucketThrottles(t *testing.T) {
	_, h := start(t, Options{Bucket: 3, RestoreRate: 2})
	if _, out := post(t, h.URL+path, "token", `{ a: shop { name } b: shop { name } }`, nil); out["errors"] != nil {
		t.Fatalf("the first query failed: %v", out)
	}
	_, out := post(t, h.URL+path, "token", `{ a: shop { name } b: shop { name } }`, nil)
	if b, _ := json.Marshal(out); !strings.Contains(string(b), `"THROTTLED"`) || !strings.Contains(string(b), `"currentlyAvailable":1`) {
		t.Errorf("got %s", b)
	}
}

type receiver struct {
	mu     sync.Mutex
	fail   int
	bodies [][]byte
	ids    []string
	bad    int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(q.Body)
	r.bodies, r.ids = append(r.bodies, body), append(r.ids, q.Header.Get("X-Shopify-Webhook-Id"))
	if q.Header.Get("X-Shopify-Hmac-Sha256") != Sign("hush", body) || q.Header.Get("X-Shopify-Topic") != "orders/create" {
		r.bad++
	}
	if r.fail > 0 {
		r.fail--
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func TestDeliveriesAreSignedRepeatedAndRetried(t *testing.T) {
	rec := &receiver{fail: 2}
	hook := httptest.NewServer(rec)
	defer hook.Close()
	s, h := start(t, Options{Backoff: time.Millisecond})
	for _, c := range []struct{ verb, body string }{
		{"webhook", `{"url":"` + hook.URL + `","secret":"hush"}`},
		{"orders", `{"skus":[{"sku":"TEE-BLK-M","quantity":2}],"duplicate":1}`},
		{"orders", `{"line_count":4,"drop_webhook":true}`},
	} {
		res, err := http.Post(h.URL+"/_control/"+c.verb, "application/json", strings.NewReader(c.body))
		if err != nil || res.StatusCode > 201 {
			t.Fatalf("%s: %v %v", c.verb, res, err)
		}
		_ = res.Body.Close()
	}
	s.Wait()
	ds := s.Deliveries()
	if len(ds) != 2 || !ds[0].Delivered || !ds[1].Delivered || ds[0].Attempts+ds[1].Attempts != 4 || ds[0].WebhookID != ds[1].WebhookID {
		t.Errorf("deliveries are %+v", ds)
	}
	if rec.bad != 0 || len(rec.bodies) != 4 || rec.ids[0] != rec.ids[3] {
		t.Errorf("%d of %d deliveries are not as the vendor's: %v", rec.bad, len(rec.bodies), rec.ids)
	}
	if len(s.Orders()) != 2 {
		t.Errorf("the shop holds %d orders", len(s.Orders()))
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	s, h := start(t, Options{})
	for _, tc := range []struct {
		verb, body string
		says       []string
	}{
		{"orders", `{"line_count":1,"colour":"red"}`, []string{"orders", "colour", "line_count"}},
		{"orders", `{"skus":[{"sku":"MUG-STONE","qty":2}]}`, []string{"orders", "qty", "quantity"}},
		{"orders", `{"line_count":1}{}`, []string{"orders", "text after it"}},
		{"orders", ``, []string{"orders"}},
		{"cancel", `{"order":"1"}`, []string{"cancel", "order", "id"}},
		{"touch", `{"order":"1"}`, []string{"touch", "order", "id"}},
		{"webhook", `{"url":"http://hook.example","key":"hush"}`, []string{"webhook", "key", "secret"}},
	} {
		res, err := http.Post(h.URL+"/_control/"+tc.verb, "application/json", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s %s: %d %s", tc.verb, tc.body, res.StatusCode, text)
		}
		for _, s := range tc.says {
			if !strings.Contains(string(text), s) {
				t.Errorf("%s %s: %s does not say %s", tc.verb, tc.body, text, s)
			}
		}
	}
	if n := len(s.Orders()); n != 0 {
		t.Errorf("%d orders are placed", n)
	}
}

func TestAPayloadIsSentByteForByte(t *testing.T) {
	rec := &receiver{}
	hook := httptest.NewServer(rec)
	defer hook.Close()
	s, _ := start(t, Options{WebhookURL: hook.URL, WebhookSecret: "hush"})
	raw := `{ "id": 9007199254740995,  "name":"#7", "updated_at":"2026-07-01T00:00:00Z", "line_items":[] }`
	if _, err := s.Place(Placement{Payload: json.RawMessage(raw)}); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	if len(rec.bodies) != 1 || string(rec.bodies[0]) != raw {
		t.Errorf("sent %q", rec.bodies)
	}
	if _, err := s.Place(Placement{Payload: json.RawMessage(raw)}); err == nil {
		t.Error("the same id is placed twice")
	}
}

func TestOrdersVaryAndRepeatExactly(t *testing.T) {
	place := func() []string {
		s, _ := start(t, Options{})
		var out []string
		for range 12 {
			p, err := s.Place(Placement{LineCount: 7})
			if err != nil {
				t.Fatal(err)
			}
			b, err := s.Payload(p.ID)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(b))
		}
		return out
	}
	a, b := place(), place()
	totals := map[string]bool{}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("order %d differs between two shops", i)
		}
		var o struct {
			Total string `json:"total_price"`
		}
		if err := json.Unmarshal([]byte(a[i]), &o); err != nil {
			t.Fatal(err)
		}
		totals[o.Total] = true
	}
	if len(totals) < 5 {
		t.Errorf("twelve orders have only the totals %v", totals)
	}
}

func TestFulfillmentCreateKeepsTheQuantities(t *testing.T) {
	s, h := start(t, Options{})
	p, err := s.Place(Placement{SKUs: []PlacedSKU{{SKU: "TEE-BLK-M", Quantity: 2}}, DropWebhook: true})
	if err != nil {
		t.Fatal(err)
	}
	fo := s.orders[0].fulfillmentOrders[0]
	create := func(n int) string {
		_, out := post(t, h.URL+path, "token", `mutation M($f: FulfillmentInput!) { fulfillmentCreate(fulfillment: $f) { fulfillment { status } userErrors { field message } } }`,
			map[string]any{"f": map[string]any{"lineItemsByFulfillmentOrder": []any{map[string]any{"fulfillmentOrderId": fo.gid,
				"fulfillmentOrderLineItems": []any{map[string]any{"id": fo.lines[0].gid, "quantity": n}}}}}})
		return fmt.Sprint(out["data"])
	}
	if got := create(3); !strings.Contains(got, "Invalid fulfillment order line item quantity") {
		t.Errorf("three of two: %s", got)
	}
	if got := create(1); !strings.Contains(got, "SUCCESS") || s.Orders()[0].Status != "PARTIALLY_FULFILLED" || fo.status != "IN_PROGRESS" {
		t.Errorf("one of two: %s, %+v", got, s.Orders()[0])
	}
	if got := create(1); !strings.Contains(got, "SUCCESS") || s.Orders()[0].Status != "FULFILLED" || fo.status != "CLOSED" {
		t.Errorf("the other: %s, %+v", got, s.Orders()[0])
	}
	if got := create(1); !strings.Contains(got, "unfulfillable") {
		t.Errorf("a third: %s", got)
	}
	if body, err := s.Payload(p.ID); err != nil || CheckOrderPayload(body) != nil {
		t.Errorf("the fulfilled order's payload does not pass: %v", CheckOrderPayload(body))
	}
}
