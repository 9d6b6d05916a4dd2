package partner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/partner"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

const goodPartner = `partner: acme
name: Acme Integration
brand:
  product_name: Acme Connect
  colors:
    primary: "#1a4d8f"
`

const goodRetailer = `tenant: north
name: North Outfitters
connections:
  - id: shop
    connector: shopify
    settings:
      shop: north.myshopify.com
    secrets:
      access_token: ${TOKEN}
    webhook_secrets: ["${HOOK}"]
  - id: erp
    connector: tryton
    settings:
      url: https://erp.example.com
      database: erp
      user: waybill
      company: North
      currency: USD
      warehouse: WH
    secrets:
      password: ${TOKEN}
  - id: warehouse
    connector: shipbob
    settings:
      channel_id: "433"
    secrets:
      access_token: ${TOKEN}
routes:
  - { channel: shop, erp: erp, warehouse: warehouse, location: MAIN }
`

func folder(t *testing.T, partnerYAML, retailerYAML string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "retailers"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"partner.yaml": partnerYAML, "retailers/north.yaml": retailerYAML} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"TOKEN": "secret-one", "HOOK": "sign-one"}[name]
	return v, ok
}

// TestAWrongFolderIsRefusedWithFileLineAndWhatWouldBeRight breaks one thing at
// a time.
func TestAWrongFolderIsRefusedWithFileLineAndWhatWouldBeRight(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		line           int
		says           []string
	}{
		{"an unknown key", "    secrets:\n      access_token: ${TOKEN}\n    webhook_secrets", "    secrts:\n      access_token: ${TOKEN}\n    webhook_secrets", 8,
			[]string{"connections[0].secrts", "there is no such key", "did you mean secrets?"}},
		{"an unknown setting", "      channel_id: \"433\"", "      channel_id: \"433\"\n      chanel_id: 4", 26, []string{"connections[2].settings.chanel_id", "did you mean channel_id?"}},
		{"a missing credential", "    secrets:\n      password: ${TOKEN}\n", "", 11, []string{"password", "is missing from the connection's secrets"}},
		{"a variable that is not set", "password: ${TOKEN}", "password: ${ERP_PASSWORD}", 21, []string{"the variable ERP_PASSWORD is not set", "set it in the environment"}},
		{"a connector that does not exist", "connector: shopify", "connector: shopfy", 5, []string{`there is no connector "shopfy"`, "did you mean shopify?", "shipbob, shopify, tryton"}},
		{"a route to nowhere", "erp: erp,", "erp: books,", 29, []string{"routes[0].erp", `no connection "books"`, "there are shop, erp, warehouse"}},
		{"a channel that takes no orders in", "channel: shop, erp: erp", "channel: erp, erp: erp", 29, []string{"routes[0].channel", "cannot: take orders in"}},
		{"a cycle of routes", "routes:\n", "routes:\n  - { channel: warehouse, erp: erp, warehouse: shop, location: X }\n", 29,
			[]string{"a cycle: warehouse → shop → warehouse"}},
		{"a cycle of aliases", "    settings:\n      shop: north.myshopify.com", "    settings: &a\n      shop: *a", 7, []string{"a cycle"}},
		{"a doubled id", "id: erp", "id: shop", 11, []string{`"shop" is used twice`}},
		{"a doubled key", "tenant: north\n", "tenant: north\ntenant: north\n", 2, []string{"already in line 1"}},
		{"another tenant than the file's", "tenant: north", "tenant: south", 1, []string{"the file is named north.yaml", "make them equal"}},
		{"a wrong type", "connections:\n  - id: shop", "connections:\n  - id: [shop]", 4, []string{"connections[0].id: is a list; it takes a text"}},
		{"no YAML", "tenant: north", "tenant: [north", 0, []string{"correct the YAML"}},
		{"a location whose warehouse ships nothing", "routes:\n", "locations: [{code: MAIN, warehouse: erp}]\nroutes:\n", 28,
			[]string{`locations[0].warehouse: connection "erp" cannot: ship orders`, "see: waybill connectors"}},
		{"a location for a channel that takes no orders in", "routes:\n", "locations: [{code: MAIN, channels: [shop, erp]}]\nroutes:\n", 28,
			[]string{`locations[0].channels[1]: connection "erp" cannot: take orders in`}},
		{"a location's code with a mark of keys", "location: MAIN", `location: "MA#IN"`, 29, []string{`routes[0].location: "MA#IN" is no location code`, "1 to 64 of"}},
		{"a location's code that is blank", "location: MAIN", `location: "  "`, 29, []string{`routes[0].location: "  " is no location code`}},
		{"a location's code that never ends", "location: MAIN", "location: " + strings.Repeat("A", 5000), 29, []string{"… (5000 characters) is no location code"}},
		{"a location's code with a tab", "routes:\n", "locations: [{code: MAIN}, {code: \"B\\tC\"}]\nroutes:\n", 28, []string{`locations[1].code: "B\tC" is no location code`}},
		{"a location's code with a blank that does not break", "routes:\n", "locations: [{code: MAIN}, {code: \"B\\u00a0C\"}]\nroutes:\n", 28, []string{`locations[1].code: "B\u00a0C" is no location code`}},
		{"a time zone that functions do not have", "connector: tryton", "connector: tryton\n    time_zone: right/UTC", 13, []string{`connections[1].time_zone: "right/UTC" is no time zone that functions know`, "America/New_York"}},
		{"a country that is none", "routes:\n", "locations: [{code: MAIN, distance: {UK: 1}}]\nroutes:\n", 28, []string{`locations[0].distance: "UK" is no country`, "the United Kingdom is GB"}},
		{"a component that stands twice", "routes:\n", "products: [{sku: KIT, components: [{sku: A, quantity: 1}, {sku: A, quantity: 2}]}]\nroutes:\n", 28,
			[]string{`products[0].components[1].sku: "A" stands twice in the kit`, "keep one, with the quantity of both"}},
		{"a secret that the connector has not", "      password: ${TOKEN}", "      password: ${TOKEN}\n      passwrd: ${TOKEN}", 22,
			[]string{"connections[1].secrets.passwrd: there is no such credential of a tryton connection", "did you mean password?"}},
		{"a secret that is blank", "password: ${TOKEN}", `password: "  "`, 21, []string{"connections[1].secrets.password: is blank", "is its variable set"}},
		{"a secret that ends with its line", "password: ${TOKEN}", `password: "secret-one\n"`, 21, []string{"connections[1].secrets.password: begins or ends with a line break", "leave the line break out"}},
		{"a secret that never ends", "password: ${TOKEN}", "password: " + strings.Repeat("secret-one", 2000), 21, []string{"connections[1].secrets.password: has 20000 bytes; 10240 are the most"}},
		{"a signing secret that ends with its line", `["${HOOK}"]`, `["sign-one\n"]`, 10, []string{"connections[0].webhook_secrets[0]: begins or ends with a line break"}},
		{"a signing secret that is blank", `["${HOOK}"]`, `[" "]`, 10, []string{"connections[0].webhook_secrets[0]: is blank"}},
		{"signing secrets of what sends no webhooks", "    secrets:\n      password", "    webhook_secrets: [abc]\n    secrets:\n      password", 20,
			[]string{"connections[1].webhook_secrets: connector tryton cannot: receive webhooks", "leave them out"}},
		{"settings that never end", "company: North", "company: " + strings.Repeat("N", 70000), 14, []string{"connections[1].settings: have 70114 bytes; 65536 are the most"}},
		{"a port that there is not", "https://erp.example.com", "https://erp.example.com:99999", 14, []string{`connections[1].settings.url: "https://erp.example.com:99999" has the port "99999"`}},
		{"an address without a host", "https://erp.example.com", "https://:443", 14, []string{`connections[1].settings.url: "https://:443" has no host`}},
		{"a shop without its domain", "north.myshopify.com", "north", 7, []string{`connections[0].settings.shop: "north" must be the shop's permanent domain`, "example.myshopify.com"}},
		{"no name", "name: North Outfitters\n", "", 1, []string{"name: is missing; the retailer's name"}},
		{"a name that is blank", "name: North Outfitters", `name: " "`, 2, []string{"name: is missing"}},
		{"an address without TLS", "https://erp.example.com", "http://erp.example.com", 14, []string{"must use https"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(goodRetailer, c.old) {
				t.Fatalf("the example has no %q", c.old)
			}
			dir := folder(t, goodPartner, strings.Replace(goodRetailer, c.old, c.new, 1))
			_, err := partner.Load(dir, env)
			var problems partner.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("err = %v", err)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in:\n%v", want, err)
				}
			}
			if c.line > 0 && !slices.ContainsFunc(problems, func(p partner.Problem) bool { return p.Line == c.line }) {
				t.Errorf("no problem is in line %d:\n%v", c.line, err)
			}
			if strings.Contains(err.Error(), "secret-one") || strings.Contains(err.Error(), "sign-one") {
				t.Errorf("a secret is told:\n%v", err)
			}
			if !strings.Contains(problems[0].File, filepath.Join("retailers", "north.yaml")) {
				t.Errorf("the file is %q", problems[0].File)
			}
		})
	}
}

