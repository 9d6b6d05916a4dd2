package dynamo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

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

// PutPartner writes p as a new, immutable version and moves the pointer to it.
// p.Version must be the current version plus one; a concurrent apply makes it
// fail with document.ErrConflict.
func (s *Store) PutPartner(ctx context.Context, p tenancy.Partner) error {
	ws, err := s.newVersion(partnerPK, p.Version, p)
	if err != nil {
		return fmt.Errorf("applying the partner: %w", err)
	}
	return s.transact(ctx, ws)
}

// DeleteCredential removes a connection's sealed secrets; one that is gone
// already is fine.
func (s *Store) DeleteCredential(ctx context.Context, t retail.Tenant, connection string) error {
	return s.deleteSecret(ctx, credentialPK(t, connection), secretKey)
}

// DeleteHook closes a hook's address; one that is gone already is fine.
func (s *Store) DeleteHook(ctx context.Context, t retail.Tenant, token string) error {
	return s.deleteSecret(ctx, hookPK(t, token), hookKey)
}

func (s *Store) deleteSecret(ctx context.Context, pk, sk string) error {
	if _, err := s.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.tables.Credentials,
		Key: item{"pk": str(pk), "sk": str(sk)}}); err != nil {
		return fmt.Errorf("deleting a secret: %w", err)
	}
	return nil
}
