package partner_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/partner"
)

func (s *stack) plan(t *testing.T, retailer string, env func(string) (string, bool)) partner.Plan {
	t.Helper()
	f, err := partner.Load(folder(t, goodPartner, retailer), env)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := partner.Compare(t.Context(), s, s, f)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func with(old, is string) string {
	if !strings.Contains(goodRetailer, old) {
		panic("the example has no " + old)
	}
	return strings.Replace(goodRetailer, old, is, 1)
}

func secret(token, hook string) func(string) (string, bool) {
	return func(n string) (string, bool) { return map[string]string{"TOKEN": token, "HOOK": hook}[n], true }
}

func TestEachChangeIsShownByTheFilesNames(t *testing.T) {
	settings := func(more string) string {
		return with("    secrets:\n      password", more+"    secrets:\n      password")
	}
	for name, c := range map[string]struct{ was, is, want string }{
		"a pack named version":    {goodRetailer + "products: [{sku: A, packs: {version: 12}}]\n", goodRetailer + "products: [{sku: A, packs: {version: 24}}]\n", `~ products[A].packs.version: 12 → 24`},
		"a pack named hook":       {goodRetailer + "products: [{sku: A, packs: {hook: 12}}]\n", goodRetailer + "products: [{sku: A, packs: {hook: 24}}]\n", `~ products[A].packs.hook: 12 → 24`},
		"a pack named schema":     {goodRetailer + "products: [{sku: A, packs: {schema: 12}}]\n", goodRetailer + "products: [{sku: A, packs: {schema: 24}}]\n", `~ products[A].packs.schema: 12 → 24`},
		"a pack named applied_at": {goodRetailer + "products: [{sku: A, packs: {applied_at: 12}}]\n", goodRetailer + "products: [{sku: A, packs: {applied_at: 24}}]\n", `~ products[A].packs.applied_at: 12 → 24`},
		"a component": {goodRetailer + "products: [{sku: K, components: [{sku: A, quantity: 1}, {sku: B, quantity: 2}]}]\n",
			goodRetailer + "products: [{sku: K, components: [{sku: A, quantity: 5}, {sku: B, quantity: 2}]}]\n", `~ products[K].components[A].quantity: 1 → 5`},
		"a SKU with a bracket": {goodRetailer + "products: [{sku: 'A].packs', packs: {x: 2}}]\n", goodRetailer + "products: [{sku: 'A].packs', packs: {x: 3}}]\n", `~ products["A].packs"].packs.x: 2 → 3`},
		"the clocks":           {goodRetailer, goodRetailer + "clock_skew: 900s\n", `+ clock_skew: 15m`},
		"the clocks again":     {goodRetailer + "clock_skew: 1h30m\n", goodRetailer + "clock_skew: 10h\n", `~ clock_skew: 1h30m → 10h`},
		"a location": {goodRetailer + "locations: [{code: MAIN}]\n", goodRetailer + "locations: [{code: MAIN, safety_stock: 2, distance: {'*': 3}}]\n",
			"+ locations[MAIN].distance.*: 3\n+ locations[MAIN].safety_stock: 2"},
		"how a location is chosen":                 {goodRetailer, goodRetailer + "sourcing: {backorder: true}\n", `+ sourcing.backorder: true`},
		"a value with a sign of HTML":              {goodRetailer, with("company: North", "company: A & <B>"), `~ connections[erp].settings.company: "North" → "A & <B>"`},
		"a webhook that a connection loses":        {goodRetailer, with(`    webhook_secrets: ["${HOOK}"]`+"\n", ""), "- connections[shop].hook: its deliveries will be refused"},
		"a webhook that an old connection gets":    {with(`    webhook_secrets: ["${HOOK}"]`+"\n", ""), goodRetailer, "+ connections[shop].hook: a new address is made\n+ connections[shop].webhook_secrets"},
		"a limit of an old connection":             {goodRetailer, settings("    limits: {in_flight: 2}\n"), "+ connections[erp].limits.in_flight: 2"},
		"connections in another order say nothing": {goodRetailer + "locations: [{code: MAIN}, {code: B}]\n", goodRetailer + "locations: [{code: B}, {code: MAIN}]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack()
			s.apply(t, c.was, env)
			plan := s.apply(t, c.is, env)
			if got := strings.ReplaceAll(shown(plan), "north  ", ""); got != c.want || plan.Empty() != (c.want == "") {
				t.Errorf("the difference is\n%s\nnot\n%s", got, c.want)
			}
			if again := s.plan(t, c.is, env); !again.Empty() {
				t.Errorf("afterwards still\n%s", shown(again))
			}
		})
	}
}

// An older stack may have two of one name, which a file can no longer say.
func TestTwoElementsOfOneNameHideNoChange(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer+"products: [{sku: K, components: [{sku: A, quantity: 2}]}]\n", env)
	r := s.retailers["north"]
	r.Stock.Products[0].Components = append(r.Stock.Products[0].Components[:1:1], r.Stock.Products[0].Components[0])
	if plan := s.plan(t, goodRetailer+"products: [{sku: K, components: [{sku: A, quantity: 2}]}]\n", env); plan.Empty() {
		t.Error("a component less is no change")
	}
}

func TestSecretsAloneMakeAVersion(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	for i, e := range []func(string) (string, bool){secret("secret-two", "sign-one"), secret("secret-two", "sign-two")} {
		if plan := s.apply(t, goodRetailer, e); plan.Empty() || s.retailers["north"].Version != int64(i+2) {
			t.Errorf("version %d;\n%s", s.retailers["north"].Version, shown(plan))
		}
	}
	if plan := s.apply(t, goodRetailer, secret("secret-two", "sign-two")); !plan.Empty() || s.retailers["north"].Version != 3 {
		t.Errorf("version %d;\n%s", s.retailers["north"].Version, shown(plan))
	}
}

