package template_test

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"
)

// This file computes what a function asks of AWS, from the code that its main
// really reaches. Our own packages are read as source, everything else by its
// types alone: what matters is where our code calls a client of the SDK.
//
// A function is reached if it is called, or if its value is taken. A call
// through an interface reaches that method of every type that reached code puts
// into an interface. A block behind a field that no reached code ever sets is
// not reached, so that one commit serves documents with and without personal
// data. Where a resource comes from is followed back to the environment
// variable that names it. What cannot be followed fails the test.

const modulePath = "github.com/waybillhq/waybill"

// sdk is where the clients are.
const sdk = "github.com/aws/aws-sdk-go-v2/service/"

// sparse are the structs whose fields' absence is believed: a block behind a
// field of theirs is reached only if the field is set somewhere. They are made
// by code alone, never decoded.
var sparse = []string{modulePath + "/internal/document.Transaction", modulePath + "/internal/document.Change"}

// operation says how an operation of a client becomes permissions: the struct
// and field that name its resource, and the IAM action.
type operation struct {
	action, within, field string
}

// operations are those that functions may use; another one fails until it is
// described here.
var operations = map[string][]operation{
	"dynamodb.GetItem":    {{"dynamodb:GetItem", "dynamodb.GetItemInput", "TableName"}},
	"dynamodb.PutItem":    {{"dynamodb:PutItem", "dynamodb.PutItemInput", "TableName"}},
	"dynamodb.UpdateItem": {{"dynamodb:UpdateItem", "dynamodb.UpdateItemInput", "TableName"}},
	"dynamodb.DeleteItem": {{"dynamodb:DeleteItem", "dynamodb.DeleteItemInput", "TableName"}},
	"dynamodb.Query":      {{"dynamodb:Query", "dynamodb.QueryInput", "TableName"}},
	"dynamodb.Scan":       {{"dynamodb:Scan", "dynamodb.ScanInput", "TableName"}},
	// A batch names its tables by the keys of a map.
	"dynamodb.BatchGetItem": {{"dynamodb:BatchGetItem", "dynamodb/types.KeysAndAttributes", ""}},
	// A transaction needs what its items do.
	"dynamodb.TransactWriteItems": {
		{"dynamodb:PutItem", "dynamodb/types.Put", "TableName"},
		{"dynamodb:UpdateItem", "dynamodb/types.Update", "TableName"},
		{"dynamodb:DeleteItem", "dynamodb/types.Delete", "TableName"},
		{"dynamodb:ConditionCheckItem", "dynamodb/types.ConditionCheck", "TableName"},
	},
	// Records are asked for by an iterator, which is of one stream.
	"dynamodbstreams.GetShardIterator": {{"dynamodb:GetShardIterator", "dynamodbstreams.GetShardIteratorInput", "StreamArn"}},
	"dynamodbstreams.GetRecords":       {{"dynamodb:GetRecords", "dynamodbstreams.GetShardIteratorInput", "StreamArn"}},
	"sqs.SendMessage":                  {{"sqs:SendMessage", "sqs.SendMessageInput", "QueueUrl"}},
	"sqs.SendMessageBatch":             {{"sqs:SendMessage", "sqs.SendMessageBatchInput", "QueueUrl"}},
	"sqs.ReceiveMessage":               {{"sqs:ReceiveMessage", "sqs.ReceiveMessageInput", "QueueUrl"}},
	"sqs.DeleteMessage":                {{"sqs:DeleteMessage", "sqs.DeleteMessageInput", "QueueUrl"}},
	"sqs.GetQueueAttributes":           {{"sqs:GetQueueAttributes", "sqs.GetQueueAttributesInput", "QueueUrl"}},
	"lambda.Invoke":                    {{"lambda:InvokeFunction", "lambda.InvokeInput", "FunctionName"}},
	"sqs.ChangeMessageVisibility":      {{"sqs:ChangeMessageVisibility", "sqs.ChangeMessageVisibilityInput", "QueueUrl"}},
	"sns.Publish":                      {{"sns:Publish", "sns.PublishInput", "TopicArn"}},
	"sfn.StartExecution":               {{"states:StartExecution", "sfn.StartExecutionInput", "StateMachineArn"}},
	"s3.GetObject":                     {{"s3:GetObject", "s3.GetObjectInput", "Bucket"}},
	"s3.ListObjectsV2":                 {{"s3:ListBucket", "s3.ListObjectsV2Input", "Bucket"}},
	"s3.PutObject":                     {{"s3:PutObject", "s3.PutObjectInput", "Bucket"}},
	"eventbridge.PutEvents":            {{"events:PutEvents", "eventbridge/types.PutEventsRequestEntry", "EventBusName"}},
	"kms.GenerateDataKey":              {{"kms:GenerateDataKey", "kms.GenerateDataKeyInput", "KeyId"}},
	// The ciphertext names its key, and the stack has one.
	"kms.Decrypt": {{"kms:Decrypt", "", ""}},
}

