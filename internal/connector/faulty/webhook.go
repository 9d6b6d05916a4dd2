package faulty

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Deliveries carries a simulator's webhooks through the faults: it is the
// transport of the client that Send sends them with. topic reads a delivery's
// topic.
func (i *Injector) Deliveries(base http.RoundTripper, topic func(http.Header) string) http.RoundTripper {
	return transport{i, base, topic}
}

// ErrLost is why a webhook was not sent and never is: a fault lost it, or its
// sender closed while a fault held it back.
var ErrLost = errors.New("a fault lost the webhook")

// Send sends a webhook and returns what its receiver answers. One that a fault
// holds back is made anew by request once it may go.
func Send(ctx context.Context, c *http.Client, request func(context.Context) (*http.Request, error)) (*http.Response, error) {
	for {
		r, err := request(ctx)
		if err != nil {
			return nil, err
		}
		res, err := c.Do(r)
		var h *held
		if !errors.As(err, &h) {
			return res, err
		}
		select {
		case <-h.due:
			ctx = context.WithValue(ctx, resumed{}, h)
		case <-h.gone:
			return nil, ErrLost
		case <-ctx.Done():
			return nil, ErrLost
		}
	}
}

// held is a webhook that a fault holds back, and the error that tells Send so:
// the client's time-out is shorter than a fault may be.
type held struct {
	due  chan struct{}   // closed when it may go
	gone <-chan struct{} // closed with the injector
	// first waited for the next webhook when this one came.
	first *held
}

func (*held) Error() string { return "a fault holds the webhook back: send it with faulty.Send" }

// resumed is the context's key of the held webhook that may go.
type resumed struct{}

type transport struct {
	*Injector
	base  http.RoundTripper
	topic func(http.Header) string
}

// patience is how long a reordered webhook waits for one to follow.
const patience = 3 * time.Second

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close() // it has been read
	if err != nil {
		return nil, err
	}
	send := func(r *http.Request) (*http.Response, error) {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		return t.base.RoundTrip(again)
	}
	if h, ok := r.Context().Value(resumed{}).(*held); ok {
		res, err := send(r)
		t.release(h.first)
		return res, err
	}
	rule, h := t.encounter(t.topic(r.Header))
	switch rule.Fault {
	case "webhook_lost":
		return nil, ErrLost
	case "webhook_delayed":
		t.After(time.Duration(rule.Seconds*float64(time.Second)), func() { close(h.due) })
		return nil, h
	case "webhook_reordered":
		t.After(patience, func() { t.release(h) })
		return nil, h
	case "webhook_duplicate":
		for range max(rule.Copies, 1) {
			t.After(0, func() {
				res, err := send(r.WithContext(t.ctx))
				if err == nil {
					_ = res.Body.Close() // nobody asked for the copy
				}
			})
		}
	case "webhook_resigned":
		r = r.Clone(r.Context())
		t.vendor.Sign(r.Header, body, rule.Secret)
	}
	res, err := send(r)
	t.release(h.first)
	return res, err
}

// encounter finds the rule that befalls a webhook; the zero Rule is none.
func (i *Injector) encounter(topic string) (Rule, *held) {
	i.mu.Lock()
	defer i.mu.Unlock()
	h := &held{due: make(chan struct{}), gone: i.ctx.Done(), first: i.held}
	rule := i.take(occasion{operation: topic}, true, nil)
	if rule == nil {
		return Rule{}, h
	}
	if rule.Fault == "webhook_reordered" {
		i.held = h
	}
	return *rule, h
}

// release lets a webhook follow the one that was just sent, unless it has.
func (i *Injector) release(h *held) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if h != nil && h == i.held {
		close(h.due)
		i.held = nil
	}
}
