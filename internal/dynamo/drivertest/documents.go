package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

var documentTests = []test{
	{"ACommittedDocumentReadsBackWhole", committedWhole},
	{"WhatWasNeverCommittedIsNotFound", neverCommitted},
	{"WhatIsKeptIsNobodysMemory", nobodysMemory},
	{"NothingOfATenantIsFoundByAnotherWhoseNameBeginsTheSame", isolation},
	{"OnlyOneOfTwoCommitsOnOneVersionWins", oneVersion},
	{"OnlyOneOfManyCommitsAtOnceWins", oneOfMany},
	{"OnlyOneOfManyRunsTakesADocumentOver", oneRun},
	{"AnExternalIDBelongsToOneDocument", externalID},
	{"AnEntryAndABodyAreWrittenOnce", writtenOnce},
	{"ATransactionThatFailsWritesNothing", allOrNothing},
	{"TheAcceptingTransactionEndsItsEventUnderItsOwnLeaseOnly", accepting},
	{"ATransactionHasAHundredItemsAndNoMore", hundredItems},
	{"ABodyOfThousandsOfLinesReadsBackWhole", largeBody},
	{"ABodyStaysReadableAfterTheNext", bodyVersions},
	{"ATimelineIsReadToItsEnd", longTimeline},
	{"ExternalIDsAreResolvedBeyondOneBatch", manyRefs},
	{"OpenExceptionsAreListedToTheirEndOldestFirst", exceptions},
	{"AnExceptionIsChangedByOneAtATime", exceptionVersions},
	{"WhatWaitsBehindADocumentIsListedInOrderUntilItIsDrained", pending},
	{"WhatPeopleDidIsKept", audited},
	{"TheStreamCarriesEachEntryOfADocumentOnceInOrder", streamOrder},
	{"AVendorsIDMayBeOfAnyLength", longIDs},
}

func newHead(tn retail.Tenant, id string) document.Head {
	return document.Head{
		Key: document.Key{Tenant: tn, Type: document.Order, ID: id}, Schema: 1, State: retail.Received, Sequence: 1,
		Run: 1, Due: Now.Add(time.Minute), Body: 1, Connection: "shop", ExternalID: "9007199254740993", Number: "#1001",
		SourceVersion: "v1", Total: retail.Money{Amount: 1250, Currency: "USD"}, Correlation: "c", CreatedAt: Now, UpdatedAt: Now,
	}
}

func commit(ctx context.Context, d Driver, changes ...document.Change) error {
	return d.Store.Commit(ctx, document.Transaction{Changes: changes})
}

// timeline is a document's as it is now; what is not there has none.
func timeline(ctx context.Context, d Driver, k document.Key) ([]document.Step, error) {
	h, err := d.Store.Head(ctx, k)
	if errors.Is(err, document.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d.Store.Steps(ctx, h)
}

func orderRef(tn retail.Tenant, external string) document.Ref {
	return document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: external}
}

// same compares values that hold tenants.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b retail.Tenant) bool { return a == b }), cmpopts.IgnoreFields(document.Head{}, "Tail")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func committedWhole(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	h := newHead(tn, "o1")
	h.Attempt, h.Parked, h.CancelAsked, h.SourceHash, h.Parent, h.ConfigVersion, h.Raw, h.CheckedAt = 3, "x1", true, "hash", "p1", 7, "raw/1", Now.Add(time.Second)
	ref := orderRef(tn, h.ExternalID)
	step := document.Step{Seq: 1, At: Now, Type: "retail.order.received.v1", Run: 1, Correlation: "c", Data: map[string]string{"k": "v"}}
	person := retail.Person{Name: "Ann Example", Email: "ann@example.com"}
	must(t, commit(t.Context(), d, document.Change{Head: h, Steps: []document.Step{step}, Body: map[string]string{"hello": "world"},
		Refs: []document.Ref{ref}, Person: &person}))
	got, err := d.Store.Head(t.Context(), h.Key)
	must(t, err)
	want := h
	want.Version = 1
	same(t, "head", want, got)
	var b map[string]string
	if err := d.Store.Body(t.Context(), h.Key, 1, &b); err != nil || b["hello"] != "world" {
		t.Errorf("body = %v, %v", b, err)
	}
	steps, err := timeline(t.Context(), d, h.Key)
	must(t, err)
	same(t, "steps", []document.Step{step}, steps)
	if p, err := d.Store.Person(t.Context(), h.Key); err != nil || p != person {
		t.Errorf("person = %v, %v", p, err)
	}
	found, err := d.Store.Resolve(t.Context(), ref, orderRef(tn, "nobody"))
	must(t, err)
	same(t, "resolved", map[document.Ref]document.Key{ref: h.Key}, found)
}

