package shopifytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// maxArray is the vendor's bound of an input array.
const maxArray = 250

// call is a GraphQL request that passed the schema.
type call struct {
	schema *ast.Schema
	op     *ast.OperationDefinition
	vars   map[string]any
	cost   int64
}

type refusal struct {
	status int
	body   any
}

func gqlFailure(code string, errs ...*gqlerror.Error) *refusal {
	out := make([]map[string]any, 0, len(errs))
	for _, e := range errs {
		m := map[string]any{"message": e.Message, "extensions": map[string]any{"code": code}}
		if len(e.Locations) > 0 {
			m["locations"] = e.Locations
		}
		if len(e.Path) > 0 {
			m["path"] = e.Path
		}
		out = append(out, m)
	}
	return &refusal{http.StatusOK, map[string]any{"errors": out}}
}

func failure(code, message string) *refusal {
	return gqlFailure(code, &gqlerror.Error{Message: message})
}

// read parses a request body and checks it against the schema.
func (s *Server) read(body []byte, rec *Request) (*call, *refusal) {
	var in struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
		Operation string         `json:"operationName"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&in); err != nil || in.Query == "" {
		s.violate(rec, "the body is not a GraphQL request")
		return nil, &refusal{http.StatusBadRequest, map[string]any{"errors": map[string]any{"query": "Required parameter missing or invalid"}}}
	}
	schema, err := loadSchema()
	if err != nil {
		s.violate(rec, err.Error())
		return nil, &refusal{http.StatusInternalServerError, map[string]any{"errors": "Internal Server Error"}}
	}
	doc, errs := gqlparser.LoadQueryWithRules(schema, in.Query, rules.NewDefaultRules())
	if len(errs) > 0 {
		s.violate(rec, errs.Error())
		return nil, gqlFailure("undefinedField", errs...)
	}
	op := doc.Operations.ForName(in.Operation)
	if op == nil {
		s.violate(rec, "no single operation to run")
		return nil, failure("operationNotFound", "An operation name is required")
	}
	rec.Operation = op.Name
	vars, err := validator.VariableValues(schema, op, in.Variables)
	if err != nil {
		s.violate(rec, err.Error())
		return nil, failure("INVALID_VARIABLE", err.Error())
	}
	if n := longestArray(vars); n > maxArray {
		m := fmt.Sprintf("The input array size of %d is greater than the maximum allowed of %d.", n, maxArray)
		s.violate(rec, m)
		return nil, failure("MAX_INPUT_SIZE_EXCEEDED", m)
	}
	c := &call{schema, op, vars, costOf(op, vars)}
	rec.Cost = c.cost
	if c.cost > maxCost {
		m := fmt.Sprintf("Query cost is %d, which exceeds the single query max cost limit (%d).", c.cost, maxCost)
		s.violate(rec, m)
		return nil, failure("MAX_COST_EXCEEDED", m)
	}
	return c, nil
}

func longestArray(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			n = max(n, longestArray(x))
		}
	case []any:
		n = len(v)
		for _, x := range v {
			n = max(n, longestArray(x))
		}
	}
	return n
}

// run executes a checked call.
func (s *Server) run(c *call, rec *Request) (int, any) {
	if !s.bucket.take(c.cost, s.opts.Now()) {
		r := failure("THROTTLED", "Throttled")
		body := r.body.(map[string]any)
		body["extensions"] = s.bucket.extensions(c.cost, nil)
		return r.status, body
	}
	root := s.queryRoot()
	if c.op.Operation == ast.Mutation {
		root = s.mutationRoot()
	}
	e := &executor{call: c}
	data, err := e.object(root, c.op.SelectionSet)
	if err != nil {
		code := "INTERNAL_SERVER_ERROR"
		var bad *badRequest
		if errors.As(err, &bad) {
			code = "BAD_REQUEST"
		}
		s.violate(rec, err.Error())
		return http.StatusOK, failure(code, err.Error()).body
	}
	return http.StatusOK, map[string]any{"data": data, "extensions": s.bucket.extensions(c.cost, e.objects)}
}

// badRequest is a call that the schema allows and the vendor refuses.
type badRequest struct{ message string }

func (e *badRequest) Error() string { return e.message }

// obj is a GraphQL object: its type and its fields. A field is a scalar, an
// *obj, a []any, nil, or a resolver of one of these.
type obj struct {
	typ    string
	fields map[string]any
}

type resolver func(args map[string]any) (any, error)

// executor runs a selection over objects, as section 6 of the GraphQL
// specification describes.
type executor struct {
	*call
	objects int64
}

// ordered is a JSON object in the order of the selection.
type ordered struct {
	keys   []string
	values []any
}

// MarshalJSON writes the members in order.
func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(k))
		b.WriteByte(':')
		v, err := json.Marshal(o.values[i])
		if err != nil {
			return nil, err
		}
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type selected struct {
	key    string
	fields []*ast.Field
}

// collect gathers the fields that apply to a type, merged by response key.
func (e *executor) collect(typ string, set ast.SelectionSet, into []selected) []selected {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if !included(sel.Directives, e.vars) {
				continue
			}
			i := slices.IndexFunc(into, func(s selected) bool { return s.key == sel.Alias })
			if i < 0 {
				into = append(into, selected{key: sel.Alias})
				i = len(into) - 1
			}
			into[i].fields = append(into[i].fields, sel)
		case *ast.FragmentSpread:
			if included(sel.Directives, e.vars) && e.applies(typ, sel.Definition.TypeCondition) {
				into = e.collect(typ, sel.Definition.SelectionSet, into)
			}
		case *ast.InlineFragment:
			if included(sel.Directives, e.vars) && (sel.TypeCondition == "" || e.applies(typ, sel.TypeCondition)) {
				into = e.collect(typ, sel.SelectionSet, into)
			}
		}
	}
	return into
}

func (e *executor) applies(typ, condition string) bool {
	if typ == condition {
		return true
	}
	return slices.ContainsFunc(e.schema.PossibleTypes[condition], func(d *ast.Definition) bool { return d.Name == typ })
}

func (e *executor) object(o *obj, set ast.SelectionSet) (any, error) {
	var out ordered
	for _, sel := range e.collect(o.typ, set, nil) {
		f := sel.fields[0]
		var v any
		var err error
		if f.Name == "__typename" {
			v = o.typ
		} else if v, err = e.field(o, f, sel.fields); err != nil {
			return nil, err
		}
		out.keys, out.values = append(out.keys, sel.key), append(out.values, v)
	}
	return out, nil
}

func (e *executor) field(o *obj, f *ast.Field, all []*ast.Field) (any, error) {
	v, modelled := o.fields[f.Name]
	if !modelled {
		return nil, fmt.Errorf("the simulator does not model %s.%s", o.typ, f.Name)
	}
	if r, ok := v.(resolver); ok {
		var err error
		if v, err = r(f.ArgumentMap(e.vars)); err != nil {
			return nil, err
		}
	}
	if v == nil && f.Definition.Type.NonNull {
		return nil, fmt.Errorf("the simulator has no value for %s.%s", o.typ, f.Name)
	}
	var set ast.SelectionSet
	for _, x := range all {
		set = append(set, x.SelectionSet...)
	}
	return e.complete(v, set)
}

func (e *executor) complete(v any, set ast.SelectionSet) (any, error) {
	switch v := v.(type) {
	case *obj:
		if v == nil {
			return nil, nil
		}
		e.objects++
		return e.object(v, set)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			var err error
			if out[i], err = e.complete(x, set); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return v, nil
	}
}

// item is one member of a connection, built only if its page is read.
type item struct {
	cursor string
	build  func() *obj
}

// page is the connection of typ over items, in their order.
func page(typ string, items []item, args map[string]any) (any, error) {
	n, sized := pageSize(args)
	if !sized {
		return nil, &badRequest{"you must provide one of first or last"}
	}
	if n < 0 || n > maxArray {
		return nil, &badRequest{fmt.Sprintf("first must be between 0 and %d", maxArray)}
	}
	if args["last"] != nil || args["before"] != nil {
		return nil, errors.New("the simulator does not page backwards")
	}
	start := 0
	if after, ok := args["after"].(string); ok {
		i := slices.IndexFunc(items, func(it item) bool { return it.cursor == after })
		if i < 0 {
			return nil, &badRequest{"Invalid cursor for current pagination sort."}
		}
		start = i + 1
	}
	end := min(start+int(n), len(items))
	var nodes, edges []any
	for _, it := range items[start:end] {
		o := it.build()
		nodes = append(nodes, o)
		edges = append(edges, &obj{typ + "Edge", map[string]any{"cursor": it.cursor, "node": o}})
	}
	info := map[string]any{"hasNextPage": end < len(items), "hasPreviousPage": start > 0, "startCursor": nil, "endCursor": nil}
	if start < end {
		info["startCursor"], info["endCursor"] = items[start].cursor, items[end-1].cursor
	}
	if nodes == nil {
		nodes, edges = []any{}, []any{}
	}
	return &obj{typ + "Connection", map[string]any{"nodes": nodes, "edges": edges, "pageInfo": &obj{"PageInfo", info}}}, nil
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	}
	return 0, false
}
