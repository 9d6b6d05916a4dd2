package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/inbox"
)

var leaseTests = []test{
	{"AnEventIsLeasedOnceAndTakenOverByTime", leased},
	{"OneOfManyConsumersLeasesAnEvent", leasedByOne},
	{"AHolderAskingAgainStillHolds", leasedAgain},
	{"OnlyTheHolderAbandonsALease", abandoned},
	{"OnlyTheHolderFinishesAnEventAndOnce", finished},
}

// begin leases event e1 for a minute.
func begin(t *testing.T, d Driver, event, holder string, at time.Time) inbox.Lease {
	t.Helper()
	l, err := d.Store.Begin(t.Context(), tenant(t, "acme"), "shop", event, holder, at, at.Add(time.Minute))
	must(t, err)
	return l
}

func leased(t *testing.T, d Driver) {
	for _, c := range []struct {
		holder string
		at     time.Time
		want   inbox.Lease
	}{
		{"a", Now, inbox.Mine},
		{"b", Now.Add(time.Second), inbox.Busy},
		{"b", Now.Add(time.Minute), inbox.Busy}, // its last moment
		{"b", Now.Add(time.Minute + time.Nanosecond), inbox.Mine},
		{"a", Now.Add(90 * time.Second), inbox.Busy},
	} {
		if l := begin(t, d, "e1", c.holder, c.at); l != c.want {
			t.Errorf("%s after %v: %v, want %v", c.holder, c.at.Sub(Now), l, c.want)
		}
	}
	if l := begin(t, d, "e2", "b", Now); l != inbox.Mine {
		t.Errorf("another event: %v", l)
	}
	if l, err := d.Store.Begin(t.Context(), tenant(t, "acme"), "shop2", "e1", "b", Now, Now.Add(time.Minute)); err != nil || l != inbox.Mine {
		t.Errorf("another connection's event of the same id: %v, %v", l, err)
	}
}

func leasedByOne(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	for _, at := range []time.Time{Now, Now.Add(time.Hour)} {
		won := count(t, 10, func(n int) (bool, error) {
			l, err := d.Store.Begin(context.Background(), tn, "shop", "e1", fmt.Sprint(at.Unix(), "-", n), at, at.Add(time.Minute))
			return l == inbox.Mine && err == nil, err
		})
		if won != 1 {
			t.Errorf("%d hold it", won)
		}
	}
}

func leasedAgain(t *testing.T, d Driver) {
	for range 2 { // the second is the first, sent again after its answer was lost
		if l := begin(t, d, "e1", "a", Now); l != inbox.Mine {
			t.Errorf("lease = %v", l)
		}
	}
	if l := begin(t, d, "e1", "b", Now); l != inbox.Busy {
		t.Errorf("another's lease = %v", l)
	}
}

func abandoned(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	must(t, d.Store.Abandon(t.Context(), tn, "shop", "e1", "a")) // never leased
	if l := begin(t, d, "e1", "a", Now); l != inbox.Mine {
		t.Errorf("after abandoning nothing: %v", l)
	}
	must(t, d.Store.Abandon(t.Context(), tn, "shop", "e1", "b"))
	if l := begin(t, d, "e1", "b", Now); l != inbox.Busy {
		t.Errorf("after a stranger's abandoning: %v", l)
	}
	for range 2 {
		must(t, d.Store.Abandon(t.Context(), tn, "shop", "e1", "a"))
	}
	if l := begin(t, d, "e1", "b", Now); l != inbox.Mine {
		t.Errorf("after the holder's abandoning: %v", l)
	}
	must(t, d.Store.Abandon(t.Context(), tn, "shop", "e1", "a"))
	if l := begin(t, d, "e1", "c", Now); l != inbox.Busy {
		t.Errorf("after the former holder's abandoning: %v", l)
	}
	must(t, d.Store.Finish(t.Context(), tn, "shop", "e1", "b", "accepted", Now))
	must(t, d.Store.Abandon(t.Context(), tn, "shop", "e1", "b"))
	if l := begin(t, d, "e1", "c", Now.Add(time.Hour)); l != inbox.Done {
		t.Errorf("abandoning what is finished: %v", l)
	}
}

func finished(t *testing.T, d Driver) {
	finish := func(event, holder string) error {
		return d.Store.Finish(t.Context(), tenant(t, "acme"), "shop", event, holder, "accepted", Now)
	}
	if err := finish("never", "a"); !errors.Is(err, document.ErrLease) {
		t.Errorf("without a lease: %v", err)
	}
	begin(t, d, "e1", "a", Now)
	if err := finish("e1", "b"); !errors.Is(err, document.ErrLease) {
		t.Errorf("by another: %v", err)
	}
	begin(t, d, "e1", "b", Now.Add(2*time.Minute))
	if err := finish("e1", "a"); !errors.Is(err, document.ErrLease) {
		t.Errorf("by the former holder: %v", err)
	}
	must(t, finish("e1", "b"))
	if err := finish("e1", "b"); !errors.Is(err, document.ErrLease) {
		t.Errorf("a second time: %v", err)
	}
	for _, holder := range []string{"b", "c"} {
		if l := begin(t, d, "e1", holder, Now.Add(time.Hour)); l != inbox.Done {
			t.Errorf("leased by %s after its end: %v", holder, l)
		}
	}
}
