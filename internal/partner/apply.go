package partner

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Store is what a plan reads and Apply writes.
type Store interface {
	tenancy.Store
	Partner(ctx context.Context) (tenancy.Partner, error)
	// PutPartner and PutRetailer write a version together with the secrets that
	// belong to it, or nothing; of another version than the next they fail with
	// document.ErrConflict.
	PutPartner(ctx context.Context, p tenancy.Partner, with tenancy.Secrets) error
	PutRetailer(ctx context.Context, r tenancy.Retailer, with tenancy.Secrets) error
}

// Sealer seals secrets and opens them to see whether they changed.
type Sealer interface {
	Seal(ctx context.Context, t retail.Tenant, connection string, v any) ([]byte, error)
	Open(ctx context.Context, t retail.Tenant, connection string, sealed []byte, v any) error
}

// Change is one difference between a folder and what runs. A secret's values
// are never shown.
type Change struct {
	Of    string `json:"of"`   // the partner, or a retailer's tenant
	Sign  string `json:"sign"` // + added, ~ changed, - removed, ! worth knowing
	Field string `json:"field"`
	Was   string `json:"was,omitempty"`
	Is    string `json:"is,omitempty"`
}

func (c Change) String() string {
	switch c.Sign {
	case "~":
		if c.Was == "" && c.Is == "" {
			return fmt.Sprintf("  ~ %s", c.Field)
		}
		return fmt.Sprintf("  ~ %s: %s → %s", c.Field, c.Was, c.Is)
	case "-":
		return strings.TrimSuffix(fmt.Sprintf("  - %s: %s", c.Field, c.Was), ": ")
	default:
		return strings.TrimSuffix(fmt.Sprintf("  %s %s: %s", c.Sign, c.Field, c.Is), ": ")
	}
}

// Plan is what Apply would do.
type Plan struct {
	Changes  []Change
	partner  *tenancy.Partner // nil where it stays
	alerts   *AlertSecrets    // nil where they stay
	retailer []step
}

// step is one retailer's part of a plan.
type step struct {
	next    tenancy.Retailer
	current tenancy.Retailer
	store   bool // something differs
	secrets map[string]map[string]string
	hooks   map[string][]string
	gone    []tenancy.Connection
}

// maxWrites is how many items one transaction of the database writes, and
// ownWrites how many of them are the version's own.
const (
	maxWrites = 100
	ownWrites = 3
)

// Empty tells whether the stack is what the folder says. Notes are no change.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Sign != "!" })
}

// Compare makes the plan that brings the stack to what the folder says. It
// changes nothing.
func Compare(ctx context.Context, s Store, seal Sealer, f Folder) (Plan, error) {
	var p Plan
	current, err := s.Partner(ctx)
	if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
		return p, fmt.Errorf("reading the partner's configuration: %w", err)
	}
	if err := f.Belongs(current.Partner); err != nil {
		return p, err
	}
	next := f.Partner
	next.Version, next.AppliedAt = current.Version, current.AppliedAt
	diff, err := compare(current.Partner, current, next)
	if err != nil {
		return p, err
	}
	p.add("partner", diff...)
	if err := p.compareAlerts(ctx, s, seal, f.Alerts); err != nil {
		return p, err
	}
	if len(diff) > 0 || p.alerts != nil {
		p.partner = &next
	}
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return p, err
	}
	for _, r := range f.Retailers {
		tenants = slices.DeleteFunc(tenants, func(t retail.Tenant) bool { return t == r.Config.Tenant })
		if err := p.compareRetailer(ctx, s, seal, r); err != nil {
			return p, err
		}
	}
	for _, t := range tenants {
		p.add(t.String(), Change{Sign: "!", Field: "retailer", Is: "runs and has no file here; it stays as it is"})
	}
	return p, nil
}

// compareAlerts finds whether the alerts are signed as before.
func (p *Plan) compareAlerts(ctx context.Context, s Store, seal Sealer, next AlertSecrets) error {
	var current AlertSecrets
	sealed, err := s.Credential(ctx, retail.Partner, AlertsCredential)
	switch {
	case err == nil:
		if err := seal.Open(ctx, retail.Partner, AlertsCredential, sealed, &current); err != nil {
			return err
		}
	case !errors.Is(err, tenancy.ErrNotFound):
		return err
	}
	if current == next {
		return nil
	}
	sign := "~"
	switch {
	case current == AlertSecrets{}:
		sign = "+"
	case next == AlertSecrets{}:
		sign = "-"
	}
	p.alerts = &next
	p.add("partner", Change{Sign: sign, Field: "alerts.webhook.secret"})
	return nil
}

