package shipbobtest

import (
	"slices"
	"strconv"
)

// Violations are what either side did that the OpenAPI does not allow; a sound
// run has none.
func (s *Server) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// OrderIDs are the ids of the orders of a reference, oldest first.
func (s *Server) OrderIDs(reference string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for _, o := range s.orders {
		if o.reference != reference {
			continue
		}
		out = append(out, strconv.FormatInt(o.id, 10))
	}
	return out
}

// SetStock sets what is on hand; a SKU that is new becomes a product.
func (s *Server) SetStock(counts map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setStock(counts)
}

func (s *Server) setStock(counts map[string]int64) {
	for sku, n := range counts {
		if p := s.products[sku]; p != nil {
			p.OnHand = n
		} else {
			s.addProduct(sku, sku, n)
		}
	}
}

// Ship ships what has not shipped of an order, and returns the shipments' ids.
func (s *Server) Ship(orderID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	if o := s.orderByID(orderID); o != nil {
		for _, sh := range s.shipOrder(o, shipRequest{}) {
			out = append(out, strconv.FormatInt(sh.id, 10))
		}
	}
	return out
}
