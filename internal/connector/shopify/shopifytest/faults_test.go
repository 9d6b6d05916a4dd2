package shopifytest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
)

// delivered is what a receiver got of one webhook.
type delivered struct{ id, topic, signature, body string }

// receive runs a shop whose webhooks go through a fault, places orders and
// returns what arrives, until want deliveries have.
func receive(t *testing.T, r faulty.Rule, orders, want int) []delivered {
	t.Helper()
	got := make(chan delivered, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- delivered{r.Header.Get("X-Shopify-Webhook-Id"), r.Header.Get("X-Shopify-Topic"), r.Header.Get("X-Shopify-Hmac-Sha256"), string(b)}
	}))
	defer hook.Close()
	faults := faulty.New(shopifytest.Vendor(), 1)
	defer faults.Close()
	faults.After = func(_ time.Duration, f func()) { go f() }
	if err := faults.Add(r); err != nil {
		t.Fatal(err)
	}
	shop := shopifytest.NewServer(shopifytest.Options{AccessToken: "token", WebhookURL: hook.URL, WebhookSecret: "hush",
		Client: &http.Client{Transport: faults.Deliveries(http.DefaultTransport, shopifytest.Topic)}})
	defer shop.Close()
	for range orders {
		if _, err := shop.Place(shopifytest.Placement{LineCount: 1}); err != nil {
			t.Fatal(err)
		}
		shop.Wait() // one after the other
	}
	var out []delivered
	for range want {
		out = append(out, <-got)
	}
	return out
}

func TestACopyOfAWebhookIsTheSameEventAndSignedAlike(t *testing.T) {
	all := receive(t, faulty.Rule{Fault: "webhook_duplicate", Copies: 2}, 1, 3)
	for _, d := range all {
		if d != all[0] || d.id == "" || d.signature != shopifytest.Sign("hush", []byte(d.body)) {
			t.Errorf("%+v is not a copy of %+v", d, all[0])
		}
	}
}

func TestAWebhookMayBeSignedWithAnotherSecret(t *testing.T) {
	d := receive(t, faulty.Rule{Fault: "webhook_resigned", Secret: "rotated"}, 1, 1)[0]
	if d.signature != shopifytest.Sign("rotated", []byte(d.body)) {
		t.Errorf("signed %s", d.signature)
	}
}

func TestALostWebhookIsNeverSentAndTheNextOneIs(t *testing.T) {
	all := receive(t, faulty.Rule{Fault: "webhook_lost"}, 2, 1)
	if !strings.Contains(all[0].body, `"name":"#1002"`) {
		t.Errorf("%.200s arrived", all[0].body)
	}
}

// hook answers webhooks with statuses, and 200 after them, and keeps the
// orders' names.
type hook struct {
	mu       sync.Mutex
	statuses []int
	names    []string
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	var order struct{ Name string }
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	status := http.StatusOK
	if len(h.statuses) > 0 {
		status, h.statuses = h.statuses[0], h.statuses[1:]
	}
	h.names = append(h.names, order.Name)
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
}

