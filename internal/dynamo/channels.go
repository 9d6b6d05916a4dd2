package dynamo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/retail"
)

// kept is an item whose meaning is JSON.
type kept struct {
	PK   string `dynamodbav:"pk"`
	SK   string `dynamodbav:"sk"`
	Data string `dynamodbav:"data"`
}

func (s *Store) keepJSON(ctx context.Context, pk, sk string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", sk, err)
	}
	m, err := attributevalue.MarshalMap(kept{pk, sk, string(data)})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", sk, err)
	}
	if _, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.tables.Jobs, Item: m}); err != nil {
		return fmt.Errorf("storing %s: %w", sk, err)
	}
	return nil
}

// Activity implements order.Activities; of a channel never heard of it is empty.
func (s *Store) Activity(ctx context.Context, t retail.Tenant, connection string) (a order.Activity, err error) {
	var it kept
	found, err := s.get(ctx, s.tables.Jobs, activityPK(t, connection), activityKey, &it)
	if err == nil && found {
		err = json.Unmarshal([]byte(it.Data), &a)
	}
	return a, err
}

// SetActivity implements order.Activities.
func (s *Store) SetActivity(ctx context.Context, t retail.Tenant, connection string, a order.Activity) error {
	return s.keepJSON(ctx, activityPK(t, connection), activityKey, a)
}

// PutProof implements proof.Results: the last proof of a channel's day stands.
func (s *Store) PutProof(ctx context.Context, r proof.Result) error {
	return s.keepJSON(ctx, proofPK(r.Tenant, r.Connection), proofSK(r.Date), r)
}

// Proof returns the proof of a channel's day, if there is one.
func (s *Store) Proof(ctx context.Context, t retail.Tenant, connection, date string) (r proof.Result, found bool, err error) {
	var it kept
	found, err = s.get(ctx, s.tables.Jobs, proofPK(t, connection), proofSK(date), &it)
	if err == nil && found {
		err = json.Unmarshal([]byte(it.Data), &r)
	}
	return r, found, err
}

// Proofs lists a channel's proofs, the newest day first.
func (s *Store) Proofs(ctx context.Context, t retail.Tenant, connection string, limit int) ([]proof.Result, error) {
	res, err := s.db.Query(ctx, &dynamodb.QueryInput{TableName: &s.tables.Jobs, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: item{":p": str(proofPK(t, connection))},
		Limit: aws.Int32(int32(min(limit, 366)))}) // #nosec G115 -- bounded
	if err != nil {
		return nil, fmt.Errorf("listing the proofs of %s: %w", connection, err)
	}
	var items []kept
	if err := attributevalue.UnmarshalListOfMaps(res.Items, &items); err != nil {
		return nil, fmt.Errorf("decoding the proofs of %s: %w", connection, err)
	}
	out := make([]proof.Result, len(items))
	for i, it := range items {
		if err := json.Unmarshal([]byte(it.Data), &out[i]); err != nil {
			return nil, fmt.Errorf("decoding the proofs of %s: %w", connection, err)
		}
	}
	return out, nil
}
