package shipment_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// forgetful is an effect store without one effect.
type forgetful struct {
	effect.Store
	key string
}

func (f forgetful) Effect(ctx context.Context, s effect.Subject, key string) (*effect.Record, error) {
	if key == f.key {
		return nil, nil
	}
	return f.Store.Effect(ctx, s, key)
}

func TestAShipmentIsReceivedUnderItsOrderEvenIfItsPhaseDoesNotStart(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	h := b.head(task.Key())
	if h.State != retail.Received || h.Parent != o.ID || h.Run != 1 || !h.Due.After(noon) || h.ConfigVersion != 7 || h.Number != "94001" || h.Connection != "warehouse" {
		t.Errorf("head = %+v", h)
	}
	steps, err := b.store.Steps(t.Context(), h)
	if err != nil || len(steps) != 1 || steps[0].Type != "retail.shipment.received.v1" {
		t.Fatalf("steps = %v, %v", steps, err)
	}
	for field, want := range map[string]string{"external_id": "31", "tracking_number": "94001", "carrier": "USPS", "order": o.ID} {
		if steps[0].Data[field] != want {
			t.Errorf("the step's %s = %q", field, steps[0].Data[field])
		}
	}
	var s retail.Shipment
	b.body(task.Key(), &s)
	if s.ID != h.ID || s.OrderID != o.ID || s.Warehouse != "warehouse" || s.Tenant != b.tenant || len(s.Lines) != 1 {
		t.Errorf("body = %+v", s)
	}
	if key := inbox.RawKey("shipment", b.tenant, noon, "warehouse", "e31"); h.Raw != key || !strings.HasPrefix(key, "raw/shipment/north/warehouse/2096/03/01/") || len(b.blobs.m[key]) == 0 {
		t.Errorf("raw = %s", h.Raw)
	}
}

func TestOneShipmentComesOfManyDeliveries(t *testing.T) {
	b := newBench(t)
	b.released("1001", goods{"MUG", 2})
	body := parcel("31", "1001", "94001", goods{"MUG", 2})
	var wg sync.WaitGroup
	for i := range 20 { // ten repeats of one event, ten other events about the parcel
		wg.Go(func() {
			event := "e1"
			if i%2 == 0 {
				event = fmt.Sprint("poll", i)
			}
			for range 100_000 { // whoever is at work may be kept from it
				_, err := b.in.Take(context.Background(), b.message(event, body))
				if err == nil {
					return
				}
				if fault.KindOf(err) != fault.Retryable {
					t.Errorf("taking in: %v", err)
					return
				}
				runtime.Gosched()
			}
			t.Error("not taken in, however often it came")
		})
	}
	wg.Wait()
	if len(b.tasks) != 1 || b.head(b.tasks[0].Key()).Version != 1 {
		t.Errorf("started %v", b.tasks)
	}
}

func TestALaterSnapshotOfAShipmentAddsNothing(t *testing.T) {
	b := newBench(t)
	b.released("1001", goods{"MUG", 2})
	task := b.announce("31", "1001", "94001", goods{"MUG", 2})
	body := string(parcel("31", "1001", "94001", goods{"MUG", 2}))
	for updated, want := range map[string]string{
		"2096-03-01T11:30:00Z": inbox.Repeated,
		"2096-03-02T11:30:00Z": inbox.Repeated,
		"2096-02-01T11:30:00Z": inbox.Superseded,
	} {
		if got := b.take(updated, []byte(strings.Replace(body, "2096-03-01T11:30:00Z", updated, 1))); got != want {
			t.Errorf("as of %s: %s", updated, got)
		}
	}
	if b.head(task.Key()).Version != 1 || len(b.tasks) != 1 {
		t.Error("the shipment was changed")
	}
}

func TestAnAnnouncementThatOvertakesTheReleaseWaitsForIt(t *testing.T) {
	b := newBench(t)
	orderTask, o := b.place("1001", goods{"MUG", 2})
	m := b.message("e31", parcel("31", "1001", "94001", goods{"MUG", 2}))
	b.wait(9 * time.Minute)
	for range 2 {
		_, err := b.in.Take(t.Context(), m)
		if f := b.isFault(err, fault.Retryable, fault.MissingReference); f.RetryAfter != 5*time.Second {
			t.Errorf("again after %s", f.RetryAfter)
		}
	}
	if k := b.resolve("warehouse", "shipment", "31"); k.ID != "" || len(b.opened()) != 0 {
		t.Errorf("kept %+v", k)
	}
	b.release(orderTask)
	if got, err := b.in.Take(t.Context(), m); err != nil || got != inbox.Accepted {
		t.Fatalf("%s, %v", got, err)
	}
	if h := b.head(b.tasks[0].Key()); h.Parent != o.ID {
		t.Errorf("head = %+v", h)
	}
}

