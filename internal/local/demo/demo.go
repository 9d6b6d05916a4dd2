//go:build unix

// Package demo runs the whole platform on the developer's machine: the local
// AWS with the deployed template, a real ERP, simulators of a storefront and a
// warehouse, and the demo partner's configuration.
package demo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"golang.org/x/sync/errgroup"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/egress"
	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/partner"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// The demo retailer's connections, as infra/partners/demo names them.
const (
	Shop      = "shop"
	ERP       = "erp"
	Warehouse = "warehouse"
	Location  = "MAIN"
	StackName = "waybill"
)

// Credentials of the simulators. They open nothing but simulators.
const (
	shopToken       = "shpat-local"
	shopSecret      = "local-shop-webhook-secret"
	warehouseToken  = "pat-local"
	warehouseSecret = "whsec_bG9jYWwtd2FyZWhvdXNlLXNlY3JldC0wMQ=="
)

// opening is the stock of every article before the first order.
const opening = 100_000

// Config says where and how the demo runs.
type Config struct {
	Root string // the repository
	Dir  string // what belongs to this run
	// AWSHome and ERPHome hold the Python environments.
	AWSHome, ERPHome string
	// Port of the local AWS and ERPPort of the ERP; 0 takes free ones.
	Port, ERPPort int
	// ERPSeries is Tryton's, erp.DefaultSeries if empty.
	ERPSeries string
	// HoldOrders keeps the warehouse from shipping by itself.
	HoldOrders bool
	// Seed decides what faults do by chance.
	Seed uint64
	// Progress hears of steps: begin, detail, end.
	Progress func(Progress)
	// Apply, if set, applies the demo partner's folder first, as another
	// version's command would; what it leaves to do is done after it.
	Apply func(ctx context.Context, d *Demo, folder string) error
}

// Progress is one line of set-up.
type Progress struct {
	Step   string
	Detail string
	Done   bool
	Took   time.Duration
}

// Demo is a running platform.
type Demo struct {
	AWS     *localaws.Server
	ERP     *erp.Server
	ERPGate *Gate // what the platform reaches the ERP through
	Shop    *shopifytest.Server
	// ShopFaults and WarehouseFaults stand before the simulators.
	ShopFaults, WarehouseFaults *faulty.Injector
	Warehouse                   *shipbobtest.Server
	Platform                    *boot.Platform
	Retailer                    tenancy.Retailer
	Tenant                      retail.Tenant
	Outputs                     map[string]string
	APIURL                      string
	ShopURL                     string
	StockURL                    string // the warehouse simulator's base URL
	ERPURL                      string // the ERP's, behind the faults that befall it
	// Variables are what ${NAME} of the demo partner's files stands for.
	Variables map[string]string

	servers []*http.Server
}

// Start brings everything up. On an error nothing is left running.
func Start(ctx context.Context, c Config) (d *Demo, err error) {
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	d = &Demo{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
			d = nil
		}
	}()
	var functions []build.Function
	// The ERP and the AWS side do not know each other until they are applied.
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.step("Tryton ERP", func(detail func(string)) (err error) {
			d.ERP, err = erp.Start(gctx, erp.Config{
				Dir: filepath.Join(c.Dir, "erp"), Home: c.ERPHome, Port: c.erpPort(), Series: c.ERPSeries, Seed: erp.Seed{Products: products()},
				Progress: func(step string, done, total int) { detail(fmt.Sprintf("%s (%d of %d)", step, done, total)) },
			})
			return err
		})
	})
	group.Go(func() (err error) {
		if err = c.step("Local AWS", func(detail func(string)) (err error) {
			d.AWS, err = localaws.Start(gctx, localaws.Config{Dir: filepath.Join(c.Dir, "aws"), Home: c.AWSHome,
				Port: c.Port, EnforceIAM: true, Progress: detail})
			return err
		}); err != nil {
			return err
		}
		if err = c.step("Functions", func(detail func(string)) (err error) {
			functions, err = build.Functions(gctx, build.Options{Root: c.Root, Progress: func(name string, done, total int) {
				detail(fmt.Sprintf("%d of %d", done, total))
			}})
			return err
		}); err != nil {
			return err
		}
		return c.step("Stack", func(func(string)) error { return d.deploy(gctx, c, functions) })
	})
	if err := group.Wait(); err != nil {
		return d, err
	}
	if err := c.step("Demo partner", func(func(string)) error { return d.configure(ctx, c) }); err != nil {
		return d, err
	}
	return d, nil
}

