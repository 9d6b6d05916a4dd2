// Package queue sends to and answers SQS.
package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithytime "github.com/aws/smithy-go/time"

	"github.com/waybillhq/waybill/internal/fault"
)

const (
	// MaxDelay is the longest that SQS delays a message.
	MaxDelay = 900 * time.Second
	// MaxHidden is the longest that SQS hides a received message.
	MaxHidden = 12 * time.Hour
	// MaxBytes is the largest message, and the largest sum of a batch.
	MaxBytes = 1 << 20
	// maxBatch is the number of messages in one call.
	maxBatch = 10
)

// Queues sends to SQS.
type Queues struct{ Client *sqs.Client }

// Send sends v as JSON, to be received no sooner than delay, of which SQS keeps
// at most MaxDelay. group keeps one tenant's backlog from delaying the others
// (fair queues); it orders nothing.
func (q Queues) Send(ctx context.Context, url, group string, v any, delay time.Duration) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	if delay > 0 {
		// SQS delays per message only without a group.
		in.DelaySeconds = seconds(min(delay, MaxDelay))
	} else if group != "" {
		in.MessageGroupId = &group
	}
	if _, err := q.Client.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	return nil
}

// encode refuses what SQS would refuse each time.
func encode(v any) (string, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return "", fault.Wrap(fault.Permanent, fault.Internal, err, "encoding a message")
	}
	if len(body) > MaxBytes {
		return "", fault.New(fault.Permanent, fault.Internal, "a message of %d bytes; the queue takes %d", len(body), MaxBytes)
	}
	return string(body), nil
}

// seconds rounds up: nothing comes too early.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// SendAll sends all of vs in as few calls as it can. Where it fails, some may
// have been sent.
func SendAll[T any](ctx context.Context, q Queues, url string, vs []T) error {
	var batch []types.SendMessageBatchRequestEntry
	size := 0
	for _, v := range vs {
		body, err := encode(v)
		if err != nil {
			return err
		}
		if len(batch) == maxBatch || size+len(body) > MaxBytes {
			if err := q.sendBatch(ctx, url, batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
		batch = append(batch, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(len(batch))), MessageBody: &body})
		size += len(body)
	}
	if len(batch) == 0 {
		return nil
	}
	return q.sendBatch(ctx, url, batch)
}

// sendBatch sends the messages that SQS failed to take again, after the wait
// and as often as the client repeats a call. One that SQS blames on its sender
// is refused for good.
func (q Queues) sendBatch(ctx context.Context, url string, batch []types.SendMessageBatchRequestEntry) error {
	retryer := q.Client.Options().Retryer
	for attempt := 1; ; attempt++ {
		res, err := q.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: batch})
		if err != nil {
			return fmt.Errorf("sending messages: %w", err)
		}
		failed := map[string]bool{}
		var cause error
		for _, f := range res.Failed {
			cause = &smithy.GenericAPIError{Code: aws.ToString(f.Code), Message: "a message of a batch was not taken"}
			if f.SenderFault {
				return fault.Wrap(fault.Permanent, fault.Internal, cause, "sending messages")
			}
			failed[aws.ToString(f.Id)] = true
		}
		if len(failed) == 0 {
			return nil
		}
		if attempt >= retryer.MaxAttempts() {
			return fault.Wrap(fault.Retryable, fault.Connectivity, cause, "sending messages: %d of %d were not taken", len(failed), len(batch))
		}
		var rest []types.SendMessageBatchRequestEntry
		for _, e := range batch {
			if failed[aws.ToString(e.Id)] {
				rest = append(rest, e)
			}
		}
		batch = rest
		wait, err := retryer.RetryDelay(attempt, cause)
		if err != nil {
			return fmt.Errorf("waiting to send messages again: %w", err)
		}
		if err := smithytime.SleepWithContext(ctx, wait); err != nil {
			return fmt.Errorf("waiting to send messages again: %w", err)
		}
	}
}

// Hide makes a received message visible again after d, at least a second and at
// most MaxHidden.
func (q Queues) Hide(ctx context.Context, url, receipt string, d time.Duration) error {
	_, err := q.Client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: &receipt, VisibilityTimeout: seconds(min(max(d, time.Second), MaxHidden)),
	})
	if err != nil {
		return fmt.Errorf("delaying a redelivery: %w", err)
	}
	return nil
}