func neverCommitted(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	missing := func(when string) {
		t.Helper()
		var out any
		if err := d.Store.Body(t.Context(), h.Key, 1, &out); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("body %s: %v", when, err)
		}
		if _, err := d.Store.Person(t.Context(), h.Key); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("person %s: %v", when, err)
		}
		if steps, err := timeline(t.Context(), d, h.Key); err != nil || len(steps) != 0 {
			t.Errorf("steps %s: %v, %v", when, steps, err)
		}
	}
	if _, err := d.Store.Head(t.Context(), h.Key); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("head: %v", err)
	}
	missing("of nothing")
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	missing("of a bare head")
	if found, err := d.Store.Resolve(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("resolving nothing: %v, %v", found, err)
	}
}

func nobodysMemory(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	body, data := map[string]string{"k": "v"}, map[string]string{"k": "v"}
	must(t, commit(t.Context(), d, document.Change{Head: h, Body: body, Steps: []document.Step{{Seq: 1, At: Now, Type: "x", Data: data}}}))
	body["k"], data["k"] = "changed", "changed"
	for range 2 {
		var b map[string]string
		must(t, d.Store.Body(t.Context(), h.Key, 1, &b))
		steps, err := timeline(t.Context(), d, h.Key)
		must(t, err)
		if b["k"] != "v" || steps[0].Data["k"] != "v" {
			t.Errorf("body %v, entry %v", b, steps[0].Data)
		}
		steps[0].Data["k"] = "changed"
		if d.Stream != nil {
			entries := d.Stream(t)
			if entries[0].Step.Data["k"] != "v" {
				t.Errorf("stream %v", entries[0].Step.Data)
			}
			entries[0].Step.Data["k"] = "changed"
		}
	}
	r := effect.Record{Subject: effect.Subject{Tenant: h.Tenant, Type: document.Order, ID: "o1"}, Key: "e", Holder: "a", Version: 1,
		Receipt: effect.Receipt{Data: map[string]string{"k": "v"}}, Status: effect.Sending, LeaseUntil: Now, SentAt: Now}
	_, err := d.Store.Create(t.Context(), r)
	must(t, err)
	r.Receipt.Data["k"] = "changed"
	for range 2 {
		got, err := d.Store.Effect(t.Context(), r.Subject, "e")
		must(t, err)
		if got.Receipt.Data["k"] != "v" {
			t.Errorf("receipt %v", got.Receipt.Data)
		}
		got.Receipt.Data["k"] = "changed"
	}
}

