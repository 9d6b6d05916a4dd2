package dynamo_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
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
		Documents: out["DocumentsTable"], Inventory: out["InventoryTable"], Inbox: out["InboxTable"], Exceptions: out["ExceptionsTable"], Audit: out["AuditTable"], Rates: out["RatesTable"],
		Person: out["PersonTable"], Config: out["ConfigTable"], Credentials: out["CredentialsTable"],
		Jobs: out["JobsTable"],
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
	mixes := map[string][]awsfault.Rule{}
	for _, kind := range awsfault.Kinds() {
		mixes[string(kind)] = []awsfault.Rule{{Kind: kind, Every: 2}}
		mixes["mix"] = append(mixes["mix"], awsfault.Rule{Kind: kind, Chance: 0.15})
	}
	// The caller begins again with all of its transactions, so that a fixed
	// rhythm would never let the last of them through.
	mixes[string(awsfault.Conflict)] = []awsfault.Rule{{Kind: awsfault.Conflict, Chance: 0.4}}
	for name, rules := range mixes {
		t.Run(name, func(t *testing.T) {
			befallen := map[awsfault.Kind]int{}
			drivertest.Run(t, func(t *testing.T) drivertest.Driver {
				faults := awsfault.New(rand.New(rand.NewPCG(1, 2)), rules...)
				t.Cleanup(func() {
					for _, r := range rules {
						befallen[r.Kind] += faults.Count(r.Kind)
					}
				})
				return driver(t, faults)
			})
			for _, r := range rules {
				if befallen[r.Kind] == 0 {
					t.Errorf("nothing was befallen by %s", r.Kind)
				}
			}
		})
	}
}

// The SDK gives up, and the caller does not know that it was done.
func TestACallerWhoHeardNothingRepeatsAndNothingHappensTwice(t *testing.T) {
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	item := []stock.Item{{SKU: "A", Location: "MAIN", Line: "1", Quantity: 3}}
	open := []stock.Move{{SKU: "A", Location: "MAIN", Type: "opening", Connection: "erp", Document: "opening", Line: "A", OnHand: 10,
		OccurredAt: drivertest.Now, RecordedAt: drivertest.Now}}
	record := effect.Record{Subject: effect.Subject{Tenant: tn, Type: document.Order, ID: "o1"}, Key: "e", Holder: "a", Status: effect.Sending,
		LeaseUntil: drivertest.Now, SentAt: drivertest.Now, Version: 1}
	for _, step := range []struct {
		name             string
		do               func(s drivertest.Store) error
		onHand, reserved int64
	}{
		{"opening", func(s drivertest.Store) error { return s.Apply(t.Context(), tn, open) }, 10, 0},
		{"reserving", func(s drivertest.Store) error { return s.Reserve(t.Context(), tn, "o1", item, drivertest.Now) }, 10, 3},
		{"releasing", func(s drivertest.Store) error { return s.Release(t.Context(), tn, "o1", item, drivertest.Now) }, 10, 0},
		{"recording", func(s drivertest.Store) error {
			there, err := s.Create(t.Context(), record)
			if err == nil && there != nil {
				t.Errorf("the record is another's: %+v", there)
			}
			return err
		}, 10, 0},
		{"confirming", func(s drivertest.Store) error { return s.Update(t.Context(), record) }, 10, 0},
		{"leasing", func(s drivertest.Store) error {
			l, err := s.Begin(t.Context(), tn, "shop", "e1", "a", drivertest.Now, drivertest.Now.Add(time.Minute))
			if err == nil && l != inbox.Mine {
				t.Errorf("the lease is another's: %v", l)
			}
			return err
		}, 10, 0},
	} {
		cfg, tables := deployed(t)
		plain := dynamo.New(cfg, tables)
		if step.name != "opening" {
			must(t, plain.Apply(t.Context(), tn, open))
		}
		switch step.name {
		case "releasing":
			must(t, plain.Reserve(t.Context(), tn, "o1", item, drivertest.Now))
		case "confirming":
			_, err := plain.Create(t.Context(), record)
			must(t, err)
		}
		faults := awsfault.New(nil, awsfault.Rule{Kind: awsfault.Lost, Operations: []string{"PutItem", "TransactWriteItems"}, Every: 1, Times: awsfault.Attempts})
		s := dynamo.New(faults.Configure(cfg), tables)
		if err := step.do(s); err == nil {
			t.Errorf("%s: the loss of every answer is no error", step.name)
		}
		must(t, step.do(s))
		ps, err := plain.Positions(t.Context(), tn, "MAIN", []string{"A"})
		must(t, err)
		if p := ps["A"]; p.OnHand != step.onHand || p.Reserved != step.reserved || p.Unreserved != step.onHand-step.reserved {
			t.Errorf("%s: %+v", step.name, p)
		}
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
				out = append(out, entries(t, r)...)
			}
			next = page.NextShardIterator
		}
	}
	return out
}

