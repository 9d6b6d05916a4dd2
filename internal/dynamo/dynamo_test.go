package dynamo_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/retail"
)

// deployed deploys the template's own tables into an account of its own.
func deployed(t *testing.T) (aws.Config, dynamo.Tables) {
	t.Helper()
	cfg := localtest.Config(t)
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artifacts-" + localtest.Account(), Template: "../../infra/data.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "data", TemplateURL: url, Parameters: map[string]string{"Partner": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, dynamo.Tables{
		Documents: out["DocumentsTable"], Inventory: out["InventoryTable"], Inbox: out["InboxTable"], Exceptions: out["ExceptionsTable"],
		Person: out["PersonTable"], Config: out["ConfigTable"], Credentials: out["CredentialsTable"],
	}
}

func store(t *testing.T) *dynamo.Store {
	t.Helper()
	cfg, tables := deployed(t)
	return dynamo.New(cfg, tables)
}

// driver is a store under rules of faults; its stream is read without.
func driver(t *testing.T, faults *awsfault.Injector) drivertest.Driver {
	t.Helper()
	cfg, tables := deployed(t)
	faulty := cfg
	if faults != nil {
		faulty = faults.Configure(cfg)
	}
	return drivertest.Driver{
		Store:  dynamo.New(faulty, tables),
		Settle: func(*testing.T) {}, // the local index is current
		Stream: func(t *testing.T) []drivertest.Entry { return stream(t, cfg, tables.Documents) },
	}
}

func TestTheStoreInDynamoDBPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver { return driver(t, nil) })
}

// Every second attempt of an operation is befallen, so that each call needs at
// least two: what the SDK or the caller repeats must have happened once.
func TestTheStoreInDynamoDBPassesTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range awsfault.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			rule := awsfault.Rule{Kind: kind, Every: 2}
			if kind == awsfault.Conflict {
				// The caller begins again with all of its transactions, so that a
				// fixed rhythm would never let the last of them through.
				rule = awsfault.Rule{Kind: kind, Chance: 0.4}
			}
			befallen := 0
			drivertest.Run(t, func(t *testing.T) drivertest.Driver {
				faults := awsfault.New(rand.New(rand.NewPCG(1, 2)), rule)
				t.Cleanup(func() { befallen += faults.Count(kind) })
				return driver(t, faults)
			})
			if befallen == 0 {
				t.Error("nothing was befallen")
			}
		})
	}
}

// stream reads the Documents table's stream as event-publish does.
func stream(t *testing.T, cfg aws.Config, table string) (out []drivertest.Entry) {
	t.Helper()
	about, err := dynamodb.NewFromConfig(cfg).DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &table})
	must(t, err)
	c := dynamodbstreams.NewFromConfig(cfg)
	desc, err := c.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: about.Table.LatestStreamArn})
	must(t, err)
	for _, shard := range desc.StreamDescription.Shards {
		at, err := c.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{
			StreamArn: about.Table.LatestStreamArn, ShardId: shard.ShardId, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon})
		must(t, err)
		for next := at.ShardIterator; next != nil; {
			page, err := c.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: next})
			must(t, err)
			if len(page.Records) == 0 {
				break
			}
			for _, r := range page.Records {
				if e, ok := entry(t, r); ok {
					out = append(out, e)
				}
			}
			next = page.NextShardIterator
		}
	}
	return out
}

func entry(t *testing.T, r streamtypes.Record) (e drivertest.Entry, ok bool) {
	t.Helper()
	image, err := attributevalue.FromDynamoDBStreamsMap(r.Dynamodb.NewImage)
	must(t, err)
	var it struct {
		PK          string            `dynamodbav:"pk"`
		SK          string            `dynamodbav:"sk"`
		Seq         int64             `dynamodbav:"seq"`
		At          time.Time         `dynamodbav:"at"`
		Type        string            `dynamodbav:"type"`
		Run         int64             `dynamodbav:"run"`
		Correlation string            `dynamodbav:"correlation"`
		Data        map[string]string `dynamodbav:"data"`
	}
	must(t, attributevalue.Unmarshal(image["sk"], &it.SK))
	if !strings.HasPrefix(it.SK, "STEP#") || r.EventName != streamtypes.OperationTypeInsert {
		return e, false
	}
	must(t, attributevalue.UnmarshalMap(image, &it))
	key := strings.Split(it.PK, "#")
	tn, err := retail.ParseTenant(key[1])
	must(t, err)
	return drivertest.Entry{
		Key:  document.Key{Tenant: tn, Type: key[2], ID: key[3]},
		Step: document.Step{Seq: it.Seq, At: it.At, Type: it.Type, Run: it.Run, Correlation: it.Correlation, Data: it.Data},
	}, true
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
