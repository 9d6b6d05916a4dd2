package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/waybillhq/waybill/internal/doctor/doctortest"
	"github.com/waybillhq/waybill/internal/local/deploy"
)

func acme(beside map[string]string) deploy.Environment {
	return deploy.Environment{Name: "acme", Stack: "waybill", Parameters: map[string]string{"Partner": "acme"}, Beside: beside}
}

func TestTheStackBesideIsGivenWhatThePlatformsStackSays(t *testing.T) {
	aws := doctortest.Start(t, "testdata/beside", "healthy")
	s, err := deploy.Beside(t.Context(), aws.Config("eu-central-1"), acme(map[string]string{"ArchiveRetentionDays": "60"}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Part": "region", "Partner": "acme", "ArchiveRetentionDays": "60", "ApiId": "a1b2c3d4e5", "Bus": "waybill-Flows-1A2B3C4D5E6F7-bus",
		"AlarmTopic":         "arn:aws:sns:eu-central-1:111122223333:waybill-Flows-1A2B3C4D5E6F7-Alarms-0123456789AB",
		"FulfillmentMachine": "arn:aws:states:eu-central-1:111122223333:stateMachine:Fulfillment-0123456789AB",
		"ShipmentMachine":    "arn:aws:states:eu-central-1:111122223333:stateMachine:Shipment-0123456789AB",
		"Alarms":             "waybill-Flows-1A2B3C4D5E6F7-OrderInboxDeadAlarm-0123456789AB,waybill-Flows-1A2B3C4D5E6F7-ResumeAgeAlarm-0123456789AB"}
	if s.Name != "waybill-aws-only" || !maps.Equal(s.Parameters, want) || s.Tags["waybill:partner"] != "acme" {
		t.Errorf("stack: %+v", s)
	}
	if slices.Contains(aws.Asked(), "lambda.GetFunctionConfiguration") {
		t.Error("a function was asked for without gradual deployment")
	}
}

func TestGradualDeploymentIsGivenTheFunctionAndItsCode(t *testing.T) {
	aws := doctortest.Start(t, "testdata/beside", "healthy")
	s, err := deploy.Beside(t.Context(), aws.Config("eu-central-1"), acme(map[string]string{"GradualDeployment": "CodeDeployDefault.LambdaCanary10Percent5Minutes"}))
	if err != nil || s.Parameters["WebhookReceive"] != "waybill-Flows-1A2B3C4D5E6F7-WebhookReceive-0123456789ab" ||
		s.Parameters["WebhookReceiveCode"] != "5tT2qgzYUHoqwR616pZ2dpkn/0J1FrzJmlKidWaaCgk=" {
		t.Errorf("stack: %+v, %v", s, err)
	}
}

func TestTheEdgeServesTheAPIOrTheFrontBeforeIt(t *testing.T) {
	for folder, host := range map[string]string{"healthy": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "front": "f6g7h8i9j0.execute-api.eu-central-1.amazonaws.com"} {
		aws := doctortest.Start(t, "testdata/beside", folder)
		s, err := deploy.Edge(t.Context(), aws.Config("eu-central-1"), acme(nil))
		if err != nil || s.Name != "waybill-edge" || s.Parameters["ApiHost"] != host || s.Parameters["Part"] != "edge" {
			t.Errorf("%s: %+v, %v", folder, s, err)
		}
	}
}

func TestNothingStandsBesideAPlatformThatIsNotThere(t *testing.T) {
	aws := doctortest.Start(t, "testdata/beside", "nothing")
	_, region := deploy.Beside(t.Context(), aws.Config("eu-central-1"), acme(nil))
	_, edge := deploy.Edge(t.Context(), aws.Config("eu-central-1"), acme(nil))
	for part, err := range map[string]error{"region": region, "edge": edge} {
		if err == nil || !strings.Contains(err.Error(), "deploy the platform first") {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestAnUpdateIsTakenBackByTheAlarmBesideIfTheEnvironmentSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		folder   string
		minutes  int
		said     bool
		triggers int
	}{
		"not said":            {"front", -1, false, 0},
		"never":               {"front", 0, true, 0},
		"ten minutes":         {"front", 10, true, 1},
		"nothing beside it":   {"healthy", 10, false, 0},
		"no platform, no say": {"nothing", -1, false, 0},
		"its alarm is gone":   {"orphaned", 10, true, 1},
		"gone, and not said":  {"orphaned", -1, true, 1},
		"gone, and never":     {"orphaned", 0, true, 0},
	} {
		aws := doctortest.Start(t, "testdata/beside", c.folder)
		env := acme(nil)
		env.RollbackMinutes = c.minutes
		r, note, err := deploy.Rollback(t.Context(), aws.Config("eu-central-1"), env)
		if err != nil || (r != nil) != c.said {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		if r != nil && len(r.RollbackTriggers) != c.triggers {
			t.Errorf("%s: %+v", name, r)
		}
		if c.folder == "orphaned" && c.minutes != 0 {
			if *r.RollbackTriggers[0].Arn != "arn:aws:cloudwatch:eu-central-1:111122223333:alarm:by-hand" || *r.MonitoringTimeInMinutes != 15 || !strings.Contains(note, "waybill-aws-only is gone") {
				t.Errorf("%s: %+v, %q", name, r, note)
			}
			continue
		}
		if note != "" {
			t.Errorf("%s: %q", name, note)
		}
		if c.triggers > 0 && (*r.MonitoringTimeInMinutes != 10 || *r.RollbackTriggers[0].Type != "AWS::CloudWatch::CompositeAlarm") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// CloudFormation refuses a parameter that the template does not have.
func TestWhatTheStackBesideIsGivenItsTemplateKnows(t *testing.T) {
	raw, err := os.ReadFile("../../../infra/aws-only.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]any `yaml:"Parameters"`
	}
	if err := yaml.Unmarshal(raw, &template); err != nil {
		t.Fatal(err)
	}
	aws := doctortest.Start(t, "testdata/beside", "healthy")
	for _, read := range []func() (deploy.Stack, error){
		func() (deploy.Stack, error) {
			return deploy.Beside(t.Context(), aws.Config("eu-central-1"), acme(map[string]string{"GradualDeployment": "CodeDeployDefault.LambdaAllAtOnce"}))
		},
		func() (deploy.Stack, error) {
			return deploy.Edge(t.Context(), aws.Config("eu-central-1"), acme(nil))
		},
	} {
		s, err := read()
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.Parameters {
			if _, ok := template.Parameters[name]; !ok {
				t.Errorf("the template has no parameter %s", name)
			}
		}
	}
}

func TestAnEnvironmentSaysWhatStandsBesideIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samconfig.toml")
	for text, says := range map[string]string{
		"[acme.deploy.parameters]\nstack_name = \"s\"\n[acme.aws_only.parameters]\nrollback_minutes = 999":                                       "rollback_minutes must be a number from 0 to 180",
		"[acme.deploy.parameters]\nstack_name = \"s\"\n[acme.aws_only.parameters]\nrollback_minutes = 10\nparameter_overrides = \"RateLimit=5\"": "",
		"[acme.deploy.parameters]\nstack_name = \"s\"\n[acme.aws_only.parameters]\nparameter_overrides = \"RateLimit\"":                          `line 4: acme.aws_only.parameters.parameter_overrides has "RateLimit", which is no Key=Value`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := deploy.ReadEnvironment(path, "acme")
		if says == "" && (err != nil || e.Beside["RateLimit"] != "5" || e.RollbackMinutes != 10) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %+v, %v", text, e, err)
		}
	}
}
