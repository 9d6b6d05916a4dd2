//go:build unix

// Package erp runs a real ERP, Tryton, on the developer's machine, from nothing but
// a Python interpreter: a private Python environment from a list of hashes, a
// database built once and copied for every start, and a server that ends with
// the program that started it.
package erp

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// DefaultSeries is the series of Tryton that runs where none is given.
const DefaultSeries = "8.0"

// Database is the name of the one database that the server serves.
const Database = "erp"

// User is the administrator that the connector signs in as.
const User = "admin"

// DefaultPort is the server's port where none is given.
const DefaultPort = 18000

// AnyPort asks Start for a port that nothing listens on.
const AnyPort = -1

// Config says where and how the ERP runs.
type Config struct {
	// Dir holds the database, the configuration and the logs of this server;
	// one server a folder.
	Dir string
	// Home holds the Python environment and the databases to copy, which
	// checkouts and tests may share; empty means Dir. See SharedHome.
	Home string
	// Python is the interpreter to build the environment with; empty means the
	// first suitable one on the path.
	Python string
	// Series of Tryton: "7.0", or "8.0", which empty means.
	Series string
	// Port on 127.0.0.1; 0 means DefaultPort.
	Port int
	// AdminPassword is the password of User; empty means "waybill".
	AdminPassword string
	Seed          Seed
	// Log, if set, hears in plain lines what takes long.
	Log io.Writer
	// Progress, if set, hears of steps: done of total are complete.
	Progress func(step string, done, total int)
	// Now is the clock that decides which fiscal years exist; nil means
	// time.Now.
	Now func() time.Time
}

// Seed is what the database holds before the first order.
type Seed struct {
	Company   string    `json:"company"`  // its name; empty means "Demo Retail Inc."
	Currency  string    `json:"currency"` // ISO 4217; empty means USD
	Warehouse string    `json:"warehouse"`
	Products  []Product `json:"products"`
}

// Product is an article with its opening stock. Price is a decimal in the
// company's currency, with at most 4 decimals.
type Product struct {
	SKU   string `json:"sku"`
	Title string `json:"title"`
	Price string `json:"price"`
	Stock int64  `json:"stock"`
}

//go:embed requirements-7.0.txt
var requirements70 []byte

//go:embed requirements-8.0.txt
var requirements80 []byte

//go:embed seed.py
var seedScript []byte

//go:embed serve.py
var serveScript []byte

//go:embed countries.json
var countries []byte

// release is how the program of a series differs from others.
type release struct {
	requirements []byte
	// admin starts the program that administers databases: a script of the
	// environment's, or -m and a module.
	admin []string
	// rpc is where a path answers calls: of the server below /, of a database
	// below its name.
	rpc string
}

// releases are the series that can be run. What they seed is decided in
// seed.py, from the database itself.
var releases = map[string]release{
	"7.0": {requirements70, []string{"trytond-admin"}, "/"},
	"8.0": {requirements80, []string{"-m", "trytond.cli.admin"}, "/rpc/"},
}

func (c Config) release() release { return releases[c.Series] }

// modules of Tryton that the connector speaks to; what they depend on is
// activated with them.
var modules = []string{"sale", "stock", "account_invoice", "account_invoice_stock"}

// service is a product without stock that carries one kind of charge.
type service struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Taxed bool   `json:"taxed"` // carries the 100 % tax that books to tax payable
}

// services are the products that the connector books charges on; the codes are
// the defaults of its settings.
var services = []service{
	{Code: "WB-SHIPPING", Title: "Shipping"},
	{Code: "WB-DISCOUNT", Title: "Discount"},
	{Code: "WB-TAX", Title: "Sales tax collected", Taxed: true},
	{Code: "WB-TAX-BASE", Title: "Sales tax, counter-entry of its base"},
	{Code: "WB-TAX-INCL", Title: "Sales tax contained in prices"},
	{Code: "WB-TIP", Title: "Tip"},
	{Code: "WB-DUTIES", Title: "Duties"},
	{Code: "WB-FEES", Title: "Fees"},
	{Code: "WB-ROUNDING", Title: "Rounding"},
	{Code: "WB-UNSHIPPED", Title: "Article delivered without a parcel"},
}

