package mapping

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/agnivade/levenshtein"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Override computes one field of a document by an expression of the Common
// Expression Language.
type Override struct {
	Document  string `json:"document"`  // order, shipment or release
	Direction string `json:"direction"` // decode or encode
	Field     string `json:"field"`     // such as shipping_method or lines[].sku
	Value     string `json:"value"`     // the expression
}

func (o Override) String() string { return o.Document + "." + o.Field }

// Problem is something wrong with the override at Index. Line and Column are
// the place in the expression, from 1, or 0.
type Problem struct {
	Index        int
	Part         string // document, direction, field or value
	Line, Column int
	Wrong, Right string
}

func (p Problem) String() string {
	at := ""
	if p.Column > 0 {
		at = fmt.Sprintf("line %d, column %d: ", p.Line, p.Column)
	}
	return strings.TrimSuffix(at+p.Wrong+"; "+p.Right, "; ")
}

// Bounds of overrides. A unit of cost is about one step of the interpreter; a
// document's budget is worth some tenths of a second.
const (
	MaxOverrides = 50
	maxSource    = 2000 // characters of an expression
	maxNesting   = 40
	evalLimit    = 200_000
	docLimit     = 4_000_000
	// begin is what an evaluation costs before its first step.
	begin   = 200
	maxText = 500 // bytes of a result
	// What the estimate supposes of a document: the most lines that the
	// platform takes in, and lists and texts as long as they ever are.
	supposedLines, supposedList, supposedText = 2000, 10, 100
	// patience bounds a document's overrides in time, should their cost be
	// misjudged.
	patience = 2 * time.Second
)

// documents are what overrides see, and nothing else: no type here leads to a
// retail.Person.
var documents = map[string]reflect.Type{
	"order": reflect.TypeFor[retail.Order](), "shipment": reflect.TypeFor[retail.Shipment](), "release": reflect.TypeFor[retail.Release](),
}

// items name the element of a list to the expression of a field within it.
var items = map[string]string{"lines": "line", "shipping": "delivery", "tax_lines": "tax", "discount_allocations": "discount", "duties": "duty"}

// fixed are fields that other records lead to, that count goods, or that say
// what was paid; by the document, or any, and a path or its end.
var fixed = map[string]string{
	"schema": idField, "tenant_id": idField, "id": idField, "channel": idField, "external_id": idField, "order_number": idField,
	"source_version": idField, "customer_ref": idField, "order_id": idField, "warehouse": idField, "order_external_id": idField,
	"reference": idField, "tracking_number": idField, "lines[].id": idField, "lines[].external_id": idField, "lines[].order_line": idField,
	"lines[].quantity": goodsField, "totals.total.amount_minor": paidField,
}

const (
	idField    = "identifies the document, so that it can be found again"
	goodsField = "counts goods"
	paidField  = "is what the shopper paid, which everything is held to"
)

func fixedBecause(path string) string {
	switch {
	case fixed[path] != "":
		return fixed[path]
	case strings.HasPrefix(path, "lines[].quantities."):
		return goodsField
	case strings.HasPrefix(path, "presentment."):
		return paidField
	case strings.HasSuffix(path, ".currency") || path == "currency":
		return "says which money the amounts are"
	case strings.HasSuffix(path, "fraction_digits"):
		return "says what the amount beside it means"
	}
	return ""
}

// step is one part of a path: a field, and whether each of its elements is
// meant.
type step struct {
	name  string
	index int
	each  bool
}

// leaf is a resolved path.
type leaf struct {
	path  string
	steps []step
	kind  reflect.Kind // String, Bool or Int64
	vars  []string     // of the elements on the way
	types []reflect.Type
}

