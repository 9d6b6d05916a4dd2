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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Store is what a plan reads and Apply writes.
type Store interface {
	tenancy.Store
	Partner(ctx context.Context) (tenancy.Partner, error)
	PutPartner(ctx context.Context, p tenancy.Partner) error
	PutRetailer(ctx context.Context, r tenancy.Retailer) error
	PutCredential(ctx context.Context, t retail.Tenant, connection string, sealed []byte) error
	DeleteCredential(ctx context.Context, t retail.Tenant, connection string) error
	PutHook(ctx context.Context, h tenancy.Hook) error
	DeleteHook(ctx context.Context, t retail.Tenant, token string) error
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
	store   bool // the configuration differs
	secrets map[string]map[string]string
	hooks   map[string][]string
	gone    []tenancy.Connection
}

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
	next := f.Partner
	next.Version, next.AppliedAt = current.Version, current.AppliedAt
	diff, err := compare(current.Partner, current, next)
	if err != nil {
		return p, err
	}
	if len(diff) > 0 {
		p.partner = &next
		p.add("partner", diff...)
	}
	if err := p.compareAlerts(ctx, s, seal, f.Alerts); err != nil {
		return p, err
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

// applyAlerts keeps the secrets before anything is sent with them.
func (p Plan) applyAlerts(ctx context.Context, s Store, seal Sealer) error {
	switch {
	case p.alerts == nil:
		return nil
	case *p.alerts == AlertSecrets{}:
		return s.DeleteCredential(ctx, retail.Partner, AlertsCredential)
	}
	sealed, err := seal.Seal(ctx, retail.Partner, AlertsCredential, *p.alerts)
	if err != nil {
		return err
	}
	return s.PutCredential(ctx, retail.Partner, AlertsCredential, sealed)
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
		for _, name := range changed {
			sign := "~"
			if !existed {
				sign = "+"
			}
			notes = append(notes, Change{Sign: sign, Field: at + "." + name})
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
	// Hooks are not compared as fields; one that comes or goes is stored too.
	x.store = len(diff) > 0 || slices.ContainsFunc(x.next.Connections, func(c tenancy.Connection) bool {
		old, _ := current.Connection(c.ID)
		return (old.Hook != "") != (len(r.Hooks[c.ID]) > 0)
	})
	p.add(of, append(diff, notes...)...)
	p.retailer = append(p.retailer, x)
	return nil
}

// compareSecrets finds which secrets differ from the stored ones and keeps
// those for Apply.
func (x *step) compareSecrets(ctx context.Context, s Store, seal Sealer, r Retailer, c, old tenancy.Connection) (changed []string, err error) {
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
		if was[name] != r.Secrets[c.ID][name] {
			changed = append(changed, "secrets."+name)
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
		changed = append(changed, "webhook_secrets")
	}
	return changed, nil
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Apply carries out a plan. A configuration that differs becomes a new,
// immutable version; one that somebody else changed since the plan is refused.
// Applying again changes nothing.
func Apply(ctx context.Context, s Store, seal Sealer, p Plan, now time.Time) ([]tenancy.Retailer, error) {
	if err := p.applyAlerts(ctx, s, seal); err != nil {
		return nil, fmt.Errorf("applying the partner's alerts: %w", err)
	}
	if p.partner != nil {
		next := *p.partner
		next.Version, next.AppliedAt = next.Version+1, now.UTC()
		if err := s.PutPartner(ctx, next); err != nil {
			return nil, fmt.Errorf("applying the partner: %w", err)
		}
	}
	var out []tenancy.Retailer
	for _, x := range p.retailer {
		r, err := x.apply(ctx, s, seal, now)
		if err != nil {
			return out, fmt.Errorf("applying retailer %s: %w", x.next.Tenant, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (x step) apply(ctx context.Context, s Store, seal Sealer, now time.Time) (tenancy.Retailer, error) {
	next := x.next
	next.Connections = slices.Clone(next.Connections)
	for i, c := range next.Connections {
		if secrets, ok := x.secrets[c.ID]; ok {
			sealed, err := seal.Seal(ctx, next.Tenant, c.ID, secrets)
			if err != nil {
				return next, err
			}
			if err := s.PutCredential(ctx, next.Tenant, c.ID, sealed); err != nil {
				return next, err
			}
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
		if err := s.PutHook(ctx, tenancy.Hook{Tenant: next.Tenant, Token: c.Hook, Connection: c.ID, Connector: c.Connector,
			Settings: c.Settings, Sealed: sealed}); err != nil {
			return next, err
		}
	}
	if x.store {
		next.Version, next.AppliedAt = next.Version+1, now.UTC()
		if err := s.PutRetailer(ctx, next); err != nil {
			return next, err
		}
	}
	// Only once nothing leads to it any more.
	for _, c := range x.gone {
		if c.Hook != "" {
			if err := s.DeleteHook(ctx, next.Tenant, c.Hook); err != nil {
				return next, err
			}
		}
		if c.ID != "" {
			if err := s.DeleteCredential(ctx, next.Tenant, c.ID); err != nil {
				return next, err
			}
		}
	}
	return next, nil
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
		i, has := b[k]
		switch {
		case !had:
			out = append(out, Change{Sign: "+", Field: k, Is: i})
		case !has:
			out = append(out, Change{Sign: "-", Field: k, Was: w})
		case w != i:
			out = append(out, Change{Sign: "~", Field: k, Was: w, Is: i})
		}
	}
	return out, nil
}

// notCompared are fields that describe a version, not what it says, and
// addresses, which the platform makes.
var notCompared = map[string]bool{"schema": true, "version": true, "applied_at": true, "hook": true}

func flatten(v any, into map[string]string) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("comparing configurations: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("comparing configurations: %w", err)
	}
	walk(doc, "", into)
	return nil
}

func walk(v any, path string, into map[string]string) {
	switch x := v.(type) {
	case map[string]any:
		for k, c := range x {
			if !notCompared[k] || strings.Contains(path, "settings") || strings.Contains(path, ".maps.") {
				walk(c, join(path, k), into)
			}
		}
	case []any:
		for i, c := range x {
			name := strconv.Itoa(i)
			// Connections and routes are known by name, so that a new one does
			// not look like a change of all that follow.
			if m, ok := c.(map[string]any); ok {
				for _, key := range []string{"id", "channel", "code", "sku"} {
					if s, ok := m[key].(string); ok {
						name = s
						break
					}
				}
			}
			walk(c, path+"["+name+"]", into)
		}
	case nil:
	default:
		raw, _ := json.Marshal(x) // it came from JSON
		into[path] = string(raw)
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
