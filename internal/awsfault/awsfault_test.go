package awsfault_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const table = "things"

// tables returns a client that nothing befalls and one that the rules befall.
func tables(t *testing.T, faults *awsfault.Injector) (plain, faulty *dynamodb.Client) {
	t.Helper()
	cfg := localtest.Config(t)
	plain, faulty = dynamodb.NewFromConfig(cfg), dynamodb.NewFromConfig(faults.Configure(cfg))
	_, err := plain.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange}},
	})
	// The account is new: a table that is there already is an attempt's whose answer
	// did not come.
	if exists := (*types.ResourceInUseException)(nil); !errors.As(err, &exists) {
		must(t, err)
	}
	return plain, faulty
}

type item = map[string]types.AttributeValue

func thing(n int) item {
	return item{"pk": &types.AttributeValueMemberS{Value: "p"}, "sk": &types.AttributeValueMemberS{Value: fmt.Sprint(n)}}
}

func put(t *testing.T, c *dynamodb.Client, n int) error {
	_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: thing(n)})
	return err
}

func stored(t *testing.T, c *dynamodb.Client, n int) bool {
	t.Helper()
	res, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(table), Key: thing(n)})
	must(t, err)
	return len(res.Item) > 0
}

func TestARefusedAttemptDoesNothingAndTheSDKRepeatsIt(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout} {
		faults := awsfault.New(nil, awsfault.Rule{Kind: kind, Every: 1, Times: 3})
		_, faulty := tables(t, faults)
		if err := put(t, faulty, 1); err != nil || faults.Count(kind) != 3 {
			t.Errorf("%s: %v after %d", kind, err, faults.Count(kind))
		}
	}
}

func TestAnAttemptThatIsRefusedEachTimeFailsAsThatService(t *testing.T) {
	plain, faulty := tables(t, awsfault.New(nil, awsfault.Rule{Kind: awsfault.Throttle, Every: 1}))
	var throttled *types.ProvisionedThroughputExceededException
	if err := put(t, faulty, 1); !errors.As(err, &throttled) || stored(t, plain, 1) {
		t.Errorf("throttled: %v", err)
	}
	var code smithy.APIError
	_, err := sqs.NewFromConfig(awsfault.New(nil, awsfault.Rule{Kind: awsfault.Throttle, Every: 1}).Configure(localtest.Config(t))).ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if !errors.As(err, &code) || code.ErrorCode() != "RequestThrottled" {
		t.Errorf("throttled: %v", err)
	}
	plain, faulty = tables(t, awsfault.New(nil, awsfault.Rule{Kind: awsfault.Timeout, Every: 1}))
	var timeout net.Error
	if err := put(t, faulty, 1); !errors.As(err, &timeout) || !timeout.Timeout() || stored(t, plain, 1) {
		t.Errorf("timed out: %v", err)
	}
}

func TestACallWhoseAnswerIsLostIsCarriedOutAndRepeated(t *testing.T) {
	plain, faulty := tables(t, awsfault.New(nil, awsfault.Rule{Kind: awsfault.Lost, Every: 2}))
	var exists *types.ConditionalCheckFailedException
	_, err := faulty.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: thing(1), ConditionExpression: aws.String("attribute_not_exists(pk)")})
	if !errors.As(err, &exists) || !stored(t, plain, 1) {
		t.Errorf("a condition that its own write made false: %v", err)
	}
}

func TestAConflictCancelsATransactionAndNamesNoCondition(t *testing.T) {
	plain, faulty := tables(t, awsfault.New(nil, awsfault.Rule{Kind: awsfault.Conflict, Every: 2}))
	write := func() error {
		in := &dynamodb.TransactWriteItemsInput{}
		for n := range 2 {
			in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: aws.String(table), Item: thing(n)}})
		}
		_, err := faulty.TransactWriteItems(t.Context(), in)
		return err
	}
	var canceled *types.TransactionCanceledException
	if err := write(); !errors.As(err, &canceled) || len(canceled.CancellationReasons) != 2 || *canceled.CancellationReasons[0].Code != "TransactionConflict" || stored(t, plain, 0) {
		t.Errorf("the first: %v", err)
	}
	if err := write(); err != nil || !stored(t, plain, 1) {
		t.Errorf("the second: %v", err)
	}
	must(t, put(t, faulty, 5)) // no transaction
}

