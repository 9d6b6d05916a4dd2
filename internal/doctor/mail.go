package doctor

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sesv2"
)

// mail looks at whether SES sends to anybody. The platform's own alarms go
// through SNS, so that a sandbox only keeps mail to others from being sent.
func (e *exam) mail(ctx context.Context) []Finding {
	f := Finding{Check: "mail.sandbox", Status: OK, Want: "SES out of its sandbox and sending, for mail to anybody but verified addresses"}
	out, err := sesv2.NewFromConfig(e.cfg).GetAccount(ctx, &sesv2.GetAccountInput{})
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "ses:GetAccount", err)}
	}
	f.Value = "in production"
	if !out.ProductionAccessEnabled {
		f.Status, f.Value = Warning, "in the sandbox"
		f.Next = e.command("aws sesv2 put-account-details --production-access-enabled --mail-type TRANSACTIONAL --website-url https://PARTNER --use-case-description TEXT")
	}
	if q := out.SendQuota; q != nil {
		f.Value += fmt.Sprintf(", %s of %s mails of the last 24 hours, %s a second", number(q.SentLast24Hours), number(q.Max24HourSend), number(q.MaxSendRate))
	}
	if !out.SendingEnabled {
		f.Status, f.Value = Warning, f.Value+", sending switched off"
		f.Next = e.command("aws sesv2 put-account-sending-attributes --sending-enabled")
	}
	return []Finding{f}
}
