// Package samples tells what a connector makes of a vendor's documents as they
// lie about in files: webhook bodies, answers of the vendor's API, recorded
// exchanges, and what documentation shows of them.
package samples

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Inspector is a connector that can look at a document of any kind. what is
// what the vendor calls it, as far as that is known: a webhook's topic, a
// method, or "GET /path 200". each is told of every document in raw: its place,
// what kind it is, and the canonical form or why there is none.
type Inspector interface {
	// TopicOf is what the vendor calls the documents of a file by this name, whose
	// parts are separated by slashes, or empty where the name is none of the
	// vendor's: anybody may call a file anything.
	TopicOf(name string) string
	Inspect(what string, raw []byte, each func(place, object string, canonical any, err error))
}

// Verdict is what became of a document.
type Verdict string

// The verdicts. A certified order's money adds up; NoDocument is a file that
// holds nothing a vendor would send, such as a schema.
const (
	Decoded    Verdict = "decoded"
	Refused    Verdict = "refused"
	NoDocument Verdict = "no document"
)

// Outcome is what became of one document.
type Outcome struct {
	File      string      `json:"file"`
	Place     string      `json:"place,omitempty"` // in the file
	What      string      `json:"what,omitempty"`  // what the vendor calls it
	Object    string      `json:"object,omitempty"`
	Verdict   Verdict     `json:"verdict"`
	Kind      fault.Kind  `json:"kind,omitempty"`
	Class     fault.Class `json:"class,omitempty"`
	Field     string      `json:"field,omitempty"`
	Value     string      `json:"value,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Canonical any         `json:"canonical,omitempty"`
}

// Read inspects every document of a file. Its name tells what they are only
// where it is one of the vendor's topics and the content does not.
func Read(c Inspector, name string, content []byte) []Outcome {
	docs, why := split(c, name, content)
	if why != "" {
		return []Outcome{{File: name, Verdict: NoDocument, Reason: why}}
	}
	var out []Outcome
	for _, d := range docs {
		c.Inspect(d.what, d.raw, func(place, object string, canonical any, err error) {
			o := Outcome{File: name, Place: join(d.place, place), What: d.what, Object: object, Verdict: Decoded, Canonical: canonical}
			if order, ok := ordered(canonical); ok && err == nil {
				err = certified(order)
			}
			if err != nil {
				o.refuse(err)
			}
			out = append(out, o)
		})
	}
	return out
}

// Unread is the outcome of a file that could not be read, with the reason.
func Unread(name, reason string) Outcome {
	return Outcome{File: name, Verdict: Refused, Kind: fault.Permanent, Class: fault.Validation, Reason: reason}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

func ordered(canonical any) (retail.Order, bool) {
	o, ok := canonical.(retail.Order)
	return o, ok
}

// certified refuses an order whose money does not add up.
func certified(o retail.Order) error {
	if _, err := retail.Certify(o); err != nil {
		return fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "certifying the order's money").At("total_price", o.Totals.Total.String())
	}
	return nil
}

func (o *Outcome) refuse(err error) {
	o.Verdict, o.Canonical, o.Reason = Refused, nil, err.Error()
	f := fault.Of(err)
	if f == nil {
		return
	}
	bare := fault.Error{Message: f.Message, Cause: f.Cause}
	o.Kind, o.Class, o.Field, o.Value, o.Reason = f.Kind, f.Class, f.Field, f.Value, bare.Error()
}

// Tally counts verdicts.
type Tally struct {
	Tried      int `json:"tried"`
	Decoded    int `json:"decoded"`
	Refused    int `json:"refused"`
	NoDocument int `json:"no_document"`
}

// Count counts what was tried, and what was none.
func Count(outcomes []Outcome) Tally {
	var t Tally
	for _, o := range outcomes {
		switch o.Verdict {
		case Decoded:
			t.Decoded++
		case Refused:
			t.Refused++
		case NoDocument:
			t.NoDocument++
		}
	}
	t.Tried = t.Decoded + t.Refused
	return t
}

// Table writes the outcomes as a Markdown table, and their tally.
func Table(w io.Writer, outcomes []Outcome) error {
	var b strings.Builder
	b.WriteString("| document | what it is | outcome | class | field | reason |\n|---|---|---|---|---|---|\n")
	cell := func(s string) string {
		return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
	}
	for _, o := range outcomes {
		class := string(o.Class)
		if o.Kind != "" {
			class = string(o.Kind) + "/" + class
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(join(o.File, o.Place)), cell(cmp.Or(o.Object, o.What)), o.Verdict, class, cell(o.Field), cell(o.Reason))
	}
	t := Count(outcomes)
	fmt.Fprintf(&b, "\n%d tried: %d decoded, %d refused. %d files hold no document.\n", t.Tried, t.Decoded, t.Refused, t.NoDocument)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the table of documents: %w", err)
	}
	return nil
}
