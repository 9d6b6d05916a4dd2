package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
)

// Stack says what a stack is to be.
type Stack struct {
	Name string
	// TemplateURL as Package returns it.
	TemplateURL string
	Parameters  map[string]string
	// Capabilities that the caller grants; nil means CAPABILITY_IAM and
	// CAPABILITY_AUTO_EXPAND, which SAM templates need.
	Capabilities []types.Capability
	Tags         map[string]string
	// Rollback takes an update back that sets an alarm off; nil leaves it as it was.
	Rollback *types.RollbackConfiguration
	// Profile is named in the commands that a refusal advises; it may be empty.
	Profile string
}

// Deploy creates or updates the stack, waits until that is done and returns the
// stack's outputs. A stack that is that already is a success. What a failed
// creation made stays, and the next deployment goes on from there. It deletes only
// a stack that has nothing, and that nothing can be updated from.
//
// It fails with a *FailedError when CloudFormation accepted the change and could
// not make it, and with a *RefusedError where it would have to delete something.
func Deploy(ctx context.Context, config aws.Config, s Stack) (map[string]string, error) {
	d := &deployer{client: cloudformation.NewFromConfig(config), stack: s, where: where(config, s.Profile)}
	if d.stack.Capabilities == nil {
		d.stack.Capabilities = []types.Capability{types.CapabilityCapabilityIam, types.CapabilityCapabilityAutoExpand}
	}
	outputs, err := d.deploy(ctx)
	if err != nil {
		return nil, fmt.Errorf("deploying stack %s: %w", s.Name, err)
	}
	return outputs, nil
}

// Delete deletes the stack and waits until it is gone. A stack that does not
// exist is a success.
func Delete(ctx context.Context, config aws.Config, name string) error {
	d := &deployer{client: cloudformation.NewFromConfig(config), stack: Stack{Name: name}}
	current, err := d.find(ctx, name)
	if err == nil && current != nil {
		err = d.remove(ctx, current)
	}
	if err != nil {
		return fmt.Errorf("deleting stack %s: %w", name, err)
	}
	return nil
}

type deployer struct {
	client *cloudformation.Client
	stack  Stack
	where  string // completes a command of AWS's
}

// deploy begins again where the stack came to exist after it was looked for:
// CloudFormation knows no repeats, so a creation whose answer was lost and that
// was sent again looks like somebody else's. What is there is brought up to
// date either way.
func (d *deployer) deploy(ctx context.Context) (map[string]string, error) {
	outputs, err := d.once(ctx)
	var exists *types.AlreadyExistsException
	if errors.As(err, &exists) {
		return d.once(ctx)
	}
	return outputs, err
}

func (d *deployer) once(ctx context.Context) (map[string]string, error) {
	current, err := d.find(ctx, d.stack.Name)
	if err != nil {
		return nil, err
	}
	if current != nil && busy(current.StackStatus) {
		if current, err = d.settle(ctx, *current.StackId); err != nil {
			return nil, err
		}
	}
	if current != nil {
		empty, err := d.deletable(ctx, current)
		if err != nil {
			return nil, err
		}
		if empty {
			if err := d.remove(ctx, current); err != nil {
				return nil, err
			}
			current = nil
		}
	}
	var id string
	if current == nil {
		id, err = d.create(ctx)
	} else if id, err = d.update(ctx, current.StackStatus); unchanged(err) {
		// An update that was sent again may have changed it after all.
		id, err = *current.StackId, nil
	}
	if err != nil {
		return nil, err
	}
	if current, err = d.settle(ctx, id); err != nil {
		return nil, err
	}
	switch current.StackStatus {
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete:
		return outputs(current), nil
	}
	return nil, d.failed(ctx, current)
}

// create leaves what it made if it fails. Taken back, retained tables would stay
// without a stack, and each attempt would make others.
func (d *deployer) create(ctx context.Context) (string, error) {
	out, err := d.client.CreateStack(ctx, &cloudformation.CreateStackInput{
		StackName: &d.stack.Name, TemplateURL: &d.stack.TemplateURL, DisableRollback: aws.Bool(true),
		Parameters: d.parameters(), Capabilities: d.stack.Capabilities, Tags: d.tags(),
	})
	if err != nil {
		return "", fmt.Errorf("creating it: %w", err)
	}
	return *out.StackId, nil
}

func (d *deployer) update(ctx context.Context, from types.StackStatus) (string, error) {
	in := &cloudformation.UpdateStackInput{
		StackName: &d.stack.Name, TemplateURL: &d.stack.TemplateURL,
		Parameters: d.parameters(), Capabilities: d.stack.Capabilities, Tags: d.tags(), RollbackConfiguration: d.stack.Rollback,
	}
	if stopped(from) {
		in.DisableRollback = aws.Bool(true) // CloudFormation takes no other update of it
	}
	out, err := d.client.UpdateStack(ctx, in)
	if err != nil {
		return "", fmt.Errorf("updating it: %w", err)
	}
	return *out.StackId, nil
}

func (d *deployer) parameters() []types.Parameter {
	var list []types.Parameter
	for _, key := range slices.Sorted(maps.Keys(d.stack.Parameters)) {
		list = append(list, types.Parameter{ParameterKey: aws.String(key), ParameterValue: aws.String(d.stack.Parameters[key])})
	}
	return list
}

func (d *deployer) tags() []types.Tag {
	var list []types.Tag
	for _, key := range slices.Sorted(maps.Keys(d.stack.Tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(d.stack.Tags[key])})
	}
	return list
}

// find returns the stack, or nil when there is none.
func (d *deployer) find(ctx context.Context, nameOrID string) (*types.Stack, error) {
	out, err := d.client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &nameOrID})
	if validation(err, "does not exist") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for it: %w", err)
	}
	for _, s := range out.Stacks {
		if s.StackStatus != types.StackStatusDeleteComplete {
			return &s, nil
		}
	}
	return nil, nil
}

// settle waits until nothing is in progress. It asks often at first, which a
// local AWS rewards, and then as often as CloudFormation likes.
func (d *deployer) settle(ctx context.Context, id string) (*types.Stack, error) {
	const most = 5 * time.Second
	for pause := 50 * time.Millisecond; ; pause = min(pause*5/4, most) {
		s, err := d.find(ctx, id)
		if err != nil || s == nil || !busy(s.StackStatus) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for it: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// remove deletes the stack and waits until it is gone.
func (d *deployer) remove(ctx context.Context, s *types.Stack) error {
	if _, err := d.client.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: s.StackId}); err != nil {
		return fmt.Errorf("deleting it: %w", err)
	}
	left, err := d.settle(ctx, *s.StackId)
	if err != nil {
		return err
	}
	if left != nil {
		return d.failed(ctx, left)
	}
	return nil
}

func busy(s types.StackStatus) bool {
	return strings.HasSuffix(string(s), "_IN_PROGRESS") && s != types.StackStatusReviewInProgress
}

// stopped tells whether the last operation failed and left what it had made.
func stopped(s types.StackStatus) bool {
	return s == types.StackStatusCreateFailed || s == types.StackStatusUpdateFailed
}

func outputs(s *types.Stack) map[string]string {
	m := make(map[string]string, len(s.Outputs))
	for _, o := range s.Outputs {
		m[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return m
}

func unchanged(err error) bool { return validation(err, "No updates are to be performed") }

// validation recognises two answers that are no failures. CloudFormation gives
// both the code of every invalid request, so only the sentence tells them apart;
// the AWS command line reads it too.
func validation(err error, sentence string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationError" && strings.Contains(api.ErrorMessage(), sentence)
}
