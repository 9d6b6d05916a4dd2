package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Difference is one field of a document that two translations disagree about.
type Difference struct {
	Field string `json:"field"`
	Was   string `json:"was,omitempty"`
	Is    string `json:"is,omitempty"`
}

// Diff compares two documents field by field. Notes, which tell how a document
// was made, are left out.
func Diff(was, is any) ([]Difference, error) {
	a, b := map[string]string{}, map[string]string{}
	if err := flatten(was, a); err != nil {
		return nil, err
	}
	if err := flatten(is, b); err != nil {
		return nil, err
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	var out []Difference
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if a[k] != b[k] {
			out = append(out, Difference{k, a[k], b[k]})
		}
	}
	return out, nil
}

func flatten(v any, into map[string]string) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("comparing documents: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("comparing documents: %w", err)
	}
	leaves(doc, "", into)
	return nil
}

func leaves(v any, path string, into map[string]string) {
	switch x := v.(type) {
	case map[string]any:
		for k, c := range x {
			switch {
			case path == "" && k == "notes":
			case path == "":
				leaves(c, k, into)
			default:
				leaves(c, path+"."+k, into)
			}
		}
	case []any:
		for i, c := range x {
			leaves(c, fmt.Sprintf("%s[%d]", path, i), into)
		}
	case nil:
	default:
		into[path] = fmt.Sprint(x)
	}
}