func (c Config) erpPort() int {
	if c.ERPPort == 0 {
		return erp.AnyPort
	}
	return c.ERPPort
}

func (c Config) step(name string, f func(detail func(string)) error) error {
	began := time.Now()
	c.Progress(Progress{Step: name})
	err := f(func(detail string) { c.Progress(Progress{Step: name, Detail: detail}) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.Progress(Progress{Step: name, Done: true, Took: time.Since(began)})
	return nil
}

func products() []erp.Product {
	var out []erp.Product
	for _, p := range shopifytest.DefaultCatalogue {
		out = append(out, erp.Product{SKU: p.SKU, Title: p.Title, Price: p.Price, Stock: opening})
	}
	return out
}

// awsConfig speaks to the local AWS as the account's own administrator.
func (d *Demo) awsConfig() aws.Config {
	return aws.Config{Region: d.AWS.Region, BaseEndpoint: aws.String(d.AWS.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(d.AWS.Account, "local", "")}
}

func (d *Demo) deploy(ctx context.Context, c Config, functions []build.Function) error {
	cfg := d.awsConfig()
	url, err := deploy.Package(ctx, deploy.Options{AWS: cfg, Bucket: "artifacts", Template: filepath.Join(c.Root, "template.yaml"), Code: build.Archives(functions)})
	if err != nil {
		return err
	}
	architecture := "arm64"
	if runtime.GOARCH == "amd64" {
		architecture = "x86_64"
	}
	d.Outputs, err = deploy.Deploy(ctx, cfg, deploy.Stack{Name: StackName, TemplateURL: url, Parameters: map[string]string{
		"Partner": "demo", "Architecture": architecture, "EgressAllow": "127.0.0.0/8",
	}})
	if err != nil {
		return err
	}
	d.APIURL = d.AWS.APIURL(d.Outputs["ApiId"])
	d.Platform = boot.For(cfg, Environment(d.Outputs), slog.New(slog.DiscardHandler))
	return nil
}

// Attach opens the state of a platform that runs elsewhere on this machine.
func Attach(endpoint, region, account string, outputs map[string]string, log *slog.Logger) *boot.Platform {
	return boot.For(aws.Config{Region: region, BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(account, "local", "")}, Environment(outputs), log)
}

// Environment is the environment that the stack's functions have, made of the
// stack's outputs, for reading the platform's state from outside.
func Environment(outputs map[string]string) func(string) string {
	return func(name string) string {
		switch name {
		case "ORDER_QUEUE":
			return outputs["OrderInboxQueue"]
		case "SHIPMENT_QUEUE":
			return outputs["ShipmentInboxQueue"]
		case "EGRESS_ALLOW":
			return "127.0.0.0/8"
		}
		var key strings.Builder
		for part := range strings.SplitSeq(strings.ToLower(name), "_") {
			key.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
		return outputs[key.String()]
	}
}

func (d *Demo) configure(ctx context.Context, c Config) error {
	var listen net.ListenConfig
	shop, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening a port for the storefront: %w", err)
	}
	warehouse, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening a port for the warehouse: %w", err)
	}
	books, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening a port before the ERP: %w", err)
	}
	if d.ERPGate, err = newGate(d.ERP.URL, c.Seed); err != nil {
		return fmt.Errorf("reaching the ERP: %w", err)
	}
	d.ShopURL, d.StockURL, d.ERPURL = "http://"+shop.Addr().String(), "http://"+warehouse.Addr().String(), "http://"+books.Addr().String()
	d.Variables = map[string]string{
		"SHOPIFY_URL": d.ShopURL, "SHOPIFY_ACCESS_TOKEN": shopToken, "SHOPIFY_WEBHOOK_SECRET": shopSecret,
		"SHIPBOB_URL": d.StockURL, "SHIPBOB_ACCESS_TOKEN": warehouseToken, "SHIPBOB_WEBHOOK_SECRET": warehouseSecret,
		"TRYTON_URL": d.ERPURL, "TRYTON_DATABASE": d.ERP.Database, "TRYTON_SERIES": cmp.Or(c.ERPSeries, erp.DefaultSeries), "TRYTON_USER": d.ERP.User, "TRYTON_PASSWORD": d.ERP.Password,
	}
	path := filepath.Join(c.Root, "infra", "partners", "demo")
	if c.Apply != nil {
		if err := c.Apply(ctx, d, path); err != nil {
			return err
		}
	}
	folder, err := partner.Load(path, func(n string) (string, bool) { v, ok := d.Variables[n]; return v, ok })
	if err != nil {
		return err
	}
	plan, err := partner.Compare(ctx, d.Platform.Store, d.Platform.Sealer(), folder)
	if err != nil {
		return err
	}
	applied, err := partner.Apply(ctx, d.Platform.Store, d.Platform.Sealer(), plan, time.Now())
	if err != nil {
		return err
	}
	d.Retailer = applied[0]
	d.Tenant = d.Retailer.Tenant
	d.ShopFaults, d.WarehouseFaults = faulty.New(shopifytest.Vendor(), c.Seed+1), faulty.New(shipbobtest.Vendor(), c.Seed+2)
	d.Shop = shopifytest.NewServer(shopifytest.Options{Client: sender(d.ShopFaults, shopifytest.Topic), Shop: "north.myshopify.com", AccessToken: shopToken,
		WebhookSecret: shopSecret, WebhookURL: d.HookURL(Shop)})
	var items []shipbobtest.Item
	for _, p := range shopifytest.DefaultCatalogue {
		items = append(items, shipbobtest.Item{SKU: p.SKU, Name: p.Title, OnHand: opening})
	}
	d.Warehouse = shipbobtest.NewServer(shipbobtest.Options{Client: sender(d.WarehouseFaults, shipbobtest.Topic), AccessToken: warehouseToken, WebhookSecret: warehouseSecret,
		WebhookURL: d.HookURL(Warehouse), Catalogue: items, HoldOrders: c.HoldOrders, AutoShipDelay: 300 * time.Millisecond})
	d.ShopFaults.Next, d.WarehouseFaults.Next = d.Shop, d.Warehouse
	for l, h := range map[net.Listener]http.Handler{shop: d.ShopFaults, warehouse: d.WarehouseFaults, books: d.ERPGate} {
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		d.servers = append(d.servers, s)
		go func() { _ = s.Serve(l) }() // ends with Close
	}
	return d.openStock(ctx)
}

// sender is the client that a simulator sends webhooks with.
func sender(i *faulty.Injector, topic func(http.Header) string) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: i.Deliveries(http.DefaultTransport, topic)}
}

