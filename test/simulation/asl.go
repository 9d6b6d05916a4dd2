package simulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The subset of the Amazon States Language that the machines use. A field or a
// type that is not here is an error, so that the interpreter never overlooks
// what AWS would do.

// Machine is a state machine.
type Machine struct {
	Comment        string
	StartAt        string
	TimeoutSeconds int
	States         map[string]*State
}

// State is one of its states.
type State struct {
	Comment        string
	Type           string
	Resource       string
	TimeoutSeconds int
	ResultPath     json.RawMessage // absent: "$"
	Retry          []Retrier
	Catch          []Catcher
	Branches       []Machine
	Choices        []Choice
	Default        string
	Next           string
	End            bool
}

// Retrier says which errors are tried again, and when.
type Retrier struct {
	Comment         string
	ErrorEquals     []string
	IntervalSeconds int
	MaxAttempts     *int
	BackoffRate     float64
	MaxDelaySeconds int
}

// Catcher says where errors lead.
type Catcher struct {
	Comment     string
	ErrorEquals []string
	ResultPath  json.RawMessage
	Next        string
}

// Choice leads on where one variable of the input fits.
type Choice struct {
	Comment       string
	Variable      string
	IsPresent     *bool
	StringEquals  *string
	BooleanEquals *bool
	Next          string
}

// ReadMachine reads and checks a definition.
func ReadMachine(raw []byte) (*Machine, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	m := &Machine{}
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("reading a machine: %w", err)
	}
	return m, m.check()
}

// ReadMachines reads a folder's definitions by their names.
func ReadMachines(folder string) (map[string]*Machine, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.asl.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no machines in %s: %w", folder, err)
	}
	out := map[string]*Machine{}
	for _, f := range files {
		raw, err := os.ReadFile(f) //nolint:gosec // the repository's own definitions
		if err != nil {
			return nil, err
		}
		m, err := ReadMachine(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out[filepath.Base(f[:len(f)-len(".asl.json")])] = m
	}
	return out, nil
}

var errDefinition = errors.New("outside the subset that the simulation carries out")

func (m *Machine) check() error {
	if m.States[m.StartAt] == nil {
		return fmt.Errorf("StartAt %q: %w", m.StartAt, errDefinition)
	}
	for name, s := range m.States {
		if err := s.check(m); err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
	}
	return nil
}

func (s *State) check(m *Machine) error {
	leads := func(to string) bool { return m.States[to] != nil }
	only := func(ok bool, what string) error {
		if !ok {
			return fmt.Errorf("%s: %w", what, errDefinition)
		}
		return nil
	}
	errs := []error{}
	ends := s.End != (s.Next != "") && (s.End || leads(s.Next))
	switch s.Type {
	case "Task":
		errs = append(errs, only(ends, "Next or End"), only(s.Resource != "", "Resource"), only(s.TimeoutSeconds > 0, "TimeoutSeconds"), only(len(s.Branches)+len(s.Choices) == 0, "Branches"))
	case "Parallel":
		errs = append(errs, only(ends, "Next or End"), only(len(s.Branches) > 0, "Branches"), only(len(s.Retry)+len(s.Catch) == 0, "Retry of a Parallel"))
		for i := range s.Branches {
			errs = append(errs, only(s.Branches[i].TimeoutSeconds == 0, "TimeoutSeconds of a branch"), s.Branches[i].check())
		}
	case "Pass":
		errs = append(errs, only(ends, "Next or End"), only(s.ResultPath == nil && s.Resource == "" && len(s.Retry)+len(s.Catch) == 0, "a Pass that does something"))
	case "Succeed":
		errs = append(errs, only(!s.End && s.Next == "", "an end that goes on"))
	case "Choice":
		errs = append(errs, only(leads(s.Default) && !s.End && s.Next == "", "Default"))
		for _, c := range s.Choices {
			errs = append(errs, only(leads(c.Next), "Next of a choice"))
		}
	default:
		return fmt.Errorf("type %q: %w", s.Type, errDefinition)
	}
	for _, c := range s.Catch {
		errs = append(errs, only(leads(c.Next), "Next of a catch"))
	}
	return errors.Join(errs...)
}

// taskError is how a state's failure looks to its machine.
type taskError struct{ Error, Cause string }

func matches(equals []string, name string) bool {
	return slices.Contains(equals, name) || slices.Contains(equals, "States.ALL") ||
		name != "States.Timeout" && slices.Contains(equals, "States.TaskFailed")
}

// place puts a result where path says.
func place(input map[string]any, path json.RawMessage, result any) (map[string]any, error) {
	if path == nil {
		m, ok := result.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("a result replaces the input: %w", errDefinition)
		}
		return m, nil
	}
	var p *string
	if err := json.Unmarshal(path, &p); err != nil {
		return nil, err
	}
	if p == nil {
		return input, nil
	}
	if len(*p) < 3 || (*p)[:2] != "$." || bytes.ContainsAny([]byte((*p)[2:]), ".[") {
		return nil, fmt.Errorf("ResultPath %s: %w", *p, errDefinition)
	}
	out := map[string]any{}
	for k, v := range input {
		out[k] = v
	}
	out[(*p)[2:]] = result
	return out, nil
}

