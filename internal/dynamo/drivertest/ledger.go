package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

var ledgerTests = []test{
	{"AnotherMovementUnderOneKeyIsRefused", contradiction},
	{"APartOfAHoldIsConsumedAndTheRestReleased", partlyShipped},
	{"WhatWasShippedIsNotReservedAgain", reservedLate},
	{"ItemsOfOnePositionAreSummed", summed},
	{"AReservationThatNamesAnItemTwiceIsRefused", namedTwice},
	{"SafetyStockStaysAndABackorderPassesIt", safety},
	{"ALocationTakesItsOrdersOfTheDayAndNoMore", capacity},
	{"ACountFencesWhatHappenedBefore", fenced},
	{"WhatACountMayHaveSeenIsSaid", unsure},
	{"ACountIsWeighedAgainstWhatMovedMeanwhile", moved},
	{"AReversalTakesBackOnce", reversed},
	{"ATransferIsAPair", transferred},
	{"WhatASourceMayNotSayMovesNothing", refusals},
	{"WhoDiesBeforePeopleAreToldLeavesItToTheRepetition", untold},
	{"OneUnitOfAKitGoesToOneOfManyOrders", lastKit},
	{"WhatOrdersWaitForIsKept", wanted},
	{"CandidatesShowPositionsAndOwnHolds", candidates},
}

// ledger is one over the driver's store, of a retailer with some rules.
func ledger(d Driver, now *time.Time) stock.Ledger {
	ids := 0
	return stock.Ledger{Store: d.Store, Life: document.Life{Store: d.Store, Now: func() time.Time { return *now }, NewID: func() string { ids++; return fmt.Sprint("id", ids) }},
		Policy: func(context.Context, retail.Tenant) (rules.Policy, error) {
			return rules.Policy{Locations: []rules.Location{{Code: "MAIN", Owner: "wms"}, {Code: "SHOP"}},
				Products: []rules.Product{{SKU: "KIT", Components: []rules.Component{{SKU: "A", Quantity: 1}, {SKU: "B", Quantity: 2}}}, {SKU: "TEA", Unit: rules.Gram}}}, nil
		}}
}

func move(typ, doc string, onHand int64, at time.Time) stock.Move {
	return stock.Move{SKU: "A", Location: "MAIN", Type: typ, Connection: "wms", Document: doc, Line: "1", OnHand: onHand, OccurredAt: at, RecordedAt: at}
}

// proven fails unless the SKU's positions are their ledger's.
func proven(t *testing.T, d Driver, tn retail.Tenant, skus ...string) {
	t.Helper()
	for _, sku := range skus {
		kept, err := d.Store.Stock(t.Context(), tn, sku)
		must(t, err)
		moves, err := d.Store.Movements(t.Context(), tn, sku, "", time.Time{})
		must(t, err)
		for _, i := range stock.Audit(kept, moves) {
			t.Error(i)
		}
	}
}

func contradiction(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	m := move(stock.Sale, "s1", -2, Now)
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{m}))
	later := m
	later.OccurredAt, later.RecordedAt = Now.Add(time.Hour), Now.Add(time.Hour)
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{later}))
	for what, change := range map[string]func(*stock.Move){
		"on hand": func(m *stock.Move) { m.OnHand = -3 }, "damaged": func(m *stock.Move) { m.Damaged = 1 },
		"quality hold": func(m *stock.Move) { m.QualityHold = 1 }, "in transit": func(m *stock.Move) { m.InTransit = 1 },
		"location": func(m *stock.Move) { m.Location = "SHOP" },
	} {
		other := m
		change(&other)
		if f := fault.Of(d.Store.Apply(t.Context(), tn, []stock.Move{other})); f == nil || f.Kind != fault.Exception || f.Class != fault.Duplicate {
			t.Errorf("another %s: %v", what, f)
		}
	}
	stands(t, d, tn, "A", 8, 0)
	// Another source, document, line or type is another movement.
	for _, change := range []func(*stock.Move){
		func(m *stock.Move) { m.Connection = "pos" }, func(m *stock.Move) { m.Document = "s2" }, func(m *stock.Move) { m.Line = "2" },
		func(m *stock.Move) { m.Type = stock.Adjustment },
	} {
		other := m
		change(&other)
		must(t, d.Store.Apply(t.Context(), tn, []stock.Move{other}))
	}
	stands(t, d, tn, "A", 0, 0)
	proven(t, d, tn, "A")
}

