package tryton

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
)

// domain is a search condition: clauses that must all hold.
type domain [][]any

// rpcContext is the last parameter of every call to a model.
type rpcContext map[string]any

// command is one change to the records at the other end of a field.
type command []any

func create(values ...any) command { return command{"create", values} }

// decimal is a Decimal of Python's, as its digits.
type decimal string

type wrapped struct {
	Class   string `json:"__class__"`
	Decimal string `json:"decimal"`
}

var errNotDecimal = errors.New("is not a Decimal")

// MarshalJSON wraps the digits as Tryton's protocol does.
func (d decimal) MarshalJSON() ([]byte, error) {
	return json.Marshal(wrapped{Class: "Decimal", Decimal: string(d)})
}

// UnmarshalJSON unwraps the digits. Python writes a very small or large value
// with an exponent ("0E-8"), which is written out. None is no digits, which are
// no amount either.
func (d *decimal) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*d = ""
		return nil
	}
	var w wrapped
	if err := json.Unmarshal(b, &w); err != nil || w.Class != "Decimal" {
		return errNotDecimal
	}
	r, ok := new(big.Rat).SetString(w.Decimal)
	if !ok || len(w.Decimal) > 60 {
		return errNotDecimal
	}
	digits, exact := r.FloatPrec()
	if !exact || digits > 40 {
		return errNotDecimal
	}
	*d = decimal(r.FloatString(digits))
	return nil
}

// date is a calendar day.
type date struct {
	Class string `json:"__class__"`
	Year  int    `json:"year"`
	Month int    `json:"month"`
	Day   int    `json:"day"`
}

func dateOf(t time.Time) date {
	y, m, d := t.UTC().Date()
	return date{Class: "date", Year: y, Month: int(m), Day: d}
}

// real reports whether there is such a day.
func (d date) real() bool {
	t := time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, time.UTC)
	return d.Year > 0 && t.Year() == d.Year && int(t.Month()) == d.Month && t.Day() == d.Day
}

// farFuture is a day that no movement lies behind.
var farFuture = date{Class: "date", Year: 9999, Month: 12, Day: 31}

// quantity is a count of units. Tryton's are floats; only whole ones are a
// quantity here.
type quantity int64

var errNotWhole = errors.New("is not a whole quantity")

// UnmarshalJSON reads a number such as 3.0 exactly.
func (q *quantity) UnmarshalJSON(b []byte) error {
	r, ok := new(big.Rat).SetString(string(b))
	if !ok || len(b) > 40 || !r.IsInt() || !r.Num().IsInt64() {
		return errNotWhole
	}
	*q = quantity(r.Num().Int64())
	return nil
}

// ids are records' numbers. Tryton gives null where a field has none.
type ids []int64

// text is a string that may be null.
type text string

// UnmarshalJSON reads null as empty.
func (t *text) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*t = ""
	if s != nil {
		*t = text(*s)
	}
	return nil
}

func reference(id int64) string { return strconv.FormatInt(id, 10) }

// recordID is the number in a receipt of this connector's.
func recordID(r effect.Receipt, of string) (int64, error) {
	id, err := strconv.ParseInt(r.Ref, 10, 64)
	if err != nil || id <= 0 {
		return 0, fault.New(fault.Permanent, fault.Internal, "the receipt is not of a record in Tryton").At(of, r.Ref)
	}
	return id, nil
}
