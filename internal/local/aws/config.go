//go:build unix

// Package localaws runs a local AWS, the emulator MiniStack, without Docker:
// it installs the pinned version into a private Python environment and starts
// it with the corrections in boot.py.
package localaws

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Region is the only region in use locally.
const Region = "us-east-1"

// DefaultAccount is the account of an emulator that nobody gave another.
const DefaultAccount = "111122223333"

// Config says where and how the emulator runs.
type Config struct {
	// Dir holds the state and the log of this emulator; one emulator a folder.
	Dir string
	// Home holds the Python environments, which checkouts and tests may share;
	// empty means Dir. See SharedHome.
	Home string
	// Python is the interpreter to build the environment with; empty means the
	// first suitable one on the path.
	Python string
	// Port on 127.0.0.1; 0 means any free one.
	Port int
	// Account is the 12-digit account that the emulator belongs to.
	Account string
	// EnforceIAM lets Lambda functions do only what their roles allow.
	EnforceIAM bool
	// Persist keeps state in Dir over a Stop; without it every start is empty.
	Persist bool
	// Log is the file that receives the emulator's output; empty means aws.log
	// in Dir.
	Log string
	// Progress, if set, hears of steps that take seconds.
	Progress func(step string)
}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, fmt.Errorf("configuring the local AWS: a folder is needed")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("finding the folder of the local AWS: %w", err)
	}
	c.Dir = dir
	if c.Home == "" {
		c.Home = c.Dir
	}
	if c.Home, err = filepath.Abs(c.Home); err != nil {
		return c, fmt.Errorf("finding the folder of the local AWS: %w", err)
	}
	if c.Account == "" {
		c.Account = DefaultAccount
	}
	if !accountID.MatchString(c.Account) {
		return c, fmt.Errorf("configuring the local AWS: account %q is not 12 digits", c.Account)
	}
	if c.Log == "" {
		c.Log = filepath.Join(c.Dir, "aws.log")
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

// SharedHome is the folder of the Python environments that all checkouts of
// one user share: $WAYBILL_HOME/aws, or waybill/aws in the user's cache folder.
func SharedHome() (string, error) {
	if home := os.Getenv("WAYBILL_HOME"); home != "" {
		return filepath.Join(home, "aws"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder (set WAYBILL_HOME to name one): %w", err)
	}
	return filepath.Join(cache, "waybill", "aws"), nil
}