func TestABatchIsDoneInPartAndSaysWhich(t *testing.T) {
	faults := awsfault.New(nil, awsfault.Rule{Kind: awsfault.Partial, Every: 1})
	plain, faulty := tables(t, faults)
	writes := map[string][]types.WriteRequest{}
	for n := range 5 {
		writes[table] = append(writes[table], types.WriteRequest{PutRequest: &types.PutRequest{Item: thing(n)}})
	}
	wrote, err := faulty.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: writes})
	must(t, err)
	if len(wrote.UnprocessedItems[table]) != 3 || stored(t, plain, 0) || !stored(t, plain, 1) {
		t.Errorf("left unwritten: %v", wrote.UnprocessedItems)
	}
	keys := map[string]types.KeysAndAttributes{table: {Keys: []item{thing(1), thing(3), thing(0)}, ConsistentRead: aws.Bool(true)}}
	read, err := faulty.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: keys})
	must(t, err)
	if left := read.UnprocessedKeys[table]; len(left.Keys) != 2 || !*left.ConsistentRead || len(read.Responses[table]) != 1 {
		t.Errorf("read %v, left unread %v", read.Responses, left)
	}
	keys[table] = types.KeysAndAttributes{Keys: []item{thing(1)}}
	if read, err = faulty.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: keys}); err != nil || len(read.UnprocessedKeys[table].Keys) != 1 {
		t.Errorf("one item: %v, %v", read, err)
	}

	cfg := localtest.Config(t)
	queue, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	must(t, err)
	var entries []sqstypes.SendMessageBatchRequestEntry
	for n := range 3 {
		entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(n)), MessageBody: aws.String("m")})
	}
	sent, err := sqs.NewFromConfig(faults.Configure(cfg)).SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: queue.QueueUrl, Entries: entries})
	must(t, err)
	if len(sent.Successful) != 1 || *sent.Successful[0].Id != "1" || len(sent.Failed) != 2 || *sent.Failed[1].Id != "2" {
		t.Errorf("sent %v, failed %v", sent.Successful, sent.Failed)
	}
	var events []ebtypes.PutEventsRequestEntry
	for range 5 {
		events = append(events, ebtypes.PutEventsRequestEntry{Source: aws.String("waybill"), DetailType: aws.String("x"), Detail: aws.String("{}")})
	}
	published, err := eventbridge.NewFromConfig(faults.Configure(cfg)).PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: events})
	must(t, err)
	var refused []int
	for n, e := range published.Entries {
		if e.ErrorCode != nil {
			refused = append(refused, n)
		}
	}
	if !slices.Equal(refused, []int{0, 2, 4}) || published.FailedEntryCount != 3 {
		t.Errorf("refused %v of %d", refused, len(published.Entries))
	}
}

func TestAQuerysPagesAreSmall(t *testing.T) {
	plain, faulty := tables(t, awsfault.New(nil, awsfault.Rule{Kind: awsfault.SmallPages, Every: 1}))
	for n := range 3 {
		must(t, put(t, plain, n))
	}
	pages, items := 0, 0
	for p := dynamodb.NewQueryPaginator(faulty, &dynamodb.QueryInput{TableName: aws.String(table), KeyConditionExpression: aws.String("pk = :p"),
		ExpressionAttributeValues: item{":p": thing(0)["pk"]}}); p.HasMorePages(); pages++ {
		page, err := p.NextPage(t.Context())
		must(t, err)
		items += len(page.Items)
	}
	if items != 3 || pages < 3 {
		t.Errorf("%d items in %d pages", items, pages)
	}
}

// empty answers every request with nothing, so that no broken connection adds an
// attempt of its own.
type empty struct{}

func (empty) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

func TestARuleIsBoundToItsOperationsAndItsDice(t *testing.T) {
	run := func(seed uint64) (befallen []int) {
		faults := awsfault.New(rand.New(rand.NewPCG(seed, 2)), awsfault.Rule{Kind: awsfault.Throttle, Operations: []string{"PutItem"}, Chance: 0.5})
		c := dynamodb.NewFromConfig(faults.Configure(aws.Config{Region: "us-east-1", HTTPClient: empty{}, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")}))
		for n := range 20 {
			must(t, put(t, c, n))
			befallen = append(befallen, faults.Count(awsfault.Throttle))
		}
		before := faults.Count(awsfault.Throttle)
		for n := range 20 {
			stored(t, c, n)
		}
		if faults.Count(awsfault.Throttle) != before || before == 0 {
			t.Errorf("befallen %d, then %d", before, faults.Count(awsfault.Throttle))
		}
		return befallen
	}
	a, b, other := run(1), run(1), run(2)
	if !slices.Equal(a, b) || slices.Equal(a, other) {
		t.Errorf("one seed: %v and %v; another: %v", a, b, other)
	}
}
