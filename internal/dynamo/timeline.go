package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
)

// A commit's entries are written with the head, in one item: that one write
// decides about both, and is what the stream carries. Where the head would grow
// over a write unit, the entries that it has are put apart first. They are
// committed and never change, so that putting them apart needs no transaction:
// whoever does it for a commit that then fails has only copied them.

// entry is a timeline entry as the head holds it, without what the head says
// itself.
type entry struct {
	Seq         int64             `json:"s"`
	At          time.Time         `json:"t"`
	Type        string            `json:"e"`
	Run         int64             `json:"r,omitempty"`
	Correlation string            `json:"c,omitempty"` // where it is not the head's
	Own         bool              `json:"o,omitempty"` // it has none, whatever the head's is
	Data        map[string]string `json:"d,omitempty"`
}

func fromSteps(steps []document.Step, correlation string) (string, error) {
	if len(steps) == 0 {
		return "", nil
	}
	out := make([]entry, len(steps))
	for i, s := range steps {
		out[i] = entry{Seq: s.Seq, At: s.At.UTC(), Type: s.Type, Run: s.Run, Data: s.Data}
		if s.Correlation != correlation {
			out[i].Correlation, out[i].Own = s.Correlation, s.Correlation == ""
		}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("encoding the timeline: %w", err)
	}
	return string(raw), nil
}

// Recent decodes the entries that a head holds, whose correlation they share.
func Recent(raw, correlation string) ([]document.Step, error) {
	if raw == "" {
		return nil, nil
	}
	var entries []entry
	if err := json.Unmarshal([]byte(raw), &entries); err != nil {
		return nil, fmt.Errorf("decoding the timeline: %w", err)
	}
	out := make([]document.Step, len(entries))
	for i, e := range entries {
		out[i] = document.Step{Seq: e.Seq, At: e.At, Type: e.Type, Run: e.Run, Correlation: e.Correlation, Data: e.Data}
		if e.Correlation == "" && !e.Own {
			out[i].Correlation = correlation
		}
	}
	return out, nil
}

// stepItem holds entries that stand apart: the first and those that follow it.
type stepItem struct {
	PK string `dynamodbav:"pk"`
	SK string `dynamodbav:"sk"` // by the first entry's number
	step
	More []step `dynamodbav:"more,omitempty"`
	// Upto is the last entry's number where the item is a copy of what the head
	// has told. Without it the item is the telling.
	Upto int64 `dynamodbav:"upto,omitempty"`
}

type step struct {
	Seq         int64             `dynamodbav:"seq"`
	At          string            `dynamodbav:"at"`
	Type        string            `dynamodbav:"type"`
	Run         int64             `dynamodbav:"run,omitempty"`
	Correlation string            `dynamodbav:"correlation,omitempty"`
	Data        map[string]string `dynamodbav:"data,omitempty"`
}

// packed bounds what entries take of an item, of whose 400 KB a single one may
// need most.
const packed = 64 << 10

func stepItems(pk string, steps []document.Step) (out []stepItem) {
	size := packed
	for _, s := range steps {
		st := step{Seq: s.Seq, At: stamp(s.At), Type: s.Type, Run: s.Run, Correlation: s.Correlation, Data: s.Data}
		own := len(s.Type) + len(s.Correlation) + 100
		for k, v := range s.Data {
			own += len(k) + len(v) + 3
		}
		if size += own; size > packed {
			out = append(out, stepItem{PK: pk, SK: stepSK(s.Seq), step: st})
			size = own
			continue
		}
		last := &out[len(out)-1]
		last.More = append(last.More, st)
	}
	return out
}

func (it stepItem) steps() ([]document.Step, error) {
	out := make([]document.Step, 0, 1+len(it.More))
	for _, st := range append([]step{it.step}, it.More...) {
		at, err := parseStamp(st.At)
		if err != nil {
			return nil, fmt.Errorf("decoding the timeline: %w", err)
		}
		out = append(out, document.Step{Seq: st.Seq, At: at, Type: st.Type, Run: st.Run, Correlation: st.Correlation, Data: st.Data})
	}
	return out, nil
}

// putApart copies entries that a head has told beside it. A copy is only ever
// replaced by a longer one: whoever is late with a shorter one loses nothing.
func (s *Store) putApart(ctx context.Context, k document.Key, steps []document.Step) error {
	for _, it := range stepItems(documentPK(k), steps) {
		it.Upto = it.Seq
		if n := len(it.More); n > 0 {
			it.Upto = it.More[n-1].Seq
		}
		m, err := attributevalue.MarshalMap(it)
		if err != nil {
			return fmt.Errorf("encoding the timeline: %w", err)
		}
		put := write{op: types.TransactWriteItem{Put: &types.Put{Item: m,
			ConditionExpression: aws.String("attribute_not_exists(pk) OR upto < :u"), ExpressionAttributeValues: item{":u": num(it.Upto)}}}}
		if err := s.alone(ctx, put, ""); err != nil {
			return fmt.Errorf("putting the timeline of %s %s apart: %w", k.Type, k.ID, err)
		}
	}
	return nil
}

// tail returns the head's newest entries: those that it was read with, unless
// it was committed since.
func (s *Store) tail(ctx context.Context, h document.Head) (document.Tail, error) {
	if h.Tail != nil && h.Tail.Version == h.Version {
		return *h.Tail, nil
	}
	now, err := s.Head(ctx, h.Key)
	if errors.Is(err, document.ErrNotFound) {
		return document.Tail{}, nil
	}
	if err != nil {
		return document.Tail{}, err
	}
	return *now.Tail, nil
}

// Steps implements document.Store.
func (s *Store) Steps(ctx context.Context, h document.Head) ([]document.Step, error) {
	t, err := s.tail(ctx, h)
	if err != nil || t.Apart == 0 {
		return t.Steps, err
	}
	var out []document.Step
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName:              &s.tables.Documents,
		ConsistentRead:         aws.Bool(true),
		KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :s)"),
		ExpressionAttributeValues: item{
			":p": str(documentPK(h.Key)), ":s": str("STEP#"),
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the timeline of %s %s: %w", h.Type, h.ID, err)
		}
		var items []stepItem
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &items); err != nil {
			return nil, fmt.Errorf("decoding the timeline: %w", err)
		}
		for _, it := range items {
			steps, err := it.steps()
			if err != nil {
				return nil, err
			}
			for _, st := range steps {
				// Copies may overlap, and may be of what the head still has.
				if st.Seq <= t.Apart && (len(out) == 0 || st.Seq > out[len(out)-1].Seq) {
					out = append(out, st)
				}
			}
		}
	}
	return append(out, t.Steps...), nil
}
