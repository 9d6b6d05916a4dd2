// Package fault says what should happen after an error. An error is
// classified once, at the edge where it arises; everything above asks KindOf
// and never reads the text.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the one question that matters after a failure: who can help?
type Kind string

const (
	// Retryable: another attempt, later, may succeed. An error without a mark
	// is Retryable.
	Retryable Kind = "Retryable"
	// Permanent: no attempt will succeed until an engineer or an administrator
	// acts (malformed payload, revoked credential). The document is parked.
	Permanent Kind = "Permanent"
	// Exception: the business must decide or complete something (unknown SKU,
	// totals that differ). The document is parked.
	Exception Kind = "Exception"
)

// Class is the domain's name of what went wrong; it decides owner and SLA.
type Class string

// The classes of domain.md section 2 that exist so far.
const (
	Connectivity      Class = "connectivity"
	RateLimited       Class = "rate_limited"
	Authentication    Class = "authentication"
	Mapping           Class = "mapping"
	MissingReference  Class = "missing_reference"
	Validation        Class = "validation"
	Address           Class = "address"
	InventoryShortage Class = "inventory_shortage"
	// ReservationUncovered: stock shrank below what orders were promised.
	ReservationUncovered Class = "reservation_uncovered"
	// StockDrift: a count and movements contradict each other within their clocks' skew.
	StockDrift     Class = "stock_drift"
	StateConflict  Class = "state_conflict"
	Duplicate      Class = "duplicate"
	TotalsDiffer   Class = "totals_differ"
	OutcomeUnknown Class = "outcome_unknown"
	Configuration  Class = "configuration"
	Internal       Class = "internal"
)

// Error is a classified failure. Field is a path in the source document
// (line_items[3].price); Value is the offending reference value (a SKU, a
// code, an amount) and never a name, an address or an e-mail, because faults
// are logged and shown.
type Error struct {
	Kind       Kind
	Class      Class
	Field      string
	Value      string
	Message    string
	RetryAfter time.Duration // the vendor's own wish, or zero
	Unknown    bool          // a write may or may not have happened
	Cause      error
}

func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Value != "" {
		s += fmt.Sprintf(" (value %q)", clip(e.Value))
	}
	if e.Cause != nil {
		if s != "" {
			s += ": "
		}
		s += e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return s[:80] + "…"
}

// New classifies a failure that has no underlying error.
func New(kind Kind, class Class, format string, args ...any) *Error {
	return &Error{Kind: kind, Class: class, Message: fmt.Sprintf(format, args...)}
}

// Wrap classifies err.
func Wrap(kind Kind, class Class, err error, format string, args ...any) *Error {
	return &Error{Kind: kind, Class: class, Message: fmt.Sprintf(format, args...), Cause: err}
}

// At returns a copy of e that names the field and the reference value.
func (e *Error) At(field, value string) *Error {
	c := *e
	c.Field, c.Value = field, value
	return &c
}

// After returns a copy of e that asks for the next attempt no sooner than d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// OutcomeUnknown returns a copy of e that says a write may have happened.
func (e *Error) OutcomeUnknown() *Error {
	c := *e
	c.Unknown = true
	return &c
}

// Of returns the outermost classified error in err's chain, or nil.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// KindOf is the kind of err; unmarked errors are Retryable.
func KindOf(err error) Kind {
	if e := Of(err); e != nil {
		return e.Kind
	}
	return Retryable
}

// RetryAfterOf is the wait that err asks for, or zero.
func RetryAfterOf(err error) time.Duration {
	if e := Of(err); e != nil {
		return e.RetryAfter
	}
	return 0
}
