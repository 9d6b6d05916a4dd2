package port_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	blobs "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// shop opens one translated connection.
type shop struct{ connector any }

func (s shop) Open(context.Context, retail.Tenant, string) (any, error) { return s.connector, nil }
func (s shop) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{Channel: "shop", ERP: "erp", Warehouse: "wms", Location: "MAIN", ConfigVersion: 1}, nil
}

// An unmapped SKU parks its own orders, one cause for all of them; the others
// are taken in, and once it is mapped a replay takes in what waited.
func TestAnUnmappedSKUParksItsOrdersAndNotTheFeed(t *testing.T) {
	now := time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	north, err := retail.ParseTenant("north")
	must(err)
	store := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 2))})
	book, strict := mapping.Book{Store: store, Now: clock}, true
	edit := mapping.Edit{Tenant: north, Connection: "shop", Kind: mapping.SKU, Strict: &strict, By: "pat", Reason: "go-live"}
	_, _, err = book.Set(t.Context(), edit, mapping.Entry{Direction: mapping.Decode, From: "MUG-STONE", To: "OURS-MUG"})
	must(err)

	bare, err := catalog.Open("shopify", []byte(`{"shop":"north.myshopify.com"}`), nil, nil, clock)
	must(err)
	by := &mapping.Translator{Tenant: north, Connection: "shop", Stored: &mapping.Reader{Store: store, Now: clock}}
	n := 0
	in := order.Intake{Life: document.Life{Store: store, Now: clock, Jitter: func(time.Duration) time.Duration { return 0 },
		NewID: func() string { n++; return fmt.Sprintf("id%04d", n) }},
		Inbox: store, Payloads: &blobs.Bucket{}, Connections: shop{catalog.Translate(bare, by)},
		Start: func(context.Context, document.Task) error { return nil }}

	sim := shopifytest.NewServer(shopifytest.Options{Shop: "north.myshopify.com", Now: clock})
	t.Cleanup(sim.Close)
	take := func(event, sku string, body []byte) []byte {
		t.Helper()
		if body == nil {
			placed, err := sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, DropWebhook: true})
			must(err)
			body, err = sim.Payload(placed.ID)
			must(err)
			body = []byte(strings.ReplaceAll(string(body), "MUG-STONE", sku))
		}
		_, err = in.Take(t.Context(), inbox.Message{Schema: 1, Tenant: north, Connection: "shop", Connector: "shopify", Topic: "orders/create", EventID: event, ReceivedAt: now}.WithBody(body))
		must(err)
		return body
	}
	var waiting [][]byte
	for i := range 6 {
		sku := "MUG-STONE"
		if i%2 == 0 {
			sku = "MUG-NEW"
		}
		if body := take(fmt.Sprint("e", i), sku, nil); i%2 == 0 {
			waiting = append(waiting, body)
		}
	}
	xs, err := store.OpenExceptions(t.Context(), north)
	must(err)
	if len(xs) != 3 {
		t.Fatalf("%d exceptions", len(xs))
	}
	w := mapping.Waiting{Tenant: north, Connection: "shop", Kind: mapping.SKU, Value: "MUG-NEW"}
	for _, x := range xs {
		if x.Class != string(fault.Mapping) || x.Field != "lines[0].sku" || x.Value != "MUG-NEW" || x.Fingerprint != xs[0].Fingerprint || !w.Match(x) || x.Raw == "" || x.EventID == "" {
			t.Errorf("exception = %+v", x)
		}
		h, err := in.Life.Store.Head(t.Context(), document.Key{Tenant: north, Type: x.Type, ID: x.Document})
		if must(err); h.Parked != x.ID || h.Body != 0 || h.Total.IsZero() {
			t.Errorf("head = %+v", h)
		}
	}
	_, _, err = book.Set(t.Context(), edit, mapping.Entry{Direction: mapping.Decode, From: "MUG-NEW", To: "OURS-NEW"})
	must(err)
	now = now.Add(2 * time.Second)
	o, _, err := in.Connections.(shop).connector.(order.Decoder).DecodeOrder(waiting[0])
	if err != nil || o.Lines[0].SKU != "OURS-NEW" {
		t.Errorf("read again: %v", err)
	}
}
