package connectortest

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// probe takes down what a case complains of instead of failing at once, so
// that a waiver can be judged.
type probe struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	messages []string
	cleanups []func()
}

func (p *probe) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed && len(p.messages) == 0 {
		return []string{"failed"}
	}
	return p.messages
}

func (p *probe) complain(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	if message != "" {
		p.messages = append(p.messages, message)
	}
}

// Cleanup implements testing.TB; what it finds counts as the case's.
func (p *probe) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *probe) cleanup() {
	for {
		p.mu.Lock()
		n := len(p.cleanups)
		if n == 0 {
			p.mu.Unlock()
			return
		}
		f := p.cleanups[n-1]
		p.cleanups = p.cleanups[:n-1]
		p.mu.Unlock()
		f()
	}
}

// Error implements testing.TB.
func (p *probe) Error(args ...any) { p.complain(fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (p *probe) Errorf(format string, args ...any) { p.complain(fmt.Sprintf(format, args...)) }

// Fail implements testing.TB.
func (p *probe) Fail() { p.complain("") }

// FailNow implements testing.TB.
func (p *probe) FailNow() {
	p.complain("")
	runtime.Goexit()
}

// Failed implements testing.TB.
func (p *probe) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Fatal implements testing.TB.
func (p *probe) Fatal(args ...any) {
	p.complain(fmt.Sprint(args...))
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (p *probe) Fatalf(format string, args ...any) {
	p.complain(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
