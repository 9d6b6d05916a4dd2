// Package eventbus publishes timeline entries as CloudEvents on EventBridge.
package eventbus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/waybillhq/waybill/internal/fault"
)

// Source is the source of all events.
const Source = "waybill"

// Event is a CloudEvent 1.0 in structured form. Its id is made of the
// document and the entry's number, so that consumers recognise a repetition.
type Event struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        time.Time       `json:"time"`
	Tenant      string          `json:"tenant"`
	Sequence    int64           `json:"sequence"`
	Correlation string          `json:"correlationid,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// Bus is one event bus.
type Bus struct {
	Client *eventbridge.Client
	Name   string
}

// MaxBatch is the number of events that one call takes.
const MaxBatch = 10

// Publish sends up to MaxBatch events and returns the indexes of those that
// were refused.
func (b Bus) Publish(ctx context.Context, events []Event) (refused []int, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	if len(events) > MaxBatch {
		return nil, fault.New(fault.Permanent, fault.Internal, "%d events in one call; the bus takes %d", len(events), MaxBatch)
	}
	in := &eventbridge.PutEventsInput{}
	for _, e := range events {
		detail, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
		in.Entries = append(in.Entries, types.PutEventsRequestEntry{
			EventBusName: &b.Name, Source: aws.String(Source), DetailType: &e.Type, Detail: aws.String(string(detail)), Time: &e.Time,
		})
	}
	res, err := b.Client.PutEvents(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("publishing %d events: %w", len(events), err)
	}
	for i, r := range res.Entries {
		if r.ErrorCode != nil {
			refused = append(refused, i)
		}
	}
	return refused, nil
}
