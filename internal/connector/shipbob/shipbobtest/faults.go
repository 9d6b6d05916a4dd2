package shipbobtest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// Vendor tells the fault injector how ShipBob names calls and refuses them. It
// panics as NewServer does.
func Vendor() faulty.Vendor {
	c, err := loadContract()
	if err != nil {
		panic("shipbobtest: " + err.Error())
	}
	v := faulty.Vendor{
		Name:   "ShipBob",
		Topics: []string{topicShipped},
		Hides:  func(operation string, _ []byte) bool { return operation == "create-order" },
		Operation: func(r *http.Request, _ []byte) string {
			if op, _ := c.find(r.Method, r.URL.Path); op != nil {
				return op.id
			}
			return ""
		},
		TooMany: func(wait time.Duration) faulty.Answer {
			seconds := strconv.Itoa(faulty.WholeSeconds(wait))
			return faulty.Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Content-Type": "application/json",
				"x-remaining-calls": "0", "x-retry-after": seconds}, Body: `{"title":"Too Many Requests"}`}
		},
		Unauthorized: faulty.Answer{Status: http.StatusUnauthorized, Header: map[string]string{"Content-Type": "application/json"},
			Body: `{"title":"Unauthorized"}`},
		Sign: func(h http.Header, body []byte, secret string) {
			seconds, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
			if err != nil {
				return // it is not one of the simulator's
			}
			h.Set("webhook-signature", Sign(secret, h.Get("webhook-id"), time.Unix(seconds, 0), body))
		},
		Token: func(r *http.Request) string {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				return ""
			}
			return token
		},
		SetToken: func(r *http.Request, token string) { r.Header.Set("Authorization", "Bearer "+token) },
	}
	for _, op := range c.operations {
		v.Operations = append(v.Operations, op.id)
	}
	slices.Sort(v.Operations)
	return v
}

// Topic reads a delivery's topic.
func Topic(h http.Header) string { return h.Get("x-webhook-topic") }
