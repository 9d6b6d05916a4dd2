//go:build unix

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// stack deploys the platform's tables and bucket, with one retailer, and lets
// the command reach them as an AWS account.
func stack(t *testing.T) (*dynamo.Store, aws.Config, string, retail.Tenant) {
	t.Helper()
	cfg := localtest.Config(t)
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artifacts-" + localtest.Account(), Template: "../../infra/data.yaml"})
	must(t, err)
	out, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "data", TemplateURL: url, Parameters: map[string]string{"Partner": "test"}})
	must(t, err)
	creds, err := cfg.Credentials.Retrieve(t.Context())
	must(t, err)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": aws.ToString(cfg.BaseEndpoint), "AWS_REGION": cfg.Region, "AWS_ACCESS_KEY_ID": creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": creds.SecretAccessKey, "AWS_SESSION_TOKEN": creds.SessionToken} {
		t.Setenv(k, v)
	}
	store := dynamo.New(cfg, dynamo.Tables{Documents: out["DocumentsTable"], Inventory: out["InventoryTable"], Inbox: out["InboxTable"],
		Exceptions: out["ExceptionsTable"], Audit: out["AuditTable"], Person: out["PersonTable"], Config: out["ConfigTable"], Credentials: out["CredentialsTable"], Rates: out["RatesTable"]})
	north, err := retail.ParseTenant("north")
	must(t, err)
	must(t, store.PutRetailer(t.Context(), tenancy.Retailer{Schema: 1, Tenant: north, Name: "North", Version: 1, Connections: []tenancy.Connection{
		{ID: "shop", Connector: "shopify", Settings: json.RawMessage(`{"shop":"north.myshopify.com"}`),
			Maps: map[mapping.Kind]mapping.Fixed{mapping.Payment: {Decode: map[string]string{"paid": "settled"}}}},
		{ID: "erp", Connector: "tryton", Settings: json.RawMessage(`{"url":"https://erp.example.com","database":"erp","user":"waybill","company":"C","currency":"USD","warehouse":"WH"}`)},
		{ID: "warehouse", Connector: "shipbob", Settings: json.RawMessage(`{"channel_id":"1"}`)},
	}, Routes: []tenancy.Route{{Channel: "shop", ERP: "erp", Warehouse: "warehouse", Location: "MAIN"}}}, tenancy.Secrets{}))
	return store, cfg, out["RawBucket"], north
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMapsAreSetListedImportedPreviewedAndApplied(t *testing.T) {
	store, cfg, bucket, north := stack(t)
	do := func(in string, want int, args ...string) string {
		t.Helper()
		code, out, errs := run(t, in, append([]string{"map"}, args...)...)
		if code != want {
			t.Fatalf("%v: code %d\n%s%s", args, code, out, errs)
		}
		return out + errs
	}
	says := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%q is not said in\n%s", w, got)
			}
		}
	}
	on := func(verb, connection, kind string, more ...string) []string {
		return append([]string{verb, "--stack", "data", "--tenant", "north", "--connection", connection, "--kind", kind}, more...)
	}
	why := []string{"--reason", "renamed", "--by", "pat"}
	with := func(a []string, more ...string) []string { return append(append([]string{}, a...), more...) }

	says(do("", 0, with(on("set", "shop", "sku", "OLD", "NEW"), why...)...), `version 1: shop's sku "OLD" is read as our "NEW"`, "nothing else waits")
	says(do("", 0, with(on("set", "erp", "sku", "NEW", "4711"), why...)...), `our sku "NEW" is written to erp as "4711"`)
	says(do("", 0, with(on("set", "warehouse", "sku", "NEW", "SB-1"), why...)...), `our sku "NEW" is written to warehouse as "SB-1"`, `warehouse's sku "SB-1" is read as our "NEW"`)
	says(do("", 0, with(on("set", "shop", "unit", "cs", "case"), why...)...), "changes nothing")
	says(do("", 1, with(on("set", "shop", "payment", "a", "b"), why...)...), "retailers/north.yaml")
	says(do("", 1, with(on("set", "shp", "sku", "a", "b"), why...)...), "there are shop, erp, warehouse")
	says(do("", 0, with(on("unset", "shop", "sku", "GONE"), why...)...), `has no "GONE"`, "nothing was changed")
	says(do("", 0, with(on("set", "warehouse", "sku", "BOWL", "SB-2"), why...)...), "version 2")
	says(do("", 0, with(on("unset", "warehouse", "sku", "SB-2"), why...)...), `version 3: no longer: warehouse's sku "SB-2" is read as our "BOWL"`, `nor: our sku "BOWL" is written`)
	says(do("", 0, with(on("unset", "warehouse", "sku", "SB-2", "--json"), why...)...), `"changed": false`, `"version": 3`)
	says(do("", 0, with(on("unset", "warehouse", "sku", "BOWL"), why...)...), "nothing was changed")
	says(do("", 0, "list", "--stack", "data", "--tenant", "north"), "shop", "in the file", "version 1", "renamed")
	says(do("", 0, with(on("list", "warehouse", "sku"), "--json")...), `"from": "SB-1"`, `"by": "pat"`)

	// An import of many lines is a draft until it is applied.
	var b strings.Builder
	b.WriteString("from,to\n")
	for i := range 50_000 {
		fmt.Fprintf(&b, "VENDOR-%05d,OURS-%05d\n", i, i)
	}
	b.WriteString("MUG-STONE,OURS-MUG\nVENDOR-00007,OTHER\nonly one\n")
	file := filepath.Join(t.TempDir(), "skus.csv")
	must(t, os.WriteFile(file, []byte(b.String()), 0o600))
	says(do("", 3, with(on("import", "shop", "sku", file, "--dry-run"), why...)...), "50001 accepted", "2 rejected", "line 50003", "contradicts line 9", "nothing was changed")
	says(do("", 3, with(on("import", "shop", "sku", file), why...)...), "stored", "a draft waits: 50002 values", "map preview", "map apply")
	says(do("x\n", 1, with(on("import", "shop", "sku", "-"), why...)...), "nothing was changed")

	sim := shopifytest.NewServer(shopifytest.Options{})
	t.Cleanup(sim.Close)
	placed, err := sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}}, DropWebhook: true})
	must(t, err)
	raw, err := sim.Payload(placed.ID)
	must(t, err)
	key := inbox.RawKey("order", north, time.Now(), "shop", "e1")
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	_, err = objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(string(raw))})
	must(t, err)
	says(do("", 0, on("preview", "shop", "sku")...), "lines[0].sku: MUG-STONE → OURS-MUG", "1 payloads: 1 would change")
	says(do("", 1, on("preview", "erp", "sku")...), "has no draft")
	do("MUG-STONE,4712\nOTHER,1\n", 0, with(on("import", "erp", "sku", "-"), why...)...)
	says(do("", 0, on("preview", "erp", "sku")...), "lines[0].sku: MUG-STONE → 4712")

	says(do("", 0, with(on("apply", "shop", "sku"), why...)...), "version 2 is current: 50002 values")
	says(do("", 1, with(on("apply", "shop", "sku"), why...)...), "has no draft")
	says(do("", 0, with(on("unset", "shop", "sku", "OLD"), why...)...), "version 3")

	// What waits for a value is found, and its direction told by it.
	life := document.Life{Now: time.Now, NewID: func() string { return "x1" }}
	x := life.NewException(north, "warehouse", fault.New(fault.Exception, fault.Mapping, "no such SKU").At("lines[3].sku", "SB-9"))
	x.Raw, x.EventID = key, "e9"
	must(t, store.Commit(context.Background(), document.Transaction{Exceptions: []document.Exception{x}}))
	says(do("", 0, with(on("set", "warehouse", "sku", "SB-9", "CUP", "--no-retry"), why...)...), `warehouse's sku "SB-9" is read as our "CUP"`, "1 documents wait for it")
}
