package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

func partition(k document.Key) string { return part(k.Tenant.String(), k.Type, k.ID) }
func headKey(k document.Key) key      { return key{partition(k), "head"} }
func bodyKey(k document.Key, v int64) key {
	return key{partition(k), part("body", fmt.Sprintf("%010d", v))}
}

const stepPrefix = "step\x00"

func stepKey(k document.Key, n int64) key {
	return key{partition(k), stepPrefix + fmt.Sprintf("%010d", n)}
}
func refKey(r document.Ref) key {
	return key{part(r.Tenant.String(), "ref", r.Connection, r.Type, r.External), "ref"}
}

// stored is a time as DynamoDB gives it back.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}

// encoded is JSON, so that nothing that is read shares memory with what was
// written.
type encoded []byte

func encode(v any) (encoded, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding an item: %w", err)
	}
	return b, nil
}

// told is a timeline entry with the version of the head that it came with.
type told struct {
	version int64
	step    document.Step
}

// Plain tells whether a transaction has nothing but changes of documents that
// exist.
func Plain(t document.Transaction) bool {
	return t.Inbox == nil && len(t.Exceptions)+len(t.Pending)+len(t.Drained)+len(t.Audit) == 0 &&
		!slices.ContainsFunc(t.Changes, func(c document.Change) bool { return c.Head.Version == 0 || c.Person != nil })
}

// Claims tells whether a transaction has refs that are claimed before the rest.
func Claims(t document.Transaction) bool {
	return Plain(t) && slices.ContainsFunc(t.Changes, func(c document.Change) bool { return len(c.Refs) > 0 })
}

// Claim is the first part of Commit, after which a process may die.
func (s *Store) Claim(ctx context.Context, t document.Transaction) error {
	if !Claims(t) {
		return nil
	}
	for _, c := range t.Changes {
		for _, r := range c.Refs {
			if err := s.write(ctx, claim(c.Head.Key, r)); err != nil {
				return err
			}
		}
	}
	return nil
}

func claim(k document.Key, r document.Ref) operation {
	return operation{documents, refKey(r), func(there any) (any, error) {
		if old, exists := there.(document.Key); exists && old.ID != k.ID {
			return nil, document.ErrRefTaken
		}
		return k, nil
	}}
}

// Commit implements document.Store.
func (s *Store) Commit(ctx context.Context, t document.Transaction) error {
	if err := s.Claim(ctx, t); err != nil {
		return err
	}
	var ops []operation
	var entries []Entry
	for _, c := range t.Changes {
		h := c.Head
		was := h.Version
		h.Version++
		h.Tail = nil
		h.Due, h.CreatedAt, h.UpdatedAt, h.CheckedAt = stored(h.Due), stored(h.CreatedAt), stored(h.UpdatedAt), stored(h.CheckedAt)
		ops = append(ops, operation{documents, headKey(h.Key), func(there any) (any, error) {
			if old, exists := there.(document.Head); exists != (was > 0) || old.Version != was || (c.Body != nil && exists && old.Body >= h.Body) {
				return nil, document.ErrConflict
			}
			return h, nil
		}})
		for _, st := range c.Steps {
			st.At, st.Data = stored(st.At), maps.Clone(st.Data)
			ops = append(ops, create(documents, stepKey(h.Key, st.Seq), told{h.Version, st}, document.ErrConflict))
			entries = append(entries, Entry{h.Key, st})
		}
		if c.Body != nil {
			b, err := encode(c.Body)
			if err != nil {
				return err
			}
			ops = append(ops, put(documents, bodyKey(h.Key, h.Body), b))
		}
		for _, r := range c.Refs {
			ops = append(ops, claim(h.Key, r))
		}
		if c.Person != nil {
			ops = append(ops, put(persons, headKey(h.Key), *c.Person))
		}
	}
	for _, x := range t.Exceptions {
		was := x.Version
		x.Version++
		x = detached(x)
		ops = append(ops, operation{exceptions, key{x.Tenant.String(), x.ID}, func(there any) (any, error) {
			if old, exists := there.(document.Exception); exists != (was > 0) || old.Version != was {
				return nil, document.ErrConflict
			}
			return x, nil
		}})
	}
	for _, p := range t.Pending {
		p.At = stored(p.At)
		ops = append(ops, put(documents, pendingKey(p), p))
	}
	for _, p := range t.Drained {
		ops = append(ops, put(documents, pendingKey(p), nil))
	}
	for _, a := range t.Audit {
		ops = append(ops, auditing(a))
	}
	if t.Inbox != nil {
		ops = append(ops, finish(*t.Inbox))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := first(s.transact(ctx, ops)); err != nil {
		return err
	}
	s.stream = append(s.stream, entries...)
	for _, c := range t.Changes {
		s.index(c.Head.Key, stored(c.Head.Due))
	}
	return nil
}

// index takes a document's new due time into the index, after a lag but never
// before what was committed earlier.
func (s *Store) index(k document.Key, due time.Time) {
	if s.o.IndexLag <= 0 {
		s.show(k, due)
		return
	}
	from := s.o.Now().Add(time.Duration(s.o.Dice.Int64N(int64(s.o.IndexLag) + 1)))
	s.coming[k] = append(s.coming[k], indexed{from, due})
}

func (s *Store) show(k document.Key, due time.Time) {
	if due.IsZero() {
		delete(s.due[Shard(k)], k)
	} else {
		s.due[Shard(k)][k] = due
	}
}

// catchUp shows what the clock has reached, of one document in the order of its
// commits.
func (s *Store) catchUp() {
	if len(s.coming) == 0 {
		return
	}
	now := s.o.Now()
	for k, waiting := range s.coming {
		n := 0
		for n < len(waiting) && !waiting[n].from.After(now) {
			s.show(k, waiting[n].due)
			n++
		}
		if s.coming[k] = waiting[n:]; n == len(waiting) {
			delete(s.coming, k)
		}
	}
}

// Head implements document.Store.
func (s *Store) Head(ctx context.Context, k document.Key) (document.Head, error) {
	h, found, err := read[document.Head](ctx, s, documents, headKey(k))
	if err == nil && !found {
		err = document.ErrNotFound
	}
	return h, err
}

// Body implements document.Store.
func (s *Store) Body(ctx context.Context, k document.Key, v int64, out any) error {
	b, found, err := read[encoded](ctx, s, documents, bodyKey(k, v))
	if err != nil {
		return err
	}
	if !found {
		return document.ErrNotFound
	}
	return json.Unmarshal(b, out)
}

// Steps implements document.Store.
func (s *Store) Steps(ctx context.Context, h document.Head) ([]document.Step, error) {
	all, err := list[told](ctx, s, documents, partition(h.Key), stepPrefix)
	var out []document.Step
	for _, x := range all {
		if x.version <= h.Version {
			x.step.Data = maps.Clone(x.step.Data)
			out = append(out, x.step)
		}
	}
	return out, err
}

// Person implements document.Store.
func (s *Store) Person(ctx context.Context, k document.Key) (retail.Person, error) {
	p, found, err := read[retail.Person](ctx, s, persons, headKey(k))
	if err == nil && !found {
		err = document.ErrNotFound
	}
	return p, err
}

// Resolve implements document.Store.
func (s *Store) Resolve(ctx context.Context, refs ...document.Ref) (map[document.Ref]document.Key, error) {
	out := map[document.Ref]document.Key{}
	for _, r := range refs {
		k, found, err := read[document.Key](ctx, s, documents, refKey(r))
		if err != nil {
			return nil, err
		}
		if found {
			out[r] = k
		}
	}
	return out, nil
}

// Shard is the part of the due index that a document is in.
func Shard(k document.Key) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(partition(k)))
	return int(h.Sum32() % document.Shards)
}

