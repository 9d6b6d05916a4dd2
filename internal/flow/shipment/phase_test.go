package shipment_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// whole runs the phase from its beginning.
func whole(ctx context.Context, p shipment.Phase, t document.Task) error {
	for _, task := range []func(context.Context, document.Task) error{p.Record, p.Confirm, p.Invoice, p.Close} {
		if err := task(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func TestAShipmentEndsItsOrderWithEverythingOnce(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2}, goods{"TEE", 1})
	run := b.head(o).Run
	b.wait(10 * time.Minute)
	task := b.announce("31", "1001", "94001", goods{"TEE", 1}, goods{"MUG", 2})
	for range 2 { // every task before the last, twice
		b.run(task, b.phase.Record, b.phase.Confirm, b.phase.Invoice)
	}
	if h := b.head(o); h.State != retail.Shipped || h.Run != run || !h.Due.Equal(noon.Add(40*time.Minute)) {
		t.Errorf("the shipped order's head = %+v", h)
	}
	b.run(task, b.phase.Close)
	for range 2 {
		if err := whole(t.Context(), b.phase, task); !errors.Is(err, document.ErrSuperseded) {
			t.Errorf("a closed shipment is worked on again: %v", err)
		}
	}
	for _, kind := range []string{"fulfillment", "parcel", "invoice"} {
		b.vendor.once(t, kind, 1)
	}
	if h := b.head(task.Key()); h.State != retail.Closed || !h.Due.IsZero() {
		t.Errorf("shipment = %+v", h)
	}
	if h := b.head(o); h.State != retail.Closed || !h.Due.IsZero() {
		t.Errorf("order = %+v", h)
	}
	b.stocked("MUG", 98, 0)
	b.stocked("TEE", 99, 0)
	b.tells(task.Key(), "received", "recorded", "confirmed", "erp_posted", "closed")
	b.tells(o, "fulfillment_started", "shipped", "invoiced", "shipment_closed", "closed")
	sale := "sale-draft-91001"
	for ref, want := range map[[3]string]document.Key{
		{"warehouse", "shipment", "31"}:           task.Key(),
		{"warehouse", "tracking", "94001"}:        task.Key(),
		{"shop", "tracking", "94001"}:             o,
		{"shop", "fulfillment", "fulfillment-31"}: task.Key(),
		{"erp", "erp_shipment", "PARCEL-31"}:      task.Key(),
		{"erp", "invoice", "INVOICE-" + sale}:     o,
	} {
		if got := b.resolve(ref[0], ref[1], ref[2]); got != want {
			t.Errorf("%v leads to %+v, want %+v", ref, got, want)
		}
	}
	var s retail.Shipment
	b.body(task.Key(), &s)
	if d := cmp.Diff([]retail.ShipmentLine{{OrderLine: "1", SKU: "MUG", Quantity: 2}, {OrderLine: "2", SKU: "TEE", Quantity: 1}}, s.Lines); d != "" || s.OrderID != o.ID {
		t.Errorf("recorded for order %s (-want +got):\n%s", s.OrderID, d)
	}
}

func TestOneSKUFillsOrderLinesInTheirSequence(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2}, goods{"TEE", 1}, goods{"MUG", 3})
	first := b.announce("31", "1001", "94001", goods{"MUG", 1})
	second := b.announce("32", "1001", "94002", goods{"MUG", 3})
	b.run(first, b.phase.Record)
	b.run(second, b.phase.Record)
	var s retail.Shipment
	b.body(second.Key(), &s)
	if d := cmp.Diff([]retail.ShipmentLine{{OrderLine: "1", SKU: "MUG", Quantity: 1}, {OrderLine: "3", SKU: "MUG", Quantity: 2}}, s.Lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var got retail.Order
	b.body(o, &got)
	for i, want := range []retail.Quantities{{Ordered: 2, Shipped: 2}, {Ordered: 1, Released: 1}, {Ordered: 3, Released: 1, Shipped: 2}} {
		if got.Lines[i].Quantities != want {
			t.Errorf("line %d: %+v, want %+v", i+1, got.Lines[i].Quantities, want)
		}
	}
	b.stocked("MUG", 96, 1)
	if h := b.head(o); h.State != retail.InFulfillment {
		t.Errorf("state = %s", h.State)
	}
	b.tells(o, "fulfillment_started", "partially_shipped", "partially_shipped")
}

