package meter_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/meter"
)

type answers string

func (a answers) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(a)), Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func TestUnitsFollowSizesAndTransactionsCostTwice(t *testing.T) {
	table := aws.String("t")
	item := func(size int) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: strings.Repeat("x", size-2)}}
	}
	put := func(size int) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{TableName: table, Item: item(size)}}
	}
	key := item(10)
	for name, c := range map[string]struct {
		ask           func(context.Context, *dynamodb.Client) error
		written, read float64
	}{
		"put of a unit": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: item(1024)})
			return err
		}, 1, 0},
		"put over a unit": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: item(1025)})
			return err
		}, 2, 0},
		"transaction": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put(100), put(1025),
				{Delete: &types.Delete{TableName: table, Key: key}}}})
			return err
		}, 8, 0},
		"delete": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: table, Key: key})
			return err
		}, 1, 0},
		"get": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.GetItem(ctx, &dynamodb.GetItemInput{TableName: table, Key: key})
			return err
		}, 0, 1},
		"batch of small items": {func(ctx context.Context, d *dynamodb.Client) error {
			_, err := d.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: []map[string]types.AttributeValue{key, item(11), item(12)}}}})
			return err
		}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			m := &meter.Meter{}
			cfg := aws.Config{Region: "us-east-1", HTTPClient: answers("{}"), Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
			})}
			cfg.APIOptions = m.Attach(cfg.APIOptions)
			if err := c.ask(t.Context(), dynamodb.NewFromConfig(cfg)); err != nil {
				t.Fatal(err)
			}
			if n := m.Take(); n.WriteUnits != c.written || n.ReadUnits != c.read || len(n.Calls) != 1 {
				t.Errorf("%+v, not %v written and %v read", n, c.written, c.read)
			}
		})
	}
}
