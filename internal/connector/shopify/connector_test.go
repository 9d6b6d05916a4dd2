package shopify

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

func TestSettingsAreChecked(t *testing.T) {
	for _, tc := range []struct{ name, settings, field string }{
		{"an unknown setting", `{"shop":"a.myshopify.com","colour":"blue"}`, "colour"},
		{"a missing shop", `{}`, "shop"},
		{"a shop that is a URL", `{"shop":"https://a.myshopify.com"}`, "shop"},
		{"a shop in capitals", `{"shop":"A.myshopify.com"}`, "shop"},
		{"a shop by its name alone", `{"shop":"north"}`, "shop"},
		{"a domain that shoppers use", `{"shop":"shop.example.com"}`, "shop"},
		{"a shop of two names", `{"shop":"a.b.myshopify.com"}`, "shop"},
		{"a shop without a name", `{"shop":".myshopify.com"}`, "shop"},
		{"a machine of its own network", `{"shop":"localhost"}`, "shop"},
		{"an address in numbers", `{"shop":"169.254.169.254"}`, "shop"},
		{"a port that there is not", `{"shop":"a.myshopify.com","api_url":"https://a.myshopify.com:99999"}`, "api_url"},
		{"no host", `{"shop":"a.myshopify.com","api_url":"https://:443"}`, "api_url"},
		{"a number for a string", `{"shop":5}`, "shop"},
		{"a version that is no quarter", `{"shop":"a.myshopify.com","api_version":"2026-08"}`, "api_version"},
		{"the unstable version", `{"shop":"a.myshopify.com","api_version":"unstable"}`, "api_version"},
		{"plain http", `{"shop":"a.myshopify.com","api_url":"http://a.myshopify.com"}`, "api_url"},
		{"a URL with a path", `{"shop":"a.myshopify.com","api_url":"https://a.myshopify.com/admin"}`, "api_url"},
		{"a URL with a password", `{"shop":"a.myshopify.com","api_url":"https://u:p@a.myshopify.com"}`, "api_url"},
		{"text after the object", `{"shop":"a.myshopify.com"} {}`, "settings"},
		{"no object", `[]`, "settings"},
		{"nothing", ``, "settings"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New([]byte(tc.settings), nil, nil, time.Now)
			wantFault(t, err, fault.Permanent, fault.Configuration, tc.field)
		})
	}
}

func TestDefaultsAreTheShopsOwnHostAndTheTestedVersion(t *testing.T) {
	c, err := New([]byte(`{"shop":"a.myshopify.com"}`), nil, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://a.myshopify.com/admin/api/2026-07/graphql.json"; c.endpoint != want {
		t.Errorf("the endpoint is %s, want %s", c.endpoint, want)
	}
}

func TestACallingConnectorNeedsItsToken(t *testing.T) {
	client := egress.New(time.Now, netip.MustParsePrefix("127.0.0.0/8"))
	_, err := New([]byte(`{"shop":"a.myshopify.com"}`), Secrets{}, client, time.Now)
	wantFault(t, err, fault.Permanent, fault.Configuration, "access_token")
}

func TestAPauseEndsWithTheCallersContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	if err := pause(ctx, time.Nanosecond); err != nil {
		t.Errorf("an undisturbed pause: %v", err)
	}
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("a pause after the caller gave up: %v", err)
	}
}
