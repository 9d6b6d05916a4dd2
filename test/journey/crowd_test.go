//go:build unix

package journey_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/waybillhq/waybill/internal/cli"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// dropped is an hour in which the storefront's announcements of twelve orders are
// lost: they are found by listing, and the day has no hole.
func dropped(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	from := now.Add(-time.Hour)
	// As if the last complete listing had been before that hour.
	if err := platform.Platform.Store.SetWatermark(ctx, platform.Tenant, demo.Shop, from); err != nil {
		t.Fatal(err)
	}
	var orders []demo.Placement
	days := map[string]bool{}
	for i := range 12 {
		at, sku := from.Add(time.Duration(i)*5*time.Minute), shopifytest.DefaultCatalogue[i%3].SKU
		orders = append(orders, place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: sku, Quantity: 1}}, At: at, DropWebhook: true}))
		days[at.UTC().Format(time.DateOnly)] = true
	}
	if err := platform.Invoke(ctx, "OrderReconcile"); err != nil {
		t.Fatal(err)
	}
	agreed(t, orders)
	for day := range days {
		whole(t, day)
	}
}

// unmapped is an article that the storefront calls something that nobody knows: it
// stops forty orders by one cause, and one command lets all of them go on, the
// oldest first.
func unmapped(t *testing.T) {
	const theirs, ours = "POSTER-A2", "PST-0002"
	ctx := t.Context()
	if err := platform.AddArticle(ctx, ours, "Poster, A2", "12.00"); err != nil {
		t.Fatal(err)
	}
	known := []mapping.Entry{{Direction: mapping.Decode, From: "PST-A1", To: "PST-0001"}}
	for _, p := range shopifytest.DefaultCatalogue {
		known = append(known, mapping.Entry{Direction: mapping.Decode, From: p.SKU, To: p.SKU})
	}
	strict := true
	book := mapping.Book{Store: platform.Platform.Store, Now: time.Now}
	if _, _, err := book.Set(ctx, mapping.Edit{Tenant: platform.Tenant, Connection: demo.Shop, Kind: mapping.SKU, Strict: &strict, By: "journey", Reason: "go-live"}, known...); err != nil {
		t.Fatal(err)
	}
	// Functions that started before see the map only after a minute.
	variable(t, "JOURNEY", "unmapped")
	var orders []demo.Placement
	for range 40 {
		o, err := platform.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: theirs, Quantity: 1, Price: "12.00"}}})
		if err != nil {
			t.Fatal(err)
		}
		o.Quantities = map[string]int64{ours: 1}
		keep(o)
		orders = append(orders, o)
	}
	var cause exception.Cause
	var stopped []string
	until(t, "40 orders are stopped by one cause", func() bool {
		xs, err := platform.Platform.Store.OpenExceptions(ctx, platform.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range exception.Causes(xs) {
			if c.Value == theirs && c.Count == len(orders) {
				cause = c
			}
		}
		slices.SortFunc(xs, func(a, b document.Exception) int {
			return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
		})
		stopped = nil
		for _, x := range xs {
			if x.Fingerprint == cause.Fingerprint {
				stopped = append(stopped, x.Number)
			}
		}
		return cause.Count > 0
	})
	if cause.Class != "mapping" || cause.AtStake["USD"] == "" {
		t.Errorf("the cause is %+v", cause)
	}
	out := waybill(t, "map", "set", "--tenant", platform.Tenant.String(), "--connection", demo.Shop, "--kind", "sku", theirs, ours, "--reason", "the poster's code")
	if !strings.Contains(out, "40 of 40 documents that waited for it go on") {
		t.Errorf("map set says\n%s", out)
	}
	var told []string
	for _, m := range regexp.MustCompile(`(?m)^(\d+)/40  order (\S+): .*left\)$`).FindAllStringSubmatch(out, -1) {
		if told = append(told, m[2]); m[1] != strconv.Itoa(len(told)) {
			t.Errorf("progress %s after %d", m[0], len(told)-1)
		}
	}
	if !slices.Equal(told, stopped) {
		t.Errorf("they went on as %v, and were stopped as %v", told, stopped)
	}
	agreed(t, orders)
	whole(t, time.Now().UTC().Format(time.DateOnly))
}

