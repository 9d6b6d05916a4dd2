package mapping

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// Book changes maps. Every change makes a new version; whoever changed the map
// meanwhile makes it fail with document.ErrConflict.
type Book struct {
	Store Store
	Now   func() time.Time
	// Progress, if set, hears how many pieces of a change are stored.
	Progress func(done, total int)
}

// Edit is who changes which map, and why.
type Edit struct {
	Tenant     retail.Tenant
	Connection string
	Kind       Kind
	Strict     *bool // nil leaves it
	By, Reason string
}

// Entry is one line of a map: in a document that goes in this direction, From
// becomes To.
type Entry struct {
	Direction Direction
	From, To  string
	// OneWay leaves the other direction alone. Otherwise To becomes From there,
	// unless To has a value of its own already.
	OneWay bool
}

// Outcome is what an entry did to a map.
type Outcome struct {
	Was string // what From became before, or ""
	// Reverse is what To becomes in the other direction, now; "" where nothing
	// was said about it.
	Reverse string
}

// pages are a map's entries in memory.
type pages map[Direction]map[string]string

// set puts an entry in.
func (p pages) set(e Entry) Outcome {
	there, back := p[e.Direction], p[e.Direction.Reverse()]
	was := there[e.From]
	there[e.From] = e.To
	if was != "" && was != e.To && back[was] == e.From {
		delete(back, was)
	}
	if _, taken := back[e.To]; !taken && !e.OneWay {
		back[e.To] = e.From
	}
	return Outcome{Was: was, Reverse: back[e.To]}
}

// Removed is what a removal took out of a map.
type Removed struct {
	Direction Direction
	From, To  string
	// Reverse: in the other direction To became From, and that is gone too.
	Reverse bool
	// Instead is what To becomes there now, because it means the same.
	Instead string
}

// unset takes From out, with what was its reverse.
func (p pages) unset(d Direction, from string) Removed {
	r := Removed{Direction: d, From: from, To: p[d][from]}
	delete(p[d], from)
	if back := p[d.Reverse()]; back[r.To] == from {
		delete(back, r.To)
		r.Reverse = true
		// Another value that means the same is written from now on: the first in
		// the order of text, so that the choice is always the same.
		for f, to := range p[d] {
			if to == r.To && (r.Instead == "" || f < r.Instead) {
				r.Instead = f
			}
		}
		if r.Instead != "" {
			back[r.To] = r.Instead
		}
	}
	return r
}

// Current is the map's current version; Version is 0 where there is none.
func (b Book) Current(ctx context.Context, t retail.Tenant, connection string, k Kind) (Map, error) {
	list, err := b.Store.Maps(ctx, t, connection)
	if err != nil {
		return Map{}, fmt.Errorf("reading the value maps of %s: %w", connection, err)
	}
	for _, m := range list {
		if m.Kind == k {
			return m, nil
		}
	}
	return Map{Schema: 1, Tenant: t, Connection: connection, Kind: k}, nil
}

// Entries are all of a version's entries, by direction.
func (b Book) Entries(ctx context.Context, m Map) (map[Direction]map[string]string, error) {
	r, out := &Reader{Store: b.Store, Now: b.Now}, pages{}
	for _, d := range []Direction{Decode, Encode} {
		entries, err := r.Entries(ctx, m, d)
		if err != nil {
			return nil, err
		}
		out[d] = maps.Clone(entries)
	}
	return out, nil
}

// Set puts entries into the map and makes that current.
func (b Book) Set(ctx context.Context, e Edit, entries ...Entry) (Map, []Outcome, error) {
	m, outcomes, err := b.change(ctx, e, false, entries)
	if err != nil {
		return m, nil, err
	}
	return m, outcomes, b.Store.PutMap(ctx, m)
}

// ErrBothWays is returned for a value that stands in both directions and becomes
// something else in each.
var ErrBothWays = errors.New("the value stands in both directions")

// Unset takes an entry out, both ways if it was set so, and makes that current. d
// may be empty where the value stands in one direction only. What is not there
// is ErrNotFound, and changes nothing.
func (b Book) Unset(ctx context.Context, e Edit, d Direction, from string) (m Map, r Removed, err error) {
	current, err := b.Current(ctx, e.Tenant, e.Connection, e.Kind)
	if err != nil {
		return current, r, err
	}
	p, err := b.Entries(ctx, current)
	if err != nil {
		return current, r, err
	}
	if d == "" {
		decoded, encoded := p[Decode][from], p[Encode][from]
		switch {
		case encoded == "":
			d = Decode
		case decoded == "" || decoded == encoded && decoded == from:
			d = Encode
		default:
			return current, r, ErrBothWays
		}
	}
	if p[d][from] == "" {
		return current, r, ErrNotFound
	}
	r = pages(p).unset(d, from)
	if m, err = b.write(ctx, e, current, p); err != nil {
		return m, r, err
	}
	return m, r, b.Store.PutMap(ctx, m)
}

