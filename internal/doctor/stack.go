package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// stack is what was found of the platform's stack. Without an id there is none.
type stack struct {
	id      string
	outputs map[string]string
	// queues maps the logical id of a queue to its address. The error is why the
	// resources could not be listed.
	queues map[string]string
	err    error
}

// there tells whether the stack exists and is the platform's.
func (s stack) there() bool { return s.id != "" }

// findStack looks for the stack and how it fares. A stack that is not there yet
// is a warning: whoever deploys for the first time examines the account before.
func (e *exam) findStack(ctx context.Context) []Finding {
	f := Finding{Check: "stack", Status: OK, Want: "stack " + e.stackName + " complete, as waybill deploy leaves it"}
	all, err := e.listStacks(ctx)
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "cloudformation:ListStacks", err)}
	}
	i := slices.IndexFunc(all, func(s types.StackSummary) bool { return aws.ToString(s.StackName) == e.stackName && s.ParentId == nil })
	if i < 0 {
		f.Status, f.Value = Warning, "there is none of that name in "+e.cfg.Region
		f.Next = "waybill deploy --environment NAME, with stack_name = " + fmt.Sprintf("%q", e.stackName) + " in samconfig.toml"
		return []Finding{f}
	}
	client := cloudformation.NewFromConfig(e.cfg)
	out, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: all[i].StackId})
	if err != nil {
		return []Finding{e.unseen(f.Check, f.Want, "cloudformation:DescribeStacks", err)}
	}
	if len(out.Stacks) == 0 {
		return []Finding{e.unseen(f.Check, f.Want, "cloudformation:DescribeStacks", fmt.Errorf("the answer holds no stack"))}
	}
	s := out.Stacks[0]
	f.Value = string(s.StackStatus)
	f.Status, f.Next = e.fares(s)
	found := stack{id: aws.ToString(s.StackId), outputs: map[string]string{}}
	for _, o := range s.Outputs {
		found.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	if f.Status != Failing && found.outputs["DocumentsTable"] == "" {
		f.Status, f.Value = Failing, f.Value+", and has no output DocumentsTable: it is another template's"
		f.Next = e.command("aws cloudformation list-stacks --query StackSummaries[].StackName") + ", then give the platform's to --stack"
		return []Finding{f}
	}
	found.queues, found.err = e.queuesOf(ctx, client, found.id, 0)
	e.stack = found
	findings := []Finding{f}
	if d := s.DriftInformation; d != nil && d.StackDriftStatus == types.StackDriftStatusDrifted {
		findings = append(findings, Finding{Check: "stack.drift", Status: Warning, Value: "resources were changed by hand when drift was last looked for",
			Want: "what the template says", Next: e.command("aws cloudformation describe-stack-resource-drifts --stack-name %s", e.stackName)})
	}
	return findings
}

// fares judges a stack's status and says what to do about it.
func (e *exam) fares(s types.Stack) (Status, string) {
	events := e.command("aws cloudformation describe-stack-events --stack-name %s", e.stackName)
	switch s.StackStatus {
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusImportComplete:
		return OK, ""
	case types.StackStatusUpdateRollbackComplete, types.StackStatusImportRollbackComplete:
		return Warning, "the version before runs; see why the last one did not: " + events
	case types.StackStatusUpdateRollbackFailed:
		return Failing, events + ", mend the cause, then " + e.command("aws cloudformation continue-update-rollback --stack-name %s", e.stackName)
	case types.StackStatusRollbackComplete, types.StackStatusRollbackFailed, types.StackStatusCreateFailed:
		return Failing, "it was never made: " + events + ", mend the cause, then waybill deploy, which begins anew"
	case types.StackStatusDeleteFailed:
		return Failing, events + ", then delete it again or keep it with waybill deploy"
	}
	if strings.HasSuffix(string(s.StackStatus), "_IN_PROGRESS") {
		return Warning, "wait until it is done: " + e.command("aws cloudformation wait stack-update-complete --stack-name %s", e.stackName)
	}
	return Failing, events
}

// deepest is how many stacks may lie within each other.
const deepest = 3

// queuesOf lists the queues of a stack and of those nested in it.
func (e *exam) queuesOf(ctx context.Context, client *cloudformation.Client, id string, depth int) (map[string]string, error) {
	found := map[string]string{}
	pages := cloudformation.NewListStackResourcesPaginator(client, &cloudformation.ListStackResourcesInput{StackName: &id})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.StackResourceSummaries {
			physical := aws.ToString(r.PhysicalResourceId)
			switch aws.ToString(r.ResourceType) {
			case "AWS::SQS::Queue":
				found[aws.ToString(r.LogicalResourceId)] = physical
			case "AWS::CloudFormation::Stack":
				if physical == "" || depth == deepest {
					continue
				}
				inner, err := e.queuesOf(ctx, client, physical, depth+1)
				if err != nil {
					return nil, err
				}
				for k, v := range inner {
					found[k] = v
				}
			}
		}
	}
	return found, nil
}
