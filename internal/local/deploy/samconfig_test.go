package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/local/deploy"
)

func TestAnEnvironmentIsReadAsSAMReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samconfig.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, overrides := range map[string]string{
		"a text": `"Partner=acme Architecture=arm64"`, "a list": `["Partner=acme", "Architecture=arm64"]`,
		"a table": `{ Partner = "acme", Architecture = "arm64" }`,
	} {
		write("version = 0.1\n[acme.deploy.parameters]\nstack_name = \"s\"\nregion = \"eu-central-1\"\nconfirm_changeset = true\nparameter_overrides = " + overrides)
		e, err := deploy.ReadEnvironment(path, "acme")
		if err != nil || e.Stack != "s" || e.Region != "eu-central-1" || !e.Confirm || e.Parameters["Partner"] != "acme" || e.Parameters["Architecture"] != "arm64" {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	for name, c := range map[string]struct{ text, says string }{
		"an unknown environment": {"[acme.deploy.parameters]\nstack_name = \"s\"", "there are acme"},
		"no stack name":          {"[beta.deploy.parameters]\nregion = \"x\"", "beta.deploy.parameters.stack_name is missing"},
		"no deploy section":      {"[beta.build]\n", "no [beta.deploy.parameters]"},
		"no pair":                {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = \"x\"", `line 3: beta.deploy.parameters.parameter_overrides has "x", which is no Key=Value`},
		"a wrong type":           {"[beta.deploy.parameters]\nstack_name = 3", "stack_name must be a text"},
		"no table":               {"version = 0.1\nbeta = 5", "line 2: beta must be a table, such as [beta.deploy.parameters]; it is 5"},
		"no table of a command":  {"[beta]\ndeploy = 5", "line 2: beta.deploy must be a table"},
		"no environment at all":  {"version = 0.1\nacme = 5\n[demo.deploy.parameters]\nstack_name = \"s\"", "there are demo"},
		"an unknown key":         {"[beta.deploy.parameters]\nstack_name = \"s\"\nregoin = \"x\"", "line 3: beta.deploy.parameters.regoin is not known; did you mean region?"},
		"another unknown key":    {"[beta.deploy.parameters]\nstack_name = \"s\"\n\"profle\" = \"x\"", "line 3: beta.deploy.parameters.profle is not known; did you mean profile?"},
		"an unknown global key":  {"[beta.global.parameters]\nstack_nam = \"s\"", "line 2: beta.global.parameters.stack_nam is not known; did you mean stack_name?"},
		"an unknown section": {"[beta.deploy.parameters]\nstack_name = \"s\"\n[beta.aws-only.parameters]\nrollback_minutes = 10",
			"line 3: beta.aws-only is not known; did you mean aws_only?"},
		"an unknown table": {"[beta.deploy.paramters]\nstack_name = \"s\"", "line 1: beta.deploy.paramters is not known; did you mean parameters?"},
		"an unknown key of ours": {"[beta.deploy.parameters]\nstack_name = \"s\"\n[beta.aws_only.parameters]\nrollback_minute = 10",
			"line 4: beta.aws_only.parameters.rollback_minute is not known; did you mean rollback_minutes?"},
		"a parameter as a key of ours": {"[beta.deploy.parameters]\nstack_name = \"s\"\n[beta.aws_only.parameters]\nRateLimit = 5",
			"line 4: beta.aws_only.parameters.RateLimit is not known; there are parameter_overrides, rollback_minutes"},
		"no switch": {"[beta.deploy.parameters]\nstack_name = \"s\"\nconfirm_changeset = \"maybe\"",
			`line 3: beta.deploy.parameters.confirm_changeset must be true or false, not "maybe"`},
		"a value that is cut":  {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = \"SubscribedEvents=a, b\"", `has "b", which is no Key=Value; a value with blanks stands in quotes`},
		"an unfinished value":  {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = 'A=\"b'", "which is no Key=Value"},
		"a file of parameters": {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = \"file://p.yaml\"", "which waybill deploy does not read"},
		"a number for a table": {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = 5", "must be a text, a list or a table, not 5"},
		"no TOML":              {"[beta", "line 1"},
	} {
		write(c.text)
		if _, err := deploy.ReadEnvironment(path, "beta"); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEnvironmentSaysNothingThatNobodyFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samconfig.toml")
	read := func(text string) (deploy.Environment, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return deploy.ReadEnvironment(path, "acme")
	}
	// What SAM alone follows stays in the file that serves both.
	if _, err := read(`version = 0.1
[acme.build.parameters]
whatever = true
[acme.local_start_api.parameters]
port = 8080
[acme.global.parameters]
warm_containers = "EAGER"
[acme.deploy.parameters]
stack_name = "s"
s3_bucket = "b"
s3_prefix = "p"
resolve_s3 = true
capabilities = ["CAPABILITY_IAM"]
disable_rollback = false
fail_on_empty_changeset = false
role_arn = "r"
tags = "a=b"
`); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]bool{`"true"`: true, `"Yes"`: true, `1`: true, `"false"`: false, `false`: false, `true`: true} {
		if e, err := read("[acme.deploy.parameters]\nstack_name = \"s\"\nconfirm_changeset = " + text); err != nil || e.Confirm != want {
			t.Errorf("confirm_changeset = %s: %v, %v", text, e.Confirm, err)
		}
	}
}

func TestWhatACommandDoesNotSayIsSaidForAllOfThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samconfig.toml")
	for name, text := range map[string]string{
		"beside the command": "[acme.global.parameters]\nstack_name = \"other\"\nregion = \"eu-west-1\"\nconfirm_changeset = true\n[acme.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = \"Partner=acme\"",
		"alone":              "[acme.global.parameters]\nstack_name = \"s\"\nregion = \"eu-west-1\"\nconfirm_changeset = true\nparameter_overrides = \"Partner=acme\"",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := deploy.ReadEnvironment(path, "acme")
		if err != nil || e.Stack != "s" || e.Region != "eu-west-1" || !e.Confirm || e.Parameters["Partner"] != "acme" || len(e.Beside) != 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// Each text was given to SAM's own reader, which made the same of it.
func TestParametersAreReadAsSAMReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samconfig.toml")
	for text, want := range map[string]map[string]string{
		`'Partner=acme SubscribedEvents="a, b" FairShare=5'`:                         {"Partner": "acme", "SubscribedEvents": "a, b", "FairShare": "5"},
		`"Partner=acme SubscribedEvents=\"a, b\""`:                                   {"Partner": "acme", "SubscribedEvents": "a, b"},
		`"Partner='two words'"`:                                                      {"Partner": "two words"},
		`'Partner=two\ words'`:                                                       {"Partner": "two words"},
		`'Partner="say \"yes\""'`:                                                    {"Partner": `say "yes"`},
		`"ParameterKey=Partner,ParameterValue=acme ParameterKey=A,ParameterValue=b"`: {"Partner": "acme", "A": "b"},
		`'ParameterKey=Partner,ParameterValue="two words"'`:                          {"Partner": "two words"},
		`"Partner=acme Partner=demo"`:                                                {"Partner": "demo"},
		`"EgressAllow=10.0.0.0/8,192.168.0.0/16"`:                                    {"EgressAllow": "10.0.0.0/8,192.168.0.0/16"},
		`["Partner=acme Architecture=arm64", 'SubscribedEvents="a b"']`:              {"Partner": "acme", "Architecture": "arm64", "SubscribedEvents": "a b"},
		`{ FairShare = 5, SubscribedEvents = ["a", " b"], On = true, Rate = 1.0 }`:   {"FairShare": "5", "SubscribedEvents": "a,b", "On": "True", "Rate": "1.0"},
		`[{ Partner = "acme" }, "FairShare=5"]`:                                      {"Partner": "acme", "FairShare": "5"},
		`""`:                                                                         {},
	} {
		if err := os.WriteFile(path, []byte("[acme.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = "+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := deploy.ReadEnvironment(path, "acme"); err != nil || !maps.Equal(e.Parameters, want) {
			t.Errorf("%s: %q, %v", text, e.Parameters, err)
		}
	}
}
