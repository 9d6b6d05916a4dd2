package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queues looks into the dead-letter queues: what lies there nobody takes up.
func (e *exam) queues(ctx context.Context) []Finding {
	const want = "no message that was given up on"
	if e.stack.err != nil {
		return []Finding{e.unseen("queue", want, "cloudformation:ListStackResources", e.stack.err)}
	}
	client := sqs.NewFromConfig(e.cfg)
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(e.stack.queues)) {
		if !strings.HasSuffix(name, "Dead") {
			continue
		}
		f := Finding{Check: "queue." + name, Status: OK, Want: want}
		url := e.stack.queues[name]
		got, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url,
			AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameQueueArn}})
		if err != nil {
			out = append(out, e.unseen(f.Check, want, "sqs:GetQueueAttributes", err))
			continue
		}
		n, err := strconv.Atoi(got.Attributes[string(types.QueueAttributeNameApproximateNumberOfMessages)])
		if err != nil {
			f.Status, f.Value, f.Next, f.Class = Unknown, "not known: AWS did not say", e.again(), Other
			out = append(out, f)
			continue
		}
		if f.Value = fmt.Sprintf("%d messages", n); n > 0 {
			f.Status = Failing
			f.Next = "mend the cause (the log of the function before it), then " +
				e.command("aws sqs start-message-move-task --source-arn %s", got.Attributes[string(types.QueueAttributeNameQueueArn)])
			if name == "PublishDead" || name == "ScheduleDead" {
				f.Next = "mend the cause; the messages say what was missed: " + e.command("aws sqs receive-message --queue-url %s", url)
			}
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		out = append(out, Finding{Check: "queue", Status: Unknown, Value: "the stack lists no dead-letter queue", Want: want, Class: Absent,
			Next: e.command("aws cloudformation list-stack-resources --stack-name %s", e.stackName)})
	}
	return out
}
