package simulation

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
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
