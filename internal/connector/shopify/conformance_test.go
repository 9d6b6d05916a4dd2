package shopify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Connector: "shopify",
		Bare:      decoder(t),
		Open:      openShop,
		Webhooks:  shopHooks(t),
		Order: func(s connectortest.OrderSpec) []byte {
			return edited(t, func(d doc) { single(d, s) })
		},
		Unknown: unheardOf(t),
	})
}

// single makes plain the order of one line that a specification asks for.
func single(d doc, s connectortest.OrderSpec) {
	d["id"], d["admin_graphql_api_id"] = json.Number(s.ID), "gid://shopify/Order/"+s.ID
	d["created_at"], d["processed_at"], d["updated_at"] = s.PlacedAt, s.PlacedAt, s.UpdatedAt
	d["customer"].(doc)["id"] = json.Number(s.Customer)
	for _, k := range []string{"total_line_items_price", "subtotal_price", "total_price"} {
		d[k] = s.Price
	}
	d["total_discounts"], d["total_tax"] = "0.00", "0.00"
	d["total_shipping_price_set"] = bagOf("0.00", "0.00", "USD")
	d["shipping_lines"] = []any{}
	l := lineOf(d, 0)
	l["id"], l["price"], l["quantity"], l["current_quantity"] = json.Number(s.Line), s.Price, 1, 1
	l["discount_allocations"], l["tax_lines"] = []any{}, []any{}
	d["line_items"] = []any{l}
}

