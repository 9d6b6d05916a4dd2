package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// uploads is how many objects are sent at once.
const uploads = 8

// store is the bucket of the artefacts.
type store struct {
	client         *s3.Client
	bucket, region string
	objects        map[string][]byte
}

// openStore makes sure that the bucket exists.
func openStore(ctx context.Context, config aws.Config, bucket string) (*store, error) {
	client := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
	s := &store{client: client, bucket: bucket, region: config.Region, objects: map[string][]byte{}}
	_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	var missing *types.NotFound
	if errors.As(err, &missing) {
		err = s.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", bucket, err)
	}
	return s, nil
}

func (s *store) create(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &s.bucket}
	// The region where S3 began is the one that must not be named.
	if s.region != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.region)}
	}
	_, err := s.client.CreateBucket(ctx, in)
	var ours *types.BucketAlreadyOwnedByYou
	if errors.As(err, &ours) {
		return nil
	}
	return err
}

// put notes an object for upload and returns its key, the hash of its content.
func (s *store) put(data []byte, ext string) string {
	sum := sha256.Sum256(data)
	key := hex.EncodeToString(sum[:]) + ext
	s.objects[key] = data
	return key
}

// upload sends what is not in the bucket yet.
func (s *store) upload(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for key, data := range s.objects {
		group.Go(func() error {
			_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
			var missing *types.NotFound
			if err == nil || !errors.As(err, &missing) {
				return wrap("looking for an artefact", err)
			}
			_, err = s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(data)})
			return wrap("uploading an artefact", err)
		})
	}
	return group.Wait()
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// url is path style: CloudFormation takes it in every region, and a local AWS
// reads nothing else.
func (s *store) url(key string) string {
	domain := "amazonaws.com"
	if strings.HasPrefix(s.region, "cn-") {
		domain += ".cn"
	}
	return "https://s3." + s.region + "." + domain + "/" + s.bucket + "/" + key
}

func (s *store) reference(key string, f form) any {
	switch f {
	case bucketKey:
		return &object{fields: []field{{"Bucket", s.bucket}, {"Key", key}}}
	case lambdaArchive:
		return &object{fields: []field{{"S3Bucket", s.bucket}, {"S3Key", key}}}
	case address:
		return s.url(key)
	default:
		return "s3://" + s.bucket + "/" + key
	}
}