// sealAlerts seals what alerts are signed with from now on.
func (p Plan) sealAlerts(ctx context.Context, seal Sealer) (tenancy.Secrets, error) {
	with := tenancy.Secrets{Credentials: map[string][]byte{}}
	switch {
	case p.alerts == nil:
		return with, nil
	case *p.alerts == AlertSecrets{}:
		with.Credentials[AlertsCredential] = nil
		return with, nil
	}
	sealed, err := seal.Seal(ctx, retail.Partner, AlertsCredential, *p.alerts)
	with.Credentials[AlertsCredential] = sealed
	return with, err
}

func (p *Plan) add(of string, changes ...Change) {
	for _, c := range changes {
		c.Of = of
		p.Changes = append(p.Changes, c)
	}
}

func (p *Plan) compareRetailer(ctx context.Context, s Store, seal Sealer, r Retailer) error {
	current, err := s.Retailer(ctx, r.Config.Tenant)
	if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
		return err
	}
	x := step{current: current, next: r.Config, secrets: map[string]map[string]string{}, hooks: map[string][]string{}}
	x.next.Connections = slices.Clone(r.Config.Connections)
	of := r.Config.Tenant.String()
	var notes []Change
	for i, c := range x.next.Connections {
		notes = append(notes, idle(c)...)
		// A hook's address stays for as long as its connection delivers: the
		// vendor was told.
		old, existed := current.Connection(c.ID)
		at := "connections[" + c.ID + "]"
		if len(r.Hooks[c.ID]) > 0 {
			x.next.Connections[i].Hook = old.Hook
			if old.Hook == "" {
				notes = append(notes, Change{Sign: "+", Field: at + ".hook", Is: "a new address is made"})
			}
		} else if old.Hook != "" {
			x.gone = append(x.gone, tenancy.Connection{Hook: old.Hook})
			notes = append(notes, Change{Sign: "-", Field: at + ".hook", Was: "its deliveries will be refused"})
		}
		changed, err := x.compareSecrets(ctx, s, seal, r, c, old)
		if err != nil {
			return err
		}
		for _, x := range changed {
			if !existed {
				x.Sign = "+"
			}
			x.Field = at + "." + x.Field
			notes = append(notes, x)
		}
	}
	for _, c := range current.Connections {
		if _, stays := x.next.Connection(c.ID); !stays {
			x.gone = append(x.gone, c)
			notes = append(notes, Change{Sign: "!", Field: "connections[" + c.ID + "]", Is: "its credential and hook are deleted; documents on their way through it will be parked"})
		}
	}
	x.next.Version, x.next.AppliedAt = current.Version, current.AppliedAt
	diff, err := compare(current.Tenant.String(), current, x.next)
	if err != nil {
		return err
	}
	// Secrets and hooks are no fields that are compared; a version is made for
	// them too, so that of two who change them at once one is refused.
	x.store = len(diff)+len(x.secrets)+len(x.hooks)+len(x.gone) > 0
	if n := x.writes(); n > maxWrites {
		return Problems{{r.path, 1, "connections", fmt.Sprintf("%d secrets and hooks change at once, and a version is stored with all of them or not at all", n-ownWrites),
			fmt.Sprintf("%d are the most; apply it in steps, some connections at a time", maxWrites-ownWrites)}}
	}
	p.add(of, append(diff, notes...)...)
	p.retailer = append(p.retailer, x)
	return nil
}

// compareSecrets finds which secrets differ from the stored ones and keeps
// those for Apply.
func (x *step) compareSecrets(ctx context.Context, s Store, seal Sealer, r Retailer, c, old tenancy.Connection) (changed []Change, err error) {
	t := r.Config.Tenant
	was := map[string]string{}
	sealed, err := s.Credential(ctx, t, c.ID)
	switch {
	case err == nil:
		if err := seal.Open(ctx, t, c.ID, sealed, &was); err != nil {
			return nil, err
		}
	case !errors.Is(err, tenancy.ErrNotFound):
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(union(was, r.Secrets[c.ID]))) {
		w, had := was[name]
		is, has := r.Secrets[c.ID][name]
		if w != is || had != has {
			changed = append(changed, Change{Sign: sign(had, has), Field: "secrets." + name})
		}
	}
	if len(changed) > 0 || err != nil {
		x.secrets[c.ID] = r.Secrets[c.ID]
	}
	if len(r.Hooks[c.ID]) == 0 {
		return changed, nil
	}
	var signs []string
	if old.Hook != "" {
		h, err := s.Hook(ctx, t, old.Hook)
		switch {
		case err == nil:
			if err := seal.Open(ctx, t, c.ID, h.Sealed, &signs); err != nil {
				return nil, err
			}
			if h.Connector != c.Connector || !bytes.Equal(h.Settings, c.Settings) {
				x.hooks[c.ID] = r.Hooks[c.ID]
			}
		case !errors.Is(err, tenancy.ErrNotFound):
			return nil, err
		}
	}
	if !slices.Equal(signs, r.Hooks[c.ID]) {
		x.hooks[c.ID] = r.Hooks[c.ID]
		changed = append(changed, Change{Sign: sign(len(signs) > 0, true), Field: "webhook_secrets"})
	}
	return changed, nil
}

