package order_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
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

// shop opens one connection: a real Shopify decoder.
type shop struct{ connector any }

func (s shop) Open(context.Context, retail.Tenant, string) (any, error) { return s.connector, nil }
func (s shop) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{ERP: "erp", Warehouse: "warehouse", Location: "MAIN", ConfigVersion: 7}, nil
}

// store is what keeps a retailer's documents: in memory, or in DynamoDB, both
// held to one suite.
type store interface {
	document.Store
	inbox.Store
	effect.Store
	stock.Store
}

type bench struct {
	*testing.T
	in      order.Intake
	store   store
	blobs   *blobs
	tenant  retail.Tenant
	sim     *shopifytest.Server
	mu      sync.Mutex
	started []document.Task
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
	return benchOver(t, memory.New(memory.Options{Now: func() time.Time { return noon }}))
}

func benchOver(t *testing.T, kept store) *bench {
	t.Helper()
	clock := func() time.Time { return noon }
	c, err := shopify.New([]byte(`{"shop":"north.myshopify.com"}`), nil, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	tenant, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, store: kept, tenant: tenant, blobs: &blobs{m: map[string][]byte{}}, sim: shopifytest.NewServer(shopifytest.Options{
		Shop: "north.myshopify.com", Now: clock})}
	t.Cleanup(b.sim.Close)
	n := 0
	b.in = order.Intake{
		Life: document.Life{Store: b.store, Now: clock, Jitter: func(time.Duration) time.Duration { return 0 },
			NewID: func() string { b.mu.Lock(); defer b.mu.Unlock(); n++; return fmt.Sprintf("id%04d", n) }},
		Inbox: b.store, Payloads: b.blobs, Connections: shop{c},
		Start: func(_ context.Context, task document.Task) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.started = append(b.started, task)
			return errors.New("a failed start changes nothing")
		},
	}
	return b
}

// payload is what the shop would send for an order of n lines.
func (b *bench) payload(lines int) (body []byte, externalID string) {
	b.Helper()
	placed, err := b.sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, LineCount: lines, DropWebhook: true})
	if err != nil {
		b.Fatal(err)
	}
	body, err = b.sim.Payload(placed.ID)
	if err != nil {
		b.Fatal(err)
	}
	return body, placed.ID
}

func (b *bench) message(event string, body []byte) inbox.Message {
	return inbox.Message{Schema: 1, Tenant: b.tenant, Connection: "shop", Connector: "shopify", Topic: "orders/create",
		EventID: event, ReceivedAt: noon}.WithBody(body)
}

func (b *bench) take(event string, body []byte) string {
	b.Helper()
	outcome, err := b.in.Take(b.Context(), b.message(event, body))
	if err != nil {
		b.Fatal(err)
	}
	return outcome
}

func (b *bench) head(externalID string) document.Head {
	b.Helper()
	ref := document.Ref{Tenant: b.tenant, Connection: "shop", Type: "order", External: externalID}
	found, err := b.store.Resolve(b.Context(), ref)
	if err != nil || len(found) != 1 {
		b.Fatalf("order %s resolves to %v, %v", externalID, found, err)
	}
	h, err := b.store.Head(b.Context(), found[ref])
	if err != nil {
		b.Fatal(err)
	}
	return h
}

func TestAnOrderIsReceivedWithItsTimelineAndADueEvenIfItsPhaseDoesNotStart(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(3)
	if got := b.take("e1", body); got != inbox.Accepted {
		t.Fatalf("outcome = %s", got)
	}
	h := b.head(id)
	if h.State != retail.Received || h.Defective() || !h.Due.After(noon) || h.Run != 1 || h.ConfigVersion != 7 {
		t.Errorf("head = %+v", h)
	}
	if len(b.started) != 1 || b.started[0].ID != h.ID {
		t.Errorf("started = %v", b.started)
	}
	steps, err := b.store.Steps(t.Context(), h)
	if err != nil || len(steps) != 1 || steps[0].Type != "retail.order.received.v1" {
		t.Errorf("steps = %v, %v", steps, err)
	}
	var o retail.Order
	if err := b.store.Body(t.Context(), h.Key, h.Body, &o); err != nil || len(o.Lines) != 3 || o.ID != h.ID {
		t.Errorf("order = %+v, %v", o, err)
	}
	if p, err := b.store.Person(t.Context(), h.Key); err != nil || p.Shipping.City == "" {
		t.Errorf("person has no city: %v", err)
	}
}

