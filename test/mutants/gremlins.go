package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// unleashed are the packages that gremlins changes token by token, each with
// the other packages whose tests exercise it.
var unleashed = []struct {
	pkg   string
	tests []string
}{
	{"internal/effect", []string{"./internal/document", "./internal/exception"}},
	{"internal/document", []string{"./internal/exception", "./internal/inbox", "./internal/boot"}},
	{"internal/flow/order", []string{"./internal/exception", "./internal/boot", "./internal/cli"}},
	{"internal/flow/shipment", []string{"./internal/flow/order", "./internal/exception", "./internal/boot"}},
	{"internal/flow/proof", []string{"./internal/boot", "./internal/cli"}},
}

// gremlinSeeds is how much of the simulation each gremlin must survive.
const gremlinSeeds = 400

// gremlinLimit is when a test that a gremlin meets is held to come to no end: the
// longest takes a fifth of it.
const gremlinLimit = 2 * time.Minute

// gremlin is one changed token.
type gremlin struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Line   int    `json:"line"`
	Column int    `json:"column"`

	file string // from the repository's root
	text string // of the line
}

// String is the gremlin's name: it stays the same when lines move.
func (g gremlin) String() string {
	return fmt.Sprintf("%s %s %d: %s", g.file, g.Type, g.Column, g.text)
}

// unleash lets gremlins of one package, or of all, meet the package's own tests,
// and those that live the tests of others and the simulation. What survives all
// must be explained in survivors.txt.
func unleash(ctx context.Context, tool, only string) error {
	explained, err := explanations("test/mutants/survivors.txt")
	if err != nil {
		return err
	}
	tried, lived := 0, 0
	var failed []error
	for _, u := range unleashed {
		if !strings.Contains(u.pkg, only) {
			continue
		}
		all, err := meet(ctx, tool, u.pkg)
		if err != nil {
			return err
		}
		tried += len(all)
		killed := len(all)
		for v := range judge(ctx, all, u.tests) {
			g, by, err := v.gremlin, v.by, v.err
			why, known := explained[g.String()]
			delete(explained, g.String())
			switch {
			case ctx.Err() != nil:
				continue
			case err != nil:
				failed = append(failed, fmt.Errorf("%s: %w", g, err))
			case by != "":
				fmt.Printf("%s: caught by %s\n", g, by)
				continue
			case known:
				fmt.Printf("%s: lives: %s\n", g, why)
			default:
				fmt.Printf("%s: LIVES, and nothing explains it\n", g)
				failed = append(failed, fmt.Errorf("not explained: %s", g))
			}
			lived++
			killed--
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Printf("%s: %d of %d gremlins caught\n", u.pkg, killed, len(all))
	}
	if only == "" {
		for name := range explained {
			failed = append(failed, fmt.Errorf("explained in survivors.txt, but it does not live: %s", name))
		}
	}
	fmt.Printf("%d of %d gremlins caught: %.1f %%; %d live\n", tried-lived, tried, 100*float64(tried-lived)/float64(max(tried, 1)), lived)
	return errors.Join(failed...)
}

// verdict is what noticed a gremlin, or "".
type verdict struct {
	gremlin
	by  string
	err error
}

// judge lets what its package's own tests did not kill meet other tests, two at
// once: compilers and tests leave half of a machine idle.
func judge(ctx context.Context, all []gremlin, tests []string) <-chan verdict {
	todo, done := make(chan gremlin), make(chan verdict)
	go func() {
		defer close(todo)
		for _, g := range all {
			if g.Status != "KILLED" {
				todo <- g
			}
		}
	}()
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for g := range todo {
				by, err := g.try(ctx, tests)
				done <- verdict{g, by, err}
			}
		})
	}
	go func() { workers.Wait(); close(done) }()
	return done
}

