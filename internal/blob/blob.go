// Package blob keeps payloads in S3.
package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/waybillhq/waybill/internal/fault"
)

// Bucket is one bucket.
type Bucket struct {
	Client *s3.Client
	Name   string
}

// Put stores body under key. The bucket's own settings encrypt it.
func (b Bucket) Put(ctx context.Context, key string, body []byte) error {
	_, err := b.Client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.Name, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/json")})
	if err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	return nil
}

// Get returns what is stored under key.
func (b Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	res, err := b.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &key})
	var gone *types.NoSuchKey
	if errors.As(err, &gone) {
		return nil, fault.Wrap(fault.Permanent, fault.MissingReference, err, "reading a stored payload").At("blob", key)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return body, nil
}

// List returns up to limit keys that begin with prefix and come after a key, in
// the order of their bytes.
func (b Bucket) List(ctx context.Context, prefix, after string, limit int) (keys []string, err error) {
	for len(keys) < limit {
		in := &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix, MaxKeys: aws.Int32(int32(min(limit-len(keys), 1000)))} // #nosec G115 -- bounded
		if after != "" {
			in.StartAfter = &after
		}
		page, err := b.Client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
		if !aws.ToBool(page.IsTruncated) || len(page.Contents) == 0 {
			break
		}
		after = keys[len(keys)-1]
	}
	return keys, nil
}
