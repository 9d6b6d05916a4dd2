package faulty

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// Deliveries carries a simulator's webhooks through the faults: it is the
// transport of the client that sends them. topic reads a delivery's topic.
func (i *Injector) Deliveries(base http.RoundTripper, topic func(http.Header) string) http.RoundTripper {
	return transport{i, base, topic}
}

type transport struct {
	*Injector
	base  http.RoundTripper
	topic func(http.Header) string
}

// patience is how long a reordered webhook waits for one to follow.
const patience = 3 * time.Second

// taken is the answer that the sender sees of a webhook that goes another way.
func taken(r *http.Request) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: r}
}

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
	later := func() {
		res, err := send(r.WithContext(t.ctx))
		if err == nil {
			_ = res.Body.Close() // its sender has been answered
		}
	}
	t.mu.Lock()
	rule := t.take(occasion{operation: t.topic(r.Header)}, true, nil)
	t.mu.Unlock()
	if rule == nil {
		res, err := send(r)
		t.release()
		return res, err
	}
	switch rule.Fault {
	case "webhook_lost":
	case "webhook_delayed":
		t.After(time.Duration(rule.Seconds*float64(time.Second)), later)
	case "webhook_duplicate":
		for range max(rule.Copies, 1) {
			t.After(0, later)
		}
		return send(r)
	case "webhook_resigned":
		r = r.Clone(r.Context())
		t.vendor.Sign(r.Header, body, rule.Secret)
		return send(r)
	case "webhook_reordered":
		next := make(chan struct{})
		t.mu.Lock()
		t.held = next
		t.mu.Unlock()
		t.work.Go(func() {
			wait, cancel := context.WithTimeout(t.ctx, patience)
			defer cancel()
			select {
			case <-next:
			case <-wait.Done(): // none followed
			}
			if t.ctx.Err() == nil {
				later()
			}
		})
	}
	return taken(r), nil
}

// release lets a held webhook follow the one that was just sent.
func (i *Injector) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held != nil {
		close(i.held)
		i.held = nil
	}
}
