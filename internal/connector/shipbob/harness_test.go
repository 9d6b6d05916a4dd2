package shipbob_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// connect returns a connector to a server on this machine.
func connect(t *testing.T, url string) *shipbob.Connector {
	t.Helper()
	settings := fmt.Sprintf(`{"api_url":%q,"channel_id":"433"}`, url)
	c, err := shipbob.New(json.RawMessage(settings), map[string]string{"access_token": "pat-simulator"}, egress.New(clock, loopback), clock)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decoder returns a connector that only verifies and decodes.
func decoder(t testing.TB) *shipbob.Connector {
	t.Helper()
	c, err := shipbob.New(json.RawMessage(`{"channel_id":"433"}`), nil, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// simulate returns a simulated account that ships on command, a connector to
// it and its address. The test fails if either side broke the OpenAPI.
func simulate(t *testing.T, opts shipbobtest.Options) (*shipbob.Connector, string) {
	t.Helper()
	opts.Now, opts.HoldOrders = clock, true
	sim := shipbobtest.NewServer(opts)
	faults := faulty.New(shipbobtest.Vendor(), 1)
	faults.Next = sim
	srv := httptest.NewServer(faults)
	t.Cleanup(func() {
		var broken []shipbobtest.Violation
		inspect(t, srv.URL, "violations", &broken)
		if len(broken) > 0 {
			t.Errorf("the OpenAPI was broken: %+v", broken)
		}
		srv.Close()
		faults.Close()
		sim.Close()
	})
	return connect(t, srv.URL), srv.URL
}

// serve returns a connector to a server that gives one answer to everything.
func serve(t *testing.T, h http.HandlerFunc) *shipbob.Connector {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return connect(t, srv.URL)
}

func inspect(t *testing.T, url, verb string, into any) {
	t.Helper()
	res, err := http.Get(url + "/_control/" + verb)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, url, verb, body string) {
	t.Helper()
	res, err := http.Post(url+"/_control/"+verb, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: HTTP %d: %s", verb, res.StatusCode, b)
	}
}

func release(reference string, lines ...retail.ReleaseLine) retail.Release {
	return retail.Release{Reference: reference, OrderNumber: "#1001", PlacedAt: noon, Lines: lines}
}

func line(sku string, n int64) retail.ReleaseLine {
	return retail.ReleaseLine{OrderLine: "1", SKU: sku, Title: "A " + sku, Quantity: n}
}

func shopper() retail.Person {
	return retail.Person{Email: "zq.marker@example.com", Shipping: retail.Address{
		Name: "Zenobia Marker", Line1: "12 Marker Street", City: "Markerville", Region: "IL", PostalCode: "60804", Country: "US", Phone: "+1 555 0100",
	}}
}

// wantFault compares what a fault says with what a rule demands, and checks that
// nothing personal is in its text.
func wantFault(t *testing.T, err error, want fault.Error) {
	t.Helper()
	f := fault.Of(err)
	if f == nil {
		t.Fatalf("got %v, want a fault %+v", err, want)
	}
	got := fault.Error{Kind: f.Kind, Class: f.Class, Field: f.Field, Value: f.Value, Unknown: f.Unknown}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fault (-want +got):\n%s\n%v", diff, err)
	}
	for _, personal := range []string{"Zenobia", "Marker", "zq.marker", "555 0100"} {
		if strings.Contains(err.Error(), personal) {
			t.Errorf("the error holds personal data: %v", err)
		}
	}
}

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// newHook returns the address of a webhook receiver.
func newHook(t *testing.T, receive func(h http.Header, body []byte) int) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(receive(r.Header, b))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
