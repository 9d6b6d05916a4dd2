package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
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

// ReadEnvironment reads an environment's [NAME.deploy.parameters] as SAM does:
// parameter_overrides is a text of Key=Value pairs, a list of them or a table.
func ReadEnvironment(path, name string) (Environment, error) {
	wrong := func(format string, args ...any) (Environment, error) {
		return Environment{}, &EnvironmentError{path, fmt.Sprintf(format, args...)}
	}
	var doc map[string]any
	_, err := toml.DecodeFile(path, &doc)
	if errors.Is(err, fs.ErrNotExist) {
		return wrong("the file does not exist")
	} else if err != nil {
		return wrong("%v", err)
	}
	delete(doc, "version")
	section, ok := doc[name].(map[string]any)
	if !ok {
		return wrong("there is no environment %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(doc)), ", "))
	}
	command, _ := section["deploy"].(map[string]any)
	parameters, ok := command["parameters"].(map[string]any)
	if !ok {
		return wrong("there is no [%s.deploy.parameters]", name)
	}
	e := Environment{Name: name, RollbackMinutes: -1}
	for key, into := range map[string]*string{"stack_name": &e.Stack, "region": &e.Region, "profile": &e.Profile} {
		v, there := parameters[key]
		if !there {
			continue
		}
		if *into, ok = v.(string); !ok {
			return wrong("%s.deploy.parameters.%s must be a text", name, key)
		}
	}
	e.Confirm, _ = parameters["confirm_changeset"].(bool)
	if e.Stack == "" {
		return wrong("%s.deploy.parameters.stack_name is missing", name)
	}
	if e.Parameters, err = overrides(name+".deploy", parameters["parameter_overrides"]); err != nil {
		return wrong("%v", err)
	}
	command, _ = section["aws_only"].(map[string]any)
	parameters, _ = command["parameters"].(map[string]any)
	if e.Beside, err = overrides(name+".aws_only", parameters["parameter_overrides"]); err != nil {
		return wrong("%v", err)
	}
	if v, there := parameters["rollback_minutes"]; there {
		n, ok := v.(int64)
		if !ok || n < 0 || n > 180 {
			return wrong("%s.aws_only.parameters.rollback_minutes must be a number from 0 to 180", name)
		}
		e.RollbackMinutes = int(n)
	}
	return e, nil
}

// overrides reads parameter_overrides of a command.
func overrides(command string, value any) (map[string]string, error) {
	pairs := []string{}
	switch v := value.(type) {
	case nil:
	case string:
		pairs = strings.Fields(v)
	case []any:
		for _, x := range v {
			pairs = append(pairs, fmt.Sprint(x))
		}
	case map[string]any:
		for k, x := range v {
			pairs = append(pairs, k+"="+fmt.Sprint(x))
		}
	default:
		return nil, fmt.Errorf("%s.parameters.parameter_overrides must be a text, a list or a table", command)
	}
	out := map[string]string{}
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("%s.parameters.parameter_overrides: %q is no Key=Value", command, p)
		}
		out[k] = strings.Trim(v, `"'`)
	}
	return out, nil
}
