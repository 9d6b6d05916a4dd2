package faulty_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

const good = `{"data":"a whole answer"}`

func vendor() faulty.Vendor {
	return faulty.Vendor{
		Name: "Sample", Operations: []string{"create", "list"}, Topics: []string{"a", "b", "c", "d"},
		Operation: func(r *http.Request, _ []byte) string { return strings.TrimPrefix(r.URL.Path, "/") },
		TooMany: func(d time.Duration) faulty.Answer {
			return faulty.Answer{Status: 429, Header: map[string]string{"Retry-After": d.String()}}
		},
		Codes:        []string{"CLOSED"},
		Refuse:       func(code string) faulty.Answer { return faulty.Answer{Status: 200, Body: `{"error":"` + code + `"}`} },
		Unauthorized: faulty.Answer{Status: 401},
		Token:        func(r *http.Request) string { return r.Header.Get("Token") },
		SetToken:     func(r *http.Request, t string) { r.Header.Set("Token", t) },
		Cannot:       []string{"visible_delayed"},
	}
}

// simulator accepts the credential "first".
type simulator func(http.ResponseWriter, *http.Request)

func (s simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s(w, r) }
func (simulator) Credential() string                                 { return "first" }

type bench struct {
	*testing.T
	empty  bool // the answers have no body
	faults *faulty.Injector
	server *httptest.Server
	done   atomic.Int64 // calls that had their effect
	mu     sync.Mutex
	later  []func() // what waits for its time
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, faults: faulty.New(vendor(), 1)}
	b.faults.Next = simulator(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Token") != "first" {
			w.WriteHeader(401)
			return
		}
		b.done.Add(1)
		if b.empty {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, good)
	})
	b.faults.After = func(_ time.Duration, f func()) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.later = append(b.later, f)
	}
	b.server = httptest.NewServer(b.faults)
	t.Cleanup(func() { b.server.Close(); b.faults.Close() })
	return b
}

func (b *bench) add(r faulty.Rule) {
	b.Helper()
	if err := b.faults.Add(r); err != nil {
		b.Fatal(err)
	}
}

// elapse lets what waits happen, and tells how much that was.
func (b *bench) elapse() int {
	b.mu.Lock()
	waiting := b.later
	b.later = nil
	b.mu.Unlock()
	for _, f := range waiting {
		f()
	}
	return len(waiting)
}

// call returns the status, or 0 for a broken connection, and what was read.
func (b *bench) call(token string) (int, string, http.Header) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.server.URL+"/create", strings.NewReader("{}"))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Token", token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", nil
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, string(body), res.Header
	}
	return res.StatusCode, string(body), res.Header
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	for _, c := range []struct {
		rule   faulty.Rule
		status int
		done   int64
		check  func(body string, h http.Header) bool
	}{
		{faulty.Rule{Fault: "rate_limited", Seconds: 7}, 429, 0, func(_ string, h http.Header) bool { return h.Get("Retry-After") == "7s" }},
		{faulty.Rule{Fault: "refused", Code: "CLOSED"}, 200, 0, func(body string, _ http.Header) bool { return body == `{"error":"CLOSED"}` }},
		{faulty.Rule{Fault: "error"}, 500, 0, nil},
		{faulty.Rule{Fault: "error", Status: 503, Seconds: 1.5}, 503, 0, func(_ string, h http.Header) bool { return h.Get("Retry-After") == "1.5" }},
		{faulty.Rule{Fault: "error", When: "after"}, 500, 1, nil},
		{faulty.Rule{Fault: "timeout_before", Seconds: 0.001}, 0, 0, nil},
		{faulty.Rule{Fault: "timeout_after", Seconds: 0.001}, 0, 1, nil},
		{faulty.Rule{Fault: "reset"}, 0, 0, nil},
		{faulty.Rule{Fault: "reset", When: "after"}, 0, 1, nil},
		{faulty.Rule{Fault: "truncated"}, 0, 1, func(body string, _ http.Header) bool { return body == good[:len(good)/2] }},
		{faulty.Rule{Fault: "html"}, 200, 0, func(body string, _ http.Header) bool { return strings.HasPrefix(body, "<!doctype html>") }},
		{faulty.Rule{Fault: "html", Status: 502, When: "after"}, 502, 1, nil},
		{faulty.Rule{Fault: "huge"}, 200, 0, func(body string, _ http.Header) bool { return len(body) > 32<<20 }},
		{faulty.Rule{Fault: "garbage", When: "after"}, 200, 1, func(body string, _ http.Header) bool { return !json.Valid([]byte(body)) }},
		{faulty.Rule{Fault: "credential_revoked"}, 401, 0, nil},
	} {
		t.Run(c.rule.Fault+" "+c.rule.When, func(t *testing.T) {
			b := newBench(t)
			b.add(c.rule)
			status, body, h := b.call("first")
			if status != c.status || b.done.Load() != c.done {
				t.Errorf("status %d, done %d times", status, b.done.Load())
			}
			if c.check != nil && !c.check(body, h) {
				t.Errorf("answered %.80q, %v", body, h)
			}
		})
	}
}

