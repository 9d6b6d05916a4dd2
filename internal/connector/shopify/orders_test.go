package shopify

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// sameBothWays decodes an order from its webhook payload and from GraphQL and
// wants one result.
func sameBothWays(t *testing.T, h *harness, id string) retail.Order {
	t.Helper()
	raw, found, err := h.FetchOrder(context.Background(), id)
	if err != nil || !found {
		t.Fatalf("fetching %s: %v %v", id, found, err)
	}
	rest, restPerson := mustDecode(t, h.Connector, h.payload(t, id))
	graph, graphPerson := mustDecode(t, h.Connector, raw)
	opts := cmp.AllowUnexported(retail.Tenant{})
	if d := cmp.Diff(rest, graph, opts); d != "" {
		t.Errorf("order %s differs between webhook (-) and GraphQL (+):\n%s", id, d)
	}
	if d := cmp.Diff(restPerson, graphPerson); d != "" {
		t.Errorf("the person of %s differs between webhook (-) and GraphQL (+):\n%s", id, d)
	}
	if _, err := retail.Certify(rest); err != nil {
		t.Errorf("order %s does not certify: %v", id, err)
	}
	return graph
}

func TestAnOrderIsTheSameThroughWebhookAndGraphQL(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	for i := range 12 {
		p := h.place(t, shopifytest.Placement{LineCount: 1 + i})
		sameBothWays(t, h, p.ID)
	}
	cancelled := h.place(t, shopifytest.Placement{LineCount: 2})
	if err := h.shop.Cancel(cancelled.ID); err != nil {
		t.Fatal(err)
	}
	if o := sameBothWays(t, h, cancelled.ID); o.CanceledAt == nil || o.Lines[0].Quantities.Canceled != 1 || o.Lines[0].Quantities.Unallocated != 0 {
		t.Errorf("the cancellation is lost: %+v", o)
	}
}

func TestPeculiarOrdersAreTheSameBothWays(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	next := 100
	adopt := func(t *testing.T, raw []byte) retail.Order {
		t.Helper()
		return sameBothWays(t, h, h.place(t, shopifytest.Placement{Payload: raw}).ID)
	}
	changed := func(change func(doc)) []byte {
		next += 10
		return edited(t, func(d doc) {
			d["id"], d["admin_graphql_api_id"] = json.Number(fmt.Sprint(next)), fmt.Sprintf("gid://shopify/Order/%d", next)
			for i := range 2 {
				lineOf(d, i)["id"] = json.Number(fmt.Sprint(next + 1 + i))
			}
			d["original_total_duties_set"], d["original_total_additional_fees_set"] = nil, nil
			change(d)
		})
	}
	t.Run("the official sample", func(t *testing.T) {
		if o := adopt(t, member(t, sample(t, "webhook_samples_docs/2026-04/orders__create.json"), "response")); len(o.Notes) != 1 {
			t.Errorf("notes are %v", o.Notes)
		}
	})
	t.Run("ids past 2^53", func(t *testing.T) { adopt(t, []byte(plain)) })
	t.Run("duties and presentment money", func(t *testing.T) {
		o := adopt(t, changed(func(d doc) {
			d["presentment_currency"] = "EUR"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "4.00"},
				"total_tax": {"4.10", "3.28"}, "total_price": {"60.10", "48.08"}, "total_shipping_price": {"5.00", "4.00"}, "original_total_duties": {"6.00", "4.80"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
				if key != "total_shipping_price" && key != "original_total_duties" {
					d[key] = v[0]
				}
			}
			shippingOf(d, 0)["price_set"], shippingOf(d, 0)["discounted_price_set"] = bagOf("5.00", "4.00", "EUR"), bagOf("5.00", "4.00", "EUR")
			lineOf(d, 0)["duties"] = []any{doc{"shop_money": doc{"amount": "6.00", "currency_code": "USD"},
				"presentment_money": doc{"amount": "4.80", "currency_code": "EUR"}, "tax_lines": []any{doc{"title": "Tax", "rate": json.Number("0.08"), "price": "0.50"}}}}
		}))
		if o.Presentment == nil || o.Presentment.Duties.Amount != 480 {
			t.Errorf("presentment is %+v", o.Presentment)
		}
	})
	t.Run("a tip as a line", func(t *testing.T) {
		o := adopt(t, changed(func(d doc) {
			d["total_tip_received"], d["total_price"] = "3.00", "56.60"
			d["line_items"] = append(d["line_items"].([]any), doc{"id": json.Number("7"), "sku": nil, "title": "Tip", "price": "3.00", "quantity": json.Number("1"),
				"requires_shipping": false, "product_id": nil, "tip_payment_gateway": "shopify_payments", "discount_allocations": []any{}, "tax_lines": []any{}})
		}))
		if len(o.Lines) != 2 || o.Totals.Tip.Amount != 300 {
			t.Errorf("got %+v", o.Totals)
		}
	})
	t.Run("free shipping by a discounted price", func(t *testing.T) {
		adopt(t, changed(func(d doc) {
			shippingOf(d, 0)["discounted_price"] = "0.00"
			d["total_discounts"], d["total_price"] = "10.00", "48.60"
		}))
	})
	t.Run("several shipping lines, more than a page", func(t *testing.T) {
		o := adopt(t, changed(func(d doc) {
			one := shippingOf(d, 0)
			d["shipping_lines"] = []any{one, one, one, one, one}
			d["total_shipping_price_set"] = bagOf("25.00", "25.00", "USD")
			d["total_price"] = "73.60"
		}))
		if len(o.Shipping) != 5 {
			t.Errorf("%d shipping lines", len(o.Shipping))
		}
	})
	t.Run("nobody to ship to", func(t *testing.T) {
		adopt(t, changed(func(d doc) { d["customer"], d["shipping_address"], d["email"] = nil, nil, nil }))
	})
}

