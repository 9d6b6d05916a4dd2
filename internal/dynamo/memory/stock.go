package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

func positionKey(t retail.Tenant, sku, location string) key {
	return key{part(t.String(), sku), part("position", location)}
}

func holdKey(t retail.Tenant, order, sku, line, location string) key {
	return key{part(t.String(), sku), part("hold", order, line, location)}
}

func moveKey(t retail.Tenant, sku, id string) key {
	return key{part(t.String(), sku), part("move", id)}
}

func demandKey(t retail.Tenant, order, sku, line string) key {
	return key{part(t.String(), sku), part("demand", order, line)}
}

func dayKey(t retail.Tenant, location, day string) key {
	return key{part(t.String(), "location", location), part("day", day)}
}

// change moves a position's buckets where it exists.
func change(t retail.Tenant, sku, location string, by func(p *stock.Position) error) operation {
	return operation{inventory, positionKey(t, sku, location), func(was any) (any, error) {
		p, exists := was.(stock.Position)
		if !exists {
			return nil, &stock.Unknown{SKU: sku, Location: location}
		}
		p.Version++
		return p, by(&p)
	}}
}

// Reserve implements stock.Store.
func (s *Store) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	_ = now // a hold's time is for people only
	if err := stock.CheckItems(items); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(items) == 0 {
		return ctx.Err()
	}
	var ops []operation
	type sum struct {
		quantity, safety int64
		backorder        bool
	}
	sums, days := map[[2]string]*sum{}, map[string]bool{}
	var positions [][2]string
	var capacity []operation
	for _, it := range items {
		k := holdKey(t, order, it.SKU, it.Line, it.Location)
		h := stock.Hold{Order: order, Line: it.Line, SKU: it.SKU, Location: it.Location, Quantity: it.Quantity, Until: it.Until}
		if was, held := s.tables[inventory][k.partition][k.sort].(stock.Hold); held {
			if !it.Until.IsZero() {
				was.Until = it.Until
				ops = append(ops, put(inventory, k, was))
			}
			continue
		}
		if c := it.Capacity; c != nil && !days[it.Location] {
			days[it.Location], h.Day = true, c.Day
			capacity = append(capacity, operation{inventory, dayKey(t, it.Location, c.Day), func(was any) (any, error) {
				taken, _ := was.(int64)
				if taken >= c.Limit {
					return nil, &stock.Full{Location: it.Location, Day: c.Day}
				}
				return taken + 1, nil
			}})
		}
		ops = append(ops, put(inventory, k, h))
		at := [2]string{it.SKU, it.Location}
		if sums[at] == nil {
			sums[at], positions = &sum{}, append(positions, at)
		}
		n := sums[at]
		n.quantity, n.safety, n.backorder = n.quantity+it.Quantity, max(n.safety, it.Safety), n.backorder || it.Backorder
	}
	for _, at := range positions {
		n := sums[at]
		ops = append(ops, change(t, at[0], at[1], func(p *stock.Position) error {
			if p.Unreserved < n.quantity+n.safety && !n.backorder {
				return &stock.Short{SKU: at[0], Location: at[1]}
			}
			p.Unreserved, p.Reserved = p.Unreserved-n.quantity, p.Reserved+n.quantity
			return nil
		}))
	}
	if ops = append(ops, capacity...); len(ops) == 0 {
		return ctx.Err()
	}
	return first(s.transact(ctx, ops))
}

// Release implements stock.Store, one item a transaction.
func (s *Store) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	_ = now
	for _, it := range items {
		if err := s.release(ctx, t, order, it); err != nil {
			return fmt.Errorf("releasing %s: %w", it.SKU, err)
		}
	}
	return nil
}

