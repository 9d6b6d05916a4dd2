// Package document is the life that every stored document shares, whatever
// its type: an optimistic version, a run that fences off older executions, a
// due time by which something must happen, a timeline that is also the outbox,
// and parking.
package document

import (
	"context"
	"errors"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// Types of documents.
const (
	Order    = "order"
	Shipment = "shipment"
)

// Key names a document.
type Key struct {
	Tenant retail.Tenant `json:"tenant"`
	Type   string        `json:"type"`
	ID     string        `json:"id"`
}

// Head is the one mutable item of a document, at most 1 KB. Everything else
// about it is immutable or derived.
type Head struct {
	Key
	Schema        int
	State         retail.State
	Version       int64     // optimistic lock, +1 with every commit
	Sequence      int64     // number of the last timeline entry, contiguous
	Run           int64     // only the execution that carries this number may act
	Attempt       int       // failed runs since the last progress
	Due           time.Time // by when something must happen; zero only when final or parked
	Body          int64     // version of the canonical document
	Parked        string    // id of the exception that holds it, or ""
	CancelAsked   bool      // the channel canceled it after it was taken in
	Connection    string    // where it came from
	ExternalID    string
	Number        string // what people call it
	SourceVersion string
	SourceHash    string // hash of the snapshot with SourceVersion
	Total         retail.Money
	Parent        string // a shipment's order id
	ConfigVersion int64
	Correlation   string
	Raw           string // where the payload it was made from is kept
	Waiting       int    // events that wait behind it
	CreatedAt     time.Time
	UpdatedAt     time.Time
	CheckedAt     time.Time // when a late document was last read again where it came from
	Tail          *Tail     // set by the Store that read it
}

// Tail is the newest part of a timeline, which is kept with the head.
type Tail struct {
	Version int64 // the head's version that it is of
	Apart   int64 // number of the last entry that is kept elsewhere, or 0
	Steps   []Step
	Writer  string // names the commit that wrote it
}

// Open reports whether the document still needs something.
func (h Head) Open() bool { return !retail.Final(h.Type, h.State) }

// Defective reports an open document that nothing will ever touch again.
func (h Head) Defective() bool { return h.Open() && h.Parked == "" && h.Due.IsZero() }

// Step is a timeline entry, written with the change that it tells, so that it is
// also the outbox. Data holds references and numbers,
// never personal data.
type Step struct {
	Seq         int64             `json:"seq"`
	At          time.Time         `json:"at"`
	Type        string            `json:"type"` // retail.order.accepted.v1
	Run         int64             `json:"run,omitempty"`
	Correlation string            `json:"correlation_id,omitempty"`
	Data        map[string]string `json:"data,omitempty"`
}

// Ref makes an external id of one connection unique and leads from any number
// of a document to the document.
type Ref struct {
	Tenant     retail.Tenant
	Connection string
	Type       string // order, order_number, sales_order, fulfillment_order, shipment, tracking, invoice
	External   string
}

// Change is what a transaction does to one document.
type Change struct {
	Head   Head // the new head; Head.Version is the version it replaces, 0 to create
	Steps  []Step
	Body   any            // non-nil: the new canonical document, stored as version Head.Body, which is new
	Refs   []Ref          // must not exist, or belong to this document
	Person *retail.Person // non-nil: stored in the Person table
}

// Exception is open work for somebody: what is parked, why, and what it is
// worth. It holds no personal data.
type Exception struct {
	Tenant      retail.Tenant `json:"tenant"`
	ID          string        `json:"id"`
	Kind        string        `json:"kind"`
	Class       string        `json:"class"`
	Fingerprint string        `json:"fingerprint"` // groups exceptions of one cause
	Connection  string        `json:"connection"`
	Type        string        `json:"document_type,omitempty"`
	Document    string        `json:"document_id,omitempty"`
	Number      string        `json:"document_number,omitempty"`
	Field       string        `json:"field,omitempty"`
	Value       string        `json:"value,omitempty"`
	Reason      string        `json:"reason"`
	Action      string        `json:"suggested_action,omitempty"`
	AtStake     retail.Money  `json:"value_at_stake"`
	State       string        `json:"state"`
	Raw         string        `json:"raw,omitempty"`
	EventID     string        `json:"event_id,omitempty"` // of the delivery that could not be taken in
	OpenedAt    time.Time     `json:"opened_at"`
	DueAt       time.Time     `json:"due_at"` // SLA
	Owner       string        `json:"owner,omitempty"`
	Notes       []Note        `json:"notes,omitempty"`
	Retries     int           `json:"retries,omitempty"`  // answers asked for
	Payloads    []string      `json:"payloads,omitempty"` // earlier versions of Raw, oldest first
	Resolution  string        `json:"resolution,omitempty"`
	ResolvedAt  time.Time     `json:"resolved_at,omitzero"`
	// Version is the optimistic lock: what is committed replaces this version,
	// 0 creates.
	Version int64 `json:"version"`
}

// States of an exception.
const (
	Open     = "open"
	Asked    = "asked" // a replay is on its way
	Resolved = "resolved"
)

// Note is what somebody wrote about an exception.
type Note struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Text string    `json:"text"`
}

