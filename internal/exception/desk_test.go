package exception_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	blobmemory "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var ann = exception.Actor{By: "ann", Reason: "the price was corrected"}

type shop struct{ connector any }

func (s shop) Open(context.Context, retail.Tenant, string) (any, error) { return s.connector, nil }
func (s shop) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{ERP: "erp", Warehouse: "warehouse", Location: "MAIN", ConfigVersion: 7}, nil
}

// written is the desk's store: a decision without its audit entry fails, and
// others are faster than the next few.
type written struct {
	*memory.Store
	lost int
}

func (w *written) Commit(ctx context.Context, t document.Transaction) error {
	if len(t.Audit) != 1 || len(t.Exceptions) != 1 {
		return errors.New("a decision and its audit entry are not one transaction")
	}
	if w.lost > 0 {
		w.lost--
		return document.ErrConflict
	}
	return w.Store.Commit(ctx, t)
}

// desk is a Desk over the stores in memory, with the order's intake behind it.
type desk struct {
	*testing.T
	exception.Desk
	store   *memory.Store
	written *written
	tenant  retail.Tenant
	intake  order.Intake
	sim     *shopifytest.Server
	now     time.Time
	ids     int
	started []document.Task
	sent    []inbox.Message
	lose    bool // the next message
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, now: noon}
	clock := func() time.Time { return d.now }
	newID := func() string { d.ids++; return fmt.Sprintf("id%04d", d.ids) }
	d.store = memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 1))})
	d.written = &written{Store: d.store}
	var err error
	if d.tenant, err = retail.ParseTenant("north"); err != nil {
		t.Fatal(err)
	}
	connector, err := shopify.New([]byte(`{"shop":"north.myshopify.com"}`), nil, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	d.sim = shopifytest.NewServer(shopifytest.Options{Shop: "north.myshopify.com", Now: clock})
	t.Cleanup(d.sim.Close)
	life := document.Life{Store: d.store, Now: clock, NewID: newID, Jitter: func(time.Duration) time.Duration { return 0 }}
	blobs := &blobmemory.Bucket{}
	start := func(_ context.Context, task document.Task) error { d.started = append(d.started, task); return nil }
	d.intake = order.Intake{Life: life, Inbox: d.store, Payloads: blobs, Connections: shop{connector}, Start: start}
	d.Desk = exception.Desk{Life: life, Store: d.written, Effects: &effect.Ledger{Store: d.store, Now: clock, NewID: newID}, Payloads: blobs, Start: start,
		Enqueue: func(_ context.Context, class string, m inbox.Message) error {
			if d.lose {
				d.lose = false
				return errors.New("the queue is away")
			}
			if class != order.Class {
				t.Errorf("handed to the intake of %q", class)
			}
			d.sent = append(d.sent, m)
			return nil
		},
		Try: func(_ context.Context, _ string, _ retail.Tenant, _ string, payload []byte) (string, error) {
			o, _, err := connector.DecodeOrder(payload)
			if err == nil {
				o.Schema = retail.SchemaVersion
				if _, cerr := retail.Certify(o); cerr != nil {
					err = fault.Wrap(fault.Exception, fault.TotalsDiffer, cerr, "certifying")
				}
			}
			return o.ExternalID, err
		},
		Unreserve: order.Fulfillment{Life: life, Stock: d.store, Connections: shop{connector}}.Unreserve,
	}
	return d
}

// place returns what the shop would send for a new order.
func (d *desk) place() string {
	d.Helper()
	placed, err := d.sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, DropWebhook: true})
	if err != nil {
		d.Fatal(err)
	}
	body, err := d.sim.Payload(placed.ID)
	if err != nil {
		d.Fatal(err)
	}
	return string(body)
}

func (d *desk) deliver(event, body string) string {
	d.Helper()
	m := inbox.Message{Schema: 1, Tenant: d.tenant, Connection: "shop", Connector: "shopify", Topic: "orders/create", EventID: event, ReceivedAt: d.now}
	outcome, err := d.intake.Take(d.Context(), m.WithBody([]byte(body)))
	if err != nil {
		d.Fatal(err)
	}
	return outcome
}

