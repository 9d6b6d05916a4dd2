package template_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// permission is one action on one resource: a logical id, with the path below
// it where a statement or a query names one.
type permission struct{ action, resource string }

func (p permission) String() string { return p.action + " on " + p.resource }

// spare are permissions that no code asks for, by function, and why its role
// holds them. A stale one fails.
var spare = map[string]map[permission]string{}

// roles judges the roles of one stack's functions and machines.
type roles struct {
	stack  stack
	data   stack
	names  map[string]string // parameter of the stack: resource that it stands for
	states func(uri string) ([]byte, error)
}

func readRoles(t *testing.T) roles {
	t.Helper()
	top, flows, data := load(t, "../../template.yaml"), load(t, "../../infra/flows.yaml"), load(t, "../../infra/data.yaml")
	r := roles{stack: flows, data: data, names: map[string]string{}, states: func(uri string) ([]byte, error) {
		return os.ReadFile(filepath.Join("../../infra", uri))
	}}
	handed, _ := top.Resources["Flows"].Properties["Parameters"].(map[string]any)
	for name, v := range handed {
		if output, ok := strings.CutPrefix(fmt.Sprint(v), "Data.Outputs."); ok {
			resource, _, _ := strings.Cut(fmt.Sprint(data.Outputs[output].Value), ".")
			if _, ok := data.Resources[resource]; !ok {
				t.Fatalf("the parameter %s stands for %q, which the data stack does not have", name, resource)
			}
			r.names[name] = resource
		}
	}
	return r
}

var substituted = regexp.MustCompile(`^\$\{([A-Za-z.]+)\}(.*)$`)

// resource is what a reference leads to: !Ref X, !GetAtt X.Arn, or
// !Sub "${X}/path".
func (r roles) resource(ref string) (string, error) {
	path := ""
	if m := substituted.FindStringSubmatch(ref); m != nil {
		ref, path = m[1], m[2]
	}
	ref, _, _ = strings.Cut(ref, ".")
	if handed, ok := r.names[ref]; ok {
		return handed + path, nil
	}
	if _, ok := r.stack.Resources[ref]; !ok {
		return "", fmt.Errorf("%q is no resource of the stack, and no parameter that stands for one", ref)
	}
	return ref + path, nil
}

// granted are a role's permissions, from its managed policies and its own
// statements, and the number of managed policies.
func (r roles) granted(policies any) (out map[permission]bool, managed int, problems []string) {
	out = map[permission]bool{}
	entries, _ := policies.([]any)
	for _, e := range entries {
		var sts []map[string]any
		switch e := e.(type) {
		case string:
			managed++
			sts = statements(r.stack.Resources[e].Properties)
			if len(sts) == 0 {
				problems = append(problems, "the law cannot read the policy "+e)
			}
		case map[string]any:
			if p, ok := e["LambdaInvokePolicy"].(map[string]any); ok {
				out[permission{"lambda:InvokeFunction", fmt.Sprint(p["FunctionName"])}] = true
				continue
			}
			if sts = statements(e); len(sts) == 0 {
				problems = append(problems, fmt.Sprintf("the law cannot read the policy %v", e))
			}
		}
		for _, st := range sts {
			if st["Effect"] != "Allow" {
				continue
			}
			for _, ref := range list(st["Resource"]) {
				if ref == "*" {
					continue // another law
				}
				to, err := r.resource(ref)
				if err != nil {
					problems = append(problems, err.Error())
				}
				for _, a := range list(st["Action"]) {
					out[permission{a, to}] = true
				}
			}
		}
	}
	return out, managed, problems
}

