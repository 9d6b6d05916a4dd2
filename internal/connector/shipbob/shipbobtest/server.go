// Package shipbobtest simulates ShipBob's API 2026-01: orders, shipments,
// stock and signed webhooks. It judges every request and its own every answer
// by the official OpenAPI document, and is steered under /_control.
package shipbobtest

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// Options configure a simulated account. The zero value of a field gives the
// default that is stated.
type Options struct {
	AccessToken string // "pat-simulator"
	ChannelID   string // "433"
	// WebhookURL receives order.shipped, signed with WebhookSecret
	// ("whsec_" and base64). Without a URL nothing is subscribed.
	WebhookURL    string
	WebhookSecret string
	Catalogue     []Item
	Now           func() time.Time // time.Now
	// HoldOrders keeps orders until /_control/ship; otherwise each ships by
	// itself AutoShipDelay after it was created.
	HoldOrders    bool
	AutoShipDelay time.Duration
	Carriers      []Carrier // used in turn; USPS, UPS and FedEx
	LocationID    int64     // 8
	FirstID       int64     // ids count up from here; 310000000
	// RetryDelays are the waits between attempts at one delivery; ShipBob's
	// own (5 s to 10 h) compressed to 200 ms, 1 s, 5 s and 15 s.
	RetryDelays []time.Duration
	// Client sends webhooks; one with a time-out of 15 s by default.
	Client *http.Client
}

// Item is a product that the simulated warehouse knows.
type Item struct {
	SKU    string `json:"sku"`
	Name   string `json:"name"`
	OnHand int64  `json:"on_hand"`
}

// Carrier names one carrier service. %s in URL is the tracking number.
type Carrier struct{ Name, Service, Prefix, URL string }

var defaultCarriers = []Carrier{
	{"USPS", "Ground Advantage", "9400100000000", "https://tools.usps.com/go/TrackConfirmAction?tLabels=%s"},
	{"UPS", "Ground", "1Z999AA1", "https://www.ups.com/track?tracknum=%s"},
	{"FedEx", "Home Delivery", "7489", "https://www.fedex.com/fedextrack/?trknbr=%s"},
}

// Server is a simulated account. It is an http.Handler; Close ends what it
// does in the background.
type Server struct {
	opts     Options
	contract *contract
	client   *http.Client
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu            sync.Mutex
	lastID        int64
	products      map[string]*product
	orders        []*order
	references    map[string]*order
	shipments     []*shipment
	subscriptions []*subscription
	deliveries    []*Delivery
	requests      []Request
	violations    []Violation
	carrier       int
	hide          time.Duration // of the call under way: how long lists do not show its effect
	hold          bool
	delay         time.Duration
	closed        bool
}

// Request is one recorded call of the API, without its body.
type Request struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Query  string    `json:"query,omitempty"`
	Status int       `json:"status"`
	Bytes  int       `json:"bytes"` // of the request's body
}

// Violation is a request, or an answer of the simulator itself, that the
// official OpenAPI document does not allow.
type Violation struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation"`
	Side      string    `json:"side"` // request or answer
	Field     string    `json:"field"`
	Keyword   string    `json:"keyword"`
}

// NewServer starts a simulated account. It panics only if the embedded
// contract does not compile, which a test of this package rules out.
func NewServer(opts Options) *Server {
	c, err := loadContract()
	if err != nil {
		panic(fmt.Sprintf("shipbobtest: %v", err))
	}
	defaults(&opts)
	s := &Server{
		opts: opts, contract: c, client: opts.Client, lastID: opts.FirstID,
		products: map[string]*product{}, references: map[string]*order{}, hold: opts.HoldOrders, delay: opts.AutoShipDelay,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, item := range opts.Catalogue {
		s.addProduct(item.SKU, item.Name, item.OnHand)
	}
	if opts.WebhookURL != "" {
		s.subscribe(opts.WebhookURL, opts.WebhookSecret, "", []string{topicShipped})
	}
	return s
}

func defaults(o *Options) {
	if o.AccessToken == "" {
		o.AccessToken = "pat-simulator"
	}
	if o.ChannelID == "" {
		o.ChannelID = "433"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 15 * time.Second}
	}
	if len(o.Carriers) == 0 {
		o.Carriers = defaultCarriers
	}
	if o.LocationID == 0 {
		o.LocationID = 8
	}
	if o.FirstID == 0 {
		o.FirstID = 310_000_000
	}
	if o.RetryDelays == nil {
		o.RetryDelays = []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second, 15 * time.Second}
	}
}

// Close stops shipping and delivering, and waits until both have stopped.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	s.client.CloseIdleConnections()
}

// Credential is the access token that the account accepts.
func (s *Server) Credential() string { return s.opts.AccessToken }

// background runs f unless the server is closed. The caller holds mu.
func (s *Server) background(f func()) {
	if s.closed {
		return
	}
	s.work.Add(1)
	go func() { defer s.work.Done(); f() }()
}

