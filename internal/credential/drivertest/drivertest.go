// Package drivertest is what every sealer of secrets must pass, with KMS or in
// memory.
package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Sealer seals secrets for one connection and opens them.
type Sealer interface {
	Seal(ctx context.Context, t retail.Tenant, connection string, v any) ([]byte, error)
	Open(ctx context.Context, t retail.Tenant, connection string, sealed []byte, v any) error
}

// Run holds what open returns to all of it; each test opens its own.
func Run(t *testing.T, open func(t *testing.T) Sealer) {
	for _, x := range []struct {
		name string
		run  func(t *testing.T, s Sealer)
	}{
		{"ASecretOpensForItsOwnConnectionOnly", own},
		{"ASealedSecretShowsNothing", closed},
		{"ASecretThatWasTouchedDoesNotOpen", touched},
		{"AnEndedContextSealsAndOpensNothing", ended},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

const secret = "shpss_0123456789"

func tenant(t *testing.T, id string) retail.Tenant {
	t.Helper()
	tn, err := retail.ParseTenant(id)
	if err != nil {
		t.Fatal(err)
	}
	return tn
}

func seal(t *testing.T, s Sealer) []byte {
	t.Helper()
	sealed, err := s.Seal(t.Context(), tenant(t, "acme"), "shop", map[string]string{"token": secret})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// refused wants an error that ends the attempts and tells nothing.
func refused(t *testing.T, what string, err error, got map[string]string) {
	t.Helper()
	f := fault.Of(err)
	if f == nil || f.Kind != fault.Permanent || f.Class != fault.Configuration {
		t.Errorf("%s: %v", what, err)
	}
	if len(got) > 0 || err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("%s: the secret is told", what)
	}
}

func own(t *testing.T, s Sealer) {
	sealed := seal(t, s)
	var got map[string]string
	if err := s.Open(t.Context(), tenant(t, "acme"), "shop", sealed, &got); err != nil || !maps.Equal(got, map[string]string{"token": secret}) {
		t.Errorf("opened %v, %v", got, err)
	}
	for _, other := range []struct{ tenant, connection string }{{"acme2", "shop"}, {"acme", "shop2"}, {"acme", ""}, {"acm", "eshop"}} {
		var got map[string]string
		err := s.Open(t.Context(), tenant(t, other.tenant), other.connection, sealed, &got)
		refused(t, fmt.Sprint(other), err, got)
	}
}

func closed(t *testing.T, s Sealer) {
	a, b := seal(t, s), seal(t, s)
	if bytes.Contains(a, []byte(secret)) || bytes.Contains(a, []byte("token")) {
		t.Errorf("sealed as %s", a)
	}
	if bytes.Equal(a, b) {
		t.Error("one secret is sealed alike twice")
	}
}

func touched(t *testing.T, s Sealer) {
	sealed := seal(t, s)
	for at := 0; at < len(sealed); at += 7 {
		bad := bytes.Clone(sealed)
		// One that stays within base64, so that not only the form is checked.
		if bad[at]++; bad[at] == 'Z'+1 || bad[at] == 'z'+1 || bad[at] == '9'+1 {
			bad[at] -= 2
		}
		var got map[string]string
		err := s.Open(t.Context(), tenant(t, "acme"), "shop", bad, &got)
		if err == nil && maps.Equal(got, map[string]string{"token": secret}) {
			continue // a bit of base64's that means nothing
		}
		refused(t, fmt.Sprint("byte ", at), err, got)
	}
	for _, bad := range [][]byte{nil, []byte("{}"), []byte("[]"), sealed[:len(sealed)/2], []byte(`{"v":1,"key":"AAAA","nonce":"AAAA","box":"AAAA"}`)} {
		var got map[string]string
		refused(t, fmt.Sprintf("%.10q", bad), s.Open(t.Context(), tenant(t, "acme"), "shop", bad, &got), got)
	}
}

func ended(t *testing.T, s Sealer) {
	sealed := seal(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Seal(ctx, tenant(t, "acme"), "shop", secret); !errors.Is(err, context.Canceled) {
		t.Errorf("sealed: %v", err)
	}
	var got map[string]string
	if err := s.Open(ctx, tenant(t, "acme"), "shop", sealed, &got); !errors.Is(err, context.Canceled) || got != nil {
		t.Errorf("opened: %v", err)
	}
}
