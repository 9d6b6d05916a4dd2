// Package stock is what a warehouse position promises: conditional
// reservations for orders, and movements that happen once.
package stock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// Position is one SKU at one location. Unreserved is kept as an attribute of
// its own so that a reservation is a comparison, not a computation:
// Unreserved = OnHand − Reserved − Damaged − QualityHold.
type Position struct {
	SKU         string
	Location    string
	OnHand      int64
	Reserved    int64
	Damaged     int64
	QualityHold int64
	Unreserved  int64
	Version     int64
}

// Item is a quantity of one SKU at one location, for one order line.
type Item struct {
	SKU      string
	Location string
	Line     string
	Quantity int64
}

// Errors of reserving and moving. Short names the first SKU that lacked.
var (
	ErrUnknownSKU = errors.New("no stock position")
	ErrDuplicate  = errors.New("movement is already recorded")
)

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

// Move is a change of a position's buckets with the document that caused it.
type Move struct {
	SKU        string
	Location   string
	Type       string // receipt, sale, opening, …
	Connection string
	Document   string
	Line       string
	OnHand     int64 // delta
	Reserved   int64 // delta
	Reason     string
	OccurredAt time.Time
	RecordedAt time.Time
	Hold       string // order whose hold on Line the move consumes, or ""
}

// Store keeps positions. Each call is one transaction per chunk that it is
// given; the caller keeps chunks within MaxChunk.
type Store interface {
	// Reserve takes the items for the order, all or none. Items that the order
	// already holds count as taken. It fails with *Short or *Unknown.
	Reserve(ctx context.Context, t retail.Tenant, order string, items []Item, now time.Time) error
	// Release gives back what the order holds of the items.
	Release(ctx context.Context, t retail.Tenant, order string, items []Item, now time.Time) error
	// Apply records movements one after another; recorded ones are skipped, so
	// that a call that ended half-way is repeated as a whole.
	Apply(ctx context.Context, t retail.Tenant, moves []Move) error
	// Positions reads positions consistently; unknown ones are absent.
	Positions(ctx context.Context, t retail.Tenant, location string, skus []string) (map[string]Position, error)
}

// MaxChunk is the number of items a transaction carries: two writes each,
// under DynamoDB's 100.
const MaxChunk = 45

// Chunks splits items so that no SKU of a chunk repeats (a transaction may not
// name an item twice) and none is longer than MaxChunk.
func Chunks(items []Item) [][]Item {
	var out [][]Item
	var seen []map[string]bool
	open := 0
next:
	for _, it := range items {
		k := it.SKU + "\x00" + it.Location
		for i := open; i < len(out); i++ {
			if len(out[i]) < MaxChunk && !seen[i][k] {
				out[i], seen[i][k] = append(out[i], it), true
				continue next
			}
		}
		out, seen = append(out, []Item{it}), append(seen, map[string]bool{k: true})
		for open < len(out) && len(out[open]) >= MaxChunk {
			open++
		}
	}
	return out
}
