package build_test

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/local/build"
)

// module writes a module whose functions print what they are given.
func module(t *testing.T, functions map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module sample\n\ngo 1.24\n")
	for name, says := range functions {
		write(t, filepath.Join(root, "functions", name, "main.go"), program(says))
	}
	return root
}

func program(says string) string {
	return "package main\n\nfunc main() { println(\"" + says + "\") }\n"
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func built(t *testing.T, root string) map[string]build.Function {
	t.Helper()
	list, err := build.Functions(t.Context(), build.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]build.Function{}
	for _, f := range list {
		byName[f.Name] = f
	}
	return byName
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEachFunctionBecomesAnArchiveWithAnExecutableBootstrap(t *testing.T) {
	root := module(t, map[string]string{"one": "1", "two": "2"})
	functions := built(t, root)
	if len(functions) != 2 {
		t.Fatalf("got %v, want one and two", functions)
	}
	for name, f := range functions {
		if want := filepath.Join(root, "functions", name); f.Dir != want {
			t.Errorf("%s: got folder %s, want %s", name, f.Dir, want)
		}
		r, err := zip.OpenReader(f.Zip)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.File) != 1 || r.File[0].Name != "bootstrap" || r.File[0].Mode() != 0o755 {
			t.Errorf("%s: got %v, want an executable bootstrap alone", name, r.File)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheSameSourceGivesTheSameArchiveByteByByte(t *testing.T) {
	source := map[string]string{"one": "1"}
	a, b := built(t, module(t, source)), built(t, module(t, source))
	if read(t, a["one"].Zip) != read(t, b["one"].Zip) {
		t.Error("two folders with the same source gave different archives")
	}
}

func TestOnlyWhatChangedIsPackedAgain(t *testing.T) {
	root := module(t, map[string]string{"one": "1", "two": "2"})
	f := built(t, root)
	before := map[string]string{"one": read(t, f["one"].Zip), "two": read(t, f["two"].Zip)}
	long := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name := range before {
		if err := os.Chtimes(f[name].Zip, long, long); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "functions", "one", "main.go"), program("changed"))
	built(t, root)
	if read(t, f["one"].Zip) == before["one"] {
		t.Error("the changed function kept its archive")
	}
	info, err := os.Stat(f["two"].Zip)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(long) {
		t.Error("the unchanged function was packed again")
	}
}

func TestAnArchiveWithoutItsMarkIsMadeAgain(t *testing.T) {
	root := module(t, map[string]string{"one": "1"})
	path := built(t, root)["one"].Zip
	want := read(t, path)
	write(t, path, "half an archive")
	if err := os.Remove(path + ".of"); err != nil {
		t.Fatal(err)
	}
	built(t, root)
	if read(t, path) != want {
		t.Error("an archive that was only half written was kept")
	}
}

func TestAFunctionThatIsGoneLeavesNothingBehind(t *testing.T) {
	root := module(t, map[string]string{"one": "1", "two": "2"})
	built(t, root)
	if err := os.RemoveAll(filepath.Join(root, "functions", "two")); err != nil {
		t.Fatal(err)
	}
	built(t, root)
	left := ""
	for _, pattern := range []string{"*", "bin/*"} {
		paths, err := filepath.Glob(filepath.Join(root, ".waybill", "build", pattern))
		if err != nil {
			t.Fatal(err)
		}
		left += strings.Join(paths, " ")
	}
	if strings.Contains(left, "two") {
		t.Errorf("left behind: %s", left)
	}
}

func TestACompileErrorIsTheCompilersOwnMessage(t *testing.T) {
	root := module(t, map[string]string{"one": "1"})
	write(t, filepath.Join(root, "functions", "one", "main.go"), "package main\n\nfunc main() { missing() }\n")
	_, err := build.Functions(t.Context(), build.Options{Root: root})
	var compile *build.CompileError
	if !errors.As(err, &compile) || !strings.Contains(compile.Output, "functions/one/main.go:3:15: undefined: missing") {
		t.Errorf("got %v", err)
	}
}

func TestProgressEndsWithAllFunctionsDone(t *testing.T) {
	root := module(t, map[string]string{"one": "1", "two": "2"})
	var last struct {
		name        string
		done, total int
	}
	_, err := build.Functions(t.Context(), build.Options{Root: root, Progress: func(name string, done, total int) {
		if done < last.done {
			t.Errorf("done went from %d to %d", last.done, done)
		}
		last.name, last.done, last.total = name, done, total
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last.name != "" || last.done != 2 || last.total != 2 {
		t.Errorf("got %+v last, want 2 of 2", last)
	}
}

func TestAFolderWithoutFunctionsIsAnError(t *testing.T) {
	if _, err := build.Functions(t.Context(), build.Options{Root: t.TempDir()}); !errors.Is(err, build.ErrNoFunctions) {
		t.Errorf("got %v, want ErrNoFunctions", err)
	}
}

func TestACancelledBuildSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := build.Functions(ctx, build.Options{Root: module(t, map[string]string{"one": "1"})}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
