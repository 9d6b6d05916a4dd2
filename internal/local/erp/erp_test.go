//go:build unix

package erp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/local/python"
)

// products are articles of the simulated shop.
var products = []erp.Product{
	{SKU: "TEE-BLK-M", Title: "Organic tee, black, M", Price: "24.00", Stock: 50},
	{SKU: "MUG-STONE", Title: "Stoneware mug", Price: "17.95", Stock: 7},
	{SKU: "CANDLE-FIG", Title: "Fig candle", Price: "32.5", Stock: 0},
}

func start(t *testing.T, c erp.Config) *erp.Server {
	t.Helper()
	home, err := erp.SharedHome()
	if err != nil {
		t.Fatal(err)
	}
	c.Dir, c.Home, c.Port, c.Log = t.TempDir(), home, erp.AnyPort, t.Output()
	began := time.Now()
	s, err := erp.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// session signs in and returns the header of later calls.
func session(t *testing.T, s *erp.Server) string {
	t.Helper()
	var key []any
	call(t, s, "", "common.db.login", &key, s.User, map[string]string{"password": s.Password}, "en")
	if len(key) < 2 {
		t.Fatalf("the login answered %v", key)
	}
	return "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v:%v", s.User, key[0], key[1]))
}

func call(t *testing.T, s *erp.Server, session, method string, into any, params ...any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.RPC, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if session != "" {
		req.Header.Set("Authorization", session)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Error != nil {
		t.Fatalf("%s: HTTP %d: %s", method, res.StatusCode, raw)
	}
	if err := json.Unmarshal(answer.Result, into); err != nil {
		t.Fatal(err)
	}
}

func TestAStartedERPHoldsTheSeedsProductsWithTheirStock(t *testing.T) {
	for _, series := range []string{"7.0", "8.0"} {
		t.Run(series, func(t *testing.T) {
			s := start(t, erp.Config{Series: series, Seed: erp.Seed{Products: products}})
			if got := setting(t, s, "series"); got != series {
				t.Errorf("the connector's settings name series %q", got)
			}
			wantProducts(t, s)
		})
	}
}

// setting is one of those that the server gives to the connector.
func setting(t *testing.T, s *erp.Server, name string) any {
	t.Helper()
	var settings map[string]any
	if err := json.Unmarshal(s.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	return settings[name]
}

func wantProducts(t *testing.T, s *erp.Server) {
	t.Helper()
	header := session(t, s)
	today := time.Now().UTC()
	var location []int
	call(t, s, header, "model.stock.location.search", &location, []any{[]any{"code", "=", "WH"}}, 0, nil, nil, map[string]any{})
	if len(location) != 1 {
		t.Fatalf("warehouses with the code WH: %v", location)
	}
	var found []struct {
		Code     string
		Quantity float64
	}
	call(t, s, header, "model.product.product.search_read", &found,
		[]any{[]any{"template.type", "=", "goods"}}, 0, nil, nil, []string{"code", "quantity"},
		map[string]any{"locations": location, "with_childs": true, "stock_date_end": map[string]any{
			"__class__": "date", "year": today.Year(), "month": int(today.Month()), "day": today.Day(),
		}})
	got := map[string]float64{}
	for _, p := range found {
		got[p.Code] = p.Quantity
	}
	for _, p := range products {
		if q, ok := got[p.SKU]; !ok || q != float64(p.Stock) {
			t.Errorf("%s: quantity %v (present: %t), want %d", p.SKU, q, ok, p.Stock)
		}
	}
	if len(got) != len(products) {
		t.Errorf("products: %v", got)
	}
}

func TestAStoppedERPNoLongerAnswers(t *testing.T) {
	s := start(t, erp.Config{})
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.RPC, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Errorf("it answered HTTP %d after it was stopped", res.StatusCode)
	}
}

func TestWhatIsNotAPythonIsSaidToBeNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := erp.Prepare(t.Context(), erp.Config{Dir: t.TempDir(), Python: path})
	var wrong *python.MissingError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), path) || wrong.Remedy == "" {
		t.Errorf("got %v, want a MissingError that names %s and a remedy", err, path)
	}
}

func TestAPythonThatIsTooOldIsNamedWithTheVersionThatIsNeeded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho 3 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := erp.Prepare(t.Context(), erp.Config{Dir: t.TempDir(), Python: path})
	var wrong *python.MissingError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "3.10") || !strings.Contains(err.Error(), "3.9") {
		t.Errorf("got %v, want a MissingError with both versions", err)
	}
}

func TestAFailedDownloadSaysWhichStepFailedAndWhereTheLogIs(t *testing.T) {
	t.Setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
	t.Setenv("PIP_RETRIES", "0")
	t.Setenv("PIP_CONFIG_FILE", os.DevNull)
	home := t.TempDir()
	config := erp.Config{Dir: home}
	for range 2 { // the half-made environment must not pass for a complete one
		err := erp.Prepare(t.Context(), config)
		var failed *python.CommandError
		if !errors.As(err, &failed) {
			t.Fatalf("got %v, want a CommandError", err)
		}
		if failed.Step == "" || failed.Tail == "" || !strings.Contains(err.Error(), "PIP_INDEX_URL") {
			t.Errorf("the error lacks the step, the log's end or the hint: %v", err)
		}
		if _, err := os.Stat(failed.Log); err != nil {
			t.Errorf("the log that the error names: %v", err)
		}
	}
}

func TestASeriesThatIsNotKnownIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := erp.Prepare(t.Context(), erp.Config{Dir: dir, Series: "7.2"}); err == nil || !strings.Contains(err.Error(), `"7.2"`) || !strings.Contains(err.Error(), "7.0, 8.0") {
		t.Errorf("got %v, want an error with the series and those that are known", err)
	}
}

func TestEveryPackageIsPinnedByHash(t *testing.T) {
	for _, series := range []string{"7.0", "8.0"} {
		raw, err := os.ReadFile("requirements-" + series + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		all := regexp.MustCompile(`(?m)^[^ #]`).FindAll(raw, -1)
		pinned := regexp.MustCompile(`(?m)^[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\\n    --hash=sha256:`).FindAll(raw, -1)
		if len(pinned) == 0 || len(pinned) != len(all) {
			t.Errorf("series %s: %d packages, %d with a version and a hash", series, len(all), len(pinned))
		}
		if !strings.Contains(string(raw), "\ntrytond=="+series+".") {
			t.Errorf("series %s is made of another Tryton", series)
		}
	}
}

func TestSeedsThatCannotBeStoredAreRefusedBeforeAnythingIsBuilt(t *testing.T) {
	for name, seed := range map[string]erp.Seed{
		"a repeated SKU":           {Products: []erp.Product{{SKU: "MUG"}, {SKU: "MUG"}}},
		"a reserved SKU":           {Products: []erp.Product{{SKU: "WB-TAX"}}},
		"a price of five decimals": {Products: []erp.Product{{SKU: "MUG", Price: "1.00001"}}},
		"a negative stock":         {Products: []erp.Product{{SKU: "MUG", Stock: -1}}},
		"a currency of no table":   {Currency: "XXZ"},
		"a warehouse with a space": {Warehouse: "W H"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := erp.Prepare(t.Context(), erp.Config{Dir: dir, Seed: seed}); err == nil {
				t.Fatal("accepted")
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v behind (%v)", left, err)
			}
		})
	}
}