// resolve follows a path through a document's type.
func resolve(t reflect.Type, path string) (leaf, *Problem) {
	l := leaf{path: path}
	seen := ""
	for part := range strings.SplitSeq(path, ".") {
		name, each := strings.CutSuffix(part, "[]")
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
			return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s has no fields", seen), Right: "end the path there"}
		}
		i, names := fieldOf(t, name)
		if i < 0 {
			within := ""
			if seen != "" {
				within = " in " + seen
			}
			return l, &Problem{Part: "field", Wrong: fmt.Sprintf("there is no field %q%s", name, within), Right: suggest(name, names)}
		}
		f := t.Field(i)
		t = f.Type
		switch {
		case t.Kind() == reflect.Slice && !each:
			return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s is a list", name), Right: "write " + name + "[] for each of its elements"}
		case t.Kind() != reflect.Slice && each:
			return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s is no list", name), Right: "write it without []"}
		case each:
			t = t.Elem()
			if v := items[name]; v != "" {
				l.vars, l.types = append(l.vars, v), append(l.types, t)
			}
		}
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		l.steps = append(l.steps, step{name, i, each})
		seen = strings.TrimPrefix(seen+"."+part, ".")
	}
	l.kind = t.Kind()
	switch {
	case t == reflect.TypeFor[retail.Tenant](), l.kind != reflect.String && l.kind != reflect.Bool && l.kind != reflect.Int64:
		_, names := fieldOf(t, "")
		right := "texts, whole numbers and truth values can be"
		if len(names) > 0 && t != reflect.TypeFor[time.Time]() {
			right = "go on to one of its fields: " + strings.Join(names, ", ")
		}
		return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s cannot be overridden", path), Right: right}
	case l.steps[len(l.steps)-1].each:
		return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s cannot be overridden", path), Right: "it is the platform's own"}
	}
	if why := fixedBecause(path); why != "" {
		return l, &Problem{Part: "field", Wrong: fmt.Sprintf("%s cannot be overridden: it %s", path, why), Right: "override another field, or correct it at its source"}
	}
	return l, nil
}

// fieldOf finds a field by its JSON name; index is -1 where there is none.
func fieldOf(t reflect.Type, name string) (index int, names []string) {
	if t.Kind() != reflect.Struct {
		return -1, nil
	}
	index = -1
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag == "" {
			continue
		}
		names = append(names, tag)
		if tag == name {
			index = i
		}
	}
	return index, names
}

// suggest names the nearest of what is known, and all of it.
func suggest(wrong string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	all := "there are " + strings.Join(known, ", ")
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(wrong), k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return all
	}
	return fmt.Sprintf("did you mean %s? %s", best, all)
}

// rule is a compiled override.
type rule struct {
	Override
	leaf    leaf
	program cel.Program
}

// Rules are a connection's compiled overrides. They are safe for concurrent
// use.
type Rules struct {
	connection string
	rules      []rule
	// broken is why they cannot be used: every document they are for is parked
	// with it, and the others go on.
	broken map[string]error
}

func when(document, direction string) string { return document + " " + direction }

// Compile checks and compiles overrides. What is wrong comes as problems, all
// of it at once; the rules are usable all the same, and refuse the documents
// that a wrong override is for.
func Compile(connection string, overrides []Override) (*Rules, []Problem) {
	if len(overrides) == 0 {
		return nil, nil
	}
	r := &Rules{connection: connection, broken: map[string]error{}}
	var problems []Problem
	seen := map[Override]bool{}
	for i, o := range overrides {
		x, p := compile(o)
		key := Override{Document: o.Document, Direction: o.Direction, Field: o.Field}
		switch {
		case p != nil:
		case i >= MaxOverrides:
			p = &Problem{Part: "value", Wrong: fmt.Sprintf("a connection has %d overrides at most", MaxOverrides), Right: "use value maps for what is a list of values"}
		case seen[key]:
			p = &Problem{Part: "field", Wrong: fmt.Sprintf("%s is overridden twice", o.Field), Right: "make one expression of both"}
		}
		seen[key] = true
		if p == nil {
			r.rules = append(r.rules, x)
			continue
		}
		p.Index = i
		problems = append(problems, *p)
		if w := when(o.Document, o.Direction); r.broken[w] == nil {
			r.broken[w] = fault.New(fault.Exception, fault.Configuration, "the override of connection %s is wrong: %s", connection, p).At(o.String(), "")
		}
	}
	return r, problems
}

