package partner

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// values is what the tree of values does not tell of itself.
type values struct {
	written   map[*yaml.Node]string // what stands in the file for a value that is not shown
	plain     map[*yaml.Node]bool   // unquoted and nothing but a variable
	concealed map[concealed]map[string]bool
}

// concealed is a value that no message shows, and what it shows instead. The
// paths are where it stands.
type concealed struct{ value, instead string }

func newValues() *values {
	return &values{written: map[*yaml.Node]string{}, plain: map[*yaml.Node]bool{}, concealed: map[concealed]map[string]bool{}}
}

var underSecrets = regexp.MustCompile(`(^|\.)(secrets|webhook_secrets)([.\[]|$)|^alerts\.webhook\.secret($|[.\[])`)

func (v *values) conceal(value, instead, path string) {
	if value == "" || value == instead {
		return
	}
	c := concealed{value, instead}
	if v.concealed[c] == nil {
		v.concealed[c] = map[string]bool{}
	}
	v.concealed[c][path] = true
}

const (
	// A shorter value is hidden in what is said of its own field only: it may
	// be any word or number of a message.
	minAnywhere = 4
	// A part of a value that is this long is hidden as the value is.
	minPart = 6
)

// hide takes the concealed values out of what was said of the file. Whoever
// checks a value quotes it, so it is done once for all of them.
func (f file) hide() {
	if len(f.concealed) == 0 || len(*f.problems) == f.first {
		return
	}
	all := make([]concealed, 0, len(f.concealed))
	for c := range f.concealed {
		if strings.TrimSpace(c.value) != "" { // blanks tell nothing, and stand in every message
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b concealed) int {
		return cmp.Or(cmp.Compare(len(b.value), len(a.value)), cmp.Compare(a.value, b.value), cmp.Compare(a.instead, b.instead))
	})
	for i := f.first; i < len(*f.problems); i++ {
		p := &(*f.problems)[i]
		for _, c := range all {
			own := related(f.concealed[c], p.Field)
			if !own && (len(c.value) < minAnywhere || !strings.Contains(c.instead, "${")) {
				continue
			}
			p.Wrong, p.Right = c.out(p.Wrong), c.out(p.Right)
			if own {
				p.Wrong = c.partsOut(p.Wrong, p.Right)
			}
		}
	}
}

// related tells whether a field is one of the paths, stands in one, or holds
// one.
func related(paths map[string]bool, field string) bool {
	if len(paths) > 1000 {
		return true // by aliases; it is not worth the search
	}
	for p := range paths {
		long, short := p, field
		if len(long) < len(short) {
			long, short = short, long
		}
		if rest, ok := strings.CutPrefix(long, short); ok && (short == "" || rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// out replaces the value where it stands as a word of its own, as it is or as
// Go quotes it.
func (c concealed) out(text string) string {
	quoted := strconv.Quote(c.value)
	for _, v := range []string{quoted[1 : len(quoted)-1], c.value} {
		var b strings.Builder
		rest := text
		for {
			i := strings.Index(rest, v)
			if i < 0 {
				break
			}
			before, _ := utf8.DecodeLastRuneInString(rest[:i])
			after, _ := utf8.DecodeRuneInString(rest[i+len(v):])
			first, _ := utf8.DecodeRuneInString(v)
			last, _ := utf8.DecodeLastRuneInString(v)
			b.WriteString(rest[:i])
			if word(before) && word(first) || word(last) && word(after) {
				b.WriteString(v)
			} else {
				b.WriteString(c.instead)
			}
			rest = rest[i+len(v):]
		}
		text = b.String() + rest
	}
	return text
}

func word(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// partsOut replaces what a text shares with the value. What the advice says too
// is the checker's own word, and so is a scheme.
func (c concealed) partsOut(text, advice string) string {
	value := c.value
	if _, after, ok := strings.Cut(value, "://"); ok {
		value = after
	}
	size := min(minPart, max(len(value), minAnywhere))
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 0
		for i+size+n <= len(text) && strings.Contains(value, text[i:i+size+n]) {
			n++
		}
		if n == 0 || strings.Contains(advice, text[i:i+size+n-1]) {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(c.instead)
		i += size + n - 1
	}
	return strings.ToValidUTF8(b.String(), "")
}
