package shipbobtest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The official OpenAPI, cut to the operations that are simulated; see
// spec/SOURCE.md.
//
//go:embed spec/openapi_2026-01.json.gz
var openapi []byte

// contract judges requests and answers by the official OpenAPI document.
type contract struct{ operations []*operation }

type operation struct {
	id, method string
	segments   []string // "{}" stands for a parameter
	params     []param
	request    *jsonschema.Schema // nil where there is no body
	answers    map[int]*jsonschema.Schema
}

type param struct {
	name, in, kind, format string
	required               bool
}

// breach is one disagreement with the contract, without the values.
type breach struct {
	Field   string `json:"field"`   // products[0].quantity
	Keyword string `json:"keyword"` // the schema's keyword, such as required
}

func (b breach) String() string { return b.Field + " breaks " + b.Keyword }

func loadContract() (*contract, error) {
	z, err := gzip.NewReader(bytes.NewReader(openapi))
	if err != nil {
		return nil, fmt.Errorf("unpacking the OpenAPI: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(z)
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI: %w", err)
	}
	const name = "https://api.shipbob.com/openapi_2026-01.json"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020) // OpenAPI 3.1's dialect
	compiler.AssertFormat()
	if err := compiler.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("adding the OpenAPI: %w", err)
	}
	c := &contract{}
	for path, item := range object(object(doc)["paths"]) {
		for method, def := range object(item) {
			op, err := compileOperation(compiler, name, path, method, object(def))
			if err != nil {
				return nil, err
			}
			c.operations = append(c.operations, op)
		}
	}
	return c, nil
}

func compileOperation(compiler *jsonschema.Compiler, name, path, method string, def map[string]any) (*operation, error) {
	op := &operation{id: text(def["operationId"]), method: strings.ToUpper(method), answers: map[int]*jsonschema.Schema{}}
	for _, s := range strings.Split(strings.Trim(path, "/"), "/") {
		if strings.HasPrefix(s, "{") {
			s = "{}"
		}
		op.segments = append(op.segments, s)
	}
	for _, p := range list(def["parameters"]) {
		m, schema := object(p), object(object(p)["schema"])
		required, _ := m["required"].(bool)
		op.params = append(op.params, param{name: text(m["name"]), in: text(m["in"]), kind: text(schema["type"]), format: text(schema["format"]), required: required})
	}
	compile := func(parts ...string) (*jsonschema.Schema, error) {
		pointer := ""
		for _, p := range append([]string{"paths", path, method}, parts...) {
			pointer += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(p))
		}
		return compiler.Compile(name + "#" + pointer)
	}
	var err error
	if def["requestBody"] != nil {
		if op.request, err = compile("requestBody", "content", "application/json", "schema"); err != nil {
			return nil, fmt.Errorf("compiling the request of %s: %w", op.id, err)
		}
	}
	for status, answer := range object(def["responses"]) {
		n, err := strconv.Atoi(status)
		if err != nil || object(object(answer)["content"])["application/json"] == nil {
			continue
		}
		if op.answers[n], err = compile("responses", status, "content", "application/json", "schema"); err != nil {
			return nil, fmt.Errorf("compiling answer %s of %s: %w", status, op.id, err)
		}
	}
	return op, nil
}

// find returns the operation and its path parameter, or nil.
func (c *contract) find(method, path string) (*operation, string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for _, op := range c.operations {
		if op.method != method || len(op.segments) != len(parts) {
			continue
		}
		value, matches := "", true
		for i, s := range op.segments {
			switch s {
			case "{}":
				value = parts[i]
			case parts[i]:
			default:
				matches = false
			}
		}
		if matches {
			return op, value
		}
	}
	return nil, ""
}

// pagingParams are in the links that ShipBob builds, not in its specification.
var pagingParams = []string{"Cursor"}

// checkRequest lists where a request disagrees with the contract. Credentials
// are judged elsewhere.
func (op *operation) checkRequest(r *http.Request, body []byte) []breach {
	var out []breach
	known := slices.Clone(pagingParams)
	query := r.URL.Query()
	for _, p := range op.params {
		value := ""
		switch p.in {
		case "query":
			known = append(known, p.name)
			value = query.Get(p.name)
		case "header":
			value = r.Header.Get(p.name)
		default:
			continue
		}
		if value == "" {
			if p.required && p.name != "Authorization" {
				out = append(out, breach{p.name, "required"})
			}
			continue
		}
		if k := p.check(value); k != "" {
			out = append(out, breach{p.name, k})
		}
	}
	for name := range query {
		if !slices.Contains(known, name) {
			out = append(out, breach{name, "parameters"})
		}
	}
	if op.request != nil {
		out = append(out, judge(op.request, body)...)
	}
	slices.SortFunc(out, func(a, b breach) int { return strings.Compare(a.Field, b.Field) })
	return out
}

// check returns the keyword that the value breaks, or "".
func (p param) check(value string) string {
	switch {
	case p.kind == "integer" || p.format == "int32":
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return "type"
		}
	case p.kind == "boolean":
		if _, err := strconv.ParseBool(value); err != nil {
			return "type"
		}
	case p.format == "date-time":
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			return "format"
		}
	}
	return ""
}

// checkAnswer lists where an answer of the simulator itself disagrees.
func (op *operation) checkAnswer(status int, body []byte) []breach {
	schema, documented := op.answers[status]
	if !documented {
		return []breach{{strconv.Itoa(status), "responses"}}
	}
	return judge(schema, body)
}

func judge(schema *jsonschema.Schema, body []byte) []breach {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return []breach{{"", "json"}}
	}
	err = schema.Validate(v)
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return leaves(invalid, nil)
	default:
		return []breach{{"", "schema"}}
	}
}

// leaves collects the innermost causes. Of a failed oneOf only the first
// branch speaks: it is the one that the documentation recommends.
func leaves(e *jsonschema.ValidationError, out []breach) []breach {
	keywords := e.ErrorKind.KeywordPath()
	if len(e.Causes) == 0 {
		k := "schema"
		if len(keywords) > 0 {
			k = keywords[len(keywords)-1]
		}
		return append(out, breach{fieldPath(e.InstanceLocation), k})
	}
	causes := e.Causes
	if slices.Contains(keywords, "oneOf") {
		causes = causes[:1]
	}
	for _, c := range causes {
		out = leaves(c, out)
	}
	return out
}

// fieldPath writes products, 0, quantity as products[0].quantity.
func fieldPath(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		if _, err := strconv.Atoi(p); err == nil {
			b.WriteString("[" + p + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }
