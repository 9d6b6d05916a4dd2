// Package partner reads a partner's folder of configuration files, shows how
// it differs from what runs, and applies it to the stack.
package partner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/mail"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Folder is what the files say.
type Folder struct {
	Partner   tenancy.Partner
	Alerts    AlertSecrets
	Retailers []Retailer

	belongs Problem // where the partner is named
}

// Belongs refuses a folder for a stack that is another partner's; a stack that
// has none yet takes any.
func (f Folder) Belongs(to string) error {
	if to == "" || to == f.Partner.Partner {
		return nil
	}
	p := f.belongs
	p.Wrong = fmt.Sprintf("is %q, but the stack is that of %q", f.Partner.Partner, to)
	p.Right = fmt.Sprintf("name the folder of %s, or the stack of %s", to, f.Partner.Partner)
	return Problems{p}
}

// AlertsCredential is the name of the credential that AlertSecrets are sealed
// as, on the partner's own account.
const AlertsCredential = "alerts"

// AlertSecrets are what alerts are signed with.
type AlertSecrets struct {
	Webhook string `json:"webhook,omitempty"` // whsec_…
}

// Retailer is a retailer's file with its secrets.
type Retailer struct {
	Config  tenancy.Retailer
	Secrets map[string]map[string]string // by connection
	Hooks   map[string][]string          // webhook secrets by connection

	path string
}

type partnerFile struct {
	Partner string `yaml:"partner"`
	Name    string `yaml:"name"`
	Brand   struct {
		ProductName  string            `yaml:"product_name"`
		SupportEmail string            `yaml:"support_email"`
		SupportURL   string            `yaml:"support_url"`
		Colors       map[string]string `yaml:"colors"`
	} `yaml:"brand"`
	Alerts struct {
		Webhook struct {
			URL    string `yaml:"url"`
			Secret string `yaml:"secret"`
		} `yaml:"webhook"`
	} `yaml:"alerts"`
}

type connectionFile struct {
	ID             string            `yaml:"id"`
	Connector      string            `yaml:"connector"`
	TimeZone       string            `yaml:"time_zone"`
	Settings       map[string]any    `yaml:"settings"`
	Secrets        map[string]string `yaml:"secrets"`
	WebhookSecrets []string          `yaml:"webhook_secrets"`
	Limits         limitsFile        `yaml:"limits"`
	Maps           mapsFile          `yaml:"maps"`
	Overrides      []overrideFile    `yaml:"overrides"`
}

type limitsFile struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
	InFlight  int     `yaml:"in_flight"`
}

type routeFile struct {
	Channel   string `yaml:"channel"`
	ERP       string `yaml:"erp"`
	Warehouse string `yaml:"warehouse"`
	Location  string `yaml:"location"`
}

type retailerFile struct {
	Tenant      string           `yaml:"tenant"`
	Name        string           `yaml:"name"`
	Connections []connectionFile `yaml:"connections"`
	Routes      []routeFile      `yaml:"routes"`
	Locations   []locationFile   `yaml:"locations"`
	Sourcing    sourcingFile     `yaml:"sourcing"`
	Products    []productFile    `yaml:"products"`
	ClockSkew   string           `yaml:"clock_skew"`
}

// Load reads partner.yaml and retailers/*.yaml and checks them as far as that
// is possible without the vendors. env resolves ${NAME}. What is wrong comes
// as Problems, all of it at once.
func Load(dir string, env func(string) (string, bool)) (Folder, error) {
	var problems Problems
	var out Folder
	var p partnerFile
	f, ok := open(filepath.Join(dir, "partner.yaml"), env, &p, &problems)
	if ok {
		out.Partner = f.partner(p)
		out.Partner.Alerts, out.Alerts = f.alerts(p)
		out.belongs = Problem{File: f.path, Line: f.at("partner").Line, Field: "partner"}
	}
	f.hide()
	for _, path := range retailerFiles(dir, &problems) {
		var r retailerFile
		f, ok := open(path, env, &r, &problems)
		if ok {
			out.Retailers = append(out.Retailers, f.retailer(r))
		}
		f.hide()
	}
	if len(problems) > 0 {
		return out, problems
	}
	return out, nil
}

var (
	shortName = regexp.MustCompile(`^[a-z][a-z0-9-]{1,20}$`) // as the template's parameter
	color     = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	colors    = []string{"accent", "background", "primary", "text"}
)

