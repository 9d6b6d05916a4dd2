//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/local/lock"
	"github.com/waybillhq/waybill/internal/retail"
)

type up struct {
	Once    bool          `help:"End when the orders are closed; exit 0 only if the cross-check holds."`
	Orders  int           `default:"3" help:"How many orders to place."`
	Every   time.Duration `help:"Time between one order and the next; all at once if 0."`
	Timeout time.Duration `default:"10m" help:"With --once: how long to wait for the orders, from the last on."`
	Port    int           `help:"Port of the local AWS; a free one if 0."`
	ERPPort int           `name:"erp-port" help:"Port of the ERP; a free one if 0."`
	ERP     string        `name:"erp-series" enum:"8.0,7.0" default:"8.0" help:"Series of the Tryton ERP: ${enum}."`
	Chaos   bool          `help:"Let vendors fail in a published mix of faults while the orders travel."`
	Seed    uint64        `help:"Decides what the faults do by chance."`
	JSON    bool          `name:"json" help:"Print one JSON document at the end; progress goes to standard error."`
}

// summary is what --once ends with.
type summary struct {
	OK       bool           `json:"ok"`
	Placed   int            `json:"placed"`
	Closed   int            `json:"closed"`
	SetUp    float64        `json:"set_up_seconds"`
	First    float64        `json:"first_order_closed_seconds"` // since the start of up
	Elapsed  float64        `json:"elapsed_seconds"`
	Orders   []watched      `json:"orders"`
	Findings []demo.Finding `json:"findings"`
	Faults   map[string]int `json:"faults_fired,omitempty"` // with --chaos, by vendor
}

// watched is an order with what its way took.
type watched struct {
	demo.Order
	Elapsed float64 `json:"elapsed_seconds"`
}

// Run brings everything up, places the orders and watches them.
func (c up) Run(ctx context.Context, s streams) error {
	if c.Orders < 0 || c.Orders > 10_000 {
		return fmt.Errorf("--orders: %d must be between 0 and 10000", c.Orders)
	}
	if c.Every < 0 || c.Every > time.Hour {
		return fmt.Errorf("--every: %s must be between 0s and 1h", c.Every)
	}
	top, err := root()
	if err != nil {
		return err
	}
	state := filepath.Join(top, ".waybill")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("creating .waybill: %w", err)
	}
	held, err := lock.Acquire(lockPath(top), time.Now)
	var other *lock.HeldError
	if errors.As(err, &other) {
		return fmt.Errorf("a platform runs here already (process %d); look at it with: go run . status, stop it with: go run . down", other.PID)
	}
	if err != nil {
		return err
	}
	defer func() { _ = held.Release() }()
	_ = os.Remove(localPath(top)) // of a run that was killed
	run := filepath.Join(state, "run")
	if err := os.RemoveAll(run); err != nil {
		return fmt.Errorf("removing the state of the last run: %w", err)
	}
	began, say := time.Now(), newSpeaker(s, c.JSON)
	d, err := demo.Start(ctx, demo.Config{Root: top, Dir: run, AWSHome: filepath.Join(state, "aws"), ERPHome: filepath.Join(state, "erp"),
		Port: c.Port, ERPPort: c.ERPPort, ERPSeries: c.ERP, Seed: c.Seed, Progress: say.step})
	if err != nil {
		if ctx.Err() != nil {
			say.line("stopped; nothing is left running")
			return errSilent
		}
		return fmt.Errorf("%w\nNothing is left running", err)
	}
	defer func() {
		_ = os.Remove(localPath(top))
		if err := d.Stop(context.WithoutCancel(ctx)); err != nil {
			say.line("stopping: " + err.Error())
		}
	}()
	if err := localOf(d, began).write(top); err != nil {
		return err
	}
	w := &watch{up: c, demo: d, say: say, began: began, setUp: time.Since(began), seen: map[string]string{}, placedAt: map[string]time.Time{}}
	say.line(fmt.Sprintf("ready after %.1f s: API %s, AWS %s, ERP %s, storefront %s, warehouse %s", w.setUp.Seconds(), d.APIURL, d.AWS.Endpoint, d.ERPURL, d.ShopURL, d.StockURL))
	return w.run(ctx, s)
}

