// Package stream reads a stretch of a table's stream again.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/waybillhq/waybill/internal/fault"
)

// Stretch is what an event source tells of records that it gave up on.
type Stretch struct {
	Stream string `json:"streamArn"`
	Shard  string `json:"shardId"`
	First  string `json:"startSequenceNumber"`
	Last   string `json:"endSequenceNumber"`
	Began  string `json:"approximateArrivalOfFirstRecord"`
	Ended  string `json:"approximateArrivalOfLastRecord"`
}

// Stream is one table's. It keeps its records for a day.
type Stream struct {
	Client *dynamodbstreams.Client
	ARN    string
}

// idle bounds how often a page may be empty: a shard's pages are while nothing
// was written for long.
const idle = 50

// Records reads a stretch as its event source would have handed it over. What
// the stream has forgotten is MissingReference.
func (s Stream) Records(ctx context.Context, w Stretch) ([]events.DynamoDBEventRecord, error) {
	at, err := s.Client.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{StreamArn: &s.ARN, ShardId: &w.Shard,
		ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: &w.First})
	if err != nil {
		return nil, w.failed(err)
	}
	var out []events.DynamoDBEventRecord
	for next, empty := at.ShardIterator, 0; next != nil && empty < idle; {
		page, err := s.Client.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: next})
		if err != nil {
			return nil, w.failed(err)
		}
		for _, r := range page.Records {
			record, number := converted(r)
			if order(number, w.Last) <= 0 {
				out = append(out, record)
			}
			if order(number, w.Last) >= 0 {
				return out, nil
			}
		}
		if empty++; len(page.Records) > 0 {
			empty = 0
		}
		next = page.NextShardIterator
	}
	return nil, fault.New(fault.Permanent, fault.MissingReference, "the stream ends before record %s", w.Last).At("shard", w.Shard)
}

// order compares sequence numbers, which have too many digits for an integer.
func order(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func (w Stretch) failed(err error) error {
	var trimmed *types.TrimmedDataAccessException
	var gone *types.ResourceNotFoundException
	if errors.As(err, &trimmed) || errors.As(err, &gone) {
		return fault.Wrap(fault.Permanent, fault.MissingReference, err,
			"the stream keeps its records for a day and has these no more; what happened from %s to %s stands in the documents' timelines (waybill trace)", w.Began, w.Ended).At("shard", w.Shard)
	}
	return fmt.Errorf("reading records %s to %s of the stream: %w", w.First, w.Last, err)
}

// converted is a record as Lambda hands it over, with its sequence number.
func converted(r types.Record) (events.DynamoDBEventRecord, string) {
	out := events.DynamoDBEventRecord{EventName: string(r.EventName)}
	if r.Dynamodb == nil {
		return out, ""
	}
	number := ""
	if r.Dynamodb.SequenceNumber != nil {
		number = *r.Dynamodb.SequenceNumber
	}
	out.Change = events.DynamoDBStreamRecord{SequenceNumber: number, NewImage: values(r.Dynamodb.NewImage)}
	return out, number
}

// values converts what a timeline entry is made of: texts, numbers, and maps and
// lists of them. Nothing else of an image is read by anybody.
func values(in map[string]types.AttributeValue) map[string]events.DynamoDBAttributeValue {
	out := map[string]events.DynamoDBAttributeValue{}
	for k, v := range in {
		if value, ok := value(v); ok {
			out[k] = value
		}
	}
	return out
}

func value(v types.AttributeValue) (out events.DynamoDBAttributeValue, ok bool) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return events.NewStringAttribute(v.Value), true
	case *types.AttributeValueMemberN:
		return events.NewNumberAttribute(v.Value), true
	case *types.AttributeValueMemberM:
		return events.NewMapAttribute(values(v.Value)), true
	case *types.AttributeValueMemberL:
		list := []events.DynamoDBAttributeValue{}
		for _, part := range v.Value {
			if value, ok := value(part); ok {
				list = append(list, value)
			}
		}
		return events.NewListAttribute(list), true
	}
	return out, false
}