func TestOneOrderComesOfManyDeliveries(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(2)
	var wg sync.WaitGroup
	for i := range 20 { // ten repeats of one event, ten other events about the order
		wg.Go(func() {
			event := "e1"
			if i%2 == 0 {
				event = fmt.Sprint("poll", i)
			}
			for range 100_000 { // whoever is at work may be kept from it
				_, err := b.in.Take(context.Background(), b.message(event, body))
				if err == nil {
					return
				}
				if fault.KindOf(err) != fault.Retryable {
					t.Errorf("taking in: %v", err)
					return
				}
				runtime.Gosched()
			}
			t.Error("not taken in, however often it came")
		})
	}
	wg.Wait()
	h := b.head(id)
	if len(b.started) != 1 || h.Version != 1 {
		t.Errorf("started %d times, version %d", len(b.started), h.Version)
	}
}

func TestAnOrderOfTwoThousandLinesIsReceived(t *testing.T) {
	for where, open := range map[string]func(*testing.T) *bench{"in memory": newBench, "in DynamoDB": func(t *testing.T) *bench { return benchOver(t, deployed(t)) }} {
		t.Run(where, func(t *testing.T) {
			if testing.Short() && where == "in DynamoDB" {
				t.Skip("it takes a deployment; without -short it runs")
			}
			b := open(t)
			body, id := b.payload(2000)
			b.blobs.m["big"] = body
			m := b.message("e1", nil)
			m.Body, m.Blob = "", "big"
			if got, err := b.in.Take(t.Context(), m); err != nil || got != inbox.Accepted {
				t.Fatalf("outcome = %s, %v", got, err)
			}
			h := b.head(id)
			var o retail.Order
			if err := b.store.Body(t.Context(), h.Key, h.Body, &o); err != nil || len(o.Lines) != 2000 {
				t.Errorf("%d lines, %v", len(o.Lines), err)
			}
		})
	}
}

func TestWhatCannotBeTakenInIsParkedWithItsPayload(t *testing.T) {
	b := newBench(t)
	good, id := b.payload(1)
	for _, c := range []struct {
		name, body string
		shell      bool
	}{
		{"not JSON", "{", false},
		{"an empty body", "", false},
		{"a total that does not add up", strings.Replace(string(good), `"total_price":"`, `"total_price":"9`, 1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			started := len(b.started)
			if got := b.take(c.name, []byte(c.body)); got != inbox.Parked {
				t.Fatalf("outcome = %s", got)
			}
			key := inbox.RawKey("order", b.tenant, noon, "shop", c.name)
			if kept := string(b.blobs.m[key]); kept != c.body {
				t.Errorf("kept %q", kept)
			}
			if len(b.started) != started {
				t.Error("its phase was started")
			}
			if !c.shell {
				return
			}
			if h := b.head(id); h.Parked == "" || h.State != retail.Received || !h.Due.IsZero() || h.Defective() {
				t.Errorf("head = %+v", h)
			}
		})
	}
}

