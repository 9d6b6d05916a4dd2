//go:build unix

// Package python makes private Python environments from nothing but an
// interpreter and a list of hashes, and runs programs in them that do not
// outlive us.
package python

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
)

const installHint = "Debian, Ubuntu: sudo apt install python3 python3-venv; Fedora: sudo dnf install python3; macOS: brew install python"

const networkHint = "The packages come from the Python package index: check the network; without direct access set PIP_INDEX_URL or HTTPS_PROXY, which pip honours."

// MissingError says that no usable Python was found and how to get one.
type MissingError struct{ Problem, Remedy string }

func (e *MissingError) Error() string { return e.Problem + " (" + e.Remedy + ")" }

// Environment is a private Python environment.
type Environment struct {
	// Name is how errors call what is installed, such as "the local AWS".
	Name string
	// Home holds the environment; several checkouts may share it.
	Home string
	// Interpreter to build it with; empty means the first suitable one on the
	// path.
	Interpreter string
	// Oldest is the oldest minor version of Python 3 that the packages run on.
	Oldest int
	// Requirements is a complete list of packages with the hash of every file.
	Requirements []byte
	// Installing, if set, hears that an installation begins.
	Installing func()
}

// Prepare makes sure that the environment exists and is complete, and returns
// its interpreter. It is quick when it is, and safe when several processes
// prepare the same one. An installation that was interrupted has no stamp and
// is started afresh.
//
// It fails with a *MissingError or a *CommandError where the user must act.
func (e Environment) Prepare(ctx context.Context) (string, error) {
	python, err := find(ctx, e.Interpreter, e.Oldest)
	if err != nil {
		return "", err
	}
	// The interpreter is part of the name: packages are built for one minor
	// version, and an upgrade of the system's Python leaves the others behind.
	sum := sha256.Sum256(append([]byte(python.version+"\n"), e.Requirements...))
	dir := filepath.Join(e.Home, "venv-"+hex.EncodeToString(sum[:6]))
	if complete(dir) {
		return bin(dir), nil
	}
	l, err := lock.Wait(dir+".lock", time.Now)
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Release() }() // the kernel releases it anyway
	if complete(dir) {
		return bin(dir), nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("removing an incomplete Python environment: %w", err)
	}
	if err := checkVenv(ctx, python); err != nil {
		return "", err
	}
	if e.Installing != nil {
		e.Installing()
	}
	if err := e.install(ctx, python, dir); err != nil {
		return "", err
	}
	// The stamp comes last: without it the environment is not used.
	if err := os.WriteFile(filepath.Join(dir, stamp), []byte(python.version+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("marking the Python environment complete: %w", err)
	}
	return bin(dir), nil
}

const stamp = "waybill-complete"

func complete(dir string) bool {
	for _, path := range []string{filepath.Join(dir, stamp), bin(dir)} {
		if _, err := os.Stat(path); err != nil {
			return false
		}
	}
	return true
}

func (e Environment) install(ctx context.Context, python interpreter, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the Python environment: %w", err)
	}
	list, log := filepath.Join(dir, "requirements.txt"), dir+".log"
	if err := os.WriteFile(list, e.Requirements, 0o644); err != nil {
		return fmt.Errorf("writing the list of packages: %w", err)
	}
	if err := os.RemoveAll(log); err != nil {
		return fmt.Errorf("clearing the log of the installation: %w", err)
	}
	c := Command{Step: "creating the Python environment of " + e.Name, Log: log, Env: pipEnv(), Interpreter: python.path, Args: []string{"-m", "venv", dir}}
	if err := Run(ctx, c); err != nil {
		return err
	}
	// The list is complete and every file's hash is in it, so there is nothing
	// for pip to resolve.
	c.Step, c.Hint, c.Interpreter = "installing "+e.Name, networkHint, bin(dir)
	c.Args = []string{"-m", "pip", "install", "--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check", "-r", list}
	return Run(ctx, c)
}

type interpreter struct {
	path    string
	version string // 3.11
	minor   int
}

// find returns the named interpreter, or the first one on the path that is new
// enough.
func find(ctx context.Context, named string, oldest int) (interpreter, error) {
	names := []string{named}
	if named == "" {
		names = []string{"python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"}
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
		if found.minor >= oldest {
			return found, nil
		}
		old = found.version
	}
	switch {
	case old != "":
		return interpreter{}, &MissingError{fmt.Sprintf("Python 3.%d or newer is needed, found %s", oldest, old), installHint}
	case named != "":
		return interpreter{}, &MissingError{fmt.Sprintf("%s is not a Python 3 interpreter that runs", named), "give the path of a Python 3." + strconv.Itoa(oldest) + " or newer"}
	default:
		return interpreter{}, &MissingError{fmt.Sprintf("Python 3.%d or newer is needed and no python3 was found", oldest), installHint}
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
	cmd.Env = Env()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &MissingError{python.path + " cannot create environments: its venv or ensurepip module is missing",
			fmt.Sprintf("Debian, Ubuntu: sudo apt install python%s-venv; elsewhere install Python with its standard library", python.version)}
	}
	return nil
}
