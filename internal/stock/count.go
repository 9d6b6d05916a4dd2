package stock

import (
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
)

// Fence is the time as of which a position was counted last. What happened
// before it is in the count, whenever it is told.
type Fence struct {
	At   time.Time
	Skew time.Duration // by how much the source's clock may differ
	By   string        // the source
}

// Set reports whether the position was ever counted.
func (f Fence) Set() bool { return !f.At.IsZero() }

// Clear reports whether a movement at a time is surely after the count.
func (f Fence) Clear(at time.Time) bool { return !f.Set() || at.After(f.At.Add(f.Skew)) }

// Counts is what a change of on hand that occurred at a time still adds to the
// count: all of it after the fence, nothing before. Within the skew nobody
// knows, and the lower number is taken: goods that may have been there are not
// promised.
func (f Fence) Counts(delta int64, at time.Time) (applies int64, ambiguous bool) {
	switch {
	case f.Clear(at):
		return delta, false
	case at.Before(f.At.Add(-f.Skew)):
		return 0, false
	}
	return min(delta, 0), delta != 0
}

// Applies is what a movement adds to a position with this fence. A reversal
// takes back what its movement has added, so that both together are nothing in
// whatever order they come.
func (f Fence) Applies(m Move) (applies int64, ambiguous bool) {
	if m.Reverses != "" {
		n, a := f.Counts(-m.OnHand, m.OccurredAt)
		return -n, a
	}
	return f.Counts(m.OnHand, m.OccurredAt)
}

// Weigh is the on hand that a count comes to: what was counted, and the
// movements after it. moves are those from fence − skew on; counts and openings
// among them move nothing by themselves.
func Weigh(counted int64, f Fence, moves []Move) (onHand int64, ambiguous []Move) {
	onHand = counted
	reversed := map[string]bool{}
	for _, m := range moves {
		if m.Reverses != "" {
			reversed[m.Reverses] = true
		}
	}
	for _, m := range moves {
		if m.Type == CountMove || m.Type == Opening {
			continue
		}
		n, unsure := f.Applies(m)
		onHand += n
		if unsure && m.Reverses == "" && !reversed[m.ID()] {
			ambiguous = append(ambiguous, m)
		}
	}
	return onHand, ambiguous
}

// Older refuses a count that is not newer than the last.
func (f Fence) Older(at time.Time) error {
	if f.Set() && !at.After(f.At) {
		return fault.New(fault.Exception, fault.StateConflict, "the count is as of %s; the position was counted as of %s by %s already", at.UTC().Format(time.RFC3339), f.At.UTC().Format(time.RFC3339), f.By).
			At("as_of", at.UTC().Format(time.RFC3339))
	}
	return nil
}

// Reading is a count by a source that does not say as of when. Begun is when
// the request began, and Moved the last movement that the position has.
type Reading struct {
	OnHand int64
	Begun  time.Time
}

// Unmarked turns two readings of a source without a mark into a count as of the
// first one's begin, or says why it cannot: the readings differ, or something
// moved since shortly before.
func Unmarked(first, second Reading, skew time.Duration, moves []Move) (asOf time.Time, err error) {
	if first.OnHand != second.OnHand {
		return asOf, fault.New(fault.Retryable, fault.StateConflict, "two readings of a source that gives no time differ: %d and %d", first.OnHand, second.OnHand)
	}
	for _, m := range moves {
		if !m.OccurredAt.Before(first.Begun.Add(-skew)) || !m.RecordedAt.Before(first.Begun.Add(-skew)) {
			return asOf, fault.New(fault.Retryable, fault.StateConflict, "%s moved after %s, and the source gives no time", m.SKU, first.Begun.Add(-skew).UTC().Format(time.RFC3339))
		}
	}
	return first.Begun, nil
}

// Imbalance is a number of a position that is not its ledger's.
type Imbalance struct {
	SKU      string `json:"sku"`
	Location string `json:"location"`
	Bucket   string `json:"bucket"`
	Position int64  `json:"position"`
	Ledger   int64  `json:"ledger"`
}

func (i Imbalance) String() string {
	return fmt.Sprintf("%s at %s: %s is %d, and the ledger says %d", i.SKU, i.Location, i.Bucket, i.Position, i.Ledger)
}

// Audit proves each position of a SKU: its buckets are the sums of its
// movements, reserved is the sum of its holds, and unreserved is what they
// leave.
func Audit(sku SKU, moves []Move) (out []Imbalance) {
	sums, held := map[string]Position{}, map[string]int64{}
	for _, m := range moves {
		p := sums[m.Location]
		p.SKU, p.Location = m.SKU, m.Location
		p.OnHand, p.Damaged, p.QualityHold, p.InTransit = p.OnHand+m.Applied, p.Damaged+m.Damaged, p.QualityHold+m.QualityHold, p.InTransit+m.InTransit
		sums[m.Location] = p
	}
	for _, h := range sku.Holds {
		held[h.Location] += h.Quantity
	}
	seen := map[string]bool{}
	for _, p := range sku.Positions {
		seen[p.Location] = true
		want := sums[p.Location]
		for _, b := range []struct {
			name   string
			is, by int64
		}{
			{"on_hand", p.OnHand, want.OnHand}, {"damaged", p.Damaged, want.Damaged}, {"quality_hold", p.QualityHold, want.QualityHold},
			{"in_transit", p.InTransit, want.InTransit}, {"reserved", p.Reserved, held[p.Location]},
			{"unreserved", p.Unreserved, p.OnHand - p.Reserved - p.Damaged - p.QualityHold},
		} {
			if b.is != b.by {
				out = append(out, Imbalance{p.SKU, p.Location, b.name, b.is, b.by})
			}
		}
	}
	for _, m := range moves {
		if !seen[m.Location] {
			seen[m.Location] = true
			out = append(out, Imbalance{m.SKU, m.Location, "position", 0, sums[m.Location].OnHand})
		}
	}
	return out
}
