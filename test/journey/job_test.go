//go:build unix

package journey_test

import (
	"context"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
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
