//go:build unix

package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/doctor/doctortest"
	localaws "github.com/waybillhq/waybill/internal/local/aws"
	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

// app is a copy of the sample application that a test may change.
type app struct {
	dir    string
	code   map[string]string
	config aws.Config
	server *localaws.Server
}

func newApp(t *testing.T) *app {
	t.Helper()
	built, err := build.Functions(t.Context(), build.Options{Root: "testdata/app", Out: filepath.Join(t.TempDir(), "build")})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{dir: t.TempDir(), code: map[string]string{}}
	if err := os.CopyFS(a.dir, os.DirFS("testdata/app")); err != nil {
		t.Fatal(err)
	}
	for _, f := range built {
		a.code[filepath.Join(a.dir, "functions", f.Name)] = f.Zip
	}
	a.server = enforcing(t)
	a.config = localtest.ConfigFor(a.server, a.server.Account)
	return a
}

// enforcing starts an emulator in which functions have their roles' permissions
// alone, and stacks need the capabilities that they need on AWS.
func enforcing(t *testing.T) *localaws.Server {
	t.Helper()
	home, err := localaws.SharedHome()
	if err != nil {
		t.Fatal(err)
	}
	s, err := localaws.Start(t.Context(), localaws.Config{Dir: t.TempDir(), Home: home, EnforceIAM: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Process.Kill)
	return s
}

func (a *app) deploy(ctx context.Context, parameters map[string]string) (map[string]string, error) {
	url, err := deploy.Package(ctx, deploy.Options{AWS: a.config, Bucket: "artefacts", Template: filepath.Join(a.dir, "template.yaml"), Code: a.code})
	if err != nil {
		return nil, err
	}
	all := map[string]string{"Architecture": map[string]string{"amd64": "x86_64"}[runtime.GOARCH]}
	if all["Architecture"] == "" {
		all["Architecture"] = runtime.GOARCH
	}
	for k, v := range parameters {
		all[k] = v
	}
	return deploy.Deploy(ctx, a.config, deploy.Stack{Name: "sample", TemplateURL: url, Parameters: all})
}

func (a *app) edit(t *testing.T, file, old, new string) {
	t.Helper()
	path := filepath.Join(a.dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not contain %q", file, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *app) get(t *testing.T, api, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.server.APIURL(api)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestDeployAndUpdateAnUnmodifiedTemplate(t *testing.T) {
	a, ctx := newApp(t), t.Context()
	began := time.Now()
	out, err := a.deploy(ctx, map[string]string{"Greeting": "good morning"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("deployed in %v", time.Since(began))
	if status, body := a.get(t, out["ApiId"], "/hello"); status != 200 || body != "good morning "+out["TableName"] {
		t.Errorf("the function answers %d %q", status, body)
	}
	if got := a.run(t, out["Machine"]); !strings.Contains(got, "good morning") {
		t.Errorf("the state machine answers %q", got)
	}

	began = time.Now()
	again, err := a.deploy(ctx, map[string]string{"Greeting": "good morning"})
	if err != nil {
		t.Fatalf("deploying the same again: %v", err)
	}
	t.Logf("found nothing to do in %v", time.Since(began))
	if again["ApiId"] != out["ApiId"] {
		t.Errorf("the API changed from %s to %s", out["ApiId"], again["ApiId"])
	}

	a.edit(t, "infra/flows.yaml", "Path: /hello", "Path: /hi")
	began = time.Now()
	if out, err = a.deploy(ctx, map[string]string{"Greeting": "good evening"}); err != nil {
		t.Fatalf("updating: %v", err)
	}
	t.Logf("updated in %v", time.Since(began))
	if out["TableName"] != again["TableName"] || out["ApiId"] != again["ApiId"] {
		t.Errorf("the update replaced what it need not: %v, was %v", out, again)
	}
	if status, body := a.get(t, out["ApiId"], "/hi"); status != 200 || body != "good evening "+out["TableName"] {
		t.Errorf("the updated function answers %d %q", status, body)
	}
	if status, _ := a.get(t, out["ApiId"], "/hello"); status != 404 {
		t.Errorf("the route that was removed answers %d", status)
	}

	if err := deploy.Delete(ctx, a.config, "sample"); err != nil {
		t.Fatalf("deleting: %v", err)
	}
	if err := deploy.Delete(ctx, a.config, "sample"); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

// run executes the state machine and returns its output.
func (a *app) run(t *testing.T, machine string) string {
	t.Helper()
	client := sfn.NewFromConfig(a.config)
	started, err := client.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &machine, Input: aws.String("{}")})
	if err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil {
		e, err := client.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: started.ExecutionArn})
		if err != nil {
			t.Fatal(err)
		}
		switch e.Status {
		case sfntypes.ExecutionStatusRunning:
			continue
		case sfntypes.ExecutionStatusSucceeded:
			return *e.Output
		}
		t.Fatalf("the execution ended in %s: %s", e.Status, aws.ToString(e.Cause))
	}
	return ""
}

func TestAFailureNamesTheResourceInTheNestedStack(t *testing.T) {
	a := newApp(t)
	const broken = `  Broken:
    Type: AWS::SQS::Queue
    Properties: {QueueName: "{{resolve:ssm:/not/there}}"}
`
	a.edit(t, "infra/flows.yaml", "  Machine:\n    Type", broken+"  Machine:\n    Type")
	_, err := a.deploy(t.Context(), nil)
	var failed *deploy.FailedError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a FailedError", err)
	}
	if text := fmt.Sprint(failed.Failures); !strings.Contains(text, "Flows") || !strings.Contains(text, "Broken") {
		t.Errorf("no failure names the resource: %v", err)
	}

	if !strings.Contains(err.Error(), "goes on from there") {
		t.Errorf("the failure does not say what comes next: %v", err)
	}
	made := a.tables(t)

	if _, err := a.deploy(t.Context(), nil); !errors.As(err, &failed) {
		t.Errorf("deploying the same again: %v, want a FailedError", err)
	}
	a.edit(t, "infra/flows.yaml", broken, "")
	out, err := a.deploy(t.Context(), nil)
	if err != nil {
		t.Fatalf("deploying the corrected template after a creation that failed: %v", err)
	}
	if now := a.tables(t); len(made) != 1 || !slices.Equal(now, made) || out["TableName"] != made[0] {
		t.Errorf("the failed creation made tables %v; there are %v, and the stack has %s", made, now, out["TableName"])
	}
	a.edit(t, "infra/flows.yaml", "  Machine:\n    Type", broken+"  Machine:\n    Type")
	if _, err := a.deploy(t.Context(), nil); !errors.As(err, &failed) || !strings.Contains(fmt.Sprint(failed.Failures), "Broken") {
		t.Errorf("got %v, want a FailedError of the update", err)
	}
	a.edit(t, "infra/flows.yaml", broken, "")
	a.edit(t, "infra/flows.yaml", "Path: /hello", "Path: /hi")
	if out, err = a.deploy(t.Context(), nil); err != nil {
		t.Fatalf("deploying the corrected template after an update that failed: %v", err)
	}
	if status, body := a.get(t, out["ApiId"], "/hi"); status != 200 {
		t.Errorf("the corrected API answers %d %q", status, body)
	}
}