// speaker prints progress; details of a step replace each other on a terminal.
type speaker struct {
	mu   sync.Mutex
	s    streams
	json bool
	tty  bool
	last map[string]string
}

func newSpeaker(s streams, json bool) *speaker {
	f, ok := s.out.(*os.File)
	return &speaker{s: s, json: json, tty: ok && isatty.IsTerminal(f.Fd()), last: map[string]string{}}
}

func (p *speaker) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(text)
}

func (p *speaker) print(text string) {
	to := p.s.out
	if p.json {
		to = p.s.err
	}
	_, _ = fmt.Fprintln(to, text)
}

func (p *speaker) step(x demo.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case x.Done:
		p.print(fmt.Sprintf("✓ %-14s %.1f s", x.Step, x.Took.Seconds()))
	case x.Detail != "":
		// Counters say enough at every fifth line.
		if key := strings.TrimRight(x.Detail, "0123456789"); p.last[x.Step] != key || strings.HasSuffix(x.Detail, "5") || strings.HasSuffix(x.Detail, "0") {
			p.print(fmt.Sprintf("  %-14s %s", x.Step, x.Detail))
			p.last[x.Step] = key
		}
	default:
		p.print(fmt.Sprintf("… %s", x.Step))
	}
}

// watch follows orders from placement to their end.
type watch struct {
	up       up
	demo     *demo.Demo
	say      *speaker
	began    time.Time
	setUp    time.Duration
	first    time.Duration
	placed   []demo.Placement
	placedAt map[string]time.Time
	seen     map[string]string // external id → last printed line
	done     map[string]watched
}

func (w *watch) run(ctx context.Context, s streams) error {
	w.done = map[string]watched{}
	if w.up.Chaos {
		if err := w.demo.Chaos(); err != nil {
			return err
		}
		w.say.line("faults are in force at storefront, warehouse and ERP; see GET /_control/faults at each")
	}
	var next <-chan time.Time
	if w.up.Every > 0 {
		pace := time.NewTicker(w.up.Every)
		defer pace.Stop()
		next = pace.C
	}
	for len(w.placed) < w.up.Orders && (next == nil || len(w.placed) == 0) {
		if err := w.place(len(w.placed)); err != nil {
			return err
		}
	}
	if w.up.Chaos {
		w.reconcile(ctx)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	ours := len(w.placed)
	limit := time.After(w.up.Timeout + w.up.Every*time.Duration(max(w.up.Orders-1, 0)))
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if w.up.Once && ours == w.up.Orders && len(w.done) == len(w.placed) {
			return w.end(ctx, s)
		}
		select {
		case <-ctx.Done():
			w.say.line("stopping …")
			if w.up.Once {
				return errSilent
			}
			return nil
		case <-limit:
			if w.up.Once {
				w.say.line(fmt.Sprintf("%d of %d orders are not closed after %s; see: go run . exceptions, go run . trace NUMBER", len(w.placed)-len(w.done), len(w.placed), w.up.Timeout))
				return w.end(ctx, s)
			}
		case <-next:
			if ours < w.up.Orders {
				if err := w.place(ours); err != nil {
					return err
				}
				ours++
			}
		case <-tick.C:
		}
	}
}

// place places our i-th order. Baskets vary; every third has several articles.
func (w *watch) place(i int) error {
	names := shopifytest.DefaultCatalogue
	p := shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: names[i%len(names)].SKU, Quantity: int64(1 + i%2)}}}
	if i%3 == 2 {
		p.SKUs = append(p.SKUs, shopifytest.PlacedSKU{SKU: names[(i+1)%len(names)].SKU, Quantity: 1}, shopifytest.PlacedSKU{SKU: names[(i+3)%len(names)].SKU, Quantity: 3})
	}
	o, err := w.demo.Place(p)
	if err != nil {
		return err
	}
	w.add(o)
	return nil
}

// reconcile finds what lost webhooks did not tell; on AWS the schedule does so
// every few minutes.
func (w *watch) reconcile(ctx context.Context) {
	go func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = w.demo.Invoke(ctx, "OrderReconcile") // the next turn comes
			}
		}
	}()
}