func partlyShipped(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{item("A", "1", 5)}, Now))
	m := move(stock.Sale, "s1", -2, Now)
	m.Hold = "o1"
	for range 2 {
		must(t, d.Store.Apply(t.Context(), tn, []stock.Move{m}))
	}
	stands(t, d, tn, "A", 8, 3)
	more := m
	more.Document, more.OnHand = "s2", -1
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{more}))
	stands(t, d, tn, "A", 7, 2)
	must(t, d.Store.Release(t.Context(), tn, "o1", []stock.Item{item("A", "1", 5)}, Now))
	stands(t, d, tn, "A", 7, 0)
	// Nothing is held any more, and the goods left all the same.
	last := m
	last.Document = "s3"
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{last}))
	stands(t, d, tn, "A", 5, 0)
	proven(t, d, tn, "A")
}

func reservedLate(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	it := item("A", "1", 5)
	it.Until = Now.Add(time.Hour)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{it}, Now))
	m := move(stock.Sale, "s1", -5, Now)
	m.Hold = "o1"
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{m}))
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{it}, Now))
	stands(t, d, tn, "A", 5, 0)
	proven(t, d, tn, "A")
}

func summed(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	lines := []stock.Item{item("A", "1", 5), item("A", "2", 6)}
	if short := (*stock.Short)(nil); !errors.As(d.Store.Reserve(t.Context(), tn, "o1", lines, Now), &short) {
		t.Error("11 of 10 were reserved")
	}
	stands(t, d, tn, "A", 10, 0)
	lines[1].Quantity = 5
	must(t, d.Store.Reserve(t.Context(), tn, "o1", lines, Now))
	stands(t, d, tn, "A", 10, 10)
	proven(t, d, tn, "A")
}

func namedTwice(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	for what, items := range map[string][]stock.Item{"twice": {item("A", "1", 1), item("A", "1", 1)}, "nothing": {item("A", "1", 0)}, "less than nothing": {item("A", "1", -1)}} {
		if f := fault.Of(d.Store.Reserve(t.Context(), tn, "o1", items, Now)); f == nil || f.Class != fault.Validation || f.Value != "A" {
			t.Errorf("%s: %v", what, f)
		}
	}
	stands(t, d, tn, "A", 10, 0)
}

func safety(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	it := item("A", "1", 8)
	it.Safety = 3
	if short := (*stock.Short)(nil); !errors.As(d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{it}, Now), &short) {
		t.Error("safety stock was sold")
	}
	it.Quantity = 7
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{it}, Now))
	stands(t, d, tn, "A", 10, 7)
	it.Quantity, it.Backorder = 8, true
	must(t, d.Store.Reserve(t.Context(), tn, "o2", []stock.Item{it}, Now))
	stands(t, d, tn, "A", 10, 15)
	var unknown *stock.Unknown
	if it.SKU = "B"; !errors.As(d.Store.Reserve(t.Context(), tn, "o2", []stock.Item{it}, Now), &unknown) {
		t.Error("a backorder made a position")
	}
	proven(t, d, tn, "A")
}

