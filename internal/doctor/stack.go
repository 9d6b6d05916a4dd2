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
// What a stack of the platform is asked about is said not to have been asked where
// none could be read.
func (e *exam) findStack(ctx context.Context) []Finding {
	f := Finding{Check: "stack", Status: OK, Want: "stack " + e.stackName + " complete, as waybill deploy leaves it"}
	unseen := func(action string, err error) []Finding {
		return append([]Finding{e.unseen(f.Check, f.Want, action, err)}, notAsked(stackChecks, mend)...)
	}
	all, err := e.listStacks(ctx)
	if err != nil {
		return unseen("cloudformation:ListStacks", err)
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
		return unseen("cloudformation:DescribeStacks", err)
	}
	if len(out.Stacks) == 0 {
		return unseen("cloudformation:DescribeStacks", fmt.Errorf("the answer holds no stack"))
	}
	s := out.Stacks[0]
	found := stack{id: aws.ToString(s.StackId), outputs: map[string]string{}}
	for _, o := range s.Outputs {
		found.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	f.Status, f.Value, f.Next = e.fares(s.StackStatus)
	if found.outputs["DocumentsTable"] == "" {
		next := mend
		switch f.Status {
		case OK:
			f.Status, f.Value = Failing, f.Value+", and has no output DocumentsTable: it is another template's"
			f.Next = e.command("aws cloudformation list-stacks --query StackSummaries[].StackName") + ", then give the platform's to --stack"
		case Warning:
			next = "when the stack is complete: " + e.again()
		}
		return append([]Finding{f}, notAsked(stackChecks, next)...)
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

// fares judges a stack's status, and says what it means and what to do about it.
// What it says of waybill deploy is what that does: it never deletes a stack that
// has anything.
func (e *exam) fares(status types.StackStatus) (judged Status, value, next string) {
	on := func(verb string) string { return e.command("aws cloudformation %s --stack-name %s", verb, e.stackName) }
	events := on("describe-stack-events")
	look := e.command("aws cloudformation describe-stacks --stack-name %s --query Stacks[0].StackStatus", e.stackName)
	switch status {
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusImportComplete:
		return OK, string(status), ""
	case types.StackStatusUpdateRollbackComplete, types.StackStatusImportRollbackComplete:
		return Warning, string(status), "the version before runs; see why the last one did not: " + events
	case types.StackStatusUpdateRollbackFailed:
		return Failing, string(status), events + ", mend the cause, then " + on("continue-update-rollback") + ", and deploy again"
	case types.StackStatusCreateFailed, types.StackStatusUpdateFailed:
		return Failing, string(status) + ": what was made before the failure stays", events + ", mend the cause, then waybill deploy, which goes on from there"
	case types.StackStatusRollbackComplete:
		return Failing, string(status) + ": its creation failed and was taken back", events +
			", mend the cause, then waybill deploy, which begins anew, or names what the creation left"
	case types.StackStatusRollbackFailed:
		return Failing, string(status) + ": its creation failed and could not be taken back", events + ", mend the cause, then " + on("delete-stack") +
			", and once it is gone waybill deploy"
	case types.StackStatusDeleteFailed:
		return Failing, string(status) + ": somebody began to delete it, and it can only be deleted", events + ", mend the cause, then " + on("delete-stack") +
			"; tables, bucket and key outlive it, and a stack that is deployed afterwards begins with empty ones"
	case types.StackStatusReviewInProgress:
		return Warning, string(status) + ": nothing was made yet; a change set waits to be executed, or was declined", "waybill deploy, which begins anew, or " +
			on("list-change-sets") + " and execute it"
	case types.StackStatusCreateInProgress:
		return Warning, string(status) + ": its first deployment is under way", "wait until it is done: " + on("wait stack-create-complete")
	case types.StackStatusRollbackInProgress:
		return Failing, string(status) + ": its creation failed and is being taken back", "until it is ROLLBACK_COMPLETE: " + look + "; why: " + events
	case types.StackStatusDeleteInProgress:
		return Failing, string(status) + ": it is being deleted", "wait until it is gone: " + on("wait stack-delete-complete") +
			"; tables, bucket and key outlive it"
	case types.StackStatusImportInProgress:
		return Warning, string(status), "wait until it is done: " + on("wait stack-import-complete")
	case types.StackStatusUpdateRollbackInProgress, types.StackStatusUpdateRollbackCompleteCleanupInProgress:
		return Warning, string(status) + ": an update failed and is being taken back", "wait until it is done: " + on("wait stack-rollback-complete") + "; why: " + events
	case types.StackStatusUpdateInProgress, types.StackStatusUpdateCompleteCleanupInProgress:
		return Warning, string(status) + ": an update is under way", "wait until it is done: " + on("wait stack-update-complete")
	}
	if strings.HasSuffix(string(status), "_IN_PROGRESS") {
		return Warning, string(status), "until it is complete: " + look
	}
	return Failing, string(status), events
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
