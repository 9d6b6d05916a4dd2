package dynamo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithytime "github.com/aws/smithy-go/time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// errMap is document.ErrConflict in words for whoever changes a map.
var errMap error = mapError{}

type mapError struct{}

func (mapError) Error() string { return "the map was changed by somebody else meanwhile; try again" }
func (mapError) Unwrap() error { return document.ErrConflict }

// Maps implements mapping.Store with one read.
func (s *Store) Maps(ctx context.Context, t retail.Tenant, connection string) ([]mapping.Map, error) {
	var out []mapping.Map
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Config, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :c)"),
		ExpressionAttributeValues: item{":p": str(mapPK(t, connection)), ":c": str(currentMapSK(""))},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the value maps of %s: %w", connection, err)
		}
		for _, it := range page.Items {
			var m mapping.Map
			data, ok := it["data"].(*types.AttributeValueMemberS)
			if !ok {
				continue
			}
			if err := json.Unmarshal([]byte(data.Value), &m); err != nil {
				return nil, fmt.Errorf("decoding a value map of %s: %w", connection, err)
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func (s *Store) valueMap(ctx context.Context, t retail.Tenant, connection, sk string) (mapping.Map, error) {
	var it configItem
	var m mapping.Map
	found, err := s.get(ctx, s.tables.Config, mapPK(t, connection), sk, &it)
	if err != nil {
		return m, err
	}
	if !found {
		return m, mapping.ErrNotFound
	}
	if err := json.Unmarshal([]byte(it.Data), &m); err != nil {
		return m, fmt.Errorf("decoding a value map of %s: %w", connection, err)
	}
	return m, nil
}

// MapVersion implements mapping.Store.
func (s *Store) MapVersion(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, version int64) (mapping.Map, error) {
	return s.valueMap(ctx, t, connection, mapVersionSK(k, version))
}

// MapDraft implements mapping.Store.
func (s *Store) MapDraft(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind) (mapping.Map, error) {
	return s.valueMap(ctx, t, connection, draftMapSK(k))
}

// PutMap implements mapping.Store: the version and the pointer, which carries a
// copy of it, in one transaction.
func (s *Store) PutMap(ctx context.Context, m mapping.Map) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a value map: %w", err)
	}
	pk := mapPK(m.Tenant, m.Connection)
	version, err := put(s.tables.Config, configItem{pk, mapVersionSK(m.Kind, m.Version), m.Version, string(data)}, "attribute_not_exists(pk)", nil, errMap)
	if err != nil {
		return err
	}
	condition, values := "version = :v", item{":v": num(m.Version - 1)}
	if m.Version == 1 {
		condition, values = "attribute_not_exists(pk)", nil
	}
	current, err := put(s.tables.Config, configItem{pk, currentMapSK(m.Kind), m.Version, string(data)}, condition, values, errMap)
	if err != nil {
		return err
	}
	return s.transact(ctx, []write{version, current})
}

// PutMapDraft implements mapping.Store.
func (s *Store) PutMapDraft(ctx context.Context, m mapping.Map) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a value map: %w", err)
	}
	w, err := put(s.tables.Config, configItem{mapPK(m.Tenant, m.Connection), draftMapSK(m.Kind), m.Version, string(data)}, "", nil, nil)
	if err != nil {
		return err
	}
	return s.transact(ctx, []write{w})
}

// DeleteMapDraft implements mapping.Store.
func (s *Store) DeleteMapDraft(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind) error {
	if _, err := s.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.tables.Config,
		Key: item{"pk": str(mapPK(t, connection)), "sk": str(draftMapSK(k))}}); err != nil {
		return fmt.Errorf("deleting the draft of a value map: %w", err)
	}
	return nil
}

// MapPieces implements mapping.Store.
func (s *Store) MapPieces(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, names []string) (map[string][]byte, error) {
	keys := make([]item, len(names))
	pk := mapPiecesPK(t, connection, k)
	for i, n := range names {
		keys[i] = item{"pk": str(pk), "sk": str(n)}
	}
	out := make(map[string][]byte, len(names))
	err := s.getAll(ctx, s.tables.Config, keys, func(items []item) error {
		for _, it := range items {
			name, named := it["sk"].(*types.AttributeValueMemberS)
			data, filled := it["data"].(*types.AttributeValueMemberB)
			if named && filled {
				out[name.Value] = data.Value
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the %s map of %s: %w", k, connection, err)
	}
	return out, nil
}

// batchWrite is DynamoDB's limit of items in one BatchWriteItem.
const batchWrite = 25

// PutMapPieces implements mapping.Store. What an answer leaves unwritten is
// sent again after the wait, and as often, as the client repeats a throttled
// call: DynamoDB means one.
func (s *Store) PutMapPieces(ctx context.Context, t retail.Tenant, connection string, k mapping.Kind, pieces map[string][]byte) error {
	pk := mapPiecesPK(t, connection, k)
	var puts []types.WriteRequest
	for _, name := range slices.Sorted(maps.Keys(pieces)) {
		puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: item{
			"pk": str(pk), "sk": str(name), "data": &types.AttributeValueMemberB{Value: pieces[name]}}}})
	}
	retryer := s.db.Options().Retryer
	throttled := &types.ProvisionedThroughputExceededException{}
	for open := range slices.Chunk(puts, batchWrite) {
		for idle := 0; ; {
			res, err := s.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{s.tables.Config: open}})
			if err != nil {
				return fmt.Errorf("storing the %s map of %s: %w", k, connection, err)
			}
			left := res.UnprocessedItems[s.tables.Config]
			if len(left) == 0 {
				break
			}
			if idle++; len(left) < len(open) {
				idle = 1
			}
			if open = left; idle >= retryer.MaxAttempts() {
				return fault.New(fault.Retryable, fault.RateLimited, "the database leaves %d items unwritten", len(open))
			}
			wait, err := retryer.RetryDelay(idle, throttled)
			if err != nil {
				return fmt.Errorf("waiting for the rest of a batch: %w", err)
			}
			if err := smithytime.SleepWithContext(ctx, wait); err != nil {
				return fmt.Errorf("waiting for the rest of a batch: %w", err)
			}
		}
	}
	return nil
}
