// mutants breaks the platform in one place after the other, in a copy that only
// the compiler sees, and requires that the simulation or a named test notices.
// A defect that does not apply any more fails: it must be written anew.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	only := flag.String("only", "", "only defects, or with -gremlins packages, whose name contains this")
	check := flag.Bool("check", false, "only look whether every defect still applies")
	seeds := flag.Int("seeds", 8000, "how many seeds the simulation may need")
	tool := flag.String("gremlins", "", "instead of the defects that are listed, change token by token with this gremlins")
	flag.Parse()
	work := func(ctx context.Context) error { return run(ctx, *only, *check, *seeds) }
	if *tool != "" {
		work = func(ctx context.Context) error { return unleash(ctx, *tool, *only) }
	}
	if err := scratched(work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scratched does the work in an empty scratch folder until it is done or
// interrupted.
func scratched(work func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	wipe, err := begin()
	if err != nil {
		return err
	}
	defer wipe()
	return work(ctx)
}

// edit replaces one text, which must stand exactly once in a folder's files.
type edit struct{ folder, old, next string }

// mutant is one defect.
type mutant struct {
	name  string
	edits []edit
	// test is the package that must notice, with what of it is run; empty: the
	// simulation.
	test, run string
	// limit is when the test is held to come to no end; five minutes if 0.
	limit time.Duration
}

// target is the share of defects that must be noticed.
const target = 0.95

func run(ctx context.Context, only string, check bool, seeds int) error {
	var caught, survived, built int
	var failed []error
	for _, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		built++
		dir, err := os.MkdirTemp("", "mutant")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a scratch folder
		args, err := m.prepare(dir)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
			fmt.Printf("%-58s does not apply: %v\n", m.name, err)
			continue
		}
		if check {
			continue
		}
		began := time.Now()
		by, err := m.try(ctx, args, seeds)
		took := time.Since(began).Round(time.Second)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
			fmt.Printf("%-58s cannot be tried: %v\n", m.name, err)
		case by == "":
			survived++
			fmt.Printf("%-58s SURVIVED (%s)\n", m.name, took)
		default:
			caught++
			fmt.Printf("%-58s caught by %s (%s)\n", m.name, by, took)
		}
	}
	if err := errors.Join(failed...); err != nil || check {
		return err
	}
	share := float64(caught) / float64(max(built, 1))
	fmt.Printf("%d of %d defects caught, %d survived: %.1f %%\n", caught, built, survived, 100*share)
	if share < target {
		return fmt.Errorf("fewer than %.0f %% of the defects are caught", 100*target)
	}
	return nil
}

// prepare writes the broken files and returns what makes go test see them.
func (m mutant) prepare(dir string) (args []string, err error) {
	texts := map[string]string{}
	states := ""
	for _, e := range m.edits {
		file, err := e.find(texts)
		if err != nil {
			return nil, err
		}
		texts[file] = strings.Replace(texts[file], e.old, e.next, 1)
		if strings.HasSuffix(e.folder, "states") {
			states = e.folder
		}
	}
	if states == "" {
		return overlay(dir, texts)
	}
	for file, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{"-states", dir}, copyRest(states, dir)
}

// overlay returns what makes go test see other texts of the repository's files.
func overlay(dir string, texts map[string]string) ([]string, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	seen := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return nil, err
		}
		seen.Replace[filepath.Join(root, file)] = to
	}
	raw, err := json.Marshal(seen)
	if err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "overlay.json")
	return []string{"-overlay", list}, os.WriteFile(list, raw, 0o600)
}

// copyRest completes a folder of definitions.
func copyRest(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		there := filepath.Join(to, filepath.Base(f))
		if _, err := os.Stat(there); err == nil {
			continue
		}
		raw, err := os.ReadFile(f) //nolint:gosec // the repository's own
		if err == nil {
			err = os.WriteFile(there, raw, 0o600) //nolint:gosec // beside the others in a scratch folder
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errPlaces = errors.New("its text must stand exactly once")

// find returns the file that an edit is for.
func (e edit) find(texts map[string]string) (string, error) {
	files, err := filepath.Glob(filepath.Join(e.folder, "*"))
	if err != nil {
		return "", err
	}
	where, n := "", 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") || filepath.Ext(f) != ".go" && filepath.Ext(f) != ".json" {
			continue
		}
		text, ok := texts[f]
		if !ok {
			raw, err := os.ReadFile(f) //nolint:gosec // the repository's own
			if err != nil {
				return "", err
			}
			text = string(raw)
		}
		if c := strings.Count(text, e.old); c > 0 {
			where, n = f, n+c
			texts[f] = text
		}
	}
	if n != 1 {
		return "", fmt.Errorf("%s has %d places: %w", e.folder, n, errPlaces)
	}
	return where, nil
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	invariant  = regexp.MustCompile(`PROBLEM (\w+) at`)
)

// try returns what notices the defect, or "".
func (m mutant) try(ctx context.Context, args []string, seeds int) (string, error) {
	pkg, what := m.test, m.run
	if pkg == "" {
		pkg, what = "./test/simulation", "TestACrash|TestSeeds|TestRetries|TestAnOrder"
	}
	cmd := []string{"test", "-count=1", "-failfast", "-vet=off", "-ldflags=-s -w", "-short", "-timeout", cmp.Or(m.limit, 5*time.Minute).String(), "-run", what}
	if args[0] == "-overlay" {
		cmd = append(cmd, args...)
	}
	cmd = append(cmd, pkg)
	if m.test == "" {
		cmd = append(cmd, "-args", "-seeds", fmt.Sprint(seeds))
		if args[0] == "-states" {
			cmd = append(cmd, args...)
		}
	}
	out, err := command(ctx, "go", cmd...).CombinedOutput()
	if err == nil {
		return "", nil
	}
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
		return "", fmt.Errorf("it does not compile: %s", out[:min(len(out), 600)])
	}
	if bytes.Contains(out, []byte("panic: test timed out")) {
		return "a test that does not end", nil
	}
	t := failedTest.FindSubmatch(out)
	if t == nil {
		return "", fmt.Errorf("go test: %w: %s", err, out[max(0, len(out)-600):])
	}
	by := string(t[1])
	if i := invariant.FindSubmatch(out); i != nil {
		by += ": " + string(i[1])
	}
	return by, nil
}
