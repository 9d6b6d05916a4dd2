// Package partners deploys two partners' environments of samconfig.toml side
// by side, each into an account of its own.
package partners_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/deploy"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

// account is one partner's.
type account struct {
	*testing.T
	env       deploy.Environment
	cfg       aws.Config
	id        string
	outputs   map[string]string
	resources map[string]string // logical path → physical id
}

func open(t *testing.T, root, name string, functions []build.Function) *account {
	t.Helper()
	env, err := deploy.ReadEnvironment(filepath.Join(root, "samconfig.toml"), name)
	if err != nil {
		t.Fatal(err)
	}
	a := &account{T: t, env: env, id: localtest.Account()}
	a.cfg = localtest.ConfigFor(localtest.Endpoint(t), a.id)
	if env.Region != "" {
		a.cfg.Region = env.Region
	}
	url, err := deploy.Package(t.Context(), deploy.Options{AWS: a.cfg, Bucket: "artifacts-" + a.id, Template: filepath.Join(root, "template.yaml"), Code: build.Archives(functions)})
	if err != nil {
		t.Fatal(err)
	}
	parameters := maps.Clone(env.Parameters)
	parameters["Architecture"] = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH] // what was built
	if a.outputs, err = deploy.Deploy(t.Context(), a.cfg, deploy.Stack{Name: env.Stack, TemplateURL: url, Parameters: parameters}); err != nil {
		t.Fatal(err)
	}
	a.resources = map[string]string{}
	a.collect(env.Stack, "")
	return a
}

func (a *account) collect(stack, prefix string) {
	a.Helper()
	pages := cloudformation.NewListStackResourcesPaginator(cloudformation.NewFromConfig(a.cfg), &cloudformation.ListStackResourcesInput{StackName: &stack})
	for pages.HasMorePages() {
		page, err := pages.NextPage(a.Context())
		if err != nil {
			a.Fatal(err)
		}
		for _, r := range page.StackResourceSummaries {
			path := prefix + aws.ToString(r.LogicalResourceId)
			a.resources[path] = aws.ToString(r.PhysicalResourceId)
			if aws.ToString(r.ResourceType) == "AWS::CloudFormation::Stack" {
				a.collect(aws.ToString(r.PhysicalResourceId), path+"/")
			}
		}
	}
}

// everything is all that the account can be seen to hold, as text.
func (a *account) everything() string {
	raw, err := json.Marshal([]any{a.outputs, a.resources})
	if err != nil {
		a.Fatal(err)
	}
	return string(raw)
}

func (a *account) tables() []string {
	a.Helper()
	out, err := dynamodb.NewFromConfig(a.cfg).ListTables(a.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		a.Fatal(err)
	}
	slices.Sort(out.TableNames)
	return out.TableNames
}

func (a *account) table(name string) (*types.TableDescription, error) {
	out, err := dynamodb.NewFromConfig(a.cfg).DescribeTable(context.WithoutCancel(a.Context()), &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		return nil, err
	}
	return out.Table, nil
}

func TestTwoPartnersShareNothing(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	functions, err := build.Functions(t.Context(), build.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	demo, acme := open(t, root, "default", functions), open(t, root, "acme", functions)
	if len(demo.resources) < 80 || len(acme.resources) < 80 {
		t.Fatalf("%d and %d resources", len(demo.resources), len(acme.resources))
	}

	t.Run("no shared name", func(t *testing.T) {
		for path, physical := range demo.resources {
			other := acme.resources[path]
			// A bare name may be equal in two accounts only where AWS keeps it
			// apart by account; what is global must differ.
			if physical == other && (strings.HasPrefix(physical, "arn:") || strings.Contains(path, "Raw") || strings.Contains(physical, "://")) {
				t.Errorf("%s is %s in both accounts", path, physical)
			}
		}
	})
	t.Run("no shared word", func(t *testing.T) {
		for _, pair := range []struct{ of, not *account }{{demo, acme}, {acme, demo}} {
			all := pair.of.everything()
			if strings.Contains(all, pair.not.id) {
				t.Errorf("%s's account number appears at %s", pair.not.env.Name, pair.of.env.Name)
			}
			word := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(pair.not.env.Parameters["Partner"]) + `\b`)
			if at := word.FindString(all); at != "" {
				t.Errorf("the word %q appears at %s", at, pair.of.env.Name)
			}
		}
	})
	t.Run("deletion leaves the data and nothing else", func(t *testing.T) {
		before, others := acme.tables(), demo.tables()
		if err := deploy.Delete(t.Context(), acme.cfg, acme.env.Stack); err != nil {
			t.Fatal(err)
		}
		if after := acme.tables(); len(before) == 0 || !slices.Equal(before, after) {
			t.Errorf("tables before %v, after %v", before, after)
		}
		if tab, err := acme.table(acme.outputs["DocumentsTable"]); err != nil || !aws.ToBool(tab.DeletionProtectionEnabled) {
			t.Errorf("the documents are not protected: %v", err)
		}
		left, err := remaining(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if !slices.Equal(others, demo.tables()) {
			t.Error("the other partner's tables changed")
		}
		demo.resources = map[string]string{}
		demo.collect(demo.env.Stack, "")
		if len(demo.resources) < 80 {
			t.Errorf("the other partner has %d resources left", len(demo.resources))
		}
	})
}

// remaining lists what of the flows outlived them.
func remaining(ctx context.Context, a *account) ([]string, error) {
	var left []string
	client := cloudformation.NewFromConfig(a.cfg)
	flows := a.resources["Flows"]
	out, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &flows})
	if err == nil && len(out.Stacks) > 0 && out.Stacks[0].StackStatus != "DELETE_COMPLETE" {
		left = append(left, flows)
	}
	var api interface{ ErrorCode() string }
	if err != nil && !errors.As(err, &api) {
		return nil, err
	}
	return append(left, live(ctx, a)...), nil
}