// work lets the intake take what was handed over.
func (d *desk) work() (outcomes []string) {
	d.Helper()
	for len(d.sent) > 0 {
		m := d.sent[0]
		d.sent = d.sent[1:]
		outcome, err := d.intake.Take(d.Context(), m)
		if err != nil {
			d.Fatal(err)
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

func (d *desk) open() []document.Exception {
	d.Helper()
	xs, err := d.store.OpenExceptions(d.Context(), d.tenant)
	if err != nil {
		d.Fatal(err)
	}
	return xs
}

func (d *desk) head(x document.Exception) document.Head {
	d.Helper()
	h, err := d.store.Head(d.Context(), document.Key{Tenant: d.tenant, Type: x.Type, ID: x.Document})
	if err != nil {
		d.Fatal(err)
	}
	return h
}

func (d *desk) audited() (verbs []string) {
	d.Helper()
	as, err := d.store.Audited(d.Context(), d.tenant, time.Time{})
	if err != nil {
		d.Fatal(err)
	}
	for _, a := range as {
		if by := map[bool]string{true: exception.Platform, false: "ann"}[a.Verb == "exception.reopen"]; a.By != by || a.Reason == "" || a.Subject == "" {
			d.Errorf("audit %+v", a)
		}
		verbs = append(verbs, a.Verb)
	}
	return verbs
}

// wrong is a payload whose total does not add up.
func wrong(body string) string {
	return strings.Replace(body, `"total_price":"`, `"total_price":"9`, 1)
}

// later is the payload as the shop sends it an hour later.
func later(t *testing.T, body string, canceled bool) string {
	t.Helper()
	var o map[string]any
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		t.Fatal(err)
	}
	o["updated_at"] = noon.Add(time.Hour).Format(time.RFC3339)
	if canceled {
		o["cancelled_at"] = noon.Add(time.Hour).Format(time.RFC3339)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAReplayThatFailsOpensTheSameExceptionAgain(t *testing.T) {
	d := newDesk(t)
	if got := d.deliver("e1", wrong(d.place())); got != inbox.Parked {
		t.Fatal(got)
	}
	x := d.open()[0]
	r, err := d.Retry(t.Context(), d.tenant, x.ID, ann)
	if err != nil || r.Outcome != exception.Replayed || r.Exception.State != document.Asked {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Parked}) {
		t.Errorf("%v", got)
	}
	xs := d.open()
	if len(xs) != 1 || xs[0].ID != x.ID || xs[0].State != document.Open || xs[0].Retries != 1 || xs[0].Class != "totals_differ" {
		t.Errorf("%+v", xs)
	}
	if h := d.head(x); h.Parked != x.ID || h.Run != 1 {
		t.Errorf("head %+v", h)
	}
	if got := d.audited(); !slices.Equal(got, []string{"exception.retry"}) {
		t.Errorf("audit %v", got)
	}
}

func TestARetryPressedTwiceHappensOnceAndFindsALostMessageAgain(t *testing.T) {
	d := newDesk(t)
	d.deliver("e1", `{"id":7,"name":"#1"`)
	x := d.open()[0]
	d.lose = true
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err == nil {
		t.Error("a replay that was not sent is called one")
	}
	for range 3 {
		r, err := d.Retry(t.Context(), d.tenant, x.ID, ann)
		if err != nil || r.Outcome != exception.Repeated {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Parked, inbox.Repeated, inbox.Repeated}) {
		t.Errorf("%v", got)
	}
	if xs := d.open(); len(xs) != 1 || xs[0].Retries != 1 || xs[0].State != document.Open {
		t.Errorf("%+v", xs)
	}
	if got := d.audited(); len(got) != 1 {
		t.Errorf("audit %v", got)
	}
}

func TestARetryTakesInTheFirstGoodPayloadThatWaitsAndLeavesTheRestToBeDrained(t *testing.T) {
	d := newDesk(t)
	good := d.place()
	d.deliver("e1", wrong(good))
	x := d.open()[0]
	for event, body := range map[string]string{"e2": good, "e3": later(t, good, true)} {
		if got := d.deliver(event, body); got != inbox.Waiting {
			t.Errorf("%s: %s", event, got)
		}
	}
	if h := d.head(x); h.Waiting != 2 {
		t.Fatalf("%d wait", h.Waiting)
	}
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Accepted}) {
		t.Errorf("%v", got)
	}
	h := d.head(x)
	if h.Parked != "" || h.Run != 2 || h.Body != 2 || h.Defective() || len(d.open()) != 0 || len(d.started) != 1 || d.started[0].Run != 2 {
		t.Fatalf("head %+v, open %v, started %v", h, d.open(), d.started)
	}
	// The cancellation that waited ends the order before anything is sent.
	f := order.Fulfillment{Life: d.Life, Stock: d.store, Payloads: d.Payloads, Connections: d.intake.Connections}
	if err := f.Validate(t.Context(), d.started[0]); err != nil {
		t.Fatal(err)
	}
	if h = d.head(x); h.State != retail.Canceled || h.Waiting != 0 {
		t.Errorf("head %+v", h)
	}
	if left, err := d.store.Pending(t.Context(), h.Key); err != nil || len(left) > 0 {
		t.Errorf("%v wait still, %v", left, err)
	}
}

func TestAnEditKeepsTheEarlierPayloadAndIsRefusedWhereTheIntakeWouldRefuseIt(t *testing.T) {
	d := newDesk(t)
	good := d.place()
	d.deliver("e1", wrong(good))
	x := d.open()[0]
	for name, body := range map[string]string{
		"not JSON":         "{",
		"a wrong total":    wrong(good),
		"another document": d.place(),
	} {
		if _, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(body)); err == nil || fault.KindOf(err) == fault.Retryable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := d.open()[0]; got.Version != x.Version || len(d.sent) > 0 {
		t.Fatalf("a refused edit changed %+v", got)
	}
	r, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(good))
	if err != nil || r.Outcome != exception.Replayed {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(good+" ")); err == nil {
		t.Error("edited while the replay is on its way")
	}
	d.work()
	h := d.head(x)
	if h.Parked != "" || len(d.open()) > 0 || h.Raw == x.Raw {
		t.Errorf("head %+v", h)
	}
	for key, want := range map[string]string{x.Raw: wrong(good), h.Raw: good} {
		if got, err := d.Payloads.Get(t.Context(), key); err != nil || string(got) != want {
			t.Errorf("%s: %v", key, err)
		}
	}
	done, err := d.store.Exception(t.Context(), d.tenant, x.ID)
	if err != nil || done.State != document.Resolved || !slices.Equal(done.Payloads, []string{x.Raw}) {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestAnEditPressedTwiceHappensOnceAndFindsALostMessageAgain(t *testing.T) {
	d := newDesk(t)
	good := d.place()
	d.deliver("e1", wrong(good))
	x := d.open()[0]
	d.lose = true
	if _, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(good)); err == nil {
		t.Error("a replay that was not sent is called one")
	}
	if r, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(good)); err != nil || r.Outcome != exception.Repeated {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Accepted}) || len(d.open()) > 0 || len(d.audited()) != 1 {
		t.Errorf("%v, audit %v", got, d.audited())
	}
}

