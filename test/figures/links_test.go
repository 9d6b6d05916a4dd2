package figures_test

import (
	"bytes"
	"os/exec"
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
		if bytes.Contains(line, []byte("<ReflectMethod>")) && said < 5 {
			said++
			t.Errorf("it calls methods by name: %s", line)
		}
	}
}
