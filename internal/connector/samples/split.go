package samples

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// document is one document of a file.
type document struct {
	place, what string
	raw         []byte
}

// maxUnpacked bounds what a packed file may grow to.
const maxUnpacked = 64 << 20

// split takes a file apart, or says why it holds no document.
func split(c Inspector, name string, content []byte) (docs []document, why string) {
	if base, packed := strings.CutSuffix(name, ".gz"); packed {
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			return nil, "it is not packed by gzip"
		}
		if content, err = io.ReadAll(io.LimitReader(z, maxUnpacked+1)); err != nil {
			return nil, "it cannot be unpacked"
		}
		if len(content) > maxUnpacked {
			return nil, fmt.Sprintf("it unpacks to more than %d MiB", maxUnpacked>>20)
		}
		name = base
	}
	switch path.Ext(name) {
	case ".md":
		return fenced(content)
	case ".graphql", ".graphqls", ".xsd", ".yml", ".yaml", ".proto":
		return nil, "a schema or description, not JSON"
	}
	what := topic(name)
	if what != "" {
		what = c.TopicOf(what)
	}
	if ext := path.Ext(name); ext == ".jsonl" || ext == ".ndjson" {
		for i, line := range bytes.Split(content, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				docs = append(docs, document{place: "line " + strconv.Itoa(i+1), what: what, raw: line})
			}
		}
		return docs, ""
	} else if ext != ".json" && ext != "" && !json.Valid(content) {
		return nil, "not JSON"
	}
	return parts(what, content)
}

var version = regexp.MustCompile(`^[a-z0-9]*[0-9]{4}-[0-9]{2}__`)

// topic is what a file's name may say of its content: "orders/create" of
// 2026-04__orders__create.json.
func topic(name string) string {
	name = strings.TrimSuffix(strings.ReplaceAll(name, "\\", "/"), path.Ext(name))
	base := version.ReplaceAllString(path.Base(name), "")
	if strings.Contains(base, "__") || base != path.Base(name) {
		return strings.ReplaceAll(base, "__", "/")
	}
	return ""
}

// parts takes a JSON file apart. What is no JSON is left for the connector to
// refuse.
func parts(what string, content []byte) (docs []document, why string) {
	var list []json.RawMessage
	if json.Unmarshal(content, &list) == nil && len(list) > 0 {
		for i, raw := range list {
			d, ok := exchanged(raw)
			if !ok {
				docs = nil
				break
			}
			d.place = "[" + strconv.Itoa(i) + "]"
			docs = append(docs, d)
		}
		if len(docs) > 0 {
			return docs, ""
		}
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(content, &m) != nil || m == nil {
		return []document{{what: what, raw: content}}, ""
	}
	switch {
	case has(m, "openapi") || has(m, "swagger"):
		if docs = examples(m["paths"]); len(docs) > 0 {
			return docs, ""
		}
		return nil, "a description of an API without examples"
	case has(m, "$schema") || text(m["type"]) == "object" && has(m, "properties"):
		return nil, "a JSON schema"
	case len(m) == 1 && has(m, "type") && text(m["type"]) != "":
		return nil, "a JSON schema"
	case has(m, "vectors"):
		return nil, "signed vectors, which the tests of webhooks hold"
	}
	if d, ok := exchanged(content); ok {
		return []document{d}, ""
	}
	// A documentation's sample is wrapped in what it says of the topic.
	if has(m, "response") && (has(m, "name") || has(m, "topic")) {
		if t := text(m["topic"]) + text(m["name"]); strings.Contains(t, "/") {
			what = t
		}
		return []document{{what: what, raw: m["response"]}}, ""
	}
	return []document{{what: what, raw: content}}, ""
}

func has(m map[string]json.RawMessage, key string) bool { _, ok := m[key]; return ok }

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// exchanged is the answer of a recorded exchange in one of two forms:
// {method, url, status, response_body} and {request, response}.
func exchanged(raw json.RawMessage) (document, bool) {
	var e struct {
		Method   string          `json:"method"`
		URL      string          `json:"url"`
		Status   int             `json:"status"`
		Answer   json.RawMessage `json:"response_body"`
		Request  *request        `json:"request"`
		Response *struct {
			Status int             `json:"status"`
			Body   json.RawMessage `json:"body"`
		} `json:"response"`
	}
	if json.Unmarshal(raw, &e) != nil {
		return document{}, false
	}
	switch {
	case e.Method != "" && e.Answer != nil:
		return document{what: fmt.Sprintf("%s %s %d", e.Method, e.URL, e.Status), raw: e.Answer}, true
	case e.Request != nil && e.Response != nil:
		d := document{what: e.Request.what(), raw: e.Response.Body}
		// An answer that was no JSON is kept as text.
		var kept struct {
			Raw *string `json:"_raw"`
		}
		if json.Unmarshal(d.raw, &kept) == nil && kept.Raw != nil {
			d.raw = []byte(*kept.Raw)
		}
		if e.Response.Status != 200 {
			d.what = fmt.Sprintf("%s %d", d.what, e.Response.Status)
		}
		return d, true
	}
	return document{}, false
}

type request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   struct {
		Method string `json:"method"`
	} `json:"body"`
}