// Both read the exception before either has written.
func TestOfTwoEditsAtOnceTheOneThatIsRecordedIsTakenIn(t *testing.T) {
	d := newDesk(t)
	good := d.place()
	d.deliver("e1", wrong(good))
	x := d.open()[0]
	mine, theirs := good+" ", good+"  "
	read := d.Try
	d.Try = func(ctx context.Context, class string, tn retail.Tenant, connection string, payload []byte) (string, error) {
		id, err := read(ctx, class, tn, connection, payload)
		if string(payload) == mine {
			other := d.Desk
			other.Try = read
			if _, err := other.Edit(ctx, tn, x.ID, exception.Actor{By: "ann", Reason: "faster"}, []byte(theirs)); err != nil {
				t.Error(err)
			}
		}
		return id, err
	}
	if _, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(mine)); fault.KindOf(err) != fault.Exception {
		t.Errorf("the slower edit: %v", err)
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Accepted}) {
		t.Errorf("%v", got)
	}
	if body, err := d.Payloads.Get(t.Context(), d.head(x).Raw); err != nil || string(body) != theirs {
		t.Errorf("taken in: %q, %v", body, err)
	}
}

// parked takes an order in and parks it in its phase.
func (d *desk) parked(event string, cause error) document.Exception {
	d.Helper()
	before := len(d.open())
	if got := d.deliver(event, d.place()); got != inbox.Accepted {
		d.Fatal(got)
	}
	task := d.started[len(d.started)-1]
	if _, err := d.Life.Rest(d.Context(), task, cause); err != nil {
		d.Fatal(err)
	}
	xs := d.open()
	if len(xs) != before+1 {
		d.Fatal(xs)
	}
	return xs[len(xs)-1]
}

