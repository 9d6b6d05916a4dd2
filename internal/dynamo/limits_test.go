package dynamo_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// What DynamoDB will never take must not be tried for ever, and its words quote
// the items, which hold personal data.
func TestWhatTheDatabaseCannotTakeIsPermanentAndQuotesNothing(t *testing.T) {
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC)
	dice := rand.New(rand.NewPCG(1, 2))
	noise := make([]uint32, 1<<20) // 4 MB that no compression makes smaller
	for i := range noise {
		noise[i] = dice.Uint32()
	}
	var refs []document.Ref
	for i := range 100 {
		refs = append(refs, document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: fmt.Sprint(i)})
	}
	h := document.Head{Key: document.Key{Tenant: tn, Type: document.Order, ID: "o1"}, State: retail.Received, Body: 1, CreatedAt: at, UpdatedAt: at}
	person := &retail.Person{Name: "Ann Example"}
	s := store(t)
	for name, tr := range map[string]document.Transaction{
		"101 items":    {Changes: []document.Change{{Head: h, Refs: refs, Person: person}}},
		"4 MB":         {Changes: []document.Change{{Head: h, Body: noise, Person: person}}},
		"a large item": {Changes: []document.Change{{Head: h, Person: person}}, Exceptions: []document.Exception{{Tenant: tn, ID: "x1", State: "open", Reason: strings.Repeat("x", 400<<10)}}},
		"nothing":      {},
	} {
		err := s.Commit(t.Context(), tr)
		if fault.KindOf(err) != fault.Permanent {
			t.Errorf("%s: %.200v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "Ann") {
			t.Errorf("%s: the error quotes the person", name)
		}
		if _, err := s.Head(t.Context(), h.Key); !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A table that stays busy leaves a batch unread for as long as it likes.
func TestABatchThatStaysUnreadEndsAsRetryable(t *testing.T) {
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	faults := awsfault.New(nil, awsfault.Rule{Kind: awsfault.Partial, Every: 1})
	s := driver(t, faults).Store
	_, resolving := s.Resolve(t.Context(), document.Ref{Tenant: tn, Connection: "shop", Type: "order", External: "1"})
	_, reading := s.Positions(t.Context(), tn, "MAIN", []string{"A", "B", "C"})
	for what, err := range map[string]error{"resolving": resolving, "reading positions": reading} {
		if f := fault.Of(err); f == nil || f.Kind != fault.Retryable || f.Class != fault.RateLimited {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := faults.Count(awsfault.Partial); n < 2*awsfault.Attempts || n > 2*awsfault.Attempts+4 {
		t.Errorf("asked %d times, want each unread batch %d times", n, awsfault.Attempts)
	}
}
