package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/retail"
)

var errDies = errors.New("the process dies")

// mortal makes clients whose process dies before its n-th write, counted from 0.
func mortal(cfg aws.Config, n int) (aws.Config, *int) {
	writes := 0
	cfg.APIOptions = append(slices.Clone(cfg.APIOptions), func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("Mortal", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			switch in.Parameters.(type) {
			case *dynamodb.PutItemInput, *dynamodb.TransactWriteItemsInput, *dynamodb.UpdateItemInput:
				if writes == n {
					return middleware.InitializeOutput{}, middleware.Metadata{}, errDies
				}
				writes++
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
	})
	return cfg, &writes
}

func told(n int, size int) (out []document.Step) {
	for i := range n {
		out = append(out, document.Step{At: drivertest.Now, Type: "retail.order.x.v1", Run: 1, Correlation: "c", Data: map[string]string{"n": strings.Repeat("x", size) + fmt.Sprint(i)}})
	}
	return out
}

// numbered continues a head's timeline.
func numbered(h *document.Head, steps []document.Step) []document.Step {
	for i := range steps {
		h.Sequence++
		steps[i].Seq = h.Sequence
	}
	return steps
}

func continued(h document.Head, steps []document.Step) document.Change {
	steps = numbered(&h, steps)
	return document.Change{Head: h, Steps: steps}
}

// What a commit writes before its head is referred to by nothing: a process that
// dies after any of its writes has changed nothing, and another one may commit
// something else.
func TestACommitThatDiesAfterAnyOfItsWritesHasChangedNothing(t *testing.T) {
	cfg, tables := deployed(t)
	plain, ctx := dynamo.New(cfg, tables), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	for name, c := range map[string]struct {
		told      []document.Step // before
		steps     []document.Step // by the commit
		documents int
	}{
		"a first entry":             {steps: told(1, 20), documents: 1},
		"entries that fit the head": {told: told(2, 20), steps: told(2, 20), documents: 1},
		"entries put apart":         {told: told(4, 120), steps: told(2, 120), documents: 1},
		"entries too large":         {told: told(2, 20), steps: told(3, 4000), documents: 1},
		"two documents":             {told: told(4, 120), steps: told(2, 120), documents: 2},
	} {
		died := 0
		for n := 0; ; n++ {
			var was []document.Head
			var olds [][]document.Step
			for i := range c.documents {
				h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: fmt.Sprint(strings.ReplaceAll(name, " ", "-"), n, ".", i)}, Schema: 1, State: retail.Sourcing, Run: 1, Body: 1,
					Due: drivertest.Now, Correlation: "c", CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
				old := numbered(&h, slices.Clone(c.told))
				must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h, Steps: old, Body: "old"}}}))
				h, err := plain.Head(ctx, h.Key)
				must(t, err)
				was, olds = append(was, h), append(olds, old)
			}
			change := func(s *dynamo.Store, body string) error {
				var tx document.Transaction
				for _, h := range was {
					h, err := s.Head(ctx, h.Key)
					if err != nil {
						return err
					}
					h.Body, h.Number = 2, body
					steps := slices.Clone(c.steps)
					for i := range steps {
						steps[i].Type = body
					}
					change := document.Change{Body: body, Steps: numbered(&h, steps), Refs: []document.Ref{{Tenant: tn, Connection: "erp", Type: "x", External: h.ID}}}
					change.Head = h
					tx.Changes = append(tx.Changes, change)
				}
				return s.Commit(ctx, tx)
			}
			dying, writes := mortal(cfg, n)
			err := change(dynamo.New(dying, tables), "lost")
			if err == nil {
				if *writes != n {
					t.Errorf("%s: done after %d writes of %d", name, n, *writes)
				}
				break
			}
			if !errors.Is(err, errDies) {
				t.Fatalf("%s, dead before write %d: %v", name, n, err)
			}
			died++
			for i, h := range was {
				now, err := plain.Head(ctx, h.Key)
				must(t, err)
				steps, err := plain.Steps(ctx, now)
				must(t, err)
				var body string
				if err := plain.Body(ctx, h.Key, now.Body, &body); err != nil || now.Version != h.Version || now.Number != "" || body != "old" || len(steps) != len(olds[i]) {
					t.Errorf("%s, dead before write %d: %+v, body %q, %d entries, %v", name, n, now, body, len(steps), err)
				}
			}
			must(t, change(plain, "new"))
			for i, h := range was {
				now, err := plain.Head(ctx, h.Key)
				must(t, err)
				steps, err := plain.Steps(ctx, now)
				must(t, err)
				var body string
				if err := plain.Body(ctx, h.Key, now.Body, &body); err != nil || now.Version != h.Version+1 || now.Number != "new" || body != "new" {
					t.Errorf("%s, after write %d: %+v, body %q, %v", name, n, now, body, err)
				}
				if len(steps) != len(olds[i])+len(c.steps) || int(now.Sequence) != len(steps) {
					t.Errorf("%s, after write %d: %d entries of %d", name, n, len(steps), len(olds[i])+len(c.steps))
				}
				for j, st := range steps {
					if want := "new"; st.Seq != int64(j+1) || j >= len(olds[i]) && st.Type != want || !st.At.Equal(drivertest.Now) || st.Correlation != "c" {
						t.Errorf("%s, after write %d: entry %d is %+v", name, n, j+1, st)
					}
				}
				for version, want := range map[int64]string{1: "old", 2: "new"} {
					var body string
					if err := plain.Body(ctx, h.Key, version, &body); err != nil || body != want {
						t.Errorf("%s, after write %d: version %d is %q, %v", name, n, version, body, err)
					}
				}
			}
		}
		if died < 3 {
			t.Errorf("%s: only %d writes", name, died)
		}
	}
}

