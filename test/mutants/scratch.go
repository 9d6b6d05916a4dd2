package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// begin makes this process and its children write to one empty folder what they
// would leave in the shared ones, and returns what removes it. The builds of broken
// copies alone are dozens of gigabytes, which nobody asks for again. The folder's
// name is the checkout's, so that a run which was killed leaves no more than the
// next one removes; it stands outside, because gremlins copies the checkout.
func begin() (wipe func(), err error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("waybill-mutants-%x", sha256.Sum256([]byte(root)))[:32])
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	for name, folder := range map[string]string{"TMPDIR": "tmp", "GOCACHE": "build"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o750); err != nil {
			return nil, err
		}
		if err := os.Setenv(name, filepath.Join(dir, folder)); err != nil {
			return nil, err
		}
	}
	return func() { _ = os.RemoveAll(dir) }, nil
}

// command is a program whose whole process group ends with the context: a broken
// copy's test may never end by itself.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // go test of this repository, and the pinned gremlins
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