// meet runs gremlins against a package's own tests.
func meet(ctx context.Context, tool, pkg string) (all []gremlin, err error) {
	out := filepath.Join(os.TempDir(), "gremlins-"+strings.ReplaceAll(pkg, "/", "-")+".json")
	// Its time-out is that of a quiet machine, and one that times out is tried
	// again anyway.
	cmd := command(ctx, tool, "unleash", "./"+pkg, "--timeout-coefficient", "10", "--output", out)
	cmd.Env = append(os.Environ(), "GOFLAGS=-short -ldflags=-s") // it has no such flags of its own
	said, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("gremlins in %s: %w: %s", pkg, err, said[max(0, len(said)-600):])
	}
	raw, err := os.ReadFile(out) //nolint:gosec // just written
	if err != nil {
		return nil, err
	}
	var report struct {
		Files []struct {
			Name      string    `json:"file_name"`
			Mutations []gremlin `json:"mutations"`
		} `json:"files"`
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, err
	}
	for _, f := range report.Files {
		path := filepath.Join(pkg, filepath.Base(f.Name))
		text, err := os.ReadFile(path) //nolint:gosec // the repository's own
		if err != nil {
			return nil, err
		}
		lines := strings.Split(string(text), "\n")
		for _, g := range f.Mutations {
			if g.Line > len(lines) {
				return nil, fmt.Errorf("%s has no line %d", path, g.Line)
			}
			g.file, g.text = path, strings.TrimSpace(lines[g.Line-1])
			// Of a line that moved to the right its column is the same.
			g.Column -= len(lines[g.Line-1]) - len(strings.TrimLeft(lines[g.Line-1], "\t"))
			all = append(all, g)
		}
	}
	return all, nil
}

// changes are what gremlins makes of a token.
var changes = map[string]map[string]string{
	"CONDITIONALS_BOUNDARY": {"<": "<=", "<=": "<", ">": ">=", ">=": ">"},
	"CONDITIONALS_NEGATION": {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"},
	"ARITHMETIC_BASE":       {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*"},
	"INCREMENT_DECREMENT":   {"++": "--", "--": "++"},
	"INVERT_NEGATIVES":      {"-": "+"},
}

// try lets the gremlin meet other packages' tests, and then the simulation.
func (g gremlin) try(ctx context.Context, tests []string) (by string, err error) {
	text, err := os.ReadFile(g.file)
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	line := lines[g.Line-1]
	at := g.Column - 1 + len(line) - len(strings.TrimLeft(line, "\t"))
	old, next := "", ""
	for token, changed := range changes[g.Type] {
		if len(token) > len(old) && strings.HasPrefix(line[at:], token) {
			old, next = token, changed
		}
	}
	if old == "" {
		return "", fmt.Errorf("no token of %s at column %d", g.Type, g.Column)
	}
	lines[g.Line-1] = line[:at] + next + line[at+len(old):]
	dir, err := os.MkdirTemp("", "gremlin")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a scratch folder
	args, err := overlay(dir, map[string]string{g.file: strings.Join(lines, "\n")})
	if err != nil {
		return "", err
	}
	// What its own package's tests let live they need not be asked again. They are
	// where they came to no end, because of it or of a busy machine, and about
	// constants, which no coverage knows.
	if g.Status != "LIVED" {
		by, err := mutant{name: g.String(), test: "./" + filepath.Dir(g.file), run: ".", limit: gremlinLimit}.try(ctx, args, 0)
		if by != "" || err != nil {
			return by, err
		}
	}
	if by, err := (mutant{name: g.String(), limit: gremlinLimit}).try(ctx, args, gremlinSeeds); by != "" || err != nil {
		return by, err
	}
	for _, pkg := range tests {
		if by, err := (mutant{name: g.String(), test: pkg, run: ".", limit: gremlinLimit}).try(ctx, args, 0); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// explanations reads why gremlins may live: a gremlin's name, and in the next
// line the reason.
func explanations(file string) (map[string]string, error) {
	f, err := os.Open(file) //nolint:gosec // the repository's own
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	out, name := map[string]string{}, ""
	scan := bufio.NewScanner(f)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimRight(scan.Text(), " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "  ") && name != "":
			out[name] = strings.TrimSpace(out[name] + " " + strings.TrimSpace(line))
		case strings.HasPrefix(line, "  "):
			return nil, fmt.Errorf("%s: line %s explains nothing", file, strconv.Itoa(n))
		default:
			name = line
			out[name] = ""
		}
	}
	return out, scan.Err()
}
