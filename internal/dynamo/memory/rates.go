package memory

import (
	"context"
	"maps"

	"github.com/waybillhq/waybill/internal/rate"
)

func rateKey(k rate.Key) key { return key{part(k.Tenant.String(), "rate", k.Connection), "rate"} }

func detachedRate(s rate.State) rate.State {
	s.Slots = maps.Clone(s.Slots)
	for h, until := range s.Slots {
		s.Slots[h] = stored(until)
	}
	s.At, s.Blocked, s.Open, s.ProbeUntil = stored(s.At), stored(s.Blocked), stored(s.Open), stored(s.ProbeUntil)
	if s.Paused != nil {
		p := *s.Paused
		p.At = stored(p.At)
		s.Paused = &p
	}
	return s
}

// Rate implements rate.Store.
func (s *Store) Rate(ctx context.Context, k rate.Key) (rate.State, error) {
	st, _, err := read[rate.State](ctx, s, rates, rateKey(k))
	st = detachedRate(st)
	st.Key = k
	return st, err
}

// PutRate implements rate.Store.
func (s *Store) PutRate(ctx context.Context, st rate.State) error {
	was := st.Version
	st = detachedRate(st)
	st.Version++
	return s.write(ctx, operation{rates, rateKey(st.Key), func(there any) (any, error) {
		if old, _ := there.(rate.State); old.Version != was {
			return nil, rate.ErrConflict
		}
		return st, nil
	}})
}
