// Package inbox is how vendors' events wait to be taken in: the message that
// the webhook receiver and the pollers enqueue, and the lease under which one
// consumer works on one event.
package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Message is one delivery on its way to intake. Its body is the vendor's, byte
// for byte, inline or by reference.
type Message struct {
	Schema      int           `json:"schema"`
	Tenant      retail.Tenant `json:"tenant"`
	Connection  string        `json:"connection"`
	Connector   string        `json:"connector"`
	Topic       string        `json:"topic"`
	EventID     string        `json:"event_id"`
	TriggeredAt time.Time     `json:"triggered_at,omitzero"`
	ReceivedAt  time.Time     `json:"received_at"`
	Body        string        `json:"body,omitempty"` // base64
	Blob        string        `json:"blob,omitempty"` // object key, where the body is too large for a message
	// Exception is the open work that this delivery, a replay, is to answer.
	Exception string `json:"exception,omitempty"`
}

// InlineLimit is the largest body, in bytes, that travels inside a message;
// base64 and the envelope stay under the queue's 256 KiB.
const InlineLimit = 180 << 10

// EventKey returns the vendor's event id, or one made of the body where the
// vendor sends none: an equal body is then the same event.
func EventKey(eventID string, body []byte) string {
	if eventID != "" {
		return eventID
	}
	sum := sha256.Sum256(body)
	return "sha256-" + hex.EncodeToString(sum[:16])
}

// WithBody puts the body inline.
func (m Message) WithBody(b []byte) Message {
	m.Body = base64.StdEncoding.EncodeToString(b)
	return m
}

// Carry gives the message its body: inline, or put under the hash of its
// content where it is too large for a message.
func (m Message) Carry(ctx context.Context, body []byte, put func(ctx context.Context, key string, body []byte) error) (Message, error) {
	if len(body) <= InlineLimit {
		return m.WithBody(body), nil
	}
	sum := sha256.Sum256(body)
	m.Body, m.Blob = "", "raw/inbox/"+m.Tenant.String()+"/"+m.ReceivedAt.UTC().Format("2006/01/02")+"/"+hex.EncodeToString(sum[:])+".json"
	return m, put(ctx, m.Blob, body)
}

// Blobs reads what a message refers to.
type Blobs interface {
	Get(ctx context.Context, key string) ([]byte, error)
}

// Payload returns the vendor's bytes.
func (m Message) Payload(ctx context.Context, blobs Blobs) ([]byte, error) {
	if m.Blob != "" {
		return blobs.Get(ctx, m.Blob)
	}
	b, err := base64.StdEncoding.DecodeString(m.Body)
	if err != nil {
		return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "decoding the message's body")
	}
	return b, nil
}

// Lease is the state of an event after Begin.
type Lease int

const (
	// Mine: the caller holds the lease.
	Mine Lease = iota
	// Done: the event was finished before.
	Done
	// Busy: another consumer holds a lease that has not expired.
	Busy
)

// Store leases events.
type Store interface {
	// Begin leases the event until the given time with one conditional put.
	Begin(ctx context.Context, t retail.Tenant, connection, event, holder string, now, until time.Time) (Lease, error)
	// Abandon ends the holder's lease early, so that a redelivery need not wait
	// for its end. Somebody else's lease stays as it is.
	Abandon(ctx context.Context, t retail.Tenant, connection, event, holder string) error
	// Finish marks an event done that ends without a document's transaction.
	Finish(ctx context.Context, t retail.Tenant, connection, event, holder, outcome string, now time.Time) error
}
