package operations

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/eventbus"
)

// Bus is the partner's event bus.
func Bus(p *boot.Platform) eventbus.Bus {
	return eventbus.Bus{Client: eventbridge.NewFromConfig(p.AWS), Name: p.Env("EVENT_BUS")}
}

// Publish makes the stream's handler: timeline entries of the types that
// SUBSCRIBED_EVENTS names become events. From the first that could not be
// published on, the batch is read again.
func Publish(p *boot.Platform, publish func(context.Context, []eventbus.Event) ([]int, error)) func(context.Context, events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	return func(ctx context.Context, batch events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
		began := time.Now()
		out, numbers := wanted(p.Env("SUBSCRIBED_EVENTS"), batch.Records)
		res := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
		for at := 0; at < len(out); at += eventbus.MaxBatch {
			part := out[at:min(at+eventbus.MaxBatch, len(out))]
			refused, err := publish(ctx, part)
			if err != nil {
				refused = []int{0}
				p.Log.Warn("event-publish", "error", err)
			}
			if len(refused) > 0 {
				res.BatchItemFailures = append(res.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: numbers[at+refused[0]]})
				break
			}
		}
		p.Log.Info("event-publish", "records", len(batch.Records), "events", len(out), "failed", len(res.BatchItemFailures), "ms", time.Since(began).Milliseconds(), "asked", p.Meter.Take())
		return res, nil
	}
}

// wanted are the events of the subscribed types among a stream's records, with
// their sequence numbers.
func wanted(types string, records []events.DynamoDBEventRecord) (out []eventbus.Event, numbers []string) {
	for _, rec := range records {
		for _, e := range entries(rec) {
			if subscribed(types, e.Type) {
				out, numbers = append(out, e), append(numbers, rec.Change.SequenceNumber)
			}
		}
	}
	return out, numbers
}

// subscribed tells whether a list of types, separated by commas, names one; a *
// at the end of a type stands for all that begin so. An event that nobody
// reads costs as much as one that somebody does.
func subscribed(list, eventType string) bool {
	for want := range strings.SplitSeq(list, ",") {
		want = strings.TrimSpace(want)
		prefix, open := strings.CutSuffix(want, "*")
		if want != "" && (want == eventType || (open && strings.HasPrefix(eventType, prefix))) {
			return true
		}
	}
	return false
}

// entries reads what a commit added to a timeline of the Documents table.
func entries(rec events.DynamoDBEventRecord) []eventbus.Event {
	it := rec.Change.NewImage
	key := strings.Split(text(it, "pk"), "#") // T, tenant, type, id
	switch _, copied := it["upto"]; {
	case len(key) != 4:
		return nil
	case text(it, "sk") == "HEAD" && rec.EventName != string(events.DynamoDBOperationTypeRemove):
		return news(key, it)
	case rec.EventName != string(events.DynamoDBOperationTypeInsert) || !strings.HasPrefix(text(it, "sk"), "STEP#") || copied:
		return nil
	}
	steps := []map[string]events.DynamoDBAttributeValue{it}
	if more, ok := it["more"]; ok && more.DataType() == events.DataTypeList {
		for _, m := range more.List() {
			if m.DataType() == events.DataTypeMap {
				steps = append(steps, m.Map())
			}
		}
	}
	var out []eventbus.Event
	for i, st := range steps {
		seq, err := number(st, "seq")
		if i == 0 {
			seq, err = strconv.ParseInt(strings.TrimPrefix(text(it, "sk"), "STEP#"), 10, 64)
		}
		at, terr := time.Parse(time.RFC3339Nano, text(st, "at"))
		if err != nil || terr != nil {
			continue
		}
		data := map[string]string{}
		if v, ok := st["data"]; ok && v.DataType() == events.DataTypeMap {
			for k := range v.Map() {
				data[k] = text(v.Map(), k)
			}
		}
		if e, err := event(key, document.Step{Seq: seq, At: at, Type: text(st, "type"), Correlation: text(st, "correlation"), Data: data}); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// news reads the entries that came with the commit of a head.
func news(key []string, it map[string]events.DynamoDBAttributeValue) (out []eventbus.Event) {
	n, err := number(it, "news")
	steps, rerr := dynamo.Recent(text(it, "recent"), text(it, "correlation"))
	if err != nil || rerr != nil || n < 0 || int(n) > len(steps) {
		return nil
	}
	for _, st := range steps[len(steps)-int(n):] {
		if e, err := event(key, st); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// event is a timeline entry as others are told of it; key is its document's.
func event(key []string, st document.Step) (eventbus.Event, error) {
	data := st.Data
	if data == nil {
		data = map[string]string{}
	}
	raw, err := json.Marshal(data)
	return eventbus.Event{SpecVersion: "1.0", ID: key[3] + "." + strconv.FormatInt(st.Seq, 10), Source: "/waybill/" + key[1],
		Type: st.Type, Subject: key[2] + "/" + key[3], Time: st.At, Tenant: key[1], Sequence: st.Seq, Correlation: st.Correlation, Data: raw}, err
}

func text(it map[string]events.DynamoDBAttributeValue, name string) string {
	if v, ok := it[name]; ok && v.DataType() == events.DataTypeString {
		return v.String()
	}
	return ""
}

func number(it map[string]events.DynamoDBAttributeValue, name string) (int64, error) {
	if v, ok := it[name]; ok && v.DataType() == events.DataTypeNumber {
		return v.Integer()
	}
	return 0, strconv.ErrSyntax
}
