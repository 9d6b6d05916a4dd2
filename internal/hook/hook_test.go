package hook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/hook"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

const shop = "north.myshopify.com"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench counts what a Receiver asks of AWS.
type bench struct {
	*hook.Receiver
	secrets            []string
	now                time.Time
	reads, opens, puts int
	sent               []inbox.Message
	flow               string
	readErr, sendErr   error
	putErr             error
	closed             bool // the hook is not there
	stored             []byte
	knownFlow          bool
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{secrets: []string{"secret"}, now: noon, knownFlow: true}
	north, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	b.Receiver = &hook.Receiver{
		Now: func() time.Time { return b.now },
		Hook: func(_ context.Context, tenant retail.Tenant, token string) (tenancy.Hook, error) {
			b.reads++
			if b.readErr != nil {
				return tenancy.Hook{}, b.readErr
			}
			if tenant != north || token != "token" || b.closed {
				return tenancy.Hook{}, tenancy.ErrNotFound
			}
			return tenancy.Hook{Tenant: north, Token: token, Connection: "shop", Connector: "shopify"}, nil
		},
		Secrets: func(context.Context, tenancy.Hook) ([]string, error) { b.opens++; return b.secrets, nil },
		Open: func(tenancy.Hook) (any, error) {
			return shopify.New([]byte(`{"shop":"`+shop+`"}`), nil, nil, func() time.Time { return b.now })
		},
		Put: func(_ context.Context, _ string, body []byte) error { b.puts++; b.stored = body; return b.putErr },
		Enqueue: func(_ context.Context, flow string, m inbox.Message) (bool, error) {
			if b.sendErr != nil {
				return false, b.sendErr
			}
			b.flow, b.sent = flow, append(b.sent, m)
			return b.knownFlow, nil
		},
	}
	return b
}

func (b *bench) deliver(address, topic, secret string, body []byte) hook.Outcome {
	return b.Receive(context.Background(), address, shopifytest.Headers(topic, "w1", shop, body, secret, b.now), body)
}

func TestAWarmDeliveryCostsOneCallAndAColdOneThree(t *testing.T) {
	b := newBench(t)
	for n := 1; n <= 3; n++ {
		if out := b.deliver("north.token", "orders/create", "secret", []byte(`{"id":1}`)); out.Status != http.StatusOK || out.Flow != "order" {
			t.Fatalf("%+v", out)
		}
		if calls := b.reads + b.opens + b.puts + len(b.sent); calls != 2+n {
			t.Errorf("%d calls after %d deliveries", calls, n)
		}
	}
}

func TestWhatIsNotWellSignedIsRefusedAndNotKept(t *testing.T) {
	body := []byte(`{"id":1}`)
	for name, c := range map[string]struct {
		address, secret string
		change          func(http.Header)
		status          int
	}{
		"an address without a tenant": {"token", "secret", nil, 404},
		"an unknown tenant":           {"south.token", "secret", nil, 404},
		"an unknown token":            {"north.other", "secret", nil, 404},
		"a token of a megabyte":       {"north." + strings.Repeat("x", 1<<20), "secret", nil, 404},
		"a wrong secret":              {"north.token", "guess", nil, 401},
		"no signature":                {"north.token", "secret", func(h http.Header) { h.Del("X-Shopify-Hmac-Sha256") }, 401},
		"another shop":                {"north.token", "secret", func(h http.Header) { h.Set("X-Shopify-Shop-Domain", "evil.myshopify.com") }, 401},
		"a signature of another body": {"north.token", "secret", func(h http.Header) {
			h.Set("X-Shopify-Hmac-Sha256", shopifytest.Sign("secret", []byte("other")))
		}, 401},
		"a signature that is no base64": {"north.token", "secret", func(h http.Header) { h.Set("X-Shopify-Hmac-Sha256", "*") }, 401},
		"an empty signature": {"north.token", "secret", func(h http.Header) {
			h.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(nil))
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			h := shopifytest.Headers("orders/create", "w1", shop, body, c.secret, noon)
			if c.change != nil {
				c.change(h)
			}
			if out := b.Receive(t.Context(), c.address, h, body); out.Status != c.status || strings.Contains(out.Reason, string(body)) {
				t.Errorf("%+v", out)
			}
			if len(b.sent)+b.puts > 0 {
				t.Error("it was kept")
			}
		})
	}
}

func TestASecretThatIsBeingRotatedIsAcceptedBesideTheNewOne(t *testing.T) {
	b := newBench(t)
	b.secrets = []string{"new", "secret"}
	for secret, want := range map[string]int{"new": 200, "secret": 200, "older": 401} {
		if out := b.deliver("north.token", "orders/create", secret, []byte(`{}`)); out.Status != want {
			t.Errorf("%s: %+v", secret, out)
		}
	}
}

