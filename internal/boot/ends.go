package boot

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/queue"
)

// Rest makes the step that ends a run that failed: its document is postponed,
// and later brings it back after a wait, with the due time behind it; or it is
// parked.
func (p *Platform) Rest(life document.Life, later func(ctx context.Context, t document.Task, wait time.Duration) error) func(context.Context, Failed) error {
	return func(ctx context.Context, in Failed) error {
		return p.Task("document-rest", func(ctx context.Context, t document.Task) error {
			again, err := life.Rest(ctx, t, in.Fault())
			if err != nil || again == 0 || again > queue.MaxDelay {
				return err // no message waits that long, and none may come before a vendor's time
			}
			return later(ctx, t, again)
		})(ctx, in.Task)
	}
}

// Resume makes the step that gives a rested or overdue document to its next
// run.
func Resume(life document.Life, start func(context.Context, document.Task) error) func(context.Context, document.Task) (string, error) {
	return func(ctx context.Context, t document.Task) (string, error) {
		next, ok, err := life.Wake(ctx, t)
		if err != nil || !ok {
			return "superseded", err
		}
		return "resumed", start(ctx, next)
	}
}

// perShard bounds one sweep; the next comes in a minute.
const perShard = 100

// Sweep makes the step that finds what is overdue, whatever the reason. told
// hears how late the latest is.
func Sweep(life document.Life, send func(context.Context, []document.Task) error, told func(overdue int, lag time.Duration)) func(context.Context) error {
	return func(ctx context.Context) error {
		tasks, lag, err := life.Overdue(ctx, perShard)
		if err != nil {
			return fmt.Errorf("finding what is overdue: %w", err)
		}
		told(len(tasks), lag)
		return send(ctx, tasks)
	}
}

// Join makes the step that weighs a machine's parallel branches before it
// ends what they worked on.
func (p *Platform) Join(name string, end func(context.Context, document.Task) error) func(context.Context, Joined) error {
	return func(ctx context.Context, in Joined) error {
		return p.Task(name, func(ctx context.Context, t document.Task) error {
			if err := in.Failure(); err != nil {
				return err
			}
			return end(ctx, t)
		})(ctx, in.Task)
	}
}
