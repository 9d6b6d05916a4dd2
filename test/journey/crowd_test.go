//go:build unix

package journey_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/retail"
)

// unknown is an hour in which the storefront announces none of 40 orders, all
// for an article that nobody else knows. They are found by listing, and stopped
// by one cause; once the article is known, one command lets all go on.
func unknown(t *testing.T) {
	const sku = "POSTER-A2"
	ctx := t.Context()
	var orders []demo.Placement
	for range 40 {
		orders = append(orders, place(t, shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: sku, Quantity: 1, Price: "12.00"}}, DropWebhook: true}))
	}
	if err := platform.Invoke(ctx, "OrderReconcile"); err != nil {
		t.Fatal(err)
	}
	var cause exception.Cause
	until(t, "40 orders are stopped by one cause", func() bool {
		xs, err := platform.Platform.Store.OpenExceptions(ctx, platform.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range exception.Causes(xs) {
			if c.Value == sku && c.Count == len(orders) {
				cause = c
			}
		}
		return cause.Count > 0
	})
	if cause.Class != "mapping" || cause.AtStake["USD"] == "" {
		t.Errorf("the cause is %+v", cause)
	}
	if err := platform.AddArticle(ctx, sku, "Poster, A2", "12.00"); err != nil {
		t.Fatal(err)
	}
	n, err := platform.Platform.Desk().RetryCause(ctx, platform.Tenant, func(x document.Exception) bool { return x.Fingerprint == cause.Fingerprint },
		exception.Actor{By: "journey", Reason: "the article is known now"}, nil)
	if err != nil || n.Done != len(orders) {
		t.Fatalf("%+v, %v", n, err)
	}
	for _, o := range orders {
		await(t, o, retail.Closed, 10*time.Minute)
	}
	xs, err := platform.Platform.Store.OpenExceptions(ctx, platform.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xs {
		if x.Fingerprint == cause.Fingerprint {
			t.Errorf("%s is still %s", x.Number, x.State)
		}
	}
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
