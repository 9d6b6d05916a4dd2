package stock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

var noon = time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)

var acme = func() retail.Tenant {
	t, err := retail.ParseTenant("acme")
	if err != nil {
		panic(err)
	}
	return t
}()

func ledger() (stock.Ledger, *memory.Store) {
	s := memory.New(memory.Options{Now: func() time.Time { return noon }})
	ids := 0
	return stock.Ledger{Store: s, Life: document.Life{Store: s, Now: func() time.Time { return noon.Add(24 * time.Hour) }, NewID: func() string { ids++; return fmt.Sprint("id", ids) }},
		Policy: func(context.Context, retail.Tenant) (rules.Policy, error) { return rules.Policy{}, nil }}, s
}

// told is one thing that a source says about the position, at any time.
type told struct {
	move  stock.Move
	undo  bool // of move
	count int64
	as    time.Duration
}

// Whatever comes late or out of order: the position is the last count, and what
// is surely after it, and of what may be before it only what makes it less.
func TestAnyOrderOfCountsAndMovementsLeadsToOnePosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []told
		var moves []stock.Move
		minutes := rapid.IntRange(-90, 90)
		for n := range rapid.IntRange(0, 12).Draw(t, "moves") {
			m := stock.Move{SKU: "A", Location: "MAIN", Type: stock.Receipt, Document: fmt.Sprint("m", n), Line: "1", OnHand: rapid.Int64Range(1, 20).Draw(t, "delta"),
				OccurredAt: noon.Add(time.Duration(minutes.Draw(t, "at")) * time.Minute)}
			if rapid.Bool().Draw(t, "out") {
				m.Type, m.OnHand = stock.Sale, -m.OnHand
			}
			moves = append(moves, m)
			all = append(all, told{move: m})
			if rapid.IntRange(0, 3).Draw(t, "undo") == 0 {
				all = append(all, told{move: m, undo: true})
			}
		}
		seen := map[int]bool{}
		for n := range rapid.IntRange(0, 4).Draw(t, "counts") {
			at := minutes.Draw(t, "as of")
			if seen[at] {
				continue // one source counts once at a time
			}
			seen[at] = true
			all = append(all, told{move: stock.Move{Document: fmt.Sprint("c", n)}, count: rapid.Int64Range(0, 100).Draw(t, "counted"), as: time.Duration(at) * time.Minute})
		}
		finals := map[int64]bool{}
		for range 3 {
			order := rapid.Permutation(all).Draw(t, "order")
			finals[play(t, order)] = true
		}
		want, fence := int64(1000), stock.Fence{At: noon.Add(-48 * time.Hour), Skew: rules.DefaultSkew}
		for _, x := range all {
			if x.as == 0 && x.count == 0 && x.move.SKU != "" {
				continue
			}
			if at := noon.Add(x.as); at.After(fence.At) {
				fence.At, want = at, x.count
			}
		}
		for _, m := range moves {
			if slices.ContainsFunc(all, func(x told) bool { return x.undo && x.move.Document == m.Document }) {
				continue
			}
			switch d := m.OccurredAt.Sub(fence.At); {
			case d > rules.DefaultSkew:
				want += m.OnHand
			case d >= -rules.DefaultSkew:
				want += min(m.OnHand, 0)
			}
		}
		if len(finals) != 1 || !finals[want] {
			t.Fatalf("it came to %v, want %d alone", finals, want)
		}
	})
}

// play tells all of it in an order and returns what is on hand then.
func play(t *rapid.T, order []told) int64 {
	l, s := ledger()
	who := stock.Person{By: "ann", Reason: "test"}
	if _, err := l.Open(t.Context(), acme, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: "open", OnHand: 1000, AsOf: noon.Add(-48 * time.Hour), Who: who}); err != nil {
		t.Fatal(err)
	}
	last := time.Time{}
	var later []told
	for len(order) > 0 {
		for _, x := range order {
			switch {
			case x.undo:
				m := x.move
				m.Connection = "wms"
				_, err := l.Reverse(t.Context(), acme, "A", m.ID(), who)
				if f := fault.Of(err); f != nil && f.Class == fault.MissingReference {
					later = append(later, x) // nobody reverses what was not said
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
			case x.move.SKU != "":
				for range 2 {
					if err := l.Record(t.Context(), acme, "wms", []stock.Move{x.move}); err != nil {
						t.Fatal(err)
					}
				}
			default:
				at := noon.Add(x.as)
				_, err := l.Count(t.Context(), acme, stock.Count{SKU: "A", Location: "MAIN", Source: "wms", Document: x.move.Document, OnHand: x.count, AsOf: at})
				if older := !at.After(last); older != (err != nil) {
					t.Fatalf("a count as of %s after one as of %s: %v", at, last, err)
				}
				if err == nil {
					last = at
				}
			}
		}
		order, later = later, nil
	}
	found, _, err := stock.Prove(t.Context(), s, acme, "A")
	if err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	ps, err := s.Positions(t.Context(), acme, "MAIN", []string{"A"})
	if err != nil {
		t.Fatal(err)
	}
	return ps["A"].OnHand
}

