package mapping

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Rejected is a line of a file that is not taken, and why.
type Rejected struct {
	Line   int    `json:"line"`
	From   string `json:"from,omitempty"`
	Reason string `json:"reason"`
}

// Table is a file of entries, read.
type Table struct {
	Entries  []Entry    `json:"-"`
	Lines    int        `json:"lines"`    // with something in them, without the header
	Repeated int        `json:"repeated"` // that say again what an earlier one says
	Rejected []Rejected `json:"rejected"`
}

// ReadCSV reads lines of from and to, and perhaps a third column with decode or
// encode. A first line of just these words is a header; a semicolon separates
// where the first line has no comma. What cannot be meant is rejected line by
// line; of two lines that contradict each other the first counts.
func ReadCSV(r io.Reader, d Direction) (Table, error) {
	in := bufio.NewReader(r)
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3) // what was peeked is there
	}
	c := csv.NewReader(in)
	c.FieldsPerRecord = -1
	if head, _ := in.Peek(512); bytes.IndexByte(firstLine(head), ';') >= 0 && bytes.IndexByte(firstLine(head), ',') < 0 {
		c.Comma = ';'
	}
	t := Table{Rejected: []Rejected{}}
	type key struct {
		d    Direction
		from string
	}
	first := map[key]int{}
	said := map[key]string{}
	for {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			t.Lines++
			t.Rejected = append(t.Rejected, Rejected{Line: wrong.Line, Reason: wrong.Err.Error()})
			continue
		}
		if err != nil {
			return t, fmt.Errorf("reading the file: %w", err)
		}
		line, _ := c.FieldPos(0)
		if t.Lines == 0 && header(fields) {
			continue
		}
		t.Lines++
		e, err := entry(fields, d)
		if err != nil {
			t.Rejected = append(t.Rejected, Rejected{line, fields[0], err.Error()})
			continue
		}
		k := key{e.Direction, e.From}
		switch was, again := said[k]; {
		case !again:
			said[k], first[k] = e.To, line
			t.Entries = append(t.Entries, e)
		case was == e.To:
			t.Repeated++
		default:
			t.Rejected = append(t.Rejected, Rejected{line, e.From, fmt.Sprintf("contradicts line %d, which makes it %q instead of %q", first[k], was, e.To)})
		}
	}
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return line
}

func header(fields []string) bool {
	return len(fields) >= 2 && strings.EqualFold(strings.TrimSpace(fields[0]), "from") && strings.EqualFold(strings.TrimSpace(fields[1]), "to")
}

func entry(fields []string, d Direction) (Entry, error) {
	if len(fields) < 2 || len(fields) > 3 {
		return Entry{}, fmt.Errorf("has %d columns instead of from and to", len(fields))
	}
	e := Entry{Direction: d, From: fields[0], To: fields[1]}
	if len(fields) == 3 && fields[2] != "" {
		if e.Direction = Direction(fields[2]); e.Direction != Decode && e.Direction != Encode {
			return e, fmt.Errorf("%q is no direction: decode or encode", fields[2])
		}
	}
	if err := CheckValue(e.From); err != nil {
		return e, fmt.Errorf("from: %w", err)
	}
	if err := CheckValue(e.To); err != nil {
		return e, fmt.Errorf("to: %w", err)
	}
	return e, nil
}
