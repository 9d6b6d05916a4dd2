// fulfillment-order makes the order exist in the ERP, once and with the same total.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INVENTORY_TABLE", "EXCEPTIONS_TABLE", "PERSON_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE")
	lambda.Start(p.VendorTask("fulfillment-order", p.Fulfillment().SalesOrder))
}