// Audit is one thing that a person did, kept for ever.
type Audit struct {
	Tenant  retail.Tenant     `json:"tenant"`
	ID      string            `json:"id"`
	At      time.Time         `json:"at"`
	By      string            `json:"by"`
	Verb    string            `json:"verb"` // exception.retry, queue.redrive, …
	Subject string            `json:"subject"`
	Reason  string            `json:"reason"`
	Data    map[string]string `json:"data,omitempty"`
}

// InboxDone marks an inbox event as finished inside the accepting transaction.
type InboxDone struct {
	Tenant     retail.Tenant
	Connection string
	Event      string
	Holder     string // the lease's holder; the transaction fails if the lease was taken over
	Outcome    string
	At         time.Time
}

// Pending is an event that waits behind a parked document.
type Pending struct {
	Key
	SourceVersion string
	EventID       string
	Raw           string
	At            time.Time
}

// Transaction commits all or nothing.
type Transaction struct {
	Changes    []Change
	Exceptions []Exception
	Pending    []Pending
	Drained    []Pending // events that wait no longer
	Audit      []Audit
	Inbox      *InboxDone
}

// Errors of a Store.
var (
	ErrNotFound = errors.New("document not found")
	ErrConflict = errors.New("document was changed by somebody else")
	ErrRefTaken = errors.New("external id belongs to another document")
	ErrLease    = errors.New("inbox lease was taken over")
)

// DueItem is one entry of the due index: a hint, never a decision.
type DueItem struct {
	Key Key
	Due time.Time
}

// Store keeps documents. Reads are consistent, except Due.
type Store interface {
	// Head returns ErrNotFound for an unknown document.
	Head(ctx context.Context, k Key) (Head, error)
	// Body decodes version v of the canonical document into out.
	Body(ctx context.Context, k Key, v int64, out any) error
	// Steps returns the timeline in order, as of h or later.
	Steps(ctx context.Context, h Head) ([]Step, error)
	// Person returns the personal data, or ErrNotFound after an erasure.
	Person(ctx context.Context, k Key) (retail.Person, error)
	// Pending returns what waits behind the document, by source version.
	Pending(ctx context.Context, k Key) ([]Pending, error)
	// Exception returns ErrNotFound for an unknown one.
	Exception(ctx context.Context, t retail.Tenant, id string) (Exception, error)
	// Resolve leads from external ids to documents; unknown ones are absent.
	Resolve(ctx context.Context, refs ...Ref) (map[Ref]Key, error)
	// Commit writes t or nothing: ErrConflict, ErrRefTaken, ErrLease. Refs of
	// documents that exist are the exception where t has nothing but changes:
	// they may lead to their document before it is committed, and if it never is,
	// when no other document can have them any more.
	Commit(ctx context.Context, t Transaction) error
	// Due lists, for one shard, up to limit documents due before t.
	Due(ctx context.Context, shard int, before time.Time, limit int) ([]DueItem, error)
}

// Shards is the number of partitions of the due index.
const Shards = 16
