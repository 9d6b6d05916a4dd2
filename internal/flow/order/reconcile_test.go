package order_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// listing is a channel that lists its orders two a page, and each listing takes
// a minute a page.
type listing struct {
	*testing.T
	order.Reconciler
	store    *memory.Store
	tenant   retail.Tenant
	now      time.Time
	orders   []string
	since    []time.Time // that each page was asked for
	enqueued []inbox.Message
	lose     string // the order whose message is lost
}

func (l *listing) Open(context.Context, retail.Tenant, string) (any, error) { return l, nil }
func (l *listing) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{}, nil
}

func (l *listing) ListOrders(_ context.Context, since time.Time, cursor string) (page []retail.Listed, next string, err error) {
	at := 0
	if cursor != "" {
		_, err = fmt.Sscan(cursor, &at)
	}
	l.now, l.since = l.now.Add(time.Minute), append(l.since, since)
	for _, id := range l.orders[at:min(at+2, len(l.orders))] {
		page = append(page, retail.Listed{ExternalID: id, UpdatedAt: noon, Raw: []byte("raw " + id)})
	}
	if at+2 < len(l.orders) {
		next = fmt.Sprint(at + 2)
	}
	return page, next, err
}

func newListing(t *testing.T, orders ...string) *listing {
	t.Helper()
	l := &listing{T: t, now: noon, orders: orders}
	clock := func() time.Time { return l.now }
	l.store = memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 2))})
	var err error
	if l.tenant, err = retail.ParseTenant("north"); err != nil {
		t.Fatal(err)
	}
	l.Reconciler = order.Reconciler{Store: l.store, Connections: l, Watermarks: l.store, Now: clock,
		Enqueue: func(_ context.Context, m inbox.Message) error {
			if body, err := m.Payload(t.Context(), nil); err != nil || string(body) == "raw "+l.lose {
				return errors.Join(err, errors.New("the queue is away"))
			}
			l.enqueued = append(l.enqueued, m)
			return nil
		}}
	return l
}

func (l *listing) know(id string) {
	l.Helper()
	h := document.Head{Key: document.Key{Tenant: l.tenant, Type: document.Order, ID: "doc" + id}, State: retail.Received}
	if err := l.store.Commit(l.Context(), document.Transaction{Changes: []document.Change{{Head: h,
		Refs: []document.Ref{{Tenant: l.tenant, Connection: "shop", Type: "order", External: id}}}}}); err != nil {
		l.Fatal(err)
	}
}

func (l *listing) look(pages int) (found int64, more bool) {
	l.Helper()
	found, more, err := l.Look(l.Context(), l.tenant, "shop", pages)
	if err != nil {
		l.Fatal(err)
	}
	return found, more
}

func (l *listing) watermark() time.Time {
	l.Helper()
	at, err := l.store.Watermark(l.Context(), l.tenant, "shop")
	if err != nil {
		l.Fatal(err)
	}
	return at
}

func TestWhatNoDocumentStandsForIsTakenInAsItWasListed(t *testing.T) {
	l := newListing(t, "1", "2", "3", "4", "5")
	l.know("2")
	l.know("5")
	if found, more := l.look(3); found != 3 || more {
		t.Errorf("found %d, more: %t", found, more)
	}
	var got []string
	for _, m := range l.enqueued {
		body, err := m.Payload(t.Context(), nil)
		if got = append(got, string(body)); err != nil || m.Tenant != l.tenant || m.Connection != "shop" || m.Topic != "poll" || m.ReceivedAt.IsZero() {
			t.Errorf("%+v, %v", m, err)
		}
	}
	if !slices.Equal(got, []string{"raw 1", "raw 3", "raw 4"}) {
		t.Errorf("taken in: %v", got)
	}
}

// An order that was listed before it could be read is another event once it has
// changed, and the same one until then.
func TestAnEventOfAListingIsTheOrderAsOfItsLastChange(t *testing.T) {
	l := newListing(t, "1")
	events := map[string]bool{}
	page := func(changed time.Time) {
		l.Connections = channel{func() []retail.Listed { return []retail.Listed{{ExternalID: "1", UpdatedAt: changed}} }}
		l.enqueued = nil
		l.look(1)
		events[l.enqueued[0].EventID] = true
	}
	page(noon)
	page(noon)
	if page(noon.Add(time.Second)); len(events) != 2 {
		t.Errorf("events %v", events)
	}
}

// channel lists one page.
type channel struct{ page func() []retail.Listed }

func (c channel) Open(context.Context, retail.Tenant, string) (any, error) { return c, nil }
func (c channel) Route(context.Context, retail.Tenant, string) (flow.Route, error) {
	return flow.Route{}, nil
}

