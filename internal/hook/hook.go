// Package hook acknowledges vendors' deliveries: it finds the connection by
// the address, verifies the signature over the bytes as they came, and hands
// the bytes on. It decodes nothing.
package hook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// MaxBody is the largest delivery that is taken, in bytes. What is larger is
// refused with 413 and found by the poller.
const MaxBody = 4 << 20

// Verifier is the capability of a connector that sends webhooks.
type Verifier interface {
	// VerifyWebhook checks signature, source and age of a delivery.
	VerifyWebhook(h http.Header, body []byte, secrets []string, now time.Time) error
	// Announce tells flow, topic and event id from the headers alone.
	Announce(h http.Header) (retail.Announcement, error)
}

// Receiver acknowledges deliveries. It is safe for concurrent use.
type Receiver struct {
	Hook    func(ctx context.Context, t retail.Tenant, token string) (tenancy.Hook, error)
	Secrets func(ctx context.Context, h tenancy.Hook) ([]string, error)
	Open    func(h tenancy.Hook) (any, error)
	Put     func(ctx context.Context, key string, body []byte) error
	// Enqueue hands the message to the flow's queue; known is false for a flow
	// that has none.
	Enqueue func(ctx context.Context, flow string, m inbox.Message) (known bool, err error)
	Now     func() time.Time

	mu    sync.Mutex
	cache map[string]entry
}

// entry is an opened hook, or the certainty that there is none.
type entry struct {
	hook     tenancy.Hook
	verifier Verifier
	secrets  []string
	missing  bool
	until    time.Time
}

// keep is how long a changed hook may still be seen as it was.
const keep = 60 * time.Second

// maxCached bounds what invented addresses can make us remember.
const maxCached = 1000

// Outcome is what a delivery came to. Reason is for the log: it holds no
// payload and no secret.
type Outcome struct {
	Status int
	Reason string
	Tenant string
	Topic  string
	Flow   string
}

// Receive handles one delivery to /hooks/{address}, where address is
// <tenant>.<token>.
func (r *Receiver) Receive(ctx context.Context, address string, h http.Header, body []byte) Outcome {
	id, token, ok := strings.Cut(address, ".")
	tenant, err := retail.ParseTenant(id)
	if !ok || err != nil || token == "" || len(token) > 100 {
		return Outcome{Status: http.StatusNotFound, Reason: "malformed address"}
	}
	e, err := r.find(ctx, tenant, token)
	if err != nil {
		return Outcome{Status: http.StatusServiceUnavailable, Reason: err.Error(), Tenant: id}
	}
	if e.missing {
		return Outcome{Status: http.StatusNotFound, Reason: "unknown hook", Tenant: id}
	}
	if len(body) > MaxBody {
		return Outcome{Status: http.StatusRequestEntityTooLarge, Reason: "body too large", Tenant: id}
	}
	now := r.Now()
	if err := e.verifier.VerifyWebhook(h, body, e.secrets, now); err != nil {
		return Outcome{Status: http.StatusUnauthorized, Reason: "signature refused", Tenant: id}
	}
	a, err := e.verifier.Announce(h)
	if err != nil {
		return Outcome{Status: http.StatusOK, Reason: "announces nothing", Tenant: id}
	}
	out := Outcome{Status: http.StatusOK, Tenant: id, Topic: a.Topic, Flow: a.Flow}
	if a.Flow == "" {
		out.Reason = "unwanted topic"
		return out
	}
	m := inbox.Message{Schema: retail.SchemaVersion, Tenant: tenant, Connection: e.hook.Connection, Connector: e.hook.Connector,
		Topic: a.Topic, EventID: a.EventID, TriggeredAt: a.TriggeredAt, ReceivedAt: now}
	if m, err = m.Carry(ctx, body, r.Put); err != nil {
		return Outcome{Status: http.StatusServiceUnavailable, Reason: err.Error(), Tenant: id, Topic: a.Topic, Flow: a.Flow}
	}
	known, err := r.Enqueue(ctx, a.Flow, m)
	if err != nil {
		return Outcome{Status: http.StatusServiceUnavailable, Reason: err.Error(), Tenant: id, Topic: a.Topic, Flow: a.Flow}
	}
	if !known {
		out.Reason = "no queue for this flow"
	}
	return out
}

func (r *Receiver) find(ctx context.Context, t retail.Tenant, token string) (entry, error) {
	key, now := t.String()+"."+token, r.Now()
	r.mu.Lock()
	e, ok := r.cache[key]
	r.mu.Unlock()
	if ok && now.Before(e.until) {
		return e, nil
	}
	e, err := r.load(ctx, t, token)
	if err != nil {
		return entry{}, err // failures are not remembered
	}
	e.until = now.Add(keep)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cache == nil || len(r.cache) >= maxCached {
		r.cache = map[string]entry{}
	}
	r.cache[key] = e
	return e, nil
}

func (r *Receiver) load(ctx context.Context, t retail.Tenant, token string) (entry, error) {
	h, err := r.Hook(ctx, t, token)
	if errors.Is(err, tenancy.ErrNotFound) {
		return entry{missing: true}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("finding the hook: %w", err)
	}
	opened, err := r.Open(h)
	if err != nil {
		return entry{}, fmt.Errorf("opening connection %s: %w", h.Connection, err)
	}
	v, ok := opened.(Verifier)
	if !ok {
		return entry{}, fault.New(fault.Permanent, fault.Configuration, "connector %s sends no webhooks", h.Connector)
	}
	secrets, err := r.Secrets(ctx, h)
	if err != nil {
		return entry{}, fmt.Errorf("opening the webhook secret of connection %s: %w", h.Connection, err)
	}
	return entry{hook: h, verifier: v, secrets: secrets}, nil
}