// Draft puts entries into a draft of the map, which changes nothing until it is
// applied. With replace the draft holds nothing else.
func (b Book) Draft(ctx context.Context, e Edit, replace bool, entries []Entry) (Map, error) {
	m, _, err := b.change(ctx, e, replace, entries)
	if err != nil {
		return m, err
	}
	return m, b.Store.PutMapDraft(ctx, m)
}

// ErrStale is returned for a draft of a version that is no longer current.
var ErrStale = errors.New("the map was changed since the draft was made; import again, or apply nothing")

// Apply makes the draft current.
func (b Book) Apply(ctx context.Context, e Edit) (Map, error) {
	m, err := b.Store.MapDraft(ctx, e.Tenant, e.Connection, e.Kind)
	if err != nil {
		return m, err
	}
	current, err := b.Current(ctx, e.Tenant, e.Connection, e.Kind)
	switch {
	case err != nil:
		return m, err
	case current.Version != m.Base:
		return m, ErrStale
	}
	if e.Reason != "" {
		m.By, m.Reason = e.By, e.Reason
	}
	m.At = b.Now().UTC()
	if err := b.Store.PutMap(ctx, m); err != nil {
		return m, err
	}
	return m, b.Store.DeleteMapDraft(ctx, e.Tenant, e.Connection, e.Kind)
}

func (b Book) change(ctx context.Context, e Edit, replace bool, entries []Entry) (Map, []Outcome, error) {
	current, err := b.Current(ctx, e.Tenant, e.Connection, e.Kind)
	if err != nil {
		return current, nil, err
	}
	p := pages{Decode: {}, Encode: {}}
	if !replace {
		if p, err = b.Entries(ctx, current); err != nil {
			return current, nil, err
		}
	}
	outcomes := make([]Outcome, len(entries))
	for i, x := range entries {
		for _, v := range []string{x.From, x.To} {
			if err := CheckValue(v); err != nil {
				return current, nil, fmt.Errorf("%q: %w", v, err)
			}
		}
		outcomes[i] = p.set(x)
	}
	m, err := b.write(ctx, e, current, p)
	return m, outcomes, err
}

// write stores the pieces of the next version, which nobody reads yet.
func (b Book) write(ctx context.Context, e Edit, current Map, p pages) (Map, error) {
	m := Map{Schema: 1, Tenant: e.Tenant, Connection: e.Connection, Kind: e.Kind, Version: current.Version + 1, Base: current.Version,
		Strict: current.Strict, By: e.By, Reason: e.Reason, At: b.Now().UTC()}
	if e.Strict != nil {
		m.Strict = *e.Strict
	}
	known := map[string]bool{"": true}
	for _, idx := range []Index{current.Decode, current.Encode} {
		for _, name := range idx.Pieces {
			known[name] = true
		}
	}
	fresh := map[string][]byte{}
	for d, into := range map[Direction]*Index{Decode: &m.Decode, Encode: &m.Encode} {
		if len(p[d]) > MaxEntries {
			return m, fmt.Errorf("the map would have %d entries; %d are the most", len(p[d]), MaxEntries)
		}
		idx, pieces, err := cut(p[d])
		if err != nil {
			return m, err
		}
		*into = idx
		for name, data := range pieces {
			if !known[name] {
				fresh[name] = data
			}
		}
	}
	done := 0
	for names := range slices.Chunk(slices.Sorted(maps.Keys(fresh)), stored) {
		part := make(map[string][]byte, len(names))
		for _, n := range names {
			part[n] = fresh[n]
		}
		if err := b.Store.PutMapPieces(ctx, e.Tenant, e.Connection, e.Kind, part); err != nil {
			return m, err
		}
		if done += len(part); b.Progress != nil {
			b.Progress(done, len(fresh))
		}
	}
	return m, nil
}

// stored is how many pieces are stored before progress is told.
const stored = 32

// Fixed is a small map that stands in a configuration file, by direction.
type Fixed struct {
	Strict bool              `json:"strict,omitempty"`
	Decode map[string]string `json:"decode,omitempty"`
	Encode map[string]string `json:"encode,omitempty"`
}

// Complete adds to each direction the reverse of the other, where that says
// nothing yet and only one value leads there.
func (f Fixed) Complete() Fixed {
	return Fixed{Strict: f.Strict, Decode: completed(f.Decode, f.Encode), Encode: completed(f.Encode, f.Decode)}
}

// completed is own with the reverse of other where own has nothing.
func completed(own, other map[string]string) map[string]string {
	out, several := map[string]string{}, map[string]bool{}
	for from, to := range other {
		if _, again := out[to]; again {
			several[to] = true
		}
		out[to] = from
	}
	for to := range several {
		delete(out, to)
	}
	maps.Copy(out, own)
	return out
}

func (f Fixed) entries(d Direction) map[string]string {
	if d == Decode {
		return f.Decode
	}
	return f.Encode
}

// strictFor is Map.StrictFor.
func (f Fixed) strictFor(d Direction) bool {
	return f.Strict && (len(f.entries(d)) > 0 || len(f.entries(d.Reverse())) == 0)
}
