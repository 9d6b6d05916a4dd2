package template_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

const (
	// invocation is the largest event of a function, in bytes: Lambda's quota of
	// 6 MB for a synchronous invocation.
	invocation = 6 << 20
	// executionInput is the largest input of a state machine, in bytes.
	executionInput = 256 << 10
	// streamImage is the largest item of DynamoDB, in bytes, and so the largest
	// image in a stream's record.
	streamImage = 400 << 10
)

// sourceViolations judges what invokes a function.
func sourceViolations(s stack, name string) (out []string) {
	add := func(law string, more ...any) { out = append(out, name+": "+fmt.Sprintf(law, more...)) }
	p := s.Resources[name].Properties
	events, _ := p["Events"].(map[string]any)
	for _, e := range events {
		m, _ := e.(map[string]any)
		ep, _ := m["Properties"].(map[string]any)
		batch, _ := ep["BatchSize"].(int)
		switch m["Type"] {
		case "SQS":
			if fmt.Sprint(ep["FunctionResponseTypes"]) != "[ReportBatchItemFailures]" {
				add("a queue's function reports partial failures")
			}
			scaling, _ := ep["ScalingConfig"].(map[string]any)
			if n, _ := scaling["MaximumConcurrency"].(int); n < 2 {
				add("a queue's source says how many batches it may have under way: a new account has little concurrency")
			}
			queue := strings.TrimSuffix(fmt.Sprint(ep["Queue"]), ".Arn")
			body, _ := s.Resources[queue].Properties["MaximumMessageSize"].(int)
			if body == 0 || batch == 0 || batch*body >= invocation {
				add("a batch of %d messages of up to %d bytes fits into one invocation", batch, body)
			}
		case "DynamoDB":
			if ep["BisectBatchOnFunctionError"] != true {
				add("a stream's function bisects")
			}
			destination, _ := ep["DestinationConfig"].(map[string]any)
			if failure, _ := destination["OnFailure"].(map[string]any); failure["Destination"] == nil {
				add("a stream's source has a failure queue")
			}
			for _, k := range []string{"MaximumRetryAttempts", "MaximumRecordAgeInSeconds"} {
				if n, ok := ep[k].(int); !ok || n < 0 {
					add("a stream's source gives up some time: %s", k)
				}
			}
			if fmt.Sprint(ep["FunctionResponseTypes"]) != "[ReportBatchItemFailures]" {
				add("a stream's function reports how far it came")
			}
			if images := imagesOf(ep); batch == 0 || batch*images*streamImage >= invocation {
				add("a batch of %d records with %d images of up to %d bytes fits into one invocation", batch, images, streamImage)
			}
		case "Schedule", "ScheduleV2", "EventBridgeRule", "CloudWatchEvent":
			if ep["RetryPolicy"] == nil || ep["DeadLetterConfig"] == nil {
				add("a schedule states retry and dead-letter queue")
			}
		case "HttpApi":
		default:
			add("the law does not know a source of type %v", m["Type"])
		}
	}
	for _, k := range []string{"ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig"} {
		if v := p[k]; v != nil && !slices.ContainsFunc(words(v), func(w string) bool { return s.Parameters[w] != nil }) {
			add("%s stands behind a parameter: a new account has too little to reserve any", k)
		}
	}
	return out
}

// imagesOf is how many images a record has: one where the filters take
// insertions only, else the old one and the new one.
func imagesOf(source map[string]any) int {
	criteria, _ := source["FilterCriteria"].(map[string]any)
	filters, _ := criteria["Filters"].([]any)
	for _, f := range filters {
		m, _ := f.(map[string]any)
		var pattern struct {
			EventName []string `json:"eventName"`
		}
		if err := json.Unmarshal([]byte(fmt.Sprint(m["Pattern"])), &pattern); err != nil || !slices.Equal(pattern.EventName, []string{"INSERT"}) {
			return 2
		}
	}
	if len(filters) == 0 {
		return 2
	}
	return 1
}

// words are all texts of a value, as !If and !Ref hold them.
func words(v any) (out []string) {
	switch x := v.(type) {
	case string:
		out = append(out, x)
	case map[string]any:
		for _, c := range x {
			out = append(out, words(c)...)
		}
	case []any:
		for _, c := range x {
			out = append(out, words(c)...)
		}
	}
	return out
}