// tables are the names of all tables of the account.
func (a *app) tables(t *testing.T) []string {
	t.Helper()
	out, err := dynamodb.NewFromConfig(a.config).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	return out.TableNames
}

// Another tool takes a failed creation back, and what is retained has no stack then.
func TestAStackThatLeftTablesBehindIsNotMadeAnew(t *testing.T) {
	cfg := localtest.Config(t)
	client := cloudformation.NewFromConfig(cfg)
	const table = `  Table:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties: {BillingMode: PAY_PER_REQUEST, AttributeDefinitions: [{AttributeName: PK, AttributeType: S}], KeySchema: [{AttributeName: PK, KeyType: HASH}]}
`
	create := func(name, resources string) {
		t.Helper()
		body := "AWSTemplateFormatVersion: \"2010-09-09\"\nResources:\n" + resources + `  Broken:
    Type: AWS::SQS::Queue
` + map[bool]string{true: "    DependsOn: Table\n"}[resources != ""] + `    Properties: {QueueName: "{{resolve:ssm:/not/there}}"}
`
		if _, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: &name, TemplateBody: &body}); err != nil {
			t.Fatal(err)
		}
		for status := cfntypes.StackStatusCreateInProgress; status != cfntypes.StackStatusRollbackComplete; {
			out, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &name})
			if err != nil {
				t.Fatal(err)
			}
			status = out.Stacks[0].StackStatus
		}
	}
	dir := t.TempDir()
	template := filepath.Join(dir, "template.yaml")
	if err := os.WriteFile(template, []byte("AWSTemplateFormatVersion: \"2010-09-09\"\nResources:\n"+table), 0o600); err != nil {
		t.Fatal(err)
	}
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artefacts-" + localtest.Account(), Template: template})
	if err != nil {
		t.Fatal(err)
	}

	create("left", table)
	_, err = deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "left", TemplateURL: url})
	var refused *deploy.RefusedError
	if !errors.As(err, &refused) || len(refused.Kept) != 1 || !strings.Contains(refused.Kept[0], "Table (AWS::DynamoDB::Table) left-Table-") ||
		!strings.Contains(err.Error(), "aws cloudformation delete-stack --stack-name left") {
		t.Errorf("got %v, want a refusal that names the table", err)
	}
	out, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("left")})
	if err != nil || out.Stacks[0].StackStatus != cfntypes.StackStatusRollbackComplete {
		t.Errorf("the stack was touched: %+v, %v", out, err)
	}

	create("empty", "")
	if _, err := deploy.Deploy(t.Context(), cfg, deploy.Stack{Name: "empty", TemplateURL: url}); err != nil {
		t.Errorf("a stack that has nothing was not made anew: %v", err)
	}
}

