package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

const (
	// currentSort is the pointer to the current version, with a copy of it.
	currentSort = "current"
	tenantsPart = "tenants"
	// partnerPart is one of the two partitions without a tenant; the first part
	// of every other one is.
	partnerPart = "partner"
)

func configPart(t retail.Tenant) string { return part(t.String(), "config") }

func credentialKey(t retail.Tenant, connection string) key {
	return key{part(t.String(), "credential", connection), "secret"}
}

func hookKey(t retail.Tenant, token string) key {
	return key{part(t.String(), "hook", token), "hook"}
}

func watermarkKey(t retail.Tenant, connection string) key {
	return key{part(t.String(), "watermark", connection), "watermark"}
}

// version is one version of a configuration.
type version struct {
	number int64
	data   encoded
}

// versions writes a version and moves the pointer to it from the one before.
func versions(partition string, number int64, data encoded) []operation {
	v := version{number, data}
	return []operation{
		create(config, key{partition, fmt.Sprintf("v%08d", number)}, v, document.ErrConflict),
		{config, key{partition, currentSort}, func(was any) (any, error) {
			if old, _ := was.(version); old.number != number-1 {
				return nil, document.ErrConflict
			}
			return v, nil
		}},
	}
}

func current(ctx context.Context, s *Store, partition, what string, out any) error {
	v, found, err := read[version](ctx, s, config, key{partition, currentSort})
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s: %w", what, tenancy.ErrNotFound)
	}
	return json.Unmarshal(v.data, out)
}

// Retailer implements tenancy.Store.
func (s *Store) Retailer(ctx context.Context, t retail.Tenant) (r tenancy.Retailer, err error) {
	err = current(ctx, s, configPart(t), "retailer "+t.String(), &r)
	return r, err
}

// PutRetailer writes r as a new version, with its secrets; r.Version is the
// current one plus one, or it fails with document.ErrConflict.
func (s *Store) PutRetailer(ctx context.Context, r tenancy.Retailer, with tenancy.Secrets) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	ops := append(versions(configPart(r.Tenant), r.Version, data), put(config, key{tenantsPart, r.Tenant.String()}, r.Tenant))
	return s.write(ctx, append(ops, secrets(r.Tenant, with)...)...)
}

func secrets(t retail.Tenant, with tenancy.Secrets) (ops []operation) {
	for connection, sealed := range with.Credentials {
		if sealed == nil {
			ops = append(ops, put(credentials, credentialKey(t, connection), nil))
		} else {
			ops = append(ops, put(credentials, credentialKey(t, connection), bytes.Clone(sealed)))
		}
	}
	for _, h := range with.Hooks {
		h.Settings, h.Sealed = bytes.Clone(h.Settings), bytes.Clone(h.Sealed)
		ops = append(ops, put(credentials, hookKey(t, h.Token), h))
	}
	for _, token := range with.Closed {
		ops = append(ops, put(credentials, hookKey(t, token), nil))
	}
	return ops
}

// Tenants implements tenancy.Store.
func (s *Store) Tenants(ctx context.Context) ([]retail.Tenant, error) {
	return list[retail.Tenant](ctx, s, config, tenantsPart, "")
}

// Partner returns the current version of what the partner says of itself.
func (s *Store) Partner(ctx context.Context) (p tenancy.Partner, err error) {
	err = current(ctx, s, partnerPart, "partner", &p)
	return p, err
}

// PutPartner is PutRetailer for the partner.
func (s *Store) PutPartner(ctx context.Context, p tenancy.Partner, with tenancy.Secrets) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	return s.write(ctx, append(versions(partnerPart, p.Version, data), secrets(retail.Partner, with)...)...)
}

// Credential implements tenancy.Store.
func (s *Store) Credential(ctx context.Context, t retail.Tenant, connection string) ([]byte, error) {
	sealed, found, err := read[[]byte](ctx, s, credentials, credentialKey(t, connection))
	if err == nil && !found {
		err = fmt.Errorf("credential of connection %s: %w", connection, tenancy.ErrNotFound)
	}
	return bytes.Clone(sealed), err
}

// Hook implements tenancy.Store.
func (s *Store) Hook(ctx context.Context, t retail.Tenant, token string) (tenancy.Hook, error) {
	h, found, err := read[tenancy.Hook](ctx, s, credentials, hookKey(t, token))
	if err == nil && !found {
		return tenancy.Hook{Tenant: t, Token: token}, fmt.Errorf("hook: %w", tenancy.ErrNotFound)
	}
	h.Settings, h.Sealed = bytes.Clone(h.Settings), bytes.Clone(h.Sealed)
	return h, err
}

// Watermark implements tenancy.Store.
func (s *Store) Watermark(ctx context.Context, t retail.Tenant, connection string) (time.Time, error) {
	at, _, err := read[time.Time](ctx, s, config, watermarkKey(t, connection))
	return at, err
}

// SetWatermark implements tenancy.Store.
func (s *Store) SetWatermark(ctx context.Context, t retail.Tenant, connection string, at time.Time) error {
	return s.write(ctx, put(config, watermarkKey(t, connection), stored(at)))
}