func TestAnOrderOf2000LinesIsReadWhole(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	p := h.place(t, shopifytest.Placement{LineCount: 2000})
	if o := sameBothWays(t, h, p.ID); len(o.Lines) != 2000 || o.Lines[1999].ID != "2000" {
		t.Errorf("%d lines", len(o.Lines))
	}
	page, next, err := h.ListOrders(context.Background(), start.Add(-time.Hour), "")
	if err != nil || next != "" || len(page) != 1 {
		t.Fatalf("%d orders, %q, %v", len(page), next, err)
	}
	if o, _ := mustDecode(t, h.Connector, page[0].Raw); len(o.Lines) != 2000 {
		t.Errorf("the listing has %d lines", len(o.Lines))
	}
}

func TestALongOrderWaitsForTheShopsAllowance(t *testing.T) {
	h := withShop(t, shopifytest.Options{Bucket: 2000, RestoreRate: 100})
	p := h.place(t, shopifytest.Placement{LineCount: 1000})
	raw, found, err := h.FetchOrder(context.Background(), p.ID)
	if err != nil || !found {
		t.Fatalf("%v %v", found, err)
	}
	if o, _ := mustDecode(t, h.Connector, raw); len(o.Lines) != 1000 {
		t.Errorf("%d lines", len(o.Lines))
	}
	if waited := h.clock.at.Sub(start); waited < time.Minute || waited > longestWait {
		t.Errorf("waited %s", waited)
	}
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(time.Hour))
	defer cancel()
	h.clock.at = time.Now().Add(time.Hour - 15*time.Second)
	_, _, err = h.FetchOrder(ctx, p.ID)
	f := wantFault(t, err, fault.Retryable, fault.RateLimited, "")
	if f.RetryAfter == 0 {
		t.Error("no time to try again is named")
	}
}

