package connectortest

import (
	"context"
	"fmt"
	"sync"

	"github.com/waybillhq/waybill/internal/effect"
)

// memory is the ledger's store in a map.
type memory struct {
	mu sync.Mutex
	m  map[string]effect.Record
}

func keyOf(s effect.Subject, key string) string { return fmt.Sprintf("%s/%s/%s", s.Type, s.ID, key) }

// Create implements effect.Store.
func (m *memory) Create(_ context.Context, r effect.Record) (*effect.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.m[keyOf(r.Subject, r.Key)]; ok {
		return &old, nil
	}
	m.m[keyOf(r.Subject, r.Key)] = r
	return nil, nil
}

// Update implements effect.Store.
func (m *memory) Update(_ context.Context, r effect.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m[keyOf(r.Subject, r.Key)].Version != r.Version {
		return effect.ErrLost
	}
	r.Version++
	m.m[keyOf(r.Subject, r.Key)] = r
	return nil
}

// Effect implements effect.Store.
func (m *memory) Effect(_ context.Context, s effect.Subject, key string) (*effect.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.m[keyOf(s, key)]
	if !ok {
		return nil, nil
	}
	return &r, nil
}

// newLedger is a real ledger on the clock's time.
func newLedger(c *Clock) *effect.Ledger {
	n := 0
	return &effect.Ledger{Store: &memory{m: map[string]effect.Record{}}, Now: c.Now, NewID: func() string { n++; return fmt.Sprint(n) }}
}
