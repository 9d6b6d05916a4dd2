package drivertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
)

var indexTests = []test{
	{"TheDueIndexListsWhatIsDueAndNothingElse", due},
	{"ADueListingIsInOrderAndHasALimit", dueLimit},
	{"ADueTimeThatMovesMovesInTheIndex", dueMoves},
	{"AListingMayBeStaleAndTheHeadDecides", staleListing},
}

// listed is what all shards list as due before a time.
func listed(t *testing.T, d Driver, before time.Time, limit int) (out []document.DueItem) {
	t.Helper()
	for shard := range document.Shards {
		items, err := d.Store.Due(t.Context(), shard, before, limit)
		must(t, err)
		if len(items) > limit {
			t.Errorf("shard %d lists %d, more than %d", shard, len(items), limit)
		}
		for i := 1; i < len(items); i++ {
			if items[i].Due.Before(items[i-1].Due) {
				t.Errorf("shard %d lists %v after %v", shard, items[i].Due, items[i-1].Due)
			}
		}
		out = append(out, items...)
	}
	return out
}

func due(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	late, early, exact, none := newHead(tn, "o1"), newHead(tn, "o2"), newHead(tn, "o3"), newHead(tn, "o4")
	late.Due, early.Due, exact.Due, none.Due = Now.Add(time.Nanosecond), Now.Add(-time.Hour), Now, time.Time{}
	for _, h := range []document.Head{late, early, exact, none} {
		must(t, commit(t.Context(), d, document.Change{Head: h}))
	}
	d.Settle(t)
	got := map[document.Key]time.Time{}
	for _, it := range listed(t, d, Now, 10) {
		got[it.Key] = it.Due
	}
	same(t, "due", map[document.Key]time.Time{early.Key: early.Due, exact.Key: Now}, got)
}

func dueLimit(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	const n = 120
	for at := 0; at < n; at += 40 {
		var changes []document.Change
		for i := at; i < at+40; i++ {
			h := newHead(tn, fmt.Sprint("o", i))
			h.Due = Now.Add(-time.Duration(i*7919%n) * time.Minute)
			changes = append(changes, document.Change{Head: h})
		}
		must(t, commit(t.Context(), d, changes...))
	}
	d.Settle(t)
	if got := listed(t, d, Now, 1000); len(got) != n {
		t.Errorf("listed %d of %d", len(got), n)
	}
	for shard := range document.Shards {
		all, err := d.Store.Due(t.Context(), shard, Now, 1000)
		must(t, err)
		earliest, err := d.Store.Due(t.Context(), shard, Now, 2)
		must(t, err)
		same(t, fmt.Sprint("the first two of shard ", shard), all[:min(2, len(all))], earliest)
	}
}

func dueMoves(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	h.Due = Now.Add(-time.Hour)
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	h.Version, h.Due = 1, Now.Add(-time.Minute)
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	d.Settle(t)
	if got := listed(t, d, Now.Add(-2*time.Minute), 10); len(got) != 0 {
		t.Errorf("it is listed where it was: %v", got)
	}
	if got := listed(t, d, Now, 10); len(got) != 1 || !got[0].Due.Equal(h.Due) {
		t.Errorf("moved, the index lists %v", got)
	}
	h.Version, h.Due, h.Parked = 2, time.Time{}, "x1"
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	d.Settle(t)
	if got := listed(t, d, Now, 10); len(got) != 0 {
		t.Errorf("parked, the index lists %v", got)
	}
}

// staleListing acts on what the index lists right after each commit, whatever
// that is: of all who come because of it, one takes a document over, and nobody
// takes one over that is not due.
func staleListing(t *testing.T, d Driver) {
	h := newHead(tenant(t, "acme"), "o1")
	h.Due = Now.Add(-time.Hour)
	must(t, commit(t.Context(), d, document.Change{Head: h}))
	d.Settle(t)
	seen := listed(t, d, Now, 10)
	if len(seen) != 1 {
		t.Fatalf("listed %v", seen)
	}
	l := life(d, Now)
	wake := func() int {
		return count(t, 5, func(int) (bool, error) {
			_, ok, err := l.Wake(context.Background(), document.Task{Schema: 1, Tenant: h.Tenant, Type: h.Type, ID: h.ID})
			return ok, err
		})
	}
	if won := wake(); won != 1 {
		t.Errorf("%d took it over", won)
	}
	for _, it := range append(seen, listed(t, d, Now, 10)...) {
		if it.Key != h.Key {
			t.Errorf("listed %v", it.Key)
		}
		if won := wake(); won != 0 {
			t.Errorf("%d took it over again by a listing that was behind", won)
		}
	}
	got, err := d.Store.Head(t.Context(), h.Key)
	must(t, err)
	if got.Run != 2 || !got.Due.Equal(Now.Add(document.PhaseLease)) {
		t.Errorf("run %d, due %v", got.Run, got.Due)
	}
	d.Settle(t)
	if left := listed(t, d, Now, 10); len(left) != 0 {
		t.Errorf("the index never catches up: %v", left)
	}
}
