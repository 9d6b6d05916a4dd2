//go:build unix

package python_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/local/python"
)

// busy starts a child and tells both ids, as pip and its build processes do.
const busy = `
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("ids.new", "w") as f:
    f.write(f"{os.getpid()} {child.pid}")
os.rename("ids.new", "ids")
time.sleep(600)
`

// TestMain lets this binary be the command that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RUN_IN"); dir != "" {
		err := python.Run(context.Background(), command(dir))
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func command(dir string) python.Command {
	path, err := exec.LookPath("python3")
	if err != nil {
		path = "python3 is not on the path"
	}
	return python.Command{Step: "being busy", Log: filepath.Join(dir, "log"), Dir: dir, Env: python.Env(), Interpreter: path,
		Args: []string{filepath.Join(dir, "busy.py")}}
}

func folder(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "busy.py"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// within polls; the limit is for what hangs, not a measure.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal(what)
		case <-tick.C:
		}
	}
}

// ids waits for the ids of the program and its child.
func ids(t *testing.T, dir string) (out []int) {
	t.Helper()
	within(t, "the program did not begin", func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "ids"))
		if err != nil {
			return false
		}
		for _, f := range strings.Fields(string(raw)) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, n)
		}
		return true
	})
	return out
}

func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && len(out) > 0 && !strings.HasPrefix(string(out), "Z")
}

func TestAProgramAndItsChildrenEndWhenWeAreKilled(t *testing.T) {
	dir := folder(t, busy)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_IN="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := ids(t, dir)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for _, pid := range pids {
		within(t, fmt.Sprintf("process %d outlived us", pid), func() bool { return !alive(pid) })
	}
}

func TestAProgramAndItsChildrenEndWithTheContext(t *testing.T) {
	dir := folder(t, busy)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- python.Run(ctx, command(dir)) }()
	pids := ids(t, dir)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	for _, pid := range pids {
		within(t, fmt.Sprintf("process %d outlived its context", pid), func() bool { return !alive(pid) })
	}
}

func TestAFailedProgramShowsTheEndOfItsLog(t *testing.T) {
	dir := folder(t, "import sys; print('no route to host'); sys.exit(3)")
	var failed *python.CommandError
	if err := python.Run(t.Context(), command(dir)); !errors.As(err, &failed) || !strings.Contains(failed.Tail, "no route to host") || !strings.Contains(err.Error(), failed.Log) {
		t.Errorf("err = %v", err)
	}
}

func TestAFileInTheFolderThatWeRunInIsNotTakenForAModule(t *testing.T) {
	dir := folder(t, "")
	for _, name := range []string{"signal.py", "threading.py", "this.py"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("raise SystemExit('taken')"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := command(dir)
	c.Args = []string{"-m", "this"}
	if err := python.Run(t.Context(), c); err != nil {
		t.Error(err)
	}
}
