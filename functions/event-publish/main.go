// event-publish puts timeline entries on the event bus in the order of their
// documents.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
)

func main() {
	p := boot.New().Must("EVENT_BUS")
	lambda.Start(operations.Publish(p, operations.Bus(p).Publish))
}