// silent are methods of a client that ask nothing of AWS.
var silent = []string{"Options"}

// ask is one thing that a function's code asks of AWS.
type ask struct {
	action   string
	variable string // environment variable that names the resource; "" for the stack's key
	index    string // of a table
}

// program is our source with its types.
type program struct {
	ssa   *ssa.Program
	mains map[string]*ssa.Function // by folder
}

// loadProgram reads the functions and what they import of this module. A
// further function is given as text.
func loadProgram(t *testing.T, further map[string]string) *program {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "./functions/...")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	cfg := &packages.Config{
		Mode: packages.LoadSyntax, Dir: root, Overlay: map[string][]byte{},
	}
	var patterns []string
	for p := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(p, modulePath+"/") {
			patterns = append(patterns, p)
		}
	}
	for name, text := range further {
		cfg.Overlay[filepath.Join(root, "functions", name, "main.go")] = []byte(text)
		patterns = append(patterns, modulePath+"/functions/"+name)
	}
	loaded, err := packages.Load(cfg, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range loaded {
		for _, e := range p.Errors {
			t.Fatalf("%s: %v", p.PkgPath, e)
		}
	}
	prog, pkgs := ssautil.Packages(loaded, ssa.InstantiateGenerics)
	prog.Build()
	p := &program{ssa: prog, mains: map[string]*ssa.Function{}}
	for i, pkg := range pkgs {
		if pkg == nil {
			t.Fatalf("%s has no types", loaded[i].PkgPath)
		}
		if folder, ok := strings.CutPrefix(pkg.Pkg.Path(), modulePath+"/functions/"); ok && pkg.Func("main") != nil {
			p.mains[folder] = pkg.Func("main")
		}
	}
	return p
}

// field is a field of a named struct.
type field struct {
	of    string
	index int
}

// reach is what one main reaches.
type reach struct {
	prog *program

	order    []*ssa.Function
	funcs    map[*ssa.Function]bool
	taken    map[*ssa.Function]bool // their value is taken
	concrete map[types.Type]bool    // put into an interface
	invoked  map[*types.Func]bool   // methods called through an interface
	asked    map[string]bool        // operations of clients

	stores  map[field][]ssa.Value
	args    map[*ssa.Function][][]ssa.Value
	dynamic map[string][][]ssa.Value // by signature
	binds   map[*ssa.Function][][]ssa.Value
	grew    bool
}

// reached computes to a fixed point: what is found to be set or put into an
// interface makes more code reached.
func (p *program) reached(main *ssa.Function) *reach {
	r := &reach{prog: p, funcs: map[*ssa.Function]bool{}, taken: map[*ssa.Function]bool{}, concrete: map[types.Type]bool{},
		invoked: map[*types.Func]bool{}, asked: map[string]bool{}, stores: map[field][]ssa.Value{}}
	r.add(main)
	r.add(main.Pkg.Func("init"))
	for r.grew {
		r.grew = false
		r.args, r.dynamic, r.binds = map[*ssa.Function][][]ssa.Value{}, map[string][][]ssa.Value{}, map[*ssa.Function][][]ssa.Value{}
		before := len(r.stores)
		stores := map[field][]ssa.Value{}
		for i := 0; i < len(r.order); i++ {
			for _, b := range r.blocks(r.order[i]) {
				for _, in := range b.Instrs {
					r.visit(in, stores)
				}
			}
		}
		r.stores = stores
		r.grew = r.grew || len(stores) != before
		for c := range r.concrete {
			for m := range r.invoked {
				r.dispatch(c, m)
			}
		}
	}
	return r
}

