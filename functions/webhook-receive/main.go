// webhook-receive verifies a vendor's delivery and enqueues its bytes.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("CREDENTIALS_TABLE", "RAW_BUCKET", "ORDER_QUEUE", "SHIPMENT_QUEUE")
	lambda.Start(boot.Webhook(p, p.Receiver()))
}