func TestADelayedCommitHappensLaterAndOnce(t *testing.T) {
	b := newBench(t)
	b.add(faulty.Rule{Fault: "commit_delayed", Seconds: 5})
	if status, _, _ := b.call("first"); status != 0 || b.done.Load() != 0 {
		t.Fatalf("status %d, done %d times", status, b.done.Load())
	}
	if n := b.elapse(); n != 1 || b.done.Load() != 1 {
		t.Errorf("%d waited, done %d times", n, b.done.Load())
	}
}

func TestARotatedCredentialTakesThePlaceOfTheOldOne(t *testing.T) {
	to := func(token string) faulty.Rule { return faulty.Rule{Fault: "credential_rotated", Token: token} }
	type answers map[string][]int // by token; 0 is a broken connection
	for _, c := range []struct {
		name  string
		first string // the token of a call before the rotation, if one came
		rules []faulty.Rule
		want  answers
		done  int64
	}{
		{"after a call with the old one", "first", []faulty.Rule{to("second")}, answers{"first": {401}, "second": {200, 200}, "third": {401}, "": {401}}, 3},
		{"before any call", "", []faulty.Rule{to("second")}, answers{"first": {401}, "second": {200}}, 1},
		{"after a call with a wrong one", "wrong", []faulty.Rule{to("second")}, answers{"first": {401}, "second": {200}, "wrong": {401}}, 1},
		{"until the next rotation", "first", []faulty.Rule{to("second"), to("third")}, answers{"first": {401}, "second": {401}, "third": {200}}, 2},
		{"until it is rotated back", "first", []faulty.Rule{to("second"), to("first")}, answers{"second": {401}, "first": {200}}, 2},
		{"for the operations that it names", "", []faulty.Rule{to("second"), {Fault: "credential_rotated", Token: "third", Operation: "list"}}, answers{"second": {200}, "third": {401}}, 1},
		{"for as many calls as it says", "", []faulty.Rule{{Fault: "credential_rotated", Token: "second", Times: 2}}, answers{"second": {200, 200, 401}}, 2},
		{"and leaves the call to a later fault", "", []faulty.Rule{to("second"), {Fault: "error", Status: 503}}, answers{"second": {503, 200}}, 1},
		{"and leaves the call to an earlier fault", "", []faulty.Rule{{Fault: "error", Status: 503, When: "after"}, to("second")}, answers{"second": {503, 200}}, 2},
		{"and a later fault cannot befall what it refuses", "", []faulty.Rule{to("second"), {Fault: "error", Status: 503}}, answers{"first": {401, 401}}, 0},
		{"and what it refuses has no effect before an earlier fault", "", []faulty.Rule{{Fault: "error", Status: 503, When: "after"}, to("second")}, answers{"first": {503, 401}}, 0},
		{"and may be revoked in its turn", "", []faulty.Rule{to("second"), {Fault: "credential_revoked"}}, answers{"second": {401}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.first != "" {
				b.call(c.first)
			}
			for _, r := range c.rules {
				b.add(r)
			}
			for token, want := range c.want {
				for n, status := range want {
					if got, _, _ := b.call(token); got != status {
						t.Errorf("%q: call %d has status %d, want %d", token, n+1, got, status)
					}
				}
			}
			if n := b.done.Load(); n != c.done {
				t.Errorf("%d calls had their effect, want %d", n, c.done)
			}
		})
	}
}

