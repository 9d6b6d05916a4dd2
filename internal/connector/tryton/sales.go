package tryton

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// chunk is how many lines one call carries. Tryton computes all of a call's
// lines in one transaction, which must end well before egress.Timeout.
const chunk = 500

// unfinished marks the description of a draft that lacks lines yet.
const unfinished = " (incomplete)"

// key is a sale's description, by which it is read back: the reference is the
// shopper's number, which another channel may use too.
func key(orderID string) string { return "waybill:" + orderID }

// SalesOrderSettle is how long an empty FindSalesOrder proves nothing.
func (c *Connector) SalesOrderSettle() time.Duration { return settle }

type sale struct {
	Party           int64     `json:"party"`
	Company         int64     `json:"company"`
	Currency        int64     `json:"currency"`
	Warehouse       int64     `json:"warehouse"`
	Reference       string    `json:"reference"`
	Description     string    `json:"description"`
	SaleDate        date      `json:"sale_date"`
	InvoiceAddress  int64     `json:"invoice_address"`
	ShipmentAddress int64     `json:"shipment_address"`
	InvoiceMethod   string    `json:"invoice_method"`
	ShipmentMethod  string    `json:"shipment_method"`
	Lines           []command `json:"lines"`
}

// CreateSalesOrder creates the order as a draft whose total is the order's to
// the cent. More lines than one call carries are added by further calls; until
// the last, the description says that the draft is incomplete, and what an
// interrupted attempt left is deleted by the next.
func (c *Connector) CreateSalesOrder(ctx context.Context, p effect.Permit, o retail.Order, customer, shipTo, billTo effect.Receipt) (effect.Receipt, error) {
	if o.ID == "" {
		return effect.Receipt{}, fault.New(fault.Permanent, fault.Internal, "the order has no id").At("id", "")
	}
	if o.Currency != c.currency {
		return effect.Receipt{}, fault.New(fault.Exception, fault.Validation, "this connection keeps sales in %s only", c.currency).At("currency", string(o.Currency))
	}
	s := sale{
		Reference: o.Number, Description: key(o.ID), SaleDate: dateOf(o.PlacedAt),
		InvoiceMethod: "order", ShipmentMethod: "order",
	}
	for _, id := range []struct {
		into    *int64
		receipt effect.Receipt
		of      string
	}{{&s.Party, customer, "customer"}, {&s.ShipmentAddress, shipTo, "ship_to"}, {&s.InvoiceAddress, billTo, "bill_to"}} {
		var err error
		if *id.into, err = recordID(id.receipt, id.of); err != nil {
			return effect.Receipt{}, err
		}
	}
	return c.anew(func(r *records) (effect.Receipt, error) {
		if err := c.setup(ctx, r, skus(o)...); err != nil {
			return effect.Receipt{}, err
		}
		lines, err := c.saleLines(ctx, r, o)
		if err != nil {
			return effect.Receipt{}, err
		}
		s := s
		s.Company, s.Currency, s.Warehouse = r.company, r.currency, r.warehouse
		var receipt effect.Receipt
		if len(lines) <= chunk {
			s.Lines = []command{create(anys(lines)...)}
			receipt, err = c.createSale(ctx, p, r, s)
		} else {
			receipt, err = c.createLongSale(ctx, p, r, s, lines)
		}
		if err != nil {
			return receipt, err
		}
		id, err := recordID(receipt, "sale")
		if err == nil {
			c.seen(r, saleState{ID: id, State: "draft"})
		}
		return receipt, err
	})
}

func (c *Connector) createSale(ctx context.Context, p effect.Permit, r *records, s sale) (effect.Receipt, error) {
	var made ids
	if err := c.write(ctx, p, "model.sale.sale.create", &made, []sale{s}, c.context(r)); err != nil {
		return effect.Receipt{}, fmt.Errorf("creating the sale: %w", err)
	}
	return createdReceipt(made)
}