func TestAListingIsCompleteAndInOrder(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	want := map[string]bool{}
	for i := range 23 {
		h.clock.advance(time.Second * time.Duration(i%2)) // equal times among them
		p := h.place(t, shopifytest.Placement{LineCount: 1 + i%9})
		want[p.ID] = true
	}
	var cursor string
	var last time.Time
	seen := map[string]bool{}
	for pages := 0; ; pages++ {
		page, next, err := h.ListOrders(context.Background(), start, cursor)
		if err != nil || pages > 10 {
			t.Fatal(pages, err)
		}
		for _, l := range page {
			if l.UpdatedAt.Before(last) || seen[l.ExternalID] {
				t.Errorf("%s at %s is out of order or twice", l.ExternalID, l.UpdatedAt)
			}
			last, seen[l.ExternalID] = l.UpdatedAt, true
			o, _ := mustDecode(t, h.Connector, l.Raw)
			if o.ExternalID != l.ExternalID || o.Number != l.Number || !o.SourceUpdatedAt.Equal(l.UpdatedAt) {
				t.Errorf("listed %+v, decoded %s %s", l, o.ExternalID, o.Number)
			}
		}
		if pages == 1 {
			// An order that was already listed moves to the end meanwhile.
			h.clock.advance(time.Minute)
			if err := h.shop.Touch(page[0].ExternalID); err != nil {
				t.Fatal(err)
			}
			delete(seen, page[0].ExternalID)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d of %d orders are listed", len(seen), len(want))
	}
}

func TestAListingStartsAtItsTime(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	h.place(t, shopifytest.Placement{LineCount: 1})
	h.clock.advance(time.Hour)
	p := h.place(t, shopifytest.Placement{LineCount: 1})
	page, next, err := h.ListOrders(context.Background(), start.Add(time.Hour).In(time.FixedZone("", -4*3600)), "")
	if err != nil || next != "" || len(page) != 1 || page[0].ExternalID != p.ID {
		t.Errorf("%+v %q %v", page, next, err)
	}
	page, next, err = h.ListOrders(context.Background(), start.Add(2*time.Hour), "")
	if err != nil || next != "" || len(page) != 0 {
		t.Errorf("%+v %q %v", page, next, err)
	}
}

func TestAnUnknownOrderIsNotFound(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	if _, found, err := h.FetchOrder(context.Background(), "5"); found || err != nil {
		t.Errorf("%v %v", found, err)
	}
	_, _, err := h.FetchOrder(context.Background(), `5") { id } }`)
	wantFault(t, err, fault.Permanent, fault.Validation, "external_id")
}

func TestTheShopsFailuresAreClassified(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault faulty.Rule
		kind  fault.Kind
		class fault.Class
	}{
		{"throttled", faulty.Rule{Fault: "rate_limited"}, fault.Retryable, fault.RateLimited},
		{"access denied", faulty.Rule{Fault: "refused", Code: "ACCESS_DENIED"}, fault.Permanent, fault.Authentication},
		{"shop inactive", faulty.Rule{Fault: "refused", Code: "SHOP_INACTIVE"}, fault.Permanent, fault.Configuration},
		{"an internal error", faulty.Rule{Fault: "refused", Code: "INTERNAL_SERVER_ERROR"}, fault.Retryable, fault.Connectivity},
		{"another code", faulty.Rule{Fault: "refused", Code: "MAX_COST_EXCEEDED"}, fault.Permanent, fault.Internal},
		{"HTTP 401", faulty.Rule{Fault: "error", Status: 401}, fault.Permanent, fault.Authentication},
		{"HTTP 402", faulty.Rule{Fault: "error", Status: 402}, fault.Permanent, fault.Configuration},
		{"HTTP 404", faulty.Rule{Fault: "error", Status: 404}, fault.Permanent, fault.Configuration},
		{"HTTP 423", faulty.Rule{Fault: "error", Status: 423}, fault.Permanent, fault.Configuration},
		{"HTTP 429", faulty.Rule{Fault: "error", Status: 429, Seconds: 2}, fault.Retryable, fault.RateLimited},
		{"HTTP 503", faulty.Rule{Fault: "error", Status: 503}, fault.Retryable, fault.Connectivity},
		{"a broken connection", faulty.Rule{Fault: "reset", When: "after"}, fault.Retryable, fault.Connectivity},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := withShop(t, shopifytest.Options{})
			p := h.place(t, shopifytest.Placement{LineCount: 1})
			h.fail(t, tc.fault)
			_, _, err := h.FetchOrder(context.Background(), p.ID)
			f := fault.Of(err)
			if f == nil || f.Kind != tc.kind || f.Class != tc.class || f.Unknown {
				t.Fatalf("got %+v", f)
			}
			if tc.class == fault.RateLimited && f.RetryAfter == 0 {
				t.Error("no time to try again is named")
			}
			if strings.Contains(err.Error(), "token") {
				t.Errorf("the fault tells the token: %v", err)
			}
		})
	}
}

func TestAThrottledQueryWaitsUntilTheBucketHoldsIt(t *testing.T) {
	h := withShop(t, shopifytest.Options{Bucket: 802, RestoreRate: 100})
	if _, _, err := h.ListOrders(context.Background(), start, ""); err != nil {
		t.Fatal(err)
	}
	_, _, err := h.ListOrders(context.Background(), start, "")
	// 802 points at 100 points a second.
	if got := fault.RetryAfterOf(err); got != 9*time.Second {
		t.Errorf("wait %s", got)
	}
}
