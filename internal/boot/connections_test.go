package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/waybillhq/waybill/internal/credential"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// oneKey is a KMS whose every data key is the same; it counts what it decrypts.
func oneKey(t *testing.T, decrypted *int) *kms.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "TrentService.Decrypt" {
			*decrypted++
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err := json.NewEncoder(w).Encode(map[string]any{"CiphertextBlob": []byte("sealed"), "Plaintext": make([]byte, 32), "KeyId": "key"}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: aws.AnonymousCredentials{}})
}

// stored is a configuration of one retailer.
type stored struct {
	tenancy.Store
	retailer tenancy.Retailer
	sealed   []byte
}

func (s *stored) Retailer(context.Context, retail.Tenant) (tenancy.Retailer, error) {
	return s.retailer, nil
}

func (s *stored) Credential(context.Context, retail.Tenant, string) ([]byte, error) {
	return s.sealed, nil
}

func TestAConnectorLastsWhileItsSettingsAndCredentialAreTheSame(t *testing.T) {
	tenant, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	decrypted, now := 0, time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	sealer := credential.Sealer{KMS: oneKey(t, &decrypted), Key: "key"}
	seal := func(password string) []byte {
		sealed, err := sealer.Seal(t.Context(), tenant, "erp", map[string]string{"password": password})
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	settings := func(warehouse string) json.RawMessage {
		return json.RawMessage(`{"url":"https://erp.example.com","database":"erp","user":"waybill","company":"Shop Inc.","currency":"USD","warehouse":"` + warehouse + `"}`)
	}
	store := &stored{retailer: tenancy.Retailer{Tenant: tenant, Version: 1, Connections: []tenancy.Connection{{ID: "erp", Connector: "tryton", Settings: settings("WH")}}}, sealed: seal("a")}
	c := &Connections{Store: store, Sealer: sealer, Client: egress.New(clock), Rates: &rate.Governor{Now: clock, NewID: func() string { return "id" }}, Now: clock}
	for _, tc := range []struct {
		name   string
		change func()
		wait   time.Duration
		anew   bool
	}{
		{"at first", func() {}, 0, true},
		{"at once", func() {}, 0, false},
		{"after a minute", func() {}, keep, false},
		{"of another version that does not concern it", func() { store.retailer.Version++ }, keep, false},
		{"of another credential", func() { store.sealed = seal("b") }, keep, true},
		{"of other settings", func() { store.retailer.Connections[0].Settings = settings("WH2") }, keep, true},
		{"under other limits", func() { store.retailer.Connections[0].Limits = rate.Limits{PerSecond: 3} }, keep, true},
		{"after a quarter of an hour", func() {}, lasting, true},
	} {
		tc.change()
		now = now.Add(tc.wait)
		before := decrypted
		if _, err := c.Open(t.Context(), tenant, "erp"); err != nil {
			t.Fatal(err)
		}
		if anew := decrypted > before; anew != tc.anew {
			t.Errorf("%s: opened anew: %t, want %t", tc.name, anew, tc.anew)
		}
	}
}

// moving is a configuration that is replaced while it is read.
type moving struct {
	stored
	read func()
}

func (m *moving) Retailer(ctx context.Context, t retail.Tenant) (tenancy.Retailer, error) {
	r, err := m.stored.Retailer(ctx, t)
	m.read()
	return r, err
}

func (m *moving) Credential(ctx context.Context, t retail.Tenant, connection string) ([]byte, error) {
	sealed, err := m.stored.Credential(ctx, t, connection)
	m.read()
	return sealed, err
}

// The old address must not be told the new password, nor the new one the old.
func TestAConnectorIsNeverOpenedOfTheSettingsOfOneVersionAndTheSecretsOfAnother(t *testing.T) {
	tenant, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	decrypted, now := 0, time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	sealer := credential.Sealer{KMS: oneKey(t, &decrypted), Key: "key"}
	versions := map[int64]stored{}
	for n := int64(1); n <= 2; n++ {
		sealed, err := sealer.Seal(t.Context(), tenant, "shop", map[string]string{"access_token": fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
		versions[n] = stored{sealed: sealed, retailer: tenancy.Retailer{Tenant: tenant, Version: n, Connections: []tenancy.Connection{
			{ID: "shop", Connector: "shopify", Settings: json.RawMessage(fmt.Sprintf(`{"shop":"v%d.myshopify.com"}`, n))}}}}
	}
	pair := func(n int64) string {
		return fmt.Sprintf("%q %q", versions[n].retailer.Connections[0].Settings, versions[n].sealed)
	}
	for when := 1; when <= 8; when++ {
		store, reads := &moving{stored: versions[1]}, 0
		store.read = func() {
			if reads++; reads == when {
				store.stored = versions[2]
			}
		}
		c := &Connections{Store: store, Sealer: sealer, Client: egress.New(clock), Rates: &rate.Governor{Now: clock, NewID: func() string { return "id" }}, Now: clock}
		for range 4 {
			if _, err := c.Open(t.Context(), tenant, "shop"); err != nil {
				t.Fatal(err)
			}
			if of := c.open[openKey{tenant, "shop"}].of; !strings.Contains(of, pair(1)) && !strings.Contains(of, pair(2)) {
				t.Errorf("replaced after read %d: opened of %s", when, of)
			}
			now = now.Add(keep)
		}
		if of := c.open[openKey{tenant, "shop"}].of; !strings.Contains(of, pair(2)) {
			t.Errorf("replaced after read %d of %d: the first is still open", when, reads)
		}
	}
}

// several are the configurations of several retailers.
type several struct {
	tenancy.Store
	retailers map[retail.Tenant]tenancy.Retailer
	sealed    map[retail.Tenant][]byte
}

func (s *several) Retailer(_ context.Context, t retail.Tenant) (tenancy.Retailer, error) {
	return s.retailers[t], nil
}

func (s *several) Credential(_ context.Context, t retail.Tenant, _ string) ([]byte, error) {
	return s.sealed[t], nil
}

// Both call their connection erp, and of their ERPs one is paused.
func TestConnectionsOfOneNameAreTheirRetailersOwn(t *testing.T) {
	decrypted, now := 0, time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	rows := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 1))})
	store := &several{retailers: map[retail.Tenant]tenancy.Retailer{}, sealed: map[retail.Tenant][]byte{}}
	c := &Connections{Store: store, Sealer: credential.Sealer{KMS: oneKey(t, &decrypted), Key: "key"}, Client: egress.New(clock), Now: clock, Overrides: evaluator{},
		Rates: &rate.Governor{Store: rows, Now: clock, NewID: func() string { return "id" }}}
	tenants := map[string]retail.Tenant{}
	for _, name := range []string{"north", "south"} {
		tenant, err := retail.ParseTenant(name)
		if err == nil {
			store.sealed[tenant], err = c.Sealer.Seal(t.Context(), tenant, "erp", map[string]string{"password": name})
		}
		if err != nil {
			t.Fatal(err)
		}
		tenants[name] = tenant
		store.retailers[tenant] = tenancy.Retailer{Tenant: tenant, Version: 1, Connections: []tenancy.Connection{{ID: "erp", Connector: "tryton",
			Settings:  json.RawMessage(`{"url":"https://erp.example.com","database":"` + name + `","user":"waybill","company":"Shop Inc.","currency":"USD","warehouse":"WH"}`),
			Overrides: []mapping.Override{{Document: "order", Direction: "encode", Field: "shipping_method", Value: `"` + name + `"`}}}}}
	}
	method := func(name string) string {
		t.Helper()
		r, err := c.Retailer(t.Context(), tenants[name])
		if err != nil {
			t.Fatal(err)
		}
		o, err := c.Translator(r, r.Connections[0]).Order(t.Context(), mapping.Encode, retail.Order{ShippingMethod: "any"})
		if err != nil {
			t.Fatal(err)
		}
		return o.ShippingMethod
	}
	opened := map[any]bool{}
	for range 2 {
		for name, tenant := range tenants {
			erp, err := c.Open(t.Context(), tenant, "erp")
			if err != nil {
				t.Fatal(err)
			}
			opened[erp] = true
			if got := method(name); got != name {
				t.Errorf("%s's override says %s", name, got)
			}
		}
	}
	if len(opened) != 2 || decrypted != 2 {
		t.Errorf("%d connections of %d credentials", len(opened), decrypted)
	}
	if _, err := c.Rates.Decide(t.Context(), rate.Key{Tenant: tenants["north"], Connection: "erp"}, func(s *rate.State) bool { s.Paused = &rate.Pause{By: "ann"}; return true }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ready(t.Context(), tenants["south"], "erp"); err != nil {
		t.Errorf("south waits for north: %v", err)
	}
	erp, err := flow.Port[order.SalesOrders](t.Context(), c, tenants["north"], "erp", "sales orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := erp.FindSalesOrder(t.Context(), retail.Order{Tenant: tenants["north"], ID: "o1"}); fault.Of(err) == nil || fault.Of(err).Class != fault.RateLimited {
		t.Errorf("asked although it is paused: %v", err)
	}
	// A new version is seen within a minute, with its overrides.
	r := store.retailers[tenants["north"]]
	r.Version++
	r.Connections[0].Overrides[0].Value = `"faster"`
	store.retailers[tenants["north"]] = r
	now = now.Add(keep)
	if got := method("north"); got != "faster" {
		t.Errorf("a minute after an apply the override says %s", got)
	}
}

