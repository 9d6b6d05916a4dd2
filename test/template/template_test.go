// Package template holds the laws of the deployed template.
package template_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type resource struct {
	Type           string         `yaml:"Type"`
	DeletionPolicy string         `yaml:"DeletionPolicy"`
	Properties     map[string]any `yaml:"Properties"`
}

type stack struct {
	Globals struct {
		Function map[string]any `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]resource `yaml:"Resources"`
}

// wide lists the actions that AWS offers for every resource only.
var wide = []string{
	"logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries",
	"logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
}

func violations(s stack) (out []string) {
	add := func(name, law string) { out = append(out, name+": "+law) }
	for name, r := range s.Resources {
		p := r.Properties
		switch r.Type {
		case "AWS::SQS::Queue":
			if strings.HasSuffix(name, "Dead") {
				if n, _ := p["MessageRetentionPeriod"].(int); n != 1209600 {
					add(name, "a dead-letter queue keeps its messages for 14 days")
				}
				break
			}
			redrive, _ := p["RedrivePolicy"].(map[string]any)
			if n, _ := redrive["maxReceiveCount"].(int); n < 5 {
				add(name, "a queue has a dead-letter queue, after at least five attempts")
			}
			if n, _ := p["VisibilityTimeout"].(int); n < 6*timeoutOf(s, name) {
				add(name, "a queue's visibility is six times its function's time-out")
			}
		case "AWS::DynamoDB::Table":
			if r.DeletionPolicy != "Retain" || p["PointInTimeRecoverySpecification"] == nil || p["TimeToLiveSpecification"] == nil || p["SSESpecification"] == nil {
				add(name, "a table is retained, recoverable, encrypted, and says what expires")
			}
		case "AWS::Logs::LogGroup":
			if p["RetentionInDays"] == nil {
				add(name, "a log group has a retention")
			}
		case "AWS::Serverless::Function":
			if p["LoggingConfig"] == nil {
				add(name, "a function has a log group of its own")
			}
			if want := "../functions/" + kebab(name); p["CodeUri"] != want {
				add(name, "function, folder and resource share one name")
			}
			events, _ := p["Events"].(map[string]any)
			for _, e := range events {
				m, _ := e.(map[string]any)
				ep, _ := m["Properties"].(map[string]any)
				if m["Type"] == "SQS" && fmt.Sprint(ep["FunctionResponseTypes"]) != "[ReportBatchItemFailures]" {
					add(name, "a queue's function reports partial failures")
				}
				if m["Type"] == "DynamoDB" && (ep["BisectBatchOnFunctionError"] != true || ep["DestinationConfig"] == nil) {
					add(name, "a stream's function bisects and has a failure queue")
				}
			}
		case "AWS::Events::Rule":
			targets, _ := p["Targets"].([]any)
			for _, x := range targets {
				m, _ := x.(map[string]any)
				if m["RetryPolicy"] == nil || m["DeadLetterConfig"] == nil {
					add(name, "a schedule states retry and dead-letter queue")
				}
			}
		}
		for _, st := range statements(p) {
			actions := list(st["Action"])
			if slices.Contains(list(st["Resource"]), "*") && st["Effect"] == "Allow" && r.Type != "AWS::KMS::Key" {
				for _, a := range actions {
					if !slices.Contains(wide, a) {
						add(name, "a role names its resources for "+a)
					}
				}
			}
			for _, a := range actions {
				if strings.Contains(a, "*") && st["Effect"] == "Allow" && r.Type != "AWS::KMS::Key" {
					add(name, "a role names its actions, not "+a)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// timeoutOf is the time-out in seconds of the function that reads a queue.
func timeoutOf(s stack, queue string) int {
	for _, r := range s.Resources {
		events, _ := r.Properties["Events"].(map[string]any)
		for _, e := range events {
			m, _ := e.(map[string]any)
			p, _ := m["Properties"].(map[string]any)
			if m["Type"] == "SQS" && p["Queue"] == queue+".Arn" {
				n, _ := r.Properties["Timeout"].(int)
				return n
			}
		}
	}
	return 1 << 20 // a queue that nothing reads
}

func statements(v any) (out []map[string]any) {
	switch x := v.(type) {
	case map[string]any:
		if x["Effect"] != nil && x["Action"] != nil {
			out = append(out, x)
		}
		for _, c := range x {
			out = append(out, statements(c)...)
		}
	case []any:
		for _, c := range x {
			out = append(out, statements(c)...)
		}
	}
	return out
}

func list(v any) (out []string) {
	if l, ok := v.([]any); ok {
		for _, x := range l {
			out = append(out, fmt.Sprint(x))
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

func kebab(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

func load(t *testing.T, path string) stack {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, raw)
}

func parse(t *testing.T, raw []byte) stack {
	t.Helper()
	var s stack
	if err := yaml.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryTemplateKeepsTheLaws(t *testing.T) {
	files, err := filepath.Glob("../../infra/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("templates: %v, %v", files, err)
	}
	for _, f := range append(files, "../../template.yaml") {
		for _, v := range violations(load(t, f)) {
			t.Errorf("%s: %s", filepath.Base(f), v)
		}
	}
}

func TestEveryFunctionIsDeployedAndHasAnAlarm(t *testing.T) {
	s := load(t, "../../infra/flows.yaml")
	folders, err := filepath.Glob("../../functions/*")
	if err != nil {
		t.Fatal(err)
	}
	deployed := map[string]bool{}
	for name, r := range s.Resources {
		if r.Type == "AWS::Serverless::Function" {
			deployed[kebab(name)] = true
			if _, ok := s.Resources[name+"ErrorsAlarm"]; !ok {
				t.Errorf("%s has no alarm for its errors", name)
			}
		}
		if r.Type == "AWS::SQS::Queue" && strings.HasSuffix(name, "Dead") {
			if _, ok := s.Resources[name+"Alarm"]; !ok {
				t.Errorf("%s has no alarm", name)
			}
		}
	}
	for _, f := range folders {
		if !deployed[filepath.Base(f)] {
			t.Errorf("functions/%s is not deployed", filepath.Base(f))
		}
	}
}

func TestTheLawsCatchAViolation(t *testing.T) {
	for name, text := range map[string]string{
		"a queue without a dead-letter queue": `Resources: {AQueue: {Type: "AWS::SQS::Queue", Properties: {VisibilityTimeout: 30}}}`,
		"a table that is deleted":             `Resources: {A: {Type: "AWS::DynamoDB::Table", Properties: {}}}`,
		"a log group that grows for ever":     `Resources: {A: {Type: "AWS::Logs::LogGroup", Properties: {}}}`,
		"a role for everything":               `Resources: {A: {Type: "AWS::IAM::ManagedPolicy", Properties: {PolicyDocument: {Statement: [{Effect: Allow, Action: ["s3:GetObject"], Resource: "*"}]}}}}`,
		"a role with a wildcard":              `Resources: {A: {Type: "AWS::IAM::ManagedPolicy", Properties: {PolicyDocument: {Statement: [{Effect: Allow, Action: ["s3:*"], Resource: "x"}]}}}}`,
		"a function under another name":       `Resources: {OrderIntake: {Type: "AWS::Serverless::Function", Properties: {CodeUri: ../functions/intake, LoggingConfig: {}}}}`,
		"a schedule without retry":            `Resources: {A: {Type: "AWS::Events::Rule", Properties: {Targets: [{Id: x}]}}}`,
	} {
		if len(violations(parse(t, []byte(text)))) == 0 {
			t.Errorf("%s passes", name)
		}
	}
}