// Buckets are what their ledger says after anything, and nothing that we begin
// makes less than nothing free.
func TestBucketsAreTheirLedgersAfterAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, s := ledger()
		ctx := t.Context()
		skus, places := []string{"A", "B"}, []string{"MAIN", "SHOP"}
		for _, sku := range skus {
			for _, p := range places {
				if err := s.Apply(ctx, acme, []stock.Move{{SKU: sku, Location: p, Type: stock.Opening, Document: p, OnHand: 10}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		world := false // took what was promised
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			sku, place := rapid.SampledFrom(skus).Draw(t, "sku"), rapid.SampledFrom(places).Draw(t, "place")
			order := fmt.Sprint("o", rapid.IntRange(1, 4).Draw(t, "order"))
			q := rapid.Int64Range(1, 6).Draw(t, "quantity")
			it := stock.Item{SKU: sku, Location: place, Line: "1", Quantity: q, Until: noon}
			m := stock.Move{SKU: sku, Location: place, Document: fmt.Sprint(n), Line: "1", OccurredAt: noon}
			var err error
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				err = s.Reserve(ctx, acme, order, []stock.Item{it}, noon)
				if short := (*stock.Short)(nil); errors.As(err, &short) {
					err = nil
				}
			case 1:
				err = s.Release(ctx, acme, order, []stock.Item{it}, noon)
			case 2:
				m.Type, m.OnHand, m.Hold = stock.Sale, -q, order
				err, world = s.Apply(ctx, acme, []stock.Move{m}), true
			case 3:
				m.Type, m.OnHand = stock.Receipt, q
				err = l.Record(ctx, acme, "wms", []stock.Move{m})
			case 4:
				m.Type, m.Damaged = stock.StatusChange, q
				err, world = l.Record(ctx, acme, "wms", []stock.Move{m}), true
			case 5:
				m.Type, m.QualityHold = stock.StatusChange, q
				err, world = l.Record(ctx, acme, "wms", []stock.Move{m}), true
			case 6:
				err = l.Transfer(ctx, acme, "wms", fmt.Sprint(n), "1", sku, "MAIN", "SHOP", q, noon)
				world = true
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, sku := range skus {
				found, _, err := stock.Prove(ctx, s, acme, sku)
				if err != nil || len(found) > 0 {
					t.Fatal(found, err)
				}
				kept, err := s.Stock(ctx, acme, sku)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range kept.Positions {
					if p.Reserved < 0 || p.Unreserved < 0 && !world {
						t.Fatalf("position %+v", p)
					}
				}
			}
		}
	})
}

func TestTwoReadingsOfASourceWithoutAMarkMustAgreeAndNothingMayMove(t *testing.T) {
	moved := []stock.Move{{SKU: "A", OccurredAt: noon.Add(-5 * time.Minute), RecordedAt: noon.Add(-4 * time.Minute)}}
	quiet := []stock.Move{{SKU: "A", OccurredAt: noon.Add(-time.Hour), RecordedAt: noon.Add(-time.Hour)}}
	for name, x := range map[string]struct {
		second int64
		moves  []stock.Move
		ok     bool
	}{"quiet": {7, quiet, true}, "they differ": {8, quiet, false}, "something moved": {7, moved, false}} {
		at, err := stock.Unmarked(stock.Reading{OnHand: 7, Begun: noon}, stock.Reading{OnHand: x.second, Begun: noon.Add(time.Second)}, rules.DefaultSkew, x.moves)
		if (err == nil) != x.ok || x.ok && !at.Equal(noon) || !x.ok && fault.KindOf(err) != fault.Retryable {
			t.Errorf("%s: as of %s, %v", name, at, err)
		}
	}
}

func TestChunksKeepEachPositionTogetherAndStayInATransaction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var items []stock.Item
		for n := range rapid.IntRange(0, 300).Draw(t, "lines") {
			items = append(items, stock.Item{SKU: fmt.Sprint("S", rapid.IntRange(0, 120).Draw(t, "sku")), Location: "MAIN", Line: fmt.Sprint(n), Quantity: 1})
		}
		total := 0
		for _, c := range stock.Chunks(items) {
			positions := map[string]bool{}
			for _, it := range c {
				positions[it.SKU] = true
			}
			total += len(c)
			if len(positions) > stock.MaxChunk || len(positions)+len(c) > 100 {
				t.Fatalf("a chunk of %d positions and %d holds", len(positions), len(c))
			}
		}
		if total != len(items) {
			t.Fatalf("%d of %d items", total, len(items))
		}
	})
}
