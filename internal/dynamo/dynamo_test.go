package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// now is far ahead, so that the emulator does not expire what the tests store.
var now = time.Date(2096, 3, 1, 12, 0, 0, 123456789, time.UTC)

// store deploys the template's own tables into an account of its own.
func store(t *testing.T) *dynamo.Store {
	t.Helper()
	cfg := localtest.Config(t)
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artifacts-" + localtest.Account(), Template: "../../infra/data.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "data", TemplateURL: url, Parameters: map[string]string{"Partner": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	return dynamo.New(cfg, dynamo.Tables{
		Documents: out["DocumentsTable"], Inventory: out["InventoryTable"], Inbox: out["InboxTable"],
		Exceptions: out["ExceptionsTable"], Person: out["PersonTable"],
	})
}

func tenant(t *testing.T, id string) retail.Tenant {
	t.Helper()
	tn, err := retail.ParseTenant(id)
	if err != nil {
		t.Fatal(err)
	}
	return tn
}

func newHead(tn retail.Tenant, id string) document.Head {
	return document.Head{
		Key: document.Key{Tenant: tn, Type: document.Order, ID: id}, Schema: 1, State: retail.Received, Sequence: 1,
		Run: 1, Due: now.Add(time.Minute), Body: 1, Connection: "shop", ExternalID: "9007199254740993", Number: "#1001",
		SourceVersion: "v1", Total: retail.Money{Amount: 1250, Currency: "USD"}, Correlation: "c", CreatedAt: now, UpdatedAt: now,
	}
}

func TestACommittedDocumentReadsBackWhole(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	h := newHead(tn, "o1")
	ref := document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: h.ExternalID}
	step := document.Step{Seq: 1, At: now, Type: "retail.order.received.v1", Run: 1, Data: map[string]string{"k": "v"}}
	person := retail.Person{Name: "Ann Example", Email: "ann@example.com"}
	body := map[string]string{"hello": "world"}
	if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{
		{Head: h, Steps: []document.Step{step}, Body: body, Refs: []document.Ref{ref}, Person: &person},
	}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Head(t.Context(), h.Key)
	if err != nil {
		t.Fatal(err)
	}
	want := h
	want.Version = 1
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b retail.Tenant) bool { return a == b })); d != "" {
		t.Errorf("head (-want +got):\n%s", d)
	}
	var b map[string]string
	if err := s.Body(t.Context(), h.Key, 1, &b); err != nil || b["hello"] != "world" {
		t.Errorf("body = %v, %v", b, err)
	}
	if steps, err := s.Steps(t.Context(), h.Key); err != nil || len(steps) != 1 || !cmp.Equal(steps[0], step) {
		t.Errorf("steps = %v, %v", steps, err)
	}
	if p, err := s.Person(t.Context(), h.Key); err != nil || p != person {
		t.Errorf("person = %v, %v", p, err)
	}
	unknown := document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: "nobody"}
	found, err := s.Resolve(t.Context(), ref, unknown)
	if err != nil || len(found) != 1 || found[ref] != h.Key {
		t.Errorf("resolved = %v, %v", found, err)
	}
}

func TestADocumentOfAnotherTenantIsNotFound(t *testing.T) {
	s := store(t)
	if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: newHead(tenant(t, "acme"), "o1")}}}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Head(t.Context(), document.Key{Tenant: tenant(t, "acme2"), Type: document.Order, ID: "o1"})
	if !errors.Is(err, document.ErrNotFound) {
		t.Errorf("err = %v, want ErrNotFound", err)
	}
}

func TestOnlyOneOfTwoCommitsOnOneVersionWins(t *testing.T) {
	s, h := store(t), newHead(tenant(t, "acme"), "o1")
	create := document.Transaction{Changes: []document.Change{{Head: h}}}
	if err := s.Commit(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), create); !errors.Is(err, document.ErrConflict) {
		t.Errorf("creating twice: %v", err)
	}
	h.Version = 1
	update := document.Transaction{Changes: []document.Change{{Head: h}}}
	if err := s.Commit(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), update); !errors.Is(err, document.ErrConflict) {
		t.Errorf("updating a passed version: %v", err)
	}
}

