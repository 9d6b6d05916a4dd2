package faulty

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Tryton tells how Tryton names calls and refuses them. There is no simulator
// of it: the injector stands before a proxy to the real server. Tryton has no
// limit of its own; a proxy before it refuses with 503.
func Tryton() Vendor {
	return Vendor{
		Name: "Tryton",
		Operation: func(_ *http.Request, body []byte) string {
			var in struct {
				Method string `json:"method"`
			}
			_ = json.Unmarshal(body, &in) // what has no method has no name
			return in.Method
		},
		TooMany: func(wait time.Duration) Answer {
			return Answer{Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": strconv.Itoa(WholeSeconds(wait))}}
		},
		// What a transaction ends with when it is rolled back.
		Codes: []string{"ConcurrencyException", "UserError", "UserWarning"},
		Refuse: func(code string) Answer {
			return Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
				Body: `{"id":0,"result":null,"error":["` + code + `",["refused on demand","",null]]}`}
		},
		Unauthorized: Answer{Status: http.StatusUnauthorized, Header: map[string]string{"Content-Type": "text/html; charset=utf-8"},
			Body: "<!doctype html><title>401 Unauthorized</title><h1>Unauthorized</h1>"},
		// The real server decides what it shows and whom it knows.
		Cannot: []string{"visible_delayed", "credential_rotated", "webhook_lost", "webhook_duplicate", "webhook_delayed", "webhook_reordered"},
	}
}
