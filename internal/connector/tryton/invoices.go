package tryton

import (
	"context"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
)

type invoice struct {
	ID       int64   `json:"id"`
	Number   text    `json:"number"`
	State    string  `json:"state"`
	Type     string  `json:"type"`
	Total    decimal `json:"total_amount"`
	Lines    ids     `json:"lines"`
	Currency struct {
		Code string `json:"code"`
	} `json:"currency."`
}

var invoiceFields = []string{"number", "state", "type", "lines", "total_amount", "currency.code"}

func (i invoice) posted() bool { return i.State == "posted" || i.State == "paid" }

func (i invoice) receipt() effect.Receipt {
	return effect.Receipt{Ref: reference(i.ID), Number: string(i.Number)}
}

// invoice returns the sale's invoice, or false where there is none. A canceled
// one does not count, and neither does a credit note: it belongs to another
// sale.
func (s saleState) invoice() (invoice, bool, error) {
	var valid []invoice
	for _, i := range s.Invoices {
		if i.Type == "out" && i.State != "cancelled" {
			valid = append(valid, i)
		}
	}
	switch len(valid) {
	case 0:
		return invoice{}, false, nil
	case 1:
		return valid[0], true, nil
	default:
		return invoice{}, false, fault.New(fault.Exception, fault.Duplicate, "the sale has more than one invoice").At("sales_order", reference(s.ID))
	}
}

// readInvoice reads the sale's invoice.
func (c *Connector) readInvoice(ctx context.Context, r *records, so effect.Receipt) (invoice, bool, error) {
	s, err := c.sale(ctx, r, so, below("invoices", invoiceFields...))
	if err != nil {
		return invoice{}, false, err
	}
	return s.invoice()
}

// postable is how many lines Tryton validates and posts in one call. The lines
// of a longer invoice are checked by a call of their own.
const postable = 100

// button takes an invoice on from its state; "" where there is none.
func (i invoice) button() string {
	switch {
	case i.State == "draft" && len(i.Lines) > postable:
		return "validate_invoice"
	case i.State == "draft" || i.State == "validated":
		return "post"
	default:
		return ""
	}
}

// PostInvoice posts the sale's invoice, from whatever state it is in: as it was
// read after the shipment, if that was just now. The invoice has the date of
// the day on which it is posted, in the company's time zone.
func (c *Connector) PostInvoice(ctx context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, err
	}
	var i invoice
	var found bool
	if s, ok := c.lastSeen(so); ok {
		i, found, err = s.invoice()
	}
	// What was seen serves to press a button, and for nothing else.
	if err != nil || !found || i.button() == "" {
		i, found, err = c.readInvoice(ctx, r, so)
	}
	for range 3 {
		switch {
		case err != nil:
			return effect.Receipt{}, err
		case !found:
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the sale has no invoice").At("sales_order", so.Ref)
		case i.posted():
			return i.receipt(), nil
		case i.button() == "":
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the invoice in Tryton cannot be posted").At("state", i.State)
		}
		pressed := i
		_, refusal := c.press(ctx, p, r, "account.invoice", i.ID, i.button())
		if refusal != nil && !mayBeDone(refusal) {
			return effect.Receipt{}, refusal
		}
		if i, found, err = c.readInvoice(ctx, r, so); err != nil {
			return effect.Receipt{}, unread(err)
		}
		if found && i.posted() {
			return i.receipt(), nil
		}
		if refusal != nil && found && i.ID == pressed.ID && i.State == pressed.State {
			return effect.Receipt{}, refusal
		}
	}
	return effect.Receipt{}, fault.New(fault.Retryable, fault.StateConflict, "the invoice is not posted although Tryton accepted it").OutcomeUnknown()
}

// InvoicePosted returns the sale's invoice if it is posted, or paid.
func (c *Connector) InvoicePosted(ctx context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	i, found, err := c.readInvoice(ctx, r, so)
	if err != nil || !found || !i.posted() {
		return effect.Receipt{}, false, err
	}
	return i.receipt(), true, nil
}
