package connectortest

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
)

// read is something that a connector reads at the vendor.
type read struct {
	name string
	can  func(opened any) bool
	// prepare makes what is to be read, and returns the reading.
	prepare func(t testing.TB, v *Vendor) func(ctx context.Context, opened any) error
}

var reads = []read{
	{"fetch_order", has[order.Fetcher], func(t testing.TB, v *Vendor) func(context.Context, any) error {
		id := v.Listing.Place(1)[0]
		return func(ctx context.Context, opened any) error {
			_, found, err := must[order.Fetcher](t, opened).FetchOrder(ctx, id)
			if err == nil && !found {
				t.Errorf("the order is not found")
			}
			return err
		}
	}},
	{"list_orders", has[order.Lister], func(t testing.TB, v *Vendor) func(context.Context, any) error {
		v.Listing.Place(1)
		return func(ctx context.Context, opened any) error {
			page, _, err := must[order.Lister](t, opened).ListOrders(ctx, v.Listing.Since, "")
			if err == nil && len(page) != 1 {
				t.Errorf("%d orders are listed", len(page))
			}
			return err
		}
	}},
	{"list_parcels", has[shipment.Lister], func(t testing.TB, v *Vendor) func(context.Context, any) error {
		ref, ids := v.Parcels(t)
		return func(ctx context.Context, opened any) error {
			listed, err := must[shipment.Lister](t, opened).ListShipments(ctx, ref)
			if err == nil && len(listed) != len(ids) {
				t.Errorf("%d parcels are listed, and there are %d", len(listed), len(ids))
			}
			return err
		}
	}},
	{"count_stock", has[counter], func(t testing.TB, v *Vendor) func(context.Context, any) error {
		if v.Stock != nil {
			v.Stock.Fill(1)
		}
		return func(ctx context.Context, opened any) error {
			_, err := must[counter](t, opened).Stock(ctx)
			return err
		}
	}},
}

// trouble is what a read may meet, and what it must make of it.
type trouble struct {
	name   string
	rule   faulty.Rule
	silent bool
	kind   fault.Kind
	class  fault.Class
	after  time.Duration
}

var troubles = []trouble{
	{name: "rate_limited", rule: faulty.Rule{Fault: "rate_limited", Seconds: 7}, kind: fault.Retryable, class: fault.RateLimited, after: 7 * time.Second},
	{name: "http_429", rule: faulty.Rule{Fault: "error", Status: http.StatusTooManyRequests, Seconds: 7}, kind: fault.Retryable, class: fault.RateLimited, after: 7 * time.Second},
	{name: "timeout", rule: faulty.Rule{Fault: "timeout_before"}, silent: true, kind: fault.Retryable, class: fault.Connectivity},
	{name: "5xx", rule: faulty.Rule{Fault: "error", Status: 500}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "html", rule: faulty.Rule{Fault: "html"}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "html_502", rule: faulty.Rule{Fault: "html", Status: http.StatusBadGateway}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "garbage", rule: faulty.Rule{Fault: "garbage"}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "garbage_utf8", rule: faulty.Rule{Fault: "garbage", Form: "utf8", When: "after"}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "truncated", rule: faulty.Rule{Fault: "truncated"}, kind: fault.Retryable, class: fault.Connectivity},
	{name: "huge", rule: faulty.Rule{Fault: "huge"}, kind: fault.Permanent, class: fault.Connectivity},
	{name: "credential_revoked", rule: faulty.Rule{Fault: "credential_revoked"}, kind: fault.Permanent, class: fault.Authentication},
}

