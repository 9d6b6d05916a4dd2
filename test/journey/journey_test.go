//go:build unix

// Package journey runs the deployed template end to end, with IAM enforced.
package journey_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
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
	placed.Lock()
	defer placed.Unlock()
	placed.all = append(placed.all, o)
	return o
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

// crossCheck ends every journey: all orders so far, in all systems.
func crossCheck(t *testing.T) {
	t.Helper()
	findings, err := platform.CrossCheck(t.Context(), placed.all)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%s %s", f.Order, f.What)
	}
}

func TestAShoppersOrderIsClosedEverywhere(t *testing.T) {
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}, {SKU: "TEE-BLK-M", Quantity: 1}}})
	got := await(t, o, retail.Closed, 60*time.Second)
	if got.ERP == "" || got.Release == "" || got.Tracking == "" || got.Invoice == "" {
		t.Errorf("numbers are missing: %+v", got)
	}
	crossCheck(t)
}
