package doctor

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

const (
	// enough concurrent executions is what AWS gives an account that has been in
	// use for a while.
	enough = 1000
	// least is what Lambda itself insists on leaving to functions without a
	// reservation. Three queues begin with five pollers each, a stream has two a
	// shard, and the machines' tasks and webhooks come on top: with the 10 of a new
	// account the pollers alone turn webhooks away.
	least = 100
)

// lambda looks at how many functions may run at once, and how much code there may be.
func (e *exam) lambda(ctx context.Context) []Finding {
	const name = "lambda.concurrency"
	want := fmt.Sprintf("at least %d concurrent executions, %d of them unreserved", enough, least)
	code := Finding{Check: "lambda.code", Status: OK, Want: "room for another copy of every function (less than 80% taken)"}
	out, err := lambda.NewFromConfig(e.cfg).GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		const action = "lambda:GetAccountSettings"
		return []Finding{e.unseen(name, want, action, err), e.unseen(code.Check, code.Want, action, err)}
	}
	unsaid := func(f Finding) Finding {
		f.Status, f.Value, f.Next, f.Class = Unknown, "not known: AWS did not say", e.again(), Other
		return f
	}
	f := Finding{Check: name, Status: OK, Want: want}
	all := out.AccountLimit
	if all == nil {
		return []Finding{unsaid(f), unsaid(code)}
	}
	limit := all.ConcurrentExecutions
	if limit == 0 || all.UnreservedConcurrentExecutions == nil {
		f = unsaid(f)
	} else {
		f = e.concurrency(f, limit, *all.UnreservedConcurrentExecutions)
	}
	if out.AccountUsage == nil || all.TotalCodeSize == 0 {
		return []Finding{f, unsaid(code)}
	}
	used := out.AccountUsage.TotalCodeSize
	code.Value = fmt.Sprintf("%d of %d MiB taken", used>>20, all.TotalCodeSize>>20)
	if used > all.TotalCodeSize/100*80 {
		code.Status = Warning
		code.Next = "delete old versions (" + e.command("aws lambda list-versions-by-function --function-name NAME") + "), or " +
			e.command("aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-2ACBD22F --desired-value 150")
	}
	return []Finding{f, code}
}

// concurrency judges how many functions may run at once.
func (e *exam) concurrency(f Finding, limit, free int32) Finding {
	f.Value = fmt.Sprintf("%d concurrent executions, %d unreserved", limit, free)
	more := e.command("aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value %d", enough)
	switch {
	case limit < least:
		f.Status, f.Next = Failing, more
	case free < least:
		f.Status, f.Next = Failing, "take reservations back from other functions of the account ("+
			e.command("aws lambda list-functions --query Functions[].FunctionName")+"), or "+more
	case limit < enough:
		f.Status, f.Next = Warning, more
	}
	return f
}
