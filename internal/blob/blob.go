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
