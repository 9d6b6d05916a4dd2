// Package drivertest is what every starter of state machines must pass, of Step
// Functions or in memory.
package drivertest

import (
	"context"
	"errors"
	"testing"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Driver starts machines of orders and shipments, and of nothing else.
type Driver struct {
	Start func(ctx context.Context, t document.Task) error
	// Started is what the machine of a type was started with so far.
	Started func(t *testing.T, docType string) []document.Task
}

// Run holds what open returns to all of it; each test opens its own.
func Run(t *testing.T, open func(t *testing.T) Driver) {
	for _, x := range []struct {
		name string
		run  func(t *testing.T, d Driver)
	}{
		{"AMachineIsStartedWithItsTask", started},
		{"StartingARunAgainIsHarmless", again},
		{"ADocumentWithoutAMachineIsForAHuman", unknown},
		{"AnEndedContextStartsNothing", ended},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

func task(t *testing.T, docType string, run int64) document.Task {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	return document.Task{Schema: 1, Tenant: tn, Type: docType, ID: "0190a6b0-7c2e-7f00-8000-000000000001", Run: run}
}

func started(t *testing.T, d Driver) {
	want := map[document.Task]bool{task(t, document.Order, 1): true, task(t, document.Order, 2): true, task(t, document.Shipment, 1): true}
	for w := range want {
		if err := d.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, docType := range []string{document.Order, document.Shipment} {
		for _, got := range d.Started(t, docType) {
			if !want[got] || got.Type != docType {
				t.Errorf("the machine of %s was started with %+v", docType, got)
			}
			delete(want, got)
		}
	}
	if len(want) > 0 {
		t.Errorf("not started: %v", want)
	}
}

func again(t *testing.T, d Driver) {
	for range 3 {
		if err := d.Start(t.Context(), task(t, document.Order, 1)); err != nil {
			t.Fatal(err)
		}
	}
	got := d.Started(t, document.Order)
	if len(got) == 0 {
		t.Error("nothing was started")
	}
	for _, g := range got {
		if g != task(t, document.Order, 1) {
			t.Errorf("started %+v", g)
		}
	}
}

func unknown(t *testing.T, d Driver) {
	err := d.Start(t.Context(), task(t, "return", 1))
	if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.Configuration {
		t.Errorf("err = %v", err)
	}
}

func ended(t *testing.T, d Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Start(ctx, task(t, document.Order, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("started: %v", err)
	}
	if got := d.Started(t, document.Order); len(got) > 0 {
		t.Errorf("started %v", got)
	}
}
