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
	Currency struct {
		Code string `json:"code"`
	} `json:"currency."`
}

func (i invoice) posted() bool { return i.State == "posted" || i.State == "paid" }

func (i invoice) receipt() effect.Receipt {
	return effect.Receipt{Ref: reference(i.ID), Number: string(i.Number)}
}

// invoiceOf returns the sale's invoice, or false where there is none. A
// canceled one does not count, and neither does a credit note: it belongs to
// another sale.
func (c *Connector) invoiceOf(ctx context.Context, so effect.Receipt) (*records, invoice, bool, error) {
	r, s, err := c.sale(ctx, so, "invoices")
	if err != nil {
		return nil, invoice{}, false, err
	}
	found, err := c.invoices(ctx, r, s.Invoices)
	if err != nil {
		return nil, invoice{}, false, err
	}
	var valid []invoice
	for _, i := range found {
		if i.Type == "out" && i.State != "cancelled" {
			valid = append(valid, i)
		}
	}
	switch len(valid) {
	case 0:
		return r, invoice{}, false, nil
	case 1:
		return r, valid[0], true, nil
	default:
		return nil, invoice{}, false, fault.New(fault.Exception, fault.Duplicate, "the sale has more than one invoice").At("sales_order", so.Ref)
	}
}

func (c *Connector) invoices(ctx context.Context, r *records, of ids) ([]invoice, error) {
	if len(of) == 0 {
		return nil, nil
	}
	var found []invoice
	err := c.read(ctx, "model.account.invoice.search_read", &found, domain{{"id", "in", of}}, 0, nil, [][]string{{"id", "ASC"}},
		[]string{"number", "state", "type", "total_amount", "currency.code"}, c.context(r))
	return found, err
}

// postings lead an invoice from a draft to posted. Validating is a call of its
// own because Tryton would otherwise check every line within the same one.
var postings = map[string]string{"draft": "validate_invoice", "validated": "post"}

// PostInvoice validates and posts the sale's invoice, from whatever state it
// is in. The invoice has the date of the day on which it is posted, in the
// company's time zone.
func (c *Connector) PostInvoice(ctx context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	var refusal error
	before, wrote := "", false
	for range len(postings) + 1 {
		r, i, found, err := c.invoiceOf(ctx, so)
		switch {
		case err != nil && wrote:
			return effect.Receipt{}, unread(err)
		case err != nil:
			return effect.Receipt{}, err
		case !found:
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the sale has no invoice").At("sales_order", so.Ref)
		case i.posted():
			return i.receipt(), nil
		case refusal != nil && i.State == before:
			return effect.Receipt{}, refusal
		}
		button, ok := postings[i.State]
		if !ok {
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the invoice in Tryton cannot be posted").At("state", i.State)
		}
		refusal = c.write(ctx, p, "model.account.invoice."+button, nil, ids{i.ID}, c.context(r))
		if refusal != nil && !mayBeDone(refusal) {
			return effect.Receipt{}, refusal
		}
		before, wrote = i.State, true
	}
	return effect.Receipt{}, fault.New(fault.Retryable, fault.StateConflict, "the invoice is not posted although Tryton accepted it").OutcomeUnknown()
}

// InvoicePosted returns the sale's invoice if it is posted, or paid.
func (c *Connector) InvoicePosted(ctx context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	_, i, found, err := c.invoiceOf(ctx, so)
	if err != nil || !found || !i.posted() {
		return effect.Receipt{}, false, err
	}
	return i.receipt(), true, nil
}
