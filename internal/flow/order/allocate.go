package order

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// heldFor is how long a reservation stands whose order does not say that it has
// it. It is far beyond PhaseLease: who made it has ended by then, and whoever
// continues takes it anew.
const heldFor = time.Hour

// Allocate chooses from where the order is shipped and reserves its goods
// there, all or none.
func (f Fulfillment) Allocate(ctx context.Context, t document.Task) error {
	w, err := f.load(ctx, t)
	if err != nil || w.head.State != retail.Accepted {
		return err
	}
	a := allocation{Fulfillment: f, loaded: w, policy: w.route.Stock()}
	if err := a.explode(); err != nil {
		return err
	}
	d, err := a.source(ctx)
	if err != nil {
		return err
	}
	now := f.Life.Now()
	next := &retail.SourcingDecision{At: now, ConfigVersion: w.route.ConfigVersion, Considered: considered(d, a.lost)}
	if len(d.Missing) > 0 {
		return a.short(ctx, d, next)
	}
	for _, p := range d.Picks {
		next.Allocations = append(next.Allocations, retail.Allocation{Line: p.Line, SKU: p.SKU, Location: p.Location, Warehouse: w.route.ShipsFrom(p.Location),
			Quantity: p.Quantity, Units: a.units(p)})
	}
	next.Backordered = slices.ContainsFunc(d.Verdicts, func(v rules.Verdict) bool { return v.Rule == rules.RuleBackorder })
	if w.head.Run > 1 {
		// An earlier run may have had to wait.
		if err := f.Stock.Want(ctx, w.head.Tenant, w.head.ID, a.demand(0)); err != nil {
			return err
		}
	}
	w.order.Sourcing = next
	for i := range w.order.Lines {
		q := &w.order.Lines[i].Quantities
		q.Allocated, q.Unallocated = q.Allocated+q.Unallocated, 0
	}
	data := map[string]string{"warehouse": w.route.Warehouse, "location": strings.Join(w.order.Locations(), ","), "lines": fmt.Sprint(len(a.lines))}
	if next.Backordered {
		data["backordered"] = "true"
	}
	c, err := f.Life.Next(w.head, retail.Sourcing, document.Step{Type: document.Event(w.head.Type, "sourced"), Data: data})
	if err != nil {
		return err
	}
	c.Head.Body++
	c.Body = w.order
	if err = f.Life.Commit(ctx, c); err != nil {
		return errors.Join(err, a.yield(ctx, d.Picks))
	}
	return nil
}

// allocation is an order under sourcing.
type allocation struct {
	Fulfillment
	loaded
	policy rules.Policy
	lines  []retail.OrderLine
	needs  []rules.Need
	lost   []rules.Verdict // races
}

// explode turns lines into what must be taken, kits into their components.
func (a *allocation) explode() error {
	for i, l := range a.order.Lines {
		q := l.Quantities.Open()
		if !l.RequiresShipping || q <= 0 {
			continue
		}
		a.lines = append(a.lines, l)
		parts, err := a.policy.Explode(l.SKU, q)
		if err != nil {
			return fault.Wrap(fault.Exception, fault.Configuration, err, "exploding a kit").At(fmt.Sprintf("lines[%d].sku", i), l.SKU)
		}
		kit := len(a.policy.Product(l.SKU).Components) > 0
		for _, c := range parts {
			a.needs = append(a.needs, rules.Need{Line: l.ID, SKU: c.SKU, Quantity: c.Quantity, Whole: kit})
		}
	}
	return nil
}

// units are those of the line that a pick is for: a kit's components are for
// all of the line.
func (a *allocation) units(p rules.Pick) int64 {
	for _, n := range a.needs {
		if n.Line == p.Line && n.Whole {
			for _, l := range a.lines {
				if l.ID == p.Line {
					return l.Quantities.Open()
				}
			}
		}
	}
	return p.Quantity
}

func (a *allocation) demand(factor int64) (out []stock.Demand) {
	for _, n := range a.needs {
		out = append(out, stock.Demand{Order: a.head.ID, Line: n.Line, SKU: n.SKU, Quantity: n.Quantity * factor, Since: a.Life.Now()})
	}
	return out
}