// isolation writes everything for one retailer and looks for it as another.
func isolation(t *testing.T, d Driver) {
	ctx, tn, other := t.Context(), tenant(t, "acme"), tenant(t, "acme2")
	h := newHead(tn, "o1")
	h.Due = Now.Add(-time.Minute)
	must(t, d.Store.Commit(ctx, document.Transaction{
		Changes: []document.Change{{Head: h, Body: "b", Steps: []document.Step{{Seq: 1, At: Now, Type: "x"}},
			Refs: []document.Ref{orderRef(tn, "42")}, Person: &retail.Person{Name: "Ann Example"}}},
		Exceptions: []document.Exception{{Tenant: tn, ID: "x1", State: "open"}},
	}))
	k := h.Key
	k.Tenant = other
	var out any
	if _, err := d.Store.Head(ctx, k); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("head: %v", err)
	}
	if err := d.Store.Body(ctx, k, 1, &out); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("body: %v", err)
	}
	if _, err := d.Store.Person(ctx, k); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("person: %v", err)
	}
	if steps, err := d.Store.Steps(ctx, document.Head{Key: k, Version: 1}); err != nil || len(steps) > 0 {
		t.Errorf("steps: %v, %v", steps, err)
	}
	if found, err := d.Store.Resolve(ctx, orderRef(other, "42")); err != nil || len(found) > 0 {
		t.Errorf("resolved: %v, %v", found, err)
	}
	if xs, err := d.Store.OpenExceptions(ctx, other); err != nil || len(xs) > 0 {
		t.Errorf("exceptions: %v, %v", xs, err)
	}

	r := effect.Record{Subject: effect.Subject{Tenant: tn, Type: document.Order, ID: "o1"}, Key: "e", Holder: "a", Version: 1, LeaseUntil: Now, SentAt: Now}
	_, err := d.Store.Create(ctx, r)
	must(t, err)
	r.Subject.Tenant = other
	if there, err := d.Store.Effect(ctx, r.Subject, "e"); err != nil || there != nil {
		t.Errorf("effect: %v, %v", there, err)
	}
	for _, holder := range []retail.Tenant{tn, other} {
		if l, err := d.Store.Begin(ctx, holder, "shop", "e1", holder.String(), Now, Now.Add(time.Minute)); err != nil || l != inbox.Mine {
			t.Errorf("lease of %s: %v, %v", holder, l, err)
		}
	}
	receive(t, d, tn, "A", 5)
	if p, err := d.Store.Positions(ctx, other, "MAIN", []string{"A"}); err != nil || len(p) > 0 {
		t.Errorf("positions: %v, %v", p, err)
	}
	if err := d.Store.Reserve(ctx, other, "o1", []stock.Item{{SKU: "A", Location: "MAIN", Line: "1", Quantity: 1}}, Now); !errors.Is(err, stock.ErrUnknownSKU) {
		t.Errorf("reserving: %v", err)
	}
	must(t, d.Store.PutRetailer(ctx, tenancy.Retailer{Tenant: tn, Version: 1}, tenancy.Secrets{Credentials: map[string][]byte{"shop": []byte("sealed")},
		Hooks: []tenancy.Hook{{Tenant: tn, Token: "token", Connection: "shop"}}}))
	must(t, d.Store.SetWatermark(ctx, tn, "shop", Now))
	if _, err := d.Store.Retailer(ctx, other); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("retailer: %v", err)
	}
	if _, err := d.Store.Credential(ctx, other, "shop"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("credential: %v", err)
	}
	if _, err := d.Store.Hook(ctx, other, "token"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("hook: %v", err)
	}
	if at, err := d.Store.Watermark(ctx, other, "shop"); err != nil || !at.IsZero() {
		t.Errorf("watermark: %v, %v", at, err)
	}
	// The other's document of the same id is its own.
	theirs := newHead(other, "o1")
	must(t, commit(ctx, d, document.Change{Head: theirs, Refs: []document.Ref{orderRef(other, "42")}}))
}

func oneVersion(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	if err := commit(t.Context(), d, document.Change{Head: h}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("creating twice: %v", err)
	}
	h.Version = 1
	h.Number = "second"
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	h.Number = "third"
	for _, version := range []int64{1, 3} {
		h.Version = version
		if err := commit(t.Context(), d, document.Change{Head: h}); !errors.Is(err, document.ErrConflict) {
			t.Errorf("updating version %d of 2: %v", version, err)
		}
	}
	if got, err := d.Store.Head(t.Context(), h.Key); err != nil || got.Number != "second" || got.Version != 2 {
		t.Errorf("head = %+v, %v", got, err)
	}
	unknown := newHead(h.Tenant, "o2")
	unknown.Version = 1
	if err := commit(t.Context(), d, document.Change{Head: unknown}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("updating what is not there: %v", err)
	}
}

func oneOfMany(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	h.Version = 1
	won := count(t, 10, func(n int) (bool, error) {
		h := h
		h.Number = fmt.Sprint(n)
		err := commit(context.Background(), d, document.Change{Head: h})
		if errors.Is(err, document.ErrConflict) {
			return false, nil
		}
		return err == nil, err
	})
	got, err := d.Store.Head(t.Context(), h.Key)
	must(t, err)
	if won != 1 || got.Version != 2 {
		t.Errorf("%d won; version %d", won, got.Version)
	}
}

// count runs do n times at once and counts those that won.
func count(t *testing.T, n int, do func(n int) (bool, error)) (won int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ok, err := do(i)
			if err != nil {
				t.Errorf("number %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				won++
			}
		})
	}
	wg.Wait()
	return won
}

func life(d Driver, now time.Time) document.Life {
	return document.Life{Store: d.Store, Now: func() time.Time { return now }, NewID: func() string { return "id" },
		Jitter: func(time.Duration) time.Duration { return 0 }}
}

// meeting lets nobody write before all have read.
type meeting struct {
	Store
	all *sync.WaitGroup
}