// machineViolations judges what an Express machine logs: errors alone, without
// what documents hold, in a group whose name keeps the account's one resource
// policy for logs from growing with every machine.
func machineViolations(s stack, name string) (out []string) {
	p := s.Resources[name].Properties
	logging, _ := p["Logging"].(map[string]any)
	if p["Type"] != "EXPRESS" || logging["Level"] != "ERROR" || logging["IncludeExecutionData"] != false {
		out = append(out, name+": a machine is an Express one that logs errors without data")
	}
	destinations, _ := logging["Destinations"].([]any)
	if len(destinations) == 0 {
		out = append(out, name+": a machine has a log group")
	}
	for _, w := range words(destinations) {
		group, _, _ := strings.Cut(w, ".")
		if to, _ := s.Resources[group].Properties["LogGroupName"].(string); !strings.HasPrefix(to, "/aws/vendedlogs/") {
			out = append(out, name+": a machine's log group is below /aws/vendedlogs/")
		}
	}
	return out
}

// What the code sends must fit into what the template lets a queue take.
func TestTheLargestMessagesFitIntoTheirQueues(t *testing.T) {
	s := load(t, "../../infra/flows.yaml")
	tenant, err := retail.ParseTenant(strings.Repeat("t", 40))
	if err != nil {
		t.Fatal(err)
	}
	// Ids come in headers, of which the API takes 10,240 bytes.
	long := strings.Repeat("x", 10_240/2)
	at := time.Date(2096, 2, 29, 23, 59, 59, 999999999, time.UTC)
	m, err := inbox.Message{Schema: retail.SchemaVersion, Tenant: tenant, Connection: strings.Repeat("c", 256), Connector: strings.Repeat("c", 256),
		Topic: long, EventID: long, TriggeredAt: at, ReceivedAt: at}.Carry(t.Context(), make([]byte, inbox.InlineLimit), nil)
	if err != nil {
		t.Fatal(err)
	}
	task := document.Task{Schema: retail.SchemaVersion, Tenant: tenant, Type: document.Shipment, ID: strings.Repeat("i", 256), Run: 1 << 62}
	for queue, v := range map[string]any{"OrderInboxQueue": m, "ShipmentInboxQueue": m, "ResumeQueue": task, "JobQueue": job.Task{Schema: retail.SchemaVersion, Tenant: tenant, ID: strings.Repeat("i", 256)}} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := s.Resources[queue].Properties["MaximumMessageSize"].(int); len(raw) > n {
			t.Errorf("a message of %d bytes for %s, which takes %d", len(raw), queue, n)
		}
	}
	raw, err := json.Marshal(task)
	if err != nil || len(raw) >= executionInput {
		t.Errorf("a machine's input of %d bytes, %v", len(raw), err)
	}
}

// A machine's input names a document and holds nothing of it.
func TestAMachinesInputIsIdsAlone(t *testing.T) {
	if v := beyondIDs(reflect.TypeFor[document.Task]()); len(v) > 0 {
		t.Errorf("a task carries %v", v)
	}
	type body struct {
		ID   string
		Body []byte
	}
	if len(beyondIDs(reflect.TypeFor[body]())) == 0 {
		t.Error("a task with a body passes")
	}
}

func beyondIDs(task reflect.Type) (out []string) {
	for f := range task.Fields() {
		switch {
		case f.Type == reflect.TypeFor[retail.Tenant](), f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Int64:
		case f.Type.Kind() == reflect.String && (f.Name == "ID" || f.Name == "Type"):
		default:
			out = append(out, f.Name)
		}
	}
	return out
}

// Alarms publish as CloudWatch, which may use a key only if the key says so;
// the one that AWS manages for SNS does not.
func TestAlarmsReachTheirTopic(t *testing.T) {
	flows, data := load(t, "../../infra/flows.yaml"), load(t, "../../infra/data.yaml")
	if v := silentTopics(flows, data); len(v) > 0 {
		t.Error(v)
	}
	for what, text := range map[string]string{
		"the key of AWS":               `Resources: {Alarms: {Type: "AWS::SNS::Topic", Properties: {KmsMasterKeyId: alias/aws/sns}}}`,
		"a key that nobody knows":      `Resources: {Alarms: {Type: "AWS::SNS::Topic", Properties: {KmsMasterKeyId: Other}}}`,
		"a topic in the open":          `Resources: {Alarms: {Type: "AWS::SNS::Topic", Properties: {}}}`,
		"a key without the permission": `Resources: {Alarms: {Type: "AWS::SNS::Topic", Properties: {KmsMasterKeyId: KeyArn}}}`,
	} {
		keys := data
		if what == "a key without the permission" {
			keys = parse(t, []byte(`Resources: {Key: {Type: "AWS::KMS::Key", Properties: {KeyPolicy: {Statement: [{Effect: Allow, Principal: {Service: cloudwatch.amazonaws.com}, Action: ["kms:Decrypt"], Resource: "*"}]}}}}`))
		}
		if len(silentTopics(parse(t, []byte(text)), keys)) == 0 {
			t.Errorf("%s passes", what)
		}
	}
}