func (a *allocation) request() rules.Request {
	q := rules.Request{Channel: a.head.Connection, Country: a.order.DestinationCountry, Method: a.order.FulfillmentPreference, Needs: a.needs}
	switch q.Method {
	case "pickup", "ship_to_store":
	default:
		q.Method = "ship"
	}
	if q.Method == "pickup" {
		q.Pinned = a.order.PickupLocation
	}
	return q
}

// alone is the one location where a choice needs no look at what is free: what
// it can give is decided by the reservation itself.
func (a *allocation) alone() (rules.Decision, bool) {
	if len(a.policy.Locations) != 1 {
		return rules.Decision{}, false
	}
	l, q := a.policy.Locations[0], a.request()
	if l.DailyOrders > 0 || a.policy.Sourcing.Backorder {
		return rules.Decision{}, false
	}
	plenty := map[string]int64{}
	for _, n := range a.needs {
		plenty[n.SKU] += n.Quantity + l.SafetyStock
	}
	d := rules.Choose(a.policy, q, map[string]rules.Free{l.Code: {Unreserved: plenty}})
	return d, len(d.Missing) == 0
}

// source chooses and reserves. Of a lost race the next candidate is tried; a
// decision that misses something has reserved nothing.
func (a *allocation) source(ctx context.Context) (rules.Decision, error) {
	attempts, reclaimed := a.policy.Sourcing.Attempts, false
	if attempts == 0 {
		attempts = rules.DefaultAttempts
	}
	d, blind := a.alone()
	if a.head.Run > 1 {
		// An earlier run may have died after it had reserved.
		blind = false
		if err := a.leave(ctx); err != nil {
			return d, err
		}
	}
	for n := 0; ; n++ {
		var holds []stock.Hold
		if !blind {
			free, own, err := a.free(ctx)
			if err != nil {
				return d, err
			}
			holds = own
			d = rules.Choose(a.policy, a.request(), free)
		}
		blind = false
		if len(d.Missing) == 0 && n >= attempts {
			for _, x := range a.needs {
				d.Missing = append(d.Missing, rules.Missing{Need: x, Known: true})
			}
		}
		if len(d.Missing) > 0 && !reclaimed {
			reclaimed = true
			freed, err := a.reclaim(ctx, d.Missing)
			if err != nil {
				return d, err
			}
			if freed {
				continue
			}
		}
		// What an earlier attempt or run took elsewhere is given back first.
		if err := a.giveBack(ctx, holds, d.Picks, len(d.Missing) > 0); err != nil {
			return d, err
		}
		if len(d.Missing) > 0 {
			return d, nil
		}
		err := a.take(ctx, d)
		var short *stock.Short
		var unknown *stock.Unknown
		var full *stock.Full
		switch {
		case err == nil:
			return d, nil
		case errors.As(err, &short):
			a.lost = append(a.lost, rules.Verdict{Location: short.Location, Rule: rules.RuleRace, Why: "another order took " + short.SKU + " meanwhile"})
		case errors.As(err, &full):
			a.lost = append(a.lost, rules.Verdict{Location: full.Location, Rule: rules.RuleRace, Why: "other orders took its capacity meanwhile"})
		case !errors.As(err, &unknown):
			return d, err
		}
	}
}

// free reads what each location could give, what the order holds there
// included.
func (a *allocation) free(ctx context.Context) (map[string]rules.Free, []stock.Hold, error) {
	codes, items := a.codes(), a.items("")
	positions, holds, err := a.Stock.Candidates(ctx, a.head.Tenant, a.head.ID, items, codes)
	if err != nil {
		return nil, nil, err
	}
	out := map[string]rules.Free{}
	for _, l := range a.policy.Locations {
		f := rules.Free{Unreserved: map[string]int64{}}
		if l.DailyOrders > 0 && !slices.ContainsFunc(holds, func(h stock.Hold) bool { return h.Location == l.Code }) {
			day, err := a.day(l)
			if err != nil {
				return nil, nil, err
			}
			if f.Orders, err = a.Stock.Orders(ctx, a.head.Tenant, l.Code, day); err != nil {
				return nil, nil, err
			}
		}
		out[l.Code] = f
	}
	for _, p := range positions {
		out[p.Location].Unreserved[p.SKU] += p.Unreserved
	}
	for _, h := range holds {
		out[h.Location].Unreserved[h.SKU] += h.Quantity
	}
	return out, holds, nil
}

