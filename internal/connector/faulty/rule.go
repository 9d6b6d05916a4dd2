// Package faulty stands before a simulator or a real server and makes it fail
// on demand, as vendors do: throttled, slow, silent, garbled, late, and with
// its webhooks lost, doubled or out of order.
//
// It is steered under /_control/faults: POST a rule or a list of them, GET
// lists them with how often each has fired, DELETE takes all away.
package faulty

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Rule makes matching calls, or webhook deliveries, fail.
type Rule struct {
	Fault string `json:"fault"`
	// Operation is what the vendor calls the call: a GraphQL operation, an
	// OpenAPI operationId, a JSON-RPC method; for a webhook its topic. A * at
	// the end matches what begins so; empty matches all. A GraphQL client names
	// its operations itself, so a name that none has is not found out.
	Operation string `json:"operation,omitempty"`
	// Method and Path match a call by HTTP, for vendors whose calls have no
	// better name; a * at the end of Path matches what begins so.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Times is how often it fires; 0 means once, -1 until it is taken away.
	Times int `json:"times,omitempty"`
	// Probability of firing at a match, above 0 and up to 1; 0 means 1. Seed
	// gives the rule dice of its own, whatever other rules throw.
	Probability float64 `json:"probability,omitempty"`
	Seed        uint64  `json:"seed,omitempty"`
	// When a substituted answer comes: "before" the call has its effect, the
	// default, or "after".
	When    string  `json:"when,omitempty"`
	Status  int     `json:"status,omitempty"`  // of error and html
	Seconds float64 `json:"seconds,omitempty"` // of what waits
	Copies  int     `json:"copies,omitempty"`  // of webhook_duplicate
	Token   string  `json:"token,omitempty"`   // of credential_rotated
	// Form is what kind of garbage: "json", the default, breaks off; "utf8" is
	// the vendor's answer with a byte of each text spoilt; "types" is it with
	// every value of another type.
	Form   string `json:"form,omitempty"`
	Code   string `json:"code,omitempty"`   // of refused: one of the vendor's own
	Secret string `json:"secret,omitempty"` // of webhook_resigned

	Fired int `json:"fired"`
	left  int
	own   *dice
}

// keys are what a rule may be given.
var keys = []string{"fault", "operation", "method", "path", "times", "probability", "seed", "when", "status", "seconds", "copies", "token", "form", "code", "secret"}

// kind says what parameters a fault takes.
type kind struct {
	name, does string
	webhook    bool
	takes      []string
	needs      []string
}

var kinds = []kind{
	{name: "rate_limited", does: "refuse as the vendor does above its limit; seconds is the wait it asks for", takes: []string{"seconds"}},
	{name: "refused", does: "refuse with a code of the vendor's own", takes: []string{"code", "when"}, needs: []string{"code"}},
	{name: "error", does: "answer status, 500 by default", takes: []string{"status", "when", "seconds"}},
	{name: "timeout_before", does: "do nothing and keep silent for seconds", takes: []string{"seconds"}},
	{name: "timeout_after", does: "do it and keep silent for seconds", takes: []string{"seconds"}},
	{name: "reset", does: "break the connection", takes: []string{"when"}},
	{name: "commit_delayed", does: "break the connection and do it after seconds", takes: []string{"seconds"}, needs: []string{"seconds"}},
	{name: "visible_delayed", does: "do it, answer, and hide it from reads for seconds, where it can be hidden", takes: []string{"seconds"}, needs: []string{"seconds"}},
	{name: "truncated", does: "do it and send half of the answer, where there is one"},
	{name: "html", does: "answer with a page, status 200 by default", takes: []string{"status", "when"}},
	{name: "huge", does: "answer with more than a client may read", takes: []string{"when"}},
	{name: "garbage", does: "answer with what is no JSON (form json), no UTF-8 (utf8, after) or of other types (types, after)", takes: []string{"when", "form"}},
	{name: "credential_revoked", does: "refuse every credential"},
	{name: "credential_rotated", does: "accept token in the place of the old credential; the newest rotation holds", takes: []string{"token"}, needs: []string{"token"}},
	{name: "webhook_lost", does: "never send it", webhook: true},
	{name: "webhook_duplicate", does: "send copies more of it", webhook: true, takes: []string{"copies"}},
	{name: "webhook_delayed", does: "send it after seconds, repeated as any until it is taken", webhook: true, takes: []string{"seconds"}, needs: []string{"seconds"}},
	{name: "webhook_resigned", does: "sign it with secret, as before or after a rotation, or as a stranger", webhook: true, takes: []string{"secret"}, needs: []string{"secret"}},
	{name: "webhook_reordered", does: "send it after the next one that is sent, or after 3 s without one", webhook: true},
}