func (m meeting) Head(ctx context.Context, k document.Key) (document.Head, error) {
	h, err := m.Store.Head(ctx, k)
	m.all.Done()
	m.all.Wait()
	return h, err
}

func oneRun(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	l := life(d, Now)
	old := document.Task{Schema: 1, Tenant: h.Tenant, Type: h.Type, ID: h.ID, Run: 1}
	if _, err := l.Hold(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	all := &sync.WaitGroup{}
	all.Add(10)
	together := l
	together.Store = meeting{d.Store, all}
	won := count(t, 10, func(int) (bool, error) {
		_, ok, err := together.Resume(context.Background(), h.Key, 1)
		return ok, err
	})
	if won != 1 {
		t.Errorf("%d runs took over", won)
	}
	if _, err := l.Hold(t.Context(), old); !errors.Is(err, document.ErrSuperseded) {
		t.Errorf("the old run still holds it: %v", err)
	}
	old.Run = 2
	if got, err := l.Hold(t.Context(), old); err != nil || got.Run != 2 {
		t.Errorf("the new run: %+v, %v", got, err)
	}
}

func externalID(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	ref := orderRef(tn, "42")
	first, second := newHead(tn, "o1"), newHead(tn, "o2")
	must(t, commit(t.Context(), d, document.Change{Head: first, Refs: []document.Ref{ref}}))
	if err := commit(t.Context(), d, document.Change{Head: second, Refs: []document.Ref{ref}}); !errors.Is(err, document.ErrRefTaken) {
		t.Errorf("err = %v, want ErrRefTaken", err)
	}
	first.Version = 1
	if err := commit(t.Context(), d, document.Change{Head: first, Refs: []document.Ref{ref}}); err != nil {
		t.Errorf("claiming one's own id again: %v", err)
	}
	elsewhere := []document.Ref{ref, ref, ref}
	elsewhere[0].Connection, elsewhere[1].Type, elsewhere[2].External = "shop2", "order_number", "421"
	if err := commit(t.Context(), d, document.Change{Head: second, Refs: elsewhere}); err != nil {
		t.Errorf("the same id elsewhere: %v", err)
	}
	found, err := d.Store.Resolve(t.Context(), append(elsewhere, ref)...)
	must(t, err)
	same(t, "resolved", map[document.Ref]document.Key{ref: first.Key, elsewhere[0]: second.Key, elsewhere[1]: second.Key, elsewhere[2]: second.Key}, found)
}

func writtenOnce(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	step := []document.Step{{Seq: 1, At: Now, Type: "x"}}
	must(t, commit(t.Context(), d, document.Change{Head: h, Steps: step, Body: "one"}))
	h.Version = 1
	if err := commit(t.Context(), d, document.Change{Head: h, Steps: step}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("a second entry of one number: %v", err)
	}
	if err := commit(t.Context(), d, document.Change{Head: h, Body: "two"}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("a second body of one version: %v", err)
	}
	var body string
	if err := d.Store.Body(t.Context(), h.Key, 1, &body); err != nil || body != "one" {
		t.Errorf("body %q, %v", body, err)
	}
}

// allOrNothing lets each kind of condition fail as the last of a transaction
// that touches everything, and looks for what it left.
func allOrNothing(t *testing.T, d Driver) {
	ctx, tn := t.Context(), tenant(t, "acme")
	there := newHead(tn, "there")
	must(t, commit(ctx, d, document.Change{Head: there, Refs: []document.Ref{orderRef(tn, "taken")}, Steps: []document.Step{{Seq: 1, At: Now, Type: "x"}}}))
	if l, err := d.Store.Begin(ctx, tn, "shop", "e1", "a", Now, Now.Add(time.Minute)); err != nil || l != inbox.Mine {
		t.Fatal(l, err)
	}
	stale, next := there, there
	next.Version, next.Sequence = 1, 2
	for name, c := range map[string]struct {
		last   document.Change
		holder string
		want   error
	}{
		"version": {document.Change{Head: stale}, "a", document.ErrConflict},
		"entry":   {document.Change{Head: next, Steps: []document.Step{{Seq: 1, At: Now, Type: "x"}}}, "a", document.ErrConflict},
		"ref":     {document.Change{Head: newHead(tn, "o2"), Refs: []document.Ref{orderRef(tn, "taken")}}, "a", document.ErrRefTaken},
		"lease":   {document.Change{Head: next}, "b", document.ErrLease},
	} {
		h := newHead(tn, "o1")
		err := d.Store.Commit(ctx, document.Transaction{
			Changes: []document.Change{{Head: h, Body: "b", Steps: []document.Step{{Seq: 1, At: Now, Type: "x"}},
				Refs: []document.Ref{orderRef(tn, "free")}, Person: &retail.Person{Name: "Ann Example"}}, c.last},
			Exceptions: []document.Exception{{Tenant: tn, ID: "x1", State: "open"}},
			Pending:    []document.Pending{{Key: there.Key, SourceVersion: "v2", EventID: "e1", At: Now}},
			Audit:      []document.Audit{{Tenant: tn, ID: "a1", At: Now}},
			Inbox:      &document.InboxDone{Tenant: tn, Connection: "shop", Event: "e1", Holder: c.holder, At: Now},
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		var out any
		if _, err := d.Store.Head(ctx, h.Key); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s: the head is there: %v", name, err)
		}
		if err := d.Store.Body(ctx, h.Key, 1, &out); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s: the body is there: %v", name, err)
		}
		if _, err := d.Store.Person(ctx, h.Key); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s: the person is there: %v", name, err)
		}
		if steps, err := timeline(ctx, d, h.Key); err != nil || len(steps) > 0 {
			t.Errorf("%s: steps %v, %v", name, steps, err)
		}
		if found, err := d.Store.Resolve(ctx, orderRef(tn, "free")); err != nil || len(found) > 0 {
			t.Errorf("%s: refs %v, %v", name, found, err)
		}
		if xs, err := d.Store.OpenExceptions(ctx, tn); err != nil || len(xs) > 0 {
			t.Errorf("%s: exceptions %v, %v", name, xs, err)
		}
		if ps, err := d.Store.Pending(ctx, there.Key); err != nil || len(ps) > 0 {
			t.Errorf("%s: %v wait, %v", name, ps, err)
		}
		if as, err := d.Store.Audited(ctx, tn, time.Time{}); err != nil || len(as) > 0 {
			t.Errorf("%s: audit %v, %v", name, as, err)
		}
		if l, err := d.Store.Begin(ctx, tn, "shop", "e1", "c", Now, Now.Add(time.Minute)); err != nil || l != inbox.Busy {
			t.Errorf("%s: the event is %v, %v", name, l, err)
		}
	}
	if got, err := d.Store.Head(ctx, there.Key); err != nil || got.Version != 1 {
		t.Errorf("the other document is at version %d, %v", got.Version, err)
	}
	if d.Stream != nil {
		if got := d.Stream(t); len(got) != 1 {
			t.Errorf("the stream carries %v", got)
		}
	}
}

