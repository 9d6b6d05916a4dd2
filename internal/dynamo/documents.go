package dynamo

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithytime "github.com/aws/smithy-go/time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Store implements the platform's storage ports on DynamoDB.
type Store struct {
	db     *dynamodb.Client
	tables Tables
}

// New returns a store over the stack's tables.
func New(cfg aws.Config, tables Tables) *Store {
	return &Store{db: dynamodb.NewFromConfig(cfg), tables: tables}
}

// headItem is the stored form of document.Head; short names keep it small.
type headItem struct {
	PK            string `dynamodbav:"pk"`
	SK            string `dynamodbav:"sk"`
	Schema        int    `dynamodbav:"schema"`
	Tenant        string `dynamodbav:"tenant"`
	Type          string `dynamodbav:"type"`
	ID            string `dynamodbav:"id"`
	State         string `dynamodbav:"state"`
	Revision      int64  `dynamodbav:"revision"`
	Sequence      int64  `dynamodbav:"seq"`
	Run           int64  `dynamodbav:"run"`
	Attempt       int    `dynamodbav:"attempt,omitempty"`
	DueShard      string `dynamodbav:"due_shard,omitempty"`
	DueAt         string `dynamodbav:"due_at,omitempty"`
	Body          int64  `dynamodbav:"body,omitempty"`
	Parked        string `dynamodbav:"parked,omitempty"`
	CancelAsked   bool   `dynamodbav:"cancel_asked,omitempty"`
	Connection    string `dynamodbav:"connection,omitempty"`
	ExternalID    string `dynamodbav:"external_id,omitempty"`
	Number        string `dynamodbav:"number,omitempty"`
	SourceVersion string `dynamodbav:"source_version,omitempty"`
	SourceHash    string `dynamodbav:"source_hash,omitempty"`
	Total         int64  `dynamodbav:"total,omitempty"`
	Currency      string `dynamodbav:"currency,omitempty"`
	Parent        string `dynamodbav:"parent,omitempty"`
	ConfigVersion int64  `dynamodbav:"config,omitempty"`
	Correlation   string `dynamodbav:"correlation,omitempty"`
	Raw           string `dynamodbav:"raw,omitempty"`
	Waiting       int    `dynamodbav:"waiting,omitempty"`
	CreatedAt     string `dynamodbav:"created_at"`
	UpdatedAt     string `dynamodbav:"updated_at"`
	CheckedAt     string `dynamodbav:"checked_at,omitempty"`
	// Recent are the newest entries of the timeline, as JSON; Apart is the last one
	// before them, and stands beside the head. Of Recent the last News came with
	// the commit that wrote this item.
	Recent string `dynamodbav:"recent,omitempty"`
	Apart  int64  `dynamodbav:"apart,omitempty"`
	News   int    `dynamodbav:"news,omitempty"`
	// Writer tells whose commit this is, should its answer be lost; Before whose it
	// replaced.
	Writer string `dynamodbav:"writer,omitempty"`
	Before string `dynamodbav:"before,omitempty"`
	// Version is what Revision was called while entries stood beside the head.
	// Whoever writes heads as they were then would drop the entries that they hold:
	// it finds no version here, and its condition fails.
	Version int64 `dynamodbav:"version,omitempty"`
}

// version is how often the head was committed.
func (it headItem) version() int64 { return max(it.Revision, it.Version) }

func fromHead(h document.Head) headItem {
	it := headItem{
		PK: documentPK(h.Key), SK: headKey, Schema: h.Schema, Tenant: h.Tenant.String(), Type: h.Type, ID: h.ID,
		State: string(h.State), Revision: h.Version + 1, Sequence: h.Sequence, Run: h.Run, Attempt: h.Attempt,
		Body: h.Body, Parked: h.Parked, CancelAsked: h.CancelAsked, Connection: h.Connection, ExternalID: h.ExternalID,
		Number: h.Number, SourceVersion: h.SourceVersion, SourceHash: h.SourceHash, Total: h.Total.Amount,
		Currency: string(h.Total.Currency), Parent: h.Parent, ConfigVersion: h.ConfigVersion,
		Correlation: h.Correlation, Raw: h.Raw, Waiting: h.Waiting, CreatedAt: stamp(h.CreatedAt), UpdatedAt: stamp(h.UpdatedAt),
	}
	if !h.CheckedAt.IsZero() {
		it.CheckedAt = stamp(h.CheckedAt)
	}
	if !h.Due.IsZero() {
		it.DueShard, it.DueAt = dueShard(h.Key), stamp(h.Due)
	}
	return it
}

