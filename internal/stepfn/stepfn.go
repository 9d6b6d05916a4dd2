// Package stepfn starts state machines.
package stepfn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
)

// Machines starts the machine of a document's type.
type Machines struct {
	Client *sfn.Client
	ARNs   map[string]string // by document type
}

// Start begins an execution. Its input is ids only; its run fences it, so a
// second start is harmless, and one that the machine remembers is the same.
func (m Machines) Start(ctx context.Context, t document.Task) error {
	arn, ok := m.ARNs[t.Type]
	if !ok || arn == "" {
		return fault.New(fault.Permanent, fault.Configuration, "no state machine is set for documents of type %s", t.Type)
	}
	input, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encoding a task: %w", err)
	}
	_, err = m.Client.StartExecution(ctx, &sfn.StartExecutionInput{
		StateMachineArn: &arn, Input: aws.String(string(input)), Name: aws.String(fmt.Sprintf("%s-%d", t.ID, t.Run)),
	})
	var before *types.ExecutionAlreadyExists
	if err != nil && !errors.As(err, &before) {
		return fmt.Errorf("starting the machine of %s %s: %w", t.Type, t.ID, err)
	}
	return nil
}
