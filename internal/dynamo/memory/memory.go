// Package memory is the twin of package dynamo: the same ports, kept in this
// process. It has what callers must live with in DynamoDB (transactions of at
// most 100 items, conditions, an index that lags, a stream) and nothing of
// chance but what its dice say, so that a simulation can own it.
package memory

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
)

// MaxItems is the limit of one transaction.
const MaxItems = 100

// Options are what a Store depends on.
type Options struct {
	// Now is read where the index's lag is counted; nothing else takes the time
	// from anywhere but its arguments.
	Now func() time.Time
	// Dice choose each lag.
	Dice *rand.Rand
	// IndexLag is the longest time by which the due index is behind; zero keeps
	// it current.
	IndexLag time.Duration
}

// Store keeps everything that package dynamo keeps. It is safe for concurrent
// use; it starts nothing.
type Store struct {
	o Options

	mu     sync.Mutex
	tables [tables]map[string]map[string]any // by partition and sort key
	// due is the index as it can be read; coming is what it does not show yet.
	due    [document.Shards]map[document.Key]time.Time
	coming map[document.Key][]indexed
	stream []Entry
}

// table is one of the stack's tables.
type table int

const (
	documents table = iota
	inventory
	events
	exceptions
	audit
	rates
	persons
	config
	credentials
	jobs
	tables
)

// key is an item's key: the partition's first part is always the tenant.
type key struct{ partition, sort string }

// part joins what makes a key, by a character that no part contains.
func part(parts ...string) string { return strings.Join(parts, "\x00") }

// Entry is one timeline entry in the order of its commit.
type Entry struct {
	Key  document.Key
	Step document.Step
}

// indexed is a change of the due index that shows from a time on.
type indexed struct {
	from time.Time
	due  time.Time // zero: not in the index
}

// New returns an empty store.
func New(o Options) *Store {
	s := &Store{o: o, coming: map[document.Key][]indexed{}}
	for i := range s.tables {
		s.tables[i] = map[string]map[string]any{}
	}
	for i := range s.due {
		s.due[i] = map[document.Key]time.Time{}
	}
	return s
}

// operation is one item of a transaction. next sees what is there, or nil, and
// returns what shall be there, or nil; an error cancels the transaction.
type operation struct {
	table table
	key   key
	next  func(was any) (any, error)
}

// put stores v whatever is there.
func put(t table, k key, v any) operation {
	return operation{t, k, func(any) (any, error) { return v, nil }}
}

// create stores v where nothing is, or fails.
func create(t table, k key, v any, exists error) operation {
	return operation{t, k, func(was any) (any, error) {
		if was != nil {
			return nil, exists
		}
		return v, nil
	}}
}

// transact carries out all of the operations or none, and returns every
// failure in their order.
func (s *Store) transact(ctx context.Context, ops []operation) []error {
	if err := ctx.Err(); err != nil {
		return []error{err}
	}
	if len(ops) == 0 || len(ops) > MaxItems {
		return []error{fault.New(fault.Permanent, fault.Internal, "a transaction of %d items; it has 1 to %d", len(ops), MaxItems)}
	}
	next, failed, refused := make([]any, len(ops)), make([]error, len(ops)), false
	seen := map[table]map[key]bool{}
	for i, o := range ops {
		if seen[o.table][o.key] {
			return []error{fault.New(fault.Permanent, fault.Internal, "a transaction names an item twice")}
		}
		if seen[o.table] == nil {
			seen[o.table] = map[key]bool{}
		}
		seen[o.table][o.key] = true
		next[i], failed[i] = o.next(s.tables[o.table][o.key.partition][o.key.sort])
		refused = refused || failed[i] != nil
	}
	if refused {
		return failed
	}
	for i, o := range ops {
		items := s.tables[o.table][o.key.partition]
		switch {
		case next[i] == nil:
			delete(items, o.key.sort)
		case items == nil:
			s.tables[o.table][o.key.partition] = map[string]any{o.key.sort: next[i]}
		default:
			items[o.key.sort] = next[i]
		}
	}
	return nil
}

// first is the failure that names a transaction's.
func first(failed []error) error {
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// write is one transaction.
func (s *Store) write(ctx context.Context, ops ...operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return first(s.transact(ctx, ops))
}

// read returns a copy of the item, or of T's zero value.
func read[T any](ctx context.Context, s *Store, t table, k key) (v T, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return v, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, found = s.tables[t][k.partition][k.sort].(T)
	return v, found, nil
}

// list returns the items of one partition whose sort keys begin with a prefix,
// in the order of those.
func list[T any](ctx context.Context, s *Store, t table, partition, prefix string) ([]T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.tables[t][partition]
	var out []T
	for _, sort := range slices.Sorted(maps.Keys(items)) {
		if v, ok := items[sort].(T); ok && strings.HasPrefix(sort, prefix) {
			out = append(out, v)
		}
	}
	return out, nil
}

// Stream returns the timeline entries of all documents in the order of their
// commits, beginning with number from. Consumers may meet one twice; those of
// one document they never meet out of order.
func (s *Store) Stream(from int) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Entry
	for _, e := range s.stream[min(from, len(s.stream)):] {
		e.Step.Data = maps.Clone(e.Step.Data)
		out = append(out, e)
	}
	return out
}