// Chaos puts the published mix of faults in force at every vendor.
func (d *Demo) Chaos() error {
	// A parcel that no webhook announced is found when its order is reviewed,
	// half an hour after its release: too long to watch.
	warehouse := slices.DeleteFunc(faulty.Chaos(shipbobtest.Vendor()), func(r faulty.Rule) bool { return r.Fault == "webhook_lost" })
	return errors.Join(d.ShopFaults.Add(faulty.Chaos(shopifytest.Vendor())...), d.WarehouseFaults.Add(warehouse...),
		d.ERPGate.Add(faulty.Chaos(trytonVendor())...))
}

// FunctionLog is all that the functions have logged, a line each.
func (d *Demo) FunctionLog(ctx context.Context) ([]byte, error) {
	return functionLog(ctx, d.awsConfig())
}

// FunctionLog is that of a platform that runs elsewhere on this machine.
func FunctionLog(ctx context.Context, p *boot.Platform) ([]byte, error) {
	return functionLog(ctx, p.AWS)
}

func functionLog(ctx context.Context, cfg aws.Config) ([]byte, error) {
	client := cloudwatchlogs.NewFromConfig(cfg)
	var out bytes.Buffer
	groups := cloudwatchlogs.NewDescribeLogGroupsPaginator(client, &cloudwatchlogs.DescribeLogGroupsInput{})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the log groups: %w", err)
		}
		for _, g := range page.LogGroups {
			lines := cloudwatchlogs.NewFilterLogEventsPaginator(client, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: g.LogGroupName})
			for lines.HasMorePages() {
				page, err := lines.NextPage(ctx)
				if err != nil {
					return nil, fmt.Errorf("reading log group %s: %w", aws.ToString(g.LogGroupName), err)
				}
				for _, e := range page.Events {
					out.WriteString(strings.TrimRight(aws.ToString(e.Message), "\n") + "\n")
				}
			}
		}
	}
	return out.Bytes(), nil
}

