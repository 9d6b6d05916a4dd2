package shipbobtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// control answers the operator. The caller holds mu.
func (s *Server) control(w http.ResponseWriter, r *http.Request, body []byte) {
	verb := strings.TrimPrefix(r.URL.Path, "/_control/")
	var v any
	var err error
	if r.Method == http.MethodPost {
		v, err = s.command(verb, body)
	} else {
		v, err = s.inspect(verb)
	}
	status := http.StatusOK
	switch {
	case errors.Is(err, errNoVerb):
		status, v = http.StatusNotFound, map[string]any{"error": err.Error()}
	case err != nil:
		status, v = http.StatusBadRequest, map[string]any{"error": err.Error()}
	}
	a := reply(status, v)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

var (
	errNoVerb  = errors.New("no such control")
	errNoOrder = errors.New("no such order")
)

func (s *Server) inspect(verb string) (any, error) {
	switch verb {
	case "orders":
		views := []any{}
		for _, o := range s.orders {
			views = append(views, s.orderView(o))
		}
		return views, nil
	case "shipments":
		views := []any{}
		for _, sh := range s.shipments {
			views = append(views, s.shipmentView(sh))
		}
		return views, nil
	case "stock":
		held, out := s.committed(), []any{}
		for _, p := range s.catalogue() {
			out = append(out, map[string]any{"sku": p.SKU, "name": p.Name, "on_hand": p.OnHand, "committed": held[p]})
		}
		return out, nil
	case "requests":
		return notNil(s.requests), nil
	case "violations":
		return notNil(s.violations), nil
	case "deliveries":
		return notNil(s.deliveries), nil
	}
	return nil, errNoVerb
}

// notNil makes an empty list an empty JSON array.
func notNil[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func (s *Server) command(verb string, body []byte) (any, error) {
	switch verb {
	case "ship":
		var req shipRequest
		if err := strict(body, &req); err != nil {
			return nil, err
		}
		return s.shipCommand(req)
	case "auto":
		var req struct {
			Enabled bool  `json:"enabled"`
			DelayMS int64 `json:"delay_ms"`
		}
		if err := strict(body, &req); err != nil {
			return nil, err
		}
		s.hold, s.delay = !req.Enabled, time.Duration(req.DelayMS)*time.Millisecond
		return map[string]any{"enabled": req.Enabled, "delay_ms": req.DelayMS}, nil
	case "webhook":
		var req struct {
			URL    string `json:"url"`
			Secret string `json:"secret"`
		}
		if err := strict(body, &req); err != nil {
			return nil, err
		}
		s.subscriptions = nil
		sub := s.subscribe(req.URL, req.Secret, "", []string{topicShipped})
		return map[string]any{"id": sub.id, "url": sub.url, "secret": sub.secret}, nil
	case "stock":
		counts := map[string]int64{}
		if err := strict(body, &counts); err != nil {
			return nil, err
		}
		s.setStock(counts)
		return s.inspect("stock")
	}
	return nil, errNoVerb
}

func (s *Server) shipCommand(req shipRequest) (any, error) {
	var orders []*order
	switch o := s.orderByID(req.OrderID); {
	case req.All:
		orders = s.orders
	case o != nil:
		orders = []*order{o}
	default:
		return nil, errNoOrder
	}
	views := []any{}
	for _, o := range orders {
		for _, sh := range s.shipOrder(o, req) {
			views = append(views, s.shipmentView(sh))
		}
	}
	return map[string]any{"shipments": views}, nil
}

// UnmarshalJSON takes the order's id as a number or a string.
func (r *shipRequest) UnmarshalJSON(b []byte) error {
	type plain shipRequest
	aux := struct {
		*plain
		OrderID any `json:"order_id"`
	}{plain: (*plain)(r)}
	if err := strict(b, &aux); err != nil {
		return err
	}
	switch v := aux.OrderID.(type) {
	case json.Number:
		r.OrderID = v.String()
	case string:
		r.OrderID = v
	}
	return nil
}

func strict(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
