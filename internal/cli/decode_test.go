//go:build unix

package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecodeTriesFilesAndFolders(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("good/orders__create.json", order(t))
	put("schema.json", `{"$schema":"x"}`)
	code, out, errs := run(t, "", "decode", "--connector", "shopify", dir)
	if code != 0 || !strings.Contains(out, "shopify: 1 tried, 1 decoded, 0 refused; 1 files hold no document") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	put("bad.json", strings.Replace(order(t), `"total_price":"`, `"total_price":"9`, 1))
	put("fulfillments__create.json", `{"id":1}`)
	put(".hidden.json", `{`)
	code, out, _ = run(t, "", "decode", "--connector", "shopify", dir, filepath.Join(dir, "bad.json"))
	for _, want := range []string{"Exception/totals_differ total_price:", "topic: the topic is not handled", "3 tried, 1 decoded, 2 refused"} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("exit %d without %q\n%s", code, want, out)
		}
	}
	code, out, _ = run(t, "", "decode", "--connector", "shopify", "--json", dir)
	var told struct {
		Connector      string
		Tried, Refused int
		Documents      []struct{ File, Verdict, Class, Field, Reason string }
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != 1 || told.Connector != "shopify" || told.Tried != 3 || told.Refused != 2 || len(told.Documents) != 4 {
		t.Errorf("exit %d, %v: %+v", code, err, told)
	}
	if code, _, errs = run(t, "", "decode", "--connector", "shopify", filepath.Join(dir, "none")); code != 1 || !strings.Contains(errs, "none") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs = run(t, "", "decode", "--connector", "shopify"); code != 1 || !strings.Contains(errs, "--object") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestAFileThatCannotBeReadHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("a.json"), []byte(order(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(path("large.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(large.Truncate(16<<20+1), large.Close(), os.Symlink("nowhere", path("gone.json")), os.Mkdir(path("locked"), 0)); err != nil {
		t.Fatal(err)
	}
	refused := 2
	if _, err := os.ReadDir(path("locked")); err != nil {
		refused++ // nobody is locked out who runs as root
	}
	code, out, errs := run(t, "", "decode", "--connector", "shopify", dir)
	for _, want := range []string{
		"large.json is larger than 16 MiB", "gone.json: no such file",
		fmt.Sprintf("shopify: %d tried, 1 decoded, %d refused; 0 files hold no document", 1+refused, refused),
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("exit %d without %q\n%s%s", code, want, out, errs)
		}
	}
}
