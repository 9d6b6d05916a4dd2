package template_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// optional is a resource of a template whose parts are chosen by conditions.
type optional struct {
	Type           string         `yaml:"Type"`
	Condition      string         `yaml:"Condition"`
	DeletionPolicy string         `yaml:"DeletionPolicy"`
	ReplacePolicy  string         `yaml:"UpdateReplacePolicy"`
	UpdatePolicy   map[string]any `yaml:"UpdatePolicy"`
	Properties     map[string]any `yaml:"Properties"`
}

type awsOnly struct {
	Parameters map[string]struct {
		Type    string `yaml:"Type"`
		Default any    `yaml:"Default"`
		NoEcho  bool   `yaml:"NoEcho"`
	} `yaml:"Parameters"`
	Conditions map[string]any      `yaml:"Conditions"`
	Resources  map[string]optional `yaml:"Resources"`
}

const besidePath = "../../infra/aws-only.yaml"

// beside reads the template that stands beside the platform's.
func beside(t *testing.T) awsOnly {
	t.Helper()
	raw, err := os.ReadFile(besidePath)
	if err != nil {
		t.Fatal(err)
	}
	return parseBeside(t, raw)
}

func parseBeside(t *testing.T, raw []byte) awsOnly {
	t.Helper()
	var s awsOnly
	if err := yaml.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// besideViolations says where the template breaks the laws of what is only on AWS.
func besideViolations(s awsOnly) (out []string) {
	add := func(name, law string) { out = append(out, name+": "+law) }
	rule := ""
	for _, r := range s.Resources {
		if r.Type == "AWS::CloudWatch::CompositeAlarm" {
			rule = fmt.Sprint(r.Properties["AlarmRule"])
		}
	}
	for name, r := range s.Resources {
		p := r.Properties
		if _, ok := s.Conditions[r.Condition]; !ok {
			add(name, "a resource belongs to a part")
		}
		for _, text := range texts(p) {
			if strings.Contains(strings.ToLower(text), "waybill") && text != "waybill:partner" {
				add(name, "nothing carries a brand, as "+text)
			}
		}
		for _, key := range []string{"AlarmName", "Name", "FunctionName", "LogGroupName", "ArchiveName", "ApplicationName", "RoleName", "TopicName"} {
			named, _ := p[key].(string)
			derived := strings.HasPrefix(named, "${AWS::StackName}") || s.has(named)
			if named != "" && !derived && r.Type != "AWS::Lambda::Alias" { // an alias is named within its function
				add(name, "a name derives from the stack's, not "+named)
			}
		}
		switch r.Type {
		case "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm":
			if d, _ := p["AlarmDescription"].(string); len(d) < 40 {
				add(name, "an alarm says what is wrong and what to do")
			}
			if !slices.Contains(list(p["AlarmActions"]), "AlarmTopic") {
				add(name, "an alarm tells somebody")
			}
			if r.Type == "AWS::CloudWatch::Alarm" {
				if p["TreatMissingData"] != "notBreaching" {
					add(name, "an idle platform is no trouble")
				}
				if !strings.Contains(rule, `ALARM("${`+name+`}")`) {
					add(name, "the composite alarm knows every alarm")
				}
			}
		case "AWS::Events::Archive":
			if p["RetentionDays"] == nil {
				add(name, "an archive has a retention")
			}
		case "AWS::Logs::LogGroup":
			if r.DeletionPolicy == "" {
				add(name, "a log group says what becomes of it")
			}
		case "AWS::IAM::Role":
			for _, st := range statements(p["AssumeRolePolicyDocument"]) {
				principal, _ := st["Principal"].(map[string]any)
				if len(list(principal["Service"])) != 1 || len(principal) != 1 || st["Condition"] == nil {
					add(name, "a role is assumed by one service, of this account")
				}
			}
			if p["ManagedPolicyArns"] != nil {
				add(name, "a role says itself what it may")
			}
		case "AWS::Lambda::Version":
			if r.DeletionPolicy != "Delete" {
				add(name, "a version that an update published goes when it is taken back, or the next cannot publish it")
			}
			if r.ReplacePolicy != "Retain" {
				add(name, "the version before stays")
			}
		case "AWS::Lambda::Alias":
			if r.UpdatePolicy["CodeDeployLambdaAliasUpdate"] == nil {
				add(name, "an alias moves gradually")
			}
		case "AWS::CodeDeploy::DeploymentGroup":
			alarms, _ := p["AlarmConfiguration"].(map[string]any)
			back, _ := p["AutoRollbackConfiguration"].(map[string]any)
			if alarms["Enabled"] != true || alarms["IgnorePollAlarmFailure"] != false || alarms["Alarms"] == nil ||
				!slices.Contains(list(back["Events"]), "DEPLOYMENT_STOP_ON_ALARM") {
				add(name, "an alarm takes a deployment back")
			}
		case "AWS::WAFv2::WebACL":
			if p["Scope"] != "CLOUDFRONT" {
				add(name, "a firewall stands before CloudFront; it does not attach to an HTTP API")
			}
			for _, sampled := range find(p, "SampledRequestsEnabled") {
				if sampled != false {
					add(name, "no path is sampled: it holds a hook's token")
				}
			}
			for _, group := range find(p, "ManagedRuleGroupStatement") {
				if m, _ := group.(map[string]any); m["Name"] != "AWSManagedRulesAmazonIpReputationList" {
					add(name, "a firewall does not look into bodies")
				}
			}
		case "AWS::CloudFront::Distribution":
			c, _ := p["DistributionConfig"].(map[string]any)
			b, _ := c["DefaultCacheBehavior"].(map[string]any)
			switch {
			case c["Logging"] != nil:
				add(name, "no path is logged: it holds a hook's token")
			case c["WebACLId"] == nil:
				add(name, "the edge has its firewall")
			case b["CachePolicyId"] != "4135ea2d-6df8-44a3-9df3-4b5a84be39ad":
				add(name, "nothing is cached")
			case b["OriginRequestPolicyId"] != "b689b0a8-53d0-40ab-baf2-68738e2966ac":
				add(name, "every header but Host is passed on")
			case b["ViewerProtocolPolicy"] != "https-only":
				add(name, "a redirected POST loses its body")
			case b["Compress"] != false || !slices.Contains(list(b["AllowedMethods"]), "POST"):
				add(name, "a delivery passes as it came")
			}
		}
	}
	slices.Sort(out)
	return out
}

// has tells whether a name is one of the template's own parameters or resources:
// what a reference was before it was read.
func (s awsOnly) has(name string) bool {
	_, parameter := s.Parameters[name]
	_, resource := s.Resources[name]
	return parameter || resource
}

// texts are all texts within a value, keys left out.
func texts(v any) (out []string) {
	switch x := v.(type) {
	case string:
		return []string{x}
	case map[string]any:
		for _, c := range x {
			out = append(out, texts(c)...)
		}
	case []any:
		for _, c := range x {
			out = append(out, texts(c)...)
		}
	}
	return out
}

// find returns what stands under a key anywhere within a value.
func find(v any, key string) (out []any) {
	switch x := v.(type) {
	case map[string]any:
		for k, c := range x {
			if k == key {
				out = append(out, c)
			}
			out = append(out, find(c, key)...)
		}
	case []any:
		for _, c := range x {
			out = append(out, find(c, key)...)
		}
	}
	return out
}

func TestWhatIsOnlyOnAWSKeepsItsLaws(t *testing.T) {
	s := beside(t)
	for _, v := range besideViolations(s) {
		t.Error(v)
	}
	kinds := map[string]int{}
	for _, r := range s.Resources {
		kinds[r.Type]++
	}
	for _, want := range []string{"AWS::CloudWatch::CompositeAlarm", "AWS::Events::Archive", "AWS::CodeDeploy::DeploymentGroup", "AWS::WAFv2::WebACL", "AWS::CloudFront::Distribution"} {
		if kinds[want] != 1 {
			t.Errorf("%d of %s", kinds[want], want)
		}
	}
	if !s.Parameters["OriginSecret"].NoEcho {
		t.Error("the origin's secret is shown by whoever describes the stack")
	}
	if days, _ := s.Parameters["ArchiveRetentionDays"].Default.(int); days < 1 {
		t.Error("the archive keeps events for ever unless somebody says otherwise")
	}
}

// The idle stack may cost 15 dollars a month; the template promises what its part
// of it is.
func TestTheAlarmsCostWhatTheTemplateSays(t *testing.T) {
	cents := map[string]int{}
	for _, r := range beside(t).Resources {
		switch r.Type {
		case "AWS::CloudWatch::CompositeAlarm":
			cents[r.Condition] += 50
		case "AWS::CloudWatch::Alarm":
			cents[r.Condition] += 10 * max(1, len(find(r.Properties, "MetricStat")))
		}
	}
	raw, err := os.ReadFile(besidePath)
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`region (\d+)\.(\d\d) dollars[\s\S]*?gradual deployment (\d+)\.(\d\d) more`).FindStringSubmatch(string(raw))
	if len(said) != 5 || fmt.Sprint(cents["Region"]) != said[1]+said[2] || fmt.Sprintf("%03d", cents["Gradual"]) != said[3]+said[4] {
		t.Errorf("the alarms come to %v cents; the template says %q", cents, said)
	}
}

