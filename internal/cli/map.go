//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

type mapCmd struct {
	Set     mapSet     `cmd:"" help:"Say what a value becomes, and let go on what waited for it."`
	Unset   mapUnset   `cmd:"" help:"Take a value out of a map."`
	List    mapList    `cmd:"" help:"List a retailer's maps, or the entries of one."`
	Import  mapImport  `cmd:"" help:"Put the lines of a CSV file (from,to) into a draft, which changes nothing yet."`
	Preview mapPreview `cmd:"" help:"Show what a draft would change in the last payloads."`
	Apply   mapApply   `cmd:"" help:"Make a draft current."`
}

// which names one map.
type which struct {
	platform
	Tenant     string `required:"" help:"The retailer."`
	Connection string `required:"" help:"The connection whose system uses the values."`
	Kind       string `required:"" enum:"sku,location,tax,payment,carrier,reason,unit" help:"What the values are: ${enum}."`
}

// way is which way a document goes past the connection.
type way struct {
	Direction string `enum:",decode,encode" default:"" help:"decode: FROM is the system's value and TO ours; encode: FROM is ours and TO the system's. By default what waits for FROM tells; if nothing does, a channel is read (decode), and an ERP and a warehouse are told (encode)."`
}

// mapped is the connection of a map, found.
type mapped struct {
	p          *boot.Platform
	tenant     retail.Tenant
	retailer   tenancy.Retailer
	connection tenancy.Connection
	kind       mapping.Kind
	bare       any // its connector, connected to nothing
	book       mapping.Book
}

func (c which) find(ctx context.Context) (mapped, error) {
	var m mapped
	var err error
	if m.kind, err = mapping.ParseKind(c.Kind); err != nil {
		return m, err
	}
	if m.tenant, err = retail.ParseTenant(c.Tenant); err != nil {
		return m, err
	}
	if m.p, err = c.attach(ctx); err != nil {
		return m, err
	}
	m.retailer, err = m.p.Store.Retailer(ctx, m.tenant)
	if errors.Is(err, tenancy.ErrNotFound) {
		tenants, terr := m.p.Store.Tenants(ctx)
		return m, errors.Join(fmt.Errorf("there is no retailer %q; there are %v", c.Tenant, tenants), terr)
	}
	if err != nil {
		return m, err
	}
	var ok bool
	if m.connection, ok = m.retailer.Connection(c.Connection); !ok {
		var ids []string
		for _, x := range m.retailer.Connections {
			ids = append(ids, x.ID)
		}
		return m, fmt.Errorf("retailer %s has no connection %q; there are %s", c.Tenant, c.Connection, strings.Join(ids, ", "))
	}
	if m.bare, err = catalog.Open(m.connection.Connector, m.connection.Settings, nil, nil, time.Now); err != nil {
		return m, err
	}
	m.book = mapping.Book{Store: m.p.Store, Now: time.Now}
	return m, nil
}

// changeable refuses a map that the retailer's file keeps.
func (m mapped) changeable() error {
	if _, kept := m.connection.Maps[m.kind]; kept {
		return fmt.Errorf("the %s map of connection %s stands in retailers/%s.yaml; change it there, then plan and apply", m.kind, m.connection.ID, m.tenant)
	}
	return nil
}

// idle says that a map changes nothing yet.
func (m mapped) idle() string {
	if catalog.Uses(m.bare, m.kind, mapping.Decode) || catalog.Uses(m.bare, m.kind, mapping.Encode) {
		return ""
	}
	return fmt.Sprintf("note: no document that passes connection %s has a %s yet; the map is kept and changes nothing", m.connection.ID, m.kind)
}

// waiting are the exceptions that wait for a value.
func (m mapped) waiting(value string) mapping.Waiting {
	w := mapping.Waiting{Tenant: m.tenant, Connection: m.connection.ID, Kind: m.kind, Value: value}
	for _, r := range m.retailer.Routes {
		ends := []string{r.Channel, r.ERP, r.Warehouse}
		if slices.Contains(ends, m.connection.ID) {
			w.Channels = append(w.Channels, ends...)
		}
	}
	slices.Sort(w.Channels)
	w.Channels = slices.Compact(w.Channels)
	return w
}

// direction is the one that is asked for, or in which documents wait for the
// value, or in which the connection's documents go.
func (m mapped) direction(asked, value string, xs []document.Exception) (mapping.Direction, error) {
	if asked != "" {
		return mapping.Direction(asked), nil
	}
	seen := map[mapping.Direction]bool{}
	w := m.waiting(value)
	for _, x := range xs {
		if w.Match(x) {
			seen[w.Direction(x)] = true
		}
	}
	switch {
	case len(seen) > 1:
		return "", fmt.Errorf("documents wait for %q in both directions; say --direction decode or encode", value)
	case seen[mapping.Decode]:
		return mapping.Decode, nil
	case seen[mapping.Encode]:
		return mapping.Encode, nil
	}
	return catalog.Usual(m.bare, m.kind), nil
}

