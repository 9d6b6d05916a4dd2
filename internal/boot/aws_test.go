package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// inLambda sets what Lambda sets, and nothing else of AWS.
func inLambda(t *testing.T, more map[string]string) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none,
		"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
		"AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023", "AWS_LAMBDA_FUNCTION_NAME": "order-intake", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"} {
		t.Setenv(name, v)
	}
	for name, v := range more {
		t.Setenv(name, v)
	}
}

// An update of the SDK that sets something more is noticed here.
func TestAFunctionsConfigurationIsTheSDKsOwn(t *testing.T) {
	for name, more := range map[string]map[string]string{
		"on AWS":                              nil,
		"on a local AWS":                      {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_SESSION_TOKEN": ""},
		"with its account":                    {"AWS_ACCOUNT_ID": "111122223333"},
		"with an endpoint of one service":     {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"},
		"and with one of the others":          {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000", "AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
		"with an endpoint of another service": {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8000"},
	} {
		t.Run(name, func(t *testing.T) {
			inLambda(t, more)
			want, err := config.LoadDefaultConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := configuration(os.Getenv)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := want.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ours, err := got.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if ours != theirs {
				t.Errorf("credentials are %+v, want %+v", ours, theirs)
			}
			sources := func(c aws.Config) []aws.CredentialSource {
				return c.Credentials.(aws.CredentialProviderSource).ProviderSources()
			}
			if a, b := sources(got), sources(want); !reflect.DeepEqual(a, b) {
				t.Errorf("credentials come from %v, want %v", a, b)
			}
			a, b := reflect.ValueOf(got), reflect.ValueOf(want)
			for i := range a.NumField() {
				switch f := a.Type().Field(i).Name; f {
				case "Credentials", "ConfigSources":
				case "Logger": // writes where standard error is
					if a, b := a.Field(i).Elem().Type(), b.Field(i).Elem().Type(); a != b {
						t.Errorf("Logger is a %v, want a %v", a, b)
					}
				case "Interceptors": // empty lists are none
					if a, b := fmt.Sprint(a.Field(i)), fmt.Sprint(b.Field(i)); a != b {
						t.Errorf("Interceptors are %s, want %s", a, b)
					}
				default:
					if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
						t.Errorf("%s is %v, want %v", f, a.Field(i), b.Field(i))
					}
				}
			}
			// What clients look up in the sources is the same.
			dynamoA, dynamoB := dynamodb.NewFromConfig(got).Options(), dynamodb.NewFromConfig(want).Options()
			if !reflect.DeepEqual(dynamoA.BaseEndpoint, dynamoB.BaseEndpoint) || dynamoA.EndpointDiscovery != dynamoB.EndpointDiscovery ||
				dynamoA.EndpointOptions != dynamoB.EndpointOptions || dynamoA.Retryer.MaxAttempts() != dynamoB.Retryer.MaxAttempts() || dynamoA.RetryMode != dynamoB.RetryMode {
				t.Errorf("DynamoDB's options are %+v, want %+v", dynamoA, dynamoB)
			}
			s3A, s3B := s3.NewFromConfig(got).Options(), s3.NewFromConfig(want).Options()
			if !reflect.DeepEqual(s3A.BaseEndpoint, s3B.BaseEndpoint) || s3A.UseARNRegion != s3B.UseARNRegion || s3A.DisableMultiRegionAccessPoints != s3B.DisableMultiRegionAccessPoints ||
				!reflect.DeepEqual(s3A.DisableS3ExpressSessionAuth, s3B.DisableS3ExpressSessionAuth) || s3A.EndpointOptions != s3B.EndpointOptions {
				t.Errorf("S3's options are %+v, want %+v", s3A, s3B)
			}
		})
	}
}

func TestAFunctionWithoutRegionOrCredentialsSaysSo(t *testing.T) {
	for _, missing := range []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		inLambda(t, map[string]string{missing: ""})
		if _, err := configuration(os.Getenv); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}