func TestACredentialIsNotRotatedWhereNobodyKnowsTheVendorsOwn(t *testing.T) {
	faults := faulty.New(vendor(), 1)
	defer faults.Close()
	faults.Next = http.NotFoundHandler()
	var refusal *faulty.Refusal
	if err := faults.Add(faulty.Rule{Fault: "credential_rotated", Token: "second"}); !errors.As(err, &refusal) || refusal.Field != "fault" {
		t.Errorf("%v", err)
	}
}

func TestAnEmptyAnswerCannotBeSpoilt(t *testing.T) {
	for _, r := range []faulty.Rule{
		{Fault: "truncated", Times: 2},
		{Fault: "garbage", When: "after", Form: "utf8"},
		{Fault: "garbage", When: "after", Form: "types", Times: -1},
	} {
		b := newBench(t)
		b.empty = true
		b.add(r)
		if status, body, _ := b.call("first"); status != http.StatusNoContent || body != "" {
			t.Errorf("%s: %d %q", r.Fault, status, body)
		}
		if fired := b.faults.Rules()[0].Fired; fired != 0 {
			t.Errorf("%s %s fired %d times", r.Fault, r.Form, fired)
		}
		b.empty = false
		for range max(r.Times, 1) {
			if status, body, _ := b.call("first"); status == 200 && body == good {
				t.Errorf("%s %s does not spoil what comes later", r.Fault, r.Form)
			}
		}
	}
}

func TestABodyThatIsTooLargeIsRefusedAndNotCut(t *testing.T) {
	const most = 32 << 20
	for _, c := range []struct {
		path         string
		size, status int
	}{
		{"/create", most, 200}, {"/create", most + 1, 413}, {"/_control/faults", most + 1, 413}, {"/_control/orders", most + 1, 413},
	} {
		faults := faulty.New(vendor(), 1)
		defer faults.Close()
		faults.Next = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != r.ContentLength {
				t.Errorf("%d of %d bytes came: %v", n, r.ContentLength, err)
			}
		})
		rec := httptest.NewRecorder()
		faults.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, c.path, bytes.NewReader(make([]byte, c.size))))
		if rec.Code != c.status {
			t.Errorf("%d bytes to %s: status %d", c.size, c.path, rec.Code)
		}
	}
}

func TestWhatCannotBeHiddenLeavesTheFaultToTheNextCall(t *testing.T) {
	v := vendor()
	v.Cannot, v.Hides = nil, func(operation string, _ []byte) bool { return operation == "create" }
	faults := faulty.New(v, 1)
	defer faults.Close()
	var hidden []string
	faults.Next = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if faulty.HiddenFor(r) == 5*time.Second {
			hidden = append(hidden, r.URL.Path)
		}
	})
	if err := faults.Add(faulty.Rule{Fault: "visible_delayed", Seconds: 5}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/list", "/create", "/create"} {
		faults.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
	}
	if !slices.Equal(hidden, []string{"/create"}) {
		t.Errorf("hidden: %v", hidden)
	}
	var refusal *faulty.Refusal
	if err := faults.Add(faulty.Rule{Fault: "visible_delayed", Seconds: 5, Operation: "list"}); !errors.As(err, &refusal) || refusal.Field != "operation" || !slices.Equal(refusal.Known, []string{"create"}) {
		t.Errorf("%v", err)
	}
}

