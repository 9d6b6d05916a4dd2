package drivertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
)

var channelTests = []test{
	{"AChannelsActivityReadsBack", activityReadsBack},
	{"TheLastProofOfADayStands", proofStands},
}

func activityReadsBack(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	got, err := d.Store.Activity(t.Context(), tn, "shop")
	must(t, err)
	same(t, "unheard", order.Activity{}, got)
	want := order.Activity{Last: Now, Gaps: []order.Gap{{Day: "2096-03-01", Longest: time.Hour}}, Silent: "x"}
	must(t, d.Store.SetActivity(t.Context(), tn, "shop", want))
	got, err = d.Store.Activity(t.Context(), tn, "shop")
	must(t, err)
	same(t, "activity", want, got)
	for _, other := range []struct{ tenant, connection string }{{"acme", "shop2"}, {"acme2", "shop"}} {
		got, err := d.Store.Activity(t.Context(), tenant(t, other.tenant), other.connection)
		must(t, err)
		same(t, "another's", order.Activity{}, got)
	}
}

func proofStands(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	r := proof.Result{Schema: 1, Tenant: tn, Connection: "shop", TimeZone: "UTC", From: Now, To: Now, Listed: 3, Known: 2, InERP: 1, Accounted: 2, Open: 1,
		States: map[string]int64{"closed": 2}, Holes: []proof.Hole{{External: "7", Reason: "why"}}, At: Now, Job: "j"}
	if _, found, err := d.Store.Proof(t.Context(), tn, "shop", "2096-03-01"); err != nil || found {
		t.Errorf("found %v, %v", found, err)
	}
	for day := 1; day <= 5; day++ {
		for listed := range int64(2) {
			r.Date, r.Listed = fmt.Sprintf("2096-03-0%d", day), listed
			must(t, d.Store.PutProof(t.Context(), r))
		}
	}
	got, found, err := d.Store.Proof(t.Context(), tn, "shop", r.Date)
	must(t, err)
	if same(t, "proof", r, got); !found {
		t.Error("not found")
	}
	all, err := d.Store.Proofs(t.Context(), tn, "shop", 2)
	must(t, err)
	if len(all) != 2 || all[0].Date != "2096-03-05" || all[1].Date != "2096-03-04" {
		t.Errorf("listed %v", all)
	}
	if all, err = d.Store.Proofs(t.Context(), tenant(t, "acme2"), "shop", 2); err != nil || len(all) != 0 {
		t.Errorf("another retailer's: %v, %v", all, err)
	}
}
