//go:build unix

package demo

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

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

func trytonVendor() faulty.Vendor { return faulty.Tryton() }

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
