package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

// crowded is the share of an instance that its retailer keeps busy while another
// has the only place.
func crowded(t *testing.T) (loud retail.Tenant, share *rate.Share) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 1))})
	loud, err := retail.ParseTenant("loud")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		share = &rate.Share{Store: store, Now: clock, NewID: func() string { return fmt.Sprint("i", i) }, Function: "f", Cap: 1}
		for range 2 {
			leave, err := share.Enter(t.Context(), loud)
			if err != nil {
				return loud, share
			}
			now = now.Add(4 * time.Second)
			leave()
		}
	}
	t.Fatal("nobody is refused")
	return loud, nil
}

func TestADeliveryOverTheCapComesAgainAndIsTakenInAtLast(t *testing.T) {
	loud, share := crowded(t)
	p := &Platform{Log: slog.New(slog.DiscardHandler), Meter: &meter.Meter{}}
	var hidden []time.Duration
	taken := 0
	handle := Inbox(p, "order-intake", func(_ context.Context, _ string, d time.Duration) error { hidden = append(hidden, d); return nil }, share,
		func(context.Context, inbox.Message) (string, error) { taken++; return inbox.Accepted, nil })
	body, err := json.Marshal(inbox.Message{Tenant: loud})
	if err != nil {
		t.Fatal(err)
	}
	const last = 8 // of the twelve that its queue delivers
	for n := 1; n <= last; n++ {
		res, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", Body: string(body), Attributes: map[string]string{"ApproximateReceiveCount": fmt.Sprint(n)}}}})
		if err != nil || (len(res.BatchItemFailures) == 0) != (n == last) || (taken == 1) != (n == last) {
			t.Fatalf("delivery %d: %+v, %v, %d taken in", n, res, err, taken)
		}
	}
	if len(hidden) != last-1 || hidden[0] < 10*time.Second || hidden[1] != 3*hidden[0] || hidden[last-2] > time.Hour {
		t.Errorf("hidden for %v", hidden)
	}
}

func TestATaskOverTheCapIsNotBegunAndSaysWhenToComeAgain(t *testing.T) {
	loud, share := crowded(t)
	begun := false
	err := capped(share, func(context.Context, document.Task) error { begun = true; return nil })(t.Context(), document.Task{Tenant: loud})
	if f := fault.Of(err); f == nil || f.Kind != fault.Retryable || f.Class != fault.RateLimited || f.RetryAfter <= 0 || begun {
		t.Errorf("%v, begun: %t", err, begun)
	}
	other, perr := retail.ParseTenant("quiet")
	if err := errors.Join(perr, capped(share, func(context.Context, document.Task) error { begun = true; return nil })(t.Context(), document.Task{Tenant: other})); err != nil || !begun {
		t.Errorf("another retailer's: %v, begun: %t", err, begun)
	}
}

func TestWhatFailsOfABatchComesAgainAfterAWaitThatGrowsAndTheRestIsDone(t *testing.T) {
	done := 0
	for attempt, c := range map[int]struct{ asked, hidden time.Duration }{
		1: {0, 2 * time.Second}, 2: {0, 4 * time.Second}, 9: {0, 512 * time.Second}, 12: {0, 10 * time.Minute}, 3: {5 * time.Minute, 5 * time.Minute}, 4: {5 * time.Hour, time.Hour},
	} {
		hidden := map[string]time.Duration{}
		handle := Batch(quietPlatform(), "f", func(_ context.Context, receipt string, d time.Duration) error {
			hidden[receipt] = d
			return errors.New("what cannot be hidden comes again all the same")
		}, func(_ context.Context, m struct{ Fail bool }) (string, error) {
			if m.Fail {
				return "", fault.New(fault.Retryable, fault.Connectivity, "503").After(c.asked)
			}
			done++
			return "done", nil
		})
		var in events.SQSEvent
		for i, body := range []string{`{}`, `{"Fail":true}`, `{`, `{}`} {
			in.Records = append(in.Records, events.SQSMessage{MessageId: fmt.Sprint("m", i), ReceiptHandle: fmt.Sprint("r", i), Body: body, Attributes: map[string]string{"ApproximateReceiveCount": fmt.Sprint(attempt)}})
		}
		done = 0
		res, err := handle(t.Context(), in)
		if f := res.BatchItemFailures; err != nil || done != 2 || len(f) != 2 || f[0].ItemIdentifier != "m1" || f[1].ItemIdentifier != "m2" {
			t.Errorf("attempt %d: %d done, %+v, %v", attempt, done, f, err)
		}
		if len(hidden) != 2 || hidden["r1"] != c.hidden {
			t.Errorf("attempt %d: hidden %v, want %s", attempt, hidden, c.hidden)
		}
	}
}

// A step that took its share of the instance counts once it is over.
func TestATaskKeepsItsRetailerBusyForAsLongAsItTakes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 1))})
	tenant, err := retail.ParseTenant("loud")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[int]bool{}
	for i := range 2 {
		share := &rate.Share{Store: store, Now: clock, NewID: func() string { return fmt.Sprint("i", i) }, Function: "f", Cap: 1}
		for range 3 {
			if capped(share, func(context.Context, document.Task) error { now = now.Add(4 * time.Second); return nil })(t.Context(), document.Task{Tenant: tenant}) != nil {
				refused[i] = true
			}
		}
	}
	if refused[0] || !refused[1] {
		t.Errorf("refused: %v", refused)
	}
}
