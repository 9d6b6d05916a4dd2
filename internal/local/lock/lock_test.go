//go:build unix

package lock_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

// TestMain lets this binary be the other process: it takes the lock that the
// variable names and holds it until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("HOLD_LOCK"); path != "" {
		if _, err := lock.Acquire(path, clock); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// holder starts another process that holds the lock.
func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HOLD_LOCK="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q", line)
	}
	return cmd
}

func TestALockHeldByAnotherProcessNamesThatProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".waybill", "lock")
	other := holder(t, path)
	_, err := lock.Acquire(path, clock)
	var held *lock.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v, want a HeldError", err)
	}
	if held.PID != other.Process.Pid || !held.Started.Equal(noon) {
		t.Errorf("got process %d since %v, want %d since %v", held.PID, held.Started, other.Process.Pid, noon)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("kill %d", other.Process.Pid)) {
		t.Errorf("the error does not say what to do: %v", err)
	}
}

func TestALockOfAKilledProcessIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other := holder(t, path)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	if _, err := lock.Acquire(path, clock); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatNamesALivingProcessLocksNothingByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	text := fmt.Sprintf(`{"pid":%d,"started":"2026-01-01T00:00:00Z"}`, os.Getppid())
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Acquire(path, clock); err != nil {
		t.Errorf("an id that another process got later keeps the lock: %v", err)
	}
}

func TestAReleasedLockCanBeTakenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for range 2 {
		l, err := lock.Acquire(path, clock)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Acquire(path, clock); err == nil {
			t.Error("two holders of one lock")
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPortSomethingListensOnIsNotFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	var taken *lock.PortError
	if err := lock.Free(t.Context(), port); !errors.As(err, &taken) || taken.Port != port {
		t.Errorf("got %v, want a PortError of %d", err, port)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Free(t.Context(), port); err != nil {
		t.Errorf("nothing listens any more: %v", err)
	}
}

func TestFreePortIsFree(t *testing.T) {
	port, err := lock.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Free(t.Context(), port); err != nil {
		t.Error(err)
	}
}
