package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/alert"
)

// Alerts implements alert.Store. All alerts of a stack stand in one partition,
// the partner's, because a pass reads all of them and most stacks have few.
func (s *Store) Alerts(ctx context.Context) ([]alert.Alert, error) {
	var out []alert.Alert
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Exceptions, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :a)"),
		ExpressionAttributeValues: item{":p": str(alertPK()), ":a": str(alertPrefix)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the alerts: %w", err)
		}
		for _, it := range page.Items {
			var a alert.Alert
			if err := decodeData(it, &a); err != nil {
				return nil, fmt.Errorf("decoding an alert: %w", err)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// SaveAlert implements alert.Store with one conditional put.
func (s *Store) SaveAlert(ctx context.Context, a alert.Alert) error {
	condition, values := "attribute_not_exists(pk)", item(nil)
	if a.Version > 0 {
		condition, values = "version = :v", item{":v": num(a.Version)}
	}
	a.Version++
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding an alert: %w", err)
	}
	it := item{"pk": str(alertPK()), "sk": str(alertSK(a.Fingerprint)), "kind": str(string(a.Kind)), "version": num(a.Version), "data": str(string(data))}
	if !a.Expires.IsZero() {
		it["expires_at"] = num(a.Expires.Unix())
	}
	_, err = s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.tables.Exceptions, Item: it, ConditionExpression: &condition,
		ExpressionAttributeValues: values, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		if err != nil {
			return fmt.Errorf("saving alert %s: %w", a.Fingerprint, err)
		}
		return nil
	}
	if there, ok := failed.Item["data"].(*types.AttributeValueMemberS); ok && there.Value == string(data) {
		return nil // the put was sent again after its answer was lost
	}
	return alert.ErrConflict
}
