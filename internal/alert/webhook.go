package alert

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of a secret's key, in bytes, as the Standard Webhooks specification
// recommends them.
const (
	minKey = 24
	maxKey = 64
)

// CheckSecret reports what is wrong with a webhook's secret.
func CheckSecret(secret string) error {
	key, err := signingKey(secret)
	switch {
	case !strings.HasPrefix(secret, "whsec_"):
		return errors.New("it does not begin with whsec_")
	case err != nil:
		return errors.New("what follows whsec_ is not base64")
	case len(key) < minKey || len(key) > maxKey:
		return fmt.Errorf("its key has %d bytes", len(key))
	}
	return nil
}

func signingKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return nil, errors.New("decoding the webhook's secret: it is not base64")
	}
	return key, nil
}

// Sign returns the webhook-signature of a message by the Standard Webhooks
// specification: v1 and the base64 of an HMAC-SHA256 over id.timestamp.body.
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	key, err := signingKey(secret)
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(m, "%s.%d.", id, at.Unix())
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)), nil
}

// Headers are the headers of one signed message.
func Headers(secret, id string, at time.Time, body []byte) (http.Header, error) {
	signature, err := Sign(secret, id, at, body)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", signature)
	return h, nil
}

// message is a webhook's body.
type message struct {
	Type      string    `json:"type"` // waybill.alert.raised, …
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	Partner     string    `json:"partner"`
	Fingerprint string    `json:"fingerprint"`
	Kind        Kind      `json:"kind"`
	Severity    string    `json:"severity"`
	Tenant      string    `json:"tenant,omitempty"` // absent where it is no retailer's own
	Connection  string    `json:"connection,omitempty"`
	Class       string    `json:"class,omitempty"`
	Count       int       `json:"count"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
	ResolvedAt  time.Time `json:"resolved_at,omitzero"`
	Text        string    `json:"text"`
	Next        string    `json:"next,omitempty"`
}

// body is the message of a notice.
func body(partner string, a Alert) (string, error) {
	d := data{Partner: partner, Fingerprint: a.Fingerprint, Kind: a.Kind, Severity: a.Level.Severity(), Connection: a.Connection, Class: a.Class,
		Count: a.Count, FirstAt: a.FirstAt, LastAt: a.LastAt, ResolvedAt: a.ResolvedAt, Text: a.Text, Next: a.Command}
	if t := a.Tenant.String(); t != "-" {
		d.Tenant = t
	}
	b, err := json.Marshal(message{"waybill.alert." + a.Notice.Event, a.Notice.At, d})
	if err != nil {
		return "", fmt.Errorf("encoding an alert: %w", err)
	}
	return string(b), nil
}

// mail is the notice as people read it.
func mail(partner string, a Alert) (subject, text string) {
	state := a.Level.Severity()
	if a.Notice.Event == Resolved {
		state = "resolved"
	}
	subject = fmt.Sprintf("[%s] %s: %s", partner, state, strings.ReplaceAll(string(a.Kind), "_", " "))
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", a.Text)
	if a.Notice.Event == Resolved {
		fmt.Fprintf(&b, "It is over since %s.\n", a.ResolvedAt.UTC().Format(time.RFC3339))
	} else {
		fmt.Fprintf(&b, "next: %s\n", a.Command)
	}
	fmt.Fprintf(&b, "since: %s\nalert: %s, %s, notice %d\n", a.FirstAt.UTC().Format(time.RFC3339), a.Fingerprint, a.Notice.Event, a.Notice.Number)
	return subject, b.String()
}