func TestAColorThatIsNoColorIsRefused(t *testing.T) {
	for _, c := range []struct{ value, field string }{
		{`"#12345"`, "primary"}, {"blue", "primary"}, {`"#1a4d8g"`, "primary"},
	} {
		_, err := partner.Load(folder(t, strings.Replace(goodPartner, `"#1a4d8f"`, c.value, 1), goodRetailer), env)
		if err == nil || !strings.Contains(err.Error(), "partner.yaml:6: brand.colors."+c.field) || !strings.Contains(err.Error(), "six hexadecimal digits") {
			t.Errorf("%s: %v", c.value, err)
		}
	}
}

func TestSupportIsAtAnHTTPSAddress(t *testing.T) {
	for address, says := range map[string]string{
		"https://help.example.com/a?b=c#d": "", "https://u:p@x.y": "must hold no user or password", "https://:443": "has no host", "https://x:99999": `has the port "99999"`,
		`https://x.y#"><script>`: "is no address", "http://x.y": "must use https", "http://127.0.0.1": "must use https", "javascript:alert(1)": "must use https",
	} {
		_, err := partner.Load(folder(t, goodPartner+fmt.Sprintf("  support_url: %q\n", address), goodRetailer), env)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), "partner.yaml:7: brand.support_url: ") || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// One item of the database takes 400 KB, whatever a file takes.
