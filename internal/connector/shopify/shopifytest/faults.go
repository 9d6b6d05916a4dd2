package shopifytest

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

var (
	operationName = regexp.MustCompile(`(?:query|mutation)\s+(\w+)`)
	fulfils       = regexp.MustCompile(`\bfulfillmentCreate\b`) // its fulfillment is what the shop can hide
)

// Vendor tells the fault injector how Shopify names calls and refuses them.
func Vendor() faulty.Vendor {
	const header = "X-Shopify-Access-Token"
	return faulty.Vendor{
		Name:   "Shopify",
		Topics: []string{"orders/cancelled", "orders/create", "orders/updated"},
		Hides:  func(_ string, body []byte) bool { return fulfils.Match(body) },
		Operation: func(_ *http.Request, body []byte) string {
			var in struct {
				Operation string `json:"operationName"`
				Query     string `json:"query"`
			}
			if json.Unmarshal(body, &in) != nil {
				return ""
			}
			if m := operationName.FindStringSubmatch(in.Query); in.Operation == "" && m != nil {
				return m[1]
			}
			return in.Operation
		},
		// GraphQL refuses by cost: status 200, the error's code and an empty
		// bucket, from which a client computes its wait.
		TooMany: func(wait time.Duration) faulty.Answer {
			rate := 1000.0
			requested := int64(wait.Seconds() * rate)
			body, err := json.Marshal(map[string]any{
				"errors": []any{map[string]any{"message": "Throttled", "extensions": map[string]any{"code": "THROTTLED",
					"documentation": "https://shopify.dev/api/usage/rate-limits"}}},
				"extensions": map[string]any{"cost": map[string]any{"requestedQueryCost": requested, "actualQueryCost": nil,
					"throttleStatus": map[string]any{"maximumAvailable": 20000.0, "currentlyAvailable": 0, "restoreRate": rate}}},
			})
			if err != nil {
				body = []byte(`{}`)
			}
			return faulty.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"}, Body: string(body)}
		},
		RetryAfter: func(wait time.Duration) string { return strconv.FormatFloat(wait.Seconds(), 'f', 1, 64) },
		Codes:      []string{"ACCESS_DENIED", "INTERNAL_SERVER_ERROR", "MAX_COST_EXCEEDED", "SHOP_INACTIVE"},
		Refuse: func(code string) faulty.Answer {
			body, err := json.Marshal(failure(code, code).body)
			if err != nil {
				body = []byte(`{}`)
			}
			return faulty.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"}, Body: string(body)}
		},
		Unauthorized: faulty.Answer{Status: http.StatusUnauthorized, Header: map[string]string{"Content-Type": "application/json"},
			Body: `{"errors":"[API] Invalid API key or access token (unrecognized login or wrong password)"}`},
		Sign:     func(h http.Header, body []byte, secret string) { h.Set("X-Shopify-Hmac-Sha256", Sign(secret, body)) },
		Token:    func(r *http.Request) string { return r.Header.Get(header) },
		SetToken: func(r *http.Request, token string) { r.Header.Set(header, token) },
	}
}

// Topic reads a delivery's topic.
func Topic(h http.Header) string { return h.Get("X-Shopify-Topic") }
