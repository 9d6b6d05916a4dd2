package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/stream"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled is a table's stream with so many records, and their sequence numbers.
func filled(t *testing.T, n int) (cfg aws.Config, arn, shard string, numbers []string) {
	t.Helper()
	cfg = localtest.Config(t)
	db := dynamodb.NewFromConfig(cfg)
	made, err := db.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: aws.String("table"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage}})
	must(t, err)
	for i := range n {
		_, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("table"), Item: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: fmt.Sprint("i", i)}, "seq": &types.AttributeValueMemberN{Value: fmt.Sprint(i)},
			"data": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: fmt.Sprint("v", i)}}},
			"more": &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberS{Value: fmt.Sprint("w", i)}}},
			"body": &types.AttributeValueMemberB{Value: []byte("x")}}})
		must(t, err)
	}
	arn = aws.ToString(made.TableDescription.LatestStreamArn)
	c := dynamodbstreams.NewFromConfig(cfg)
	about, err := c.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &arn})
	must(t, err)
	shard = aws.ToString(about.StreamDescription.Shards[0].ShardId)
	at, err := c.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: &shard, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon})
	must(t, err)
	page, err := c.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: at.ShardIterator})
	must(t, err)
	for _, r := range page.Records {
		numbers = append(numbers, aws.ToString(r.Dynamodb.SequenceNumber))
	}
	if len(numbers) != n {
		t.Fatalf("%d of %d records", len(numbers), n)
	}
	return cfg, arn, shard, numbers
}

func TestAStretchIsReadAsItWasHandedOver(t *testing.T) {
	cfg, arn, shard, numbers := filled(t, 8)
	s := stream.Stream{Client: dynamodbstreams.NewFromConfig(cfg), ARN: arn}
	got, err := s.Records(t.Context(), stream.Stretch{Shard: shard, First: numbers[2], Last: numbers[5]})
	must(t, err)
	if len(got) != 4 {
		t.Fatalf("%d records", len(got))
	}
	for i, r := range got {
		image := r.Change.NewImage
		if r.EventName != "INSERT" || r.Change.SequenceNumber != numbers[i+2] || image["pk"].String() != fmt.Sprint("i", i+2) ||
			image["seq"].Number() != fmt.Sprint(i+2) || image["data"].Map()["k"].String() != fmt.Sprint("v", i+2) ||
			image["more"].List()[0].String() != fmt.Sprint("w", i+2) {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	// Of the last one the number of digits may differ.
	if got, err = s.Records(t.Context(), stream.Stretch{Shard: shard, First: numbers[7], Last: numbers[7]}); err != nil || len(got) != 1 {
		t.Errorf("the last record: %d, %v", len(got), err)
	}
}

func TestWhatTheStreamForgotIsSaidSo(t *testing.T) {
	cfg, arn, shard, numbers := filled(t, 2)
	for name, w := range map[string]stream.Stretch{
		"a record that was trimmed": {Shard: shard, First: "1", Last: "2", Began: "2026-03-01T12:00:00Z", Ended: "2026-03-01T12:00:01Z"},
		"a shard that is gone":      {Shard: "shardId-00000000000000000001-00000001", First: numbers[0], Last: numbers[1], Began: "2026-03-01T12:00:00Z", Ended: "2026-03-01T12:00:01Z"},
	} {
		_, err := stream.Stream{Client: dynamodbstreams.NewFromConfig(cfg), ARN: arn}.Records(t.Context(), w)
		if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.MissingReference || !strings.Contains(f.Error(), "2026-03-01T12:00:00Z") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := stream.Stream{Client: dynamodbstreams.NewFromConfig(cfg), ARN: arn}.Records(t.Context(), stream.Stretch{Shard: shard, First: numbers[0], Last: numbers[1] + "0"})
	if f := fault.Of(err); f == nil || f.Kind != fault.Permanent {
		t.Errorf("a stretch that never ends: %v", err)
	}
	down := awsfault.New(nil, awsfault.Rule{Operations: []string{"GetRecords"}, Kind: awsfault.Throttle, Every: 1})
	_, err = stream.Stream{Client: dynamodbstreams.NewFromConfig(down.Configure(cfg)), ARN: arn}.Records(t.Context(), stream.Stretch{Shard: shard, First: numbers[0], Last: numbers[1]})
	if err == nil || fault.KindOf(err) != fault.Retryable {
		t.Errorf("a stream that throttles: %v", err)
	}
}
