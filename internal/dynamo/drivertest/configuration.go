package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

var configurationTests = []test{
	{"ARetailersVersionsFollowOneAnother", retailerVersions},
	{"ThePartnersVersionsFollowOneAnother", partnerVersions},
	{"OneOfTwoWhoApplyAtOnceWins", appliedOnce},
	{"EveryRetailerIsListedOnceInOrder", tenants},
	{"ASecretIsKeptReplacedAndRemoved", secrets},
	{"AHookIsKeptReplacedAndRemoved", hooks},
	{"OfARefusedVersionNoSecretIsInForce", refused},
	{"AWatermarkMoves", watermark},
}

func newRetailer(tn retail.Tenant, version int64) tenancy.Retailer {
	return tenancy.Retailer{Schema: 1, Tenant: tn, Name: fmt.Sprint("Acme ", version), Version: version,
		Connections: []tenancy.Connection{{ID: "shop", Connector: "shopify", Settings: json.RawMessage(`{"a":[1,2]}`), Hook: "token"}},
		Routes:      []tenancy.Route{{Channel: "shop", ERP: "erp", Warehouse: "wms", Location: "MAIN"}}, AppliedAt: Now}
}

func retailerVersions(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	if _, err := d.Store.Retailer(t.Context(), tn); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	if err := d.Store.PutRetailer(t.Context(), newRetailer(tn, 2), tenancy.Secrets{}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("the second before the first: %v", err)
	}
	for v := int64(1); v <= 3; v++ {
		must(t, d.Store.PutRetailer(t.Context(), newRetailer(tn, v), tenancy.Secrets{}))
		got, err := d.Store.Retailer(t.Context(), tn)
		must(t, err)
		same(t, "retailer", newRetailer(tn, v), got)
	}
	for _, v := range []int64{1, 3, 5} {
		if err := d.Store.PutRetailer(t.Context(), newRetailer(tn, v), tenancy.Secrets{}); !errors.Is(err, document.ErrConflict) {
			t.Errorf("version %d after 3: %v", v, err)
		}
	}
	if got, err := d.Store.Retailer(t.Context(), tn); err != nil || got.Version != 3 {
		t.Errorf("retailer = %+v, %v", got, err)
	}
}

func partnerVersions(t *testing.T, d Driver) {
	partner := func(v int64) tenancy.Partner {
		return tenancy.Partner{Schema: 1, Partner: "p", Name: fmt.Sprint("Partner ", v), Version: v, AppliedAt: Now,
			Brand: tenancy.Brand{Colors: map[string]string{"main": "#112233"}}}
	}
	if _, err := d.Store.Partner(t.Context()); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	for v := int64(1); v <= 2; v++ {
		must(t, d.Store.PutPartner(t.Context(), partner(v), tenancy.Secrets{}))
		got, err := d.Store.Partner(t.Context())
		must(t, err)
		same(t, "partner", partner(v), got)
	}
	for _, v := range []int64{1, 2, 4} {
		if err := d.Store.PutPartner(t.Context(), partner(v), tenancy.Secrets{}); !errors.Is(err, document.ErrConflict) {
			t.Errorf("version %d after 2: %v", v, err)
		}
	}
}

func appliedOnce(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	for v := int64(1); v <= 2; v++ {
		won := count(t, 5, func(n int) (bool, error) {
			r := newRetailer(tn, v)
			r.Name = fmt.Sprint("by ", n)
			err := d.Store.PutRetailer(context.Background(), r, tenancy.Secrets{})
			if errors.Is(err, document.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		})
		if won != 1 {
			t.Errorf("%d applied version %d", won, v)
		}
	}
}

func tenants(t *testing.T, d Driver) {
	if got, err := d.Store.Tenants(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("before: %v, %v", got, err)
	}
	var want []retail.Tenant
	for i := range 30 {
		want = append(want, tenant(t, fmt.Sprintf("acme-%02d", i)))
	}
	for _, i := range []int64{1, 2} {
		for n := range want {
			must(t, d.Store.PutRetailer(t.Context(), newRetailer(want[(n*7)%30], i), tenancy.Secrets{}))
		}
	}
	got, err := d.Store.Tenants(t.Context())
	must(t, err)
	same(t, "tenants", want, got)
}

// puts stores versions of a retailer, one after the other, each with secrets.
func puts(t *testing.T, d Driver, tn retail.Tenant) func(tenancy.Secrets) {
	v := int64(0)
	return func(with tenancy.Secrets) {
		t.Helper()
		v++
		must(t, d.Store.PutRetailer(t.Context(), newRetailer(tn, v), with))
	}
}

func secrets(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	missing := func(when string) {
		t.Helper()
		if _, err := d.Store.Credential(t.Context(), tn, "shop"); !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("%s: %v", when, err)
		}
	}
	missing("before")
	put := puts(t, d, tn)
	for _, sealed := range []string{"one", "two"} {
		put(tenancy.Secrets{Credentials: map[string][]byte{"shop": []byte(sealed), "shop2": []byte("other")}})
		if got, err := d.Store.Credential(t.Context(), tn, "shop"); err != nil || string(got) != sealed {
			t.Errorf("%q = %q, %v", sealed, got, err)
		}
	}
	for range 2 {
		put(tenancy.Secrets{Credentials: map[string][]byte{"shop": nil}})
		missing("after")
	}
	if got, err := d.Store.Credential(t.Context(), tn, "shop2"); err != nil || string(got) != "other" {
		t.Errorf("another connection's = %q, %v", got, err)
	}
	must(t, d.Store.PutPartner(t.Context(), tenancy.Partner{Partner: "p", Version: 1}, tenancy.Secrets{Credentials: map[string][]byte{"shop": []byte("own")}}))
	if got, err := d.Store.Credential(t.Context(), retail.Partner, "shop"); err != nil || string(got) != "own" {
		t.Errorf("the partner's own = %q, %v", got, err)
	}
	missing("after the partner's own")
}