func TestAParcelThatDoesNotFitItsOrderMovesNothing(t *testing.T) {
	for _, c := range []struct {
		name     string
		contents []goods
		class    fault.Class
		field    string
		value    string
	}{
		{"more than was released", []goods{{"TEE", 1}, {"MUG", 3}}, fault.StateConflict, "lines[1].sku", "MUG"},
		{"a SKU that was not ordered", []goods{{"MUG", 1}, {"CAP", 1}}, fault.Mapping, "lines[1].sku", "CAP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			o := b.released("1001", goods{"MUG", 2}, goods{"TEE", 1})
			before := b.head(o)
			task := b.announce("31", "1001", "94001", c.contents...)
			f := b.isFault(b.phase.Record(t.Context(), task), fault.Exception, c.class)
			if f.Field != c.field || f.Value != c.value {
				t.Errorf("at %s, value %s", f.Field, f.Value)
			}
			if h := b.head(o); h.Version != before.Version {
				t.Errorf("the order was changed: %+v", h)
			}
			if h := b.head(task.Key()); h.State != retail.Received {
				t.Errorf("state = %s", h.State)
			}
			b.stocked("MUG", 100, 2)
			b.stocked("TEE", 100, 1)
		})
	}
}

func TestASecondParcelOfAShippedOrderIsForPeople(t *testing.T) {
	b := newBench(t)
	b.released("1001", goods{"MUG", 2})
	if err := whole(t.Context(), b.phase, b.announce("31", "1001", "94001", goods{"MUG", 2})); err != nil {
		t.Fatal(err)
	}
	f := b.isFault(b.phase.Record(t.Context(), b.announce("32", "1001", "94002", goods{"MUG", 2})), fault.Exception, fault.StateConflict)
	if f.Field != "lines[0].sku" {
		t.Errorf("at %s", f.Field)
	}
	b.stocked("MUG", 98, 0)
}

func TestALostAnswerMakesNothingTwice(t *testing.T) {
	for _, kind := range []string{"fulfillment", "parcel", "invoice"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			o := b.released("1001", goods{"MUG", 2})
			task := b.announce("31", "1001", "94001", goods{"MUG", 2})
			b.vendor.lose[kind] = true
			if err := whole(t.Context(), b.phase, task); fault.KindOf(err) != fault.Retryable {
				t.Fatalf("err = %v", err)
			}
			if err := whole(t.Context(), b.phase, b.resumed(task)); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"fulfillment", "parcel", "invoice"} {
				b.vendor.once(t, kind, 1)
			}
			if h := b.head(o); h.State != retail.Closed {
				t.Errorf("state = %s", h.State)
			}
		})
	}
}

// failing is a stock that breaks off after a number of movements.
type failing struct {
	stock.Store
	left int
}

var errCrash = errors.New("the process died")

func (f *failing) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for _, m := range moves {
		if f.left == 0 {
			return errCrash
		}
		f.left--
		if err := f.Store.Apply(ctx, t, []stock.Move{m}); err != nil {
			return err
		}
	}
	return nil
}

