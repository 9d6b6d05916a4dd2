package deploy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pair is a parameter and its value at the beginning of a text, in either form that
// SAM reads: Key=Value, or ParameterKey=Key,ParameterValue=Value. A value with
// blanks stands in quotes, or has a backslash before each.
var pair = func() *regexp.Regexp {
	const key, value = `([A-Za-z0-9"']+)`, `("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^\s"\\])*)`
	return regexp.MustCompile(`^(?:ParameterKey=` + key + `,ParameterValue=` + value + `|` + key + `=` + value + `)(?:\s+|$)`)
}()

// overrides reads parameter_overrides as SAM does: a text of pairs, a table, or a
// list of both. Where SAM passes over what it cannot read, this refuses it.
func overrides(value any) (map[string]string, error) {
	out := map[string]string{}
	if err := override(out, value); err != nil {
		return nil, err
	}
	return out, nil
}

func override(out map[string]string, value any) error {
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return pairs(out, v)
	case []any:
		for _, x := range v {
			if err := override(out, x); err != nil {
				return err
			}
		}
		return nil
	case []map[string]any:
		for _, x := range v {
			if err := override(out, x); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k == "$include" {
				return errors.New("has $include, which waybill deploy does not follow; write the parameters here")
			}
			text, err := overrideText(v[k])
			if err != nil {
				return fmt.Errorf("has %s, %w", k, err)
			}
			out[unquoted(k)] = unquoted(text)
		}
		return nil
	}
	return fmt.Errorf("must be a text, a list or a table, not %v", value)
}

func pairs(out map[string]string, text string) error {
	if strings.HasPrefix(text, "file://") {
		return fmt.Errorf("names the file %s, which waybill deploy does not read; write the parameters here", text)
	}
	for rest := strings.TrimSpace(text); rest != ""; {
		m := pair.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("has %q, which is no Key=Value; a value with blanks stands in quotes", strings.Fields(rest)[0])
		}
		out[unquoted(m[1]+m[3])] = unquoted(m[2] + m[4])
		rest = rest[len(m[0]):]
	}
	return nil
}

// overrideText is a value of a table as SAM, which is written in Python, spells it.
func overrideText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return map[bool]string{true: "True", false: "False"}[v], nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text, nil
	case []any:
		var parts []string
		for _, x := range v {
			text, err := overrideText(x)
			if err != nil {
				return "", err
			}
			if text = strings.TrimSpace(text); text != "" {
				parts = append(parts, text)
			}
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("whose value %v is no text, number, switch or list", value)
}

// unquoted takes the quotes around a text away, and what escapes blanks and quotes
// in it.
func unquoted(text string) string {
	if n := len(text); n > 1 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		text = text[1 : n-1]
	}
	return strings.NewReplacer(`\ `, " ", `\"`, `"`, `\'`, `'`).Replace(text)
}
