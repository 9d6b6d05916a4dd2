package mapping

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Store keeps maps.
type Store interface {
	// Maps returns the current version of each map of a connection, by kind.
	Maps(ctx context.Context, t retail.Tenant, connection string) ([]Map, error)
	// MapVersion returns one version, or ErrNotFound.
	MapVersion(ctx context.Context, t retail.Tenant, connection string, k Kind, version int64) (Map, error)
	// PutMap writes m as a new version and moves the pointer to it from the one
	// before, or fails with document.ErrConflict.
	PutMap(ctx context.Context, m Map) error
	// MapDraft returns what waits to be made current, or ErrNotFound.
	MapDraft(ctx context.Context, t retail.Tenant, connection string, k Kind) (Map, error)
	// PutMapDraft replaces the draft.
	PutMapDraft(ctx context.Context, m Map) error
	// DeleteMapDraft removes it; one that is gone already is fine.
	DeleteMapDraft(ctx context.Context, t retail.Tenant, connection string, k Kind) error
	// MapPieces returns pieces by name; missing ones are absent.
	MapPieces(ctx context.Context, t retail.Tenant, connection string, k Kind, names []string) (map[string][]byte, error)
	// PutMapPieces stores pieces; one that is there already is the same.
	PutMapPieces(ctx context.Context, t retail.Tenant, connection string, k Kind, pieces map[string][]byte) error
}

// Keep is how long a map may be seen as it was, and Anew how long one may that
// is read anew because it lacks a value.
const (
	Keep = 60 * time.Second
	Anew = time.Second
)

// maxKept bounds the entries in memory: some 30 MB of an ordinary map.
const maxKept = 300_000

// Reader reads maps through a cache. What is current is looked up again after
// Keep; pieces never change and are kept for as long as there is room.
type Reader struct {
	Store Store
	Now   func() time.Time

	mu      sync.Mutex
	current map[owner]kept
	pieces  map[string]map[string]string
	entries int
}

type owner struct {
	tenant     retail.Tenant
	connection string
}

type kept struct {
	maps  map[Kind]Map
	until time.Time
}

// Maps returns the connection's current maps.
func (r *Reader) Maps(ctx context.Context, t retail.Tenant, connection string) (map[Kind]Map, error) {
	return r.maps(ctx, t, connection, false)
}

// maps reads them anew on demand, unless that was done within Anew: many
// documents may lack one value.
func (r *Reader) maps(ctx context.Context, t retail.Tenant, connection string, anew bool) (map[Kind]Map, error) {
	key, now := owner{t, connection}, r.Now()
	r.mu.Lock()
	k, ok := r.current[key]
	r.mu.Unlock()
	if ok && now.Before(k.until) && (!anew || k.until.Sub(now) > Keep-Anew) {
		return k.maps, nil
	}
	list, err := r.Store.Maps(ctx, t, connection)
	if err != nil {
		return nil, fmt.Errorf("reading the value maps of %s: %w", connection, err)
	}
	maps := make(map[Kind]Map, len(list))
	for _, m := range list {
		maps[m.Kind] = m
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		r.current = map[owner]kept{}
	}
	r.current[key] = kept{maps, now.Add(Keep)}
	return maps, nil
}

// Lookup returns what the map has for the values. It reads at most one piece a
// value, and all in one go.
func (r *Reader) Lookup(ctx context.Context, m Map, d Direction, values []string) (map[string]string, error) {
	idx := m.Index(d)
	out := map[string]string{}
	if len(idx.Pieces) == 0 {
		return out, nil
	}
	of := make(map[string]string, len(values))
	need := map[string]bool{}
	for _, v := range values {
		if name := idx.Pieces[place(v, len(idx.Pieces))]; name != "" {
			of[v], need[name] = name, true
		}
	}
	pieces, err := r.read(ctx, m, need)
	if err != nil {
		return nil, err
	}
	for v, name := range of {
		if to, ok := pieces[name][v]; ok {
			out[v] = to
		}
	}
	return out, nil
}

// read returns the named pieces.
func (r *Reader) read(ctx context.Context, m Map, names map[string]bool) (map[string]map[string]string, error) {
	prefix := m.Tenant.Key(m.Connection, string(m.Kind)) + "#"
	out := make(map[string]map[string]string, len(names))
	var missing []string
	r.mu.Lock()
	for name := range names {
		if p, ok := r.pieces[prefix+name]; ok {
			out[name] = p
		} else {
			missing = append(missing, name)
		}
	}
	r.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	raw, err := r.Store.MapPieces(ctx, m.Tenant, m.Connection, m.Kind, missing)
	if err != nil {
		return nil, fmt.Errorf("reading the %s map of %s: %w", m.Kind, m.Connection, err)
	}
	for _, name := range missing {
		data, ok := raw[name]
		if !ok {
			return nil, fault.New(fault.Retryable, fault.Internal, "a part of the %s map of connection %s is missing", m.Kind, m.Connection)
		}
		if out[name], err = unpack(data); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range missing {
		if r.entries+len(out[name]) > maxKept || r.pieces == nil {
			r.pieces, r.entries = map[string]map[string]string{}, 0
		}
		if _, there := r.pieces[prefix+name]; !there {
			r.pieces[prefix+name] = out[name]
			r.entries += len(out[name])
		}
	}
	return out, nil
}

// Entries returns all entries of a map in one direction.
func (r *Reader) Entries(ctx context.Context, m Map, d Direction) (map[string]string, error) {
	names := map[string]bool{}
	for _, name := range m.Index(d).Pieces {
		if name != "" {
			names[name] = true
		}
	}
	out := make(map[string]string, m.Index(d).Entries)
	if len(names) == 0 {
		return out, nil
	}
	pieces, err := r.read(ctx, m, names)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		for from, to := range p {
			out[from] = to
		}
	}
	return out, nil
}

// Proposed is a store in which a draft is current, and which changes nothing.
type Proposed struct {
	Store
	Draft Map
}

// Maps implements Store.
func (p Proposed) Maps(ctx context.Context, t retail.Tenant, connection string) ([]Map, error) {
	list, err := p.Store.Maps(ctx, t, connection)
	if err != nil || t != p.Draft.Tenant || connection != p.Draft.Connection {
		return list, err
	}
	out := []Map{p.Draft}
	for _, m := range list {
		if m.Kind != p.Draft.Kind {
			out = append(out, m)
		}
	}
	return out, nil
}
