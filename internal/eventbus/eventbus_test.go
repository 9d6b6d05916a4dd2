package eventbus_test

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/eventbus/drivertest"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a new bus with a queue as its subscriber.
func opened(t *testing.T, rules ...awsfault.Rule) (drivertest.Driver, *awsfault.Injector) {
	t.Helper()
	cfg := localtest.Config(t)
	bus, queues := eventbridge.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	_, err := bus.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("bus")})
	must(t, err)
	q, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	must(t, err)
	about, err := queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: q.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	must(t, err)
	_, err = bus.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: aws.String("all"), EventBusName: aws.String("bus"),
		EventPattern: aws.String(`{"source":["waybill"],"detail-type":["retail.order.accepted.v1"]}`)})
	must(t, err)
	_, err = bus.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: aws.String("all"), EventBusName: aws.String("bus"),
		Targets: []ebtypes.Target{{Id: aws.String("q"), Arn: aws.String(about.Attributes["QueueArn"])}}})
	must(t, err)
	faults := awsfault.New(nil, rules...)
	b := eventbus.Bus{Client: eventbridge.NewFromConfig(faults.Configure(cfg)), Name: "bus"}
	var got []eventbus.Event
	// A connection may break at any time, and the bus takes an event twice.
	return drivertest.Driver{Repeats: true, Publish: b.Publish, Published: func(t *testing.T) []eventbus.Event {
		for {
			res, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: q.QueueUrl, MaxNumberOfMessages: 10})
			must(t, err)
			if len(res.Messages) == 0 {
				return got
			}
			for _, m := range res.Messages {
				var e struct {
					Detail eventbus.Event `json:"detail"`
				}
				must(t, json.Unmarshal([]byte(*m.Body), &e))
				got = append(got, e.Detail)
				_, err := queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: q.QueueUrl, ReceiptHandle: m.ReceiptHandle})
				must(t, err)
			}
		}
	}}, faults
}

// refusals are rules for a driver that refuses.
func refusals(refusing bool) (rules []awsfault.Rule) {
	if refusing {
		rules = append(rules, awsfault.Rule{Kind: awsfault.Partial, Every: 1, Times: 1})
	}
	return rules
}

func TestEventBridgePassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, refusing bool) drivertest.Driver {
		d, _ := opened(t, refusals(refusing)...)
		return d
	})
}

func TestEventBridgePassesTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout, awsfault.Lost} {
		t.Run(string(kind), func(t *testing.T) {
			befallen := 0
			drivertest.Run(t, func(t *testing.T, refusing bool) drivertest.Driver {
				d, faults := opened(t, append(refusals(refusing), awsfault.Rule{Kind: kind, Every: 2})...)
				t.Cleanup(func() { befallen += faults.Count(kind) })
				return d
			})
			if befallen == 0 {
				t.Error("nothing was befallen")
			}
		})
	}
}
