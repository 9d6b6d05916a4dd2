// Package stock is what a warehouse position promises: conditional
// reservations for orders, a ledger of movements that happen once, and counts
// that are true as of a time.
package stock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Position is one SKU at one location, in the SKU's unit. Unreserved is kept as
// an attribute of its own so that a reservation is a comparison, not a
// computation: Unreserved = OnHand − Reserved − Damaged − QualityHold.
type Position struct {
	SKU         string
	Location    string
	OnHand      int64
	Reserved    int64
	Damaged     int64
	QualityHold int64
	InTransit   int64 // on its way here; no part of OnHand
	Unreserved  int64
	Version     int64
	Fence       Fence // the last count
}

// Item is a quantity of one SKU at one location, for one order line.
type Item struct {
	SKU      string
	Location string
	Line     string
	Quantity int64
	// Safety is what must stay unreserved beside the quantity. Of the items of
	// one position the largest counts.
	Safety int64
	// Backorder takes the item even where the position has too little.
	Backorder bool
	// Until is when the hold may be given back if its order does not say that
	// it has it; zero is never.
	Until time.Time
	// Capacity bounds how many orders the item's location takes; nil is any number.
	Capacity *Capacity
}

// Capacity is a bound on the orders that a location takes in one day.
type Capacity struct {
	Day   string // 2006-01-02 in the location's time zone
	Limit int64
}

// Hold is what an order has of a position.
type Hold struct {
	Order    string
	Line     string
	SKU      string
	Location string
	Quantity int64 // what is left of it; 0 once all of it was shipped
	Until    time.Time
	// Day is that on which its order is one of those that the location takes; of
	// an order's holds at a location one has it.
	Day string
}

// Demand is what an order line waits for and no position has.
type Demand struct {
	Order    string
	Line     string
	SKU      string
	Quantity int64
	Since    time.Time
}

// ErrUnknownSKU is a position that is not there.
var ErrUnknownSKU = errors.New("no stock position")

// Short is a reservation that a position could not cover.
type Short struct{ SKU, Location string }

func (e *Short) Error() string {
	return fmt.Sprintf("%s at %s: not enough unreserved stock", e.SKU, e.Location)
}

// Unknown is a SKU that the location has no position for.
type Unknown struct{ SKU, Location string }

func (e *Unknown) Error() string {
	return fmt.Sprintf("%s at %s: %v", e.SKU, e.Location, ErrUnknownSKU)
}
func (e *Unknown) Unwrap() error { return ErrUnknownSKU }

// Full is a location that takes no more orders on a day.
type Full struct{ Location, Day string }

func (e *Full) Error() string {
	return fmt.Sprintf("%s has taken all the orders that it takes on %s", e.Location, e.Day)
}

// Types of movements.
const (
	Receipt      = "receipt"
	Sale         = "sale"
	Return       = "return"
	TransferOut  = "transfer_out"
	TransferIn   = "transfer_in"
	Adjustment   = "adjustment"
	CountMove    = "count"
	Opening      = "opening"
	StatusChange = "status_change"
	Reversal     = "reversal"
)

// Move is an entry of the ledger: a change of a position's buckets with the
// document that caused it. It is never changed; what was wrong is reversed.
// Connection, Document, Line and Type are its natural key within its SKU.
type Move struct {
	SKU        string
	Location   string
	Type       string
	Connection string // the source
	Document   string
	Line       string
	// Deltas of the buckets.
	OnHand      int64
	Damaged     int64
	QualityHold int64
	InTransit   int64
	Reason      string
	OccurredAt  time.Time
	RecordedAt  time.Time
	// Hold is the order whose hold on HoldLine (Line if empty) the move
	// consumes: as much of it as leaves the shelf, never more than is held.
	Hold     string
	HoldLine string
	Reverses string // id of the movement that this one takes back
	By       string // the person, if one did it

	// What the ledger made of it, set by the store.
	Applied int64 // of OnHand; less where a count has seen it already
	Took    int64 // of the hold
	Counted int64 // of a count: what was counted
	AsOf    time.Time
	// Unsure: nobody knows whether the last count has seen it, because it happened
	// within the clocks' skew of that.
	Unsure bool
}

// ID is the movement's natural key as one word.
func (m Move) ID() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{m.Connection, m.Document, m.Line, m.Type}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func (m Move) holdLine() string {
	if m.HoldLine != "" {
		return m.HoldLine
	}
	return m.Line
}

// HeldLine is the line of the hold that the move consumes.
func (m Move) HeldLine() string { return m.holdLine() }

// Leaves is how much of a hold the move may consume.
func (m Move) Leaves() int64 { return max(-m.OnHand, 0) }

// Same reports whether two movements of one key say the same. Times are left
// out: a source that has none for a document gives today's, each time.
func (m Move) Same(o Move) bool {
	return m.SKU == o.SKU && m.Location == o.Location && m.OnHand == o.OnHand && m.Damaged == o.Damaged && m.QualityHold == o.QualityHold &&
		m.InTransit == o.InTransit && m.Reverses == o.Reverses && m.Counted == o.Counted
}

func (m Move) says() string {
	s := fmt.Sprintf("%s at %s, on hand %+d", m.SKU, m.Location, m.OnHand)
	for _, b := range []struct {
		name string
		n    int64
	}{{"damaged", m.Damaged}, {"quality hold", m.QualityHold}, {"in transit", m.InTransit}} {
		if b.n != 0 {
			s += fmt.Sprintf(", %s %+d", b.name, b.n)
		}
	}
	return s
}

