//go:build unix

package stock_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/cost"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/stock"
)

// BenchmarkMovements records movements one after another and reports write
// units and dollars a million of them. Budget of the table's items: 2.60
// dollars; the index of occurrence times is told apart.
func BenchmarkMovements(b *testing.B) {
	// An entry of the index is one unit more; DynamoDB counts it once, not twice.
	each(b, 1, func(stock.Store) {}, func(s stock.Store, n int) error {
		return s.Apply(b.Context(), acme, []stock.Move{{SKU: fmt.Sprint("A", n%100), Location: "MAIN", Type: stock.Sale, Connection: "wms", Document: fmt.Sprint(n), Line: "1",
			OnHand: -1, OccurredAt: noon, RecordedAt: noon}})
	})
}

// BenchmarkAllocations reserves orders of two lines.
func BenchmarkAllocations(b *testing.B) {
	each(b, 0, func(s stock.Store) {
		for n := range 100 {
			put(b, s, fmt.Sprint("A", n), 1<<40)
		}
	}, func(s stock.Store, n int) error {
		return s.Reserve(b.Context(), acme, fmt.Sprint("o", n), []stock.Item{of(fmt.Sprint("A", n%100), "1", 1), of(fmt.Sprint("A", (n+1)%100), "2", 1)}, noon)
	})
}

// each runs a benchmark on both stores. One call comes after another, so that a
// second is one core's at most.
func each(b *testing.B, index float64, setUp func(stock.Store), do func(s stock.Store, n int) error) {
	run := func(b *testing.B, s stock.Store) {
		for n := 0; b.Loop(); n++ {
			if err := do(s, n); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	}
	b.Run("memory", func(b *testing.B) {
		s := memory.New(memory.Options{Now: time.Now})
		setUp(s)
		run(b, s)
	})
	b.Run("DynamoDB", func(b *testing.B) {
		s, m := local(b)
		setUp(s)
		m.Take()
		run(b, s)
		units := m.Take().WriteUnits / float64(b.N)
		b.ReportMetric(units, "WRU/op")
		b.ReportMetric(cost.Writes(units)*1e6, "dollars/million")
		if index > 0 {
			b.ReportMetric(cost.Writes(units+index)*1e6, "dollars/million-with-index")
		}
	})
}
