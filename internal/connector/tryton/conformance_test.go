//go:build unix

package tryton_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/retail"
)

// everySeries costs as much again as the newest alone.
var everySeries = flag.Bool("every-series", false, "run the whole conformance suite against every series, not in brief against all but the newest")

// The suite runs against the real server of each series: as a whole against the
// newest, and in brief against the others unless asked to. They fare alike: they
// are held to one record. Cases share a server and a session, and each has
// documents of its own.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute on the real servers")
	}
	const (
		small = "the real server counts its ids from 1"
		limit = "Tryton publishes no limit; what stands before it refuses with 503, after which the outcome of a write is unknown"
	)
	waivers := map[string]string{
		"limit/kept_by_the_heaviest_read": "Tryton publishes no limit",
		"paging/stock_while_it_changes":   "the real server's stock cannot be filled for one case; pages are read by ascending id, so what comes meanwhile comes last",
		"read/count_stock/rate_limited":   limit,
	}
	for _, w := range []string{"create_customer", "create_address", "create_sales_order", "confirm_sales_order", "post_shipment", "post_invoice"} {
		waivers["write/"+w+"/id_above_2^53"] = small
		waivers["write/"+w+"/rate_limited"] = limit
	}
	each(t, func(t *testing.T, s *series) {
		srv := s.server(t)
		books := openBooks(t, srv, s.last)
		connectortest.Run(t, connectortest.Harness{
			Connector: "tryton",
			Bare:      connectTo(t, srv.Settings, srv.Password),
			Open: func(testing.TB, connectortest.Options) *connectortest.Vendor {
				books.Front.Faults.Clear()
				books.Front.Faults.OnSilence(nil)
				return books
			},
			Slow:    true,
			Brief:   s != all[len(all)-1] && !*everySeries,
			Waivers: waivers,
		})
	})
}

func openBooks(t testing.TB, srv *erp.Server, ships string) *connectortest.Vendor {
	t.Helper()
	k := connectortest.NewClock()
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := connectortest.Serve(t, faulty.Tryton(), httputil.NewSingleHostReverseProxy(target), k)
	var settings map[string]any
	if err := json.Unmarshal(srv.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	settings["url"] = front.URL
	raw, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tryton.New(raw, map[string]string{"password": srv.Password}, egress.New(k.Now, netip.MustParsePrefix("127.0.0.0/8")), k.Now)
	if err != nil {
		t.Fatal(err)
	}
	b := &bookkeeper{Connector: c, observer: &observer{srv: srv}, ships: ships}
	return &connectortest.Vendor{Connector: c, Clock: k, Front: front, Matter: b.booked}
}

// bookkeeper makes what writes need. Orders have one customer.
type bookkeeper struct {
	*tryton.Connector
	*observer
	customer, address effect.Receipt
	ships             string // the button that ends a shipment
}

// booked takes an order as far as it must be for a write.
func (b *bookkeeper) booked(t testing.TB, write string) connectortest.Matter {
	t.Helper()
	c := b.Connector
	o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 2), item("MUG-STONE", "17.95", 1)}})
	m := connectortest.Matter{Order: o, Person: shopper(), Ref: "order:" + o.ID}
	kept := func(operation, model string, where ...any) connectortest.Matter {
		m.Operation, m.Stored = operation, func() []string { return b.search(t, model, where) }
		return m
	}
	done := func(r effect.Receipt, err error) effect.Receipt {
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ctx := t.Context()
	if write == "create_customer" {
		return kept("model.party.party.create", "party.party", []any{"identifiers.code", "=", m.Ref})
	}
	if write == "create_address" {
		// Without an address of the customer's own.
		m.Customer = done(c.CreateCustomer(ctx, permit, m.Ref, retail.Person{Name: m.Person.Name}))
		return kept("model.party.address.create", "party.address", []any{"party", "=", number(t, m.Customer.Ref)})
	}
	if b.customer.Ref == "" {
		b.customer, b.address = customerOf(t, c, o)
	}
	m.Customer, m.ShipTo = b.customer, b.address
	if write == "create_sales_order" {
		return kept("model.sale.sale.create", "sale.sale", []any{"description", "like", "waybill:" + o.ID + "%"})
	}
	m.SalesOrder = done(c.CreateSalesOrder(ctx, permit, o, m.Customer, m.ShipTo, m.ShipTo))
	so := number(t, m.SalesOrder.Ref)
	if write == "confirm_sales_order" {
		// Confirmed twice, a sale would have two invoices.
		m = kept("model.sale.sale.confirm", "account.invoice", []any{"sales", "=", so})
		invoices := m.Stored
		m.Stored = func() []string {
			out := []string{}
			for range invoices() {
				out = append(out, m.SalesOrder.Ref)
			}
			return out
		}
		return m
	}
	m.SalesOrder = done(c.ConfirmSalesOrder(ctx, permit, m.SalesOrder))
	m.Shipment = parcel("T"+o.ID, map[string]int64{"TEE-BLK-M": 1, "MUG-STONE": 1})
	if write == "post_shipment" {
		return kept("model.stock.shipment.out."+b.ships, "stock.shipment.out", []any{"reference", "=", m.Shipment.Tracking}, []any{"state", "=", "done"})
	}
	return kept("model.account.invoice.post", "account.invoice", []any{"sales", "=", so}, []any{"state", "=", "posted"})
}

func number(t testing.TB, ref string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(ref, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// observer looks at the real server past the connector and the faults.
type observer struct {
	srv *erp.Server

	mu      sync.Mutex
	session string
}

func (o *observer) call(t testing.TB, method string, into any, params ...any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.srv.RPC, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if o.session != "" {
		req.Header.Set("Authorization", o.session)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ Result, Error json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Error != nil {
		t.Fatalf("%s: HTTP %d: %s (%v)", method, res.StatusCode, answer.Error, err)
	}
	if err := json.Unmarshal(answer.Result, into); err != nil {
		t.Fatal(err)
	}
}

// search returns the ids of a model's records.
func (o *observer) search(t testing.TB, model string, where []any) []string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.session == "" {
		var key []any
		o.call(t, "common.db.login", &key, o.srv.User, map[string]string{"password": o.srv.Password}, "en")
		o.session = "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v:%v", o.srv.User, key[0], key[1]))
	}
	var ids []int64
	o.call(t, "model."+model+".search", &ids, where, map[string]any{})
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = strconv.FormatInt(id, 10)
	}
	return out
}
