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
	Parameters map[string]any      `yaml:"Parameters"`
	Resources  map[string]resource `yaml:"Resources"`
	Outputs    map[string]struct {
		Value any `yaml:"Value"`
	} `yaml:"Outputs"`
}

const deliveries = "CloudWatch offers no narrower resource for the delivery of a machine's log"

// wide lists the actions that AWS offers for every resource only, and why they
// are needed. One that no template uses is stale.
var wide = map[string]string{
	"logs:CreateLogDelivery": deliveries, "logs:GetLogDelivery": deliveries, "logs:UpdateLogDelivery": deliveries,
	"logs:DeleteLogDelivery": deliveries, "logs:ListLogDeliveries": deliveries,
	"logs:PutResourcePolicy":        "the delivery adds itself to the account's resource policies, which have no name beforehand",
	"logs:DescribeResourcePolicies": "so that the delivery finds its resource policy; it is a list of the account",
	"logs:DescribeLogGroups":        "so that the delivery finds the log group; it is a list of the account",
}

// wideUses are the actions that a template allows on every resource.
func wideUses(s stack) (out []string) {
	for _, r := range s.Resources {
		for _, st := range statements(r.Properties) {
			// A key's policy is about the key, however its resource is written.
			if r.Type != "AWS::KMS::Key" && st["Effect"] == "Allow" && slices.Contains(list(st["Resource"]), "*") {
				out = append(out, list(st["Action"])...)
			}
		}
	}
	return out
}