func (it headItem) head() (document.Head, error) {
	t, err := retail.ParseTenant(it.Tenant)
	if err != nil {
		return document.Head{}, err
	}
	due, err1 := parseStamp(it.DueAt)
	created, err2 := parseStamp(it.CreatedAt)
	updated, err3 := parseStamp(it.UpdatedAt)
	checked, err4 := parseStamp(it.CheckedAt)
	tail, err5 := it.tail()
	return document.Head{
		Key: document.Key{Tenant: t, Type: it.Type, ID: it.ID}, Tail: &tail, Schema: it.Schema, State: retail.State(it.State),
		Version: it.version(), Sequence: it.Sequence, Run: it.Run, Attempt: it.Attempt, Due: due, Body: it.Body,
		Parked: it.Parked, CancelAsked: it.CancelAsked, Connection: it.Connection, ExternalID: it.ExternalID,
		Number: it.Number, SourceVersion: it.SourceVersion, SourceHash: it.SourceHash,
		Total: retail.Money{Amount: it.Total, Currency: retail.Currency(it.Currency)}, Parent: it.Parent,
		ConfigVersion: it.ConfigVersion, Correlation: it.Correlation, Raw: it.Raw, Waiting: it.Waiting, CreatedAt: created, UpdatedAt: updated, CheckedAt: checked,
	}, errors.Join(err1, err2, err3, err4, err5)
}

// tail is what the head has of its timeline. One from before heads had entries
// has put all of it apart.
func (it headItem) tail() (document.Tail, error) {
	steps, err := Recent(it.Recent, it.Correlation)
	t := document.Tail{Version: it.version(), Apart: it.Apart, Steps: steps, Writer: it.Writer}
	if it.Recent == "" && it.Apart == 0 {
		t.Apart = it.Sequence
	}
	return t, err
}

// Head implements document.Store.
func (s *Store) Head(ctx context.Context, k document.Key) (document.Head, error) {
	var it headItem
	found, err := s.get(ctx, s.tables.Documents, documentPK(k), headKey, &it)
	if err != nil {
		return document.Head{}, err
	}
	if !found {
		return document.Head{}, document.ErrNotFound
	}
	return it.head()
}

// partSize keeps each part of a body under an item's 400 KB.
const partSize = 300 << 10

type bodyItem struct {
	PK    string `dynamodbav:"pk"`
	SK    string `dynamodbav:"sk"`
	Parts int    `dynamodbav:"parts,omitempty"` // further items
	Data  []byte `dynamodbav:"data"`            // gzip of JSON
}

func bodyItems(k document.Key, version int64, body any) ([]any, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the body of %s %s: %w", k.Type, k.ID, err)
	}
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(raw); err != nil {
		return nil, fmt.Errorf("compressing the body: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing the body: %w", err)
	}
	parts := slices.Collect(slices.Chunk(buf.Bytes(), partSize))
	out := []any{bodyItem{PK: documentPK(k), SK: bodySK(version), Parts: len(parts) - 1, Data: parts[0]}}
	for i, p := range parts[1:] {
		out = append(out, bodyItem{PK: documentPK(k), SK: bodyPartSK(version, i+1), Data: p})
	}
	return out, nil
}

// Body implements document.Store.
func (s *Store) Body(ctx context.Context, k document.Key, version int64, out any) error {
	var first bodyItem
	found, err := s.get(ctx, s.tables.Documents, documentPK(k), bodySK(version), &first)
	if err != nil {
		return err
	}
	if !found {
		return document.ErrNotFound
	}
	data := first.Data
	for n := 1; n <= first.Parts; n++ {
		var part bodyItem
		if found, err = s.get(ctx, s.tables.Documents, documentPK(k), bodyPartSK(version, n), &part); err != nil {
			return err
		} else if !found {
			return fmt.Errorf("part %d of version %d of %s %s: %w", n, version, k.Type, k.ID, document.ErrNotFound)
		}
		data = append(data, part.Data...)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("reading the body of %s %s: %w", k.Type, k.ID, err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("reading the body of %s %s: %w", k.Type, k.ID, err)
	}
	return json.Unmarshal(raw, out)
}

// Pending implements document.Store.
func (s *Store) Pending(ctx context.Context, k document.Key) ([]document.Pending, error) {
	var out []document.Pending
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Documents, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :s)"),
		ExpressionAttributeValues: item{":p": str(documentPK(k)), ":s": str("PENDING#")},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading what waits behind %s %s: %w", k.Type, k.ID, err)
		}
		var items []struct {
			SourceVersion string `dynamodbav:"source_version"`
			Event         string `dynamodbav:"event"`
			Raw           string `dynamodbav:"raw"`
			At            string `dynamodbav:"at"`
		}
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &items); err != nil {
			return nil, fmt.Errorf("decoding what waits: %w", err)
		}
		for _, it := range items {
			at, err := parseStamp(it.At)
			if err != nil {
				return nil, fmt.Errorf("decoding what waits: %w", err)
			}
			out = append(out, document.Pending{Key: k, SourceVersion: it.SourceVersion, EventID: it.Event, Raw: it.Raw, At: at})
		}
	}
	return out, nil
}

type refItem struct {
	PK       string `dynamodbav:"pk"`
	SK       string `dynamodbav:"sk"`
	Type     string `dynamodbav:"type"`
	Document string `dynamodbav:"document"`
}

