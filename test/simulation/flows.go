package simulation

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/rules"
	"github.com/waybillhq/waybill/internal/stock"
)

// wireFlows makes the functions of the machines' tasks and of the inbox
// queues, as boot.go does.
func (w *world) wireFlows(db ports, open connections) (map[string]func(context.Context, []byte) error, map[string]func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)) {
	ledger := &effect.Ledger{Store: db, Now: w.sandbox, NewID: w.newID}
	f := order.Fulfillment{Life: w.life, Effects: ledger, Stock: db, Payloads: db, Connections: open}
	s := shipment.Phase{Life: w.life, Effects: ledger, Stock: db, Connections: open}
	follower := shipment.Follower{Life: w.life, Effects: db, Connections: open, Enqueue: w.hand(shipmentQueue)}
	orders := order.Intake{Life: w.life, Inbox: db, Payloads: db, Connections: open, Start: w.start}
	shipments := shipment.Intake{Life: w.life, Inbox: db, Payloads: db, Connections: open, Start: w.start}
	w.desk = exception.Desk{Life: w.life, Store: db, Effects: ledger, Payloads: db, Start: w.start,
		Enqueue: func(ctx context.Context, class string, m inbox.Message) error {
			return w.hand(map[string]string{order.Class: orderQueue, shipment.Class: shipmentQueue}[class])(ctx, m)
		}}
	w.books = stock.Ledger{Store: db, Life: w.life, Policy: func(context.Context, retail.Tenant) (rules.Policy, error) {
		return rules.Policy{Locations: []rules.Location{{Code: locations[0]}, {Code: locations[1]}}}, nil
	}}
	p := w.platform
	// One execution's tasks have one input: it is read once.
	inputs := map[string]document.Task{}
	plain := func(f func(context.Context, document.Task) error) func(context.Context, []byte) error {
		read := of(func(ctx context.Context, t document.Task) error {
			return f(ctx, t)
		})
		return func(ctx context.Context, raw []byte) error {
			if t, known := inputs[string(raw)]; known {
				return f(ctx, t)
			}
			var t document.Task
			if json.Unmarshal(raw, &t) == nil {
				inputs[string(raw)] = t
			}
			return read(ctx, raw)
		}
	}
	tasks := map[string]func(context.Context, []byte) error{
		"FulfillmentValidate": plain(p.Task("fulfillment-validate", f.Validate)),
		"FulfillmentAllocate": plain(p.Task("fulfillment-allocate", f.Allocate)),
		"FulfillmentOrder":    plain(p.Task("fulfillment-order", f.SalesOrder)),
		"FulfillmentRelease":  plain(p.Task("fulfillment-release", f.Release)),
		"FulfillmentFollow":   plain(p.Task("fulfillment-follow", follower.Follow)),
		"ShipmentRecord":      plain(p.Task("shipment-record", s.Record)),
		"ShipmentConfirm":     plain(p.Task("shipment-confirm", s.Confirm)),
		"ShipmentInvoice":     plain(p.Task("shipment-invoice", s.Invoice)),
		"ShipmentClose":       of(p.Join("shipment-close", s.Close)),
		"DocumentRest": of(p.Rest(w.life, func(_ context.Context, t document.Task, wait time.Duration) error {
			return w.send(resumeQueue, "", t, wait)
		})),
	}
	return tasks, map[string]func(context.Context, events.SQSEvent) (events.SQSEventResponse, error){
		orderQueue:    boot.Batch(p, "order-intake", w.hide(orderQueue), orders.Take),
		shipmentQueue: boot.Batch(p, "shipment-intake", w.hide(shipmentQueue), shipments.Take),
	}
}

// limits are what the vendors publish.
var limits = map[string]rate.Limits{"shop": {}, "erp": {InFlight: 8}, "wms": {PerSecond: 2, Burst: 20}}

// gate is what every request to a vendor passes: of a sandbox that this
// invocation has for itself. One that is done with leaves it warm.
func (w *world) gate(v *vendor) *rate.Gate {
	inv := w.cur.inv
	if inv.governor == nil {
		if warm := w.warm[inv.name]; len(warm) > 0 {
			inv.governor, w.warm[inv.name] = warm[len(warm)-1], warm[:len(warm)-1]
		} else {
			inv.governor = &rate.Governor{Store: ports{w.store, w}, Now: w.sandbox, NewID: w.newID, Sleep: func(_ context.Context, d time.Duration) error {
				w.engine.sleep(d)
				return nil
			}}
		}
	}
	return inv.governor.Gate(rate.Key{Tenant: v.tenant, Connection: v.conn}, limits[v.conn])
}

// done ends an invocation that returned, as boot.Task and boot.Batch do.
func (w *world) done(ctx context.Context) {
	if inv := w.cur.inv; inv.governor != nil {
		inv.governor.Done(ctx)
		w.warm[inv.name] = append(w.warm[inv.name], inv.governor)
	}
}

// of reads a task's input as Lambda does.
func of[T any](f func(context.Context, T) error) func(context.Context, []byte) error {
	return func(ctx context.Context, raw []byte) error {
		var in T
		if err := json.Unmarshal(raw, &in); err != nil {
			return err
		}
		return f(ctx, in)
	}
}