// stale are the entries of wide that nothing uses.
func stale(used []string) (out []string) {
	for a := range wide {
		if !slices.Contains(used, a) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
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
			out = append(out, sourceViolations(s, name)...)
		case "AWS::Serverless::StateMachine":
			out = append(out, machineViolations(s, name)...)
		case "AWS::CloudWatch::Alarm":
			if namespace, _ := p["Namespace"].(string); !strings.HasPrefix(namespace, "AWS/") && p["Metrics"] == nil && !slices.Contains(texts(p["Dimensions"]), "AWS::StackName") {
				add(name, "an alarm of our own metric is of one stack")
			}
		case "AWS::Scheduler::Schedule":
			target, _ := p["Target"].(map[string]any)
			if target["RetryPolicy"] == nil || target["DeadLetterConfig"] == nil {
				add(name, "a schedule states retry and dead-letter queue")
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
					if wide[a] == "" {
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
				for _, timeout := range []any{r.Properties["Timeout"], s.Globals.Function["Timeout"]} {
					if n, ok := timeout.(int); ok {
						return n
					}
				}
				return 1 << 20 // whatever the default will be
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
	var used []string
	for _, f := range append(files, "../../template.yaml") {
		s := load(t, f)
		for _, v := range violations(s) {
			t.Errorf("%s: %s", filepath.Base(f), v)
		}
		used = append(used, wideUses(s)...)
	}
	for _, a := range stale(used) {
		t.Errorf("no template allows %s on every resource; the law need not permit it", a)
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
		"an alarm of every stack":             `Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: Ours, Dimensions: [{Name: Function, Value: order-reconcile}]}}}`,
		"a schedule without retry":            `Resources: {A: {Type: "AWS::Events::Rule", Properties: {Targets: [{Id: x}]}}}`,
		"a scheduler's without retry":         `Resources: {A: {Type: "AWS::Scheduler::Schedule", Properties: {Target: {DeadLetterConfig: {}}}}}`,
	} {
		if len(violations(parse(t, []byte(text)))) == 0 {
			t.Errorf("%s passes", name)
		}
	}
	if got := stale([]string{"logs:GetLogDelivery"}); len(got) != len(wide)-1 {
		t.Errorf("stale entries pass: %v", got)
	}
}

// kept is a template that keeps the laws of sources and machines; each law is
// broken by one change of it.
const kept = `
Parameters: {Reserved: {Type: Number}}
Resources:
  InQueue: {Type: "AWS::SQS::Queue", Properties: {MaximumMessageSize: 262144, VisibilityTimeout: 360, RedrivePolicy: {maxReceiveCount: 5}}}
  OrderIntake:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: ../functions/order-intake
      Timeout: 60
      LoggingConfig: {}
      ReservedConcurrentExecutions: !Ref Reserved
      Events:
        Q: {Type: SQS, Properties: {Queue: !GetAtt InQueue.Arn, BatchSize: 10, ScalingConfig: {MaximumConcurrency: 2}, FunctionResponseTypes: [ReportBatchItemFailures]}}
        S:
          Type: DynamoDB
          Properties:
            BatchSize: 10
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 3
            MaximumRecordAgeInSeconds: 60
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig: {OnFailure: {Destination: x}}
            FilterCriteria: {Filters: [{Pattern: '{"eventName":["INSERT"]}'}]}
        T: {Type: ScheduleV2, Properties: {RetryPolicy: {}, DeadLetterConfig: {}}}
  L: {Type: "AWS::Logs::LogGroup", Properties: {LogGroupName: "/aws/vendedlogs/states/x", RetentionInDays: 1}}
  M:
    Type: AWS::Serverless::StateMachine
    Properties: {Type: EXPRESS, Logging: {Level: ERROR, IncludeExecutionData: false, Destinations: [{CloudWatchLogsLogGroup: {LogGroupArn: !GetAtt L.Arn}}]}}
`

func TestEachLawOfSourcesIsBrokenByOneChange(t *testing.T) {
	if v := violations(parse(t, []byte(kept))); len(v) > 0 {
		t.Fatal(v)
	}
	for what, change := range map[string][2]string{
		"large messages":                     {"MaximumMessageSize: 262144", "MaximumMessageSize: 1048576"},
		"messages of any size":               {"MaximumMessageSize: 262144, ", ""},
		"a short visibility":                 {"VisibilityTimeout: 360", "VisibilityTimeout: 359"},
		"few attempts":                       {"maxReceiveCount: 5", "maxReceiveCount: 4"},
		"a large batch":                      {"BatchSize: 10, ", "BatchSize: 24, "},
		"a batch of any size":                {"BatchSize: 10, ", ""},
		"a time-out of another":              {"      Timeout: 60\n", ""},
		"all or nothing of a queue":          {"MaximumConcurrency: 2}, FunctionResponseTypes: [ReportBatchItemFailures]", "MaximumConcurrency: 2}"},
		"all concurrency for one queue":      {"ScalingConfig: {MaximumConcurrency: 2}, ", ""},
		"a large batch of a stream":          {"BatchSize: 10\n", "BatchSize: 16\n"},
		"a stream with both images":          {"[\"INSERT\"]", "[\"INSERT\",\"MODIFY\"]"},
		"a stream that does not bisect":      {"BisectBatchOnFunctionError: true", "BisectBatchOnFunctionError: false"},
		"a stream that never gives up":       {"MaximumRetryAttempts: 3", "MaximumRetryAttempts: -1"},
		"a stream that never forgets":        {"            MaximumRecordAgeInSeconds: 60\n", ""},
		"a stream that loses its failures":   {"DestinationConfig: {OnFailure: {Destination: x}}", "DestinationConfig: {}"},
		"all or nothing of a stream":         {"            FunctionResponseTypes: [ReportBatchItemFailures]\n", ""},
		"a function's schedule without DLQ":  {"RetryPolicy: {}, DeadLetterConfig: {}", "RetryPolicy: {}"},
		"a source that nobody knows":         {"T: {Type: ScheduleV2", "T: {Type: Kinesis"},
		"concurrency that is always taken":   {"ReservedConcurrentExecutions: !Ref Reserved", "ReservedConcurrentExecutions: 5"},
		"a machine that tells everything":    {"Level: ERROR", "Level: ALL"},
		"a machine that tells documents":     {"IncludeExecutionData: false", "IncludeExecutionData: true"},
		"a machine whose log is in the way":  {"/aws/vendedlogs/states/x", "/aws/states/x"},
		"a machine that is not an Express":   {"Type: EXPRESS", "Type: STANDARD"},
		"a machine without a log":            {"Destinations: [{CloudWatchLogsLogGroup: {LogGroupArn: !GetAtt L.Arn}}]", "Destinations: []"},
		"a machine whose log group is alien": {"LogGroupArn: !GetAtt L.Arn", "LogGroupArn: !GetAtt Other.Arn"},
	} {
		broken := strings.Replace(kept, change[0], change[1], 1)
		if broken == kept {
			t.Errorf("%s: the change changes nothing", what)
		}
		if len(violations(parse(t, []byte(broken)))) == 0 {
			t.Errorf("%s passes", what)
		}
	}
}
