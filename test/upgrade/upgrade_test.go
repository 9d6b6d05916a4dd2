//go:build unix

// Package upgrade deploys an earlier version, stops orders on their way in it,
// and lets the present version take over.
package upgrade_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/exception"
	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/retail"
)

// late is an article that nobody but the storefront knows at first.
const late = "MUG-LATE"

func TestOrdersOnTheirWaySurviveAnUpgrade(t *testing.T) {
	p := start(t)
	before := maps.Clone(p.Outputs)
	ctx := t.Context()

	closed := p.place(t, "closed", "MUG-STONE")
	p.reaches(t, closed, retail.Released)
	p.ship(t, closed)
	p.reaches(t, closed, retail.Closed)

	released := p.place(t, "released", "TEE-BLK-M")
	shipped := p.place(t, "shipped", "TOTE-NAT")
	p.reaches(t, released, retail.Released)
	p.reaches(t, shipped, retail.Released)
	p.must(t, p.SetPaused(ctx, "ShipmentIntake", true))
	p.ship(t, shipped)

	unknown := p.place(t, "parked", late)
	p.parked(t, unknown)
	misread, right := p.misread(t)

	p.place(t, "calling", "CANDLE-FIG")
	answer := p.holdTheERP(t)
	p.ERPGate.SetDown(true)
	resting := p.place(t, "resting", "SOCK-3PK")
	p.rests(t, resting)
	for range 4 {
		p.place(t, "running", "TEE-WHT-L")
	}
	p.must(t, p.SetPaused(ctx, "OrderIntake", true))
	queued := p.place(t, "queued", "MUG-STONE")

	began := time.Now()
	p.must(t, p.Upgrade(ctx, p.root))
	p.upgraded = time.Now()
	t.Logf("the update took %.1f s", time.Since(began).Seconds())
	for name, was := range before {
		if strings.HasSuffix(name, "Table") || name == "RawBucket" || name == "ApiUrl" {
			if p.Outputs[name] != was {
				t.Errorf("%s was %s and is %s", name, was, p.Outputs[name])
			}
		}
	}
	if o, err := p.Order(ctx, queued.ID); err != nil || o.ID != "" {
		t.Errorf("the queued order was taken in while its function was paused: %+v, %v", o, err)
	}

	close(answer)
	p.ERPGate.Before(nil)
	p.ERPGate.SetDown(false)
	p.must(t, p.SetPaused(ctx, "OrderIntake", false))
	p.must(t, p.SetPaused(ctx, "ShipmentIntake", false))
	p.must(t, p.AddArticle(ctx, late, "Mug, late", "10.00"))
	who := exception.Actor{By: "test", Reason: "the article exists now"}
	if _, err := p.Platform.Desk().Retry(ctx, p.Tenant, p.parked(t, unknown), who); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Platform.Desk().Edit(ctx, p.Tenant, misread, exception.Actor{By: "test", Reason: "the total was wrong"}, right); err != nil {
		t.Fatal(err)
	}

	p.allClose(t)
	findings, err := p.CrossCheck(ctx, p.placed)
	p.must(t, err)
	for _, f := range findings {
		t.Errorf("%s (%s) %s", f.Order, p.why[f.Order], f.What)
	}
	open, err := p.Platform.Store.OpenExceptions(ctx, p.Tenant)
	p.must(t, err)
	for _, x := range open {
		t.Errorf("exception %s of %s is still %s: %s", x.ID, x.Number, x.State, x.Reason)
	}
}

type stage struct {
	*demo.Demo
	root     string
	placed   []demo.Placement
	why      map[string]string // by the order's name
	woken    map[string]time.Time
	upgraded time.Time
}

// start runs the base: its template, its functions, and its own command applies
// the demo partner.
func start(t *testing.T) *stage {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	old, err := source(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	awsHome, err := localaws.SharedHome()
	if err != nil {
		t.Fatal(err)
	}
	erpHome, err := erp.SharedHome()
	if err != nil {
		t.Fatal(err)
	}
	// What is deployed in the middle is built beforehand, so that orders are
	// really on their way meanwhile.
	if _, err := build.Functions(t.Context(), build.Options{Root: root}); err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(t.TempDir(), "waybill")
	run(t.Context(), t, old, nil, "go", "build", "-buildvcs=false", "-o", command, ".")
	p := &stage{root: root, why: map[string]string{}, woken: map[string]time.Time{}}
	p.Demo, err = demo.Start(t.Context(), demo.Config{Root: old, Dir: t.TempDir(), AWSHome: awsHome, ERPHome: erpHome, HoldOrders: true,
		Apply: func(ctx context.Context, d *demo.Demo, folder string) error {
			env := []string{"AWS_ENDPOINT_URL=" + d.AWS.Endpoint, "AWS_REGION=" + d.AWS.Region, "AWS_ACCESS_KEY_ID=" + d.AWS.Account, "AWS_SECRET_ACCESS_KEY=local"}
			for name, v := range d.Variables {
				env = append(env, name+"="+v)
			}
			run(ctx, t, old, env, command, "apply", "--dir", folder, "--stack", demo.StackName)
			return nil
		},
		Progress: func(p demo.Progress) {
			if p.Done {
				t.Logf("%s: %.1f s", p.Step, p.Took.Seconds())
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if log, err := os.ReadFile(p.AWS.Process.Log()); err == nil {
				t.Logf("the functions' last lines:\n%s", log[max(0, len(log)-4000):])
			}
		}
		if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if p.Retailer.Version != 1 {
		t.Errorf("the retailer has version %d: what the base applied was not read as it was meant", p.Retailer.Version)
	}
	return p
}

func run(ctx context.Context, t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(name), args, err, out)
	}
}

func (p *stage) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *stage) place(t *testing.T, why, sku string) demo.Placement {
	t.Helper()
	o, err := p.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: sku, Quantity: 1, Price: "10.00"}}})
	p.must(t, err)
	p.placed, p.why[o.Name] = append(p.placed, o), why
	return o
}

