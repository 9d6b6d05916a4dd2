package connectortest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
)

// write is a write that flows ask of connectors.
type write struct {
	name string
	can  func(opened any) bool
	// effect is what the flow gives the ledger.
	effect func(t testing.TB, opened any, m Matter) effect.Effect
}

// found is what a connector's read-backs return.
type lookup = func(context.Context) (effect.Receipt, bool, error)
type sender = func(context.Context, effect.Permit) (effect.Receipt, error)

func act(settle time.Duration, look lookup, send sender) effect.Effect {
	return effect.Effect{Settle: settle, Lookup: look, Send: send}
}

var writes = []write{
	{"create_customer", has[order.Customers], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[order.Customers](t, opened)
		e := act(c.CustomerSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) { return c.FindCustomer(ctx, m.Ref) },
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.CreateCustomer(ctx, p, m.Ref, m.Person)
			})
		e.LookFirst = true
		return e
	}},
	{"create_address", has[order.Customers], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[order.Customers](t, opened)
		e := act(c.CustomerSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) {
				return c.FindAddress(ctx, m.Customer, m.Person.Shipping)
			},
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.CreateAddress(ctx, p, m.Customer, m.Person.Shipping)
			})
		e.LookFirst = true
		return e
	}},
	{"create_sales_order", has[order.SalesOrders], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[order.SalesOrders](t, opened)
		return act(c.SalesOrderSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) { return c.FindSalesOrder(ctx, m.Order) },
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.CreateSalesOrder(ctx, p, m.Order, m.Customer, m.ShipTo, m.ShipTo)
			})
	}},
	{"confirm_sales_order", has[order.SalesOrders], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[order.SalesOrders](t, opened)
		return act(c.SalesOrderSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) {
				return c.SalesOrderConfirmed(ctx, m.SalesOrder)
			},
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.ConfirmSalesOrder(ctx, p, m.SalesOrder)
			})
	}},
	{"release", has[order.Releaser], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[order.Releaser](t, opened)
		return act(c.ReleaseSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) { return c.FindRelease(ctx, m.Release) },
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.Release(ctx, p, m.Release, m.Person)
			})
	}},
	{"confirm_shipment", has[shipment.Channel], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[shipment.Channel](t, opened)
		return act(c.ShipmentSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) {
				return c.FindShipment(ctx, m.Order, m.Shipment)
			},
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.ConfirmShipment(ctx, p, m.Order, m.Shipment)
			})
	}},
	{"post_shipment", has[shipment.Shipments], func(t testing.TB, opened any, m Matter) effect.Effect {
		c := must[shipment.Shipments](t, opened)
		return act(c.ShipmentSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) {
				return c.ShipmentPosted(ctx, m.SalesOrder, m.Shipment)
			},
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.PostShipment(ctx, p, m.SalesOrder, m.Shipment)
			})
	}},
	{"post_invoice", has[shipment.Invoices], func(t testing.TB, opened any, m Matter) effect.Effect {
		c, s := must[shipment.Invoices](t, opened), must[shipment.Shipments](t, opened)
		return act(s.ShipmentSettle(),
			func(ctx context.Context) (effect.Receipt, bool, error) { return c.InvoicePosted(ctx, m.SalesOrder) },
			func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
				return c.PostInvoice(ctx, p, m.SalesOrder)
			})
	}},
}

// Writes are the names of all writes.
func Writes() []string {
	out := make([]string, len(writes))
	for i, w := range writes {
		out[i] = w.name
	}
	return out
}

// accident is something that befalls a write on its way.
type accident struct {
	name string
	rule func(settle time.Duration) faulty.Rule
	// dies kills the sender: before the call, or after it and before the record.
	dies string
	// silent cuts the client's patience short once the vendor is silent.
	silent bool
	// unknown: the first error must say that it may have happened.
	unknown bool
	// refused: it did not happen, and the vendor asks for a wait of 3 s.
	refused bool
	// proven: a connector may find out by itself that it happened.
	proven bool
	// alike: another accident differs only in how the answer is lost.
	alike bool
}

func plain(r faulty.Rule) func(time.Duration) faulty.Rule {
	return func(time.Duration) faulty.Rule { return r }
}

