package partner_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/partner"
)

// limited gives the ERP's connection limits, of which the last line is 13.
func limited(line string) string {
	return strings.Replace(goodRetailer, "  - id: erp\n", "  - id: erp\n    limits:\n      "+line+"\n", 1)
}

func changed(was, is string) string { return strings.Replace(goodRetailer, was, is, 1) }

// bomb is nine levels of nine aliases.
func bomb() string {
	var b strings.Builder
	b.WriteString("      b0: &b0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "      b%d: &b%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*b%d, ", i-1), 9), ", "))
	}
	return changed("      channel_id: \"433\"\n", "      channel_id: \"433\"\n"+b.String())
}

func TestWhatAFileSaysIsNeitherDroppedNorAltered(t *testing.T) {
	tail := strings.Count(goodRetailer, "\n") + 1
	for _, c := range []struct {
		name, file string
		line       int
		says       string
	}{
		{"a pack of a fraction", goodRetailer + "products: [{ sku: A, packs: { case: 12.9 } }]\n", tail, "products[0].packs.case: 12.9 has a fraction; it takes a whole number"},
		{"a component's fraction", goodRetailer + "products: [{ sku: A, components: [{ sku: B, quantity: 2.7 }] }]\n", tail, "products[0].components[0].quantity: 2.7 has a fraction"},
		{"a priority's fraction", goodRetailer + "locations: [{ code: MAIN, priority: 1.5 }]\n", tail, "locations[0].priority: 1.5 has a fraction"},
		{"a burst's fraction", limited("per_second: 1\n      burst: 1.5"), 14, "limits.burst: 1.5 has a fraction"},
		{"a setting's fraction", changed("channel_id: \"433\"", "channel_id: \"433\"\n      location_id: 1.5"), 26, "settings.location_id: 1.5 has a fraction"},
		{"a number in quotes", limited("per_second: \"5\""), 13, `limits.per_second: "5" is a text; it takes a number, without quotes`},
		{"a number beyond the integers", limited("in_flight: 99999999999999999999"), 13, "99999999999999999999 is too large"},
		{"no number", limited("per_second: .nan"), 13, "per_second: .nan is not finite"},
		{"an infinite number", limited("per_second: .inf"), 13, "per_second: .inf is not finite"},
		{"an infinite number in settings of an unknown connector", changed("connector: shipbob\n    settings:\n", "connector: ship\n    settings:\n      x: [.inf]\n"), 25, "settings.x[0]: .inf is not finite"},
		{"a rate of nearly nothing", limited("per_second: 1e-320"), 13, "requests a second, from 0.01, as an order needs several, to 1000"},
		{"a burst beyond all bounds", limited("per_second: 1\n      burst: 9223372036854775807"), 14, "1 to 10000, which are ten seconds of the highest rate"},
		{"tasks beyond all bounds", limited("in_flight: 9223372036854775807"), 13, "1 to 1000, which an AWS account runs at once"},

		{"an empty connection", changed("connections:\n", "connections:\n  -\n"), 4, "connections[0]: the item is empty; write a mapping with id, connector"},
		{"a null route", goodRetailer + "  - ~\n", tail, "routes[1]: the item is empty"},
		{"an empty product", goodRetailer + "products:\n  - sku: A\n  -\n", tail + 2, "products[1]: the item is empty"},
		{"an empty override", mapped("    overrides:\n      -\n"), 12, "connections[0].overrides[0]: the item is empty"},
		{"an empty text of a list", changed(`["${HOOK}"]`, `["${HOOK}", ~]`), 10, "webhook_secrets[1]: the item is empty; write a text"},

		{"a second document", goodRetailer + "---\ntenant: south\n", tail, "a second YAML document begins here; keep one"},
		{"a broken second document", goodRetailer + "---\n{ [bad\n", tail + 1, "did not find expected ',' or ']'"},
		{"text behind the document's end", goodRetailer + "...\ngarbage: [\n", tail + 1, "did not find expected <document start>"},

		{"an empty file", "", 1, "the file is empty; it takes a mapping with tenant, name, connections"},
		{"a file of comments", "# later\n\n", 1, "the file is empty"},
		{"a file of one text", "north\n", 1, `"north" is a text; it takes a mapping with tenant`},
		{"a list of connections as a mapping", "tenant: north\nname: N\nconnections: {}\n", 3, "connections: is a mapping; it takes a list of connections, each a mapping with id, connector"},
		{"a mapping as a list", goodRetailer + "sourcing: []\n", tail, "sourcing: is a list; it takes a mapping with max_locations"},
		{"a switch that is neither on nor off", goodRetailer + "sourcing: { backorder: maybe }\n", tail, `backorder: "maybe" is neither true nor false`},
		{"a setting of another kind", changed("shop: north.myshopify.com", "shop: [north.myshopify.com]"), 7, "settings.shop: is a list; it takes a text"},
		{"a bracket left open", changed("settings:\n      shop: north.myshopify.com", "settings: { shop: north"), 6, "did not find expected ',' or '}'; correct the YAML"},

		{"a merge key in settings", changed("      channel_id: \"433\"", "      <<: { channel_id: \"433\" }"), 25, "settings.<<: merge keys (<<) are not supported; write the keys out"},
		{"a merge key in secrets", changed("      password: ${TOKEN}", "      <<: { password: a }"), 21, "secrets.<<: merge keys (<<) are not supported"},
		{"a merge key in a connection", changed("    connector: shipbob", "    <<: { connector: shipbob }"), 23, "connections[2].<<: merge keys (<<) are not supported"},
		{"a merge key of the file", goodRetailer + "<<: { clock_skew: 5m }\n", tail, "merge keys (<<) are not supported"},
		{"a tag", changed("name: North Outfitters", "name: !!binary Tm9ydGg="), 2, "name: the tag !!binary is not supported"},
		{"a key that is a list", goodRetailer + "? [a]\n: 1\n", tail, "a key is a text"},
		{"a bomb of aliases", bomb(), 26, "aliases stand for more than 100000 values; write the values out"},

		{"a variable that is not closed", changed("password: ${TOKEN}", "password: ${TOKEN"), 21, "secrets.password: a variable has no closing brace; write it as ${NAME}"},
		{"a variable as a key", changed("      password: ${TOKEN}", "      ${TOKEN}: a"), 21, "a key has a variable; variables are replaced in values only"},
		{"a variable without braces as a secret", changed("password: ${TOKEN}", "password: $TOKEN"), 21, "$TOKEN is taken as it stands, not as a variable; write ${TOKEN}"},
		{"a variable in braces without quotes", changed("    connector: shipbob\n", "    connector: shipbob\n    limits: { per_second: ${RATE} }\n"), 24, "inside [ ] and { } a ${NAME} stands in quotes"},
		{"a variable for a number that is none", limited("per_second: ${TOKEN}"), 13, "per_second: ${TOKEN} is a text; it takes a number"},
		{"a variable in quotes for a number", limited("per_second: \"${TOKEN}\""), 13, "per_second: ${TOKEN} is a text; it takes a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err = partner.Load(folder(t, goodPartner, c.file), env)
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("reading the file does not end")
			}
			var problems partner.Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("err = %v", err)
			}
			if p := problems[0]; p.Line != c.line || !strings.Contains(p.String(), c.says) {
				t.Errorf("line %d, want %d with %q: %s", p.Line, c.line, c.says, p)
			}
		})
	}
}

