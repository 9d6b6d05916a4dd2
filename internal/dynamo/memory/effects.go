package memory

import (
	"context"
	"maps"

	"github.com/waybillhq/waybill/internal/effect"
)

func effectKey(s effect.Subject, k string) key {
	return key{part(s.Tenant.String(), s.Type, s.ID), part("effect", k)}
}

func copied(r effect.Record) effect.Record {
	r.LeaseUntil, r.SentAt, r.Receipt.Data = stored(r.LeaseUntil), stored(r.SentAt), maps.Clone(r.Receipt.Data)
	return r
}

// Create implements effect.Store.
func (s *Store) Create(ctx context.Context, r effect.Record) (*effect.Record, error) {
	var there *effect.Record
	err := s.write(ctx, operation{documents, effectKey(r.Subject, r.Key), func(was any) (any, error) {
		if old, exists := was.(effect.Record); exists {
			// One holder's record that is there already is its own, written again.
			if old.Holder != r.Holder {
				old = copied(old)
				there = &old
			}
			return was, nil
		}
		return copied(r), nil
	}})
	return there, err
}

// Update implements effect.Store.
func (s *Store) Update(ctx context.Context, r effect.Record) error {
	was := r.Version
	r = copied(r)
	r.Version++
	return s.write(ctx, operation{documents, effectKey(r.Subject, r.Key), func(there any) (any, error) {
		old, exists := there.(effect.Record)
		switch {
		case exists && old.Version == was:
			return r, nil
		case exists && old.Version == r.Version && old.Holder == r.Holder:
			return there, nil // written again: only the holder writes this version
		}
		return nil, effect.ErrLost
	}})
}

// Effect implements effect.Store.
func (s *Store) Effect(ctx context.Context, sub effect.Subject, k string) (*effect.Record, error) {
	r, found, err := read[effect.Record](ctx, s, documents, effectKey(sub, k))
	if err != nil || !found {
		return nil, err
	}
	r = copied(r)
	return &r, nil
}
