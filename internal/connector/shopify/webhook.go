package shopify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// A retry carries the original payload and its original time for up to four
// hours, and a redelivery from the partner's dashboard may come later still.
// The window bounds replays of old captures; the intake drops duplicates.
const (
	oldestWebhook = 24 * time.Hour
	futureWebhook = 10 * time.Minute
)

// orderTopics are the deliveries whose body is a complete order.
var orderTopics = map[string]bool{
	"orders/create": true, "orders/updated": true, "orders/paid": true, "orders/cancelled": true,
}

// delivery reads the headers of either family: X-Shopify-* (webhooks) or the
// unprefixed shopify-* ("Events"). Where both arrive it is an Events delivery,
// as the vendor's own library decides.
type delivery struct {
	header http.Header
	prefix string
}

func readDelivery(h http.Header) delivery {
	d := delivery{h, "Shopify-"}
	if d.get("Hmac-Sha256") == "" && d.get("Topic") == "" {
		d.prefix = "X-Shopify-"
	}
	return d
}

// get is indifferent to the case of names, because a gateway may hand them
// over in lower case and outside of http.Header's canonical form.
func (d delivery) get(name string) string {
	if v := d.header.Get(d.prefix + name); v != "" {
		return v
	}
	for k, vs := range d.header {
		if strings.EqualFold(k, d.prefix+name) && len(vs) > 0 {
			return vs[0]
		}
	}
	return ""
}

// topic is the vendor's topic; an Events delivery may split it into a resource
// and an action.
func (d delivery) topic() string {
	t := d.get("Topic")
	if a := d.get("Action"); a != "" && t != "" && !strings.Contains(t, "/") {
		return t + "/" + a
	}
	return t
}

func (d delivery) triggeredAt() (time.Time, error) {
	v := d.get("Triggered-At")
	if v == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, v)
}

// VerifyWebhook checks that the raw body was signed with one of the live
// secrets (the app's client secret, and the previous one for up to an hour
// after a rotation), that it is for this shop, and that it is at most 24 hours
// old where it tells its time. Every refusal is a permanent authentication
// fault. The headers are not signed by the vendor; the shop's name guards
// against a mistaken subscription, not against a holder of the secret.
func (c *Connector) VerifyWebhook(h http.Header, body []byte, secrets []string, now time.Time) error {
	d := readDelivery(h)
	for _, name := range []string{"Hmac-Sha256", "Topic", "Shop-Domain", "API-Version", "Webhook-Id"} {
		if d.get(name) == "" {
			return unauthentic(d.prefix+name, "the mandatory header is missing")
		}
	}
	given, err := base64.StdEncoding.DecodeString(d.get("Hmac-Sha256"))
	if err != nil {
		return unauthentic(d.prefix+"Hmac-Sha256", "the signature is not base64")
	}
	if !signed(given, body, secrets) {
		return unauthentic(d.prefix+"Hmac-Sha256", "the signature does not match a live secret")
	}
	if !strings.EqualFold(d.get("Shop-Domain"), c.settings.Shop) {
		return unauthentic(d.prefix+"Shop-Domain", "the delivery is for another shop")
	}
	at, err := d.triggeredAt()
	if err != nil {
		return unauthentic(d.prefix+"Triggered-At", "the time is malformed")
	}
	if !at.IsZero() && (now.Sub(at) > oldestWebhook || at.Sub(now) > futureWebhook) {
		return unauthentic(d.prefix+"Triggered-At", "the delivery's time is too far from now")
	}
	return nil
}

func signed(given, body []byte, secrets []string) bool {
	match := false
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), given) {
			match = true
		}
	}
	return match
}

func unauthentic(header, message string) error {
	return fault.New(fault.Permanent, fault.Authentication, "%s", message).At(header, "")
}

// Announce tells from the headers alone which flow wants the delivery. Flow is
// empty for a topic that nobody wants. The event id is the delivery's id, which
// the vendor's retries repeat.
func (c *Connector) Announce(h http.Header) (retail.Announcement, error) {
	d := readDelivery(h)
	a := retail.Announcement{Topic: d.topic(), EventID: d.get("Webhook-Id")}
	if a.Topic == "" {
		return a, fault.New(fault.Permanent, fault.Validation, "the delivery names no topic").At(d.prefix+"Topic", "")
	}
	if a.EventID == "" {
		a.EventID = d.get("Event-Id")
	}
	if orderTopics[a.Topic] {
		a.Flow = "order"
	}
	at, err := d.triggeredAt()
	if err != nil {
		return a, fault.New(fault.Permanent, fault.Validation, "the time is malformed").At(d.prefix+"Triggered-At", "")
	}
	a.TriggeredAt = at.UTC()
	if at.IsZero() {
		a.TriggeredAt = time.Time{}
	}
	return a, nil
}