func accepting(t *testing.T, d Driver) {
	ctx, tn := t.Context(), tenant(t, "acme")
	begin := func(event, holder string, at time.Time) inbox.Lease {
		t.Helper()
		l, err := d.Store.Begin(ctx, tn, "shop", event, holder, at, at.Add(time.Minute))
		must(t, err)
		return l
	}
	accept := func(event, holder string) error {
		return d.Store.Commit(ctx, document.Transaction{
			Changes: []document.Change{{Head: newHead(tn, event)}},
			Inbox:   &document.InboxDone{Tenant: tn, Connection: "shop", Event: event, Holder: holder, Outcome: "accepted", At: Now},
		})
	}
	if err := accept("never", "a"); !errors.Is(err, document.ErrLease) {
		t.Errorf("without a lease: %v", err)
	}
	begin("held", "a", Now)
	if err := accept("held", "b"); !errors.Is(err, document.ErrLease) {
		t.Errorf("by another: %v", err)
	}
	must(t, accept("held", "a"))
	if l := begin("held", "c", Now.Add(time.Hour)); l != inbox.Done {
		t.Errorf("accepted, the event is %v", l)
	}
	begin("lost", "a", Now)
	if l := begin("lost", "b", Now.Add(2*time.Minute)); l != inbox.Mine {
		t.Errorf("taking over: %v", l)
	}
	if err := accept("lost", "a"); !errors.Is(err, document.ErrLease) {
		t.Errorf("after the takeover: %v", err)
	}
	must(t, accept("lost", "b"))
	// A lease that ended is still its holder's while nobody took it over.
	begin("expired", "a", Now.Add(-time.Hour))
	must(t, accept("expired", "a"))
}