// needed are the permissions that a function's asks take, by the environment
// that the template gives it. A variable that is not set names nothing.
func (r roles) needed(function string, asks []ask) (out map[permission]bool, problems []string) {
	out = map[permission]bool{}
	env := map[string]any{}
	for _, of := range []any{r.stack.Globals.Function["Environment"], r.stack.Resources[function].Properties["Environment"]} {
		e, _ := of.(map[string]any)
		vars, _ := e["Variables"].(map[string]any)
		maps.Copy(env, vars)
	}
	for _, a := range asks {
		to := "Key"
		if a.variable != "" {
			v, set := env[a.variable]
			if !set {
				continue
			}
			var err error
			if to, err = r.resource(fmt.Sprint(v)); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", a.variable, err))
				continue
			}
		}
		p := r.data.Resources[to].Properties
		switch {
		case a.action == "s3:ListBucket":
			out[permission{a.action, to}] = true
			continue
		case strings.HasPrefix(a.action, "s3:"):
			out[permission{a.action, to + "/raw/*"}] = true
			// S3 seals and opens an object with the caller's permissions.
			out[permission{map[string]string{"s3:PutObject": "kms:GenerateDataKey", "s3:GetObject": "kms:Decrypt"}[a.action], "Key"}] = true
			continue
		case strings.HasPrefix(a.action, "sns:"):
			// SNS seals and opens a message with the publisher's permissions.
			if r.stack.Resources[to].Properties["KmsMasterKeyId"] != nil {
				out[permission{"kms:Decrypt", "Key"}], out[permission{"kms:GenerateDataKey", "Key"}] = true, true
			}
		case strings.HasPrefix(a.action, "dynamodb:"):
			// DynamoDB opens a table's key with the caller's permissions.
			if sse, _ := p["SSESpecification"].(map[string]any); sse["KMSMasterKeyId"] != nil {
				out[permission{"kms:Decrypt", "Key"}] = true
			}
		}
		if a.index != "" {
			to += "/index/" + a.index
		}
		out[permission{a.action, to}] = true
	}
	for p := range r.sourced(function) {
		out[p] = true
	}
	return out, problems
}

// sourced are the permissions that a function's event sources take: they read
// with its role, and send to it what they give up on.
func (r roles) sourced(function string) map[permission]bool {
	out := map[permission]bool{}
	events, _ := r.stack.Resources[function].Properties["Events"].(map[string]any)
	for _, e := range events {
		m, _ := e.(map[string]any)
		p, _ := m["Properties"].(map[string]any)
		var actions []string
		var from any
		switch m["Type"] {
		case "SQS":
			actions, from = []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}, p["Queue"]
		case "DynamoDB":
			actions, from = []string{"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}, p["Stream"]
		default:
			continue
		}
		if to, err := r.resource(fmt.Sprint(from)); err == nil {
			for _, a := range actions {
				out[permission{a, to}] = true
			}
		}
		destination, _ := p["DestinationConfig"].(map[string]any)
		if failure, ok := destination["OnFailure"].(map[string]any); ok {
			if to, err := r.resource(fmt.Sprint(failure["Destination"])); err == nil {
				out[permission{"sqs:SendMessage", to}] = true
			}
		}
	}
	return out
}

// compare says what a role lacks and what it need not have.
func compare(name string, needed, granted map[permission]bool, spare map[permission]string) (out []string) {
	for p := range needed {
		if !granted[p] {
			out = append(out, name+" needs "+p.String()+", and its role does not allow it")
		}
	}
	for p := range granted {
		if !needed[p] && spare[p] == "" {
			out = append(out, name+" may do "+p.String()+", and no code of it does")
		}
	}
	for p := range spare {
		if needed[p] || !granted[p] {
			out = append(out, name+": the exception for "+p.String()+" is stale")
		}
	}
	slices.Sort(out)
	return out
}

// managedPolicies is IAM's quota for one role.
const managedPolicies = 10