func (f file) partner(p partnerFile) tenancy.Partner {
	if !shortName.MatchString(p.Partner) {
		f.add("partner", fmt.Sprintf("%q is no short name", p.Partner), "2 to 21 of a-z, 0-9 and '-', beginning with a letter; the same as the stack's parameter Partner")
	}
	if strings.TrimSpace(p.Name) == "" {
		f.add("name", "is missing", "the partner's name as customers read it")
	}
	b := p.Brand
	for _, name := range sortedKeys(b.Colors) {
		switch field := "brand.colors." + name; {
		case !slices.Contains(colors, name):
			f.add(field, "there is no such color", suggest(name, colors))
		case !color.MatchString(b.Colors[name]):
			f.add(field, fmt.Sprintf("%q is no color", b.Colors[name]), `six hexadecimal digits after #, in quotes, such as "#1a73e8"`)
		}
	}
	if b.SupportEmail != "" {
		if a, err := mail.ParseAddress(b.SupportEmail); err != nil || a.Address != b.SupportEmail {
			f.add("brand.support_email", fmt.Sprintf("%q is no e-mail address", b.SupportEmail), "such as help@example.com")
		}
	}
	if b.SupportURL != "" {
		u, value, wrong := egress.ParseAddress(b.SupportURL)
		if wrong == "" && u.Scheme != "https" {
			value, wrong = b.SupportURL, "must use https: customers open it on machines of their own"
		}
		if wrong != "" {
			f.add("brand.support_url", said(value, wrong), "such as https://help.example.com")
		}
	}
	out := tenancy.Partner{Schema: 1, Partner: p.Partner, Name: p.Name, Brand: tenancy.Brand{
		ProductName: b.ProductName, SupportEmail: b.SupportEmail, SupportURL: b.SupportURL, Colors: b.Colors}}
	f.fits(out, 0, map[string]any{"name": p.Name, "brand": out.Brand})
	return out
}

// alerts checks where alerts go. Whether the address may be reached is decided
// when it is dialed.
func (f file) alerts(p partnerFile) (tenancy.Alerts, AlertSecrets) {
	w := p.Alerts.Webhook
	if w.URL == "" && w.Secret == "" {
		if f.has("alerts.webhook") {
			f.add("alerts.webhook", "has neither url nor secret", "give both, or leave the webhook out")
		}
		return tenancy.Alerts{}, AlertSecrets{}
	}
	if w.URL == "" {
		f.add("alerts.webhook", "has no url", "where the messages go, such as https://hooks.example.com/waybill")
	} else if _, value, wrong := egress.ParseAddress(w.URL); wrong != "" {
		f.add("alerts.webhook.url", said(value, wrong), "such as https://hooks.example.com/waybill; messages are signed")
	}
	if err := alert.CheckSecret(w.Secret); err != nil {
		f.add("alerts.webhook.secret", err.Error(), "whsec_ and the base64 of 24 to 64 random bytes, as Standard Webhooks says: echo whsec_$(openssl rand -base64 32)")
	}
	return tenancy.Alerts{Webhook: tenancy.AlertWebhook{URL: w.URL}}, AlertSecrets{Webhook: w.Secret}
}

// said puts the value before what is wrong with it, where it may be told.
func said(value, wrong string) string {
	if value == "" {
		return wrong
	}
	return fmt.Sprintf("%q %s", value, wrong)
}

func (f file) retailer(r retailerFile) Retailer {
	t, err := retail.ParseTenant(r.Tenant)
	if t == retail.Partner {
		f.add("tenant", "is the partner's own", "a short name of the retailer")
	}
	if err != nil {
		f.add("tenant", err.Error(), "a short name of a-z, 0-9 and '-'")
	}
	if want := strings.TrimSuffix(filepath.Base(f.path), ".yaml"); err == nil && r.Tenant != want {
		f.add("tenant", fmt.Sprintf("is %q, but the file is named %s.yaml", r.Tenant, want), "make them equal")
	}
	if strings.TrimSpace(r.Name) == "" {
		f.add("name", "is missing", "the retailer's name as people read it")
	}
	out := Retailer{path: f.path, Config: tenancy.Retailer{Schema: 1, Tenant: t, Name: r.Name}, Secrets: map[string]map[string]string{}, Hooks: map[string][]string{}}
	can := map[string]any{}
	for i, c := range r.Connections {
		at := fmt.Sprintf("connections[%d]", i)
		settings, opened := f.connection(at, c)
		can[c.ID] = opened
		out.Config.Connections = append(out.Config.Connections, tenancy.Connection{ID: c.ID, Connector: c.Connector, TimeZone: c.TimeZone, Settings: settings, Limits: f.limits(at, c.Limits),
			Maps: f.maps(at, c.Maps), Overrides: f.overrides(at, c, opened)})
		out.Secrets[c.ID] = c.Secrets
		if len(c.WebhookSecrets) > 0 {
			out.Hooks[c.ID] = c.WebhookSecrets
		}
	}
	for _, w := range r.Routes {
		out.Config.Routes = append(out.Config.Routes, tenancy.Route(w))
	}
	out.Config.Stock = f.stock(r)
	for _, p := range out.Config.Check() {
		f.add(p.Field, p.Wrong, p.Right)
	}
	f.routes(r.Routes, can)
	f.locations(r.Locations, can)
	f.fits(out.Config, len(out.Hooks), map[string]any{"connections": out.Config.Connections, "locations": out.Config.Stock.Locations, "products": out.Config.Stock.Products})
	return out
}

