package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

var alertTests = []test{
	{"AnAlertReadsBackWhole", alertWhole},
	{"AnAlertIsSavedByWhoeverSawItsLastVersion", alertVersions},
	{"OneOfManySendersClaimsAnAlert", alertClaims},
	{"WhatIsOpenIsListedForAllRetailersUntilItIsResolved", allOpen},
}

func newAlert(tn retail.Tenant, fingerprint string) alert.Alert {
	return alert.Alert{Schema: 1, Fingerprint: fingerprint, Kind: alert.Stopped, Tenant: tn, Level: alert.Open, Count: 3, Text: "t", FirstAt: Now, LastAt: Now}
}

func alertWhole(t *testing.T, d Driver) {
	acme := tenant(t, "acme")
	want := []alert.Alert{newAlert(acme, "a"), newAlert(retail.Partner, "b")}
	want[0].Connection, want[0].Class, want[0].Command, want[0].MissingAt = "erp", "mapping", "c", Now
	want[0].Notice = alert.Notice{Number: 2, Event: alert.Escalated, At: Now, Holder: "h",
		Webhook: alert.Delivery{State: alert.Waiting, Attempts: 3, NextAt: Now.Add(time.Hour), Failure: "f"}, Mail: alert.Delivery{State: alert.Nowhere}}
	want[1].ResolvedAt, want[1].Expires = Now, Now.Add(alert.Keep)
	for i := range want {
		must(t, d.Store.SaveAlert(t.Context(), want[i]))
		want[i].Version = 1
	}
	// Exceptions stand beside them, and are none.
	must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{{Tenant: acme, ID: "x", State: document.Open, OpenedAt: Now, DueAt: Now}}}))
	got, err := d.Store.Alerts(t.Context())
	must(t, err)
	same(t, "alerts", want, got)
	open, err := d.Store.OpenExceptions(t.Context(), acme)
	must(t, err)
	if len(open) != 1 {
		t.Errorf("%d exceptions beside the alerts", len(open))
	}
}

func alertVersions(t *testing.T, d Driver) {
	a := newAlert(tenant(t, "acme"), "a")
	must(t, d.Store.SaveAlert(t.Context(), a))
	if err := d.Store.SaveAlert(t.Context(), newAlert(tenant(t, "beta"), "a")); !errors.Is(err, alert.ErrConflict) {
		t.Errorf("a second creation: %v", err)
	}
	a.Version, a.Count = 1, 4
	must(t, d.Store.SaveAlert(t.Context(), a))
	a.Count = 5
	if err := d.Store.SaveAlert(t.Context(), a); !errors.Is(err, alert.ErrConflict) {
		t.Errorf("an old version: %v", err)
	}
	got, err := d.Store.Alerts(t.Context())
	must(t, err)
	if len(got) != 1 || got[0].Count != 4 || got[0].Version != 2 {
		t.Errorf("alerts %+v", got)
	}
}

func alertClaims(t *testing.T, d Driver) {
	a := newAlert(tenant(t, "acme"), "a")
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			mine := a
			mine.Notice.Holder = fmt.Sprint(i)
			errs[i] = d.Store.SaveAlert(t.Context(), mine)
		})
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, alert.ErrConflict):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d senders claim it: %v", won, len(errs), slices.Collect(slices.Values(errs)))
	}
}

func allOpen(t *testing.T, d Driver) {
	var want []string
	for i := range 30 {
		x := document.Exception{Tenant: tenant(t, []string{"acme", "beta"}[i%2]), ID: fmt.Sprintf("x%02d", i), State: document.Open, OpenedAt: Now, DueAt: Now}
		must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}))
		x.Version = 1
		switch i % 3 {
		case 0:
			x.State = document.Resolved
			must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}))
			continue
		case 1:
			x.State = document.Asked
			must(t, d.Store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}))
		}
		want = append(want, x.ID)
	}
	d.Settle(t)
	got, err := d.Store.AllOpenExceptions(t.Context())
	must(t, err)
	var ids []string
	for _, x := range got {
		ids = append(ids, x.ID)
	}
	slices.Sort(ids)
	same(t, "what is open", want, ids)
}