func (r request) what() string {
	if r.Body.Method != "" {
		return r.Body.Method
	}
	return strings.TrimSpace(r.Method + " " + r.Path)
}

var (
	fence  = regexp.MustCompile("(?ms)^```json\\n(.*?)^```")
	status = regexp.MustCompile(`(?m)^HTTP (\d{3}).*\n?|→ HTTP (\d{3})`)
	verb   = regexp.MustCompile(`(?m)^###? +((?:GET|POST|PUT|PATCH|DELETE) \S+)`)
)

// fenced takes what documentation shows: calls and their answers in turn.
func fenced(content []byte) (docs []document, why string) {
	what, last := "", 0
	for _, at := range fence.FindAllSubmatchIndex(content, -1) {
		raw, before := content[at[2]:at[3]], content[last:at[0]]
		last = at[1]
		if m := verb.FindSubmatch(before); m != nil {
			what = string(m[1])
		}
		var call struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(raw, &call) == nil && call.Method != "" && call.Params != nil {
			what = call.Method
			if m := status.FindSubmatch(before); m != nil && string(m[2]) != "" && string(m[2]) != "200" {
				what += " " + string(m[2])
			}
			continue
		}
		if what == "" {
			continue // an example of a call's parts
		}
		if m := status.FindSubmatch(raw); m != nil && string(m[1]) != "200" && string(m[1]) != "" {
			what += " " + string(m[1])
		}
		raw = bytes.TrimSpace(status.ReplaceAll(raw, nil))
		docs = append(docs, document{place: "line " + strconv.Itoa(1+bytes.Count(content[:at[0]], []byte("\n"))), what: what, raw: raw})
		what = ""
	}
	if len(docs) == 0 {
		return nil, "it shows no answer of a vendor"
	}
	return docs, ""
}

// examples are those that a description of an API gives of its answers.
func examples(paths json.RawMessage) []document {
	var all map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct {
				Example  json.RawMessage `json:"example"`
				Examples map[string]struct {
					Value json.RawMessage `json:"value"`
				} `json:"examples"`
			} `json:"content"`
		} `json:"responses"`
	}
	// A path may hold parameters beside its methods, which are a list.
	var loose map[string]map[string]json.RawMessage
	if json.Unmarshal(paths, &loose) != nil {
		return nil
	}
	for _, methods := range loose {
		for m := range methods {
			if !slices.Contains([]string{"get", "post", "put", "patch", "delete"}, m) {
				delete(methods, m)
			}
		}
	}
	again, err := json.Marshal(loose)
	if err != nil || json.Unmarshal(again, &all) != nil {
		return nil
	}
	var docs []document
	for p, methods := range all {
		for m, op := range methods {
			for code, answer := range op.Responses {
				what := strings.ToUpper(m) + " " + p + " " + code
				for _, c := range answer.Content {
					if len(c.Example) > 0 {
						docs = append(docs, document{place: what, what: what, raw: c.Example})
					}
					for name, x := range c.Examples {
						docs = append(docs, document{place: what + " " + name, what: what, raw: x.Value})
					}
				}
			}
		}
	}
	slices.SortFunc(docs, func(a, b document) int { return strings.Compare(a.place, b.place) })
	return docs
}
