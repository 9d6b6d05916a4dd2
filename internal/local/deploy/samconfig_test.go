package deploy_test

import (
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
		"no pair":                {"[beta.deploy.parameters]\nstack_name = \"s\"\nparameter_overrides = \"x\"", `"x" is no Key=Value`},
		"a wrong type":           {"[beta.deploy.parameters]\nstack_name = 3", "stack_name must be a text"},
		"no TOML":                {"[beta", "line 1"},
	} {
		write(c.text)
		if _, err := deploy.ReadEnvironment(path, "beta"); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