func (r *reach) add(f *ssa.Function) {
	if f == nil || r.funcs[f] {
		return
	}
	r.funcs[f], r.grew = true, true
	r.order = append(r.order, f)
	pkg := f.Pkg
	if o := f.Origin(); pkg == nil && o != nil {
		pkg = o.Pkg
	}
	if pkg == nil && f.Object() != nil && f.Object().Pkg() != nil {
		r.operation(f, f.Object().Pkg().Path())
		return
	}
	if pkg != nil {
		r.operation(f, pkg.Pkg.Path())
	}
}

// operation notes a client's operation.
func (r *reach) operation(f *ssa.Function, pkg string) {
	service, ok := strings.CutPrefix(pkg, sdk)
	recv := f.Signature.Recv()
	if !ok || recv == nil || f.Synthetic != "" && len(f.Blocks) > 0 || !strings.HasSuffix(recv.Type().String(), pkg+".Client") || slices.Contains(silent, f.Name()) {
		return
	}
	r.asked[service+"."+f.Name()] = true
}

func (r *reach) visit(in ssa.Instruction, stores map[field][]ssa.Value) {
	for _, o := range in.Operands(nil) {
		if f, ok := (*o).(*ssa.Function); ok {
			r.add(f)
			if c, call := in.(ssa.CallInstruction); !call || c.Common().Value != f {
				r.taken[f] = true
			}
		}
	}
	switch in := in.(type) {
	case *ssa.MakeInterface:
		r.convert(in.X.Type(), in.Type())
	case *ssa.MakeClosure:
		f, ok := in.Fn.(*ssa.Function)
		if ok {
			r.add(f)
			r.taken[f] = true
			r.binds[f] = append(r.binds[f], in.Bindings)
		}
	case *ssa.Store:
		if fa, ok := in.Addr.(*ssa.FieldAddr); ok && !isNil(in.Val) {
			k := field{named(fa.X.Type()), fa.Field}
			stores[k] = append(stores[k], in.Val)
		}
	}
	call, ok := in.(ssa.CallInstruction)
	if !ok {
		return
	}
	c := call.Common()
	switch {
	case c.IsInvoke():
		if !r.invoked[c.Method] {
			r.invoked[c.Method], r.grew = true, true
		}
		for t := range r.concrete {
			if f := r.method(t, c.Method); f != nil {
				r.args[f] = append(r.args[f], append([]ssa.Value{c.Value}, c.Args...))
			}
		}
	case c.StaticCallee() != nil:
		f := c.StaticCallee()
		r.args[f] = append(r.args[f], c.Args)
	default:
		k := c.Signature().String()
		r.dynamic[k] = append(r.dynamic[k], c.Args)
	}
}

// convert notes that a type is put into an interface. What another module
// declares an interface for, it may call.
func (r *reach) convert(t, into types.Type) {
	if !r.concrete[t] {
		r.concrete[t], r.grew = true, true
	}
	n, ok := types.Unalias(into).(*types.Named)
	i, isInterface := into.Underlying().(*types.Interface)
	if !isInterface || ok && n.Obj().Pkg() != nil && strings.HasPrefix(n.Obj().Pkg().Path(), modulePath) {
		return
	}
	for m := range i.Methods() {
		r.dispatch(t, m)
	}
}

func (r *reach) dispatch(t types.Type, m *types.Func) {
	if f := r.method(t, m); f != nil {
		r.add(f)
	}
}

// method is the one that t has for the interface's method m, or nil.
func (r *reach) method(t types.Type, m *types.Func) *ssa.Function {
	recv := m.Signature().Recv().Type()
	if i, ok := recv.Underlying().(*types.Interface); ok && !types.Implements(t, i) {
		return nil
	}
	sel := r.prog.ssa.MethodSets.MethodSet(t).Lookup(m.Pkg(), m.Name())
	if sel == nil {
		return nil
	}
	return r.prog.ssa.MethodValue(sel)
}

func isNil(v ssa.Value) bool {
	c, ok := v.(*ssa.Const)
	return ok && c.Value == nil
}

// named is a struct's name, through a pointer.
func named(t types.Type) string {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	return types.TypeString(t, nil)
}

