//go:build unix

package journey_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/local/demo"
)

const shopDomain = "north.myshopify.com"

// send delivers a body as the vendor would and returns the status.
func send(t *testing.T, url, event, secret string, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = shopifytest.Headers("orders/create", event, shopDomain, body, secret, time.Now())
	if secret == "" {
		req.Header.Del("X-Shopify-Hmac-Sha256")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestADeliveryThatIsNotTheVendorsIsRefused(t *testing.T) {
	good, secret := platform.HookURL(demo.Shop), demo.WebhookSecret(demo.Shop)
	for name, c := range map[string]struct {
		url, secret string
		body        []byte
		want        int
	}{
		"an unknown connection": {good + "x", secret, []byte("{}"), http.StatusNotFound},
		"an unknown tenant":     {strings.Replace(good, "/north.", "/south.", 1), secret, []byte("{}"), http.StatusNotFound},
		"no signature":          {good, "", []byte("{}"), http.StatusUnauthorized},
		"a wrong signature":     {good, "wrong", []byte("{}"), http.StatusUnauthorized},
		"a body over 4 MB":      {good, secret, bytes.Repeat([]byte(" "), 4<<20+1), http.StatusRequestEntityTooLarge},
	} {
		if got := send(t, c.url, "refused-"+strings.ReplaceAll(name, " ", "-"), c.secret, c.body); got != c.want {
			t.Errorf("%s: HTTP %d, want %d", name, got, c.want)
		}
	}
}

// What carries the vendor's signature is acknowledged, whatever it holds, and
// parked with a reason that names the field; the payload is kept.
func TestAMalformedOrderIsAcknowledgedParkedAndKept(t *testing.T) {
	placed, err := platform.Shop.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, Plain: true, DropWebhook: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := platform.Shop.Payload(placed.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.Shop.Cancel(placed.ID); err != nil { // the reconcile must not take the template itself in
		t.Fatal(err)
	}
	id := 0
	replace := func(pattern, with string) []byte {
		id++
		own := strings.ReplaceAll(string(raw), placed.ID, fmt.Sprintf("90071992547999%02d", id))
		out := regexp.MustCompile(pattern).ReplaceAllString(own, with)
		if pattern != "" && out == own {
			t.Fatalf("the payload has no %s", pattern)
		}
		return []byte(out)
	}
	for name, c := range map[string]struct {
		body  []byte
		field string
	}{
		"not JSON":                        {[]byte("shopify"), ""},
		"a list":                          {[]byte("[]"), ""},
		"a total that does not add up":    {replace(`"total_price":"[0-9.]+"`, `"total_price":"1.00"`), "total_price"},
		"an unknown SKU":                  {replace(`"sku":"MUG-STONE"`, `"sku":"NO-SUCH"`), "lines[0].sku"},
		"a price with too many digits":    {replace(`"total_price":"[0-9.]+"`, `"total_price":"1.001"`), "total_price"},
		"a number where a list should be": {replace(`"line_items":\[`, `"line_items":7,"other":[`), "line_items"},
		"an object nested 10,000 deep":    {[]byte(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			event := "bad-" + strings.ReplaceAll(name, " ", "-")
			if got := send(t, platform.HookURL(demo.Shop), event, demo.WebhookSecret(demo.Shop), c.body); got != http.StatusOK {
				t.Fatalf("HTTP %d", got)
			}
			x := parked(t, event)
			if !strings.Contains(x.Field, c.field) || x.Reason == "" || x.Action == "" {
				t.Errorf("exception %+v", x)
			}
			kept, err := platform.Platform.Payloads().Get(t.Context(), x.Raw)
			if err != nil || !bytes.Equal(kept, c.body) {
				t.Errorf("the payload is kept as %d of %d bytes: %v", len(kept), len(c.body), err)
			}
		})
	}
}

// parked waits for the exception of an event.
func parked(t *testing.T, event string) document.Exception {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		xs, err := platform.Platform.Store.OpenExceptions(ctx, platform.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range xs {
			if x.EventID == event || strings.Contains(event, "unknown-SKU") && x.Value == "NO-SUCH" {
				return x
			}
		}
		pause(t)
	}
}

// The addresses are those that status tells and partners' variables hold.
func TestFaultsAreListedWhereEachVendorIsReached(t *testing.T) {
	for vendor, url := range map[string]string{"storefront": platform.ShopURL, "warehouse": platform.StockURL, "ERP": platform.ERPURL} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/_control/faults", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: HTTP %d", vendor, res.StatusCode)
		}
	}
}
