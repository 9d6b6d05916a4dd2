// document-sweep finds every minute what is overdue, whatever the reason.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/queue"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "RESUME_QUEUE")
	lambda.Start(boot.Sweep(p.Life(), func(ctx context.Context, tasks []document.Task) error {
		return queue.SendAll(ctx, p.Queues, p.Env("RESUME_QUEUE"), tasks)
	}, func(overdue int, lag time.Duration) {
		p.Metric("document-sweep", "SweeperLag", "Seconds", lag.Seconds(), "overdue", overdue)
	}))
}