func TestAnAnnouncementOfAnUnknownOrderIsParkedAndRecordedOnceItIsKnown(t *testing.T) {
	b := newBench(t)
	orderTask, o := b.place("1001", goods{"MUG", 2})
	m := b.message("e31", parcel("31", "1001", "94001", goods{"MUG", 2}))
	b.wait(10 * time.Minute)
	if got, err := b.in.Take(t.Context(), m); err != nil || got != inbox.Parked {
		t.Fatalf("%s, %v", got, err)
	}
	k := b.resolve("warehouse", "shipment", "31")
	xs := b.opened()
	if len(xs) != 1 || xs[0].Class != string(fault.MissingReference) || xs[0].Field != "order_id" || xs[0].Value != "551001" ||
		xs[0].Document != k.ID || xs[0].Raw == "" || xs[0].EventID != "e31" {
		t.Fatalf("exceptions = %+v", xs)
	}
	if h := b.head(k); h.Parked != xs[0].ID || h.State != retail.Received || !h.Due.IsZero() {
		t.Errorf("head = %+v", h)
	}
	if len(b.tasks) != 0 {
		t.Error("its phase was started")
	}
	// Somebody presses retry, first in vain.
	retry := func() document.Task {
		h := b.head(k)
		h.Parked, h.Due = "", b.clock()
		if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h}); err != nil {
			t.Fatal(err)
		}
		return b.resumed(document.Task{Tenant: k.Tenant, Type: k.Type, ID: k.ID, Run: h.Run})
	}
	task := retry()
	b.isFault(b.phase.Record(t.Context(), task), fault.Exception, fault.MissingReference)
	b.release(orderTask)
	if err := whole(t.Context(), b.phase, retry()); err != nil {
		t.Fatal(err)
	}
	if h := b.head(k); h.Parent != o.ID || h.State != retail.Closed {
		t.Errorf("head = %+v", h)
	}
	b.stocked("MUG", 98, 0)
}

func TestAParcelThatHasNotLeftIsTakenInWhenItDoes(t *testing.T) {
	b := newBench(t)
	b.released("1001", goods{"MUG", 2})
	body := strings.Replace(string(parcel("31", "1001", "94001", goods{"MUG", 2})), `"Completed"`, `"Cancelled"`, 1)
	if got := b.take("e1", []byte(body)); got != inbox.Superseded {
		t.Fatalf("outcome = %s", got)
	}
	if k := b.resolve("warehouse", "shipment", "31"); k.ID != "" || len(b.opened()) != 0 || len(b.tasks) != 0 {
		t.Errorf("kept %+v", k)
	}
	b.announce("31", "1001", "94001", goods{"MUG", 2})
}

func TestTwoParcelsMayShareATrackingNumber(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	other := b.released("1002", goods{"MUG", 1})
	first := b.announce("31", "1001", "94001", goods{"MUG", 1})
	second := b.announce("32", "1001", "94001", goods{"MUG", 1})
	third := b.announce("33", "1002", "94001", goods{"MUG", 1})
	for _, task := range []document.Task{first, second, third} {
		if err := whole(t.Context(), b.phase, task); err != nil {
			t.Fatal(err)
		}
	}
	if k := b.resolve("warehouse", "tracking", "94001"); k != first.Key() {
		t.Errorf("the number leads to %+v", k)
	}
	if k := b.resolve("shop", "tracking", "94001"); k != o {
		t.Errorf("the number leads to %+v at the channel", k)
	}
	if b.head(o).State != retail.Closed || b.head(other).State != retail.Closed {
		t.Error("an order stayed open")
	}
}

