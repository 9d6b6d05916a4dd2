package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/stream"
)

// kinds are all kinds of jobs, a line each: adding one is its file and its line.
func kinds(p *boot.Platform) []job.Kind {
	letters := DeadLetterDesk(p)
	return []job.Kind{
		p.Reconciler().Kind(),
		letters.Redrive(),
		letters.Archive(),
		p.Prover().Kind(),
		p.Replay().Kind(),
		stock.Auditing(p.Store, p.Store, order.Fulfillment{Life: p.Life(), Stock: p.Store}.Unclaimed),
	}
}

// Jobs starts jobs of every kind and works on them.
func Jobs(p *boot.Platform) job.Runner {
	r := p.Starter(kinds(p)...)
	r.Objects = p.Payloads()
	return r
}

// DeadLetterDesk is where the stack's dead letters are dealt with.
func DeadLetterDesk(p *boot.Platform) deadletter.Desk {
	back := func(source string) func(context.Context, deadletter.Message) error {
		return func(ctx context.Context, m deadletter.Message) error {
			return p.Queues.SendBody(ctx, p.Env(source), m.Group, m.Body)
		}
	}
	return deadletter.Desk{SQS: p.Queues, Objects: p.Payloads(), Now: time.Now, Queues: []deadletter.Queue{
		{Name: orderInbox, Dead: p.Env("ORDER_INBOX_DEAD"), Forward: back("ORDER_QUEUE")},
		{Name: shipmentInbox, Dead: p.Env("SHIPMENT_INBOX_DEAD"), Forward: back("SHIPMENT_QUEUE")},
		{Name: "resume", Dead: p.Env("RESUME_DEAD"), Forward: back("RESUME_QUEUE")},
		{Name: "job", Dead: p.Env("JOB_DEAD"), Forward: back("JOB_QUEUE")},
		{Name: "publish", Dead: p.Env("PUBLISH_DEAD"), Forward: republish(p)},
		{Name: "schedule", Dead: p.Env("SCHEDULE_DEAD"), Forward: reschedule(p)},
	}}
}

// DeadLetters lists the queues that hold dead letters: how many, how old, and
// one message's id.
func DeadLetters(ctx context.Context, p *boot.Platform) ([]deadletter.Letters, error) {
	return DeadLetterDesk(p).Letters(ctx)
}

// reschedule invokes the function that a rule could not.
func reschedule(p *boot.Platform) func(context.Context, deadletter.Message) error {
	return func(ctx context.Context, m deadletter.Message) error {
		target := m.Attributes["TARGET_ARN"]
		var function string
		switch at := strings.LastIndexByte(target, ':') + 1; target[at:] {
		case "":
			return fault.New(fault.Permanent, fault.Validation, "the message does not say which function its rule invokes").At("TARGET_ARN", target)
		case p.Env("DOCUMENT_SWEEP"):
			function = p.Env("DOCUMENT_SWEEP")
		case p.Env("ORDER_RECONCILE"):
			function = p.Env("ORDER_RECONCILE")
		case p.Env("JOB_SCHEDULE"):
			function = p.Env("JOB_SCHEDULE")
		case p.Env("ALERT_SEND"):
			function = p.Env("ALERT_SEND")
		default:
			return fault.New(fault.Permanent, fault.MissingReference, "no rule of this version invokes that function").At("TARGET_ARN", target)
		}
		_, err := lambda.NewFromConfig(p.AWS).Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(m.Body)})
		if err != nil {
			return fmt.Errorf("invoking %s: %w", function, err)
		}
		return nil
	}
}

// republish publishes what a stretch of the stream holds, read again. Consumers
// know an event that they had by its id.
func republish(p *boot.Platform) func(context.Context, deadletter.Message) error {
	return func(ctx context.Context, m deadletter.Message) error {
		source := stream.Stream{Client: dynamodbstreams.NewFromConfig(p.AWS), ARN: p.Env("DOCUMENTS_STREAM")}
		return Republish(p.Env("SUBSCRIBED_EVENTS"), source.Records, Bus(p).Publish)(ctx, m)
	}
}

// Republish publishes the events of a stretch that a dead letter of the stream
// names, as the stream's own handler would.
func Republish(types string, read func(context.Context, stream.Stretch) ([]events.DynamoDBEventRecord, error),
	publish func(context.Context, []eventbus.Event) ([]int, error)) func(context.Context, deadletter.Message) error {
	return func(ctx context.Context, m deadletter.Message) error {
		var lost struct {
			Batch stream.Stretch `json:"DDBStreamBatchInfo"`
		}
		if err := json.Unmarshal([]byte(m.Body), &lost); err != nil || lost.Batch.Shard == "" || lost.Batch.First == "" || lost.Batch.Last == "" {
			return fault.New(fault.Permanent, fault.Validation, "the message names no stretch of the stream").At("message", m.ID)
		}
		records, err := read(ctx, lost.Batch)
		if err != nil {
			return err
		}
		out, _ := wanted(types, records)
		for part := range slices.Chunk(out, eventbus.MaxBatch) {
			refused, err := publish(ctx, part)
			if err != nil {
				return err
			}
			if len(refused) > 0 {
				return fault.New(fault.Retryable, fault.Connectivity, "the bus refused %d of %d events; they are published again", len(refused), len(part))
			}
		}
		return nil
	}
}
