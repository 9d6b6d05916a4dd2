// Package memory is the twin of package eventbus: a bus in this process that
// remembers what was published.
package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/fault"
)

// Bus is one event bus. It is safe for concurrent use; the zero Bus is empty
// and takes everything.
type Bus struct {
	// Refuse, if set, says which events are refused.
	Refuse func(eventbus.Event) bool

	mu     sync.Mutex
	events []eventbus.Event
}

// Publish is eventbus.Bus.Publish.
func (b *Bus) Publish(ctx context.Context, events []eventbus.Event) (refused []int, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(events) > eventbus.MaxBatch {
		return nil, fault.New(fault.Permanent, fault.Internal, "%d events in one call; the bus takes %d", len(events), eventbus.MaxBatch)
	}
	for _, e := range events {
		if _, err := json.Marshal(e); err != nil {
			return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range events {
		if b.Refuse != nil && b.Refuse(e) {
			refused = append(refused, i)
			continue
		}
		e.Data = bytes.Clone(e.Data)
		b.events = append(b.events, e)
	}
	return refused, nil
}

// Published is all that was taken, in order.
func (b *Bus) Published() []eventbus.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := append([]eventbus.Event(nil), b.events...)
	for i := range out {
		out[i].Data = bytes.Clone(out[i].Data)
	}
	return out
}
