package proof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	blobs "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	day  = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shop lists orders whose payload is the time of their placing, three a page; an
// order may be listed again.
type shop struct {
	orders []retail.Listed
}

func (s *shop) ListOrders(_ context.Context, since time.Time, cursor string) (page []retail.Listed, next string, err error) {
	at := 0
	if cursor != "" {
		_, _ = fmt.Sscan(cursor, &at)
	}
	for _, l := range s.orders[at:min(at+3, len(s.orders))] {
		if !l.UpdatedAt.Before(since) {
			page = append(page, l)
		}
	}
	if at+3 < len(s.orders) {
		next = fmt.Sprint(at + 3)
	}
	return page, next, nil
}

// DecodeOrder knows when an order was placed that a map refuses.
func (s *shop) DecodeOrder(raw []byte) (o retail.Order, p retail.Person, err error) {
	placed, refused := strings.CutSuffix(string(raw), " refused")
	if o.PlacedAt, err = time.Parse(time.RFC3339, placed); err != nil {
		return o, p, errors.New("unreadable")
	}
	if refused {
		return o, p, errors.New("the map does not have its value")
	}
	return o, p, nil
}

// erp has sales orders by reference.
type erp map[string]retail.Money

func (e erp) SalesOrderTotals(_ context.Context, orders []effect.Receipt) (map[string]retail.Money, error) {
	out := map[string]retail.Money{}
	for _, r := range orders {
		if m, ok := e[r.Ref]; ok {
			out[r.Ref] = m
		}
	}
	return out, nil
}

type bench struct {
	t      *testing.T
	shop   *shop
	erp    any
	store  *memory.Store
	tenant retail.Tenant
	zone   string
	now    time.Time
	jobs   job.Runner
}

func (b *bench) Open(_ context.Context, _ retail.Tenant, connection string) (any, error) {
	if connection == "erp" {
		return b.erp, nil
	}
	return b.shop, nil
}

func (b *bench) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{Channel: "shop", ERP: "erp"}, nil
}

func open(t *testing.T) *bench {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	b := &bench{t: t, shop: &shop{}, erp: erp{}, tenant: tn, now: noon}
	now := func() time.Time { return b.now }
	b.store = memory.New(memory.Options{Now: now, Dice: rand.New(rand.NewPCG(1, 2))})
	objects, ids := &blobs.Bucket{}, 0
	newID := func() string { ids++; return fmt.Sprintf("id%03d", ids) }
	p := proof.Prover{Life: document.Life{Store: b.store, Now: now, NewID: newID}, Effects: b.store, Connections: b, Results: b.store, Objects: objects,
		Zone: func(context.Context, retail.Tenant, string) (string, error) { return b.zone, nil }}
	b.jobs = job.Runner{Store: b.store, Objects: objects, Now: now, NewID: newID, Jitter: func(time.Duration) time.Duration { return 0 },
		Wake: func(context.Context, job.Task) error { return nil }, Kinds: map[string]job.Kind{"proof": p.Kind()}}
	return b
}

// list lets the channel list an order.
func (b *bench) list(id string, placed time.Time) {
	b.shop.orders = append(b.shop.orders, retail.Listed{ExternalID: id, Number: "#" + id, UpdatedAt: placed.Add(time.Minute), Raw: []byte(placed.Format(time.RFC3339))})
}

var ten = retail.Money{Amount: 1000, Currency: "USD"}

// know stores the order's document; one that is expected in the ERP has a
// confirmed effect.
func (b *bench) know(id string, s retail.State, change func(*document.Head)) {
	b.t.Helper()
	h := document.Head{Key: document.Key{Tenant: b.tenant, Type: document.Order, ID: "doc" + id}, State: s, Run: 1, Number: "#" + id, Total: ten, Due: b.now.Add(time.Minute)}
	if retail.Final(document.Order, s) {
		h.Due = time.Time{}
	}
	if change != nil {
		change(&h)
	}
	must(b.t, b.store.Commit(b.t.Context(), document.Transaction{Changes: []document.Change{{Head: h,
		Refs: []document.Ref{{Tenant: b.tenant, Connection: "shop", Type: "order", External: id}}}}}))
}