func (a *allocation) codes() (out []string) {
	for _, l := range a.policy.Locations {
		out = append(out, l.Code)
	}
	return out
}

// day is today at a location.
func (a *allocation) day(l rules.Location) (string, error) {
	zone, err := time.LoadLocation(l.TimeZone)
	if err != nil {
		return "", fault.Wrap(fault.Permanent, fault.Configuration, err, "reading the time zone of location %s", l.Code).At("locations.time_zone", l.TimeZone)
	}
	return a.Life.Now().In(zone).Format(time.DateOnly), nil
}

// items are the needs at one location.
func (a *allocation) items(location string) (out []stock.Item) {
	for _, n := range a.needs {
		out = append(out, stock.Item{SKU: n.SKU, Location: location, Line: n.Line, Quantity: n.Quantity})
	}
	return out
}

// take reserves the picks, chunk by chunk.
func (a *allocation) take(ctx context.Context, d rules.Decision) error {
	backorder := slices.ContainsFunc(d.Verdicts, func(v rules.Verdict) bool { return v.Rule == rules.RuleBackorder })
	until := a.Life.Now().Add(heldFor)
	var items []stock.Item
	for _, p := range d.Picks {
		l, _ := a.policy.Location(p.Location)
		items = append(items, stock.Item{SKU: p.SKU, Location: p.Location, Line: p.Line, Quantity: p.Quantity, Safety: l.SafetyStock, Backorder: backorder, Until: until})
	}
	chunks, counted := stock.Chunks(items), map[string]bool{}
	for _, chunk := range chunks {
		for i := range chunk {
			// An order counts once, with the first of its chunks.
			if l, _ := a.policy.Location(chunk[i].Location); l.DailyOrders > 0 && !counted[l.Code] {
				day, err := a.day(l)
				if err != nil {
					return err
				}
				chunk[i].Capacity = &stock.Capacity{Day: day, Limit: l.DailyOrders}
			}
		}
		for _, it := range chunk {
			counted[it.Location] = true
		}
		if err := a.Stock.Reserve(ctx, a.head.Tenant, a.head.ID, chunk, a.Life.Now()); err != nil {
			return err
		}
	}
	return nil
}

// giveBack releases what is held and not picked. Where nothing was looked up,
// only a shortage can have left something: at the one location there is.
func (a *allocation) giveBack(ctx context.Context, holds []stock.Hold, picks []rules.Pick, all bool) error {
	var back []stock.Item
	for _, h := range holds {
		picked := slices.ContainsFunc(picks, func(p rules.Pick) bool {
			return p.Line == h.Line && p.SKU == h.SKU && p.Location == h.Location && p.Quantity == h.Quantity
		})
		if h.Quantity > 0 && (all || !picked) {
			back = append(back, stock.Item{SKU: h.SKU, Location: h.Location, Line: h.Line, Quantity: h.Quantity})
		}
	}
	if len(back) == 0 {
		return nil
	}
	return a.Stock.Release(ctx, a.head.Tenant, a.head.ID, back, a.Life.Now())
}

// leave gives back what the order holds where it can no longer be shipped from:
// the locations were others when that was reserved.
func (a *allocation) leave(ctx context.Context) error {
	held, err := a.held(ctx)
	if err != nil {
		return err
	}
	codes := a.codes()
	held = slices.DeleteFunc(held, func(it stock.Item) bool { return slices.Contains(codes, it.Location) })
	if len(held) == 0 {
		return nil
	}
	return a.Stock.Release(ctx, a.head.Tenant, a.head.ID, held, a.Life.Now())
}

