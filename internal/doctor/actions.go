package doctor

import (
	"maps"
	"slices"
	"strings"
)

// needs are the actions that CloudFormation takes in the deployer's name to make,
// change and delete a resource of a type, with the properties that the templates
// use. They are a part of what the type's own schema lists under its handlers
// (testdata/handlers.json); a test holds them to it, and the types to the
// templates.
var needs = map[string][]string{
	"AWS::CloudFormation::Stack": {"cloudformation:CreateStack", "cloudformation:UpdateStack", "cloudformation:DeleteStack", "cloudformation:DescribeStacks"},
	"AWS::KMS::Key": {"kms:CreateKey", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
		"kms:TagResource", "kms:ListResourceTags"},
	"AWS::DynamoDB::Table": {"dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:DescribeTable", "dynamodb:UpdateTimeToLive", "dynamodb:DescribeTimeToLive",
		"dynamodb:UpdateContinuousBackups", "dynamodb:DescribeContinuousBackups", "dynamodb:TagResource", "dynamodb:ListTagsOfResource",
		"kms:CreateGrant", "kms:DescribeKey"},
	"AWS::S3::Bucket": {"s3:CreateBucket", "s3:PutEncryptionConfiguration", "s3:GetEncryptionConfiguration", "s3:PutBucketPublicAccessBlock",
		"s3:GetBucketPublicAccessBlock", "s3:PutLifecycleConfiguration", "s3:GetLifecycleConfiguration", "s3:PutBucketTagging", "s3:GetBucketTagging"},
	"AWS::S3::BucketPolicy": {"s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"},
	"AWS::SQS::Queue":       {"sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:GetQueueAttributes", "sqs:DeleteQueue", "sqs:TagQueue", "sqs:ListQueueTags"},
	"AWS::SQS::QueuePolicy": {"sqs:SetQueueAttributes"},
	"AWS::Events::EventBus": {"events:CreateEventBus", "events:DescribeEventBus", "events:DeleteEventBus", "events:TagResource", "events:ListTagsForResource"},
	"AWS::Events::Rule":     {"events:PutRule", "events:DescribeRule", "events:DeleteRule", "events:PutTargets", "events:RemoveTargets", "events:ListTargetsByRule"},
	"AWS::Events::Archive":  {"events:CreateArchive", "events:DescribeArchive", "events:UpdateArchive", "events:DeleteArchive"},
	"AWS::Logs::LogGroup": {"logs:CreateLogGroup", "logs:DescribeLogGroups", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource",
		"logs:ListTagsForResource"},
	"AWS::IAM::ManagedPolicy": {"iam:CreatePolicy", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:CreatePolicyVersion", "iam:ListPolicyVersions",
		"iam:DeletePolicyVersion", "iam:DeletePolicy", "iam:ListEntitiesForPolicy"},
	"AWS::IAM::Role": {"iam:CreateRole", "iam:GetRole", "iam:UpdateRole", "iam:UpdateAssumeRolePolicy", "iam:DeleteRole", "iam:PutRolePolicy", "iam:GetRolePolicy",
		"iam:DeleteRolePolicy", "iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:TagRole"},
	"AWS::Lambda::Function": {"lambda:CreateFunction", "lambda:GetFunction", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:DeleteFunction",
		"lambda:TagResource", "iam:PassRole", "s3:GetObject"},
	"AWS::Lambda::EventSourceMapping": {"lambda:CreateEventSourceMapping", "lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping", "lambda:DeleteEventSourceMapping"},
	"AWS::Lambda::Permission":         {"lambda:AddPermission", "lambda:RemovePermission", "lambda:GetPolicy"},
	"AWS::Lambda::Version":            {"lambda:PublishVersion", "lambda:GetFunctionConfiguration", "lambda:ListVersionsByFunction"},
	"AWS::Lambda::Alias": {"lambda:CreateAlias", "lambda:GetAlias", "lambda:UpdateAlias", "lambda:DeleteAlias", "codedeploy:CreateDeployment", "codedeploy:GetDeployment",
		"codedeploy:GetDeploymentGroup", "codedeploy:GetDeploymentConfig", "codedeploy:StopDeployment"},
	"AWS::ApiGatewayV2::Api":         {"apigateway:POST", "apigateway:PUT", "apigateway:GET", "apigateway:PATCH", "apigateway:DELETE"},
	"AWS::ApiGatewayV2::Stage":       {"apigateway:POST", "apigateway:GET", "apigateway:PATCH", "apigateway:DELETE", "apigateway:TagResource"},
	"AWS::ApiGatewayV2::Integration": {"apigateway:POST", "apigateway:GET", "apigateway:PATCH", "apigateway:DELETE"},
	"AWS::ApiGatewayV2::Route":       {"apigateway:POST", "apigateway:GET", "apigateway:PATCH", "apigateway:DELETE"},
	"AWS::StepFunctions::StateMachine": {"states:CreateStateMachine", "states:DescribeStateMachine", "states:UpdateStateMachine", "states:DeleteStateMachine",
		"states:TagResource", "states:ListTagsForResource", "iam:PassRole", "s3:GetObject"},
	"AWS::SNS::Topic":        {"sns:CreateTopic", "sns:GetTopicAttributes", "sns:SetTopicAttributes", "sns:DeleteTopic", "sns:TagResource", "sns:ListTagsForResource"},
	"AWS::SNS::Subscription": {"sns:Subscribe", "sns:GetSubscriptionAttributes", "sns:Unsubscribe"},
	"AWS::CloudWatch::Alarm": {"cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms", "cloudwatch:TagResource"},
	"AWS::CloudWatch::CompositeAlarm": {"cloudwatch:PutCompositeAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms",
		"cloudwatch:TagResource"},
	"AWS::CodeDeploy::Application": {"codedeploy:CreateApplication", "codedeploy:GetApplication", "codedeploy:DeleteApplication", "codedeploy:TagResource"},
	"AWS::CodeDeploy::DeploymentGroup": {"codedeploy:CreateDeploymentGroup", "codedeploy:GetDeploymentGroup", "codedeploy:UpdateDeploymentGroup",
		"codedeploy:DeleteDeploymentGroup", "codedeploy:TagResource", "iam:PassRole"},
	"AWS::WAFv2::WebACL": {"wafv2:CreateWebACL", "wafv2:GetWebACL", "wafv2:UpdateWebACL", "wafv2:DeleteWebACL", "wafv2:TagResource", "wafv2:ListTagsForResource"},
	"AWS::CloudFront::Distribution": {"cloudfront:CreateDistribution", "cloudfront:GetDistribution", "cloudfront:GetDistributionConfig", "cloudfront:UpdateDistribution",
		"cloudfront:DeleteDistribution", "cloudfront:TagResource", "cloudfront:ListTagsForResource"},
}