func hooks(t *testing.T, d Driver) {
	h := tenancy.Hook{Tenant: tenant(t, "acme"), Token: "token", Connection: "shop", Connector: "shopify", Settings: json.RawMessage(`{"a":1}`), Sealed: []byte("one")}
	missing := func(when string) {
		t.Helper()
		if _, err := d.Store.Hook(t.Context(), h.Tenant, h.Token); !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("%s: %v", when, err)
		}
	}
	missing("before")
	put := puts(t, d, h.Tenant)
	for _, sealed := range []string{"one", "two"} {
		h.Sealed = []byte(sealed)
		put(tenancy.Secrets{Hooks: []tenancy.Hook{h}})
		got, err := d.Store.Hook(t.Context(), h.Tenant, h.Token)
		must(t, err)
		same(t, "hook", h, got)
	}
	// A connection's secret and a hook with its name are two things.
	put(tenancy.Secrets{Credentials: map[string][]byte{h.Token: []byte("secret")}})
	for range 2 {
		put(tenancy.Secrets{Closed: []string{h.Token}})
		missing("after")
	}
	if got, err := d.Store.Credential(t.Context(), h.Tenant, h.Token); err != nil || string(got) != "secret" {
		t.Errorf("the secret = %q, %v", got, err)
	}
}

func refused(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	h := tenancy.Hook{Tenant: tn, Token: "token", Connection: "shop", Connector: "shopify", Settings: json.RawMessage(`{}`), Sealed: []byte("one")}
	put := puts(t, d, tn)
	put(tenancy.Secrets{Credentials: map[string][]byte{"shop": []byte("one"), "erp": []byte("one")}, Hooks: []tenancy.Hook{h}})
	next := h
	next.Token = "another"
	all := tenancy.Secrets{Credentials: map[string][]byte{"shop": []byte("two"), "erp": nil}, Hooks: []tenancy.Hook{next}, Closed: []string{h.Token}}
	for _, v := range []int64{1, 3} {
		if err := d.Store.PutRetailer(t.Context(), newRetailer(tn, v), all); !errors.Is(err, document.ErrConflict) {
			t.Errorf("version %d after 1: %v", v, err)
		}
	}
	for _, connection := range []string{"shop", "erp"} {
		if got, err := d.Store.Credential(t.Context(), tn, connection); err != nil || string(got) != "one" {
			t.Errorf("the secret of %s = %q, %v", connection, got, err)
		}
	}
	if got, err := d.Store.Hook(t.Context(), tn, h.Token); err != nil || string(got.Sealed) != "one" {
		t.Errorf("hook = %+v, %v", got, err)
	}
	if _, err := d.Store.Hook(t.Context(), tn, next.Token); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("another hook: %v", err)
	}
}

func watermark(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	if at, err := d.Store.Watermark(t.Context(), tn, "shop"); err != nil || !at.IsZero() {
		t.Errorf("before = %v, %v", at, err)
	}
	for _, at := range []time.Time{Now, Now.Add(time.Hour), Now.Add(time.Minute)} {
		must(t, d.Store.SetWatermark(t.Context(), tn, "shop", at))
		if got, err := d.Store.Watermark(t.Context(), tn, "shop"); err != nil || !got.Equal(at) {
			t.Errorf("%v = %v, %v", at, got, err)
		}
		if got, err := d.Store.Watermark(t.Context(), tn, "shop2"); err != nil || !got.IsZero() {
			t.Errorf("another connection's = %v, %v", got, err)
		}
	}
}
