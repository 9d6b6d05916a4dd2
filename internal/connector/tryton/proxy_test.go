//go:build unix

package tryton_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/tryton"
)

// proxy stands before the real Tryton and can spoil what passes.
type proxy struct {
	mu sync.Mutex
	// expire is how many calls with a session are given one that has ended.
	expire int
	// loseAfter is after how many writes an answer is lost; 0 is never.
	loseAfter int
	// before is done once, before the next call of its method passes.
	before map[string]func()
	// answers are given instead of Tryton's, by method.
	answers map[string]string
	methods []string
	writes  int
	url     string
}

// behind returns a proxy and a connector that goes through it.
func (s *series) behind(t *testing.T) (*proxy, *tryton.Connector) {
	t.Helper()
	real := s.server(t)
	p := &proxy{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.pass(t, real.URL, w, r) }))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p, s.through(t, p)
}

// through returns another connector that goes through p.
func (s *series) through(t *testing.T, p *proxy) *tryton.Connector {
	t.Helper()
	real := s.server(t)
	return connectTo(t, real.Settings, real.Password, func(v map[string]any) { v["url"] = p.url })
}

func (p *proxy) pass(t *testing.T, to string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
		return
	}
	var call struct{ Method string }
	if err := json.Unmarshal(body, &call); err != nil {
		t.Error(err)
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding") // the client asks for it, and unpacks, by itself
	if answer, ok := p.fake(call.Method); ok {
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Error(err)
		}
		return
	}
	if meanwhile := p.due(call.Method); meanwhile != nil {
		meanwhile()
	}
	lose := p.note(call.Method, req.Header)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	if lose {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	if _, err := w.Write(answer); err != nil {
		t.Error(err)
	}
}

// note counts a call, spoils its session if that is due, and reports whether
// its answer shall be lost.
func (p *proxy) note(method string, h http.Header) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.methods = append(p.methods, method)
	if h.Get("Authorization") != "" && p.expire > 0 {
		p.expire--
		h.Set("Authorization", "Session YWRtaW46MTowMDAw") // admin:1:0000
	}
	if !writes(method) {
		return false
	}
	p.writes++
	return p.writes == p.loseAfter
}

func (p *proxy) due(method string) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.before[method]
	delete(p.before, method)
	return f
}

func (p *proxy) fake(method string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, ok := p.answers[method]
	return answer, ok
}

func writes(method string) bool {
	last := method[strings.LastIndex(method, ".")+1:]
	return strings.HasPrefix(method, "model.") && !slices.Contains([]string{"search", "read", "search_read"}, last)
}

func (p *proxy) set(change func(p *proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *proxy) calls(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, m := range p.methods {
		if m == method {
			n++
		}
	}
	return n
}
