package shipbobtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type account struct {
	t   *testing.T
	url string
}

func start(t *testing.T, opts shipbobtest.Options) account {
	t.Helper()
	opts.Now = func() time.Time { return noon }
	sim := shipbobtest.NewServer(opts)
	srv := httptest.NewServer(sim)
	t.Cleanup(func() { srv.Close(); sim.Close(); http.DefaultClient.CloseIdleConnections() })
	return account{t, srv.URL}
}

// call returns the status and the decoded answer.
func (a account) call(method, path, body string, headers ...string) (int, any) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer pat-simulator")
	r.Header.Set("shipbob_channel_id", "433")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		a.t.Fatalf("%s %s answers %q: %v", method, path, b, err)
	}
	return res.StatusCode, v
}

func orderBody(reference string, products ...string) string {
	return fmt.Sprintf(`{"reference_id":%q,"shipping_method":"Standard","type":"DTC","products":[%s],"recipient":{"name":"A. Shopper","address":{"address1":"1 Main","city":"Cicero","country":"US"}}}`, reference, strings.Join(products, ","))
}

func item(sku string, n int) string {
	return fmt.Sprintf(`{"reference_id":%q,"name":null,"quantity":%d}`, sku, n)
}

func (a account) stock() map[string][2]float64 {
	_, v := a.call("GET", "/_control/stock", "")
	out := map[string][2]float64{}
	for _, row := range v.([]any) {
		m := row.(map[string]any)
		out[m["sku"].(string)] = [2]float64{m["on_hand"].(float64), m["committed"].(float64)}
	}
	return out
}

func (a account) violations() []string {
	_, v := a.call("GET", "/_control/violations", "")
	out := []string{}
	for _, row := range v.([]any) {
		m := row.(map[string]any)
		out = append(out, fmt.Sprintf("%s %s %s %s", m["side"], m["operation"], m["field"], m["keyword"]))
	}
	return out
}

var shelf = []shipbobtest.Item{{SKU: "MUG", Name: "Mug", OnHand: 5}, {SKU: "TEE", Name: "T-shirt", OnHand: 2}}

func TestRefusals(t *testing.T) {
	ok := orderBody("r-1", item("MUG", 1))
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		field                    string
		violation                string
	}{
		{"a wrong token", "POST", "/2026-01/order", ok, []string{"Authorization", "Bearer nope"}, 401, "", ""},
		{"a foreign channel", "POST", "/2026-01/order", ok, []string{"shipbob_channel_id", "434"}, 403, "", ""},
		{"a missing channel", "POST", "/2026-01/order", ok, []string{"shipbob_channel_id", ""}, 400, "shipbob_channel_id", "request create-order shipbob_channel_id required"},
		{"an order outside the schema", "POST", "/2026-01/order", strings.Replace(ok, `"DTC"`, `"B2X"`, 1), nil, 400, "type", "request create-order type enum"},
		{"an unknown product without a name", "POST", "/2026-01/order", orderBody("r-1", item("NOPE", 1)), nil, 422, "products[0].name", ""},
		{"a quantity of nothing", "POST", "/2026-01/order", orderBody("r-1", item("MUG", 0)), nil, 422, "products[0].quantity", ""},
		{"an order without products", "POST", "/2026-01/order", orderBody("r-1"), nil, 422, "products", ""},
		{"an empty street", "POST", "/2026-01/order", strings.Replace(ok, "1 Main", " ", 1), nil, 422, "recipient.address.address1", ""},
		{"a filter that is no number", "GET", "/2026-01/order?Limit=all", "", nil, 400, "Limit", "request get-orders Limit type"},
		{"an undocumented filter", "GET", "/2026-01/order?reference=1", "", nil, 400, "reference", "request get-orders reference parameters"},
		{"a filter that is not simulated", "GET", "/2026-01/order?IsTrackingUploaded=true", "", nil, 400, "IsTrackingUploaded", ""},
		{"an order that does not exist", "GET", "/2026-01/order/1", "", nil, 404, "title", ""},
		{"a shipment that does not exist", "GET", "/2026-01/shipment/1", "", nil, 404, "title", ""},
		{"shipments of an order that does not exist", "GET", "/2026-01/order/1/shipment", "", nil, 404, "title", ""},
		{"an operation that is not simulated", "GET", "/2026-01/return", "", nil, 404, "message", "request GET /2026-01/return  paths"},
		{"a subscription to an unknown topic", "POST", "/2026-01/webhook", `{"url":"https://a.example","topics":["order.lost"]}`, nil, 422, "$type", "request create-subscription topics[0] enum"},
		{"a page size that is no number", "GET", "/2026-01/inventory-level?PageSize=x", "", nil, 400, "detail", "request get-all-inventory-levels PageSize type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
			status, v := a.call(tc.method, tc.path, tc.body, tc.headers...)
			if _, named := v.(map[string]any)[tc.field]; status != tc.status || tc.field != "" && !named {
				t.Errorf("answers %d %v, want %d about %s", status, v, tc.status, tc.field)
			}
			want := []string{}
			if tc.violation != "" {
				want = append(want, tc.violation)
			}
			if diff := cmp.Diff(want, a.violations()); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAReferenceIsUnique(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
	if status, v := a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1))); status != 201 {
		t.Fatal(status, v)
	}
	status, v := a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	if _, named := v.(map[string]any)["reference_id"]; status != 422 || !named {
		t.Errorf("the duplicate is answered %d %v", status, v)
	}
}

