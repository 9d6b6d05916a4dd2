package shipbobtest

import (
	"fmt"
	"time"
)

// shipRequest is the body of POST /_control/ship.
type shipRequest struct {
	OrderID     string           `json:"order_id"`
	All         bool             `json:"all"`
	Short       map[string]int64 `json:"short"`
	DropWebhook bool             `json:"drop_webhook"`
	Duplicate   int              `json:"duplicate"`
}

// shipOrder ships what has not shipped of an order and returns the shipments.
func (s *Server) shipOrder(o *order, req shipRequest) []*shipment {
	var out []*shipment
	open := len(o.shipments)
	for _, sh := range o.shipments[:open] {
		if !sh.done() && s.ship(sh, req) {
			out = append(out, sh)
		}
	}
	return out
}

// ship picks, takes the stock, prints the label and announces the shipment.
// What is short, by request or because the stock is not there, stays behind in
// a shipment of its own with the status Exception. It reports false where
// nothing can ship.
func (s *Server) ship(sh *shipment, req shipRequest) bool {
	now := s.opts.Now().UTC()
	var picked, missing []shipmentLine
	left := map[*product]int64{}
	short := map[string]int64{}
	for sku, n := range req.Short {
		short[sku] = n
	}
	for _, l := range sh.lines {
		if _, ok := left[l.product]; !ok {
			left[l.product] = l.product.OnHand
		}
		held := min(max(short[l.product.SKU], 0), l.quantity)
		short[l.product.SKU] -= held
		n := min(l.quantity-held, left[l.product])
		left[l.product] -= n
		if n > 0 {
			picked = append(picked, shipmentLine{product: l.product, quantity: n, committed: n})
		}
		if n < l.quantity {
			missing = append(missing, shipmentLine{product: l.product, quantity: l.quantity - n})
		}
	}
	sh.updated, sh.order.updated = now, now
	if len(picked) == 0 {
		sh.status, sh.reason = "Exception", "The products are out of stock."
		return false
	}
	for _, l := range picked {
		l.product.OnHand -= l.quantity
	}
	sh.lines, sh.status, sh.reason, sh.fulfilled = picked, "Completed", "", now
	sh.tracking = s.label(sh, now)
	if len(missing) > 0 {
		s.newShipment(sh.order, missing, "Exception").reason = "The products are out of stock."
	}
	s.announce(sh, req)
	return true
}

func (s *Server) label(sh *shipment, now time.Time) map[string]any {
	c := s.opts.Carriers[s.carrier%len(s.opts.Carriers)]
	s.carrier++
	number := fmt.Sprintf("%s%010d", c.Prefix, sh.id)
	return map[string]any{
		"carrier": c.Name, "carrier_service": c.Service, "tracking_number": number, "tracking_url": fmt.Sprintf(c.URL, number),
		"shipping_date": stamp(now), "bol": nil, "pro_number": nil, "scac": nil,
	}
}
