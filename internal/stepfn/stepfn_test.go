package stepfn_test

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/local/localtest"
	"github.com/waybillhq/waybill/internal/stepfn"
	"github.com/waybillhq/waybill/internal/stepfn/drivertest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened has standard machines, which can list what they were started with and
// remember an execution's name.
func opened(t *testing.T, faults *awsfault.Injector) drivertest.Driver {
	t.Helper()
	cfg := localtest.Config(t)
	c := sfn.NewFromConfig(cfg)
	m := stepfn.Machines{ARNs: map[string]string{}}
	for _, docType := range []string{document.Order, document.Shipment} {
		out, err := c.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{Name: aws.String(docType), RoleArn: aws.String("arn:aws:iam::111122223333:role/machine"),
			Definition: aws.String(`{"StartAt":"Done","States":{"Done":{"Type":"Succeed"}}}`)})
		must(t, err)
		m.ARNs[docType] = *out.StateMachineArn
	}
	if faults != nil {
		cfg = faults.Configure(cfg)
	}
	m.Client = sfn.NewFromConfig(cfg)
	return drivertest.Driver{Start: m.Start, Started: func(t *testing.T, docType string) (out []document.Task) {
		pages := sfn.NewListExecutionsPaginator(c, &sfn.ListExecutionsInput{StateMachineArn: aws.String(m.ARNs[docType])})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			must(t, err)
			for _, e := range page.Executions {
				about, err := c.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: e.ExecutionArn})
				must(t, err)
				var x document.Task
				must(t, json.Unmarshal([]byte(*about.Input), &x))
				out = append(out, x)
			}
		}
		return out
	}}
}

func TestStepFunctionsPassTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver { return opened(t, nil) })
}

func TestStepFunctionsPassTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout, awsfault.Lost} {
		t.Run(string(kind), func(t *testing.T) {
			befallen := 0
			drivertest.Run(t, func(t *testing.T) drivertest.Driver {
				faults := awsfault.New(nil, awsfault.Rule{Kind: kind, Every: 2})
				t.Cleanup(func() { befallen += faults.Count(kind) })
				return opened(t, faults)
			})
			if befallen == 0 {
				t.Error("nothing was befallen")
			}
		})
	}
}
