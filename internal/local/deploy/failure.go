package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Failure is a resource that CloudFormation could not bring about.
type Failure struct {
	// Resource is the logical id, below the ids of the nested stacks that
	// enclose it: Flows/Queue.
	Resource string
	Type     string
	Status   string
	Reason   string
}

// FailedError says how a deployment or deletion ended and what failed first.
type FailedError struct {
	Status   types.StackStatus
	Reason   string    // of the stack
	Failures []Failure // in the order in which they happened
}

func (e *FailedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "it ended in %s", e.Status)
	if e.Reason != "" {
		fmt.Fprintf(&b, ": %s", e.Reason)
	}
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "\n  %s (%s) %s: %s", f.Resource, f.Type, f.Status, f.Reason)
	}
	if stopped(e.Status) {
		b.WriteString("\nwhat was made until then stays; mend the cause and deploy again, which goes on from there")
	}
	return b.String()
}

// mostFailures is how many are told: the first is the cause, many of the others
// were only cancelled because of it.
const mostFailures = 8

// failed collects why the last operation on the stack failed. What cannot be
// read is left out: the caller has a failure to report either way.
func (d *deployer) failed(ctx context.Context, s *types.Stack) error {
	f := failures{client: d.client, begin: []types.ResourceStatus{types.ResourceStatusCreateInProgress, types.ResourceStatusUpdateInProgress}}
	if s.StackStatus == types.StackStatusDeleteFailed {
		f.begin = []types.ResourceStatus{types.ResourceStatusDeleteInProgress}
	}
	found := f.collect(ctx, "", *s.StackId, 0)
	if len(found) > mostFailures {
		found = found[:mostFailures]
	}
	return &FailedError{Status: s.StackStatus, Reason: aws.ToString(s.StackStatusReason), Failures: found}
}

// failures reads the events of a stack and of the stacks nested in it.
type failures struct {
	client *cloudformation.Client
	// begin is the stack's own status that opens the operation in question. A
	// creation that failed has been followed by deletions, which are not it.
	begin []types.ResourceStatus
}

func (f *failures) collect(ctx context.Context, prefix, id string, depth int) []Failure {
	var all []Failure
	for _, e := range f.lastOperation(ctx, id) {
		if !strings.HasSuffix(string(e.ResourceStatus), "_FAILED") || aws.ToString(e.PhysicalResourceId) == id {
			continue
		}
		child := aws.ToString(e.PhysicalResourceId)
		if aws.ToString(e.ResourceType) == "AWS::CloudFormation::Stack" && child != "" && depth < 10 {
			if inner := f.collect(ctx, prefix+aws.ToString(e.LogicalResourceId)+"/", child, depth+1); len(inner) > 0 {
				all = append(all, inner...)
				continue
			}
		}
		all = append(all, Failure{
			Resource: prefix + aws.ToString(e.LogicalResourceId), Type: aws.ToString(e.ResourceType),
			Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
		})
	}
	return all
}

// lastOperation returns the events since the operation began, oldest first.
func (f *failures) lastOperation(ctx context.Context, id string) []types.StackEvent {
	var events []types.StackEvent
	pages := cloudformation.NewDescribeStackEventsPaginator(f.client, &cloudformation.DescribeStackEventsInput{StackName: &id})
	for began := false; !began && pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			break
		}
		for _, e := range page.StackEvents {
			events = append(events, e)
			if began = aws.ToString(e.PhysicalResourceId) == id && slices.Contains(f.begin, e.ResourceStatus); began {
				break
			}
		}
	}
	slices.Reverse(events)
	return events
}
