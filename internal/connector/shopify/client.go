package shopify

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// shortestWait and longestWait bound what is asked of the caller after the
// vendor throttled a query.
const (
	shortestWait = time.Second
	longestWait  = 5 * time.Minute
)

// cost is the vendor's account of a query: points of a leaky bucket.
type cost struct {
	Requested json.Number `json:"requestedQueryCost"`
	Throttle  struct {
		Available   json.Number `json:"currentlyAvailable"`
		RestoreRate json.Number `json:"restoreRate"` // points a second
	} `json:"throttleStatus"`
}

// waitFor is how long the bucket needs until it holds points.
func (c cost) waitFor(points float64) time.Duration {
	available, err := c.Throttle.Available.Float64()
	if err != nil {
		return 0
	}
	rate, err := c.Throttle.RestoreRate.Float64()
	if err != nil || rate <= 0 || available >= points {
		return 0
	}
	return time.Duration(math.Ceil((points-available)/rate)) * time.Second
}

type answer struct {
	Data       json.RawMessage `json:"data"`
	Errors     json.RawMessage `json:"errors"`
	Extensions struct {
		Cost cost `json:"cost"`
	} `json:"extensions"`
}

type topError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// query runs a document that changes nothing and decodes its data into out.
func (c *Connector) query(ctx context.Context, document string, variables map[string]any, out any) (cost, error) {
	r, err := c.request(document, variables)
	if err != nil {
		return cost{}, err
	}
	res, err := c.client.Read(ctx, r)
	if err != nil {
		return cost{}, err
	}
	spent, err := interpret(res, out, false)
	c.throttled(ctx, err)
	return spent, err
}

// mutate runs a document that changes something.
func (c *Connector) mutate(ctx context.Context, p effect.Permit, document string, variables map[string]any, out any) error {
	r, err := c.request(document, variables)
	if err != nil {
		return err
	}
	res, err := c.client.Write(ctx, p, r)
	if err != nil {
		return err
	}
	_, err = interpret(res, out, true)
	c.throttled(ctx, err)
	return err
}

// throttled tells everybody who uses the connection that Shopify asked to
// wait, which it says with status 200.
func (c *Connector) throttled(ctx context.Context, err error) {
	if f := fault.Of(err); f != nil && f.Class == fault.RateLimited {
		c.client.Throttled(ctx, f.RetryAfter)
	}
}

func (c *Connector) request(document string, variables map[string]any) (*http.Request, error) {
	if c.client == nil {
		return nil, fault.New(fault.Permanent, fault.Internal, "calling Shopify through a connector that only decodes")
	}
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		return nil, fault.Wrap(fault.Permanent, fault.Internal, err, "encoding the query")
	}
	r, err := egress.NewRequest(http.MethodPost, c.endpoint, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-Shopify-Access-Token", c.token)
	return r, nil
}

// interpret turns an answer into data or a fault. GraphQL reports failures
// with status 200 and an errors member.
func interpret(res *egress.Response, out any, write bool) (cost, error) {
	if f := statusFault(res.Status); f != nil {
		return cost{}, f
	}
	var a answer
	// encoding/json would let broken UTF-8 pass with its bytes replaced, and an
	// id so spoilt would be kept as the shop's own.
	if err := json.Unmarshal(res.Body, &a); err != nil || !utf8.Valid(res.Body) {
		f := fault.New(fault.Retryable, fault.Connectivity, "the answer is not the JSON of a GraphQL endpoint (%d bytes)", len(res.Body))
		if write {
			f = f.OutcomeUnknown()
		}
		return cost{}, f
	}
	spent := a.Extensions.Cost
	if f := errorsFault(a.Errors, spent, write); f != nil {
		return spent, f
	}
	if err := json.Unmarshal(a.Data, out); err != nil {
		if write {
			// The shop may have done it, and a read-back can tell.
			return spent, fault.New(fault.Retryable, fault.OutcomeUnknown, "the answer's data has not the shape that was asked for").OutcomeUnknown()
		}
		return spent, fault.New(fault.Permanent, fault.Validation, "the answer's data has not the shape that was asked for")
	}
	return spent, nil
}

func statusFault(status int) *fault.Error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound:
		return fault.New(fault.Permanent, fault.Configuration, "Shopify knows no such shop or API version (HTTP 404)")
	case status == http.StatusPaymentRequired || status == http.StatusLocked:
		return fault.New(fault.Permanent, fault.Configuration, "the shop is frozen or locked (HTTP %d)", status)
	default:
		return fault.New(fault.Permanent, fault.Internal, "Shopify refused the request (HTTP %d)", status)
	}
}

// errorsFault classifies the first top-level error. The codes are those of
// "GraphQL Admin API: status and error codes": THROTTLED, ACCESS_DENIED,
// SHOP_INACTIVE, INTERNAL_SERVER_ERROR, MAX_COST_EXCEEDED.
func errorsFault(raw json.RawMessage, spent cost, write bool) *fault.Error {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "[]" {
		return nil
	}
	var errs []topError
	if json.Unmarshal(raw, &errs) != nil || len(errs) == 0 {
		// Outside GraphQL proper (wrong token, unknown version) the member is
		// a string.
		return fault.New(fault.Permanent, fault.Internal, "Shopify refused the request: %s", clip(string(raw)))
	}
	e := errs[0]
	switch e.Extensions.Code {
	case "THROTTLED":
		points, err := spent.Requested.Float64()
		if err != nil {
			points = maxQueryCost
		}
		wait := min(max(spent.waitFor(points), shortestWait), longestWait)
		return fault.New(fault.Retryable, fault.RateLimited, "Shopify throttled the query").After(wait)
	case "ACCESS_DENIED", "FORBIDDEN", "UNAUTHORIZED":
		return fault.New(fault.Permanent, fault.Authentication, "Shopify denies access: %s", clip(e.Message))
	case "SHOP_INACTIVE":
		return fault.New(fault.Permanent, fault.Configuration, "the shop is inactive")
	case "INTERNAL_SERVER_ERROR", "TIMEOUT":
		f := fault.New(fault.Retryable, fault.Connectivity, "Shopify failed (%s)", e.Extensions.Code)
		if write {
			f = f.OutcomeUnknown()
		}
		return f
	default:
		return fault.New(fault.Permanent, fault.Internal, "Shopify refused the query: %s", clip(e.Message)).At("extensions.code", e.Extensions.Code)
	}
}

func clip(s string) string {
	if len(s) <= 300 {
		return s
	}
	return strconv.Quote(s[:300]) + "…"
}

// pacer spreads the pages of one long order over the bucket's refill, so that
// an order of 2,000 lines can be read on any plan.
type pacer struct {
	c     *Connector
	spent time.Duration
}

// wait pauses until the bucket holds points. It gives up with a Retryable
// fault rather than outlive the context's deadline.
func (p *pacer) wait(ctx context.Context, last cost, points float64) error {
	d := last.waitFor(points)
	if d == 0 {
		return nil
	}
	deadline, bounded := ctx.Deadline()
	if p.spent+d > longestWait || (bounded && deadline.Sub(p.c.now()) < d+egress.Timeout) {
		return fault.New(fault.Retryable, fault.RateLimited, "the order is too long for the time that is left").After(d)
	}
	p.spent += d
	if err := p.c.pause(ctx, d); err != nil {
		return fault.Wrap(fault.Retryable, fault.RateLimited, err, "waiting for the shop's query allowance")
	}
	return nil
}
