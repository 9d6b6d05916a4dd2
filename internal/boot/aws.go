package boot

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"
)

// configuration reads what Lambda, and the local AWS, tell a function of AWS:
// region, credentials and an endpoint. The SDK's own reader finds profiles, roles,
// single sign-on and instances too, with a client for each, which no function has
// and every archive would carry. What it sets where nothing is said is set here.
func configuration(env func(string) string) (aws.Config, error) {
	cfg := aws.Config{
		Region:                      env("AWS_REGION"),
		Logger:                      logging.NewStandardLogger(os.Stderr),
		DefaultsMode:                aws.DefaultsModeLegacy,
		RequestMinCompressSizeBytes: 10240,
		AccountIDEndpointMode:       aws.AccountIDEndpointModePreferred,
		RequestChecksumCalculation:  aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation:  aws.ResponseChecksumValidationWhenSupported,
		RestrictFilePermissions:     aws.RestrictFilePermissionsUserReadWrite,
	}
	if cfg.Region == "" {
		return cfg, errors.New("AWS_REGION is not set")
	}
	own := aws.Credentials{AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"),
		SessionToken: env("AWS_SESSION_TOKEN"), AccountID: env("AWS_ACCOUNT_ID"), Source: "EnvConfigCredentials"}
	if !own.HasKeys() {
		return cfg, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
	}
	cfg.Credentials = aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: own, Source: []aws.CredentialSource{aws.CredentialSourceEnvVars}})
	if url := env("AWS_ENDPOINT_URL"); url != "" {
		cfg.BaseEndpoint = &url
	}
	cfg.ConfigSources = []any{endpoints(env)}
	return cfg, nil
}

// endpoints are those that the environment names for single services: a private
// one, or one that is watched. Clients look for this method.
type endpoints func(string) string

func (env endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (url string, found bool, err error) {
	url = env("AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_")))
	return url, url != "", nil
}
