// Package alert tells people of what needs them: once for each cause, again
// when it grows worse or lasts, and when it is over. Rules read what the
// platform knows already; what is sent names causes, counts and the next
// command, never a person, a document's content or a reference value.
package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Kind is what an alert is about.
type Kind string

// The kinds.
const (
	Stopped    Kind = "documents_stopped"  // a cause has parked documents or deliveries
	Credential Kind = "credential_refused" // #nosec G101 -- the name of a kind: a vendor refuses a connection's credential
	DeadLetter Kind = "dead_letters"       // a queue gave messages up
	Stuck      Kind = "documents_overdue"  // documents that nothing takes up
	Hole       Kind = "proof_hole"         // a channel lists more than is accounted for
	Test       Kind = "test"
)

// Level is how much an alert presses; a rise is told.
type Level int

// The levels, rising.
const (
	Open    Level = iota + 1 // P2: somebody must look within the SLA
	DueSoon                  // P2: little of the SLA is left
	Urgent                   // P1
)

// Severity is the level as people call it.
func (l Level) Severity() string {
	if l >= Urgent {
		return "P1"
	}
	return "P2"
}

// Signal is one cause that a rule sees at one time.
type Signal struct {
	Kind       Kind
	Tenant     retail.Tenant // retail.Partner where it is no retailer's own
	Connection string
	Class      string // of an exception
	Cause      string // what tells it from others of its kind and tenant
	Level      Level
	Count      int
	First      time.Time // since when
	Text       string
	Command    string // what to do next
}

// Fingerprint is equal for signals of one cause.
func (s Signal) Fingerprint() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(s.Kind), s.Tenant.String(), s.Cause}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// Observation is what the platform knows at one time.
type Observation struct {
	At         time.Time
	Exceptions []document.Exception // open ones, of all retailers
	Letters    []deadletter.Letters
	Overdue    []document.DueItem // by more than StuckAfter
	// Blind are kinds whose source could not be read: they are neither raised
	// nor over.
	Blind []Kind
}

const (
	// StuckAfter is how late a document may be before it counts as stuck. The
	// sweeper looks every minute.
	StuckAfter = 5 * time.Minute
	// holeField is the field of the exception that a proof opens; its value is
	// the day.
	holeField = "date"
	// many is from how many exceptions on a cause is urgent whatever it is.
	many = 25
	// soon is the share of an SLA that is little to be left.
	soon = 4
)

// urgent are the classes that no retailer can help with, or where waiting may
// cost money.
var urgent = map[string]bool{
	string(fault.Internal): true, string(fault.Configuration): true, string(fault.OutcomeUnknown): true,
	string(fault.Connectivity): true, string(fault.RateLimited): true, string(fault.Authentication): true,
}

// Judge applies the rules.
func Judge(o Observation) []Signal {
	var out []Signal
	refused := map[string]*Signal{}
	for _, c := range exception.Causes(o.Exceptions) {
		if c.Class == string(fault.Authentication) {
			key := c.Tenant.String() + "\x00" + c.Connection
			s := refused[key]
			if s == nil {
				s = &Signal{Kind: Credential, Tenant: c.Tenant, Connection: c.Connection, Class: c.Class, Cause: c.Connection, Level: Urgent, First: c.OldestAt,
					Command: "renew the credential, apply it (waybill apply), then: waybill retry --cause " + c.Fingerprint + " --reason WHY"}
				refused[key] = s
			}
			s.Count += c.Count
			if c.OldestAt.Before(s.First) {
				s.First = c.OldestAt
			}
			continue
		}
		if c.Class == string(fault.MissingReference) && c.Field == holeField {
			out = append(out, Signal{Kind: Hole, Tenant: c.Tenant, Connection: c.Connection, Class: c.Class, Cause: c.Fingerprint, Level: Urgent, Count: c.Count, First: c.OldestAt,
				Text:    fmt.Sprintf("%s: not every order that %s lists for %s is accounted for", c.Tenant, c.Connection, c.Value),
				Command: "waybill exception " + c.Exceptions[0]})
			continue
		}
		out = append(out, stopped(c, o.At))
	}
	for _, s := range refused {
		s.Text = fmt.Sprintf("%s: the credential of connection %s is refused; %s waiting for it", s.Tenant, s.Connection, number(s.Count, "document is", "documents are"))
		out = append(out, *s)
	}
	for _, l := range o.Letters {
		first := l.Oldest
		if first.IsZero() {
			first = o.At
		}
		out = append(out, Signal{Kind: DeadLetter, Tenant: retail.Partner, Cause: l.Queue, Level: Urgent, Count: int(l.Count), First: first,
			Text: fmt.Sprintf("the queue %s gave up on %s", l.Queue, number(int(l.Count), "message", "messages")), Command: l.Action})
	}
	out = append(out, stuck(o)...)
	slices.SortFunc(out, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), a.First.Compare(b.First), cmp.Compare(a.Fingerprint(), b.Fingerprint()))
	})
	return out
}

// stopped is the signal of a cause that parked something.
func stopped(c exception.Cause, now time.Time) Signal {
	s := Signal{Kind: Stopped, Tenant: c.Tenant, Connection: c.Connection, Class: c.Class, Cause: c.Fingerprint, Level: Open, Count: c.Count, First: c.OldestAt,
		Command: "waybill exceptions --tenant " + c.Tenant.String() + "   then: waybill retry --cause " + c.Fingerprint + " --reason WHY"}
	when := ""
	switch left := c.DueAt.Sub(now); {
	case left < 0:
		s.Level, when = Urgent, "; its SLA is over since "+c.DueAt.UTC().Format(time.RFC3339)
	case left <= c.DueAt.Sub(c.OldestAt)/soon:
		s.Level, when = DueSoon, "; its SLA ends at "+c.DueAt.UTC().Format(time.RFC3339)
	}
	if urgent[c.Class] || c.Count >= many {
		s.Level = Urgent
	}
	field := ""
	if c.Field != "" {
		field = ", field " + c.Field
	}
	s.Text = fmt.Sprintf("%s: %s stopped by %s at connection %s%s%s", c.Tenant, number(c.Count, "document is", "documents are"), c.Class, c.Connection, field, when)
	return s
}

// stuck makes one signal a retailer of the documents that nothing takes up.
func stuck(o Observation) (out []Signal) {
	by := map[retail.Tenant]int{}
	for _, d := range o.Overdue {
		if o.At.Sub(d.Due) < StuckAfter {
			continue
		}
		at, seen := by[d.Key.Tenant]
		if !seen {
			at = len(out)
			by[d.Key.Tenant] = at
			out = append(out, Signal{Kind: Stuck, Tenant: d.Key.Tenant, Level: Urgent, First: d.Due, Command: "waybill trace " + d.Key.ID})
		}
		out[at].Count++
		if d.Due.Before(out[at].First) {
			out[at].First, out[at].Command = d.Due, "waybill trace "+d.Key.ID
		}
	}
	for i := range out {
		out[i].Text = fmt.Sprintf("%s: nothing takes up %s that should have gone on by %s; see whether document-sweep and document-resume run",
			out[i].Tenant, number(out[i].Count, "document", "documents"), out[i].First.UTC().Format(time.RFC3339))
	}
	return out
}

func number(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
