package doctor

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas/types"
)

// quota is a limit of the account that the platform can meet. SQS is missing
// because nothing of it is counted by account: a queue's 120,000 messages in
// flight are each queue's own.
type quota struct {
	check, service string
	// code is AWS's; where it differs between accounts it is found by name.
	code, name string
	need       float64
	unit, why  string
	// used counts what is taken already; the need comes on top.
	used func(*exam, context.Context) (int, string, error)
}

// quotaList is what the platform's template comes near to.
var quotaList = []quota{
	{check: "quota.stacks", service: "cloudformation", code: "L-0485CB21", name: "Stack count", need: 5, unit: "stacks",
		why: "the platform is three stacks, and two may stand beside it", used: (*exam).stacksUsed},
	{check: "quota.tables", service: "dynamodb", code: "L-F98FE922", name: "Maximum number of tables", need: 10, unit: "tables",
		why: "the platform's own, and those of the next version", used: (*exam).tablesUsed},
	{check: "quota.writes", service: "dynamodb", code: "L-AB614373", name: "Table-level write throughput limit", need: 4000, unit: "write units a second",
		why: "what a new table on demand begins with"},
	{check: "quota.requests", service: "apigateway", code: "L-8A5B8E43", name: "Throttle rate", need: 500, unit: "requests a second",
		why: "what the platform's API lets in"},
	{check: "quota.events", service: "events", code: "L-9B653E91", name: "PutEvents throttle limit in transactions per second", need: 100, unit: "calls a second",
		why: "a peak of events that are subscribed to, ten a call"},
	{check: "quota.executions", service: "states", name: "StartExecution throttle token refill rate per second", need: 100, unit: "starts a second",
		why: "an execution for each phase of each order of a peak"},
	{check: "quota.keys", service: "kms", code: "L-6E3AF000", name: "Cryptographic operations (symmetric) request rate", need: 1000, unit: "calls a second",
		why: "credentials, personal data and payloads are sealed with one key"},
}

// quotas compares each limit with what the platform needs of it.
func (e *exam) quotas(ctx context.Context) []Finding {
	client := servicequotas.NewFromConfig(e.cfg)
	var out []Finding
	for _, q := range quotaList {
		out = append(out, e.quota(ctx, client, q))
	}
	return out
}

func (e *exam) quota(ctx context.Context, client *servicequotas.Client, q quota) Finding {
	f := Finding{Check: q.check, Status: OK, Want: fmt.Sprintf("at least %s %s: %s", number(q.need), q.unit, q.why)}
	if q.code == "" {
		code, err := codeByName(ctx, client, q)
		if err != nil {
			return e.unseen(f.Check, f.Want, "servicequotas:ListAWSDefaultServiceQuotas", err)
		}
		if code == "" {
			f.Status, f.Class, f.Value = Unknown, Absent, "not known: AWS lists no quota "+strconv.Quote(q.name)+" here"
			f.Next = e.command("aws service-quotas list-service-quotas --service-code %s --query Quotas[].[QuotaName,Value]", q.service)
			return f
		}
		q.code = code
	}
	limit, action, err := applied(ctx, client, q)
	if err != nil {
		return e.unseen(f.Check, f.Want, action, err)
	}
	need := q.need
	f.Value = number(limit) + " " + q.unit
	if q.used != nil {
		n, action, err := q.used(e, ctx)
		if err != nil {
			return e.unseen(f.Check, f.Want, action, err)
		}
		need += float64(n)
		f.Value += fmt.Sprintf(", %d taken", n)
		f.Want = fmt.Sprintf("room for %s %s: %s", number(q.need), q.unit, q.why)
	}
	if limit < need {
		f.Status = Failing
		f.Next = e.command("aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %s", q.service, q.code, number(need))
	}
	return f
}

// applied is the account's value of a quota, or AWS's default where the account
// never had one of its own. The action is what was asked last.
func applied(ctx context.Context, client *servicequotas.Client, q quota) (limit float64, action string, err error) {
	action = "servicequotas:GetServiceQuota"
	var found *types.ServiceQuota
	own, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	switch {
	case err == nil:
		found = own.Quota
	case classOf(err) == Absent:
		action = "servicequotas:GetAWSDefaultServiceQuota"
		byDefault, err := client.GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
		if err != nil {
			return 0, action, err
		}
		found = byDefault.Quota
	default:
		return 0, action, err
	}
	if found == nil || found.Value == nil {
		return 0, action, fmt.Errorf("the answer about %s has no value", q.name)
	}
	return *found.Value, action, nil
}

// codeByName finds a quota's code among the service's defaults; empty if there
// is none of that name.
func codeByName(ctx context.Context, client *servicequotas.Client, q quota) (string, error) {
	pages := servicequotas.NewListAWSDefaultServiceQuotasPaginator(client, &servicequotas.ListAWSDefaultServiceQuotasInput{ServiceCode: &q.service})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, x := range page.Quotas {
			if aws.ToString(x.QuotaName) == q.name {
				return aws.ToString(x.QuotaCode), nil
			}
		}
	}
	return "", nil
}

// stacksUsed counts the stacks that are there.
func (e *exam) stacksUsed(ctx context.Context) (int, string, error) {
	const action = "cloudformation:ListStacks"
	stacks, err := e.listStacks(ctx)
	return len(stacks), action, err
}

// listStacks returns every stack that has not been deleted, nested ones included.
func (e *exam) listStacks(ctx context.Context) (all []cfntypes.StackSummary, err error) {
	var there []cfntypes.StackStatus
	for _, s := range cfntypes.StackStatus("").Values() {
		if s != cfntypes.StackStatusDeleteComplete {
			there = append(there, s)
		}
	}
	pages := cloudformation.NewListStacksPaginator(cloudformation.NewFromConfig(e.cfg), &cloudformation.ListStacksInput{StackStatusFilter: there})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.StackSummaries...)
	}
	return all, nil
}

// tablesUsed counts the tables that are there.
func (e *exam) tablesUsed(ctx context.Context) (int, string, error) {
	n := 0
	pages := dynamodb.NewListTablesPaginator(dynamodb.NewFromConfig(e.cfg), &dynamodb.ListTablesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, "dynamodb:ListTables", err
		}
		n += len(page.TableNames)
	}
	return n, "dynamodb:ListTables", nil
}

// number writes a quota's value without an exponent.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