func TestACancellationAtTheChannelIsRememberedOnTheOrder(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	b.take("e1", body)
	h := b.head(id)
	later := strings.Replace(string(body), `"cancelled_at":null`, `"cancelled_at":"2026-03-01T13:00:00Z"`, 1)
	later = bump(t, later)
	if got := b.take("e2", []byte(later)); got != inbox.Updated {
		t.Fatalf("outcome = %s", got)
	}
	if now := b.head(id); !now.CancelAsked || now.ID != h.ID || now.Sequence != h.Sequence+1 {
		t.Errorf("head = %+v", now)
	}
	if got := b.take("e3", body); got != inbox.Superseded {
		t.Errorf("the older snapshot: %s", got)
	}
	if now := b.head(id); !now.CancelAsked {
		t.Error("an older snapshot undid the cancellation")
	}
	back := strings.Replace(later, `"updated_at":"2097-`, `"updated_at":"2098-`, 1)
	back = strings.Replace(back, `"cancelled_at":"2026-03-01T13:00:00Z"`, `"cancelled_at":null`, 1)
	if got := b.take("e4", []byte(back)); got != inbox.Updated {
		t.Fatalf("outcome = %s", got)
	}
	if now := b.head(id); now.CancelAsked || now.Sequence != h.Sequence+2 {
		t.Errorf("the channel took it back: %+v", now)
	}
}

func TestAnOrderCanceledBeforeWeSawItIsNeverStarted(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	canceled := strings.Replace(string(body), `"cancelled_at":null`, `"cancelled_at":"2026-03-01T13:00:00Z"`, 1)
	if got := b.take("e1", []byte(canceled)); got != inbox.Accepted {
		t.Fatalf("outcome = %s", got)
	}
	if h := b.head(id); h.State != retail.Canceled || h.Defective() || len(b.started) != 0 {
		t.Errorf("head = %+v, started %v", h, b.started)
	}
}

// bump gives the payload a later updated_at.
func bump(t *testing.T, body string) string {
	t.Helper()
	const field = `"updated_at":"2096-`
	if !strings.Contains(body, field) {
		t.Fatalf("the payload has no %s", field)
	}
	return strings.Replace(body, field, `"updated_at":"2097-`, 1)
}

func TestTwoOrdersOfOneNumberAreBothTakenIn(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	other := strings.ReplaceAll(string(body), id, "77"+id)
	for event, payload := range map[string]string{"e1": string(body), "e2": other} {
		if got := b.take(event, []byte(payload)); got != inbox.Accepted {
			t.Errorf("outcome = %s", got)
		}
	}
	if a, z := b.head(id), b.head("77"+id); a.Number != z.Number || a.ID == z.ID {
		t.Errorf("heads = %+v, %+v", a, z)
	}
}

func TestAReplayThatCannotBeReadTakesInWhatWaits(t *testing.T) {
	b := newBench(t)
	good, id := b.payload(2)
	bad := strings.Replace(string(good), `"total_price":"`, `"total_price":"x`, 1)
	if got := b.take("e1", []byte(bad)); got != inbox.Parked {
		t.Fatal(got)
	}
	held := b.head(id).Parked
	for replay, want := range []string{inbox.Parked, inbox.Accepted} {
		if replay == 1 {
			if got := b.take("e2", good); got != inbox.Waiting {
				t.Fatal(got)
			}
		}
		m := b.message(fmt.Sprint("replay", replay), []byte(bad))
		m.Exception = held
		if got, err := b.in.Take(t.Context(), m); err != nil || got != want {
			t.Fatalf("%s, %v; want %s", got, err, want)
		}
		if h := b.head(id); (h.Parked == held) != (want == inbox.Parked) || len(b.started) != replay {
			t.Errorf("head %+v, started %v", h, b.started)
		}
	}
}

func TestAnotherPayloadOfTheSameVersionIsLookedAt(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	b.take("e1", body)
	same := strings.Replace(string(body), `"cancelled_at":null`, `"cancelled_at":"2026-03-01T13:00:00Z"`, 1)
	if got := b.take("e2", []byte(same)); got != inbox.Updated || !b.head(id).CancelAsked {
		t.Errorf("%s, head %+v", got, b.head(id))
	}
}

func TestWhatPeopleCanceledStaysCanceledWhenTheSamePayloadComesAgain(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	b.take("e1", body)
	h := b.head(id)
	h.CancelAsked = true
	if err := b.in.Life.Commit(t.Context(), document.Change{Head: h}); err != nil {
		t.Fatal(err)
	}
	if got := b.take("e2", body); got != inbox.Repeated || !b.head(id).CancelAsked {
		t.Errorf("%s, head %+v", got, b.head(id))
	}
}

