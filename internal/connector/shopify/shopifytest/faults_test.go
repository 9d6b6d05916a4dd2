package shopifytest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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

func TestAReorderedWebhookFollowsTheNextOne(t *testing.T) {
	all := receive(t, faulty.Rule{Fault: "webhook_reordered"}, 2, 2)
	if !strings.Contains(all[0].body, `"name":"#1002"`) || !strings.Contains(all[1].body, `"name":"#1001"`) {
		t.Errorf("arrived: %.60s, %.60s", all[0].body, all[1].body)
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
