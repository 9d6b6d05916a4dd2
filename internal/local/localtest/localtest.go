//go:build unix

// Package localtest gives tests a local AWS. One emulator serves a whole test
// binary and ends with it; each caller gets an account of its own, so tests do
// not see each other's tables and queues.
package localtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/lock"
)

var shared = sync.OnceValues(start)

// emulator is what shared keeps until this test binary ends. The lock is what
// the next one's sweep looks at; a lock that nobody refers to is dropped with
// its file.
type emulator struct {
	server *localaws.Server
	lock   *lock.Lock
}

// start returns an emulator that did not start too: its log stays while its
// lock is held.
func start() (*emulator, error) {
	home, err := localaws.SharedHome()
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(home, "test-runs")
	sweep(runs)
	dir := filepath.Join(runs, fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()))
	// Waiting covers the moment in which another binary's sweep looks at it.
	held, err := lock.Wait(dir+".lock", time.Now)
	if err != nil {
		return nil, err
	}
	s, err := localaws.Start(context.Background(), localaws.Config{Dir: dir, Home: home})
	return &emulator{server: s, lock: held}, err
}

// sweep removes what test binaries left behind that have ended.
func sweep(runs string) {
	locks, err := filepath.Glob(filepath.Join(runs, "*.lock"))
	if err != nil {
		return
	}
	for _, path := range locks {
		l, err := lock.Acquire(path, time.Now)
		if err != nil {
			continue
		}
		dir := path[:len(path)-len(".lock")]
		if os.RemoveAll(dir) == nil {
			_ = os.Remove(path)
		}
		_ = l.Release()
	}
}

// Endpoint returns the emulator of this test binary, started on first use. A
// test that needs it fails where it cannot run; it is never skipped.
func Endpoint(t testing.TB) *localaws.Server {
	t.Helper()
	e, err := shared()
	if err != nil {
		t.Fatalf("starting the local AWS for tests: %v", err)
	}
	return e.server
}

var accounts = struct {
	sync.Mutex
	next int64
}{next: 100_000_000_000 + rand.Int64N(800_000_000_000)}

// Account returns 12 digits that no other caller in this test binary has.
func Account() string {
	accounts.Lock()
	defer accounts.Unlock()
	accounts.next++
	return fmt.Sprintf("%012d", accounts.next)
}

// Config returns a configuration for a new, empty account of the emulator.
// Lambda functions run in the emulator's own account, not in this one; a test
// that deploys functions starts an emulator of its own with localaws.Start.
func Config(t testing.TB) aws.Config {
	t.Helper()
	return ConfigFor(Endpoint(t), Account())
}

// ConfigFor returns a configuration for one account of an emulator.
func ConfigFor(s *localaws.Server, account string) aws.Config {
	return aws.Config{
		Region:       s.Region,
		BaseEndpoint: aws.String(s.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(account, "local", ""),
	}
}
