package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/dynamo/drivertest"
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
	steps, err := plain.Steps(ctx, read())
	must(t, err)
	if len(steps) != 14 {
		t.Errorf("%d entries of 14", len(steps))
	}
	for i, s := range steps {
		if s.Seq != int64(i+1) {
			t.Errorf("entry %d has the number %d", i+1, s.Seq)
		}
	}
}