// A parcel left within the clocks' skew of a count: it is taken off, and people
// are told, though the run that took it off died before it could.
func TestAParcelThatACountMayHaveSeenIsTakenOffAndTold(t *testing.T) {
	b := newBench(t)
	b.released("1042", goods{"CUP", 2}, goods{"BOX", 1})
	task := b.announce("42", "1042", "940042", goods{"CUP", 2}, goods{"BOX", 1})
	var s retail.Shipment
	b.body(task.Key(), &s)
	l := stock.Ledger{Store: b.store, Life: b.phase.Life, Policy: func(context.Context, retail.Tenant) (rules.Policy, error) {
		return rules.Policy{Locations: []rules.Location{{Code: "MAIN"}}}, nil
	}}
	for sku, at := range map[string]time.Duration{"CUP": 5 * time.Minute, "BOX": -20 * time.Minute} {
		if _, err := l.Count(t.Context(), b.tenant, stock.Count{SKU: sku, Location: "MAIN", Source: "warehouse", Document: "count " + sku, OnHand: 50, AsOf: s.ShippedAt.Add(at)}); err != nil {
			t.Fatal(err)
		}
	}
	broken := b.phase
	broken.Stock = &failing{b.store, 1}
	if err := broken.Record(t.Context(), task); !errors.Is(err, errCrash) {
		t.Fatalf("err = %v", err)
	}
	task = b.resumed(task)
	for range 2 {
		b.run(task, b.phase.Record)
	}
	b.stocked("CUP", 48, 0)
	b.stocked("BOX", 49, 0)
	xs, err := b.store.OpenExceptions(t.Context(), b.tenant)
	if err != nil || len(xs) != 1 || xs[0].Class != string(fault.StockDrift) || xs[0].Value != "CUP" || xs[0].Connection != "warehouse" {
		t.Errorf("%+v, %v", xs, err)
	}
}

func TestACrashBetweenOrderAndStockNeitherLosesNorDoublesAMovement(t *testing.T) {
	b := newBench(t)
	for moved := range 3 {
		number, sku := fmt.Sprint(1001+moved), func(s string) string { return fmt.Sprint(s, moved) }
		o := b.released(number, goods{sku("MUG"), 2}, goods{sku("TEE"), 1}, goods{sku("MUG"), 1})
		task := b.announce(fmt.Sprint(31+moved), number, "9400"+fmt.Sprint(moved), goods{sku("MUG"), 3}, goods{sku("TEE"), 1})
		broken := b.phase
		broken.Stock = &failing{b.store, moved}
		if err := broken.Record(t.Context(), task); !errors.Is(err, errCrash) {
			t.Fatalf("err = %v", err)
		}
		if h := b.head(task.Key()); h.State != retail.Recorded || h.Due.IsZero() {
			t.Errorf("head = %+v", h)
		}
		task = b.resumed(task)
		for range 2 {
			b.run(task, b.phase.Record)
		}
		b.stocked(sku("MUG"), 97, 0)
		b.stocked(sku("TEE"), 99, 0)
		if got := b.timeline(o); !slices.Equal(got[len(got)-2:], []string{"fulfillment_started", "shipped"}) {
			t.Errorf("timeline = %v", got)
		}
	}
}

// unanswered is a store whose next commit is made, or not, and gives no answer.
type unanswered struct {
	document.Store
	made bool
	next bool
}

func (u *unanswered) Commit(ctx context.Context, t document.Transaction) error {
	if !u.next {
		return u.Store.Commit(ctx, t)
	}
	u.next = false
	if u.made {
		return errors.Join(u.Store.Commit(ctx, t), errCrash)
	}
	return errCrash
}

func TestACommitWithoutAnAnswerIsFoundOrMadeByTheNextRun(t *testing.T) {
	for _, made := range []bool{false, true} {
		for stage, name := range []string{"record", "confirm", "invoice", "close"} {
			t.Run(fmt.Sprint(name, " made ", made), func(t *testing.T) {
				b := newBench(t)
				o := b.released("1001", goods{"MUG", 2})
				task := b.announce("31", "1001", "94001", goods{"MUG", 2})
				u := &unanswered{Store: b.store, made: made}
				p := b.phase
				p.Life.Store = u
				for i, work := range []func(context.Context, document.Task) error{p.Record, p.Confirm, p.Invoice, p.Close}[:stage+1] {
					u.next = i == stage
					if err := work(t.Context(), task); errors.Is(err, errCrash) != (i == stage) {
						t.Fatalf("task %d: %v", i, err)
					}
				}
				if h := b.head(task.Key()); h.State != retail.Closed {
					if err := whole(t.Context(), b.phase, b.resumed(task)); err != nil {
						t.Fatal(err)
					}
				}
				b.tells(task.Key(), "received", "recorded", "confirmed", "erp_posted", "closed")
				b.tells(o, "fulfillment_started", "shipped", "invoiced", "shipment_closed", "closed")
				b.stocked("MUG", 98, 0)
			})
		}
	}
}