// carrier carries out a machine's tasks.
type carrier interface {
	// task runs a resource once; nil is success.
	task(resource string, timeout time.Duration, input []byte) *taskError
	sleep(d time.Duration)
	// both runs branches side by side and returns when all have ended.
	branches(each []func())
	// over reports whether the machine's own time has run out.
	over() bool
}

// carryOut executes a machine. A failure that leaves it is returned.
func (m *Machine) carryOut(c carrier, input map[string]any) (map[string]any, *taskError, error) {
	for name := m.StartAt; ; {
		s := m.States[name]
		if c.over() {
			return nil, &taskError{"States.Timeout", ""}, nil
		}
		var err error
		switch s.Type {
		case "Succeed":
			return input, nil, nil
		case "Pass":
		case "Choice":
			if name, err = s.choose(input); err != nil {
				return nil, nil, err
			}
			continue
		case "Task":
			failed, err := s.attempt(c, input)
			if err != nil {
				return nil, nil, err
			}
			if failed != nil {
				to := slices.IndexFunc(s.Catch, func(x Catcher) bool { return matches(x.ErrorEquals, failed.Error) })
				if to < 0 || c.over() {
					return nil, failed, nil
				}
				caught := map[string]any{"Error": failed.Error, "Cause": failed.Cause}
				if input, err = place(input, s.Catch[to].ResultPath, caught); err != nil {
					return nil, nil, err
				}
				name = s.Catch[to].Next
				continue
			}
			if input, err = place(input, s.ResultPath, nil); err != nil {
				return nil, nil, err
			}
		case "Parallel":
			results, failed, err := s.parallel(c, input)
			if failed != nil || err != nil {
				return nil, failed, err
			}
			if input, err = place(input, s.ResultPath, results); err != nil {
				return nil, nil, err
			}
		}
		if s.End {
			return input, nil, nil
		}
		name = s.Next
	}
}

// attempt runs a task, again where its retriers say so.
func (s *State) attempt(c carrier, input map[string]any) (*taskError, error) {
	raw, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	used := make([]int, len(s.Retry))
	for {
		failed := c.task(s.Resource, time.Duration(s.TimeoutSeconds)*time.Second, raw)
		if failed == nil {
			return nil, nil
		}
		i := slices.IndexFunc(s.Retry, func(r Retrier) bool { return matches(r.ErrorEquals, failed.Error) })
		if i < 0 {
			return failed, nil
		}
		r := s.Retry[i]
		most, interval, rate := 3, 1, 2.0
		if r.MaxAttempts != nil {
			most = *r.MaxAttempts
		}
		if r.IntervalSeconds > 0 {
			interval = r.IntervalSeconds
		}
		if r.BackoffRate > 0 {
			rate = r.BackoffRate
		}
		if used[i] >= most || c.over() {
			return failed, nil
		}
		wait := float64(interval)
		for range used[i] {
			wait *= rate
		}
		if r.MaxDelaySeconds > 0 {
			wait = min(wait, float64(r.MaxDelaySeconds))
		}
		used[i]++
		c.sleep(time.Duration(wait * float64(time.Second)))
	}
}

func (s *State) parallel(c carrier, input map[string]any) (results []any, failed *taskError, err error) {
	results = make([]any, len(s.Branches))
	fails, errs := make([]*taskError, len(s.Branches)), make([]error, len(s.Branches))
	each := make([]func(), len(s.Branches))
	for i := range s.Branches {
		each[i] = func() {
			var out map[string]any
			if out, fails[i], errs[i] = s.Branches[i].carryOut(c, input); out != nil {
				results[i] = out
			}
		}
	}
	c.branches(each)
	for _, f := range fails {
		if f != nil {
			return nil, f, errors.Join(errs...)
		}
	}
	return results, nil, errors.Join(errs...)
}

// choose follows the first choice that fits the input.
func (s *State) choose(input map[string]any) (string, error) {
	for _, c := range s.Choices {
		if len(c.Variable) < 3 || c.Variable[:2] != "$." {
			return "", fmt.Errorf("variable %s: %w", c.Variable, errDefinition)
		}
		v, present := input[c.Variable[2:]]
		var fits bool
		switch {
		case c.IsPresent != nil:
			fits = present == *c.IsPresent
		case c.StringEquals != nil:
			fits = v == *c.StringEquals
		case c.BooleanEquals != nil:
			fits = v == *c.BooleanEquals
		default:
			return "", fmt.Errorf("a choice by %s: %w", c.Variable, errDefinition)
		}
		if fits {
			return c.Next, nil
		}
	}
	return s.Default, nil
}
