package tryton

import (
	"context"
	"slices"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Sale is a sales order as it stands in Tryton, for comparing from outside.
type Sale struct {
	ID, Number, State string
	Total             retail.Money
	Invoices          []Invoice
	Shipments         []Posted
}

// Invoice is an invoice or a credit note of a sale.
type Invoice struct {
	Number, State string
	Total         retail.Money
}

// Posted is a shipment to the customer, in whatever state.
type Posted struct {
	Number, State, Reference string
}

// Sales returns every sale of an order, canceled and incomplete ones too; more
// than one is one too many.
func (c *Connector) Sales(ctx context.Context, orderID string) ([]Sale, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return nil, err
	}
	var found []saleState
	if err := c.read(ctx, "model.sale.sale.search_read", &found,
		domain{{"company", "=", r.company}, {"description", "in", []string{key(orderID), key(orderID) + unfinished}}}, 0, nil, [][]string{{"id", "ASC"}},
		slices.Concat([]string{"number", "state"}, totalFields, below("invoices", invoiceFields...), below("shipments", "number", "state", "reference")), c.context(r)); err != nil {
		return nil, err
	}
	sales := []Sale{}
	for _, f := range found {
		s := Sale{ID: reference(f.ID), Number: string(f.Number), State: f.State}
		if s.Total, err = money(f.Total, f.Currency.Code); err != nil {
			return nil, err
		}
		f.sort()
		for _, i := range f.Invoices {
			m, err := money(i.Total, i.Currency.Code)
			if err != nil {
				return nil, err
			}
			s.Invoices = append(s.Invoices, Invoice{Number: string(i.Number), State: i.State, Total: m})
		}
		for _, p := range f.Shipments {
			s.Shipments = append(s.Shipments, Posted{Number: string(p.Number), State: p.State, Reference: string(p.Reference)})
		}
		sales = append(sales, s)
	}
	return sales, nil
}

// money reads an amount exactly.
func money(d decimal, currency string) (retail.Money, error) {
	m, err := retail.ParseMoney(string(d), retail.Currency(currency))
	if err != nil {
		return m, fault.Wrap(fault.Permanent, fault.Validation, err, "reading an amount in Tryton").At("total_amount", string(d))
	}
	return m, nil
}
