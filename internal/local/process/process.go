//go:build unix

// Package process starts the programs that the local environment consists of
// and makes sure that none of them outlives the command that started it.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	// Name is how errors call the process.
	Name string
	Path string
	Args []string
	// Env is the whole environment; nil means an empty one, not ours.
	Env []string
	Dir string
	// Log receives standard output and standard error, appended.
	Log string
	// Lifeline gives the process a standard input that ends when we die, by
	// whatever signal. A process that watches it can take its own children
	// along, which no signal from the kernel does.
	Lifeline bool
}

// Process is a started program, the leader of its own process group.
type Process struct {
	name, log string
	cmd       *exec.Cmd
	lifeline  *os.File
	done      chan struct{}
	once      sync.Once
	err       error
}

// Start starts the process in a process group of its own. On Linux a process
// without a lifeline is killed by the kernel when we die.
func Start(spec Spec) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o755); err != nil {
		return nil, fmt.Errorf("creating the log folder of %s: %w", spec.Name, err)
	}
	out, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", spec.Name, err)
	}
	// The process has a descriptor of its own; closing ours loses nothing.
	defer func() { _ = out.Close() }()

	p := &Process{name: spec.Name, log: spec.Log, done: make(chan struct{})}
	// It lives until Stop, Kill or our own end: a caller's context may bound
	// its start, and must not end it afterwards.
	p.cmd = exec.CommandContext(context.Background(), spec.Path, spec.Args...)
	p.cmd.Env, p.cmd.Dir = spec.Env, spec.Dir
	if p.cmd.Env == nil {
		p.cmd.Env = []string{}
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var theirs *os.File
	if spec.Lifeline {
		if theirs, p.lifeline, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("opening the lifeline of %s: %w", spec.Name, err)
		}
		p.cmd.Stdin = theirs
	} else {
		dieWithParent(p.cmd.SysProcAttr)
	}

	started := make(chan error)
	go func() {
		// The kernel ties a parent-death signal to the thread that forked, so
		// that thread must live as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if theirs != nil {
			_ = theirs.Close() // the process has its own copy; nothing is buffered in ours
		}
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		// Whatever the process started and left behind goes with it.
		p.signalGroup(syscall.SIGKILL)
		p.cut()
		close(p.done)
	}()
	if err := <-started; err != nil {
		p.cut()
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	return p, nil
}

// PID is the process id, which is also the id of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is the path of the file that holds the process's output.
func (p *Process) Log() string { return p.log }

// Done is closed when the process has ended and its group is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; it is meaningful once Done is closed.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop asks the process to end, and kills its whole group when it has not
// ended after the grace time or when ctx ends. It returns once the process is
// gone and may be called more than once.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if ctx.Err() == nil {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping %s: %w", p.name, err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return nil
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.signalGroup(syscall.SIGKILL)
	<-p.done
	return nil
}

// Kill ends the process and its group at once.
func (p *Process) Kill() {
	p.signalGroup(syscall.SIGKILL)
	<-p.done
}

// signalGroup reaches the group through its leader's id, which the kernel does
// not hand out again while the group has a member. An empty group is no error.
func (p *Process) signalGroup(s syscall.Signal) { _ = syscall.Kill(-p.PID(), s) }

func (p *Process) cut() {
	p.once.Do(func() {
		if p.lifeline != nil {
			_ = p.lifeline.Close() // nothing is ever written to it
		}
	})
}
