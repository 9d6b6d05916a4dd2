package credential_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/credential"
	"github.com/waybillhq/waybill/internal/credential/drivertest"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

func opened(t *testing.T, faults *awsfault.Injector) drivertest.Sealer {
	t.Helper()
	cfg := localtest.Config(t)
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if faults != nil {
		cfg = faults.Configure(cfg)
	}
	return credential.Sealer{KMS: kms.NewFromConfig(cfg), Key: *key.KeyMetadata.Arn}
}

func TestKMSPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Sealer { return opened(t, nil) })
}

func TestKMSPassesTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout, awsfault.Lost} {
		t.Run(string(kind), func(t *testing.T) {
			befallen := 0
			drivertest.Run(t, func(t *testing.T) drivertest.Sealer {
				faults := awsfault.New(nil, awsfault.Rule{Kind: kind, Every: 2})
				t.Cleanup(func() { befallen += faults.Count(kind) })
				return opened(t, faults)
			})
			if befallen == 0 {
				t.Error("nothing was befallen")
			}
		})
	}
}