// held is all that the order holds of its goods, at whatever location.
func (a *allocation) held(ctx context.Context) (out []stock.Item, err error) {
	seen := map[string]bool{}
	for _, n := range a.needs {
		if seen[n.SKU] {
			continue
		}
		seen[n.SKU] = true
		holds, err := a.Stock.Holds(ctx, a.head.Tenant, n.SKU, a.head.ID)
		if err != nil {
			return nil, err
		}
		for _, h := range holds {
			out = append(out, stock.Item{SKU: h.SKU, Location: h.Location, Line: h.Line, Quantity: h.Quantity})
		}
	}
	return out, nil
}

// yield gives back what was reserved for a decision that came second: of two
// executions each may have seen other rules.
func (a *allocation) yield(ctx context.Context, picks []rules.Pick) error {
	h, err := a.Life.Store.Head(ctx, a.head.Key)
	if err != nil {
		return fmt.Errorf("reading who decided: %w", err)
	}
	if h.State == retail.Accepted && h.Open() {
		return nil // nothing yet; the next run looks at what is held
	}
	var o retail.Order
	if err := a.Life.Store.Body(ctx, h.Key, h.Body, &o); err != nil {
		return fmt.Errorf("reading what was decided: %w", err)
	}
	var back []stock.Item
	for _, p := range picks {
		if o.Sourcing == nil || !slices.ContainsFunc(o.Sourcing.Allocations, func(x retail.Allocation) bool {
			return x.Line == p.Line && x.SKU == p.SKU && x.Location == p.Location
		}) {
			back = append(back, stock.Item{SKU: p.SKU, Location: p.Location, Line: p.Line, Quantity: p.Quantity})
		}
	}
	if len(back) == 0 {
		return nil
	}
	return a.Stock.Release(ctx, a.head.Tenant, a.head.ID, back, a.Life.Now())
}

// reclaim gives back what others hold of the missing SKUs without saying so:
// their orders ended, or did not come back in time.
func (a *allocation) reclaim(ctx context.Context, missing []rules.Missing) (bool, error) {
	freed, seen := false, map[string]bool{}
	for _, m := range missing {
		if !m.Known || seen[m.SKU] {
			continue
		}
		seen[m.SKU] = true
		n, err := a.unclaimed(ctx, a.head.Tenant, m.SKU, func(h stock.Hold, owner document.Head) (bool, error) {
			return h.Order == a.head.ID || owner.Open() && owner.State != retail.Received && owner.State != retail.Accepted, nil
		})
		if err != nil {
			return freed, err
		}
		freed = freed || n > 0
	}
	return freed, nil
}

// Unclaimed gives back what is held of a SKU for orders that do not say so, and
// counts it. Of an order that is on its way the decision says what it has, which
// reclaim does not look at: of what sells best there are many.
func (f Fulfillment) Unclaimed(ctx context.Context, t retail.Tenant, sku string) (int, error) {
	return f.unclaimed(ctx, t, sku, func(h stock.Hold, owner document.Head) (bool, error) {
		if !owner.Open() || owner.State == retail.Received || owner.State == retail.Accepted {
			return false, nil
		}
		var o retail.Order
		if err := f.Life.Store.Body(ctx, owner.Key, owner.Body, &o); err != nil {
			return false, fmt.Errorf("reading the order that holds %s: %w", sku, err)
		}
		return o.Sourcing == nil || slices.ContainsFunc(o.Sourcing.Allocations, func(x retail.Allocation) bool {
			return x.Line == h.Line && x.SKU == sku && x.Location == h.Location
		}), nil
	})
}

