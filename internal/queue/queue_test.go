package queue_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/queue"
	"github.com/waybillhq/waybill/internal/queue/drivertest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a new queue, and a sender to it that rules befall.
func opened(t *testing.T, faults *awsfault.Injector) (plain *sqs.Client, faulty queue.Queues, url string) {
	t.Helper()
	cfg := localtest.Config(t)
	plain = sqs.NewFromConfig(cfg)
	out, err := plain.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q"), Attributes: map[string]string{"VisibilityTimeout": "0"}})
	must(t, err)
	if faults != nil {
		cfg = faults.Configure(cfg)
	}
	return plain, queue.Queues{Client: sqs.NewFromConfig(cfg)}, *out.QueueUrl
}

func driver(t *testing.T, faults *awsfault.Injector) drivertest.Driver {
	t.Helper()
	c, q, url := opened(t, faults)
	letters, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("letters")})
	must(t, err)
	return drivertest.Driver{
		Repeats: true, // a connection may break at any time, and a standard queue takes a message twice
		Letters: q, URL: *letters.QueueUrl,
		Send: func(ctx context.Context, group string, v any, delay time.Duration) error {
			return q.Send(ctx, url, group, v, delay)
		},
		SendAll: func(ctx context.Context, vs []string) error { return queue.SendAll(ctx, q, url, vs) },
		Hide: func(ctx context.Context, receipt string, d time.Duration) error {
			return q.Hide(ctx, url, receipt, d)
		},
		Receive: func(t *testing.T) (out []drivertest.Received) {
			res, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10,
				MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}})
			must(t, err)
			for _, m := range res.Messages {
				n, err := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
				must(t, err)
				out = append(out, drivertest.Received{Body: *m.Body, Group: m.Attributes["MessageGroupId"], Receipt: *m.ReceiptHandle, Count: n})
			}
			return out
		},
		Delete: func(t *testing.T, receipt string) {
			_, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: &receipt})
			must(t, err)
		},
	}
}

func TestSQSPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver { return driver(t, nil) })
}

func TestSQSPassesTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout, awsfault.Lost, awsfault.Partial} {
		t.Run(string(kind), func(t *testing.T) {
			befallen := 0
			drivertest.Run(t, func(t *testing.T) drivertest.Driver {
				faults := awsfault.New(nil, awsfault.Rule{Kind: kind, Every: 2})
				t.Cleanup(func() { befallen += faults.Count(kind) })
				return driver(t, faults)
			})
			if befallen == 0 {
				t.Error("nothing was befallen")
			}
		})
	}
}

func TestABatchThatIsNeverTakenWholeEndsAsRetryable(t *testing.T) {
	faults := awsfault.New(nil, awsfault.Rule{Kind: awsfault.Partial, Every: 1})
	_, q, url := opened(t, faults)
	err := queue.SendAll(t.Context(), q, url, []string{"one"})
	if f := fault.Of(err); f == nil || f.Kind != fault.Retryable {
		t.Errorf("err = %v", err)
	}
	if n := faults.Count(awsfault.Partial); n != awsfault.Attempts {
		t.Errorf("tried %d times", n)
	}
}

// answering is a sender whose calls are answered by look, and go nowhere.
func answering(look func(in any) (out any)) queue.Queues {
	cfg := awsfault.New(nil).Configure(aws.Config{Region: "us-east-1"})
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("Look", func(_ context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (out middleware.InitializeOutput, meta middleware.Metadata, err error) {
			out.Result = look(in.Parameters)
			return out, meta, nil
		}), middleware.After)
	})
	return queue.Queues{Client: sqs.NewFromConfig(cfg)}
}

func TestOnlyWhatWasNotTakenIsSentAgain(t *testing.T) {
	var calls [][]string
	q := answering(func(in any) any {
		var bodies []string
		out := &sqs.SendMessageBatchOutput{}
		for n, e := range in.(*sqs.SendMessageBatchInput).Entries {
			if bodies = append(bodies, *e.MessageBody); len(calls) < 2 && n%2 == 0 {
				out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError")})
			}
		}
		calls = append(calls, bodies)
		return out
	})
	must(t, queue.SendAll(t.Context(), q, "q", []int{0, 1, 2, 3, 4}))
	if got, want := fmt.Sprint(calls), "[[0 1 2 3 4] [0 2 4] [0 4]]"; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

func TestAMessageThatItsSenderIsBlamedForIsRefusedForGood(t *testing.T) {
	calls := 0
	q := answering(func(any) any {
		calls++
		return &sqs.SendMessageBatchOutput{Failed: []types.BatchResultErrorEntry{{Id: aws.String("0"), Code: aws.String("InvalidMessageContents"), SenderFault: true}}}
	})
	if err := queue.SendAll(t.Context(), q, "q", []int{0}); fault.KindOf(err) != fault.Permanent || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// A delay or a hiding that is cut to whole seconds would end too early.
func TestPartsOfASecondAreWholeOnes(t *testing.T) {
	var delays, hidden []int32
	q := answering(func(in any) any {
		if p, ok := in.(*sqs.SendMessageInput); ok {
			delays = append(delays, p.DelaySeconds)
			return &sqs.SendMessageOutput{}
		}
		hidden = append(hidden, in.(*sqs.ChangeMessageVisibilityInput).VisibilityTimeout)
		return &sqs.ChangeMessageVisibilityOutput{}
	})
	for _, c := range []struct {
		d             time.Duration
		delay, hidden int32
	}{
		{time.Nanosecond, 1, 1}, {300 * time.Millisecond, 1, 1}, {time.Second, 1, 1}, {1400 * time.Millisecond, 2, 2},
		{15 * time.Minute, 900, 900}, {24 * time.Hour, 900, 43200},
	} {
		must(t, q.Send(t.Context(), "q", "", "m", c.d))
		must(t, q.Hide(t.Context(), "q", "r", c.d))
		if got := delays[len(delays)-1]; got != c.delay {
			t.Errorf("%v is a delay of %d s, want %d", c.d, got, c.delay)
		}
		if got := hidden[len(hidden)-1]; got != c.hidden {
			t.Errorf("%v hides for %d s, want %d", c.d, got, c.hidden)
		}
	}
}

// A rule's dead letter says in an attribute which function it could not invoke.
func TestADeadLetterKeepsItsAttributes(t *testing.T) {
	c, q, url := opened(t, nil)
	_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("{}"),
		MessageAttributes: map[string]types.MessageAttributeValue{"TARGET_ARN": {DataType: aws.String("String"), StringValue: aws.String("arn:f")}}})
	must(t, err)
	got, err := q.Take(t.Context(), url, 10, time.Minute)
	if err != nil || len(got) != 1 || got[0].Attributes["TARGET_ARN"] != "arn:f" {
		t.Errorf("%+v, %v", got, err)
	}
}