// words says what an entry means.
func (m mapped) words(d mapping.Direction, from, to string) string {
	if d == mapping.Decode {
		return fmt.Sprintf("%s's %s %q is read as our %q", m.connection.ID, m.kind, from, to)
	}
	return fmt.Sprintf("our %s %q is written to %s as %q", m.kind, from, m.connection.ID, to)
}

type mapSet struct {
	which
	way
	actor
	From    string `arg:"" help:"What stands in the document."`
	To      string `arg:"" help:"What it becomes."`
	OneWay  bool   `help:"Leave the other direction alone; otherwise TO becomes FROM there, unless it has a value already."`
	Strict  *bool  `negatable:"" help:"Park documents with values that the map does not have, one by one, instead of passing the values on."`
	Retry   bool   `negatable:"" default:"true" help:"Let go on what waited for FROM."`
	NoWait  bool   `help:"Retry at once, although functions may see the map as it was for a minute."`
	JSON    bool   `name:"json" help:"Print JSON."`
	release release
}

// release lets go on what matches and says how many do.
type release func(ctx context.Context, t retail.Tenant, match func(document.Exception) bool) (n int, err error)

// desk releases by the exception desk.
func desk(p *boot.Platform, a exception.Actor, s streams, quiet bool) release {
	return func(ctx context.Context, t retail.Tenant, match func(document.Exception) bool) (int, error) {
		n, err := p.Desk().RetryCause(ctx, t, match, a, draining(s, time.Now(), quiet))
		if n.Refused > 0 && n.Done > 0 {
			err = errPartly
		}
		return n.Done, err
	}
}

// Run sets one entry.
func (c mapSet) Run(ctx context.Context, s streams) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	if err := m.changeable(); err != nil {
		return err
	}
	xs, err := m.p.Store.OpenExceptions(ctx, m.tenant)
	if err != nil {
		return err
	}
	d, err := m.direction(c.Direction, c.From, xs)
	if err != nil {
		return err
	}
	version, outcomes, err := m.book.Set(ctx, m.edit(c.actor, c.Strict), mapping.Entry{Direction: d, From: c.From, To: c.To, OneWay: c.OneWay})
	if err != nil {
		return err
	}
	out := setOutcome{Version: version.Version, Direction: string(d), From: c.From, To: c.To, Was: outcomes[0].Was, Reverse: outcomes[0].Reverse, Strict: version.Strict, Note: m.idle()}
	if !c.JSON {
		out.print(s, m)
	}
	if c.release == nil {
		c.release = desk(m.p, c.who(), s, c.JSON)
	}
	err = c.free(ctx, s, m, d, xs, &out)
	if c.JSON {
		err = errors.Join(printJSON(s.out, out), err)
	}
	return err
}

// setOutcome is what a set did.
type setOutcome struct {
	Version   int64  `json:"version"`
	Direction string `json:"direction"`
	From      string `json:"from"`
	To        string `json:"to"`
	Was       string `json:"was,omitempty"`
	Reverse   string `json:"reverse,omitempty"`
	Strict    bool   `json:"strict"`
	Waiting   int    `json:"waiting"`
	Released  int    `json:"released"`
	// ReadBefore are parked documents that were read before the map and keep
	// what they were read as.
	ReadBefore []string `json:"read_before,omitempty"`
	Note       string   `json:"note,omitempty"`
}

func (o setOutcome) print(s streams, m mapped) {
	d := mapping.Direction(o.Direction)
	_, _ = fmt.Fprintf(s.out, "version %d: %s\n", o.Version, m.words(d, o.From, o.To))
	if o.Was != "" && o.Was != o.To {
		_, _ = fmt.Fprintf(s.out, "  it became %q before\n", o.Was)
	}
	if o.Reverse != "" {
		_, _ = fmt.Fprintf(s.out, "  and %s\n", m.words(d.Reverse(), o.To, o.Reverse))
	}
	if o.Note != "" {
		_, _ = fmt.Fprintln(s.out, o.Note)
	}
}