// An answer that is lost is asked for again by the SDK: the condition then fails
// on what this very commit has written.
func TestACommitWhoseAnswerWasLostIsNoConflict(t *testing.T) {
	cfg, tables := deployed(t)
	plain, ctx := dynamo.New(cfg, tables), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "o1"}, Schema: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
	must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}}))
	h.Version = 1
	s := dynamo.New(awsfault.New(nil, awsfault.Rule{Kind: awsfault.Lost, Operations: []string{"PutItem"}, Every: 2}).Configure(cfg), tables)
	must(t, s.Commit(ctx, document.Transaction{Changes: []document.Change{continued(h, told(1, 5))}}))
	if err := s.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("another commit of the same version: %v", err)
	}
	if now, err := plain.Head(ctx, h.Key); err != nil || now.Version != 2 {
		t.Errorf("%+v, %v", now, err)
	}
}

// Entries are put apart by whoever comes first, and whoever is late with fewer
// of them takes none away.
func TestATimelineSurvivesThoseWhoPutItApartTooLate(t *testing.T) {
	cfg, tables := deployed(t)
	plain, ctx := dynamo.New(cfg, tables), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "o1"}, Schema: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
	read := func() document.Head {
		t.Helper()
		now, err := plain.Head(ctx, h.Key)
		must(t, err)
		return now
	}
	must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{continued(h, told(2, 100))}}))
	late := read()
	for range 12 {
		now := read()
		must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{continued(now, told(1, 150))}}))
		// It puts apart what it has read, and then loses.
		if err := plain.Commit(ctx, document.Transaction{Changes: []document.Change{continued(late, told(3, 300))}}); !errors.Is(err, document.ErrConflict) {
			t.Fatal(err)
		}
		if now.Sequence%3 == 1 {
			late = read()
		}
	}
	fits := func() {
		t.Helper()
		it, err := dynamodb.NewFromConfig(cfg).GetItem(ctx, &dynamodb.GetItemInput{TableName: &tables.Documents, Key: map[string]dynamodbtypes.AttributeValue{
			"pk": &dynamodbtypes.AttributeValueMemberS{Value: "T#acme#order#o1"}, "sk": &dynamodbtypes.AttributeValueMemberS{Value: "HEAD"}}})
		must(t, err)
		if n := meter.Size(it.Item); n > 1<<10 {
			t.Errorf("the head takes %d bytes, which is more than a write unit", n)
		}
	}
	fits()
	must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{continued(read(), told(3, 3000))}}))
	fits()
	steps, err := plain.Steps(ctx, read())
	must(t, err)
	if len(steps) != 17 {
		t.Errorf("%d entries of 17", len(steps))
	}
	for i, s := range steps {
		if s.Seq != int64(i+1) {
			t.Errorf("entry %d has the number %d", i+1, s.Seq)
		}
	}
}

// disturbed makes clients whose first put of a head is befallen.
func disturbed(cfg aws.Config, befall func(out middleware.DeserializeOutput, err error) error) aws.Config {
	first := true
	cfg.APIOptions = append(slices.Clone(cfg.APIOptions), func(s *middleware.Stack) error {
		return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Disturbed", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, meta, err := next.HandleDeserialize(ctx, in)
			if first && awsmiddleware.GetOperationName(ctx) == "PutItem" {
				first = false
				err = befall(out, err)
			}
			return out, meta, err
		}), middleware.Before)
	})
	return cfg
}

type lostAnswer struct{}

func (lostAnswer) Error() string        { return "the answer is lost" }
func (lostAnswer) RetryableError() bool { return true }

