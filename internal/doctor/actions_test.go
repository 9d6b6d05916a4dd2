package doctor

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// typesOf are the resource types of a template and of what it nests.
func typesOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]struct {
			Type       string         `yaml:"Type"`
			Properties map[string]any `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &template); err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, r := range template.Resources {
		types[r.Type] = true
		if nested, ok := r.Properties["TemplateURL"].(string); ok {
			maps.Copy(types, typesOf(t, filepath.Join(filepath.Dir(path), nested)))
		}
	}
	return types
}

// The permissions that are examined are those of the templates as they are.
func TestTheActionsAreThoseOfTheTemplates(t *testing.T) {
	for path, listed := range map[string][]string{"../../template.yaml": platformTypes, "../../infra/aws-only.yaml": besideTypes} {
		there := slices.Sorted(maps.Keys(typesOf(t, path)))
		for _, x := range there {
			if !slices.Contains(listed, x) {
				t.Errorf("%s has %s, whose permissions nobody examines", path, x)
			}
		}
		for _, x := range listed {
			if !slices.Contains(there, x) {
				t.Errorf("%s has no %s any more", path, x)
			}
		}
	}
	used := map[string]bool{}
	for _, x := range append(append([]string{}, platformTypes...), besideTypes...) {
		of, ok := expands[x]
		if !ok {
			of = []string{x}
		}
		for _, y := range of {
			if used[y] = true; len(needs[y]) == 0 {
				t.Errorf("nothing says what %s needs", y)
			}
		}
	}
	for x := range needs {
		if !used[x] {
			t.Errorf("no template has %s any more", x)
		}
	}
}

// An action that AWS's own schema does not name would be asked for in vain.
func TestTheActionsAreThoseOfAWSsSchemas(t *testing.T) {
	raw, err := os.ReadFile("testdata/handlers.json")
	if err != nil {
		t.Fatal(err)
	}
	var schemas struct {
		Types map[string][]string `json:"types"`
	}
	if err := json.Unmarshal(raw, &schemas); err != nil {
		t.Fatal(err)
	}
	for x, actions := range needs {
		for _, a := range actions {
			if !slices.Contains(schemas.Types[x], a) {
				t.Errorf("the schema of %s does not name %s", x, a)
			}
		}
	}
	for x, actions := range beyond {
		for _, a := range actions {
			if slices.Contains(schemas.Types[x], a) {
				t.Errorf("the schema of %s names %s itself now", x, a)
			}
		}
	}
}

// A role is passed to each service that a type of the templates runs by, and a
// policy may allow one and not another.
func TestEveryTypeThatPassesARoleSaysToWhom(t *testing.T) {
	for x, actions := range needs {
		if slices.Contains(actions, "iam:PassRole") != (passesTo[x] != "") {
			t.Errorf("%s passes a role to %q", x, passesTo[x])
		}
	}
	for name, set := range map[string]struct{ got, want []string }{
		"deploy":   {named(trialsFor([]string{"iam:PassRole"}, platformTypes)), []string{"iam:PassRole to lambda.amazonaws.com", "iam:PassRole to states.amazonaws.com"}},
		"aws-only": {named(trialsFor([]string{"iam:PassRole"}, besideTypes)), []string{"iam:PassRole to codedeploy.amazonaws.com"}},
	} {
		if !slices.Equal(set.got, set.want) {
			t.Errorf("%s: %q", name, set.got)
		}
	}
}

// What deploying asks of AWS is in the lists of its actions.
func TestTheActionsOfTheCommandAreThoseItTakes(t *testing.T) {
	asks := regexp.MustCompile(`\b(cloudformation|lambda)\.(?:New(\w+?)Paginator|(\w+?)Input)\b`)
	listed := append(slices.Clone(byCommand), byCommandBeside...)
	files, err := filepath.Glob("../local/deploy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	n := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range asks.FindAllStringSubmatch(string(raw), -1) {
			n++
			if a := m[1] + ":" + m[2] + m[3]; !slices.Contains(listed, a) {
				t.Errorf("%s asks %s, which no list has", name, a)
			}
		}
	}
	if n < 8 {
		t.Errorf("found only %d questions", n)
	}
}

func TestEveryActionIsTakenOnAResourceOfItsService(t *testing.T) {
	e := &exam{partition: "aws", account: "111122223333", stackName: "acme-Platform"}
	e.cfg.Region = "eu-central-1"
	for _, a := range append(append(actionsFor(platformTypes), actionsFor(besideTypes)...), byCommand...) {
		service, _, _ := strings.Cut(a, ":")
		r := e.resource(a)
		if r == "*" && a != "kms:CreateKey" && !slices.Contains(beyond["AWS::ApiGatewayV2::Stage"], a) {
			t.Errorf("%s is taken on everything", a)
		}
		if r != "*" && !strings.HasPrefix(r, "arn:aws:"+service+":") {
			t.Errorf("%s is taken on %s", a, r)
		}
	}
}
