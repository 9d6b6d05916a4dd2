// Package tryton translates between the platform and Tryton, an ERP: it keeps
// customers and sales orders, posts shipments and invoices, and reads stock. It
// speaks JSON-RPC to series 7.0 and 8.0.
package tryton

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Settings are what an administrator configures for one Tryton database.
type Settings struct {
	// URL is the scheme and host of the server, with a path only if it is
	// served under one. Only https is accepted, except on a loopback name.
	URL string `json:"url"`
	// Database is the name in the server's paths.
	Database string `json:"database"`
	User     string `json:"user"`
	// Series is Tryton's, "7.0" or "8.0"; 8.0 if empty.
	Series string `json:"series,omitempty"`
	// Company is the name of the company's party.
	Company string `json:"company"`
	// Currency is the ISO 4217 code that sales are kept in. Orders in any
	// other currency are refused.
	Currency string `json:"currency"`
	// Warehouse is the code of the warehouse that ships.
	Warehouse string `json:"warehouse"`
	// Products are the codes of the service products that carry what is not an
	// article.
	Products Products `json:"products,omitzero"`
}

// Products are codes of products of the type Service. None but Tax may have a
// customer tax.
type Products struct {
	Shipping string `json:"shipping,omitempty"` // WB-SHIPPING if empty
	Discount string `json:"discount,omitempty"` // WB-DISCOUNT if empty
	// Tax has one customer tax of 100 % that books to the account of taxes
	// owed; WB-TAX if empty.
	Tax string `json:"tax,omitempty"`
	// TaxBase takes back the base on which Tax is computed; WB-TAX-BASE if empty.
	TaxBase string `json:"tax_base,omitempty"`
	// TaxIncluded takes taxes out of the revenue of prices that contain them;
	// WB-TAX-INCL if empty.
	TaxIncluded string `json:"tax_included,omitempty"`
	Tip         string `json:"tip,omitempty"`      // WB-TIP if empty
	Duties      string `json:"duties,omitempty"`   // WB-DUTIES if empty
	Fees        string `json:"fees,omitempty"`     // WB-FEES if empty
	Rounding    string `json:"rounding,omitempty"` // WB-ROUNDING if empty
	// Unshipped stands for articles that leave no warehouse: gift cards,
	// digital goods, canceled quantities; WB-UNSHIPPED if empty.
	Unshipped string `json:"unshipped,omitempty"`
}

func (p *Products) complete() {
	for _, d := range []struct {
		code      *string
		otherwise string
	}{
		{&p.Shipping, "WB-SHIPPING"}, {&p.Discount, "WB-DISCOUNT"}, {&p.Tax, "WB-TAX"}, {&p.TaxBase, "WB-TAX-BASE"},
		{&p.TaxIncluded, "WB-TAX-INCL"}, {&p.Tip, "WB-TIP"}, {&p.Duties, "WB-DUTIES"}, {&p.Fees, "WB-FEES"},
		{&p.Rounding, "WB-ROUNDING"}, {&p.Unshipped, "WB-UNSHIPPED"},
	} {
		if *d.code == "" {
			*d.code = d.otherwise
		}
	}
}

func (p Products) codes() []string {
	return []string{p.Shipping, p.Discount, p.Tax, p.TaxBase, p.TaxIncluded, p.Tip, p.Duties, p.Fees, p.Rounding, p.Unshipped}
}

// Connector is one connection to a Tryton database. It is safe for concurrent
// use.
type Connector struct {
	settings Settings
	series   series
	currency retail.Currency
	base     *url.URL
	password string
	client   *egress.Client
	now      func() time.Time

	mu      sync.Mutex
	session string // the Authorization header; "" is signed out
	checked bool   // that the server runs the series, in this session
	uses    int64
	kept    memories
}

// New checks the settings strictly: an unknown or missing one is a
// configuration fault that names it. With a client, secrets must hold
// "password"; with a nil client nothing but the settings is of use.
func New(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (*Connector, error) {
	s, err := decodeSettings(settings)
	if err != nil {
		return nil, err
	}
	c := &Connector{settings: s, series: known[s.Series], password: secrets["password"], client: client, now: now, kept: nothingKept()}
	if c.base, err = parseBase(s.URL); err != nil {
		return nil, err
	}
	if c.currency, err = retail.ParseCurrency(s.Currency); err != nil {
		return nil, misconfigured("currency", s.Currency, "is not in ISO 4217")
	}
	if client != nil && c.password == "" {
		return nil, misconfigured("password", "", "is missing from the connection's secrets")
	}
	return c, nil
}

var databaseName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

func decodeSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return s, misconfigured(wrong.Field, "", "must be a "+wrong.Type.String()+", not a "+wrong.Value)
		}
		return s, fault.Wrap(fault.Permanent, fault.Configuration, err, "reading the Tryton settings")
	}
	if dec.More() {
		return s, misconfigured("settings", "", "has text after the JSON object")
	}
	if s.Series == "" {
		s.Series = defaultSeries
	}
	s.Products.complete()
	for _, required := range []struct{ field, value string }{
		{"url", s.URL}, {"database", s.Database}, {"user", s.User},
		{"company", s.Company}, {"currency", s.Currency}, {"warehouse", s.Warehouse},
	} {
		if required.value == "" {
			return s, misconfigured(required.field, "", "is missing")
		}
	}
	switch {
	case !databaseName.MatchString(s.Database):
		return s, misconfigured("database", s.Database, "must consist of letters, digits, _ and -")
	case !isKnown(s.Series):
		return s, misconfigured("series", s.Series, "must be one of "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	case strings.Contains(s.User, ":"):
		// It would end the user's name in the session's header.
		return s, misconfigured("user", "", "must not contain a colon")
	}
	seen := map[string]bool{}
	for _, code := range s.Products.codes() {
		if seen[code] {
			return s, misconfigured("products", code, "names one product for two purposes")
		}
		seen[code] = true
	}
	return s, nil
}

func parseBase(s string) (*url.URL, error) {
	u, value, wrong := egress.ParseAddress(s)
	if wrong != "" {
		return nil, misconfigured("url", value, wrong)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, misconfigured("url", "", "must be a scheme, a host and at most a path")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func misconfigured(field, value, message string) *fault.Error {
	return fault.New(fault.Permanent, fault.Configuration, "%s", message).At(field, value)
}
