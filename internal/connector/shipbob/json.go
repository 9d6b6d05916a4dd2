package shipbob

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// errTwice is a document whose reading depends on who reads it.
type errTwice struct{ path string }

func (e errTwice) Error() string { return e.path + " is given twice" }

var errNotJSON = errors.New("is not one JSON document")

// unreadable names a key that is given twice, and otherwise what is said of the
// whole: an error of encoding/json may quote the document.
func unreadable(err error, field, message string) error {
	var twice errTwice
	if errors.As(err, &twice) {
		return malformed(twice.path, "is given twice")
	}
	return malformed(field, message)
}

// unmarshal is json.Unmarshal for what ShipBob sends: a key that an object has
// twice is an errTwice, a key in another case than the field's is not the
// field, and broken UTF-8 is no JSON.
func unmarshal(raw []byte, into any) error {
	if !utf8.Valid(raw) {
		return errNotJSON
	}
	exact, err := exactKeys(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(exact, into)
}

// level is an object or a list that is being read.
type level struct {
	keys  map[string]bool // nil in a list
	named bool            // a key was read, and its value is next
	key   string
	index int
}

// exactKeys copies a document and blanks those keys in it that encoding/json
// would take for a field in spite of their case: ShipBob's are all in lower case.
func exactKeys(raw []byte) ([]byte, error) {
	exact := slices.Clone(raw)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var open []*level
	for {
		from := dec.InputOffset()
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return exact, nil
		}
		if err != nil {
			return nil, errNotJSON
		}
		var in *level
		if len(open) > 0 {
			in = open[len(open)-1]
		}
		key, text := token.(string)
		if text && in != nil && in.keys != nil && !in.named {
			in.named, in.key = true, key
			if in.keys[key] {
				return nil, errTwice{pathOf(open)}
			}
			in.keys[key] = true
			if foreign(key) {
				at := int(from) + bytes.IndexByte(raw[from:], '"')
				for i := at + 1; i < int(dec.InputOffset())-1; i++ {
					exact[i] = ' '
				}
			}
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &level{keys: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, &level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			if len(open) == 0 {
				continue
			}
			in = open[len(open)-1]
		}
		if in != nil {
			in.named = false
			in.index++
		}
	}
}

// foreign tells a key that is none of ShipBob's by its letters.
func foreign(key string) bool {
	for _, r := range key {
		if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return true
		}
	}
	return false
}

// longestPath bounds what a fault quotes of a document's own keys.
const longestPath = 120

func pathOf(open []*level) string {
	path := ""
	for _, l := range open {
		switch {
		case l.keys == nil:
			path += "[" + strconv.Itoa(l.index) + "]"
		case path == "":
			path = l.key
		default:
			path += "." + l.key
		}
		if len(path) > longestPath {
			return strings.ToValidUTF8(path[:longestPath], "")
		}
	}
	return path
}
