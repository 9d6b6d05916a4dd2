package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/rate"
)

// Superseded is the error type of a task whose run no longer owns its
// document; the machine ends there without a trace.
const Superseded = "Superseded"

// Task makes a state task of a flow's step. Its error's type is the fault's
// kind, for the machine to catch, and its message carries the fault.
func (p *Platform) Task(name string, step func(context.Context, document.Task) error) func(context.Context, document.Task) error {
	return func(ctx context.Context, t document.Task) error {
		began := time.Now()
		err := step(ctx, t)
		p.Line(name, began, err, "tenant", t.Tenant.String(), "type", t.Type, "document", t.ID, "run", t.Run)
		return taskError(err)
	}
}

// VendorTask is Task for a step that talks to vendors: what it holds of their
// rates is given back at its end, and over its retailer's cap it is not begun.
func (p *Platform) VendorTask(name string, step func(context.Context, document.Task) error) func(context.Context, document.Task) error {
	share := p.Share(name)
	share.Cap *= taskShare
	task := p.Task(name, capped(share, step))
	return func(ctx context.Context, t document.Task) error {
		defer p.Rates().Done(ctx)
		return task(ctx, t)
	}
}

// taskShare is how many instances of a task may work for a retailer for each of
// an intake. A task waits for vendors most of its time, and unlike an intake,
// whose queue invokes ten at most, it has all of the account's to share.
const taskShare = 4

// capped does not begin a step that is over its retailer's cap.
func capped(share *rate.Share, step func(context.Context, document.Task) error) func(context.Context, document.Task) error {
	return func(ctx context.Context, t document.Task) error {
		leave, err := share.Enter(ctx, t.Tenant)
		if err != nil {
			return err
		}
		defer leave()
		return step(ctx, t)
	}
}

func taskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, document.ErrSuperseded):
		return messages.InvokeResponse_Error{Type: Superseded, Message: err.Error()}
	case errors.Is(err, document.ErrConflict):
		// Whoever changed the head owns it, or it is looked at again.
		err = fault.Wrap(fault.Retryable, fault.StateConflict, err, "committing").After(time.Second)
	}
	return messages.InvokeResponse_Error{Type: string(fault.KindOf(err)), Message: fault.Encode(err)}
}

// Line is the one line that an invocation logs. Faults hold no personal data.
func (p *Platform) Line(name string, began time.Time, err error, attrs ...any) {
	attrs = append(attrs, "ms", time.Since(began).Milliseconds(), "asked", p.Meter.Take())
	switch f := fault.Of(err); {
	case err == nil:
		p.Log.Info(name, attrs...)
	case errors.Is(err, document.ErrSuperseded):
		p.Log.Info(name, append(attrs, "outcome", "superseded")...)
	case f != nil:
		p.Log.Warn(name, append(attrs, "kind", f.Kind, "class", f.Class, "field", f.Field, "error", document.Reason(err))...)
	default:
		p.Log.Warn(name, append(attrs, "kind", fault.Retryable, "error", document.Reason(err))...)
	}
}

// Hide makes a received message visible again after d.
type Hide func(ctx context.Context, receipt string, d time.Duration) error

// Hide is of the queue whose address the variable has.
func (p *Platform) Hide(variable string) Hide {
	return func(ctx context.Context, receipt string, d time.Duration) error {
		return p.Queues.Hide(ctx, p.Env(variable), receipt, d)
	}
}

// Batch makes an SQS handler of the handling of one message. A message that
// failed is redelivered after a wait that doubles with every attempt, so that
// an outage of minutes does not end in the dead-letter queue.
func Batch[T any](p *Platform, name string, hide Hide, one func(context.Context, T) (string, error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return batch(p, name, hide, func(ctx context.Context, m T, _ int) (string, error) { return one(ctx, m) })
}

const (
	// A delivery over its retailer's cap comes again after capWait, three times as
	// long each time, so that putting a backlog off costs less than it frees. After
	// capTimes, some two hours, it is taken in whatever the cap says: what is left
	// of its queue's twelve receives is for failures.
	capWait    = 20 * time.Second
	capLongest = 30 * time.Minute
	capTimes   = 7
)

// putOff is after how long a delivery comes again that was over the cap so often.
func putOff(times int) time.Duration {
	wait := capWait
	for range times - 1 {
		wait = min(3*wait, capLongest)
	}
	return wait
}

// Inbox is Batch for an intake's deliveries, within their retailers' caps.
func Inbox(p *Platform, name string, hide Hide, share *rate.Share, take func(context.Context, inbox.Message) (string, error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return batch(p, name, hide, func(ctx context.Context, m inbox.Message, attempt int) (string, error) {
		switch leave, err := share.Enter(ctx, m.Tenant); {
		case err == nil:
			defer leave()
		case attempt <= capTimes:
			return "", fault.Of(err).After(putOff(attempt))
		}
		return take(ctx, m)
	})
}

func batch[T any](p *Platform, name string, hide Hide, one func(ctx context.Context, m T, attempt int) (string, error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return func(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
		failed := []events.SQSBatchItemFailure{} // never nil: a null list fails the whole batch
		for _, rec := range batch.Records {
			began := time.Now()
			var m T
			attempt, err := strconv.Atoi(rec.Attributes["ApproximateReceiveCount"])
			if err != nil || attempt < 1 {
				attempt = 1
			}
			outcome := ""
			if err = json.Unmarshal([]byte(rec.Body), &m); err != nil {
				err = fmt.Errorf("decoding the message: %w", err)
			} else {
				outcome, err = one(ctx, m, attempt)
			}
			p.Line(name, began, err, "message", rec.MessageId, "outcome", outcome, "attempt", attempt)
			if err == nil {
				continue
			}
			failed = append(failed, events.SQSBatchItemFailure{ItemIdentifier: rec.MessageId})
			wait := max(min(time.Second<<min(attempt, 10), 10*time.Minute), fault.RetryAfterOf(err))
			if err := hide(ctx, rec.ReceiptHandle, min(wait, time.Hour)); err != nil {
				p.Log.Warn(name, "error", err) // the queue's own visibility time-out follows
			}
		}
		return events.SQSEventResponse{BatchItemFailures: failed}, nil
	}
}
