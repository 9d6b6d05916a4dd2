//go:build unix

package journey_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/retail"
)

// run starts a job and waits for its end.
func runJob(t *testing.T, q job.Request) job.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q.By, q.Reason = "journey", "mended"
	j, err := platform.Platform.Jobs().Start(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	for !j.State.Ended() {
		pause(t)
		if j, err = platform.Platform.Store.Job(ctx, q.Tenant, j.ID); err != nil {
			t.Fatalf("waiting for job %s: %v", j.ID, err)
		}
	}
	return j
}

// Orders whose deliveries were given up on go back, close, and the day is whole.
func TestDeadLettersGoBackAndTheDayHasNoHole(t *testing.T) {
	p := platform.Platform
	var orders []demo.Placement
	for range 2 {
		o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, DropWebhook: true})
		raw, err := platform.Shop.Payload(o.ID)
		if err != nil {
			t.Fatal(err)
		}
		m := inbox.Message{Schema: retail.SchemaVersion, Tenant: platform.Tenant, Connection: demo.Shop, Connector: "shopify",
			Topic: "orders/create", EventID: "dead-" + o.ID, ReceivedAt: time.Now()}
		if err := p.Queues.Send(t.Context(), p.Env("ORDER_INBOX_DEAD"), platform.Tenant.String(), m.WithBody(raw), 0); err != nil {
			t.Fatal(err)
		}
		orders = append(orders, o)
	}
	letters, err := p.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 || letters[0].Queue != "order-inbox" || letters[0].Count != 2 || letters[0].Sample == "" {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	if j := runJob(t, job.Request{Tenant: retail.Partner, Kind: "archive"}); j.State != job.Done || j.Counts.Unchanged != 2 {
		t.Errorf("archive: %+v", j)
	}
	if j := runJob(t, job.Request{Tenant: retail.Partner, Kind: "redrive", Params: map[string]string{"queue": "order-inbox"}}); j.State != job.Done || j.Counts.Applied != 2 {
		t.Fatalf("redrive: %+v", j)
	}
	for _, o := range orders {
		await(t, o, retail.Closed, 2*time.Minute)
	}
	if letters, err = p.DeadLetters(t.Context()); err != nil || len(letters) != 0 {
		t.Errorf("dead letters %+v, %v", letters, err)
	}
	// What other journeys placed without a webhook is found meanwhile.
	if err := platform.Invoke(t.Context(), "OrderReconcile"); err != nil {
		t.Fatal(err)
	}
	var j job.Job
	for range 20 {
		if j = runJob(t, job.Request{Tenant: platform.Tenant, Kind: proof.Job.Name, Params: map[string]string{"connection": demo.Shop, "date": "today"}}); j.State == job.Done {
			break
		}
		pause(t)
	}
	day := time.Now().UTC().Format(time.DateOnly)
	r, found, err := p.Store.Proof(t.Context(), platform.Tenant, demo.Shop, day)
	if err != nil || j.State != job.Done || !found || r.Listed < 2 || r.Accounted != r.Listed || r.InERP < 2 || r.States["closed"] < 2 {
		t.Errorf("%+v\n%+v, %v, %v", j, r, found, err)
	}
}

// A replay that no intake could take in lets its exception be open again, with
// its payload, and may be asked for again.
func TestAReplayThatIsADeadLetterIsToldAndMayBeAskedForAgain(t *testing.T) {
	p, ctx := platform.Platform, t.Context()
	body := []byte("no order " + t.Name())
	if got := send(t, platform.HookURL(demo.Shop), "dead-replay", demo.WebhookSecret(demo.Shop), body); got != 200 {
		t.Fatalf("HTTP %d", got)
	}
	x := parked(t, "dead-replay")
	desk, who := p.Desk(), exception.Actor{By: "journey", Reason: "mended"}
	desk.Enqueue = func(ctx context.Context, _ string, m inbox.Message) error {
		return p.Queues.Send(ctx, p.Env("ORDER_INBOX_DEAD"), m.Tenant.String(), m, 0)
	}
	if r, err := desk.Retry(ctx, platform.Tenant, x.ID, who); err != nil || r.Exception.State != document.Asked {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := platform.Invoke(ctx, "AlertSend"); err != nil {
		t.Fatal(err)
	}
	until(t, "the exception is open again", func() bool {
		var err error
		if x, err = p.Store.Exception(ctx, platform.Tenant, x.ID); err != nil {
			t.Fatal(err)
		}
		return x.State == document.Open
	})
	kept, err := p.Payloads().Get(ctx, x.Raw)
	if len(x.Notes) != 1 || !strings.Contains(x.Notes[0].Text, "order-inbox") || err != nil || !bytes.Equal(kept, body) {
		t.Errorf("%+v with %q, %v", x, kept, err)
	}
	if j := runJob(t, job.Request{Tenant: retail.Partner, Kind: "redrive", Params: map[string]string{"queue": "order-inbox"}}); j.Counts.Applied != 1 {
		t.Errorf("redrive: %+v", j)
	}
	if _, err := p.Desk().Retry(ctx, platform.Tenant, x.ID, who); err != nil {
		t.Fatal(err)
	}
	until(t, "what cannot be read is parked by the same exception", func() bool {
		if x, err = p.Store.Exception(ctx, platform.Tenant, x.ID); err != nil {
			t.Fatal(err)
		}
		return x.State == document.Open && x.Retries == 2
	})
	if _, err := p.Desk().Resolve(ctx, platform.Tenant, x.ID, who); err != nil {
		t.Error(err)
	}
}