// wait reports false if the server closed meanwhile.
func (s *Server) wait(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// maxBody bounds a request, in bytes.
const maxBody = 16 << 20

// ServeHTTP answers the API and, under /_control, the operator.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body cannot be read or is too large", http.StatusRequestEntityTooLarge)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/_control/") {
		s.control(w, r, body)
		return
	}
	s.hide = faulty.HiddenFor(r)
	a := s.serve(r, body)
	s.hide = 0
	s.requests = append(s.requests, Request{At: s.opts.Now().UTC(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Status: a.status, Bytes: len(body)})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	// A client that went away is not the simulator's concern.
	_, _ = w.Write(a.body)
}

type answer struct {
	status int
	body   []byte
	header map[string]string
}

func reply(status int, v any) answer {
	b, err := encode(v)
	if err != nil {
		return answer{status: http.StatusInternalServerError, body: []byte(`{}`)}
	}
	return answer{status: status, body: b}
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// serve answers one call: credential, contract, capability,
// and the judgement of its own answer.
func (s *Server) serve(r *http.Request, body []byte) answer {
	op, param := s.contract.find(r.Method, r.URL.Path)
	if op == nil {
		s.violations = append(s.violations, Violation{At: s.opts.Now().UTC(), Operation: r.Method + " " + r.URL.Path, Side: "request", Keyword: "paths"})
		return reply(http.StatusNotFound, map[string]any{"message": "no such resource"})
	}
	a := s.answerTo(op, param, r, body)
	if broken := op.checkAnswer(a.status, a.body); len(broken) > 0 {
		s.report(op, "answer", broken)
		return reply(http.StatusInternalServerError, map[string]any{"message": "the simulator broke the contract: " + broken[0].String()})
	}
	return a
}

func (s *Server) answerTo(op *operation, param string, r *http.Request, body []byte) answer {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(s.opts.AccessToken)) != 1 {
		return reply(http.StatusUnauthorized, map[string]any{"title": "Unauthorized"})
	}
	if broken := op.checkRequest(r, body); len(broken) > 0 {
		s.report(op, "request", broken)
		return badRequest(op, broken)
	}
	if ch := r.Header.Get("shipbob_channel_id"); ch != "" && ch != s.opts.ChannelID {
		return reply(http.StatusForbidden, map[string]any{"title": "the channel is not this user's"})
	}
	switch op.id {
	case "create-order":
		return s.createOrder(body)
	case "get-orders":
		return s.listOrders(r.URL.Query())
	case "get-order":
		return s.getOrder(param)
	case "get-all-shipments-for-order":
		return s.listShipments(param)
	case "get-shipment":
		return s.getShipment(param)
	case "get-all-inventory-levels":
		return s.listLevels(r)
	case "get-channels":
		return reply(http.StatusOK, map[string]any{"items": []any{map[string]any{
			"id": s.channel(), "name": "Waybill", "application_name": "Waybill", "scopes": []any{"orders_read", "orders_write", "inventory_read", "webhooks_read", "webhooks_write"},
		}}, "next": nil, "prev": nil})
	case "get-locations":
		return reply(http.StatusOK, []any{map[string]any{
			"id": s.opts.LocationID, "name": "Cicero (IL)", "abbreviation": "CI", "is_active": true, "access_granted": true,
			"is_receiving_enabled": true, "is_shipping_enabled": true, "timezone": "America/Chicago", "attributes": []any{},
		}})
	case "create-subscription":
		return s.createSubscription(body)
	case "get-subscriptions":
		return s.listSubscriptions()
	}
	return reply(http.StatusNotFound, map[string]any{"message": "no such resource"})
}

func (s *Server) report(op *operation, side string, broken []breach) {
	for _, b := range broken {
		s.violations = append(s.violations, Violation{At: s.opts.Now().UTC(), Operation: op.id, Side: side, Field: b.Field, Keyword: b.Keyword})
	}
}

// badRequest answers a request outside the contract in the shape that the
// operation documents.
func badRequest(op *operation, broken []breach) answer {
	switch op.id {
	case "get-all-inventory-levels":
		return reply(http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest, "title": "One or more validation errors occurred.", "detail": broken[0].String()})
	case "create-subscription":
		return reply(http.StatusUnprocessableEntity, map[string]any{"$type": "Microsoft.AspNetCore.Mvc.UnprocessableEntityObjectResult", "status_code": http.StatusUnprocessableEntity})
	case "get-subscriptions":
		return reply(http.StatusBadRequest, map[string]any{"$type": "Microsoft.AspNetCore.Mvc.BadRequestObjectResult", "status_code": http.StatusBadRequest})
	}
	fields := map[string][]string{}
	for _, b := range broken {
		fields[b.Field] = append(fields[b.Field], "The field is invalid ("+b.Keyword+").")
	}
	return reply(http.StatusBadRequest, fields)
}
