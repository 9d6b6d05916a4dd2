package faulty

import (
	"bytes"
	"encoding/json"
)

// spoil makes garbage of an answer that is JSON: a byte of every text that is
// not a member's name (utf8; one at the end where there is no text), or every
// value turned into one of another type.
func spoil(answer []byte, form string) []byte {
	var v any
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return []byte("{")
	}
	var turn func(v any) any
	turn = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = turn(v[k])
			}
			return v
		case []any:
			for i := range v {
				v[i] = turn(v[i])
			}
			return v
		case string:
			if form == "utf8" {
				return spoilt + v
			}
			return 7
		case json.Number:
			if form == "utf8" {
				return v
			}
			return map[string]any{"n": v}
		case bool:
			if form == "utf8" {
				return v
			}
			return "perhaps"
		}
		return v
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(turn(v)) != nil {
		return []byte("{")
	}
	if form == "utf8" && !bytes.Contains(out.Bytes(), []byte(spoilt)) {
		out.WriteString(spoilt)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte(spoilt), []byte{0xff})
}

// spoilt marks where a byte goes that no UTF-8 has; encoding/json would not
// let it through.
const spoilt = "\u2e2e\u2e2e"
