package shipment_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// noon is far ahead, so that the emulator does not expire what the tests store.
var noon = time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)

// blobs is a Payloads in a map.
type blobs struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (b *blobs) Put(_ context.Context, key string, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[key] = body
	return nil
}

func (b *blobs) Get(_ context.Context, key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[key], nil
}

// vendor counts what was made there, by kind and id, and can lose answers.
type vendor struct {
	mu   sync.Mutex
	made map[string]int
	lose map[string]bool // the next one of the kind is made and its answer lost
}

func (v *vendor) make(kind, id string) (effect.Receipt, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.made[kind+" "+id]++
	if v.lose[kind] {
		delete(v.lose, kind)
		return effect.Receipt{}, fault.New(fault.Retryable, fault.Connectivity, "no answer").OutcomeUnknown()
	}
	return receipt(kind, id), nil
}

func (v *vendor) find(kind, id string) (effect.Receipt, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return receipt(kind, id), v.made[kind+" "+id] > 0, nil
}

func receipt(kind, id string) effect.Receipt {
	return effect.Receipt{Ref: kind + "-" + id, Number: strings.ToUpper(kind) + "-" + id}
}

// once fails unless everything of the kind was made exactly once, n things.
func (v *vendor) once(t *testing.T, kind string, n int) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	found := 0
	for what, times := range v.made {
		if !strings.HasPrefix(what, kind+" ") {
			continue
		}
		if found++; times != 1 {
			t.Errorf("%s was made %d times", what, times)
		}
	}
	if found != n {
		t.Errorf("%d of %s were made, want %d: %v", found, kind, n, v.made)
	}
}

type shop struct{ *vendor }

func (shop) DecodeOrder(raw []byte) (retail.Order, retail.Person, error) {
	var o retail.Order
	return o, retail.Person{}, json.Unmarshal(raw, &o)
}
func (s shop) ConfirmShipment(_ context.Context, p effect.Permit, _ retail.Order, sh retail.Shipment) (effect.Receipt, error) {
	if err := p.Check(); err != nil {
		return effect.Receipt{}, err
	}
	return s.make("fulfillment", sh.ExternalID)
}
func (s shop) FindShipment(_ context.Context, _ retail.Order, sh retail.Shipment) (effect.Receipt, bool, error) {
	return s.find("fulfillment", sh.ExternalID)
}
func (shop) ShipmentSettle() time.Duration { return time.Second }

type erp struct{ *vendor }

func (e erp) CreateCustomer(context.Context, effect.Permit, string, retail.Person) (effect.Receipt, error) {
	return effect.Receipt{Ref: "p"}, nil
}
func (e erp) FindCustomer(context.Context, string) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "p"}, true, nil
}
func (e erp) CreateAddress(context.Context, effect.Permit, effect.Receipt, retail.Address) (effect.Receipt, error) {
	return effect.Receipt{Ref: "a"}, nil
}
func (e erp) FindAddress(context.Context, effect.Receipt, retail.Address) (effect.Receipt, bool, error) {
	return effect.Receipt{Ref: "a"}, true, nil
}
func (erp) CustomerSettle() time.Duration { return time.Second }
func (e erp) CreateSalesOrder(_ context.Context, _ effect.Permit, o retail.Order, _, _, _ effect.Receipt) (effect.Receipt, error) {
	return e.make("draft", o.ExternalID)
}
func (e erp) FindSalesOrder(_ context.Context, o retail.Order) (effect.Receipt, bool, error) {
	return e.find("draft", o.ExternalID)
}
func (e erp) ConfirmSalesOrder(_ context.Context, _ effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	return e.make("sale", so.Ref)
}
func (e erp) SalesOrderConfirmed(_ context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	return e.find("sale", so.Ref)
}
func (erp) SalesOrderTotal(context.Context, effect.Receipt) (retail.Money, error) {
	return retail.Money{Currency: "USD"}, nil
}
func (erp) SalesOrderSettle() time.Duration { return time.Second }
func (erp) ShipmentSettle() time.Duration   { return time.Second }
func (e erp) PostShipment(_ context.Context, _ effect.Permit, so effect.Receipt, s retail.Shipment) (effect.Receipt, error) {
	if !strings.HasPrefix(so.Ref, "sale-") {
		return effect.Receipt{}, fault.New(fault.Permanent, fault.Internal, "posted to %q", so.Ref)
	}
	return e.make("parcel", s.ExternalID)
}
func (e erp) ShipmentPosted(_ context.Context, _ effect.Receipt, s retail.Shipment) (effect.Receipt, bool, error) {
	return e.find("parcel", s.ExternalID)
}
func (e erp) PostInvoice(_ context.Context, _ effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	return e.make("invoice", so.Ref)
}
func (e erp) InvoicePosted(_ context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	return e.find("invoice", so.Ref)
}