// entries are what the publisher of events is told of one commit.
func entries(t *testing.T, r streamtypes.Record) (out []drivertest.Entry) {
	t.Helper()
	image, err := attributevalue.FromDynamoDBStreamsMap(r.Dynamodb.NewImage)
	must(t, err)
	type step struct {
		Seq         int64             `dynamodbav:"seq"`
		At          time.Time         `dynamodbav:"at"`
		Type        string            `dynamodbav:"type"`
		Run         int64             `dynamodbav:"run"`
		Correlation string            `dynamodbav:"correlation"`
		Data        map[string]string `dynamodbav:"data"`
	}
	var first step
	var it struct {
		PK   string `dynamodbav:"pk"`
		SK   string `dynamodbav:"sk"`
		More []step `dynamodbav:"more"`
	}
	must(t, attributevalue.Unmarshal(image["sk"], &it.SK))
	if it.SK == "HEAD" && r.EventName != streamtypes.OperationTypeRemove {
		return news(t, image)
	}
	if _, copied := image["upto"]; copied {
		return nil
	}
	if !strings.HasPrefix(it.SK, "STEP#") || r.EventName != streamtypes.OperationTypeInsert {
		return nil
	}
	must(t, attributevalue.UnmarshalMap(image, &it))
	must(t, attributevalue.UnmarshalMap(image, &first))
	key := strings.Split(it.PK, "#")
	tn, err := retail.ParseTenant(key[1])
	must(t, err)
	for _, s := range append([]step{first}, it.More...) {
		out = append(out, drivertest.Entry{
			Key:  document.Key{Tenant: tn, Type: key[2], ID: key[3]},
			Step: document.Step{Seq: s.Seq, At: s.At, Type: s.Type, Run: s.Run, Correlation: s.Correlation, Data: s.Data},
		})
	}
	return out
}

// news is what came with the commit of a head.
func news(t *testing.T, image map[string]dynamodbtypes.AttributeValue) (out []drivertest.Entry) {
	t.Helper()
	var it struct {
		PK          string `dynamodbav:"pk"`
		Correlation string `dynamodbav:"correlation"`
		Recent      string `dynamodbav:"recent"`
		News        int    `dynamodbav:"news"`
	}
	must(t, attributevalue.UnmarshalMap(image, &it))
	steps, err := dynamo.Recent(it.Recent, it.Correlation)
	must(t, err)
	key := strings.Split(it.PK, "#")
	tn, err := retail.ParseTenant(key[1])
	must(t, err)
	for _, s := range steps[len(steps)-it.News:] {
		out = append(out, drivertest.Entry{Key: document.Key{Tenant: tn, Type: key[2], ID: key[3]}, Step: s})
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An event is known for longer than its message can come again: from its queue
// for two weeks, and from the dead letters for two more.
func TestWhatIsKeptForAWhileSaysUntilWhen(t *testing.T) {
	cfg, tables := deployed(t)
	s, db, ctx, now := dynamo.New(cfg, tables), dynamodb.NewFromConfig(cfg), t.Context(), drivertest.Now
	tenant, err := retail.ParseTenant("acme")
	if err == nil {
		_, err = s.Begin(ctx, tenant, "shop", "e1", "h", now, now.Add(time.Minute))
	}
	j := job.Job{Tenant: tenant, ID: "j1", Key: "k", State: job.Waiting}
	if err == nil {
		err = s.OpenJob(ctx, j)
	}
	j.Version, j.State, j.Expires = 1, job.Done, now.Add(48*time.Hour)
	if err == nil {
		err = s.EndJob(ctx, j)
	}
	if err == nil {
		err = s.SaveAlert(ctx, alert.Alert{Fingerprint: "f", Expires: now.Add(72 * time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	for table, least := range map[string]time.Duration{tables.Inbox: 28 * 24 * time.Hour, tables.Jobs: 48 * time.Hour, tables.Exceptions: 72 * time.Hour} {
		out, err := db.Scan(ctx, &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
		if err != nil || len(out.Items) != 1 {
			t.Fatalf("%s: %d items, %v", table, len(out.Items), err)
		}
		var kept struct {
			Until int64 `dynamodbav:"expires_at"`
		}
		if err := attributevalue.UnmarshalMap(out.Items[0], &kept); err != nil || kept.Until < now.Add(least).Unix() || kept.Until > now.Add(least+30*24*time.Hour).Unix() {
			t.Errorf("%s: kept until %d, %v", table, kept.Until, err)
		}
	}
}
