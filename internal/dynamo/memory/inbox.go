package memory

import (
	"context"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// event is the lease on an inbox event, or its end.
type event struct {
	done    bool
	holder  string
	until   time.Time
	outcome string
}

func eventKey(t retail.Tenant, connection, id string) key {
	return key{part(t.String(), connection, id), "event"}
}

// Begin implements inbox.Store.
func (s *Store) Begin(ctx context.Context, t retail.Tenant, connection, id, holder string, now, until time.Time) (inbox.Lease, error) {
	lease := inbox.Mine
	err := s.write(ctx, operation{events, eventKey(t, connection, id), func(was any) (any, error) {
		old, exists := was.(event)
		switch {
		case exists && old.done:
			lease = inbox.Done
		case exists && !old.until.Before(now) && old.holder != holder:
			lease = inbox.Busy
		case exists && !old.until.Before(now):
			// The holder's own lease, asked for again, stays as it is.
		default:
			return event{holder: holder, until: until}, nil
		}
		return was, nil
	}})
	if err != nil {
		return inbox.Busy, err
	}
	return lease, nil
}

// Abandon implements inbox.Store.
func (s *Store) Abandon(ctx context.Context, t retail.Tenant, connection, id, holder string) error {
	return s.write(ctx, operation{events, eventKey(t, connection, id), func(was any) (any, error) {
		if old, exists := was.(event); exists && !old.done && old.holder == holder {
			old.until = time.Time{}
			return old, nil
		}
		return was, nil
	}})
}

// Finish implements inbox.Store.
func (s *Store) Finish(ctx context.Context, t retail.Tenant, connection, id, holder, outcome string, now time.Time) error {
	return s.write(ctx, finish(document.InboxDone{Tenant: t, Connection: connection, Event: id, Holder: holder, Outcome: outcome, At: now}))
}

// finish ends an event that its holder still has, whatever the time.
func finish(d document.InboxDone) operation {
	return operation{events, eventKey(d.Tenant, d.Connection, d.Event), func(was any) (any, error) {
		if old, exists := was.(event); !exists || old.done || old.holder != d.Holder {
			return nil, document.ErrLease
		}
		return event{done: true, holder: d.Holder, outcome: d.Outcome}, nil
	}}
}