// warehouse decodes as ShipBob does and accepts every order.
type warehouse struct {
	*shipbob.Connector
	*vendor
	mu     sync.Mutex
	listed map[string][]retail.Listed // by the order's id there
	named  *string                    // what it calls every parcel
}

func (x *warehouse) DecodeShipment(raw []byte) (retail.Shipment, error) {
	s, err := x.Connector.DecodeShipment(raw)
	if x.named != nil {
		s.ExternalID = *x.named
	}
	return s, err
}

func (x *warehouse) Release(_ context.Context, _ effect.Permit, r retail.Release, _ retail.Person) (effect.Receipt, error) {
	_, err := x.make("release", r.Reference)
	return effect.Receipt{Ref: atWarehouse(r.OrderNumber)}, err
}
func (x *warehouse) FindRelease(_ context.Context, r retail.Release) (effect.Receipt, bool, error) {
	_, found, err := x.find("release", r.Reference)
	return effect.Receipt{Ref: atWarehouse(r.OrderNumber)}, found, err
}
func (x *warehouse) ListShipments(_ context.Context, ref string) ([]retail.Listed, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.listed[ref], nil
}

// atWarehouse is the warehouse's id of an order, from the order's number.
func atWarehouse(number string) string { return "55" + number }

// store is what keeps a retailer's documents: in memory, or in DynamoDB, both
// held to one suite.
type store interface {
	document.Store
	inbox.Store
	effect.Store
	stock.Store
	OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error)
}

// bench is one retailer with a shop, an ERP and a warehouse.
type bench struct {
	*testing.T
	store     store
	blobs     *blobs
	tenant    retail.Tenant
	vendor    *vendor
	warehouse *warehouse
	phase     shipment.Phase
	in        shipment.Intake
	orders    order.Intake
	mu        sync.Mutex
	now       time.Time
	ids       int
	orderTask []document.Task
	tasks     []document.Task
}

func (b *bench) Open(_ context.Context, _ retail.Tenant, connection string) (any, error) {
	switch connection {
	case "shop":
		return shop{b.vendor}, nil
	case "erp":
		return erp{b.vendor}, nil
	case "warehouse":
		return b.warehouse, nil
	}
	return nil, fault.New(fault.Permanent, fault.Configuration, "no such connection").At("connection", connection)
}

func (*bench) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{Channel: "shop", ERP: "erp", Warehouse: "warehouse", Location: "MAIN", ConfigVersion: 7}, nil
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) wait(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) newID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids++
	return fmt.Sprintf("id%04d", b.ids)
}

// deployed keeps things in the template's own tables.
func deployed(t *testing.T) store {
	t.Helper()
	cfg := localtest.Config(t)
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artifacts-" + localtest.Account(), Template: "../../../infra/data.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "data", TemplateURL: url, Parameters: map[string]string{"Partner": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	return dynamo.New(cfg, dynamo.Tables{Documents: out["DocumentsTable"], Inventory: out["InventoryTable"],
		Inbox: out["InboxTable"], Exceptions: out["ExceptionsTable"], Audit: out["AuditTable"], Person: out["PersonTable"]})
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return benchOver(t, nil)
}

// benchOver keeps things in memory where no store is given.
func benchOver(t *testing.T, kept store) *bench {
	t.Helper()
	tenant, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, store: kept, tenant: tenant, now: noon, blobs: &blobs{m: map[string][]byte{}},
		vendor: &vendor{made: map[string]int{}, lose: map[string]bool{}}}
	decoder, err := shipbob.New(json.RawMessage(`{"channel_id":"433"}`), nil, nil, b.clock)
	if err != nil {
		t.Fatal(err)
	}
	b.warehouse = &warehouse{Connector: decoder, vendor: b.vendor, listed: map[string][]retail.Listed{}}
	if b.store == nil {
		b.store = memory.New(memory.Options{Now: b.clock})
	}
	life := document.Life{Store: b.store, Now: b.clock, NewID: b.newID, Jitter: func(time.Duration) time.Duration { return 0 }}
	b.orders = order.Intake{Life: life, Inbox: b.store, Payloads: b.blobs, Connections: b, Start: b.start(&b.orderTask)}
	b.in = shipment.Intake{Life: life, Inbox: b.store, Payloads: b.blobs, Connections: b, Start: b.start(&b.tasks)}
	b.phase = shipment.Phase{Life: life, Stock: b.store, Connections: b,
		Effects: &effect.Ledger{Store: b.store, Now: b.clock, NewID: b.newID}}
	return b
}