func TestAStackThatNothingCanBeUpdatedFromIsLeftAsItIs(t *testing.T) {
	for status, next := range map[string]string{
		"DELETE_FAILED":          "aws cloudformation delete-stack --stack-name waybill",
		"ROLLBACK_FAILED":        "aws cloudformation delete-stack --stack-name waybill",
		"UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name waybill",
	} {
		server := doctortest.Start(t, "testdata/leftover", status)
		_, err := deploy.Deploy(t.Context(), server.Config("eu-central-1"), deploy.Stack{Name: "waybill", TemplateURL: "https://example.com/t", Profile: "acme"})
		next += " --region eu-central-1 --profile acme --endpoint-url " + server.URL
		var refused *deploy.RefusedError
		if !errors.As(err, &refused) || string(refused.Status) != status || !strings.Contains(err.Error(), next) {
			t.Errorf("%s: %v", status, err)
		}
		if asked := server.Asked(); !slices.Equal(asked, []string{"cloudformation.DescribeStacks"}) {
			t.Errorf("%s: asked %q", status, asked)
		}
	}
}

// What a nested stack retains is found although the stack that held it is gone.
func TestWhatANestedStackRetainsIsFound(t *testing.T) {
	server := doctortest.Start(t, "testdata/leftover", "ROLLBACK_COMPLETE")
	_, err := deploy.Deploy(t.Context(), server.Config("eu-central-1"), deploy.Stack{Name: "waybill", TemplateURL: "https://example.com/t"})
	var refused *deploy.RefusedError
	if !errors.As(err, &refused) || !slices.Equal(refused.Kept, []string{
		"Data/Documents (AWS::DynamoDB::Table) waybill-Data-1A2B3C4D5E6F7-Documents-0123456789AB", "Data/Key (AWS::KMS::Key) 1234abcd-12ab-34cd-56ef-1234567890ab"}) {
		t.Errorf("got %v", err)
	}
	if slices.Contains(server.Asked(), "cloudformation.DeleteStack") {
		t.Error("the stack was deleted")
	}
}

