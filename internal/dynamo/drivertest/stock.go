package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

var stockTests = []test{
	{"TheLastUnitIsReservedByExactlyOneOfManyBuyers", lastUnit},
	{"ReservingAgainTakesNothingTwice", reservedAgain},
	{"AMovementIsRecordedOnceAndConsumesItsHold", movedOnce},
	{"WhatIsNotHeldIsNotReleased", released},
	{"AShortageTakesNothingAndNamesTheSKU", shortage},
	{"AChunkIsReservedWholeOrNotAtAll", chunk},
	{"PositionsAreReadBeyondOneBatch", manyPositions},
}

// receive opens a position at MAIN; doing it again changes nothing.
func receive(t *testing.T, d Driver, tn retail.Tenant, sku string, n int64) {
	t.Helper()
	must(t, d.Store.Apply(t.Context(), tn, []stock.Move{{SKU: sku, Location: "MAIN", Type: "opening", Connection: "erp",
		Document: "opening", Line: sku, OnHand: n, OccurredAt: Now, RecordedAt: Now}}))
}

// stands compares a position's buckets.
func stands(t *testing.T, d Driver, tn retail.Tenant, sku string, onHand, reserved int64) {
	t.Helper()
	ps, err := d.Store.Positions(t.Context(), tn, "MAIN", []string{sku})
	must(t, err)
	p := ps[sku]
	want := stock.Position{SKU: sku, Location: "MAIN", OnHand: onHand, Reserved: reserved, Unreserved: onHand - reserved, Version: p.Version}
	same(t, "position of "+sku, want, p)
}

func item(sku, line string, n int64) stock.Item {
	return stock.Item{SKU: sku, Location: "MAIN", Line: line, Quantity: n}
}

func lastUnit(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 1)
	won := count(t, 20, func(n int) (bool, error) {
		err := d.Store.Reserve(context.Background(), tn, fmt.Sprint("o", n), []stock.Item{item("A", "1", 1)}, Now)
		if short := (*stock.Short)(nil); errors.As(err, &short) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		t.Errorf("%d buyers won", won)
	}
	stands(t, d, tn, "A", 1, 1)
}

func reservedAgain(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	receive(t, d, tn, "B", 5)
	a, b := item("A", "1", 3), item("B", "2", 2)
	for _, items := range [][]stock.Item{{a}, {a, b}, {a, b}, {b, a}} {
		must(t, d.Store.Reserve(t.Context(), tn, "o1", items, Now))
	}
	stands(t, d, tn, "A", 10, 3)
	stands(t, d, tn, "B", 5, 2)
	// A line that is held already does not count against what is short.
	if short := (*stock.Short)(nil); !errors.As(d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{a, item("B", "3", 4)}, Now), &short) || short.SKU != "B" {
		t.Errorf("short = %v", short)
	}
	must(t, d.Store.Reserve(t.Context(), tn, "o2", []stock.Item{a}, Now))
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{item("A", "3", 1)}, Now))
	stands(t, d, tn, "A", 10, 7)
	stands(t, d, tn, "B", 5, 2)
}

func movedOnce(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	receive(t, d, tn, "A", 10)
	stands(t, d, tn, "A", 10, 0)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{item("A", "1", 3)}, Now))
	sale := stock.Move{SKU: "A", Location: "MAIN", Type: "sale", Connection: "wms", Document: "s1", Line: "1", OnHand: -3, Hold: "o1", OccurredAt: Now, RecordedAt: Now}
	other := sale
	other.Document, other.OnHand, other.Hold = "s2", -1, ""
	for range 2 {
		must(t, d.Store.Apply(t.Context(), tn, []stock.Move{sale, other}))
	}
	stands(t, d, tn, "A", 6, 0)
	must(t, d.Store.Release(t.Context(), tn, "o1", []stock.Item{item("A", "1", 3)}, Now))
	stands(t, d, tn, "A", 6, 0)
}