var (
	price         = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,4})?$`)
	warehouseCode = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
)

func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, fmt.Errorf("configuring the local ERP: a folder is needed")
	}
	if c.Home == "" {
		c.Home = c.Dir
	}
	var err error
	for _, dir := range []*string{&c.Dir, &c.Home} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return c, fmt.Errorf("finding the folder of the local ERP: %w", err)
		}
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			return c, fmt.Errorf("creating the folder of the local ERP: %w", err)
		}
	}
	if c.Series == "" {
		c.Series = DefaultSeries
	}
	if _, ok := releases[c.Series]; !ok {
		return c, fmt.Errorf("configuring the local ERP: series %q is none of %s", c.Series, strings.Join(slices.Sorted(maps.Keys(releases)), ", "))
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.AdminPassword == "" {
		c.AdminPassword = "waybill"
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.Progress == nil {
		c.Progress = func(string, int, int) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Seed, err = c.Seed.complete()
	return c, err
}

func (s Seed) complete() (Seed, error) {
	if s.Company == "" {
		s.Company = "Demo Retail Inc."
	}
	if s.Currency == "" {
		s.Currency = "USD"
	}
	if s.Warehouse == "" {
		s.Warehouse = "WH"
	}
	if _, err := retail.ParseCurrency(s.Currency); err != nil {
		return s, fmt.Errorf("configuring the local ERP: %w", err)
	}
	if !warehouseCode.MatchString(s.Warehouse) {
		return s, fmt.Errorf("configuring the local ERP: warehouse %q is not a short code", s.Warehouse)
	}
	seen := map[string]bool{}
	for _, sv := range services {
		seen[sv.Code] = true
	}
	for i, p := range s.Products {
		switch {
		case p.SKU == "" || seen[p.SKU]:
			return s, fmt.Errorf("configuring the local ERP: product %d: SKU %q is empty, reserved or repeated", i+1, p.SKU)
		case p.Price != "" && !price.MatchString(p.Price):
			return s, fmt.Errorf("configuring the local ERP: product %s: price %q is not a decimal with at most 4 decimals", p.SKU, p.Price)
		case p.Stock < 0:
			return s, fmt.Errorf("configuring the local ERP: product %s: stock %d is negative", p.SKU, p.Stock)
		}
		seen[p.SKU] = true
	}
	return s, nil
}

// seedFile is what seed.py reads.
type seedFile struct {
	Company   string          `json:"company"`
	Currency  string          `json:"currency"`
	Digits    int             `json:"currency_digits"`
	Warehouse string          `json:"warehouse"`
	Year      int             `json:"year"`
	Services  []service       `json:"services"`
	Countries json.RawMessage `json:"countries"`
	Products  []Product       `json:"products,omitempty"`
}

func (c Config) seedFile() seedFile {
	return seedFile{
		Company: c.Seed.Company, Currency: c.Seed.Currency, Digits: retail.Currency(c.Seed.Currency).Exponent(),
		Warehouse: c.Seed.Warehouse, Year: c.Now().UTC().Year(), Services: services, Countries: countries,
	}
}

// digest names whatever all of the parts went into.
func digest(parts ...any) (string, error) {
	h := sha256.New()
	for _, p := range parts {
		b, err := json.Marshal(p)
		if err != nil {
			return "", fmt.Errorf("hashing what the ERP is made of: %w", err)
		}
		h.Write(append(b, '\n'))
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// SharedHome is the folder of Python environments and databases that all
// checkouts of one user share: $WAYBILL_HOME/erp, or waybill/erp in the user's
// cache folder.
func SharedHome() (string, error) {
	if home := os.Getenv("WAYBILL_HOME"); home != "" {
		return filepath.Join(home, "erp"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder (set WAYBILL_HOME to name one): %w", err)
	}
	return filepath.Join(cache, "waybill", "erp"), nil
}