func hundredItems(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	refs := func(id string, n int) (out []document.Ref) {
		for i := range n {
			out = append(out, orderRef(tn, fmt.Sprint(id, "-", i)))
		}
		return out
	}
	full, over := newHead(tn, "o1"), newHead(tn, "o2")
	must(t, commit(t.Context(), d, document.Change{Head: full, Refs: refs("o1", 99)}))
	// The caller must not wait for it to succeed.
	if err := commit(t.Context(), d, document.Change{Head: over, Refs: refs("o2", 100)}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("101 items: %v", err)
	}
	if _, err := d.Store.Head(t.Context(), over.Key); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("a part of it is there: %v", err)
	}
	if found, err := d.Store.Resolve(t.Context(), append(refs("o1", 99), refs("o2", 100)...)...); err != nil || len(found) != 99 {
		t.Errorf("%d of 99 ids are there, %v", len(found), err)
	}
}

func largeBody(t *testing.T, d Driver) {
	type line struct{ SKU, Noise string }
	type body struct {
		Lines []line
		Raw   []string
	}
	in := map[string]body{"lines": {}, "noise": {}}
	for id, b := range in {
		for i := range 2000 {
			b.Lines = append(b.Lines, line{fmt.Sprintf("SKU-%d", i), strings.Repeat(fmt.Sprintf("%x", (i+7)*2654435761), 20)})
		}
		if id == "noise" { // so that it is over one item's size after compression
			for i := range 60000 {
				b.Raw = append(b.Raw, fmt.Sprintf("%x", uint64(i)*0x9E3779B97F4A7C15))
			}
		}
		h := newHead(tenant(t, "acme"), id)
		must(t, commit(t.Context(), d, document.Change{Head: h, Body: b}))
		var out body
		must(t, d.Store.Body(t.Context(), h.Key, 1, &out))
		if !cmp.Equal(out, b) {
			t.Errorf("%s changed on its way", id)
		}
	}
}

func bodyVersions(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	for v := range int64(3) {
		h.Version, h.Body = v, v+1
		must(t, commit(t.Context(), d, document.Change{Head: h, Body: fmt.Sprint("body ", v+1)}))
	}
	for v := int64(1); v <= 3; v++ {
		var got string
		if err := d.Store.Body(t.Context(), h.Key, v, &got); err != nil || got != fmt.Sprint("body ", v) {
			t.Errorf("version %d is %q, %v", v, got, err)
		}
	}
}

// longTimeline is over the one megabyte that a page carries.
func longTimeline(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	noise := strings.Repeat("x", 20<<10)
	var want []document.Step
	for v := range 4 {
		var steps []document.Step
		for range 30 {
			steps = append(steps, document.Step{Seq: int64(len(want) + len(steps) + 1), At: Now, Type: "x", Data: map[string]string{"noise": noise}})
		}
		want = append(want, steps...)
		h.Version, h.Sequence = int64(v), int64(len(want))
		must(t, commit(t.Context(), d, document.Change{Head: h, Steps: steps}))
	}
	got, err := timeline(t.Context(), d, h.Key)
	must(t, err)
	if !cmp.Equal(want, got) {
		t.Errorf("%d of %d entries, or another order", len(got), len(want))
	}
}

func manyRefs(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	var refs []document.Ref
	for i := range 3 {
		var own []document.Ref
		for n := range 80 {
			own = append(own, orderRef(tn, fmt.Sprint(i, "-", n)))
		}
		must(t, commit(t.Context(), d, document.Change{Head: newHead(tn, fmt.Sprint("o", i)), Refs: own}))
		refs = append(append(refs, own...), orderRef(tn, fmt.Sprint("nobody-", i)))
	}
	found, err := d.Store.Resolve(t.Context(), append(refs, refs[:10]...)...)
	must(t, err)
	if len(found) != 240 {
		t.Errorf("found %d of 240", len(found))
	}
	for r, k := range found {
		if k.ID != "o"+r.External[:1] {
			t.Errorf("%s leads to %s", r.External, k.ID)
		}
	}
}

