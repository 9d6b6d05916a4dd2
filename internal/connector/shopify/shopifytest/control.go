package shopifytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// HeldOrder is one order of GET /_control/orders.
type HeldOrder struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	TotalPrice   string            `json:"total_price"`
	Currency     string            `json:"currency"`
	Lines        int               `json:"lines"`
	Status       string            `json:"fulfillment_status"`
	Cancelled    bool              `json:"cancelled"`
	Fulfillments []HeldFulfillment `json:"fulfillments"`
}

// HeldFulfillment is what the shop was told to have shipped.
type HeldFulfillment struct {
	ID       string   `json:"id"`
	Tracking []string `json:"tracking_numbers"`
	Company  string   `json:"tracking_company,omitempty"`
	Quantity int64    `json:"quantity"`
}

// Orders are all orders that the shop holds, in the order of placement.
func (s *Server) Orders() []HeldOrder {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]HeldOrder, 0, len(s.orders))
	for _, o := range s.orders {
		h := HeldOrder{ID: o.number(), Name: text(o.doc["name"]), TotalPrice: text(o.doc["total_price"]), Currency: text(o.doc["currency"]),
			Lines: len(o.lines), Status: o.status(), Cancelled: text(o.doc["cancelled_at"]) != "", Fulfillments: []HeldFulfillment{}}
		for _, f := range o.fulfillments {
			hf := HeldFulfillment{ID: f.gid, Tracking: []string{}}
			for _, t := range f.tracking {
				hf.Tracking, hf.Company = append(hf.Tracking, t.number), t.company
			}
			for _, l := range f.lines {
				hf.Quantity += l.quantity
			}
			h.Fulfillments = append(h.Fulfillments, hf)
		}
		out = append(out, h)
	}
	return out
}

// Payload is an order's REST form as a webhook would carry it now.
func (s *Server) Payload(id string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(o.doc)
}

// Requests are the vendor calls so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}

// Violations are the calls that the vendor would not accept; a sound run has
// none.
func (s *Server) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Violation{}, s.violations...)
}

// Deliveries are the webhooks so far.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Delivery, 0, len(s.deliveries))
	for _, d := range s.deliveries {
		out = append(out, *d)
	}
	return out
}

// SetWebhook says where deliveries go from now on.
func (s *Server) SetWebhook(url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.WebhookURL, s.opts.WebhookSecret = url, secret
}

// Cancel cancels an order at the shop: its units are removed and its
// fulfillment orders close.
func (s *Server) Cancel(id string) error {
	return s.change(id, "orders/cancelled", func(o *order) {
		o.doc["cancelled_at"], o.doc["cancel_reason"] = o.doc["updated_at"], "customer"
		o.doc["financial_status"] = "voided"
		for _, l := range o.lines {
			l.doc["current_quantity"], l.doc["fulfillable_quantity"] = int64(0), int64(0)
		}
		o.close("CLOSED")
	})
}

// Touch updates an order without changing what it orders.
func (s *Server) Touch(id string) error { return s.change(id, "orders/updated", func(*order) {}) }

func (s *Server) change(id, topic string, apply func(*order)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(id)
	if err != nil {
		return err
	}
	s.touch(o)
	apply(o)
	s.update(topic, o)
	return nil
}

var errNoVerb = errors.New("no such control")

func (s *Server) control(w http.ResponseWriter, r *http.Request, verb string, body []byte) {
	var v any
	var err error
	status := http.StatusOK
	if r.Method == http.MethodPost {
		v, err = s.command(verb, body)
		if verb == "orders" {
			status = http.StatusCreated
		}
	} else {
		v, err = s.inspect(verb)
	}
	switch {
	case errors.Is(err, errNoVerb):
		status, v = http.StatusNotFound, map[string]any{"error": err.Error()}
	case err != nil:
		status, v = http.StatusBadRequest, map[string]any{"error": err.Error()}
	}
	reply(w, status, v)
}

func (s *Server) inspect(verb string) (any, error) {
	switch verb {
	case "orders":
		return s.Orders(), nil
	case "requests":
		return s.Requests(), nil
	case "violations":
		return s.Violations(), nil
	case "deliveries":
		return s.Deliveries(), nil
	}
	return nil, errNoVerb
}

func (s *Server) command(verb string, body []byte) (any, error) {
	done := map[string]any{}
	var one struct {
		ID string `json:"id"`
	}
	switch verb {
	case "orders":
		var p Placement
		if err := strict(verb, body, &p, "skus (sku, quantity, price), email, line_count, plain, fulfillment_orders, at, drop_webhook, duplicate and payload"); err != nil {
			return nil, err
		}
		return s.Place(p)
	case "cancel", "touch":
		if err := strict(verb, body, &one, "id"); err != nil {
			return nil, err
		}
		if verb == "cancel" {
			return done, s.Cancel(one.ID)
		}
		return done, s.Touch(one.ID)
	case "webhook":
		var in struct {
			URL    string `json:"url"`
			Secret string `json:"secret"`
		}
		if err := strict(verb, body, &in, "url and secret"); err != nil {
			return nil, err
		}
		s.SetWebhook(in.URL, in.Secret)
		return done, nil
	}
	return nil, errNoVerb
}

// strict reads a command, which may have the named members only.
func strict(verb string, body []byte, into any, members string) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if _, end := dec.Token(); err == nil && !errors.Is(end, io.EOF) {
		err = errors.New("there is text after it")
	}
	if err != nil {
		return fmt.Errorf("reading the body of %s: %w; it may have %s", verb, err, members)
	}
	return nil
}
