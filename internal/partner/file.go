package partner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 1 is the first; 0 where no line is to blame
	Field string `json:"field,omitempty"`
	Wrong string `json:"wrong"`
	Right string `json:"right,omitempty"` // what would be accepted
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Wrong)
	if p.Right != "" {
		b.WriteString("; " + p.Right)
	}
	return b.String()
}

// Problems are all that is wrong with a folder, in the order of its files.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// maxFile bounds one configuration file, in bytes.
const maxFile = 1 << 20

// file is one configuration file under examination.
type file struct {
	path     string
	root     *yaml.Node
	problems *Problems
}

// add records a problem at the deepest existing part of a path such as
// connections[1].settings.url.
func (f file) add(field, wrong, right string) {
	line := 0
	if f.root != nil {
		line = 1
		if n := f.at(field); n != nil {
			line = max(n.Line, 1)
		}
	}
	*f.problems = append(*f.problems, Problem{f.path, line, field, wrong, right})
}

var pathStep = regexp.MustCompile(`[^.\[\]]+`)

// at returns the node that a path names, or its deepest parent that exists.
func (f file) at(path string) *yaml.Node {
	n := f.root
	for _, step := range pathStep.FindAllString(path, -1) {
		next := child(n, step)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// has tells whether the whole path exists.
func (f file) has(path string) bool {
	n := f.root
	for _, step := range pathStep.FindAllString(path, -1) {
		if n = child(n, step); n == nil {
			return false
		}
	}
	return true
}

func child(n *yaml.Node, step string) *yaml.Node {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return child(n.Content[0], step)
	case yaml.AliasNode:
		return child(n.Alias, step)
	case yaml.SequenceNode:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				v := n.Content[i+1]
				if v.Line < n.Content[i].Line {
					v = n.Content[i] // an alias points at its anchor's line
				}
				return v
			}
		}
	}
	return nil
}

// open parses a file and fills into from it. It reports false where nothing
// more can be said about the file.
func open(path, shown string, env func(string) (string, bool), into any, problems *Problems) (file, bool) {
	f := file{path: shown, problems: problems}
	before := len(*problems)
	raw, err := os.ReadFile(path) //nolint:gosec // the partner names the folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.add("", "the file does not exist", "a partner's folder has partner.yaml and retailers/<tenant>.yaml")
		return f, false
	case err != nil:
		f.add("", err.Error(), "")
		return f, false
	case len(raw) > maxFile:
		f.add("", fmt.Sprintf("the file has %d bytes", len(raw)), fmt.Sprintf("%d are the most", maxFile))
		return f, false
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&doc); err != nil || len(doc.Content) == 0 {
		f.syntax(err)
		return f, false
	}
	if dec.Decode(new(yaml.Node)) == nil {
		f.add("", "the file has a second YAML document", "keep one")
	}
	f.root = &doc
	f.walk(&doc, "", env, map[*yaml.Node]bool{})
	if doc.Content[0].Kind != yaml.MappingNode {
		f.add("", "the file is no mapping of keys to values", "begin it with \"key: value\"")
	}
	f.known(doc.Content[0], reflect.TypeOf(into).Elem(), "yaml", "")
	if len(*problems) > before {
		return f, false
	}
	// Values were replaced in the parsed document, so that none can change its
	// structure; decoding it again checks the types.
	if err := doc.Decode(into); err != nil {
		f.syntax(err)
		return f, false
	}
	return f, true
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line ([0-9]+): (.*)$`)

// syntax turns the YAML library's error, whose only carrier of the line is its
// text, into problems.
func (f file) syntax(err error) {
	if err == nil {
		*f.problems = append(*f.problems, Problem{f.path, 1, "", "the file is empty", "see infra/partners/demo for an example"})
		return
	}
	texts := []string{err.Error()}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		texts = types.Errors
	}
	for _, text := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits, by the expression
			text = m[2]
		}
		*f.problems = append(*f.problems, Problem{f.path, line, "", strings.TrimPrefix(text, "yaml: "), "correct the YAML"})
	}
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)
var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// walk replaces variables and refuses repeated keys and anchors that contain
// themselves.
func (f file) walk(n *yaml.Node, path string, env func(string) (string, bool), above map[*yaml.Node]bool) {
	if above[n] {
		f.problem(n, path, "the anchor contains itself, a cycle", "write the value out")
		return
	}
	above[n] = true
	defer delete(above, n)
	switch n.Kind {
	case yaml.AliasNode:
		if above[n.Alias] {
			f.problem(n, path, fmt.Sprintf("the alias *%s stands inside its own anchor, a cycle", n.Value), "write the value out")
			return
		}
		f.walk(n.Alias, path, env, above)
	case yaml.ScalarNode:
		n.Value = variable.ReplaceAllStringFunc(n.Value, func(m string) string {
			name := m[2 : len(m)-1]
			if !variableName.MatchString(name) {
				f.problem(n, path, fmt.Sprintf("%s is no variable", m), "its name consists of A-Z, 0-9 and _")
				return m
			}
			v, ok := env(name)
			if !ok {
				f.problem(n, path, fmt.Sprintf("the variable %s is not set", name), "set it in the environment")
			}
			return v
		})
	case yaml.MappingNode:
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			at := join(path, k.Value)
			if first, again := seen[k.Value]; again {
				f.problem(k, at, fmt.Sprintf("the key stands already in line %d", first), "keep one")
			}
			seen[k.Value] = k.Line
			f.walk(n.Content[i+1], at, env, above)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			f.walk(c, fmt.Sprintf("%s[%d]", path, i), env, above)
		}
	case yaml.DocumentNode:
		for _, c := range n.Content {
			f.walk(c, path, env, above)
		}
	}
}

func (f file) problem(n *yaml.Node, field, wrong, right string) {
	*f.problems = append(*f.problems, Problem{f.path, n.Line, field, wrong, right})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// known refuses keys that the type has no field for; tag is what names them.
func (f file) known(n *yaml.Node, t reflect.Type, tag, path string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, c := range n.Content {
			f.known(c, t.Elem(), tag, fmt.Sprintf("%s[%d]", path, i))
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		fields := map[string]reflect.Type{}
		var names []string
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get(tag), ",")
			fields[name], names = t.Field(i).Type, append(names, name)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			ft, ok := fields[k.Value]
			if !ok {
				f.problem(k, join(path, k.Value), "there is no such key", suggest(k.Value, names))
				continue
			}
			f.known(n.Content[i+1], ft, tag, join(path, k.Value))
		}
	}
}

// suggest names the nearest of what is known, and all of it.
func suggest(wrong string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	all := "there are " + strings.Join(known, ", ")
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(wrong), k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return all
	}
	return fmt.Sprintf("did you mean %s? %s", best, all)
}