func exceptions(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	noise := strings.Repeat("x", 20<<10)
	var want []document.Exception
	for i := range 80 {
		want = append(want, document.Exception{Tenant: tn, ID: fmt.Sprintf("%03d", i), Kind: "Exception", State: "open", Reason: noise,
			AtStake: retail.Money{Amount: int64(i), Currency: "USD"}, OpenedAt: Now.Add(time.Duration(i) * time.Second), DueAt: Now.Add(time.Hour)})
	}
	for i := 0; i < len(want); i += 40 {
		must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: want[i : i+40]}))
	}
	for i := range want {
		want[i].Version = 1
	}
	got, err := d.Store.OpenExceptions(t.Context(), tn)
	must(t, err)
	same(t, "open", want, got)
	for limit, cut := range map[int]bool{60: true, 79: true, 80: false, 81: false} { // over a page's end
		got, more, err := d.Store.FirstExceptions(t.Context(), tn, limit)
		must(t, err)
		same(t, fmt.Sprint("the first ", limit), want[:min(limit, 80)], got)
		same(t, fmt.Sprint("more than ", limit), cut, more)
	}
	asked := want[11]
	asked.State = document.Asked
	must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{asked}}))
	resolved := want[10]
	resolved.State = document.Resolved
	must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{resolved}}))
	if got, err = d.Store.OpenExceptions(t.Context(), tn); err != nil || len(got) != len(want)-1 || got[10].ID != "011" {
		t.Errorf("after one was resolved: %d, %v", len(got), err)
	}
}

func exceptionVersions(t *testing.T, d Driver) {
	tn, ctx := tenant(t, "acme"), t.Context()
	x := document.Exception{Tenant: tn, ID: "x1", Kind: "Exception", State: document.Open, Field: "lines[0].sku", OpenedAt: Now, DueAt: Now,
		Notes: []document.Note{{At: Now, By: "ann", Text: "seen"}}, Payloads: []string{"a", "b"}, AtStake: retail.Money{Amount: 5, Currency: "USD"}}
	put := func(x document.Exception) error {
		return d.Store.Commit(ctx, document.Transaction{Exceptions: []document.Exception{x}})
	}
	must(t, put(x))
	if err := put(x); !errors.Is(err, document.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	x.Version = 1
	got, err := d.Store.Exception(ctx, tn, "x1")
	must(t, err)
	same(t, "exception", x, got)
	x.Owner = "bob"
	must(t, put(x))
	x.Owner = "eve"
	if err := put(x); !errors.Is(err, document.ErrConflict) {
		t.Errorf("changed in a version that is gone: %v", err)
	}
	if got, err = d.Store.Exception(ctx, tn, "x1"); err != nil || got.Owner != "bob" || got.Version != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, other := range []document.Exception{{Tenant: tenant(t, "acme2"), ID: "x1"}, {Tenant: tn, ID: "x"}} {
		if _, err := d.Store.Exception(ctx, other.Tenant, other.ID); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s of %s: %v", other.ID, other.Tenant, err)
		}
	}
}

func pending(t *testing.T, d Driver) {
	tn, ctx := tenant(t, "acme"), t.Context()
	h := newHead(tn, "o1")
	h.Waiting = 3
	waits := func(version, event string) document.Pending {
		return document.Pending{Key: h.Key, SourceVersion: version, EventID: event, Raw: "raw/" + event, At: Now}
	}
	b, a, c := waits("2026-01-02", "e1"), waits("2026-01-01", "e2"), waits("2026-01-02", "e3")
	must(t, d.Store.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}, Pending: []document.Pending{b, a, c}}))
	must(t, commit(ctx, d, document.Change{Head: newHead(tn, "o12")}))
	got, err := d.Store.Pending(ctx, h.Key)
	must(t, err)
	same(t, "waiting", []document.Pending{a, b, c}, got)
	h.Version, h.Waiting = 1, 2
	must(t, d.Store.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}, Drained: []document.Pending{a}}))
	if err := d.Store.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}, Drained: []document.Pending{b}}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("drained in a version that is gone: %v", err)
	}
	if got, err = d.Store.Pending(ctx, h.Key); err != nil || len(got) != 2 || got[0] != b {
		t.Errorf("%+v, %v", got, err)
	}
	head, err := d.Store.Head(ctx, h.Key)
	if err != nil || head.Waiting != 2 {
		t.Errorf("%d wait, %v", head.Waiting, err)
	}
	for _, other := range []string{"o12", "o"} {
		if got, err := d.Store.Pending(ctx, document.Key{Tenant: tn, Type: document.Order, ID: other}); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", other, got, err)
		}
	}
}

