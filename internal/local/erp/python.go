//go:build unix

package erp

import (
	"bytes"
	"context"
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

// Tryton 8.0 decides this.
const oldestPython = 10

const installHint = "Debian, Ubuntu: sudo apt install python3 python3-venv; Fedora: sudo dnf install python3; macOS: brew install python"

// PythonError says that no usable Python was found and how to get one.
type PythonError struct{ Problem, Remedy string }

func (e *PythonError) Error() string { return e.Problem + " (" + e.Remedy + ")" }

// BuildError says that a command which builds the ERP failed.
type BuildError struct {
	Step string
	Log  string // path of the whole log
	Tail string // its last lines
	Hint string
	Err  error
}

func (e *BuildError) Error() string {
	s := fmt.Sprintf("%s: %v\n%s\nThe whole log is %s.", e.Step, e.Err, e.Tail, e.Log)
	if e.Hint != "" {
		s += " " + e.Hint
	}
	return s
}

func (e *BuildError) Unwrap() error { return e.Err }

const networkHint = "The packages come from the Python package index: check the network; without direct access set PIP_INDEX_URL or HTTPS_PROXY, which pip honours."

// environment makes sure that the Python environment exists and is complete,
// and returns its interpreter. An installation that was interrupted has no
// stamp and is started afresh.
func environment(ctx context.Context, c Config) (string, error) {
	python, err := findPython(ctx, c.Python)
	if err != nil {
		return "", err
	}
	// The interpreter is part of the name: packages are built for one minor
	// version, and an upgrade of the system's Python leaves the others behind.
	sum, err := digest(python.version, requirements)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(c.Home, "venv-"+sum)
	inside := filepath.Join(dir, "bin", "python")
	if complete(dir, inside) {
		return inside, nil
	}
	l, err := lock.Wait(dir+".lock", time.Now)
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Release() }() // the kernel releases it anyway
	if complete(dir, inside) {
		return inside, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("removing an incomplete Python environment: %w", err)
	}
	if err := checkVenv(ctx, python); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("creating the Python environment: %w", err)
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o644); err != nil {
		return "", fmt.Errorf("writing the list of packages: %w", err)
	}
	log := dir + ".log"
	if err := os.RemoveAll(log); err != nil {
		return "", fmt.Errorf("clearing the log of the installation: %w", err)
	}
	if err := run(ctx, "creating the Python environment", "", log, pipEnv(), python.path, "-m", "venv", dir); err != nil {
		return "", err
	}
	// The list is complete and every file's hash is in it, so there is nothing
	// for pip to resolve.
	if err := run(ctx, "installing the local ERP", networkHint, log, pipEnv(), inside,
		"-m", "pip", "install", "--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check", "-r", list); err != nil {
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

// run runs a command to its end, with its output appended to a log. It is
// killed with everything that it started when ctx ends.
func run(ctx context.Context, step, hint, log string, env []string, argv ...string) error {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", step, err)
	}
	defer func() { _ = out.Close() }() // a log; what is lost with it is said by the command
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", step, ctx.Err())
		}
		return &BuildError{Step: step, Log: log, Tail: process.Tail(log, 15), Hint: hint, Err: err}
	}
	return nil
}

// pipEnv is what pip may see of our environment: nothing that leads Python
// elsewhere, but the settings for the mirror that this network may need.
func pipEnv() []string {
	env := cleanEnv()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NETRC",
			"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT",
			"PIP_RETRIES", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CACHE_DIR", "PIP_CONFIG_FILE":
			env = append(env, kv)
		}
	}
	return env
}

// cleanEnv is all that Tryton sees.
func cleanEnv() []string {
	env := []string{"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "PYTHONUTF8=1"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
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
		names = []string{"python3", "python3.13", "python3.12", "python3.11", "python3.10"}
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
		return interpreter{}, &PythonError{fmt.Sprintf("%s is not a Python 3 interpreter that runs", named), "give the path of a Python 3." + strconv.Itoa(oldestPython) + " or newer"}
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
	cmd.Env = cleanEnv()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &PythonError{python.path + " cannot create environments: its venv or ensurepip module is missing",
			fmt.Sprintf("Debian, Ubuntu: sudo apt install python%s-venv; elsewhere install Python with its standard library", python.version)}
	}
	return nil
}