func TestWhatCannotBeTakenInIsParkedWithItsPayload(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	good := string(parcel("31", "1001", "94001", goods{"MUG", 2}))
	for _, c := range []struct{ name, body, shell string }{
		{"not JSON", "{", ""},
		{"an empty body", "", ""},
		{"no id", strings.Replace(good, `"id":31,`, "", 1), ""},
		{"an id longer than any vendor's", strings.Replace(good, `"id":31,`, `"id":"`+strings.Repeat("3", 3000)+`",`, 1), ""},
		{"a quantity that is none", strings.Replace(good, `"quantity":2`, `"quantity":-2`, 1), "31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(b.opened())
			if got := b.take(c.name, []byte(c.body)); got != inbox.Parked {
				t.Fatalf("outcome = %s", got)
			}
			if kept := string(b.blobs.m[inbox.RawKey("shipment", b.tenant, noon, "warehouse", c.name)]); kept != c.body {
				t.Errorf("kept %q", kept)
			}
			if len(b.opened()) != before+1 || len(b.tasks) != 0 {
				t.Errorf("%d exceptions, started %v", len(b.opened()), b.tasks)
			}
			if c.shell == "" {
				return
			}
			k := b.resolve("warehouse", "shipment", c.shell)
			if h := b.head(k); h.Parked == "" || h.Body != 0 || h.Parent != o.ID {
				t.Errorf("head = %+v", h)
			}
			if got := b.take("later", []byte(good)); got != inbox.Waiting {
				t.Errorf("a later event: %s", got)
			}
			if got := b.take("again", []byte(c.body)); got != inbox.Repeated || b.resolve("warehouse", "shipment", c.shell) != k {
				t.Errorf("the same refusal: %s", got)
			}
		})
	}
}

func TestAMessageWhoseBodyIsDamagedIsParked(t *testing.T) {
	b := newBench(t)
	m := b.message("e1", nil)
	m.Body = "no base64"
	if got, err := b.in.Take(t.Context(), m); err != nil || got != inbox.Parked {
		t.Fatalf("%s, %v", got, err)
	}
	if kept := string(b.blobs.m[inbox.RawKey("shipment", b.tenant, noon, "warehouse", "e1")]); kept != m.Body {
		t.Errorf("kept %q", kept)
	}
}

func TestAParcelThatNobodyAnnouncedIsFoundAtTheWarehouse(t *testing.T) {
	b := newBench(t)
	orderTask, o := b.place("1001", goods{"MUG", 2})
	var sent []inbox.Message
	f := shipment.Follower{Life: b.phase.Life, Effects: b.store, Connections: b, Enqueue: func(_ context.Context, m inbox.Message) error {
		sent = append(sent, m)
		return nil
	}}
	follow := func() {
		t.Helper()
		if err := f.Follow(t.Context(), orderTask); err != nil {
			t.Fatal(err)
		}
	}
	due := b.head(o).Due
	follow()
	if len(sent) != 0 || !b.head(o).Due.Equal(due) {
		t.Fatalf("an order that is not released was followed: %v", sent)
	}
	b.release(orderTask)
	b.announce("31", "1001", "94001", goods{"MUG", 1})
	b.warehouse.listed["551001"] = []retail.Listed{
		{ExternalID: "31", UpdatedAt: noon, Raw: parcel("31", "1001", "94001", goods{"MUG", 1})},
		{ExternalID: "32", UpdatedAt: noon.Add(time.Minute), Raw: parcel("32", "1001", "94002", goods{"MUG", 1})},
	}
	follow()
	if len(sent) != 0 {
		t.Fatal("the warehouse was asked for parcels in the moment of the release")
	}
	for range 2 {
		b.wait(time.Hour)
		follow()
	}
	if len(sent) != 2 || sent[0].EventID != "poll:32:2096-03-01T12:01:00Z" || sent[1].EventID != sent[0].EventID {
		t.Fatalf("sent %+v", sent)
	}
	if h := b.head(o); !h.Due.Equal(noon.Add(150 * time.Minute)) {
		t.Errorf("due %s", h.Due)
	}
	for i, want := range []string{inbox.Accepted, inbox.Repeated} {
		if got, err := b.in.Take(t.Context(), sent[i]); err != nil || got != want {
			t.Errorf("taking %d: %s, %v", i, got, err)
		}
	}
	b.wait(time.Hour)
	follow()
	if len(sent) != 2 {
		t.Error("a parcel that is known was enqueued")
	}
	for _, task := range b.tasks {
		b.run(task, b.phase.Record, b.phase.Confirm, b.phase.Invoice)
	}
	b.warehouse.listed["551001"] = append(b.warehouse.listed["551001"], retail.Listed{ExternalID: "33"})
	b.wait(time.Hour)
	follow()
	if h := b.head(o); len(sent) != 2 || h.State != retail.Shipped || !h.Due.Equal(noon.Add(270*time.Minute)) {
		t.Errorf("a shipped order: sent %d, head %+v", len(sent), h)
	}
	for _, task := range b.tasks {
		b.run(task, b.phase.Close)
	}
	if h := b.head(o); h.State != retail.Closed {
		t.Errorf("state = %s", h.State)
	}
	b.stocked("MUG", 98, 0)
}