// until polls; the limit is for a platform that hangs.
func (p *stage) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

func (p *stage) order(t *testing.T, o demo.Placement) demo.Order {
	t.Helper()
	now, err := p.Order(t.Context(), o.ID)
	p.must(t, err)
	return now
}

func (p *stage) reaches(t *testing.T, o demo.Placement, want retail.State) {
	t.Helper()
	p.until(t, fmt.Sprintf("%s (%s) becomes %s", o.Name, p.why[o.Name], want), func() bool { return p.order(t, o).State == want })
}

func (p *stage) rests(t *testing.T, o demo.Placement) {
	t.Helper()
	p.until(t, o.Name+" rests", func() bool { return p.order(t, o).Postponed > 0 })
}

func (p *stage) ship(t *testing.T, o demo.Placement) {
	t.Helper()
	if ids := p.Warehouse.Ship(p.order(t, o).Release); len(ids) == 0 {
		t.Fatalf("the warehouse has nothing to ship of %s", o.Name)
	}
}

// parked waits until the order is parked and returns its exception.
func (p *stage) parked(t *testing.T, o demo.Placement) (id string) {
	t.Helper()
	p.until(t, o.Name+" is parked", func() bool {
		at := p.order(t, o)
		if at.Parked == "" {
			return false
		}
		h, err := p.Platform.Store.Head(t.Context(), document.Key{Tenant: p.Tenant, Type: document.Order, ID: at.ID})
		p.must(t, err)
		id = h.Parked
		return true
	})
	return id
}

// misread delivers an order whose total is not what its lines say, and returns
// the exception of it and the payload as it should have been.
func (p *stage) misread(t *testing.T) (id string, right []byte) {
	t.Helper()
	o, err := p.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "TEE-BLK-M", Quantity: 2}}, Plain: true, DropWebhook: true})
	p.must(t, err)
	p.placed, p.why[o.Name] = append(p.placed, o), "misread"
	right, err = p.Shop.Payload(o.ID)
	p.must(t, err)
	wrong := bytes.Replace(right, fmt.Appendf(nil, `"total_price":%q`, o.Total), []byte(`"total_price":"1.00"`), 1)
	if bytes.Equal(right, wrong) {
		t.Fatalf("the payload does not tell the total %s: %s", o.Total, right)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.HookURL(demo.Shop), bytes.NewReader(wrong))
	p.must(t, err)
	req.Header = shopifytest.Headers("orders/create", "misread", "north.myshopify.com", wrong, demo.WebhookSecret(demo.Shop), time.Now())
	res, err := http.DefaultClient.Do(req)
	p.must(t, err)
	p.must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the delivery was answered with HTTP %d", res.StatusCode)
	}
	p.until(t, "the misread order is parked", func() bool {
		xs, err := p.Platform.Store.OpenExceptions(t.Context(), p.Tenant)
		p.must(t, err)
		for _, x := range xs {
			if x.Field == "total_price" {
				id = x.ID
			}
		}
		return id != ""
	})
	return id, right
}

// holdTheERP keeps the next sale that is made from being answered until the
// channel is closed, and waits until it is under way.
func (p *stage) holdTheERP(t *testing.T) (answer chan struct{}) {
	t.Helper()
	answer = make(chan struct{})
	asked := make(chan struct{})
	var once sync.Once
	p.ERPGate.Before(func(body []byte) {
		if bytes.Contains(body, []byte("model.sale.sale.create")) {
			mine := false
			once.Do(func() { mine = true; close(asked) })
			if mine {
				<-answer
			}
		}
	})
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("no sale is made")
	}
	return answer
}

// allClose ships whatever is released until every order is closed.
func (p *stage) allClose(t *testing.T) {
	t.Helper()
	for _, o := range p.placed {
		p.until(t, fmt.Sprintf("%s (%s) is closed", o.Name, p.why[o.Name]), func() bool {
			at := p.order(t, o)
			if at.Parked != "" {
				t.Fatalf("%s (%s) is parked: %s", o.Name, p.why[o.Name], at.Parked)
			}
			if at.State == retail.Released {
				p.Warehouse.Ship(at.Release)
			}
			p.wake(t, at)
			return at.State == retail.Closed
		})
	}
}

// wake brings a document that rests back before its wait is over, as a second
// message would. The call that the update cut off holds its effect for as long
// as a lease lasts; before that nothing can be done, and after it the wait has
// grown longer than a test's patience.
func (p *stage) wake(t *testing.T, o demo.Order) {
	t.Helper()
	if o.ID == "" || time.Since(p.upgraded) < effect.Lease+5*time.Second || time.Since(p.woken[o.ID]) < 15*time.Second {
		return
	}
	p.woken[o.ID] = time.Now()
	k := document.Key{Tenant: p.Tenant, Type: document.Order, ID: o.ID}
	h, err := p.Platform.Store.Head(t.Context(), k)
	p.must(t, err)
	p.must(t, p.Platform.Queues.Send(t.Context(), p.Outputs["ResumeQueue"], "",
		document.Task{Schema: retail.SchemaVersion, Tenant: k.Tenant, Type: k.Type, ID: k.ID, Run: h.Run}, 0))
}