// Resolve implements document.Store.
func (s *Store) Resolve(ctx context.Context, refs ...document.Ref) (map[document.Ref]document.Key, error) {
	out := map[document.Ref]document.Key{}
	byPK := map[string]document.Ref{}
	for _, r := range refs {
		byPK[refPK(r)] = r
	}
	pks := make([]string, 0, len(byPK))
	for pk := range byPK {
		pks = append(pks, pk)
	}
	slices.Sort(pks)
	keys := make([]item, len(pks))
	for i, pk := range pks {
		keys[i] = item{"pk": str(pk), "sk": str(refKey)}
	}
	err := s.getAll(ctx, s.tables.Documents, keys, func(page []item) error {
		var items []refItem
		if err := attributevalue.UnmarshalListOfMaps(page, &items); err != nil {
			return err
		}
		for _, it := range items {
			r := byPK[it.PK]
			out[r] = document.Key{Tenant: r.Tenant, Type: it.Type, ID: it.Document}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("resolving external ids: %w", err)
	}
	return out, nil
}

// Due implements document.Store. The index lags; callers decide on the head.
func (s *Store) Due(ctx context.Context, shard int, before time.Time, limit int) ([]document.DueItem, error) {
	res, err := s.db.Query(ctx, &dynamodb.QueryInput{
		TableName:                 &s.tables.Documents,
		IndexName:                 aws.String("due"),
		KeyConditionExpression:    aws.String("due_shard = :s AND due_at <= :t"),
		ExpressionAttributeValues: item{":s": str(shardName(shard)), ":t": str(stamp(before))},
		Limit:                     aws.Int32(int32(min(limit, 1000))), // #nosec G115 -- bounded
	})
	if err != nil {
		return nil, fmt.Errorf("reading shard %d of the due index: %w", shard, err)
	}
	var out []document.DueItem
	for _, it := range res.Items {
		var h struct {
			PK    string `dynamodbav:"pk"`
			DueAt string `dynamodbav:"due_at"`
		}
		if err := attributevalue.UnmarshalMap(it, &h); err != nil {
			return nil, fmt.Errorf("decoding the due index: %w", err)
		}
		k, err := parseDocumentPK(h.PK)
		if err != nil {
			return nil, err
		}
		due, err := parseStamp(h.DueAt)
		if err != nil {
			return nil, fmt.Errorf("decoding the due index: %w", err)
		}
		out = append(out, document.DueItem{Key: k, Due: due})
	}
	return out, nil
}

func parseDocumentPK(pk string) (document.Key, error) {
	parts := strings.SplitN(pk, "#", 4)
	if len(parts) != 4 || parts[0] != "T" {
		return document.Key{}, fmt.Errorf("partition key %q is not a document's", pk)
	}
	t, err := retail.ParseTenant(parts[1])
	return document.Key{Tenant: t, Type: parts[2], ID: parts[3]}, err
}

// Person implements document.Store.
func (s *Store) Person(ctx context.Context, k document.Key) (retail.Person, error) {
	var it struct {
		Data []byte `dynamodbav:"data"`
	}
	found, err := s.get(ctx, s.tables.Person, documentPK(k), personKey, &it)
	if err != nil {
		return retail.Person{}, err
	}
	if !found {
		return retail.Person{}, document.ErrNotFound
	}
	var p retail.Person
	return p, json.Unmarshal(it.Data, &p)
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

// get reads one item consistently.
func (s *Store) get(ctx context.Context, table, pk, sk string, out any) (bool, error) {
	res, err := s.db.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &table, ConsistentRead: aws.Bool(true), Key: item{"pk": str(pk), "sk": str(sk)},
	})
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", sk, err)
	}
	if len(res.Item) == 0 {
		return false, nil
	}
	if err := attributevalue.UnmarshalMap(res.Item, out); err != nil {
		return false, fmt.Errorf("decoding %s: %w", sk, err)
	}
	return true, nil
}

// batchGet is DynamoDB's limit of items in one BatchGetItem.
const batchGet = 100

// getAll reads items consistently and hands them on page by page, in any order.
// What an answer leaves unread is asked for again after the wait, and as often,
// as the client repeats a throttled call: DynamoDB means one.
func (s *Store) getAll(ctx context.Context, table string, keys []item, each func([]item) error) error {
	retryer := s.db.Options().Retryer
	throttled := &types.ProvisionedThroughputExceededException{}
	for open := range slices.Chunk(keys, batchGet) {
		for idle := 0; len(open) > 0; {
			res, err := s.db.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
				table: {Keys: open, ConsistentRead: aws.Bool(true)},
			}})
			if err != nil {
				return err
			}
			if err := each(res.Responses[table]); err != nil {
				return fmt.Errorf("decoding a batch: %w", err)
			}
			left := res.UnprocessedKeys[table].Keys
			idle++
			if len(left) < len(open) {
				idle = 1
			}
			if open = left; len(open) == 0 {
				break
			}
			if idle >= retryer.MaxAttempts() {
				return fault.New(fault.Retryable, fault.RateLimited, "the database leaves %d items unread", len(open))
			}
			wait, err := retryer.RetryDelay(idle, throttled)
			if err != nil {
				return fmt.Errorf("waiting for the rest of a batch: %w", err)
			}
			if err := smithytime.SleepWithContext(ctx, wait); err != nil {
				return fmt.Errorf("waiting for the rest of a batch: %w", err)
			}
		}
	}
	return nil
}
