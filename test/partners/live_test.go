package partners_test

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// live lists what runs or queues in an account.
func live(ctx context.Context, a *account) (out []string) {
	a.Helper()
	functions, err := lambda.NewFromConfig(a.cfg).ListFunctions(ctx, &lambda.ListFunctionsInput{})
	if err != nil {
		a.Fatal(err)
	}
	for _, f := range functions.Functions {
		out = append(out, "function "+*f.FunctionName)
	}
	queues, err := sqs.NewFromConfig(a.cfg).ListQueues(ctx, &sqs.ListQueuesInput{})
	if err != nil {
		a.Fatal(err)
	}
	for _, q := range queues.QueueUrls {
		out = append(out, "queue "+q[strings.LastIndex(q, "/")+1:])
	}
	machines, err := sfn.NewFromConfig(a.cfg).ListStateMachines(ctx, &sfn.ListStateMachinesInput{})
	if err != nil {
		a.Fatal(err)
	}
	for _, m := range machines.StateMachines {
		out = append(out, "machine "+*m.Name)
	}
	return out
}
