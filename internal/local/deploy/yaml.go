package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SyntaxError says where a template is not what CloudFormation reads.
type SyntaxError struct {
	Line    int
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// short names the functions that YAML may write as a tag, with the long form of
// each: Fn:: and the name, but for the two that have no prefix.
var short = map[string]string{
	"!Ref": "Ref", "!Condition": "Condition",
	"!And": "Fn::And", "!Base64": "Fn::Base64", "!Cidr": "Fn::Cidr", "!Contains": "Fn::Contains",
	"!EachMemberEquals": "Fn::EachMemberEquals", "!EachMemberIn": "Fn::EachMemberIn", "!Equals": "Fn::Equals",
	"!FindInMap": "Fn::FindInMap", "!GetAZs": "Fn::GetAZs", "!GetAtt": "Fn::GetAtt", "!If": "Fn::If",
	"!ImportValue": "Fn::ImportValue", "!Join": "Fn::Join", "!Length": "Fn::Length", "!Not": "Fn::Not", "!Or": "Fn::Or",
	"!RefAll": "Fn::RefAll", "!Select": "Fn::Select", "!Split": "Fn::Split", "!Sub": "Fn::Sub",
	"!ToJsonString": "Fn::ToJsonString", "!Transform": "Fn::Transform", "!ValueOf": "Fn::ValueOf", "!ValueOfAll": "Fn::ValueOfAll",
}

// parse reads a template in YAML or JSON and turns the functions' short forms
// into the long ones.
func parse(text []byte) (*object, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &SyntaxError{max(more.Line, 1), "more than one document"}
	}
	if len(doc.Content) == 0 {
		return nil, &SyntaxError{1, "the template is empty"}
	}
	r := reader{open: map[*yaml.Node]bool{}}
	root, err := r.read(doc.Content[0])
	if err != nil {
		return nil, err
	}
	o, ok := root.(*object)
	if !ok {
		return nil, at(doc.Content[0], "a template is a mapping")
	}
	return o, nil
}

// reader knows the anchors that are being read, to refuse one that contains
// itself.
type reader struct{ open map[*yaml.Node]bool }

func (r *reader) read(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode {
		if r.open[n.Alias] {
			return nil, at(n, "the anchor "+n.Value+" contains itself")
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		return r.read(n.Alias)
	}
	if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") {
		return r.plain(n)
	}
	long, ok := short[n.Tag]
	if !ok {
		return nil, at(n, "unknown function "+n.Tag)
	}
	value, err := r.plain(n)
	if err != nil {
		return nil, err
	}
	// Only the short form may write a resource and its attribute as one text.
	if text, ok := value.(string); ok && n.Tag == "!GetAtt" {
		resource, attribute, found := strings.Cut(text, ".")
		if !found {
			return nil, at(n, "!GetAtt needs a resource and an attribute: "+text)
		}
		value = []any{resource, attribute}
	}
	return &object{fields: []field{{long, value}}}, nil
}

func (r *reader) plain(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(n)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			value, err := r.read(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		return scalar(n), nil
	}
	return nil, at(n, "not part of a template")
}

func (r *reader) mapping(n *yaml.Node) (any, error) {
	o, own := &object{}, map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Tag != "!!merge" {
			if key.Kind != yaml.ScalarNode {
				return nil, at(key, "a key is a text")
			}
			if own[key.Value] {
				return nil, at(key, key.Value+" is written twice")
			}
			own[key.Value] = true
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		value, err := r.read(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if key.Tag != "!!merge" {
			o.set(key.Value, value)
			continue
		}
		sources, ok := value.([]any)
		if !ok {
			sources = []any{value}
		}
		for _, s := range sources {
			from, ok := s.(*object)
			if !ok {
				return nil, at(key, "only mappings can be merged")
			}
			for _, f := range from.fields {
				// What the mapping says itself wins, and then the first source.
				if !own[f.key] && !o.has(f.key) {
					o.set(f.key, f.value)
				}
			}
		}
	}
	return o, nil
}

// scalar reads a value as CloudFormation does, which follows YAML 1.1. A number
// keeps its digits where JSON can say it and is text otherwise; a date is text.
func scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	case "!!str":
		if n.Style != 0 {
			break
		}
		switch n.Value {
		case "yes", "Yes", "YES", "on", "On", "ON":
			return true
		case "no", "No", "NO", "off", "Off", "OFF":
			return false
		}
	}
	return n.Value
}

func at(n *yaml.Node, problem string) error { return &SyntaxError{n.Line, problem} }
