package shopifytest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed spec/orders_2026-07.schema.json.gz
var orderSchema []byte

var loadOrderSchema = sync.OnceValues(func() (schemaNode, error) {
	raw, err := gunzip(orderSchema)
	if err != nil {
		return schemaNode{}, fmt.Errorf("reading the webhook schema: %w", err)
	}
	var n schemaNode
	err = strictly(raw, &n)
	return n, err
})

// strictly refuses a keyword that is not understood here, because it would
// pass as checked.
func strictly(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// schemaNode is the part of JSON Schema that the published schema uses.
type schemaNode struct {
	Schema     string                `json:"$schema"`
	Type       stringOrList          `json:"type"`
	Format     string                `json:"format"`
	Properties map[string]schemaNode `json:"properties"`
	Required   []string              `json:"required"`
	Items      *itemSchema           `json:"items"`
}

// itemSchema is a schema of a list's items; nil stands for false, which allows
// none.
type itemSchema struct{ of *schemaNode }

// UnmarshalJSON reads a schema or false.
func (s *itemSchema) UnmarshalJSON(b []byte) error {
	if string(b) == "false" {
		return nil
	}
	s.of = &schemaNode{}
	return strictly(b, s.of)
}

type stringOrList []string

// UnmarshalJSON reads "string" and ["null", "string"] alike.
func (l *stringOrList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = stringOrList{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	*l = many
	return err
}

// CheckOrderPayload validates the body of an orders/* webhook against the
// published JSON schema, formats included.
func CheckOrderPayload(body []byte) error {
	schema, err := loadOrderSchema()
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("reading the payload: %w", err)
	}
	return schema.check("payload", doc)
}

func (n schemaNode) check(path string, v any) error {
	if len(n.Type) > 0 && !slices.ContainsFunc(n.Type, func(t string) bool { return isType(t, v) }) {
		return fmt.Errorf("%s: is not of type %s", path, strings.Join(n.Type, " or "))
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range n.Required {
			if _, ok := v[k]; !ok {
				return fmt.Errorf("%s: %s is required", path, k)
			}
		}
		for k, sub := range n.Properties {
			if x, ok := v[k]; ok {
				if err := sub.check(path+"."+k, x); err != nil {
					return err
				}
			}
		}
	case []any:
		if n.Items == nil {
			return nil
		}
		for i, x := range v {
			if n.Items.of == nil {
				return fmt.Errorf("%s: must be empty", path)
			}
			if err := n.Items.of.check(path+"["+strconv.Itoa(i)+"]", x); err != nil {
				return err
			}
		}
	case string:
		if !formatted(n.Format, v) {
			return fmt.Errorf("%s: is not of format %s", path, n.Format)
		}
	}
	return nil
}

func isType(t string, v any) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case json.Number:
		return t == "number" || t == "integer" && !strings.ContainsAny(v.String(), ".eE")
	case []any:
		return t == "array"
	case map[string]any:
		return t == "object"
	}
	return false
}

func formatted(format, s string) bool {
	switch format {
	case "":
		return true
	case "date-time":
		_, err := time.Parse(time.RFC3339, s)
		return err == nil
	case "uri":
		u, err := url.Parse(s)
		return err == nil && u.IsAbs()
	case "email":
		at := strings.LastIndexByte(s, '@')
		return at > 0 && at < len(s)-1
	case "ipv4":
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is4()
	}
	return false
}