func readChecks(h Harness) []check {
	var out []check
	for _, r := range reads {
		for _, x := range troubles {
			out = append(out, check{"read/" + r.name + "/" + x.name, r.can(h.Bare), func(t testing.TB, h Harness) string {
				meet(t, h, r, x)
				return ""
			}})
		}
		out = append(out, check{"read/" + r.name + "/credential_rotated", r.can(h.Bare), func(t testing.TB, h Harness) string {
			return rotate(t, h, r)
		}})
	}
	return append(out,
		check{"paging/orders_while_they_change", has[order.Lister](h.Bare), func(t testing.TB, h Harness) string { pageOrders(t, h); return "" }},
		check{"paging/stock_while_it_changes", has[counter](h.Bare), func(t testing.TB, h Harness) string { pageStock(t, h); return "" }},
		check{"limit/kept_by_the_heaviest_read", has[order.Fetcher](h.Bare) || has[counter](h.Bare), func(t testing.TB, h Harness) string { keep(t, h); return "" }},
		check{"limit/obeyed_while_listing", has[order.Lister](h.Bare), func(t testing.TB, h Harness) string { obey(t, h); return "" }},
	)
}

func meet(t testing.TB, h Harness, r read, x trouble) {
	v := h.Open(t, Options{})
	do := r.prepare(t, v)
	rule := x.rule
	// A client may repeat a read by itself: the vendor stays ill for all of it.
	rule.Times = -1
	if err := v.Front.Faults.Add(rule); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if x.silent {
		v.Front.Faults.OnSilence(cancel)
	}
	err := do(ctx, v.Connector)
	f := fault.Of(err)
	switch {
	case err == nil:
		t.Fatal("it succeeded")
	case f == nil:
		t.Fatalf("the error has no class: %v", err)
	case f.Kind != x.kind || f.Class != x.class:
		t.Errorf("%s/%s, want %s/%s: %v", f.Kind, f.Class, x.kind, x.class, err)
	case f.Unknown:
		t.Errorf("a read is said to have happened, perhaps: %v", err)
	case x.after > 0 && fault.RetryAfterOf(err) != x.after:
		t.Errorf("the vendor asked for %s, and the fault asks for %s", x.after, fault.RetryAfterOf(err))
	}
	v.Front.Faults.Clear()
	if err := do(context.Background(), v.Connector); err != nil {
		t.Errorf("with the vendor well again: %v", err)
	}
}

func refusedCredential(t testing.TB, err error) {
	t.Helper()
	if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.Authentication || f.Unknown {
		t.Errorf("%v is not Permanent/authentication", err)
	}
}

func rotate(t testing.TB, h Harness, r read) string {
	v := h.Open(t, Options{})
	do := r.prepare(t, v)
	if err := do(t.Context(), v.Connector); err != nil {
		t.Fatal(err)
	}
	rotated := faulty.Rule{Fault: "credential_rotated", Token: "fresh", Times: -1}
	if !v.suffers(t, rotated) {
		return cannot
	}
	refusedCredential(t, do(t.Context(), v.Connector))
	if err := do(t.Context(), v.Reconnect(t, rotated.Token)); err != nil {
		t.Errorf("with the new credential: %v", err)
	}
	return ""
}

func revoke(t testing.TB, h Harness, w write) {
	trip := begin(t, h, w)
	if err := trip.vendor.Front.Faults.Add(faulty.Rule{Fault: "credential_revoked", Times: -1}); err != nil {
		t.Fatal(err)
	}
	_, err := trip.do("", false)
	refusedCredential(t, err)
	trip.vendor.Front.Faults.Clear()
	r, err := trip.do("", false) // an administrator has mended it
	if err != nil {
		t.Fatalf("with the credential accepted again: %v", err)
	}
	trip.once(r)
}