// Of a document whose overrides nobody computes, nothing wrong may come; and who
// translates documents has no way to forget the evaluator.
func TestWhoTranslatesDocumentsComputesOverrides(t *testing.T) {
	platform := func() *Platform {
		return For(aws.Config{}, func(string) string { return "" }, slog.New(slog.DiscardHandler))
	}
	for name, of := range map[string]func(p *Platform) any{
		"order intake":    func(p *Platform) any { return p.Order().Connections },
		"fulfillment":     func(p *Platform) any { return p.Fulfillment().Connections },
		"shipment intake": func(p *Platform) any { return p.Shipment().Connections },
		"shipment phase":  func(p *Platform) any { return p.ShipmentPhase().Connections },
	} {
		if c, ok := of(platform()).(*Connections); !ok || c.Overrides == nil {
			t.Errorf("%s computes no overrides", name)
		}
	}
	tenant, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	r := tenancy.Retailer{Tenant: tenant, Version: 1}
	conn := tenancy.Connection{ID: "shop", Overrides: []mapping.Override{{Document: "order", Direction: "decode", Field: "shipping_method", Value: `"any"`}}}
	bare := platform().Connections().Translator(r, conn)
	bare.Stored = nil // there is no database
	if _, err := bare.Order(t.Context(), mapping.Decode, retail.Order{}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("without an evaluator: %v", err)
	}
	by := platform().Overriding().Translator(r, conn)
	by.Stored = nil
	if o, err := by.Order(t.Context(), mapping.Decode, retail.Order{}); err != nil || o.ShippingMethod != "any" {
		t.Errorf("%q, %v", o.ShippingMethod, err)
	}
}
