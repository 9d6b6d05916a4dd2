package tryton

import (
	"context"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// What seldom changes is read once in a while. A correction in Tryton is seen
// after that at the latest, and at once where Tryton refuses what was
// remembered; what is missing or wrong is never remembered.
const (
	settingsKept = 10 * time.Minute
	articlesKept = 2 * time.Minute
	// seenKept is for what one step of a flow read and the next one needs.
	seenKept = 30 * time.Second
	// mostKept bounds each memory.
	mostKept = 5000
)

// memory keeps values for a while. Connector.mu guards it.
type memory[K comparable, V any] struct {
	keep   time.Duration
	values map[K]kept[V]
}

type kept[V any] struct {
	value V
	until time.Time
	use   int64 // that read it
}

func (m *memory[K, V]) get(k K, now time.Time) (kept[V], bool) {
	v, ok := m.values[k]
	return v, ok && now.Before(v.until)
}

func (m *memory[K, V]) put(k K, v V, now time.Time, use int64) {
	if m.values == nil {
		m.values = map[K]kept[V]{}
	}
	if len(m.values) >= mostKept {
		for old, v := range m.values {
			if !now.Before(v.until) {
				delete(m.values, old)
			}
		}
	}
	for old := range m.values {
		if len(m.values) < mostKept {
			break
		}
		delete(m.values, old) // any will do
	}
	m.values[k] = kept[V]{v, now.Add(m.keep), use}
}

// memories are what a connector remembers of its database.
type memories struct {
	settings memory[string, int64]   // by the setting's name
	products memory[string, product] // services and articles, by code
	places   memory[string, place]   // by ISO 3166 code
	sales    memory[int64, saleState]
}

func nothingKept() memories {
	return memories{
		settings: memory[string, int64]{keep: settingsKept},
		products: memory[string, product]{keep: articlesKept},
		places:   memory[string, place]{keep: settingsKept},
		sales:    memory[int64, saleState]{keep: seenKept},
	}
}

func (c *Connector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = nothingKept()
}

// records are the ids that one use of the connector rests on.
type records struct {
	company, currency, warehouse int64
	services                     map[string]product

	use int64
	// remembered tells that some were read by an earlier use.
	remembered bool
}

func (c *Connector) begin() *records {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses++
	return &records{use: c.uses}
}

// recall returns what is remembered, and notes in r that it was.
func recall[K comparable, V any](c *Connector, m *memory[K, V], k K, r *records) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := m.get(k, c.now())
	r.remembered = r.remembered || ok && v.use != r.use
	return v.value, ok
}

func remember[K comparable, V any](c *Connector, m *memory[K, V], k K, v V, r *records) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.put(k, v, c.now(), r.use)
}

// anew does what may rest on remembered ids and, where it is refused, once more
// with ids that are read again: a record may have been corrected or replaced.
// A refusal proves that nothing was written.
func (c *Connector) anew(do func(r *records) (effect.Receipt, error)) (effect.Receipt, error) {
	r := c.begin()
	receipt, err := do(r)
	f := fault.Of(err)
	if f == nil || f.Unknown || !r.remembered {
		return receipt, err
	}
	switch f.Class {
	case fault.Validation, fault.Configuration, fault.Mapping, fault.MissingReference:
		c.forget()
		return do(c.begin())
	default:
		return receipt, err
	}
}

// inCompany returns the records that every call needs: the company's alone. It
// asks the server's series once a session.
func (c *Connector) inCompany(ctx context.Context) (*records, error) {
	r := c.begin()
	return r, c.company(ctx, r)
}