func TestAnExternalIDBelongsToOneDocumentAndALostClaimWritesNothing(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	ref := document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: "42"}
	first, second := newHead(tn, "o1"), newHead(tn, "o2")
	if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: first, Refs: []document.Ref{ref}}}}); err != nil {
		t.Fatal(err)
	}
	err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: second, Refs: []document.Ref{ref}}}})
	if !errors.Is(err, document.ErrRefTaken) {
		t.Errorf("err = %v, want ErrRefTaken", err)
	}
	if _, err := s.Head(t.Context(), second.Key); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("the second document exists: %v", err)
	}
	first.Version = 1
	if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: first, Refs: []document.Ref{ref}}}}); err != nil {
		t.Errorf("claiming one's own id again: %v", err)
	}
}

func TestABodyOfThousandsOfLinesSpansItems(t *testing.T) {
	s, h := store(t), newHead(tenant(t, "acme"), "o1")
	type line struct{ SKU, Noise string }
	body := make([]line, 5000)
	for i := range body {
		// Hardly compressible: each line has its own digits.
		body[i] = line{fmt.Sprintf("SKU-%d", i), strings.Repeat(fmt.Sprintf("%x", (i+7)*2654435761), 20) + fmt.Sprint(i*i*7919)}
	}
	raw := make([]string, 0, len(body))
	for i := range 60000 {
		raw = append(raw, fmt.Sprintf("%x", uint64(i)*0x9E3779B97F4A7C15))
	}
	in := map[string]any{"lines": body, "raw": raw}
	if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: h, Body: in}}}); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Lines []line   `json:"lines"`
		Raw   []string `json:"raw"`
	}
	if err := s.Body(t.Context(), h.Key, 1, &out); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(out.Lines, body) || !cmp.Equal(out.Raw, raw) {
		t.Error("the body changed on its way")
	}
}