// blocks are those of f that can be reached, given which fields are set.
func (r *reach) blocks(f *ssa.Function) (out []*ssa.BasicBlock) {
	if len(f.Blocks) == 0 {
		return nil
	}
	seen := map[*ssa.BasicBlock]bool{}
	todo := []*ssa.BasicBlock{f.Blocks[0]}
	if f.Recover != nil {
		todo = append(todo, f.Recover)
	}
	for len(todo) > 0 {
		b := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[b] {
			continue
		}
		seen[b] = true
		out = append(out, b)
		next := b.Succs
		if i, ok := b.Instrs[len(b.Instrs)-1].(*ssa.If); ok {
			if never, known := r.absent(i.Cond); known {
				next = b.Succs[never : never+1]
			}
		}
		todo = append(todo, next...)
	}
	return out
}

// absent decides a condition on a field that nothing sets: the index of the
// successor that is taken.
func (r *reach) absent(cond ssa.Value) (taken int, known bool) {
	b, ok := cond.(*ssa.BinOp)
	if !ok {
		return 0, false
	}
	switch {
	case b.Op == token.NEQ && isNil(b.Y) && r.unset(b.X):
		return 1, true
	case b.Op == token.EQL && isNil(b.Y) && r.unset(b.X):
		return 0, true
	case b.Op == token.LSS: // for range
		if c, ok := b.Y.(*ssa.Call); ok {
			if f, ok := c.Call.Value.(*ssa.Builtin); ok && f.Name() == "len" && r.unset(c.Call.Args[0]) {
				return 1, true
			}
		}
	}
	return 0, false
}

func (r *reach) unset(v ssa.Value) bool {
	var k field
	switch v := v.(type) {
	case *ssa.UnOp:
		fa, ok := v.X.(*ssa.FieldAddr)
		if !ok || v.Op != token.MUL {
			return false
		}
		k = field{named(fa.X.Type()), fa.Field}
	case *ssa.Field:
		k = field{named(v.X.Type()), v.Field}
	default:
		return false
	}
	return slices.Contains(sparse, k.of) && len(r.stores[k]) == 0
}

// asks are what the code asks of AWS, and what the law cannot read of it.
func (r *reach) asks() (out []ask, unread []string) {
	set := map[ask]bool{}
	for op := range r.asked {
		about, ok := operations[op]
		if !ok {
			unread = append(unread, "the law does not know what permission "+op+" takes")
			continue
		}
		found := false
		for _, o := range about {
			if o.within == "" {
				set[ask{action: o.action}], found = true, true
				continue
			}
			for _, x := range r.resources(o) {
				origins := r.origins(x.named, map[ssa.Value]bool{})
				for _, v := range origins {
					names, ok := r.variables(v)
					if !ok {
						unread = append(unread, fmt.Sprintf("%s: the resource %s (%T, in %s) cannot be followed to an environment variable", op, v, v, v.Parent()))
						continue
					}
					for _, name := range names {
						set[ask{o.action, name, x.index}], found = true, true
					}
				}
			}
		}
		if !found {
			unread = append(unread, op+" is called, but nothing names a resource for it")
		}
	}
	out = slices.SortedFunc(maps.Keys(set), func(a, b ask) int {
		return strings.Compare(a.action+" "+a.variable+" "+a.index, b.action+" "+b.variable+" "+b.index)
	})
	slices.Sort(unread)
	return out, slices.Compact(unread)
}

// place is where code names an operation's resource.
type place struct {
	named ssa.Value
	index string
}

func (r *reach) resources(o operation) (out []place) {
	of := sdk + o.within
	indexes := map[ssa.Value]string{}
	var tables []*ssa.Store
	for _, f := range r.order {
		for _, b := range r.blocks(f) {
			for _, in := range b.Instrs {
				switch in := in.(type) {
				case *ssa.MapUpdate:
					if m, ok := in.Map.Type().Underlying().(*types.Map); ok && o.field == "" && types.TypeString(m.Elem(), nil) == of {
						out = append(out, place{named: in.Key})
					}
				case *ssa.Store:
					fa, ok := in.Addr.(*ssa.FieldAddr)
					if !ok || named(fa.X.Type()) != of {
						continue
					}
					switch fieldName(fa) {
					case o.field:
						tables = append(tables, in)
					case "IndexName":
						for _, v := range r.origins(in.Val, map[ssa.Value]bool{}) {
							c, ok := v.(*ssa.Const)
							if !ok || c.Value == nil || c.Value.Kind() != constant.String {
								indexes[fa.X] = "?" // matches no grant
								continue
							}
							indexes[fa.X] = constant.StringVal(c.Value)
						}
					}
				}
			}
		}
	}
	for _, s := range tables {
		out = append(out, place{s.Val, indexes[s.Addr.(*ssa.FieldAddr).X]})
	}
	return out
}

