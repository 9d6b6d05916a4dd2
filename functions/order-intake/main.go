// order-intake turns deliveries into received orders.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INBOX_TABLE", "EXCEPTIONS_TABLE", "PERSON_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET", "ORDER_QUEUE", "FULFILLMENT_MACHINE")
	lambda.Start(boot.Inbox(p, "order-intake", p.Hide("ORDER_QUEUE"), p.Share("order-intake"), p.Order().Take))
}
