// alert-send looks every minute for what needs people, and tells them once for
// each cause.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "EXCEPTIONS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "AUDIT_TABLE",
		"ORDER_INBOX_DEAD", "SHIPMENT_INBOX_DEAD", "RESUME_DEAD", "JOB_DEAD", "PUBLISH_DEAD", "SCHEDULE_DEAD")
	lambda.Start(operations.Alert(p, "alert-send"))
}