// Uncomputed are the rules of who cannot compute overrides: they refuse every
// document that one is for.
func Uncomputed(connection string, overrides []Override) *Rules {
	if len(overrides) == 0 {
		return nil
	}
	r := &Rules{connection: connection, broken: map[string]error{}}
	for _, o := range overrides {
		r.broken[when(o.Document, o.Direction)] = fault.New(fault.Permanent, fault.Internal, "overrides of connection %s are not computed here", connection).At(o.String(), "")
	}
	return r
}

func compile(o Override) (rule, *Problem) {
	x := rule{Override: o}
	t, ok := documents[o.Document]
	if !ok {
		return x, &Problem{Part: "document", Wrong: fmt.Sprintf("there is no document %q", o.Document), Right: "there are order, shipment and release"}
	}
	if d := Direction(o.Direction); d != Decode && d != Encode {
		return x, &Problem{Part: "direction", Wrong: fmt.Sprintf("%q is no direction", o.Direction), Right: "decode is what comes from the connection, encode what goes to it"}
	}
	if o.Document == "release" && Direction(o.Direction) == Decode {
		return x, &Problem{Part: "direction", Wrong: "a release only goes to a warehouse", Right: "write encode"}
	}
	var p *Problem
	if x.leaf, p = resolve(t, o.Field); p != nil {
		return x, p
	}
	if n := len(o.Value); n == 0 || n > maxSource {
		return x, &Problem{Part: "value", Wrong: fmt.Sprintf("the expression has %d characters", n), Right: fmt.Sprintf("1 to %d", maxSource)}
	}
	env, err := environment(o.Document, t, x.leaf)
	if err != nil {
		return x, &Problem{Part: "value", Wrong: err.Error()}
	}
	ast, issues := env.Compile(o.Value)
	if issues != nil && issues.Err() != nil {
		for _, e := range issues.Errors() {
			return x, &Problem{Part: "value", Line: e.Location.Line(), Column: e.Location.Column() + 1, Wrong: e.Message, Right: possible(o.Document, x.leaf, e.Message)}
		}
		return x, &Problem{Part: "value", Wrong: issues.Err().Error()}
	}
	if want := celType(x.leaf.kind); !ast.OutputType().IsExactType(want) {
		return x, &Problem{Part: "value", Line: 1, Column: 1, Wrong: fmt.Sprintf("the expression gives %s, and %s is %s", ast.OutputType(), o.Field, want), Right: conversion(x.leaf.kind)}
	}
	if p := affordable(env, ast, x.leaf); p != nil {
		return x, p
	}
	x.program, err = env.Program(ast, cel.CostLimit(evalLimit), cel.CostTracking(charges{}), cel.InterruptCheckFrequency(100), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return x, &Problem{Part: "value", Line: 1, Column: 1, Wrong: err.Error(), Right: "correct the expression"}
	}
	return x, nil
}

func possible(document string, l leaf, message string) string {
	if !strings.Contains(message, "undeclared reference") {
		return "correct the expression"
	}
	return "there are " + strings.Join(append([]string{"value", document}, l.vars...), ", ") + "; names, addresses and e-mails of people are not"
}

func conversion(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "use string(…)"
	case reflect.Bool:
		return "compare with ==, or use a condition"
	default:
		return "use int(…); amounts are in minor units, such as cents"
	}
}

func celType(k reflect.Kind) *cel.Type {
	switch k {
	case reflect.Bool:
		return cel.BoolType
	case reflect.Int64:
		return cel.IntType
	default:
		return cel.StringType
	}
}

// environment declares what an expression sees: the document, the elements on
// the way to the field, and the field's value.
func environment(document string, t reflect.Type, l leaf) (*cel.Env, error) {
	opts := []cel.EnvOption{
		native(t),
		cel.Variable(document, cel.ObjectType("retail."+t.Name())),
		cel.Variable("value", celType(l.kind)),
		cel.ParserExpressionSizeLimit(maxSource), cel.ParserRecursionLimit(maxNesting),
	}
	for i, name := range l.vars {
		opts = append(opts, cel.Variable(name, cel.ObjectType("retail."+l.types[i].Name())))
	}
	return cel.NewEnv(append(opts, texts()...)...)
}