// crossing is a store in which the first n commits wait for one another, so
// that each was prepared before the others were made.
type crossing struct {
	document.Store
	all  sync.WaitGroup
	mu   sync.Mutex
	left int
}

func cross(s document.Store, n int) *crossing {
	c := &crossing{Store: s, left: n}
	c.all.Add(n)
	return c
}

func (c *crossing) Commit(ctx context.Context, t document.Transaction) error {
	c.mu.Lock()
	first := c.left > 0
	c.left--
	c.mu.Unlock()
	if first {
		c.all.Done()
		c.all.Wait()
	}
	return c.Store.Commit(ctx, t)
}

// together runs the tasks at once; their first commits cross.
func (b *bench) together(work func(shipment.Phase) []func(context.Context) error) {
	b.Helper()
	p := b.phase
	n := len(work(p))
	p.Life.Store = cross(b.store, n)
	var wg sync.WaitGroup
	for _, w := range work(p) {
		wg.Go(func() {
			if err := w(context.Background()); err != nil {
				b.Errorf("a lost race surfaced: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestConfirmAndInvoiceShareAShipmentWithoutALoser(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	b.run(task, b.phase.Record)
	b.together(func(p shipment.Phase) []func(context.Context) error {
		return []func(context.Context) error{
			func(ctx context.Context) error { return p.Confirm(ctx, task) },
			func(ctx context.Context) error { return p.Invoice(ctx, task) },
		}
	})
	b.run(task, b.phase.Close)
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("state = %s", h.State)
	}
	for _, kind := range []string{"fulfillment", "parcel", "invoice"} {
		b.vendor.once(t, kind, 1)
	}
}

func TestARunThatWasStartedTwiceTellsOnce(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	b.run(task, b.phase.Record)
	p := b.phase
	p.Life.Store = &unanswered{Store: b.store, next: true}
	if err := p.Confirm(t.Context(), task); !errors.Is(err, errCrash) {
		t.Fatalf("err = %v", err)
	}
	b.together(func(p shipment.Phase) []func(context.Context) error {
		return []func(context.Context) error{
			func(ctx context.Context) error { return p.Confirm(ctx, task) },
			func(ctx context.Context) error { return p.Confirm(ctx, task) },
		}
	})
	b.tells(task.Key(), "received", "recorded", "confirmed")
	b.run(task, b.phase.Invoice, b.phase.Close)
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("state = %s", h.State)
	}
}

func TestAnInvoiceOfUnknownOutcomeIsLookedForByTheOtherShipment(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	first := b.announce("31", "1001", "94001", goods{"MUG", 1})
	second := b.announce("32", "1001", "94002", goods{"MUG", 1})
	for _, task := range []document.Task{first, second} {
		b.run(task, b.phase.Record, b.phase.Confirm)
	}
	b.vendor.lose["invoice"] = true
	if err := b.phase.Invoice(t.Context(), first); fault.KindOf(err) != fault.Retryable {
		t.Fatalf("err = %v", err)
	}
	b.run(second, b.phase.Invoice, b.phase.Close)
	b.run(first, b.phase.Invoice, b.phase.Close)
	b.vendor.once(t, "invoice", 1)
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("state = %s", h.State)
	}
}

func TestTwoShipmentsOfAnOrderCloseItTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		close func(b *bench, first, second document.Task)
	}{
		{"the first recorded first", func(b *bench, first, second document.Task) {
			b.run(first, b.phase.Close)
			b.run(second, b.phase.Close)
		}},
		{"the last recorded first", func(b *bench, first, second document.Task) {
			b.run(second, b.phase.Close)
			b.run(first, b.phase.Close)
		}},
		{"both at once", func(b *bench, first, second document.Task) {
			b.together(func(p shipment.Phase) []func(context.Context) error {
				return []func(context.Context) error{
					func(ctx context.Context) error { return p.Close(ctx, first) },
					func(ctx context.Context) error { return p.Close(ctx, second) },
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			o := b.released("1001", goods{"MUG", 2}, goods{"TEE", 1})
			first := b.announce("31", "1001", "94001", goods{"MUG", 1})
			second := b.announce("32", "1001", "94002", goods{"MUG", 1}, goods{"TEE", 1})
			b.together(func(p shipment.Phase) []func(context.Context) error {
				return []func(context.Context) error{
					func(ctx context.Context) error { return p.Record(ctx, first) },
					func(ctx context.Context) error { return p.Record(ctx, second) },
				}
			})
			b.stocked("MUG", 98, 0)
			b.stocked("TEE", 99, 0)
			for _, task := range []document.Task{first, second} {
				b.run(task, b.phase.Confirm, b.phase.Invoice)
			}
			c.close(b, first, second)
			if h := b.head(o); h.State != retail.Closed {
				t.Errorf("state = %s, timeline %v", h.State, b.timeline(o))
			}
			b.tells(o, "fulfillment_started", "partially_shipped", "shipped", "invoiced", "shipment_closed", "shipment_closed", "closed")
			steps, err := b.store.Steps(t.Context(), b.head(o))
			if err != nil || steps[len(steps)-1].Data["shipments"] != "2" {
				t.Errorf("closed with %v, %v", steps[len(steps)-1].Data, err)
			}
			b.vendor.once(t, "fulfillment", 2)
			b.vendor.once(t, "parcel", 2)
			b.vendor.once(t, "invoice", 1)
		})
	}
}

func TestAnOrderStaysOpenWhileAnythingOfItIs(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	first := b.announce("31", "1001", "94001", goods{"MUG", 1})
	if err := whole(t.Context(), b.phase, first); err != nil {
		t.Fatal(err)
	}
	if h := b.head(first.Key()); h.State != retail.Closed {
		t.Errorf("the first shipment is %s", h.State)
	}
	if h := b.head(o); h.State != retail.InFulfillment || h.Due.IsZero() {
		t.Errorf("with half of it shipped: %+v", h)
	}
	b.vendor.once(t, "invoice", 0)
	second := b.announce("32", "1001", "94002", goods{"MUG", 1})
	b.run(second, b.phase.Record)
	if h := b.head(o); h.State != retail.Shipped || h.Due.IsZero() {
		t.Errorf("with the last parcel recorded: %+v", h)
	}
	if err := whole(t.Context(), b.phase, second); err != nil {
		t.Fatal(err)
	}
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("with the last parcel closed: %+v", h)
	}
	b.vendor.once(t, "invoice", 1)
}

func TestAShipmentClosesOnlyWhenEverybodyKnowsIt(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	refused := func(missing string) {
		t.Helper()
		f := b.isFault(b.phase.Close(t.Context(), task), fault.Retryable, fault.StateConflict)
		if want := "the shipment cannot close before it is told: " + missing; missing != "" && f.Message != want {
			t.Errorf("message %q, want %q", f.Message, want)
		}
	}
	refused("")
	for _, work := range []func(context.Context, document.Task) error{b.phase.Confirm, b.phase.Invoice} {
		b.isFault(work(t.Context(), task), fault.Retryable, fault.StateConflict)
	}
	b.run(task, b.phase.Record)
	refused("retail.shipment.confirmed.v1, retail.shipment.erp_posted.v1, retail.order.invoiced.v1")
	b.run(task, b.phase.Confirm)
	refused("retail.shipment.erp_posted.v1, retail.order.invoiced.v1")
	b.run(task, b.phase.Invoice, b.phase.Close)
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("state = %s", h.State)
	}
}

func TestAnOrderWithoutAProvenSalesOrderIsPostedNowhere(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	b.run(task, b.phase.Record)
	forget := *b.phase.Effects
	forget.Store = forgetful{b.store, "sales_order_confirm"}
	p := b.phase
	p.Effects = &forget
	f := b.isFault(p.Invoice(t.Context(), task), fault.Exception, fault.MissingReference)
	if f.Field != "sales_order" || f.Value != o.ID {
		t.Errorf("at %s, value %s", f.Field, f.Value)
	}
	b.vendor.once(t, "parcel", 0)
}

func TestAParcelOfAnOrderThatIsNotReleasedYetWaits(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	h := b.head(o)
	h.State = retail.Sourcing
	if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h}); err != nil {
		t.Fatal(err)
	}
	if f := b.isFault(b.phase.Record(t.Context(), task), fault.Retryable, fault.StateConflict); f.RetryAfter != 2*time.Second {
		t.Errorf("again after %s", f.RetryAfter)
	}
	h = b.head(o)
	h.State = retail.Canceled
	if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h}); err != nil {
		t.Fatal(err)
	}
	b.isFault(b.phase.Record(t.Context(), task), fault.Exception, fault.StateConflict)
	b.stocked("MUG", 100, 2)
}

