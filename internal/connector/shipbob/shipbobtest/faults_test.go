package shipbobtest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
)

func TestACopyOfAWebhookIsTheSameEventAndSignedForItsOwnTime(t *testing.T) {
	const secret = "whsec_bGl2ZSBzZWNyZXQ="
	type delivered struct{ id, stamp, signature, body string }
	got := make(chan delivered, 4)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- delivered{r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), r.Header.Get("webhook-signature"), string(b)}
	}))
	defer hook.Close()
	faults := faulty.New(shipbobtest.Vendor(), 1)
	defer faults.Close()
	faults.After = func(_ time.Duration, f func()) { go f() }
	if err := faults.Add(faulty.Rule{Fault: "webhook_duplicate", Operation: "order.shipped", Copies: 1}); err != nil {
		t.Fatal(err)
	}
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true, WebhookURL: hook.URL, WebhookSecret: secret,
		Client: &http.Client{Transport: faults.Deliveries(http.DefaultTransport, shipbobtest.Topic)}})
	a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	a.call("POST", "/_control/ship", `{"all":true}`)
	one, two := <-got, <-got
	seconds, err := strconv.ParseInt(one.stamp, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if one != two || one.id == "" || one.signature != shipbobtest.Sign(secret, one.id, time.Unix(seconds, 0), []byte(one.body)) {
		t.Errorf("%+v is not a copy of %+v", two, one)
	}
}

func TestTheWarehouseRefusesInItsOwnWords(t *testing.T) {
	faults := faulty.New(shipbobtest.Vendor(), 1)
	defer faults.Close()
	if err := faults.Add(faulty.Rule{Fault: "rate_limited", Operation: "create-order", Seconds: 7}); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	faults.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/2026-01/order", strings.NewReader("{}")))
	if rec.Code != 429 || rec.Header().Get("x-retry-after") != "7" || rec.Header().Get("x-remaining-calls") != "0" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}
