package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/rate"
)

// Rate implements rate.Store.
func (s *Store) Rate(ctx context.Context, k rate.Key) (rate.State, error) {
	var it struct {
		Data    string `dynamodbav:"data"`
		Version int64  `dynamodbav:"version"`
	}
	out := rate.State{Key: k}
	found, err := s.get(ctx, s.tables.Rates, ratePK(k), rateKey, &it)
	if err != nil || !found {
		return out, err
	}
	if err := json.Unmarshal([]byte(it.Data), &out); err != nil {
		return out, fmt.Errorf("decoding the state of connection %s: %w", k.Connection, err)
	}
	out.Key, out.Version = k, it.Version
	return out, nil
}

// PutRate implements rate.Store with one conditional put.
func (s *Store) PutRate(ctx context.Context, st rate.State) error {
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encoding the state of connection %s: %w", st.Connection, err)
	}
	in := &dynamodb.PutItemInput{
		TableName: &s.tables.Rates, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		Item: item{"pk": str(ratePK(st.Key)), "sk": str(rateKey), "version": num(st.Version + 1), "data": str(string(data))},
	}
	if st.Version > 0 {
		in.ConditionExpression, in.ExpressionAttributeValues = aws.String("version = :v"), item{":v": num(st.Version)}
	}
	_, err = s.db.PutItem(ctx, in)
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		// Perhaps the put was sent again after its answer was lost; whoever wrote
		// the same state needs no other answer.
		if there, rerr := s.Rate(ctx, st.Key); rerr == nil && there.Version == st.Version+1 {
			there.Version = st.Version
			if same, jerr := json.Marshal(there); jerr == nil && string(same) == string(data) {
				return nil
			}
		}
		return rate.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("storing the state of connection %s: %w", st.Connection, err)
	}
	return nil
}
