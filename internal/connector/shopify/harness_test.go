package shopify

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// clock moves only when a test moves it.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

type harness struct {
	*Connector
	shop   *shopifytest.Server
	faults *faulty.Injector
	clock  *clock
}

// withShop connects a connector to a simulated shop. The test fails if the
// shop saw a call that the vendor would refuse.
func withShop(t *testing.T, opts shopifytest.Options) *harness {
	t.Helper()
	k := &clock{start}
	opts.AccessToken, opts.Now = "token", k.now
	shop := shopifytest.NewServer(opts)
	faults := faulty.New(shopifytest.Vendor(), 1)
	faults.Next = shop
	server := httptest.NewServer(faults)
	t.Cleanup(func() { faults.Close(); shop.Close(); server.Close() })
	settings, err := json.Marshal(Settings{Shop: "demo.myshopify.com", APIURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	client := egress.New(k.now, netip.MustParsePrefix("127.0.0.0/8"))
	c, err := New(settings, Secrets{"access_token": "token"}, client, k.now)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(_ context.Context, d time.Duration) error { k.advance(d); return nil }
	t.Cleanup(func() {
		for _, v := range shop.Violations() {
			t.Errorf("the shop would refuse %s: %s", v.Operation, v.Message)
		}
	})
	return &harness{c, shop, faults, k}
}

// fail makes the next call fail.
func (h *harness) fail(t *testing.T, r faulty.Rule) {
	t.Helper()
	if err := h.faults.Add(r); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) place(t *testing.T, p shopifytest.Placement) shopifytest.Placed {
	t.Helper()
	p.DropWebhook = true
	placed, err := h.shop.Place(p)
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

func (h *harness) payload(t *testing.T, id string) []byte {
	t.Helper()
	b, err := h.shop.Payload(id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decoder(t testing.TB) *Connector {
	t.Helper()
	c, err := New([]byte(`{"shop":"demo.myshopify.com"}`), nil, nil, func() time.Time { return start })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sample is one of the published documents of testdata/SOURCE.md.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "samples", filepath.FromSlash(name)+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// member is one member of a JSON object, byte for byte.
func member(t testing.TB, doc []byte, key string) []byte {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	return m[key]
}

// wantFault checks the kind, class and field of an error.
func wantFault(t *testing.T, err error, kind fault.Kind, class fault.Class, field string) fault.Error {
	t.Helper()
	f := fault.Of(err)
	if f == nil {
		t.Fatalf("got %v, want a fault %s/%s at %s", err, kind, class, field)
	}
	if f.Kind != kind || f.Class != class || f.Field != field {
		t.Errorf("got %s/%s at %q (%v), want %s/%s at %q", f.Kind, f.Class, f.Field, err, kind, class, field)
	}
	return *f
}

func mustDecode(t *testing.T, c *Connector, raw []byte) (retail.Order, retail.Person) {
	t.Helper()
	o, p, err := c.DecodeOrder(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o, p
}
