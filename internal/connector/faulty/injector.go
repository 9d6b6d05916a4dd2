package faulty

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Vendor is what the faults need to know of the system that they befall.
type Vendor struct {
	Name string
	// Operation names a call.
	Operation func(r *http.Request, body []byte) string
	// Operations are all names, where they can be listed: nil where clients
	// name their calls themselves.
	Operations []string
	// Topics are those of the webhooks that it sends.
	Topics []string
	// Hides tells a call whose effect can be hidden from reads; all, if nil.
	Hides func(operation string, body []byte) bool
	// TooMany is the vendor's own refusal above its limit.
	TooMany func(wait time.Duration) Answer
	// RetryAfter writes a wait as the vendor does in the header; seconds, with
	// a fraction only where there is one, if nil.
	RetryAfter func(wait time.Duration) string
	// Refuse is the vendor's own refusal with one of its Codes.
	Refuse func(code string) Answer
	Codes  []string
	// Unauthorized is the vendor's own refusal of a credential.
	Unauthorized Answer
	// Token reads a call's credential, SetToken replaces it.
	Token    func(r *http.Request) string
	SetToken func(r *http.Request, token string)
	// Sign signs a webhook anew.
	Sign func(h http.Header, body []byte, secret string)
	// Cannot lists faults that this system cannot show.
	Cannot []string
}

// shows reports whether a fault can befall the vendor.
func (v Vendor) shows(fault string) bool {
	return !slices.Contains(v.Cannot, fault) && (fault != "refused" || len(v.Codes) > 0) && (fault != "webhook_resigned" || v.Sign != nil) &&
		(fault != "credential_rotated" || v.Token != nil && v.SetToken != nil)
}

// Answer is an HTTP answer.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
}

// WholeSeconds is a wait for a header that has no fractions, rounded up: who
// comes earlier is refused again.
func WholeSeconds(wait time.Duration) int { return max(int(math.Ceil(wait.Seconds())), 1) }

// visibleAfter is the header by which a call that goes on to a simulator says
// for how many seconds its effect is hidden from reads.
const visibleAfter = "X-Simulator-Visible-After"