// The bounds of a connection's limits. A request waits for 1/minPerSecond.
const (
	minPerSecond = 0.01
	maxPerSecond = 1000
	maxBurst     = 10 * maxPerSecond
	maxInFlight  = 1000
)

// limits checks what replaces a vendor's published limits.
func (f file) limits(at string, l limitsFile) rate.Limits {
	at += ".limits."
	if l.PerSecond != 0 && (l.PerSecond < minPerSecond || l.PerSecond > maxPerSecond) {
		f.add(at+"per_second", fmt.Sprintf("%g is no rate", l.PerSecond),
			fmt.Sprintf("requests a second, from %g, as an order needs several, to %d; leave it out for the vendor's own", minPerSecond, maxPerSecond))
	}
	if l.Burst < 0 || l.Burst > maxBurst || (l.Burst > 0 && l.PerSecond == 0) {
		f.add(at+"burst", fmt.Sprintf("%d has no meaning here", l.Burst),
			fmt.Sprintf("requests at once after a rest, 1 to %d, which are ten seconds of the highest rate, beside per_second", maxBurst))
	}
	if l.InFlight < 0 || l.InFlight > maxInFlight {
		f.add(at+"in_flight", fmt.Sprintf("%d is no number of requests", l.InFlight),
			fmt.Sprintf("how many tasks may talk to the vendor at once, 1 to %d, which an AWS account runs at once; leave it out for no limit", maxInFlight))
	}
	return rate.Limits{PerSecond: l.PerSecond, Burst: l.Burst, InFlight: l.InFlight}
}

// connection opens the connector as a function would, but reaches nobody.
func (f file) connection(at string, c connectionFile) (json.RawMessage, any) {
	settings := f.settings(at+".settings", c)
	if len(settings) > maxSettings {
		f.add(at+".settings", fmt.Sprintf("have %d bytes", len(settings)), fmt.Sprintf("%d are the most", maxSettings))
	}
	for i, s := range c.WebhookSecrets {
		f.secret(fmt.Sprintf("%s.webhook_secrets[%d]", at, i), s)
		if s == "" {
			f.add(fmt.Sprintf("%s.webhook_secrets[%d]", at, i), "is empty", "the secret that the vendor signs with")
		}
	}
	if len(c.WebhookSecrets) > 2 {
		f.add(at+".webhook_secrets", fmt.Sprintf("has %d secrets", len(c.WebhookSecrets)), "two are the most: the new one and the one that it replaces")
	}
	if !slices.Contains(catalog.Names(), c.Connector) {
		if c.Connector != "" { // a missing one is found by the common check
			f.add(at+".connector", fmt.Sprintf("there is no connector %q", c.Connector), suggest(c.Connector, catalog.Names()))
		}
		return settings, nil
	}
	before := len(*f.problems)
	for _, name := range sortedKeys(c.Secrets) {
		if known := catalog.Secrets(c.Connector); !slices.Contains(known, name) {
			f.add(at+".secrets."+name, "there is no such credential of a "+c.Connector+" connection", suggest(name, known))
		}
		f.secret(at+".secrets."+name, c.Secrets[name])
	}
	if settings == nil || len(*f.problems) > before {
		return settings, nil
	}
	opened, err := catalog.Open(c.Connector, settings, c.Secrets, egress.New(time.Now), time.Now)
	if err == nil {
		if len(c.WebhookSecrets) > 0 && !slices.Contains(catalog.Capabilities(opened), catalog.Webhooks) {
			f.add(at+".webhook_secrets", fmt.Sprintf("connector %s cannot: %s, so nothing would be verified with them", c.Connector, catalog.Webhooks), "leave them out")
		}
		return settings, opened
	}
	field, wrong := at, err.Error()
	if x := fault.Of(err); x != nil && x.Field != "" {
		field = at + ".settings." + x.Field
		wrong = said(x.Value, x.Message)
		// A fault names the field as the connector knows it; a credential's
		// home is the secrets.
		if !f.has(field) && (f.has(at+".secrets."+x.Field) || strings.Contains(x.Message, "secrets")) {
			field = at + ".secrets." + x.Field
		}
	}
	f.add(field, wrong, "")
	return settings, nil
}