func TestWhatOneItemCannotHoldIsRefusedBeforeItIsStored(t *testing.T) {
	products := func(n int) string {
		var b strings.Builder
		b.WriteString(goodRetailer + "products:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {sku: S%09d, packs: {c: 2}}\n", i)
		}
		return b.String()
	}
	s := newStack()
	s.apply(t, products(10950), env)
	raw, err := json.Marshal(s.retailers["north"])
	if err != nil || len(raw) > 400<<10 || len(raw) < 390<<10 {
		t.Errorf("%d bytes are stored, %v", len(raw), err)
	}
	for name, c := range map[string]struct{ text, says, right string }{
		"many products": {products(15000), "north.yaml:31: products: the configuration would have 555584 bytes", "it needs no entry"},
	} {
		_, err := partner.Load(folder(t, goodPartner, c.text), env)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.right) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := partner.Load(folder(t, strings.Replace(goodPartner, "Acme Integration", strings.Repeat("A", 500000), 1), goodRetailer), env); err == nil ||
		!strings.Contains(err.Error(), "partner.yaml:2: name: the configuration would have 5") || !strings.Contains(err.Error(), "408576 are the most; shorten it") {
		t.Errorf("a long name: %.300v", err)
	}
}

func TestAlertsGoToAnAddressThatIsCheckedAndSigned(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for name, c := range map[string]struct{ url, secret, wrong string }{
		"right":                       {"https://hooks.example.com/a", secret, ""},
		"on this machine":             {"http://127.0.0.1:8080/a", secret, ""},
		"in the open":                 {"http://hooks.example.com/a", secret, `partner.yaml:8: alerts.webhook.url: "http://hooks.example.com/a" must use https; such as https://`},
		"no address":                  {"hooks", secret, `alerts.webhook.url: "hooks" must use https`},
		"a port that there is not":    {"https://hooks.example.com:99999", secret, `alerts.webhook.url: "https://hooks.example.com:99999" has the port "99999"`},
		"no host":                     {"https://:443", secret, `alerts.webhook.url: "https://:443" has no host`},
		"a password in the address":   {"https://u:p@hooks.example.com", secret, "alerts.webhook.url: must hold no user or password"},
		"no secret":                   {"https://hooks.example.com", "", "alerts.webhook.secret: it does not begin with whsec_"},
		"a secret that is too short":  {"https://hooks.example.com", "whsec_QUJD", "partner.yaml:9: alerts.webhook.secret: its key has 3 bytes"},
		"a secret that is no base64":  {"https://hooks.example.com", "whsec_*", "alerts.webhook.secret: what follows whsec_ is not base64"},
		"neither address nor secret":  {"", "", "alerts.webhook: has neither url nor secret"},
		"a secret without an address": {"", secret, "alerts.webhook: has no url"},
	} {
		text := strings.Replace(goodPartner, "brand:", "alerts:\n  webhook:\n    url: "+fmt.Sprintf("%q", c.url)+"\n    secret: "+fmt.Sprintf("%q", c.secret)+"\nbrand:", 1)
		_, err := partner.Load(folder(t, "# a partner\n# with alerts\n# and comments\n"+text, goodRetailer), env)
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, want %q", name, err, c.wrong)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is told: %v", name, err)
		}
	}
}

