// document-resume gives a rested or overdue document to its next run.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "RESUME_QUEUE", "FULFILLMENT_MACHINE", "SHIPMENT_MACHINE")
	lambda.Start(boot.Batch(p, "document-resume", p.Hide("RESUME_QUEUE"), boot.Resume(p.Life(), p.Machines().Start)))
}
