package shipbob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Headers of a delivery (Standard Webhooks, and ShipBob's topic).
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerTopic     = "X-Webhook-Topic"
)

// TopicShipped is sent when a shipment's label has been printed and the parcel
// is ready to leave the warehouse.
const TopicShipped = "order.shipped"

// VerifyWebhook checks a delivery by the Standard Webhooks rules: an HMAC over
// "id.timestamp.body" with any of the live secrets, and a timestamp within the
// tolerance. Every refusal is a permanent authentication fault.
func (c *Connector) VerifyWebhook(h http.Header, body []byte, secrets []string, now time.Time) error {
	msg, stamp, signatures := h.Get(headerID), h.Get(headerTimestamp), h.Get(headerSignature)
	// The full stop separates the signed parts, so an id with one would let the
	// same signature stand for another id.
	if msg == "" || strings.Contains(msg, ".") {
		return unauthentic("the webhook-id header is missing or malformed")
	}
	seconds, err := strconv.ParseUint(stamp, 10, 40)
	if err != nil {
		return unauthentic("the webhook-timestamp header is missing or malformed")
	}
	if age := now.Sub(time.Unix(int64(seconds), 0)); age > c.tolerance || age < -c.tolerance {
		return unauthentic("the webhook's timestamp is too far from now")
	}
	given := signaturesV1(signatures)
	for _, secret := range secrets {
		key, err := signingKey(secret)
		if err != nil {
			continue
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(msg + "." + stamp + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, g := range given {
			if hmac.Equal(g, want) {
				return nil
			}
		}
	}
	return unauthentic("no signature matches a live secret")
}

func unauthentic(message string) error {
	return fault.New(fault.Permanent, fault.Authentication, "%s", message)
}

// signaturesV1 returns the decoded v1 entries of a signature header, with or
// without base64 padding. Other versions and undecodable entries are skipped.
func signaturesV1(header string) [][]byte {
	var out [][]byte
	for _, entry := range strings.Fields(header) {
		v, ok := strings.CutPrefix(entry, "v1,")
		if !ok {
			continue
		}
		if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "=")); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// signingKey decodes "whsec_<base64>"; the prefix is optional. A key of no
// bytes is refused, because anybody can sign with it.
func signingKey(secret string) ([]byte, error) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimPrefix(secret, "whsec_"), "="))
	if err != nil || len(b) == 0 {
		return nil, unauthentic("a signing secret is not base64")
	}
	return b, nil
}

// Announce reads what a delivery is about from its headers. Only order.shipped
// belongs to a flow. The event id is the same on every retry of one event.
func (c *Connector) Announce(h http.Header) (retail.Announcement, error) {
	a := retail.Announcement{Topic: h.Get(headerTopic), EventID: h.Get(headerID)}
	if a.Topic == "" {
		return a, fault.New(fault.Permanent, fault.Validation, "the delivery names no topic").At("x-webhook-topic", "")
	}
	if a.EventID == "" {
		return a, fault.New(fault.Permanent, fault.Validation, "the delivery has no id").At("webhook-id", "")
	}
	if seconds, err := strconv.ParseUint(h.Get(headerTimestamp), 10, 40); err == nil {
		a.TriggeredAt = time.Unix(int64(seconds), 0).UTC()
	}
	if a.Topic == TopicShipped {
		a.Flow = "shipment"
	}
	return a, nil
}