func TestWhatIsWholeIsReadAsItIsMeant(t *testing.T) {
	vars := map[string]string{"TOKEN": "secret-one", "HOOK": "sign-one", "RATE": "2.5", "ON": "true", "SERIES": "8.0", "SITE": "12", "NESTED": "a${NOPE}b${TOKEN}"}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for _, c := range []struct {
		name, file string
		right      func(partner.Retailer) any
		want       string
	}{
		{"a bare mark at the end begins no document", goodRetailer + "---\n", func(r partner.Retailer) any { return r.Config.Tenant.String() }, `"north"`},
		{"a mark of the end ends the file", goodRetailer + "...\n", func(r partner.Retailer) any { return r.Config.Tenant.String() }, `"north"`},
		{"an unquoted variable gives a number", limited("per_second: ${RATE}"), func(r partner.Retailer) any { return r.Config.Connections[1].Limits.PerSecond }, "2.5"},
		{"an unquoted variable gives a truth", goodRetailer + "sourcing:\n  backorder: ${ON}\n", func(r partner.Retailer) any { return r.Config.Stock.Sourcing.Backorder }, "true"},
		{"a setting that is a number takes one from a variable", changed("channel_id: \"433\"", "channel_id: \"433\"\n      location_id: ${SITE}"),
			func(r partner.Retailer) any { return r.Config.Connections[2].Settings }, `{"channel_id":"433","location_id":12}`},
		{"a text from a variable stays a text", changed("channel_id: \"433\"", "channel_id: ${SITE}"), func(r partner.Retailer) any { return r.Config.Connections[2].Settings }, `{"channel_id":"12"}`},
		{"one anchor is a number here and a text there", changed("channel_id: \"433\"", "channel_id: &site ${SITE}\n      location_id: *site"),
			func(r partner.Retailer) any { return r.Config.Connections[2].Settings }, `{"channel_id":"12","location_id":12}`},
		{"a setting that is a text is its own text", changed("channel_id: \"433\"", "channel_id: 0433"), func(r partner.Retailer) any { return r.Config.Connections[2].Settings }, `{"channel_id":"0433"}`},
		{"a date in settings is a text", changed("company: North", "company: 2024-01-01"), func(r partner.Retailer) any {
			return strings.Contains(string(r.Config.Connections[1].Settings), `"company":"2024-01-01"`)
		}, "true"},
		{"a whole number may be written as a power", limited("per_second: 1\n      burst: 1e3"), func(r partner.Retailer) any { return r.Config.Connections[1].Limits.Burst }, "1000"},
		{"a variable's value has no variables", changed("access_token: ${TOKEN}", "access_token: &t ${NESTED}"), func(r partner.Retailer) any { return r.Secrets["shop"]["access_token"] }, `"a${NOPE}b${TOKEN}"`},
		{"nor has it where an alias uses it again", strings.Replace(changed("access_token: ${TOKEN}", "access_token: &t ${NESTED}"), "password: ${TOKEN}", "password: *t", 1),
			func(r partner.Retailer) any { return r.Secrets["erp"]["password"] }, `"a${NOPE}b${TOKEN}"`},
		{"a dollar sign may be meant", changed("company: North", "company: $North"), func(r partner.Retailer) any {
			return strings.Contains(string(r.Config.Connections[1].Settings), `"company":"$North"`)
		}, "true"},
		{"a secret may hold a dollar sign", changed("password: ${TOKEN}", "password: a$TOKEN"), func(r partner.Retailer) any { return r.Secrets["erp"]["password"] }, `"a$TOKEN"`},
		{"a key in quotes is no merge key", mapped("    maps: { payment: { decode: { \"<<\": paid } } }\n"), func(r partner.Retailer) any { return r.Config.Connections[0].Maps["payment"].Decode["<<"] }, `"paid"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := partner.Load(folder(t, goodPartner, c.file), lookup)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(c.right(f.Retailers[0]))
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// TestNoMessageShowsASecretOrAVariablesValue looks for every part of the
// values that is long enough to help somebody.
func TestNoMessageShowsASecretOrAVariablesValue(t *testing.T) {
	vars := map[string]string{"TOKEN": "pa55word-Qx7", "HOOK": "s3cretHOOK-\"\\quoted", "URL": "http://Zebra-user.example.net", "PIN": "7q"}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for _, c := range []struct{ name, file, says string }{
		{"a text where a list belongs", changed(`["${HOOK}"]`, "${HOOK}"), "webhook_secrets: ${HOOK} is a text; it takes a list"},
		{"a text where secrets belong", changed("secrets:\n      password: ${TOKEN}", "secrets: ${TOKEN}"), "secrets: ${TOKEN} is a text; it takes a mapping"},
		{"a written secret where secrets belong", changed("secrets:\n      password: ${TOKEN}", "secrets: pa55word-Qx7"), "secrets: the secret is a text"},
		{"a tag before a secret", changed("access_token: ${TOKEN}", "access_token: !!int ${TOKEN}"), "the tag !!int is not supported"},
		{"a duration", goodRetailer + "clock_skew: ${TOKEN}\n", "clock_skew: ${TOKEN} is no duration"},
		{"a short value", goodRetailer + "clock_skew: ${PIN}\n", "clock_skew: ${PIN} is no duration"},
		{"a number", limited("in_flight: ${TOKEN}"), "in_flight: ${TOKEN} is a text"},
		{"part of a setting", changed("database: erp", `database: "a b ${TOKEN}"`), `"a b ${TOKEN}" must consist of`},
		{"a setting that its connector quotes", changed("database: erp", `database: "${HOOK}"`), `"${HOOK}" must consist of`},
		{"an address", changed("https://erp.example.com", "${URL}"), "settings.url"},
		{"an id that another field's message lists", strings.Replace(changed("id: erp", "id: ${TOKEN}"), "erp: erp,", "erp: books,", 1), "there are shop, ${TOKEN}, warehouse"},
		{"a tenant", changed("tenant: north", "tenant: ${TOKEN}"), "${TOKEN}"},
		{"a connector", changed("connector: tryton", "connector: ${TOKEN}"), `there is no connector "${TOKEN}"`},
		{"a value of a map", mapped("    maps: { payment: { decode: { paid: \"${TOKEN} \" } } }\n"), "${TOKEN}"},
		{"an expression", mapped("    overrides:\n      - { document: order, direction: decode, field: shipping_method, value: \"${TOKEN}\" }\n"), "overrides[0].value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := partner.Load(folder(t, goodPartner, c.file), lookup)
			var problems partner.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("err = %v", err)
			}
			asJSON, jerr := json.Marshal(problems)
			if jerr != nil {
				t.Fatal(jerr)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q is not said in %v", c.says, err)
			}
			for _, part := range []string{"pa55wo", "word-Q", "-Qx7", "s3cret", "HOOK-", "quoted", "Zebra-", "7q"} {
				for _, p := range problems {
					if strings.Contains(p.Wrong+p.Right, part) {
						t.Errorf("%q is shown: %s", part, p)
					}
				}
				if strings.Contains(string(asJSON), `"wrong":"`+part) {
					t.Errorf("%q is shown: %s", part, asJSON)
				}
			}
		})
	}
}

