//go:build unix

package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/cli"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
)

func run(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// order is what a storefront would send.
func order(t *testing.T) string {
	t.Helper()
	sim := shopifytest.NewServer(shopifytest.Options{})
	t.Cleanup(sim.Close)
	placed, err := sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sim.Payload(placed.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestDecodePrintsTheCanonicalOrderWithItsCertificate(t *testing.T) {
	raw := order(t)
	file := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(file, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"standard input": nil, "a file": {"--file", file}} {
		code, out, errs := run(t, raw, append([]string{"decode", "--connector", "shopify", "--object", "order"}, args...)...)
		var doc struct {
			Order struct {
				ExternalID string `json:"external_id"`
			} `json:"order"`
			Certificate map[string]any `json:"certificate"`
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 || errs != "" || len(doc.Order.ExternalID) < 16 || len(doc.Certificate) == 0 {
			t.Errorf("%s: code %d, %q, %v:\n%s", name, code, errs, err, out)
		}
	}
}

func TestDecodeNamesKindFieldAndValueOfWhatIsWrong(t *testing.T) {
	raw := order(t)
	for name, c := range map[string]struct {
		in   string
		says []string
	}{
		"not JSON":                     {"{", []string{"Permanent", "not one JSON document"}},
		"an empty input":               {"", []string{"Permanent", "not one JSON document"}},
		"a wrong type":                 {strings.Replace(raw, `"currency":"USD"`, `"currency":7`, 1), []string{"field  currency"}},
		"an unknown currency":          {strings.ReplaceAll(raw, `"USD"`, `"XQQ"`), []string{"Exception", "field  currency", "value  XQQ"}},
		"too many digits":              {strings.Replace(raw, `"price":"17.95"`, `"price":"17.951"`, 1), []string{"line_items[0].price", "17.951", "more digits"}},
		"a total that does not add up": {strings.Replace(raw, `"total_price":"`, `"total_price":"9`, 1), []string{"Exception", "totals_differ", "total_price"}},
		"nesting without end":          {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), []string{"nested deeper than 64"}},
	} {
		code, _, errs := run(t, c.in, "decode", "--connector", "shopify", "--object", "order")
		if code != 1 {
			t.Errorf("%s: code %d", name, code)
		}
		for _, want := range c.says {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: %q is not said in\n%s", name, want, errs)
			}
		}
	}
}

func TestAWrongCommandLineEndsWithTwoAndAFailureWithOne(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "up"},
		{nil, 0, "exceptions"},
		{[]string{"dance"}, 2, "dance"},
		{[]string{"decode", "--connector", "shopify", "--object", "poem"}, 2, "order"},
		{[]string{"up", "--orders", "many"}, 2, "many"},
		{[]string{"up", "--orders=-1"}, 1, "must be between 0 and 10000"},
		{[]string{"decode", "--connector", "faxmachine", "--object", "order"}, 1, "shopify"},
		{[]string{"decode", "--connector", "tryton", "--object", "order"}, 1, "decodes no orders"},
		{[]string{"decode", "--connector", "shopify", "--object", "order", "--file", "no-such-file"}, 1, "no-such-file"},
	} {
		code, out, errs := run(t, "{}", c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: code %d\n%s%s", c.args, code, out, errs)
		}
	}
}

// alone makes the current folder a repository in which nothing runs.
func alone(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "template.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}

func TestWithoutAPlatformEachVerbSaysHowToStartOne(t *testing.T) {
	alone(t)
	for _, args := range [][]string{{"status"}, {"trace", "#1001"}, {"exceptions"}, {"emit", "--connection", "shop", "--topic", "orders/create"},
		{"job", "list", "--state", "failed"}, {"job", "show", "x", "--watch"}, {"job", "resume", "x", "--dry-run"}, {"job", "cancel", "x", "--dry-run"},
		{"job", "start", "reconcile", "connection=shop", "a=b", "--detach"}, {"redrive", "--queue", "order-inbox", "--reason", "mended"},
		{"redrive", "--queue", "order-inbox", "--dry-run"}, {"proof", "--date", "today", "--connection", "shop", "--json"}} {
		code, out, errs := run(t, "{}", args...)
		if code != 1 || !strings.Contains(out+errs, "go run . up") {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errs)
		}
	}
	if code, out, _ := run(t, "", "status", "--json"); code != 1 || !strings.Contains(out, `"running": false`) {
		t.Errorf("status --json: code %d, %s", code, out)
	}
	if code, out, _ := run(t, "", "down"); code != 0 || !strings.Contains(out, "nothing was running") {
		t.Errorf("down: code %d, %s", code, out)
	}
}

func TestAFolderIsCheckedWithoutAPlatform(t *testing.T) {
	alone(t)
	if err := os.Mkdir("p", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("p/partner.yaml", []byte("partner: acme\nname: Acme\nbrand: {colors: {primary: red}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := run(t, "", "plan", "--dir", "p")
	if code != 1 || !strings.Contains(errs, "p/partner.yaml:3: brand.colors.primary") || !strings.Contains(errs, "2 problems") {
		t.Errorf("code %d\n%s", code, errs)
	}
	code, out, _ := run(t, "", "plan", "--dir", "p", "--json")
	if code != 1 || !strings.Contains(out, `"line": 3`) {
		t.Errorf("code %d\n%s", code, out)
	}
}

// Variables of the demo's files come from the platform: without it, that they
// are not set is what follows, not what is wrong.
func TestAnUnreachableStackIsToldBeforeWhatFollowsFromIt(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(here, "..", "..", "infra", "partners", "demo")
	alone(t)
	for args, cause := range map[string]string{"": "waybill: nothing runs here; start it with: go run . up; for a stack in an AWS account give --stack\n", "--stack=waybill": "waybill: reading stack waybill"} {
		if args != "" {
			for k, v := range map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"} {
				t.Setenv(k, v)
			}
		}
		verb := strings.Fields("plan --dir " + demo + " " + args)
		code, _, errs := run(t, "", verb...)
		if code != 1 || !strings.HasPrefix(errs, cause) || strings.Count(errs, "is not set") != 11 {
			t.Errorf("%q: code %d\n%s", args, code, errs)
		}
		code, out, _ := run(t, "", append(verb, "--json")...)
		if code != 1 || !strings.Contains(out, `"unreachable": "`+strings.TrimPrefix(strings.SplitAfter(cause, ";")[0], "waybill: ")) {
			t.Errorf("%q: code %d\n%s", args, code, out)
		}
	}
}
