//go:build unix

package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/retail"

	"encoding/json"
	"net/netip"
)

// Order is where an order stands, seen from the platform.
type Order struct {
	Number   string       `json:"number"`
	External string       `json:"external_id"`
	ID       string       `json:"id,omitempty"`
	State    retail.State `json:"state"`
	Parked   string       `json:"parked,omitempty"` // why, if it is
	// Postponed counts the waits that its timeline tells.
	Postponed int          `json:"postponed,omitempty"`
	ERP       string       `json:"erp_number,omitempty"`
	Release   string       `json:"warehouse_order,omitempty"`
	Tracking  string       `json:"tracking,omitempty"`
	Invoice   string       `json:"invoice,omitempty"`
	Total     retail.Money `json:"-"`
	Amount    string       `json:"total"`
	Currency  string       `json:"currency"`
	Closed    time.Time    `json:"closed_at,omitzero"`
}

// Order looks an order of the storefront up.
func (d *Demo) Order(ctx context.Context, external string) (Order, error) {
	o := Order{External: external, State: "placed"}
	ref := document.Ref{Tenant: d.Tenant, Connection: Shop, Type: "order", External: external}
	found, err := d.Platform.Store.Resolve(ctx, ref)
	if err != nil {
		return o, err
	}
	k, ok := found[ref]
	if !ok {
		return o, nil
	}
	h, err := d.Platform.Store.Head(ctx, k)
	if err != nil {
		return o, err
	}
	o.Number, o.ID, o.State, o.Total = h.Number, h.ID, h.State, h.Total
	o.Amount, o.Currency = h.Total.String(), string(h.Total.Currency)
	steps, err := d.Platform.Store.Steps(ctx, h)
	if err != nil {
		return o, err
	}
	for _, s := range steps {
		switch s.Type {
		case "retail.order.sales_order_created.v1":
			o.ERP = s.Data["number"]
		case "retail.fulfillment_order.released.v1":
			o.Release = s.Data["ref"]
		case "retail.order.shipped.v1", "retail.order.partially_shipped.v1":
			o.Tracking = s.Data["tracking"]
			if o.Tracking == "" {
				o.Tracking = s.Data["tracking_number"]
			}
		case "retail.order.postponed.v1":
			o.Postponed++
		case "retail.order.invoiced.v1":
			o.Invoice = s.Data["number"]
		case "retail.order.closed.v1":
			o.Closed = s.At
		case "retail.order.parked.v1":
			if h.Parked != "" {
				o.Parked = s.Data["reason"]
			}
		}
	}
	return o, nil
}

// Placement is an order as the storefront confirmed it.
type Placement struct {
	shopifytest.Placed
	Quantities map[string]int64 // by SKU
}

