//go:build unix

package tryton_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/retail"
)

func clock() time.Time { return time.Now() }

var loopback = netip.MustParsePrefix("127.0.0.0/8")

var permit = effecttest.Permit("test")

// seeded are articles that tests may ship; LONG-n fill long orders.
var seeded = func() []erp.Product {
	ps := []erp.Product{
		{SKU: "TEE-BLK-M", Title: "Organic tee, black, M", Price: "24.00", Stock: 1000},
		{SKU: "MUG-STONE", Title: "Stoneware mug", Price: "17.95", Stock: 1000},
		{SKU: "CANDLE-FIG", Title: "Fig candle", Price: "32.50", Stock: 2},
		{SKU: "COUNTED", Title: "Counted by one test only", Price: "1", Stock: 41},
	}
	for i := range 620 {
		ps = append(ps, erp.Product{SKU: fmt.Sprintf("LONG-%d", i), Title: "Filler", Price: "1.11", Stock: 1_000_000})
	}
	return ps
}()

// series is one series of Tryton, and its real server once that has started.
type series struct {
	name  string
	once  sync.Once
	dir   string
	s     *erp.Server
	err   error
	other string // a series that it is not
	last  string // a shipment's last button
}

var all = []*series{{name: "7.0", other: "8.0", last: "done"}, {name: "8.0", other: "7.0", last: "do"}}

