// Package egress is the one HTTP client to vendors. It checks addresses when
// it dials, bounds time and size, follows no redirects, classifies failures
// once, and sends a write only with a permit of the effect ledger.
package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
)

// Timeout bounds one exchange with a vendor, connect to last byte.
const Timeout = 10 * time.Second

// MaxResponse bounds a response body, in bytes.
const MaxResponse = 32 << 20

// ErrPrivateAddress is the cause when a vendor's name resolves to an address
// inside the account's own network.
var ErrPrivateAddress = errors.New("address is not a public one")

// Client sends requests to vendors. It is safe for concurrent use.
type Client struct {
	http *http.Client
	now  func() time.Time
	sent func() // nil counts nothing
	gate Gate   // nil lets everything pass
}

// Gate is what all requests to one connection pass.
type Gate interface {
	// Enter lets one request pass, or refuses it before anything is sent.
	Enter(ctx context.Context) error
	// Leave hears how it ended: nil, or a classified error.
	Leave(ctx context.Context, err error)
	// Throttled hears that the vendor asked to wait in words of its own.
	Throttled(ctx context.Context, wait time.Duration)
}

// Through returns a client whose requests pass the gate.
func (c *Client) Through(g Gate) *Client {
	out := *c
	out.gate = g
	return &out
}

// Throttled passes on that a vendor asked to wait in words that only its
// connector understands.
func (c *Client) Throttled(ctx context.Context, wait time.Duration) {
	if c.gate != nil {
		c.gate.Throttled(ctx, wait)
	}
}

// Counting calls f for every request that is sent, and returns c.
func (c *Client) Counting(f func()) *Client {
	c.sent = f
	return c
}

// Response is a vendor's complete answer with a status below 500 that is
// neither 401, 403 nor 429: what it means is for the connector to say.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// New returns a client that refuses private, loopback, link-local and other
// special addresses, except those inside allow. now is for Retry-After dates.
func New(now func() time.Time, allow ...netip.Prefix) *Client {
	dialer := &net.Dialer{
		Timeout: 3 * time.Second,
		// Checked after resolution and before connecting, so that a name
		// which resolves differently the second time gains nothing.
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("parsing the address to dial: %w", err)
			}
			if !permitted(ap.Addr().Unmap(), allow) {
				return fmt.Errorf("%s: %w", ap.Addr(), ErrPrivateAddress)
			}
			return nil
		},
	}
	return &Client{now: now, http: &http.Client{
		Timeout: Timeout,
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: 3 * time.Second,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     60 * time.Second,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// special lists ranges that Go's predicates do not cover (RFC 6890).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
}

func permitted(a netip.Addr, allow []netip.Prefix) bool {
	for _, p := range allow {
		if p.Contains(a) {
			return true
		}
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// Read sends a request that changes nothing at the vendor, whatever its HTTP
// method.
func (c *Client) Read(ctx context.Context, r *http.Request) (*Response, error) {
	return c.send(ctx, r, false)
}

// Write sends a request that changes something at the vendor. A failure after
// the request may have arrived is marked as of unknown outcome.
func (c *Client) Write(ctx context.Context, p effect.Permit, r *http.Request) (*Response, error) {
	if err := p.Check(); err != nil {
		return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "writing to %s", r.URL.Host)
	}
	return c.send(ctx, r, true)
}

func (c *Client) send(ctx context.Context, r *http.Request, write bool) (res *Response, err error) {
	if c.gate == nil {
		return c.exchange(ctx, r, write)
	}
	if err := c.gate.Enter(ctx); err != nil {
		return nil, err
	}
	res, err = c.exchange(ctx, r, write)
	c.gate.Leave(ctx, err)
	return res, err
}

func (c *Client) exchange(ctx context.Context, r *http.Request, write bool) (*Response, error) {
	if c.sent != nil {
		c.sent()
	}
	res, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return nil, transportFault(err, r, write)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxResponse+1))
	if err != nil {
		return nil, maybe(fault.Wrap(fault.Retryable, fault.Connectivity, strip(err), "reading the answer of %s", r.URL.Host), write)
	}
	if len(body) > MaxResponse {
		kind := fault.Permanent
		if write {
			kind = fault.Retryable // what came of it can be read back
		}
		return nil, maybe(fault.New(kind, fault.Connectivity, "the answer of %s is larger than %d MiB", r.URL.Host, MaxResponse>>20), write)
	}
	out := &Response{Status: res.StatusCode, Header: res.Header, Body: body}
	switch {
	case res.StatusCode == http.StatusTooManyRequests:
		return nil, fault.New(fault.Retryable, fault.RateLimited, "%s answered 429", r.URL.Host).After(c.retryAfter(res.Header, 2*time.Second))
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, fault.New(fault.Permanent, fault.Authentication, "%s refused the credential (HTTP %d)", r.URL.Host, res.StatusCode)
	case res.StatusCode == http.StatusServiceUnavailable:
		return nil, maybe(fault.New(fault.Retryable, fault.Connectivity, "%s is unavailable (HTTP 503)", r.URL.Host).After(c.retryAfter(res.Header, 0)), write)
	case res.StatusCode >= 500:
		return nil, maybe(fault.New(fault.Retryable, fault.Connectivity, "%s failed (HTTP %d)", r.URL.Host, res.StatusCode), write)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, fault.New(fault.Permanent, fault.Configuration, "%s redirects (HTTP %d), which is not followed; correct the connection's URL", r.URL.Host, res.StatusCode)
	}
	return out, nil
}

// transportFault tells a request that never left from one that may have
// arrived: only a failed dial is certain.
func transportFault(err error, r *http.Request, write bool) error {
	if errors.Is(err, ErrPrivateAddress) {
		return fault.Wrap(fault.Permanent, fault.Configuration, ErrPrivateAddress, "refusing to connect to %s", r.URL.Host)
	}
	f := fault.Wrap(fault.Retryable, fault.Connectivity, strip(err), "reaching %s", r.URL.Host)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return f
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return f
	}
	return maybe(f, write)
}

// strip drops the URL that net/http writes into its errors: a query may hold
// what must not be logged.
func strip(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func maybe(f *fault.Error, write bool) *fault.Error {
	if write {
		return f.OutcomeUnknown()
	}
	return f
}

// retryAfter reads RFC 9110 Retry-After: seconds or an HTTP date. Shopify
// sends seconds with a fraction ("2.0").
func (c *Client) retryAfter(h http.Header, otherwise time.Duration) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		v = h.Get("X-Retry-After") // ShipBob
	}
	if v == "" {
		return otherwise
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 && s < 86400 {
		return time.Duration(s * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(c.now()), 0)
	}
	return otherwise
}

// NewRequest builds a request with a body that can be sent again. An invalid
// URL is a fault of the connection's configuration.
func NewRequest(method, target string, body []byte) (*http.Request, error) {
	r, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fault.New(fault.Permanent, fault.Configuration, "the connection's URL is invalid").At("url", target)
	}
	if body == nil {
		r.Body, r.GetBody = nil, nil
	}
	r.Header.Set("User-Agent", "waybill/1 (+integration platform)")
	return r, nil
}
