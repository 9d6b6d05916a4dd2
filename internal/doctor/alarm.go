package doctor

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// alarms looks at whether an alarm reaches somebody.
func (e *exam) alarms(ctx context.Context) []Finding {
	topic := e.stack.outputs["AlarmTopic"]
	f := Finding{Check: "alarms", Status: OK, Want: "alarms reach at least one confirmed subscriber of " + topic}
	out, err := sns.NewFromConfig(e.cfg).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &topic})
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "sns:GetTopicAttributes", err)}
	}
	confirmed, err := strconv.Atoi(out.Attributes["SubscriptionsConfirmed"])
	if err != nil {
		f.Status, f.Value, f.Next, f.Class = Unknown, "not known: AWS did not say", e.again(), Other
		return []Finding{f}
	}
	f.Value = strconv.Itoa(confirmed) + " confirmed, " + out.Attributes["SubscriptionsPending"] + " pending"
	switch key := out.Attributes["KmsMasterKeyId"]; {
	case key == "alias/aws/sns" || strings.HasSuffix(key, ":alias/aws/sns"):
		// AWS's own key lets no other service in, and its policy cannot be changed.
		f.Status, f.Value = Failing, "the topic is sealed with alias/aws/sns, which CloudWatch may not use: no alarm arrives"
		f.Next = e.command(`aws sns set-topic-attributes --topic-arn %s --attribute-name KmsMasterKeyId --attribute-value ""`, topic)
	case confirmed == 0:
		f.Status = Warning
		f.Next = "confirm the mail that AWS sent, or " + e.command("aws sns subscribe --topic-arn %s --protocol email --notification-endpoint ADDRESS", topic)
	}
	return []Finding{f}
}
