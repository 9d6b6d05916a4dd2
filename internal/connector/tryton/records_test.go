//go:build unix

package tryton_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// article makes an article that the test may change, and returns its template.
func (s *series) article(t *testing.T, sku string) int64 {
	t.Helper()
	var like []struct {
		Unit     int64 `json:"default_uom"`
		Template struct {
			Category int64 `json:"account_category"`
		} `json:"template."`
	}
	s.administer(t, "model.product.product.search_read", &like, []any{[]any{"code", "=", "MUG-STONE"}}, 0, 1, nil, []string{"default_uom", "template.account_category"}, company)
	var made []int64
	s.administer(t, "model.product.template.create", &made, []any{map[string]any{
		"name": sku, "code": sku, "type": "goods", "default_uom": like[0].Unit, "sale_uom": like[0].Unit, "salable": true,
		"list_price": map[string]any{"__class__": "Decimal", "decimal": "5"}, "account_category": like[0].Template.Category,
		"products": []any{[]any{"create", []any{map[string]any{"cost_price": map[string]any{"__class__": "Decimal", "decimal": "1"}}}}},
	}}, company)
	return made[0]
}

// retire deletes an article.
func (s *series) retire(t *testing.T, template int64) {
	t.Helper()
	s.administer(t, "model.product.template.delete", nil, []int64{template}, company)
}

// hide ends the sale of an article, so that other tests do not count it.
func (s *series) hide(t *testing.T, template int64) {
	t.Helper()
	var variants []int64
	s.administer(t, "model.product.product.search", &variants, []any{[]any{"template", "=", template}}, 0, nil, nil, company)
	s.administer(t, "model.product.product.write", nil, variants, map[string]any{"active": false}, company)
}

func TestAProductThatWasReplacedIsReadAgainBeforeAnOrderFails(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		sku := "REPLACED-" + newID()
		old := srs.article(t, sku)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		customer, address := customerOf(t, c, o)
		// It becomes known without a sale that would hold on to it.
		p.set(func(p *proxy) {
			p.answers = map[string]string{"model.sale.sale.create": `{"id":1,"error":["ConcurrencyException","Records were modified in the meanwhile"]}`}
		})
		o = order(t, retail.Order{Lines: []retail.OrderLine{item(sku, "5.00", 2)}})
		if _, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address); fault.KindOf(err) != fault.Retryable {
			t.Fatalf("got %v", err)
		}
		p.set(func(p *proxy) { p.answers, p.methods = nil, nil })
		srs.retire(t, old)
		defer srs.hide(t, srs.article(t, sku))
		so, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address)
		if err != nil {
			t.Fatal(err)
		}
		if n := p.calls("model.sale.sale.create"); n != 2 {
			t.Errorf("%d attempts, want one with the product as remembered and one with it read again", n)
		}
		if m, err := c.SalesOrderTotal(t.Context(), so); err != nil || m != o.Totals.Total {
			t.Errorf("total %s (%v)", m, err)
		}
		wantSale(t, c, o)
	})
}

func TestWhatIsMissingOrWrongIsNotRemembered(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		sku := "LATE-" + newID()
		o := order(t, retail.Order{Lines: []retail.OrderLine{item(sku, "5.00", 1)}})
		customer, address := customerOf(t, c, o)
		_, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Mapping, Field: "lines[0].sku", Value: sku})
		defer srs.hide(t, srs.article(t, sku))
		if _, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address); err != nil {
			t.Errorf("after the product was added: %v", err)
		}
	})
}

func TestARefusalOfWhatIsFreshIsNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		none := effect.Receipt{Ref: "99999999"}
		for want := 1; want <= 2; want++ { // the second time everything is remembered
			p.set(func(p *proxy) { p.methods = nil })
			o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
			_, err := c.CreateSalesOrder(t.Context(), permit, o, none, none, none)
			wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Validation})
			if n := p.calls("model.sale.sale.create"); n != want {
				t.Errorf("%d attempts, want %d", n, want)
			}
		}
	})
}

// hands is a clock that stands until it is moved.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *hands) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

func TestWhatIsRememberedIsReadAgainAfterAWhile(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, _ := srs.behind(t)
		srv, h := srs.server(t), &hands{at: time.Now()}
		var settings map[string]any
		if err := json.Unmarshal(srv.Settings, &settings); err != nil {
			t.Fatal(err)
		}
		settings["url"] = p.url
		raw, err := json.Marshal(settings)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tryton.New(raw, map[string]string{"password": srv.Password}, egress.New(h.now, netip.MustParsePrefix("127.0.0.0/8")), h.now)
		if err != nil {
			t.Fatal(err)
		}
		for i, tc := range []struct {
			wait                              time.Duration
			products, companies, subdivisions int
		}{{0, 1, 1, 1}, {time.Minute, 0, 0, 0}, {2 * time.Minute, 1, 0, 0}, {10 * time.Minute, 1, 1, 1}} {
			h.move(tc.wait)
			p.set(func(p *proxy) { p.methods = nil })
			draft(t, c, order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}}))
			got := fmt.Sprint(p.calls("model.product.product.search_read"), p.calls("model.company.company.search_read"), p.calls("model.country.subdivision.search_read"))
			if want := fmt.Sprint(tc.products, tc.companies, tc.subdivisions); got != want {
				t.Errorf("order %d: products, company and subdivision are read %s times, want %s", i, got, want)
			}
		}
	})
}

// The total that was read after the confirmation serves once; whoever asks
// again is told what Tryton holds then.
func TestATotalIsReadAgainWhenItIsAskedForAgain(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("MUG-STONE", "17.95", 1)}})
		so := confirmed(t, c, o)
		p.set(func(p *proxy) { p.methods = nil })
		for want := range 3 {
			if m, err := c.SalesOrderTotal(t.Context(), so); err != nil || m != o.Totals.Total {
				t.Errorf("total %s (%v)", m, err)
			}
			if n := p.calls("model.sale.sale.search_read"); n != want {
				t.Errorf("%d reads, want %d", n, want)
			}
		}
	})
}
