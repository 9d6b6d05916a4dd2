package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// EdgeRegion is the one region that has a firewall for CloudFront.
const EdgeRegion = "us-east-1"

// Names of the stacks that stand beside a platform's.
func besideName(stack string) string { return stack + "-aws-only" }
func edgeName(stack string) string   { return stack + "-edge" }

// Beside is the stack of infra/aws-only.yaml's part region for a platform's stack:
// its name, and the parameters that the platform determines. The environment's own
// parameters win. The template's URL is left to the caller.
func Beside(ctx context.Context, cfg aws.Config, env Environment) (Stack, error) {
	client := cloudformation.NewFromConfig(cfg)
	said, err := outputsOf(ctx, client, env.Stack)
	if err != nil {
		return Stack{}, err
	}
	s := Stack{Name: besideName(env.Stack), Parameters: map[string]string{"Part": "region"}}
	for _, name := range []string{"AlarmTopic", "Bus", "ApiId", "FulfillmentMachine", "ShipmentMachine"} {
		if said[name] == "" {
			return Stack{}, fmt.Errorf("stack %s has no output %s; deploy the platform first", env.Stack, name)
		}
		s.Parameters[name] = said[name]
	}
	found := map[string][]string{}
	if err := collect(ctx, client, env.Stack, 0, found); err != nil {
		return Stack{}, err
	}
	slices.Sort(found["AWS::CloudWatch::Alarm"])
	s.Parameters["Alarms"] = strings.Join(found["AWS::CloudWatch::Alarm"], ",")
	if gradual := env.Beside["GradualDeployment"]; gradual != "" && gradual != "none" {
		if len(found[webhookReceive]) != 1 {
			return Stack{}, fmt.Errorf("stack %s has %d functions %s; gradual deployment needs one", env.Stack, len(found[webhookReceive]), webhookReceive)
		}
		name := found[webhookReceive][0]
		f, err := lambda.NewFromConfig(cfg).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			return Stack{}, fmt.Errorf("asking what code %s has: %w", name, err)
		}
		s.Parameters["WebhookReceive"], s.Parameters["WebhookReceiveCode"] = name, aws.ToString(f.CodeSha256)
	}
	return s.with(env), nil
}

// Edge is the stack of the part edge, which is deployed to EdgeRegion. The
// configuration is that of the platform's region: the edge serves the API there,
// or the front before it where deployment is gradual.
func Edge(ctx context.Context, cfg aws.Config, env Environment) (Stack, error) {
	client := cloudformation.NewFromConfig(cfg)
	said, err := outputsOf(ctx, client, env.Stack)
	if err != nil {
		return Stack{}, err
	}
	host := strings.TrimPrefix(said["ApiUrl"], "https://")
	beside, err := (&deployer{client: client}).find(ctx, besideName(env.Stack))
	if err != nil {
		return Stack{}, fmt.Errorf("looking for a front of stack %s: %w", env.Stack, err)
	}
	if beside != nil {
		if front := outputs(beside)["FrontHost"]; front != "" {
			host = front
		}
	}
	if host == "" {
		return Stack{}, fmt.Errorf("stack %s has no output ApiUrl; deploy the platform first", env.Stack)
	}
	s := Stack{Name: edgeName(env.Stack), Parameters: map[string]string{"Part": "edge", "ApiHost": host}}
	return s.with(env), nil
}

