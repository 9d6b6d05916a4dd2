package order

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Activity is when a channel's orders were placed, as far as its listings told.
type Activity struct {
	Last time.Time `json:"last,omitzero"` // the newest order
	Gaps []Gap     `json:"gaps,omitempty"`
	// Silent is the exception that is open because nothing comes, or "".
	Silent string `json:"silent,omitempty"`
}

// Gap is the longest pause between two orders that ended on a day.
type Gap struct {
	Day     string        `json:"day"` // UTC
	Longest time.Duration `json:"longest"`
}

const (
	historyDays = 28
	// fewestDays of orders are needed before anything is said about a channel.
	fewestDays = 7
	// shortestSilence keeps a busy channel's lag from looking like silence.
	shortestSilence = time.Hour
)

// Heard takes in when orders were placed and tells whether that is news. Orders
// that come late, or again, change nothing.
func (a *Activity) Heard(placed ...time.Time) (news bool) {
	slices.SortFunc(placed, time.Time.Compare)
	for _, at := range placed {
		if !at.After(a.Last) {
			continue
		}
		if gap := at.Sub(a.Last); !a.Last.IsZero() {
			day := at.UTC().Format(time.DateOnly)
			if n := len(a.Gaps); n > 0 && a.Gaps[n-1].Day == day {
				a.Gaps[n-1].Longest = max(a.Gaps[n-1].Longest, gap)
			} else {
				a.Gaps = append(a.Gaps, Gap{day, gap})
			}
		}
		a.Last, news = at, true
	}
	oldest := a.Last.Add(-historyDays * 24 * time.Hour).UTC().Format(time.DateOnly)
	a.Gaps = slices.DeleteFunc(a.Gaps, func(g Gap) bool { return g.Day < oldest })
	return news
}

// Usual is how long the channel's usual pauses get, and the pause from which on
// it is silent. ok is false where too little is known of it.
//
// A channel has its nights and its weekends, and each pause of them ends on some
// day: the longest of each of the last four weeks' days are its history. A pause
// that comes every week is among them four times; an outage of ours or a holiday
// once or twice. So the third longest is usual, and half as long again is not.
func (a Activity) Usual() (usual, silent time.Duration, ok bool) {
	if len(a.Gaps) < fewestDays {
		return 0, 0, false
	}
	var longest []time.Duration
	for _, g := range a.Gaps {
		longest = append(longest, g.Longest)
	}
	slices.Sort(longest)
	usual = longest[len(longest)-3]
	return usual, max(usual+usual/2, shortestSilence), true
}

// Activities keeps it by connection.
type Activities interface {
	Activity(ctx context.Context, t retail.Tenant, connection string) (Activity, error)
	SetActivity(ctx context.Context, t retail.Tenant, connection string, a Activity) error
}

// Listener notices a channel that has become silent: webhooks and listings may
// both succeed and tell nothing.
type Listener struct {
	Activities Activities
	Life       document.Life
	// Count hears how many channels are silent, for a metric.
	Count func(t retail.Tenant, connection string, silent bool)
}

// Hear takes in one page of a listing; after the last it judges the silence.
func (l Listener) Hear(ctx context.Context, t retail.Tenant, connection string, channel any, page []retail.Listed, last bool) error {
	decoder, ok := channel.(Decoder)
	if !ok || l.Activities == nil {
		return nil
	}
	a, err := l.Activities.Activity(ctx, t, connection)
	if err != nil {
		return err
	}
	var placed []time.Time
	for _, x := range page {
		// One that cannot be read is parked by the intake.
		if o, _, err := decoder.DecodeOrder(x.Raw); err == nil {
			placed = append(placed, o.PlacedAt)
		}
	}
	changed := a.Heard(placed...)
	if last {
		usual, limit, known := a.Usual()
		pause := l.Life.Now().Sub(a.Last)
		silent := known && pause > limit
		if l.Count != nil {
			l.Count(t, connection, silent)
		}
		if silent != (a.Silent != "") {
			if err := l.turn(ctx, t, connection, &a, silent, pause, usual); err != nil {
				return err
			}
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return l.Activities.SetActivity(ctx, t, connection, a)
}

// turn opens an exception when a channel becomes silent, and closes it when it
// is heard again.
func (l Listener) turn(ctx context.Context, t retail.Tenant, connection string, a *Activity, silent bool, pause, usual time.Duration) error {
	var x document.Exception
	if silent {
		x = l.Life.NewException(t, connection, fault.New(fault.Exception, fault.Connectivity, "no order for %s; its longest usual pause of the last weeks is %s",
			hours(pause), hours(usual)).At("silence", connection))
		x.Action = "look whether orders are placed there, and whether its listing and its webhooks show them; then resolve"
		// One silence is one exception, however often this is tried.
		x.ID = fmt.Sprintf("silence-%s-%d", connection, a.Last.Unix())
		a.Silent = x.ID
	} else {
		var err error
		if x, err = l.Life.Store.Exception(ctx, t, a.Silent); err != nil {
			return fmt.Errorf("reading the exception of a silence: %w", err)
		}
		a.Silent = ""
		if x.State == document.Resolved {
			return nil
		}
		x.State, x.Resolution, x.ResolvedAt = document.Resolved, "orders come again", l.Life.Now()
	}
	err := l.Life.Store.Commit(ctx, document.Transaction{Exceptions: []document.Exception{x}})
	if err != nil && (!silent || !errors.Is(err, document.ErrConflict)) {
		return fmt.Errorf("telling of a silence: %w", err)
	}
	return nil
}

func hours(d time.Duration) string { return fmt.Sprintf("%.1f hours", d.Hours()) }