// each runs a test on every series, at the same time: the servers share
// nothing, and each serves one call at a time.
func each(t *testing.T, test func(t *testing.T, s *series)) {
	t.Helper()
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// TestMain ends the servers of this test binary.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range all {
		if s.s != nil {
			if err := s.s.Stop(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		if s.dir != "" {
			if err := os.RemoveAll(s.dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	os.Exit(code)
}

// server returns the real Tryton of this test binary, started on first use.
func (s *series) server(t testing.TB) *erp.Server {
	t.Helper()
	s.once.Do(func() {
		home, err := erp.SharedHome()
		if err == nil {
			s.dir, err = os.MkdirTemp("", "waybill-erp-")
		}
		if err != nil {
			s.err = err
			return
		}
		s.s, s.err = erp.Start(context.Background(), erp.Config{Dir: s.dir, Home: home, Series: s.name, Port: erp.AnyPort, Seed: erp.Seed{Products: seeded}})
	})
	if s.err != nil {
		t.Fatalf("starting the local ERP %s for tests: %v", s.name, s.err)
	}
	return s.s
}

// connect returns a connector to the real Tryton.
func (s *series) connect(t testing.TB, changes ...func(settings map[string]any)) *tryton.Connector {
	t.Helper()
	srv := s.server(t)
	return connectTo(t, srv.Settings, srv.Password, changes...)
}

func connectTo(t testing.TB, settings json.RawMessage, password string, changes ...func(settings map[string]any)) *tryton.Connector {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal(settings, &values); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(values)
	}
	raw, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tryton.New(raw, map[string]string{"password": password}, egress.New(clock, loopback), clock)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var orders atomic.Int64

// newID is an id that no other test of this binary uses.
func newID() string { return fmt.Sprintf("ord_%d", orders.Add(1)) }

func usd(s string) retail.Money { return amount(s, "USD") }

func amount(s string, c retail.Currency) retail.Money {
	m, err := retail.ParseMoney(s, c)
	if err != nil {
		panic(err)
	}
	return m
}

func price(s string, c retail.Currency) retail.Price {
	p, err := retail.ParsePrice(s, c)
	if err != nil {
		panic(err)
	}
	return p
}

// item is a line of n units to ship.
func item(sku, unit string, n int64) retail.OrderLine {
	return retail.OrderLine{SKU: sku, Title: "A " + sku, UnitPrice: price(unit, "USD"), RequiresShipping: true,
		Quantities: retail.Quantities{Ordered: n, Unallocated: n}}
}

// order is one whose totals are what its lines add up to.
func order(t testing.TB, o retail.Order) retail.Order {
	t.Helper()
	if o.ID == "" {
		o.ID = newID()
	}
	o.Number, o.PlacedAt = "#"+o.ID, clock()
	if o.Currency == "" {
		o.Currency = "USD"
	}
	for i := range o.Lines {
		o.Lines[i].ID = fmt.Sprint(i + 1)
	}
	var sum retail.Totals
	for _, m := range []*retail.Money{&sum.Lines, &sum.Discounts, &sum.Shipping, &sum.Duties, &sum.Tax, &sum.Total} {
		m.Currency = o.Currency
	}
	for _, l := range o.Lines {
		m, err := l.UnitPrice.Times(l.Quantities.Ordered)
		if err != nil {
			t.Fatal(err)
		}
		sum.Lines.Amount += m.Amount
		for _, d := range l.Discounts {
			sum.Discounts.Amount += d.Amount
		}
		for _, d := range l.Duties {
			sum.Duties.Amount += d.Amount
		}
		for _, x := range l.Taxes {
			sum.Tax.Amount += x.Amount.Amount
		}
	}
	for _, s := range o.Shipping {
		sum.Shipping.Amount += s.Price.Amount
		for _, d := range s.Discounts {
			sum.Shipping.Amount -= d.Amount
		}
		for _, x := range s.Taxes {
			sum.Tax.Amount += x.Amount.Amount
		}
	}
	sum.Tip, sum.Fees, sum.Rounding = o.Totals.Tip, o.Totals.Fees, o.Totals.Rounding
	sum.Total.Amount = sum.Lines.Amount - sum.Discounts.Amount + sum.Shipping.Amount + sum.Duties.Amount + sum.Tip.Amount + sum.Fees.Amount + sum.Rounding.Amount
	if !o.TaxIncluded {
		sum.Total.Amount += sum.Tax.Amount
	}
	o.Totals = sum
	if _, err := retail.Certify(o); err != nil {
		t.Fatalf("the test's order is wrong: %v", err)
	}
	return o
}

func shopper() retail.Person {
	return retail.Person{Name: "Zenobia Marker", Email: "zq.marker@example.com", Shipping: retail.Address{
		Name: "Zenobia Marker", Line1: "12 Marker Street", Line2: "Floor 3", City: "Markerville", Region: "IL", PostalCode: "60804", Country: "US", Phone: "+1 555 0100",
	}}
}

// draft creates the order for a customer of its own.
func draft(t testing.TB, c *tryton.Connector, o retail.Order) effect.Receipt {
	t.Helper()
	customer, address := customerOf(t, c, o)
	so, err := c.CreateSalesOrder(t.Context(), permit, o, customer, address, address)
	if err != nil {
		t.Fatal(err)
	}
	return so
}

func customerOf(t testing.TB, c *tryton.Connector, o retail.Order) (customer, address effect.Receipt) {
	t.Helper()
	customer, err := c.CreateCustomer(t.Context(), permit, "order:"+o.ID, shopper())
	if err != nil {
		t.Fatal(err)
	}
	address, err = c.CreateAddress(t.Context(), permit, customer, shopper().Shipping)
	if err != nil {
		t.Fatal(err)
	}
	return customer, address
}

// confirmed creates and confirms the order.
func confirmed(t testing.TB, c *tryton.Connector, o retail.Order) effect.Receipt {
	t.Helper()
	so, err := c.ConfirmSalesOrder(t.Context(), permit, draft(t, c, o))
	if err != nil {
		t.Fatal(err)
	}
	return so
}

// wantFault compares what a fault says with what a rule demands, and checks
// that nothing personal is in its text.
func wantFault(t *testing.T, err error, want fault.Error) {
	t.Helper()
	f := fault.Of(err)
	if f == nil {
		t.Fatalf("got %v, want a fault %+v", err, want)
	}
	got := fault.Error{Kind: f.Kind, Class: f.Class, Field: f.Field, Value: f.Value, Unknown: f.Unknown}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fault (-want +got):\n%s\n%v", diff, err)
	}
	for _, personal := range []string{"Zenobia", "Marker", "zq.marker", "555 0100"} {
		if strings.Contains(err.Error(), personal) {
			t.Errorf("the error holds personal data: %v", err)
		}
	}
}

// administer calls a method of the real Tryton as its administrator does.
func (s *series) administer(t *testing.T, method string, into any, params ...any) {
	t.Helper()
	srv := s.server(t)
	post := func(session, method string, params ...any) json.RawMessage {
		body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.RPC, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", session)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var answer struct{ Result, Error json.RawMessage }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Error != nil {
			t.Fatalf("%s: HTTP %d: %s (%v)", method, res.StatusCode, answer.Error, err)
		}
		return answer.Result
	}
	var key []any
	if err := json.Unmarshal(post("", "common.db.login", srv.User, map[string]string{"password": srv.Password}, "en"), &key); err != nil {
		t.Fatal(err)
	}
	answer := post("Session "+base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v:%v", srv.User, key[0], key[1])), method, params...)
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatal(err)
		}
	}
}
