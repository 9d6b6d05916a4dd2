//go:build unix

package tryton_test

import "testing"

func TestStockIsWhatLiesInTheWarehouse(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		got := stock(t, srs.connect(t))
		if got["COUNTED"] != 41 {
			t.Errorf("COUNTED: %d, want 41", got["COUNTED"])
		}
		if n, ok := got["WB-SHIPPING"]; ok {
			t.Errorf("a service has a stock of %d", n)
		}
		if len(got) != len(seeded) {
			t.Errorf("%d SKUs over several pages, want %d", len(got), len(seeded))
		}
	})
}