// Kinds are the names of all faults.
func Kinds() []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = k.name
	}
	return out
}

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// Refusal says why a rule is not taken.
type Refusal struct {
	Field string   `json:"field"`
	Value string   `json:"value,omitempty"`
	Why   string   `json:"error"`
	Known []string `json:"known,omitempty"`
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: %q %s", r.Field, r.Value, r.Why)
	if len(r.Known) > 0 {
		s += "; there are " + strings.Join(r.Known, ", ")
	}
	return s
}

// check refuses what cannot be meant, for a vendor.
func (r *Rule) check(v Vendor) error {
	k, ok := kindOf(r.Fault)
	if !ok {
		return &Refusal{Field: "fault", Value: r.Fault, Why: "is no fault", Known: Kinds()}
	}
	if !v.shows(r.Fault) {
		return &Refusal{Field: "fault", Value: r.Fault, Why: "cannot be shown at " + v.Name}
	}
	set := map[string]bool{"status": r.Status != 0, "seconds": r.Seconds != 0, "copies": r.Copies != 0, "token": r.Token != "", "when": r.When != "", "form": r.Form != "", "code": r.Code != "", "secret": r.Secret != ""}
	for _, p := range []string{"status", "seconds", "copies", "token", "when", "form", "code", "secret"} {
		if set[p] && !slices.Contains(k.takes, p) {
			return &Refusal{Field: p, Value: r.Fault, Why: "does not take it", Known: k.takes}
		}
		if !set[p] && slices.Contains(k.needs, p) {
			return &Refusal{Field: p, Value: r.Fault, Why: "needs it"}
		}
	}
	switch {
	case r.Status != 0 && (r.Status < 200 || r.Status > 599):
		return &Refusal{Field: "status", Value: fmt.Sprint(r.Status), Why: "must be from 200 to 599"}
	case r.Seconds < 0 || r.Seconds > 3600:
		return &Refusal{Field: "seconds", Value: fmt.Sprint(r.Seconds), Why: "must be from 0 to 3600"}
	case r.Probability < 0 || r.Probability > 1:
		return &Refusal{Field: "probability", Value: fmt.Sprint(r.Probability), Why: "must be from 0 to 1"}
	case r.Times < -1:
		return &Refusal{Field: "times", Value: fmt.Sprint(r.Times), Why: "must be -1 or more"}
	case r.Copies < 0 || r.Copies > 100:
		return &Refusal{Field: "copies", Value: fmt.Sprint(r.Copies), Why: "must be from 0 to 100"}
	case r.When != "" && r.When != "before" && r.When != "after":
		return &Refusal{Field: "when", Value: r.When, Why: "is no time", Known: []string{"before", "after"}}
	case r.Form != "" && !slices.Contains(forms, r.Form):
		return &Refusal{Field: "form", Value: r.Form, Why: "is no garbage", Known: forms}
	case (r.Form == "utf8" || r.Form == "types") && r.When != "after":
		return &Refusal{Field: "when", Value: r.When, Why: "cannot be: " + r.Form + " spoils the vendor's own answer", Known: []string{"after"}}
	case r.Code != "" && !slices.Contains(v.Codes, r.Code):
		return &Refusal{Field: "code", Value: r.Code, Why: "is no code of " + v.Name, Known: v.Codes}
	case r.Seed != 0 && r.Probability == 0:
		return &Refusal{Field: "seed", Value: fmt.Sprint(r.Seed), Why: "decides nothing without a probability"}
	case r.Method != "" && !slices.Contains(methods, r.Method):
		return &Refusal{Field: "method", Value: r.Method, Why: "is no method", Known: methods}
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
		return &Refusal{Field: "path", Value: r.Path, Why: "must begin with /"}
	case strings.HasPrefix(r.Path, "/_control"):
		return &Refusal{Field: "path", Value: r.Path, Why: "is the operator's, which never fails"}
	case k.webhook && (r.Method != "" || r.Path != ""):
		return &Refusal{Field: "path", Value: r.Method + r.Path, Why: "cannot match a webhook; its topic is its operation"}
	}
	known, why := v.Operations, "is no operation of "+v.Name
	switch {
	case k.webhook:
		known, why = v.Topics, "is no topic of "+v.Name
	case r.Fault == "visible_delayed" && v.Hides != nil:
		known, why = slices.Clone(known), "is no operation of "+v.Name+" that can be hidden from reads"
		known = slices.DeleteFunc(known, func(name string) bool { return !v.Hides(name, nil) })
	}
	if len(known) > 0 && !slices.ContainsFunc(known, func(name string) bool { return like(r.Operation, name) }) {
		return &Refusal{Field: "operation", Value: r.Operation, Why: why, Known: known}
	}
	return nil
}

