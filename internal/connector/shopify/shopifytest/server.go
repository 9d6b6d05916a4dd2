// Package shopifytest is a Shopify shop in memory: an HTTP server that checks
// every GraphQL call against Shopify's own schema, keeps orders, fulfillment
// orders and fulfillments, and delivers signed webhooks. It judges for itself:
// it shares no code with the connector.
//
// It fails on demand behind a faulty.Injector for Vendor.
//
// The vendor's surface is POST /admin/api/{version}/graphql.json. An operator's
// surface, meant for a loopback address, is JSON under /_control:
//
//	POST /_control/orders      place an order, see Placement; 201 {id, name, total}
//	GET  /_control/orders      all orders: id, name, total_price, fulfillments with tracking
//	POST /_control/cancel      {"id"} cancel an order and send orders/cancelled
//	POST /_control/touch       {"id"} update an order and send orders/updated
//	POST /_control/webhook     {"url", "secret"} where deliveries go from now on
//	GET  /_control/requests    every vendor call: time, method, path, operation, status
//	GET  /_control/violations  what the schema or the simulator's model refused; [] in a sound run
//	GET  /_control/deliveries  every webhook with its attempts
package shopifytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// Version is the API version that the simulator speaks.
const Version = "2026-07"

// Options configure a Server. Only AccessToken has no default.
type Options struct {
	Shop          string // "demo.myshopify.com"
	AccessToken   string
	WebhookSecret string
	WebhookURL    string // empty: nothing is delivered until /_control/webhook sets one
	// Topics are the subscriptions; orders/create and orders/cancelled if nil.
	Topics    []string
	Now       func() time.Time // time.Now
	Currency  string           // "USD"
	FirstName int              // number of the first order, 1001
	Catalogue []Product        // DefaultCatalogue
	// Bucket and RestoreRate are the query allowance in points and points a
	// second. A Bucket of zero never throttles.
	Bucket, RestoreRate int64
	// Backoff is the wait before the second delivery attempt; it doubles up to
	// eight attempts in all. 200 ms.
	Backoff time.Duration
	// Client sends webhooks; one with the vendor's 5 s time-out by default.
	Client *http.Client
}

// Product is what an order by SKU is priced from.
type Product struct {
	SKU     string `json:"sku"`
	Title   string `json:"title"`
	Price   string `json:"price"` // decimal
	Grams   int64  `json:"grams"`
	TaxRate string `json:"tax_rate"` // decimal, "0.0825"
}

// DefaultCatalogue is a small shop's range.
var DefaultCatalogue = []Product{
	{"TEE-BLK-M", "Organic tee, black, M", "24.00", 180, "0.0825"},
	{"TEE-WHT-L", "Organic tee, white, L", "24.00", 190, "0.0825"},
	{"MUG-STONE", "Stoneware mug", "17.95", 420, "0.0825"},
	{"CANDLE-FIG", "Fig candle", "32.50", 350, "0.0825"},
	{"TOTE-NAT", "Canvas tote", "14.99", 210, "0.0825"},
	{"SOCK-3PK", "Wool socks, three pairs", "21.37", 150, "0.0825"},
}

// Server is one shop. It is safe for concurrent use.
type Server struct {
	opts Options

	mu         sync.Mutex
	orders     []*order // by id, ascending
	byGID      map[string]any
	nextNumber int
	nextID     int64
	bucket     bucket
	requests   []Request
	violations []Violation
	deliveries []*Delivery
	hide       time.Duration // of the call under way: how long reads do not show its effect
	closed     chan struct{}
	once       sync.Once
	sending    sync.WaitGroup
}

// Request is one vendor call as it was received.
type Request struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Operation string    `json:"operation,omitempty"`
	Status    int       `json:"status"`
	Cost      int64     `json:"requested_cost,omitempty"`
}

// Violation is a call that the vendor would not accept, or that asks for what
// the simulator does not model.
type Violation struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation,omitempty"`
	Message   string    `json:"message"`
}

// NewServer returns a shop without orders. Close ends its deliveries.
func NewServer(opts Options) *Server {
	defaults(&opts)
	return &Server{
		opts: opts, byGID: map[string]any{}, nextNumber: opts.FirstName,
		// Ids past 2^53, as the vendor's are: whoever reads them as floats fails.
		nextID: 9007199254740993, closed: make(chan struct{}),
		bucket: bucket{size: opts.Bucket, rate: opts.RestoreRate, left: float64(opts.Bucket)},
	}
}

func defaults(o *Options) {
	if o.Shop == "" {
		o.Shop = "demo.myshopify.com"
	}
	if o.Topics == nil {
		o.Topics = []string{"orders/create", "orders/cancelled"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Currency == "" {
		o.Currency = "USD"
	}
	if o.FirstName == 0 {
		o.FirstName = 1001
	}
	if o.Catalogue == nil {
		o.Catalogue = DefaultCatalogue
	}
	if o.RestoreRate == 0 {
		o.RestoreRate = 100
	}
	if o.Backoff == 0 {
		o.Backoff = 200 * time.Millisecond
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 5 * time.Second}
	}
}

// Close stops deliveries and waits for those under way.
func (s *Server) Close() {
	s.once.Do(func() { close(s.closed) })
	s.sending.Wait()
}

// Credential is the access token that the shop accepts.
func (s *Server) Credential() string { return s.opts.AccessToken }

// Wait returns when every delivery so far has been accepted, given up or lost.
func (s *Server) Wait() { s.sending.Wait() }

func (s *Server) id() int64 {
	s.nextID += 2
	return s.nextID
}

// ServeHTTP answers the vendor's surface and the operator's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return
	}
	if verb, ok := strings.CutPrefix(r.URL.Path, "/_control/"); ok {
		s.control(w, r, verb, body)
		return
	}
	s.vendor(w, r, body)
}

func (s *Server) vendor(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := Request{Time: s.opts.Now(), Method: r.Method, Path: r.URL.Path}
	s.hide = faulty.HiddenFor(r)
	status, out := s.answer(r, body, &rec)
	s.hide = 0
	rec.Status = status
	s.requests = append(s.requests, rec)
	w.Header().Set("X-Shopify-API-Version", Version)
	reply(w, status, out)
}

func (s *Server) answer(r *http.Request, body []byte, rec *Request) (status int, out any) {
	if r.URL.Path != "/admin/api/"+Version+"/graphql.json" {
		s.violate(rec, fmt.Sprintf("no such path or API version: %s", r.URL.Path))
		return http.StatusNotFound, map[string]any{"errors": "Not Found"}
	}
	if r.Method != http.MethodPost {
		s.violate(rec, "GraphQL is called with POST")
		return http.StatusMethodNotAllowed, map[string]any{"errors": "Method Not Allowed"}
	}
	if r.Header.Get("X-Shopify-Access-Token") != s.opts.AccessToken {
		return http.StatusUnauthorized, map[string]any{"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		s.violate(rec, "the content type is not application/json")
		return http.StatusUnsupportedMediaType, map[string]any{"errors": "Unsupported Media Type"}
	}
	c, refusal := s.read(body, rec)
	if refusal != nil {
		return refusal.status, refusal.body
	}
	return s.run(c, rec)
}

func (s *Server) violate(rec *Request, message string) {
	s.violations = append(s.violations, Violation{rec.Time, rec.Operation, message})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	b, err := json.Marshal(v)
	if err != nil {
		return
	}
	_, _ = w.Write(b)
}
