// document-rest ends a run that failed: its document is postponed or parked.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "EXCEPTIONS_TABLE", "RESUME_QUEUE")
	lambda.Start(p.Rest(p.Life(), func(ctx context.Context, t document.Task, wait time.Duration) error {
		return p.Queues.Send(ctx, p.Env("RESUME_QUEUE"), "", t, wait)
	}))
}
