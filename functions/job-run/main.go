// job-run works on a job for one slice: part after part, each with a checkpoint.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
)

func main() {
	p := boot.New().Must("JOBS_TABLE", "DOCUMENTS_TABLE", "EXCEPTIONS_TABLE", "CONFIG_TABLE", "CREDENTIALS_TABLE", "RAW_BUCKET",
		"ORDER_QUEUE", "SHIPMENT_QUEUE", "RESUME_QUEUE", "JOB_QUEUE",
		"ORDER_INBOX_DEAD", "SHIPMENT_INBOX_DEAD", "RESUME_DEAD", "JOB_DEAD", "PUBLISH_DEAD", "SCHEDULE_DEAD",
		"EVENT_BUS", "DOCUMENTS_STREAM")
	lambda.Start(boot.Batch(p, "job-run", p.Hide("JOB_QUEUE"), operations.Jobs(p).Run))
}