func sign(had, has bool) string {
	switch {
	case !had:
		return "+"
	case !has:
		return "-"
	}
	return "~"
}

// writes is how many items the step's transaction has.
func (x step) writes() int {
	n := ownWrites + len(x.secrets) + len(x.hooks)
	for _, c := range x.gone {
		if c.Hook != "" {
			n++
		}
		if c.ID != "" {
			n++
		}
	}
	return n
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Apply carries out a plan. A configuration that differs becomes a new,
// immutable version, together with its secrets; one that somebody else changed
// since the plan is refused. Applying again changes nothing.
func Apply(ctx context.Context, s Store, seal Sealer, p Plan, now time.Time) ([]tenancy.Retailer, error) {
	if err := p.unchanged(ctx, s); err != nil {
		return nil, err
	}
	var done []string
	if p.partner != nil {
		next := *p.partner
		next.Version, next.AppliedAt = next.Version+1, now.UTC()
		with, err := p.sealAlerts(ctx, seal)
		if err == nil {
			err = s.PutPartner(ctx, next, with)
		}
		if err != nil {
			return nil, fmt.Errorf("applying the partner: %w; nothing was changed", err)
		}
		done = append(done, "the partner")
	}
	var out []tenancy.Retailer
	for _, x := range p.retailer {
		r, err := x.apply(ctx, s, seal, now)
		switch {
		case err != nil && len(done) == 0:
			return out, fmt.Errorf("applying retailer %s: %w; nothing was changed", x.next.Tenant, err)
		case err != nil:
			return out, fmt.Errorf("applying retailer %s: %w; applied before it: %s; once the cause is gone, plan and apply again for the rest", x.next.Tenant, err, strings.Join(done, ", "))
		}
		if x.store {
			done = append(done, r.Tenant.String())
		}
		out = append(out, r)
	}
	return out, nil
}

// unchanged refuses a plan of several configurations before its first write
// where one of them is another by now. Each write says so again.
func (p Plan) unchanged(ctx context.Context, s Store) error {
	differs := func(of string, was, is int64, err error) error {
		switch {
		case err != nil && !errors.Is(err, tenancy.ErrNotFound):
			return fmt.Errorf("reading the configuration of %s: %w", of, err)
		case was != is:
			return fmt.Errorf("%s was changed by somebody else since the plan (version %d, now %d); plan and apply again: %w", of, was, is, document.ErrConflict)
		}
		return nil
	}
	if p.partner != nil {
		now, err := s.Partner(ctx)
		if err := differs("the partner", p.partner.Version, now.Version, err); err != nil {
			return err
		}
	}
	for _, x := range p.retailer {
		if !x.store {
			continue
		}
		now, err := s.Retailer(ctx, x.next.Tenant)
		if err := differs("retailer "+x.next.Tenant.String(), x.current.Version, now.Version, err); err != nil {
			return err
		}
	}
	return nil
}

// apply stores the configuration, its secrets and its hooks in one transaction
// on the condition of the version: nothing of what is refused is in force, no
// reader finds one without the other, and no crash leaves a hook that nothing
// names.
func (x step) apply(ctx context.Context, s Store, seal Sealer, now time.Time) (tenancy.Retailer, error) {
	next := x.next
	if !x.store {
		return next, nil
	}
	next.Connections = slices.Clone(next.Connections)
	with := tenancy.Secrets{Credentials: map[string][]byte{}}
	for i, c := range next.Connections {
		if secrets, ok := x.secrets[c.ID]; ok {
			sealed, err := seal.Seal(ctx, next.Tenant, c.ID, secrets)
			if err != nil {
				return next, err
			}
			with.Credentials[c.ID] = sealed
		}
		hooks, ok := x.hooks[c.ID]
		if !ok {
			continue
		}
		if c.Hook == "" {
			c.Hook = newToken()
			next.Connections[i].Hook = c.Hook
		}
		sealed, err := seal.Seal(ctx, next.Tenant, c.ID, hooks)
		if err != nil {
			return next, err
		}
		with.Hooks = append(with.Hooks, tenancy.Hook{Tenant: next.Tenant, Token: c.Hook, Connection: c.ID, Connector: c.Connector,
			Settings: c.Settings, Sealed: sealed})
	}
	for _, c := range x.gone {
		if c.Hook != "" {
			with.Closed = append(with.Closed, c.Hook)
		}
		if c.ID != "" {
			with.Credentials[c.ID] = nil
		}
	}
	next.Version, next.AppliedAt = next.Version+1, now.UTC()
	return next, s.PutRetailer(ctx, next, with)
}

// newToken is what cannot be guessed of a hook's address: 160 bits.
func newToken() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails; it ends the program instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// compare lists the differences between two configurations field by field.
// exists is empty for one that was never applied.
func compare(exists string, was, is any) ([]Change, error) {
	a, b := map[string]string{}, map[string]string{}
	if exists != "" {
		if err := flatten(was, a); err != nil {
			return nil, err
		}
	}
	if err := flatten(is, b); err != nil {
		return nil, err
	}
	var out []Change
	for _, k := range slices.Sorted(maps.Keys(union(a, b))) {
		w, had := a[k]
		if i, has := b[k]; had != has || w != i {
			out = append(out, Change{Sign: sign(had, has), Field: k, Was: w, Is: i})
		}
	}
	return out, nil
}

// hookField is an address, which the platform makes.
var hookField = regexp.MustCompile(`^connections\[[^\[\]]*\]\.hook$`)

// inSettings is below a connection's settings, where only the connector knows
// whether nothing and an empty list are the same.
var inSettings = regexp.MustCompile(`^connections\[[^\[\]]*\]\.settings\.`)

// compared tells whether a field says something, and does not describe the
// version that says it.
func compared(path string) bool {
	switch path {
	case "schema", "version", "applied_at":
		return false
	}
	return !hookField.MatchString(path)
}

// flatten lists the fields of a configuration by the names that they have in
// its file.
func flatten(v any, into map[string]string) error {
	doc, err := decoded(v)
	if err != nil {
		return fmt.Errorf("comparing configurations: %w", err)
	}
	if top, ok := doc.(map[string]any); ok {
		// What the file has at its top is one field in the model.
		if stock, ok := top["stock"].(map[string]any); ok {
			delete(top, "stock")
			for name, x := range stock {
				if name == "skew" {
					name, x = "clock_skew", span(x)
				}
				top[name] = x
			}
		}
	}
	walk(doc, "", into)
	return nil
}

func decoded(v any) (doc any, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&doc)
	return doc, err
}

