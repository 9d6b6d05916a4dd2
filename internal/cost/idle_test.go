package cost_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/cost"
	"github.com/waybillhq/waybill/internal/document"
)

const platform = "../../template.yaml"

func TestAnIdleStackAndAnIdleTenantStayWithinTheirBudgets(t *testing.T) {
	stack, err := cost.Idle(platform, nil)
	if err != nil {
		t.Fatal(err)
	}
	total := stack.Total
	beside, err := cost.Idle("../../infra/aws-only.yaml", map[string]string{"Part": "region"})
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		t.Fatal(err)
	default:
		total += beside.Total
	}
	if total > cost.IdleStackBudget || total < 3 {
		t.Errorf("an idle stack costs %.2f dollars a month, of %.0f: %+v, %+v", total, cost.IdleStackBudget, stack, beside)
	}
	tenant := cost.IdleTenant(stack)
	if tenant.Total > cost.IdleTenantBudget || tenant.Total < 0.01 {
		t.Errorf("an idle tenant costs %.4f dollars a month, of %.2f: %+v", tenant.Total, cost.IdleTenantBudget, tenant)
	}
	if r, err := idle(t, `Resources: {A: {Type: "AWS::WAFv2::WebACL"}, B: {Type: "AWS::WAFv2::WebACL"}, C: {Type: "AWS::WAFv2::WebACL"}, D: {Type: "AWS::KMS::Key"}}`, nil); err != nil || r.Total <= cost.IdleStackBudget {
		t.Errorf("three firewalls and a key stay within the budget: %+v, %v", r, err)
	}
	if cost.IdleTenant(cost.IdleReport{Reconciles: 43800}).Total <= cost.IdleTenantBudget {
		t.Error("asking every minute stays within a tenant's budget")
	}
	sum := 0.0
	for _, i := range stack.Items {
		sum += i.Dollars
	}
	if math.Abs(sum-stack.Total) > 1e-9 {
		t.Errorf("the lines make %f, the total is %f", sum, stack.Total)
	}
}

func idle(t *testing.T, text string, parameters map[string]string) (cost.IdleReport, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return cost.Idle(path, parameters)
}

func TestWhatAnIdleMonthCosts(t *testing.T) {
	const sweep = `S: {Type: "AWS::Serverless::Function", Properties: {CodeUri: functions/document-sweep, MemorySize: 512}}`
	for what, c := range map[string]struct {
		text    string
		dollars float64
	}{
		"a key":                     {`Resources: {K: {Type: "AWS::KMS::Key", Properties: {}}}`, 1},
		"a key that rotates":        {`Resources: {K: {Type: "AWS::KMS::Key", Properties: {EnableKeyRotation: true}}}`, 3},
		"an alarm":                  {`Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: AWS/SQS, Period: 60}}}`, 0.1},
		"a fast alarm":              {`Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: AWS/SQS, Period: 10}}}`, 0.3},
		"an alarm of two metrics":   {`Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Metrics: [{Expression: a+b}, {MetricStat: {Period: 300, Metric: {Namespace: AWS/SQS, MetricName: A}}}, {MetricStat: {Period: 300, Metric: {Namespace: Ours, MetricName: B}}}]}}}`, 0.5},
		"two alarms of our metric":  {`Resources: {A: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: W, MetricName: M, Period: 60}}, B: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: W, MetricName: M, Period: 60}}}`, 0.5},
		"a composite alarm":         {`Resources: {A: {Type: "AWS::CloudWatch::CompositeAlarm", Properties: {}}}`, 0.5},
		"a dashboard":               {`Resources: {A: {Type: "AWS::CloudWatch::Dashboard", Properties: {}}}`, 3},
		"a firewall":                {`Resources: {A: {Type: "AWS::WAFv2::WebACL", Properties: {Rules: [{}, {}]}}}`, 7},
		"a queue's source":          {`Resources: {F: {Type: "AWS::Serverless::Function", Properties: {Events: {Q: {Type: SQS, Properties: {}}}}}}`, 730 * 3 * 60 * 5 * 0.4e-6},
		"a queue and a table":       {`Resources: {Q: {Type: "AWS::SQS::Queue"}, T: {Type: "AWS::DynamoDB::Table"}}`, 0},
		"a condition that holds":    {`{Parameters: {P: {Default: x}}, Conditions: {A: !Equals [!Ref P, x], B: !And [!Condition A, !Or [!Condition A, !Not [!Condition A]]]}, Resources: {K: {Type: "AWS::KMS::Key", Condition: B}}}`, 1},
		"a condition that does not": {`{Parameters: {P: {Default: x}}, Conditions: {A: !Not [!Equals [!Ref P, x]]}, Resources: {K: {Type: "AWS::KMS::Key", Condition: A}}}`, 0},
		"a run a day": {`Resources: {R: {Type: "AWS::Events::Rule", Properties: {ScheduleExpression: "cron(0 3 * * ? *)", Targets: [{Arn: !GetAtt S.Arn}]}}, ` + sweep + `}`,
			730 / 24. * (1e-6 + 0.2e-6 + (0.003+16*0.006)*0.5*0.0000133334 + 16*0.125e-6 + (300+26)*(0.50+0.03)/(1<<30))},
	} {
		r, err := idle(t, c.text, nil)
		if err != nil || math.Abs(r.Total-c.dollars) > 1e-9 {
			t.Errorf("%s costs %f dollars a month, not %f (%v)", what, r.Total, c.dollars, err)
		}
	}
	r, err := idle(t, `{Parameters: {Part: {Type: String}}, Conditions: {Edge: !Equals [!Ref Part, edge]}, Resources: {K: {Type: "AWS::KMS::Key", Condition: Edge}}}`, map[string]string{"Part": "edge"})
	if err != nil || r.Total != 1 {
		t.Errorf("a given parameter: %+v, %v", r, err)
	}
}

