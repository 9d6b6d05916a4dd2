package shipbob_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/fault"
)

func TestStockIsReadOverAllPages(t *testing.T) {
	var items []shipbobtest.Item
	want := map[string]int64{}
	for i := range 601 {
		sku := fmt.Sprintf("S%03d", i)
		items = append(items, shipbobtest.Item{SKU: sku, Name: sku, OnHand: int64(i)})
		want[sku] = int64(i)
	}
	c, url := simulate(t, shipbobtest.Options{Catalogue: items})
	got, err := c.Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var calls []shipbobtest.Request
	if inspect(t, url, "requests", &calls); len(calls) != 3 {
		t.Errorf("%d calls, want 3 pages", len(calls))
	}
}

func TestStockAddsItemsOfOneSKUAndSkipsThoseWithout(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"items":[{"inventory_id":1,"sku":"A","total_on_hand_quantity":3},{"inventory_id":2,"sku":"A","total_on_hand_quantity":4},{"inventory_id":3,"sku":null,"total_on_hand_quantity":9}],"next":null}`)
	})
	got, err := c.Stock(t.Context())
	if diff := cmp.Diff(map[string]int64{"A": 7}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestAnItemThatIsListedOnTwoPagesCountsOnce(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("Cursor") == "" {
			_, _ = io.WriteString(w, `{"items":[{"inventory_id":1,"sku":"A","total_on_hand_quantity":3}],"next":"/2026-01/inventory-level?Cursor=1"}`)
			return
		}
		_, _ = io.WriteString(w, `{"items":[{"inventory_id":1,"sku":"A","total_on_hand_quantity":3},{"inventory_id":2,"sku":"B","total_on_hand_quantity":4}],"next":null}`)
	})
	got, err := c.Stock(t.Context())
	if diff := cmp.Diff(map[string]int64{"A": 3, "B": 4}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestStockRefusesWhatItCannotTrust(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the credential went to another host: %v", r.Header.Get("Authorization") != "")
	}))
	defer elsewhere.Close()
	for _, tc := range []struct {
		name, body string
		want       fault.Error
	}{
		{"a page on another host", `{"items":[],"next":"` + elsewhere.URL + `/2026-01/inventory-level"}`, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "next"}},
		{"a page that leads to itself", `{"items":[],"next":"/2026-01/inventory-level?PageSize=250"}`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity}},
		{"a fraction", `{"items":[{"sku":"A","total_on_hand_quantity":1.5}]}`, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "items[0].total_on_hand_quantity", Value: "A"}},
		{"a missing quantity", `{"items":[{"sku":"A"}]}`, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "items[0].total_on_hand_quantity", Value: "A"}},
		{"text that is not JSON", `<html>`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.body) })
			_, err := c.Stock(t.Context())
			wantFault(t, err, tc.want)
		})
	}
}
