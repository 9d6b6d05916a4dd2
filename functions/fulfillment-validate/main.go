// fulfillment-validate refuses what cannot be fulfilled before anything leaves the house.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INVENTORY_TABLE", "EXCEPTIONS_TABLE", "PERSON_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET")
	lambda.Start(p.VendorTask("fulfillment-validate", p.Fulfillment().Validate))
}
