package blob_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybillhq/waybill/internal/awsfault"
	"github.com/waybillhq/waybill/internal/blob"
	"github.com/waybillhq/waybill/internal/blob/drivertest"
	"github.com/waybillhq/waybill/internal/local/localtest"
)

func client(cfg aws.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
}

func opened(t *testing.T, faults *awsfault.Injector) drivertest.Bucket {
	t.Helper()
	cfg := localtest.Config(t)
	name := "raw-" + localtest.Account()
	if _, err := client(cfg).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	if faults != nil {
		cfg = faults.Configure(cfg)
	}
	return blob.Bucket{Client: client(cfg), Name: name}
}

func TestS3PassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Bucket { return opened(t, nil) })
}

func TestS3PassesTheSuiteUnderFaults(t *testing.T) {
	for _, kind := range []awsfault.Kind{awsfault.Throttle, awsfault.Timeout, awsfault.Lost} {
		t.Run(string(kind), func(t *testing.T) {
			befallen := 0
			drivertest.Run(t, func(t *testing.T) drivertest.Bucket {
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
