//go:build unix

package tryton_test

import (
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestOnlyWhatProvesARollbackLeavesAWritesOutcomeKnown(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		for _, tc := range []struct {
			name, answer string
			want         fault.Error
		}{
			{"a refusal", `{"id":1,"error":["UserError",["No.","",null]]}`, fault.Error{Kind: fault.Exception, Class: fault.Validation}},
			{"a warning", `{"id":1,"error":["UserWarning",["name","Sure?",""]]}`, fault.Error{Kind: fault.Exception, Class: fault.Validation}},
			{"a lost race", `{"id":1,"error":["ConcurrencyException","Records were modified in the meanwhile"]}`, fault.Error{Kind: fault.Retryable, Class: fault.StateConflict}},
			{"a failure", `{"id":1,"error":["'nope'","Traceback"]}`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
			{"an error of no form", `{"id":1,"error":[{}]}`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
			{"not JSON", `<html>`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
			{"neither result nor error", `{"id":1}`, fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
			{"a result of another type", `{"id":1,"result":"x"}`, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Unknown: true}},
			{"broken UTF-8", "{\"id\":1,\"result\":[7],\"x\":\"\xff\"}", fault.Error{Kind: fault.Retryable, Class: fault.Connectivity, Unknown: true}},
			{"no new record", `{"id":1,"result":[]}`, fault.Error{Kind: fault.Retryable, Class: fault.OutcomeUnknown, Unknown: true}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				p, c := srs.behind(t)
				p.set(func(p *proxy) { p.answers = map[string]string{"model.party.party.create": tc.answer} })
				_, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper())
				wantFault(t, err, tc.want)
			})
		}
	})
}

func TestWhatTrytonSaysIsPassedOnWithoutNames(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		for _, tc := range []struct{ name, method, message, want string }{
			{"about a sale", "model.sale.sale.create", `The party \"Zenobia Marker\" has no account.`, "The party … has no account."},
			{"several names", "model.sale.sale.create", `Not \"post\" on \"Zenobia \"ZQ\" Marker\" now.`, "Not … now."},
			{"without names", "model.sale.sale.create", `The period is closed.`, "The period is closed."},
			{"an open mark", "model.sale.sale.create", `Not for \"Zenobia Marker`, "Not for …"},
			{"typographic marks", "model.sale.sale.create", `Not for “Zenobia Marker” yet.`, "Not for … yet."},
			{"about people", "model.party.party.create", `Zenobia Marker is known.`, ""},
		} {
			t.Run(tc.name, func(t *testing.T) {
				p, c := srs.behind(t)
				p.set(func(p *proxy) {
					p.answers = map[string]string{tc.method: `{"id":1,"error":["UserError",["` + tc.message + `","",null]]}`}
				})
				var err error
				if strings.HasPrefix(tc.method, "model.party") {
					_, err = c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper())
				} else {
					one := effect.Receipt{Ref: "1"}
					_, err = c.CreateSalesOrder(t.Context(), permit, order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "1.00", 1)}}), one, one, one)
				}
				wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Validation})
				if tc.want != "" && !strings.HasSuffix(err.Error(), ": "+tc.want) {
					t.Errorf("got %v, want %q at the end", err, tc.want)
				}
			})
		}
	})
}

func TestAnotherSeriesIsNotTalkedTo(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t, func(v map[string]any) { v["series"] = srs.other })
		_, err := c.Stock(t.Context())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "series", Value: srs.other})
		if !strings.Contains(err.Error(), "which is "+srs.name) {
			t.Errorf("%v does not say what the server runs", err)
		}
		p, c := srs.behind(t)
		p.set(func(p *proxy) { p.answers = map[string]string{"common.server.version": `{"id":1,"result":"7.2.1"}`} })
		_, err = c.Stock(t.Context())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "series", Value: srs.name})
	})
}