// agreed waits until orders are closed, parked or not by now, and cross-checks all
// that were placed.
func agreed(t *testing.T, orders []demo.Placement) {
	t.Helper()
	for _, o := range orders {
		until(t, o.Name+" is closed", func() bool {
			now, err := platform.Order(t.Context(), o.ID)
			return err == nil && now.State == retail.Closed
		})
	}
	placed.Lock()
	defer placed.Unlock()
	findings, err := platform.CrossCheck(t.Context(), placed.all)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%s %s", f.Order, f.What)
	}
}

// whole proves that a day has no hole. What has just changed may be read in
// between.
func whole(t *testing.T, day string) {
	t.Helper()
	var j job.Job
	for range 20 {
		if j = runJob(t, job.Request{Tenant: platform.Tenant, Kind: proof.Job.Name, Params: map[string]string{"connection": demo.Shop, "date": day}}); j.State == job.Done {
			break
		}
		pause(t)
	}
	r, found, err := platform.Platform.Store.Proof(t.Context(), platform.Tenant, demo.Shop, day)
	if err != nil || j.State != job.Done || !found || r.Listed == 0 || r.Accounted != r.Listed {
		t.Errorf("%s: %+v\n%+v, %v, %v", day, j, r, found, err)
	}
}

// waybill runs a command against the stack, and returns what it says.
func waybill(t *testing.T, args ...string) string {
	t.Helper()
	cfg := platform.Platform.AWS
	creds, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": aws.ToString(cfg.BaseEndpoint), "AWS_REGION": cfg.Region, "AWS_ACCESS_KEY_ID": creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": creds.SecretAccessKey, "AWS_SESSION_TOKEN": creds.SessionToken} {
		t.Setenv(k, v)
	}
	var out, errs bytes.Buffer
	if code := cli.Run(t.Context(), append(args, "--stack", demo.StackName), strings.NewReader(""), &out, &errs); code != 0 {
		t.Errorf("waybill %s: code %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}

// crashed kills the ERP while it works on an order, and brings it back later.
func crashed(t *testing.T) {
	var once sync.Once
	dead := make(chan struct{})
	platform.ERPGate.Before(func(body []byte) {
		if bytes.Contains(body, []byte("model.sale.sale.create")) {
			once.Do(func() { platform.ERP.Kill(); close(dead) })
		}
	})
	defer platform.ERPGate.Before(nil)
	o := place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}})
	select {
	case <-dead:
	case <-time.After(time.Minute):
		t.Fatal("the ERP was not asked for a sale")
	}
	until(t, "the order rests", func() bool {
		now, err := platform.Order(t.Context(), o.ID)
		return err == nil && now.Postponed > 0
	})
	if err := platform.ERP.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	leased = append(leased, o)
}

// throttled lets the database refuse every fourth call of every function.
func throttled(t *testing.T) {
	target, err := url.Parse(platform.AWS.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var asked, refused atomic.Int64
	through := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Which ones is a matter of order alone, so that a call is refused
		// thrice in a row where four functions ask at a time.
		if n := asked.Add(1); n%4 < 1 {
			refused.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Throughput exceeds the current capacity of your table or index."}`)
			return
		}
		through.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	endpoint(t, proxy.URL)
	defer endpoint(t, "")
	var orders []demo.Placement
	for i := range 4 {
		sku := shopifytest.DefaultCatalogue[i].SKU
		orders = append(orders, place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: sku, Quantity: 1}}}))
	}
	for _, o := range orders {
		await(t, o, retail.Closed, 4*time.Minute)
	}
	if refused.Load() < 20 {
		t.Errorf("only %d of %d calls were refused", refused.Load(), asked.Load())
	}
}

// endpoint sends the functions' calls of the database elsewhere, by the variable
// that every AWS SDK reads; "" takes it back.
func endpoint(t *testing.T, to string) {
	t.Helper()
	variable(t, "AWS_ENDPOINT_URL_DYNAMODB", to)
}

// variable sets a variable of all functions; "" takes it away.
func variable(t *testing.T, name, to string) {
	t.Helper()
	client := lambda.NewFromConfig(platform.Platform.AWS)
	pages := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{})
	changed := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			variables := map[string]string{}
			if f.Environment != nil {
				variables = f.Environment.Variables
			}
			delete(variables, name)
			if to != "" {
				variables[name] = to
			}
			if _, err := client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: f.FunctionName,
				Environment: &lambdatypes.Environment{Variables: variables}}); err != nil {
				t.Fatal(fmt.Errorf("setting %s of %s: %w", name, *f.FunctionName, err))
			}
			changed++
		}
	}
	if changed == 0 {
		t.Fatal("there are no functions")
	}
}
