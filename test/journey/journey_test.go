//go:build unix

// Package journey runs the deployed template end to end, with IAM enforced.
package journey_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/retail"
)

var (
	platform *demo.Demo
	placed   struct {
		sync.Mutex
		all []demo.Placement
	}
)

// leased are orders whose sender died: an effect of theirs is held for as long
// as its lease lasts, in which other journeys go on.
var leased []demo.Placement

// TestMain starts one platform for all journeys: they share it as orders do.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	awsHome, err1 := localaws.SharedHome()
	erpHome, err2 := erp.SharedHome()
	root, err3 := filepath.Abs("../..")
	dir, err4 := os.MkdirTemp("", "waybill-journey-")
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var err error
	platform, err = demo.Start(context.Background(), demo.Config{Root: root, Dir: dir, AWSHome: awsHome, ERPHome: erpHome,
		Progress: func(p demo.Progress) {
			if p.Done {
				fmt.Printf("%s: %.1f s\n", p.Step, p.Took.Seconds())
			}
		}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		// The functions' logs say why.
		fmt.Println("the run's folder is gone with it; its last log lines:")
		if log, err := os.ReadFile(platform.AWS.Process.Log()); err == nil {
			fmt.Println(string(log[max(0, len(log)-20000):]))
		}
	}
	if err := platform.Stop(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func place(t *testing.T, p shopifytest.Placement) demo.Placement {
	t.Helper()
	o, err := platform.Place(p)
	if err != nil {
		t.Fatal(err)
	}
	keep(o)
	return o
}

// keep remembers an order for the cross-check.
func keep(o demo.Placement) {
	placed.Lock()
	defer placed.Unlock()
	placed.all = append(placed.all, o)
}

// await polls until the order has the state; the limit is for a platform that
// hangs, not a measure.
func await(t *testing.T, o demo.Placement, want retail.State, limit time.Duration) demo.Order {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last demo.Order
	for {
		now, err := platform.Order(t.Context(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		if last = now; last.State == want {
			return last
		}
		if last.Parked != "" && want == retail.Closed {
			t.Fatalf("%s is parked: %s", o.Name, last.Parked)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is %s, not %s, after %s: %+v", o.Name, last.State, want, limit, last)
		case <-tick.C:
		}
	}
}

func TestEveryJourneyEndsInTheCrossCheck(t *testing.T) {
	t.Run("journeys", func(t *testing.T) {
		t.Run("a shopper's order is closed everywhere", straight)
		t.Run("a storm of duplicates is one order", storm)
		t.Run("an hour of orders whose webhooks were dropped is found by the reconcile", dropped)
		t.Run("an article without a map stops forty orders until one map set", unmapped)
		t.Run("an order over 4 MB is refused as a webhook and taken in by the reconcile", oversized)
		t.Run("an ERP that is down for a while delays and loses nothing", outage)
		t.Run("a function killed between two effects repeats neither", killed)
		t.Run("an ERP that is killed in the middle of an order loses and repeats nothing", crashed)
		t.Run("a database that refuses every fourth call delays and loses nothing", throttled)
		t.Run("an order of 2,000 lines works", long)
	})
	t.Run("what waited for a lease meanwhile is closed too", func(t *testing.T) {
		for _, o := range leased {
			// A run that died with its task is found once its phase's lease has ended.
			await(t, o, retail.Closed, document.PhaseLease+4*time.Minute)
		}
	})
	findings, err := platform.CrossCheck(t.Context(), placed.all)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%s %s", f.Order, f.What)
	}
}

func straight(t *testing.T) {
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}, {SKU: "TEE-BLK-M", Quantity: 1}}})
	got := await(t, o, retail.Closed, 2*time.Minute)
	if got.ERP == "" || got.Release == "" || got.Tracking == "" || got.Invoice == "" {
		t.Errorf("numbers are missing: %+v", got)
	}
}

func storm(t *testing.T) {
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "TOTE-NAT", Quantity: 1}}, Duplicate: 9})
	await(t, o, retail.Closed, 2*time.Minute)
}

func oversized(t *testing.T) {
	other := shopifytest.NewServer(shopifytest.Options{FirstName: 9001})
	t.Cleanup(other.Close)
	small, err := other.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := other.Payload(small.ID)
	if err != nil {
		t.Fatal(err)
	}
	// Its ids would be those of an order that the shop has already.
	raw = bytes.ReplaceAll(raw, []byte("9007199254"), []byte("9107199254"))
	attribute := fmt.Sprintf(`{"note_attributes":[{"name":"engraving","value":%q}],`, bytes.Repeat([]byte("x"), 4<<20))
	raw = append([]byte(attribute), regexp.MustCompile(`"note_attributes":\[[^]]*\],?`).ReplaceAll(raw[1:], nil)...)
	o := place(t, shopifytest.Placement{Payload: raw})
	refused := false
	for range 600 {
		for _, d := range platform.Shop.Deliveries() {
			refused = refused || d.OrderID == o.ID && d.Status == http.StatusRequestEntityTooLarge
		}
		if refused {
			break
		}
		pause(t)
	}
	if !refused {
		t.Error("the webhook was not refused with 413")
	}
	if err := platform.Invoke(t.Context(), "OrderReconcile"); err != nil {
		t.Fatal(err)
	}
	await(t, o, retail.Closed, 2*time.Minute)
}

func outage(t *testing.T) {
	platform.ERPGate.SetDown(true)
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "SOCK-3PK", Quantity: 1}}})
	waited := false
	for range 600 {
		h, err := platform.Order(t.Context(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		if waited = h.Postponed > 0; waited {
			break
		}
		pause(t)
	}
	// The message that would bring it back is lost: the sweeper does.
	purge(t, "RESUME_QUEUE")
	platform.ERPGate.SetDown(false)
	if !waited {
		t.Error("the order was not postponed")
	}
	await(t, o, retail.Closed, 4*time.Minute)
}

// killed ends the function that is about to confirm the sales order, after it
// has created it.
func killed(t *testing.T) {
	var once sync.Once
	done := make(chan int, 1)
	platform.ERPGate.Before(func(body []byte) {
		if bytes.Contains(body, []byte("model.sale.sale.quote")) {
			once.Do(func() { done <- kill("FulfillmentOrder") })
		}
	})
	defer platform.ERPGate.Before(nil)
	leased = append(leased, place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "TEE-WHT-L", Quantity: 1}}}))
	select {
	case n := <-done:
		if n == 0 {
			t.Error("no function was killed")
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the ERP was not asked to confirm a sale")
	}
}

func long(t *testing.T) {
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}, {SKU: "CANDLE-FIG", Quantity: 2}}, LineCount: 2000})
	await(t, o, retail.Closed, 5*time.Minute)
}

// kill ends all processes of a function, at once.
func kill(function string) (n int) {
	envs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0
	}
	for _, path := range envs {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, []byte("AWS_LAMBDA_FUNCTION_NAME="+demo.StackName)) || !bytes.Contains(env, []byte(function)) ||
			!bytes.Contains(env, []byte(platform.AWS.Endpoint)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// pause is one turn of a poll.
func pause(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	<-ctx.Done()
}
