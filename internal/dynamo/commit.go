package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
)

// write is one item of a transaction and what its failed condition means.
type write struct {
	op    types.TransactWriteItem
	means error
}

// Commit implements document.Store: one TransactWriteItems.
func (s *Store) Commit(ctx context.Context, t document.Transaction) error {
	var ws []write
	for _, c := range t.Changes {
		more, err := s.change(c)
		if err != nil {
			return err
		}
		ws = append(ws, more...)
	}
	for _, x := range t.Exceptions {
		w, err := s.exception(x)
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	for _, p := range t.Pending {
		w, err := put(s.tables.Documents, map[string]any{
			"pk": documentPK(p.Key), "sk": pendingSK(p), "source_version": p.SourceVersion,
			"event": p.EventID, "raw": p.Raw, "at": stamp(p.At),
		}, "", nil, nil)
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	for _, p := range t.Drained {
		ws = append(ws, write{types.TransactWriteItem{Delete: &types.Delete{
			TableName: &s.tables.Documents, Key: item{"pk": str(documentPK(p.Key)), "sk": str(pendingSK(p))},
		}}, nil})
	}
	for _, a := range t.Audit {
		w, err := s.audit(a)
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	if t.Inbox != nil {
		ws = append(ws, s.inboxDone(*t.Inbox))
	}
	return s.transact(ctx, ws)
}

func (s *Store) change(c document.Change) ([]write, error) {
	h := c.Head
	it := fromHead(h)
	condition, values := "attribute_not_exists(pk)", item(nil)
	if h.Version > 0 {
		condition, values = "version = :v", item{":v": num(h.Version)}
	}
	head, err := put(s.tables.Documents, it, condition, values, document.ErrConflict)
	if err != nil {
		return nil, err
	}
	ws := []write{head}
	for _, st := range stepItems(it.PK, c.Steps) {
		w, err := put(s.tables.Documents, st, "attribute_not_exists(pk)", nil, document.ErrConflict)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	if c.Body != nil {
		items, err := bodyItems(h.Key, h.Body, c.Body)
		if err != nil {
			return nil, err
		}
		for _, b := range items {
			w, err := put(s.tables.Documents, b, "attribute_not_exists(pk)", nil, document.ErrConflict)
			if err != nil {
				return nil, err
			}
			ws = append(ws, w)
		}
	}
	for _, r := range c.Refs {
		w, err := put(s.tables.Documents, refItem{PK: refPK(r), SK: refKey, Type: h.Type, Document: h.ID},
			"attribute_not_exists(pk) OR document = :d", item{":d": str(h.ID)}, document.ErrRefTaken)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	if c.Person != nil {
		data, err := json.Marshal(c.Person)
		if err != nil {
			return nil, fmt.Errorf("encoding personal data: %w", err)
		}
		w, err := put(s.tables.Person, map[string]any{"pk": it.PK, "sk": personKey, "data": data, "at": stamp(h.UpdatedAt)}, "", nil, nil)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	return ws, nil
}

func (s *Store) exception(x document.Exception) (write, error) {
	// Exceptions of before there were versions have none.
	condition, values := "attribute_not_exists(version)", item(nil)
	if x.Version > 0 {
		condition, values = "version = :v", item{":v": num(x.Version)}
	}
	x.Version++
	data, err := json.Marshal(x)
	if err != nil {
		return write{}, fmt.Errorf("encoding the exception: %w", err)
	}
	it := map[string]any{
		"pk": x.Tenant.Key(), "sk": exceptionSK(x.ID), "state": x.State, "fingerprint": x.Fingerprint,
		"class": x.Class, "opened_at": stamp(x.OpenedAt), "sla_at": stamp(x.DueAt), "version": x.Version, "data": string(data),
	}
	if x.State != document.Resolved {
		it["open_shard"] = openShardOf(x.ID)
	}
	return put(s.tables.Exceptions, it, condition, values, document.ErrConflict)
}

func (s *Store) audit(a document.Audit) (write, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return write{}, fmt.Errorf("encoding an audit entry: %w", err)
	}
	return put(s.tables.Audit, map[string]any{
		"pk": a.Tenant.Key(), "sk": auditSK(a.At, a.ID), "verb": a.Verb, "by": a.By, "subject": a.Subject, "data": string(data),
	}, "attribute_not_exists(pk)", nil, document.ErrConflict)
}

func put(table string, v any, condition string, values item, means error) (write, error) {
	m, err := attributevalue.MarshalMap(v)
	if err != nil {
		return write{}, fmt.Errorf("encoding an item: %w", err)
	}
	p := &types.Put{TableName: &table, Item: m, ExpressionAttributeValues: values}
	if condition != "" {
		p.ConditionExpression = &condition
	}
	return write{types.TransactWriteItem{Put: p}, means}, nil
}

// transact commits and names the first condition that failed.
func (s *Store) transact(ctx context.Context, ws []write) error {
	failed, err := s.transactAll(ctx, ws)
	for _, i := range failed {
		if ws[i].means != nil {
			return ws[i].means
		}
	}
	return err
}

// transactItems is DynamoDB's limit of items in one transaction.
const transactItems = 100

// transactAll commits and returns the indexes of all conditions that failed.
// Conflicts with concurrent transactions and throttles are Retryable: nothing
// was decided. What DynamoDB calls invalid will never be accepted; its words
// for that are not repeated, because they quote what was to be stored.
func (s *Store) transactAll(ctx context.Context, ws []write) ([]int, error) {
	if len(ws) == 0 || len(ws) > transactItems {
		return nil, fault.New(fault.Permanent, fault.Internal, "a transaction of %d items; the database takes 1 to %d", len(ws), transactItems)
	}
	invalid := fault.New(fault.Permanent, fault.Internal, "the database takes a transaction of %d items for invalid, perhaps for its size", len(ws))
	in := &dynamodb.TransactWriteItemsInput{TransactItems: make([]types.TransactWriteItem, len(ws))}
	for i, w := range ws {
		in.TransactItems[i] = w.op
	}
	_, err := s.db.TransactWriteItems(ctx, in)
	if err == nil {
		return nil, nil
	}
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() == "ValidationException" {
			return nil, invalid
		}
		return nil, fmt.Errorf("committing: %w", err)
	}
	var failed []int
	for i, r := range cancelled.CancellationReasons {
		switch aws.ToString(r.Code) {
		case "ConditionalCheckFailed":
			if i < len(ws) {
				failed = append(failed, i)
			}
		case "ValidationError":
			return nil, invalid
		}
	}
	return failed, fault.Wrap(fault.Retryable, fault.StateConflict, err, "committing beside another transaction")
}
