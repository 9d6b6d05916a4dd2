package dynamo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/meter"
)

// write is one item of a transaction and what its failed condition means.
type write struct {
	op    types.TransactWriteItem
	means error
}

// Commit implements document.Store. What decides is one conditional write of a
// head, or one transaction where more than that must be true at once: of the
// same items a transaction costs twice as much. What a change of a document
// refers to is written before its head, so that a head never refers to what is
// not there; until then nothing else refers to it.
func (s *Store) Commit(ctx context.Context, t document.Transaction) error {
	plain := t.Inbox == nil && len(t.Exceptions)+len(t.Pending)+len(t.Drained)+len(t.Audit) == 0
	for _, c := range t.Changes {
		plain = plain && c.Head.Version > 0 && c.Person == nil
	}
	var ws []write
	for _, c := range t.Changes {
		p, err := s.prepare(ctx, c, plain)
		if err != nil {
			return err
		}
		if plain && len(t.Changes) == 1 && len(p.beside) == 0 {
			return s.alone(ctx, p.head, p.writer)
		}
		ws = append(append(ws, p.head), p.beside...)
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

// plan is what the commit of one change writes.
type plan struct {
	writer string // of this commit's head
	head   write
	beside []write // in the head's transaction
}

// prepare writes what may be written before the head of a change, and plans the
// rest.
func (s *Store) prepare(ctx context.Context, c document.Change, plain bool) (p plan, err error) {
	h := c.Head
	p.writer = rand.Text()[:12]
	it, apart, steps, err := s.timeline(ctx, c, p.writer)
	if err != nil {
		return p, err
	}
	p.beside = steps
	condition, values := "attribute_not_exists(pk)", item(nil)
	if h.Version > 0 {
		condition, values = "(revision = :v OR (attribute_not_exists(revision) AND version = :v))", item{":v": num(h.Version)}
		if c.Body != nil {
			condition, values[":b"] = condition+" AND (attribute_not_exists(body) OR body < :b)", num(h.Body)
		}
	}
	if p.head, err = put(s.tables.Documents, it, condition, values, document.ErrConflict); err != nil {
		return p, err
	}
	for _, r := range c.Refs {
		w, err := put(s.tables.Documents, refItem{PK: refPK(r), SK: refKey, Type: h.Type, Document: h.ID},
			"attribute_not_exists(pk) OR document = :d", item{":d": str(h.ID)}, document.ErrRefTaken)
		if err != nil {
			return p, err
		}
		if !plain {
			p.beside = append(p.beside, w)
		} else if err := s.alone(ctx, w, ""); err != nil {
			return p, err
		}
	}
	bodies, err := s.bodies(h.Key, h.Body, c.Body)
	if err != nil {
		return p, err
	}
	for _, b := range bodies {
		if kept, err := s.keep(ctx, b, plain); err != nil {
			return p, err
		} else if !kept {
			p.beside = append(p.beside, b)
		}
	}
	if c.Person != nil {
		data, err := json.Marshal(c.Person)
		if err != nil {
			return p, fmt.Errorf("encoding personal data: %w", err)
		}
		w, err := put(s.tables.Person, map[string]any{"pk": it.PK, "sk": personKey, "data": data, "at": stamp(h.UpdatedAt)}, "", nil, nil)
		if err != nil {
			return p, err
		}
		p.beside = append(p.beside, w)
	}
	return p, s.putApart(ctx, h.Key, apart)
}

const (
	// headUnit is what a head should fit: a write is paid for by the kilobyte.
	headUnit = 1 << 10
	// headEntries bounds what one commit's entries may add to a head.
	headEntries = 4 << 10
)

// timeline is the head with the entries that it shall hold, those that it has
// told before and shall hold no longer, and the items of new ones that are too
// large for it.
func (s *Store) timeline(ctx context.Context, c document.Change, writer string) (it headItem, apart []document.Step, beside []write, err error) {
	h := c.Head
	var t document.Tail
	if h.Version > 0 {
		if t, err = s.tail(ctx, h); err != nil {
			return it, nil, nil, err
		}
	}
	told := t.Apart
	if n := len(t.Steps); n > 0 {
		told = t.Steps[n-1].Seq
	}
	if len(c.Steps) > 0 && c.Steps[0].Seq <= told {
		return it, nil, nil, document.ErrConflict
	}
	all, err := fromSteps(slices.Concat(t.Steps, c.Steps), h.Correlation)
	if err != nil {
		return it, nil, nil, err
	}
	fresh, err := fromSteps(c.Steps, h.Correlation)
	if err != nil {
		return it, nil, nil, err
	}
	it = fromHead(h)
	it.Writer, it.Before, it.News = writer, t.Writer, len(c.Steps)
	whole := it
	whole.Recent, whole.Apart = all, t.Apart
	it.Recent, it.Apart = fresh, told
	switch {
	case len(fresh) > headEntries:
		it.Recent, it.News, it.Apart = "", 0, c.Steps[len(c.Steps)-1].Seq
		for _, st := range stepItems(it.PK, c.Steps) {
			w, err := put(s.tables.Documents, st, "attribute_not_exists(pk)", nil, document.ErrConflict)
			if err != nil {
				return it, nil, nil, err
			}
			beside = append(beside, w)
		}
		return it, t.Steps, beside, nil
	case unitsOf(whole) > unitsOf(it):
		return it, t.Steps, nil, nil
	}
	return whole, nil, nil, nil
}

func unitsOf(it headItem) int {
	m, err := attributevalue.MarshalMap(it)
	if err != nil {
		return 0 // told where it is written
	}
	return (meter.Size(m) + headUnit - 1) / headUnit
}

// bodies are the items of a body. They have no condition of their own: a
// version that a head names is never written again, and one that is named by
// none was left by a commit that failed.
func (s *Store) bodies(k document.Key, version int64, body any) (out []write, err error) {
	if body == nil {
		return nil, nil
	}
	items, err := bodyItems(k, version, body)
	if err != nil {
		return nil, err
	}
	for _, b := range items {
		w, err := put(s.tables.Documents, b, "", nil, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

// keep writes an item of a body where there is none, if it may be written before
// its head. Where another one is, the head's condition must decide.
func (s *Store) keep(ctx context.Context, w write, plain bool) (bool, error) {
	if !plain {
		return false, nil
	}
	p := w.op.Put
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.tables.Documents, Item: p.Item, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	there, failed, err := s.refused(ctx, p, err)
	if err != nil || !failed {
		return err == nil, err
	}
	var old, own bodyItem
	if err := errors.Join(attributevalue.UnmarshalMap(there, &old), attributevalue.UnmarshalMap(p.Item, &own)); err != nil {
		return false, fmt.Errorf("decoding a body: %w", err)
	}
	return old.Parts == own.Parts && bytes.Equal(old.Data, own.Data), nil
}

// alone puts one item of the Documents table under its condition. A condition that fails because the
// put was sent again after its answer was lost, as writer shows, has not failed,
// nor where somebody else has committed since.
func (s *Store) alone(ctx context.Context, w write, writer string) error {
	p := w.op.Put
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.tables.Documents, Item: p.Item, ConditionExpression: p.ConditionExpression, ExpressionAttributeValues: p.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	there, failed, err := s.refused(ctx, p, err)
	if err != nil || !failed {
		return err
	}
	for _, by := range []string{"writer", "before"} {
		if by, ok := there[by].(*types.AttributeValueMemberS); ok && writer != "" && by.Value == writer {
			return nil
		}
	}
	return w.means
}

// refused tells whether a put failed by its condition, and on what. Its other
// errors are told as those of a transaction are.
func (s *Store) refused(ctx context.Context, p *types.Put, err error) (there item, failed bool, _ error) {
	var condition *types.ConditionalCheckFailedException
	var beside *types.TransactionConflictException
	switch {
	case err == nil:
		return nil, false, nil
	case errors.As(err, &beside):
		return nil, false, fault.Wrap(fault.Retryable, fault.StateConflict, err, "committing beside another transaction")
	case !errors.As(err, &condition):
		if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() == "ValidationException" {
			return nil, false, fault.New(fault.Permanent, fault.Internal, "the database takes an item for invalid, perhaps for its size")
		}
		return nil, false, fmt.Errorf("committing: %w", err)
	case condition.Item != nil:
		return condition.Item, true, nil
	}
	res, err := s.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.tables.Documents, ConsistentRead: aws.Bool(true), Key: item{"pk": p.Item["pk"], "sk": p.Item["sk"]}})
	if err != nil {
		return nil, false, fmt.Errorf("reading what is there instead: %w", err)
	}
	return res.Item, true, nil
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
