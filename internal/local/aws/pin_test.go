//go:build unix

package localaws_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	localaws "github.com/waybillhq/waybill/internal/local/aws"
)

// pinned is the version that boot.py was written for. Raising it means reading
// every correction in boot.py again: it replaces private functions, and one that
// upstream has since repaired must go.
const pinned = "1.5.33"

func file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheCorrectionsBelongToThePinnedVersion(t *testing.T) {
	if !strings.Contains(file(t, "requirements.txt"), "\nministack=="+pinned+" ") {
		t.Errorf("requirements.txt does not pin ministack %s", pinned)
	}
	if !strings.Contains(file(t, "boot.py"), "Patches for ministack "+pinned+";") {
		t.Errorf("boot.py does not say that it is for %s", pinned)
	}
}

func TestEveryPackageIsPinnedByHash(t *testing.T) {
	list := regexp.MustCompile(`(?m)^[a-z]`).FindAllStringIndex(file(t, "requirements.txt"), -1)
	withHash := regexp.MustCompile(`(?m)^[a-z0-9-]+==[^ ]+ \\\n    --hash=sha256:`).FindAllStringIndex(file(t, "requirements.txt"), -1)
	if len(list) == 0 || len(list) != len(withHash) {
		t.Errorf("%d packages, %d with a version and a hash", len(list), len(withHash))
	}
	if strings.Contains(file(t, "requirements.txt"), "\n--") {
		t.Error("requirements.txt sets options of one machine")
	}
}

// imports maps the names that boot.py gives to modules of the emulator.
var imports = map[string]string{
	"app": "app", "LR": "core.lambda_runtime", "A2": "services.apigateway", "CW": "services.cloudwatch", "CL": "services.cloudwatch_logs",
	"D": "services.dynamodb", "L": "services.lambda_svc", "Q": "services.sqs", "SF": "services.stepfunctions",
	"CF": "services.cloudformation", "CH": "services.cloudformation.handlers", "E": "services.cloudformation.engine", "P": "services.cloudformation.provisioners",
}

func TestEveryPrivateNameThatTheCorrectionsTouchExists(t *testing.T) {
	boot := file(t, "boot.py")
	var names []string
	for _, m := range regexp.MustCompile(`\b([A-Z][A-Z0-9]?|app)\.([A-Za-z_][A-Za-z0-9_]*(?:\._[a-z_]+)?)`).FindAllStringSubmatch(boot, -1) {
		if module, ok := imports[m[1]]; ok {
			names = append(names, module+" "+m[2])
		}
	}
	for _, m := range regexp.MustCompile(`H\["([^"]+)"\], "([a-z]+)"`).FindAllStringSubmatch(boot, -1) {
		names = append(names, "services.cloudformation.provisioners _RESOURCE_HANDLERS "+m[1]+" "+m[2])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) < 60 {
		t.Fatalf("found only %d names in boot.py: %v", len(names), names)
	}
	out := inEmulator(t, `
import importlib, importlib.metadata, sys
print("version", importlib.metadata.version("ministack"))
for line in sys.stdin:
    module, name, *keys = line.split()
    at = importlib.import_module("ministack." + module)
    try:
        for part in name.split("."): at = getattr(at, part)
        for key in keys: at = at[key]
    except (AttributeError, KeyError): print("missing", line.strip())
`, strings.Join(names, "\n"))
	if !strings.Contains(out, "version "+pinned+"\n") {
		t.Errorf("the environment has not version %s", pinned)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "missing ") {
			t.Errorf("boot.py needs %s", strings.TrimSpace(strings.TrimPrefix(line, "missing ")))
		}
	}
}

// inEmulator runs a Python program in the emulator's environment.
func inEmulator(t *testing.T, program, input string) string {
	t.Helper()
	config := localaws.Config{Dir: t.TempDir(), Home: home(t)}
	if err := localaws.Prepare(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	stamps, err := filepath.Glob(filepath.Join(config.Home, "venv-*", "waybill-complete"))
	if err != nil || len(stamps) == 0 {
		t.Fatalf("no environment in %s: %v", config.Home, err)
	}
	for _, stamp := range stamps {
		dir := filepath.Dir(stamp)
		if file(t, filepath.Join(dir, "requirements.txt")) != file(t, "requirements.txt") {
			continue
		}
		cmd := exec.Command(filepath.Join(dir, "bin", "python"), "-c", program)
		cmd.Env, cmd.Stdin = []string{"HOME=" + config.Dir}, strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(fmt.Errorf("%w: %s", err, out))
		}
		return string(out)
	}
	t.Fatal("no environment has the present requirements")
	return ""
}