// Due implements document.Store: earliest first.
func (s *Store) Due(ctx context.Context, shard int, before time.Time, limit int) ([]document.DueItem, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	var out []document.DueItem
	for k, due := range s.due[shard] {
		if !due.After(before) {
			out = append(out, document.DueItem{Key: k, Due: due})
		}
	}
	slices.SortFunc(out, func(a, b document.DueItem) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(partition(a.Key), partition(b.Key)))
	})
	return out[:min(limit, len(out))], nil
}

const pendingPrefix = "pending\x00"

func pendingKey(p document.Pending) key {
	return key{partition(p.Key), pendingPrefix + part(p.SourceVersion, p.EventID)}
}

// Pending implements document.Store.
func (s *Store) Pending(ctx context.Context, k document.Key) ([]document.Pending, error) {
	return list[document.Pending](ctx, s, documents, partition(k), pendingPrefix)
}

// detached shares no memory with x, and has its times as DynamoDB gives them
// back.
func detached(x document.Exception) document.Exception {
	x.OpenedAt, x.DueAt, x.ResolvedAt = stored(x.OpenedAt), stored(x.DueAt), stored(x.ResolvedAt)
	x.Payloads, x.Notes = slices.Clone(x.Payloads), slices.Clone(x.Notes)
	for i := range x.Notes {
		x.Notes[i].At = stored(x.Notes[i].At)
	}
	return x
}

// Exception implements document.Store.
func (s *Store) Exception(ctx context.Context, t retail.Tenant, id string) (document.Exception, error) {
	x, found, err := read[document.Exception](ctx, s, exceptions, key{t.String(), id})
	if err == nil && !found {
		err = document.ErrNotFound
	}
	return detached(x), err
}

// sortable writes times of one width, so that the order of text is theirs.
const sortable = "2006-01-02T15:04:05.000000000Z"

// auditing keeps what somebody did.
func auditing(a document.Audit) operation {
	a.At, a.Data = stored(a.At), maps.Clone(a.Data)
	return create(audit, key{a.Tenant.String(), part(a.At.Format(sortable), a.ID)}, a, document.ErrConflict)
}

// Audited lists what people did for a retailer, oldest first, from a time on.
func (s *Store) Audited(ctx context.Context, t retail.Tenant, from time.Time) ([]document.Audit, error) {
	all, err := list[document.Audit](ctx, s, audit, t.String(), "")
	return slices.DeleteFunc(all, func(a document.Audit) bool { return a.At.Before(from) }), err
}

// OpenExceptions lists a retailer's open exceptions, oldest first.
func (s *Store) OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error) {
	all, err := list[document.Exception](ctx, s, exceptions, t.String(), "")
	return slices.DeleteFunc(all, func(x document.Exception) bool { return x.State == document.Resolved }), err
}

// FirstExceptions lists a retailer's open exceptions, oldest first and so many at
// most, and tells whether there are more.
func (s *Store) FirstExceptions(ctx context.Context, t retail.Tenant, limit int) (out []document.Exception, more bool, err error) {
	all, err := s.OpenExceptions(ctx, t)
	return all[:min(limit, len(all))], len(all) > limit, err
}

// AllOpenExceptions lists the open exceptions of all retailers. Unlike an index
// it is never behind.
func (s *Store) AllOpenExceptions(ctx context.Context) ([]document.Exception, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []document.Exception
	for _, partition := range slices.Sorted(maps.Keys(s.tables[exceptions])) {
		rows := s.tables[exceptions][partition]
		for _, sort := range slices.Sorted(maps.Keys(rows)) {
			if x, ok := rows[sort].(document.Exception); ok && x.State != document.Resolved {
				out = append(out, x)
			}
		}
	}
	return out, nil
}
