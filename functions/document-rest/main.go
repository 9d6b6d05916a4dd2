// document-rest ends a run that failed: its document is postponed or parked.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
)

func main() {
	p := boot.New().Must("DOCUMENTS_TABLE", "EXCEPTIONS_TABLE", "RESUME_QUEUE")
	life := p.Life()
	lambda.Start(func(ctx context.Context, in boot.Failed) error {
		return p.Task("document-rest", func(ctx context.Context, t document.Task) error {
			again, err := life.Rest(ctx, t, in.Fault())
			if err != nil || again == 0 {
				return err
			}
			// The due time is the backstop of this message.
			return p.Queues.Send(ctx, p.Env("RESUME_QUEUE"), "", t, again)
		})(ctx, in.Task)
	})
}
