//go:build unix

package journey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// listen opens an address for a simulator that is made later, once it is known
// where its webhooks go.
func listen(t *testing.T) (url string, serve func(http.Handler)) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	return "http://" + s.Listener.Addr().String(), func(h http.Handler) {
		s.Config.Handler = h
		s.Start()
		t.Cleanup(s.Close)
	}
}

// Neither location has all of a line: each ships what it has, and everybody is
// told of two parcels and one order.
func TestALineThatNoLocationHasAllOfIsShippedFromTwo(t *testing.T) {
	const sku = "MUG-STONE"
	v := platform.Variables
	shopURL, serveShop := listen(t)
	mainURL, serveMain := listen(t)
	cityURL, serveCity := listen(t)
	r := join(t, "split", `
  - id: city
    connector: shipbob
    settings:
      api_url: ${CITY_URL}
      channel_id: "433"
      location_id: 9
    secrets:
      access_token: ${SHIPBOB_ACCESS_TOKEN}
    webhook_secrets: ["${SHIPBOB_WEBHOOK_SECRET}"]
`, `
locations:
  - { code: MAIN, owner: warehouse, warehouse: warehouse, priority: 1 }
  - { code: CITY, owner: city, warehouse: city, priority: 2 }
sourcing: { max_locations: 2 }
`, map[string]string{"SHOPIFY_URL": shopURL, "SHIPBOB_URL": mainURL, "CITY_URL": cityURL})
	hook := func(connection string) string {
		c, _ := r.Connection(connection)
		return platform.APIURL + "/hooks/" + r.Tenant.String() + "." + c.Hook
	}
	shop := shopifytest.NewServer(shopifytest.Options{Shop: "north.myshopify.com", FirstName: 7001, AccessToken: v["SHOPIFY_ACCESS_TOKEN"],
		WebhookSecret: v["SHOPIFY_WEBHOOK_SECRET"], WebhookURL: hook(demo.Shop)})
	t.Cleanup(shop.Close)
	serveShop(shop)
	warehouses := map[string]*shipbobtest.Server{}
	for connection, serve := range map[string]func(http.Handler){demo.Warehouse: serveMain, "city": serveCity} {
		w := shipbobtest.NewServer(shipbobtest.Options{AccessToken: v["SHIPBOB_ACCESS_TOKEN"], WebhookSecret: v["SHIPBOB_WEBHOOK_SECRET"],
			WebhookURL: hook(connection), Catalogue: []shipbobtest.Item{{SKU: sku, Name: "Mug", OnHand: 9}}, AutoShipDelay: 300 * time.Millisecond,
			// Two accounts number parcels apart.
			FirstID: map[string]int64{demo.Warehouse: 310_000_000, "city": 320_000_000}[connection], Carriers: []shipbobtest.Carrier{{Name: "UPS", Service: "Ground",
				Prefix: map[string]string{demo.Warehouse: "1ZMAIN", "city": "1ZCITY"}[connection], URL: "https://www.ups.com/track?tracknum=%s"}}})
		t.Cleanup(w.Close)
		serve(w)
		warehouses[connection] = w
	}
	stocked(t, r.Tenant, "MAIN", sku, 2)
	stocked(t, r.Tenant, "CITY", sku, 4)
	placed, err := shop.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: sku, Quantity: 5}}})
	if err != nil {
		t.Fatal(err)
	}

	store := platform.Platform.Store
	head := func() document.Head {
		ref := document.Ref{Tenant: r.Tenant, Connection: demo.Shop, Type: "order", External: placed.ID}
		found, err := store.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			return document.Head{}
		}
		h, err := store.Head(t.Context(), found[ref])
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	h := head()
	for ; h.State != retail.Closed; h = head() {
		open, err := store.OpenExceptions(t.Context(), r.Tenant)
		if err = errors.Join(err, ctx.Err()); err != nil || len(open) > 0 {
			t.Fatalf("the order is %q; %v; open: %+v", h.State, err, open)
		}
		pause(t)
	}

	var o retail.Order
	if err := store.Body(t.Context(), h.Key, h.Body, &o); err != nil {
		t.Fatal(err)
	}
	if o.Sourcing == nil || len(o.Sourcing.Releases) != 2 || len(o.Sourcing.Allocations) != 2 {
		t.Fatalf("sourcing %+v", o.Sourcing)
	}
	for i, rel := range o.Sourcing.Releases {
		reference := map[int]string{0: h.ID, 1: h.ID + "-2"}[i]
		if got := warehouses[rel.Warehouse].OrderIDs(reference); !slices.Equal(got, []string{rel.Ref}) {
			t.Errorf("%s was asked for %s as %v, not %s alone", rel.Warehouse, reference, got, rel.Ref)
		}
	}
	moves, err := store.Movements(t.Context(), r.Tenant, sku, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	sold := map[string][]int64{}
	for _, m := range moves {
		if m.Type == stock.Sale {
			sold[m.Location] = append(sold[m.Location], m.OnHand)
		}
	}
	if !slices.Equal(sold["MAIN"], []int64{-1}) || !slices.Equal(sold["CITY"], []int64{-4}) || len(sold) != 2 {
		t.Errorf("sold %v", sold)
	}
	for location, onHand := range map[string]int64{"MAIN": 1, "CITY": 0} {
		found, err := store.Positions(t.Context(), r.Tenant, location, []string{sku})
		if p := found[sku]; err != nil || p.OnHand != onHand || p.Reserved != 0 || p.Unreserved != onHand {
			t.Errorf("%s: %+v, %v", location, p, err)
		}
	}
	if found, _, err := stock.Prove(t.Context(), store, r.Tenant, sku); err != nil || len(found) > 0 {
		t.Error(found, err)
	}

	var told []int64
	tracking := map[string]bool{}
	for _, f := range shop.Orders()[0].Fulfillments {
		told = append(told, f.Quantity)
		for _, n := range f.Tracking {
			tracking[n] = true
		}
	}
	slices.Sort(told)
	if !slices.Equal(told, []int64{1, 4}) || len(tracking) != 2 {
		t.Errorf("the channel knows of parcels of %v with tracking %v", told, tracking)
	}
	books, err := platform.ERPConnector()
	if err != nil {
		t.Fatal(err)
	}
	sales, err := books.Sales(t.Context(), h.ID)
	if err != nil || len(sales) != 1 {
		t.Fatalf("%d sales, %v", len(sales), err)
	}
	done := 0
	for _, s := range sales[0].Shipments {
		if s.State == "done" {
			done++
		}
	}
	if done != 2 || len(sales[0].Shipments) != 2 || len(sales[0].Invoices) != 1 || sales[0].Total.String() != placed.Total {
		t.Errorf("the ERP has %+v", sales[0])
	}
}
