//go:build unix

package tryton_test

import (
	"encoding/json"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	flow "github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/retail"
)

var (
	_ flow.Customers   = (*tryton.Connector)(nil)
	_ flow.SalesOrders = (*tryton.Connector)(nil)
)

const plain = `{"url":"https://erp.example.com","database":"erp","user":"waybill","company":"Shop Inc.","currency":"USD","warehouse":"WH"`

func TestSettingsAreStrict(t *testing.T) {
	for _, tc := range []struct{ name, settings, field, value string }{
		{"the URL is required", `{"database":"erp","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "url", ""},
		{"the database is required", `{"url":"https://e.example","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "database", ""},
		{"the user is required", `{"url":"https://e.example","database":"erp","company":"c","currency":"USD","warehouse":"WH"}`, "user", ""},
		{"the company is required", `{"url":"https://e.example","database":"erp","user":"u","currency":"USD","warehouse":"WH"}`, "company", ""},
		{"the currency is required", `{"url":"https://e.example","database":"erp","user":"u","company":"c","warehouse":"WH"}`, "currency", ""},
		{"the warehouse is required", `{"url":"https://e.example","database":"erp","user":"u","company":"c","currency":"USD"}`, "warehouse", ""},
		{"the currency is of ISO 4217", `{"url":"https://e.example","database":"erp","user":"u","company":"c","currency":"usd","warehouse":"WH"}`, "currency", "usd"},
		{"plain http is for loopback only", `{"url":"http://e.example","database":"erp","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "url", "http://e.example"},
		{"the URL has a port that there is", `{"url":"https://e.example:99999","database":"erp","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "url", "https://e.example:99999"},
		{"the URL has a host", `{"url":"https://:443","database":"erp","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "url", "https://:443"},
		{"the URL holds no credential", `{"url":"https://a:b@e.example","database":"erp","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "url", ""},
		{"the database is no path", `{"url":"https://e.example","database":"../x","user":"u","company":"c","currency":"USD","warehouse":"WH"}`, "database", "../x"},
		{"a colon would end the user's name", `{"url":"https://e.example","database":"erp","user":"u:1","company":"c","currency":"USD","warehouse":"WH"}`, "user", ""},
		{"other series are not known to work", plain + `,"series":"7.2"}`, "series", "7.2"},
		{"one product has one purpose", plain + `,"products":{"tip":"WB-FEES"}}`, "products", "WB-FEES"},
		{"a product's code is a string", plain + `,"products":{"tip":5}}`, "products.tip", ""},
		{"nothing follows the object", plain + `} {}`, "settings", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tryton.New(json.RawMessage(tc.settings), nil, nil, clock)
			wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: tc.field, Value: tc.value})
		})
	}
	for _, settings := range []string{plain + `,"compny":"x"}`, plain + `,"products":{"tipp":"x"}}`, ``, `[]`} {
		if _, err := tryton.New(json.RawMessage(settings), nil, nil, clock); fault.KindOf(err) != fault.Permanent {
			t.Errorf("the settings %s give %v", settings, err)
		}
	}
	for _, settings := range []string{plain + `}`, plain + `,"series":"7.0"}`, plain + `,"series":"8.0"}`} {
		if _, err := tryton.New(json.RawMessage(settings), nil, nil, clock); err != nil {
			t.Error(err)
		}
	}
}

func TestAClientNeedsAPassword(t *testing.T) {
	_, err := tryton.New(json.RawMessage(plain+`}`), nil, egress.New(clock), clock)
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "password"})
}

func TestAConnectorWithoutAClientRefusesToCall(t *testing.T) {
	c, err := tryton.New(json.RawMessage(plain+`}`), nil, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Stock(t.Context())
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal})
}

func TestSettingsThatTheDatabaseDoesNotHoldAreNamed(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		for _, tc := range []struct {
			name, setting string
			value         any
			field, want   string
		}{
			{"a company", "company", "No Such Inc.", "company", "No Such Inc."},
			{"a warehouse", "warehouse", "NOWHERE", "warehouse", "NOWHERE"},
			{"a currency", "currency", "KWD", "currency", "KWD"},
			{"a service product", "products", map[string]string{"tip": "NO-TIP"}, "products", "NO-TIP"},
			{"a service product that is an article", "products", map[string]string{"tip": "MUG-STONE"}, "products", "MUG-STONE"},
			{"a tax product without its tax", "products", map[string]string{"tax": "WB-TIP", "tip": "WB-TAX"}, "products.tax", "WB-TIP"},
			{"a database", "database", "nope", "database", ""},
		} {
			t.Run(tc.name, func(t *testing.T) {
				c := srs.connect(t, func(v map[string]any) { v[tc.setting] = tc.value })
				_, err := c.Stock(t.Context())
				wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: tc.field, Value: tc.want})
			})
		}
	})
}

func TestAWrongPasswordIsForAnAdministrator(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		s := srs.server(t)
		c := connectTo(t, s.Settings, "wrong")
		_, err := c.Stock(t.Context())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Authentication})
		_, err = c.CreateCustomer(t.Context(), permit, "ref", shopper())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Authentication})
	})
}

func TestAnEndedSessionIsRenewedOnce(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		if _, err := c.Stock(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *proxy) { p.expire = 1 })
		if _, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper()); err != nil {
			t.Fatalf("after the session ended: %v", err)
		}
		if n := p.calls("common.db.login"); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
		p.set(func(p *proxy) { p.expire = 1000 })
		_, err := c.CreateCustomer(t.Context(), permit, "order:"+newID(), shopper())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Authentication})
	})
}

func TestAWriteNeedsAPermit(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		ref := "order:" + newID()
		_, err := c.CreateCustomer(t.Context(), effect.Permit{}, ref, shopper())
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal})
		if _, found, err := c.FindCustomer(t.Context(), ref); err != nil || found {
			t.Errorf("found: %t (%v)", found, err)
		}
	})
}

func TestACurrencyThatIsNotTheConnectionsIsRefused(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := retail.Order{ID: newID(), Currency: "EUR"}
		one := effect.Receipt{Ref: "1"}
		_, err := c.CreateSalesOrder(t.Context(), permit, o, one, one, one)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Validation, Field: "currency", Value: "EUR"})
	})
}