func (w *watch) add(o demo.Placement) {
	w.placed = append(w.placed, o)
	w.placedAt[o.ID] = time.Now()
}

// look prints what changed. Orders that somebody else placed at the storefront
// are watched too.
func (w *watch) look(ctx context.Context) error {
	known := map[string]bool{}
	for _, o := range w.placed {
		known[o.ID] = true
	}
	for _, h := range w.demo.Shop.Orders() {
		if !known[h.ID] && !w.up.Once {
			w.add(demo.Placement{Placed: shopifytest.Placed{ID: h.ID, Name: h.Name, Total: h.TotalPrice}})
		}
	}
	for _, p := range w.placed {
		if _, ended := w.done[p.ID]; ended {
			continue
		}
		o, err := w.demo.Order(ctx, p.ID)
		if err != nil {
			return err
		}
		if o.Number == "" {
			o.Number = p.Name
		}
		o.External = p.ID
		line := fmt.Sprintf("%-7s %-14s ERP %-6s warehouse %-10s tracking %-24s invoice %-6s %10s %s", o.Number, o.State, dash(o.ERP),
			dash(o.Release), dash(o.Tracking), dash(o.Invoice), dash(o.Amount), o.Currency)
		if o.Parked != "" {
			line += "  parked: " + o.Parked
		}
		took := time.Since(w.placedAt[p.ID])
		if w.seen[p.ID] != line {
			w.seen[p.ID] = line
			w.say.line(fmt.Sprintf("%s  %5.1f s", line, took.Seconds()))
		}
		if (o.ID != "" && retail.Final("order", o.State)) || (w.up.Once && o.Parked != "") {
			if w.first == 0 {
				w.first = time.Since(w.began)
			}
			w.done[p.ID] = watched{o, took.Seconds()}
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// keepLog writes what the functions logged for waybill cost, which outlives
// the run.
func (w *watch) keepLog(ctx context.Context) {
	log, err := w.demo.FunctionLog(ctx)
	if err == nil {
		var top string
		if top, err = root(); err == nil {
			err = os.WriteFile(functionLogPath(top), log, 0o600)
		}
	}
	if err != nil {
		w.say.line("keeping the functions' log: " + err.Error())
	}
}

// end cross-checks and sums up.
func (w *watch) end(ctx context.Context, s streams) error {
	findings, err := w.demo.CrossCheck(ctx, w.placed)
	if err != nil {
		return fmt.Errorf("cross-checking: %w", err)
	}
	sum := summary{Placed: len(w.placed), SetUp: w.setUp.Seconds(), First: w.first.Seconds(), Elapsed: time.Since(w.began).Seconds(), Findings: findings}
	for _, p := range w.placed {
		o, ok := w.done[p.ID]
		if !ok {
			o.Number, o.External = p.Name, p.ID
		}
		if o.State == retail.Closed {
			sum.Closed++
		}
		sum.Orders = append(sum.Orders, o)
	}
	if w.up.Chaos {
		sum.Faults = w.demo.Fired()
		w.say.line(fmt.Sprintf("faults that fired: storefront %d, warehouse %d, ERP %d", sum.Faults["storefront"], sum.Faults["warehouse"], sum.Faults["ERP"]))
	}
	if sum.Findings == nil {
		sum.Findings = []demo.Finding{}
	}
	sum.OK = sum.Closed == sum.Placed && len(findings) == 0
	for _, f := range findings {
		w.say.line(fmt.Sprintf("✗ %s %s", f.Order, f.What))
	}
	verdict := "the cross-check holds: each order once in the ERP, totals equal to the cent, one fulfilment with tracking, one posted invoice, stock moved once"
	if len(findings) > 0 {
		verdict = fmt.Sprintf("the cross-check found %d disagreements", len(findings))
	}
	w.say.line(fmt.Sprintf("%d of %d orders closed in %.1f s; %s", sum.Closed, sum.Placed, sum.Elapsed, verdict))
	w.keepLog(ctx)
	if w.up.JSON {
		if err := printJSON(s.out, sum); err != nil {
			return err
		}
	}
	if !sum.OK {
		return errSilent
	}
	return nil
}
