// Package arch holds the laws of the tree.
package arch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/waybillhq/waybill/"

type listed struct {
	ImportPath string
	Imports    []string
}

// law says what the packages below a path may import of this module.
type law struct {
	below   string
	allowed []string
	why     string
}

var core = []string{"internal/retail", "internal/fault", "internal/document", "internal/effect", "internal/inbox", "internal/stock", "internal/rules", "internal/job"}

var laws = []law{
	{"internal/retail", nil, "the canonical model depends on nothing"},
	{"internal/fault", nil, "a fault depends on nothing"},
	{"internal/rules", []string{"internal/retail", "internal/fault"}, "rules are data and arithmetic"},
	{"internal/stock", []string{"internal/retail", "internal/fault", "internal/document", "internal/rules", "internal/job"}, "stock knows no adapter and no flow"},
	{"internal/flow", append([]string{"internal/flow"}, core...), "a flow reaches AWS, vendors and the network through its own ports"},
	{"internal/document", core, "a document's life knows no adapter"},
	{"internal/job", []string{"internal/retail", "internal/fault", "internal/job"}, "a job knows what it works on through its kind alone"},
	{"internal/effect", core, "the ledger knows no adapter"},
	{"internal/mapping", append([]string{"internal/mapping", "internal/flow"}, core...), "maps and overrides know no adapter and no connector"},
	{"internal/connector/shopify", []string{"internal/retail", "internal/fault", "internal/effect", "internal/egress"}, "a connector translates, and knows no flow"},
	{"internal/connector/shipbob", []string{"internal/retail", "internal/fault", "internal/effect", "internal/egress"}, "a connector translates, and knows no flow"},
	{"internal/connector/tryton", []string{"internal/retail", "internal/fault", "internal/effect", "internal/egress"}, "a connector translates, and knows no flow"},
	{"functions", []string{"internal/boot", "internal/document", "internal/queue"}, "a function is wiring"},
}

var badNames = []string{"util", "utils", "common", "helpers", "helper", "base", "manager", "misc"}

func violations(p listed) (out []string) {
	path := strings.TrimPrefix(p.ImportPath, module)
	if slices.Contains(badNames, filepath.Base(path)) {
		out = append(out, path+" has a name that says nothing")
	}
	simulator := strings.HasSuffix(path, "test")
	for _, l := range laws {
		if (path != l.below && !strings.HasPrefix(path, l.below+"/")) || simulator {
			continue
		}
		for _, i := range p.Imports {
			in, ours := strings.CutPrefix(i, module)
			if ours && !within(in, l.allowed) {
				out = append(out, path+" imports "+in+": "+l.why)
			}
		}
	}
	for _, i := range p.Imports {
		in, ours := strings.CutPrefix(i, module)
		local := strings.HasPrefix(in, "internal/local") || strings.HasSuffix(in, "test") && strings.HasPrefix(in, "internal/connector/")
		if ours && local && !within(path, []string{"internal/local", "internal/cli", "test"}) && !simulator {
			out = append(out, path+" imports "+in+": simulators and the local AWS are for the command and the tests")
		}
	}
	return out
}

func within(path string, folders []string) bool {
	for _, f := range folders {
		if path == f || strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; n++ {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, v := range violations(p) {
			t.Error(v)
		}
	}
	if n < 30 {
		t.Errorf("only %d packages were looked at", n)
	}
}

func TestTheImportLawsCatchAViolation(t *testing.T) {
	for _, p := range []listed{
		{module + "internal/retail", []string{module + "internal/fault"}},
		{module + "internal/flow/order", []string{module + "internal/dynamo"}},
		{module + "internal/flow/order", []string{module + "internal/connector/shopify"}},
		{module + "internal/connector/shopify", []string{module + "internal/flow/order"}},
		{module + "internal/connector/shopify", []string{module + "internal/connector/tryton"}},
		{module + "functions/order-intake", []string{module + "internal/dynamo"}},
		{module + "internal/boot", []string{module + "internal/connector/shopify/shopifytest"}},
		{module + "internal/rules", []string{module + "internal/stock"}},
		{module + "internal/stock", []string{module + "internal/dynamo"}},
		{module + "internal/util", nil},
	} {
		if len(violations(p)) == 0 {
			t.Errorf("%v passes", p)
		}
	}
}

// A function is wiring of at most 40 lines, and starts nothing before main.
func TestFunctionsAreShortAndNothingRunsBeforeMain(t *testing.T) {
	mains, err := filepath.Glob("../../functions/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	for _, f := range mains {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(raw, []byte("\n")); n > 40 {
			t.Errorf("%s has %d lines", f, n)
		}
		if !bytes.HasPrefix(raw, []byte("// "+filepath.Base(filepath.Dir(f))+" ")) {
			t.Errorf("%s does not begin with what it does", f)
		}
	}
	err = filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".waybill" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parsing %s: %w", path, err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