// Fired counts the faults that befell each vendor.
func (d *Demo) Fired() map[string]int {
	out := map[string]int{}
	for name, i := range map[string]*faulty.Injector{"storefront": d.ShopFaults, "warehouse": d.WarehouseFaults, "ERP": d.ERPGate.Injector} {
		for _, r := range i.Rules() {
			out[name] += r.Fired
		}
	}
	return out
}

// openStock takes the warehouse's counts as the positions to begin with.
func (d *Demo) openStock(ctx context.Context) error {
	c, _ := d.Retailer.Connection(Warehouse)
	// Opened as somebody else's, so that it works beside any version that runs.
	opened, err := catalog.Open(c.Connector, c.Settings, map[string]string{"access_token": warehouseToken},
		egress.New(time.Now, netip.MustParsePrefix("127.0.0.0/8")), time.Now)
	if err != nil {
		return err
	}
	counter, ok := opened.(catalog.Counter)
	if !ok {
		return errors.New("the warehouse's connector cannot count stock")
	}
	counts, err := counter.Stock(ctx)
	if err != nil {
		return fmt.Errorf("counting the warehouse's stock: %w", err)
	}
	now := time.Now()
	for sku, n := range counts {
		err := d.Platform.Store.Apply(ctx, d.Tenant, []stock.Move{{SKU: sku, Location: Location, Type: "opening", Connection: Warehouse,
			Document: "opening", Line: sku, OnHand: n, OccurredAt: now, RecordedAt: now}})
		if err != nil {
			return fmt.Errorf("opening the position of %s: %w", sku, err)
		}
	}
	return nil
}

// HookURL is where a connection's vendor delivers.
func (d *Demo) HookURL(connection string) string {
	c, _ := d.Retailer.Connection(connection)
	return d.APIURL + "/hooks/" + d.Tenant.String() + "." + c.Hook
}

// WebhookSecret is what a connection's vendor signs with.
func WebhookSecret(connection string) string {
	return map[string]string{Shop: shopSecret, Warehouse: warehouseSecret}[connection]
}

// Invoke runs a function of the stack at once, by the name of its output.
func (d *Demo) Invoke(ctx context.Context, output string) error {
	res, err := lambda.NewFromConfig(d.awsConfig()).Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(d.Outputs[output])})
	if err != nil {
		return fmt.Errorf("invoking %s: %w", output, err)
	}
	if res.FunctionError != nil {
		return fmt.Errorf("invoking %s: %s: %s", output, *res.FunctionError, res.Payload)
	}
	return nil
}

// Stop ends everything and returns once it is gone.
func (d *Demo) Stop(ctx context.Context) error {
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Close())
	}
	for _, i := range []*faulty.Injector{d.ShopFaults, d.WarehouseFaults} {
		if i != nil {
			i.Close()
		}
	}
	if d.ERPGate != nil {
		d.ERPGate.Close()
	}
	if d.Shop != nil {
		d.Shop.Close()
	}
	if d.Warehouse != nil {
		d.Warehouse.Close()
	}
	if d.AWS != nil {
		errs = append(errs, d.AWS.Stop(ctx))
	}
	if d.ERP != nil {
		errs = append(errs, d.ERP.Stop(ctx))
	}
	return errors.Join(errs...)
}
