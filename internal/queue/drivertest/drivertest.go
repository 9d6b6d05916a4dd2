// Package drivertest is what every sender to a queue must pass, to SQS or in
// memory.
package drivertest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/fault"
)

// Received is one delivery.
type Received struct {
	Body    string
	Group   string
	Receipt string
	Count   int
}

// Driver is one empty queue, whose received messages are visible at once again.
type Driver struct {
	Send    func(ctx context.Context, group string, v any, delay time.Duration) error
	SendAll func(ctx context.Context, vs []string) error
	Hide    func(ctx context.Context, receipt string, d time.Duration) error
	// Letters reads a queue as a dead-letter queue is read, another one than the
	// rest; what is received from it is hidden for half a minute.
	Letters deadletter.Queues
	URL     string
	// Receive takes up to ten of the visible messages.
	Receive func(t *testing.T) []Received
	// Delete ends a delivery.
	Delete func(t *testing.T, receipt string)
	// Pass moves the queue's clock; nil where nothing can.
	Pass func(d time.Duration)
	// Repeats tells that a message may be sent more than once.
	Repeats bool
}

// Run holds what open returns to all of it; each test opens its own.
func Run(t *testing.T, open func(t *testing.T) Driver) {
	for _, x := range []struct {
		name string
		run  func(t *testing.T, d Driver)
	}{
		{"AMessageArrivesWholeWithItsGroup", whole},
		{"ADelayedMessageIsNotReceivedBefore", delayed},
		{"ADelayBeyondTheLimitIsTheLimit", longDelay},
		{"EveryMessageOfManyArrives", many},
		{"MessagesThatAreLargeTogetherArrive", large},
		{"AMessageOverOneMebibyteIsRefusedForGood", oversized},
		{"AHiddenMessageIsNotReceivedBefore", hidden},
		{"WhatCannotBeJSONIsRefusedForGood", noJSON},
		{"ABodyIsSentAsItIs", asItIs},
		{"WhatIsTakenForAWhileIsHidden", taken},
		{"LookingHidesNothing", looked},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

// drain receives until nothing is left and counts the bodies.
func drain(t *testing.T, d Driver) map[string]int {
	t.Helper()
	got := map[string]int{}
	for {
		batch := d.Receive(t)
		if len(batch) == 0 {
			return got
		}
		for _, m := range batch {
			var s string
			if err := json.Unmarshal([]byte(m.Body), &s); err != nil {
				t.Fatal(err)
			}
			got[s]++
			d.Delete(t, m.Receipt)
		}
	}
}

// arrive compares what is left in the queue with what was sent.
func arrive(t *testing.T, d Driver, want ...string) {
	t.Helper()
	got := drain(t, d)
	for s, n := range got {
		if n > 1 && !d.Repeats {
			t.Errorf("%.20q arrived %d times", s, n)
		}
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, slices.Sorted(slices.Values(want))) {
		t.Errorf("%d different messages arrived of %d", len(keys), len(want))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func whole(t *testing.T, d Driver) {
	type message struct{ Text string }
	const text = "quotes \" and ümlauts, <tags> & \u2028 lines\n"
	for _, group := range []string{"acme", ""} {
		must(t, d.Send(t.Context(), group, message{text}, 0))
		got := d.Receive(t)
		if len(got) == 0 || len(got) > 1 && !d.Repeats {
			t.Fatalf("received %v", got)
		}
		for _, r := range got {
			var m message
			if err := json.Unmarshal([]byte(r.Body), &m); err != nil || m.Text != text || r.Group != group || r.Count != 1 {
				t.Errorf("received %+v, %v", r, err)
			}
			d.Delete(t, r.Receipt)
		}
	}
	if got := d.Receive(t); len(got) != 0 {
		t.Errorf("deleted, received %v", got)
	}
}

func delayed(t *testing.T, d Driver) {
	must(t, d.Send(t.Context(), "acme", "late", 10*time.Minute))
	must(t, d.Send(t.Context(), "acme", "now", 0))
	arrive(t, d, "now")
	if d.Pass == nil {
		return
	}
	d.Pass(10*time.Minute - time.Nanosecond)
	arrive(t, d)
	d.Pass(time.Nanosecond)
	arrive(t, d, "late")
	for _, short := range []time.Duration{time.Nanosecond, 300 * time.Millisecond, 1400 * time.Millisecond} {
		must(t, d.Send(t.Context(), "", "short", short))
		d.Pass(short - time.Nanosecond)
		arrive(t, d)
		d.Pass(time.Second)
		arrive(t, d, "short")
	}
	must(t, d.Send(t.Context(), "", "past", -time.Minute))
	arrive(t, d, "past")
}

func longDelay(t *testing.T, d Driver) {
	must(t, d.Send(t.Context(), "", "late", 24*time.Hour))
	arrive(t, d)
	if d.Pass != nil {
		d.Pass(15 * time.Minute)
		arrive(t, d, "late")
	}
}

func many(t *testing.T, d Driver) {
	must(t, d.SendAll(t.Context(), nil))
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprint("m", i))
	}
	must(t, d.SendAll(t.Context(), all))
	arrive(t, d, all...)
}

func large(t *testing.T, d Driver) {
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprint(i, strings.Repeat("x", 200<<10)))
	}
	full := strings.Repeat("y", 1<<20-2) // and two quotes
	all = append(all, full)
	must(t, d.SendAll(t.Context(), all))
	arrive(t, d, all...)
	must(t, d.Send(t.Context(), "", full, 0))
	arrive(t, d, full)
}

