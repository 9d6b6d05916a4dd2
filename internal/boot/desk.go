package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// Desk carries out what people decide about exceptions. What it starts or
// hands over goes through queues, so that it needs no vendor.
func (p *Platform) Desk() exception.Desk {
	return exception.Desk{
		Life: p.Life(), Store: p.Store, Effects: p.Effects(), Payloads: p.Payloads(), Try: p.Try, Unreserve: p.Fulfillment().Unreserve,
		Enqueue: p.replayed,
		Start:   func(ctx context.Context, t document.Task) error { return p.Machines().Start(ctx, t) },
	}
}

// The queues that replays travel through.
const (
	orderInbox    = "order-inbox"
	shipmentInbox = "shipment-inbox"
)

// Reopen looks among the dead letters for replays that somebody waits for. It
// asks nothing where nobody waits, or there are none.
func (p *Platform) Reopen(ctx context.Context, open []document.Exception, letters []deadletter.Letters) (reopened int, err error) {
	asked := map[retail.Tenant]map[string]bool{}
	for _, x := range open {
		if x.State == document.Asked {
			if asked[x.Tenant] == nil {
				asked[x.Tenant] = map[string]bool{}
			}
			asked[x.Tenant][x.ID] = true
		}
	}
	desk := exception.Desk{Life: p.Life(), Store: p.Store}
	dead := deadletter.Desk{SQS: p.Queues, Now: time.Now, Queues: []deadletter.Queue{
		{Name: orderInbox, Dead: p.Env("ORDER_INBOX_DEAD")}, {Name: shipmentInbox, Dead: p.Env("SHIPMENT_INBOX_DEAD")},
	}}
	for _, l := range letters {
		if len(asked) == 0 || !slices.Contains(dead.Names(), l.Queue) {
			continue
		}
		err := dead.Each(ctx, l.Queue, func(ctx context.Context, letter deadletter.Message) error {
			var m inbox.Message
			if json.Unmarshal([]byte(letter.Body), &m) != nil || !asked[m.Tenant][m.Exception] {
				return nil // what cannot be read answers nothing
			}
			r, err := desk.DeadReplay(ctx, l.Queue, letter.ID, m)
			if r.Outcome == exception.Reopened {
				reopened++
			}
			return err
		})
		if err != nil {
			return reopened, fmt.Errorf("looking for replays in the dead letters of %s: %w", l.Queue, err)
		}
	}
	return reopened, nil
}

// Try reads a payload as the intake of its class would, and changes nothing.
func (p *Platform) Try(ctx context.Context, class string, t retail.Tenant, connection string, payload []byte) (externalID string, err error) {
	if class == shipment.Class {
		d, err := flow.Port[shipment.Decoder](ctx, p.Connections(), t, connection, "decode shipments")
		if err != nil {
			return "", err
		}
		s, err := d.DecodeShipment(payload)
		return s.ExternalID, err
	}
	d, err := flow.Port[order.Decoder](ctx, p.Connections(), t, connection, "decode orders")
	if err != nil {
		return "", err
	}
	o, _, err := d.DecodeOrder(payload)
	o.Schema = retail.SchemaVersion
	if err == nil {
		if _, cerr := retail.Certify(o); cerr != nil {
			err = fault.Wrap(fault.Exception, fault.TotalsDiffer, cerr, "certifying the order's money").At("total_price", o.Totals.Total.String())
		}
	}
	return o.ExternalID, err
}
