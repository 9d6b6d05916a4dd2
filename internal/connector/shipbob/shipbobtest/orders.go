package shipbobtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type orderRequest struct {
	ReferenceID    string         `json:"reference_id"`
	OrderNumber    string         `json:"order_number"`
	Type           string         `json:"type"`
	ShippingMethod string         `json:"shipping_method"`
	PurchaseDate   string         `json:"purchase_date"`
	Recipient      map[string]any `json:"recipient"`
	Products       []struct {
		ID             int64   `json:"id"`
		ReferenceID    string  `json:"reference_id"`
		Name           *string `json:"name"`
		Quantity       int64   `json:"quantity"`
		ExternalLineID any     `json:"external_line_id"`
	} `json:"products"`
}

func (s *Server) createOrder(body []byte) answer {
	var req orderRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&req); err != nil {
		return unprocessable("", "The order cannot be read.")
	}
	if req.ReferenceID == "" {
		return unprocessable("reference_id", "A reference id is required.")
	}
	if s.references[req.ReferenceID] != nil {
		return unprocessable("reference_id", "An order with this reference id exists already.")
	}
	for _, f := range []string{"address1", "city", "country"} {
		if strings.TrimSpace(text(object(req.Recipient["address"])[f])) == "" {
			return unprocessable("recipient.address."+f, "The field is required.")
		}
	}
	if len(req.Products) == 0 {
		return unprocessable("products", "At least one product is required.")
	}
	now := s.opts.Now().UTC()
	o := &order{
		reference: req.ReferenceID, number: req.OrderNumber, kind: req.Type, method: req.ShippingMethod,
		created: now, updated: now, visible: now.Add(s.hide), purchased: req.PurchaseDate, recipient: req.Recipient,
	}
	if o.number == "" {
		o.number = o.reference
	}
	errs := map[string][]string{}
	for i, p := range req.Products {
		prod := s.products[p.ReferenceID]
		if p.ReferenceID == "" {
			prod = s.productByID(p.ID)
		}
		// ShipBob needs a name for a reference that it does not know, and then
		// makes a product of it.
		if prod == nil && p.ReferenceID != "" && p.Name != nil && *p.Name != "" {
			prod = &product{SKU: p.ReferenceID, Name: *p.Name}
		}
		switch {
		case prod == nil:
			key := fmt.Sprintf("products[%d].name", i)
			errs[key] = append(errs[key], "The name is required for a product that does not exist.")
		case p.Quantity <= 0:
			key := fmt.Sprintf("products[%d].quantity", i)
			errs[key] = append(errs[key], "The quantity must be greater than zero.")
		default:
			o.lines = append(o.lines, orderLine{product: prod, quantity: p.Quantity, lineID: p.ExternalLineID})
		}
	}
	if len(errs) > 0 {
		return reply(http.StatusUnprocessableEntity, errs)
	}
	s.accept(o)
	return reply(http.StatusCreated, s.orderView(o))
}

// accept keeps a valid order, queues it for fulfilment and, unless orders are
// held, ships it later.
func (s *Server) accept(o *order) {
	o.id = s.nextID()
	var lines []shipmentLine
	for i, l := range o.lines {
		if l.product.ID == 0 {
			if known := s.products[l.product.SKU]; known != nil {
				o.lines[i].product = known
			} else {
				o.lines[i].product = s.addProduct(l.product.SKU, l.product.Name, 0)
			}
		}
		lines = append(lines, shipmentLine{product: o.lines[i].product, quantity: l.quantity})
	}
	s.orders = append(s.orders, o)
	s.references[o.reference] = o
	s.newShipment(o, lines, "Processing")
	if s.hold {
		return
	}
	delay := s.delay
	s.background(func() {
		if !s.wait(delay) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shipOrder(o, shipRequest{})
	})
}

func unprocessable(field, message string) answer {
	return reply(http.StatusUnprocessableEntity, map[string][]string{field: {message}})
}

