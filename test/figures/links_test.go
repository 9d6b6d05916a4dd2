package figures_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// A function that can call methods by names that only it knows keeps every
// exported method of all that is linked, in every function: half as much code
// again. Dependencies have brought that before, so whatever may do it is named.
func TestOnlyWhatIsCalledIsLinked(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-ldflags=-dumpdep", "-o", t.TempDir(), "../../functions/job-run")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[:min(len(out), 2000)])
	}
	if len(out) == 0 {
		t.Fatal("the linker tells nothing of what depends on what")
	}
	said := 0
	for line := range bytes.Lines(out) {
		// It opens connections and translates nothing.
		if bytes.Contains(line, []byte("cel-go/parser.(*Parser)")) && said < 5 {
			said++
			t.Errorf("it compiles overrides: %s", line)
		}
		if bytes.Contains(line, []byte("<ReflectMethod>")) && said < 5 {
			said++
			t.Errorf("it calls methods by name: %s", line)
		}
	}
}

// What a package sets up before main is linked whether anybody calls it or not:
// some are a tenth of an archive, and only those that name them may carry them.
func TestNoFunctionCarriesClientsThatItDoesNotName(t *testing.T) {
	const sdk = "github.com/aws/aws-sdk-go-v2/"
	operations := map[string]bool{"alert-send": true, "event-publish": true, "job-run": true}
	mains, err := filepath.Glob("../../functions/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	for _, m := range mains {
		name := filepath.Base(filepath.Dir(m))
		out, err := exec.CommandContext(t.Context(), "go", "list", "-tags", "lambda.norpc", "-deps", "../../functions/"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out) {
			switch path := string(bytes.TrimSpace(line)); path {
			case sdk + "config", sdk + "service/sts", sdk + "service/sso", "cel.dev/cel-go/ext":
				t.Errorf("%s carries %s", name, path)
			case sdk + "service/lambda", sdk + "service/eventbridge", sdk + "service/sns", sdk + "service/dynamodbstreams":
				if !operations[name] {
					t.Errorf("%s carries %s", name, path)
				}
			}
		}
	}
}
