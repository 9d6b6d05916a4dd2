package cost

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/waybillhq/waybill/internal/document"
)

// Prices of what costs without being used, in US dollars a month, of the same
// region and date as the others; free tiers are left out.
const (
	kmsKey         = 1.00 // and as much again for each of its first two rotations
	keyRotations   = 2
	metricAlarm    = 0.10 // for each metric, at a minute or more
	fastAlarm      = 0.30 // for each metric, below a minute
	compositeAlarm = 0.50
	customMetric   = 0.30
	dashboard      = 3.00
	webACL         = 5.00
	webACLRule     = 1.00
	scheduledEvent = 1.00 / 1e6 // Scheduler's price; the bus's own schedules are free
	storedLogByte  = 0.03 / (1 << 30)
)

// What a month and an idle queue are.
const (
	hours = 730.0
	// A queue's event source polls with five connections, each waiting for up to
	// 20 s. Lambda may go down to two when traffic is low, though not where a
	// maximum concurrency is set.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	pollers     = 5
	pollSeconds = 20
)

// Budgets of what does nothing, in dollars a month.
const (
	IdleStackBudget  = 15.0
	IdleTenantBudget = 0.05
)

// IdleItem is what one kind of thing costs in an idle month.
type IdleItem struct {
	Service  string  `json:"service"`
	What     string  `json:"what"`
	Quantity float64 `json:"quantity"`
	Dollars  float64 `json:"dollars_per_month"`
}

// IdleReport is what a month costs in which nothing happens.
type IdleReport struct {
	Items []IdleItem `json:"items"`
	Total float64    `json:"total_dollars"`
	// Reconciles is how often a month the orders of each tenant are asked for.
	Reconciles float64 `json:"-"`
}

func (r *IdleReport) add(service, what string, quantity, price float64) {
	r.Total += quantity * price
	i := slices.IndexFunc(r.Items, func(i IdleItem) bool { return i.Service == service && i.What == what })
	if i < 0 {
		i = len(r.Items)
		r.Items = append(r.Items, IdleItem{Service: service, What: what})
	}
	r.Items[i].Quantity += quantity
	r.Items[i].Dollars += quantity * price
}

// run is what one run of a scheduled function asks where there is nothing to
// do, for the whole stack.
type run struct {
	calls    int
	reads    float64 // units
	kms      int
	queues   int // asked how much they hold
	logBytes int // beside the runtime's own lines
}

// idleRuns are the scheduled functions, by their folder.
var idleRuns = map[string]run{
	// Every shard of the index is asked, and the metric is told.
	"document-sweep": {calls: document.Shards, reads: document.Shards, logBytes: 300},
	// The tenants are listed, and the key of the sealed tables is opened anew
	// because it is kept for less time than the schedule waits.
	"order-reconcile": {calls: 1, reads: 1, kms: 1},
	// The index of due jobs is asked.
	"job-schedule": {calls: 1, reads: 1, logBytes: 300},
	// Alerts and open exceptions are listed, every shard of the index of what is
	// due and every dead-letter queue is asked.
	"alert-send": {calls: document.Shards + 11, reads: document.Shards + 5, queues: 6, logBytes: 300},
}

// free are the kinds of resources that cost nothing while nothing happens:
// they are paid by request or by what they hold, and hold nothing.
var free = map[string]bool{
	"AWS::ApiGatewayV2::Api": true, "AWS::ApiGatewayV2::Integration": true, "AWS::ApiGatewayV2::Route": true, "AWS::ApiGatewayV2::Stage": true,
	"AWS::Serverless::HttpApi": true, "AWS::Serverless::StateMachine": true, "AWS::Lambda::Permission": true, "AWS::Lambda::Version": true,
	"AWS::Lambda::Alias": true, "AWS::CodeDeploy::Application": true, "AWS::CodeDeploy::DeploymentGroup": true,
	"AWS::IAM::ManagedPolicy": true, "AWS::IAM::Role": true, "AWS::SQS::Queue": true, "AWS::SQS::QueuePolicy": true,
	"AWS::SNS::Topic": true, "AWS::SNS::TopicPolicy": true, "AWS::SNS::Subscription": true,
	"AWS::Events::EventBus": true, "AWS::Events::Archive": true, "AWS::CloudFront::Distribution": true,
	// Storage and point-in-time recovery are paid by the byte.
	"AWS::DynamoDB::Table": true, "AWS::S3::Bucket": true, "AWS::S3::BucketPolicy": true,
	// What is ingested and stored is counted with the functions that log it.
	"AWS::Logs::LogGroup": true,
}