// native makes a document's type known by its JSON names. It is ext.NativeTypes,
// which would bring the library's other extensions with it.
func native(t reflect.Type) cel.EnvOption {
	return func(env *cel.Env) (*cel.Env, error) {
		provider, adapter, err := types.ComposeTypes(env.CELTypeProvider(), env.CELTypeAdapter(), t, types.ParseStructTag("json"))
		if err != nil {
			return nil, err
		}
		if env, err = cel.CustomTypeAdapter(adapter)(env); err != nil {
			return nil, err
		}
		return cel.CustomTypeProvider(provider)(env)
	}
}

// texts are the functions on texts. The library's own are left out: some make
// a text longer without limit at the price of one step.
func texts() []cel.EnvOption {
	s := cel.StringType
	unary := func(name string, f func(string) string) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("text_"+name, []*cel.Type{s}, s, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return bounded(f(text(v)))
		})))
	}
	binary := func(name string, f func(a, b string) string) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("text_"+name, []*cel.Type{s, s}, s, cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			return bounded(f(text(a), text(b)))
		})))
	}
	return []cel.EnvOption{
		unary("upper", strings.ToUpper), unary("lower", strings.ToLower), unary("trim", strings.TrimSpace),
		binary("before", func(a, b string) string { x, _, _ := strings.Cut(a, b); return x }),
		binary("after", func(a, b string) string { _, x, _ := strings.Cut(a, b); return x }),
		cel.Function("replace", cel.MemberOverload("text_replace", []*cel.Type{s, s, s}, s, cel.FunctionBinding(func(v ...ref.Val) ref.Val {
			a, old, now := text(v[0]), text(v[1]), text(v[2])
			if len(a)+strings.Count(a, old)*len(now) > 10*maxText {
				return types.NewErr("replace makes the text too long")
			}
			return bounded(strings.ReplaceAll(a, old, now))
		}))),
	}
}

func text(v ref.Val) string { s, _ := v.Value().(string); return s }

func bounded(s string) ref.Val {
	if len(s) > 10*maxText {
		return types.NewErr("the text becomes longer than %d bytes", 10*maxText)
	}
	return types.String(s)
}

// charges is what our own functions cost: they read their text.
type charges struct{}

func (charges) CallCost(_, overload string, args []ref.Val, _ ref.Val) *uint64 {
	if !strings.HasPrefix(overload, "text_") {
		return nil
	}
	n := uint64(1)
	for _, a := range args {
		n += uint64(len(text(a)) / 10)
	}
	return &n
}

// supposed are the sizes that an estimate goes by.
type supposed struct{}

func (supposed) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	path := n.Path()
	switch t := n.Type(); {
	case t.Kind() == types.ListKind && len(path) > 0 && path[len(path)-1] == "lines":
		return &cost.SizeEstimate{Max: supposedLines}
	case t.Kind() == types.ListKind:
		return &cost.SizeEstimate{Max: supposedList}
	case t.Kind() == types.StringKind && len(path) > 0:
		return &cost.SizeEstimate{Max: supposedText}
	}
	return nil
}

func (supposed) EstimateCallCost(_, overload string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if !strings.HasPrefix(overload, "text_") {
		return nil
	}
	return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 1 + 3*supposedText/10}, ResultSize: &cost.SizeEstimate{Max: 10 * maxText}}
}

// affordable refuses what could cost more than a document may.
func affordable(env *cel.Env, ast *cel.Ast, l leaf) *Problem {
	e, err := env.EstimateCost(ast, supposed{})
	if err != nil {
		return &Problem{Part: "value", Line: 1, Column: 1, Wrong: fmt.Sprintf("its cost cannot be estimated: %v", err), Right: "simplify the expression"}
	}
	times := uint64(1)
	for _, s := range l.steps {
		switch {
		case s.each && s.name == "lines":
			times *= supposedLines
		case s.each:
			times *= supposedList
		}
	}
	most := min(uint64(evalLimit), docLimit/min(times, supposedLines)-begin)
	if e.Max <= most {
		return nil
	}
	right := "compute it from a single field, and use a value map for what is a list of values"
	if len(l.vars) > 0 {
		right = fmt.Sprintf("do not loop over the whole document for each of its elements: use %s, and a value map for what is a list of values", strings.Join(l.vars, " and "))
	}
	cost := fmt.Sprint(e.Max)
	if e.Max == math.MaxUint64 {
		cost = "no end of"
	}
	return &Problem{Part: "value", Line: 1, Column: 1, Wrong: fmt.Sprintf("the expression may take %s steps for one value; %d are the most for this field", cost, most), Right: right}
}

