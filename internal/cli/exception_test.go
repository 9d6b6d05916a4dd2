//go:build unix

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

// says runs a command that must end with the code and say all of it.
func says(t *testing.T, code int, args []string, want ...string) string {
	t.Helper()
	got, out, errs := run(t, "", append(args, "--stack", "data")...)
	if got != code {
		t.Errorf("waybill %s: code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	for _, w := range want {
		if !strings.Contains(out+errs, w) {
			t.Errorf("waybill %s does not say %q:\n%s%s", strings.Join(args, " "), w, out, errs)
		}
	}
	return out
}

func TestExceptionsAreListedByCauseDecidedAndAudited(t *testing.T) {
	store, _, _, north := stack(t)
	opened := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	head := func(id, parked string) document.Head {
		return document.Head{Key: document.Key{Tenant: north, Type: document.Order, ID: id}, Schema: 1, State: retail.Received, Run: 1, Parked: parked,
			Connection: "shop", ExternalID: id, Number: "#" + id, Total: retail.Money{Amount: 1250, Currency: "USD"}, CreatedAt: opened, UpdatedAt: opened}
	}
	exception := func(id, doc string) document.Exception {
		return document.Exception{Tenant: north, ID: id, Kind: "Exception", Class: "mapping", Fingerprint: "f1", Connection: "shop", Type: document.Order, Document: doc,
			Number: "#" + doc, Field: "lines[0].sku", Value: "A-1", Reason: "unknown SKU", Action: "map it", AtStake: retail.Money{Amount: 1250, Currency: "USD"},
			State: document.Open, OpenedAt: opened, DueAt: opened.Add(30 * time.Minute)}
	}
	must(t, store.Commit(t.Context(), document.Transaction{
		Changes:    []document.Change{{Head: head("1", "aaa1")}, {Head: head("2", "aaa2")}},
		Exceptions: []document.Exception{exception("aaa1", "1"), exception("aaa2", "2"), {Tenant: north, ID: "bbb", Kind: "Permanent", Class: "validation", Fingerprint: "f2", Connection: "shop", Reason: "no JSON", State: document.Open, EventID: "e1", OpenedAt: opened, DueAt: opened.Add(5 * time.Hour)}},
	}))
	says(t, 0, []string{"exceptions"}, "f1  2 × Exception/mapping", "at stake: 25.00 USD", "overdue: 30m", "retry --cause f1", "f2  1 × Permanent/validation", "left: 4h")
	says(t, 0, []string{"exceptions", "--limit", "2"}, "f1  2 × ", "north has more than 2 open exceptions", "--limit 0")
	for _, all := range []string{"3", "0"} {
		if out := says(t, 0, []string{"exceptions", "--limit", all}, "f2  1 × "); strings.Contains(out, "more than") {
			t.Errorf("cut at %s:\n%s", all, out)
		}
	}
	says(t, 0, []string{"exceptions", "--limit", "1", "--json"}, `"cut": [`)
	says(t, 1, []string{"exceptions", "--limit", "-1"}, "no number")
	says(t, 1, []string{"exceptions", "--tenant", "south"}, `no retailer "south"`, "north")
	var listed struct {
		Causes []struct {
			Count int `json:"count"`
		} `json:"causes"`
	}
	if err := json.Unmarshal([]byte(says(t, 0, []string{"exceptions", "--json"})), &listed); err != nil || len(listed.Causes) != 2 || listed.Causes[0].Count != 2 {
		t.Errorf("%+v, %v", listed, err)
	}
	says(t, 0, []string{"exception", "bb"}, "no JSON")
	says(t, 1, []string{"exception", "aaa"}, "2 open exceptions begin with")
	says(t, 1, []string{"exception", "zzz"}, "no exception", "waybill exceptions --each")
	says(t, 2, []string{"note", "bbb"}, "reason")
	says(t, 0, []string{"note", "bbb", "--reason", "asked the shop", "--by", "ann"}, "changed")
	says(t, 0, []string{"assign", "bbb", "--to", "bob", "--reason", "his", "--by", "ann"}, "changed")
	says(t, 0, []string{"exception", "bbb"}, "ann: asked the shop", "owner", "bob")
	says(t, 1, []string{"retry", "bbb", "--reason", "x"}, "payload was not kept")
	says(t, 1, []string{"retry", "--reason", "x"}, "--cause")
	says(t, 1, []string{"retry", "--cause", "f9", "--reason", "x"}, "no open exception has the cause")
	says(t, 0, []string{"retry", "--cause", "f1", "--reason", "x", "--dry-run"}, "2 would be retried")
	says(t, 1, []string{"resolve", "aaa1", "--reason", "x"}, "would be stuck")
	says(t, 0, []string{"cancel", "aaa1", "--reason", "the shopper called", "--by", "ann"}, "document canceled")
	says(t, 0, []string{"cancel", "aaa1", "--reason", "again", "--by", "ann"}, "decided before: canceled")
	says(t, 1, []string{"confirm", "aaa2", "--ref", "7", "--reason", "x"}, "no effect of unknown outcome")
	says(t, 0, []string{"resolve", "bbb", "--reason", "a test of theirs", "--by", "ann"}, "resolved")
	out := says(t, 0, []string{"audit"}, "exception.note", "exception.assign", "exception.cancel", "exception.resolve", "a test of theirs")
	if n := strings.Count(out, "exception."); n != 4 {
		t.Errorf("%d decisions are written down:\n%s", n, out)
	}
	h, err := store.Head(t.Context(), document.Key{Tenant: north, Type: document.Order, ID: "1"})
	if err != nil || h.State != retail.Canceled || h.Parked != "" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestAConnectionIsPausedAndResumedByCommand(t *testing.T) {
	store, _, _, north := stack(t)
	says(t, 0, []string{"connection", "list"}, "north/erp", "tryton", "ok")
	says(t, 2, []string{"connection", "pause", "erp"}, "reason")
	says(t, 1, []string{"connection", "pause", "wms", "--reason", "x"}, `no connection "wms"`, "north/erp", "north/warehouse")
	says(t, 0, []string{"connection", "pause", "erp", "--reason", "stocktaking", "--by", "ann"}, "north/erp: paused")
	says(t, 0, []string{"connection", "pause", "erp", "--reason", "again"}, "it was before")
	says(t, 0, []string{"connection", "list"}, "paused", "stocktaking", "ann")
	s, err := store.Rate(t.Context(), rate.Key{Tenant: north, Connection: "erp"})
	if err != nil || s.Paused == nil || s.Paused.By != "ann" {
		t.Errorf("%+v, %v", s, err)
	}
	says(t, 0, []string{"connection", "resume", "erp", "--reason", "counted", "--by", "ann"}, "north/erp: ok")
	says(t, 0, []string{"audit"}, "connection.pause", "connection.resume", "stocktaking", "counted")
}