func (c *Connector) company(ctx context.Context, r *records) error {
	var known bool
	if r.company, known = recall(c, &c.kept.settings, "company", r); known {
		return nil
	}
	if err := c.checkSeriesOnce(ctx); err != nil {
		return err
	}
	var found []struct {
		ID       int64    `json:"id"`
		Currency currency `json:"currency."`
	}
	if err := c.read(ctx, "model.company.company.search_read", &found, domain{{"party.name", "=", c.settings.Company}}, 0, 2, nil,
		[]string{"currency.code", "currency.rounding"}, rpcContext{}); err != nil {
		return err
	}
	if len(found) != 1 {
		return misconfigured("company", c.settings.Company, "must be exactly one in Tryton's company.company")
	}
	r.company = found[0].ID
	remember(c, &c.kept.settings, "company", r.company, r)
	// Most companies sell in their own currency.
	if own := found[0].Currency; own.Code == c.settings.Currency && c.exact(own) == nil {
		remember(c, &c.kept.settings, "currency", own.ID, r)
	}
	return nil
}

// setup reads all records that the settings name, or says which of them the
// database lacks. Articles with the given codes are read along.
func (c *Connector) setup(ctx context.Context, r *records, skus ...string) error {
	if err := c.company(ctx, r); err != nil {
		return err
	}
	var known bool
	if r.currency, known = recall(c, &c.kept.settings, "currency", r); !known {
		if err := c.readCurrency(ctx, r); err != nil {
			return err
		}
	}
	if r.warehouse, known = recall(c, &c.kept.settings, "warehouse", r); !known {
		if err := c.readWarehouse(ctx, r); err != nil {
			return err
		}
	}
	r.services = map[string]product{}
	codes := c.settings.Products.codes()
	for _, code := range codes {
		if p, ok := recall(c, &c.kept.products, code, r); ok && c.service(code, []product{p}) == nil {
			r.services[code] = p
		}
	}
	if len(r.services) == len(codes) {
		return nil
	}
	return c.readServices(ctx, r, skus)
}

func (c *Connector) readWarehouse(ctx context.Context, r *records) error {
	var found ids
	if err := c.read(ctx, "model.stock.location.search", &found, domain{{"code", "=", c.settings.Warehouse}, {"type", "=", "warehouse"}}, 0, 2, nil, rpcContext{}); err != nil {
		return err
	}
	if len(found) != 1 {
		return misconfigured("warehouse", c.settings.Warehouse, "must be exactly one in Tryton's stock.location")
	}
	r.warehouse = found[0]
	remember(c, &c.kept.settings, "warehouse", r.warehouse, r)
	return nil
}

type currency struct {
	ID       int64   `json:"id"`
	Code     string  `json:"code"`
	Rounding decimal `json:"rounding"`
}

// exact requires that Tryton rounds the currency to ISO 4217's digits: any
// other rounding would change totals.
func (c *Connector) exact(cur currency) error {
	if m, err := retail.ParseMoney(string(cur.Rounding), c.currency); err != nil || m.Amount != 1 {
		return misconfigured("currency", c.settings.Currency, "is rounded to "+string(cur.Rounding)+" in Tryton, which is not its smallest unit")
	}
	return nil
}

func (c *Connector) readCurrency(ctx context.Context, r *records) error {
	var found []currency
	if err := c.read(ctx, "model.currency.currency.search_read", &found, domain{{"code", "=", c.settings.Currency}}, 0, 2, nil, []string{"rounding"}, rpcContext{}); err != nil {
		return err
	}
	if len(found) != 1 {
		return misconfigured("currency", c.settings.Currency, "must be exactly one in Tryton's currency.currency")
	}
	if err := c.exact(found[0]); err != nil {
		return err
	}
	r.currency = found[0].ID
	remember(c, &c.kept.settings, "currency", r.currency, r)
	return nil
}

// product is an article or a service as sales need it.
type product struct {
	ID   int64  `json:"id"`
	Code string `json:"code"`
	Type string `json:"type"`
	Unit int64  `json:"default_uom"`
	// Template leads to the taxes that invoices are checked against.
	Template struct {
		Category struct {
			Taxes ids `json:"customer_taxes"`
		} `json:"account_category."`
	} `json:"template."`
}

