//go:build unix

package localtest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/local/localtest"
)

func TestConfigGivesEachCallerAnAccountOfItsOwn(t *testing.T) {
	ctx := t.Context()
	one, two := dynamodb.NewFromConfig(localtest.Config(t)), dynamodb.NewFromConfig(localtest.Config(t))
	_, err := one.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String("documents"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[*dynamodb.Client]int{one: 1, two: 0} {
		got, err := client.ListTables(ctx, &dynamodb.ListTablesInput{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.TableNames) != want {
			t.Errorf("got tables %v, want %d", got.TableNames, want)
		}
	}
}

func TestOneEmulatorServesTheWholeTestBinary(t *testing.T) {
	if a, b := localtest.Endpoint(t), localtest.Endpoint(t); a.Process.PID() != b.Process.PID() {
		t.Errorf("got processes %d and %d, want one", a.Process.PID(), b.Process.PID())
	}
}
