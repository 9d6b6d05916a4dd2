package shipbobtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

const topicShipped = "order.shipped"

// Sign returns the webhook-signature of a delivery by the Standard Webhooks
// rules: "v1," and the base64 of an HMAC-SHA256 over "id.timestamp.body". The
// key is what follows "whsec_" in base64; a secret that is not base64 signs as
// the bytes it is.
func Sign(secret, id string, ts time.Time, body []byte) string {
	encoded := strings.TrimPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		key = []byte(encoded)
	}
	m := hmac.New(sha256.New, key)
	m.Write(fmt.Appendf(nil, "%s.%d.%s", id, ts.Unix(), body))
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// Headers are the headers of one signed delivery.
func Headers(topic, id string, body []byte, secret string, now time.Time) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("webhook-signature", Sign(secret, id, now, body))
	h.Set("x-webhook-topic", topic)
	return h
}

type subscription struct {
	id, url, secret, description string
	topics                       []string
	created                      time.Time
}

func (s *Server) subscribe(target, secret, description string, topics []string) *subscription {
	if secret == "" {
		key := make([]byte, 24)
		// crypto/rand.Read never returns an error.
		_, _ = rand.Read(key)
		secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	}
	sub := &subscription{id: fmt.Sprintf("ep_%d", s.nextID()), url: target, secret: secret, description: description, topics: topics, created: s.opts.Now().UTC()}
	s.subscriptions = append(s.subscriptions, sub)
	return sub
}

func (sub *subscription) view() map[string]any {
	return map[string]any{"id": sub.id, "url": sub.url, "topics": sub.topics, "description": sub.description, "created_at": stamp(sub.created)}
}

func (s *Server) createSubscription(body []byte) answer {
	var req struct {
		URL         string   `json:"url"`
		Secret      string   `json:"secret"`
		Description string   `json:"description"`
		Topics      []string `json:"topics"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return badRequest(&operation{id: "create-subscription"}, []breach{{"", "json"}})
	}
	sub := s.subscribe(req.URL, req.Secret, req.Description, req.Topics)
	v := sub.view()
	v["secret"] = sub.secret
	return reply(http.StatusOK, v)
}

func (s *Server) listSubscriptions() answer {
	items := []any{}
	for _, sub := range s.subscriptions {
		v := sub.view()
		v["enabled"] = true
		items = append(items, v)
	}
	return reply(http.StatusOK, map[string]any{"items": items, "next": nil, "prev": nil})
}

// Delivery is one webhook with its attempts.
type Delivery struct {
	ID         string    `json:"id"` // webhook-id, the same on every attempt
	Topic      string    `json:"topic"`
	URL        string    `json:"url"`
	ShipmentID string    `json:"shipment_id"`
	Dropped    bool      `json:"dropped"` // never sent, by request
	Lost       bool      `json:"lost"`    // by a fault: it is not sent, or not again
	Delivered  bool      `json:"delivered"`
	GivenUp    bool      `json:"given_up"`
	Attempts   []Attempt `json:"attempts"`
}

// Attempt is one POST of a delivery.
type Attempt struct {
	At     time.Time `json:"at"`
	Status int       `json:"status,omitempty"`
	Failed string    `json:"failed,omitempty"` // where there was no answer
}

// announce sends order.shipped to every subscription to it. ShipBob publishes
// no schema for the payload: it is ASSUMED to be Orders.ShipmentViewModel, the
// model that GET /shipment/{id} returns.
func (s *Server) announce(sh *shipment, req shipRequest) {
	body, err := encode(s.shipmentView(sh))
	if err != nil {
		return
	}
	for _, sub := range s.subscriptions {
		if !slices.Contains(sub.topics, topicShipped) {
			continue
		}
		id := fmt.Sprintf("msg_%d", s.nextID())
		for range 1 + max(req.Duplicate, 0) {
			d := &Delivery{ID: id, Topic: topicShipped, URL: sub.url, ShipmentID: strconv.FormatInt(sh.id, 10), Dropped: req.DropWebhook, Attempts: []Attempt{}}
			s.deliveries = append(s.deliveries, d)
			if !d.Dropped {
				secret := sub.secret
				s.background(func() { s.deliver(d, body, secret) })
			}
		}
	}
}

// deliver posts until it is answered 2xx or the attempts are used up.
func (s *Server) deliver(d *Delivery, body []byte, secret string) {
	for i := 0; ; i++ {
		a, lost := s.attempt(d, body, secret)
		s.mu.Lock()
		if lost {
			d.Lost = true
			s.mu.Unlock()
			return
		}
		d.Attempts = append(d.Attempts, a)
		d.Delivered = a.Status >= 200 && a.Status < 300
		d.GivenUp = !d.Delivered && i >= len(s.opts.RetryDelays)
		ended := d.Delivered || d.GivenUp
		s.mu.Unlock()
		if ended || !s.wait(s.opts.RetryDelays[i]) {
			return
		}
	}
}

func (s *Server) attempt(d *Delivery, body []byte, secret string) (a Attempt, lost bool) {
	res, err := faulty.Send(s.ctx, s.client, func(ctx context.Context) (*http.Request, error) {
		now := s.opts.Now()
		a.At = now.UTC()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(body))
		if err != nil {
			return nil, errors.New("the subscription's URL is invalid")
		}
		r.Header = Headers(d.Topic, d.ID, body, secret, now)
		return r, nil
	})
	if err != nil {
		a.Failed = err.Error()
		return a, errors.Is(err, faulty.ErrLost)
	}
	_ = res.Body.Close()
	a.Status = res.StatusCode
	return a, false
}