func (s *Store) release(ctx context.Context, t retail.Tenant, order string, it stock.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := holdKey(t, order, it.SKU, it.Line, it.Location)
	held, exists := s.tables[inventory][k.partition][k.sort].(stock.Hold)
	if !exists || held.Quantity <= 0 || held.Quantity > it.Quantity {
		return ctx.Err()
	}
	ops := []operation{{inventory, k, func(any) (any, error) { return nil, nil }}, change(t, it.SKU, it.Location, func(p *stock.Position) error {
		p.Unreserved, p.Reserved = p.Unreserved+held.Quantity, p.Reserved-held.Quantity
		return nil
	})}
	if held.Day != "" && held.Quantity == it.Quantity {
		ops = append(ops, operation{inventory, dayKey(t, it.Location, held.Day), func(was any) (any, error) {
			taken, _ := was.(int64)
			return max(taken-1, 0), nil
		}})
	}
	return first(s.transact(ctx, ops))
}

// Apply implements stock.Store, one movement a transaction.
func (s *Store) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for i, m := range moves {
		if _, err := s.ApplyTogether(ctx, t, moves[i:i+1]); err != nil {
			return fmt.Errorf("moving %s at %s: %w", m.SKU, m.Location, err)
		}
	}
	return nil
}

// ApplyTogether implements stock.Store.
func (s *Store) ApplyTogether(ctx context.Context, t retail.Tenant, moves []stock.Move, audits ...document.Audit) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := 0
	for i, m := range moves {
		k := moveKey(t, m.SKU, m.ID())
		if was, ok := s.tables[inventory][k.partition][k.sort].(stock.Move); ok {
			if !was.Same(m) {
				return false, stock.Contradiction(was, m)
			}
			moves[i].Unsure = was.Unsure
			known++
		}
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case known == len(moves):
		return false, nil
	case known > 0:
		return false, fault.New(fault.Exception, fault.Duplicate, "%d of %d movements that belong together are recorded already. Nothing moved", known, len(moves)).At("document", moves[0].Document)
	}
	var ops []operation
	for i, m := range moves {
		k := positionKey(t, m.SKU, m.Location)
		p, _ := s.tables[inventory][k.partition][k.sort].(stock.Position)
		var unsure bool
		m.Applied, unsure = p.Fence.Applies(m)
		m.Took, m.Unsure = 0, unsure && m.Reverses == ""
		moves[i].Unsure = m.Unsure
		if m.Hold != "" && m.Leaves() > 0 {
			hk := holdKey(t, m.Hold, m.SKU, m.HeldLine(), m.Location)
			if h, ok := s.tables[inventory][hk.partition][hk.sort].(stock.Hold); ok {
				m.Took = min(h.Quantity, m.Leaves())
				h.Quantity -= m.Took
				ops = append(ops, put(inventory, hk, h))
			}
		}
		ops = append(ops, put(inventory, moveKey(t, m.SKU, m.ID()), m), put(inventory, k, moved(p, m)))
	}
	for _, a := range audits {
		ops = append(ops, auditing(a))
	}
	err := first(s.transact(ctx, ops))
	return err == nil, err
}

// moved adds a movement to its position.
func moved(p stock.Position, m stock.Move) stock.Position {
	p.SKU, p.Location, p.Version = m.SKU, m.Location, p.Version+1
	p.OnHand, p.Damaged, p.QualityHold, p.InTransit = p.OnHand+m.Applied, p.Damaged+m.Damaged, p.QualityHold+m.QualityHold, p.InTransit+m.InTransit
	p.Reserved -= m.Took
	p.Unreserved += m.Applied + m.Took - m.Damaged - m.QualityHold
	return p
}

// Settle implements stock.Store.
func (s *Store) Settle(ctx context.Context, t retail.Tenant, version int64, m stock.Move, f stock.Fence, audits ...document.Audit) (bool, error) {
	ops := []operation{create(inventory, moveKey(t, m.SKU, m.ID()), m, stock.ErrMoved), {inventory, positionKey(t, m.SKU, m.Location), func(was any) (any, error) {
		p, _ := was.(stock.Position)
		if p.Version != version {
			return nil, stock.ErrMoved
		}
		p = moved(p, m)
		p.Fence = f
		return p, nil
	}}}
	for _, a := range audits {
		ops = append(ops, auditing(a))
	}
	err := s.write(ctx, ops...)
	return err == nil, err
}

