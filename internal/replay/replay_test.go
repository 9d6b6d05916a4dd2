package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/replay"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func kept(t *testing.T) (*memory.Bucket, retail.Tenant) {
	t.Helper()
	tn, err := retail.ParseTenant("north")
	if err != nil {
		t.Fatal(err)
	}
	b := &memory.Bucket{}
	put := func(tenant retail.Tenant, connection string, at time.Time, n int) {
		for i := range n {
			if err := b.Put(t.Context(), inbox.RawKey("order", tenant, at, connection, fmt.Sprint("e", i)), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(tn, "shop", noon.AddDate(0, 0, -3), 7) // before
	put(tn, "shop", noon.AddDate(0, 0, -2), 250)
	put(tn, "shop", noon, 3)
	put(tn, "shop", noon.AddDate(0, 0, 1), 5) // after
	put(tn, "shop2", noon, 9)
	return b, tn
}

func TestAReplayHandsOverEachPayloadOfItsDaysOnceAlthoughAPartIsRepeated(t *testing.T) {
	b, tn := kept(t)
	events := map[string]int{}
	fail := false
	r := replay.Replay{Payloads: b, Now: func() time.Time { return noon }, Enqueue: func(_ context.Context, class string, m inbox.Message) error {
		if fail && len(events)%40 == 39 {
			fail = false
			return errors.New("the queue is away")
		}
		if class != "order" || m.Tenant != tn || m.Connection != "shop" || !strings.HasPrefix(m.Blob, "raw/order/north/shop/2026/03/") {
			t.Errorf("%s %+v", class, m)
		}
		events[m.EventID]++
		return nil
	}}
	j := job.Job{Tenant: tn, ID: "j1", Params: map[string]string{replay.Connection: "shop", replay.Class: "order", replay.From: "2026-03-08", replay.To: "2026-03-10"}}
	var applied int64
	for parts := 0; ; parts++ {
		if parts > 20 {
			t.Fatal("the job does not end")
		}
		fail = parts%2 == 0
		p, err := r.Kind().Part(t.Context(), j)
		if err != nil {
			continue // the runner repeats the part
		}
		applied += p.Counts.Applied
		if j.Cursor = p.Cursor; p.Done {
			break
		}
	}
	if len(events) != 253 || applied != 253 {
		t.Errorf("%d events, %d counted", len(events), applied)
	}
	other := job.Job{Tenant: tn, ID: "j2", Params: j.Params}
	if _, err := r.Kind().Part(t.Context(), other); err != nil || len(events) != 353 {
		t.Errorf("another replay hands over other attempts: %d, %v", len(events), err)
	}
}

func TestAReplayThatCannotBeIsRefusedWithWhatIsPossible(t *testing.T) {
	b, tn := kept(t)
	r := replay.Replay{Payloads: b, Now: func() time.Time { return noon }, Keep: 90 * 24 * time.Hour}
	for name, c := range map[string]struct {
		params map[string]string
		field  string
	}{
		"no connection":    {map[string]string{replay.Class: "order", replay.From: "2026-03-08", replay.To: "2026-03-10"}, "connection"},
		"an unknown class": {map[string]string{replay.Connection: "shop", replay.Class: "x", replay.From: "2026-03-08", replay.To: "2026-03-10"}, "class"},
		"no day":           {map[string]string{replay.Connection: "shop", replay.Class: "order", replay.From: "8 March", replay.To: "2026-03-10"}, "from"},
		"the wrong way":    {map[string]string{replay.Connection: "shop", replay.Class: "order", replay.From: "2026-03-11", replay.To: "2026-03-10"}, "from"},
		"years":            {map[string]string{replay.Connection: "shop", replay.Class: "order", replay.From: "2020-03-11", replay.To: "2026-03-10"}, "from"},
	} {
		if _, err := r.Kind().Key(c.params); fault.Of(err) == nil || fault.Of(err).Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := map[string]string{replay.Connection: "shop", replay.Class: "order", replay.From: "2025-03-08", replay.To: "2025-03-10"}
	if err := r.Check(t.Context(), tn, gone); err == nil || !strings.Contains(err.Error(), "waybill job start reconcile") || !strings.Contains(err.Error(), "90 days") {
		t.Errorf("%v", err)
	}
	gone[replay.From], gone[replay.To] = "2026-03-01", "2026-03-10"
	if err := r.Check(t.Context(), tn, gone); err != nil {
		t.Errorf("%v", err)
	}
}

func TestALookAtAReplayHandsNothingOver(t *testing.T) {
	b, tn := kept(t)
	r := replay.Replay{Payloads: b, Now: func() time.Time { return noon }, Enqueue: func(context.Context, string, inbox.Message) error {
		t.Error("handed over")
		return nil
	}}
	p, err := r.Kind().Part(t.Context(), job.Job{Tenant: tn, ID: "j1", DryRun: true, Params: map[string]string{
		replay.Connection: "shop", replay.Class: "order", replay.From: "2026-03-10", replay.To: "2026-03-10"}})
	if err != nil || !p.Done || p.Counts != (job.Counts{Read: 3}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestEachConnectionAndClassHasItsOwnReplay(t *testing.T) {
	keys := map[string]bool{}
	for _, connection := range []string{"shop", "shop2"} {
		for _, class := range []string{"order", "shipment"} {
			key, err := replay.Replay{}.Kind().Key(map[string]string{replay.Connection: connection, replay.Class: class, replay.From: "2026-03-08", replay.To: "2026-03-10"})
			if keys[key] = true; err != nil {
				t.Error(err)
			}
		}
	}
	if len(keys) != 4 {
		t.Errorf("%v", keys)
	}
}
