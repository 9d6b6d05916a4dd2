//go:build unix

package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// Gate stands before the ERP, so that it can be seen to fail.
type Gate struct {
	*faulty.Injector

	mu     sync.Mutex
	down   bool
	before func(body []byte)
}

func newGate(target string, seed uint64) (*Gate, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	g := &Gate{Injector: faulty.New(trytonVendor(), seed)}
	g.Next = httputil.NewSingleHostReverseProxy(u)
	return g, nil
}

// trytonVendor tells the fault injector how Tryton names calls and refuses
// them. It has no limit of its own; a proxy before it refuses with 503.
func trytonVendor() faulty.Vendor {
	return faulty.Vendor{
		Name: "Tryton",
		Operation: func(_ *http.Request, body []byte) string {
			var in struct {
				Method string `json:"method"`
			}
			_ = json.Unmarshal(body, &in) // what has no method has no name
			return in.Method
		},
		TooMany: func(wait time.Duration) faulty.Answer {
			return faulty.Answer{Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": strconv.Itoa(max(int(wait.Seconds()), 1))}}
		},
		// What a transaction ends with when it is rolled back.
		Codes: []string{"ConcurrencyException", "UserError", "UserWarning"},
		Refuse: func(code string) faulty.Answer {
			return faulty.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
				Body: `{"id":0,"result":null,"error":["` + code + `",["refused on demand","",null]]}`}
		},
		Unauthorized: faulty.Answer{Status: http.StatusUnauthorized, Header: map[string]string{"Content-Type": "text/html; charset=utf-8"},
			Body: "<!doctype html><title>401 Unauthorized</title><h1>Unauthorized</h1>"},
		// The real server decides what it shows and whom it knows.
		Cannot: []string{"visible_delayed", "credential_rotated", "webhook_lost", "webhook_duplicate", "webhook_delayed", "webhook_reordered"},
	}
}

// SetDown makes the ERP answer 503, or answer again.
func (g *Gate) SetDown(down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = down
}

// Before sets what happens before a request goes through; nil for nothing.
func (g *Gate) Before(f func(body []byte)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before = f
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	down, before := g.down, g.before
	g.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if before != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		before(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	g.Injector.ServeHTTP(w, r)
}