func fieldName(fa *ssa.FieldAddr) string {
	return fa.X.Type().Underlying().(*types.Pointer).Elem().Underlying().(*types.Struct).Field(fa.Field).Name()
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)

// variables reads a call of the environment: a func(string) string with names
// of variables that are constant where they come from.
func (r *reach) variables(v ssa.Value) (out []string, ok bool) {
	c, ok := v.(*ssa.Call)
	if !ok || len(c.Call.Args) != 1 || types.TypeString(c.Call.Signature().Results(), nil) != "(string)" {
		return nil, false
	}
	for _, name := range r.origins(c.Call.Args[0], map[ssa.Value]bool{}) {
		k, ok := name.(*ssa.Const)
		if !ok || k.Value == nil || k.Value.Kind() != constant.String || !variableName.MatchString(constant.StringVal(k.Value)) {
			return nil, false
		}
		out = append(out, constant.StringVal(k.Value))
	}
	return out, len(out) > 0
}

// origins follows a value back through fields, parameters and closures to
// where it is made. A field holds what any reached code stores in it, and a
// parameter what any reached call hands over.
func (r *reach) origins(v ssa.Value, seen map[ssa.Value]bool) (out []ssa.Value) {
	if seen[v] {
		return nil
	}
	seen[v] = true
	all := func(vs ...ssa.Value) {
		for _, x := range vs {
			out = append(out, r.origins(x, seen)...)
		}
	}
	switch v := v.(type) {
	case *ssa.Alloc:
		stored := false
		for _, ref := range *v.Referrers() {
			if s, ok := ref.(*ssa.Store); ok && s.Addr == v {
				all(s.Val)
				stored = true
			}
		}
		if !stored {
			out = append(out, v)
		}
	case *ssa.FieldAddr:
		all(r.stores[field{named(v.X.Type()), v.Field}]...)
	case *ssa.Field:
		all(r.stores[field{named(v.X.Type()), v.Field}]...)
	case *ssa.UnOp:
		all(v.X)
	case *ssa.Phi:
		all(v.Edges...)
	case *ssa.ChangeType:
		all(v.X)
	case *ssa.Convert:
		all(v.X)
	case *ssa.Extract:
		all(v.Tuple)
	case *ssa.Lookup:
		for _, m := range r.origins(v.X, seen) {
			made, ok := m.(*ssa.MakeMap)
			if !ok {
				out = append(out, m)
				continue
			}
			for _, ref := range *made.Referrers() {
				if u, ok := ref.(*ssa.MapUpdate); ok && u.Map == made {
					all(u.Value)
				}
			}
		}
	case *ssa.Parameter:
		calls := r.args[v.Parent()]
		at := slices.Index(v.Parent().Params, v)
		if r.taken[v.Parent()] && v.Parent().Signature.Recv() == nil {
			calls = append(slices.Clone(calls), r.dynamic[v.Parent().Signature.String()]...)
		}
		for _, c := range calls {
			all(c[at])
		}
		if len(calls) == 0 {
			out = append(out, v)
		}
	case *ssa.FreeVar:
		at := slices.Index(v.Parent().FreeVars, v)
		for _, b := range r.binds[v.Parent()] {
			all(b[at])
		}
	case *ssa.Call:
		if f := v.Call.StaticCallee(); f != nil && f.Name() == "String" && f.Pkg != nil && f.Pkg.Pkg.Path() == "github.com/aws/aws-sdk-go-v2/aws" {
			all(v.Call.Args[0])
			break
		}
		out = append(out, v)
	default:
		out = append(out, v)
	}
	return out
}
