//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

type stockCmd struct {
	Show    stockShow    `cmd:"" default:"withargs" help:"Show a SKU's position at each location, and what each number is made of."`
	Adjust  stockAdjust  `cmd:"" help:"Change on hand by hand; it is audited and can be reversed."`
	Reverse stockReverse `cmd:"" help:"Take a movement back, once."`
	Count   stockCount   `cmd:"" help:"Record a count as of a time: what moved after it is added."`
	Open    stockOpen    `cmd:"" help:"Open a position with what is there."`
	Audit   stockAudit   `cmd:"" help:"Prove that a SKU's positions are what their ledger says."`
}

type stockKey struct {
	platform
	SKU    string `arg:"" name:"sku" help:"The SKU as positions have it."`
	Tenant string `help:"The retailer; the only one if empty."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c stockKey) open(ctx context.Context) (*boot.Platform, retail.Tenant, error) {
	p, err := c.attach(ctx)
	if err != nil {
		return nil, retail.Tenant{}, err
	}
	t, err := theOne(ctx, p, c.Tenant)
	return p, t, err
}

type stockShow struct {
	stockKey
	Moves int `help:"Show that many of the last movements too." default:"0"`
}

type shownHold struct {
	Order    string `json:"order"`
	Number   string `json:"number,omitempty"`
	Line     string `json:"line"`
	Quantity int64  `json:"quantity"`
}

type shownMove struct {
	ID         string    `json:"id"`
	Location   string    `json:"location"`
	Type       string    `json:"type"`
	OnHand     int64     `json:"on_hand"`
	Applied    int64     `json:"applied"`
	Source     string    `json:"source"`
	Document   string    `json:"document"`
	OccurredAt time.Time `json:"occurred_at"`
	Reverses   string    `json:"reverses,omitempty"`
	By         string    `json:"by,omitempty"`
	Reason     string    `json:"reason,omitempty"`
}

type shownPosition struct {
	Location    string      `json:"location"`
	Owner       string      `json:"owner,omitempty"`
	OnHand      int64       `json:"on_hand"`
	Reserved    int64       `json:"reserved"`
	Damaged     int64       `json:"damaged"`
	QualityHold int64       `json:"quality_hold"`
	InTransit   int64       `json:"in_transit"`
	Unreserved  int64       `json:"unreserved"`
	Safety      int64       `json:"safety_stock"`
	Version     int64       `json:"version"`
	CountedAt   time.Time   `json:"counted_at,omitzero"`
	CountedBy   string      `json:"counted_by,omitempty"`
	Holds       []shownHold `json:"reserved_by"`
}

type shownStock struct {
	Tenant    string          `json:"tenant"`
	SKU       string          `json:"sku"`
	Unit      string          `json:"unit"`
	Kit       []string        `json:"kit_of,omitempty"`
	Positions []shownPosition `json:"positions"`
	Demand    []shownHold     `json:"demand"`
	Movements []shownMove     `json:"movements,omitempty"`
}

// Run shows.
func (c stockShow) Run(ctx context.Context, s streams) error {
	p, t, err := c.stockKey.open(ctx)
	if err != nil {
		return err
	}
	out, err := c.read(ctx, p, t)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, out)
	}
	if len(out.Kit) > 0 {
		_, err := fmt.Fprintf(s.out, "%s is a kit of %s; it has no stock of its own\n", c.SKU, strings.Join(out.Kit, ", "))
		return err
	}
	if len(out.Positions) == 0 {
		return fmt.Errorf("%s has no position; open one with: waybill stock open %s --location … --on-hand … --reason …", c.SKU, c.SKU)
	}
	for _, x := range out.Positions {
		_, _ = fmt.Fprintf(s.out, "%s at %s: %d free = %d on hand − %d reserved − %d damaged − %d on quality hold (%s)\n", c.SKU, x.Location, x.Unreserved,
			x.OnHand, x.Reserved, x.Damaged, x.QualityHold, out.Unit)
		w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
		if x.Safety > 0 {
			_, _ = fmt.Fprintf(w, "  safety stock\t%d\tso that orders may take %d\n", x.Safety, max(x.Unreserved-x.Safety, 0))
		}
		if x.InTransit != 0 {
			_, _ = fmt.Fprintf(w, "  in transit\t%d\t\n", x.InTransit)
		}
		if !x.CountedAt.IsZero() {
			_, _ = fmt.Fprintf(w, "  counted\t%s\tby %s\n", x.CountedAt.Local().Format(time.DateTime), x.CountedBy)
		}
		if x.Owner != "" {
			_, _ = fmt.Fprintf(w, "  owner\t%s\t\n", x.Owner)
		}
		for _, h := range x.Holds {
			_, _ = fmt.Fprintf(w, "  reserved by\t%s\t%d, line %s\n", first(h.Number, h.Order), h.Quantity, h.Line)
		}
		_ = w.Flush()
	}
	for _, d := range out.Demand {
		_, _ = fmt.Fprintf(s.out, "waited for by %s: %d, line %s\n", first(d.Number, d.Order), d.Quantity, d.Line)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, m := range out.Movements {
		note := ""
		if m.Applied != m.OnHand {
			note = fmt.Sprintf("(%+d counted: a count has seen the rest)", m.Applied)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%+d\t%s\t%s %s\t%s\n", m.OccurredAt.Local().Format(time.DateTime), m.ID, m.Type, m.OnHand, m.Location, m.Source, m.Document,
			strings.TrimSpace(strings.Join([]string{m.By, m.Reason, note}, " ")))
	}
	return w.Flush()
}

func (c stockShow) read(ctx context.Context, p *boot.Platform, t retail.Tenant) (shownStock, error) {
	out := shownStock{Tenant: t.String(), SKU: c.SKU, Positions: []shownPosition{}, Demand: []shownHold{}}
	policy, err := p.StockPolicy(ctx, t)
	if err != nil {
		return out, err
	}
	product := policy.Product(c.SKU)
	out.Unit = string(product.Unit)
	for _, x := range product.Components {
		out.Kit = append(out.Kit, fmt.Sprintf("%d × %s", x.Quantity, x.SKU))
	}
	kept, err := p.Store.Stock(ctx, t, c.SKU)
	if err != nil {
		return out, err
	}
	numbers := map[string]string{}
	number := func(order string) (string, error) {
		if n, known := numbers[order]; known {
			return n, nil
		}
		h, err := p.Store.Head(ctx, document.Key{Tenant: t, Type: document.Order, ID: order})
		if err != nil && !errors.Is(err, document.ErrNotFound) {
			return "", err
		}
		numbers[order] = h.Number
		return h.Number, nil
	}
	for _, x := range kept.Positions {
		l, _ := policy.Location(x.Location)
		pos := shownPosition{Location: x.Location, Owner: l.Owner, OnHand: x.OnHand, Reserved: x.Reserved, Damaged: x.Damaged, QualityHold: x.QualityHold,
			InTransit: x.InTransit, Unreserved: x.Unreserved, Safety: l.SafetyStock, Version: x.Version, CountedAt: x.Fence.At, CountedBy: x.Fence.By, Holds: []shownHold{}}
		for _, h := range kept.Holds {
			if h.Location == x.Location {
				n, err := number(h.Order)
				if err != nil {
					return out, err
				}
				pos.Holds = append(pos.Holds, shownHold{h.Order, n, h.Line, h.Quantity})
			}
		}
		out.Positions = append(out.Positions, pos)
	}
	for _, d := range kept.Demand {
		n, err := number(d.Order)
		if err != nil {
			return out, err
		}
		out.Demand = append(out.Demand, shownHold{d.Order, n, d.Line, d.Quantity})
	}
	if c.Moves > 0 {
		moves, err := p.Store.Movements(ctx, t, c.SKU, "", time.Time{})
		if err != nil {
			return out, err
		}
		for _, m := range moves[max(0, len(moves)-c.Moves):] {
			out.Movements = append(out.Movements, shown(m))
		}
	}
	return out, nil
}

func shown(m stock.Move) shownMove {
	return shownMove{ID: m.ID(), Location: m.Location, Type: m.Type, OnHand: m.OnHand, Applied: m.Applied, Source: m.Connection, Document: m.Document,
		OccurredAt: m.OccurredAt, Reverses: m.Reverses, By: m.By, Reason: m.Reason}
}

// quantity is how a person gives a number: with its unit.
type quantity struct {
	Unit string `help:"The unit of the number: piece, gram, kg, or a pack of the SKU; its own if empty."`
}

func (q quantity) of(ctx context.Context, p *boot.Platform, t retail.Tenant, sku, number string) (int64, error) {
	policy, err := p.StockPolicy(ctx, t)
	if err != nil {
		return 0, err
	}
	return policy.Product(sku).Quantity(number, q.Unit)
}

type stockAdjust struct {
	stockKey
	quantity
	Location string `required:"" help:"Where."`
	By       string `required:"" help:"By how much, such as -3."`
	Reason   string `required:"" help:"Why; it is kept with the movement."`
	Who      string `help:"Who adjusts; the user of this machine if empty."`
	Number   string `help:"Your number of the adjustment: given again, it changes nothing. A new one if empty."`
}

// Run adjusts.
func (c stockAdjust) Run(ctx context.Context, s streams) error {
	p, t, err := c.stockKey.open(ctx)
	if err != nil {
		return err
	}
	n, err := c.of(ctx, p, t, c.SKU, c.By)
	if err != nil {
		return err
	}
	who := actor{Reason: c.Reason, By: c.Who}.who()
	m, err := p.Ledger().Adjust(ctx, t, c.SKU, c.Location, n, first(c.Number, boot.NewID()), stock.Person{By: who.By, Reason: who.Reason})
	if err != nil {
		return err
	}
	return c.told(s, m)
}

func (c stockKey) told(s streams, m stock.Move) error {
	if c.JSON {
		return printJSON(s.out, shown(m))
	}
	_, err := fmt.Fprintf(s.out, "%s at %s: %s of %+d is movement %s\nto take it back: waybill stock reverse %s %s --reason …\n", m.SKU, m.Location, m.Type, m.OnHand, m.ID(), m.SKU, m.ID())
	return err
}

type stockReverse struct {
	stockKey
	actor
	Movement string `arg:"" help:"The movement's id, or its beginning."`
}

// Run reverses.
func (c stockReverse) Run(ctx context.Context, s streams) error {
	p, t, err := c.stockKey.open(ctx)
	if err != nil {
		return err
	}
	id := c.Movement
	if len(id) < 32 {
		moves, err := p.Store.Movements(ctx, t, c.SKU, "", time.Time{})
		if err != nil {
			return err
		}
		moves = slices.DeleteFunc(moves, func(m stock.Move) bool { return !strings.HasPrefix(m.ID(), id) })
		if len(moves) != 1 {
			return fmt.Errorf("%d movements of %s begin with %q; list them with: waybill stock %s --moves 20", len(moves), c.SKU, id, c.SKU)
		}
		id = moves[0].ID()
	}
	who := c.who()
	m, err := p.Ledger().Reverse(ctx, t, c.SKU, id, stock.Person{By: who.By, Reason: who.Reason})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, shown(m))
	}
	_, err = fmt.Fprintf(s.out, "%s at %s: movement %s takes %s back\n", m.SKU, m.Location, m.ID(), id)
	return err
}

// counted is what a count and an opening are given by.
type counted struct {
	stockKey
	actor
	quantity
	Location string    `required:"" help:"Where."`
	OnHand   string    `required:"" help:"What is there."`
	AsOf     time.Time `help:"When that was true, RFC 3339; now if empty."`
	Source   string    `default:"operator" help:"Who counted: a connection, or a person."`
	Number   string    `help:"The number of the count: given again, it changes nothing. A new one if empty."`
}

func (c counted) run(ctx context.Context, s streams, do func(stock.Ledger, retail.Tenant, stock.Count) (stock.Counted, error)) error {
	p, t, err := c.stockKey.open(ctx)
	if err != nil {
		return err
	}
	n, err := c.of(ctx, p, t, c.SKU, c.OnHand)
	if err != nil {
		return err
	}
	if c.AsOf.IsZero() {
		c.AsOf = time.Now()
	}
	who := c.who()
	got, err := do(p.Ledger(), t, stock.Count{SKU: c.SKU, Location: c.Location, Source: c.Source, Document: first(c.Number, boot.NewID()), OnHand: n, AsOf: c.AsOf,
		Who: stock.Person{By: who.By, Reason: who.Reason}})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"movement": shown(got.Move), "was": got.Was, "is": got.Is, "repeated": got.Repeated, "ambiguous": got.Ambiguous})
	}
	switch {
	case got.Repeated:
		_, err = fmt.Fprintf(s.out, "%s at %s: this count is recorded already; %d are on hand\n", c.SKU, c.Location, got.Is)
	case got.Ambiguous > 0:
		_, err = fmt.Fprintf(s.out, "%s at %s: %d on hand, was %d. %d movements are so close to the count that the lower number was taken: waybill exceptions\n", c.SKU, c.Location, got.Is, got.Was, got.Ambiguous)
	default:
		_, err = fmt.Fprintf(s.out, "%s at %s: %d on hand, was %d\n", c.SKU, c.Location, got.Is, got.Was)
	}
	return err
}

type stockCount struct{ counted }

// Run counts.
func (c stockCount) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(l stock.Ledger, t retail.Tenant, x stock.Count) (stock.Counted, error) { return l.Count(ctx, t, x) })
}

type stockOpen struct{ counted }

// Run opens.
func (c stockOpen) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(l stock.Ledger, t retail.Tenant, x stock.Count) (stock.Counted, error) { return l.Open(ctx, t, x) })
}

type stockAudit struct{ stockKey }

// Run audits; exit code 1 if something is not what the ledger says.
func (c stockAudit) Run(ctx context.Context, s streams) error {
	p, t, err := c.stockKey.open(ctx)
	if err != nil {
		return err
	}
	found, n, err := stock.Prove(ctx, p.Store, t, c.SKU)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(s.out, map[string]any{"sku": c.SKU, "positions": n, "imbalances": append([]stock.Imbalance{}, found...)}); err != nil {
			return err
		}
	} else {
		for _, i := range found {
			_, _ = fmt.Fprintln(s.out, i)
		}
		if len(found) == 0 {
			_, _ = fmt.Fprintf(s.out, "%s: %d positions are what their ledger says. All SKUs: waybill job start stock-audit\n", c.SKU, n)
		}
	}
	if len(found) > 0 {
		return errSilent
	}
	return nil
}

type explainSourcing struct {
	platform
	Number string `arg:"" help:"The order's number at its channel, its id, or its external id."`
	Tenant string `help:"The retailer; the only one if empty."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run says from where an order is shipped, and why from there.
func (c explainSourcing) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	t, err := theOne(ctx, p, c.Tenant)
	if err != nil {
		return err
	}
	r, err := p.Store.Retailer(ctx, t)
	if err != nil {
		return err
	}
	var refs []document.Ref
	for _, x := range r.Connections {
		for _, n := range []string{c.Number, "#" + strings.TrimPrefix(c.Number, "#")} {
			for _, typ := range refTypes {
				refs = append(refs, document.Ref{Tenant: t, Connection: x.ID, Type: typ, External: n})
			}
		}
	}
	slices.SortFunc(refs, func(a, b document.Ref) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	found, err := p.Store.Resolve(ctx, slices.Compact(refs)...)
	if err != nil {
		return err
	}
	k := document.Key{Tenant: t, Type: document.Order, ID: c.Number}
	for _, x := range found {
		if x.Type == document.Order {
			k = x
		}
	}
	h, err := p.Store.Head(ctx, k)
	if errors.Is(err, document.ErrNotFound) {
		return fmt.Errorf("no order has the number %q", c.Number)
	}
	if err != nil {
		return err
	}
	var o retail.Order
	if h.Body == 0 {
		return fmt.Errorf("order %s could not be read, and was not sourced", first(h.Number, h.ID))
	}
	if err := p.Store.Body(ctx, k, h.Body, &o); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"order": h.ID, "number": h.Number, "state": h.State, "sourcing": o.Sourcing})
	}
	if o.Sourcing == nil {
		_, err := fmt.Fprintf(s.out, "order %s is %s; no location was chosen for it yet\n", first(h.Number, h.ID), h.State)
		return err
	}
	return explainDecision(s, first(h.Number, h.ID), *o.Sourcing)
}

func explainDecision(s streams, number string, d retail.SourcingDecision) error {
	what := "is shipped from " + strings.Join(retail.Order{Sourcing: &d}.Locations(), ", ")
	if len(d.Allocations) == 0 {
		what = "is shipped from nowhere: stock was short"
	}
	_, _ = fmt.Fprintf(s.out, "order %s %s, decided %s by version %d of the configuration\n", number, what, d.At.Local().Format(time.DateTime), d.ConfigVersion)
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, x := range d.Considered {
		verdict := "rejected"
		if x.Chosen {
			verdict = "chosen"
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\tby %s\t%s\n", x.Location, verdict, x.Rule, x.Why)
	}
	for _, a := range d.Allocations {
		_, _ = fmt.Fprintf(w, "  line %s\t%d × %s\tfrom %s\t%d of %d units shipped\n", a.Line, a.Quantity, a.SKU, a.Location, a.Shipped, a.Units)
	}
	return w.Flush()
}
