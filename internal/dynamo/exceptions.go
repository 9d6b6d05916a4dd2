package dynamo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

// OpenExceptions lists a retailer's open exceptions, oldest first.
func (s *Store) OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error) {
	var out []document.Exception
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Exceptions, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p"),
		FilterExpression: aws.String("#s = :open"), ExpressionAttributeNames: map[string]string{"#s": "state"},
		ExpressionAttributeValues: item{":p": str(t.Key()), ":open": str("open")},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the exceptions of %s: %w", t, err)
		}
		for _, it := range page.Items {
			data, ok := it["data"].(*types.AttributeValueMemberS)
			if !ok {
				continue
			}
			var x document.Exception
			if err := json.Unmarshal([]byte(data.Value), &x); err != nil {
				return nil, fmt.Errorf("decoding an exception of %s: %w", t, err)
			}
			out = append(out, x)
		}
	}
	return out, nil
}
