package tryton

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// read calls a method that changes nothing.
func (c *Connector) read(ctx context.Context, method string, into any, params ...any) error {
	return c.call(ctx, nil, method, into, params)
}

// write calls a method that changes something. A fault that is not marked as
// of unknown outcome proves that Tryton rolled its transaction back.
func (c *Connector) write(ctx context.Context, p effect.Permit, method string, into any, params ...any) error {
	return c.call(ctx, &p, method, into, params)
}

// call signs in where that is needed, and once more where the session has
// ended. A call that was refused for its session did nothing.
func (c *Connector) call(ctx context.Context, p *effect.Permit, method string, into any, params []any) error {
	session, err := c.signedIn(ctx, "")
	if err != nil {
		return err
	}
	path := c.database()
	err = c.exchange(ctx, p, path, session, method, into, params)
	if f := fault.Of(err); f == nil || f.Class != fault.Authentication {
		return err
	}
	if session, err = c.signedIn(ctx, session); err != nil {
		return err
	}
	return c.exchange(ctx, p, path, session, method, into, params)
}

// signedIn returns a session other than ended. What was read under an earlier
// one is forgotten with it: the database may have been replaced.
func (c *Connector) signedIn(ctx context.Context, ended string) (string, error) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session != ended {
		return session, nil
	}
	var key []json.RawMessage
	if err := c.ask(ctx, c.database(), "", "common.db.login", &key, c.settings.User, map[string]string{"password": c.password}, "en"); err != nil {
		return "", err
	}
	var user int64
	var token string
	if len(key) < 2 || json.Unmarshal(key[0], &user) != nil || json.Unmarshal(key[1], &token) != nil || token == "" {
		return "", fault.New(fault.Permanent, fault.Authentication, "Tryton's answer to the login holds no session")
	}
	session = "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d:%s", c.settings.User, user, token))
	c.mu.Lock()
	c.session, c.checked, c.kept = session, false, nothingKept()
	c.mu.Unlock()
	return session, nil
}

// database is the path of the database's methods.
func (c *Connector) database() string { return "/" + c.settings.Database + c.series.rpc }

// ask calls a method that needs no session, or gives one.
func (c *Connector) ask(ctx context.Context, path, session, method string, into any, params ...any) error {
	return c.exchange(ctx, nil, path, session, method, into, params)
}

type question struct {
	ID     int    `json:"id"`
	Method string `json:"method"`
	Params []any  `json:"params"`
}

func (c *Connector) exchange(ctx context.Context, p *effect.Permit, path, session, method string, into any, params []any) error {
	if c.client == nil {
		return fault.New(fault.Permanent, fault.Internal, "calling Tryton through a connector that only checks settings")
	}
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(question{ID: 1, Method: method, Params: params})
	if err != nil {
		return fault.Wrap(fault.Permanent, fault.Internal, err, "encoding the call of %s", method)
	}
	u := *c.base
	u.Path += path
	r, err := egress.NewRequest(http.MethodPost, u.String(), body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if session != "" {
		r.Header.Set("Authorization", session)
	}
	var res *egress.Response
	if p == nil {
		res, err = c.client.Read(ctx, r)
	} else {
		res, err = c.client.Write(ctx, *p, r)
	}
	if err != nil {
		return fmt.Errorf("calling %s: %w", method, err)
	}
	if res.Status != http.StatusOK {
		return refused(res.Status, method)
	}
	return c.answer(res.Body, method, p != nil, into)
}

// refused classifies a 4xx, which comes before any transaction.
func refused(status int, method string) error {
	switch status {
	case http.StatusRequestTimeout:
		return fault.New(fault.Retryable, fault.Connectivity, "Tryton answered 408 to %s", method)
	case http.StatusNotFound:
		return fault.New(fault.Permanent, fault.Configuration, "there is no such database at the server (HTTP 404); check url and database").At("database", "")
	default:
		return fault.New(fault.Permanent, fault.Validation, "Tryton refused %s (HTTP %d)", method, status)
	}
}

// answer decodes a JSON-RPC answer. It decodes a result into into, unless that
// is nil.
func (c *Connector) answer(body []byte, method string, wrote bool, into any) error {
	var a struct {
		Result json.RawMessage   `json:"result"`
		Error  []json.RawMessage `json:"error"`
	}
	// encoding/json would let broken UTF-8 pass with its bytes replaced.
	if err := json.Unmarshal(body, &a); err != nil || (a.Result == nil && a.Error == nil) || !utf8.Valid(body) {
		return perhaps(fault.New(fault.Retryable, fault.Connectivity, "the answer to %s is not JSON-RPC", method), wrote)
	}
	if a.Error != nil {
		return failure(a.Error, method, wrote)
	}
	if into == nil {
		return nil
	}
	switch err := json.Unmarshal(a.Result, into); {
	case err == nil:
		return nil
	case wrote:
		// Tryton has committed something: only a read-back tells what.
		return fault.New(fault.Retryable, fault.OutcomeUnknown, "the result of %s is not what series %s gives", method, c.settings.Series).OutcomeUnknown()
	default:
		return fault.New(fault.Permanent, fault.Connectivity, "the result of %s is not what series %s gives", method, c.settings.Series)
	}
}

func perhaps(f *fault.Error, wrote bool) *fault.Error {
	if wrote {
		return f.OutcomeUnknown()
	}
	return f
}

// failure classifies an error of Tryton's. The first three kinds are raised
// inside the transaction and roll it back; anything else may come from a task
// that ran after the commit.
func failure(parts []json.RawMessage, method string, wrote bool) error {
	var kind string
	if len(parts) > 0 && json.Unmarshal(parts[0], &kind) != nil {
		kind = ""
	}
	var detail []json.RawMessage
	if len(parts) > 1 && json.Unmarshal(parts[1], &detail) != nil {
		detail = nil
	}
	switch kind {
	case "UserError":
		return fault.New(fault.Exception, fault.Validation, "Tryton refused %s%s", method, sentence(method, detail, 0))
	case "UserWarning":
		return fault.New(fault.Exception, fault.Validation, "Tryton asks for a confirmation before %s%s", method, sentence(method, detail, 1))
	case "ConcurrencyException":
		return fault.New(fault.Retryable, fault.StateConflict, "somebody else changed the record during %s", method)
	case "LoginException":
		return fault.New(fault.Permanent, fault.Authentication, "Tryton wants more than a password")
	default:
		return perhaps(fault.New(fault.Retryable, fault.Connectivity, "Tryton failed inside %s", method), wrote)
	}
}

// sentence is what Tryton said, without what it put between quotation marks:
// names of records, which may be people. About people themselves it says
// nothing.
func sentence(method string, detail []json.RawMessage, at int) string {
	var s string
	if strings.HasPrefix(method, "model.party.") || at >= len(detail) || json.Unmarshal(detail[at], &s) != nil || s == "" {
		return ""
	}
	if from, to := strings.IndexAny(s, `"“«`), strings.LastIndexAny(s, `"”»`); from >= 0 {
		// Until the last mark, because a name may hold marks itself.
		rest := ""
		if to > from {
			_, size := utf8.DecodeRuneInString(s[to:])
			rest = s[to+size:]
		}
		s = s[:from] + "…" + rest
	}
	return ": " + s
}