// A composite alarm takes 100 alarms, a parameter 4096 bytes.
func TestTheAlarmsOfThePlatformFitTheCompositeAlarm(t *testing.T) {
	alarms, bytes := 0, 0
	for name, r := range load(t, "../../infra/flows.yaml").Resources {
		if r.Type == "AWS::CloudWatch::Alarm" {
			alarms++
			// What CloudFormation calls an alarm of a nested stack.
			bytes += len("a-partners-own-waybill-Flows-1A2B3C4D5E6F7-") + len(name) + len("-1A2B3C4D5E6F") + 1
		}
	}
	if alarms == 0 || alarms > 90 || bytes > 4096 {
		t.Errorf("%d alarms with %d bytes of names", alarms, bytes)
	}
}

func TestTheLawsOfWhatIsOnlyOnAWSCatchAViolation(t *testing.T) {
	for name, text := range map[string]string{
		"a resource of no part":                 `Resources: {A: {Type: "AWS::Events::Archive", Properties: {RetentionDays: 1}}}`,
		"an archive that keeps for ever":        `{Conditions: {X: true}, Resources: {A: {Type: "AWS::Events::Archive", Condition: X, Properties: {}}}}`,
		"an alarm that nobody hears":            `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudWatch::CompositeAlarm", Condition: X, Properties: {AlarmDescription: "something is wrong, and this is long enough to say so"}}}}`,
		"an alarm without a word":               `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudWatch::CompositeAlarm", Condition: X, Properties: {AlarmActions: [AlarmTopic]}}}}`,
		"an alarm that the composite forgets":   `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudWatch::Alarm", Condition: X, Properties: {TreatMissingData: notBreaching, AlarmActions: [AlarmTopic], AlarmDescription: "something is wrong, and this is long enough to say so"}}}}`,
		"a brand":                               `{Conditions: {X: true}, Resources: {A: {Type: "AWS::ApiGatewayV2::Api", Condition: X, Properties: {Description: Waybill}}}}`,
		"a name of its own":                     `{Conditions: {X: true}, Resources: {A: {Type: "AWS::ApiGatewayV2::Api", Condition: X, Properties: {Name: front}}}}`,
		"a role for everybody":                  `{Conditions: {X: true}, Resources: {A: {Type: "AWS::IAM::Role", Condition: X, Properties: {AssumeRolePolicyDocument: {Statement: [{Effect: Allow, Action: "sts:AssumeRole", Principal: "*"}]}}}}}`,
		"a role by a managed policy":            `{Conditions: {X: true}, Resources: {A: {Type: "AWS::IAM::Role", Condition: X, Properties: {ManagedPolicyArns: [x]}}}}`,
		"a version that outlives its rollback":  `{Conditions: {X: true}, Resources: {A: {Type: "AWS::Lambda::Version", Condition: X, DeletionPolicy: Retain, UpdateReplacePolicy: Retain, Properties: {}}}}`,
		"a version that goes with the next":     `{Conditions: {X: true}, Resources: {A: {Type: "AWS::Lambda::Version", Condition: X, DeletionPolicy: Delete, Properties: {}}}}`,
		"an alias that jumps":                   `{Conditions: {X: true}, Resources: {A: {Type: "AWS::Lambda::Alias", Condition: X, Properties: {}}}}`,
		"a deployment that nothing takes back":  `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CodeDeploy::DeploymentGroup", Condition: X, Properties: {}}}}`,
		"a firewall for a region":               `{Conditions: {X: true}, Resources: {A: {Type: "AWS::WAFv2::WebACL", Condition: X, Properties: {Scope: REGIONAL}}}}`,
		"a firewall that samples paths":         `{Conditions: {X: true}, Resources: {A: {Type: "AWS::WAFv2::WebACL", Condition: X, Properties: {Scope: CLOUDFRONT, VisibilityConfig: {SampledRequestsEnabled: true}}}}}`,
		"a firewall that looks into bodies":     `{Conditions: {X: true}, Resources: {A: {Type: "AWS::WAFv2::WebACL", Condition: X, Properties: {Scope: CLOUDFRONT, Rules: [{Statement: {ManagedRuleGroupStatement: {Name: AWSManagedRulesCommonRuleSet}}}]}}}}`,
		"an edge that caches":                   `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudFront::Distribution", Condition: X, Properties: {DistributionConfig: {WebACLId: x, DefaultCacheBehavior: {CachePolicyId: y}}}}}}`,
		"an edge that loses signatures":         `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudFront::Distribution", Condition: X, Properties: {DistributionConfig: {WebACLId: x, DefaultCacheBehavior: {CachePolicyId: 4135ea2d-6df8-44a3-9df3-4b5a84be39ad}}}}}}`,
		"an edge that writes tokens into a log": `{Conditions: {X: true}, Resources: {A: {Type: "AWS::CloudFront::Distribution", Condition: X, Properties: {DistributionConfig: {Logging: {}}}}}}`,
	} {
		if len(besideViolations(parseBeside(t, []byte(text)))) == 0 {
			t.Errorf("%s passes", name)
		}
	}
}