func TestARotationIsSeenWithinAMinute(t *testing.T) {
	b := newBench(t)
	b.deliver("north.token", "orders/create", "secret", []byte(`{}`))
	b.secrets, b.now = []string{"new"}, noon.Add(time.Minute)
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusUnauthorized {
		t.Errorf("the old secret after a minute: %+v", out)
	}
}

func TestAnUnknownAddressIsAskedForOnce(t *testing.T) {
	b := newBench(t)
	for range 5 {
		b.deliver("north.other", "orders/create", "secret", []byte(`{}`))
	}
	if b.reads != 1 {
		t.Errorf("%d reads", b.reads)
	}
}

func TestADeliveryIsHandedOnAsItsConnectionsEvent(t *testing.T) {
	b := newBench(t)
	b.deliver("north.token", "orders/create", "secret", []byte(`{"id":1}`))
	if m := b.sent[0]; m.Tenant.String() != "north" || m.Connection != "shop" || m.Connector != "shopify" || m.Topic != "orders/create" || m.EventID != "w1" || !m.ReceivedAt.Equal(noon) {
		t.Errorf("%+v", m)
	}
}

// Their retailers may have tokens of one name, and a token is a secret.
func TestAKnownAddressOpensNoOther(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		address string
		status  int
	}{{"north.token", 200}, {"north.other", 404}, {"south.token", 404}, {"north.token", 200}} {
		if out := b.deliver(c.address, "orders/create", "secret", []byte(`{}`)); out.Status != c.status {
			t.Errorf("%s: %+v", c.address, out)
		}
	}
}

func TestANewHookIsSeenWithinAMinute(t *testing.T) {
	b := newBench(t)
	b.closed = true
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusNotFound {
		t.Errorf("before it is there: %+v", out)
	}
	b.closed, b.now = false, noon.Add(time.Minute)
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusOK {
		t.Errorf("after a minute: %+v", out)
	}
}

func TestABodyThatIsNotKeptIsNotAcknowledged(t *testing.T) {
	b := newBench(t)
	b.putErr = errors.New("throttled")
	if out := b.deliver("north.token", "orders/create", "secret", make([]byte, inbox.InlineLimit+1)); out.Status != http.StatusServiceUnavailable || len(b.sent) > 0 {
		t.Errorf("%+v, %d sent", out, len(b.sent))
	}
}

func TestAFailureIsNotRememberedAndAsksTheVendorToComeAgain(t *testing.T) {
	b := newBench(t)
	b.readErr = errors.New("throttled")
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", out)
	}
	b.readErr, b.sendErr = nil, errors.New("throttled")
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", out)
	}
	b.sendErr = nil
	if out := b.deliver("north.token", "orders/create", "secret", []byte(`{}`)); out.Status != http.StatusOK || len(b.sent) != 1 {
		t.Errorf("%+v, %d sent", out, len(b.sent))
	}
}

func TestALargeBodyGoesToTheBucketAndTheLargestIsRefused(t *testing.T) {
	b := newBench(t)
	large := bytes.Repeat([]byte(`{"lines":[1,2,3]}`+"\n"), hook.MaxBody/18-100)
	if out := b.deliver("north.token", "orders/create", "secret", large); out.Status != http.StatusOK || len(b.sent) != 1 {
		t.Fatalf("%+v", out)
	}
	if b.puts == 1 && (!bytes.Equal(b.stored, large) || b.sent[0].Body != "") {
		t.Error("the bucket holds something else than the message refers to")
	}
	if out := b.deliver("north.token", "orders/create", "secret", make([]byte, hook.MaxBody+1)); out.Status != http.StatusRequestEntityTooLarge || len(b.sent) != 1 {
		t.Errorf("%+v", out)
	}
}

// BenchmarkAcknowledge is the work of a warm delivery of 13 KB: verifying,
// packing and handing it to the queue, without the queue. Budget: 0.25 ms.
func BenchmarkAcknowledge(b *testing.B) {
	r := newBench(b)
	body := bytes.Repeat([]byte(`{"id":820982911946154508,"price":"24.00"},`), 13_000/42)
	h := shopifytest.Headers("orders/create", "w1", shop, body, "secret", noon)
	r.Receive(b.Context(), "north.token", h, body)
	calls := r.reads + r.opens + r.puts + len(r.sent)
	b.ReportAllocs()
	for b.Loop() {
		if out := r.Receive(b.Context(), "north.token", h, body); out.Status != http.StatusOK {
			b.Fatalf("%+v", out)
		}
	}
	b.ReportMetric(float64(r.reads+r.opens+r.puts+len(r.sent)-calls)/float64(b.N), "awscalls/op")
}