func TestACommitWhoseAnswerWasLostIsNoConflictThoughAnotherFollowed(t *testing.T) {
	cfg, tables := deployed(t)
	plain, ctx := dynamo.New(cfg, tables), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "o1"}, Schema: 1, State: retail.Sourcing, Run: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
	must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}}))
	s := dynamo.New(disturbed(cfg, func(_ middleware.DeserializeOutput, err error) error {
		must(t, err)
		now, err := plain.Head(ctx, h.Key)
		must(t, err)
		now.Waiting++
		must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: now}}}))
		return lostAnswer{}
	}), tables)
	life := document.Life{Store: s, Now: func() time.Time { return drivertest.Now }}
	task, ok, err := life.Resume(ctx, h.Key, 1)
	now, herr := plain.Head(ctx, h.Key)
	if err = errors.Join(err, herr); err != nil || !ok || task.Run != 2 || now.Run != 2 || now.Waiting != 1 {
		t.Errorf("%+v, %t, %v; head %+v", task, ok, err, now)
	}
}

func TestAPutBesideATransactionIsTriedAgain(t *testing.T) {
	cfg, tables := deployed(t)
	plain, ctx := dynamo.New(cfg, tables), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "o1"}, Schema: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
	must(t, plain.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}}))
	h.Version = 1
	for name, c := range map[string]struct {
		befalls error
		kind    fault.Kind
	}{
		"a transaction": {&dynamodbtypes.TransactionConflictException{}, fault.Retryable},
		"its size":      {&smithy.GenericAPIError{Code: "ValidationException", Message: "quotes what was to be stored"}, fault.Permanent},
	} {
		s := dynamo.New(disturbed(cfg, func(middleware.DeserializeOutput, error) error { return c.befalls }), tables)
		err := s.Commit(ctx, document.Transaction{Changes: []document.Change{{Head: h}}})
		if fault.Of(err) == nil || fault.KindOf(err) != c.kind || strings.Contains(err.Error(), "quotes") {
			t.Errorf("%s: %v", name, err)
		}
		now, err := plain.Head(ctx, h.Key)
		must(t, err)
		h = now
	}
}

// Who writes heads as they were before entries stood in them would drop those:
// its condition fails.
func TestAHeadIsFencedFromWhoWouldDropItsEntries(t *testing.T) {
	cfg, tables := deployed(t)
	s, db, ctx := dynamo.New(cfg, tables), dynamodb.NewFromConfig(cfg), t.Context()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	text := func(v string) dynamodbtypes.AttributeValue { return &dynamodbtypes.AttributeValueMemberS{Value: v} }
	number := func(n int64) dynamodbtypes.AttributeValue {
		return &dynamodbtypes.AttributeValueMemberN{Value: fmt.Sprint(n)}
	}
	earlier := func(id string, version int64) error {
		it := map[string]dynamodbtypes.AttributeValue{"pk": text("T#acme#order#" + id), "sk": text("HEAD"), "tenant": text("acme"), "type": text("order"), "id": text(id),
			"state": text("sourcing"), "version": number(version + 1), "seq": number(1), "run": number(1), "created_at": text(""), "updated_at": text("")}
		condition := "attribute_not_exists(pk)"
		values := map[string]dynamodbtypes.AttributeValue(nil)
		if version > 0 {
			condition, values = "version = :v", map[string]dynamodbtypes.AttributeValue{":v": number(version)}
		}
		_, err := db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &tables.Documents, Item: it, ConditionExpression: &condition, ExpressionAttributeValues: values})
		return err
	}
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "new"}, Schema: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
	must(t, s.Commit(ctx, document.Transaction{Changes: []document.Change{continued(h, told(2, 5))}}))
	for version := range int64(3) {
		var failed *dynamodbtypes.ConditionalCheckFailedException
		if err := earlier("new", version); !errors.As(err, &failed) {
			t.Errorf("written as version %d: %v", version, err)
		}
	}
	// And what they wrote is taken over.
	must(t, earlier("old", 0))
	must(t, earlier("old", 1))
	h.ID = "old"
	old, err := s.Head(ctx, h.Key)
	if err != nil || old.Version != 2 || old.Tail.Apart != 1 {
		t.Fatalf("%+v, %v", old, err)
	}
	stale := old
	stale.Version = 1
	if err := s.Commit(ctx, document.Transaction{Changes: []document.Change{continued(stale, told(1, 5))}}); !errors.Is(err, document.ErrConflict) {
		t.Errorf("a version before: %v", err)
	}
	must(t, s.Commit(ctx, document.Transaction{Changes: []document.Change{continued(old, told(1, 5))}}))
	if now, err := s.Head(ctx, h.Key); err != nil || now.Version != 3 || now.Sequence != 2 || now.Tail.Apart != 1 || len(now.Tail.Steps) != 1 {
		t.Errorf("%+v, %v", now, err)
	}
}