// free lets go on what waited for the value.
func (c mapSet) free(ctx context.Context, s streams, m mapped, d mapping.Direction, xs []document.Exception, out *setOutcome) error {
	w := m.waiting(c.From)
	strict := w.Fingerprints()
	patient := false
	ready := func(x document.Exception) bool {
		// What a channel's order was read as is kept: only a delivery is read
		// again.
		return w.Match(x) && (d == mapping.Encode || x.EventID != "")
	}
	for _, x := range xs {
		switch {
		case ready(x):
			out.Waiting++
			patient = patient || !slices.Contains(strict, x.Fingerprint)
		case w.Match(x):
			out.ReadBefore = append(out.ReadBefore, x.ID)
		}
	}
	say := func(format string, args ...any) {
		if !c.JSON {
			_, _ = fmt.Fprintf(s.out, format+"\n", args...)
		}
	}
	if len(out.ReadBefore) > 0 {
		say("%d parked documents were read before and keep %q; to read a payload again: waybill edit %s", len(out.ReadBefore), c.From, out.ReadBefore[0])
	}
	switch {
	case out.Waiting == 0:
		say("nothing else waits for it")
		return nil
	case !c.Retry:
		say("%d documents wait for it; to let them go on: waybill exceptions --tenant %s, then waybill retry --cause …", out.Waiting, m.tenant)
		return nil
	}
	if !c.NoWait {
		// A map that is not strict is not read anew for a value that it lacks, and
		// one that is may just have been.
		wait := mapping.Anew
		if patient {
			wait = mapping.Keep
			say("%d documents wait for it; they go on in %s, when every function sees the map (--no-wait: now)", out.Waiting, wait)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the map is set; %d documents still wait: %w", out.Waiting, ctx.Err())
		case <-time.After(wait):
		}
	}
	n, err := c.release(ctx, m.tenant, ready)
	out.Released = n
	say("%d of %d documents that waited for it go on", n, out.Waiting)
	return err
}

func (m mapped) edit(a actor, strict *bool) mapping.Edit {
	who := a.who()
	return mapping.Edit{Tenant: m.tenant, Connection: m.connection.ID, Kind: m.kind, Strict: strict, By: who.By, Reason: who.Reason}
}

type mapUnset struct {
	which
	actor
	Direction string `enum:",decode,encode" default:"" help:"Where the value stands; needed only if it stands in both directions and becomes something else in each."`
	From      string `arg:"" help:"The value to take out."`
	JSON      bool   `name:"json" help:"Print JSON."`
}

// unsetOutcome is what an unset did.
type unsetOutcome struct {
	Changed   bool   `json:"changed"`
	Version   int64  `json:"version"`
	Direction string `json:"direction,omitempty"`
	From      string `json:"from"`
	Was       string `json:"was,omitempty"`
	// Reverse: the entry of the other direction is gone too; Instead is what
	// stands in its place.
	Reverse bool   `json:"reverse,omitempty"`
	Instead string `json:"instead,omitempty"`
}

// Run takes one entry out, both ways if it was set so. What is not there is no
// error: it may have been taken out before.
func (c mapUnset) Run(ctx context.Context, s streams) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	if err := m.changeable(); err != nil {
		return err
	}
	version, r, err := m.book.Unset(ctx, m.edit(c.actor, nil), mapping.Direction(c.Direction), c.From)
	missing := errors.Is(err, mapping.ErrNotFound)
	switch {
	case errors.Is(err, mapping.ErrBothWays):
		return fmt.Errorf("%q stands in both directions of the %s map of connection %s; say --direction decode or encode", c.From, m.kind, m.connection.ID)
	case err != nil && !missing:
		return err
	case c.JSON:
		return printJSON(s.out, unsetOutcome{!missing, version.Version, string(r.Direction), c.From, r.To, r.Reverse, r.Instead})
	case missing:
		_, err = fmt.Fprintf(s.out, "the %s map of connection %s has no %q; nothing was changed. What it has: waybill map list --tenant %s --connection %s --kind %s\n",
			m.kind, m.connection.ID, c.From, m.tenant, m.connection.ID, m.kind)
		return err
	}
	_, err = fmt.Fprintf(s.out, "version %d: no longer: %s\n", version.Version, m.words(r.Direction, r.From, r.To))
	if err == nil && r.Reverse {
		_, err = fmt.Fprintf(s.out, "  nor: %s\n", m.words(r.Direction.Reverse(), r.To, r.From))
	}
	if err == nil && r.Instead != "" {
		_, err = fmt.Fprintf(s.out, "  now: %s\n", m.words(r.Direction.Reverse(), r.To, r.Instead))
	}
	return err
}

type mapList struct {
	platform
	Tenant     string `required:"" help:"The retailer."`
	Connection string `help:"Of this connection only."`
	Kind       string `help:"With --connection: the entries of this map."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

// listedMap is one map, with its entries where they were asked for.
type listedMap struct {
	Connection string       `json:"connection"`
	Kind       mapping.Kind `json:"kind"`
	Kept       string       `json:"kept"` // in the file, or as a version
	Version    int64        `json:"version,omitempty"`
	Strict     bool         `json:"strict"`
	Decode     int          `json:"decode_entries"`
	Encode     int          `json:"encode_entries"`
	By         string       `json:"by,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	At         time.Time    `json:"at,omitzero"`
	Draft      int64        `json:"draft_version,omitempty"`
	Entries    []listed     `json:"entries,omitempty"`
}