// beyond are actions that a type needs and that its schema does not list: what
// API Gateway does in the deployer's name to let the access log in
// (developerguide/http-api-logging). Like AWS's own policy they are of no resource.
var beyond = map[string][]string{
	"AWS::ApiGatewayV2::Stage": {"logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:GetLogDelivery",
		"logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"},
}

// passesTo are the services that a type hands a role to.
var passesTo = map[string]string{
	"AWS::Lambda::Function":            "lambda.amazonaws.com",
	"AWS::StepFunctions::StateMachine": "states.amazonaws.com",
	"AWS::CodeDeploy::DeploymentGroup": "codedeploy.amazonaws.com",
}

// passedTo is the condition key that a policy narrows iam:PassRole with.
const passedTo = "iam:PassedToService"

// expands says what the SAM transform makes of its own types.
var expands = map[string][]string{
	"AWS::Serverless::Function":     {"AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"},
	"AWS::Serverless::HttpApi":      {"AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Stage"},
	"AWS::Serverless::StateMachine": {"AWS::StepFunctions::StateMachine", "AWS::IAM::Role"},
}

// platformTypes are the resource types of template.yaml and of what it nests.
var platformTypes = []string{
	"AWS::CloudFormation::Stack", "AWS::CloudWatch::Alarm", "AWS::DynamoDB::Table", "AWS::Events::EventBus", "AWS::Events::Rule", "AWS::IAM::ManagedPolicy",
	"AWS::KMS::Key", "AWS::Lambda::Permission", "AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SNS::Subscription", "AWS::SNS::Topic",
	"AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::Serverless::Function", "AWS::Serverless::HttpApi", "AWS::Serverless::StateMachine",
}

// besideTypes are those of infra/aws-only.yaml, which nobody has to deploy.
var besideTypes = []string{
	"AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Integration", "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage", "AWS::CloudFront::Distribution",
	"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup", "AWS::Events::Archive",
	"AWS::IAM::Role", "AWS::Lambda::Alias", "AWS::Lambda::Permission", "AWS::Lambda::Version", "AWS::Logs::LogGroup", "AWS::WAFv2::WebACL",
}

// byCommand are the actions that waybill deploy itself takes, template or not: it
// opens the bucket, uploads, has the transform made by a change set, and looks for
// what a failed creation left.
var byCommand = []string{
	"s3:CreateBucket", "s3:ListBucket", "s3:GetObject", "s3:PutObject", "cloudformation:CreateStack", "cloudformation:UpdateStack", "cloudformation:DeleteStack",
	"cloudformation:DescribeStacks", "cloudformation:DescribeStackEvents", "cloudformation:CreateChangeSet", "cloudformation:ListStackResources",
}

// byCommandBeside are those that --aws-only takes besides: it asks for the code that
// is to be deployed gradually.
var byCommandBeside = []string{"lambda:GetFunctionConfiguration"}

// trial is an action to simulate; of iam:PassRole, for one service.
type trial struct{ action, service string }