func capacity(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	it := item("A", "1", 1)
	it.Capacity = &stock.Capacity{Day: "2096-03-01", Limit: 2}
	for _, o := range []string{"o1", "o1", "o2"} {
		must(t, d.Store.Reserve(t.Context(), tn, o, []stock.Item{it}, Now))
	}
	var full *stock.Full
	if err := d.Store.Reserve(t.Context(), tn, "o3", []stock.Item{it}, Now); !errors.As(err, &full) || full.Location != "MAIN" {
		t.Errorf("a third order: %v", err)
	}
	taken := func(want int64) {
		t.Helper()
		if n, err := d.Store.Orders(t.Context(), tn, "MAIN", "2096-03-01"); err != nil || n != want {
			t.Errorf("%d orders, not %d, %v", n, want, err)
		}
	}
	taken(2)
	stands(t, d, tn, "A", 10, 2)
	// An order that ends gives its turn back, once; another takes it.
	for range 2 {
		must(t, d.Store.Release(t.Context(), tn, "o1", []stock.Item{it}, Now))
	}
	taken(1)
	two := item("A", "1", 2)
	two.Capacity = it.Capacity
	must(t, d.Store.Reserve(t.Context(), tn, "o3", []stock.Item{two}, Now))
	taken(2)
	// Of the location's work a part was done: its turn is used.
	out := move(stock.Sale, "p1", -1, Now)
	out.Hold = "o3"
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{out}))
	must(t, d.Store.Release(t.Context(), tn, "o3", []stock.Item{two}, Now))
	taken(2)
	stands(t, d, tn, "A", 9, 1)
	proven(t, d, tn, "A")
}

func unsure(t *testing.T, d Driver) {
	tn, now := tenant(t, "acme"), Now
	l := ledger(d, &now)
	_, err := l.Open(t.Context(), tn, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "open", OnHand: 10, AsOf: Now, Who: stock.Person{By: "ann", Reason: "go-live"}})
	must(t, err)
	for at, want := range map[time.Duration]bool{-time.Hour: false, time.Minute: true, time.Hour: false} {
		for range 2 { // the second is recorded before
			m := []stock.Move{move(stock.Sale, at.String(), -1, Now.Add(at))}
			must(t, d.Store.Apply(t.Context(), tn, m))
			if m[0].Unsure != want {
				t.Errorf("a movement %s after the count is unsure: %v", at, m[0].Unsure)
			}
		}
	}
	is(t, d, tn, 8)
	proven(t, d, tn, "A")
}

func fenced(t *testing.T, d Driver) {
	tn, now := tenant(t, "acme"), Now
	l := ledger(d, &now)
	who := stock.Person{By: "ann", Reason: "go-live"}
	got, err := l.Open(t.Context(), tn, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "open", OnHand: 10, AsOf: Now, Who: who})
	must(t, err)
	if got.Is != 10 {
		t.Errorf("opened with %d", got.Is)
	}
	now = Now.Add(3 * time.Hour)
	for doc, at := range map[string]time.Duration{"before": -time.Hour, "after": time.Hour, "later": 2 * time.Hour} {
		must(t, l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Sale, doc, -1, Now.Add(at))}))
	}
	is(t, d, tn, 8) // the opening has seen what was before it
	c := stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "c1", OnHand: 7, AsOf: Now.Add(90 * time.Minute)}
	for range 2 {
		_, err = l.Count(t.Context(), tn, c)
		must(t, err)
	}
	is(t, d, tn, 6) // and one sale after it
	// A sale that is told late was counted; one within the skew may not have been.
	must(t, l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Sale, "late", -2, Now.Add(70*time.Minute))}))
	is(t, d, tn, 6)
	must(t, l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Sale, "unsure", -1, Now.Add(85*time.Minute)), move(stock.Receipt, "unsure too", 4, Now.Add(95*time.Minute))}))
	is(t, d, tn, 5)
	open, err := d.Store.OpenExceptions(t.Context(), tn)
	must(t, err)
	if len(open) != 1 || open[0].Class != string(fault.StockDrift) {
		t.Errorf("exceptions: %+v", open)
	}
	proven(t, d, tn, "A")
}

func is(t *testing.T, d Driver, tn retail.Tenant, want int64) {
	t.Helper()
	ps, err := d.Store.Positions(t.Context(), tn, "MAIN", []string{"A"})
	must(t, err)
	if p := ps["A"]; p.OnHand != want || p.Unreserved != p.OnHand-p.Reserved-p.Damaged-p.QualityHold {
		t.Errorf("position %+v, want %d on hand", p, want)
	}
}

