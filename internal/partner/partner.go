// Package partner reads a partner's folder of configuration files and applies
// it to the stack.
package partner

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Folder is what the files say.
type Folder struct {
	Partner   string
	Name      string
	Retailers []Retailer
}

// Retailer is a retailer's file with its secrets.
type Retailer struct {
	Config  tenancy.Retailer
	Secrets map[string]map[string]string // by connection
	Hooks   map[string][]string          // webhook secrets by connection
}

type partnerFile struct {
	Partner string `yaml:"partner"`
	Name    string `yaml:"name"`
}

type retailerFile struct {
	Tenant      string `yaml:"tenant"`
	Name        string `yaml:"name"`
	Connections []struct {
		ID             string            `yaml:"id"`
		Connector      string            `yaml:"connector"`
		Settings       map[string]any    `yaml:"settings"`
		Secrets        map[string]string `yaml:"secrets"`
		WebhookSecrets []string          `yaml:"webhook_secrets"`
	} `yaml:"connections"`
	Routes []struct {
		Channel   string `yaml:"channel"`
		ERP       string `yaml:"erp"`
		Warehouse string `yaml:"warehouse"`
		Location  string `yaml:"location"`
	} `yaml:"routes"`
}

// Load reads partner.yaml and retailers/*.yaml and checks them as far as that
// is possible without the vendors. env resolves ${NAME}.
func Load(dir string, env func(string) (string, bool)) (Folder, error) {
	var p partnerFile
	if err := read(filepath.Join(dir, "partner.yaml"), env, &p); err != nil {
		return Folder{}, err
	}
	out := Folder{Partner: p.Partner, Name: p.Name}
	files, err := filepath.Glob(filepath.Join(dir, "retailers", "*.yaml"))
	if err != nil || len(files) == 0 {
		return out, errors.Join(err, fmt.Errorf("%s: there is no retailers/*.yaml", dir))
	}
	slices.Sort(files)
	for _, f := range files {
		r, err := loadRetailer(f, env)
		if err != nil {
			return out, err
		}
		out.Retailers = append(out.Retailers, r)
	}
	return out, nil
}

func loadRetailer(path string, env func(string) (string, bool)) (Retailer, error) {
	var f retailerFile
	if err := read(path, env, &f); err != nil {
		return Retailer{}, err
	}
	t, err := retail.ParseTenant(f.Tenant)
	if err != nil {
		return Retailer{}, fmt.Errorf("%s: tenant: %w", path, err)
	}
	if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); f.Tenant != want {
		return Retailer{}, fmt.Errorf("%s: tenant: is %q, but the file is named %q; make them equal", path, f.Tenant, want)
	}
	r := Retailer{Config: tenancy.Retailer{Schema: 1, Tenant: t, Name: f.Name}, Secrets: map[string]map[string]string{}, Hooks: map[string][]string{}}
	for i, c := range f.Connections {
		settings, err := json.Marshal(c.Settings)
		if err != nil {
			return r, fmt.Errorf("%s: connections[%d].settings: %w", path, i, err)
		}
		if _, err := catalog.Open(c.Connector, settings, c.Secrets, nil, time.Now); err != nil {
			return r, fmt.Errorf("%s: connections[%d] (%s): %w", path, i, c.ID, err)
		}
		r.Config.Connections = append(r.Config.Connections, tenancy.Connection{ID: c.ID, Connector: c.Connector, Settings: settings})
		r.Secrets[c.ID] = c.Secrets
		if len(c.WebhookSecrets) > 0 {
			r.Hooks[c.ID] = c.WebhookSecrets
		}
	}
	for _, w := range f.Routes {
		r.Config.Routes = append(r.Config.Routes, tenancy.Route(w))
	}
	if err := r.Config.Check(); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

var variable = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)\}`)

func read(path string, env func(string) (string, bool), into any) error {
	raw, err := os.ReadFile(path) //nolint:gosec // the partner names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist; a partner's folder has partner.yaml and retailers/<tenant>.yaml", path)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	// Replaced in the parsed document, so that a value cannot change its
	// structure.
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := resolve(&doc, path, env); err != nil {
		return err
	}
	text, err := yaml.Marshal(&doc)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func resolve(n *yaml.Node, path string, env func(string) (string, bool)) error {
	if n.Kind == yaml.ScalarNode {
		var missing error
		n.Value = variable.ReplaceAllStringFunc(n.Value, func(m string) string {
			v, ok := env(m[2 : len(m)-1])
			if !ok && missing == nil {
				missing = fmt.Errorf("%s:%d: the variable %s is not set", path, n.Line, m[2:len(m)-1])
			}
			return v
		})
		return missing
	}
	for _, c := range n.Content {
		if err := resolve(c, path, env); err != nil {
			return err
		}
	}
	return nil
}

// Store is what Apply writes to.
type Store interface {
	tenancy.Store
	PutRetailer(ctx context.Context, r tenancy.Retailer) error
	PutCredential(ctx context.Context, t retail.Tenant, connection string, sealed []byte) error
	PutHook(ctx context.Context, h tenancy.Hook) error
}

// Sealer seals secrets.
type Sealer interface {
	Seal(ctx context.Context, t retail.Tenant, connection string, v any) ([]byte, error)
}

// Apply makes the stack what the retailer's file says. A configuration that
// differs becomes a new version; secrets and hooks are replaced. Applying
// twice changes nothing that anybody could see.
func Apply(ctx context.Context, s Store, seal Sealer, r Retailer, now time.Time) (tenancy.Retailer, error) {
	current, err := s.Retailer(ctx, r.Config.Tenant)
	if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
		return current, err
	}
	next := r.Config
	for i, c := range next.Connections {
		// A hook's address stays for as long as its connection does: the vendor
		// was told.
		old, _ := current.Connection(c.ID)
		next.Connections[i].Hook = old.Hook
		if len(r.Hooks[c.ID]) > 0 && old.Hook == "" {
			next.Connections[i].Hook = newToken()
		}
	}
	for _, c := range next.Connections {
		sealed, err := seal.Seal(ctx, next.Tenant, c.ID, r.Secrets[c.ID])
		if err != nil {
			return next, err
		}
		if err := s.PutCredential(ctx, next.Tenant, c.ID, sealed); err != nil {
			return next, err
		}
		if c.Hook == "" {
			continue
		}
		if sealed, err = seal.Seal(ctx, next.Tenant, c.ID, r.Hooks[c.ID]); err != nil {
			return next, err
		}
		if err := s.PutHook(ctx, tenancy.Hook{Tenant: next.Tenant, Token: c.Hook, Connection: c.ID, Connector: c.Connector,
			Settings: c.Settings, Sealed: sealed}); err != nil {
			return next, err
		}
	}
	next.Version, next.AppliedAt = current.Version, current.AppliedAt
	was, err1 := json.Marshal(current)
	is, err2 := json.Marshal(next)
	if err := errors.Join(err1, err2); err != nil {
		return next, fmt.Errorf("comparing configurations: %w", err)
	}
	if bytes.Equal(was, is) {
		return current, nil
	}
	next.Version, next.AppliedAt = current.Version+1, now.UTC()
	return next, s.PutRetailer(ctx, next)
}

// newToken is what cannot be guessed of a hook's address: 160 bits.
func newToken() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails; it ends the program instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}