func (b *bench) sold(id string, status effect.Status) {
	b.t.Helper()
	_, err := b.store.Create(b.t.Context(), effect.Record{Subject: effect.Subject{Tenant: b.tenant, Type: document.Order, ID: "doc" + id},
		Key: order.ConfirmOrderEffect, Status: status, Receipt: effect.Receipt{Ref: "so" + id, Number: "S" + id}, Version: 1})
	must(b.t, err)
}

func (b *bench) prove(date string) (job.Job, proof.Result) {
	b.t.Helper()
	j, err := b.jobs.Start(b.t.Context(), job.Request{Tenant: b.tenant, Kind: "proof", Params: map[string]string{"connection": "shop", "date": date}})
	must(b.t, err)
	_, err = b.jobs.Run(b.t.Context(), j.Task())
	must(b.t, err)
	j, err = b.store.Job(b.t.Context(), b.tenant, j.ID)
	must(b.t, err)
	all, err := b.store.Proofs(b.t.Context(), b.tenant, "shop", 1)
	must(b.t, err)
	if len(all) == 0 {
		return j, proof.Result{}
	}
	return j, all[0]
}

func TestEveryOrderOfADayIsExplainedOrNamed(t *testing.T) {
	b := open(t)
	at := day.Add(9 * time.Hour)
	totals := erp{}
	for i := range 40 { // closed, in several parts of pages, each listed twice
		id := fmt.Sprint(100 + i)
		b.list(id, at)
		b.list(id, at)
		b.know(id, retail.Closed, nil)
		b.sold(id, effect.Confirmed)
		totals["so"+id] = ten
	}
	x := document.Exception{Tenant: b.tenant, ID: "x1", State: document.Open}
	done := document.Exception{Tenant: b.tenant, ID: "x2", State: document.Resolved}
	must(t, b.store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x, done}}))
	holes := map[string]string{}
	for id, c := range map[string]struct {
		know func(id string)
		hole string
	}{
		"canceled": {func(id string) { b.know(id, retail.Canceled, nil) }, ""},
		"waits":    {func(id string) { b.know(id, retail.Sourcing, nil) }, ""},
		"parked": {func(id string) {
			b.know(id, retail.Sourcing, func(h *document.Head) { h.Parked, h.Due = "x1", time.Time{} })
		}, ""},
		"unknown":   {func(string) {}, "no document"},
		"forgotten": {func(id string) { b.know(id, retail.Sourcing, func(h *document.Head) { h.Due = time.Time{} }) }, "nothing will ever look"},
		"overdue": {func(id string) {
			b.know(id, retail.Sourcing, func(h *document.Head) { h.Due = b.now.Add(-2 * time.Hour) })
		}, "overdue for 2h"},
		"due an hour ago": {func(id string) {
			b.know(id, retail.Sourcing, func(h *document.Head) { h.Due = b.now.Add(-time.Hour) })
		}, ""},
		"unparked": {func(id string) {
			b.know(id, retail.Sourcing, func(h *document.Head) { h.Parked, h.Due = "x2", time.Time{} })
		}, "which is not open"},
		"unheld": {func(id string) {
			b.know(id, retail.Sourcing, func(h *document.Head) { h.Parked, h.Due = "x3", time.Time{} })
		}, "which is not open"},
		"other currency": {func(id string) {
			b.know(id, retail.Closed, nil)
			b.sold(id, effect.Confirmed)
			totals["so"+id] = retail.Money{Amount: 1000, Currency: "EUR"}
		}, "is over 10.00 EUR, not 10.00 USD"},
		"unsold":     {func(id string) { b.know(id, retail.Released, nil) }, "never confirmed"},
		"unsure":     {func(id string) { b.know(id, retail.Released, nil); b.sold(id, effect.Unknown) }, "never confirmed"},
		"not in ERP": {func(id string) { b.know(id, retail.Closed, nil); b.sold(id, effect.Confirmed) }, "is not in the ERP"},
		"other total": {func(id string) {
			b.know(id, retail.Closed, nil)
			b.sold(id, effect.Confirmed)
			totals["so"+id] = retail.Money{Amount: 999, Currency: "USD"}
		}, "is over 9.99 USD, not 10.00 USD"},
	} {
		b.list(id, at)
		if c.know(id); c.hole != "" {
			holes[id] = c.hole
		}
	}
	b.erp = totals
	b.list("day before", day.Add(-time.Second))
	b.list("day after", day.Add(24*time.Hour))
	j, r := b.prove("2026-03-01")
	if j.State != job.Partial || j.Counts.Rejected != int64(len(holes)) || !strings.Contains(j.Summary, "44 of 54 accounted for on 2026-03-01 (UTC)") {
		t.Errorf("%+v", j)
	}
	if r.Listed != 54 || r.Known != 53 || r.Accounted != 44 || r.Open != 10 || r.InERP != 42 || r.ReadBack != 42 || r.States["closed"] != 40 || r.States["parked"] != 1 || r.States["on_its_way"] != 2 || r.States["canceled"] != 1 {
		t.Errorf("%+v", r)
	}
	for _, h := range r.Holes {
		if want, ok := holes[h.External]; !ok || !strings.Contains(h.Reason, want) {
			t.Errorf("%s is a hole: %s", h.External, h.Reason)
		}
		delete(holes, h.External)
	}
	if len(holes) > 0 {
		t.Errorf("not found: %v", holes)
	}
	rows, err := b.jobs.Rejected(t.Context(), j, 100)
	if err != nil || len(rows) != 10 {
		t.Errorf("rejected %v, %v", rows, err)
	}
}