func moved(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	ps, err := d.Store.Positions(t.Context(), tn, "MAIN", []string{"A"})
	must(t, err)
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{move(stock.Sale, "s1", -1, Now)}))
	m := move(stock.CountMove, "c1", 5, Now)
	m.Applied, m.Counted, m.AsOf = 5, 15, Now
	if _, err := d.Store.Settle(t.Context(), tn, ps["A"].Version, m, stock.Fence{At: Now, By: "wms"}); !errors.Is(err, stock.ErrMoved) {
		t.Errorf("err = %v", err)
	}
	is(t, d, tn, 9)
	proven(t, d, tn, "A")
}

func reversed(t *testing.T, d Driver) {
	tn, now := tenant(t, "acme"), Now
	l := ledger(d, &now)
	receive(t, d, tn, "A", 10)
	who := stock.Person{By: "ann", Reason: "broken"}
	m, err := l.Adjust(t.Context(), tn, "A", "MAIN", -3, "n1", who)
	must(t, err)
	is(t, d, tn, 7)
	r, err := l.Reverse(t.Context(), tn, "A", m.ID(), who)
	must(t, err)
	is(t, d, tn, 10)
	for what, id := range map[string]string{"again": m.ID(), "the reversal": r.ID(), "nothing": "0"} {
		if _, err := l.Reverse(t.Context(), tn, "A", id, who); fault.KindOf(err) != fault.Exception {
			t.Errorf("reversing %s: %v", what, err)
		}
	}
	is(t, d, tn, 10)
	audited, err := d.Store.Audited(t.Context(), tn, Now.Add(-time.Hour))
	must(t, err)
	if len(audited) != 2 {
		t.Errorf("audited: %+v", audited)
	}
	// A reversal and its movement are nothing together, whatever a count says between.
	must(t, l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Sale, "s1", -1, Now.Add(-time.Hour))}))
	_, err = l.Count(t.Context(), tn, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "c", OnHand: 9, AsOf: Now})
	must(t, err)
	_, err = l.Reverse(t.Context(), tn, "A", move(stock.Sale, "s1", 0, Now).ID(), who)
	must(t, err)
	is(t, d, tn, 9)
	// In every bucket.
	before, err := d.Store.Positions(t.Context(), tn, "MAIN", []string{"A"})
	must(t, err)
	found := move(stock.StatusChange, "found", 0, Now)
	found.Damaged, found.QualityHold, found.InTransit = 1, 2, 3
	must(t, l.Record(t.Context(), tn, "wms", []stock.Move{found}))
	_, err = l.Reverse(t.Context(), tn, "A", found.ID(), who)
	must(t, err)
	after, err := d.Store.Positions(t.Context(), tn, "MAIN", []string{"A"})
	must(t, err)
	was, is := before["A"], after["A"]
	if is.Version = was.Version; is != was {
		t.Errorf("%+v was %+v", is, was)
	}
	proven(t, d, tn, "A")
}

func transferred(t *testing.T, d Driver) {
	tn, now := tenant(t, "acme"), Now
	l := ledger(d, &now)
	receive(t, d, tn, "A", 10)
	for range 2 {
		must(t, l.Transfer(t.Context(), tn, "wms", "t1", "1", "A", "MAIN", "SHOP", 4, Now))
	}
	is(t, d, tn, 6)
	for range 2 {
		must(t, l.Arrive(t.Context(), tn, "pos", "t1", "1", "A", "SHOP", 3, Now))
	}
	ps, err := d.Store.Positions(t.Context(), tn, "SHOP", []string{"A"})
	must(t, err)
	if p := ps["A"]; p.OnHand != 3 || p.InTransit != 1 || p.Unreserved != 3 {
		t.Errorf("at the shop: %+v", p)
	}
	moves, err := d.Store.Movements(t.Context(), tn, "A", "", time.Time{})
	must(t, err)
	sum := int64(0)
	for _, m := range moves {
		if m.Document == "t1" {
			sum += m.Applied + m.InTransit
		}
	}
	if sum != 0 {
		t.Errorf("the transfer makes %d", sum)
	}
	proven(t, d, tn, "A")
}

