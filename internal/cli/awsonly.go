//go:build unix

package cli

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybillhq/waybill/internal/local/deploy"
)

// originSecret is the variable with the secret that the edge sends to the API. A
// file of environments is no place for it.
const originSecret = "WAYBILL_ORIGIN_SECRET"

// deployBeside deploys a part of infra/aws-only.yaml and returns where it went.
func deployBeside(ctx context.Context, cfg aws.Config, account, top string, env deploy.Environment, part string,
	say func(string, ...any)) (name, region string, outputs map[string]string, err error) {
	read := deploy.Beside
	if part == "edge" {
		read = deploy.Edge
	}
	stack, err := read(ctx, cfg, env)
	if err != nil {
		return "", "", nil, err
	}
	if part == "edge" {
		cfg.Region = deploy.EdgeRegion
		if secret := os.Getenv(originSecret); secret != "" {
			stack.Parameters["OriginSecret"] = secret
		}
	}
	began := time.Now()
	stack.TemplateURL, err = deploy.Package(ctx, deploy.Options{AWS: cfg, Bucket: artifacts(account, cfg.Region),
		Template: filepath.Join(top, "infra", "aws-only.yaml")})
	if err != nil {
		return "", "", nil, err
	}
	if outputs, err = deploy.Deploy(ctx, cfg, stack); err != nil {
		return "", "", nil, err
	}
	say("✓ stack %s in %s  %.1f s", stack.Name, cfg.Region, time.Since(began).Seconds())
	return stack.Name, cfg.Region, outputs, nil
}

// artifacts is the bucket that deployments upload to.
func artifacts(account, region string) string { return "waybill-artifacts-" + account + "-" + region }