func (r roles) function(name string, asks []ask, spare map[permission]string) (out []string) {
	res := r.stack.Resources[name]
	granted, managed, problems := r.granted(res.Properties["Policies"])
	needed, more := r.needed(name, asks)
	for _, p := range append(problems, more...) {
		out = append(out, name+": "+p)
	}
	for p := range r.sourced(name) { // SAM grants it
		granted[p] = true
	}
	managed++ // logs
	events, _ := res.Properties["Events"].(map[string]any)
	for _, e := range events {
		if m, _ := e.(map[string]any); m["Type"] == "SQS" || m["Type"] == "DynamoDB" {
			managed++ // SAM adds the event source's own
		}
	}
	if managed > managedPolicies {
		out = append(out, fmt.Sprintf("%s has %d managed policies; a role takes %d", name, managed, managedPolicies))
	}
	return append(out, compare(name, needed, granted, spare)...)
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z]+)\}`)

// machine compares what a definition invokes with what the machine may invoke.
func (r roles) machine(name string) (out []string) {
	p := r.stack.Resources[name].Properties
	raw, err := r.states(fmt.Sprint(p["DefinitionUri"]))
	if err != nil {
		return []string{name + ": " + err.Error()}
	}
	var definition any
	if err := json.Unmarshal(raw, &definition); err != nil {
		return []string{name + ": " + err.Error()}
	}
	substitutions, _ := p["DefinitionSubstitutions"].(map[string]any)
	needed := map[permission]bool{}
	used := map[string]bool{}
	for _, task := range tasks(definition) {
		m := placeholder.FindStringSubmatch(task)
		if m == nil || substitutions[m[1]] == nil {
			out = append(out, name+": the law cannot read the task's resource "+task)
			continue
		}
		used[m[1]] = true
		to, err := r.resource(fmt.Sprint(substitutions[m[1]]))
		if err != nil {
			out = append(out, name+": "+err.Error())
		}
		needed[permission{"lambda:InvokeFunction", to}] = true
	}
	for s := range substitutions {
		if !used[s] {
			out = append(out, name+": the definition does not mention "+s)
		}
	}
	granted, _, problems := r.granted(p["Policies"])
	for _, x := range problems {
		out = append(out, name+": "+x)
	}
	return append(out, compare(name, needed, granted, nil)...)
}

// tasks are the resources of a definition's tasks, nested ones included.
func tasks(v any) (out []string) {
	switch x := v.(type) {
	case map[string]any:
		if x["Type"] == "Task" {
			out = append(out, fmt.Sprint(x["Resource"]))
		}
		for _, c := range x {
			out = append(out, tasks(c)...)
		}
	case []any:
		for _, c := range x {
			out = append(out, tasks(c)...)
		}
	}
	return out
}

// probe is a function that is not deployed: it shows what the law sees through.
const probe = `package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

type lister interface {
	Tenants(ctx context.Context) ([]retail.Tenant, error)
}

// unused is called by nobody.
func unused(p *boot.Platform) error { return p.Store.SetWatermark(context.Background(), retail.Tenant{}, "", time.Time{}) }

