// Package memory is the twin of package stepfn: it remembers what was started,
// for whoever carries it out.
package memory

import (
	"context"
	"sync"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
)

// Machines start machines of some types of documents. They are safe for
// concurrent use.
type Machines struct {
	types   map[string]bool
	mu      sync.Mutex
	started []document.Task
}

// New returns machines for documents of these types.
func New(types ...string) *Machines {
	m := &Machines{types: map[string]bool{}}
	for _, t := range types {
		m.types[t] = true
	}
	return m
}

// Start is stepfn.Machines.Start. Like an Express machine it starts what was
// started before again: the run fences it.
func (m *Machines) Start(ctx context.Context, t document.Task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !m.types[t.Type] {
		return fault.New(fault.Permanent, fault.Configuration, "no state machine is set for documents of type %s", t.Type)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = append(m.started, t)
	return nil
}

// Take returns what was started since the last Take, in order.
func (m *Machines) Take() []document.Task {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.started
	m.started = nil
	return out
}