func TestAlertsAreAppliedOnceAndTheirSecretIsSealed(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	s := newStack()
	apply := func(alerts string) partner.Plan {
		f, err := partner.Load(folder(t, goodPartner+alerts, goodRetailer), env)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := partner.Compare(t.Context(), s, s, f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := partner.Apply(t.Context(), s, s, plan, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
		return plan
	}
	apply("")
	with := "alerts: { webhook: { url: https://hooks.example.com, secret: " + secret + " } }\n"
	if got, want := shown(apply(with)), "partner  + alerts.webhook.url: \"https://hooks.example.com\"\npartner  + alerts.webhook.secret"; got != want {
		t.Errorf("the difference is\n%s\nnot\n%s", got, want)
	}
	if got := string(s.credentials["-/alerts"]); got != `{"webhook":"`+secret+`"}` {
		t.Errorf("sealed is %s", got)
	}
	if plan := apply(with); !plan.Empty() {
		t.Errorf("the second plan is\n%s", shown(plan))
	}
	if got := shown(apply(strings.Replace(with, "MfKQ", "MfKR", 1))); got != "partner  ~ alerts.webhook.secret" {
		t.Errorf("another secret shows as\n%s", got)
	}
	apply("")
	if s.credentials["-/alerts"] != nil {
		t.Error("the secret stays where its webhook is gone")
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	text := strings.NewReplacer("connector: shopify", "connector: x", "erp: erp,", "erp: y,", "database: erp", "database: a b").Replace(goodRetailer)
	_, err := partner.Load(folder(t, "partner: A\nname: \"\"\n", text), env)
	var problems partner.Problems
	if !errors.As(err, &problems) || len(problems) != 5 {
		t.Errorf("%d problems:\n%v", len(problems), err)
	}
}

func TestTheDemoFolderIsRight(t *testing.T) {
	special := map[string]string{"SHOPIFY_URL": "https://a.example", "SHIPBOB_URL": "https://b.example", "TRYTON_URL": "https://c.example", "TRYTON_SERIES": "8.0"}
	_, err := partner.Load("../../infra/partners/demo", func(name string) (string, bool) {
		if v, ok := special[name]; ok {
			return v, true
		}
		return "x", true
	})
	if err != nil {
		t.Error(err)
	}
}

// stack is a Store and a Sealer in maps.
type stack struct {
	partner     tenancy.Partner
	retailers   map[string]tenancy.Retailer
	credentials map[string][]byte
	hooks       map[string]tenancy.Hook
	writes      int
	before      func() // each write of a retailer
}

func newStack() *stack {
	return &stack{retailers: map[string]tenancy.Retailer{}, credentials: map[string][]byte{}, hooks: map[string]tenancy.Hook{}}
}

func (s *stack) Partner(context.Context) (tenancy.Partner, error) {
	if s.partner.Version == 0 {
		return s.partner, tenancy.ErrNotFound
	}
	return s.partner, nil
}

func (s *stack) PutPartner(_ context.Context, p tenancy.Partner, with tenancy.Secrets) error {
	if p.Version != s.partner.Version+1 {
		return document.ErrConflict
	}
	s.writes++
	s.partner = p
	s.keep(retail.Partner, with)
	return nil
}

func (s *stack) keep(t retail.Tenant, with tenancy.Secrets) {
	for c, b := range with.Credentials {
		if s.credentials[t.String()+"/"+c] = b; b == nil {
			delete(s.credentials, t.String()+"/"+c)
		}
	}
	for _, h := range with.Hooks {
		s.hooks[h.Token] = h
	}
	for _, token := range with.Closed {
		delete(s.hooks, token)
	}
}

func (s *stack) Retailer(_ context.Context, t retail.Tenant) (tenancy.Retailer, error) {
	r, ok := s.retailers[t.String()]
	if !ok {
		return r, tenancy.ErrNotFound
	}
	return r, nil
}

func (s *stack) PutRetailer(_ context.Context, r tenancy.Retailer, with tenancy.Secrets) error {
	if s.before != nil {
		s.before()
	}
	if r.Version != s.retailers[r.Tenant.String()].Version+1 {
		return document.ErrConflict
	}
	s.writes++
	s.retailers[r.Tenant.String()] = r
	s.keep(r.Tenant, with)
	return nil
}

func (s *stack) Tenants(context.Context) (out []retail.Tenant, err error) {
	for _, k := range slices.Sorted(maps.Keys(s.retailers)) {
		out = append(out, s.retailers[k].Tenant)
	}
	return out, nil
}

func (s *stack) Credential(_ context.Context, t retail.Tenant, c string) ([]byte, error) {
	b, ok := s.credentials[t.String()+"/"+c]
	if !ok {
		return nil, tenancy.ErrNotFound
	}
	return b, nil
}

func (s *stack) Hook(_ context.Context, t retail.Tenant, token string) (tenancy.Hook, error) {
	h, ok := s.hooks[token]
	if !ok || h.Tenant != t {
		return h, tenancy.ErrNotFound
	}
	return h, nil
}

func (s *stack) Watermark(context.Context, retail.Tenant, string) (time.Time, error) {
	return time.Time{}, nil
}
func (s *stack) SetWatermark(context.Context, retail.Tenant, string, time.Time) error { return nil }

func (s *stack) Seal(_ context.Context, _ retail.Tenant, _ string, v any) ([]byte, error) {
	return json.Marshal(v)
}

func (s *stack) Open(_ context.Context, _ retail.Tenant, _ string, b []byte, v any) error {
	return json.Unmarshal(b, v)
}

func (s *stack) apply(t *testing.T, retailer string, env func(string) (string, bool)) partner.Plan {
	t.Helper()
	f, err := partner.Load(folder(t, goodPartner, retailer), env)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := partner.Compare(t.Context(), s, s, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := partner.Apply(t.Context(), s, s, plan, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	return plan
}

func shown(p partner.Plan) string {
	var lines []string
	for _, c := range p.Changes {
		lines = append(lines, c.Of+c.String())
	}
	return strings.Join(lines, "\n")
}

func TestApplyingTwiceWritesOnce(t *testing.T) {
	s := newStack()
	if plan := s.apply(t, goodRetailer, env); plan.Empty() {
		t.Error("the first plan is empty")
	}
	writes, hook := s.writes, s.retailers["north"].Connections[0].Hook
	if plan := s.apply(t, goodRetailer, env); !plan.Empty() || s.writes != writes {
		t.Errorf("the second plan wrote %d times:\n%s", s.writes-writes, shown(plan))
	}
	if r := s.retailers["north"]; r.Version != 1 || len(hook) != 32 || r.Connections[0].Hook != hook {
		t.Errorf("version %d, hook %q", r.Version, r.Connections[0].Hook)
	}
}

func TestADifferenceShowsOldAndNewButNoSecret(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	hook := s.retailers["north"].Connections[0].Hook
	plan := s.apply(t, strings.Replace(goodRetailer, "https://erp.example.com", "https://books.example.com", 1),
		func(n string) (string, bool) {
			return map[string]string{"TOKEN": "secret-one", "HOOK": "sign-two"}[n], true
		})
	want := `north  ~ connections[erp].settings.url: "https://erp.example.com" → "https://books.example.com"
north  ~ connections[shop].webhook_secrets`
	if shown(plan) != want {
		t.Errorf("the difference is\n%s\nnot\n%s", shown(plan), want)
	}
	r := s.retailers["north"]
	if r.Version != 2 || r.Connections[0].Hook != hook || string(s.hooks[hook].Sealed) != `["sign-two"]` {
		t.Errorf("version %d, hook %+v", r.Version, s.hooks[hook])
	}
}

func TestAConnectionThatIsTakenAwayLosesItsCredentialAndHook(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	from := strings.Index(goodRetailer, "  - id: shop")
	to := strings.Index(goodRetailer, "  - id: erp")
	s.apply(t, goodRetailer[:from]+goodRetailer[to:strings.Index(goodRetailer, "routes:")], env)
	if len(s.hooks) != 0 || s.credentials["north/shop"] != nil || s.credentials["north/erp"] == nil {
		t.Errorf("hooks %v, credentials %v", s.hooks, s.credentials)
	}
}

func TestAConnectionThatDeliversNoMoreLosesItsHookOnce(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	silent := strings.Replace(goodRetailer, "    webhook_secrets: [\"${HOOK}\"]\n", "", 1)
	if plan := s.apply(t, silent, env); plan.Empty() || len(s.hooks) != 0 || s.retailers["north"].Connections[0].Hook != "" {
		t.Errorf("hooks %v, connection %+v;\n%s", s.hooks, s.retailers["north"].Connections[0], shown(plan))
	}
	writes := s.writes
	if plan := s.apply(t, silent, env); !plan.Empty() || s.writes != writes {
		t.Errorf("the second plan is\n%s", shown(plan))
	}
}

func TestARetailerWithoutAFileStays(t *testing.T) {
	s := newStack()
	south, err := retail.ParseTenant("south")
	if err != nil {
		t.Fatal(err)
	}
	s.retailers["south"] = tenancy.Retailer{Tenant: south, Version: 3}
	plan := s.apply(t, goodRetailer, env)
	if s.retailers["south"].Version != 3 || !strings.Contains(shown(plan), "south  ! retailer") {
		t.Errorf("south is %+v;\n%s", s.retailers["south"], shown(plan))
	}
}