func TestHolesOfADayThatIsOverAreOneExceptionUntilTheyClose(t *testing.T) {
	b := open(t)
	b.list("1", day.Add(time.Hour))
	opened := func() int {
		t.Helper()
		xs, err := b.store.OpenExceptions(t.Context(), b.tenant)
		must(t, err)
		return len(xs)
	}
	for range 2 {
		if j, _ := b.prove("yesterday"); j.State != job.Partial || opened() != 1 {
			t.Errorf("%+v, %d open", j, opened())
		}
	}
	b.know("1", retail.Canceled, nil)
	if j, r := b.prove("2026-03-01"); j.State != job.Done || opened() != 0 || r.String() != "1 of 1 accounted for" {
		t.Errorf("%+v, %d open", j, opened())
	}
	b.list("late", day.Add(2*time.Hour)) // the day is told of once more
	if j, _ := b.prove("2026-03-01"); j.State != job.Partial || opened() != 1 {
		t.Errorf("%+v, %d open", j, opened())
	}
	b.know("late", retail.Canceled, nil)
	if j, _ := b.prove("2026-03-01"); j.State != job.Done || opened() != 0 {
		t.Errorf("%+v, %d open", j, opened())
	}
	b.list("2", noon.Add(-time.Hour)) // today is not over
	if j, _ := b.prove("today"); j.State != job.Partial || opened() != 0 {
		t.Errorf("%+v, %d open", j, opened())
	}
}