// pageOrders demands that nothing which existed throughout is left out, while
// orders change and come between the pages.
func pageOrders(t testing.TB, h Harness) {
	v := h.Open(t, Options{})
	if v.Listing == nil {
		t.Fatal("the harness does not say how orders come to be listed")
	}
	ids := v.Listing.Place(v.Listing.Orders)
	c := must[order.Lister](t, v.Connector)
	seen := map[string]int{}
	pages, cursor := 0, ""
	for {
		page, next, err := c.ListOrders(t.Context(), v.Listing.Since, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page {
			seen[l.ExternalID]++
			if l.UpdatedAt.IsZero() || l.UpdatedAt.Location() != time.UTC {
				t.Errorf("order %s was updated at %s", l.ExternalID, l.UpdatedAt)
			}
		}
		if pages++; pages > 4*v.Listing.Orders {
			t.Fatal("the listing does not end")
		}
		if next == "" {
			break
		}
		if cursor = next; pages > 3 {
			continue
		}
		// One that was listed changes, one that was not yet, and one comes.
		v.Clock.Advance(time.Second)
		v.Listing.Touch(ids[0])
		v.Listing.Touch(ids[len(ids)-1])
		v.Listing.New()
	}
	if pages < 3 {
		t.Errorf("the listing has %d pages; %d orders show nothing", pages, v.Listing.Orders)
	}
	var missed []string
	for _, id := range ids {
		if seen[id] == 0 {
			missed = append(missed, id)
		}
	}
	if len(missed) > 0 {
		t.Errorf("%d of %d orders are left out: %v", len(missed), len(ids), missed)
	}
}

// pageStock demands that an item which comes between two pages makes the
// listing neither miss another nor count it twice.
func pageStock(t testing.TB, h Harness) {
	v := h.Open(t, Options{})
	if v.Stock == nil {
		t.Fatal("the harness does not say how stock comes to be counted")
	}
	skus := v.Stock.Fill(v.Stock.Items)
	v.Front.Before(func(n int) {
		if n == 2 || n == 3 {
			v.Stock.Insert()
		}
	})
	before := v.Front.Calls()
	counts, err := must[counter](t, v.Connector).Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := v.Front.Calls() - before; n < 3 {
		t.Errorf("the listing has %d pages; %d items show nothing", n, v.Stock.Items)
	}
	for _, sku := range skus {
		if counts[sku] != 1 {
			t.Errorf("%s: %d on hand, and there is 1", sku, counts[sku])
		}
	}
}

// keep demands that one read, however long, stays below the limit by itself.
func keep(t testing.TB, h Harness) {
	v := h.Open(t, Options{Limited: true})
	if v.Heavy == nil {
		t.Fatal("the harness names no heavy read")
	}
	if err := v.Heavy(t.Context()); err != nil {
		t.Error(err)
	}
	if n := v.Front.Refused(); n > 0 {
		t.Errorf("the vendor refused %d of %d calls", n, v.Front.Calls())
	}
}

// obey demands that whoever waits as a fault asks is let through, and that a
// refused call is not repeated before.
func obey(t testing.TB, h Harness) {
	v := h.Open(t, Options{Limited: true})
	if v.Listing == nil {
		t.Fatal("the harness does not say how orders come to be listed")
	}
	ids := v.Listing.Place(2 * v.Listing.Orders)
	c := must[order.Lister](t, v.Connector)
	var listed []string
	cursor, refused, inRow := "", 0, 0
	for {
		page, next, err := c.ListOrders(t.Context(), v.Listing.Since, cursor)
		if err != nil {
			f := fault.Of(err)
			if f == nil || f.Class != fault.RateLimited || f.RetryAfter <= 0 {
				t.Fatalf("%v does not say how long to wait", err)
			}
			if refused++; v.Front.Refused() > refused {
				t.Fatalf("the vendor refused %d calls, and %d were reported: it is pressed", v.Front.Refused(), refused)
			}
			if inRow++; inRow > 1 {
				t.Fatalf("it waited as it was told and was refused again")
			}
			v.Clock.Advance(f.RetryAfter)
			continue
		}
		inRow = 0
		for _, l := range page {
			listed = append(listed, l.ExternalID)
		}
		if cursor = next; next == "" {
			break
		}
	}
	for _, id := range ids {
		if !slices.Contains(listed, id) {
			t.Errorf("order %s is left out", id)
		}
	}
	if refused == 0 && v.Front.Refused() == 0 {
		t.Errorf("%d orders do not reach the limit, so nothing is shown", len(ids))
	}
}
