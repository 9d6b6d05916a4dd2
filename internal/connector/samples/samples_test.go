package samples_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// echo takes what it is shown, and tells it.
type echo struct{ seen []string }

func (e *echo) TopicOf(name string) string {
	if name == "orders/create" {
		return name
	}
	return ""
}

func (e *echo) Inspect(what string, raw []byte, each func(place, object string, canonical any, err error)) {
	e.seen = append(e.seen, what+" = "+strings.TrimSpace(string(raw)))
	var into any
	each("", "thing", into, json.Unmarshal(raw, &into))
}

func TestFilesAreTakenApart(t *testing.T) {
	for _, tc := range []struct {
		name, file, content string
		want                []string
		none                string // why there is no document
	}{
		{"a webhook's body", "x/2026-04__orders__create.json", `{"id":1}`, []string{`orders/create = {"id":1}`}, ""},
		{"a name that is no topic", "x/2026-04__real__orders.json", `{"id":1}`, []string{` = {"id":1}`}, ""},
		{"lines under a name that is no topic", "x/orders__kwd.jsonl", `{"id":1}`, []string{` = {"id":1}`}, ""},
		{"a body without a topic", "x/one.json", `{"id":1}`, []string{` = {"id":1}`}, ""},
		{"a documentation's sample", "a.json", `{"name":"orders/paid","response":{"id":1}}`, []string{`orders/paid = {"id":1}`}, ""},
		{"exchanges", "a.json", `[{"method":"GET","url":"v/a","status":200,"response_body":{"id":1}},{"method":"PUT","url":"b","status":404,"response_body":null}]`,
			[]string{`GET v/a 200 = {"id":1}`, `PUT b 404 = null`}, ""},
		{"calls", "a.json", `[{"request":{"method":"POST","path":"/","body":{"method":"m.read"}},"response":{"status":200,"body":{"result":1}}},
			{"request":{"method":"POST","path":"/","body":{"method":"m.x"}},"response":{"status":403,"body":{"_raw":"<html>"}}}]`,
			[]string{`m.read = {"result":1}`, `m.x 403 = <html>`}, ""},
		{"what a description shows", "a.md", "### 1.\n```json\n{\"method\":\"m.read\",\"params\":[]}\n```\n```json\n{\"result\":1}\n```\n",
			[]string{`m.read = {"result":1}`}, ""},
		{"examples of an API", "a.json", `{"openapi":"3.1.0","paths":{"/s/{id}":{"parameters":[],"get":{"responses":{"200":{"content":{"application/json":{"example":{"id":1}}}}}}}}}`,
			[]string{`GET /s/{id} 200 = {"id":1}`}, ""},
		{"one document a line", "a.jsonl", "{\"id\":1}\n\n{\"id\":2}\n", []string{` = {"id":1}`, ` = {"id":2}`}, ""},
		{"a list is the connector's", "a.json", `[{"id":1}]`, []string{` = [{"id":1}]`}, ""},
		{"no JSON is the connector's to refuse", "a.json", `{`, []string{` = {`}, ""},
		{"an API without examples", "a.json", `{"openapi":"3.1.0","paths":{}}`, nil, "without examples"},
		{"a schema", "a.json", `{"type":"object","properties":{}}`, nil, "schema"},
		{"a schema that says so", "a.json", `{"$schema":"x"}`, nil, "schema"},
		{"vectors", "a.json", `{"vectors":[]}`, nil, "vectors"},
		{"a GraphQL schema", "a.graphql", `type Query`, nil, "schema"},
		{"a program", "a.py", `import os`, nil, "not JSON"},
		{"a broken archive", "a.json.gz", `x`, nil, "gzip"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e echo
			out := samples.Read(&e, tc.file, []byte(tc.content))
			if diff := cmp.Diff(tc.want, e.seen); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if tc.none != "" && (len(out) != 1 || out[0].Verdict != samples.NoDocument || !strings.Contains(out[0].Reason, tc.none)) {
				t.Errorf("got %+v", out)
			}
		})
	}
}

// wrong decodes to an order whose money does not add up, or refuses.
type wrong struct{ err error }

func (w wrong) TopicOf(string) string { return "" }

func (w wrong) Inspect(_ string, _ []byte, each func(place, object string, canonical any, err error)) {
	each("", "order", retail.Order{Currency: "USD", Totals: retail.Totals{Total: retail.Money{Amount: 1, Currency: "USD"}}}, w.err)
}

func TestAnOrderThatDoesNotAddUpIsRefused(t *testing.T) {
	for _, tc := range []struct {
		err   error
		class fault.Class
		field string
	}{
		{nil, fault.TotalsDiffer, "total_price"},
		{fault.New(fault.Exception, fault.Mapping, "no").At("sku", "A"), fault.Mapping, "sku"},
		{errors.New("unmarked"), "", ""},
	} {
		out := samples.Read(wrong{tc.err}, "a.json", []byte(`{}`))
		if len(out) != 1 || out[0].Verdict != samples.Refused || out[0].Class != tc.class || out[0].Field != tc.field || out[0].Reason == "" || out[0].Canonical != nil {
			t.Errorf("%v: got %+v", tc.err, out)
		}
		if n := samples.Count(out); n.Tried != 1 || n.Refused != 1 {
			t.Errorf("counted %+v", n)
		}
	}
}