func (p product) taxes() ids { return p.Template.Category.Taxes }

// readServices reads the service products and, in the same call, articles.
func (c *Connector) readServices(ctx context.Context, r *records, skus []string) error {
	codes := c.settings.Products.codes()
	found, err := c.products(ctx, r, append(codes, skus...))
	if err != nil {
		return err
	}
	for _, code := range codes {
		if err := c.service(code, found[code]); err != nil {
			return err
		}
		r.services[code] = found[code][0]
		remember(c, &c.kept.products, code, found[code][0], r)
	}
	for _, sku := range skus {
		if ps := found[sku]; notAnArticle(ps) == "" {
			remember(c, &c.kept.products, sku, ps[0], r)
		}
	}
	return nil
}

// service says what is wrong with the products of a service's code.
func (c *Connector) service(code string, ps []product) error {
	switch {
	case len(ps) != 1:
		return misconfigured("products", code, "must be the code of exactly one active product in Tryton")
	case ps[0].Type != "service":
		return misconfigured("products", code, "must be a product of the type service")
	case code == c.settings.Products.Tax && len(ps[0].taxes()) == 0:
		return misconfigured("products.tax", code, "needs a customer tax of 100 % in its account category")
	case code != c.settings.Products.Tax && len(ps[0].taxes()) > 0:
		return misconfigured("products", code, "must not have a customer tax")
	}
	return nil
}

// notAnArticle says what is wrong with the products of a SKU; "" is nothing.
func notAnArticle(ps []product) string {
	switch {
	case len(ps) == 0:
		return "no active product in Tryton has this code"
	case len(ps) > 1:
		return "several products in Tryton have this code"
	case ps[0].Type == "service":
		return "is a service in Tryton, which no parcel can carry"
	}
	return ""
}

// products reads active products by code, with one call.
func (c *Connector) products(ctx context.Context, r *records, codes []string) (map[string][]product, error) {
	var found []product
	if err := c.read(ctx, "model.product.product.search_read", &found, domain{{"code", "in", codes}}, 0, nil, nil,
		[]string{"code", "type", "default_uom", "template.account_category.customer_taxes"}, rpcContext{"company": r.company}); err != nil {
		return nil, err
	}
	out := make(map[string][]product, len(found))
	for _, p := range found {
		out[p.Code] = append(out[p.Code], p)
	}
	return out, nil
}

// place is a country and, where the database knows it, a part of it.
type place struct {
	country, subdivision *int64
}

// place looks a place up by its codes of ISO 3166. The country is nil where
// the database lacks it.
func (c *Connector) place(ctx context.Context, r *records, country, region string) (place, error) {
	code := country
	if region != "" {
		code += "-" + region
	}
	if p, ok := recall(c, &c.kept.places, code, r); ok {
		return p, nil
	}
	var p place
	if region != "" {
		var found []struct {
			ID      int64 `json:"id"`
			Country struct {
				ID   int64  `json:"id"`
				Code string `json:"code"`
			} `json:"country."`
		}
		if err := c.read(ctx, "model.country.subdivision.search_read", &found, domain{{"code", "=", code}}, 0, 1, nil, []string{"country.code"}, c.context(r)); err != nil {
			return p, err
		}
		if len(found) > 0 {
			p.subdivision = &found[0].ID
			if found[0].Country.Code == country {
				p.country = &found[0].Country.ID
			}
		}
	}
	if p.country == nil {
		var found ids
		if err := c.read(ctx, "model.country.country.search", &found, domain{{"code", "=", country}}, 0, 1, nil, c.context(r)); err != nil || len(found) == 0 {
			return p, err
		}
		p.country = &found[0]
	}
	remember(c, &c.kept.places, code, p, r)
	return p, nil
}

// context is that of a call in the company.
func (c *Connector) context(r *records) rpcContext {
	return rpcContext{"company": r.company, "language": "en"}
}
