//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/partner"
)

// target is the stack that a configuration belongs to.
type target struct {
	Dir   string `required:"" help:"The partner's folder: partner.yaml and retailers/<tenant>.yaml."`
	Stack string `help:"The CloudFormation stack in the AWS account of the current credentials; the local platform if empty."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

type planCmd struct {
	target
}

type applyCmd struct {
	target
	DryRun bool `help:"Show the difference and change nothing, as plan does."`
}

// Run shows what apply would change. A folder that is wrong ends with 1.
func (c planCmd) Run(ctx context.Context, s streams) error {
	_, plan, err := c.plan(ctx, s)
	if err != nil {
		return err
	}
	return c.show(s, plan, nil)
}

// Run brings the stack to what the folder says.
func (c applyCmd) Run(ctx context.Context, s streams) error {
	p, plan, err := c.plan(ctx, s)
	if err != nil {
		return err
	}
	versions := map[string]int64{}
	if !c.DryRun && !plan.Empty() {
		applied, err := partner.Apply(ctx, p.Store, p.Sealer(), plan, time.Now())
		if err != nil {
			return err
		}
		for _, r := range applied {
			versions[r.Tenant.String()] = r.Version
		}
	}
	return c.show(s, plan, versions)
}

func (c target) plan(ctx context.Context, s streams) (*boot.Platform, partner.Plan, error) {
	at, unreachable := c.attach(ctx)
	folder, err := partner.Load(c.Dir, at.env)
	if err == nil {
		err = unreachable
	}
	if err == nil {
		err = folder.Belongs(at.partner)
	}
	var plan partner.Plan
	if err == nil {
		plan, err = partner.Compare(ctx, at.platform.Store, at.platform.Sealer(), folder)
	}
	var problems partner.Problems
	if !errors.As(err, &problems) {
		return at.platform, plan, err
	}
	if c.JSON {
		out := map[string]any{"valid": false, "problems": problems}
		if unreachable != nil {
			out["unreachable"] = unreachable.Error()
		}
		if err := printJSON(s.out, out); err != nil {
			return nil, plan, err
		}
		return nil, plan, errSilent
	}
	// A folder can be checked without its stack, but it may be why variables
	// are not set.
	if unreachable != nil {
		_, _ = fmt.Fprintf(s.err, "waybill: %v\nwithout it, the folder has these problems:\n", unreachable)
	}
	_, _ = fmt.Fprintf(s.err, "%s\nwaybill: %d problems; nothing was changed\n", problems.Error(), len(problems))
	return nil, plan, errSilent
}

// attached is the stack that a command names, whose it is, and where its
// folder's variables come from: the environment, and for the local platform what
// the demo's files need.
type attached struct {
	platform *boot.Platform
	partner  string
	env      func(string) (string, bool)
}

// attach opens the stack; where it cannot be reached, variables come from the
// environment alone.
func (c target) attach(ctx context.Context) (attached, error) {
	if c.Stack != "" {
		p, owner, err := remote(ctx, c.Stack)
		return attached{p, owner, os.LookupEnv}, err
	}
	l, p, err := attach()
	if err != nil {
		return attached{env: os.LookupEnv}, fmt.Errorf("%w; for a stack in an AWS account give --stack", err)
	}
	return attached{p, l.Partner, func(name string) (string, bool) {
		if v, ok := os.LookupEnv(name); ok {
			return v, true
		}
		v, ok := l.Variables[name]
		return v, ok
	}}, nil
}

// remote opens a stack in the account of the current AWS credentials, and tells
// whose it is.
func remote(ctx context.Context, stack string) (p *boot.Platform, owner string, err error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("loading the AWS configuration: %w", err)
	}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &stack})
	if err != nil {
		return nil, "", fmt.Errorf("reading stack %s (are AWS_PROFILE and AWS_REGION right?): %w", stack, err)
	}
	outputs := map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	if outputs["ConfigTable"] == "" {
		return nil, "", fmt.Errorf("stack %s has no output ConfigTable; it is not one of this template", stack)
	}
	for _, x := range out.Stacks[0].Parameters {
		if aws.ToString(x.ParameterKey) == "Partner" {
			owner = aws.ToString(x.ParameterValue)
		}
	}
	return boot.For(cfg, demo.Environment(outputs), slog.New(slog.DiscardHandler)), owner, nil
}

// show prints a plan, and the versions that it came to where it was applied.
func (c target) show(s streams, plan partner.Plan, versions map[string]int64) error {
	if c.JSON {
		changes := plan.Changes
		if changes == nil {
			changes = []partner.Change{}
		}
		out := map[string]any{"valid": true, "changes": changes, "empty": plan.Empty(), "applied": len(versions) > 0}
		if len(versions) > 0 {
			out["versions"] = versions
		}
		return printJSON(s.out, out)
	}
	var b strings.Builder
	of := ""
	for _, x := range plan.Changes {
		if x.Of != of {
			of = x.Of
			if v, ok := versions[of]; ok {
				fmt.Fprintf(&b, "%s (version %d)\n", of, v)
			} else {
				fmt.Fprintln(&b, of)
			}
		}
		fmt.Fprintln(&b, x)
	}
	switch {
	case plan.Empty():
		fmt.Fprintln(&b, "nothing to change: the stack is what the folder says")
	case len(versions) > 0:
		fmt.Fprintln(&b, "applied; functions see it within a minute")
	default:
		fmt.Fprintf(&b, "to make it so: waybill apply --dir %s\n", c.Dir)
	}
	_, err := fmt.Fprint(s.out, b.String())
	return err
}

type connectors struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type connectorRow struct {
	Connector    string               `json:"connector"`
	Capabilities []catalog.Capability `json:"capabilities"`
	// Cases counts the conformance suite's cases by outcome; empty for a
	// connector that has not been through it.
	Cases map[string]int `json:"conformance,omitempty"`
}

// Run lists what each connector can do and how it fared in the conformance
// suite.
func (c connectors) Run(s streams) error {
	top, err := root()
	if err != nil {
		return err
	}
	var rows []connectorRow
	for _, name := range catalog.Names() {
		opened, err := catalog.Open(name, json.RawMessage(catalog.Bare(name)), nil, nil, time.Now)
		if err != nil {
			return err
		}
		r := connectorRow{Connector: name, Capabilities: catalog.Capabilities(opened)}
		if r.Cases, err = fared(filepath.Join(top, "internal", "connector", name, "testdata", "conformance.json")); err != nil {
			return err
		}
		rows = append(rows, r)
	}
	if c.JSON {
		return printJSON(s.out, rows)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, r := range rows {
		cases := "not yet through the conformance suite"
		if len(r.Cases) > 0 {
			var parts []string
			for _, outcome := range slices.Sorted(maps.Keys(r.Cases)) {
				parts = append(parts, fmt.Sprintf("%d %s", r.Cases[outcome], outcome))
			}
			cases = "conformance: " + strings.Join(parts, ", ")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\n", r.Connector, cases)
		for _, can := range r.Capabilities {
			_, _ = fmt.Fprintf(w, "\t  %s\n", can)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "case by case: internal/connector/CONFORMANCE.md")
	return err
}

// fared counts the outcomes that a connector's suite has recorded.
func fared(path string) (map[string]int, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading how the connector fared: %w", err)
	}
	var record struct {
		Cases []struct {
			Outcome string `json:"outcome"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[string]int{}
	for _, c := range record.Cases {
		out[c.Outcome]++
	}
	return out, nil
}