func TestFollowingAnOrderWithoutAProvenReleaseIsForPeople(t *testing.T) {
	b := newBench(t)
	orderTask, o := b.place("1001", goods{"MUG", 2})
	b.release(orderTask)
	b.wait(time.Hour)
	f := shipment.Follower{Life: b.phase.Life, Effects: forgetful{b.store, "release"}, Connections: b}
	if got := b.isFault(f.Follow(t.Context(), orderTask), fault.Exception, fault.MissingReference); got.Value != o.ID {
		t.Errorf("fault = %+v", got)
	}
}

func TestAnOrderThatIsSplitIsFollowedAtEachOfItsWarehouses(t *testing.T) {
	for name, c := range map[string]struct {
		releases []retail.WarehouseRelease
		listed   map[string]string // parcel by the order's id at the warehouse
		want     []string
	}{
		"one release":                   {[]retail.WarehouseRelease{{Location: "MAIN", Warehouse: "warehouse", Ref: "551001"}}, map[string]string{"551001": "31"}, []string{"31"}},
		"two releases":                  {[]retail.WarehouseRelease{{Location: "MAIN", Warehouse: "warehouse", Ref: "551001"}, {Location: "EAST", Warehouse: "warehouse", Ref: "999"}}, map[string]string{"551001": "31", "999": "32"}, []string{"31", "32"}},
		"moved to another warehouse":    {[]retail.WarehouseRelease{{Location: "EAST", Warehouse: "elsewhere", Ref: "551001"}}, nil, nil},
		"released before that was kept": {nil, map[string]string{"551001": "31"}, []string{"31"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			task, k := b.place("1001", goods{"MUG", 2})
			b.release(task)
			var o retail.Order
			b.body(k, &o)
			h := b.head(k)
			h.Body++
			h.Due = b.clock().Add(time.Hour + document.PhaseLease) // of a run that begins in an hour
			if o.Sourcing.Releases = c.releases; c.releases == nil {
				o.Sourcing = nil
			}
			if err := b.phase.Life.Commit(t.Context(), document.Change{Head: h, Body: o}); err != nil {
				t.Fatal(err)
			}
			for ref, parcel := range c.listed {
				b.warehouse.listed[ref] = []retail.Listed{{ExternalID: parcel, UpdatedAt: noon}}
			}
			var sent []string
			f := shipment.Follower{Life: b.phase.Life, Effects: b.store, Connections: b, Enqueue: func(_ context.Context, m inbox.Message) error {
				sent = append(sent, m.EventID)
				return nil
			}}
			b.wait(time.Hour)
			err := f.Follow(t.Context(), task)
			if c.want == nil {
				if got := b.isFault(err, fault.Permanent, fault.Configuration); got.Value != "elsewhere" {
					t.Errorf("asked %q", got.Value)
				}
				return
			}
			if err != nil || len(sent) != len(c.want) {
				t.Fatalf("%v, sent %q", err, sent)
			}
			for i, parcel := range c.want {
				if !strings.HasPrefix(sent[i], "poll:"+parcel+":") {
					t.Errorf("sent %q, want the parcels %q", sent, c.want)
				}
			}
		})
	}
}

