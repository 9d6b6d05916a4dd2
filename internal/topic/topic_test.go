package topic_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/topic"
)

func TestWhoeverSubscribedReadsWhatWasPublished(t *testing.T) {
	cfg := localtest.Config(t)
	topics, queues := sns.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	made, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("alarms")})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("reader")})
	if err != nil {
		t.Fatal(err)
	}
	at, err := queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: made.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(at.Attributes["QueueArn"])}); err != nil {
		t.Fatal(err)
	}
	alarms := topic.Topic{Client: topics, ARN: *made.TopicArn}
	for subject, want := range map[string]string{"[demo] P1: dead letters": "[demo] P1: dead letters", "Größe\n" + strings.Repeat("x", 200): "Gr??e?" + strings.Repeat("x", 94)} {
		if err := alarms.Publish(t.Context(), subject, "a text\nof two lines, größer"); err != nil {
			t.Fatal(err)
		}
		got, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, WaitTimeSeconds: 5})
		if err != nil || len(got.Messages) != 1 {
			t.Fatalf("%d messages, %v", len(got.Messages), err)
		}
		var m struct{ Subject, Message string }
		if err := json.Unmarshal([]byte(*got.Messages[0].Body), &m); err != nil || m.Subject != want || m.Message != "a text\nof two lines, größer" {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: queue.QueueUrl, ReceiptHandle: got.Messages[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	if err := (topic.Topic{Client: topics, ARN: *made.TopicArn + "-gone"}).Publish(t.Context(), "s", "t"); err == nil {
		t.Error("a topic that is not there takes a message")
	}
}
