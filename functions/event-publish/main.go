// event-publish puts timeline entries on the event bus in the order of their
// documents.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
)

func main() {
	p := boot.New().Must("EVENT_BUS")
	lambda.Start(boot.Publish(p, p.Bus().Publish))
}
