package shipbobtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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

func TestARuleThatCannotFireIsRefusedWithWhatThereIs(t *testing.T) {
	faults := faulty.New(shipbobtest.Vendor(), 1)
	defer faults.Close()
	for _, c := range []struct {
		rule  faulty.Rule
		known string
	}{
		{faulty.Rule{Fault: "webhook_lost", Operation: "orders/create"}, "order.shipped"},
		{faulty.Rule{Fault: "error", Operation: "ship-order"}, "create-order"},
		{faulty.Rule{Fault: "visible_delayed", Seconds: 1, Operation: "get-orders"}, "create-order"},
	} {
		var refusal *faulty.Refusal
		if err := faults.Add(c.rule); !errors.As(err, &refusal) || refusal.Field != "operation" || !slices.Contains(refusal.Known, c.known) {
			t.Errorf("%s of %s: %v", c.rule.Fault, c.rule.Operation, err)
		}
	}
}

func TestTheDeliveriesTellTheTruth(t *testing.T) {
	for _, c := range []struct {
		name     string
		rule     faulty.Rule
		statuses []int  // of the hook, in the order of arrival
		want     string // seconds and status of each attempt
		lost     bool
	}{
		{"of one that is lost", faulty.Rule{Fault: "webhook_lost"}, nil, "", true},
		{"of one that is delayed", faulty.Rule{Fault: "webhook_delayed", Seconds: 60}, nil, "60:200", false},
		{"of one that is delayed and refused", faulty.Rule{Fault: "webhook_delayed", Seconds: 60}, []int{503}, "60:503 61:200", false},
		{"of one that is reordered and refused", faulty.Rule{Fault: "webhook_reordered"}, []int{503}, "3:503 4:200", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := faulty.New(shipbobtest.Vendor(), 1)
				defer faults.Close()
				if err := faults.Add(c.rule); err != nil {
					t.Fatal(err)
				}
				began, statuses := time.Now(), c.statuses
				base := transport(func(r *http.Request) (*http.Response, error) {
					status := http.StatusOK
					if len(statuses) > 0 {
						status, statuses = statuses[0], statuses[1:]
					}
					if stamp := strconv.FormatInt(time.Now().Unix(), 10); r.Header.Get("webhook-timestamp") != stamp {
						t.Errorf("it is signed at %s and sent at %s", r.Header.Get("webhook-timestamp"), stamp)
					}
					return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
				})
				sim := shipbobtest.NewServer(shipbobtest.Options{Catalogue: shelf, HoldOrders: true, WebhookURL: "http://hook.example", WebhookSecret: live,
					RetryDelays: []time.Duration{time.Second},
					Client:      &http.Client{Timeout: 15 * time.Second, Transport: faults.Deliveries(base, shipbobtest.Topic)}})
				defer sim.Close()
				call := func(method, path, body string, into any) {
					r := httptest.NewRequest(method, path, strings.NewReader(body))
					r.Header.Set("Authorization", "Bearer pat-simulator")
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("shipbob_channel_id", "433")
					rec := httptest.NewRecorder()
					if sim.ServeHTTP(rec, r); rec.Code > 201 {
						t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
					}
					if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
						t.Fatal(err)
					}
				}
				var ignored any
				call("POST", "/2026-01/order", orderBody("r-1", item("MUG", 1)), &ignored)
				call("POST", "/_control/ship", `{"all":true}`, &ignored)
				time.Sleep(2 * time.Minute)
				var all []shipbobtest.Delivery
				call("GET", "/_control/deliveries", "", &all)
				if len(all) != 1 {
					t.Fatalf("%+v", all)
				}
				var got []string
				for _, a := range all[0].Attempts {
					got = append(got, fmt.Sprintf("%g:%d", a.At.Sub(began).Seconds(), a.Status))
				}
				if s := strings.Join(got, " "); s != c.want || all[0].Lost != c.lost || all[0].Delivered == c.lost {
					t.Errorf("attempts %q, want %q; %+v", s, c.want, all[0])
				}
			})
		})
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
