package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/agnivade/levenshtein"
)

// Environment is one account that a samconfig.toml deploys to. What is empty
// comes from the AWS configuration of whoever deploys.
type Environment struct {
	Name       string
	Stack      string
	Region     string
	Profile    string
	Confirm    bool // ask before anything changes
	Parameters map[string]string
	// Beside are the parameters of the stack that stands beside the platform's,
	// from [NAME.aws_only.parameters].
	Beside map[string]string
	// RollbackMinutes is rollback_minutes of the same section: for how long after an
	// update of the platform an alarm takes it back; 0 for never, -1 where it is not
	// said.
	RollbackMinutes int
}

// EnvironmentError says what is wrong with a samconfig.toml.
type EnvironmentError struct{ File, Problem string }

func (e *EnvironmentError) Error() string { return e.File + ": " + e.Problem }

// ReadEnvironment reads an environment's [NAME.deploy.parameters], and what it does
// not say from [NAME.global.parameters], as SAM does. A key that SAM does not know
// either is refused: it would be a setting that nobody follows.
func ReadEnvironment(path, name string) (Environment, error) {
	e, err := readEnvironment(path, name)
	if err != nil {
		return Environment{}, &EnvironmentError{path, err.Error()}
	}
	return e, nil
}

func readEnvironment(path, name string) (Environment, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Environment{}, errors.New("the file does not exist")
	} else if err != nil {
		return Environment{}, err
	}
	f := samFile{text: string(text)}
	if _, err := toml.Decode(f.text, &f.doc); err != nil {
		return Environment{}, err
	}
	if _, there := f.doc[name]; !there {
		var environments []string
		for k, v := range f.doc {
			if _, ok := v.(map[string]any); ok {
				environments = append(environments, k)
			}
		}
		slices.Sort(environments)
		return Environment{}, fmt.Errorf("there is no environment %q; there are %s", name, strings.Join(environments, ", "))
	}
	if _, err := f.table(samCommands, name); err != nil {
		return Environment{}, err
	}
	deploy, err := f.parameters(name, "deploy", samDeploy)
	if err != nil {
		return Environment{}, err
	}
	global, err := f.parameters(name, "global", samAny)
	if err != nil {
		return Environment{}, err
	}
	beside, err := f.parameters(name, "aws_only", ownBeside)
	if err != nil {
		return Environment{}, err
	}
	if deploy == nil && global == nil {
		return Environment{}, fmt.Errorf("there is no [%s.deploy.parameters]", name)
	}
	e := Environment{Name: name, RollbackMinutes: -1}
	// said is a setting and where it is said; the command's own wins.
	said := func(key string) (value any, where string) {
		if v, there := deploy[key]; there {
			return v, name + ".deploy.parameters." + key
		}
		return global[key], name + ".global.parameters." + key
	}
	for key, into := range map[string]*string{"stack_name": &e.Stack, "region": &e.Region, "profile": &e.Profile} {
		v, where := said(key)
		if v == nil {
			continue
		}
		var ok bool
		if *into, ok = v.(string); !ok {
			return Environment{}, f.at(where, "must be a text, not %v", v)
		}
	}
	if v, where := said("confirm_changeset"); v != nil {
		if e.Confirm, err = yes(v); err != nil {
			return Environment{}, f.at(where, "%w", err)
		}
	}
	if e.Stack == "" {
		return Environment{}, fmt.Errorf("%s.deploy.parameters.stack_name is missing", name)
	}
	v, where := said("parameter_overrides")
	if e.Parameters, err = overrides(v); err != nil {
		return Environment{}, f.at(where, "%w", err)
	}
	if e.Beside, err = overrides(beside["parameter_overrides"]); err != nil {
		return Environment{}, f.at(name+".aws_only.parameters.parameter_overrides", "%w", err)
	}
	if v, there := beside["rollback_minutes"]; there {
		n, ok := v.(int64)
		if !ok || n < 0 || n > 180 {
			return Environment{}, f.at(name+".aws_only.parameters.rollback_minutes", "must be a number from 0 to 180, not %v", v)
		}
		e.RollbackMinutes = int(n)
	}
	return e, nil
}

// samFile is a samconfig.toml and its text, which knows the lines.
type samFile struct {
	text string
	doc  map[string]any
}

// parameters are those of a command in an environment; nil if there are none.
func (f samFile) parameters(environment, command string, known []string) (map[string]any, error) {
	if _, err := f.table([]string{"parameters"}, environment, command); err != nil {
		return nil, err
	}
	return f.table(known, environment, command, "parameters")
}

// table returns the table at a path, nil if there is none, and refuses keys in it
// that are not known.
func (f samFile) table(known []string, path ...string) (map[string]any, error) {
	at := f.doc
	for i, key := range path {
		v, there := at[key]
		if !there {
			return nil, nil
		}
		var ok bool
		if at, ok = v.(map[string]any); !ok {
			return nil, f.at(strings.Join(path[:i+1], "."), "must be a table, such as [%s.deploy.parameters]; it is %v", path[0], v)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(at)) {
		if !slices.Contains(known, key) {
			return nil, f.at(strings.Join(append(slices.Clone(path), key), "."), "is not known%s", suggest(key, known))
		}
	}
	return at, nil
}

// at names a key and its line before what is wrong with it.
func (f samFile) at(key, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if n := f.line(key); n > 0 {
		return fmt.Errorf("line %d: %s %w", n, key, err)
	}
	return fmt.Errorf("%s %w", key, err)
}

// line is where a key or the first table of its name is written; 0 where that
// cannot be told, such as for what stands in a table in one line.
func (f samFile) line(key string) int {
	table, n := "", 0
	for line := range strings.Lines(f.text) {
		n++
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "["); ok && !strings.HasPrefix(rest, "[") {
			name, _, _ := strings.Cut(rest, "]")
			if table = plainKey(name); table == key || strings.HasPrefix(table, key+".") {
				return n
			}
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if full := strings.TrimPrefix(table+"."+plainKey(name), "."); ok && (full == key || strings.HasPrefix(full, key+".")) {
			return n
		}
	}
	return 0
}

// plainKey is a dotted key without blanks and quotes.
func plainKey(key string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\"'", r) {
			return -1
		}
		return r
	}, key)
}

// suggest names the nearest of what is known, or a few that are.
func suggest(wrong string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ReplaceAll(strings.ToLower(wrong), "-", "_"), k); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(known) < 5:
		return "; there are " + strings.Join(known, ", ")
	}
	return "; nothing would follow it, so take it out"
}

// yes reads a switch as SAM's command line does.
func yes(v any) (bool, error) {
	switch x := v.(type) {
	case bool:
		return x, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(x)) {
		case "true", "1", "yes", "y", "t", "on":
			return true, nil
		case "false", "0", "no", "n", "f", "off":
			return false, nil
		}
	case int64:
		if x == 0 || x == 1 {
			return x == 1, nil
		}
	}
	return false, fmt.Errorf("must be true or false, not %#v", v)
}
