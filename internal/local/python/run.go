//go:build unix

package python

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/waybillhq/waybill/internal/local/process"
)

//go:embed guard.py
var guard string

// Command is a Python program that runs to its end.
type Command struct {
	Step        string // what it does, for errors
	Hint        string // what may help where it fails
	Log         string // receives its output, appended
	Dir         string
	Env         []string
	Interpreter string
	Args        []string // a script and its arguments, -m and a module, or -c and a command
}

// CommandError says that a command failed.
type CommandError struct {
	Step string
	Log  string // path of the whole log
	Tail string // its last lines
	Hint string
	Err  error
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %v\n%s\nThe whole log is %s.", e.Step, e.Err, e.Tail, e.Log)
	if e.Hint != "" {
		s += " " + e.Hint
	}
	return s
}

func (e *CommandError) Unwrap() error { return e.Err }

// Run runs the command. It ends with everything that it started when ctx ends
// and when we die, by whatever signal.
//
// It fails with a *CommandError where the command does.
func Run(ctx context.Context, c Command) error {
	p, err := process.Start(process.Spec{Name: c.Step, Path: c.Interpreter, Args: append([]string{"-c", guard}, c.Args...),
		Env: c.Env, Dir: c.Dir, Log: c.Log, Lifeline: true})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s: %w", c.Step, ctx.Err())
	}
	if err := p.Err(); err != nil {
		return &CommandError{Step: c.Step, Log: c.Log, Tail: process.Tail(c.Log, 15), Hint: c.Hint, Err: err}
	}
	return nil
}

// Env is all that a Python program of ours sees of our environment.
func Env() []string {
	env := []string{"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "PYTHONUTF8=1"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// pipEnv adds the settings for the mirror that this network may need.
func pipEnv() []string {
	env := Env()
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

func bin(dir string) string { return filepath.Join(dir, "bin", "python") }
