package drivertest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/rate"
)

var rateTests = []test{
	{"AConnectionsStateIsChangedByOneAtATime", rateVersions},
	{"OfManyWhoTakeTheLastSlotOneGetsIt", lastSlot},
}

func rateVersions(t *testing.T, d Driver) {
	ctx := t.Context()
	k := rate.Key{Tenant: tenant(t, "acme"), Connection: "erp"}
	got, err := d.Store.Rate(ctx, k)
	must(t, err)
	same(t, "unknown", rate.State{Key: k}, got)
	want := rate.State{Key: k, Tokens: 2.5, At: Now, Blocked: Now.Add(time.Minute), Slots: map[string]time.Time{"a": Now}, Failures: 7, Open: Now,
		Probe: "b", ProbeUntil: Now, Cause: "connectivity", Paused: &rate.Pause{At: Now, By: "ann", Reason: "stocktaking"}}
	must(t, d.Store.PutRate(ctx, want))
	want.Version = 1
	got, err = d.Store.Rate(ctx, k)
	must(t, err)
	same(t, "state", want, got)
	must(t, d.Store.PutRate(ctx, rate.State{Key: k, Version: 1}))
	for _, version := range []int64{0, 1, 3} {
		if err := d.Store.PutRate(ctx, rate.State{Key: k, Version: version, Failures: 9}); !errors.Is(err, rate.ErrConflict) {
			t.Errorf("version %d after 2: %v", version, err)
		}
	}
	for _, other := range []rate.Key{{Tenant: tenant(t, "acme2"), Connection: "erp"}, {Tenant: k.Tenant, Connection: "er"}} {
		if got, err = d.Store.Rate(ctx, other); err != nil || got.Version != 0 {
			t.Errorf("%v: %+v, %v", other, got, err)
		}
	}
}

func lastSlot(t *testing.T, d Driver) {
	k := rate.Key{Tenant: tenant(t, "acme"), Connection: "erp"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for i := range 16 {
		wg.Go(func() {
			err := d.Store.PutRate(t.Context(), rate.State{Key: k, Slots: map[string]time.Time{string(rune('a' + i)): Now}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, rate.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d won", won)
	}
}