var unknownSKU = fault.New(fault.Exception, fault.Mapping, "unknown SKU").At("lines[0].sku", "MUG-STONE")

func TestADocumentThatIsRetriedGetsItsNextRun(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	r, err := d.Retry(t.Context(), d.tenant, x.ID, ann)
	if err != nil || r.Outcome != exception.Continued {
		t.Fatalf("%+v, %v", r, err)
	}
	h := d.head(x)
	if h.Parked != "" || h.Run != 2 || h.Defective() || len(d.started) != 2 || d.started[1].Run != 2 || len(d.open()) > 0 {
		t.Errorf("head %+v, started %v", h, d.started)
	}
	if r, err = d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil || r.Outcome != exception.Repeated || d.head(x).Run != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestACauseIsDrainedOldestFirst(t *testing.T) {
	d := newDesk(t)
	var want []string
	for i := range 40 {
		d.now = noon.Add(time.Duration(i) * time.Second)
		want = append(want, d.parked(fmt.Sprint("e", i), unknownSKU.At(fmt.Sprintf("lines[%d].sku", i), "MUG-STONE")).Document)
	}
	other := d.parked("other", unknownSKU.At("lines[0].sku", "TEE"))
	causes := exception.Causes(d.open())
	if len(causes) != 2 || causes[0].Count != 40 || causes[0].Exceptions[0] == other.ID || causes[0].AtStake["USD"] == "" {
		t.Fatalf("%+v", causes)
	}
	d.started = nil
	heard := 0
	n, err := d.RetryCause(t.Context(), d.tenant, func(x document.Exception) bool { return x.Fingerprint == causes[0].Fingerprint }, ann,
		func(n exception.Drained, _ exception.Result, _ error) {
			if heard++; n.Done != heard || n.Total != 40 {
				t.Errorf("progress %+v", n)
			}
		})
	var got []string
	for _, task := range d.started {
		got = append(got, task.ID)
	}
	if err != nil || n.Done != 40 || !slices.Equal(got, want) || len(d.open()) != 1 {
		t.Errorf("%+v, %v; started %v", n, err, got)
	}
}

func TestADocumentIsCanceledOnlyWhereNoOtherSystemHasIt(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	for _, status := range []effect.Status{effect.Unknown, effect.Sending, effect.Confirmed} {
		y := d.parked("with "+string(status), unknownSKU)
		if _, err := d.store.Create(t.Context(), effect.Record{Subject: effect.Subject{Tenant: d.tenant, Type: y.Type, ID: y.Document}, Key: "sales_order", Status: status, Version: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Cancel(t.Context(), d.tenant, y.ID, ann); fault.KindOf(err) != fault.Exception || d.head(y).State != retail.Received {
			t.Errorf("%s: %v", status, err)
		}
	}
	// Of a split order, the first release was refused and the second is out.
	y := d.parked("split", unknownSKU)
	h := d.head(y)
	h.Body++
	o := retail.Order{Tenant: d.tenant, ID: h.ID, Sourcing: &retail.SourcingDecision{Allocations: []retail.Allocation{{Line: "1", Location: "MAIN"}, {Line: "1", Location: "CITY"}}}}
	if err := d.store.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: h, Body: o}}}); err != nil {
		t.Fatal(err)
	}
	for key, status := range map[string]effect.Status{"sales_order": effect.Refused, "release": effect.Refused, "release#CITY": effect.Unknown} {
		if _, err := d.store.Create(t.Context(), effect.Record{Subject: effect.Subject{Tenant: d.tenant, Type: y.Type, ID: y.Document}, Key: key, Status: status, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Cancel(t.Context(), d.tenant, y.ID, ann); fault.KindOf(err) != fault.Exception || !strings.Contains(err.Error(), "release from CITY") {
		t.Errorf("an order that CITY may be shipping: %v", err)
	}
	r, err := d.Cancel(t.Context(), d.tenant, x.ID, ann)
	if err != nil || r.Outcome != exception.Canceled {
		t.Fatalf("%+v, %v", r, err)
	}
	if h := d.head(x); h.State != retail.Canceled || h.Parked != "" || !h.Due.IsZero() || h.Run != 2 {
		t.Errorf("head %+v", h)
	}
	if r, err = d.Cancel(t.Context(), d.tenant, x.ID, ann); err != nil || r.Outcome != exception.Repeated {
		t.Errorf("%+v, %v", r, err)
	}
}

// become writes another head, as a run or an intake would.
func (d *desk) become(x document.Exception, change func(*document.Head)) {
	d.Helper()
	h := d.head(x)
	change(&h)
	if err := d.store.Commit(d.Context(), document.Transaction{Changes: []document.Change{{Head: h}}}); err != nil {
		d.Fatal(err)
	}
}

func TestACanceledOrderGivesItsStockBackFirst(t *testing.T) {
	for state, reserved := range map[retail.State]bool{retail.Received: false, retail.Accepted: true, retail.Sourcing: true} {
		d := newDesk(t)
		x := d.parked("e1", unknownSKU)
		d.become(x, func(h *document.Head) { h.State = state })
		given, fail := 0, errors.New("the database is away")
		d.Unreserve = func(_ context.Context, h document.Head) error {
			if given++; h.ID != x.Document || h.Parked != x.ID {
				t.Errorf("%s: gives back of %+v", state, h)
			}
			return fail
		}
		if _, err := d.Cancel(t.Context(), d.tenant, x.ID, ann); reserved && (err == nil || d.head(x).State != state) {
			t.Errorf("%s, canceled with its stock: %v", state, err)
		}
		fail = nil
		if _, err := d.Cancel(t.Context(), d.tenant, x.ID, ann); err != nil || d.head(x).State != retail.Canceled || (given == 2) != reserved {
			t.Errorf("%s: %v, given back %d times", state, err, given)
		}
	}
}

func TestAParcelThatIsCanceledIsRejected(t *testing.T) {
	d := newDesk(t)
	k := document.Key{Tenant: d.tenant, Type: document.Shipment, ID: "s1"}
	c, x, err := d.Life.Park(document.Head{Key: k, State: retail.Received, Run: 1}, unknownSKU)
	if err == nil {
		err = d.store.Commit(t.Context(), document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.Cancel(t.Context(), d.tenant, x.ID, ann); err != nil || r.Outcome != exception.Canceled || d.head(x).State != retail.Rejected {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestADocumentThatWentOnIsLeftAlone(t *testing.T) {
	for name, decide := range map[string]func(d *desk, x document.Exception) (exception.Result, error){
		"retry": func(d *desk, x document.Exception) (exception.Result, error) {
			return d.Retry(d.Context(), d.tenant, x.ID, ann)
		},
		"cancel": func(d *desk, x document.Exception) (exception.Result, error) {
			return d.Cancel(d.Context(), d.tenant, x.ID, ann)
		},
	} {
		d := newDesk(t)
		x := d.parked("e1", unknownSKU)
		d.become(x, func(h *document.Head) { h.Parked, h.Run, h.Due = "", 5, noon })
		if r, err := decide(d, x); err != nil || r.Outcome != exception.Closed || d.head(x).Run != 5 || d.head(x).State != retail.Received || len(d.started) != 1 || len(d.open()) > 0 {
			t.Errorf("%s: %+v, %v; %+v", name, r, err, d.head(x))
		}
	}
}

func TestWhatOthersKnowOrIsBeingAnsweredIsNeitherEditedNorCanceled(t *testing.T) {
	for _, state := range []retail.State{retail.Sourcing, retail.Released, retail.InFulfillment} {
		d := newDesk(t)
		body := d.place()
		d.deliver("e1", body)
		if _, err := d.Life.Rest(t.Context(), d.started[0], unknownSKU); err != nil {
			t.Fatal(err)
		}
		x := d.open()[0]
		d.become(x, func(h *document.Head) { h.State = state })
		if _, err := d.Edit(t.Context(), d.tenant, x.ID, ann, []byte(body+" ")); fault.KindOf(err) != fault.Exception || len(d.sent) > 0 {
			t.Errorf("%s: edited, %v", state, err)
		}
	}
	d := newDesk(t)
	d.deliver("e1", wrong(d.place()))
	x := d.open()[0]
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Cancel(t.Context(), d.tenant, x.ID, ann); fault.KindOf(err) != fault.Exception || d.head(x).State != retail.Received {
		t.Errorf("canceled while its replay is on its way: %v", err)
	}
}

func TestAnOutcomeThatIsKnownIsNotDecidedOtherwise(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", fault.New(fault.Exception, fault.OutcomeUnknown, "it may have happened").At("effect", "release"))
	s := effect.Subject{Tenant: d.tenant, Type: x.Type, ID: x.Document}
	if _, err := d.store.Create(t.Context(), effect.Record{Subject: s, Key: "release", Status: effect.Confirmed, Receipt: effect.Receipt{Ref: "77"}, Version: 1}); err != nil {
		t.Fatal(err)
	}
	for name, decide := range map[string]func() (exception.Result, error){
		"resent": func() (exception.Result, error) { return d.Resend(t.Context(), d.tenant, x.ID, ann) },
		"confirmed otherwise": func() (exception.Result, error) {
			return d.Confirm(t.Context(), d.tenant, x.ID, ann, effect.Receipt{Ref: "78"})
		},
	} {
		if _, err := decide(); err == nil || d.head(x).Parked != x.ID || len(d.audited()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADecisionIsTakenAgainWhereOthersAreFaster(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	d.written.lost = 5
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); fault.KindOf(err) != fault.Retryable || len(d.started) != 1 {
		t.Errorf("%v, started %v", err, d.started)
	}
	d.written.lost = 4
	if r, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil || r.Outcome != exception.Continued || d.head(x).Run != 2 || len(d.started) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestARunThatCannotBeStartedIsBroughtBackByItsDue(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	d.Start = func(context.Context, document.Task) error { return errors.New("throttled") }
	if r, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil || r.Outcome != exception.Continued || d.head(x).Defective() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestARefusalKeepsNoOtherOfItsCauseAndAnOutageKeepsAll(t *testing.T) {
	all := func(document.Exception) bool { return true }
	d := newDesk(t)
	var xs []document.Exception
	for i := range 3 {
		d.now = noon.Add(time.Duration(i) * time.Minute)
		cause := unknownSKU
		if i == 0 {
			cause = fault.New(fault.Exception, fault.OutcomeUnknown, "it may have happened").At("effect", "release")
		}
		xs = append(xs, d.parked(fmt.Sprint("e", i), cause))
	}
	n, err := d.RetryCause(t.Context(), d.tenant, all, ann, nil)
	if n != (exception.Drained{Total: 3, Done: 2, Refused: 1}) || fault.KindOf(err) != fault.Exception || d.head(xs[2]).Run != 2 {
		t.Errorf("%+v, %v", n, err)
	}
	d = newDesk(t)
	for i := range 3 {
		d.deliver(fmt.Sprint("e", i), strings.Repeat("{", i+1))
	}
	d.lose = true
	if n, err = d.RetryCause(t.Context(), d.tenant, all, ann, nil); n.Done+n.Refused > 0 || err == nil || len(d.sent) > 0 {
		t.Errorf("%+v, %v, sent %v", n, err, d.sent)
	}
	if n, err = d.RetryCause(t.Context(), d.tenant, all, ann, nil); n.Done != 3 || err != nil || len(d.sent) != 3 {
		t.Errorf("called again: %+v, %v", n, err)
	}
}

func TestADocumentIsAtStakeOnceForEachRetailer(t *testing.T) {
	usd := retail.Money{Amount: 1000, Currency: "USD"}
	other, err := retail.ParseTenant("south")
	d := newDesk(t)
	if err != nil {
		t.Fatal(err)
	}
	x := func(tn retail.Tenant, id, doc string) document.Exception {
		return document.Exception{Tenant: tn, ID: id, Fingerprint: "f", Type: document.Order, Document: doc, AtStake: usd}
	}
	got := map[string]string{}
	for _, c := range exception.Causes([]document.Exception{x(d.tenant, "a", "o1"), x(d.tenant, "b", "o1"), x(d.tenant, "c", "o2"), x(other, "d", "o1"), x(d.tenant, "e", ""), x(d.tenant, "f", "")}) {
		got[c.Tenant.String()] = c.AtStake["USD"]
	}
	if got["north"] != "40.00" || got["south"] != "10.00" {
		t.Errorf("%v", got)
	}
}

func TestNoDocumentIsLeftParkedByNothing(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	if _, err := d.Resolve(t.Context(), d.tenant, x.ID, ann); err == nil || d.head(x).Parked != x.ID || len(d.open()) != 1 {
		t.Errorf("%v", err)
	}
	d.deliver("e2", "{")
	y := d.open()[1]
	if r, err := d.Resolve(t.Context(), d.tenant, y.ID, ann); err != nil || r.Outcome != exception.Closed || len(d.open()) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhoLooksDecidesWhatBecameOfAnUnknownOutcome(t *testing.T) {
	cause := fault.New(fault.Exception, fault.OutcomeUnknown, "it may have happened").At("effect", "release")
	for name, c := range map[string]struct {
		decide func(d *desk, x document.Exception) (exception.Result, error)
		want   effect.Status
	}{
		"it happened": {func(d *desk, x document.Exception) (exception.Result, error) {
			return d.Confirm(d.Context(), d.tenant, x.ID, ann, effect.Receipt{Ref: "77"})
		}, effect.Confirmed},
		"it did not": {func(d *desk, x document.Exception) (exception.Result, error) {
			return d.Resend(d.Context(), d.tenant, x.ID, ann)
		}, effect.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			x := d.parked("e1", cause)
			s := effect.Subject{Tenant: d.tenant, Type: x.Type, ID: x.Document}
			if _, err := d.store.Create(t.Context(), effect.Record{Subject: s, Key: "release", Status: effect.Unknown, Holder: "a", Version: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err == nil {
				t.Error("retried without a decision")
			}
			r, err := c.decide(d, x)
			if err != nil || r.Outcome != exception.Continued || d.head(x).Parked != "" {
				t.Fatalf("%+v, %v", r, err)
			}
			e, err := d.store.Effect(t.Context(), s, "release")
			if err != nil || e.Status != c.want {
				t.Errorf("%+v, %v", e, err)
			}
			if r, err = c.decide(d, x); err != nil || r.Outcome != exception.Repeated {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestADecisionNamesWhoAndWhy(t *testing.T) {
	d := newDesk(t)
	x := d.parked("e1", unknownSKU)
	for _, a := range []exception.Actor{{Reason: "x"}, {By: "ann"}, {By: " ", Reason: " "}} {
		if _, err := d.Retry(t.Context(), d.tenant, x.ID, a); fault.Of(err) == nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if _, err := d.Retry(t.Context(), d.tenant, "nothing", ann); fault.Of(err) == nil || fault.Of(err).Class != fault.MissingReference {
		t.Errorf("%v", err)
	}
	for range 2 {
		if _, err := d.Assign(t.Context(), d.tenant, x.ID, ann, "bob"); err != nil {
			t.Error(err)
		}
		if _, err := d.Note(t.Context(), d.tenant, x.ID, ann); err != nil {
			t.Error(err)
		}
	}
	if got := d.open()[0]; got.Owner != "bob" || len(got.Notes) != 1 || got.Notes[0].By != "ann" || got.State != document.Open {
		t.Errorf("%+v", got)
	}
	if got := d.audited(); !slices.Equal(got, []string{"exception.assign", "exception.note"}) {
		t.Errorf("%v", got)
	}
}

func TestTheSameUnreadablePayloadIsOneExceptionHoweverOftenItComes(t *testing.T) {
	d := newDesk(t)
	for i, want := range []string{inbox.Parked, inbox.Repeated, inbox.Repeated} {
		if got := d.deliver(fmt.Sprint("e", i), "{"); got != want {
			t.Errorf("delivery %d: %s", i, got)
		}
	}
	broken := wrong(d.place())
	for i, want := range []string{inbox.Parked, inbox.Repeated} {
		if got := d.deliver(fmt.Sprint("f", i), broken); got != want {
			t.Errorf("delivery %d of a wrong total: %s", i, got)
		}
	}
	if xs := d.open(); len(xs) != 2 {
		t.Errorf("%d exceptions", len(xs))
	}
	x := d.open()[0]
	if x.Document != "" {
		x = d.open()[1]
	}
	if _, err := d.Resolve(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	if got := d.deliver("e9", "{"); got != inbox.Repeated || len(d.open()) != 1 {
		t.Errorf("after it was resolved: %s", got)
	}
}

func TestAReplayOfAPayloadThatIsGoneKeepsItsHoldOnTheDocument(t *testing.T) {
	d := newDesk(t)
	d.deliver("e1", wrong(d.place()))
	x := d.open()[0]
	h := d.head(x)
	x.Raw += ".purged"
	if err := d.store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	if got := d.work(); !slices.Equal(got, []string{inbox.Parked}) {
		t.Errorf("%v", got)
	}
	xs := d.open()
	if len(xs) != 1 || xs[0].Document != h.ID || xs[0].Class != string(fault.MissingReference) || xs[0].State != document.Open || d.head(x).Parked != x.ID {
		t.Errorf("%+v", xs)
	}
}

// What no intake could take in, twelve times, is a dead letter.
func TestAReplayThatEndsAsADeadLetterIsOpenAgain(t *testing.T) {
	d := newDesk(t)
	d.deliver("e1", wrong(d.place()))
	x := d.open()[0]
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	first := d.sent[0]
	d.sent = nil // the intake never gets to it
	r, err := d.DeadReplay(t.Context(), "order-inbox", "m7", first)
	if err != nil || r.Outcome != exception.Reopened {
		t.Fatalf("%+v, %v", r, err)
	}
	got := d.open()[0]
	if got.State != document.Open || got.Raw != x.Raw || len(got.Notes) != 1 || !strings.Contains(got.Notes[0].Text, "dead letter m7 of order-inbox") || got.Notes[0].By != exception.Platform {
		t.Errorf("%+v", got)
	}
	if _, err := d.Payloads.Get(t.Context(), got.Raw); err != nil {
		t.Errorf("its payload: %v", err)
	}
	if got := d.audited(); !slices.Equal(got, []string{"exception.retry", "exception.reopen"}) {
		t.Errorf("%v", got)
	}
	// The letter stays in its queue and is seen again, also after another press.
	for range 2 {
		if r, err := d.DeadReplay(t.Context(), "order-inbox", "m7", first); err != nil || r.Outcome != exception.Repeated {
			t.Errorf("seen again: %+v, %v", r, err)
		}
		for range 2 {
			if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := d.open()[0]; got.State != document.Asked || got.Retries != 2 || len(d.sent) != 4 || d.sent[0].EventID == first.EventID {
		t.Errorf("after pressing again: %+v, %d sent", got, len(d.sent))
	}
	// What was given up on is given back and taken in beside the newer replay.
	d.sent = append(d.sent, first)
	if got := d.work(); got[0] != inbox.Parked {
		t.Errorf("%v", got)
	}
	if xs := d.open(); len(xs) != 1 || xs[0].State != document.Open || d.head(x).Parked != x.ID {
		t.Errorf("%+v", xs)
	}
	// A delivery that answers nothing, and one that was answered, change nothing.
	other := first
	other.Exception = ""
	for _, m := range []inbox.Message{other, first} {
		if r, err := d.DeadReplay(t.Context(), "order-inbox", "m8", m); err != nil || r.Outcome == exception.Reopened {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestAFiftyFirstNoteOfThePlatformTakesTheOldestsPlace(t *testing.T) {
	d := newDesk(t)
	d.deliver("e1", wrong(d.place()))
	x := d.open()[0]
	for i := range 50 {
		if _, err := d.Note(t.Context(), d.tenant, x.ID, exception.Actor{By: "ann", Reason: fmt.Sprint("note ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Retry(t.Context(), d.tenant, x.ID, ann); err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeadReplay(t.Context(), "order-inbox", "m7", d.sent[0]); err != nil {
		t.Fatal(err)
	}
	got := d.open()[0]
	if len(got.Notes) != 50 || got.Notes[0].Text != "note 1" || got.Notes[49].By != exception.Platform {
		t.Errorf("%d notes, %+v", len(got.Notes), got.Notes)
	}
}

func TestACauseThatHoldsNothingIsResolvedAndNotRetried(t *testing.T) {
	held := document.Exception{ID: "a", Fingerprint: "f", Document: "o1"}
	payload := document.Exception{ID: "b", Fingerprint: "g", EventID: "e1"}
	stock := document.Exception{ID: "c", Fingerprint: "h"}
	verbs := map[string]string{}
	for _, c := range exception.Causes([]document.Exception{held, payload, stock}) {
		verbs[c.Fingerprint] = c.Verb
	}
	if verbs["f"] != "retry" || verbs["g"] != "retry" || verbs["h"] != "resolve" {
		t.Errorf("%v", verbs)
	}
}