func TestTheDeliveriesTellTheTruth(t *testing.T) {
	type outcome struct {
		Attempts, Status int
		Delivered, Lost  bool
	}
	for _, c := range []struct {
		name     string
		rule     faulty.Rule
		statuses []int // of the hook, in the order of arrival
		names    []string
		want     []outcome // by order
	}{
		{"of one that is taken", faulty.Rule{Fault: "webhook_duplicate", Operation: "orders/updated"}, nil, []string{"#1001", "#1002"},
			[]outcome{{1, 200, true, false}, {1, 200, true, false}}},
		{"of one that is lost", faulty.Rule{Fault: "webhook_lost"}, nil, []string{"#1002"},
			[]outcome{{0, 0, false, true}, {1, 200, true, false}}},
		{"of one that is delayed and refused", faulty.Rule{Fault: "webhook_delayed", Seconds: 60}, []int{200, 503}, []string{"#1002", "#1001", "#1001"},
			[]outcome{{2, 200, true, false}, {1, 200, true, false}}},
		{"of one that is reordered and refused", faulty.Rule{Fault: "webhook_reordered"}, []int{200, 503}, []string{"#1002", "#1001", "#1001"},
			[]outcome{{2, 200, true, false}, {1, 200, true, false}}},
		{"of one that is delayed and never taken", faulty.Rule{Fault: "webhook_delayed", Seconds: 60}, append([]int{200}, slices.Repeat([]int{503}, 9)...), append([]string{"#1002"}, slices.Repeat([]string{"#1001"}, 9)...),
			[]outcome{{9, 503, false, false}, {1, 200, true, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults, h := faulty.New(shopifytest.Vendor(), 1), &hook{statuses: c.statuses}
				defer faults.Close()
				if err := faults.Add(c.rule); err != nil {
					t.Fatal(err)
				}
				shop := shopifytest.NewServer(shopifytest.Options{AccessToken: "token", WebhookURL: "http://hook.example", WebhookSecret: "hush",
					Client: &http.Client{Timeout: 5 * time.Second, Transport: faults.Deliveries(h, shopifytest.Topic)}})
				defer shop.Close()
				for range c.want {
					if _, err := shop.Place(shopifytest.Placement{LineCount: 1}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				shop.Wait()
				var got []outcome
				for _, d := range shop.Deliveries() {
					got = append(got, outcome{d.Attempts, d.Status, d.Delivered, d.Lost})
				}
				if !slices.Equal(got, c.want) || !slices.Equal(h.names, c.names) {
					t.Errorf("%v arrived, want %v; the deliveries are %+v, want %+v", h.names, c.names, got, c.want)
				}
			})
		})
	}
}

func TestACredentialIsRotatedBeforeAnyCall(t *testing.T) {
	faults := faulty.New(shopifytest.Vendor(), 1)
	defer faults.Close()
	faults.Next = shopifytest.NewServer(shopifytest.Options{AccessToken: "old"})
	if err := faults.Add(faulty.Rule{Fault: "credential_rotated", Token: "new"}); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"old": 401, "new": 200, "": 401} {
		r := httptest.NewRequest(http.MethodPost, "/admin/api/2026-07/graphql.json", strings.NewReader(`{"query":"query A { shop { name } }"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Shopify-Access-Token", token)
		rec := httptest.NewRecorder()
		if faults.ServeHTTP(rec, r); rec.Code != want {
			t.Errorf("%q: %d %s", token, rec.Code, rec.Body)
		}
	}
}

func TestOnlyAFulfillmentIsHidden(t *testing.T) {
	hides := shopifytest.Vendor().Hides
	for query, want := range map[string]bool{
		`{"query":"query Orders { orders(first: 1) { nodes { id } } }"}`:                                         false,
		`{"query":"mutation Ship($f: FulfillmentInput!) { fulfillmentCreate(fulfillment: $f) { __typename } }"}`: true,
	} {
		if hides("Any", []byte(query)) != want {
			t.Errorf("%s: hidden %v", query, !want)
		}
	}
}

func TestARuleForAnUnknownTopicIsRefusedWithTheTopics(t *testing.T) {
	faults := faulty.New(shopifytest.Vendor(), 1)
	defer faults.Close()
	var refusal *faulty.Refusal
	err := faults.Add(faulty.Rule{Fault: "webhook_lost", Operation: "orders/creat"})
	if !errors.As(err, &refusal) || refusal.Field != "operation" || refusal.Value != "orders/creat" || !slices.Contains(refusal.Known, "orders/create") {
		t.Errorf("%v", err)
	}
}

func TestTheShopRefusesInItsOwnWords(t *testing.T) {
	for _, c := range []struct {
		rule  faulty.Rule
		says  string
		after string
	}{
		{faulty.Rule{Fault: "rate_limited"}, `"code":"THROTTLED"`, ""},
		{faulty.Rule{Fault: "error", Status: 429, Seconds: 2}, "", "2.0"},
		{faulty.Rule{Fault: "refused", Code: "ACCESS_DENIED"}, `"code":"ACCESS_DENIED"`, ""},
		{faulty.Rule{Fault: "credential_revoked"}, "Invalid API key or access token", ""},
	} {
		faults := faulty.New(shopifytest.Vendor(), 1)
		defer faults.Close()
		if err := faults.Add(c.rule); err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		faults.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/admin/api/2026-07/graphql.json", strings.NewReader(`{"query":"query A { shop { name } }"}`)))
		if !strings.Contains(rec.Body.String(), c.says) || rec.Header().Get("Retry-After") != c.after {
			t.Errorf("%s: %d %s %v", c.rule.Fault, rec.Code, rec.Body, rec.Header())
		}
	}
}