func TestARunThatWasTakenOverDoesNothing(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	b.resumed(task)
	before := b.head(o)
	for i, work := range []func(context.Context, document.Task) error{b.phase.Record, b.phase.Confirm, b.phase.Invoice, b.phase.Close} {
		if err := work(t.Context(), task); !errors.Is(err, document.ErrSuperseded) {
			t.Errorf("task %d: %v", i, err)
		}
	}
	if b.head(o).Version != before.Version {
		t.Error("the order was changed")
	}
	b.vendor.once(t, "fulfillment", 0)
	b.stocked("MUG", 100, 2)
}

func TestAShipmentIsAFactForAParkedOrderToo(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	c, x, err := b.phase.Life.Park(b.head(o), fault.New(fault.Exception, fault.Validation, "somebody must look"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Commit(t.Context(), document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}}); err != nil {
		t.Fatal(err)
	}
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	b.run(task, b.phase.Record)
	if h := b.head(o); h.State != retail.Shipped || h.Parked != x.ID || !h.Due.IsZero() {
		t.Errorf("head = %+v", h)
	}
	b.stocked("MUG", 98, 0)
}

func TestAShipmentOfThreeHundredLinesIsRecorded(t *testing.T) {
	for where, kept := range map[string]func(*testing.T) store{"in memory": func(*testing.T) store { return nil }, "in DynamoDB": deployed} {
		t.Run(where, func(t *testing.T) {
			if testing.Short() && where == "in DynamoDB" {
				t.Skip("it takes a deployment; without -short it runs")
			}
			b := benchOver(t, kept(t))
			var lines []goods
			for i := range 300 {
				lines = append(lines, goods{fmt.Sprintf("SKU-%03d", i%150), 1})
			}
			o := b.released("1001", lines...)
			var contents []goods
			for i := range 150 {
				contents = append(contents, goods{fmt.Sprintf("SKU-%03d", i), 2})
			}
			task := b.announce("31", "1001", "94001", contents...)
			b.run(task, b.phase.Record)
			var s retail.Shipment
			b.body(task.Key(), &s)
			if len(s.Lines) != 300 || b.head(o).State != retail.Shipped {
				t.Errorf("%d lines", len(s.Lines))
			}
			for _, sku := range []string{"SKU-000", "SKU-149"} {
				b.stocked(sku, 98, 0)
			}
		})
	}
}

