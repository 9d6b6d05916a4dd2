// Package mapping is what differs from customer to customer in the translation
// of documents: value maps, which say what a system calls a value, and
// overrides, which compute a field by an expression. Both belong to one
// connection, are versioned, and are data.
//
// Decoding reads what a connection's system wrote: its values become ours.
// Encoding writes what the system will read: our values become its own. Maps
// come first and overrides last, in both directions.
//
// A value that a map does not have passes as it is, unless the map is strict:
// then it is a fault.Exception of class mapping with field path and value, so
// that one document is parked and the feed goes on.
package mapping

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/retail"
)

// Kind is what a map's values are.
type Kind string

// The kinds of value maps.
const (
	SKU      Kind = "sku"
	Location Kind = "location"
	Tax      Kind = "tax"
	Payment  Kind = "payment"
	Carrier  Kind = "carrier" // carriers, and the shipping methods that a warehouse is asked for
	Reason   Kind = "reason"
	Unit     Kind = "unit"
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{SKU, Location, Tax, Payment, Carrier, Reason, Unit} }

// ParseKind accepts one of Kinds.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if string(k) == s {
			return k, nil
		}
	}
	return "", fmt.Errorf("there is no kind %q; there are sku, location, tax, payment, carrier, reason and unit", s)
}

// Direction is the way of a document past a connection.
type Direction string

// Directions.
const (
	Decode Direction = "decode" // from the connection's system to us
	Encode Direction = "encode" // from us to the connection's system
)

// Reverse is the other direction.
func (d Direction) Reverse() Direction {
	if d == Decode {
		return Encode
	}
	return Decode
}

// Map is one immutable version of a value map, without its entries: those are
// kept in pieces, which versions share as far as they are equal.
type Map struct {
	Schema     int           `json:"schema"`
	Tenant     retail.Tenant `json:"tenant"`
	Connection string        `json:"connection"`
	Kind       Kind          `json:"kind"`
	Version    int64         `json:"version"` // 1 is the first
	// Base is the version that a draft was made from.
	Base   int64     `json:"base,omitempty"`
	Strict bool      `json:"strict,omitempty"`
	Decode Index     `json:"decode"`
	Encode Index     `json:"encode"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Index tells in which piece an entry is: the one at the value's hash modulo
// their number. A piece is named by the hash of its content and so never
// changes; an empty one has no name.
type Index struct {
	Entries int      `json:"entries"`
	Pieces  []string `json:"pieces,omitempty"`
}

// Index is the map's index in one direction.
func (m Map) Index(d Direction) Index {
	if d == Decode {
		return m.Decode
	}
	return m.Encode
}

// StrictFor tells whether a value that is missing in this direction is an
// exception. A strict map that was given in one direction only says nothing
// about the other.
func (m Map) StrictFor(d Direction) bool {
	return m.Strict && (m.Index(d).Entries > 0 || m.Index(d.Reverse()).Entries == 0)
}

// Bounds of a map.
const (
	MaxEntries = 200_000
	MaxValue   = 200 // bytes
	perPiece   = 512 // entries of one piece, on average at most
)

// ErrNotFound is returned for a map, version or draft that does not exist.
var ErrNotFound = errors.New("no such map")

// CheckValue refuses what can be no value: a map is written by people and read
// by machines, and a blank too many is never meant.
func CheckValue(s string) error {
	switch {
	case s == "":
		return errors.New("the value is empty")
	case len(s) > MaxValue:
		return fmt.Errorf("the value has %d bytes; %d are the most", len(s), MaxValue)
	case !utf8.ValidString(s):
		return errors.New("the value is not UTF-8")
	case strings.TrimSpace(s) != s:
		return errors.New("the value begins or ends with a blank")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the value holds a control character")
	}
	return nil
}

// place is the number of the piece that holds a value.
func place(value string, pieces int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(value)) // never fails
	return int(h.Sum32() % uint32(pieces))
}

// cut divides entries into pieces: a power of two of them, so that a map that
// grows by an entry changes one.
func cut(entries map[string]string) (Index, map[string][]byte, error) {
	if len(entries) == 0 {
		return Index{}, nil, nil
	}
	n := 1
	for n*perPiece < len(entries) {
		n *= 2
	}
	parts := make([]map[string]string, n)
	for from, to := range entries {
		p := place(from, n)
		if parts[p] == nil {
			parts[p] = map[string]string{}
		}
		parts[p][from] = to
	}
	idx, pieces := Index{Entries: len(entries), Pieces: make([]string, n)}, map[string][]byte{}
	for i, p := range parts {
		if p == nil {
			continue
		}
		name, data, err := pack(p)
		if err != nil {
			return idx, nil, err
		}
		idx.Pieces[i], pieces[name] = name, data
	}
	return idx, pieces, nil
}

// pack encodes a piece; equal entries have one name.
func pack(entries map[string]string) (name string, data []byte, err error) {
	raw, err := json.Marshal(entries) // sorts the keys
	if err != nil {
		return "", nil, fmt.Errorf("encoding a map: %w", err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		return "", nil, fmt.Errorf("compressing a map: %w", err)
	}
	if err := z.Close(); err != nil {
		return "", nil, fmt.Errorf("compressing a map: %w", err)
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:12]), b.Bytes(), nil
}

func unpack(data []byte) (map[string]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading a map: %w", err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("reading a map: %w", err)
	}
	var out map[string]string
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("reading a map: %w", err)
	}
	return out, nil
}