func TestANamedUnknownReferenceBecomesAProductWithoutStock(t *testing.T) {
	a := start(t, shipbobtest.Options{HoldOrders: true})
	if status, v := a.call("POST", "/2026-01/order", orderBody("r-1", `{"reference_id":"NEW","name":"New","quantity":1}`)); status != 201 {
		t.Fatal(status, v)
	}
	if diff := cmp.Diff(map[string][2]float64{"NEW": {0, 1}}, a.stock()); diff != "" {
		t.Error(diff)
	}
}

func TestEveryReadAnswersWithinTheContract(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true, WebhookURL: "http://127.0.0.1:1/", RetryDelays: []time.Duration{}})
	_, created := a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	id := fmt.Sprintf("%.0f", created.(map[string]any)["id"])
	a.call("POST", "/_control/ship", `{"all":true}`)
	_, shipments := a.call("GET", "/2026-01/order/"+id+"/shipment", "")
	shipment := fmt.Sprintf("%.0f", shipments.([]any)[0].(map[string]any)["id"])
	for _, path := range []string{
		"/2026-01/order", "/2026-01/order?ReferenceIds=r-0,r-1&SortOrder=Newest&HasTracking=true&StartDate=2026-01-01T00:00:00Z&Page=1&Limit=5", "/2026-01/order/" + id,
		"/2026-01/shipment/" + shipment, "/2026-01/inventory-level", "/2026-01/channel", "/2026-01/location", "/2026-01/webhook",
	} {
		if status, v := a.call("GET", path, ""); status != 200 {
			t.Errorf("%s answers %d %v", path, status, v)
		}
	}
	if status, v := a.call("POST", "/2026-01/webhook", `{"url":"https://a.example/hook","topics":["return.created"]}`); status != 200 || !strings.HasPrefix(v.(map[string]any)["secret"].(string), "whsec_") {
		t.Errorf("the subscription is answered %d %v", status, v)
	}
	if broken := a.violations(); len(broken) > 0 {
		t.Error(broken)
	}
}