// refusing is a store that refuses its first commit.
type refusing struct {
	document.Store
	with    error
	commits int
}

func (r *refusing) Commit(ctx context.Context, t document.Transaction) error {
	if r.commits++; r.commits == 1 {
		return r.with
	}
	return r.Store.Commit(ctx, t)
}

func TestARaceThatWasLostIsRunAgainAndNothingElseIs(t *testing.T) {
	for name, c := range map[string]struct {
		with  error
		again bool
	}{
		"another version":                 {fmt.Errorf("committing: %w", document.ErrConflict), true},
		"a number that was just taken":    {document.ErrRefTaken, true},
		"a transaction beside another":    {fault.New(fault.Retryable, fault.StateConflict, "in conflict"), true},
		"a database that is out of reach": {fault.New(fault.Retryable, fault.Connectivity, "503"), false},
		"what people must decide":         {fault.New(fault.Exception, fault.StateConflict, "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.released("1001", goods{"MUG", 2})
			task := b.announce("31", "1001", "94001", goods{"MUG", 2})
			p, store := b.phase, &refusing{Store: b.store, with: c.with}
			p.Life.Store = store
			err := p.Record(t.Context(), task)
			if again := err == nil && store.commits == 2; again != c.again || !c.again && (store.commits != 1 || !errors.Is(err, c.with)) {
				t.Errorf("%d commits, %v", store.commits, err)
			}
		})
	}
}

