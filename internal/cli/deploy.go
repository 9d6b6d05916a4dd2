//go:build unix

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/deploy"
)

type deployCmd struct {
	Environment string `required:"" help:"Environment of samconfig.toml: one for each partner account."`
	AWSOnly     string `name:"aws-only" enum:",region,edge" default:"" help:"Deploy a part of infra/aws-only.yaml beside the environment's stack instead: region or edge."`
	Yes         bool   `help:"Do not ask."`
	JSON        bool   `name:"json" help:"Print JSON: account, region, stack and its outputs."`
}

// Run builds the functions, uploads them and brings the environment's stack to
// the template.
func (c deployCmd) Run(ctx context.Context, s streams) error {
	top, err := root()
	if err != nil {
		return err
	}
	env, err := deploy.ReadEnvironment(filepath.Join(top, "samconfig.toml"), c.Environment)
	if err != nil {
		return err
	}
	var options []func(*config.LoadOptions) error
	if env.Region != "" {
		options = append(options, config.WithRegion(env.Region))
	}
	if env.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(env.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("loading the AWS configuration of environment %s: %w", env.Name, err)
	}
	if cfg.Region == "" {
		return fmt.Errorf("environment %s: no region; set region in samconfig.toml or AWS_REGION", env.Name)
	}
	me, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("asking AWS who deploys (are the credentials of environment %s there?): %w", env.Name, err)
	}
	account := aws.ToString(me.Account)
	say := func(format string, args ...any) {
		to := s.out
		if c.JSON {
			to = s.err
		}
		_, _ = fmt.Fprintf(to, format+"\n", args...)
	}
	what := "stack " + env.Stack
	if c.AWSOnly != "" {
		what = "part " + c.AWSOnly + " beside " + what
	}
	say("environment %s: %s in account %s, %s", env.Name, what, account, cfg.Region)
	if env.Confirm && !c.Yes {
		_, _ = fmt.Fprint(s.err, "deploy? [y/N] ")
		answer, _ := bufio.NewReader(s.in).ReadString('\n') // an end of input is a no
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("nothing was deployed; answer y, or give --yes")
		}
	}
	stack, region := env.Stack, cfg.Region
	var outputs map[string]string
	if c.AWSOnly == "" {
		outputs, err = deployTo(ctx, cfg, account, top, env, say)
	} else {
		stack, region, outputs, err = deployBeside(ctx, cfg, account, top, env, c.AWSOnly, say)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"environment": env.Name, "account": account, "region": region, "stack": stack, "outputs": outputs})
	}
	for _, k := range slices.Sorted(maps.Keys(outputs)) {
		say("  %s  %s", k, outputs[k])
	}
	return nil
}

func deployTo(ctx context.Context, cfg aws.Config, account, top string, env deploy.Environment, say func(string, ...any)) (map[string]string, error) {
	arch, ok := map[string]string{"": "arm64", "arm64": "arm64", "x86_64": "amd64"}[env.Parameters["Architecture"]]
	if !ok {
		return nil, fmt.Errorf("environment %s: parameter Architecture is %q; it must be arm64 or x86_64", env.Name, env.Parameters["Architecture"])
	}
	began := time.Now()
	functions, err := build.Functions(ctx, build.Options{Root: top, GOARCH: arch, Out: filepath.Join(top, ".waybill", "build-"+arch)})
	if err != nil {
		return nil, err
	}
	say("✓ %d functions for %s  %.1f s", len(functions), arch, time.Since(began).Seconds())
	began = time.Now()
	url, err := deploy.Package(ctx, deploy.Options{AWS: cfg, Bucket: artifacts(account, cfg.Region),
		Template: filepath.Join(top, "template.yaml"), Code: build.Archives(functions)})
	if err != nil {
		return nil, err
	}
	say("✓ uploaded  %.1f s", time.Since(began).Seconds())
	began = time.Now()
	rollback, note, err := deploy.Rollback(ctx, cfg, env)
	if err != nil {
		return nil, err
	}
	if note != "" {
		say("! %s", note)
	}
	outputs, err := deploy.Deploy(ctx, cfg, deploy.Stack{Name: env.Stack, TemplateURL: url, Parameters: env.Parameters, Rollback: rollback, Profile: env.Profile,
		Tags: map[string]string{"waybill:partner": env.Parameters["Partner"]}})
	if err != nil {
		return nil, err
	}
	say("✓ stack %s  %.1f s", env.Stack, time.Since(began).Seconds())
	return outputs, nil
}
