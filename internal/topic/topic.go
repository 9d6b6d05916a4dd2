// Package topic publishes to the SNS topic that people hear of alarms by.
package topic

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// maxSubject is how long SNS lets a mail's subject be, in characters.
const maxSubject = 100

// Topic is one topic.
type Topic struct {
	Client *sns.Client
	ARN    string
}

// Publish sends a text to everybody who subscribed to the topic.
func (t Topic) Publish(ctx context.Context, subject, text string) error {
	if _, err := t.Client.Publish(ctx, &sns.PublishInput{TopicArn: &t.ARN, Subject: aws.String(plain(subject)), Message: &text}); err != nil {
		return fmt.Errorf("publishing to the topic: %w", err)
	}
	return nil
}

// plain is a subject as SNS takes it: ASCII, in one line, and not too long.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxSubject)]
}