func TestTheDueIndexListsWhatIsDueAndNothingElse(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	late, early := newHead(tn, "o1"), newHead(tn, "o2")
	late.Due, early.Due = now.Add(time.Hour), now.Add(-time.Hour)
	none := newHead(tn, "o3")
	none.Due = time.Time{}
	for _, h := range []document.Head{late, early, none} {
		if err := s.Commit(t.Context(), document.Transaction{Changes: []document.Change{{Head: h}}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []document.DueItem
	for shard := range document.Shards {
		items, err := s.Due(t.Context(), shard, now, 10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, items...)
	}
	if len(got) != 1 || got[0].Key != early.Key || !got[0].Due.Equal(early.Due) {
		t.Errorf("due = %v", got)
	}
}

func TestAnEventIsLeasedOnceFinishedOnceAndTakenOverByTime(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	begin := func(holder string, at time.Time) inbox.Lease {
		l, err := s.Begin(t.Context(), tn, "shop", "e1", holder, at, at.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := begin("a", now); l != inbox.Mine {
		t.Fatalf("first = %v", l)
	}
	if l := begin("b", now.Add(time.Second)); l != inbox.Busy {
		t.Errorf("while leased = %v", l)
	}
	if err := s.Abandon(t.Context(), tn, "shop", "e1", "b"); err != nil {
		t.Fatal(err)
	}
	if l := begin("b", now.Add(time.Second)); l != inbox.Busy {
		t.Errorf("after a stranger's abandoning = %v", l)
	}
	if err := s.Abandon(t.Context(), tn, "shop", "e1", "a"); err != nil {
		t.Fatal(err)
	}
	if l := begin("a", now.Add(time.Second)); l != inbox.Mine {
		t.Errorf("after the holder's abandoning = %v", l)
	}
	if l := begin("b", now.Add(2*time.Minute)); l != inbox.Mine {
		t.Errorf("after the lease's end = %v", l)
	}
	if err := s.Finish(t.Context(), tn, "shop", "e1", "a", "late", now); !errors.Is(err, document.ErrLease) {
		t.Errorf("finishing by a former holder: %v", err)
	}
	if err := s.Finish(t.Context(), tn, "shop", "e1", "b", "accepted", now); err != nil {
		t.Fatal(err)
	}
	if l := begin("c", now.Add(time.Hour)); l != inbox.Done {
		t.Errorf("after the end = %v", l)
	}
}

func TestAWriteSentAgainAfterItsAnswerWasLostIsStillTheWritersOwn(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	r := effect.Record{Subject: effect.Subject{Tenant: tn, Type: document.Order, ID: "o1"}, Key: "sales_order", Holder: "a",
		Status: effect.Sending, LeaseUntil: now, SentAt: now, Version: 1}
	for range 2 {
		if l, err := s.Begin(t.Context(), tn, "shop", "e1", "a", now, now.Add(time.Minute)); err != nil || l != inbox.Mine {
			t.Errorf("lease = %v, %v", l, err)
		}
		if there, err := s.Create(t.Context(), r); err != nil || there != nil {
			t.Errorf("existing = %v, %v", there, err)
		}
	}
	for range 2 {
		if err := s.Update(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	r.Holder = "b"
	if err := s.Update(t.Context(), r); !errors.Is(err, effect.ErrLost) {
		t.Errorf("another's update = %v", err)
	}
}

func TestTheAcceptingTransactionFailsWithItsInboxLease(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	h := newHead(tn, "o1")
	err := s.Commit(t.Context(), document.Transaction{
		Changes: []document.Change{{Head: h}},
		Inbox:   &document.InboxDone{Tenant: tn, Connection: "shop", Event: "e1", Holder: "nobody", At: now},
	})
	if !errors.Is(err, document.ErrLease) {
		t.Errorf("err = %v, want ErrLease", err)
	}
	if _, err := s.Head(t.Context(), h.Key); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("the document was accepted without the lease: %v", err)
	}
}

func TestAnEffectIsSentOnceByManyRuns(t *testing.T) {
	s := store(t)
	var mu sync.Mutex
	sent := 0
	var ids int
	l := effect.Ledger{Store: s, Now: func() time.Time { return now }, NewID: func() string {
		mu.Lock()
		defer mu.Unlock()
		ids++
		return fmt.Sprint("h", ids)
	}}
	e := effect.Effect{
		Subject: effect.Subject{Tenant: tenant(t, "acme"), Type: document.Order, ID: "o1"}, Key: "sales_order", Payload: "p",
		Send: func(context.Context, effect.Permit) (effect.Receipt, error) {
			mu.Lock()
			defer mu.Unlock()
			sent++
			return effect.Receipt{Ref: "77", Number: "S7", Data: map[string]string{"a": "b"}}, nil
		},
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := l.Do(context.Background(), e); err != nil && fault.KindOf(err) != fault.Retryable {
				t.Errorf("doing: %v", err)
			}
		})
	}
	wg.Wait()
	r, err := l.Do(t.Context(), e)
	if err != nil || r.Ref != "77" || r.Number != "S7" || r.Data["a"] != "b" {
		t.Errorf("receipt = %+v, %v", r, err)
	}
	if sent != 1 {
		t.Errorf("sent %d times", sent)
	}
}

func open(t *testing.T, s *dynamo.Store, tn retail.Tenant, sku string, n int64) {
	t.Helper()
	if err := s.Apply(t.Context(), tn, []stock.Move{{SKU: sku, Location: "MAIN", Type: "opening", Connection: "erp",
		Document: "opening", Line: sku, OnHand: n, OccurredAt: now, RecordedAt: now}}); err != nil {
		t.Fatal(err)
	}
}

func position(t *testing.T, s *dynamo.Store, tn retail.Tenant, sku string) stock.Position {
	t.Helper()
	p, err := s.Positions(t.Context(), tn, "MAIN", []string{sku})
	if err != nil {
		t.Fatal(err)
	}
	return p[sku]
}

func TestTheLastUnitIsReservedByExactlyOneOfManyBuyers(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	open(t, s, tn, "A", 1)
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for {
				err := s.Reserve(context.Background(), tn, fmt.Sprint("o", i), []stock.Item{{SKU: "A", Location: "MAIN", Line: "1", Quantity: 1}}, now)
				var short *stock.Short
				switch {
				case err == nil:
					mu.Lock()
					won++
					mu.Unlock()
					return
				case errors.As(err, &short):
					return
				case fault.KindOf(err) != fault.Retryable:
					t.Errorf("buyer %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if p := position(t, s, tn, "A"); won != 1 || p.Reserved != 1 || p.Unreserved != 0 || p.OnHand != 1 {
		t.Errorf("%d buyers won; position %+v", won, p)
	}
}

func TestReservingAgainTakesNothingTwiceAndASaleMovesOnce(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	open(t, s, tn, "A", 10)
	open(t, s, tn, "A", 10)
	open(t, s, tn, "B", 5)
	a, b := stock.Item{SKU: "A", Location: "MAIN", Line: "1", Quantity: 3}, stock.Item{SKU: "B", Location: "MAIN", Line: "2", Quantity: 2}
	for _, items := range [][]stock.Item{{a}, {a, b}, {a, b}} {
		if err := s.Reserve(t.Context(), tn, "o1", items, now); err != nil {
			t.Fatal(err)
		}
	}
	if p := position(t, s, tn, "A"); p.Reserved != 3 || p.Unreserved != 7 {
		t.Errorf("A after reserving: %+v", p)
	}
	if p := position(t, s, tn, "B"); p.Reserved != 2 || p.Unreserved != 3 {
		t.Errorf("B after reserving: %+v", p)
	}
	sale := stock.Move{SKU: "A", Location: "MAIN", Type: "sale", Connection: "wms", Document: "s1", Line: "1", OnHand: -3, Reserved: -3, Hold: "o1", OccurredAt: now, RecordedAt: now}
	for range 2 {
		if err := s.Apply(t.Context(), tn, []stock.Move{sale}); err != nil {
			t.Fatal(err)
		}
	}
	if p := position(t, s, tn, "A"); p.OnHand != 7 || p.Reserved != 0 || p.Unreserved != 7 {
		t.Errorf("A after the sale: %+v", p)
	}
	for range 2 {
		if err := s.Release(t.Context(), tn, "o1", []stock.Item{b}, now); err != nil {
			t.Fatal(err)
		}
	}
	if p := position(t, s, tn, "B"); p.Reserved != 0 || p.Unreserved != 5 {
		t.Errorf("B after the release: %+v", p)
	}
}

func TestAShortageTakesNothingAndNamesTheSKU(t *testing.T) {
	s, tn := store(t), tenant(t, "acme")
	open(t, s, tn, "A", 10)
	open(t, s, tn, "B", 1)
	items := func(sku string) []stock.Item {
		return []stock.Item{{SKU: "A", Location: "MAIN", Line: "1", Quantity: 1}, {SKU: sku, Location: "MAIN", Line: "2", Quantity: 2}}
	}
	var short *stock.Short
	if err := s.Reserve(t.Context(), tn, "o1", items("B"), now); !errors.As(err, &short) || short.SKU != "B" {
		t.Errorf("short: %v", err)
	}
	var unknown *stock.Unknown
	if err := s.Reserve(t.Context(), tn, "o1", items("C"), now); !errors.As(err, &unknown) || unknown.SKU != "C" {
		t.Errorf("unknown: %v", err)
	}
	if p := position(t, s, tn, "A"); p.Reserved != 0 {
		t.Errorf("A was taken: %+v", p)
	}
}
