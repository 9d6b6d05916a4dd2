package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// RefusedError says why a stack is left as it is, and what to do about it.
type RefusedError struct {
	Status types.StackStatus
	// Kept is what is left of it and would have no stack any more: logical id, type
	// and physical id.
	Kept []string
	Next string
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "it is %s, and nothing was changed", e.Status)
	if len(e.Kept) > 0 {
		b.WriteString(". Of it there are still:")
		for _, k := range e.Kept {
			b.WriteString("\n  " + k)
		}
	}
	return b.String() + "\nnext: " + e.Next
}

// where completes a command, so that it is of the same account, region and AWS: a
// stack of that name may stand elsewhere too.
func where(config aws.Config, profile string) (out string) {
	if config.Region != "" {
		out += " --region " + config.Region
	}
	if profile != "" {
		out += " --profile " + profile
	}
	if at := aws.ToString(config.BaseEndpoint); at != "" {
		out += " --endpoint-url " + at
	}
	return out
}

// deletable tells whether a stack can only be made anew and has nothing to lose.
// Where it has, or where that cannot be told, it refuses.
func (d *deployer) deletable(ctx context.Context, s *types.Stack) (bool, error) {
	on := func(verb string) string {
		return "aws cloudformation " + verb + " --stack-name " + d.stack.Name + d.where
	}
	events, remove := on("describe-stack-events"), on("delete-stack")
	switch s.StackStatus {
	case types.StackStatusReviewInProgress: // of a change set that was never executed
		return true, nil
	case types.StackStatusRollbackComplete:
		kept, err := d.kept(ctx, *s.StackId)
		if err != nil || len(kept) == 0 {
			return err == nil, err
		}
		return false, &RefusedError{s.StackStatus, kept, "a new stack begins with tables of its own, and these stay beside it. " +
			"Keep a record of those that hold anything and delete the others (of a table, deletion protection first), then " + remove + " and deploy again"}
	case types.StackStatusRollbackFailed:
		return false, &RefusedError{s.StackStatus, nil, "its creation failed and could not be taken back: " + events +
			"; mend the cause, then " + remove + ", and once it is gone deploy again. What the template retains outlives it"}
	case types.StackStatusDeleteFailed:
		return false, &RefusedError{s.StackStatus, nil, "somebody began to delete it, and it can only be deleted: " + events +
			"; mend the cause, then " + remove + ". Its tables, bucket and key outlive it; a stack that is deployed afterwards begins with empty ones"}
	case types.StackStatusUpdateRollbackFailed:
		return false, &RefusedError{s.StackStatus, nil, events + "; mend the cause, then " + on("continue-update-rollback") + ", and deploy again"}
	}
	return false, nil
}

// kept lists what is left of a stack whose creation was taken back. Resources that
// the template retains are told by their events as well as in the list, and those
// of a nested stack only there.
func (d *deployer) kept(ctx context.Context, id string) ([]string, error) {
	found := map[string]string{} // by physical id
	if err := d.left(ctx, "", id, 0, found); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Values(found)), nil
}

func (d *deployer) left(ctx context.Context, prefix, id string, depth int, found map[string]string) error {
	nested := map[string]string{}
	see := func(logical, kind, physical string, gone bool) {
		if physical == "" || physical == id {
			return
		}
		if kind == "AWS::CloudFormation::Stack" {
			nested[physical] = prefix + logical + "/"
		}
		if !gone {
			found[physical] = fmt.Sprintf("%s (%s) %s", prefix+logical, kind, physical)
		}
	}
	resources := cloudformation.NewListStackResourcesPaginator(d.client, &cloudformation.ListStackResourcesInput{StackName: &id})
	for resources.HasMorePages() {
		page, err := resources.NextPage(ctx)
		if validation(err, "does not exist") {
			break
		}
		if err != nil {
			return fmt.Errorf("looking for what is left of it: %w", err)
		}
		for _, r := range page.StackResourceSummaries {
			see(aws.ToString(r.LogicalResourceId), aws.ToString(r.ResourceType), aws.ToString(r.PhysicalResourceId),
				r.ResourceStatus == types.ResourceStatusDeleteComplete)
		}
	}
	events := cloudformation.NewDescribeStackEventsPaginator(d.client, &cloudformation.DescribeStackEventsInput{StackName: &id})
	for events.HasMorePages() {
		page, err := events.NextPage(ctx)
		if validation(err, "does not exist") {
			break
		}
		if err != nil {
			return fmt.Errorf("looking for what is left of it: %w", err)
		}
		for _, e := range page.StackEvents {
			see(aws.ToString(e.LogicalResourceId), aws.ToString(e.ResourceType), aws.ToString(e.PhysicalResourceId),
				e.ResourceStatus != types.ResourceStatusDeleteSkipped)
		}
	}
	if depth == 10 {
		return nil
	}
	for physical, path := range nested {
		if err := d.left(ctx, path, physical, depth+1, found); err != nil {
			return err
		}
	}
	return nil
}
