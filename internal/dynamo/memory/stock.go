package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

func positionKey(t retail.Tenant, sku, location string) key {
	return key{part(t.String(), sku), part("position", location)}
}

func holdKey(t retail.Tenant, order string, it stock.Item) key {
	return key{part(t.String(), it.SKU), part("hold", order, it.Line, it.Location)}
}

func moveKey(t retail.Tenant, m stock.Move) key {
	return key{part(t.String(), m.SKU), part("move", m.Connection, m.Document, m.Line, m.Type)}
}

// errHeld marks a hold that is there already, or not any more.
var errHeld = errors.New("already held")

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
	s.mu.Lock()
	defer s.mu.Unlock()
	open := slices.Clone(items)
	for len(open) > 0 {
		var ops []operation
		for _, it := range open {
			ops = append(ops, create(inventory, holdKey(t, order, it), it.Quantity, errHeld), change(t, it.SKU, it.Location, func(p *stock.Position) error {
				if p.Unreserved < it.Quantity {
					return &stock.Short{SKU: it.SKU, Location: it.Location}
				}
				p.Unreserved, p.Reserved = p.Unreserved-it.Quantity, p.Reserved+it.Quantity
				return nil
			}))
		}
		failed := s.transact(ctx, ops)
		if !slices.Contains(failed, errHeld) {
			return first(failed)
		}
		var rest []stock.Item
		for i, it := range open {
			if failed[2*i] == nil {
				rest = append(rest, it)
			}
		}
		open = rest
	}
	return nil
}

// Release implements stock.Store, one item a transaction.
func (s *Store) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	_ = now
	for _, it := range items {
		err := s.write(ctx, operation{inventory, holdKey(t, order, it), func(was any) (any, error) {
			if held, exists := was.(int64); !exists || held != it.Quantity {
				return nil, errHeld
			}
			return nil, nil
		}}, change(t, it.SKU, it.Location, func(p *stock.Position) error {
			p.Unreserved, p.Reserved = p.Unreserved+it.Quantity, p.Reserved-it.Quantity
			return nil
		}))
		if err != nil && !errors.Is(err, errHeld) {
			return fmt.Errorf("releasing %s: %w", it.SKU, err)
		}
	}
	return nil
}

// Apply implements stock.Store, one movement a transaction.
func (s *Store) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for _, m := range moves {
		ops := []operation{create(inventory, moveKey(t, m), m, stock.ErrDuplicate), {inventory, positionKey(t, m.SKU, m.Location), func(was any) (any, error) {
			p, _ := was.(stock.Position)
			p.SKU, p.Location, p.Version = m.SKU, m.Location, p.Version+1
			p.OnHand, p.Reserved, p.Unreserved = p.OnHand+m.OnHand, p.Reserved+m.Reserved, p.Unreserved+m.OnHand-m.Reserved
			return p, nil
		}}}
		if m.Hold != "" {
			ops = append(ops, operation{inventory, holdKey(t, m.Hold, stock.Item{SKU: m.SKU, Location: m.Location, Line: m.Line}),
				func(any) (any, error) { return nil, nil }})
		}
		if err := s.write(ctx, ops...); err != nil && !errors.Is(err, stock.ErrDuplicate) {
			return fmt.Errorf("moving %s at %s: %w", m.SKU, m.Location, err)
		}
	}
	return nil
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
