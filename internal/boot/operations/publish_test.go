package operations_test

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
	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/eventbus"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/stream"
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
	handle := operations.Publish(p, func(_ context.Context, batch []eventbus.Event) ([]int, error) {
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

// letter is what Lambda tells of a batch that it gave up on.
const letter = `{"requestContext":{"condition":"RetryAttemptsExhausted"},"DDBStreamBatchInfo":{"shardId":"s1","startSequenceNumber":"101","endSequenceNumber":"125",
	"approximateArrivalOfFirstRecord":"2026-03-01T12:00:00Z","approximateArrivalOfLastRecord":"2026-03-01T12:00:09Z","batchSize":25,"streamArn":"arn"}}`

func TestAStretchThatWasGivenUpOnIsPublished(t *testing.T) {
	var records []events.DynamoDBEventRecord
	for i := 1; i <= 25; i++ {
		records = append(records, step(i, map[bool]string{true: "retail.order.closed.v1", false: "retail.order.received.v1"}[i%2 == 0]))
	}
	down := errors.New("down")
	gone := fault.New(fault.Permanent, fault.MissingReference, "trimmed")
	for name, c := range map[string]struct {
		body    string
		read    error
		refuse  bool
		err     error
		kind    fault.Kind
		want    int
		batches int
	}{
		"all that is subscribed to":   {body: letter, want: 12, batches: 2},
		"a bus that refuses":          {body: letter, refuse: true, kind: fault.Retryable, batches: 1},
		"a bus that is away":          {body: letter, err: down, kind: fault.Retryable, batches: 1},
		"a stream that forgot":        {body: letter, read: gone, kind: fault.Permanent},
		"a message of something else": {body: `{"schema":1}`, kind: fault.Permanent},
	} {
		var got []string
		batches := 0
		forward := operations.Republish("retail.order.closed.v1", func(_ context.Context, w stream.Stretch) ([]events.DynamoDBEventRecord, error) {
			if w.Shard != "s1" || w.First != "101" || w.Last != "125" || w.Stream != "arn" {
				t.Errorf("%s: reads %+v", name, w)
			}
			return records, c.read
		}, func(_ context.Context, batch []eventbus.Event) ([]int, error) {
			batches++
			if c.refuse {
				return []int{0}, nil
			}
			for _, e := range batch {
				got = append(got, e.ID)
			}
			return nil, c.err
		})
		err := forward(t.Context(), deadletter.Message{ID: "m1", Body: c.body})
		if (err == nil) != (c.kind == "") || err != nil && fault.KindOf(err) != c.kind || batches != c.batches || err == nil && (len(got) != c.want || got[0] != "o1.2") {
			t.Errorf("%s: published %v in %d batches, %v", name, got, batches, err)
		}
	}
}

func TestWhatCameWithTheCommitOfAHeadIsAnEvent(t *testing.T) {
	head := func(event, recent, news string) events.DynamoDBEventRecord {
		r := step(1, "x")
		r.EventName = event
		r.Change.NewImage = map[string]events.DynamoDBAttributeValue{"pk": events.NewStringAttribute("T#north#order#o1"), "sk": events.NewStringAttribute("HEAD"),
			"correlation": events.NewStringAttribute("c"), "recent": events.NewStringAttribute(recent)}
		if news != "" {
			r.Change.NewImage["news"] = events.NewNumberAttribute(news)
		}
		return r
	}
	const three = `[{"s":7,"t":"2026-03-01T12:00:00Z","e":"retail.order.a.v1"},{"s":8,"t":"2026-03-01T12:00:00Z","e":"retail.order.b.v1","c":"own","d":{"k":"v"}},{"s":9,"t":"2026-03-01T12:00:00Z","e":"retail.order.c.v1"}]`
	copied := step(4, "retail.order.copied.v1")
	copied.Change.NewImage["upto"] = events.NewNumberAttribute("4")
	for name, c := range map[string]struct {
		record events.DynamoDBEventRecord
		want   string
	}{
		"the first commit":             {head("INSERT", three, "3"), "retail.order.a.v1 retail.order.b.v1 retail.order.c.v1"},
		"a later one":                  {head("MODIFY", three, "2"), "retail.order.b.v1 retail.order.c.v1"},
		"one that tells nothing":       {head("MODIFY", three, ""), ""},
		"what was deleted":             {head("REMOVE", three, "2"), ""},
		"more than there are":          {head("MODIFY", three, "4"), ""},
		"a copy of what the head told": {copied, ""},
	} {
		if got, failed := publish(t, "*", 0, c.record); strings.Join(got, " ") != c.want || len(failed) > 0 {
			t.Errorf("%s: published %v, failed %v", name, got, failed)
		}
	}
	var got []eventbus.Event
	p := boot.For(aws.Config{}, func(string) string { return "*" }, slog.New(slog.DiscardHandler))
	if _, err := operations.Publish(p, func(_ context.Context, batch []eventbus.Event) ([]int, error) {
		got = append(got, batch...)
		return nil, nil
	})(
		t.Context(), events.DynamoDBEvent{Records: []events.DynamoDBEventRecord{head("MODIFY", three, "2")}}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "o1.8" || got[0].Correlation != "own" || string(got[0].Data) != `{"k":"v"}` || got[1].Correlation != "c" || got[1].Sequence != 9 || string(got[1].Data) != "{}" {
		t.Errorf("%+v", got)
	}
}

func TestOnlyNewEntriesOfATimelineAreEventsOfTheirRetailer(t *testing.T) {
	changed, head := step(2, "retail.order.closed.v1"), step(3, "retail.order.closed.v1")
	changed.EventName = "MODIFY"
	head.Change.NewImage["sk"] = events.NewStringAttribute("HEAD")
	p := boot.For(aws.Config{}, func(string) string { return "*" }, slog.New(slog.DiscardHandler))
	var got []eventbus.Event
	handle := operations.Publish(p, func(_ context.Context, batch []eventbus.Event) ([]int, error) {
		got = append(got, batch...)
		return nil, nil
	})
	if _, err := handle(t.Context(), events.DynamoDBEvent{Records: []events.DynamoDBEventRecord{changed, head, step(1, "retail.order.received.v1")}}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].ID != "o1.1" || got[0].Tenant != "north" || got[0].Source != "/waybill/north" || got[0].Subject != "order/o1" || got[0].Sequence != 1 {
		t.Errorf("%+v", got)
	}
}

func TestABusThatIsAwayLosesNothing(t *testing.T) {
	p := boot.For(aws.Config{}, func(string) string { return "*" }, slog.New(slog.DiscardHandler))
	calls := 0
	handle := operations.Publish(p, func(context.Context, []eventbus.Event) ([]int, error) {
		if calls++; calls == 2 {
			return nil, errors.New("down")
		}
		return nil, nil
	})
	var records []events.DynamoDBEventRecord
	for i := 1; i <= 25; i++ {
		records = append(records, step(i, "retail.order.received.v1"))
	}
	res, err := handle(t.Context(), events.DynamoDBEvent{Records: records})
	if f := res.BatchItemFailures; err != nil || len(f) != 1 || f[0].ItemIdentifier != "111" || calls != 2 {
		t.Errorf("%+v, %v after %d calls", f, err, calls)
	}
}
