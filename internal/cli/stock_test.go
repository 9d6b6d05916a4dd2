//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/cli"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// stocked is a stack whose retailer has rules about stock.
func stocked(t *testing.T) (*dynamo.Store, retail.Tenant) {
	t.Helper()
	store, _, _, north := stack(t)
	r, err := store.Retailer(t.Context(), north)
	must(t, err)
	r.Version++
	r.Stock = rules.Policy{Locations: []rules.Location{{Code: "MAIN", Owner: "warehouse", SafetyStock: 2}, {Code: "SHOP"}},
		Products: []rules.Product{{SKU: "TEA", Unit: rules.Gram}, {SKU: "MUG", Packs: map[string]int64{"case": 12}}, {SKU: "KIT", Components: []rules.Component{{SKU: "MUG", Quantity: 2}}}}}
	must(t, store.PutRetailer(t.Context(), r, tenancy.Secrets{}))
	return store, north
}

// waybill runs one command line against the stack.
func runStock(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), append(args, "--stack", "data"), strings.NewReader(""), &o, &e)
	return code, o.String() + e.String()
}

func TestStockIsOpenedShownAdjustedReversedAndProvenByCommand(t *testing.T) {
	store, north := stocked(t)
	told := func(want int, says []string, args ...string) string {
		t.Helper()
		code, out := runStock(t, args...)
		if code != want {
			t.Fatalf("%v: exit code %d: %s", args, code, out)
		}
		for _, s := range says {
			if !strings.Contains(out, s) {
				t.Errorf("%v does not say %q: %s", args, s, out)
			}
		}
		return out
	}
	why := []string{"--reason", "go-live"}
	with := func(args ...string) []string { return append(args, why...) }
	told(1, []string{"has no position", "waybill stock open MUG"}, "stock", "MUG")
	told(0, []string{"24 on hand"}, with("stock", "open", "MUG", "--location", "MAIN", "--on-hand", "2", "--unit", "case")...)
	told(0, []string{"1500 on hand"}, with("stock", "open", "TEA", "--location", "SHOP", "--on-hand", "1.5", "--unit", "kg")...)
	must(t, store.Commit(context.Background(), document.Transaction{Changes: []document.Change{{Head: document.Head{Key: document.Key{Tenant: north, Type: document.Order, ID: "o1"},
		State: retail.Accepted, Number: "#1001", Body: 1, Connection: "shop", Due: time.Now()}, Body: retail.Order{Tenant: north, ID: "o1", Sourcing: &retail.SourcingDecision{
		Allocations: []retail.Allocation{{Line: "1", SKU: "MUG", Location: "MAIN", Quantity: 3, Units: 3}},
		Considered:  []retail.Considered{{Location: "MAIN", Chosen: true, Rule: rules.RuleOnly, Why: "no other location has everything"}, {Location: "SHOP", Rule: rules.RuleStock, Why: "it lacks 3 of MUG"}}}},
		Refs: []document.Ref{{Tenant: north, Connection: "shop", Type: "order_number", External: "#1001"}}}}}))
	must(t, store.Reserve(t.Context(), north, "o1", []stock.Item{{SKU: "MUG", Location: "MAIN", Line: "1", Quantity: 3}}, time.Now()))
	out := told(0, []string{"adjustment of -4"}, with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "-4")...)
	id := strings.Fields(out[strings.Index(out, "is movement ")+len("is movement "):])[0]
	told(0, []string{"17 free = 20 on hand − 3 reserved", "orders may take 15", "reserved by", "#1001", "counted", "owner"}, "stock", "MUG", "--moves", "5")
	told(0, []string{"takes " + id + " back"}, with("stock", "reverse", "MUG", id[:8])...)
	told(1, []string{"was reversed before"}, with("stock", "reverse", "MUG", id)...)
	told(0, []string{"21 free = 24 on hand"}, "stock", "MUG")
	told(0, []string{"20 on hand, was 24"}, with("stock", "count", "MUG", "--location", "MAIN", "--on-hand", "20", "--number", "c1")...)
	told(0, []string{"1 positions are what their ledger says"}, "stock", "audit", "MUG")
	told(0, []string{"is shipped from MAIN", "chosen", "by only_candidate", "SHOP", "rejected", "by stock", "it lacks 3 of MUG"}, "explain-sourcing", "1001")
	told(0, []string{"2 × MUG"}, "stock", "KIT")

	// What cannot be is refused with the reason, and nothing moves.
	for _, c := range []struct {
		says string
		args []string
	}{
		{"20 on hand; 21 cannot be taken from it", with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "-21")},
		{"\"-0.5\" of the unit piece is a fraction of a piece", with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "-0.5")},
		{"is not counted in \"kg\"", with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "-1", "--unit", "kg")},
		{"no decimal number", with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "many")},
		{"moves nothing", with("stock", "adjust", "MUG", "--location", "MAIN", "--by", "0")},
		{"no such location", with("stock", "adjust", "MUG", "--location", "MOON", "--by", "1")},
		{"no stock position", with("stock", "adjust", "CAP", "--location", "MAIN", "--by", "-1")},
		{"it is a kit", with("stock", "adjust", "KIT", "--location", "MAIN", "--by", "-1")},
		{"less than nothing", with("stock", "count", "MUG", "--location", "MAIN", "--on-hand", "-1")},
		{"counted by warehouse", with("stock", "count", "MUG", "--location", "MAIN", "--on-hand", "1", "--source", "shop")},
		{"was counted as of", with("stock", "count", "MUG", "--location", "MAIN", "--on-hand", "1", "--as-of", "2020-01-02T00:00:00Z")},
		{"recorded already as a count of 20", with("stock", "count", "MUG", "--location", "MAIN", "--on-hand", "19", "--number", "c1")},
		{"open already with 20", with("stock", "open", "MUG", "--location", "MAIN", "--on-hand", "1")},
		{"missing flags: --reason", []string{"stock", "adjust", "MUG", "--location", "MAIN", "--by", "-1"}},
	} {
		if code, out := runStock(t, c.args...); code == 0 || !strings.Contains(out, c.says) {
			t.Errorf("%v: exit code %d: %s", c.args, code, out)
		}
	}
	told(0, []string{"17 free = 20 on hand − 3 reserved"}, "stock", "MUG")
	audits, err := store.Audited(t.Context(), north, time.Now().Add(-time.Hour))
	must(t, err)
	if len(audits) != 5 {
		t.Errorf("%d entries are audited: %+v", len(audits), audits)
	}
}