func (c channel) ListOrders(context.Context, time.Time, string) ([]retail.Listed, string, error) {
	return c.page(), "", nil
}

// What changes while a listing goes on may be missing from it; the next one
// begins before this one began.
func TestAListingBeginsBeforeTheLastCompleteOneBegan(t *testing.T) {
	l := newListing(t, "1", "2", "3")
	l.look(2)
	if began := l.watermark(); !began.Equal(noon) {
		t.Errorf("listed up to %s", began)
	}
	if first := l.since[0]; first.After(noon.Add(-48 * time.Hour)) {
		t.Errorf("a new connection is listed from %s on", first)
	}
	for _, since := range l.since {
		if !since.Equal(l.since[0]) {
			t.Errorf("a later page is asked for since %s", since)
		}
	}
	l.since, l.now = nil, noon.Add(5*time.Minute)
	l.look(2)
	if overlap := noon.Sub(l.since[0]); overlap != 10*time.Minute {
		t.Errorf("the next listing goes back %s", overlap)
	}
}

func TestOnlyAListingThatWasTakenInWholeMovesTheWatermark(t *testing.T) {
	for name, c := range map[string]struct {
		pages int
		lose  string
		more  bool
		moved bool
	}{
		"whole":                          {2, "", false, true},
		"left to a job":                  {1, "", true, false},
		"a message of its first is lost": {2, "1", false, false},
		"a message of its last is lost":  {2, "3", false, false},
	} {
		l := newListing(t, "1", "2", "3")
		l.lose = c.lose
		_, more, err := l.Look(t.Context(), l.tenant, "shop", c.pages)
		if more != c.more || (err == nil) != (c.lose == "") || l.watermark().IsZero() == c.moved {
			t.Errorf("%s: more %t, %v, listed up to %s", name, more, err, l.watermark())
		}
	}
}

func TestALookAtAReconcileTakesNothingInAndMovesNothing(t *testing.T) {
	l := newListing(t, "1", "2")
	l.know("2")
	p, err := l.Kind().Part(t.Context(), job.Job{Tenant: l.tenant, DryRun: true, Params: map[string]string{"connection": "shop"}})
	if err != nil || !p.Done || p.Counts != (job.Counts{Read: 2, Applied: 1, Unchanged: 1}) || len(l.enqueued) > 0 || !l.watermark().IsZero() {
		t.Errorf("%+v, %v; %d enqueued, listed up to %s", p, err, len(l.enqueued), l.watermark())
	}
}

func TestAReconcileIsOfOneConnectionIsKeptAWeekAndCountsAllItsParts(t *testing.T) {
	if key, err := order.ReconcileJob.Key(map[string]string{"connection": "shop"}); key != "shop" || err != nil || order.ReconcileJob.Keep != 168*time.Hour {
		t.Errorf("key %q, %v, kept for %s", key, err, order.ReconcileJob.Keep)
	}
	if _, err := order.ReconcileJob.Key(nil); fault.Of(err) == nil || fault.Of(err).Field != "connection" {
		t.Errorf("without a connection: %v", err)
	}
	l := newListing(t, "1", "2")
	p, err := l.Kind().Part(t.Context(), job.Job{Tenant: l.tenant, Counts: job.Counts{Read: 40, Applied: 5}, Params: map[string]string{"connection": "shop"}})
	if err != nil || p.Summary != "7 of 42 listed orders were unknown" {
		t.Errorf("%q, %v", p.Summary, err)
	}
}

func TestAnEmptyListingIsIdleUntilItReachesBackAnHour(t *testing.T) {
	l := newListing(t)
	if err := l.store.SetWatermark(t.Context(), l.tenant, "shop", noon); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		moves bool
	}{{time.Hour - 1, false}, {time.Hour, true}} {
		l.now = noon.Add(c.after)
		l.look(1)
		if got := l.watermark(); got.Equal(noon) == c.moves {
			t.Errorf("%s later the watermark is %s", c.after, got)
		}
	}
}

// A watermark that stands still makes each listing longer; one that moves each
// time costs a write.
func TestAChannelThatListsNothingMovesItsWatermarkEachHour(t *testing.T) {
	l := newListing(t)
	moved := 0
	for range 8 * 12 { // hours, each five minutes
		before := l.watermark()
		l.look(1)
		if !l.watermark().Equal(before) {
			moved++
		}
		l.now = l.now.Add(4 * time.Minute)
	}
	if moved < 7 || moved > 9 {
		t.Errorf("moved %d times in eight hours", moved)
	}
}
