// job-schedule starts the jobs that are scheduled, and resumes those that are due.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("JOBS_TABLE", "CONFIG_TABLE", "JOB_QUEUE")
	lambda.Start(p.Schedule())
}
