// shipment-invoice posts shipment and invoice in the ERP.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INVENTORY_TABLE", "EXCEPTIONS_TABLE", "PERSON_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE")
	lambda.Start(p.VendorTask("shipment-invoice", p.ShipmentPhase().Invoice))
}