func TestOrderFilters(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
	for i := range 3 {
		a.call("POST", "/2026-01/order", orderBody(fmt.Sprintf("r-%d", i), item("MUG", 1)))
	}
	a.call("POST", "/_control/ship", fmt.Sprintf(`{"order_id":%q}`, a.references("")["r-1"]))
	for query, want := range map[string][]string{
		"":                                {"r-0", "r-1", "r-2"},
		"?ReferenceIds=r-2,r-9":           {"r-2"},
		"?ReferenceIds=r-":                {},
		"?HasTracking=true":               {"r-1"},
		"?HasTracking=false":              {"r-0", "r-2"},
		"?Limit=2&Page=2":                 {"r-2"},
		"?StartDate=2026-03-02T00:00:00Z": {},
		"?LastUpdateEndDate=2026-03-02T00:00:00Z": {"r-0", "r-1", "r-2"},
		"?IDs=" + a.references("")["r-0"]:         {"r-0"},
	} {
		got := []string{}
		for ref := range a.references(query) {
			got = append(got, ref)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

// references lists orders: reference to id.
func (a account) references(query string) map[string]string {
	_, v := a.call("GET", "/2026-01/order"+query, "")
	out := map[string]string{}
	for _, o := range v.([]any) {
		m := o.(map[string]any)
		out[m["reference_id"].(string)] = fmt.Sprintf("%.0f", m["id"])
	}
	return out
}

func (a account) statuses() []string {
	_, v := a.call("GET", "/_control/shipments", "")
	var out []string
	for _, s := range v.([]any) {
		out = append(out, s.(map[string]any)["status"].(string))
	}
	return out
}

func TestShippingMovesStock(t *testing.T) {
	for _, tc := range []struct {
		name, ship string
		products   []string
		stock      map[string][2]float64
		statuses   []string
	}{
		{"all of it", `{"all":true}`, []string{item("MUG", 2), item("TEE", 1)}, map[string][2]float64{"MUG": {3, 0}, "TEE": {1, 0}}, []string{"Completed"}},
		{"short by request", `{"all":true,"short":{"MUG":1}}`, []string{item("MUG", 2), item("TEE", 1)}, map[string][2]float64{"MUG": {4, 1}, "TEE": {1, 0}}, []string{"Completed", "Exception"}},
		{"short of stock", `{"all":true}`, []string{item("TEE", 3)}, map[string][2]float64{"MUG": {5, 0}, "TEE": {0, 1}}, []string{"Completed", "Exception"}},
		{"two lines share what is there", `{"all":true}`, []string{item("TEE", 2), item("TEE", 2)}, map[string][2]float64{"MUG": {5, 0}, "TEE": {0, 2}}, []string{"Completed", "Exception"}},
		{"nothing can ship", `{"all":true,"short":{"MUG":9}}`, []string{item("MUG", 2)}, map[string][2]float64{"MUG": {5, 2}, "TEE": {2, 0}}, []string{"Exception"}},
		{"nothing of one order", `{"order_id":"ORDER","short":{"MUG":2}}`, []string{item("MUG", 2)}, map[string][2]float64{"MUG": {5, 2}, "TEE": {2, 0}}, []string{"Exception"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
			a.call("POST", "/2026-01/order", orderBody("r-1", tc.products...))
			a.call("POST", "/_control/ship", strings.Replace(tc.ship, "ORDER", a.references("")["r-1"], 1))
			if diff := cmp.Diff(tc.stock, a.stock()); diff != "" {
				t.Errorf("stock [on hand, committed] (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.statuses, a.statuses()); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheRestShipsOnceStockArrives(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
	a.call("POST", "/2026-01/order", orderBody("r-1", item("TEE", 3)))
	a.call("POST", "/_control/ship", `{"all":true}`)
	a.call("POST", "/_control/stock", `{"TEE":1}`)
	a.call("POST", "/_control/ship", `{"all":true}`)
	if diff := cmp.Diff([]string{"Completed", "Completed"}, a.statuses()); diff != "" {
		t.Error(diff)
	}
	_, v := a.call("GET", "/_control/orders", "")
	if got := v.([]any)[0].(map[string]any)["status"]; got != "Fulfilled" {
		t.Errorf("the order is %v", got)
	}
}

func TestAnOrderShipsByItselfAndIsAnnounced(t *testing.T) {
	type post struct {
		headers http.Header
		body    []byte
	}
	posts := make(chan post, 8)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		posts <- post{r.Header, b}
	}))
	defer hook.Close()
	a := start(t, shipbobtest.Options{Catalogue: shelf, WebhookURL: hook.URL, WebhookSecret: "whsec_c2VjcmV0"})
	a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 2)))
	p := <-posts
	id := p.headers.Get("webhook-id")
	if p.headers.Get("x-webhook-topic") != "order.shipped" || p.headers.Get("webhook-signature") != shipbobtest.Sign("whsec_c2VjcmV0", id, noon, p.body) {
		t.Errorf("headers are %v", p.headers)
	}
	var s struct {
		ReferenceID string `json:"reference_id"`
		Tracking    struct {
			Number string `json:"tracking_number"`
			URL    string `json:"tracking_url"`
		} `json:"tracking"`
	}
	if err := json.Unmarshal(p.body, &s); err != nil || s.ReferenceID != "r-1" || s.Tracking.Number == "" || !strings.Contains(s.Tracking.URL, s.Tracking.Number) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestDeliveriesAreRetriedWithOneIDUntilTheyAreTaken(t *testing.T) {
	var calls atomic.Int32
	ids := make(chan string, 8)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		ids <- r.Header.Get("webhook-id")
	}))
	defer hook.Close()
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true, WebhookURL: hook.URL, RetryDelays: []time.Duration{1, 1, 1}})
	a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	a.call("POST", "/_control/ship", `{"all":true}`)
	if one, two, three := <-ids, <-ids, <-ids; one != two || two != three || one == "" {
		t.Errorf("the ids are %s, %s, %s", one, two, three)
	}
}

