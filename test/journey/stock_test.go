//go:build unix

package journey_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/partner"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// join makes the partner one more retailer: the demo's, with more connections,
// rules about stock, and other variables.
func join(t *testing.T, tenant, connections, rules string, variables map[string]string) tenancy.Retailer {
	t.Helper()
	from, to := filepath.Join("..", "..", "infra", "partners", "demo"), t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(from, "retailers", "north.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, "retailers", "north.yaml")); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(file), "tenant: north\n", "tenant: "+tenant+"\n", 1)
	text = strings.Replace(text, "\nroutes:\n", connections+"\nroutes:\n", 1) + rules
	if err := os.WriteFile(filepath.Join(to, "retailers", tenant+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(platform.Variables)
	maps.Copy(all, variables)
	folder, err := partner.Load(to, func(n string) (string, bool) { v, ok := all[n]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	plan, err := partner.Compare(t.Context(), platform.Platform.Store, platform.Platform.Sealer(), folder)
	if err != nil {
		t.Fatal(err)
	}
	applied, err := partner.Apply(t.Context(), platform.Platform.Store, platform.Platform.Sealer(), plan, time.Now())
	if err != nil || len(applied) != 1 {
		t.Fatalf("%d retailers, %v", len(applied), err)
	}
	return applied[0]
}

// stocked opens a position.
func stocked(t *testing.T, tenant retail.Tenant, location, sku string, n int64) {
	t.Helper()
	now := time.Now()
	if err := platform.Platform.Store.Apply(t.Context(), tenant, []stock.Move{{SKU: sku, Location: location, Type: stock.Opening, Connection: demo.Warehouse,
		Document: "opening " + location, Line: sku, OnHand: n, OccurredAt: now, RecordedAt: now}}); err != nil {
		t.Fatal(err)
	}
}

// deployed is the name of a function of the stack.
func deployed(t *testing.T, client *lambda.Client, resource string) string {
	t.Helper()
	pages := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			if slices.Contains(strings.Split(*f.FunctionName, "-"), resource) {
				return *f.FunctionName
			}
		}
	}
	t.Fatalf("the stack has no function %s", resource)
	return ""
}

// Of one unit, a thousand buyers' orders are sourced once, by so many workers at
// a time. The local AWS has one interpreter for all of them: it takes some 25
// allocations a second.
var buyers = flag.Int("buyers", 1000, "how many buyers want the one unit")

const workers = 64

// each does something for every buyer, by as many workers at a time.
func each(do func(buyer int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(*buyers); n = next.Add(1) {
				do(int(n - 1))
			}
		})
	}
	wg.Wait()
}

// order leaves an order as the intake and the phase's first task do. It is due
// far from now, so that nothing but this test takes it further.
func order(ctx context.Context, tenant retail.Tenant, id string, skus []string) (document.Task, error) {
	life := platform.Platform.Life()
	life.Now = func() time.Time { return time.Now().UTC() }
	zero := retail.Money{Currency: "USD"}
	total := retail.Money{Amount: int64(1000 * len(skus)), Currency: "USD"}
	o := retail.Order{Schema: retail.SchemaVersion, Tenant: tenant, ID: id, Channel: demo.Shop, ExternalID: id, Number: "#" + id, Currency: "USD", DestinationCountry: "US",
		Totals: retail.Totals{Lines: total, Discounts: zero, Shipping: zero, Duties: zero, Fees: zero, Tip: zero, Tax: zero, Rounding: zero, Total: total}}
	for i, sku := range skus {
		o.Lines = append(o.Lines, retail.OrderLine{ID: fmt.Sprint(i + 1), ExternalID: fmt.Sprint(i + 1), SKU: sku, Title: sku, RequiresShipping: true,
			UnitPrice: retail.PriceOf(retail.Money{Amount: 1000, Currency: "USD"}), Quantities: retail.Quantities{Ordered: 1, Unallocated: 1}})
	}
	k := document.Key{Tenant: tenant, Type: document.Order, ID: id}
	c := document.Change{Head: document.Head{Key: k, Schema: retail.SchemaVersion, State: retail.Received, Run: 1, Body: 1, Connection: demo.Shop, ExternalID: id, Number: o.Number,
		Total: total, Due: life.Now().Add(24 * time.Hour), CreatedAt: life.Now()}}
	var steps []document.Step
	for _, to := range []retail.State{retail.Received, retail.Validated, retail.Accepted} {
		var err error
		if c, err = life.Next(c.Head, to, document.Step{Type: document.Event(k.Type, string(to))}); err != nil {
			return document.Task{}, err
		}
		steps = append(steps, c.Steps...)
	}
	c.Steps, c.Body, c.Person = steps, o, &retail.Person{Name: "Ann Buyer"}
	c.Refs = []document.Ref{{Tenant: tenant, Connection: demo.Shop, Type: "order", External: id}}
	return document.Task{Schema: retail.SchemaVersion, Tenant: tenant, Type: k.Type, ID: id, Run: 1}, life.Commit(ctx, c)
}

// ask invokes a task of the machine until it ends: what is Retryable rests and
// comes again, as often as needed.
func ask(ctx context.Context, client *lambda.Client, function string, task document.Task) (again int, err error) {
	payload, err := json.Marshal(task)
	if err != nil {
		return 0, err
	}
	for {
		res, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: payload})
		if err != nil {
			return again, err
		}
		if res.FunctionError == nil {
			return again, nil
		}
		var failed struct {
			Type    string `json:"errorType"`
			Message string `json:"errorMessage"`
		}
		if err := json.Unmarshal(res.Payload, &failed); err != nil {
			return again, fmt.Errorf("%s: %w", res.Payload, err)
		}
		if failed.Type == boot.Superseded {
			return again, document.ErrSuperseded
		}
		f := fault.Decode(failed.Message)
		if f.Kind != fault.Retryable {
			return again, f
		}
		again++
	}
}

