package boot

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/waybillhq/waybill/internal/credential"
	"github.com/waybillhq/waybill/internal/egress"
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