// span is a duration as a file has it.
func span(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	d, err := n.Int64()
	if err != nil {
		return v
	}
	text := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return unquoted(text)
}

// unquoted is a value that a file has without quotes.
type unquoted string

// named are the keys by which an element of a list is known, so that a new one
// does not look like a change of all that follow.
var named = []string{"id", "channel", "code", "sku"}

func walk(v any, path string, into map[string]string) {
	if !compared(path) {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for k, c := range x {
			walk(c, join(path, plain(k)), into)
		}
		if len(x) == 0 && inSettings.MatchString(path) {
			into[path] = "{}"
		}
	case []any:
		for i, name := range elements(x) {
			walk(x[i], path+"["+plain(name)+"]", into)
		}
		if len(x) == 0 && inSettings.MatchString(path) {
			into[path] = "[]"
		}
	case unquoted:
		into[path] = string(x)
	case nil:
	default:
		into[path] = value(x)
	}
}

// plain quotes a name that could be taken for more than one.
func plain(name string) string {
	if strings.ContainsAny(name, ".[]\"") {
		return strconv.Quote(name)
	}
	return name
}

// elements names the elements of a list, by their numbers where two have one
// name.
func elements(list []any) []string {
	numbers, names, seen := make([]string, len(list)), make([]string, len(list)), map[string]bool{}
	unique := true
	for i, c := range list {
		numbers[i] = strconv.Itoa(i)
		names[i] = numbers[i]
		if m, ok := c.(map[string]any); ok {
			for _, key := range named {
				if s, ok := m[key].(string); ok {
					names[i] = s
					break
				}
			}
		}
		unique = unique && !seen[names[i]]
		seen[names[i]] = true
	}
	if !unique {
		return numbers
	}
	return names
}

// value writes a value as a file may have it.
func value(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // it came from JSON
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