func (b *bench) start(tasks *[]document.Task) func(context.Context, document.Task) error {
	return func(_ context.Context, t document.Task) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		*tasks = append(*tasks, t)
		return errors.New("a failed start changes nothing")
	}
}

// goods are quantities by SKU, in sequence.
type goods struct {
	sku      string
	quantity int64
}

const opening = 100

// place takes an order in and returns it with its task. Every SKU has 100 on
// hand before the first order of it.
func (b *bench) place(number string, lines ...goods) (document.Task, document.Key) {
	b.Helper()
	zero := retail.Money{Currency: "USD"}
	o := retail.Order{Tenant: b.tenant, ExternalID: "9" + number, Number: number, PlacedAt: noon, SourceVersion: "v1", Currency: "USD",
		Totals: retail.Totals{Lines: zero, Discounts: zero, Shipping: zero, Duties: zero, Fees: zero, Tip: zero, Tax: zero, Rounding: zero, Total: zero}}
	var moves []stock.Move
	for i, g := range lines {
		o.Lines = append(o.Lines, retail.OrderLine{ID: fmt.Sprint(i + 1), ExternalID: fmt.Sprint(700 + i), SKU: g.sku, RequiresShipping: true,
			UnitPrice: retail.Price{Currency: "USD"}, Quantities: retail.Quantities{Ordered: g.quantity, Unallocated: g.quantity}})
		moves = append(moves, stock.Move{SKU: g.sku, Location: "MAIN", Type: "opening", Connection: "erp", Document: "opening",
			Line: g.sku, OnHand: opening, OccurredAt: noon, RecordedAt: noon})
	}
	if err := b.store.Apply(b.Context(), b.tenant, moves); err != nil {
		b.Fatal(err)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	m := inbox.Message{Schema: 1, Tenant: b.tenant, Connection: "shop", Topic: "orders/create", EventID: "o" + number, ReceivedAt: b.clock()}.WithBody(raw)
	if got, err := b.orders.Take(b.Context(), m); err != nil || got != inbox.Accepted {
		b.Fatalf("taking order %s in: %s, %v", number, got, err)
	}
	task := b.orderTask[len(b.orderTask)-1]
	return task, task.Key()
}

// release runs the order flow to its end.
func (b *bench) release(t document.Task) {
	b.Helper()
	f := order.Fulfillment{Life: b.phase.Life, Effects: b.phase.Effects, Stock: b.store, Payloads: b.blobs, Connections: b}
	b.run(t, f.Validate, f.Allocate, f.SalesOrder, f.Release)
}

// released places an order and releases it.
func (b *bench) released(number string, lines ...goods) document.Key {
	b.Helper()
	t, k := b.place(number, lines...)
	b.release(t)
	return k
}

func (b *bench) run(t document.Task, tasks ...func(context.Context, document.Task) error) {
	b.Helper()
	for i, task := range tasks {
		if err := task(b.Context(), t); err != nil {
			b.Fatalf("task %d: %v", i, err)
		}
	}
}

// parcel is what ShipBob sends of a shipment.
func parcel(id, orderNumber, tracking string, contents ...goods) []byte {
	type item struct {
		ID       int64 `json:"id"`
		Quantity int64 `json:"quantity"`
	}
	var products []map[string]any
	for i, g := range contents {
		products = append(products, map[string]any{"reference_id": g.sku, "inventory_items": []item{{int64(i + 1), g.quantity}}})
	}
	raw, err := json.Marshal(map[string]any{
		"id": json.Number(id), "order_id": json.Number(atWarehouse(orderNumber)), "status": "Completed", "reference_id": "r",
		"actual_fulfillment_date": "2096-03-01T11:00:00Z", "last_update_at": "2096-03-01T11:30:00Z",
		"tracking": map[string]any{"carrier": "USPS", "tracking_number": tracking}, "products": products,
	})
	if err != nil {
		panic(err)
	}
	return raw
}

func (b *bench) message(event string, body []byte) inbox.Message {
	return inbox.Message{Schema: 1, Tenant: b.tenant, Connection: "warehouse", Connector: "shipbob", Topic: shipment.Topic,
		EventID: event, ReceivedAt: b.clock()}.WithBody(body)
}

func (b *bench) take(event string, body []byte) string {
	b.Helper()
	outcome, err := b.in.Take(b.Context(), b.message(event, body))
	if err != nil {
		b.Fatal(err)
	}
	return outcome
}

// announce takes a new parcel in and returns its task.
func (b *bench) announce(id, orderNumber, tracking string, contents ...goods) document.Task {
	b.Helper()
	if got := b.take("e"+id, parcel(id, orderNumber, tracking, contents...)); got != inbox.Accepted {
		b.Fatalf("parcel %s: %s", id, got)
	}
	return b.tasks[len(b.tasks)-1]
}

func (b *bench) head(k document.Key) document.Head {
	b.Helper()
	h, err := b.store.Head(b.Context(), k)
	if err != nil {
		b.Fatal(err)
	}
	if h.Defective() {
		b.Errorf("nothing will ever touch %s %s again: %+v", k.Type, k.ID, h)
	}
	return h
}

func (b *bench) body(k document.Key, out any) {
	b.Helper()
	if err := b.store.Body(b.Context(), k, b.head(k).Body, out); err != nil {
		b.Fatal(err)
	}
}

// timeline returns the verbs of a document's timeline.
func (b *bench) timeline(k document.Key) []string {
	b.Helper()
	steps, err := b.store.Steps(b.Context(), b.head(k))
	if err != nil {
		b.Fatal(err)
	}
	var out []string
	for i, s := range steps {
		if s.Seq != int64(i+1) {
			b.Errorf("entry %d of %s has the number %d", i+1, k.ID, s.Seq)
		}
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(s.Type, "retail."+k.Type+"."), ".v1"))
	}
	return out
}

