package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// at names a position.
type at struct{ sku, location string }

// counting is a count that people made.
type counting struct {
	asOf time.Time
	// missing is what was not there any more, and nobody had told.
	missing int64
	// uncovered is whether orders held more than was found.
	uncovered bool
}

// countable is until when people count: long enough before faults end that what
// is received after is surely received after.
const countable = 90 * time.Minute

// countStock lets people count positions, each at most once.
func (w *world) countStock(t *tenant) {
	d := w.of(Counts)
	for _, l := range locations {
		for _, sku := range skus {
			when, finds := time.Duration(d.Int64N(int64(countable))), d.IntN(4)
			if d.Float64() < w.s.Faults[Counts] {
				w.soon(when, func() { w.count(t, at{sku, l}, finds) })
			}
		}
	}
}

// count is one person's, who finds what is there, all but one, or nothing, and
// gives the number until it is taken.
func (w *world) count(t *tenant, of at, finds int) {
	there := onHand - w.shipped(t, of, func(*parcel) bool { return true })
	is := there
	switch finds {
	case 0:
		is = 0
	case 1:
		is--
	}
	t.counts[of] = counting{asOf: w.time(), missing: there - is}
	c := stock.Count{SKU: of.sku, Location: of.location, Source: stock.Operator, Document: "count " + of.sku + " " + of.location, OnHand: is, AsOf: w.time(),
		Who: stock.Person{By: "storekeeper", Reason: "the count of the day"}}
	var give func()
	give = func() {
		w.spawn("operator", 0, func() {
			died, err := w.invoke("operator", time.Minute, document.Task{}, 0, func(ctx context.Context) error {
				_, err := w.books.Count(ctx, t.id, c)
				return err
			})
			w.tell("counted %d of %s at %s: %v %s", is, of.sku, of.location, err, died)
			switch {
			case fault.KindOf(err) == fault.Exception:
				w.fail("aCountIsTaken", "%d of %s at %s of %s: %v", is, of.sku, of.location, t.id, err)
			case died != "" || err != nil:
				w.soon(time.Minute, give)
			case !w.uncovered(t.id, of):
				// What had left by then was taken in before the count was given again.
				c := t.counts[of]
				c.uncovered = false
				t.counts[of] = c
			}
		})
	}
	give()
}

// settledCount looks at what a count has left of what is promised.
func (w *world) settledCount(id retail.Tenant, of at) {
	for _, t := range w.tenants {
		if t.id == id && w.uncovered(id, of) {
			c := t.counts[of]
			c.uncovered = true
			t.counts[of] = c
		}
	}
}

func (w *world) uncovered(id retail.Tenant, of at) bool {
	p := must(w.store.Positions(context.Background(), id, of.location, []string{of.sku}))[of.sku]
	return p.Unreserved < 0 && p.Reserved > 0
}

// shipped is how much of a position has left in parcels of a kind.
func (w *world) shipped(t *tenant, of at, kind func(*parcel) bool) (n int64) {
	for _, p := range t.wms.parcels {
		if p.of.rel.Location != of.location || !kind(p) {
			continue
		}
		for _, l := range p.shipment.Lines {
			if l.SKU == of.sku {
				n += l.Quantity
			}
		}
	}
	return n
}

// countedIsThere: a position that was counted has what people found and what
// moved since. want is what would be there had nothing been missing; documented
// is what documents say has left. It has less where a parcel that had left by
// then is not taken in, or where nobody knows whether one had; of that people
// are told.
func (w *world) countedIsThere(t *tenant, p stock.Position, want, documented int64) {
	of := at{p.SKU, p.Location}
	c := t.counts[of]
	most := want - c.missing
	least := most - (w.shipped(t, of, func(*parcel) bool { return true }) - documented)
	unsure := w.shipped(t, of, func(p *parcel) bool { return p.shipment.ShippedAt.Sub(c.asOf).Abs() <= rules.DefaultSkew })
	tells := func(class fault.Class) bool {
		return slices.ContainsFunc(w.openExceptions(t.id), func(x document.Exception) bool { return x.Class == string(class) && x.Value == p.SKU })
	}
	if c.uncovered && !tells(fault.ReservationUncovered) {
		w.fail("whatIsPromisedIsThere", "of %s at %s people found less than orders of %s hold, and nobody is told", p.SKU, p.Location, t.id)
	}
	told := tells(fault.StockDrift)
	if p.OnHand > most || p.OnHand < least-unsure || p.OnHand < least && !told {
		w.fail("countedIsThere", "%s of %s at %s: on hand %d, not %d to %d, of which nobody knows %d; people are told: %v", p.SKU, t.id, p.Location, p.OnHand, least, most, unsure, told)
	}
}