var (
	forms   = []string{"json", "utf8", "types"}
	methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
)

// occasion is what a rule is held against.
type occasion struct {
	operation, method, path string
	hides                   bool // its effect can be hidden from reads
}

func (r *Rule) matches(o occasion) bool {
	return like(r.Operation, o.operation) && like(r.Path, o.path) && (r.Method == "" || r.Method == o.method) &&
		(o.hides || r.Fault != "visible_delayed")
}

// spend counts a firing.
func (r *Rule) spend() {
	r.Fired++
	if r.left > 0 {
		r.left--
	}
}

func like(pattern, s string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == "" || pattern == s || (open && strings.HasPrefix(s, prefix))
}

// parse reads one rule or a list of them, strictly. It fails with a *Refusal.
func parse(body []byte) ([]Rule, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		r, err := parseOne(body)
		return []Rule{r}, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, unreadable(err)
	}
	if len(list) == 0 {
		return nil, &Refusal{Field: "body", Value: "[]", Why: "has no rule", Known: keys}
	}
	out := make([]Rule, len(list))
	for i, raw := range list {
		var err error
		if out[i], err = parseOne(raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseOne(raw []byte) (Rule, error) {
	var r Rule
	if err := json.Unmarshal(raw, &r); err != nil {
		return Rule{}, unreadable(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return Rule{}, &Refusal{Field: "body", Value: string(raw), Why: "is no rule", Known: keys}
	}
	var given []string
	// Unmarshal takes a key twice, and in any case.
	for dec.More() {
		var value json.RawMessage
		token, err := dec.Token()
		if err == nil {
			err = dec.Decode(&value)
		}
		key, _ := token.(string)
		switch {
		case err != nil:
			return Rule{}, unreadable(err)
		case key == "fired":
			return Rule{}, &Refusal{Field: key, Value: strings.Trim(string(value), `"`), Why: "is counted and cannot be given", Known: keys}
		case !slices.Contains(keys, key):
			return Rule{}, &Refusal{Field: "body", Value: key, Why: "is no key of a rule", Known: keys}
		case slices.Contains(given, key):
			return Rule{}, &Refusal{Field: key, Value: strings.Trim(string(value), `"`), Why: "is given twice"}
		}
		given = append(given, key)
	}
	return r, nil
}

func unreadable(err error) *Refusal {
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && mistyped.Field != "" {
		return &Refusal{Field: mistyped.Field, Value: mistyped.Value, Why: "must be of type " + mistyped.Type.String()}
	}
	return &Refusal{Field: "body", Why: "is no rule: " + err.Error(), Known: keys}
}

// control answers the operator.
func (i *Injector) control(w http.ResponseWriter, r *http.Request, body []byte) {
	switch r.Method {
	case http.MethodGet:
		answer(w, http.StatusOK, map[string]any{"faults": i.Rules(), "known": i.known()})
	case http.MethodDelete:
		i.Clear()
		answer(w, http.StatusOK, map[string]any{"faults": []Rule{}})
	case http.MethodPost:
		rules, err := parse(body)
		if err != nil {
			answer(w, http.StatusBadRequest, err)
			return
		}
		if err := i.Add(rules...); err != nil {
			answer(w, http.StatusBadRequest, err)
			return
		}
		answer(w, http.StatusCreated, map[string]any{"faults": i.Rules()})
	default:
		answer(w, http.StatusMethodNotAllowed, map[string]any{"error": "GET, POST or DELETE"})
	}
}

func (i *Injector) known() map[string]string {
	out := map[string]string{}
	for _, k := range kinds {
		if i.vendor.shows(k.name) {
			out[k.name] = k.does
		}
	}
	return out
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}
