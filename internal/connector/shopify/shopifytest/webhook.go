package shopifytest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// attempts bounds the deliveries of one webhook: the first and eight retries,
// as the vendor's.
const attempts = 9

// Delivery is one webhook and what became of it.
type Delivery struct {
	WebhookID string `json:"webhook_id"`
	Topic     string `json:"topic"`
	OrderID   string `json:"order_id"`
	Attempts  int    `json:"attempts"`
	Status    int    `json:"status"` // of the last attempt; 0 without an answer
	Delivered bool   `json:"delivered"`
	Lost      bool   `json:"lost"` // by a fault: it is not sent, or not again
}

// Sign is the X-Shopify-Hmac-Sha256 of a body: base64 of HMAC-SHA256 with the
// app's client secret.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Headers are the headers of one webhook delivery.
func Headers(topic, webhookID, shop string, body []byte, secret string, now time.Time) http.Header {
	h := http.Header{}
	for k, v := range map[string]string{
		"Content-Type":          "application/json",
		"X-Shopify-Topic":       topic,
		"X-Shopify-Hmac-Sha256": Sign(secret, body),
		"X-Shopify-Shop-Domain": shop,
		"X-Shopify-API-Version": Version,
		"X-Shopify-Webhook-Id":  webhookID,
		"X-Shopify-Event-Id":    eventID(webhookID),
		// The vendor writes nanoseconds.
		"X-Shopify-Triggered-At": now.UTC().Format("2006-01-02T15:04:05.000000000Z"),
	} {
		h.Set(k, v)
	}
	return h
}

func eventID(webhookID string) string {
	sum := sha256.Sum256([]byte("event " + webhookID))
	return uuid(sum[:])
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// update announces a change with the order's present state. The caller holds
// mu.
func (s *Server) update(topic string, o *order) {
	raw, err := json.Marshal(o.doc)
	if err != nil {
		return
	}
	s.announce(topic, o, raw, 0)
}

// announce starts the deliveries of a topic that is subscribed to. Copies
// repeat the webhook id, as the vendor's repeats do. The caller holds mu.
func (s *Server) announce(topic string, o *order, body []byte, copies int) {
	if !slices.Contains(s.opts.Topics, topic) {
		return
	}
	sum := sha256.Sum256([]byte(s.opts.Shop + topic + o.gid + strconv.Itoa(len(s.deliveries))))
	id, at := uuid(sum[:]), s.opts.Now()
	for range copies + 1 {
		d := &Delivery{WebhookID: id, Topic: topic, OrderID: o.number()}
		s.deliveries = append(s.deliveries, d)
		if s.opts.WebhookURL == "" {
			continue
		}
		h := Headers(topic, id, s.opts.Shop, body, s.opts.WebhookSecret, at)
		s.sending.Add(1)
		go s.deliver(d, s.opts.WebhookURL, h, body)
	}
}

func (s *Server) deliver(d *Delivery, url string, h http.Header, body []byte) {
	defer s.sending.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait := s.opts.Backoff
	for n := 1; n <= attempts; n++ {
		status, lost := s.post(ctx, url, h, body)
		ok := status >= 200 && status < 300
		s.mu.Lock()
		if d.Lost = lost; !lost {
			d.Attempts, d.Status, d.Delivered = n, status, ok
		}
		s.mu.Unlock()
		if ok || lost || n == attempts {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			wait *= 2
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (s *Server) post(ctx context.Context, url string, h http.Header, body []byte) (status int, lost bool) {
	res, err := faulty.Send(ctx, s.opts.Client, func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header = h.Clone()
		return r, nil
	})
	if err != nil {
		return 0, errors.Is(err, faulty.ErrLost)
	}
	_ = res.Body.Close()
	return res.StatusCode, false
}
