//go:build unix

package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/waybillhq/waybill/internal/mapping"
)

type mapImport struct {
	which
	way
	actor
	File    string `arg:"" help:"CSV with from,to and perhaps decode or encode as a third column; - is standard input."`
	Replace bool   `help:"Let the draft hold nothing else, instead of adding to the current map."`
	Strict  *bool  `negatable:"" help:"Park documents with values that the map does not have, one by one."`
	Now     bool   `name:"apply" help:"Make the draft current at once."`
	DryRun  bool   `help:"Check the file and change nothing."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// maxImport is the largest file, in bytes.
const maxImport = 64 << 20

// shownRejections is how many rejected lines are printed; JSON has all.
const shownRejections = 20

type imported struct {
	mapping.Table
	Accepted  int    `json:"accepted"`
	Direction string `json:"direction"`
	DryRun    bool   `json:"dry_run,omitempty"`
	Draft     int64  `json:"draft_version,omitempty"`
	Current   int64  `json:"current_version,omitempty"`
	Decode    int    `json:"decode_entries,omitempty"`
	Encode    int    `json:"encode_entries,omitempty"`
}

// Run reads the file into a draft. A file of which some lines are rejected ends
// with 3; one of which all are changes nothing and ends with 1.
func (c mapImport) Run(ctx context.Context, s streams) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	if err := m.changeable(); err != nil {
		return err
	}
	raw, err := s.read(c.File, maxImport)
	if err != nil {
		return err
	}
	d, err := m.direction(c.Direction, "", nil)
	if err != nil {
		return err
	}
	table, err := mapping.ReadCSV(bytes.NewReader(raw), d)
	if err != nil {
		return err
	}
	out := imported{Table: table, Accepted: len(table.Entries), Direction: string(d), DryRun: c.DryRun}
	if !c.JSON {
		out.print(s)
	}
	if out.Accepted > 0 && !c.DryRun {
		if !c.JSON {
			m.book.Progress = func(done, total int) { _, _ = fmt.Fprintf(s.err, "stored %d of %d parts\n", done, total) }
		}
		if err := c.store(ctx, m, &out); err != nil {
			return err
		}
	}
	if err := c.report(s, m, out); err != nil {
		return err
	}
	switch {
	case out.Accepted == 0:
		return errSilent
	case len(out.Rejected) > 0:
		return errPartly
	}
	return nil
}

func (c mapImport) store(ctx context.Context, m mapped, out *imported) error {
	version, err := m.book.Draft(ctx, m.edit(c.actor, c.Strict), c.Replace, out.Entries)
	if err != nil {
		return err
	}
	if c.Now {
		if version, err = m.book.Apply(ctx, m.edit(c.actor, nil)); err != nil {
			return err
		}
		out.Current = version.Version
	} else {
		out.Draft = version.Version
	}
	out.Decode, out.Encode = version.Decode.Entries, version.Encode.Entries
	return nil
}

func (o imported) print(s streams) {
	for i, r := range o.Rejected {
		if i == shownRejections {
			_, _ = fmt.Fprintf(s.err, "… and %d more; --json has all\n", len(o.Rejected)-i)
			break
		}
		_, _ = fmt.Fprintf(s.err, "line %d: %q %s\n", r.Line, r.From, r.Reason)
	}
	_, _ = fmt.Fprintf(s.out, "%d lines: %d accepted to %s, %d repeated, %d rejected\n", o.Lines, o.Accepted, o.Direction, o.Repeated, len(o.Rejected))
}

func (c mapImport) report(s streams, m mapped, out imported) (err error) {
	name := fmt.Sprintf("--tenant %s --connection %s --kind %s", m.tenant, m.connection.ID, m.kind)
	switch {
	case c.JSON:
		return printJSON(s.out, out)
	case out.Accepted == 0:
		_, err = fmt.Fprintln(s.out, "nothing was changed")
	case c.DryRun:
		_, err = fmt.Fprintln(s.out, "nothing was changed: a dry run")
	case out.Current > 0:
		_, err = fmt.Fprintf(s.out, "version %d is current: %d values to decode, %d to encode; functions see it within %s\n", out.Current, out.Decode, out.Encode, mapping.Keep)
	default:
		_, err = fmt.Fprintf(s.out, "a draft waits: %d values to decode, %d to encode\nwhat it would change: waybill map preview %s\nto make it current:   waybill map apply %s --reason …\n",
			out.Decode, out.Encode, name, name)
	}
	if note := m.idle(); err == nil && note != "" {
		_, err = fmt.Fprintln(s.out, note)
	}
	return err
}