func (t trial) String() string {
	if t.service == "" {
		return t.action
	}
	return t.action + " to " + t.service
}

// named are the trials as people read them, sorted.
func named(trials []trial) []string {
	var out []string
	for _, t := range trials {
		out = append(out, t.String())
	}
	slices.Sort(out)
	return out
}

// actionsOf are the actions of trials, each once.
func actionsOf(trials []trial) []string {
	var out []string
	for _, t := range trials {
		if !slices.Contains(out, t.action) {
			out = append(out, t.action)
		}
	}
	return out
}

// trialsFor are the trials of actions that the types need.
func trialsFor(actions, types []string) []trial {
	var out []trial
	for _, a := range slices.Compact(slices.Sorted(slices.Values(actions))) {
		if a != "iam:PassRole" {
			out = append(out, trial{action: a})
			continue
		}
		for _, x := range slices.Sorted(maps.Keys(expanded(types))) {
			if service := passesTo[x]; service != "" {
				out = append(out, trial{a, service})
			}
		}
	}
	return out
}

// expanded are the types that the transform leaves.
func expanded(types []string) map[string]bool {
	out := map[string]bool{}
	for _, t := range types {
		of, ok := expands[t]
		if !ok {
			of = []string{t}
		}
		for _, x := range of {
			out[x] = true
		}
	}
	return out
}

// actionsFor are the actions that deploying the types needs, sorted.
func actionsFor(types []string) []string {
	all := map[string]bool{}
	for x := range expanded(types) {
		for _, a := range append(needs[x][:len(needs[x]):len(needs[x])], beyond[x]...) {
			all[a] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// resource is an example of what an action is taken on in a deployment. The
// simulation compares it with a policy's resources as texts, so that a policy
// narrowed to the stack's names is judged as it will be used.
func (e *exam) resource(action string) string {
	stack := e.stackName
	if stack == "" {
		stack = "waybill"
	}
	arn := func(service, rest string) string {
		return "arn:" + e.partition + ":" + service + ":" + e.cfg.Region + ":" + e.account + ":" + rest
	}
	global := func(service, rest string) string {
		return "arn:" + e.partition + ":" + service + "::" + e.account + ":" + rest
	}
	flows := stack + "-Flows-EXAMPLE-"
	service, verb, _ := strings.Cut(action, ":")
	switch service {
	case "cloudformation":
		return arn(service, "stack/"+stack+"/*")
	case "kms":
		if verb == "CreateKey" {
			return "*" // there is no key yet
		}
		return arn(service, "key/EXAMPLE")
	case "dynamodb":
		return arn(service, "table/"+stack+"-Data-EXAMPLE-Documents")
	case "s3":
		switch verb {
		case "GetObject", "PutObject":
			return "arn:" + e.partition + ":s3:::" + e.bucketName() + "/example"
		case "ListBucket":
			return "arn:" + e.partition + ":s3:::" + e.bucketName()
		}
		return "arn:" + e.partition + ":s3:::" + strings.ToLower(stack) + "-data-example-raw-example"
	case "sqs", "sns":
		return arn(service, flows+"EXAMPLE")
	case "events":
		switch {
		case strings.HasSuffix(verb, "Archive"):
			return arn(service, "archive/"+stack+"-Archive-EXAMPLE")
		case strings.Contains(verb, "Rule") || strings.Contains(verb, "Targets"):
			return arn(service, "rule/"+flows+"SweepRule")
		}
		return arn(service, "event-bus/"+flows+"bus")
	case "logs":
		if strings.HasSuffix(verb, "LogDelivery") || strings.HasSuffix(verb, "LogDeliveries") || strings.Contains(verb, "ResourcePolic") {
			return "*"
		}
		return arn(service, "log-group:"+flows+"Log:*")
	case "iam":
		if strings.HasSuffix(verb, "Role") || strings.Contains(verb, "RolePolic") || strings.HasSuffix(verb, "AssumeRolePolicy") {
			return global(service, "role/"+flows+"Role")
		}
		return global(service, "policy/"+flows+"Access")
	case "lambda":
		if strings.HasSuffix(verb, "EventSourceMapping") {
			return arn(service, "event-source-mapping:EXAMPLE")
		}
		return arn(service, "function:"+flows+"WebhookReceive")
	case "apigateway":
		return "arn:" + e.partition + ":apigateway:" + e.cfg.Region + "::/apis"
	case "states":
		return arn(service, "stateMachine:"+flows+"Fulfillment")
	case "cloudwatch":
		return arn(service, "alarm:"+flows+"Alarm")
	case "codedeploy":
		return arn(service, "application:"+stack+"-FrontDeployments-EXAMPLE")
	case "cloudfront":
		return global(service, "distribution/EXAMPLE")
	case "wafv2":
		return "arn:" + e.partition + ":wafv2:us-east-1:" + e.account + ":global/webacl/EXAMPLE/EXAMPLE"
	}
	return "*"
}
