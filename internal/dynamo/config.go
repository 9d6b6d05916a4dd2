package dynamo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

type configItem struct {
	PK      string `dynamodbav:"pk"`
	SK      string `dynamodbav:"sk"`
	Version int64  `dynamodbav:"version"`
	Data    string `dynamodbav:"data"`
}

// Retailer implements tenancy.Store with one read: the pointer to the current
// version carries a copy of it.
func (s *Store) Retailer(ctx context.Context, t retail.Tenant) (tenancy.Retailer, error) {
	var it configItem
	found, err := s.get(ctx, s.tables.Config, configPK(t), currentKey, &it)
	if err != nil {
		return tenancy.Retailer{}, err
	}
	if !found {
		return tenancy.Retailer{}, fmt.Errorf("retailer %s: %w", t, tenancy.ErrNotFound)
	}
	var r tenancy.Retailer
	if err := json.Unmarshal([]byte(it.Data), &r); err != nil {
		return r, fmt.Errorf("decoding retailer %s: %w", t, err)
	}
	return r, nil
}

// PutRetailer writes r as a new, immutable version and moves the pointer to it,
// in one transaction with its secrets. r.Version must be the current version
// plus one; a concurrent apply makes it fail with document.ErrConflict.
func (s *Store) PutRetailer(ctx context.Context, r tenancy.Retailer, with tenancy.Secrets) error {
	ws, err := s.newVersion(configPK(r.Tenant), r.Version, r)
	if err != nil {
		return fmt.Errorf("applying retailer %s: %w", r.Tenant, err)
	}
	listed, err := put(s.tables.Config, configItem{PK: tenantsPK, SK: r.Tenant.String()}, "", nil, nil)
	if err != nil {
		return err
	}
	kept, err := s.secrets(r.Tenant, with)
	if err != nil {
		return err
	}
	return s.transact(ctx, slices.Concat(ws, []write{listed}, kept))
}

// secrets are the writes of a tenant's secrets; what is gone already is taken
// away all the same.
func (s *Store) secrets(t retail.Tenant, with tenancy.Secrets) (ws []write, err error) {
	keep := func(it sealedItem) {
		if err == nil {
			var w write
			w, err = put(s.tables.Credentials, it, "", nil, nil)
			ws = append(ws, w)
		}
	}
	remove := func(pk, sk string) {
		ws = append(ws, write{types.TransactWriteItem{Delete: &types.Delete{TableName: &s.tables.Credentials, Key: item{"pk": str(pk), "sk": str(sk)}}}, nil})
	}
	for _, connection := range slices.Sorted(maps.Keys(with.Credentials)) {
		if sealed := with.Credentials[connection]; sealed != nil {
			keep(sealedItem{PK: credentialPK(t, connection), SK: secretKey, Sealed: sealed})
		} else {
			remove(credentialPK(t, connection), secretKey)
		}
	}
	for _, h := range with.Hooks {
		keep(sealedItem{PK: hookPK(t, h.Token), SK: hookKey, Sealed: h.Sealed, Connection: h.Connection, Connector: h.Connector, Settings: string(h.Settings)})
	}
	for _, token := range with.Closed {
		remove(hookPK(t, token), hookKey)
	}
	return ws, err
}

// newVersion writes v as an immutable version, and as the current one if that
// is the version before.
func (s *Store) newVersion(pk string, version int64, v any) ([]write, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a configuration: %w", err)
	}
	kept, err := put(s.tables.Config, configItem{pk, versionSK(version), version, string(data)}, "attribute_not_exists(pk)", nil, errVersion)
	if err != nil {
		return nil, err
	}
	condition, values := "version = :v", item{":v": num(version - 1)}
	if version == 1 {
		condition, values = "attribute_not_exists(pk)", nil
	}
	current, err := put(s.tables.Config, configItem{pk, currentKey, version, string(data)}, condition, values, errVersion)
	return []write{kept, current}, err
}

// errVersion is document.ErrConflict in words for whoever applies.
var errVersion error = versionError{}

type versionError struct{}

func (versionError) Error() string {
	return "the configuration was changed by somebody else meanwhile; plan and apply again"
}
func (versionError) Unwrap() error { return document.ErrConflict }

// Tenants implements tenancy.Store.
func (s *Store) Tenants(ctx context.Context) ([]retail.Tenant, error) {
	var out []retail.Tenant
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Config, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p"),
		ExpressionAttributeValues: item{":p": str(tenantsPK)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing retailers: %w", err)
		}
		for _, it := range page.Items {
			id, ok := it["sk"].(*types.AttributeValueMemberS)
			if !ok {
				continue
			}
			t, err := retail.ParseTenant(id.Value)
			if err != nil {
				return nil, fmt.Errorf("listing retailers: %w", err)
			}
			out = append(out, t)
		}
	}
	return out, nil
}

type sealedItem struct {
	PK         string `dynamodbav:"pk"`
	SK         string `dynamodbav:"sk"`
	Sealed     []byte `dynamodbav:"sealed"`
	Connection string `dynamodbav:"connection,omitempty"`
	Connector  string `dynamodbav:"connector,omitempty"`
	Settings   string `dynamodbav:"settings,omitempty"`
}

// Credential implements tenancy.Store.
func (s *Store) Credential(ctx context.Context, t retail.Tenant, connection string) ([]byte, error) {
	var it sealedItem
	found, err := s.get(ctx, s.tables.Credentials, credentialPK(t, connection), secretKey, &it)
	if err == nil && !found {
		err = fmt.Errorf("credential of connection %s: %w", connection, tenancy.ErrNotFound)
	}
	return it.Sealed, err
}

// Hook implements tenancy.Store.
func (s *Store) Hook(ctx context.Context, t retail.Tenant, token string) (tenancy.Hook, error) {
	var it sealedItem
	found, err := s.get(ctx, s.tables.Credentials, hookPK(t, token), hookKey, &it)
	if err == nil && !found {
		err = fmt.Errorf("hook: %w", tenancy.ErrNotFound)
	}
	return tenancy.Hook{Tenant: t, Token: token, Connection: it.Connection, Connector: it.Connector,
		Settings: json.RawMessage(it.Settings), Sealed: it.Sealed}, err
}

// Watermark implements tenancy.Store.
func (s *Store) Watermark(ctx context.Context, t retail.Tenant, connection string) (time.Time, error) {
	var it struct {
		At string `dynamodbav:"at"`
	}
	if _, err := s.get(ctx, s.tables.Config, watermarkPK(t, connection), watermarkKey, &it); err != nil {
		return time.Time{}, err
	}
	return parseStamp(it.At)
}

// SetWatermark implements tenancy.Store.
func (s *Store) SetWatermark(ctx context.Context, t retail.Tenant, connection string, at time.Time) error {
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.tables.Config, Item: item{
		"pk": str(watermarkPK(t, connection)), "sk": str(watermarkKey), "at": str(stamp(at)),
	}})
	if err != nil {
		return fmt.Errorf("moving the watermark of %s: %w", connection, err)
	}
	return nil
}