func refusals(t *testing.T, d Driver) {
	tn, now := tenant(t, "acme"), Now
	l := ledger(d, &now)
	receive(t, d, tn, "A", 10)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{item("A", "1", 8)}, Now))
	told := func(class fault.Class) (n int) {
		open, err := d.Store.OpenExceptions(t.Context(), tn)
		must(t, err)
		for _, x := range open {
			if x.Class == string(class) {
				n++
			}
		}
		return n
	}
	count := func(c stock.Count) error { _, err := l.Count(t.Context(), tn, c); return err }
	c := stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "c", OnHand: 5, AsOf: Now}
	record := func(source string, m stock.Move) error { return l.Record(t.Context(), tn, source, []stock.Move{m}) }
	with := func(change func(*stock.Move)) stock.Move {
		m := move(stock.Sale, "s", -1, Now)
		change(&m)
		return m
	}
	counted := func(change func(*stock.Count)) stock.Count { x := c; change(&x); return x }
	for what, x := range map[string]struct {
		err   error
		class fault.Class
		field string
	}{
		"a movement by another source":  {record("pos", with(func(*stock.Move) {})), fault.StateConflict, "connection"},
		"a movement at no location":     {record("wms", with(func(m *stock.Move) { m.Location = "MOON" })), fault.Mapping, "location"},
		"a movement of an unknown SKU":  {record("wms", with(func(m *stock.Move) { m.SKU = "Z" })), fault.Mapping, "sku"},
		"a movement of a kit":           {record("wms", with(func(m *stock.Move) { m.SKU = "KIT" })), fault.Validation, "sku"},
		"a movement of nothing":         {record("wms", with(func(m *stock.Move) { m.OnHand = 0 })), fault.Validation, "quantity"},
		"a sale that brings goods":      {record("wms", with(func(m *stock.Move) { m.OnHand = 1 })), fault.Validation, "quantity"},
		"a movement without a document": {record("wms", with(func(m *stock.Move) { m.Document = "" })), fault.Validation, "document"},
		"a movement without a time":     {record("wms", with(func(m *stock.Move) { m.OccurredAt = time.Time{} })), fault.Validation, "occurred_at"},
		"an unknown type":               {record("wms", with(func(m *stock.Move) { m.Type = "magic" })), fault.Validation, "type"},
		"a negative count":              {count(counted(func(c *stock.Count) { c.OnHand = -1 })), fault.Validation, "counted"},
		"a count by another source":     {count(counted(func(c *stock.Count) { c.Source = "pos" })), fault.StateConflict, "connection"},
		"a count at no location":        {count(counted(func(c *stock.Count) { c.Location = "MOON" })), fault.Mapping, "location"},
		"a count of an unknown SKU":     {count(counted(func(c *stock.Count) { c.SKU = "Z" })), fault.Mapping, "sku"},
		"a count without a time":        {count(counted(func(c *stock.Count) { c.AsOf = time.Time{} })), fault.Validation, "as_of"},
		"a count of tomorrow":           {count(counted(func(c *stock.Count) { c.AsOf = Now.Add(24 * time.Hour) })), fault.Validation, "as_of"},
	} {
		f := fault.Of(x.err)
		if f == nil || f.Kind != fault.Exception || f.Class != x.class || f.Field != x.field {
			t.Errorf("%s: %v", what, x.err)
		}
	}
	_, err := l.Open(t.Context(), tn, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "o", OnHand: 1, AsOf: Now, Who: stock.Person{By: "a", Reason: "b"}})
	if f := fault.Of(err); f == nil || f.Class != fault.StateConflict {
		t.Errorf("a second opening: %v", err)
	}
	stands(t, d, tn, "A", 10, 8)
	// All that is there is promised, and then one more than that.
	must(t, record("wms", move(stock.Sale, "two", -2, Now.Add(-time.Hour))))
	if n := told(fault.ReservationUncovered); n != 0 {
		t.Errorf("%d exceptions, and all that is promised is there", n)
	}
	must(t, record("wms", move(stock.Sale, "one", -1, Now.Add(-time.Hour))))
	for _, there := range []string{"seven", "five"} {
		if n := told(fault.ReservationUncovered); n != 1 {
			t.Errorf("%d exceptions, and eight are promised of %s", n, there)
		}
		must(t, count(c))
	}
	for what, x := range map[string]struct {
		c     stock.Count
		class fault.Class
	}{
		"an older count":                    {counted(func(c *stock.Count) { c.Document, c.AsOf = "c0", Now.Add(-time.Minute) }), fault.StateConflict},
		"one document with another count":   {counted(func(c *stock.Count) { c.OnHand = 6 }), fault.Duplicate},
		"another count as of the same time": {counted(func(c *stock.Count) { c.Document, c.OnHand = "c2", 6 }), fault.StateConflict},
	} {
		if f := fault.Of(count(x.c)); f == nil || f.Kind != fault.Exception || f.Class != x.class {
			t.Errorf("%s: %v", what, f)
		}
	}
	is(t, d, tn, 5)
	// After people dealt with it, it is a new case.
	xs, err := d.Store.OpenExceptions(t.Context(), tn)
	must(t, err)
	for _, x := range xs {
		x.State, x.ResolvedAt = document.Resolved, Now
		must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}))
	}
	must(t, record("wms", move(stock.Sale, "three", -1, Now.Add(time.Hour))))
	if n := told(fault.ReservationUncovered); n != 1 {
		t.Errorf("%d exceptions, and what was dealt with is worse now", n)
	}
	proven(t, d, tn, "A")
}

