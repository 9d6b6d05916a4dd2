// document-sweep finds every minute what is overdue, whatever the reason.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/queue"
)

// perShard bounds one sweep; the next comes in a minute.
const perShard = 100

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "RESUME_QUEUE")
	life := p.Life()
	lambda.Start(func(ctx context.Context) error {
		tasks, lag, err := life.Overdue(ctx, perShard)
		if err != nil {
			return err
		}
		p.Metric("document-sweep", "SweeperLag", "Seconds", lag.Seconds(), "overdue", len(tasks))
		return queue.SendAll(ctx, p.Queues, p.Env("RESUME_QUEUE"), tasks)
	})
}
