//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
)

// maxPayload is the largest file that decode and emit read.
const maxPayload = 16 << 20

type decode struct {
	Connector string   `required:"" help:"Connector that the documents come from."`
	Object    string   `enum:"order,shipment," default:"" help:"What the one document is: order or shipment."`
	File      string   `default:"-" help:"The vendor's JSON; - is standard input."`
	Paths     []string `arg:"" optional:"" help:"Files and folders to try instead; prints what became of each document in them. A name that is a topic of the vendor, such as orders__create.json, says what a file holds."`
	JSON      bool     `name:"json" help:"Print JSON."`
}

// Run prints one canonical document, or what becomes of each of many. Where a
// document is refused, it names kind, field and value and ends with 1.
func (c decode) Run(s streams) error {
	if len(c.Paths) == 0 && c.Object == "" {
		return fmt.Errorf("decode needs --object for one document, or files and folders to try")
	}
	opened, err := catalog.Open(c.Connector, json.RawMessage(catalog.Bare(c.Connector)), nil, nil, time.Now)
	if err != nil {
		return explain(s, err)
	}
	if len(c.Paths) > 0 {
		return c.try(s, opened)
	}
	raw, err := s.read(c.File, maxPayload)
	if err != nil {
		return err
	}
	return c.one(s, opened, raw)
}

// tried is what decode prints of many documents as JSON.
type tried struct {
	Connector string `json:"connector"`
	samples.Tally
	Documents []samples.Outcome `json:"documents"`
}

// try prints what becomes of each document in the files and folders. One that
// is refused, as is a file that cannot be read, ends the command with 1.
func (c decode) try(s streams, opened any) error {
	inspector, ok := opened.(samples.Inspector)
	if !ok {
		return fmt.Errorf("connector %s decodes no documents", c.Connector)
	}
	files, err := filesIn(c.Paths)
	if err != nil {
		return err
	}
	all := tried{Connector: c.Connector, Documents: []samples.Outcome{}}
	for _, name := range files {
		raw, err := s.read(name, maxPayload)
		if err != nil {
			all.Documents = append(all.Documents, samples.Unread(filepath.ToSlash(name), err.Error()))
			continue
		}
		all.Documents = append(all.Documents, samples.Read(inspector, filepath.ToSlash(name), raw)...)
	}
	all.Tally = samples.Count(all.Documents)
	if c.JSON {
		err = printJSON(s.out, all)
	} else {
		err = all.print(s)
	}
	if err == nil && all.Refused > 0 {
		return errSilent
	}
	return err
}

func (t tried) print(s streams) error {
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "DOCUMENT\tWHAT\tOUTCOME\tWHY")
	for _, d := range t.Documents {
		why := d.Reason
		if d.Field != "" {
			why = d.Field + ": " + why
		}
		if d.Kind != "" {
			why = string(d.Kind) + "/" + string(d.Class) + " " + why
		}
		if d.Value != "" {
			why += fmt.Sprintf(" (value %q)", d.Value)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", strings.TrimSpace(d.File+" "+d.Place), first(d.Object, d.What), d.Verdict, strings.Join(strings.Fields(why), " "))
	}
	_ = w.Flush()
	_, err := fmt.Fprintf(s.out, "\n%s: %d tried, %d decoded, %d refused; %d files hold no document\n", t.Connector, t.Tried, t.Decoded, t.Refused, t.NoDocument)
	return err
}

// filesIn lists the files among paths and below folders, without hidden ones. A
// folder that cannot be read is listed itself, so that it is told of.
func filesIn(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		err := filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && d == nil:
				return err // there is no such path
			case err != nil:
				out = append(out, name)
				return fs.SkipDir
			}
			hidden := name != p && strings.HasPrefix(d.Name(), ".")
			switch {
			case d.IsDir() && hidden:
				return filepath.SkipDir
			case d.IsDir() || hidden:
				return nil
			}
			// A link to a folder is not followed.
			if info, err := os.Stat(name); err != nil || !info.IsDir() {
				out = append(out, name)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for documents: %w", err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// one prints one document in its canonical form.
func (c decode) one(s streams, opened any, raw []byte) error {
	switch c.Object {
	case "order":
		d, can := opened.(order.Decoder)
		if !can {
			return fmt.Errorf("connector %s decodes no orders", c.Connector)
		}
		o, person, err := d.DecodeOrder(raw)
		if err != nil {
			return explain(s, err)
		}
		o.Schema = retail.SchemaVersion
		certificate, cerr := retail.Certify(o)
		if err := printJSON(s.out, map[string]any{"order": o, "person": person, "certificate": certificate}); err != nil {
			return err
		}
		if cerr != nil {
			return explain(s, fault.Wrap(fault.Exception, fault.TotalsDiffer, cerr, "certifying the order's money").At("total_price", o.Totals.Total.String()))
		}
	case "shipment":
		d, can := opened.(shipment.Decoder)
		if !can {
			return fmt.Errorf("connector %s decodes no shipments", c.Connector)
		}
		sh, err := d.DecodeShipment(raw)
		if err != nil {
			return explain(s, err)
		}
		return printJSON(s.out, map[string]any{"shipment": sh})
	}
	return nil
}

// explain tells a fault in its parts.
func explain(s streams, err error) error {
	f := fault.Of(err)
	if f == nil {
		return err
	}
	_, _ = fmt.Fprintf(s.err, "waybill: cannot decode\n  kind   %s\n  class  %s\n", f.Kind, f.Class)
	if f.Field != "" {
		_, _ = fmt.Fprintf(s.err, "  field  %s\n", f.Field)
	}
	if f.Value != "" {
		_, _ = fmt.Fprintf(s.err, "  value  %s\n", f.Value)
	}
	_, _ = fmt.Fprintf(s.err, "  why    %s\n", f.Error())
	return errSilent
}
