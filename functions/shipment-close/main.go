// shipment-close joins the branches of the shipment's phase and closes what
// everybody knows of.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INVENTORY_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE")
	phase := p.ShipmentPhase()
	lambda.Start(func(ctx context.Context, in boot.Joined) error {
		return p.Task("shipment-close", func(ctx context.Context, t document.Task) error {
			if err := in.Failure(); err != nil {
				return err
			}
			return phase.Close(ctx, t)
		})(ctx, in.Task)
	})
}