func silentTopics(flows, data stack) (out []string) {
	allowed := map[string]bool{}
	for _, st := range statements(data.Resources["Key"].Properties["KeyPolicy"]) {
		if p, _ := st["Principal"].(map[string]any); p["Service"] == "cloudwatch.amazonaws.com" && st["Effect"] == "Allow" {
			for _, a := range list(st["Action"]) {
				allowed[a] = true
			}
		}
	}
	for name, r := range flows.Resources {
		if r.Type == "AWS::SNS::Topic" && (r.Properties["KmsMasterKeyId"] != "KeyArn" || !allowed["kms:Decrypt"] || !allowed["kms:GenerateDataKey"]) {
			out = append(out, name+": alarms cannot use the topic's key")
		}
	}
	return out
}

// Whatever belongs to a tenant is rows: a tenant more changes nothing of the
// stack, and costs what its rows and calls cost.
func TestNothingOfAStackIsATenants(t *testing.T) {
	for _, f := range []string{"../../template.yaml", "../../infra/data.yaml", "../../infra/flows.yaml"} {
		if v := perTenant(load(t, f)); len(v) > 0 {
			t.Errorf("%s: %v", f, v)
		}
	}
	if v := awsOf(t, "./internal/partner"); len(v) > 0 {
		t.Errorf("configuring a retailer reaches %v; it writes rows through the store and nothing else", v)
	}
	if len(awsOf(t, "./internal/local/deploy")) == 0 {
		t.Error("deploying reaches nothing of AWS")
	}
	for what, text := range map[string]string{
		"a queue of a tenant":     `Resources: {AcmeQueue: {Type: "AWS::SQS::Queue", Properties: {QueueName: "${Tenant}-orders"}}}`,
		"a list of tenants":       `{Parameters: {Retailers: {Type: CommaDelimitedList}}, Resources: {}}`,
		"a secret":                `Resources: {A: {Type: "AWS::SecretsManager::Secret", Properties: {}}}`,
		"a key more":              `Resources: {A: {Type: "AWS::KMS::Key", Properties: {}}, B: {Type: "AWS::KMS::Key", Properties: {}}}`,
		"an alarm of a retailer":  `Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Dimensions: [{Name: retailer, Value: acme}]}}}`,
		"a loop over connections": `Resources: {"Fn::ForEach::Connections": {Type: "", Properties: {}}}`,
	} {
		if len(perTenant(parse(t, []byte(text)))) == 0 {
			t.Errorf("%s passes", what)
		}
	}
}

// awsOf are the clients of AWS that a package is built with.
func awsOf(t *testing.T, pkg string) (out []string) {
	t.Helper()
	list := exec.Command("go", "list", "-deps", pkg)
	list.Dir = "../.."
	raw, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for p := range strings.FieldsSeq(string(raw)) {
		if service, ok := strings.CutPrefix(p, sdk); ok && !strings.Contains(service, "/") {
			out = append(out, service)
		}
	}
	return out
}

func perTenant(s stack) (out []string) {
	keys := 0
	for name, r := range s.Resources {
		switch r.Type {
		case "AWS::KMS::Key":
			keys++
		case "AWS::SecretsManager::Secret", "AWS::SSM::Parameter":
			out = append(out, name+" is a secret of its own; credentials are rows")
		}
		for _, w := range append(words(r.Properties), name) {
			w = strings.ToLower(w)
			if strings.Contains(w, "tenant") || strings.Contains(w, "retailer") || strings.Contains(w, "fn::foreach") {
				out = append(out, name+" names a tenant: "+w)
			}
		}
	}
	if keys > 1 {
		out = append(out, "there are keys beside the partner's one")
	}
	for p := range maps.Keys(s.Parameters) {
		if w := strings.ToLower(p); strings.Contains(w, "tenant") || strings.Contains(w, "retailer") {
			out = append(out, "the parameter "+p+" is about tenants")
		}
	}
	return out
}