// dying is a store of documents whose writer dies at once, as often as that.
type dying struct {
	document.Store
	times int
}

var errDied = errors.New("died")

func (s *dying) Commit(ctx context.Context, t document.Transaction) error {
	if s.times--; s.times >= 0 {
		return errDied
	}
	return s.Store.Commit(ctx, t)
}

func untold(t *testing.T, d Driver) {
	who := stock.Person{By: "ann", Reason: "missing"}
	for what, take := range map[string]func(retail.Tenant, stock.Ledger) error{
		"count": func(tn retail.Tenant, l stock.Ledger) error {
			_, err := l.Count(t.Context(), tn, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "c", OnHand: 5, AsOf: Now})
			return err
		},
		"movement": func(tn retail.Tenant, l stock.Ledger) error {
			return l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Adjustment, "a", -5, Now)})
		},
		"adjustment": func(tn retail.Tenant, l stock.Ledger) error {
			_, err := l.Adjust(t.Context(), tn, "A", "MAIN", -5, "n", who)
			return err
		},
		"reversal": func(tn retail.Tenant, l stock.Ledger) error {
			_, err := l.Reverse(t.Context(), tn, "A", move(stock.Receipt, "r", 5, Now).ID(), who)
			if f := fault.Of(err); f != nil && f.Class == fault.Duplicate {
				return nil // which says that it is done
			}
			return err
		},
	} {
		tn, now := tenant(t, what), Now
		l := ledger(d, &now)
		if what == "reversal" {
			receive(t, d, tn, "A", 5)
			must(t, l.Record(t.Context(), tn, "wms", []stock.Move{move(stock.Receipt, "r", 5, Now)}))
		} else {
			receive(t, d, tn, "A", 10)
		}
		must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{item("A", "1", 8)}, Now))
		mute := l
		mute.Life.Store = &dying{d.Store, 1}
		if err := take(tn, mute); !errors.Is(err, errDied) {
			t.Errorf("%s: %v", what, err)
		}
		must(t, take(tn, l))
		open, err := d.Store.OpenExceptions(t.Context(), tn)
		must(t, err)
		if len(open) != 1 || open[0].Class != string(fault.ReservationUncovered) {
			t.Errorf("of a repeated %s people are told %+v", what, open)
		}
		// What people dealt with is not told again by a repetition.
		now = Now.Add(time.Hour)
		x := open[0]
		x.State, x.ResolvedAt = document.Resolved, now
		must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}))
		if what == "count" {
			must(t, take(tn, l))
			if open, err := d.Store.OpenExceptions(t.Context(), tn); err != nil || len(open) > 0 {
				t.Errorf("a repeated %s tells again: %v, %v", what, open, err)
			}
		}
	}
}