func (c *Connector) createLongSale(ctx context.Context, p effect.Permit, r *records, s sale, lines []saleLine) (effect.Receipt, error) {
	complete := s.Description
	s.Description += unfinished
	var left ids
	if err := c.read(ctx, "model.sale.sale.search", &left, domain{{"company", "=", r.company}, {"description", "=", s.Description}, {"state", "=", "draft"}}, 0, nil, nil, c.context(r)); err != nil {
		return effect.Receipt{}, err
	}
	if len(left) > 0 {
		if err := c.write(ctx, p, "model.sale.sale.delete", nil, left, c.context(r)); err != nil {
			return effect.Receipt{}, fmt.Errorf("deleting what an interrupted attempt left: %w", err)
		}
	}
	s.Lines = []command{create(anys(lines[:chunk])...)}
	receipt, err := c.createSale(ctx, p, r, s)
	if err != nil {
		return receipt, err
	}
	id, err := recordID(receipt, "sale")
	if err != nil {
		return effect.Receipt{}, err
	}
	for start := chunk; start < len(lines); start += chunk {
		end := min(start+chunk, len(lines))
		values := map[string]any{"lines": []command{create(anys(lines[start:end])...)}}
		if end == len(lines) {
			values["description"] = complete
		}
		if err := c.write(ctx, p, "model.sale.sale.write", nil, ids{id}, values, c.context(r)); err != nil {
			return effect.Receipt{}, fmt.Errorf("adding lines %d to %d: %w", start+1, end, err)
		}
	}
	return receipt, nil
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// saleState is what the connector reads of a sale, with its documents as far
// as they are asked for.
type saleState struct {
	ID       int64   `json:"id"`
	Number   text    `json:"number"`
	State    string  `json:"state"`
	Total    decimal `json:"total_amount"`
	Currency struct {
		Code string `json:"code"`
	} `json:"currency."`
	// Shipments includes only those to the customer, not returns.
	Shipments []parcel  `json:"shipments."`
	Invoices  []invoice `json:"invoices."`
}

// sort puts the documents in the order in which they were made.
func (s saleState) sort() {
	slices.SortFunc(s.Shipments, func(a, b parcel) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Invoices, func(a, b invoice) int { return cmp.Compare(a.ID, b.ID) })
}

// Fields that are read of a sale, beside its number and state.
var totalFields = []string{"total_amount", "currency.code"}

func (s saleState) receipt() effect.Receipt {
	return effect.Receipt{Ref: reference(s.ID), Number: string(s.Number)}
}

// FindSalesOrder looks a sale up by its description, which only a complete
// one has. A sale that people canceled is found too: it is not for the
// platform to create another.
func (c *Connector) FindSalesOrder(ctx context.Context, o retail.Order) (effect.Receipt, bool, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var found []saleState
	if err := c.read(ctx, "model.sale.sale.search_read", &found,
		domain{{"company", "=", r.company}, {"description", "=", key(o.ID)}}, 0, 2, [][]string{{"id", "ASC"}}, []string{"number", "state"}, c.context(r)); err != nil {
		return effect.Receipt{}, false, err
	}
	switch len(found) {
	case 0:
		return effect.Receipt{}, false, nil
	case 1:
		return found[0].receipt(), true, nil
	default:
		return effect.Receipt{}, false, fault.New(fault.Exception, fault.Duplicate, "Tryton holds more than one sale of this order").At("description", key(o.ID))
	}
}

// sale reads a sale by its receipt, and its documents with it.
func (c *Connector) sale(ctx context.Context, r *records, so effect.Receipt, fields ...[]string) (saleState, error) {
	id, err := recordID(so, "sales_order")
	if err != nil {
		return saleState{}, err
	}
	var found []saleState
	if err := c.read(ctx, "model.sale.sale.search_read", &found, domain{{"id", "=", id}}, 0, 1, nil,
		slices.Concat(append([][]string{{"number", "state"}}, fields...)...), c.context(r)); err != nil {
		return saleState{}, err
	}
	if len(found) != 1 {
		return saleState{}, fault.New(fault.Exception, fault.MissingReference, "the sale is no longer in Tryton").At("sales_order", so.Ref)
	}
	found[0].sort()
	return found[0], nil
}

// seen keeps a sale as a step has read it last, for the step that follows.
func (c *Connector) seen(r *records, s saleState) { remember(c, &c.kept.sales, s.ID, s, r) }

// lastSeen returns a sale as the step before has read it, and only once.
func (c *Connector) lastSeen(so effect.Receipt) (saleState, bool) {
	id, err := recordID(so, "sales_order")
	if err != nil {
		return saleState{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.kept.sales.get(id, c.now())
	delete(c.kept.sales.values, id)
	return s.value, ok
}

// transitions lead a sale from a draft to processing, where its shipment and
// its invoice exist. Each is one button of Tryton's, and none does anything to
// a sale in another state.
var transitions = map[string][]string{"draft": {"quote", "confirm"}, "quotation": {"confirm"}, "confirmed": {"process"}}

// ConfirmSalesOrder takes the sale to processing from whatever state it is in:
// from a draft, if it was created just now.
func (c *Connector) ConfirmSalesOrder(ctx context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, err
	}
	s, ok := c.lastSeen(so)
	if !ok || s.State != "draft" {
		if s, err = c.sale(ctx, r, so, totalFields); err != nil {
			return effect.Receipt{}, err
		}
	}
	for range len(transitions) + 1 {
		if confirmed(s.State) {
			c.seen(r, s)
			return s.receipt(), nil
		}
		buttons, before := transitions[s.State], s.State
		if buttons == nil {
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the sale in Tryton cannot be confirmed").At("state", s.State)
		}
		taken, refusal := c.press(ctx, p, r, "sale.sale", s.ID, buttons...)
		if refusal != nil && !mayBeDone(refusal) {
			return effect.Receipt{}, refusal
		}
		// A button's answer does not tell the state: the processing that it
		// starts may have failed by itself.
		if s, err = c.sale(ctx, r, so, totalFields); err != nil {
			if taken > 0 {
				err = unread(err)
			}
			return effect.Receipt{}, fmt.Errorf("reading the sale after its buttons: %w", err)
		}
		if refusal != nil && s.State == before {
			return effect.Receipt{}, refusal
		}
	}
	return effect.Receipt{}, fault.New(fault.Retryable, fault.StateConflict, "the sale stays in the state %s", s.State)
}

// press presses buttons one after the other until one is refused, and returns
// how many were taken.
func (c *Connector) press(ctx context.Context, p effect.Permit, r *records, model string, id int64, buttons ...string) (int, error) {
	for n, button := range buttons {
		if err := c.write(ctx, p, "model."+model+"."+button, nil, ids{id}, c.context(r)); err != nil {
			return n, err
		}
	}
	return len(buttons), nil
}

// mayBeDone reports whether Tryton refused a button in a way in which it also
// refuses one that has been pressed: by somebody else, or by an earlier attempt
// whose answer was lost.
func mayBeDone(err error) bool {
	f := fault.Of(err)
	return f != nil && !f.Unknown && (f.Class == fault.Validation || f.Class == fault.StateConflict)
}

// unread marks a failure to read what was just written.
func unread(err error) error {
	if f := fault.Of(err); f != nil {
		return f.OutcomeUnknown()
	}
	return err
}

func confirmed(state string) bool { return state == "processing" || state == "done" }

// SalesOrderConfirmed reports whether the sale is being processed, or done.
func (c *Connector) SalesOrderConfirmed(ctx context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	s, err := c.sale(ctx, r, so, totalFields)
	if err != nil || !confirmed(s.State) {
		return effect.Receipt{}, false, err
	}
	c.seen(r, s)
	return s.receipt(), true, nil
}

// SalesOrderTotal is the sale's total with taxes, as Tryton computed it: as it
// was read after the confirmation, if that was just now.
func (c *Connector) SalesOrderTotal(ctx context.Context, so effect.Receipt) (retail.Money, error) {
	s, ok := c.lastSeen(so)
	if !ok || s.Total == "" {
		r, err := c.inCompany(ctx)
		if err != nil {
			return retail.Money{}, err
		}
		if s, err = c.sale(ctx, r, so, totalFields); err != nil {
			return retail.Money{}, err
		}
	}
	return money(s.Total, s.Currency.Code)
}