// tells fails unless the timeline ends with the verbs.
func (b *bench) tells(k document.Key, verbs ...string) {
	b.Helper()
	got := b.timeline(k)
	if len(got) < len(verbs) || !slices.Equal(got[len(got)-len(verbs):], verbs) {
		b.Errorf("the timeline of %s is %v, want it to end with %v", k.ID, got, verbs)
	}
}

// resolve returns the document that the external id leads to.
func (b *bench) resolve(connection, typ, external string) document.Key {
	b.Helper()
	ref := document.Ref{Tenant: b.tenant, Connection: connection, Type: typ, External: external}
	found, err := b.store.Resolve(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	return found[ref]
}

// stocked fails unless the SKU has the quantities at the warehouse.
func (b *bench) stocked(sku string, onHand, reserved int64) {
	b.Helper()
	p, err := b.store.Positions(b.Context(), b.tenant, "MAIN", []string{sku})
	if err != nil {
		b.Fatal(err)
	}
	if got := p[sku]; got.OnHand != onHand || got.Reserved != reserved || got.Unreserved != onHand-reserved {
		b.Errorf("%s: %+v, want %d on hand and %d reserved", sku, got, onHand, reserved)
	}
}

// isFault fails unless err is of the kind and class.
func (b *bench) isFault(err error, kind fault.Kind, class fault.Class) fault.Error {
	b.Helper()
	f := fault.Of(err)
	if f == nil || f.Kind != kind || f.Class != class {
		b.Fatalf("err = %v, want %s of class %s", err, kind, class)
	}
	return *f
}

// resumed takes a document over as the sweeper does.
func (b *bench) resumed(t document.Task) document.Task {
	b.Helper()
	next, ok, err := b.phase.Life.Resume(b.Context(), t.Key(), t.Run)
	if err != nil || !ok {
		b.Fatalf("resuming: %t, %v", ok, err)
	}
	return next
}

// opened lists the exceptions that are open.
func (b *bench) opened() []document.Exception {
	b.Helper()
	xs, err := b.store.OpenExceptions(b.Context(), b.tenant)
	if err != nil {
		b.Fatal(err)
	}
	return xs
}
