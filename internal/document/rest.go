package document

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Rest ends a run that failed: what time can mend is postponed, everything
// else is parked for a human. It returns after how long the next run is due;
// zero means parked.
func (l Life) Rest(ctx context.Context, t Task, cause error) (again time.Duration, err error) {
	// Events about the document may commit at the same time; the run decides
	// who rests it, not the version.
	for range 5 {
		var h Head
		if h, err = l.Hold(ctx, t); err != nil {
			return 0, err
		}
		if fault.KindOf(cause) == fault.Retryable {
			again, err = l.Postpone(ctx, h, cause)
		} else {
			var c Change
			var x Exception
			if c, x, err = l.Park(h, cause); err == nil {
				err = l.Store.Commit(ctx, Transaction{Changes: []Change{c}, Exceptions: []Exception{x}})
			}
		}
		if !errors.Is(err, ErrConflict) {
			return again, err
		}
	}
	return 0, err
}

// Wake gives a document to a new run where the run that t names still owns
// it. A t without a run is the sweeper's: its document must be overdue.
func (l Life) Wake(ctx context.Context, t Task) (next Task, ok bool, err error) {
	if t.Run != 0 {
		return l.Resume(ctx, t.Key(), t.Run)
	}
	// The index that led here may be behind, and the document may move on while
	// it is looked at.
	return l.take(ctx, t.Key(), func(h Head) bool { return !h.Due.IsZero() && !h.Due.After(l.Now()) })
}

// Postponed lists a retailer's documents that rest after a failure until a time:
// what held them may be over sooner.
func (l Life) Postponed(ctx context.Context, t retail.Tenant, until time.Time) (tasks []Task, err error) {
	for shard := range Shards {
		items, err := l.Store.Due(ctx, shard, until, postponedAtOnce)
		if err != nil {
			return nil, fmt.Errorf("listing what is due in shard %d: %w", shard, err)
		}
		for _, it := range items {
			if it.Key.Tenant != t {
				continue
			}
			h, err := l.Store.Head(ctx, it.Key)
			if err != nil {
				return nil, fmt.Errorf("reading the head of %s %s: %w", it.Key.Type, it.Key.ID, err)
			}
			if h.Open() && h.Parked == "" && h.Attempt > 0 && !h.Due.After(until) {
				tasks = append(tasks, Task{Schema: retail.SchemaVersion, Tenant: t, Type: h.Type, ID: h.ID, Run: h.Run})
			}
		}
	}
	return tasks, nil
}

// postponedAtOnce bounds what one call wakes of a shard; the due times of the
// others bring them back.
const postponedAtOnce = 1000

// Overdue lists documents whose due time has passed, up to limit a shard, and
// how late the latest of them is.
func (l Life) Overdue(ctx context.Context, limit int) (tasks []Task, lag time.Duration, err error) {
	now := l.Now()
	for shard := range Shards {
		items, err := l.Store.Due(ctx, shard, now, limit)
		if err != nil {
			return nil, 0, fmt.Errorf("listing what is due in shard %d: %w", shard, err)
		}
		for _, it := range items {
			tasks = append(tasks, Task{Schema: 1, Tenant: it.Key.Tenant, Type: it.Key.Type, ID: it.Key.ID})
			lag = max(lag, now.Sub(it.Due))
		}
	}
	return tasks, lag, nil
}