// Rollback is what takes an update of the platform's stack back: the composite
// alarm of the stack beside it. It is nil where the environment does not say, and
// where nothing stands beside the platform yet. AWS fails every update whose trigger
// is gone; the one that the stack beside it left is taken away, which the note says.
func Rollback(ctx context.Context, cfg aws.Config, env Environment) (r *types.RollbackConfiguration, note string, err error) {
	if env.RollbackMinutes == 0 {
		return &types.RollbackConfiguration{RollbackTriggers: []types.RollbackTrigger{}, MonitoringTimeInMinutes: aws.Int32(0)}, "", nil
	}
	d := &deployer{client: cloudformation.NewFromConfig(cfg)}
	beside, err := d.find(ctx, besideName(env.Stack))
	if err != nil {
		return nil, "", fmt.Errorf("looking for the alarm beside stack %s: %w", env.Stack, err)
	}
	if beside != nil && outputs(beside)["TroubleAlarm"] != "" && !strings.HasPrefix(string(beside.StackStatus), "DELETE_") {
		if env.RollbackMinutes < 0 {
			return nil, "", nil
		}
		return &types.RollbackConfiguration{MonitoringTimeInMinutes: aws.Int32(int32(env.RollbackMinutes)), RollbackTriggers: []types.RollbackTrigger{
			{Arn: aws.String(outputs(beside)["TroubleAlarm"]), Type: aws.String("AWS::CloudWatch::CompositeAlarm")}}}, "", nil
	}
	platform, err := d.find(ctx, env.Stack)
	if err != nil {
		return nil, "", fmt.Errorf("looking for rollback triggers of stack %s: %w", env.Stack, err)
	}
	if platform == nil || platform.RollbackConfiguration == nil {
		return nil, "", nil
	}
	had := platform.RollbackConfiguration
	left := slices.DeleteFunc(slices.Clone(had.RollbackTriggers), func(t types.RollbackTrigger) bool {
		return strings.HasSuffix(aws.ToString(t.Arn), ":alarm:"+besideName(env.Stack)+"-trouble")
	})
	if len(left) == len(had.RollbackTriggers) {
		return nil, "", nil
	}
	r = &types.RollbackConfiguration{RollbackTriggers: left, MonitoringTimeInMinutes: aws.Int32(0)}
	if len(left) > 0 {
		r.MonitoringTimeInMinutes = had.MonitoringTimeInMinutes
	}
	return r, fmt.Sprintf("stack %s is gone, and with it the alarm that took updates of %s back: its rollback trigger is taken away (deploy with --aws-only region, then again, to have it back)",
		besideName(env.Stack), env.Stack), nil
}

// with adds the environment's own parameters, its profile, its partner and the
// partner's tag.
func (s Stack) with(env Environment) Stack {
	s.Profile = env.Profile
	if p := env.Parameters["Partner"]; p != "" {
		s.Parameters["Partner"] = p
		s.Tags = map[string]string{"waybill:partner": p}
	}
	for k, v := range env.Beside {
		s.Parameters[k] = v
	}
	return s
}

func outputsOf(ctx context.Context, client *cloudformation.Client, name string) (map[string]string, error) {
	s, err := (&deployer{client: client}).find(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading stack %s: %w", name, err)
	}
	if s == nil {
		return nil, fmt.Errorf("there is no stack %s; deploy the platform first", name)
	}
	return outputs(s), nil
}

// webhookReceive is the logical id of the function that can be deployed gradually.
const webhookReceive = "WebhookReceive"

// collect lists what stands in a stack and in those nested in it: alarms by their
// type, functions by their logical id.
func collect(ctx context.Context, client *cloudformation.Client, stack string, depth int, found map[string][]string) error {
	pages := cloudformation.NewListStackResourcesPaginator(client, &cloudformation.ListStackResourcesInput{StackName: &stack})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing what stands in stack %s: %w", stack, err)
		}
		for _, r := range page.StackResourceSummaries {
			physical, kind := aws.ToString(r.PhysicalResourceId), aws.ToString(r.ResourceType)
			switch {
			case physical == "":
			case kind == "AWS::CloudFormation::Stack" && depth < 10:
				if err := collect(ctx, client, physical, depth+1, found); err != nil {
					return err
				}
			case kind == "AWS::CloudWatch::Alarm":
				found[kind] = append(found[kind], physical)
			case kind == "AWS::Lambda::Function":
				logical := aws.ToString(r.LogicalResourceId)
				found[logical] = append(found[logical], physical)
			}
		}
	}
	return nil
}