func TestOnlyRegularFilesOfARetailerAreRead(t *testing.T) {
	south := strings.Replace(goodRetailer, "tenant: north", "tenant: south", 1)
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, file string
		put        func(t *testing.T, path string)
		says       string // nothing is wrong if empty
	}{
		{"another file is read", "retailers/south.yaml", func(t *testing.T, p string) { write(t, p, south) }, ""},
		{"another ending is named", "retailers/south.yml", func(t *testing.T, p string) { write(t, p, south) }, "its name does not end with .yaml; name it south.yaml"},
		{"an ending in capitals is named", "retailers/south.YAML", func(t *testing.T, p string) { write(t, p, south) }, "its name does not end with .yaml; name it south.yaml"},
		{"a file of a deeper folder is named", "retailers/eu/south.yaml", func(t *testing.T, p string) { write(t, p, south) }, "a file in a folder below retailers is not read; move it to"},
		{"a retailer's file beside partner.yaml is named", "south.yaml", func(t *testing.T, p string) { write(t, p, south) }, "a retailer's file is not read here; move it to"},
		{"another tool's file beside partner.yaml is not", "pipeline.yml", func(t *testing.T, p string) { write(t, p, "steps: []\n") }, ""},
		{"a second file of the partner is named", "partner.yml", func(t *testing.T, p string) { write(t, p, goodPartner) }, "the partner's file is named partner.yaml"},
		{"hidden files are not", "retailers/.south.yaml", func(t *testing.T, p string) { write(t, p, "[") }, ""},
		{"nor are another system's", "retailers/._north.yaml", func(t *testing.T, p string) { write(t, p, "\x00") }, ""},
		{"nor an editor's locks", "retailers/.#north.yaml", func(t *testing.T, p string) {
			if err := os.Symlink("somebody@host.1", p); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a folder is refused", "retailers/south.yaml", func(t *testing.T, p string) {
			if err := os.Mkdir(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "south.yaml: is a directory"},
		{"a pipe is refused", "retailers/south.yaml", func(t *testing.T, p string) {
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"a device is refused", "retailers/south.yaml", func(t *testing.T, p string) {
			if err := os.Symlink("/dev/zero", p); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"a large file is refused", "retailers/south.yaml", func(t *testing.T, p string) { write(t, p, south+"#"+strings.Repeat("x", 1<<20)) }, "1048576 are the most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a[b]*")
			write(t, filepath.Join(dir, "partner.yaml"), goodPartner)
			write(t, filepath.Join(dir, "retailers", "north.yaml"), goodRetailer)
			path := filepath.Join(dir, c.file)
			c.put(t, path)
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err = partner.Load(dir, env)
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("reading the folder does not end")
			}
			var problems partner.Problems
			switch {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says != "" && (!errors.As(err, &problems) || !slices.ContainsFunc(problems, func(p partner.Problem) bool {
				return p.File == path && strings.Contains(p.String(), c.says)
			})):
				t.Errorf("%q is not said of %s: %v", c.says, path, err)
			}
		})
	}
}