func (s *Server) productByID(id int64) *product {
	for _, p := range s.products {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// applied are the filters of GET /order that the simulator applies; another
// one is answered 400 rather than ignored.
var applied = []string{"Page", "Limit", "IDs", "ReferenceIds", "SortOrder", "HasTracking", "StartDate", "EndDate", "LastUpdateStartDate", "LastUpdateEndDate"}

func (s *Server) listOrders(q url.Values) answer {
	for name := range q {
		if !slices.Contains(applied, name) {
			return reply(http.StatusBadRequest, map[string][]string{name: {"The simulator does not apply this filter."}})
		}
	}
	page, limit := number(q.Get("Page"), 1), min(number(q.Get("Limit"), 50), 250)
	var hits []*order
	for _, o := range s.orders {
		if matches(o, q) && !s.opts.Now().Before(o.visible) {
			hits = append(hits, o)
		}
	}
	if strings.EqualFold(q.Get("SortOrder"), "Newest") {
		slices.Reverse(hits)
	}
	views := []any{}
	for i := (page - 1) * limit; i < min(page*limit, len(hits)); i++ {
		views = append(views, s.orderView(hits[i]))
	}
	return reply(http.StatusOK, views)
}

func matches(o *order, q url.Values) bool {
	if v := q.Get("IDs"); v != "" && !slices.Contains(strings.Split(v, ","), strconv.FormatInt(o.id, 10)) {
		return false
	}
	if v := q.Get("ReferenceIds"); v != "" && !slices.Contains(strings.Split(v, ","), o.reference) {
		return false
	}
	if v := q.Get("HasTracking"); v != "" {
		want, _ := strconv.ParseBool(v)
		if want != slices.ContainsFunc(o.shipments, (*shipment).done) {
			return false
		}
	}
	return within(o.created, q.Get("StartDate"), q.Get("EndDate")) && within(o.updated, q.Get("LastUpdateStartDate"), q.Get("LastUpdateEndDate"))
}

// within takes bounds that the contract has checked; an empty one is open.
func within(t time.Time, from, to string) bool {
	if f, err := time.Parse(time.RFC3339, from); err == nil && t.Before(f) {
		return false
	}
	if u, err := time.Parse(time.RFC3339, to); err == nil && t.After(u) {
		return false
	}
	return true
}

func number(s string, otherwise int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

func (s *Server) orderByID(id string) *order {
	for _, o := range s.orders {
		if strconv.FormatInt(o.id, 10) == id {
			return o
		}
	}
	return nil
}

func (s *Server) getOrder(id string) answer {
	o := s.orderByID(id)
	if o == nil {
		return notFound()
	}
	return reply(http.StatusOK, s.orderView(o))
}

func (s *Server) listShipments(orderID string) answer {
	o := s.orderByID(orderID)
	if o == nil {
		return notFound()
	}
	views := []any{}
	for _, sh := range o.shipments {
		views = append(views, s.shipmentView(sh))
	}
	return reply(http.StatusOK, views)
}

func (s *Server) getShipment(id string) answer {
	for _, sh := range s.shipments {
		if strconv.FormatInt(sh.id, 10) == id {
			return reply(http.StatusOK, s.shipmentView(sh))
		}
	}
	return notFound()
}

func notFound() answer { return reply(http.StatusNotFound, map[string]any{"title": "Not Found"}) }

// listLevels pages by a cursor, in links that are relative to the host.
func (s *Server) listLevels(r *http.Request) answer {
	q := r.URL.Query()
	size := min(number(q.Get("PageSize"), 50), 250)
	from := 0
	if c := q.Get("Cursor"); c != "" {
		from = number(c, 0)
	}
	held, all, items := s.committed(), s.catalogue(), []any{}
	for i := from; i < min(from+size, len(all)); i++ {
		items = append(items, s.levelView(all[i], held[all[i]]))
	}
	var next any
	if from+size < len(all) {
		next = fmt.Sprintf("/2026-01/inventory-level?PageSize=%d&Cursor=%d", size, from+size)
	}
	return reply(http.StatusOK, map[string]any{"items": items, "first": nil, "last": nil, "next": next, "prev": nil})
}