// unclaimed gives back what is held for longer than an order needs to say that
// it has it, unless its order claims it.
func (f Fulfillment) unclaimed(ctx context.Context, t retail.Tenant, sku string, claims func(stock.Hold, document.Head) (bool, error)) (freed int, err error) {
	holds, err := f.Stock.Holds(ctx, t, sku, "")
	if err != nil {
		return 0, err
	}
	for _, h := range holds {
		if h.Until.IsZero() || h.Until.After(f.Life.Now()) {
			continue
		}
		owner, err := f.Life.Store.Head(ctx, document.Key{Tenant: t, Type: document.Order, ID: h.Order})
		if err != nil && !errors.Is(err, document.ErrNotFound) {
			return freed, fmt.Errorf("reading the order that holds %s: %w", sku, err)
		}
		if err == nil {
			claimed, err := claims(h, owner)
			if err != nil {
				return freed, err
			}
			if claimed {
				continue
			}
		}
		if err := f.Stock.Release(ctx, t, h.Order, []stock.Item{{SKU: h.SKU, Location: h.Location, Line: h.Line, Quantity: h.Quantity}}, f.Life.Now()); err != nil {
			return freed, err
		}
		freed++
	}
	return freed, nil
}

func considered(d rules.Decision, lost []rules.Verdict) (out []retail.Considered) {
	for _, v := range append(slices.Clone(d.Verdicts), lost...) {
		out = append(out, retail.Considered(v))
	}
	return out
}

// short tells people, and the channels, what the order waits for.
func (a *allocation) short(ctx context.Context, d rules.Decision, decided *retail.SourcingDecision) error {
	m := d.Missing[0]
	if i := slices.IndexFunc(d.Missing, func(m rules.Missing) bool { return !m.Known }); i >= 0 {
		m = d.Missing[i]
	}
	var err error
	if m.Known {
		if err := a.Stock.Want(ctx, a.head.Tenant, a.head.ID, a.demand(1)); err != nil {
			return err
		}
		err = fault.New(fault.Exception, fault.InventoryShortage, "%d of %s are missing; %d are free for this order", m.Quantity, m.SKU, m.Available).At(a.field(m.Line), m.SKU)
	} else {
		err = fault.Wrap(fault.Exception, fault.Mapping, &stock.Unknown{SKU: m.SKU, Location: strings.Join(a.codes(), ", ")}, "allocating").At(a.field(m.Line), m.SKU)
	}
	if old := a.order.Sourcing; old != nil && slices.Equal(old.Considered, decided.Considered) {
		return err
	}
	// Why is kept, so that it can be explained although the order goes no further.
	a.order.Sourcing = decided
	c, nerr := a.Life.Next(a.head, a.head.State, document.Step{Type: document.Event(a.head.Type, "unsourced"), Data: map[string]string{"sku": m.SKU, "missing": fmt.Sprint(m.Quantity)}})
	if nerr != nil {
		return nerr
	}
	c.Head.Body++
	c.Body = a.order
	if cerr := a.Life.Commit(ctx, c); cerr != nil {
		return cerr
	}
	return err
}

// field is the path of a line's SKU.
func (a *allocation) field(line string) string {
	i := slices.IndexFunc(a.order.Lines, func(l retail.OrderLine) bool { return l.ID == line })
	return fmt.Sprintf("lines[%d].sku", i)
}

// unreserve gives back all that an order holds, and ends what it waits for.
func (f Fulfillment) unreserve(ctx context.Context, w loaded) error {
	a := allocation{Fulfillment: f, loaded: w, policy: w.route.Stock()}
	if err := a.explode(); err != nil {
		return err
	}
	var back []stock.Item
	switch {
	case w.order.Sourcing != nil && len(w.order.Sourcing.Allocations) > 0:
		for _, x := range w.order.Sourcing.Allocations {
			back = append(back, stock.Item{SKU: x.SKU, Location: x.Location, Line: x.Line, Quantity: x.Quantity})
		}
	default:
		// What a run that died has reserved may lie at a location of then.
		var err error
		if back, err = a.held(ctx); err != nil {
			return err
		}
	}
	if err := f.Stock.Release(ctx, w.head.Tenant, w.head.ID, back, f.Life.Now()); err != nil {
		return err
	}
	if w.order.Sourcing != nil && len(w.order.Sourcing.Allocations) == 0 {
		return f.Stock.Want(ctx, w.head.Tenant, w.head.ID, a.demand(0))
	}
	return nil
}
