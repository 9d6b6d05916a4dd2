// order-reconcile lists the channels' recent orders and takes in those that no
// webhook announced.
package main

import (
	"context"
	"errors"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET", "ORDER_QUEUE")
	reconciler, connections := p.Reconciler(), p.Connections()
	lambda.Start(func(ctx context.Context) error {
		tenants, err := p.Store.Tenants(ctx)
		if err != nil {
			return err
		}
		var failed []error // one channel's outage does not keep the others waiting
		for _, t := range tenants {
			r, err := connections.Retailer(ctx, t)
			failed = append(failed, err)
			for _, w := range r.Routes {
				c, _ := r.Connection(w.Channel)
				found, err := reconciler.Channel(ctx, t, c.ID, c.Connector)
				p.Log.Info("order-reconcile", "tenant", t.String(), "connection", c.ID, "found", found, "failed", err != nil)
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	})
}