// Positions implements stock.Store.
func (s *Store) Positions(ctx context.Context, t retail.Tenant, location string, skus []string) (map[string]stock.Position, error) {
	out := map[string]stock.Position{}
	for _, sku := range skus {
		p, found, err := read[stock.Position](ctx, s, inventory, positionKey(t, sku, location))
		if err != nil {
			return nil, err
		}
		if found {
			out[sku] = p
		}
	}
	return out, nil
}

// Candidates implements stock.Store.
func (s *Store) Candidates(ctx context.Context, t retail.Tenant, order string, items []stock.Item, locations []string) (positions []stock.Position, holds []stock.Hold, err error) {
	seen := map[key]bool{}
	for _, it := range items {
		for _, l := range locations {
			k := positionKey(t, it.SKU, l)
			p, found, err := read[stock.Position](ctx, s, inventory, k)
			if err != nil {
				return nil, nil, err
			}
			if found && !seen[k] {
				seen[k], positions = true, append(positions, p)
			}
			h, found, err := read[stock.Hold](ctx, s, inventory, holdKey(t, order, it.SKU, it.Line, l))
			if err != nil {
				return nil, nil, err
			}
			if found {
				holds = append(holds, h)
			}
		}
	}
	return positions, holds, nil
}

// Holds implements stock.Store.
func (s *Store) Holds(ctx context.Context, t retail.Tenant, sku, order string) ([]stock.Hold, error) {
	all, err := list[stock.Hold](ctx, s, inventory, part(t.String(), sku), "hold")
	if err != nil {
		return nil, err
	}
	var out []stock.Hold
	for _, h := range all {
		if h.Quantity > 0 && (order == "" || h.Order == order) {
			out = append(out, h)
		}
	}
	return out, nil
}

// Orders implements stock.Store.
func (s *Store) Orders(ctx context.Context, t retail.Tenant, location, day string) (int64, error) {
	n, _, err := read[int64](ctx, s, inventory, dayKey(t, location, day))
	return n, err
}

// Stock implements stock.Store.
func (s *Store) Stock(ctx context.Context, t retail.Tenant, sku string) (out stock.SKU, err error) {
	partition := part(t.String(), sku)
	if out.Positions, err = list[stock.Position](ctx, s, inventory, partition, "position"); err != nil {
		return out, err
	}
	if out.Holds, err = s.Holds(ctx, t, sku, ""); err != nil {
		return out, err
	}
	out.Demand, err = list[stock.Demand](ctx, s, inventory, partition, "demand")
	return out, err
}

// Movements implements stock.Store.
func (s *Store) Movements(ctx context.Context, t retail.Tenant, sku, location string, from time.Time) ([]stock.Move, error) {
	all, err := list[stock.Move](ctx, s, inventory, part(t.String(), sku), "move")
	if err != nil {
		return nil, err
	}
	var out []stock.Move
	for _, m := range all {
		if !m.OccurredAt.Before(from) && (location == "" || m.Location == location) {
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b stock.Move) int { return a.OccurredAt.Compare(b.OccurredAt) })
	return out, nil
}

// Movement implements stock.Store.
func (s *Store) Movement(ctx context.Context, t retail.Tenant, sku, id string) (stock.Move, error) {
	m, found, err := read[stock.Move](ctx, s, inventory, moveKey(t, sku, id))
	if err == nil && !found {
		err = stock.ErrNoMovement
	}
	return m, err
}

// Want implements stock.Store.
func (s *Store) Want(ctx context.Context, t retail.Tenant, order string, demand []stock.Demand) error {
	for _, d := range demand {
		d.Order = order
		var v any
		if d.Quantity > 0 {
			v = d
		}
		if err := s.write(ctx, put(inventory, demandKey(t, order, d.SKU, d.Line), v)); err != nil {
			return err
		}
	}
	return nil
}

// SKUs lists a retailer's SKUs that have positions; a page is all of them.
func (s *Store) SKUs(ctx context.Context, t retail.Tenant, _ string) (skus []string, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, items := range s.tables[inventory] {
		if !strings.HasPrefix(p, t.String()+"\x00") {
			continue
		}
		for _, v := range items {
			if x, ok := v.(stock.Position); ok {
				skus = append(skus, x.SKU)
			}
		}
	}
	slices.SortFunc(skus, cmp.Compare[string])
	return slices.Compact(skus), "", nil
}
