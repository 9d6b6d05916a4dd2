package boot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/eventbus"
)

func step(seq int, eventType string) events.DynamoDBEventRecord {
	text := events.NewStringAttribute
	return events.DynamoDBEventRecord{EventName: "INSERT", Change: events.DynamoDBStreamRecord{SequenceNumber: fmt.Sprint(100 + seq),
		NewImage: map[string]events.DynamoDBAttributeValue{
			"pk": text("T#north#order#o1"), "sk": text(fmt.Sprintf("STEP#%010d", seq)), "type": text(eventType), "at": text("2026-03-01T12:00:00Z"),
		}}}
}

func publish(t *testing.T, subscribed string, refuse int, records ...events.DynamoDBEventRecord) (got []string, failed []string) {
	t.Helper()
	p := boot.For(aws.Config{}, func(n string) string { return map[string]string{"SUBSCRIBED_EVENTS": subscribed}[n] }, slog.New(slog.DiscardHandler))
	handle := boot.Publish(p, func(_ context.Context, batch []eventbus.Event) ([]int, error) {
		if len(batch) > 10 {
			return nil, errors.New("more than the bus takes at once")
		}
		for i, e := range batch {
			if refuse > 0 && e.Sequence == int64(refuse) {
				return []int{i}, nil
			}
			got = append(got, e.Type)
		}
		return nil, nil
	})
	res, err := handle(t.Context(), events.DynamoDBEvent{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return got, failed
}

func TestOnlyEventsThatSomebodySubscribedToArePublished(t *testing.T) {
	records := []events.DynamoDBEventRecord{step(1, "retail.order.received.v1"), step(2, "retail.order.closed.v1"), step(3, "retail.shipment.closed.v1")}
	for list, want := range map[string]string{
		"":                       "",
		"retail.order.closed.v1": "retail.order.closed.v1",
		"retail.order.*":         "retail.order.received.v1 retail.order.closed.v1",
		"*":                      "retail.order.received.v1 retail.order.closed.v1 retail.shipment.closed.v1",
		" retail.shipment.closed.v1 , retail.order.received.v1 ": "retail.order.received.v1 retail.shipment.closed.v1",
		"retail.order":             "",
		"retail.order.closed.v1.x": "",
	} {
		got, failed := publish(t, list, 0, records...)
		if strings.Join(got, " ") != want || len(failed) > 0 {
			t.Errorf("%q: published %v, failed %v", list, got, failed)
		}
	}
}

func TestTheBatchIsReadAgainFromTheFirstEventThatWasRefused(t *testing.T) {
	var records []events.DynamoDBEventRecord
	for i := 1; i <= 25; i++ {
		records = append(records, step(i, "retail.order.received.v1"))
	}
	got, failed := publish(t, "*", 13, records...)
	if len(got) != 12 || len(failed) != 1 || failed[0] != "113" {
		t.Errorf("%d published, failed %v", len(got), failed)
	}
}

func TestEachEntryOfACommitIsAnEvent(t *testing.T) {
	record := step(1, "retail.order.validated.v1")
	record.Change.NewImage["more"] = events.NewListAttribute([]events.DynamoDBAttributeValue{events.NewMapAttribute(map[string]events.DynamoDBAttributeValue{
		"seq": events.NewNumberAttribute("2"), "type": events.NewStringAttribute("retail.order.accepted.v1"), "at": events.NewStringAttribute("2026-03-01T12:00:00Z"),
	})})
	if got, failed := publish(t, "*", 0, record); strings.Join(got, " ") != "retail.order.validated.v1 retail.order.accepted.v1" || len(failed) > 0 {
		t.Errorf("published %v, failed %v", got, failed)
	}
	if got, failed := publish(t, "*", 2, record, step(3, "retail.order.closed.v1")); len(got) != 1 || len(failed) != 1 || failed[0] != "101" {
		t.Errorf("the second entry refused: published %v, failed %v", got, failed)
	}
}
