//go:build unix

package tryton_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// asked is what one step of a flow may ask of Tryton: the requests of a
// connector that has worked before, and of one that has just been opened.
type asked struct {
	step       string
	warm, cold int
}

// bounds are in force for every series: a request costs a function's time.
var bounds = []asked{
	{"customer", 2, 6}, {"address", 1, 5}, {orderOf(1), 1, 6}, {orderOf(5), 2, 6}, {orderOf(50), 2, 6}, {"confirm", 3, 7}, {"total", 0, 4},
	{"order task", 7, 13}, {"shipment", 8, 11}, {"invoice", 2, 6}, {"shipment task", 10, 13},
}

// distinct is an order of n articles, each of its own SKU and line.
func distinct(t testing.TB, n int) retail.Order {
	t.Helper()
	lines := make([]retail.OrderLine, n)
	for i := range lines {
		lines[i] = taxed(item(fmt.Sprintf("LONG-%d", i), "1.11", 2), "0.18")
	}
	return order(t, retail.Order{Lines: lines, Shipping: []retail.ShippingLine{{Title: "Standard", Price: usd("4.95")}}})
}

// journey takes orders through the steps of the flows and counts what each asks.
type journey struct {
	testing.TB
	*proxy
	c     *tryton.Connector
	took  map[string]int
	spent map[string]time.Duration
	// fresh opens the connector anew before each step of which the requests
	// are those of a cold one.
	fresh func() *tryton.Connector
}

// step counts what do asks. On a machine so busy that Tryton answers too late,
// it is done again.
func (j *journey) step(name string, do func(c *tryton.Connector) error) {
	j.Helper()
	if j.fresh != nil {
		j.c = j.fresh()
	}
	var err error
	for range 5 {
		j.set(func(p *proxy) { p.methods = nil })
		began := time.Now()
		err = do(j.c)
		if err == nil {
			j.spent[name] += time.Since(began)
			break
		}
		if f := fault.Of(err); f == nil || f.Kind != fault.Retryable {
			break
		}
	}
	if err != nil {
		j.Fatalf("%s: %v", name, err)
	}
	j.set(func(p *proxy) {
		j.took[name] += len(p.methods)
		j.Logf("%s: %s", name, strings.Join(p.methods, " "))
	})
}

// buyer keeps a customer and an address as the flow does, which looks before it
// creates.
func (j *journey) buyer(o retail.Order) (customer, address effect.Receipt) {
	j.Helper()
	ctx := j.Context()
	j.step("customer", func(c *tryton.Connector) error {
		_, found, err := c.FindCustomer(ctx, "order:"+o.ID)
		if err == nil && !found {
			customer, err = c.CreateCustomer(ctx, permit, "order:"+o.ID, shopper())
		}
		return err
	})
	j.step("address", func(c *tryton.Connector) error {
		var found bool
		var err error
		address, found, err = c.FindAddress(ctx, customer, shopper().Shipping)
		if err == nil && !found {
			address, err = c.CreateAddress(ctx, permit, customer, shopper().Shipping)
		}
		return err
	})
	return customer, address
}

// draft is the first half of the sales-order task of a new buyer.
func (j *journey) draft(n int) (o retail.Order, so effect.Receipt) {
	j.Helper()
	ctx := j.Context()
	o = distinct(j, n)
	customer, address := j.buyer(o)
	j.step(orderOf(n), func(c *tryton.Connector) (err error) {
		so, err = c.CreateSalesOrder(ctx, permit, o, customer, address, address)
		return err
	})
	return o, so
}

// order is the sales-order task of a new buyer.
func (j *journey) order() effect.Receipt {
	j.Helper()
	ctx := j.Context()
	o, so := j.draft(1)
	j.step("confirm", func(c *tryton.Connector) (err error) {
		so, err = c.ConfirmSalesOrder(ctx, permit, so)
		return err
	})
	j.step("total", func(c *tryton.Connector) error {
		m, err := c.SalesOrderTotal(ctx, so)
		if err == nil && m != o.Totals.Total {
			j.Errorf("total %s, want %s", m, o.Totals.Total)
		}
		return err
	})
	return so
}

// ship is the shipment and invoice task of a whole order.
func (j *journey) ship(so effect.Receipt) {
	j.Helper()
	ctx, s := j.Context(), parcel("1Z-"+newID(), map[string]int64{"LONG-0": 2})
	j.step("shipment", func(c *tryton.Connector) error {
		_, err := c.PostShipment(ctx, permit, so, s)
		return err
	})
	j.step("invoice", func(c *tryton.Connector) error {
		_, err := c.PostInvoice(ctx, permit, so)
		return err
	})
}

func (s *series) journey(t *testing.T) *journey {
	t.Helper()
	p, c := s.behind(t)
	return &journey{TB: t, proxy: p, c: c, took: map[string]int{}, spent: map[string]time.Duration{}}
}

func (j *journey) tasks() {
	for _, task := range []struct {
		name  string
		steps []string
	}{
		{"order task", []string{"customer", "address", orderOf(1), "confirm", "total"}},
		{"shipment task", []string{"shipment", "invoice"}},
	} {
		for _, s := range task.steps {
			j.took[task.name] += j.took[s]
			j.spent[task.name] += j.spent[s]
		}
	}
}

// again is the same journey with its counts at nothing.
func (j *journey) again() *journey {
	j.took, j.spent = map[string]int{}, map[string]time.Duration{}
	return j
}

// TestRequests prints what each step asks of the real servers, and fails where
// one asks more than its bound. A cold connector is opened for each step, and
// for each task, as in a function's first invocation.
func TestRequests(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		warm := srs.journey(t)
		warm.ship(warm.order()) // the server is warm then, too
		warm.again().ship(warm.order())
		for _, n := range []int{5, 50} {
			spent := maps.Clone(warm.took)
			warm.draft(n)
			spent[orderOf(n)] = warm.took[orderOf(n)]
			warm.took = spent
		}
		warm.tasks()

		cold := srs.journey(t)
		cold.fresh = func() *tryton.Connector { return srs.through(t, cold.proxy) }
		cold.ship(cold.order())
		for _, n := range []int{5, 50} {
			spent := maps.Clone(cold.took)
			cold.draft(n)
			spent[orderOf(n)] = cold.took[orderOf(n)]
			cold.took = spent
		}
		whole := srs.journey(t)
		so := whole.order()
		whole.c = srs.through(t, whole.proxy)
		whole.ship(so)
		whole.tasks()
		for _, task := range []string{"order task", "shipment task"} {
			cold.took[task] = whole.took[task]
		}

		var table strings.Builder
		fmt.Fprintf(&table, "requests to Tryton %s\n%-20s %5s %5s %12s\n", srs.name, "", "warm", "cold", "warm, here")
		steps := []string{"customer", "address", orderOf(1), orderOf(5), orderOf(50), "confirm", "total", "order task", "shipment", "invoice", "shipment task"}
		for _, s := range steps {
			fmt.Fprintf(&table, "%-20s %5d %5d %12s\n", s, warm.took[s], cold.took[s], warm.spent[s].Round(time.Millisecond))
		}
		t.Log("\n" + table.String())
		for _, b := range bounds {
			if !slices.Contains(steps, b.step) {
				t.Errorf("there is no step %q", b.step)
			}
			if warm.took[b.step] > b.warm || cold.took[b.step] > b.cold {
				t.Errorf("%s takes %d requests warm and %d cold, at most %d and %d", b.step, warm.took[b.step], cold.took[b.step], b.warm, b.cold)
			}
		}
	})
}

func orderOf(n int) string { return fmt.Sprintf("sales order of %d", n) }