func oversized(t *testing.T, d Driver) {
	over := strings.Repeat("x", 1<<20-1)
	for what, err := range map[string]error{
		"alone":       d.Send(t.Context(), "acme", over, 0),
		"with others": d.SendAll(t.Context(), []string{"before", over}),
	} {
		if fault.KindOf(err) != fault.Permanent {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, came := drain(t, d)[over]; came {
		t.Error("it arrived")
	}
}

func hidden(t *testing.T, d Driver) {
	must(t, d.Send(t.Context(), "", "m", 0))
	for n := 1; n <= 2; n++ {
		got := d.Receive(t)
		if len(got) == 0 || got[0].Count != n {
			t.Fatalf("delivery %d: %v", n, got)
		}
		if n == 1 {
			continue
		}
		for _, m := range got {
			must(t, d.Hide(t.Context(), m.Receipt, 48*time.Hour))
		}
	}
	if got := d.Receive(t); len(got) != 0 {
		t.Fatalf("hidden, received %v", got)
	}
	if d.Pass != nil {
		d.Pass(12*time.Hour - time.Nanosecond)
		if got := d.Receive(t); len(got) != 0 {
			t.Fatalf("too early, received %v", got)
		}
		d.Pass(time.Nanosecond)
		got := d.Receive(t)
		if len(got) != 1 || got[0].Count != 3 {
			t.Fatalf("after its time, received %v", got)
		}
		must(t, d.Hide(t.Context(), got[0].Receipt, 1500*time.Millisecond))
		d.Pass(1500*time.Millisecond - time.Nanosecond)
		if got := d.Receive(t); len(got) != 0 {
			t.Fatalf("too early, received %v", got)
		}
		d.Pass(time.Second)
		arrive(t, d, "m")
	}
	if err := d.Hide(t.Context(), "unknown", time.Minute); err == nil {
		t.Error("hiding by an unknown receipt is no error")
	}
}

func noJSON(t *testing.T, d Driver) {
	if err := d.Send(t.Context(), "", func() {}, 0); fault.KindOf(err) != fault.Permanent {
		t.Errorf("sent: %v", err)
	}
	arrive(t, d)
}

func asItIs(t *testing.T, d Driver) {
	const body = "not { JSON\n"
	must(t, d.Letters.SendBody(t.Context(), d.URL, "acme", body))
	got, err := d.Letters.Take(t.Context(), d.URL, 10, time.Minute)
	must(t, err)
	if len(got) != 1 && !d.Repeats {
		t.Fatalf("took %v", got)
	}
	for _, m := range got {
		if m.Body != body || m.Group != "acme" || m.ID == "" || m.Sent.IsZero() {
			t.Errorf("took %+v", m)
		}
		must(t, d.Letters.Delete(t.Context(), d.URL, m.Receipt))
	}
	if n, err := d.Letters.Count(t.Context(), d.URL); err != nil || n != 0 && !d.Repeats {
		t.Errorf("deleted, %d are there, %v", n, err)
	}
}

func taken(t *testing.T, d Driver) {
	for _, s := range []string{"a", "b"} {
		must(t, d.Letters.SendBody(t.Context(), d.URL, "", s))
	}
	ids := map[string]bool{}
	for {
		got, err := d.Letters.Take(t.Context(), d.URL, 1, time.Hour)
		must(t, err)
		if len(got) == 0 {
			break
		}
		if len(got) != 1 || ids[got[0].ID] {
			t.Fatalf("took %v again", got)
		}
		ids[got[0].ID] = true
	}
	n, err := d.Letters.Count(t.Context(), d.URL)
	must(t, err)
	// An answer that was lost on its way hides its messages too.
	if n < 2 || !d.Repeats && (n != 2 || len(ids) != 2) {
		t.Errorf("took %d of %d", len(ids), n)
	}
	if d.Pass != nil {
		d.Pass(time.Hour)
		if got, err := d.Letters.Take(t.Context(), d.URL, 10, 0); err != nil || len(got) != 2 {
			t.Errorf("after its time, took %v, %v", got, err)
		}
	}
}

// looked looks into a queue that hides what is received from it.
func looked(t *testing.T, d Driver) {
	must(t, d.Letters.SendBody(t.Context(), d.URL, "", "m"))
	for range 3 {
		got, err := d.Letters.Take(t.Context(), d.URL, 10, 0)
		must(t, err)
		if len(got) == 0 && !d.Repeats { // or the answer was lost before it was shown again
			t.Error("a look hides")
		}
	}
}