// settings are a connection's settings as its connector reads them, nil where
// they are wrong.
func (f file) settings(at string, c connectionFile) json.RawMessage {
	if t, ok := catalog.Settings(c.Connector); ok && f.has(at) {
		before := len(*f.problems)
		f.check(f.at(at), t, "json", at)
		if len(*f.problems) > before {
			return nil
		}
		// The check has settled what is a text and what is a number.
		if err := f.at(at).Decode(&c.Settings); err != nil {
			f.undecodable(err)
			return nil
		}
	}
	if c.Settings == nil {
		c.Settings = map[string]any{}
	}
	settings, err := json.Marshal(c.Settings)
	if err != nil {
		f.add(at, err.Error(), "use texts, numbers, lists and mappings")
		return nil
	}
	return settings
}

// maxSecret and maxSettings keep a hook, which holds both, within one item.
const (
	maxSecret   = 10 << 10
	maxSettings = 64 << 10
)

// secret checks a secret without telling it. An empty one is missing, which the
// connector says.
func (f file) secret(field, s string) {
	switch {
	case s == "":
	case strings.TrimSpace(s) == "":
		f.add(field, "is blank", "the secret itself; is its variable set to it?")
	case strings.Trim(s, "\r\n") != s:
		f.add(field, "begins or ends with a line break, which no vendor's secret has", "leave the line break out")
	case len(s) > maxSecret:
		f.add(field, fmt.Sprintf("has %d bytes", len(s)), fmt.Sprintf("%d are the most", maxSecret))
	}
}

// maxStored is how many bytes of a configuration one item of the database takes:
// 400 KiB without its keys.
const maxStored = 400<<10 - 1<<10

// fits measures a configuration as it will be stored; parts are its fields that
// grow.
func (f file) fits(v any, hooks int, parts map[string]any) {
	size := func(v any) int {
		raw, err := json.Marshal(v)
		if err != nil {
			return 0 // storing it would say so
		}
		return len(raw)
	}
	n := size(v) + hooks*len(`,"hook":""`+"01234567890123456789012345678901")
	if n <= maxStored {
		return
	}
	field, most := "", 0
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if s := size(parts[name]); s > most {
			field, most = name, s
		}
	}
	right := map[string]string{
		"products":    "leave out what is counted in pieces and has neither packs nor components: it needs no entry",
		"connections": "keep value maps apart: waybill map import",
		"locations":   `give distances as "*" where they are equal`,
	}[field]
	f.add(field, fmt.Sprintf("the configuration would have %d bytes as it is stored, %d of them here; %d are the most", n, most, maxStored), cmp.Or(right, "shorten it"))
}

// locations checks that each connection of a location can do its part.
func (f file) locations(locations []locationFile, can map[string]any) {
	for i, l := range locations {
		f.able(fmt.Sprintf("locations[%d].warehouse", i), l.Warehouse, catalog.Releases, can)
		for j, c := range l.Channels {
			f.able(fmt.Sprintf("locations[%d].channels[%d]", i, j), c, catalog.Orders, can)
		}
	}
}

// able refuses a connection whose connector cannot do what is needed.
func (f file) able(field, id string, need catalog.Capability, can map[string]any) {
	if opened := can[id]; opened != nil && !slices.Contains(catalog.Capabilities(opened), need) {
		f.add(field, fmt.Sprintf("connection %q cannot: %s", id, need), "name a connection whose connector can; see: waybill connectors")
	}
}

// routes checks that each end can do its part and that orders cannot come back
// to where they came from.
func (f file) routes(routes []routeFile, can map[string]any) {
	next := map[string][]string{}
	for i, w := range routes {
		at := fmt.Sprintf("routes[%d].", i)
		f.able(at+"channel", w.Channel, catalog.Orders, can)
		f.able(at+"erp", w.ERP, catalog.SalesOrders, can)
		f.able(at+"warehouse", w.Warehouse, catalog.Releases, can)
		next[w.Channel] = append(next[w.Channel], w.ERP, w.Warehouse)
	}
	for i, w := range routes {
		if way := wayBack(w.Channel, w.Channel, next, map[string]bool{}); way != nil {
			f.add(fmt.Sprintf("routes[%d].channel", i), "orders would come back to their channel, a cycle: "+strings.Join(append([]string{w.Channel}, way...), " → "),
				"let no route's ERP or warehouse be a channel that leads back")
		}
	}
}

func wayBack(from, to string, next map[string][]string, seen map[string]bool) []string {
	for _, n := range next[from] {
		if n == to {
			return []string{n}
		}
		if seen[n] {
			continue
		}
		seen[n] = true
		if way := wayBack(n, to, next, seen); way != nil {
			return append([]string{n}, way...)
		}
	}
	return nil
}