// override applies the rules for a document and returns the fields that they
// changed.
func (t *Translator) override(ctx context.Context, document string, d Direction, doc any) ([]string, error) {
	if t.Rules == nil || t.Lenient {
		return nil, nil
	}
	if err := t.Rules.broken[when(document, string(d))]; err != nil {
		return nil, err
	}
	var changed []string
	spent := uint64(0)
	bounded, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for _, r := range t.Rules.rules {
		if r.Document != document || r.Direction != string(d) {
			continue
		}
		v := reflect.ValueOf(doc).Elem()
		e := evaluation{rule: r, connection: t.Connection, vars: map[string]any{document: v.Interface()}, caller: ctx, spent: &spent}
		if err := e.walk(bounded, v, r.leaf.steps, ""); err != nil {
			return nil, err
		}
		if e.changed {
			changed = append(changed, "override of "+r.Field)
		}
	}
	return changed, nil
}

// evaluation is one override at work on one document.
type evaluation struct {
	rule
	connection string
	vars       map[string]any
	caller     context.Context
	spent      *uint64
	changed    bool
}

func (e *evaluation) walk(ctx context.Context, v reflect.Value, steps []step, path string) error {
	if len(steps) == 0 {
		return e.set(ctx, v, path)
	}
	s := steps[0]
	f := v.Field(s.index)
	at := strings.TrimPrefix(path+"."+s.name, ".")
	if !s.each {
		if f.Kind() == reflect.Pointer {
			return nil // a part that the document does not have
		}
		return e.walk(ctx, f, steps[1:], at)
	}
	for i := range f.Len() {
		if name := items[s.name]; name != "" {
			e.vars[name] = f.Index(i).Interface()
		}
		if err := e.walk(ctx, f.Index(i), steps[1:], fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) set(ctx context.Context, v reflect.Value, path string) error {
	refuse := func(err error) error {
		if cause := context.Cause(e.caller); cause != nil {
			return fault.Wrap(fault.Retryable, fault.Internal, cause, "overriding %s", e.Field)
		}
		return fault.Wrap(fault.Exception, fault.Configuration, err, "the override of connection %s cannot be computed", e.connection).At(e.Document+"."+path, "")
	}
	switch v.Kind() {
	case reflect.String:
		e.vars["value"] = v.String()
	default:
		e.vars["value"] = v.Interface()
	}
	*e.spent += begin
	out, details, err := e.program.ContextEval(ctx, e.vars)
	if details != nil && details.ActualCost() != nil {
		*e.spent += *details.ActualCost()
	}
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return refuse(fmt.Errorf("it takes more than %d steps for one value", evalLimit))
	case err != nil:
		return refuse(err)
	case *e.spent > docLimit:
		return refuse(fmt.Errorf("the document's overrides take more than %d steps", docLimit))
	}
	return e.store(v, out, refuse)
}

// store writes a result that fits its field.
func (e *evaluation) store(v reflect.Value, out ref.Val, refuse func(error) error) error {
	switch x := out.Value().(type) {
	case string:
		if v.Kind() != reflect.String || len(x) > maxText || !utf8.ValidString(x) {
			return refuse(fmt.Errorf("the result is no text of up to %d bytes", maxText))
		}
		e.changed = e.changed || v.String() != x
		v.SetString(x)
	case bool:
		if v.Kind() != reflect.Bool {
			return refuse(errors.New("the result is a truth value"))
		}
		e.changed = e.changed || v.Bool() != x
		v.SetBool(x)
	case int64:
		if v.Kind() != reflect.Int64 {
			return refuse(errors.New("the result is a number"))
		}
		e.changed = e.changed || v.Int() != x
		v.SetInt(x)
	default:
		return refuse(fmt.Errorf("the result is a %s", out.Type()))
	}
	return nil
}