func TestAParcelOfAnOrderThatDoesNotSayWhereItsGoodsLieIsTakenFromItsRoutesLocation(t *testing.T) {
	for name, sourcing := range map[string]*retail.SourcingDecision{"no decision was kept": nil, "a decision without allocations": {}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			k := b.released("1001", goods{"MUG", 2})
			var o retail.Order
			b.body(k, &o)
			o.Sourcing = sourcing
			h := b.head(k)
			h.Body++
			if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h, Body: o}); err != nil {
				t.Fatal(err)
			}
			task := b.announce("31", "1001", "94001", goods{"MUG", 2})
			b.run(task, b.phase.Record, b.phase.Record)
			b.stocked("MUG", 98, 0)
		})
	}
}

func TestALineThatShipsNothingIsRefused(t *testing.T) {
	b := newBench(t)
	b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	var s retail.Shipment
	b.body(task.Key(), &s)
	s.Lines[0].Quantity = 0
	h := b.head(task.Key())
	h.Body++
	if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h, Body: s}); err != nil {
		t.Fatal(err)
	}
	if got := b.isFault(b.phase.Record(t.Context(), task), fault.Permanent, fault.Validation); got.Field != "lines[0].quantity" {
		t.Errorf("%+v", got)
	}
	b.stocked("MUG", 100, 2)
}

func TestAParcelTakesNoMoreThanItsLocationStillHasToShip(t *testing.T) {
	both := []retail.Allocation{{Line: "1", SKU: "MUG", Location: "MAIN", Warehouse: "warehouse", Units: 3, Shipped: 1}, {Line: "1", SKU: "MUG", Location: "EAST", Warehouse: "warehouse", Units: 1}}
	for name, c := range map[string]struct {
		allocations []retail.Allocation
		ref         string // of the release at MAIN
		takes       int64
		fits        bool
	}{
		"what is left there":                      {both, "551001", 2, true},
		"one more":                                {both, "551001", 3, false},
		"more, from where it is not known":        {both, "999", 3, true},
		"more than all that is released":          {both, "999", 4, false},
		"more, where all of it lies in one place": {both[:1], "551001", 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			k := b.released("1001", goods{"MUG", 4})
			var o retail.Order
			b.body(k, &o)
			o.Lines[0].Quantities = retail.Quantities{Ordered: 4, Released: 3, Shipped: 1}
			o.Sourcing = &retail.SourcingDecision{Allocations: c.allocations, Releases: []retail.WarehouseRelease{{Location: "MAIN", Warehouse: "warehouse", Ref: c.ref}}}
			h := b.head(k)
			h.Body++
			if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h, Body: o}); err != nil {
				t.Fatal(err)
			}
			err := b.phase.Record(t.Context(), b.announce("31", "1001", "94001", goods{"MUG", c.takes}))
			if !c.fits {
				b.isFault(err, fault.Exception, fault.StateConflict)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
