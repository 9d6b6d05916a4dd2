package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
)

var effectTests = []test{
	{"AnEffectReadsBackWhole", effectWhole},
	{"AnEffectIsCreatedByOneHolder", effectCreated},
	{"OnlyTheHolderOfAVersionUpdatesIt", effectUpdated},
	{"AnEffectIsSentOnceByManyRuns", effectOnce},
}

func newRecord(t *testing.T, holder string) effect.Record {
	return effect.Record{Subject: effect.Subject{Tenant: tenant(t, "acme"), Type: document.Order, ID: "o1"}, Key: "sales_order#1",
		Status: effect.Sending, Hash: "h", Holder: holder, LeaseUntil: Now.Add(effect.Lease), SentAt: Now, Attempts: 1, Version: 1}
}

func effectWhole(t *testing.T, d Driver) {
	r := newRecord(t, "a")
	if got, err := d.Store.Effect(t.Context(), r.Subject, r.Key); err != nil || got != nil {
		t.Errorf("before = %v, %v", got, err)
	}
	_, err := d.Store.Create(t.Context(), r)
	must(t, err)
	r.Status, r.EmptyReads, r.Attempts = effect.Confirmed, 1, 2
	r.Receipt = effect.Receipt{Ref: "77", Number: "S7", Data: map[string]string{"a": "b"}}
	must(t, d.Store.Update(t.Context(), r))
	got, err := d.Store.Effect(t.Context(), r.Subject, r.Key)
	must(t, err)
	r.Version = 2
	same(t, "effect", &r, got)
	for _, key := range []string{"sales_order", "sales_order#10", "#1"} {
		if got, err := d.Store.Effect(t.Context(), r.Subject, key); err != nil || got != nil {
			t.Errorf("%s = %v, %v", key, got, err)
		}
	}
}

func effectCreated(t *testing.T, d Driver) {
	for range 2 { // the second is the first, sent again after its answer was lost
		if there, err := d.Store.Create(t.Context(), newRecord(t, "a")); err != nil || there != nil {
			t.Errorf("existing = %v, %v", there, err)
		}
	}
	there, err := d.Store.Create(t.Context(), newRecord(t, "b"))
	must(t, err)
	a := newRecord(t, "a")
	same(t, "existing", &a, there)
}

func effectUpdated(t *testing.T, d Driver) {
	r := newRecord(t, "a")
	if err := d.Store.Update(t.Context(), r); !errors.Is(err, effect.ErrLost) {
		t.Errorf("updating nothing: %v", err)
	}
	_, err := d.Store.Create(t.Context(), r)
	must(t, err)
	for range 2 { // the second is the first, sent again after its answer was lost
		must(t, d.Store.Update(t.Context(), r))
	}
	r.Holder = "b"
	if err := d.Store.Update(t.Context(), r); !errors.Is(err, effect.ErrLost) {
		t.Errorf("another's update of a passed version: %v", err)
	}
	r.Version = 2
	must(t, d.Store.Update(t.Context(), r))
	r.Version, r.Holder = 1, "a"
	if err := d.Store.Update(t.Context(), r); !errors.Is(err, effect.ErrLost) {
		t.Errorf("the former holder's update: %v", err)
	}
	if got, err := d.Store.Effect(t.Context(), r.Subject, r.Key); err != nil || got.Version != 3 || got.Holder != "b" {
		t.Errorf("effect = %+v, %v", got, err)
	}
}

func effectOnce(t *testing.T, d Driver) {
	var mu sync.Mutex
	sent, ids := 0, 0
	l := effect.Ledger{Store: d.Store, Now: func() time.Time { return Now }, NewID: func() string {
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
	count(t, 10, func(int) (bool, error) {
		_, err := l.Do(context.Background(), e)
		if err != nil && fault.KindOf(err) == fault.Retryable {
			return false, nil
		}
		return true, err
	})
	r, err := l.Do(t.Context(), e)
	if err != nil || r.Ref != "77" || r.Number != "S7" || r.Data["a"] != "b" {
		t.Errorf("receipt = %+v, %v", r, err)
	}
	if sent != 1 {
		t.Errorf("sent %d times", sent)
	}
}