var accidents = []accident{
	{name: "nothing"},
	{name: "crash_before_send", dies: "before"},
	{name: "crash_before_record", dies: "after"},
	{name: "timeout_before", rule: plain(faulty.Rule{Fault: "timeout_before"}), silent: true, unknown: true},
	{name: "timeout_after", rule: plain(faulty.Rule{Fault: "timeout_after"}), silent: true, unknown: true},
	{name: "reset_before", alike: true, rule: plain(faulty.Rule{Fault: "reset"}), unknown: true},
	{name: "reset_after", alike: true, rule: plain(faulty.Rule{Fault: "reset", When: "after"}), unknown: true},
	{name: "5xx_before", alike: true, rule: plain(faulty.Rule{Fault: "error", Status: 503}), unknown: true},
	{name: "5xx_after", rule: plain(faulty.Rule{Fault: "error", Status: 502, When: "after"}), unknown: true},
	{name: "commit_delayed", unknown: true, rule: func(settle time.Duration) faulty.Rule {
		return faulty.Rule{Fault: "commit_delayed", Seconds: settle.Seconds() / 2}
	}},
	// Who got the answer needs no read-back; who died before the record does.
	{name: "visible_delayed", dies: "after", rule: func(settle time.Duration) faulty.Rule {
		return faulty.Rule{Fault: "visible_delayed", Seconds: settle.Seconds() / 2}
	}},
	{name: "truncated", rule: plain(faulty.Rule{Fault: "truncated"}), unknown: true},
	{name: "html_before", alike: true, rule: plain(faulty.Rule{Fault: "html"}), unknown: true},
	{name: "html_after", rule: plain(faulty.Rule{Fault: "html", When: "after"}), unknown: true},
	{name: "html_502_after", alike: true, rule: plain(faulty.Rule{Fault: "html", Status: http.StatusBadGateway, When: "after"}), unknown: true},
	{name: "garbage_before", rule: plain(faulty.Rule{Fault: "garbage"}), unknown: true},
	{name: "garbage_after", alike: true, rule: plain(faulty.Rule{Fault: "garbage", When: "after"}), unknown: true},
	{name: "garbage_utf8_after", rule: plain(faulty.Rule{Fault: "garbage", Form: "utf8", When: "after"}), unknown: true},
	{name: "garbage_types_after", proven: true, rule: plain(faulty.Rule{Fault: "garbage", Form: "types", When: "after"}), unknown: true},
	{name: "rate_limited", rule: plain(faulty.Rule{Fault: "rate_limited", Seconds: 3}), refused: true},
	{name: "http_429", rule: plain(faulty.Rule{Fault: "error", Status: http.StatusTooManyRequests, Seconds: 3}), refused: true},
}

func writeChecks(h Harness) []check {
	var out []check
	for _, w := range writes {
		for _, a := range accidents {
			if h.Slow && a.alike {
				continue
			}
			out = append(out, check{"write/" + w.name + "/" + a.name, w.can(h.Bare), func(t testing.TB, h Harness) string {
				return befall(t, h, w, a)
			}})
		}
		out = append(out, check{"write/" + w.name + "/credential_revoked", w.can(h.Bare), func(t testing.TB, h Harness) string {
			revoke(t, h, w)
			return ""
		}})
		out = append(out, check{"write/" + w.name + "/mix_of_all", w.can(h.Bare), func(t testing.TB, h Harness) string {
			return mixed(t, h, w)
		}})
		out = append(out, check{"write/" + w.name + "/id_above_2^53", w.can(h.Bare), func(t testing.TB, h Harness) string {
			return largeID(t, h, w)
		}})
	}
	return out
}

// trip is one write on its way through the ledger.
type trip struct {
	testing.TB
	vendor *Vendor
	ledger *effect.Ledger
	effect effect.Effect
	matter Matter
	// runs is how many runs it may take; gives up says that a client always
	// does once the vendor is silent.
	runs    int
	givesUp bool
}

func begin(t testing.TB, h Harness, w write) *trip {
	t.Helper()
	return h.Open(t, Options{}).begin(t, w)
}

func (v *Vendor) begin(t testing.TB, w write) *trip {
	t.Helper()
	if v.Matter == nil {
		t.Fatalf("the harness does not say what writes are about")
	}
	m := v.Matter(t, w.name)
	if m.Operation == "" || m.Stored == nil {
		t.Fatalf("the harness does not say what %s is about", w.name)
	}
	if n := len(m.Stored()); n != 0 {
		t.Fatalf("it happened %d times before it was asked for", n)
	}
	tenant, err := retail.ParseTenant("conformance")
	if err != nil {
		t.Fatal(err)
	}
	e := w.effect(t, v.Connector, m)
	e.Subject, e.Key, e.Payload = effect.Subject{Tenant: tenant, Type: "order", ID: "1"}, w.name, w.name
	return &trip{TB: t, vendor: v, ledger: newLedger(v.Clock), effect: e, matter: m, runs: 12}
}

// errKilled stands for the end of a process.
var errKilled = errors.New("killed")

// do calls the ledger once, as a run of the task does. dies kills it on the
// way; silent makes the client give up once the vendor keeps silent.
func (w *trip) do(dies string, silent bool) (r effect.Receipt, err error) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := w.effect
	send := e.Send
	e.Send = func(ctx context.Context, p effect.Permit) (effect.Receipt, error) {
		if dies == "before" {
			panic(errKilled)
		}
		r, err := send(ctx, p)
		if dies == "after" {
			if err != nil {
				w.Errorf("the call that the sender did not outlive failed: %v", err)
			}
			panic(errKilled)
		}
		return r, err
	}
	if silent || w.givesUp {
		w.vendor.Front.Faults.OnSilence(cancel)
	}
	defer func() {
		if p := recover(); p != nil {
			if p != any(errKilled) {
				panic(p)
			}
			err = errKilled
		}
	}()
	return w.ledger.Do(ctx, e)
}