// course commits forty changes of one document as careless callers would, of
// which some come too late and some die, and holds what can be read to what was
// committed.
func course(t *testing.T, cfg aws.Config, tables dynamo.Tables, seed uint64) {
	plain, ctx, dice := dynamo.New(cfg, tables), t.Context(), rand.New(rand.NewPCG(seed, 7))
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	k := document.Key{Tenant: tn, Type: document.Order, ID: fmt.Sprint("o", seed)}
	var want []document.Step
	var heads []document.Head
	var own document.Head // as its committer knows it
	body, version := "", int64(0)
	for op := range 40 {
		now := document.Head{Key: k, Schema: 1, CreatedAt: drivertest.Now, UpdatedAt: drivertest.Now}
		if version > 0 {
			now, err = plain.Head(ctx, k)
			must(t, err)
		}
		heads = append(heads, now)
		c := now
		if dice.IntN(3) == 0 {
			c = heads[dice.IntN(len(heads))]
		}
		if own.Version > 0 && own.Version == now.Version && dice.IntN(3) == 0 {
			c = own
		}
		late := c.Version != now.Version
		if dice.IntN(4) == 0 {
			c.Tail = nil
		}
		c.Correlation = []string{"c", "d", ""}[dice.IntN(3)]
		steps := told(dice.IntN(4), []int{5, 50, 150, 400, 1500, 5000}[dice.IntN(6)])
		for i := range steps {
			steps[i].Type, steps[i].Correlation = fmt.Sprint("t", dice.IntN(1e9)), []string{"c", "", "d"}[dice.IntN(3)]
		}
		change := continued(c, steps)
		if version == 0 || dice.IntN(3) == 0 {
			change.Head.Body++
			change.Body = fmt.Sprint("body ", dice.IntN(3))
		}
		if dice.IntN(4) == 0 {
			change.Refs = []document.Ref{{Tenant: tn, Connection: "x", Type: "y", External: fmt.Sprint(seed, dice.IntN(3))}}
		}
		tx := document.Transaction{Changes: []document.Change{change}}
		if dice.IntN(5) == 0 {
			tx.Pending = []document.Pending{{Key: k, EventID: "e", SourceVersion: "s", At: drivertest.Now}}
		}
		s, dies := plain, version > 0 && dice.IntN(3) == 0
		if dies {
			dying, _ := mortal(cfg, dice.IntN(5))
			s = dynamo.New(dying, tables)
		}
		switch err := s.Commit(ctx, tx); {
		case err == nil && late:
			t.Fatalf("seed %d, commit %d: too late, and done", seed, op)
		case err == nil:
			want, version, own = append(want, change.Steps...), version+1, change.Head
			own.Version++
			if change.Body != nil {
				body = fmt.Sprint(change.Body)
			}
		case errors.Is(err, errDies) && dies, errors.Is(err, document.ErrConflict) && late:
		default:
			t.Fatalf("seed %d, commit %d: %v", seed, op, err)
		}
		now, err := plain.Head(ctx, k)
		must(t, err)
		var got string
		if err := plain.Body(ctx, k, now.Body, &got); err != nil || got != body || now.Version != version || now.Sequence != int64(len(want)) {
			t.Fatalf("seed %d, commit %d: %+v of version %d, body %q of %q, %v", seed, op, now, version, got, body, err)
		}
		for _, as := range []document.Head{now, heads[dice.IntN(len(heads))]} {
			all, err := plain.Steps(ctx, as)
			must(t, err)
			if len(all) < int(as.Sequence) || as.Version == version && len(all) != len(want) || !cmp.Equal(all, want[:len(all)], cmpopts.EquateEmpty()) {
				t.Fatalf("seed %d, commit %d: %d entries as of %d, of %d", seed, op, len(all), as.Sequence, len(want))
			}
		}
	}
	var streamed []document.Step
	for _, e := range stream(t, cfg, tables.Documents) {
		if e.Key == k {
			streamed = append(streamed, e.Step)
		}
	}
	if diff := cmp.Diff(want, streamed); diff != "" {
		t.Errorf("seed %d, the stream (-want +got):\n%s", seed, diff)
	}
}

func TestWhateverCommitsTheTimelineIsWhatWasCommitted(t *testing.T) {
	cfg, tables := deployed(t)
	for seed := range uint64(4) {
		course(t, cfg, tables, seed)
	}
}