func TestOneUnitIsSoldOnceOnTheDeployedTemplate(t *testing.T) {
	// Whoever lists the new retailer's channel finds nothing there.
	shop := shopifytest.NewServer(shopifytest.Options{Shop: "north.myshopify.com", AccessToken: platform.Variables["SHOPIFY_ACCESS_TOKEN"]})
	server := httptest.NewServer(shop)
	t.Cleanup(func() { server.Close(); shop.Close() })
	tenant := join(t, "crowd", "", `
locations:
  - { code: MAIN, owner: warehouse, warehouse: warehouse, priority: 1 }
products:
  - { sku: KIT, components: [{ sku: CUP, quantity: 1 }, { sku: BOX, quantity: 2 }] }
`, map[string]string{"SHOPIFY_URL": server.URL}).Tenant
	client := lambda.NewFromConfig(platform.Platform.AWS)
	function := deployed(t, client, "FulfillmentAllocate")
	for _, c := range []struct {
		what  string
		lines []string
		// stock before; what is held after is taken of each SKU.
		stock, taken map[string]int64
	}{
		{"a plain SKU", []string{"PLAIN"}, map[string]int64{"PLAIN": 1}, map[string]int64{"PLAIN": 1}},
		{"a kit with one component left", []string{"KIT"}, map[string]int64{"CUP": 1, "BOX": 50_000}, map[string]int64{"CUP": 1, "BOX": 2}},
		{"an order of two last units", []string{"LEFT", "RIGHT"}, map[string]int64{"LEFT": 1, "RIGHT": 1}, map[string]int64{"LEFT": 1, "RIGHT": 1}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for sku, n := range c.stock {
				stocked(t, tenant, demo.Location, sku, n)
			}
			tasks := make([]document.Task, *buyers)
			began := time.Now()
			each(func(n int) {
				var err error
				if tasks[n], err = order(t.Context(), tenant, fmt.Sprintf("%s-%d", c.lines[0], n), c.lines); err != nil {
					t.Errorf("preparing order %d: %v", n, err)
				}
			})
			if t.Failed() {
				return
			}
			t.Logf("%d orders were accepted in %.1f s", *buyers, time.Since(began).Seconds())
			var mu sync.Mutex
			var sold []string
			var repeated atomic.Int64
			began = time.Now()
			each(func(n int) {
				again, err := ask(t.Context(), client, function, tasks[n])
				repeated.Add(int64(again))
				f := fault.Of(err)
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					sold = append(sold, tasks[n].ID)
				case f == nil || f.Class != fault.InventoryShortage || f.Kind != fault.Exception:
					t.Errorf("order %d ends with %v", n, err)
				}
			})
			took := time.Since(began)
			t.Logf("%d allocations by %d workers in %.1f s: %.0f a second, %d asked again", *buyers, workers, took.Seconds(), float64(*buyers)/took.Seconds(), repeated.Load())
			if len(sold) != 1 {
				t.Fatalf("%d orders have the one unit: %v", len(sold), sold)
			}
			each(func(n int) {
				h, err := platform.Platform.Store.Head(t.Context(), tasks[n].Key())
				if want := map[bool]retail.State{true: retail.Sourcing, false: retail.Accepted}[h.ID == sold[0]]; err != nil || h.State != want {
					t.Errorf("order %s is %s, not %s, %v", h.ID, h.State, want, err)
				}
			})
			for sku, n := range c.taken {
				kept, err := platform.Platform.Store.Stock(t.Context(), tenant, sku)
				if err != nil {
					t.Fatal(err)
				}
				if len(kept.Positions) != 1 || kept.Positions[0].Reserved != n || kept.Positions[0].Unreserved != c.stock[sku]-n || kept.Positions[0].OnHand != c.stock[sku] {
					t.Errorf("%s: %+v, want %d of %d reserved", sku, kept.Positions, n, c.stock[sku])
				}
				// All lines are the one order's: nobody has half an order.
				if len(kept.Holds) != 1 || kept.Holds[0].Order != sold[0] || kept.Holds[0].Quantity != n {
					t.Errorf("%s is held by %+v, want %s alone", sku, kept.Holds, sold[0])
				}
				if found, _, err := stock.Prove(t.Context(), platform.Platform.Store, tenant, sku); err != nil || len(found) > 0 {
					t.Error(found, err)
				}
			}
		})
	}
}