// finish calls the ledger until the write is done, waiting as it is told to,
// and returns the first error.
func (w *trip) finish(first error, receipt effect.Receipt) effect.Receipt {
	w.Helper()
	err := first
	for n := 1; err != nil; n++ {
		if n > w.runs {
			w.Fatalf("it is not done after %d runs: %v", n, err)
		}
		wait := effect.Lease
		if !errors.Is(err, errKilled) {
			f := fault.Of(err)
			if f == nil {
				w.Fatalf("run %d: the error has no class: %v", n, err)
			}
			if f.Kind != fault.Retryable {
				w.Errorf("run %d: %s/%s, and time would have mended it: %v", n, f.Kind, f.Class, err)
			}
			wait = max(f.RetryAfter, time.Second)
		}
		w.vendor.Clock.Advance(wait)
		receipt, err = w.do("", false)
	}
	return receipt
}

// once demands that the write happened once, is confirmed, and stays so.
func (w *trip) once(receipt effect.Receipt) {
	w.Helper()
	w.vendor.Clock.Advance(2 * w.effect.Settle) // what was under way has arrived
	if ids := w.matter.Stored(); len(ids) != 1 {
		w.Errorf("it happened %d times at the vendor: %v", len(ids), ids)
	} else if !slices.Contains(ids, receipt.Ref) {
		w.Errorf("the receipt names %q, the vendor %q", receipt.Ref, ids[0])
	}
	again, err := w.do("", false)
	if err != nil || again.Ref != receipt.Ref {
		w.Errorf("asked again it says %+v, %v", again, err)
	}
	if r, found, err := w.effect.Lookup(w.Context()); err != nil || !found || r.Ref != receipt.Ref {
		w.Errorf("the read-back says %+v, %v, %v; the receipt names %q", r, found, err, receipt.Ref)
	}
}

func befall(t testing.TB, h Harness, w write, a accident) string {
	trip := begin(t, h, w)
	if a.rule != nil {
		rule := next(trip.matter.Operation, a.rule(trip.effect.Settle))
		if !trip.vendor.suffers(t, rule) {
			return cannot
		}
	}
	receipt, err := trip.do(a.dies, a.silent)
	trip.vendor.Front.Faults.OnSilence(nil)
	if a.rule != nil {
		if rules := trip.vendor.Front.Faults.Rules(); rules[0].Fired != 1 {
			t.Fatalf("the fault did not befall %s", trip.matter.Operation)
		}
	}
	switch f := fault.Of(err); {
	case a.name == "nothing":
		if err != nil {
			t.Fatal(err)
		}
	case err == nil && a.proven:
	case err == nil:
		t.Errorf("it succeeded as if nothing had happened")
	case a.dies != "":
	case f == nil:
		t.Errorf("the error has no class: %v", err)
	case a.unknown && !f.Unknown:
		t.Errorf("the fault does not say that it may have happened: %v", err)
	case a.refused:
		if f.Class != fault.RateLimited || f.Unknown || f.RetryAfter != 3*time.Second {
			t.Errorf("%s/%s, unknown %v, wait %s, want a refusal that asks for 3s: %v", f.Kind, f.Class, f.Unknown, f.RetryAfter, err)
		}
	}
	trip.once(trip.finish(err, receipt))
	return ""
}

// mixed sends several writes through the mix of faults in which the main job
// must hold, each fault twice as likely.
func mixed(t testing.TB, h Harness, w write) string {
	seeds, each := 6, 6
	if h.Slow {
		seeds, each = 1, 3
	}
	fired := 0
	for seed := range seeds {
		v := h.Open(t, Options{})
		trips := make([]*trip, each)
		for i := range trips {
			trips[i] = v.begin(t, w)
			trips[i].runs, trips[i].givesUp = 60, true
		}
		for i, r := range faulty.Chaos(v.Front.vendor) {
			r.Probability, r.Seed = min(2*r.Probability, 1), uint64(100*seed+i+1)
			if err := v.Front.Faults.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		receipts := make([]effect.Receipt, each)
		for i, trip := range trips {
			r, err := trip.do("", false)
			receipts[i] = trip.finish(err, r)
		}
		for _, r := range v.Front.Faults.Rules() {
			fired += r.Fired
		}
		v.Front.Faults.Clear()
		for i, trip := range trips {
			trip.once(receipts[i])
		}
	}
	if fired < seeds {
		t.Errorf("only %d faults befell %d writes", fired, seeds*each)
	}
	return ""
}

func largeID(t testing.TB, h Harness, w write) string {
	trip := begin(t, h, w)
	r, err := trip.do("", false)
	if err != nil {
		t.Fatal(err)
	}
	if !above2to53(r.Ref) {
		t.Errorf("the vendor's id %q is not above 2^53, so nothing is shown", r.Ref)
	}
	trip.once(r)
	return ""
}

// above2to53 reports whether the digits at the end of an id are more than a
// float64 holds.
func above2to53(id string) bool {
	i := len(id)
	for i > 0 && id[i-1] >= '0' && id[i-1] <= '9' {
		i--
	}
	d := id[i:]
	const limit = "9007199254740992"
	return len(d) > len(limit) || len(d) == len(limit) && d > limit
}