func TestSchedulesAreCountedByTheMonth(t *testing.T) {
	for expression, runs := range map[string]float64{
		"rate(1 minute)": 43800, "rate(5 minutes)": 8760, "rate(1 hour)": 730, "rate(1 day)": 730 / 24.,
		"cron(0/15 * * * ? *)": 4 * 730, "cron(0,30 8 * * ? *)": 2 * 730 / 24., "cron(5 */6 * * ? *)": 4 * 730 / 24.,
	} {
		r, err := idle(t, `Resources: {R: {Type: "AWS::Scheduler::Schedule", Properties: {ScheduleExpression: "`+expression+`", Target: {Arn: !GetAtt S.Arn}}}, `+
			`S: {Type: "AWS::Serverless::Function", Properties: {CodeUri: functions/order-reconcile}}}`, nil)
		if err != nil || math.Abs(r.Reconciles-runs) > 1e-6 {
			t.Errorf("%s fires %f times a month, not %f (%v)", expression, r.Reconciles, runs, err)
		}
	}
}

// What nobody gave a price must not count as free.
func TestWhatHasNoPriceIsRefused(t *testing.T) {
	for what, text := range map[string]string{
		"a kind":        `Resources: {A: {Type: "AWS::RDS::DBInstance"}}`,
		"a source":      `Resources: {A: {Type: "AWS::Serverless::Function", Properties: {Events: {K: {Type: Kinesis}}}}}`,
		"a reservation": `Resources: {A: {Type: "AWS::Serverless::Function", Properties: {ProvisionedConcurrencyConfig: {}}}}`,
		"a function":    `Resources: {A: {Type: "AWS::Serverless::Function", Properties: {CodeUri: functions/other, Events: {T: {Type: Schedule, Properties: {Schedule: rate(1 day)}}}}}}`,
		"a target":      `Resources: {R: {Type: "AWS::Events::Rule", Properties: {ScheduleExpression: rate(1 day), Targets: [{Arn: x}]}}}`,
		"a schedule":    `Resources: {R: {Type: "AWS::Scheduler::Schedule", Properties: {ScheduleExpression: "cron(? * * * ? *)", Target: {Arn: S.Arn}}}, S: {Type: "AWS::Serverless::Function"}}`,
		"a condition":   `{Conditions: {A: !Join ["", []]}, Resources: {K: {Type: "AWS::KMS::Key", Condition: A}}}`,
	} {
		if r, err := idle(t, text, nil); err == nil {
			t.Errorf("%s without a price is taken: %+v", what, r)
		}
	}
	if _, err := cost.Idle("missing.yaml", nil); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Error(err)
	}
}

type dueStore struct {
	document.Store
	asked int
}

func (s *dueStore) Due(context.Context, int, time.Time, int) ([]document.DueItem, error) {
	s.asked++
	return nil, nil
}

// The modelled run of the sweeper is what its code does.
func TestAnIdleSweepAsksWhatIsCounted(t *testing.T) {
	s := &dueStore{}
	if _, _, err := (document.Life{Store: s, Now: time.Now}).Overdue(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	r, err := idle(t, `Resources: {R: {Type: "AWS::Events::Rule", Properties: {ScheduleExpression: rate(1 minute), Targets: [{Arn: !GetAtt S.Arn}]}}, `+
		`S: {Type: "AWS::Serverless::Function", Properties: {CodeUri: functions/document-sweep}}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Items {
		if i.Service == "DynamoDB" && i.Quantity != float64(s.asked)*43800 {
			t.Errorf("%f units are counted for %d queries a minute", i.Quantity, s.asked)
		}
	}
}