// Contradiction is another movement under a key that is recorded already.
// Nothing moved.
func Contradiction(was, is Move) error {
	return fault.New(fault.Exception, fault.Duplicate, "document %s line %s of %q is recorded already as %s of %s; it is given again as %s. Nothing moved",
		was.Document, was.Line, was.Connection, was.Type, was.says(), is.says()).At("document", is.Document)
}

// Overheld is a reservation that names one item twice.
func Overheld(it Item) error {
	return fault.New(fault.Permanent, fault.Validation, "the reservation names line %s of %s at %s twice; sum it first", it.Line, it.SKU, it.Location).At("items.sku", it.SKU)
}

// CheckItems refuses what no transaction can carry or nobody can mean.
func CheckItems(items []Item) error {
	seen := map[[3]string]bool{}
	for _, it := range items {
		if it.Quantity <= 0 {
			return fault.New(fault.Permanent, fault.Validation, "the reservation of line %s is over %d of %s; it takes 1 or more", it.Line, it.Quantity, it.SKU).At("items.quantity", it.SKU)
		}
		k := [3]string{it.SKU, it.Line, it.Location}
		if seen[k] {
			return Overheld(it)
		}
		seen[k] = true
	}
	return nil
}

// Store keeps positions and their ledger. Reads are consistent.
type Store interface {
	// Reserve takes the items for the order in one transaction, all or none;
	// items of one position are summed. Items that the order already holds, or
	// has shipped, count as taken. It fails with *Short, *Unknown or *Full.
	Reserve(ctx context.Context, t retail.Tenant, order string, items []Item, now time.Time) error
	// Release gives back what the order holds of the items, at most their
	// quantities, and what is left of them then. Where nothing of a hold was
	// shipped, the location may take another order on its day.
	Release(ctx context.Context, t retail.Tenant, order string, items []Item, now time.Time) error
	// Apply records movements one after another; recorded ones are skipped, so
	// that a call that ended half-way is repeated as a whole. Another movement
	// under a recorded key is a Contradiction. Which are Unsure is set in moves,
	// of recorded ones too.
	Apply(ctx context.Context, t retail.Tenant, moves []Move) error
	// ApplyTogether records movements of distinct positions all or none. It
	// reports false where all of them were recorded before. audit, if any, is
	// written with them.
	ApplyTogether(ctx context.Context, t retail.Tenant, moves []Move, audit ...document.Audit) (bool, error)
	// Settle records a count under the version of the position that it was
	// weighed against: ErrMoved where that changed.
	Settle(ctx context.Context, t retail.Tenant, version int64, m Move, f Fence, audit ...document.Audit) (bool, error)
	// Positions reads positions; unknown ones are absent.
	Positions(ctx context.Context, t retail.Tenant, location string, skus []string) (map[string]Position, error)
	// Candidates reads the positions of several locations and what the order
	// holds of the items there (their Location is not looked at).
	Candidates(ctx context.Context, t retail.Tenant, order string, items []Item, locations []string) ([]Position, []Hold, error)
	// Holds reads what orders hold of one SKU, or one order alone where it is
	// named, at whatever location; without those that were shipped whole.
	Holds(ctx context.Context, t retail.Tenant, sku, order string) ([]Hold, error)
	// Orders is how many orders a location has taken on a day.
	Orders(ctx context.Context, t retail.Tenant, location, day string) (int64, error)
	// Stock reads all that is kept of one SKU but its movements.
	Stock(ctx context.Context, t retail.Tenant, sku string) (SKU, error)
	// Movements reads a SKU's movements at a location (all of them if "") that
	// occurred at a time or later, in the order of their occurrence.
	Movements(ctx context.Context, t retail.Tenant, sku, location string, from time.Time) ([]Move, error)
	// Movement returns one movement, or ErrNoMovement.
	Movement(ctx context.Context, t retail.Tenant, sku, id string) (Move, error)
	// Want keeps what lines of an order wait for; a quantity of 0 ends it.
	Want(ctx context.Context, t retail.Tenant, order string, demand []Demand) error
}

// Errors of a Store.
var (
	ErrMoved      = errors.New("the position moved meanwhile")
	ErrNoMovement = errors.New("there is no such movement")
)

// SKU is all that is kept of one SKU.
type SKU struct {
	Positions []Position
	Holds     []Hold // without those that were shipped whole
	Demand    []Demand
}

// MaxChunk is the number of positions a transaction carries: with one hold
// each, under DynamoDB's 100 items.
const MaxChunk = 45

// Chunks splits items so that none has more than MaxChunk positions, nor more
// positions and holds than two for each. Items of one position stay together
// unless they alone are too many.
func Chunks(items []Item) [][]Item {
	var out [][]Item
	var weight []int
	at := map[[2]string]int{}
	for _, it := range items {
		k := [2]string{it.SKU, it.Location}
		if i, ok := at[k]; ok && weight[i]+1 <= 2*MaxChunk {
			out[i], weight[i] = append(out[i], it), weight[i]+1
			continue
		}
		i := len(out) - 1
		if i < 0 || weight[i]+2 > 2*MaxChunk {
			out, weight = append(out, nil), append(weight, 0)
			i++
		}
		out[i], weight[i], at[k] = append(out[i], it), weight[i]+2, i
	}
	return out
}