type template struct {
	Parameters map[string]struct {
		Default yaml.Node `yaml:"Default"`
	} `yaml:"Parameters"`
	Conditions map[string]yaml.Node `yaml:"Conditions"`
	Globals    struct {
		Function properties `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]struct {
		Type       string     `yaml:"Type"`
		Condition  string     `yaml:"Condition"`
		Properties properties `yaml:"Properties"`
	} `yaml:"Resources"`
}

type properties map[string]any

// idle reads one template after the other.
type idle struct {
	report  IdleReport
	metrics map[string]bool // custom metrics that were counted
}

// Idle computes from a template, and from those that it nests, what its stack
// costs in a month in which nothing happens and nothing is stored. Parameters
// that are not given have their defaults.
func Idle(path string, parameters map[string]string) (IdleReport, error) {
	i := idle{metrics: map[string]bool{}}
	err := i.read(path, parameters)
	slices.SortFunc(i.report.Items, func(a, b IdleItem) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.What, b.What))
	})
	return i.report, err
}

func (i *idle) read(path string, parameters map[string]string) error {
	raw, err := os.ReadFile(path) // #nosec G304 -- the repository's own templates
	if err != nil {
		return fmt.Errorf("reading a template: %w", err)
	}
	var t template
	if err := yaml.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	values := map[string]string{}
	for name, p := range t.Parameters {
		values[name] = p.Default.Value
		if v, ok := parameters[name]; ok {
			values[name] = v
		}
	}
	for name, r := range t.Resources {
		if r.Condition != "" {
			there, err := holds(t, values, r.Condition)
			if err != nil {
				return fmt.Errorf("%s: condition %s: %w", path, r.Condition, err)
			}
			if !there {
				continue
			}
		}
		if err := i.resource(path, t, values, r.Type, r.Properties); err != nil {
			return fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	return nil
}

func (i *idle) resource(path string, t template, values map[string]string, kind string, p properties) error {
	switch kind {
	case "AWS::CloudFormation::Stack":
		url, _ := p["TemplateURL"].(string)
		handed := map[string]string{}
		for name, v := range p.child("Parameters") {
			if s := fmt.Sprint(v); values[s] != "" {
				handed[name] = values[s]
			}
		}
		return i.read(filepath.Join(filepath.Dir(path), url), handed)
	case "AWS::KMS::Key":
		i.report.add("KMS", "keys", 1, kmsKey)
		if p["EnableKeyRotation"] == true {
			i.report.add("KMS", "keys' versions, from the second year on", keyRotations, kmsKey)
		}
	case "AWS::CloudWatch::Alarm":
		i.alarm(p)
	case "AWS::CloudWatch::CompositeAlarm":
		i.report.add("CloudWatch", "composite alarms", 1, compositeAlarm)
	case "AWS::CloudWatch::Dashboard":
		i.report.add("CloudWatch", "dashboards", 1, dashboard)
	case "AWS::WAFv2::WebACL":
		rules, _ := p["Rules"].([]any)
		i.report.add("WAF", "firewalls", 1, webACL)
		i.report.add("WAF", "rules", float64(len(rules)), webACLRule)
	case "AWS::Serverless::Function":
		for _, name := range []string{"ProvisionedConcurrencyConfig", "SnapStart"} {
			if p[name] != nil {
				return fmt.Errorf("say in internal/cost/idle.go what %s costs while it is idle", name)
			}
		}
		return i.sources(t, p)
	case "AWS::Events::Rule":
		if schedule, ok := p["ScheduleExpression"].(string); ok {
			targets, _ := p["Targets"].([]any)
			for _, x := range targets {
				target, _ := x.(properties)
				if err := i.schedule(t, schedule, fmt.Sprint(target["Arn"])); err != nil {
					return err
				}
			}
		}
	case "AWS::Scheduler::Schedule":
		return i.schedule(t, fmt.Sprint(p["ScheduleExpression"]), fmt.Sprint(p.child("Target")["Arn"]))
	default:
		if !free[kind] {
			return fmt.Errorf("say in internal/cost/idle.go what an idle %s costs", kind)
		}
	}
	return nil
}

func (p properties) child(name string) properties {
	c, _ := p[name].(properties)
	return c
}

// alarm counts an alarm's metrics, and those of them that only we publish.
func (i *idle) alarm(p properties) {
	metrics := []properties{p}
	if several, ok := p["Metrics"].([]any); ok {
		metrics = nil
		for _, x := range several {
			m, _ := x.(properties)
			if stat := m.child("MetricStat"); stat != nil {
				about := stat.child("Metric")
				metrics = append(metrics, properties{"Period": stat["Period"], "Namespace": about["Namespace"], "MetricName": about["MetricName"], "Dimensions": about["Dimensions"]})
			}
		}
	}
	for _, m := range metrics {
		if period, ok := m["Period"].(int); ok && period < 60 {
			i.report.add("CloudWatch", "metrics in alarms, below a minute", 1, fastAlarm)
		} else {
			i.report.add("CloudWatch", "metrics in alarms", 1, metricAlarm)
		}
		key := fmt.Sprint(m["Namespace"], m["MetricName"], m["Dimensions"])
		if !strings.HasPrefix(fmt.Sprint(m["Namespace"]), "AWS/") && !i.metrics[key] {
			i.metrics[key] = true
			i.report.add("CloudWatch", "custom metrics", 1, customMetric)
		}
	}
}

// sources counts what a function's event sources ask while nothing comes.
func (i *idle) sources(t template, function properties) error {
	for _, e := range function.child("Events") {
		event, _ := e.(properties)
		p := event.child("Properties")
		switch event["Type"] {
		case "SQS":
			i.report.add("SQS", "empty receives of event sources", hours*3600/pollSeconds*pollers, sqsRequest)
		case "DynamoDB": // Lambda's reading of a stream is free
		case "HttpApi":
		case "Schedule", "ScheduleV2":
			schedule, _ := p["Schedule"].(string)
			if schedule == "" {
				schedule, _ = p["ScheduleExpression"].(string)
			}
			if err := i.runs(t, schedule, function); err != nil {
				return err
			}
		default:
			return fmt.Errorf("say in internal/cost/idle.go what an idle source of type %v costs", event["Type"])
		}
	}
	return nil
}

func (i *idle) schedule(t template, expression, arn string) error {
	name, _, _ := strings.Cut(arn, ".")
	f, ok := t.Resources[name]
	if !ok || f.Type != "AWS::Serverless::Function" {
		return fmt.Errorf("the target %s of a schedule is no function of the template", arn)
	}
	return i.runs(t, expression, f.Properties)
}

// runs counts the idle runs of a function.
func (i *idle) runs(t template, expression string, function properties) error {
	n, err := perMonth(expression)
	if err != nil {
		return err
	}
	name := filepath.Base(fmt.Sprint(function["CodeUri"]))
	r, ok := idleRuns[name]
	if !ok {
		return fmt.Errorf("say in internal/cost/idle.go what an idle run of %s asks", name)
	}
	if name == "order-reconcile" {
		i.report.Reconciles += n
	}
	megabytes := 128.0
	for _, v := range []any{t.Globals.Function["MemorySize"], function["MemorySize"]} {
		if m, ok := v.(int); ok {
			megabytes = float64(m)
		}
	}
	logged := n * float64(logOverhead+r.logBytes)
	i.report.add("EventBridge", "schedules' events", n, scheduledEvent)
	i.report.add("Lambda", "requests of schedules", n, lambdaRequest)
	i.report.add("Lambda", "GB-seconds of schedules", n*(ownSeconds+awsCallSeconds*float64(r.calls))*megabytes/1024, lambdaGBSecond)
	i.report.add("DynamoDB", "read units of schedules", n*r.reads, readUnit)
	i.report.add("KMS", "requests of schedules", n*float64(r.kms), kmsRequest)
	i.report.add("SQS", "requests of schedules", n*float64(r.queues), sqsRequest)
	i.report.add("CloudWatch Logs", "bytes of schedules", logged, logByte)
	i.report.add("CloudWatch Logs", "bytes kept for a month", logged, storedLogByte)
	return nil
}

var rate = regexp.MustCompile(`^rate\((\d+) (minute|hour|day)s?\)$`)

// perMonth is how often a schedule fires.
func perMonth(expression string) (float64, error) {
	if m := rate.FindStringSubmatch(expression); m != nil {
		n, err := strconv.Atoi(m[1])
		if err == nil && n > 0 {
			return hours * 60 / float64(n) / map[string]float64{"minute": 1, "hour": 60, "day": 24 * 60}[m[2]], nil
		}
	}
	inner, isCron := strings.CutPrefix(strings.TrimSuffix(expression, ")"), "cron(")
	if fields := strings.Fields(inner); isCron && len(fields) == 6 {
		minutes, err := times(fields[0], 60)
		if err != nil {
			return 0, err
		}
		each, err := times(fields[1], 24)
		if err != nil {
			return 0, err
		}
		return float64(minutes*each) * hours / 24, nil // on every day, which no schedule exceeds
	}
	return 0, fmt.Errorf("the schedule %q is not understood", expression)
}

// times is how many values a field of cron has, out of so many.
func times(f string, of int) (int, error) {
	if f == "*" {
		return of, nil
	}
	n := 0
	for part := range strings.SplitSeq(f, ",") {
		first, step, every := strings.Cut(part, "/")
		if !every {
			if _, err := strconv.Atoi(part); err != nil {
				return 0, fmt.Errorf("the field %q of a schedule is not understood", f)
			}
			n++
			continue
		}
		from, by := 0, 0
		var err error
		if first != "*" {
			from, err = strconv.Atoi(first)
		}
		if err == nil {
			by, err = strconv.Atoi(step)
		}
		if err != nil || by <= 0 {
			return 0, fmt.Errorf("the field %q of a schedule is not understood", f)
		}
		n += (of - from + by - 1) / by
	}
	return n, nil
}

// holds evaluates a condition.
func holds(t template, values map[string]string, name string) (bool, error) {
	n, ok := t.Conditions[name]
	if !ok {
		return false, fmt.Errorf("there is no condition %s", name)
	}
	return truth(t, values, &n)
}

func truth(t template, values map[string]string, n *yaml.Node) (bool, error) {
	switch {
	case n.Tag == "!Condition":
		return holds(t, values, n.Value)
	case n.Tag == "!Not" && len(n.Content) == 1:
		v, err := truth(t, values, n.Content[0])
		return !v, err
	case n.Tag == "!And", n.Tag == "!Or":
		for _, c := range n.Content {
			v, err := truth(t, values, c)
			if err != nil {
				return false, err
			}
			if v == (n.Tag == "!Or") {
				return v, nil
			}
		}
		return n.Tag == "!And", nil
	case n.Tag == "!Equals" && len(n.Content) == 2:
		a, err := text(values, n.Content[0])
		if err != nil {
			return false, err
		}
		b, err := text(values, n.Content[1])
		return a == b, err
	}
	return false, fmt.Errorf("%s in line %d is not understood", n.Tag, n.Line)
}

func text(values map[string]string, n *yaml.Node) (string, error) {
	switch {
	case n.Tag == "!Ref":
		v, ok := values[n.Value]
		if !ok {
			return "", fmt.Errorf("%s in line %d is no parameter", n.Value, n.Line)
		}
		return v, nil
	case n.Kind == yaml.ScalarNode && strings.HasPrefix(n.Tag, "!!"):
		return n.Value, nil
	}
	return "", fmt.Errorf("%s in line %d is not understood", n.Tag, n.Line)
}

// IdleTenant computes what a tenant costs in a month without orders: it has no
// resources of its own, so that only asking its channel for orders costs, and
// proving each day that none is missing. It is one of one route; its
// configuration is read in up to two units.
func IdleTenant(stack IdleReport) IdleReport {
	const (
		calls    = 4 // configuration, credential, key, watermark
		reads    = 2 + 1 + 1
		vendor   = 1
		logBytes = 250
		// Once an hour the watermark of a channel without orders moves, and its
		// silence is judged.
		hourlyCalls, hourlyReads, hourlyWrites = 2, 1, 1
		// A proof is a job: its row with key, lease and end, each in the index of
		// due jobs too, and its result.
		days                               = hours / 24
		proofCalls, proofReads, proofKMS   = 14, 8, 1
		proofWrites, proofQueue, proofLogs = 15, 4, 500
		proofGB                            = 0.5
	)
	n := stack.Reconciles
	var r IdleReport
	r.add("Lambda", "GB-seconds of asking the channel", n*(awsCallSeconds*calls+vendorSeconds*vendor)*memoryGB+hours*awsCallSeconds*hourlyCalls*memoryGB, lambdaGBSecond)
	r.add("Lambda", "GB-seconds of proofs", days*(ownSeconds+awsCallSeconds*proofCalls+vendorSeconds)*proofGB, lambdaGBSecond)
	r.add("Lambda", "requests of proofs", days, lambdaRequest)
	r.add("SQS", "requests of proofs", days*proofQueue, sqsRequest)
	r.add("DynamoDB", "read units", n*reads+hours*hourlyReads+days*proofReads, readUnit)
	r.add("DynamoDB", "write units", hours*hourlyWrites+days*proofWrites, writeUnit)
	r.add("KMS", "requests", n+days*proofKMS, kmsRequest)
	r.add("CloudWatch Logs", "bytes", n*logBytes+days*proofLogs, logByte+storedLogByte)
	return r
}