func audited(t *testing.T, d Driver) {
	tn, ctx := tenant(t, "acme"), t.Context()
	entry := func(id string, at time.Time) document.Audit {
		return document.Audit{Tenant: tn, ID: id, At: at, By: "ann", Verb: "exception.retry", Subject: "x1", Reason: "mapped", Data: map[string]string{"document": "o1"}}
	}
	began := Now.Truncate(time.Second) // whole ones are not written shorter than others
	first, next, second := entry("b", began), entry("c", began.Add(time.Millisecond)), entry("a", began.Add(time.Second))
	must(t, d.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{second}}))
	must(t, d.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{first, next}}))
	got, err := d.Store.Audited(ctx, tn, time.Time{})
	must(t, err)
	same(t, "audit", []document.Audit{first, next, second}, got)
	if got, err = d.Store.Audited(ctx, tn, second.At); err != nil || len(got) != 1 || got[0].ID != "a" {
		t.Errorf("from its time on: %+v, %v", got, err)
	}
	other := entry("b", began)
	other.By = "eve"
	if err := d.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{other}}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("what was done is written over: %v", err)
	}
	if got, err = d.Store.Audited(ctx, tn, time.Time{}); err != nil || got[0].By != "ann" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = d.Store.Audited(ctx, tn, began.Add(2*time.Millisecond)); err != nil || len(got) != 1 || got[0].ID != "a" {
		t.Errorf("from later on: %+v, %v", got, err)
	}
	if got, err = d.Store.Audited(ctx, tenant(t, "acme2"), time.Time{}); err != nil || len(got) > 0 {
		t.Errorf("of another: %+v, %v", got, err)
	}
}

func streamOrder(t *testing.T, d Driver) {
	if d.Stream == nil {
		t.Fatal("the driver has no stream")
	}
	tn := tenant(t, "acme")
	want := map[string][]document.Step{}
	for v := range 10 {
		for _, id := range []string{"o1", "o2", "o3"} {
			h := newHead(tn, id)
			h.Version, h.Number = int64(v), fmt.Sprint(v)
			steps := []document.Step{{Seq: int64(2*v + 1), At: Now, Type: "x", Run: 1, Correlation: "c", Data: map[string]string{"v": fmt.Sprint(v)}},
				{Seq: int64(2*v + 2), At: Now, Type: "y"}}
			must(t, commit(t.Context(), d, document.Change{Head: h, Steps: steps}))
			want[id] = append(want[id], steps...)
		}
	}
	got := map[string][]document.Step{}
	for _, e := range d.Stream(t) {
		if e.Key.Tenant != tn || e.Key.Type != document.Order {
			t.Errorf("an entry of %+v", e.Key)
		}
		got[e.Key.ID] = append(got[e.Key.ID], e.Step)
	}
	same(t, "stream", want, got)
}

// longIDs: what a header or a catalogue holds is not bounded as keys are.
func longIDs(t *testing.T, d Driver) {
	ctx, tn := t.Context(), tenant(t, "acme")
	long := strings.Repeat("x", 5000)
	for _, end := range []string{"1", "2"} {
		id := long + end
		h := newHead(tn, "o"+end)
		if l := begin(t, d, id, "a", Now); l != inbox.Mine {
			t.Errorf("leasing …%s: %v", end, l)
		}
		if l := begin(t, d, id, "b", Now); l != inbox.Busy {
			t.Errorf("leasing …%s again: %v", end, l)
		}
		must(t, d.Store.Commit(ctx, document.Transaction{
			Changes: []document.Change{{Head: h, Refs: []document.Ref{orderRef(tn, id)}}},
			Pending: []document.Pending{{Key: h.Key, SourceVersion: "v2", EventID: id, At: Now}},
			Inbox:   &document.InboxDone{Tenant: tn, Connection: "shop", Event: id, Holder: "a", At: Now},
		}))
		found, err := d.Store.Resolve(ctx, orderRef(tn, id))
		must(t, err)
		same(t, "resolved", map[document.Ref]document.Key{orderRef(tn, id): h.Key}, found)
		receive(t, d, tn, id, 5)
		must(t, d.Store.Reserve(ctx, tn, h.ID, []stock.Item{item(id, id, 2)}, Now))
		stands(t, d, tn, id, 5, 2)
		must(t, d.Store.Release(ctx, tn, h.ID, []stock.Item{item(id, id, 2)}, Now))
		stands(t, d, tn, id, 5, 0)
	}
}