func TestAWaitIsRoundedUpToWholeSeconds(t *testing.T) {
	for wait, want := range map[time.Duration]string{400 * time.Millisecond: "1", time.Second: "1", 2900 * time.Millisecond: "3", 7 * time.Second: "7"} {
		if got := faulty.Tryton().TooMany(wait).Header["Retry-After"]; got != want {
			t.Errorf("%s: Retry-After %s", wait, got)
		}
	}
}

func TestARuleFiresAsOftenAsItSaysAndOnlyWhereItMatches(t *testing.T) {
	b := newBench(t)
	b.add(faulty.Rule{Fault: "error", Operation: "list"})
	b.add(faulty.Rule{Fault: "error", Operation: "cre*", Times: 2, Status: 503})
	var got []int
	for range 3 {
		status, _, _ := b.call("first")
		got = append(got, status)
	}
	rules := b.faults.Rules()
	if got[0] != 503 || got[1] != 503 || got[2] != 200 || rules[0].Fired != 0 || rules[1].Fired != 2 {
		t.Errorf("answers %v, rules %+v", got, rules)
	}
}

func TestARuleMayMatchByMethodAndPath(t *testing.T) {
	b := newBench(t)
	b.add(faulty.Rule{Fault: "error", Method: http.MethodGet})
	b.add(faulty.Rule{Fault: "error", Path: "/other"})
	b.add(faulty.Rule{Fault: "error", Method: http.MethodPost, Path: "/cre*", Status: 503})
	if status, _, _ := b.call("first"); status != 503 {
		t.Errorf("status %d", status)
	}
	if rules := b.faults.Rules(); rules[0].Fired != 0 || rules[1].Fired != 0 || rules[2].Fired != 1 {
		t.Errorf("%+v", rules)
	}
}

func TestARuleWithASeedThrowsItsOwnDice(t *testing.T) {
	run := func(others int) (out []int) {
		b := newBench(t)
		for range others {
			b.add(faulty.Rule{Fault: "error", Times: -1, Probability: 1e-9})
		}
		b.add(faulty.Rule{Fault: "error", Times: -1, Probability: 0.5, Seed: 3})
		for range 20 {
			status, _, _ := b.call("first")
			out = append(out, status)
		}
		return out
	}
	if a, b := run(0), run(3); !slices.Equal(a, b) {
		t.Errorf("other rules change it:\n%v\n%v", a, b)
	}
}

func TestGarbageOfEachForm(t *testing.T) {
	for form, want := range map[string]func(body string) bool{
		"json":  func(body string) bool { return !json.Valid([]byte(body)) },
		"utf8":  func(body string) bool { return !utf8.ValidString(body) && strings.Contains(body, "a whole answer") },
		"types": func(body string) bool { return body == "{\"data\":7}\n" },
	} {
		b := newBench(t)
		b.add(faulty.Rule{Fault: "garbage", When: "after", Form: form})
		if status, body, _ := b.call("first"); status != 200 || b.done.Load() != 1 || !want(body) {
			t.Errorf("%s: %d %q", form, status, body)
		}
	}
}

func TestWhoGivesUpIsToldOfTheSilence(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.faults.OnSilence(cancel)
	b.add(faulty.Rule{Fault: "timeout_after"})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.server.URL+"/create", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Token", "first")
	if res, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) || b.done.Load() != 1 {
		t.Errorf("%v, %v, done %d times", res, err, b.done.Load())
	}
}

