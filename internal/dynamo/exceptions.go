package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

// OpenExceptions lists a retailer's open exceptions, oldest first.
func (s *Store) OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error) {
	out, _, err := s.FirstExceptions(ctx, t, math.MaxInt)
	return out, err
}

// FirstExceptions lists a retailer's open exceptions, oldest first and so many at
// most, and tells whether there are more.
func (s *Store) FirstExceptions(ctx context.Context, t retail.Tenant, limit int) (out []document.Exception, more bool, err error) {
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Exceptions, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :x)"),
		FilterExpression: aws.String("#s <> :resolved"), ExpressionAttributeNames: map[string]string{"#s": "state"},
		ExpressionAttributeValues: item{":p": str(t.Key()), ":x": str("X#"), ":resolved": str(document.Resolved)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("listing the exceptions of %s: %w", t, err)
		}
		for _, it := range page.Items {
			if len(out) == limit {
				return out, true, nil
			}
			var x document.Exception
			if err := decodeData(it, &x); err != nil {
				return nil, false, fmt.Errorf("decoding an exception of %s: %w", t, err)
			}
			out = append(out, x)
		}
	}
	return out, false, nil
}

// AllOpenExceptions lists the open exceptions of all retailers, as an index
// shows them: it is behind by moments, and lacks what was written before there
// was an index and not changed since.
func (s *Store) AllOpenExceptions(ctx context.Context) ([]document.Exception, error) {
	var out []document.Exception
	for shard := range uint32(openShards) {
		pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
			TableName: &s.tables.Exceptions, IndexName: aws.String("open"), KeyConditionExpression: aws.String("open_shard = :s"),
			ExpressionAttributeValues: item{":s": str(openShard(shard))},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("listing what is open: %w", err)
			}
			for _, it := range page.Items {
				var x document.Exception
				if err := decodeData(it, &x); err != nil {
					return nil, fmt.Errorf("decoding an exception: %w", err)
				}
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// decodeData reads an item's document.
func decodeData(it item, out any) error {
	data, ok := it["data"].(*types.AttributeValueMemberS)
	if !ok {
		return errors.New("the item has no data")
	}
	return json.Unmarshal([]byte(data.Value), out)
}

// Exception implements document.Store.
func (s *Store) Exception(ctx context.Context, t retail.Tenant, id string) (document.Exception, error) {
	var it struct {
		Data string `dynamodbav:"data"`
	}
	var x document.Exception
	found, err := s.get(ctx, s.tables.Exceptions, t.Key(), exceptionSK(id), &it)
	if err != nil {
		return x, err
	}
	if !found {
		return x, document.ErrNotFound
	}
	return x, json.Unmarshal([]byte(it.Data), &x)
}

// Audited lists what people did for a retailer, oldest first, from a time on.
func (s *Store) Audited(ctx context.Context, t retail.Tenant, from time.Time) ([]document.Audit, error) {
	var out []document.Audit
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Audit, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p AND sk >= :from"),
		ExpressionAttributeValues: item{":p": str(t.Key()), ":from": str(auditSK(from, ""))},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing what was done for %s: %w", t, err)
		}
		for _, it := range page.Items {
			var a document.Audit
			if err := decodeData(it, &a); err != nil {
				return nil, fmt.Errorf("decoding an audit entry of %s: %w", t, err)
			}
			out = append(out, a)
		}
	}
	return out, nil
}
