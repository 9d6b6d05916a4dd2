package partner

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	nullTag      = "!!null"
	strTag       = "!!str"
	timestampTag = "!!timestamp"
	mergeTag     = "!!merge"
)

// maxAliased bounds what a file's aliases stand for, in values: nine levels of
// nine aliases are a few hundred bytes and half a billion values.
const maxAliased = 100_000

// maxKeys bounds one mapping; the YAML library compares each key with each.
const maxKeys = 10_000

// expander copies what was written into a tree without aliases, and puts the
// variables' values into it. A variable is replaced in what was written, never
// in another variable's value.
type expander struct {
	file
	env       func(string) (string, bool)
	above     map[*yaml.Node]bool // the anchors around
	told      map[*yaml.Node]bool // what is used twice is wrong once
	depth     int                 // of aliases
	aliased   int
	overflown bool
}

var (
	variable     = regexp.MustCompile(`\$\{([^}]*)\}`)
	variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	whole        = regexp.MustCompile(`^\$\{[^}]*\}$`)
	bare         = regexp.MustCompile(`^\$[A-Z][A-Z0-9_]*$`)
)

// copy also refuses what only YAML's own type system would use: merge keys,
// tags, keys that are no texts, repeated keys and cycles.
func (x *expander) copy(n *yaml.Node, path string) *yaml.Node {
	nothing := &yaml.Node{Kind: yaml.ScalarNode, Tag: nullTag, Line: n.Line, Column: n.Column}
	if x.depth > 0 {
		x.aliased++
	}
	if x.aliased > maxAliased {
		if !x.overflown {
			x.problem(n, "", fmt.Sprintf("the file's aliases stand for more than %d values", maxAliased), "write the values out")
		}
		x.overflown = true
		return nothing
	}
	c := *n
	c.Content, c.Anchor = nil, ""
	if n.Style&yaml.TaggedStyle != 0 && n.Kind != yaml.AliasNode && n.Tag != map[yaml.Kind]string{yaml.ScalarNode: strTag, yaml.MappingNode: "!!map", yaml.SequenceNode: "!!seq"}[n.Kind] {
		x.once(n, path, "the tag "+n.Tag+" is not supported", "leave it out: its field decides what a value is")
		return nothing
	}
	switch n.Kind {
	case yaml.AliasNode:
		if x.above[n.Alias] {
			x.once(n, path, fmt.Sprintf("the alias *%s stands inside its own anchor, a cycle", n.Value), "write the value out")
			return nothing
		}
		x.above[n.Alias] = true
		x.depth++
		made := x.copy(n.Alias, path)
		x.depth--
		delete(x.above, n.Alias)
		made.Line, made.Column = n.Line, n.Column
		if made.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			made.Style = yaml.DoubleQuotedStyle // its lines are the anchor's
		}
		return made
	case yaml.ScalarNode:
		x.scalar(&c, n, path)
	case yaml.MappingNode:
		x.mapping(&c, n, path)
	case yaml.SequenceNode:
		x.inside(n, func() {
			for i, item := range n.Content {
				c.Content = append(c.Content, x.copy(item, fmt.Sprintf("%s[%d]", path, i)))
			}
		})
	case yaml.DocumentNode:
		for _, item := range n.Content {
			c.Content = append(c.Content, x.copy(item, path))
		}
	}
	return &c
}

func (x *expander) inside(n *yaml.Node, do func()) {
	outer := x.above[n]
	x.above[n] = true
	do()
	x.above[n] = outer
}

func (x *expander) once(n *yaml.Node, path, wrong, right string) {
	if !x.told[n] {
		x.told[n] = true
		x.problem(n, path, wrong, right)
	}
}

func (x *expander) mapping(c, n *yaml.Node, path string) {
	if len(n.Content) > 2*maxKeys {
		x.once(n, path, fmt.Sprintf("has %d keys", len(n.Content)/2), fmt.Sprintf("%d are the most; maps of many values are kept apart: waybill map import", maxKeys))
		return
	}
	seen := map[string]int{}
	x.inside(n, func() {
		for i := 0; i+1 < len(n.Content); i += 2 {
			written := n.Content[i]
			k := *written
			if k.Kind == yaml.AliasNode {
				k = *written.Alias
				k.Line, k.Column = written.Line, written.Column
			}
			at := join(path, k.Value)
			switch {
			case k.Kind != yaml.ScalarNode:
				x.once(written, path, "a key is a list or a mapping", "a key is a text")
				continue
			case k.Tag == mergeTag:
				x.once(written, at, "merge keys (<<) are not supported", "write the keys out")
				continue
			case k.Style&yaml.TaggedStyle != 0 && k.Tag != strTag:
				x.once(written, at, "the tag "+k.Tag+" is not supported", "leave it out: a key is a text")
				continue
			case strings.Contains(k.Value, "${"):
				x.once(written, at, "a key has a variable", "variables are replaced in values only; write the key out")
				continue
			}
			if first, again := seen[k.Value]; again {
				x.once(written, at, fmt.Sprintf("the key stands already in line %d", first), "keep one")
				continue
			}
			seen[k.Value] = k.Line
			k.Tag, k.Anchor = strTag, ""
			c.Content = append(c.Content, &k, x.copy(n.Content[i+1], at))
		}
	})
}

func (x *expander) scalar(c, n *yaml.Node, path string) {
	secret := underSecrets.MatchString(path)
	if c.Tag == timestampTag {
		c.Tag = strTag // no field is a time
	}
	if secret && bare.MatchString(n.Value) {
		x.once(n, path, n.Value+" is taken as it stands, not as a variable", "write ${"+n.Value[1:]+"}")
		return
	}
	if strings.Contains(variable.ReplaceAllString(n.Value, " "), "${") {
		x.once(n, path, "a variable has no closing brace", "write it as ${NAME}")
		return
	}
	if !strings.Contains(n.Value, "${") {
		if secret {
			x.written[c] = "the secret"
			x.conceal(n.Value, "the secret", path)
		}
		return
	}
	if n.Style == 0 && whole.MatchString(n.Value) {
		x.plain[c] = true
	}
	x.written[c] = n.Value
	c.Value = variable.ReplaceAllStringFunc(n.Value, func(m string) string {
		name := m[2 : len(m)-1]
		if !variableName.MatchString(name) {
			x.once(n, path, fmt.Sprintf("%s is no variable", m), "its name begins with A-Z and consists of A-Z, 0-9 and _")
			return m
		}
		v, ok := x.env(name)
		if !ok {
			x.once(n, path, fmt.Sprintf("the variable %s is not set", name), "set it in the environment")
		}
		x.conceal(v, m, path)
		return v
	})
	x.conceal(c.Value, n.Value, path)
}
