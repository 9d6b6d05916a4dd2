// order-reconcile lists the channels' recent orders and takes in those that no
// webhook announced; a long listing becomes a job.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "EXCEPTIONS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "JOBS_TABLE", "RAW_BUCKET", "ORDER_QUEUE", "JOB_QUEUE")
	lambda.Start(p.Reconcile())
}