// HiddenFor reads how long a simulator shall hide the effect of a call from
// reads.
func HiddenFor(r *http.Request) time.Duration {
	s, err := strconv.ParseFloat(r.Header.Get(visibleAfter), 64)
	if err != nil {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// silence is how long a time-out keeps silent where no rule says otherwise:
// longer than a client waits.
const silence = 15 * time.Second

// Credentialed is a simulator that says which credential it accepts.
type Credentialed interface{ Credential() string }

// Injector is a handler before another. It is safe for concurrent use; Close
// ends what it does in the background.
type Injector struct {
	vendor Vendor
	// Next is what the faults stand before; set it before the first rule and
	// call. A credential is rotated only before a Credentialed.
	Next http.Handler
	// After runs f once d has passed; tests replace it with a clock of their
	// own before the first call.
	After func(d time.Duration, f func())

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	dice  dice
	rules []*Rule
	held  *held  // a webhook that waits for the next one
	quiet func() // hears that a call is kept waiting
}

// New makes an injector for a vendor; seed decides what happens by chance.
func New(v Vendor, seed uint64) *Injector {
	i := &Injector{vendor: v, dice: dice(seed)}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.After = func(d time.Duration, f func()) {
		i.work.Go(func() {
			if pause(i.ctx, d) {
				f()
			}
		})
	}
	return i
}

// Close gives up what waits.
func (i *Injector) Close() {
	i.cancel()
	i.work.Wait()
}

// Add puts rules in force after those that are; the first that matches fires.
// It fails with a *Refusal, and then none of them is in force.
func (i *Injector) Add(rules ...Rule) error {
	for _, r := range rules {
		if err := r.check(i.vendor); err != nil {
			return err
		}
		if _, says := i.Next.(Credentialed); r.Fault == "credential_rotated" && !says {
			return &Refusal{Field: "fault", Value: r.Fault, Why: "needs a faulty.Credentialed as the injector's Next, whose credential it takes the place of"}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range rules {
		r.Fired = 0
		if r.left = r.Times; r.left == 0 {
			r.left = 1
		}
		if r.Times == 0 && strings.HasPrefix(r.Fault, "credential_") {
			r.left = -1 // a credential stays revoked
		}
		if r.own = nil; r.Seed != 0 {
			d := dice(r.Seed)
			r.own = &d
		}
		i.rules = append(i.rules, &r)
	}
	return nil
}

// Rules are those in force or used up, in their order.
func (i *Injector) Rules() []Rule {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := []Rule{}
	for _, r := range i.rules {
		out = append(out, *r)
	}
	return out
}

// OnSilence tells f whenever a call begins to be kept without an answer, so
// that a test's client can give up without a clock; nil tells nobody.
func (i *Injector) OnSilence(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.quiet = f
}

// Clear takes all rules away.
func (i *Injector) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rules = nil
}

// meet finds the rule that befalls a call, if one does, once the rotations have
// given the call the credential that the simulator knows.
func (i *Injector) meet(r *http.Request, o occasion) *Rule {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.take(o, false, i.rotate(r, o))
}

// rotate puts the simulator's own credential in the place of the newest
// rotation's token, and a wrong one in the place of all others: another fault
// may let a call have its effect before its refusal. It returns the rotation
// that refuses the call, if one does. The caller holds mu.
func (i *Injector) rotate(r *http.Request, o occasion) *Rule {
	next, says := i.Next.(Credentialed)
	if !says {
		return nil
	}
	for _, rule := range slices.Backward(i.rules) {
		if rule.Fault != "credential_rotated" || !i.fires(rule, o) {
			continue
		}
		if i.vendor.Token(r) != rule.Token {
			i.vendor.SetToken(r, "not "+next.Credential())
			return rule
		}
		i.vendor.SetToken(r, next.Credential())
		rule.spend()
		return nil
	}
	return nil
}

// take finds the rule that fires now; of the rotations only refuses can. The
// caller holds mu.
func (i *Injector) take(o occasion, webhook bool, refuses *Rule) *Rule {
	for _, r := range i.rules {
		k, _ := kindOf(r.Fault)
		switch {
		case k.webhook != webhook:
			continue
		case r.Fault == "credential_rotated":
			if r != refuses {
				continue
			}
		case !i.fires(r, o):
			continue
		case r.Fault == "webhook_reordered" && i.held != nil:
			continue // it is the next one, which another waits for
		}
		r.spend()
		return r
	}
	return nil
}

// fires tells whether a rule would, and throws its dice. The caller holds mu.
func (i *Injector) fires(r *Rule, o occasion) bool {
	if r.left == 0 || !r.matches(o) {
		return false
	}
	d := &i.dice
	if r.own != nil {
		d = r.own
	}
	return r.Probability == 0 || d.throw() < r.Probability
}

// restore takes a firing back that had nothing to spoil.
func (i *Injector) restore(r *Rule) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r.Fired--
	if r.left >= 0 {
		r.left++
	}
}

const maxBody = 32 << 20

func (i *Injector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		answer(w, http.StatusRequestEntityTooLarge, &Refusal{Field: "body", Why: "is above " + strconv.Itoa(maxBody) + " bytes, the most that goes through the faults"})
		return
	}
	if err != nil {
		return // the client is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.URL.Path == "/_control/faults" {
		i.control(w, r, body)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/_control/") {
		i.Next.ServeHTTP(w, r)
		return
	}
	o := occasion{operation: i.vendor.Operation(r, body), method: r.Method, path: r.URL.Path}
	o.hides = i.vendor.Hides == nil || i.vendor.Hides(o.operation, body)
	if rule := i.meet(r, o); rule != nil {
		i.befall(w, r, body, rule)
		return
	}
	i.Next.ServeHTTP(w, r)
}

// do lets the call have its effect and returns the answer. The client's end of
// the connection does not end it.
func (i *Injector) do(r *http.Request, body []byte) (rec *httptest.ResponseRecorder) {
	rec = httptest.NewRecorder()
	defer func() {
		// What breaks off its answer so does it to nobody here.
		if p := recover(); p != nil && p != any(http.ErrAbortHandler) {
			panic(p)
		}
	}()
	again := r.Clone(context.WithoutCancel(r.Context()))
	again.Body = io.NopCloser(bytes.NewReader(body))
	again.Header.Del("Accept-Encoding") // so that an answer can be spoilt
	i.Next.ServeHTTP(rec, again)
	return rec
}

func (i *Injector) befall(w http.ResponseWriter, r *http.Request, body []byte, rule *Rule) {
	wait := time.Duration(rule.Seconds * float64(time.Second))
	var done *httptest.ResponseRecorder
	if rule.When == "after" {
		done = i.do(r, body)
	}
	switch rule.Fault {
	case "rate_limited":
		if wait == 0 {
			wait = 2 * time.Second
		}
		write(w, i.vendor.TooMany(wait))
	case "refused":
		write(w, i.vendor.Refuse(rule.Code))
	case "error":
		a := Answer{Status: rule.Status, Body: `{"errors":"the server failed"}`, Header: map[string]string{"Content-Type": "application/json"}}
		if a.Status == 0 {
			a.Status = http.StatusInternalServerError
		}
		if wait > 0 {
			a.Header["Retry-After"] = strconv.FormatFloat(rule.Seconds, 'f', -1, 64)
			if i.vendor.RetryAfter != nil {
				a.Header["Retry-After"] = i.vendor.RetryAfter(wait)
			}
		}
		write(w, a)
	case "timeout_before", "timeout_after":
		if rule.Fault == "timeout_after" {
			i.do(r, body)
		}
		if wait == 0 {
			wait = silence
		}
		ctx, cancel := context.WithCancel(r.Context())
		stop := context.AfterFunc(i.ctx, cancel)
		i.mu.Lock()
		quiet := i.quiet
		i.mu.Unlock()
		if quiet != nil {
			quiet()
		}
		pause(ctx, wait)
		stop()
		cancel()
		panic(http.ErrAbortHandler)
	case "reset":
		panic(http.ErrAbortHandler)
	case "commit_delayed":
		i.After(wait, func() { i.do(r, body) })
		panic(http.ErrAbortHandler)
	case "visible_delayed":
		r.Header.Set(visibleAfter, strconv.FormatFloat(rule.Seconds, 'f', -1, 64))
		i.Next.ServeHTTP(w, r)
	case "truncated":
		rec := i.do(r, body)
		full := rec.Body.Bytes()
		if len(full) == 0 {
			i.restore(rule)
			forward(w, rec, nil)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(full)))
		forward(w, rec, full[:len(full)/2]) // the rest is the fault
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	case "html":
		status := rule.Status
		if status == 0 {
			status = http.StatusOK
		}
		write(w, Answer{Status: status, Header: map[string]string{"Content-Type": "text/html; charset=utf-8"},
			Body: "<!doctype html><title>Just a moment...</title><h1>Checking your browser</h1>"})
	case "huge":
		w.Header().Set("Content-Type", "application/json")
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for range 34 {
			if _, err := w.Write(chunk); err != nil {
				return // the client had enough
			}
		}
	case "garbage":
		if rule.Form == "utf8" || rule.Form == "types" {
			if done.Body.Len() == 0 {
				i.restore(rule)
				forward(w, done, nil)
				return
			}
			write(w, Answer{Status: done.Code, Header: map[string]string{"Content-Type": "application/json"}, Body: string(spoil(done.Body.Bytes(), rule.Form))})
			return
		}
		write(w, Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"}, Body: "{\"data\":\xff\xfe[[[,\x00"})
	case "credential_revoked", "credential_rotated":
		write(w, i.vendor.Unauthorized)
	}
}

// forward passes the vendor's own answer on, with another body.
func forward(w http.ResponseWriter, rec *httptest.ResponseRecorder, body []byte) {
	for k, v := range rec.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body) // whoever asked may be gone
}

func write(w http.ResponseWriter, a Answer) {
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // whoever asked may be gone
}

// pause reports whether d passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	return ctx.Err() == nil
}

// dice are a splitmix64 generator: the same seed throws the same numbers on
// every machine and in every version.
type dice uint64

// throw is a number from 0 up to 1.
func (d *dice) throw() float64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}
