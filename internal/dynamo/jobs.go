package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// jobItem is a job as stored; what is not for DynamoDB is inside Data.
type jobItem struct {
	PK       string `dynamodbav:"pk"`
	SK       string `dynamodbav:"sk"`
	Version  int64  `dynamodbav:"version"`
	State    string `dynamodbav:"state"`
	Kind     string `dynamodbav:"kind"`
	Data     string `dynamodbav:"data"`
	DueShard string `dynamodbav:"due_shard,omitempty"`
	DueAt    string `dynamodbav:"due_at,omitempty"`
	Expires  int64  `dynamodbav:"expires_at,omitempty"`
}

func (it jobItem) job() (job.Job, error) {
	var j job.Job
	if err := json.Unmarshal([]byte(it.Data), &j); err != nil {
		return j, fmt.Errorf("decoding a job: %w", err)
	}
	return j, nil
}

// jobWrite replaces the version that j has by the next.
func (s *Store) jobWrite(j job.Job) (write, error) {
	was := j.Version
	j.Version++
	data, err := json.Marshal(j)
	if err != nil {
		return write{}, fmt.Errorf("encoding a job: %w", err)
	}
	it := jobItem{PK: jobPK(j.Tenant), SK: jobSK(j.ID), Version: j.Version, State: string(j.State), Kind: j.Kind, Data: string(data)}
	if !j.Due.IsZero() {
		it.DueShard, it.DueAt = jobShard, stamp(j.Due)
	}
	if !j.Expires.IsZero() {
		it.Expires = j.Expires.Unix()
	}
	condition, values := "attribute_not_exists(pk)", item(nil)
	if was > 0 {
		condition, values = "version = :v", item{":v": num(was)}
	}
	return put(s.tables.Jobs, it, condition, values, job.ErrConflict)
}

// OpenJob implements job.Store.
func (s *Store) OpenJob(ctx context.Context, j job.Job) error {
	w, err := s.jobWrite(j)
	if err != nil {
		return err
	}
	taken := &job.Taken{Key: j.Key}
	key, err := put(s.tables.Jobs, map[string]any{"pk": jobPK(j.Tenant), "sk": jobKeySK(j.Key), "job": j.ID},
		"attribute_not_exists(pk) OR job = :j", item{":j": str(j.ID)}, taken)
	if err != nil {
		return err
	}
	err = s.transact(ctx, []write{key, w})
	if !errors.Is(err, taken) {
		return err
	}
	var there struct {
		Job string `dynamodbav:"job"`
	}
	if _, err := s.get(ctx, s.tables.Jobs, jobPK(j.Tenant), jobKeySK(j.Key), &there); err != nil {
		return err
	}
	taken.ID = there.Job
	return taken
}

// SaveJob implements job.Store with one conditional put.
func (s *Store) SaveJob(ctx context.Context, j job.Job) error {
	w, err := s.jobWrite(j)
	if err != nil {
		return err
	}
	p := w.op.Put
	_, err = s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: p.TableName, Item: p.Item, ConditionExpression: p.ConditionExpression,
		ExpressionAttributeValues: p.ExpressionAttributeValues, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		if err != nil {
			return fmt.Errorf("saving job %s: %w", j.ID, err)
		}
		return nil
	}
	var wrote, there jobItem
	if err := attributevalue.UnmarshalMap(p.Item, &wrote); err != nil {
		return fmt.Errorf("decoding a job: %w", err)
	}
	if failed.Item != nil {
		err = attributevalue.UnmarshalMap(failed.Item, &there)
	} else {
		_, err = s.get(ctx, s.tables.Jobs, wrote.PK, wrote.SK, &there)
	}
	if err != nil {
		return err
	}
	if there == wrote {
		return nil // the put was sent again after its answer was lost
	}
	return job.ErrConflict
}

// EndJob implements job.Store.
func (s *Store) EndJob(ctx context.Context, j job.Job) error {
	w, err := s.jobWrite(j)
	if err != nil {
		return err
	}
	return s.transact(ctx, []write{w, {types.TransactWriteItem{Delete: &types.Delete{
		TableName: &s.tables.Jobs, Key: item{"pk": str(jobPK(j.Tenant)), "sk": str(jobKeySK(j.Key))},
		ConditionExpression: aws.String("attribute_not_exists(pk) OR job = :j"), ExpressionAttributeValues: item{":j": str(j.ID)},
	}}, job.ErrConflict}})
}

// Job implements job.Store.
func (s *Store) Job(ctx context.Context, t retail.Tenant, id string) (job.Job, error) {
	var it jobItem
	found, err := s.get(ctx, s.tables.Jobs, jobPK(t), jobSK(id), &it)
	if err != nil {
		return job.Job{}, err
	}
	if !found {
		return job.Job{}, job.ErrNotFound
	}
	return it.job()
}

// Jobs implements job.Store.
func (s *Store) Jobs(ctx context.Context, t retail.Tenant, before string, limit int) ([]job.Job, error) {
	to := jobPrefix + "~" // after every id
	if before != "" {
		to = jobSK(before)
	}
	var out []job.Job
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.tables.Jobs, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression:    aws.String("pk = :p AND sk BETWEEN :from AND :to"),
		ExpressionAttributeValues: item{":p": str(jobPK(t)), ":from": str(jobPrefix), ":to": str(to)},
		Limit:                     aws.Int32(int32(min(limit+1, 1000))), // #nosec G115 -- bounded
	})
	for pages.HasMorePages() && len(out) < limit {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the jobs of %s: %w", t, err)
		}
		var items []jobItem
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &items); err != nil {
			return nil, fmt.Errorf("decoding the jobs of %s: %w", t, err)
		}
		for _, it := range items {
			if it.SK == to || len(out) == limit {
				continue
			}
			j, err := it.job()
			if err != nil {
				return nil, err
			}
			out = append(out, j)
		}
	}
	return out, nil
}

// DueJobs implements job.Store. The index lags; whoever takes a job up decides
// on its row.
func (s *Store) DueJobs(ctx context.Context, at time.Time, limit int) ([]job.DueJob, error) {
	res, err := s.db.Query(ctx, &dynamodb.QueryInput{
		TableName: &s.tables.Jobs, IndexName: aws.String("due"),
		KeyConditionExpression:    aws.String("due_shard = :s AND due_at <= :t"),
		ExpressionAttributeValues: item{":s": str(jobShard), ":t": str(stamp(at))},
		Limit:                     aws.Int32(int32(min(limit, 1000))), // #nosec G115 -- bounded
	})
	if err != nil {
		return nil, fmt.Errorf("reading the index of due jobs: %w", err)
	}
	var items []jobItem
	if err := attributevalue.UnmarshalListOfMaps(res.Items, &items); err != nil {
		return nil, fmt.Errorf("decoding the index of due jobs: %w", err)
	}
	var out []job.DueJob
	for _, it := range items {
		id, isJob := strings.CutPrefix(it.SK, jobPrefix)
		parts := strings.Split(it.PK, "#")
		if !isJob || len(parts) != 3 {
			return nil, fmt.Errorf("the index of due jobs holds %s %s", it.PK, it.SK)
		}
		t, err := retail.ParseTenant(parts[1])
		if err != nil {
			return nil, fmt.Errorf("decoding the index of due jobs: %w", err)
		}
		due, err := parseStamp(it.DueAt)
		if err != nil {
			return nil, fmt.Errorf("decoding the index of due jobs: %w", err)
		}
		out = append(out, job.DueJob{Tenant: t, ID: id, Due: due})
	}
	return out, nil
}
