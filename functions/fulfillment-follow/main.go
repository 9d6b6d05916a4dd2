// fulfillment-follow asks the warehouse for parcels that it did not announce.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET", "SHIPMENT_QUEUE")
	lambda.Start(p.VendorTask("fulfillment-follow", p.Follower().Follow))
}