func TestAReplayGivesAParkedParcelThePayloadThatCanBeTakenIn(t *testing.T) {
	bad := strings.Replace(string(parcel("31", "1001", "94001", goods{"MUG", 2})), `"quantity":2`, `"quantity":-2`, 1)
	good := string(parcel("31", "1001", "94001", goods{"MUG", 2}))
	other := string(parcel("32", "1001", "94002", goods{"MUG", 2}))
	unplaced := string(parcel("31", "7777", "94001", goods{"MUG", 2}))
	for name, c := range map[string]struct {
		waits  []string
		replay string
		want   string
		reason string // a part of it, where the exception is open again
		left   int    // that wait still
	}{
		"the corrected payload":                        {nil, good, inbox.Accepted, "", 0},
		"as it was, and a good one waits":              {[]string{good}, bad, inbox.Accepted, "", 0},
		"as it was, and the second that waits is good": {[]string{unplaced, good}, bad, inbox.Accepted, "", 0},
		"as it was": {nil, bad, inbox.Parked, "quantity", 0},
		"as it was, and what waits is of no order":        {[]string{unplaced}, bad, inbox.Parked, "quantity", 1},
		"another parcel's":                                {nil, other, inbox.Parked, "of another shipment", 0},
		"of an order that is not known, and a good waits": {[]string{good}, unplaced, inbox.Accepted, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			o := b.released("1001", goods{"MUG", 2})
			if got := b.take("e1", []byte(bad)); got != inbox.Parked {
				t.Fatal(got)
			}
			k, x := b.resolve("warehouse", "shipment", "31"), b.opened()[0]
			for i, body := range c.waits {
				if got := b.take(fmt.Sprint("w", i), []byte(body)); got != inbox.Waiting {
					t.Fatal(got)
				}
			}
			m := b.message("replay", []byte(c.replay))
			m.Exception = x.ID
			b.wait(time.Hour) // beyond the patience with an order that is not known
			m.ReceivedAt = noon
			got, err := b.in.Take(t.Context(), m)
			if err != nil || got != c.want {
				t.Fatalf("%s, %v", got, err)
			}
			h, open := b.head(k), b.opened()
			waiting, err := b.store.Pending(t.Context(), k)
			if err != nil || len(waiting) != c.left || h.Waiting != c.left {
				t.Errorf("%d wait, the head counts %d, %v", len(waiting), h.Waiting, err)
			}
			if c.want == inbox.Parked {
				if h.Parked != x.ID || len(open) != 1 || open[0].ID != x.ID || !strings.Contains(open[0].Reason, c.reason) || len(b.tasks) != 0 {
					t.Errorf("head %+v, open %+v", h, open)
				}
				return
			}
			if h.Parked != "" || len(open) != 0 || h.Parent != o.ID || len(b.tasks) != 1 {
				t.Fatalf("head %+v, open %+v, started %v", h, open, b.tasks)
			}
			if err := whole(t.Context(), b.phase, b.tasks[0]); err != nil {
				t.Fatal(err)
			}
			b.stocked("MUG", 98, 0)
		})
	}
}

func TestHoweverManyWaitBehindAParcelNoneIsLeftBehind(t *testing.T) {
	for _, n := range []int{50, 51, 130} {
		b := newBench(t)
		b.released("1001", goods{"MUG", 2})
		good := string(parcel("31", "1001", "94001", goods{"MUG", 2}))
		if got := b.take("e1", []byte(strings.Replace(good, `"quantity":2`, `"quantity":-2`, 1))); got != inbox.Parked {
			t.Fatal(got)
		}
		for i := range n {
			if got := b.take(fmt.Sprint("w", i), []byte(good)); got != inbox.Waiting {
				t.Fatal(got)
			}
		}
		k := b.resolve("warehouse", "shipment", "31")
		m := b.message("replay", []byte(good))
		m.Exception = b.opened()[0].ID
		if got, err := b.in.Take(t.Context(), m); err != nil || got != inbox.Accepted {
			t.Fatal(got, err)
		}
		waiting, err := b.store.Pending(t.Context(), k)
		if h := b.head(k); err != nil || len(waiting) != 0 || h.Waiting != 0 || h.Parked != "" {
			t.Errorf("of %d that waited %d do, %v; head %+v", n, len(waiting), err, h)
		}
	}
}

func TestAParcelIsKnownByAnIDOfAtMostSoManyBytes(t *testing.T) {
	b := newBench(t)
	o := b.released("1001", goods{"MUG", 2})
	take := func(name string) string {
		b.warehouse.named = &name
		return b.take(fmt.Sprint(len(name), " bytes"), parcel("31", "1001", "94001", goods{"MUG", 1}))
	}
	if got := take(strings.Repeat("3", 256)); got != inbox.Accepted || b.head(b.tasks[0].Key()).Parent != o.ID {
		t.Errorf("256 bytes: %s", got)
	}
	for _, name := range []string{"", strings.Repeat("3", 257)} {
		if got := take(name); got == inbox.Accepted || len(b.tasks) != 1 {
			t.Errorf("%d bytes: %s", len(name), got)
		}
	}
	if xs := b.opened(); len(xs) != 1 || xs[0].Class != string(fault.Validation) || xs[0].Field != "id" { // the same bytes are one
		t.Errorf("exceptions %+v", xs)
	}
}
