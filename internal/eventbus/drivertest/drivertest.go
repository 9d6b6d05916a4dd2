// Package drivertest is what every publisher of events must pass, on
// EventBridge or in memory.
package drivertest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/fault"
)

// Driver is one empty bus.
type Driver struct {
	Publish func(ctx context.Context, events []eventbus.Event) (refused []int, err error)
	// Published is what subscribers got, in any order.
	Published func(t *testing.T) []eventbus.Event
	// Repeats tells that an event may be published more than once.
	Repeats bool
}

// Run holds what open returns to all of it; each test opens its own. A driver
// that is opened refusing refuses the first, third, fifth … event of the first
// call, and none of the second.
func Run(t *testing.T, open func(t *testing.T, refusing bool) Driver) {
	for _, x := range []struct {
		name     string
		run      func(t *testing.T, d Driver)
		refusing bool
	}{
		{"AnEventArrivesWhole", whole, false},
		{"AnEventMayBePublishedAgain", again, false},
		{"ARefusedEventIsToldByItsIndex", refused, true},
		{"ACallTakesTenEventsAndNoMore", tooMany, false},
		{"AnEndedContextDoesNothing", ended, false},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t, x.refusing)) })
	}
}

func newEvents(n int) (out []eventbus.Event) {
	for i := range n {
		out = append(out, eventbus.Event{SpecVersion: "1.0", ID: fmt.Sprintf("o1.%02d", i), Source: "/waybill/acme", Type: "retail.order.accepted.v1",
			Subject: "order/o1", Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Tenant: "acme", Sequence: int64(i), Correlation: "c",
			Data: json.RawMessage(`{"text":"quotes \" and ümlauts"}`)})
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// arrived compares what subscribers got, each of it once unless the driver
// repeats.
func arrived(t *testing.T, d Driver, want ...eventbus.Event) {
	t.Helper()
	byID := func(a, b eventbus.Event) int { return cmp.Compare(a.ID, b.ID) }
	got, want := slices.SortedFunc(slices.Values(d.Published(t)), byID), slices.SortedFunc(slices.Values(want), byID)
	if d.Repeats {
		same := func(a, b eventbus.Event) bool { return a.ID == b.ID }
		got, want = slices.CompactFunc(got, same), slices.CompactFunc(want, same)
	}
	// A bus may write an event's JSON in its own way.
	meaning := gocmp.Transformer("JSON", func(raw json.RawMessage) (v any) {
		if len(raw) > 0 {
			must(t, json.Unmarshal(raw, &v))
		}
		return v
	})
	if diff := gocmp.Diff(want, got, meaning); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

func whole(t *testing.T, d Driver) {
	events := newEvents(10)
	events[3].Data, events[3].Correlation = nil, ""
	for _, part := range [][]eventbus.Event{events[:9], events[9:], nil} {
		if refused, err := d.Publish(t.Context(), part); err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
	}
	arrived(t, d, events...)
}

// again: consumers know a repetition by its id.
func again(t *testing.T, d Driver) {
	events := newEvents(2)
	for range 2 {
		_, err := d.Publish(t.Context(), events)
		must(t, err)
	}
	arrived(t, d, append(events, events...)...)
}

func refused(t *testing.T, d Driver) {
	events := newEvents(6)
	refused, err := d.Publish(t.Context(), events)
	if err != nil || !slices.Equal(refused, []int{0, 2, 4}) {
		t.Errorf("refused %v, %v", refused, err)
	}
	arrived(t, d, events[1], events[3], events[5])
	if refused, err = d.Publish(t.Context(), []eventbus.Event{events[0], events[2], events[4]}); err != nil || len(refused) > 0 {
		t.Errorf("the second time refused %v, %v", refused, err)
	}
	arrived(t, d, events...)
}

func tooMany(t *testing.T, d Driver) {
	if _, err := d.Publish(t.Context(), newEvents(11)); fault.KindOf(err) != fault.Permanent {
		t.Errorf("eleven: %v", err)
	}
	arrived(t, d)
	_, err := d.Publish(t.Context(), newEvents(10))
	must(t, err)
	arrived(t, d, newEvents(10)...)
}

func ended(t *testing.T, d Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Publish(ctx, newEvents(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("published: %v", err)
	}
	arrived(t, d)
}