func TestANestedTemplateIsCheckedBeforeItIsDeployed(t *testing.T) {
	a := newApp(t)
	a.edit(t, "infra/data.yaml", "AWS::DynamoDB::Table", "AWS::DynamoDB::Tabel")
	_, err := a.deploy(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "AWS::DynamoDB::Tabel") {
		t.Errorf("got %v, want an error that names the unknown type", err)
	}
}

func TestTheSameTemplateIsUploadedUnderTheSameKeys(t *testing.T) {
	config := localtest.Config(t)
	o := deploy.Options{AWS: config, Bucket: "same-keys", Template: "testdata/app/template.yaml"}
	dir, err := filepath.Abs("testdata/app/functions/hello")
	if err != nil {
		t.Fatal(err)
	}
	o.Code = map[string]string{dir: filepath.Join(dir, "main.go")}
	first, err := deploy.Package(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	second, err := deploy.Package(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("got %s, then %s", first, second)
	}
	list, err := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &o.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Contents) != 5 { // three templates, one archive, one state machine
		t.Errorf("got %d objects, want 5", len(list.Contents))
	}
}

func TestACodeFolderWithoutAnArchiveIsNamed(t *testing.T) {
	_, err := deploy.Package(t.Context(), deploy.Options{AWS: localtest.Config(t), Bucket: "not-built", Template: "testdata/app/template.yaml"})
	var te *deploy.TemplateError
	if !errors.As(err, &te) || te.Resource != "Hello" || filepath.Base(te.Path) != "flows.yaml" {
		t.Errorf("got %v, want an error that names Hello in flows.yaml", err)
	}
}

// A connection that breaks after CloudFormation has begun makes the SDK send
// the request again, which is then refused or finds nothing to do.
func TestACreationOrUpdateWhoseAnswerIsLostIsNotTakenForAFailure(t *testing.T) {
	cfg := localtest.Config(t)
	dir := t.TempDir()
	template := filepath.Join(dir, "template.yaml")
	deployed := func(faults *awsfault.Injector, value string) map[string]string {
		t.Helper()
		text := "AWSTemplateFormatVersion: \"2010-09-09\"\nResources:\n  Topic: { Type: \"AWS::SNS::Topic\" }\nOutputs:\n  Said: { Value: " + value + " }\n"
		if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		url, err := deploy.Package(t.Context(), deploy.Options{AWS: cfg, Bucket: "artefacts-" + localtest.Account(), Template: template})
		if err != nil {
			t.Fatal(err)
		}
		out, err := deploy.Deploy(t.Context(), faults.Configure(cfg), deploy.Stack{Name: "lossy", TemplateURL: url})
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		return out
	}
	faults := awsfault.New(rand.New(rand.NewPCG(1, 2)), awsfault.Rule{Kind: awsfault.Lost, Operations: []string{"CreateStack", "UpdateStack"}, Every: 2})
	if out := deployed(faults, "one"); out["Said"] != "one" {
		t.Errorf("created with %v", out)
	}
	if out := deployed(faults, "two"); out["Said"] != "two" {
		t.Errorf("updated to %v", out)
	}
	if n := faults.Count(awsfault.Lost); n < 2 {
		t.Errorf("%d answers were lost", n)
	}
}

func TestAStackIsFoundOnlyUnderItsName(t *testing.T) {
	config := localtest.Config(t)
	if err := deploy.Delete(t.Context(), config, "nothing"); err != nil {
		t.Errorf("deleting a stack that never was: %v", err)
	}
	_, err := deploy.Deploy(t.Context(), config, deploy.Stack{Name: "sample", TemplateURL: "https://s3.us-east-1.amazonaws.com/nowhere/nothing"})
	if err == nil {
		t.Error("deploying a template that does not exist succeeded")
	}
	stacks, err := cloudformation.NewFromConfig(config).ListStacks(t.Context(), &cloudformation.ListStacksInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(stacks.StackSummaries) != 0 {
		t.Errorf("got %d stacks, want none", len(stacks.StackSummaries))
	}
}