// Place places an order at the storefront.
func (d *Demo) Place(p shopifytest.Placement) (Placement, error) {
	placed, err := d.Shop.Place(p)
	if err != nil {
		return Placement{}, fmt.Errorf("placing an order: %w", err)
	}
	raw, err := d.Shop.Payload(placed.ID)
	if err != nil {
		return Placement{}, fmt.Errorf("reading the placed order: %w", err)
	}
	var doc struct {
		Lines []struct {
			SKU      string `json:"sku"`
			Quantity int64  `json:"quantity"`
		} `json:"line_items"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return Placement{}, fmt.Errorf("reading the placed order: %w", err)
	}
	out := Placement{Placed: placed, Quantities: map[string]int64{}}
	for _, l := range doc.Lines {
		out.Quantities[l.SKU] += l.Quantity
	}
	return out, nil
}

// ERPConnector opens the ERP as an auditor of its own: it shares nothing with
// the functions.
func (d *Demo) ERPConnector() (*tryton.Connector, error) {
	c, _ := d.Retailer.Connection(ERP)
	return tryton.New(c.Settings, map[string]string{"password": d.ERP.Password},
		egress.New(time.Now, netip.MustParsePrefix("127.0.0.0/8")), time.Now)
}

// Finding is a disagreement between two systems.
type Finding struct {
	Order string `json:"order,omitempty"`
	What  string `json:"what"`
}

// CrossCheck compares the storefront, the platform, the warehouse's effect on
// stock, and the ERP for these orders, which must be all that were ever
// placed. It returns what does not agree.
func (d *Demo) CrossCheck(ctx context.Context, placed []Placement) ([]Finding, error) {
	books, err := d.ERPConnector()
	if err != nil {
		return nil, err
	}
	held := map[string]shopifytest.HeldOrder{}
	for _, h := range d.Shop.Orders() {
		held[h.ID] = h
	}
	var out []Finding
	sold := map[string]int64{}
	for _, p := range placed {
		find := func(format string, args ...any) {
			out = append(out, Finding{p.Name, fmt.Sprintf(format, args...)})
		}
		for sku, n := range p.Quantities {
			sold[sku] += n
		}
		o, err := d.Order(ctx, p.ID)
		if err != nil {
			return out, err
		}
		if o.State != retail.Closed {
			find("is %s, not closed %s", o.State, o.Parked)
		}
		if o.Amount != p.Total {
			find("total is %s at the storefront and %s in the platform", p.Total, o.Amount)
		}
		d.checkShop(held[p.ID], p, find)
		if err := checkERP(ctx, books, o, p, find); err != nil {
			return out, err
		}
	}
	return d.checkStock(ctx, sold, out)
}

func (d *Demo) checkShop(h shopifytest.HeldOrder, p Placement, find func(string, ...any)) {
	var want, got int64
	for _, n := range p.Quantities {
		want += n
	}
	if len(h.Fulfillments) != 1 {
		find("has %d fulfilments at the storefront, not one", len(h.Fulfillments))
	}
	for _, f := range h.Fulfillments {
		got += f.Quantity
		if len(f.Tracking) == 0 {
			find("has a fulfilment without tracking at the storefront")
		}
	}
	if got != want {
		find("%d of %d units are fulfilled at the storefront", got, want)
	}
}

func checkERP(ctx context.Context, books *tryton.Connector, o Order, p Placement, find func(string, ...any)) error {
	sales, err := books.Sales(ctx, o.ID)
	if err != nil {
		return fmt.Errorf("asking the ERP about %s: %w", p.Name, err)
	}
	if len(sales) != 1 {
		find("is %d times in the ERP, not once", len(sales))
		return nil
	}
	s := sales[0]
	if s.Total.String() != p.Total {
		find("total is %s at the storefront and %s in the ERP", p.Total, s.Total)
	}
	posted := 0
	for _, i := range s.Invoices {
		if i.State == "posted" || i.State == "paid" {
			posted++
		}
		if i.Total.String() != p.Total {
			find("its invoice %s is over %s instead of %s", i.Number, i.Total, p.Total)
		}
	}
	if posted != 1 || len(s.Invoices) != 1 {
		find("has %d posted of %d invoices in the ERP, not one", posted, len(s.Invoices))
	}
	done := 0
	for _, x := range s.Shipments {
		if x.State == "done" {
			done++
		}
	}
	if done != 1 || len(s.Shipments) != 1 {
		find("has %d done of %d shipments in the ERP, not one", done, len(s.Shipments))
	}
	return nil
}

func (d *Demo) checkStock(ctx context.Context, sold map[string]int64, out []Finding) ([]Finding, error) {
	var skus []string
	for _, p := range shopifytest.DefaultCatalogue {
		skus = append(skus, p.SKU)
	}
	positions, err := d.Platform.Store.Positions(ctx, d.Tenant, Location, skus)
	if err != nil {
		return out, err
	}
	for _, sku := range skus {
		p := positions[sku]
		if p.OnHand != opening-sold[sku] || p.Reserved != 0 {
			out = append(out, Finding{"", fmt.Sprintf("stock of %s is %d on hand and %d reserved, not %d and 0", sku, p.OnHand, p.Reserved, opening-sold[sku])})
		}
	}
	return out, nil
}

// ErrDisagree is returned where a cross-check found something.
var ErrDisagree = errors.New("the systems disagree")