func unheardOf(t *testing.T) []connectortest.Unknown {
	const never = "neverheard"
	var out []connectortest.Unknown
	for name, change := range map[string]func(doc){
		"financial_status":   func(d doc) { d["financial_status"] = never },
		"fulfillment_status": func(d doc) { d["fulfillment_status"] = never },
		"cancel_reason":      func(d doc) { d["cancel_reason"] = never },
		"line_status":        func(d doc) { lineOf(d, 0)["fulfillment_status"] = never },
		"delivery_code":      func(d doc) { shippingOf(d, 0)["code"] = never },
		"tax_title":          func(d doc) { lineOf(d, 0)["tax_lines"].([]any)[0].(doc)["title"] = never },
		"member":             func(d doc) { d[never] = doc{never: []any{never}} },
	} {
		out = append(out, connectortest.Unknown{Name: name, Value: never, Raw: edited(t, change)})
	}
	out = append(out,
		connectortest.Unknown{Name: "currency", Value: "XQZ", Raw: edited(t, func(d doc) { d["currency"] = "XQZ" })},
		connectortest.Unknown{Name: "country", Value: "Atlantis", Raw: edited(t, func(d doc) { d["shipping_address"].(doc)["country_code"] = "Atlantis" })},
	)
	slices.SortFunc(out, func(a, b connectortest.Unknown) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func shopHooks(t *testing.T) *connectortest.Webhooks {
	t.Helper()
	deliver := func(d connectortest.Delivery) http.Header {
		return shopifytest.Headers(d.Topic, d.EventID, "demo.myshopify.com", d.Body, d.Secret, d.At)
	}
	var file struct {
		Vectors []struct {
			Secret   string `json:"secret"`
			Body     string `json:"raw_body"`
			Header   string `json:"header"`
			Expected string `json:"expect_header"`
			Valid    bool   `json:"valid"`
			Note     string `json:"note"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(sample(t, "hmac_vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	w := &connectortest.Webhooks{
		Deliver: deliver,
		Secrets: [3]string{"hush", "hush-before", "hush-long-ago"},
		Mandatory: []string{"X-Shopify-Hmac-Sha256", "X-Shopify-Topic", "X-Shopify-Shop-Domain",
			"X-Shopify-Api-Version", "X-Shopify-Webhook-Id"},
		Topics:   map[string]string{"orders/create": "order", "orders/updated": "order", "orders/paid": "order", "orders/cancelled": "order"},
		Unwanted: "products/update",
		Oldest:   24 * time.Hour,
	}
	for _, v := range file.Vectors {
		h := deliver(connectortest.Delivery{EventID: "w-1", Topic: "orders/create", At: connectortest.Noon})
		h.Set("X-Shopify-Hmac-Sha256", v.Header+v.Expected)
		w.Vectors = append(w.Vectors, connectortest.Vector{Name: "shopify-app-js " + v.Header + v.Expected + " " + v.Note, Header: h,
			Body: []byte(v.Body), Secrets: []string{v.Secret}, At: connectortest.Noon, Valid: v.Valid})
	}
	return w
}

func openShop(t testing.TB, o connectortest.Options) *connectortest.Vendor {
	t.Helper()
	k := connectortest.NewClock()
	opts := shopifytest.Options{AccessToken: "token", Now: k.Now, Topics: []string{}}
	if o.Limited {
		opts.Bucket, opts.RestoreRate = 2000, 100 // of the Standard plan
	}
	shop := shopifytest.NewServer(opts)
	t.Cleanup(func() {
		shop.Close()
		for _, v := range shop.Violations() {
			t.Errorf("the shop would refuse %s: %s", v.Operation, v.Message)
		}
	})
	front := connectortest.Serve(t, shopifytest.Vendor(), shop, k)
	connect := func(t testing.TB, token string) *Connector {
		t.Helper()
		settings, err := json.Marshal(Settings{Shop: "demo.myshopify.com", APIURL: front.URL})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(settings, Secrets{"access_token": token}, egress.New(k.Now, netip.MustParsePrefix("127.0.0.0/8")), k.Now)
		if err != nil {
			t.Fatal(err)
		}
		c.pause = func(_ context.Context, d time.Duration) error { k.Advance(d); return nil }
		return c
	}
	c := connect(t, "token")
	place := func(p shopifytest.Placement) string {
		p.DropWebhook = true
		placed, err := shop.Place(p)
		if err != nil {
			t.Fatal(err)
		}
		return placed.ID
	}
	one := shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}, {SKU: "TOTE-NAT", Quantity: 1}}}
	return &connectortest.Vendor{
		Connector: c,
		Reconnect: func(t testing.TB, token string) any { return connect(t, token) },
		Clock:     k,
		Front:     front,
		Matter: func(t testing.TB, _ string) connectortest.Matter {
			id := place(one)
			raw, err := shop.Payload(id)
			if err != nil {
				t.Fatal(err)
			}
			ordered, _, err := c.DecodeOrder(raw)
			if err != nil {
				t.Fatal(err)
			}
			return connectortest.Matter{
				Order: ordered,
				Shipment: retail.Shipment{ExternalID: "s-1", Carrier: "USPS", Tracking: "9400100000000310000001",
					Lines: []retail.ShipmentLine{{OrderLine: "1", SKU: "MUG-STONE", Quantity: 1}, {OrderLine: "2", SKU: "TOTE-NAT", Quantity: 1}}},
				Operation: "FulfillmentCreate",
				Stored: func() []string {
					ids := []string{}
					for _, o := range shop.Orders() {
						if o.ID != id {
							continue
						}
						for _, f := range o.Fulfillments {
							ids = append(ids, f.ID)
						}
					}
					return ids
				},
			}
		},
		Listing: &connectortest.Listing{
			Since:  connectortest.Noon.Add(-time.Hour),
			Orders: 3*listPage + 1,
			Place: func(n int) []string {
				ids := make([]string, n)
				for i := range ids {
					ids[i] = place(one)
				}
				return ids
			},
			Touch: func(id string) {
				if err := shop.Touch(id); err != nil {
					t.Error(err)
				}
			},
			New: func() { place(one) },
		},
		Heavy: func(ctx context.Context) error {
			_, found, err := c.FetchOrder(ctx, place(shopifytest.Placement{LineCount: 2000}))
			if err == nil && !found {
				err = errors.New("the order is not found")
			}
			return err
		},
	}
}
