//go:build unix

package journey_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
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
	j, err := operations.Jobs(platform.Platform).Start(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	for !j.State.Ended() {
		pause(t)
		now, err := platform.Platform.Store.Job(ctx, q.Tenant, j.ID)
		if err != nil {
			t.Fatalf("waiting for job %+v: %v", j, err)
		}
		j = now
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
	letters, err := operations.DeadLetters(t.Context(), p)
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
	if letters, err = operations.DeadLetters(t.Context(), p); err != nil || len(letters) != 0 {
		t.Errorf("dead letters %+v, %v", letters, err)
	}
	// What other journeys placed without a webhook is found meanwhile.
	if err := platform.Invoke(t.Context(), "OrderReconcile"); err != nil {
		t.Fatal(err)
	}
	day := time.Now().UTC().Format(time.DateOnly)
	whole(t, day)
	r, _, err := p.Store.Proof(t.Context(), platform.Tenant, demo.Shop, day)
	if err != nil || r.Listed < 2 || r.InERP < 2 || r.States["closed"] < 2 {
		t.Errorf("%+v, %v", r, err)
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

// redriven gives a queue's letters back, of which one stays.
func redriven(t *testing.T, queue string) job.Job {
	t.Helper()
	j := runJob(t, job.Request{Tenant: retail.Partner, Kind: "redrive", Params: map[string]string{"queue": queue}})
	if j.State != job.Partial || j.Counts.Rejected != 1 {
		t.Errorf("redrive of %s: %+v", queue, j)
	}
	return j
}

// What a rule could not invoke is invoked after all, whichever rule it was.
func TestWhatAScheduleCouldNotInvokeIsInvokedByARedrive(t *testing.T) {
	p, ctx := platform.Platform, t.Context()
	before, err := p.Store.Jobs(ctx, retail.Partner, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for function, body := range map[string]string{"JobSchedule": `{"start":"archive"}`, "AlertSend": `{"detail-type":"Scheduled Event"}`, "": `{}`} {
		arn := "arn:aws:lambda:us-east-1:123456789012:function:no-such"
		if function != "" {
			about, err := lambda.NewFromConfig(p.AWS).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(platform.Outputs[function])})
			if err != nil {
				t.Fatal(err)
			}
			arn = *about.FunctionArn
		}
		if _, err := p.Queues.Client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(p.Env("SCHEDULE_DEAD")), MessageBody: &body,
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{"TARGET_ARN": {DataType: aws.String("String"), StringValue: &arn}}}); err != nil {
			t.Fatal(err)
		}
	}
	if j := redriven(t, "schedule"); j.Counts.Applied != 2 || !strings.Contains(j.Summary, "2 messages went back to schedule; 1 stay") {
		t.Errorf("%+v", j)
	}
	until(t, "the archive is started", func() bool {
		jobs, err := p.Store.Jobs(ctx, retail.Partner, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(jobs, func(j job.Job) bool {
			return j.Kind == "archive" && j.By == "schedule" && !slices.ContainsFunc(before, func(b job.Job) bool { return b.ID == j.ID })
		})
	})
	purge(t, "SCHEDULE_DEAD")
}

// purge empties a queue, so that later journeys find no dead letter.
func purge(t *testing.T, queue string) {
	t.Helper()
	if _, err := platform.Platform.Queues.Client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: aws.String(platform.Platform.Env(queue))}); err != nil {
		t.Error(err)
	}
}

// newest is what a head says of its timeline.
func newest(t *testing.T, image map[string]dynamodbtypes.AttributeValue) string {
	t.Helper()
	var out struct {
		SK     string `dynamodbav:"sk"`
		Recent string `dynamodbav:"recent"`
	}
	if err := attributevalue.UnmarshalMap(image, &out); err != nil {
		t.Fatal(err)
	}
	if out.SK != "HEAD" {
		return ""
	}
	return out.Recent
}

// closing finds the timeline entry in the stream with which an order was closed.
func closing(t *testing.T) (shard, number, document string) {
	t.Helper()
	ctx := t.Context()
	table, err := dynamodb.NewFromConfig(platform.Platform.AWS).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(platform.Outputs["DocumentsTable"])})
	if err != nil {
		t.Fatal(err)
	}
	c, arn := dynamodbstreams.NewFromConfig(platform.Platform.AWS), table.Table.LatestStreamArn
	about, err := c.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{StreamArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range about.StreamDescription.Shards {
		at, err := c.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: s.ShardId, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon})
		if err != nil {
			t.Fatal(err)
		}
		for next := at.ShardIterator; next != nil; {
			page, err := c.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: next})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				pk, ok := r.Dynamodb.Keys["pk"].(*streamtypes.AttributeValueMemberS)
				if image, err := attributevalue.FromDynamoDBStreamsMap(r.Dynamodb.NewImage); err != nil {
					t.Fatal(err)
				} else if ok && strings.Contains(newest(t, image), "retail.order.closed.v1") {
					key := strings.Split(pk.Value, "#")
					return *s.ShardId, *r.Dynamodb.SequenceNumber, key[len(key)-1]
				}
			}
			if next = page.NextShardIterator; len(page.Records) == 0 {
				break
			}
		}
	}
	t.Fatal("no order was closed")
	return "", "", ""
}

// What the publisher gave up on is read from the stream again and published.
func TestEventsThatWereGivenUpOnArePublishedByARedrive(t *testing.T) {
	p, ctx := platform.Platform, t.Context()
	await(t, place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}}), retail.Closed, 2*time.Minute)
	shard, number, document := closing(t)
	made, err := p.Queues.Client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("subscriber")})
	if err != nil {
		t.Fatal(err)
	}
	about, err := p.Queues.Client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: made.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	arn := about.Attributes["QueueArn"]
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sqs:SendMessage","Resource":%q}]}`, arn)
	if _, err := p.Queues.Client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: made.QueueUrl, Attributes: map[string]string{"Policy": policy}}); err != nil {
		t.Fatal(err)
	}
	bus := eventbridge.NewFromConfig(p.AWS)
	if _, err := bus.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("closed"), EventBusName: aws.String(platform.Outputs["Bus"]), EventPattern: aws.String(`{"source":["waybill"]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: aws.String("closed"), EventBusName: aws.String(platform.Outputs["Bus"]),
		Targets: []ebtypes.Target{{Id: aws.String("q"), Arn: &arn}}}); err != nil {
		t.Fatal(err)
	}
	variable(t, "SUBSCRIBED_EVENTS", "retail.order.closed.v1")
	defer variable(t, "SUBSCRIBED_EVENTS", "")
	for _, first := range []string{number, "1"} { // the stream has no record 1
		letter := fmt.Sprintf(`{"requestContext":{"condition":"RetryAttemptsExhausted"},"DDBStreamBatchInfo":{"shardId":%q,"startSequenceNumber":%q,"endSequenceNumber":%q}}`, shard, first, number)
		if _, err := p.Queues.Client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(p.Env("PUBLISH_DEAD")), MessageBody: &letter}); err != nil {
			t.Fatal(err)
		}
	}
	if j := redriven(t, "publish"); j.Counts.Applied != 1 {
		t.Errorf("%+v", j)
	}
	until(t, "the event is published", func() bool {
		got, err := p.Queues.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(got.Messages, func(m sqstypes.Message) bool { return strings.Contains(*m.Body, document) })
	})
	purge(t, "PUBLISH_DEAD")
}
