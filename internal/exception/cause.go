package exception

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Cause is what several exceptions have in common: mending it lets all of them
// go on.
type Cause struct {
	Tenant      retail.Tenant              `json:"tenant"`
	Fingerprint string                     `json:"fingerprint"`
	Kind        string                     `json:"kind"`
	Class       string                     `json:"class"`
	Connection  string                     `json:"connection"`
	Field       string                     `json:"field,omitempty"`
	Value       string                     `json:"value,omitempty"`
	Reason      string                     `json:"reason"` // of the oldest
	Action      string                     `json:"suggested_action,omitempty"`
	Count       int                        `json:"count"`
	Asked       int                        `json:"replays_on_their_way"`
	AtStake     map[retail.Currency]string `json:"value_at_stake"`
	OldestAt    time.Time                  `json:"oldest_at"`
	DueAt       time.Time                  `json:"due_at"` // the earliest
	Owners      []string                   `json:"owners,omitempty"`
	Exceptions  []string                   `json:"exceptions"`
	// Verb is what lets it end once it is mended: retry, or resolve where nothing
	// waits for it.
	Verb string `json:"verb"`
}

// Causes groups exceptions, what is due first first. A document that is at
// stake twice counts once.
func Causes(xs []document.Exception) []Cause {
	type key struct {
		tenant retail.Tenant
		print  string
	}
	groups := map[key]*Cause{}
	stake := map[key]map[retail.Currency]retail.Money{}
	counted := map[string]bool{}
	xs = slices.Clone(xs)
	slices.SortStableFunc(xs, func(a, b document.Exception) int { return a.OpenedAt.Compare(b.OpenedAt) })
	for _, x := range xs {
		k := key{x.Tenant, x.Fingerprint}
		c := groups[k]
		if c == nil {
			c = &Cause{Tenant: x.Tenant, Fingerprint: x.Fingerprint, Kind: x.Kind, Class: x.Class, Connection: x.Connection,
				Field: x.Field, Value: x.Value, Reason: x.Reason, Action: x.Action, OldestAt: x.OpenedAt, DueAt: x.DueAt, Verb: "resolve"}
			groups[k], stake[k] = c, map[retail.Currency]retail.Money{}
		}
		c.Count++
		if x.Document != "" || x.EventID != "" {
			c.Verb = "retry"
		}
		if x.State == document.Asked {
			c.Asked++
		}
		if x.DueAt.Before(c.DueAt) {
			c.DueAt = x.DueAt
		}
		if x.Owner != "" && !slices.Contains(c.Owners, x.Owner) {
			c.Owners = append(c.Owners, x.Owner)
		}
		c.Exceptions = append(c.Exceptions, x.ID)
		if doc := x.Tenant.String() + x.Type + x.Document; x.AtStake.Currency != "" && (x.Document == "" || !counted[doc]) {
			counted[doc] = true
			sum := stake[k][x.AtStake.Currency]
			sum.Currency = x.AtStake.Currency
			sum.Amount += x.AtStake.Amount
			stake[k][x.AtStake.Currency] = sum
		}
	}
	out := make([]Cause, 0, len(groups))
	for k, c := range groups {
		c.AtStake = map[retail.Currency]string{}
		for cur, m := range stake[k] {
			c.AtStake[cur] = m.String()
		}
		slices.Sort(c.Owners)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Cause) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Tenant.String(), b.Tenant.String()), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}

// Drained is how far the retry of a cause came.
type Drained struct {
	Total   int `json:"total"`
	Done    int `json:"done"`    // that go on, or are on their way
	Refused int `json:"refused"` // that cannot
}

// RetryCause retries what matches, oldest first, one after the other; progress
// hears of each. It may be called again after any interruption: what went on is
// no longer open. Its error is of the first refusal, after all were tried.
func (d Desk) RetryCause(ctx context.Context, t retail.Tenant, match func(document.Exception) bool, a Actor, progress func(Drained, Result, error)) (Drained, error) {
	xs, err := d.Store.OpenExceptions(ctx, t)
	if err != nil {
		return Drained{}, err
	}
	xs = slices.DeleteFunc(xs, func(x document.Exception) bool { return !match(x) })
	slices.SortStableFunc(xs, func(a, b document.Exception) int {
		return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
	})
	n := Drained{Total: len(xs)}
	var first error
	for _, x := range xs {
		r, err := d.Retry(ctx, t, x.ID, a)
		switch {
		case err == nil:
			n.Done++
		case fault.KindOf(err) == fault.Retryable || errors.Is(err, context.Canceled):
			return n, err // the store or the queue is away; what is left stays open
		default:
			n.Refused++
			if first == nil {
				first = err
			}
		}
		if progress != nil {
			progress(n, r, err)
		}
	}
	return n, first
}
