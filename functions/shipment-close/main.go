// shipment-close joins the branches of the shipment's phase and closes what
// everybody knows of.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "INVENTORY_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE")
	lambda.Start(p.Join("shipment-close", p.ShipmentPhase().Close))
}