func TestADayIsTheChannels(t *testing.T) {
	b := open(t)
	b.zone = "America/New_York" // five hours behind
	for i, placed := range []time.Time{day.Add(4 * time.Hour), day.Add(5 * time.Hour), day.Add(29*time.Hour - time.Second), day.Add(29 * time.Hour)} {
		b.list(fmt.Sprint(i), placed)
		b.know(fmt.Sprint(i), retail.Canceled, nil)
	}
	b.list("unreadable", day.Add(6*time.Hour)) // known by its last change alone
	b.shop.orders[len(b.shop.orders)-1].Raw = []byte("?")
	b.know("unreadable", retail.Canceled, nil)
	b.list("refused", day.Add(29*time.Hour-time.Second)) // changed on the next day
	b.shop.orders[len(b.shop.orders)-1].Raw = append(b.shop.orders[len(b.shop.orders)-1].Raw, " refused"...)
	b.know("refused", retail.Canceled, nil)
	if j, r := b.prove("2026-03-01"); j.State != job.Done || r.Listed != 4 || r.TimeZone != "America/New_York" || !r.From.Equal(day.Add(5*time.Hour)) || !strings.Contains(j.Summary, "America/New_York") {
		t.Errorf("%+v\n%+v", j, r)
	}
	b.zone = "Nowhere"
	if j, _ := b.prove("2026-02-28"); j.State != job.Failed {
		t.Errorf("%+v", j)
	}
}

func TestAnOrderOfThisMomentNeedNotBeKnown(t *testing.T) {
	b := open(t)
	b.list("1", noon.Add(-30*time.Second))
	b.list("2", noon.Add(-time.Minute))
	if j, r := b.prove("today"); j.State != job.Partial || r.Open != 1 || r.States["arriving"] != 1 {
		t.Errorf("%+v\n%+v", j, r)
	}
}

func TestADateIsRefusedThatIsNone(t *testing.T) {
	b := open(t)
	for _, date := range []string{"", "soon", "2026-02-30", "01.03.2026"} {
		_, err := b.jobs.Start(t.Context(), job.Request{Tenant: b.tenant, Kind: "proof", Params: map[string]string{"connection": "shop", "date": date}})
		if fault.KindOf(err) != fault.Permanent {
			t.Errorf("%q: %v", date, err)
		}
	}
	if j, _ := b.prove("2026-03-04"); j.State != job.Failed || !strings.Contains(j.Failure, "has not begun") {
		t.Errorf("tomorrow: %+v", j)
	}
}

// A proof that begins anew in its middle counts each order once.
func TestAProofGoesOnWhereItWas(t *testing.T) {
	b := open(t)
	for i := range 70 {
		b.list(fmt.Sprint(i), day.Add(time.Hour))
		b.know(fmt.Sprint(i), retail.Canceled, nil)
	}
	kind, parts := b.jobs.Kinds["proof"], 0
	work := kind.Part
	kind.Part = func(ctx context.Context, j job.Job) (job.Part, error) {
		p, err := work(ctx, j)
		if parts++; parts%2 == 0 {
			return job.Part{}, errors.New("down")
		}
		p.Wait = time.Second
		return p, err
	}
	b.jobs.Kinds["proof"] = kind
	j, err := b.jobs.Start(t.Context(), job.Request{Tenant: b.tenant, Kind: "proof", Params: map[string]string{"connection": "shop", "date": "yesterday"}})
	must(t, err)
	for range 50 {
		_, err := b.jobs.Run(t.Context(), j.Task())
		must(t, err)
		b.now = b.now.Add(time.Minute)
	}
	j, err = b.store.Job(t.Context(), b.tenant, j.ID)
	must(t, err)
	if j.State != job.Done || j.Counts.Total != 70 || j.Counts.Applied != 70 || !strings.Contains(j.Summary, "70 of 70") {
		t.Errorf("%+v", j)
	}
}

func TestADayOnWhichClocksAreTurnedIsShorter(t *testing.T) {
	b := open(t)
	b.zone, b.now = "America/New_York", time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	begins := time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC) // and the next day at four
	for id, placed := range map[string]time.Time{"in it": begins.Add(23*time.Hour - time.Second), "after it": begins.Add(23 * time.Hour)} {
		b.list(id, placed)
		b.know(id, retail.Canceled, nil)
	}
	if j, r := b.prove("2026-03-08"); j.State != job.Done || r.Listed != 1 || r.To.Sub(r.From) != 23*time.Hour {
		t.Errorf("%+v\n%+v", j, r)
	}
}