func main() {
	p := boot.New()
	var l lister = p.Store
	due := p.Store.Due
	lambda.Start(func(ctx context.Context) error {
		if _, err := l.Tenants(ctx); err != nil { // an interface, a paginator
			return err
		}
		if _, err := due(ctx, 0, time.Time{}, 1); err != nil { // a method's value, an index
			return err
		}
		defer func() { _ = p.Store.Commit(ctx, document.Transaction{Exceptions: []document.Exception{{}}}) }() // a transaction's items
		url := map[bool]string{true: p.Env("RESUME_QUEUE"), false: p.Env("NOT_SET")}[ctx == nil]
		return p.Queues.Send(ctx, url, "", 1, 0)
	})
}
`

// stranger asks for what nobody described, of what nobody can follow.
const stranger = `package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New()
	lambda.Start(func(ctx context.Context) error {
		name := os.Args[0]
		if _, err := p.Queues.Client.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &name}); err != nil {
			return err
		}
		_, err := p.Queues.Client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &name})
		return err
	})
}
`

// One reading of the source serves all of it: that takes most of the time.
func TestRolesAllowWhatTheCodeDoesAndNothingElse(t *testing.T) {
	r := readRoles(t)
	prog := loadProgram(t, map[string]string{"law-probe": probe, "law-stranger": stranger})
	asks := map[string][]ask{}
	for name, res := range r.stack.Resources {
		switch res.Type {
		case "AWS::Serverless::Function":
			main := prog.mains[kebab(name)]
			if main == nil {
				t.Errorf("%s has no main", name)
				continue
			}
			a, unread := prog.reached(main).asks()
			for _, u := range unread {
				t.Errorf("%s: %s", name, u)
			}
			asks[name] = a
			for _, v := range r.function(name, a, spare[name]) {
				t.Error(v)
			}
		case "AWS::Serverless::StateMachine":
			for _, v := range r.machine(name) {
				t.Error(v)
			}
		}
	}
	for name := range spare {
		if asks[name] == nil {
			t.Errorf("the exceptions of %s are stale: there is no such function", name)
		}
	}

	t.Run("the law sees through interfaces, values and transactions", func(t *testing.T) {
		got, unread := prog.reached(prog.mains["law-probe"]).asks()
		want := []ask{
			{"dynamodb:PutItem", "EXCEPTIONS_TABLE", ""}, {"dynamodb:Query", "CONFIG_TABLE", ""}, {"dynamodb:Query", "DOCUMENTS_TABLE", "due"},
			{"sqs:SendMessage", "NOT_SET", ""}, {"sqs:SendMessage", "RESUME_QUEUE", ""},
		}
		if !slices.Equal(got, want) || len(unread) > 0 {
			t.Errorf("%v, %v", got, unread)
		}
		_, unread = prog.reached(prog.mains["law-stranger"]).asks()
		if s := strings.Join(unread, "\n"); !strings.Contains(s, "sqs.PurgeQueue") || !strings.Contains(s, "cannot be followed") {
			t.Errorf("what is strange passes: %s", s)
		}
	})

	t.Run("the law catches a violation", func(t *testing.T) {
		sweep := slices.Clone(asks["DocumentSweep"])
		for what, v := range map[string][]string{
			"an action that is not allowed":        r.function("DocumentSweep", append(sweep, ask{"sqs:ChangeMessageVisibility", "RESUME_QUEUE", ""}), nil),
			"the table where the index is allowed": r.function("DocumentSweep", append(sweep, ask{"dynamodb:Query", "DOCUMENTS_TABLE", ""}), nil),
			"another queue than the allowed one":   r.function("DocumentRest", []ask{{"sqs:SendMessage", "PERSON_TABLE", ""}}, nil),
			"an action that nothing asks for":      r.function("DocumentSweep", sweep[:1], nil),
			"a sealed table without its key":       compare("f", permissionsOf(r.needed("DocumentRest", []ask{{"dynamodb:GetItem", "PERSON_TABLE", ""}})), map[permission]bool{{"dynamodb:GetItem", "Person"}: true}, nil),
			"a stale exception":                    r.function("DocumentSweep", sweep, map[permission]string{{"sqs:SendMessage", "ResumeQueue"}: "once"}),
			"an exception for what is not granted": r.function("DocumentSweep", sweep, map[permission]string{{"sqs:SendMessage", "PublishDead"}: "once"}),
			"an action of a resource that is not":  withPolicy(t, r, `[{Statement: [{Effect: Allow, Action: ["sqs:SendMessage"], Resource: Nothing.Arn}]}]`, sweep),
			"a policy that cannot be read":         withPolicy(t, r, `[{DynamoDBCrudPolicy: {TableName: Documents}}]`, sweep),
			"eleven managed policies":              withPolicy(t, r, "["+strings.Repeat("DocumentsAccess, ", 10)+"]", sweep),
			"a machine without a permission":       withMachine(t, r, `[]`),
			"a machine that may call another":      withMachine(t, r, `[LambdaInvokePolicy: {FunctionName: DocumentRest}, LambdaInvokePolicy: {FunctionName: OrderIntake}]`),
		} {
			if len(v) == 0 {
				t.Errorf("%s passes", what)
			}
		}
		if v := withMachine(t, r, `[LambdaInvokePolicy: {FunctionName: DocumentRest}]`); len(v) > 0 {
			t.Errorf("a machine that may call what it calls: %v", v)
		}
	})
}

func permissionsOf(p map[permission]bool, _ []string) map[permission]bool { return p }

// withPolicy judges document-sweep with other policies.
func withPolicy(t *testing.T, r roles, policies string, asks []ask) []string {
	t.Helper()
	s := parse(t, []byte(`Resources: {DocumentSweep: {Type: "AWS::Serverless::Function", Properties: {Policies: `+policies+`}}}`))
	r.stack.Resources = maps.Clone(r.stack.Resources)
	was := r.stack.Resources["DocumentSweep"]
	was.Properties = maps.Clone(was.Properties)
	was.Properties["Policies"] = s.Resources["DocumentSweep"].Properties["Policies"]
	r.stack.Resources["DocumentSweep"] = was
	return r.function("DocumentSweep", asks, nil)
}

// withMachine judges a machine that calls document-rest.
func withMachine(t *testing.T, r roles, policies string) []string {
	t.Helper()
	s := parse(t, []byte(`Resources: {M: {Type: "AWS::Serverless::StateMachine", Properties: {DefinitionSubstitutions: {Rest: DocumentRest.Arn}, Policies: `+policies+`}}}`))
	r.stack.Resources = maps.Clone(r.stack.Resources)
	r.stack.Resources["M"] = s.Resources["M"]
	r.states = func(string) ([]byte, error) {
		return []byte(`{"States":{"P":{"Type":"Parallel","Branches":[{"States":{"A":{"Type":"Task","Resource":"${Rest}"}}}]}}}`), nil
	}
	return r.machine("M")
}
