package dynamo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Partner returns the current version of what the partner says of itself.
func (s *Store) Partner(ctx context.Context) (tenancy.Partner, error) {
	var it configItem
	found, err := s.get(ctx, s.tables.Config, partnerPK, currentKey, &it)
	if err == nil && !found {
		err = fmt.Errorf("partner: %w", tenancy.ErrNotFound)
	}
	if err != nil {
		return tenancy.Partner{}, err
	}
	var p tenancy.Partner
	if err := json.Unmarshal([]byte(it.Data), &p); err != nil {
		return p, fmt.Errorf("decoding the partner: %w", err)
	}
	return p, nil
}

// PutPartner writes p as a new, immutable version and moves the pointer to it,
// in one transaction with its secrets. p.Version must be the current version
// plus one; a concurrent apply makes it fail with document.ErrConflict.
func (s *Store) PutPartner(ctx context.Context, p tenancy.Partner, with tenancy.Secrets) error {
	ws, err := s.newVersion(partnerPK, p.Version, p)
	if err != nil {
		return fmt.Errorf("applying the partner: %w", err)
	}
	kept, err := s.secrets(retail.Partner, with)
	if err != nil {
		return err
	}
	return s.transact(ctx, append(ws, kept...))
}
