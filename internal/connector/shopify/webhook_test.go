package shopify

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/fault"
)

func TestTheOfficialSignatureVectorsHold(t *testing.T) {
	var file struct {
		Vectors []struct {
			Secret   string `json:"secret"`
			Body     string `json:"raw_body"`
			Header   string `json:"header"`
			Expected string `json:"expect_header"`
			Valid    bool   `json:"valid"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(sample(t, "hmac_vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 3 {
		t.Fatalf("%d vectors", len(file.Vectors))
	}
	c := decoder(t)
	for _, v := range file.Vectors {
		h := headers("X-Shopify-")
		h.Set("X-Shopify-Hmac-Sha256", v.Header+v.Expected)
		err := c.VerifyWebhook(h, []byte(v.Body), []string{v.Secret}, start)
		if (err == nil) != v.Valid {
			t.Errorf("%s with %s: %v", v.Body, v.Header+v.Expected, err)
		}
	}
}

var body = []byte(`{"id":1}`)

// headers are a complete delivery, signed with "live".
func headers(prefix string) http.Header {
	h := http.Header{}
	h.Set(prefix+"Hmac-Sha256", shopifytest.Sign("live", body))
	h.Set(prefix+"Topic", "orders/create")
	h.Set(prefix+"Shop-Domain", "demo.myshopify.com")
	h.Set(prefix+"Api-Version", "2026-07")
	h.Set(prefix+"Webhook-Id", "w-1")
	h.Set(prefix+"Event-Id", "e-1")
	h.Set(prefix+"Triggered-At", "2026-07-01T11:59:58.123456789Z")
	return h
}

func TestAWebhookIsAcceptedWhen(t *testing.T) {
	set := func(k, v string) func(http.Header) { return func(h http.Header) { h.Set(k, v) } }
	for _, tc := range []struct {
		name    string
		prefix  string
		change  func(http.Header)
		secrets []string
		ok      bool
	}{
		{"it is signed with the live secret", "X-Shopify-", nil, []string{"live"}, true},
		{"it is signed with the previous secret", "X-Shopify-", nil, []string{"new", "live"}, true},
		{"it is not signed with any", "X-Shopify-", nil, []string{"new"}, false},
		{"there are no secrets", "X-Shopify-", nil, nil, false},
		{"the only secret is empty", "X-Shopify-", set("X-Shopify-Hmac-Sha256", shopifytest.Sign("", body)), []string{""}, false},
		{"the signature is not base64", "X-Shopify-", set("X-Shopify-Hmac-Sha256", "%%"), []string{"live"}, false},
		{"it is an Events delivery", "Shopify-", nil, []string{"live"}, true},
		{"both families arrive and Events is right", "Shopify-", set("X-Shopify-Hmac-Sha256", "wrong"), []string{"live"}, true},
		{"both families arrive and Events is wrong", "X-Shopify-", set("Shopify-Hmac-Sha256", "wrong"), []string{"live"}, false},
		{"it is for another shop", "X-Shopify-", set("X-Shopify-Shop-Domain", "other.myshopify.com"), []string{"live"}, false},
		{"the shop is in capitals", "X-Shopify-", set("X-Shopify-Shop-Domain", "DEMO.myshopify.com"), []string{"live"}, true},
		{"it is a retry four hours later", "X-Shopify-", set("X-Shopify-Triggered-At", "2026-07-01T08:00:00Z"), []string{"live"}, true},
		{"it is 24 hours old", "X-Shopify-", set("X-Shopify-Triggered-At", "2026-06-30T12:00:00Z"), []string{"live"}, true},
		{"it is older", "X-Shopify-", set("X-Shopify-Triggered-At", "2026-06-30T11:59:59Z"), []string{"live"}, false},
		{"it is ten minutes early", "X-Shopify-", set("X-Shopify-Triggered-At", "2026-07-01T12:10:00Z"), []string{"live"}, true},
		{"it is earlier still", "X-Shopify-", set("X-Shopify-Triggered-At", "2026-07-01T12:10:01Z"), []string{"live"}, false},
		{"its time is malformed", "X-Shopify-", set("X-Shopify-Triggered-At", "yesterday"), []string{"live"}, false},
		{"it tells no time", "X-Shopify-", func(h http.Header) { h.Del("X-Shopify-Triggered-At") }, []string{"live"}, true},
		{"it tells no event", "X-Shopify-", func(h http.Header) { h.Del("X-Shopify-Event-Id") }, []string{"live"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := headers(tc.prefix)
			if tc.change != nil {
				tc.change(h)
			}
			err := decoder(t).VerifyWebhook(h, body, tc.secrets, start)
			if tc.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if f := fault.Of(err); !tc.ok && (f == nil || f.Kind != fault.Permanent || f.Class != fault.Authentication) {
				t.Errorf("got %v, want a permanent authentication fault", err)
			}
		})
	}
}

func TestEachMandatoryHeaderIsMandatory(t *testing.T) {
	for _, prefix := range []string{"X-Shopify-", "Shopify-"} {
		for _, name := range []string{"Hmac-Sha256", "Topic", "Shop-Domain", "Api-Version", "Webhook-Id"} {
			h := headers(prefix)
			h.Del(prefix + name)
			if err := decoder(t).VerifyWebhook(h, body, []string{"live"}, start); fault.Of(err) == nil {
				t.Errorf("accepted without %s%s", prefix, name)
			}
		}
	}
}

func TestHeadersInLowerCaseAreRead(t *testing.T) {
	lower := http.Header{}
	for k, v := range headers("X-Shopify-") {
		lower[strings.ToLower(k)] = v
	}
	if err := decoder(t).VerifyWebhook(lower, body, []string{"live"}, start); err != nil {
		t.Error(err)
	}
}

func TestTheSimulatorsDeliveriesAreAccepted(t *testing.T) {
	h := shopifytest.Headers("orders/paid", "w-9", "demo.myshopify.com", body, "live", start)
	c := decoder(t)
	if err := c.VerifyWebhook(h, body, []string{"live"}, start.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	a, err := c.Announce(h)
	if err != nil || a.Flow != "order" || a.EventID != "w-9" || !a.TriggeredAt.Equal(start) {
		t.Errorf("announced %+v, %v", a, err)
	}
}

func TestTopicsLeadToTheirFlow(t *testing.T) {
	for topic, flow := range map[string]string{
		"orders/create": "order", "orders/updated": "order", "orders/paid": "order", "orders/cancelled": "order",
		"orders/delete": "", "orders/edited": "", "products/update": "", "shop/redact": "",
	} {
		h := headers("X-Shopify-")
		h.Set("X-Shopify-Topic", topic)
		a, err := decoder(t).Announce(h)
		if err != nil || a.Flow != flow || a.Topic != topic || a.EventID != "w-1" {
			t.Errorf("%s: %+v, %v", topic, a, err)
		}
	}
}

func TestAnAnnouncementFallsBackToTheEventID(t *testing.T) {
	h := headers("Shopify-")
	h.Del("Shopify-Webhook-Id")
	if a, err := decoder(t).Announce(h); err != nil || a.EventID != "e-1" {
		t.Errorf("%+v, %v", a, err)
	}
	h.Set("Shopify-Topic", "orders")
	h.Set("Shopify-Action", "create")
	if a, err := decoder(t).Announce(h); err != nil || a.Flow != "order" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := decoder(t).Announce(http.Header{}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("no topic: %v", err)
	}
}
