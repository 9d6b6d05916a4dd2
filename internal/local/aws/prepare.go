//go:build unix

package localaws

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
	"github.com/waybillhq/waybill/internal/local/process"
)

//go:embed requirements.txt
var requirements []byte

// The pinned packages decide this: pycparser and rpds-py need 3.11.
const oldestPython = 11

const installHint = "Debian, Ubuntu: sudo apt install python3 python3-venv; Fedora: sudo dnf install python3; macOS: brew install python"

// PythonError says that no usable Python was found and how to get one.
type PythonError struct{ Problem, Remedy string }

func (e *PythonError) Error() string { return e.Problem + " (" + e.Remedy + ")" }

// InstallError says that the packages could not be installed.
type InstallError struct {
	Log  string // path of the whole log
	Tail string // its last lines
	Err  error
}

func (e *InstallError) Error() string {
	return fmt.Sprintf("installing the local AWS: %v\n%s\nThe whole log is %s. The packages come from the Python package index; without direct access set PIP_INDEX_URL or HTTPS_PROXY, which pip honours.", e.Err, e.Tail, e.Log)
}

func (e *InstallError) Unwrap() error { return e.Err }

// Prepare makes sure that the Python environment exists and is complete. It is
// quick when it is, and safe when several processes prepare the same one. An
// installation that was interrupted is started afresh.
//
// It fails with a *PythonError or an *InstallError where the user must act.
func Prepare(ctx context.Context, config Config) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	_, err = prepare(ctx, config)
	return err
}

// prepare returns the interpreter of the environment.
func prepare(ctx context.Context, config Config) (path string, err error) {
	python, err := findPython(ctx, config.Python)
	if err != nil {
		return "", err
	}
	// The interpreter is part of the name: packages are built for one minor
	// version, and an upgrade of the system's Python leaves the others behind.
	sum := sha256.Sum256(append([]byte(python.version+"\n"), requirements...))
	dir := filepath.Join(config.Home, "venv-"+hex.EncodeToString(sum[:6]))
	inside := filepath.Join(dir, "bin", "python")
	if complete(dir, inside) {
		return inside, nil
	}
	l, err := lock.Wait(dir+".lock", time.Now)
	if err != nil {
		return "", err
	}
	defer func() {
		if failed := l.Release(); err == nil {
			err = failed
		}
	}()
	if complete(dir, inside) {
		return inside, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("removing an incomplete Python environment: %w", err)
	}
	if err := checkVenv(ctx, python); err != nil {
		return "", err
	}
	config.Progress("installing the local AWS (once, about 20 s)")
	if err := install(ctx, python.path, dir, dir+".log"); err != nil {
		return "", err
	}
	// The stamp comes last: without it the environment is not used.
	if err := os.WriteFile(filepath.Join(dir, stamp), []byte(python.version+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("marking the Python environment complete: %w", err)
	}
	return inside, nil
}

const stamp = "waybill-complete"

func complete(dir, python string) bool {
	if _, err := os.Stat(filepath.Join(dir, stamp)); err != nil {
		return false
	}
	_, err := os.Stat(python)
	return err == nil
}

func install(ctx context.Context, python, dir, log string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the Python environment: %w", err)
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o644); err != nil {
		return fmt.Errorf("writing the list of packages: %w", err)
	}
	out, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("creating the log of the installation: %w", err)
	}
	// The commands write to descriptors of their own; closing ours loses nothing.
	defer func() { _ = out.Close() }()
	for _, argv := range [][]string{
		{python, "-m", "venv", dir},
		// The list is complete and every file's hash is in it, so there is
		// nothing for pip to resolve.
		{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check", "-r", list},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = pythonEnv(), out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("installing the local AWS: %w", ctx.Err())
			}
			return &InstallError{Log: log, Tail: process.Tail(log, 12), Err: err}
		}
	}
	return nil
}

// pythonEnv is our environment without what would lead Python elsewhere. pip's
// own settings stay: they may name the mirror that this network needs.
func pythonEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "__PYVENV_LAUNCHER__":
			continue
		}
		env = append(env, kv)
	}
	return env
}

type interpreter struct {
	path    string
	version string // 3.11
	minor   int
}

// findPython returns the named interpreter, or the first one on the path that
// is new enough.
func findPython(ctx context.Context, named string) (interpreter, error) {
	names := []string{named}
	if named == "" {
		names = []string{"python3", "python3.14", "python3.13", "python3.12", "python3.11"}
	}
	old := ""
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		found, err := ask(ctx, path)
		if ctx.Err() != nil {
			return interpreter{}, ctx.Err()
		}
		if err != nil {
			continue
		}
		if found.minor >= oldestPython {
			return found, nil
		}
		old = found.version
	}
	switch {
	case old != "":
		return interpreter{}, &PythonError{fmt.Sprintf("Python 3.%d or newer is needed, found %s", oldestPython, old), installHint}
	case named != "":
		return interpreter{}, &PythonError{fmt.Sprintf("%s is not a Python interpreter that runs", named), "give the path of a Python 3." + strconv.Itoa(oldestPython) + " or newer"}
	default:
		return interpreter{}, &PythonError{fmt.Sprintf("Python 3.%d or newer is needed and no python3 was found", oldestPython), installHint}
	}
}

var errNotPython3 = errors.New("not a Python 3")

func ask(ctx context.Context, path string) (interpreter, error) {
	cmd := exec.CommandContext(ctx, path, "-I", "-S", "-c", "import sys; print(sys.version_info[0], sys.version_info[1])")
	out, err := cmd.Output()
	if err != nil {
		return interpreter{}, err
	}
	fields := bytes.Fields(out)
	if len(fields) != 2 || string(fields[0]) != "3" {
		return interpreter{}, errNotPython3
	}
	minor, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return interpreter{}, errNotPython3
	}
	return interpreter{path: path, version: "3." + string(fields[1]), minor: minor}, nil
}

// checkVenv finds out whether the parts are there that Debian and Ubuntu ship
// as a package of their own.
func checkVenv(ctx context.Context, python interpreter) error {
	cmd := exec.CommandContext(ctx, python.path, "-I", "-c", "import venv, ensurepip")
	cmd.Env = pythonEnv()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &PythonError{python.path + " cannot create environments: its venv or ensurepip module is missing",
			fmt.Sprintf("Debian, Ubuntu: sudo apt install python%s-venv; elsewhere install Python with its standard library", python.version)}
	}
	return nil
}