func TestWhatIsDroppedOrDuplicatedIsRecorded(t *testing.T) {
	ids := make(chan string, 8)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ids <- r.Header.Get("webhook-id") }))
	defer hook.Close()
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true})
	a.call("POST", "/_control/webhook", fmt.Sprintf(`{"url":%q,"secret":"whsec_c2VjcmV0"}`, hook.URL))
	a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	a.call("POST", "/_control/ship", `{"all":true,"drop_webhook":true}`)
	a.call("POST", "/2026-01/order", orderBody("r-2", item("MUG", 1)))
	a.call("POST", "/_control/ship", `{"all":true,"duplicate":1}`)
	if one, two := <-ids, <-ids; one != two {
		t.Errorf("the duplicate has another id: %s, %s", one, two)
	}
	_, v := a.call("GET", "/_control/deliveries", "")
	var dropped []bool
	for _, d := range v.([]any) {
		dropped = append(dropped, d.(map[string]any)["dropped"].(bool))
	}
	if diff := cmp.Diff([]bool{true, false, false}, dropped); diff != "" {
		t.Error(diff)
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: shelf})
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/_control/weather", "", 404},
		{"POST", "/_control/weather", "", 404},
		{"POST", "/_control/ship", `{"order_id":1}`, 400},
		{"POST", "/_control/ship", `{"everything":true}`, 400},
		{"POST", "/_control/auto", `{"enabled":false,"delay_ms":5}`, 200},
		{"GET", "/_control/requests", "", 200},
	} {
		if status, v := a.call(tc.method, tc.path, tc.body); status != tc.status {
			t.Errorf("%s %s answers %d %v, want %d", tc.method, tc.path, status, v, tc.status)
		}
	}
}

func TestSpecialCharactersSurviveAnAnswer(t *testing.T) {
	a := start(t, shipbobtest.Options{Catalogue: []shipbobtest.Item{{SKU: "A<&>", Name: "é", OnHand: 1}}})
	_, v := a.call("GET", "/2026-01/inventory-level", "")
	if got := v.(map[string]any)["items"].([]any)[0].(map[string]any)["sku"]; got != "A<&>" {
		t.Errorf("the SKU is %v", got)
	}
}
