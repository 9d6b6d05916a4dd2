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

type delivered struct{ id, stamp, signature, body string }

func (d delivered) signedWith(t *testing.T, secret string) bool {
	t.Helper()
	seconds, err := strconv.ParseInt(d.stamp, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return d.id != "" && d.signature == shipbobtest.Sign(secret, d.id, time.Unix(seconds, 0), []byte(d.body))
}

const live = "whsec_bGl2ZSBzZWNyZXQ="

// ship ships an order whose webhook goes through a fault, and returns what
// arrives, until want deliveries have.
func ship(t *testing.T, r faulty.Rule, want int) (out []delivered) {
	t.Helper()
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
	if err := faults.Add(r); err != nil {
		t.Fatal(err)
	}
	a := start(t, shipbobtest.Options{Catalogue: shelf, HoldOrders: true, WebhookURL: hook.URL, WebhookSecret: live,
		Client: &http.Client{Transport: faults.Deliveries(http.DefaultTransport, shipbobtest.Topic)}})
	a.call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)))
	a.call("POST", "/_control/ship", `{"all":true}`)
	for range want {
		out = append(out, <-got)
	}
	return out
}

func TestACopyOfAWebhookIsTheSameEventAndSignedAlike(t *testing.T) {
	all := ship(t, faulty.Rule{Fault: "webhook_duplicate", Operation: "order.shipped", Copies: 1}, 2)
	if all[0] != all[1] || !all[0].signedWith(t, live) {
		t.Errorf("%+v is not a copy of %+v", all[1], all[0])
	}
}

func TestAWebhookMayBeSignedWithAnotherSecret(t *testing.T) {
	const rotated = "whsec_cm90YXRlZCBzZWNyZXQ="
	if d := ship(t, faulty.Rule{Fault: "webhook_resigned", Secret: rotated}, 1)[0]; !d.signedWith(t, rotated) || d.signedWith(t, live) {
		t.Errorf("signed %s", d.signature)
	}
}

func TestTheWarehouseRefusesInItsOwnWords(t *testing.T) {
	for seconds, want := range map[float64]string{0.4: "1", 2.9: "3", 7: "7"} {
		faults := faulty.New(shipbobtest.Vendor(), 1)
		defer faults.Close()
		if err := faults.Add(faulty.Rule{Fault: "rate_limited", Operation: "create-order", Seconds: seconds}); err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		faults.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/2026-01/order", strings.NewReader("{}")))
		if rec.Code != 429 || rec.Header().Get("x-retry-after") != want || rec.Header().Get("x-remaining-calls") != "0" {
			t.Errorf("%g s: %d %v", seconds, rec.Code, rec.Header())
		}
	}
}

func TestACredentialIsRotatedBeforeAnyCall(t *testing.T) {
	faults := faulty.New(shipbobtest.Vendor(), 1)
	defer faults.Close()
	sim := shipbobtest.NewServer(shipbobtest.Options{AccessToken: "old"})
	defer sim.Close()
	faults.Next = sim
	if err := faults.Add(faulty.Rule{Fault: "credential_rotated", Token: "new"}); err != nil {
		t.Fatal(err)
	}
	for authorization, want := range map[string]int{"Bearer old": 401, "Bearer new": 200, "new": 401, "": 401} {
		r := httptest.NewRequest(http.MethodGet, "/2026-01/order", nil)
		r.Header.Set("Authorization", authorization)
		rec := httptest.NewRecorder()
		if faults.ServeHTTP(rec, r); rec.Code != want {
			t.Errorf("%q: %d %s", authorization, rec.Code, rec.Body)
		}
	}
}