func TestAnUnknownFaultIsRefusedWithWhatThereIs(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ body, field, says string }{
		{`{"fault":"earthquake"}`, "fault", "rate_limited"},
		{`{"fault":"visible_delayed","seconds":1}`, "fault", "cannot be shown at Sample"},
		{`{"fault":"error","operation":"destroy"}`, "operation", "create"},
		{`{"fault":"error","copies":2}`, "copies", "does not take it"},
		{`{"fault":"commit_delayed"}`, "seconds", "needs it"},
		{`{"fault":"error","status":99}`, "status", "from 200 to 599"},
		{`{"fault":"error","probability":2}`, "probability", "from 0 to 1"},
		{`{"fault":"error","when":"during"}`, "when", "before"},
		{`{"fault":"garbage","form":"noise"}`, "form", "utf8"},
		{`{"fault":"garbage","form":"types"}`, "when", "after"},
		{`{"fault":"error","form":"types"}`, "form", "does not take it"},
		{`{"fault":"refused","code":"OPEN"}`, "code", "CLOSED"},
		{`{"fault":"refused"}`, "code", "needs it"},
		{`{"fault":"webhook_resigned","secret":"s"}`, "fault", "cannot be shown at Sample"},
		{`{"fault":"error","seed":7}`, "seed", "without a probability"},
		{`{"fault":"error","method":"FETCH"}`, "method", "DELETE"},
		{`{"fault":"error","path":"create"}`, "path", "must begin with /"},
		{`{"fault":"error","path":"/_control/faults"}`, "path", "the operator's"},
		{`{"fault":"webhook_lost","path":"/hooks"}`, "path", "cannot match a webhook"},
		{`{"fault":"error","colour":"red"}`, "body", "colour"},
		{`{"fault":"error","colour":"red"}`, "body", "probability"},
		{`{"FAULT":"error"}`, "body", "FAULT"},
		{`{"fault":"error","fired":5}`, "fired", "cannot be given"},
		{`{"fault":"error","fault":"reset"}`, "fault", "given twice"},
		{`[{"fault":"error","times":2,"times":3}]`, "times", "given twice"},
		{`{"fault":"error","times":"3"}`, "times", "must be of type int"},
		{`[]`, "body", "has no rule"},
		{`[null]`, "body", "is no rule"},
		{`null`, "body", "is no rule"},
		{`{"fault":"error","operation":"destroy*"}`, "operation", "create"},
		{`{"fault":"webhook_lost","operation":"orders/creat"}`, "operation", "is no topic of Sample"},
		{`{"fault":"webhook_lost","operation":"e*"}`, "operation", "is no topic of Sample"},
		{`[{"fault":"error"},{"fault":"nothing"}]`, "fault", "garbage"},
		{`not JSON`, "body", "is no rule"},
		{`{"fault":"error"} {}`, "body", "is no rule"},
	} {
		res, err := http.Post(b.server.URL+"/_control/faults", "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		var refusal faulty.Refusal
		if err != nil || res.StatusCode != http.StatusBadRequest || json.Unmarshal(text, &refusal) != nil || refusal.Field != c.field || !bytes.Contains(text, []byte(c.says)) {
			t.Errorf("%s: %d %s", c.body, res.StatusCode, text)
		}
	}
	if n := len(b.faults.Rules()); n != 0 {
		t.Errorf("%d rules are in force", n)
	}
}

func TestTheSameSeedMakesTheSameFaults(t *testing.T) {
	run := func() (out []int) {
		b := newBench(t)
		b.add(faulty.Rule{Fault: "error", Times: -1, Probability: 0.4})
		for range 30 {
			status, _, _ := b.call("first")
			out = append(out, status)
		}
		return out
	}
	a, b := run(), run()
	failed := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("%v\n%v", a, b)
		}
		if a[i] == 500 {
			failed++
		}
	}
	if failed == 0 || failed == len(a) {
		t.Errorf("%d of %d failed", failed, len(a))
	}
}

func TestTheChaosMixEnds(t *testing.T) {
	for _, r := range faulty.Chaos(vendor()) {
		if r.Times < 1 {
			t.Errorf("%s never ends", r.Fault)
		}
	}
}