// The second part is at work after midnight, and an order arrives meanwhile.
func TestAProofStaysWithItsDayAndLooksTwiceAtAHole(t *testing.T) {
	b := open(t)
	b.now = day.Add(48*time.Hour - time.Minute)
	for i := range 20 {
		b.list(fmt.Sprint(i), day.Add(time.Hour))
		if i > 0 {
			b.know(fmt.Sprint(i), retail.Canceled, nil)
		}
	}
	kind, parts := b.jobs.Kinds["proof"], 0
	work := kind.Part
	kind.Part = func(ctx context.Context, j job.Job) (job.Part, error) {
		if parts++; parts == 2 {
			b.now = b.now.Add(5 * time.Minute)
			b.know("0", retail.Canceled, nil)
		}
		return work(ctx, j)
	}
	b.jobs.Kinds["proof"] = kind
	if j, r := b.prove("yesterday"); parts != 2 || j.State != job.Done || r.Date != "2026-03-01" || r.String() != "20 of 20 accounted for" {
		t.Errorf("%d parts, %+v\n%+v", parts, j, r)
	}
}

func TestALookAtAProofIsKeptNowhereAndTellsNobody(t *testing.T) {
	b := open(t)
	b.list("1", day.Add(time.Hour))
	j, err := b.jobs.Start(t.Context(), job.Request{Tenant: b.tenant, Kind: "proof", DryRun: true, Params: map[string]string{"connection": "shop", "date": "2026-03-01"}})
	must(t, err)
	_, err = b.jobs.Run(t.Context(), j.Task())
	must(t, err)
	j, err = b.store.Job(t.Context(), b.tenant, j.ID)
	must(t, err)
	all, err := b.store.Proofs(t.Context(), b.tenant, "shop", 1)
	xs, xerr := b.store.OpenExceptions(t.Context(), b.tenant)
	if err = errors.Join(err, xerr); err != nil || j.State != job.Partial || len(all)+len(xs) > 0 {
		t.Errorf("%+v, %v; kept %v, told %v", j, err, all, xs)
	}
}

func TestOfManyHolesTheFirstHundredAreKeptWithTheResultAndAllWithTheJob(t *testing.T) {
	b := open(t)
	for i := range 101 {
		b.list(fmt.Sprint(1000+i), day.Add(time.Hour))
	}
	j, r := b.prove("2026-03-01")
	rows, err := b.jobs.Rejected(t.Context(), j, 200)
	if err != nil || r.Open != 101 || len(r.Holes) != 100 || r.Holes[99].External != "1099" || len(rows) != 101 {
		t.Errorf("%d holes, %d kept, %d rows, %v", r.Open, len(r.Holes), len(rows), err)
	}
}

func TestTheHolesOfTwoChannelsAreTwoExceptions(t *testing.T) {
	b := open(t)
	b.list("1", day.Add(time.Hour))
	for _, connection := range []string{"shop", "shop2"} {
		j, err := b.jobs.Start(t.Context(), job.Request{Tenant: b.tenant, Kind: "proof", Params: map[string]string{"connection": connection, "date": "2026-03-01"}})
		must(t, err)
		_, err = b.jobs.Run(t.Context(), j.Task())
		must(t, err)
	}
	xs, err := b.store.OpenExceptions(t.Context(), b.tenant)
	if err != nil || len(xs) != 2 || xs[0].Connection == xs[1].Connection {
		t.Errorf("%+v, %v", xs, err)
	}
}

func TestAResultReadsWell(t *testing.T) {
	for _, c := range []struct {
		accounted, listed int64
		want              string
	}{
		{0, 0, "0 of 0 accounted for"}, {100, 999, "100 of 999 accounted for"}, {1000, 12431, "1,000 of 12,431 accounted for"},
		{123456, 1234567, "123,456 of 1,234,567 accounted for"},
	} {
		if got := (proof.Result{Accounted: c.accounted, Listed: c.listed}).String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