// Two plans of one version; the second is refused, at its first look or by the
// write itself.
func TestOfARefusedApplyNothingIsInForce(t *testing.T) {
	secrets := func(s *stack) string {
		hook := s.retailers["north"].Connections[0].Hook
		return fmt.Sprintf("%s %s %s %d hooks", s.retailers["north"].Connections[1].Settings, s.credentials["north/erp"], s.hooks[hook].Sealed, len(s.hooks))
	}
	url := func(s string) string { return with("https://erp.example.com", "https://"+s+".example") }
	silent := with(`    webhook_secrets: ["${HOOK}"]`+"\n", "")
	for name, second := range map[string]struct {
		retailer string
		env      func(string) (string, bool)
	}{
		"another address and secret": {url("b"), secret("B", "hook-B")},
		"another secret alone":       {goodRetailer, secret("B", "sign-one")},
		"another signature alone":    {goodRetailer, secret("secret-one", "hook-B")},
		"no webhook any more":        {silent, env},
		"a connection less":          {goodRetailer[:strings.Index(goodRetailer, "  - id: warehouse")], env},
	} {
		for _, late := range []bool{false, true} {
			s := newStack()
			s.apply(t, goodRetailer, env)
			a, b := s.plan(t, url("a"), secret("A", "hook-A")), s.plan(t, second.retailer, second.env)
			first := func() {
				s.before = nil
				if _, err := partner.Apply(t.Context(), s, s, a, time.Unix(1e9, 0)); err != nil {
					t.Fatal(err)
				}
			}
			var want string
			if late {
				s.before = func() { first(); want = secrets(s) }
			} else {
				first()
				want = secrets(s)
			}
			_, err := partner.Apply(t.Context(), s, s, b, time.Unix(1e9, 0))
			if !errors.Is(err, document.ErrConflict) {
				t.Errorf("%s, late %t: %v", name, late, err)
			}
			if got := secrets(s); got != want || s.retailers["north"].Version != 2 {
				t.Errorf("%s, late %t: version %d\n%s\nnot\n%s", name, late, s.retailers["north"].Version, got, want)
			}
			if plan := s.apply(t, second.retailer, second.env); plan.Empty() || len(s.hooks) > 1 {
				t.Errorf("%s, late %t: applying again: %d hooks\n%s", name, late, len(s.hooks), shown(plan))
			}
			if plan := s.plan(t, second.retailer, second.env); !plan.Empty() {
				t.Errorf("%s, late %t: still\n%s", name, late, shown(plan))
			}
		}
	}
}

func TestARefusedRetailerLeavesThePartnerAsItWas(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	f, err := partner.Load(folder(t, strings.Replace(goodPartner, "Acme Integration", "Acme", 1), with("North Outfitters", "North")), env)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := partner.Compare(t.Context(), s, s, f)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(t, with("North Outfitters", "Another"), env)
	if _, err := partner.Apply(t.Context(), s, s, plan, time.Unix(1e9, 0)); !errors.Is(err, document.ErrConflict) || !strings.Contains(err.Error(), "plan and apply again") {
		t.Error(err)
	}
	if s.partner.Name != "Acme Integration" || s.partner.Version != 1 {
		t.Errorf("the partner is %+v", s.partner)
	}
}

func TestAFolderOfAnotherPartnerIsRefused(t *testing.T) {
	s := newStack()
	s.apply(t, goodRetailer, env)
	s.apply(t, goodRetailer, env)
	was := maps.Clone(s.credentials)
	f, err := partner.Load(folder(t, "# ours\n"+strings.Replace(goodPartner, "partner: acme", "partner: zeta", 1), goodRetailer), env)
	if err != nil {
		t.Fatal(err)
	}
	_, err = partner.Compare(t.Context(), s, s, f)
	if want := `partner.yaml:2: partner: is "zeta", but the stack is that of "acme"; name the folder of acme, or the stack of zeta`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if len(was) != len(s.credentials) {
		t.Error("something was written")
	}
	for to, refused := range map[string]bool{"": false, "zeta": false, "acme": true} {
		if err := f.Belongs(to); (err != nil) != refused {
			t.Errorf("on the stack of %q: %v", to, err)
		}
	}
}

// One version and its secrets are one transaction of the database.
func TestMoreSecretsThanOneVersionTakesAreRefused(t *testing.T) {
	many := func(prefix string, n int) string {
		var b strings.Builder
		b.WriteString("tenant: north\nname: North\nconnections:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {id: %s%d, connector: shopify, settings: {shop: s%d.myshopify.com}, secrets: {access_token: x}, webhook_secrets: [y]}\n", prefix, i, i)
		}
		return b.String()
	}
	s := newStack()
	s.apply(t, many("a", 48), env)
	f, err := partner.Load(folder(t, goodPartner, many("b", 48)), env)
	if err != nil {
		t.Fatal(err)
	}
	_, err = partner.Compare(t.Context(), s, s, f)
	if err == nil || !strings.Contains(err.Error(), "north.yaml:1: connections: 192 secrets and hooks change at once") || !strings.Contains(err.Error(), "97 are the most; apply it in steps") {
		t.Error(err)
	}
	if len(s.hooks) != 48 {
		t.Errorf("%d hooks", len(s.hooks))
	}
}
