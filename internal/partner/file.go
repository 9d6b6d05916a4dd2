package partner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	root     *yaml.Node // without aliases, and with the variables' values
	problems *Problems
	first    int // of its problems
	*values
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
	case yaml.SequenceNode:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// open parses a file and fills into from it. It reports false where nothing
// more can be said about the file.
func open(path string, env func(string) (string, bool), into any, problems *Problems) (file, bool) {
	f := file{path: path, problems: problems, first: len(*problems), values: newValues()}
	t := reflect.TypeOf(into).Elem()
	raw, wrong, right := read(path)
	if wrong != "" {
		f.add("", wrong, right)
		return f, false
	}
	written := f.document(raw, t)
	if written == nil {
		return f, false
	}
	x := expander{file: f, env: env, above: map[*yaml.Node]bool{}, told: map[*yaml.Node]bool{}}
	f.root = x.copy(written, "")
	if x.overflown {
		return f, false
	}
	f.check(f.root.Content[0], t, "yaml", "")
	if len(*problems) > f.first {
		return f, false
	}
	if err := f.root.Decode(into); err != nil {
		f.undecodable(err)
		return f, false
	}
	return f, true
}

// read takes regular files only: a pipe or a device may never end.
func read(path string) (raw []byte, wrong, right string) {
	const one = "a partner's folder has partner.yaml and retailers/<tenant>.yaml, each a regular file"
	large := fmt.Sprintf("%d are the most; maps of many values are kept apart: waybill map import", maxFile)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "the file does not exist", one
	case err != nil:
		return nil, cause(err), one
	case info.IsDir():
		return nil, "is a directory", one
	case !info.Mode().IsRegular():
		return nil, "is no regular file, but a pipe, a socket or a device", one
	case info.Size() > maxFile:
		return nil, fmt.Sprintf("the file has %d bytes", info.Size()), large
	}
	h, err := os.Open(path) //nolint:gosec // the partner names the folder
	if err != nil {
		return nil, cause(err), "make it readable"
	}
	defer func() { _ = h.Close() }()
	raw, err = io.ReadAll(io.LimitReader(h, maxFile+1))
	switch {
	case err != nil:
		return nil, cause(err), "make it readable"
	case len(raw) > maxFile:
		return nil, fmt.Sprintf("the file has more than %d bytes", maxFile), large
	}
	return raw, "", ""
}

// cause is an error without the path, which stands before it anyway.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

// document parses the file's one document. Empty ones, such as what follows a
// bare "---", do not count.
func (f file) document(raw []byte, t reflect.Type) *yaml.Node {
	var found *yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF):
			if found == nil {
				f.tell(1, "", "the file is empty", takes(t, "yaml", "")+"; infra/partners/demo is an example")
			}
			return found
		case err != nil:
			f.syntax(raw, err)
			return found
		case len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].ShortTag() == nullTag:
		case found != nil:
			f.problem(&doc, "", "a second YAML document begins here", "keep one in a file")
			return found
		default:
			found = &doc
		}
	}
}

var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line ([0-9]+): (.*)$`)
	// The library counts the lines of these from 0.
	fromZero = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key$|',' or)`)
)

// syntax turns the YAML library's error, whose only carrier of the line is its
// text, into a problem.
func (f file) syntax(raw []byte, err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits, by the expression
		text = m[2]
		if fromZero.MatchString(text) {
			line++
		}
		line = max(min(line, len(lines)), 1)
	}
	right := "correct the YAML"
	if bytes.Contains(lines[line-1], []byte("${")) {
		right += "; inside [ ] and { } a ${NAME} stands in quotes, and one that is a number or true or false needs a line of its own"
	}
	f.tell(line, "", text, right)
}

// undecodable tells what the types' check let pass. The library's text may
// hold a secret and stays untold.
func (f file) undecodable(err error) {
	texts := []string{err.Error()}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		texts = types.Errors
	}
	for _, text := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits, by the expression
		}
		f.tell(line, "", "the value is of another kind than its field takes", "see infra/partners/demo for an example")
	}
}

func (f file) tell(line int, field, wrong, right string) {
	*f.problems = append(*f.problems, Problem{f.path, line, field, wrong, right})
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
