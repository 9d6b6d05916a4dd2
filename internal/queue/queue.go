// Package queue sends to and answers SQS.
package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// MaxDelay is the longest that SQS delays a message.
const MaxDelay = 900 * time.Second

// Queues sends to SQS.
type Queues struct{ Client *sqs.Client }

// Send sends v as JSON, to be received no sooner than delay. group keeps one
// tenant's backlog from delaying the others (fair queues); it orders nothing.
func (q Queues) Send(ctx context.Context, url, group string, v any, delay time.Duration) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(string(body))}
	if delay > 0 {
		// SQS delays per message only without a group.
		in.DelaySeconds = int32(min(delay, MaxDelay).Round(time.Second) / time.Second)
	} else if group != "" {
		in.MessageGroupId = &group
	}
	if _, err := q.Client.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	return nil
}

// SendAll sends up to ten messages a call.
func SendAll[T any](ctx context.Context, q Queues, url string, vs []T) error {
	for len(vs) > 0 {
		n := min(len(vs), 10)
		entries := make([]types.SendMessageBatchRequestEntry, n)
		for i, v := range vs[:n] {
			body, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encoding a message: %w", err)
			}
			entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(string(body))}
		}
		res, err := q.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
		if err != nil {
			return fmt.Errorf("sending messages: %w", err)
		}
		if len(res.Failed) > 0 {
			return fmt.Errorf("sending messages: %d of %d were refused: %s", len(res.Failed), n, aws.ToString(res.Failed[0].Code))
		}
		vs = vs[n:]
	}
	return nil
}

// Hide makes a received message visible again after d, at least a second.
func (q Queues) Hide(ctx context.Context, url, receipt string, d time.Duration) error {
	_, err := q.Client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: &receipt, VisibilityTimeout: int32(max(d, time.Second) / time.Second),
	})
	if err != nil {
		return fmt.Errorf("delaying a redelivery: %w", err)
	}
	return nil
}