func lastKit(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 5)
	receive(t, d, tn, "B", 2)
	won := count(t, 20, func(n int) (bool, error) {
		err := d.Store.Reserve(context.Background(), tn, fmt.Sprint("o", n), []stock.Item{item("A", "1", 1), item("B", "1", 2)}, Now)
		if short := (*stock.Short)(nil); errors.As(err, &short) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		t.Errorf("%d kits of one", won)
	}
	stands(t, d, tn, "A", 5, 1)
	stands(t, d, tn, "B", 2, 2)
	proven(t, d, tn, "A", "B")
}

func wanted(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 1)
	want := stock.Demand{Order: "o1", Line: "1", SKU: "A", Quantity: 3, Since: Now}
	for range 2 {
		must(t, d.Store.Want(t.Context(), tn, "o1", []stock.Demand{want}))
	}
	kept, err := d.Store.Stock(t.Context(), tn, "A")
	must(t, err)
	same(t, "demand", []stock.Demand{want}, kept.Demand)
	want.Quantity = 0
	for range 2 {
		must(t, d.Store.Want(t.Context(), tn, "o1", []stock.Demand{want}))
	}
	if kept, err = d.Store.Stock(t.Context(), tn, "A"); err != nil || len(kept.Demand) != 0 {
		t.Errorf("demand that ended: %+v, %v", kept, err)
	}
}

func candidates(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	m := move(stock.Receipt, "r1", 4, Now)
	m.Location = "SHOP"
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{m}))
	it := item("A", "1", 3)
	it.Until = Now.Add(time.Hour)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{it}, Now))
	must(t, d.Store.Reserve(t.Context(), tn, "o2", []stock.Item{it}, Now))
	ps, hs, err := d.Store.Candidates(t.Context(), tn, "o1", []stock.Item{item("A", "1", 3), item("A", "2", 1)}, []string{"MAIN", "SHOP", "MOON"})
	must(t, err)
	if len(ps) != 2 {
		t.Errorf("positions: %+v", ps)
	}
	same(t, "holds", []stock.Hold{{Order: "o1", Line: "1", SKU: "A", Location: "MAIN", Quantity: 3, Until: it.Until}}, hs)
	kept, err := d.Store.Stock(t.Context(), tn, "A")
	must(t, err)
	if len(kept.Positions) != 2 || len(kept.Holds) != 2 {
		t.Errorf("kept: %+v", kept)
	}
	// What one order holds is found wherever it is; what was shipped whole is not.
	away := item("A", "1", 2)
	away.Location = "SHOP"
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{away}, Now))
	must(t, d.Store.Reserve(t.Context(), tn, "o11", []stock.Item{item("A", "1", 1)}, Now))
	own, err := d.Store.Holds(t.Context(), tn, "A", "o1")
	must(t, err)
	same(t, "holds of o1", []stock.Hold{{Order: "o1", Line: "1", SKU: "A", Location: "MAIN", Quantity: 3, Until: it.Until}, {Order: "o1", Line: "1", SKU: "A", Location: "SHOP", Quantity: 2}}, own)
	out := move(stock.Sale, "p1", -2, Now)
	out.Location, out.Hold, out.Line = "SHOP", "o1", "1"
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{out}))
	all, err := d.Store.Holds(t.Context(), tn, "A", "")
	must(t, err)
	if len(all) != 3 {
		t.Errorf("holds: %+v", all)
	}
}
