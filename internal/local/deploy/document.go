// Package deploy does what "sam package" and "sam deploy" do: it uploads what a
// template refers to, rewrites the references and brings a stack to that
// template. It works against a local AWS and against a real one.
package deploy

import (
	"bytes"
	"encoding/json"
	"slices"
)

// object is a mapping that keeps its order, so that the same template always
// gives the same bytes and thereby the same key.
type object struct{ fields []field }

type field struct {
	key   string
	value any // *object, []any, string, json.Number, bool or nil
}

func (o *object) get(key string) any {
	if o == nil {
		return nil
	}
	for _, f := range o.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

func (o *object) has(key string) bool {
	return slices.ContainsFunc(o.fields, func(f field) bool { return f.key == key })
}

func (o *object) object(key string) *object {
	child, _ := o.get(key).(*object)
	return child
}

func (o *object) text(key string) string {
	s, _ := o.get(key).(string)
	return s
}

func (o *object) set(key string, value any) {
	for i := range o.fields {
		if o.fields[i].key == key {
			o.fields[i].value = value
			return
		}
	}
	o.fields = append(o.fields, field{key, value})
}

// MarshalJSON writes the fields in their order.
func (o *object) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, f := range o.fields {
		if i > 0 {
			buf.WriteByte(',')
		}
		key, err := encode(f.key)
		if err != nil {
			return nil, err
		}
		value, err := encode(f.value)
		if err != nil {
			return nil, err
		}
		buf.Write(key)
		buf.WriteByte(':')
		buf.Write(value)
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// encode is json.Marshal that leaves <, > and & readable.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
