package connectortest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

// Noon is when every case begins.
var Noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// Clock moves only when a case moves it. It is safe for concurrent use.
type Clock struct {
	mu   sync.Mutex
	at   time.Time
	jobs []job
}

type job struct {
	at time.Time
	f  func()
}

// NewClock returns a clock at Noon.
func NewClock() *Clock { return &Clock{at: Noon} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// After runs f once d has passed.
func (c *Clock) After(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = append(c.jobs, job{c.at.Add(d), f})
}

// Advance moves the clock, running what becomes due at its own time.
func (c *Clock) Advance(d time.Duration) {
	end := c.Now().Add(d)
	for {
		c.mu.Lock()
		slices.SortStableFunc(c.jobs, func(a, b job) int { return a.at.Compare(b.at) })
		if len(c.jobs) == 0 || c.jobs[0].at.After(end) {
			c.at = end
			c.mu.Unlock()
			return
		}
		j := c.jobs[0]
		c.jobs = c.jobs[1:]
		c.at = j.at
		c.mu.Unlock()
		j.f()
	}
}

// Front is the way in to a vendor: it sees every call, enforces a limit where
// one is set, and leads through the faults.
type Front struct {
	URL    string
	Faults *faulty.Injector

	vendor faulty.Vendor
	clock  *Clock
	mu     sync.Mutex
	calls  []call
	// before happens before each call that is not an operator's.
	before  func(n int)
	n       int
	limit   int
	per     time.Duration
	tooMany func(time.Duration) faulty.Answer
}

type call struct {
	at      time.Time
	refused bool
}

// Serve puts faults before a vendor, on the clock's time, and serves it until t
// ends.
func Serve(t testing.TB, v faulty.Vendor, vendor http.Handler, clock *Clock) *Front {
	t.Helper()
	f := &Front{vendor: v, clock: clock, Faults: faulty.New(v, 1), tooMany: v.TooMany}
	f.Faults.Next, f.Faults.After = vendor, clock.After
	server := httptest.NewServer(f)
	f.URL = server.URL
	t.Cleanup(func() {
		f.Faults.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

// Limit refuses more than so many calls in any window of per.
func (f *Front) Limit(calls int, per time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit, f.per = calls, per
}

// Before sets what happens before each call; n counts them from 1.
func (f *Front) Before(do func(n int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.n = do, 0
}

// Refused is how many calls the vendor refused for their number.
func (f *Front) Refused() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c.refused {
			n++
		}
	}
	return n
}

// Calls is how many calls came.
func (f *Front) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_control/") {
		f.Faults.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	now := f.clock.Now()
	f.mu.Lock()
	f.n++
	n, do := f.n, f.before
	wait := f.full(now)
	f.calls = append(f.calls, call{now, wait > 0})
	at := len(f.calls) - 1
	f.mu.Unlock()
	if do != nil {
		do(n)
	}
	if wait > 0 {
		a := f.tooMany(wait)
		for k, v := range a.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(a.Status)
		_, _ = io.WriteString(w, a.Body) // whoever asked may be gone
		return
	}
	seen := &watched{ResponseWriter: w}
	f.Faults.ServeHTTP(seen, r)
	if seen.status == http.StatusTooManyRequests || bytes.Contains(seen.start, []byte(`"THROTTLED"`)) {
		f.mu.Lock()
		f.calls[at].refused = true
		f.mu.Unlock()
	}
}

// full is how long until the limit lets one more call through. The caller
// holds mu.
func (f *Front) full(now time.Time) time.Duration {
	if f.limit == 0 {
		return 0
	}
	var inside []time.Time
	for _, c := range f.calls {
		if !c.refused && now.Sub(c.at) < f.per {
			inside = append(inside, c.at)
		}
	}
	if len(inside) < f.limit {
		return 0
	}
	return inside[len(inside)-f.limit].Add(f.per).Sub(now)
}

// watched remembers the status and the start of an answer.
type watched struct {
	http.ResponseWriter
	status int
	start  []byte
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	if room := 4096 - len(w.start); room > 0 {
		w.start = append(w.start, b[:min(room, len(b))]...)
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, which a broken-off answer needs.
func (w *watched) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// cannot is the note of a case that would show nothing.
const cannot = "cannot be shown at this vendor"

// suffers puts a fault in force, unless it cannot befall the vendor.
func (v *Vendor) suffers(t testing.TB, r faulty.Rule) bool {
	t.Helper()
	err := v.Front.Faults.Add(r)
	var no *faulty.Refusal
	if errors.As(err, &no) && no.Field == "fault" {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