func TestAnOrderIsFoundByItsNumber(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	b.take("e1", body)
	h := b.head(id)
	found, err := b.store.Resolve(t.Context(), document.Ref{Tenant: b.tenant, Connection: "shop", Type: "order_number", External: h.Number})
	if err != nil || len(found) != 1 || h.Number == "" {
		t.Errorf("by %q: %v, %v", h.Number, found, err)
	}
}

// hold parks an order as a phase would, and returns its exception.
func (b *bench) hold(id string, s retail.State) string {
	b.Helper()
	h := b.head(id)
	h.State = s
	c, x, err := b.in.Life.Park(h, fault.New(fault.Exception, fault.Validation, "somebody must look"))
	if err != nil {
		b.Fatal(err)
	}
	if err := b.store.Commit(b.Context(), document.Transaction{Changes: []document.Change{c}, Exceptions: []document.Exception{x}}); err != nil {
		b.Fatal(err)
	}
	return b.head(id).Parked
}

func (b *bench) replay(event, exception string, body []byte) string {
	b.Helper()
	m := b.message(event, body)
	m.Exception = exception
	got, err := b.in.Take(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	return got
}

func TestAReplayReplacesAPayloadUntilStockIsReserved(t *testing.T) {
	for s, want := range map[retail.State]string{retail.Received: inbox.Accepted, retail.Accepted: inbox.Accepted, retail.Sourcing: inbox.Parked} {
		b := newBench(t)
		body, id := b.payload(1)
		b.take("e1", body)
		held := b.hold(id, s)
		if got := b.replay("r1", held, body); got != want || (b.head(id).Parked == "") != (want == inbox.Accepted) {
			t.Errorf("%s: %s, head %+v", s, got, b.head(id))
		}
	}
}

func TestAReplayOfAnotherOrdersPayloadIsRefused(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	b.take("e1", body)
	held := b.hold(id, retail.Received)
	if got := b.replay("r1", held, []byte(strings.ReplaceAll(string(body), id, "77"+id))); got != inbox.Parked || b.head(id).Parked == "" || b.head(id).Body != 1 {
		t.Errorf("%s, head %+v", got, b.head(id))
	}
}

func TestOfWhatWaitsTheFirstThatHoldsIsTakenIn(t *testing.T) {
	b := newBench(t)
	good, id := b.payload(2)
	bad := strings.Replace(string(good), `"total_price":"`, `"total_price":"9`, 1)
	if got := b.take("e1", []byte(bad)); got != inbox.Parked {
		t.Fatal(got)
	}
	if h := b.head(id); h.Body != 1 {
		t.Errorf("the lines of a readable order are not kept: %+v", h)
	}
	held := b.head(id).Parked
	for event, body := range map[string]string{"e2": bump(t, bad), "e3": strings.Replace(bump(t, string(good)), `"updated_at":"2097-`, `"updated_at":"2098-`, 1)} {
		if got := b.take(event, []byte(body)); got != inbox.Waiting {
			t.Fatal(got)
		}
	}
	if got := b.replay("r1", held, []byte(bad)); got != inbox.Accepted {
		t.Fatal(got)
	}
	if h := b.head(id); h.Parked != "" || !strings.HasPrefix(h.SourceVersion, "2098-") {
		t.Errorf("head %+v", h)
	}
}

func TestAnOrderWhoseLinesCannotBeReadHasNoBody(t *testing.T) {
	b := newBench(t)
	body, id := b.payload(1)
	if got := b.take("e1", []byte(strings.Replace(string(body), `"total_price":"`, `"total_price":"x`, 1))); got != inbox.Parked {
		t.Fatal(got)
	}
	if h := b.head(id); h.Body != 0 || h.Parked == "" {
		t.Errorf("head %+v", h)
	}
}