type listed struct {
	Direction mapping.Direction `json:"direction"`
	From      string            `json:"from"`
	To        string            `json:"to"`
}

// Run lists maps, or one map's entries.
func (c mapList) Run(ctx context.Context, s streams) error {
	t, err := retail.ParseTenant(c.Tenant)
	if err != nil {
		return err
	}
	if c.Kind != "" && c.Connection == "" {
		return errors.New("give --connection with --kind")
	}
	if c.Kind != "" {
		if _, err := mapping.ParseKind(c.Kind); err != nil {
			return err
		}
	}
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	r, err := p.Store.Retailer(ctx, t)
	if err != nil {
		return err
	}
	if _, known := r.Connection(c.Connection); c.Connection != "" && !known {
		return fmt.Errorf("retailer %s has no connection %q", t, c.Connection)
	}
	all := []listedMap{}
	for _, conn := range r.Connections {
		if c.Connection != "" && conn.ID != c.Connection {
			continue
		}
		more, err := listMaps(ctx, p.Store, t, conn, mapping.Kind(c.Kind))
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	if c.JSON {
		return printJSON(s.out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(s.out, "there are no maps: every value passes as it is")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, m := range all {
		strict := "passes unknown values"
		if m.Strict {
			strict = "strict"
		}
		draft := ""
		if m.Draft > 0 {
			draft = "a draft waits: waybill map preview, then waybill map apply"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d to decode\t%d to encode\t%s\t%s\n", m.Connection, m.Kind, m.Kept, m.Decode, m.Encode, strict, strings.TrimSpace(m.Reason+" "+draft))
		for _, e := range m.Entries {
			_, _ = fmt.Fprintf(w, "\t%s\t%s\t→ %s\n", e.Direction, e.From, e.To)
		}
	}
	return w.Flush()
}

func listMaps(ctx context.Context, store mapping.Store, t retail.Tenant, conn tenancy.Connection, only mapping.Kind) ([]listedMap, error) {
	var out []listedMap
	book := mapping.Book{Store: store, Now: time.Now}
	add := func(m listedMap, entries map[mapping.Direction]map[string]string) {
		for _, d := range []mapping.Direction{mapping.Decode, mapping.Encode} {
			for _, from := range slices.Sorted(maps.Keys(entries[d])) {
				m.Entries = append(m.Entries, listed{d, from, entries[d][from]})
			}
		}
		out = append(out, m)
	}
	for _, k := range mapping.Kinds() {
		if only != "" && only != k {
			continue
		}
		if f, kept := conn.Maps[k]; kept {
			f = f.Complete()
			add(listedMap{Connection: conn.ID, Kind: k, Kept: "in the file", Strict: f.Strict, Decode: len(f.Decode), Encode: len(f.Encode)},
				map[mapping.Direction]map[string]string{mapping.Decode: f.Decode, mapping.Encode: f.Encode})
			continue
		}
		m, err := book.Current(ctx, t, conn.ID, k)
		if err != nil {
			return nil, err
		}
		draft, err := store.MapDraft(ctx, t, conn.ID, k)
		if err != nil && !errors.Is(err, mapping.ErrNotFound) {
			return nil, err
		}
		if m.Version == 0 && draft.Version == 0 {
			continue
		}
		var entries map[mapping.Direction]map[string]string
		if only != "" {
			if entries, err = book.Entries(ctx, m); err != nil {
				return nil, err
			}
		}
		add(listedMap{Connection: conn.ID, Kind: k, Kept: fmt.Sprintf("version %d", m.Version), Version: m.Version, Strict: m.Strict,
			Decode: m.Decode.Entries, Encode: m.Encode.Entries, By: m.By, Reason: m.Reason, At: m.At, Draft: draft.Version}, entries)
	}
	return out, nil
}

type mapApply struct {
	which
	actor
	JSON bool `name:"json" help:"Print JSON."`
}

// Run makes the draft current.
func (c mapApply) Run(ctx context.Context, s streams) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	if err := m.changeable(); err != nil {
		return err
	}
	version, err := m.book.Apply(ctx, m.edit(c.actor, nil))
	if errors.Is(err, mapping.ErrNotFound) {
		return fmt.Errorf("the %s map of connection %s has no draft; make one with: waybill map import", m.kind, m.connection.ID)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, version)
	}
	_, err = fmt.Fprintf(s.out, "version %d is current: %d values to decode, %d to encode; functions see it within %s\nwhat waited: waybill exceptions --tenant %s, then waybill retry --cause …\n",
		version.Version, version.Decode.Entries, version.Encode.Entries, mapping.Keep, m.tenant)
	return err
}
