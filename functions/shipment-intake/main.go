// shipment-intake turns a warehouse's announcements into received shipments.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INBOX_TABLE", "EXCEPTIONS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET", "SHIPMENT_QUEUE", "SHIPMENT_MACHINE")
	lambda.Start(boot.Inbox(p, "shipment-intake", p.Hide("SHIPMENT_QUEUE"), p.Share("shipment-intake"), p.Shipment().Take))
}
