//go:build unix && !linux

package process

import "syscall"

// Only Linux offers this; elsewhere a process without a lifeline is stopped by
// the command's own shutdown alone.
func dieWithParent(*syscall.SysProcAttr) {}
