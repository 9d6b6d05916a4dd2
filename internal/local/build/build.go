// Package build compiles the Lambda functions and packs each into the archive
// that AWS takes.
package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say what to build.
type Options struct {
	// Root is the folder of the Go module; the functions are functions/*/main.go
	// in it.
	Root string
	// Out receives bin/<name> and <name>.zip; empty means .waybill/build in Root.
	Out string
	// GOARCH of the functions; empty means the host's.
	GOARCH string
	// Progress, if set, is called with each function that the compiler has
	// finished with and once more, with an empty name, when all are packed.
	Progress func(name string, done, total int)
}

// Function is a built function.
type Function struct {
	Name string
	Dir  string // its source folder, absolute
	Zip  string // its archive, absolute
}

// CompileError carries what the Go compiler said.
type CompileError struct{ Output string }

func (e *CompileError) Error() string { return "building the functions:\n" + e.Output }

// ErrNoFunctions says that there is nothing to build.
var ErrNoFunctions = errors.New("no functions/*/main.go found")

// Archives maps each function's folder to its archive.
func Archives(functions []Function) map[string]string {
	out := make(map[string]string, len(functions))
	for _, f := range functions {
		out[f.Dir] = f.Zip
	}
	return out
}

// Functions builds all functions. What did not change is neither linked nor
// packed again, and the same source gives the same archive, byte by byte.
//
// It fails with a *CompileError when the source does not compile.
func Functions(ctx context.Context, o Options) ([]Function, error) {
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("finding the functions: %w", err)
	}
	if o.Out == "" {
		o.Out = filepath.Join(root, ".waybill", "build")
	}
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of the build: %w", err)
	}
	if o.GOARCH == "" {
		o.GOARCH = runtime.GOARCH
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	functions, err := find(root, out)
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(out, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, fmt.Errorf("creating the folder of the build: %w", err)
	}
	if err := compile(ctx, root, bin, functions, o); err != nil {
		return nil, err
	}
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, f := range functions {
		group.Go(func() error { return pack(filepath.Join(bin, f.Name), f.Zip) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := prune(out, functions); err != nil {
		return nil, err
	}
	o.Progress("", len(functions), len(functions))
	return functions, nil
}

func find(root, out string) ([]Function, error) {
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "main.go"))
	if err != nil {
		return nil, fmt.Errorf("finding the functions: %w", err)
	}
	if len(mains) == 0 {
		return nil, fmt.Errorf("building the functions in %s: %w", root, ErrNoFunctions)
	}
	functions := make([]Function, len(mains))
	for i, main := range mains {
		dir := filepath.Dir(main)
		name := filepath.Base(dir)
		functions[i] = Function{Name: name, Dir: dir, Zip: filepath.Join(out, name+".zip")}
	}
	return functions, nil
}

// compile runs one go build for all functions: it compiles what they share
// once, links in parallel and leaves executables alone that are up to date.
func compile(ctx context.Context, root, bin string, functions []Function, o Options) error {
	// Without the version-control stamp a commit does not relink every function.
	args := []string{"build", "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin + string(filepath.Separator)}
	// Dependencies wait for the network: inlined they are no faster to anybody's
	// notice, and a tenth larger. The last pattern that fits a package holds.
	args = append(args, "-gcflags", "all=-l", "-gcflags", "std=", "-gcflags", "./...=")
	for _, f := range functions {
		args = append(args, "./functions/"+f.Name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+o.GOARCH)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	before := stamps(bin, functions)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the Go compiler (install Go from https://go.dev/dl): %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for done := 0; ; {
		select {
		case <-tick.C:
			// go build reports nothing while it works; what it has linked shows.
			for name, at := range stamps(bin, functions) {
				if at != before[name] {
					before[name] = at
					done++
					o.Progress(name, done, len(functions))
				}
			}
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("building the functions: %w", ctx.Err())
			case errors.As(err, &exit):
				return &CompileError{Output: string(bytes.TrimSpace(said.Bytes()))}
			case err != nil:
				return fmt.Errorf("building the functions: %w", err)
			}
			return nil
		}
	}
}

func stamps(bin string, functions []Function) map[string]time.Time {
	at := make(map[string]time.Time, len(functions))
	for _, f := range functions {
		if info, err := os.Stat(filepath.Join(bin, f.Name)); err == nil {
			at[f.Name] = info.ModTime()
		}
	}
	return at
}

// prune removes what functions that are gone have left behind.
func prune(out string, functions []Function) error {
	keep := func(name string) bool {
		return slices.ContainsFunc(functions, func(f Function) bool { return f.Name == name })
	}
	for pattern, suffix := range map[string]string{"bin/*": "", "*.zip": ".zip", "*.zip.of": ".zip.of"} {
		paths, err := filepath.Glob(filepath.Join(out, filepath.FromSlash(pattern)))
		if err != nil {
			return fmt.Errorf("removing old functions: %w", err)
		}
		for _, path := range paths {
			name := filepath.Base(path)
			if keep(name[:len(name)-len(suffix)]) {
				continue
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("removing old functions: %w", err)
			}
		}
	}
	return nil
}
