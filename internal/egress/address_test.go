package egress

import (
	"strings"
	"testing"
)

func TestAnAddressIsHTTPSWithAHostAPortAndNoCredential(t *testing.T) {
	for _, s := range []string{"https://a.example", "https://a.example/", "https://a.example:8443/x?y=z#w", "https://[2001:db8::1]:443", "https://10.0.0.1", "https://erp", "https://xn--bcher-kva.example.",
		"https://a_b.example", "http://127.0.0.1:8080", "http://localhost:1", "http://shop.localhost", "http://[::1]:65535"} {
		if u, value, wrong := ParseAddress(s); u == nil || value != "" || wrong != "" {
			t.Errorf("%s: %q %s", s, value, wrong)
		}
	}
	for s, c := range map[string]struct{ value, wrong string }{
		"":                              {"", "is missing"},
		"a.example":                     {"a.example", "must use https"},
		"//a.example":                   {"//a.example", "must use https"},
		"ftp://a.example":               {"ftp://a.example", "must use https"},
		"https:a.example":               {"https:a.example", "must use https"},
		"http://a.example":              {"http://a.example", "must use https"},
		"http://127.0.0.1.example":      {"http://127.0.0.1.example", "must use https"},
		"https://":                      {"https://", "has no host"},
		"https://:443":                  {"https://:443", "has no host"},
		"https:///path":                 {"https:///path", "has no host"},
		"https://a..b":                  {"https://a..b", "has no host"},
		"https://-a.example":            {"https://-a.example", "has no host"},
		"https://a.example:":            {"https://a.example:", `the port ""`},
		"https://a.example:0":           {"https://a.example:0", `the port "0"`},
		"https://a.example:99999":       {"https://a.example:99999", `the port "99999"`},
		"https://a.example:x":           {"https://a.example:x", "is no address"},
		"https://a.example#\"><script>": {"https://a.example#\"><script>", "is no address"},
		"https://a.example/ b":          {"https://a.example/ b", "is no address"},
		"https://a.example/\n":          {"https://a.example/\n", "is no address"},
		"https://b\u00fccher.example":   {"https://b\u00fccher.example", "is no address"},
		"https://u:p@a.example":         {"", "must hold no user or password"},
		"https://u@a.example":           {"", "must hold no user or password"},
		"http://u:p@a.example:99999":    {"", "must hold no user or password"},
		"https://u:p@":                  {"", "must hold no user or password"},
		"https://u:%zz@a.example":       {"", "is no address"},
	} {
		if u, value, wrong := ParseAddress(s); u != nil || value != c.value || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%q: %v %q %s, want %q %s", s, u, value, wrong, c.value, c.wrong)
		}
	}
}
