package dynamo

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/effect"
)

type effectItem struct {
	PK         string            `dynamodbav:"pk"`
	SK         string            `dynamodbav:"sk"`
	Status     string            `dynamodbav:"status"`
	Hash       string            `dynamodbav:"hash"`
	Holder     string            `dynamodbav:"holder"`
	LeaseUntil string            `dynamodbav:"lease_until"`
	SentAt     string            `dynamodbav:"sent_at"`
	EmptyReads int               `dynamodbav:"empty_reads,omitempty"`
	Attempts   int               `dynamodbav:"attempts"`
	Ref        string            `dynamodbav:"ref,omitempty"`
	Number     string            `dynamodbav:"number,omitempty"`
	Data       map[string]string `dynamodbav:"data,omitempty"`
	Version    int64             `dynamodbav:"version"`
}

func fromRecord(r effect.Record) effectItem {
	return effectItem{
		PK: subjectPK(r.Subject), SK: effectSK(r.Key), Status: string(r.Status), Hash: r.Hash, Holder: r.Holder,
		LeaseUntil: stamp(r.LeaseUntil), SentAt: stamp(r.SentAt), EmptyReads: r.EmptyReads, Attempts: r.Attempts,
		Ref: r.Receipt.Ref, Number: r.Receipt.Number, Data: r.Receipt.Data, Version: r.Version,
	}
}

func (it effectItem) record(s effect.Subject, key string) (effect.Record, error) {
	lease, err1 := parseStamp(it.LeaseUntil)
	sent, err2 := parseStamp(it.SentAt)
	return effect.Record{
		Subject: s, Key: key, Status: effect.Status(it.Status), Hash: it.Hash, Holder: it.Holder, LeaseUntil: lease,
		SentAt: sent, EmptyReads: it.EmptyReads, Attempts: it.Attempts, Version: it.Version,
		Receipt: effect.Receipt{Ref: it.Ref, Number: it.Number, Data: it.Data},
	}, errors.Join(err1, err2)
}

// Create implements effect.Store.
func (s *Store) Create(ctx context.Context, r effect.Record) (*effect.Record, error) {
	m, err := attributevalue.MarshalMap(fromRecord(r))
	if err != nil {
		return nil, fmt.Errorf("encoding effect %s: %w", r.Key, err)
	}
	_, err = s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.tables.Documents, Item: m, ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	var exists *types.ConditionalCheckFailedException
	if errors.As(err, &exists) {
		there, err := s.Effect(ctx, r.Subject, r.Key)
		if err == nil && there != nil && there.Holder == r.Holder {
			return nil, nil // the put was sent again after its answer was lost
		}
		return there, err
	}
	return nil, err
}

// Update implements effect.Store.
func (s *Store) Update(ctx context.Context, r effect.Record) error {
	was := r.Version
	r.Version++
	m, err := attributevalue.MarshalMap(fromRecord(r))
	if err != nil {
		return fmt.Errorf("encoding effect %s: %w", r.Key, err)
	}
	_, err = s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.tables.Documents, Item: m,
		ConditionExpression: aws.String("version = :v"), ExpressionAttributeValues: item{":v": num(was)},
	})
	var lost *types.ConditionalCheckFailedException
	if errors.As(err, &lost) {
		there, readErr := s.Effect(ctx, r.Subject, r.Key)
		if readErr == nil && there != nil && there.Version == r.Version && there.Holder == r.Holder {
			return nil // sent again after its answer was lost: only the holder writes this version
		}
		return effect.ErrLost
	}
	return err
}

// Effect implements effect.Store.
func (s *Store) Effect(ctx context.Context, sub effect.Subject, key string) (*effect.Record, error) {
	var it effectItem
	found, err := s.get(ctx, s.tables.Documents, subjectPK(sub), effectSK(key), &it)
	if err != nil || !found {
		return nil, err
	}
	r, err := it.record(sub, key)
	return &r, err
}
