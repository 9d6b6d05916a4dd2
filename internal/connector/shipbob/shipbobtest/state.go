package shipbobtest

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// product is an item of the catalogue. A reference that was released with a
// name becomes a product without stock, as at ShipBob.
type product struct {
	SKU, Name       string
	ID, InventoryID int64
	OnHand          int64
}

type order struct {
	id           int64
	reference    string
	number       string
	kind, method string
	created      time.Time
	purchased    string
	updated      time.Time
	visible      time.Time // when lists show it
	recipient    map[string]any
	lines        []orderLine
	shipments    []*shipment
}

type orderLine struct {
	product  *product
	quantity int64
	lineID   any // the client's external_line_id, or nil
}

type shipment struct {
	id        int64
	order     *order
	status    string // of Orders.OrderStatusEnum
	lines     []shipmentLine
	created   time.Time
	updated   time.Time
	fulfilled time.Time // zero until it ships
	tracking  map[string]any
	reason    string // why it is in Exception
}

type shipmentLine struct {
	product   *product
	quantity  int64
	committed int64
}

func (s *shipment) done() bool { return !s.fulfilled.IsZero() }

func (s *Server) nextID() int64 { s.lastID++; return s.lastID }

// committed is what orders that have not shipped hold of each product.
func (s *Server) committed() map[*product]int64 {
	m := map[*product]int64{}
	for _, sh := range s.shipments {
		if sh.done() {
			continue
		}
		for _, l := range sh.lines {
			m[l.product] += l.quantity
		}
	}
	return m
}

// newShipment commits what stock is left to the lines.
func (s *Server) newShipment(o *order, lines []shipmentLine, status string) *shipment {
	now := s.opts.Now().UTC()
	held := s.committed()
	sh := &shipment{id: s.nextID(), order: o, status: status, created: now, updated: now}
	for _, l := range lines {
		l.committed = max(0, min(l.quantity, l.product.OnHand-held[l.product]))
		held[l.product] += l.quantity
		sh.lines = append(sh.lines, l)
	}
	o.shipments = append(o.shipments, sh)
	s.shipments = append(s.shipments, sh)
	return sh
}

func (o *order) status() string {
	shipped := 0
	for _, sh := range o.shipments {
		if sh.done() {
			shipped++
		} else if sh.status == "Exception" && len(o.shipments) == 1 {
			return "Exception"
		}
	}
	switch shipped {
	case 0:
		return "Processing"
	case len(o.shipments):
		return "Fulfilled"
	default:
		return "PartiallyFulfilled"
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// The views are spelled out here, apart from the connector's types, so that
// neither can hide a mistake of the other.
func (s *Server) orderView(o *order) map[string]any {
	products, shipments := []any{}, []any{}
	for _, l := range o.lines {
		p := map[string]any{"id": l.product.ID, "reference_id": l.product.SKU, "sku": l.product.SKU, "quantity": l.quantity}
		if l.lineID != nil {
			p["external_line_id"] = l.lineID
		}
		products = append(products, p)
	}
	for _, sh := range o.shipments {
		shipments = append(shipments, s.shipmentView(sh))
	}
	v := map[string]any{
		"id": o.id, "reference_id": o.reference, "order_number": o.number, "created_date": stamp(o.created), "purchase_date": nil,
		"type": o.kind, "status": o.status(), "shipping_method": o.method, "recipient": o.recipient,
		"channel":  map[string]any{"id": s.channel(), "name": "Waybill"},
		"products": products, "shipments": shipments, "tags": []any{}, "gift_message": nil,
	}
	if o.purchased != "" {
		v["purchase_date"] = o.purchased
	}
	return v
}

func (s *Server) shipmentView(sh *shipment) map[string]any {
	products := []any{}
	for _, l := range sh.lines {
		products = append(products, map[string]any{
			"id": l.product.ID, "reference_id": l.product.SKU, "sku": l.product.SKU, "name": l.product.Name,
			"inventory_items": []any{map[string]any{
				"id": l.product.InventoryID, "name": l.product.Name, "quantity": l.quantity, "quantity_committed": l.committed,
				"lot": nil, "expiration_date": nil, "serial_numbers": nil, "is_dangerous_goods": false,
			}},
		})
	}
	rec := maps.Clone(sh.order.recipient)
	rec["full_name"] = rec["name"]
	v := map[string]any{
		"id": sh.id, "order_id": sh.order.id, "reference_id": sh.order.reference, "status": sh.status,
		"created_date": stamp(sh.created), "last_update_at": stamp(sh.updated), "actual_fulfillment_date": nil, "delivery_date": nil,
		"estimated_fulfillment_date": nil, "is_tracking_uploaded": false, "require_signature": false, "ship_option": sh.order.method,
		"location": map[string]any{"id": s.opts.LocationID, "name": "Cicero (IL)"}, "recipient": rec, "products": products,
		"status_details": []any{},
	}
	if sh.done() {
		v["actual_fulfillment_date"] = stamp(sh.fulfilled)
		v["last_tracking_update_at"] = stamp(sh.fulfilled)
		v["package_material_type"] = "Box"
		v["measurements"] = map[string]any{"length_in": 10, "width_in": 8, "depth_in": 4, "total_weight_oz": 20}
		v["tracking"] = sh.tracking
	}
	if sh.reason != "" {
		v["status_details"] = []any{map[string]any{"id": 101, "name": "OutOfStock", "description": sh.reason}}
	}
	return v
}

func (s *Server) levelView(p *product, held int64) map[string]any {
	fulfillable := max(0, p.OnHand-held)
	return map[string]any{
		"inventory_id": p.InventoryID, "sku": p.SKU, "name": p.Name, "total_on_hand_quantity": p.OnHand,
		"total_committed_quantity": min(held, p.OnHand), "total_fulfillable_quantity": fulfillable,
		"total_sellable_quantity": fulfillable, "total_backordered_quantity": max(0, held-p.OnHand),
		"total_awaiting_quantity": 0, "total_exception_quantity": 0, "total_internal_transfer_quantity": 0,
	}
}

// channel is the configured channel's number.
func (s *Server) channel() int64 {
	n, err := strconv.ParseInt(s.opts.ChannelID, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s *Server) addProduct(sku, name string, onHand int64) *product {
	p := &product{SKU: sku, Name: name, ID: s.nextID(), InventoryID: s.nextID(), OnHand: onHand}
	s.products[sku] = p
	return p
}

// catalogue returns the products by SKU.
func (s *Server) catalogue() []*product {
	out := make([]*product, 0, len(s.products))
	for _, sku := range slices.Sorted(maps.Keys(s.products)) {
		out = append(out, s.products[sku])
	}
	return out
}