func released(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	a := item("A", "1", 3)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{a}, Now))
	for _, order := range []string{"o2", "o10"} {
		must(t, d.Store.Release(t.Context(), tn, order, []stock.Item{a}, Now))
	}
	must(t, d.Store.Release(t.Context(), tn, "o1", []stock.Item{item("A", "2", 3), item("A", "1", 2), item("B", "1", 1)}, Now))
	stands(t, d, tn, "A", 10, 3)
	for range 2 {
		must(t, d.Store.Release(t.Context(), tn, "o1", []stock.Item{item("B", "1", 1), a}, Now))
		stands(t, d, tn, "A", 10, 0)
	}
	must(t, d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{a}, Now))
	stands(t, d, tn, "A", 10, 3)
}

func shortage(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	receive(t, d, tn, "A", 10)
	receive(t, d, tn, "B", 1)
	items := func(sku string) []stock.Item { return []stock.Item{item("A", "1", 1), item(sku, "2", 2)} }
	var short *stock.Short
	if err := d.Store.Reserve(t.Context(), tn, "o1", items("B"), Now); !errors.As(err, &short) || *short != (stock.Short{SKU: "B", Location: "MAIN"}) {
		t.Errorf("short: %v", err)
	}
	var unknown *stock.Unknown
	if err := d.Store.Reserve(t.Context(), tn, "o1", items("C"), Now); !errors.As(err, &unknown) || *unknown != (stock.Unknown{SKU: "C", Location: "MAIN"}) {
		t.Errorf("unknown: %v", err)
	}
	elsewhere := item("A", "1", 1)
	elsewhere.Location = "MAIN2"
	if err := d.Store.Reserve(t.Context(), tn, "o1", []stock.Item{elsewhere}, Now); !errors.As(err, &unknown) || unknown.Location != "MAIN2" {
		t.Errorf("elsewhere: %v", err)
	}
	stands(t, d, tn, "A", 10, 0)
	stands(t, d, tn, "B", 1, 0)
}

func chunk(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	var full, over []stock.Item
	for n := range 51 {
		sku := fmt.Sprint("S", n)
		receive(t, d, tn, sku, 1)
		if n < stock.MaxChunk {
			full = append(full, item(sku, sku, 1))
		}
		over = append(over, item(sku, sku, 1))
	}
	lacking := append(append([]stock.Item(nil), full[:44]...), item("S44", "S44", 2))
	if short := (*stock.Short)(nil); !errors.As(d.Store.Reserve(t.Context(), tn, "o1", lacking, Now), &short) || short.SKU != "S44" {
		t.Errorf("short = %v", short)
	}
	// The caller must not wait for it to succeed.
	if err := d.Store.Reserve(t.Context(), tn, "o1", over, Now); fault.KindOf(err) != fault.Permanent {
		t.Errorf("51 items: %v", err)
	}
	stands(t, d, tn, "S0", 1, 0)
	must(t, d.Store.Reserve(t.Context(), tn, "o1", full, Now))
	stands(t, d, tn, "S0", 1, 1)
	stands(t, d, tn, "S44", 1, 1)
	stands(t, d, tn, "S45", 1, 0)
}

func manyPositions(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	var skus []string
	for n := range 150 {
		sku := fmt.Sprint("S", n)
		receive(t, d, tn, sku, int64(n))
		skus = append(skus, sku, sku, "unknown-"+sku)
	}
	got, err := d.Store.Positions(t.Context(), tn, "MAIN", skus)
	must(t, err)
	if len(got) != 150 {
		t.Errorf("%d positions of 150", len(got))
	}
	for sku, p := range got {
		if "S"+fmt.Sprint(p.OnHand) != sku || p.SKU != sku {
			t.Errorf("%s = %+v", sku, p)
		}
	}
	if got, err := d.Store.Positions(t.Context(), tn, "MAIN", nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
}
