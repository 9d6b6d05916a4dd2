// document-resume gives a rested or overdue document to its next run.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "RESUME_QUEUE", "FULFILLMENT_MACHINE", "SHIPMENT_MACHINE")
	life, machines := p.Life(), p.Machines()
	lambda.Start(boot.Batch(p, "document-resume", p.Env("RESUME_QUEUE"), func(ctx context.Context, t document.Task) (string, error) {
		next, ok, err := life.Wake(ctx, t)
		if err != nil || !ok {
			return "superseded", err
		}
		return "resumed", machines.Start(ctx, next)
	}))
}
