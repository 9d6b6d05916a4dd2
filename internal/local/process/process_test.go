//go:build unix

package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/local/process"
)

// TestMain lets this binary be a command that starts a process, tells its id
// and is then killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("START_IN"); dir != "" {
		p, err := process.Start(process.Spec{
			Name: "sample", Path: "/bin/sh", Args: []string{"-c", os.Getenv("START_SCRIPT")}, Env: []string{"PATH=" + os.Getenv("PATH")},
			Dir: dir, Log: filepath.Join(dir, "log"), Lifeline: os.Getenv("START_LIFELINE") != "",
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if err := os.WriteFile(filepath.Join(dir, "group"), []byte(strconv.Itoa(p.PID())), 0o644); err != nil {
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, script string) *process.Process {
	t.Helper()
	dir := t.TempDir()
	p, err := process.Start(process.Spec{Name: "sample", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=" + os.Getenv("PATH"), "ONLY=this"}, Dir: dir, Log: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// members counts the living processes of a group.
func members(t *testing.T, group int) int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pgid=,stat=").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == strconv.Itoa(group) && !strings.HasPrefix(f[1], "Z") {
			n++
		}
	}
	return n
}

// until waits for a condition that another process brings about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestStopLeavesNothingOfTheGroupThatIgnoresIt(t *testing.T) {
	p := start(t, `trap '' TERM; sleep 1000 & sleep 1000 & echo up; wait`)
	until(t, "three processes", func() bool { return process.Tail(p.Log(), 1) == "up" && members(t, p.PID()) == 3 })
	if err := p.Stop(t.Context(), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty group", func() bool { return members(t, p.PID()) == 0 })
}

func TestStopTakesAlongWhatAnObedientLeaderLeftBehind(t *testing.T) {
	p := start(t, `trap 'exit 0' TERM; sh -c 'trap "" TERM; echo up; sleep 1000; sleep 1000' & wait`)
	until(t, "a child that ignores the signal", func() bool { return process.Tail(p.Log(), 1) == "up" })
	if err := p.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty group", func() bool { return members(t, p.PID()) == 0 })
}

func TestStopWithAnEndedContextIsImmediate(t *testing.T) {
	p := start(t, `trap '' TERM; echo up; sleep 1000`)
	until(t, "a running process", func() bool { return process.Tail(p.Log(), 1) == "up" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

func TestAProcessThatEndsByItselfSaysHow(t *testing.T) {
	p := start(t, `echo "$ONLY:$HOME"; exit 3`)
	<-p.Done()
	if p.Err() == nil || !strings.Contains(p.Err().Error(), "3") {
		t.Errorf("got %v, want exit status 3", p.Err())
	}
	if got := process.Tail(p.Log(), 5); got != "this:" {
		t.Errorf("got %q: the environment is not the given one", got)
	}
}

func TestAProgramThatDoesNotExistIsAnError(t *testing.T) {
	dir := t.TempDir()
	if _, err := process.Start(process.Spec{Name: "sample", Path: filepath.Join(dir, "none"), Log: filepath.Join(dir, "log"), Lifeline: true}); err == nil {
		t.Error("it started")
	}
}

func TestAProcessDiesWithTheCommandThatStartedIt(t *testing.T) {
	cases := map[string]struct{ script, lifeline string }{
		"by the kernel":    {"exec sleep 1000", ""},
		"by its lifeline":  {"sleep 1000 & sleep 1000 & cat; kill -9 0", "1"},
		"during its start": {"cat; kill -9 0", "1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.lifeline == "" {
				if _, err := os.Stat("/proc/self/stat"); err != nil {
					return // only Linux offers this
				}
			}
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "START_IN="+dir, "START_SCRIPT="+c.script, "START_LIFELINE="+c.lifeline)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			group := 0
			until(t, "a started process", func() bool {
				text, _ := os.ReadFile(filepath.Join(dir, "group"))
				group, _ = strconv.Atoi(string(text))
				return group != 0 && members(t, group) > 0
			})
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			until(t, "an empty group", func() bool { return members(t, group) == 0 })
		})
	}
}

func TestTailReturnsTheLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	cases := map[string]struct {
		text, want string
		n          int
	}{
		"fewer than asked":       {"a\nb\n", "a\nb", 5},
		"the last of many":       {"a\nb\nc\n", "b\nc", 2},
		"an unfinished line":     {"a\nb", "b", 1},
		"nothing":                {"", "", 3},
		"a log longer than read": {strings.Repeat("x\n", 200_000) + "end\n", "end", 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := process.Tail(path, c.n); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := process.Tail(path+".none", 3); got != "" {
		t.Errorf("got %q of a file that is not there", got)
	}
}
