//go:build unix

// Package lock lets one command at a time run the local environment of a
// folder, and finds ports.
package lock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Lock is held until Release or until the process that took it ends.
type Lock struct{ file *os.File }

// HeldError says that another process holds the lock.
type HeldError struct {
	Path    string
	PID     int       // 0 when the holder has not written it yet
	Started time.Time // when the holder took the lock
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another process holds %s", e.Path)
	}
	return fmt.Sprintf("process %d holds %s since %s: stop it first (kill %d)",
		e.PID, e.Path, e.Started.Local().Format("2006-01-02 15:04:05"), e.PID)
}

type holder struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// Acquire takes the lock at once or fails with a *HeldError. The kernel drops
// the lock with the process that holds it, however it ends, so a file that a
// dead process left behind locks nothing, even when its id is in use again.
func Acquire(path string, now func() time.Time) (*Lock, error) {
	return acquire(path, now, syscall.LOCK_EX|syscall.LOCK_NB)
}

// Wait is Acquire, but waits for the holder to end.
func Wait(path string, now func() time.Time) (*Lock, error) {
	return acquire(path, now, syscall.LOCK_EX)
}

func acquire(path string, now func() time.Time, how int) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("creating the folder of the lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := flock(f, how); err != nil {
		defer func() { _ = f.Close() }() // only read, and not locked by us
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		held := &HeldError{Path: path}
		var h holder
		if data, err := io.ReadAll(f); err == nil && json.Unmarshal(data, &h) == nil {
			held.PID, held.Started = h.PID, h.Started
		}
		return nil, held
	}
	data, err := json.Marshal(holder{PID: os.Getpid(), Started: now().UTC()})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(data, '\n'), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the lock: %w", errors.Join(err, f.Close()))
	}
	return &Lock{file: f}, nil
}

// flock repeats the call while signals interrupt it.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// Release drops the lock. The file stays: removing it would let two processes
// lock two files of one name.
func (l *Lock) Release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("releasing the lock: %w", err)
	}
	return nil
}
