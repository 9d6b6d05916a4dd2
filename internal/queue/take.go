package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybillhq/waybill/internal/deadletter"
)

// wait is how long a Take waits for the first message, in seconds: only a call
// that waits asks all of the servers that a queue is spread over.
const wait = 1

// Take implements deadletter.Queues.
func (q Queues) Take(ctx context.Context, url string, n int, hide time.Duration) ([]deadletter.Message, error) {
	res, err := q.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: int32(min(max(n, 1), maxBatch)), WaitTimeSeconds: wait, // #nosec G115 -- bounded
		VisibilityTimeout:           seconds(min(hide, MaxHidden)),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameMessageGroupId},
	})
	if err != nil {
		return nil, fmt.Errorf("receiving messages: %w", err)
	}
	var out []deadletter.Message
	for _, m := range res.Messages {
		if hide <= 0 {
			// A receive cannot ask for no hiding: the SDK leaves a zero out, and
			// the queue's own time would follow.
			if _, err := q.Client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return nil, fmt.Errorf("showing a message again: %w", err)
			}
		}
		ms, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading when message %s was sent: %w", aws.ToString(m.MessageId), err)
		}
		got := deadletter.Message{ID: aws.ToString(m.MessageId), Body: aws.ToString(m.Body), Group: m.Attributes["MessageGroupId"],
			Receipt: aws.ToString(m.ReceiptHandle), Sent: time.UnixMilli(ms).UTC()}
		for k, v := range m.MessageAttributes {
			if got.Attributes == nil {
				got.Attributes = map[string]string{}
			}
			got.Attributes[k] = aws.ToString(v.StringValue)
		}
		out = append(out, got)
	}
	return out, nil
}

// SendBody implements deadletter.Queues.
func (q Queues) SendBody(ctx context.Context, url, group, body string) error {
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	if group != "" {
		in.MessageGroupId = &group
	}
	if _, err := q.Client.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	return nil
}

// Delete implements deadletter.Queues: it ends a delivery that was dealt with.
func (q Queues) Delete(ctx context.Context, url, receipt string) error {
	_, err := q.Client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: &receipt})
	var gone *types.ReceiptHandleIsInvalid
	if err == nil || errors.As(err, &gone) {
		return nil // it was deleted before, and the answer was lost
	}
	return fmt.Errorf("deleting a message: %w", err)
}

// Count implements deadletter.Queues.
func (q Queues) Count(ctx context.Context, url string) (int64, error) {
	names := []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible, types.QueueAttributeNameApproximateNumberOfMessagesDelayed}
	res, err := q.Client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names})
	if err != nil {
		return 0, fmt.Errorf("counting messages: %w", err)
	}
	var sum int64
	for _, name := range names {
		n, err := strconv.ParseInt(res.Attributes[string(name)], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("counting messages: %w", err)
		}
		sum += n
	}
	return sum, nil
}
