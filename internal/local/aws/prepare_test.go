//go:build unix

package localaws_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/python"
)

// fakePython writes an interpreter that answers what Prepare asks of one and
// notes each installation; fail is a line of shell that runs before it.
func fakePython(t *testing.T, version, fail string) (path, notes string) {
	t.Helper()
	dir := t.TempDir()
	path, notes = filepath.Join(dir, "python3"), filepath.Join(dir, "notes")
	script := `#!/bin/sh
case "$*" in
*version_info*) echo "` + version + `"; exit ;;
esac
` + fail + `
case "$*" in
*"-m venv "*) for dir; do :; done; mkdir -p "$dir/bin"; cp "$0" "$dir/bin/python" ;;
*"-m pip install"*) echo installed >> "` + notes + `" ;;
*boot.py*) env; echo "no such module" >&2; exit 7 ;;
esac
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, notes
}

func installs(t *testing.T, notes string) int {
	t.Helper()
	data, err := os.ReadFile(notes)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "installed")
}

func TestTheEnvironmentIsInstalledOnce(t *testing.T) {
	interpreter, notes := fakePython(t, "3 12", "")
	config := localaws.Config{Dir: t.TempDir(), Python: interpreter}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := localaws.Prepare(t.Context(), config); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := installs(t, notes); n != 1 {
		t.Errorf("installed %d times, want once", n)
	}
}

func TestAnInterruptedInstallationIsStartedAfresh(t *testing.T) {
	interpreter, notes := fakePython(t, "3 12", "")
	config := localaws.Config{Dir: t.TempDir(), Python: interpreter}
	if err := localaws.Prepare(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	stamps, err := filepath.Glob(filepath.Join(config.Dir, "venv-*", "waybill-complete"))
	if err != nil || len(stamps) != 1 {
		t.Fatalf("got %v, %v, want one stamp", stamps, err)
	}
	half := filepath.Join(filepath.Dir(stamps[0]), "half-a-package")
	if err := os.WriteFile(half, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(stamps[0]); err != nil {
		t.Fatal(err)
	}
	if err := localaws.Prepare(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if n := installs(t, notes); n != 2 {
		t.Errorf("installed %d times, want twice", n)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Error("the half-installed environment was kept")
	}
}

func TestAnotherPythonGetsAnEnvironmentOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"3 12", "3 13"} {
		interpreter, notes := fakePython(t, version, "")
		if err := localaws.Prepare(t.Context(), localaws.Config{Dir: dir, Python: interpreter}); err != nil {
			t.Fatal(err)
		}
		if installs(t, notes) != 1 {
			t.Errorf("Python %s was not installed into", version)
		}
	}
}

func TestAPythonThatCannotBeUsedIsNamedWithARemedy(t *testing.T) {
	old, _ := fakePython(t, "3 10", "")
	two, _ := fakePython(t, "2 7", "")
	bare, _ := fakePython(t, "3 12", `case "$*" in *ensurepip*) exit 1 ;; esac`)
	cases := map[string]struct {
		python string
		want   []string
	}{
		"too old":             {old, []string{"3.11 or newer", "found 3.10", "sudo apt install python3", "sudo dnf install python3", "brew install python"}},
		"not a Python 3":      {two, []string{two, "3.11 or newer"}},
		"not there":           {filepath.Join(t.TempDir(), "none"), []string{"none", "3.11 or newer"}},
		"without environment": {bare, []string{"venv", "sudo apt install python3.12-venv"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := localaws.Prepare(t.Context(), localaws.Config{Dir: t.TempDir(), Python: c.python})
			var unusable *python.MissingError
			if !errors.As(err, &unusable) {
				t.Fatalf("got %v, want a MissingError", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAMachineWithoutPythonGetsARemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := localaws.Prepare(t.Context(), localaws.Config{Dir: t.TempDir()})
	var unusable *python.MissingError
	if !errors.As(err, &unusable) || !strings.Contains(err.Error(), "sudo apt install python3") {
		t.Errorf("got %v", err)
	}
}

func TestAFailedInstallationShowsTheEndOfItsLog(t *testing.T) {
	interpreter, _ := fakePython(t, "3 12", `case "$*" in *"-m pip"*) echo "ERROR: no route to host"; exit 1 ;; esac`)
	config := localaws.Config{Dir: t.TempDir(), Python: interpreter}
	err := localaws.Prepare(t.Context(), config)
	var failed *python.CommandError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a CommandError", err)
	}
	if !strings.Contains(failed.Tail, "no route to host") || !strings.Contains(err.Error(), failed.Log) {
		t.Errorf("the error shows neither the log nor where it is: %v", err)
	}
	if _, err := os.Stat(failed.Log); err != nil {
		t.Error(err)
	}
	if err := localaws.Prepare(t.Context(), config); !errors.As(err, &failed) {
		t.Errorf("a failed installation counts as complete: %v", err)
	}
}

func TestAnInstallationCanBeCancelled(t *testing.T) {
	interpreter, _ := fakePython(t, "3 12", `case "$*" in *"-m pip"*) sleep 1000 ;; esac`)
	ctx, cancel := context.WithCancel(t.Context())
	err := localaws.Prepare(ctx, localaws.Config{Dir: t.TempDir(), Python: interpreter, Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestAnAccountHasTwelveDigits(t *testing.T) {
	for _, account := range []string{"1", "12345678901x", "1234567890123"} {
		if err := localaws.Prepare(t.Context(), localaws.Config{Dir: t.TempDir(), Account: account}); err == nil {
			t.Errorf("account %q is accepted", account)
		}
	}
}
