//go:build unix

package journey_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/partner"
)

// alertKey is what the partner's webhook is signed with: 24 bytes.
const alertKey = "a-key-of-24-bytes-length"

// told is a message at the partner's webhook.
type told struct {
	ID   string
	Type string `json:"type"`
	Data struct {
		Kind     string `json:"kind"`
		Tenant   string `json:"tenant"`
		Severity string `json:"severity"`
		Count    int    `json:"count"`
		Class    string `json:"class"`
		Text     string `json:"text"`
		Next     string `json:"next"`
	} `json:"data"`
}

// receiver is the partner's own system: it refuses what is not signed, and its
// first answer is that it is broken.
type receiver struct {
	mu       sync.Mutex
	messages []told
	refused  []string
	broken   bool
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := told{ID: req.Header.Get("webhook-id")}
	mac := hmac.New(sha256.New, []byte(alertKey))
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", m.ID, req.Header.Get("webhook-timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	switch {
	case err != nil || !hmac.Equal([]byte(want), []byte(req.Header.Get("webhook-signature"))) || json.Unmarshal(body, &m) != nil:
		r.refused = append(r.refused, string(body))
		w.WriteHeader(http.StatusUnauthorized)
	case !r.broken:
		r.broken = true
		w.WriteHeader(http.StatusInternalServerError)
	default:
		r.messages = append(r.messages, m)
	}
}

func (r *receiver) of(kind, class string) (out []told) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if m.Data.Kind == kind && m.Data.Class == class && m.Type == "waybill.alert.raised" {
			out = append(out, m)
		}
	}
	return out
}

// What needs people reaches the address that the partner configured, signed,
// once for each cause however often it is looked for, and the alarms' topic.
func TestWhatNeedsPeopleIsToldOnceAndSigned(t *testing.T) {
	ctx := t.Context()
	sink := &receiver{}
	server := httptest.NewServer(sink)
	t.Cleanup(server.Close)
	configureAlerts(t, server.URL)
	mail := subscribe(t)

	// A test goes out first, and meets the receiver while it is broken.
	got, err := operations.Watch(platform.Platform).Try(ctx, "journey")
	if err != nil || got["webhook"] == nil || got["mail"] != nil {
		t.Errorf("a test to a broken receiver: %v, %v", got, err)
	}
	if got, err = operations.Watch(platform.Platform).Try(ctx, "journey"); err != nil || got["webhook"] != nil {
		t.Errorf("a test: %v, %v", got, err)
	}

	parkedOrders := make([]string, 3)
	for i := range parkedOrders {
		o, err := platform.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "NEVER-SEEN", Quantity: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		parkedOrders[i] = o.ID
	}
	for _, id := range parkedOrders {
		until(t, id+" is parked", func() bool {
			o, err := platform.Order(ctx, id)
			return err == nil && o.Parked != ""
		})
	}
	queues := sqs.NewFromConfig(platform.Platform.AWS)
	dead := platform.Outputs["ResumeDead"]
	if _, err := queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &dead, MessageBody: aws.String(`{"schema":1}`)}); err != nil {
		t.Fatal(err)
	}
	until(t, "both causes are told", func() bool {
		var group sync.WaitGroup
		for range 3 { // as the schedule and its repetition may
			group.Go(func() {
				if err := platform.Invoke(ctx, "AlertSend"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		return len(sink.of("documents_stopped", "mapping")) > 0 && len(sink.of("dead_letters", "")) > 0
	})
	if err := platform.Invoke(ctx, "AlertSend"); err != nil {
		t.Error(err)
	}
	stopped, letters := sink.of("documents_stopped", "mapping"), sink.of("dead_letters", "")
	ids := map[string]bool{}
	causes := map[string]int{}
	for _, m := range append(stopped, letters...) {
		if ids[m.ID] || m.Data.Next == "" || m.Data.Text == "" {
			t.Errorf("told twice, or too little: %+v", m)
		}
		ids[m.ID] = true
		causes[m.Data.Kind+m.Data.Text]++
		if strings.Contains(m.Data.Text+m.Data.Next, "NEVER-SEEN") {
			t.Errorf("what a document holds is told: %+v", m)
		}
	}
	for cause, n := range causes {
		if n != 1 {
			t.Errorf("%s is told %d times", cause, n)
		}
	}
	three := false
	for _, m := range stopped {
		three = three || m.Data.Count == 3 && m.Data.Tenant == "north" && m.Data.Severity == "P2"
	}
	if !three || len(letters) != 1 || letters[0].Data.Severity != "P1" || letters[0].Data.Count != 1 || letters[0].Data.Tenant != "" {
		t.Errorf("told %+v and %+v", stopped, letters)
	}
	if len(sink.refused) > 0 {
		t.Errorf("unsigned or malformed: %v", sink.refused)
	}
	until(t, "the topic carries the dead letters", func() bool { return strings.Contains(mail(t), "P1: dead letters") })
	// Later journeys shall find no dead letter.
	if _, err := queues.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &dead}); err != nil {
		t.Error(err)
	}
}

// configureAlerts applies the demo partner with a webhook.
func configureAlerts(t *testing.T, url string) {
	t.Helper()
	demoDir := "../../infra/partners/demo"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(demoDir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "partner.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, fmt.Sprintf("alerts:\n  webhook:\n    url: %s\n    secret: ${ALERT_SECRET}\n", url)...)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(alertKey))
	folder, err := partner.Load(dir, func(name string) (string, bool) {
		if name == "ALERT_SECRET" {
			return secret, true
		}
		v, ok := platform.Variables[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := partner.Compare(t.Context(), platform.Platform.Store, platform.Platform.Sealer(), folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := partner.Apply(t.Context(), platform.Platform.Store, platform.Platform.Sealer(), plan, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// subscribe reads what the alarms' topic carries: all subjects so far.
func subscribe(t *testing.T) func(*testing.T) string {
	t.Helper()
	ctx := t.Context()
	queues := sqs.NewFromConfig(platform.Platform.AWS)
	made, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("people")})
	if err != nil {
		t.Fatal(err)
	}
	at, err := queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: made.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":%q}]}`, at.Attributes["QueueArn"])
	if _, err := queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: made.QueueUrl, Attributes: map[string]string{"Policy": policy}}); err != nil {
		t.Fatal(err)
	}
	if _, err := sns.NewFromConfig(platform.Platform.AWS).Subscribe(ctx, &sns.SubscribeInput{TopicArn: aws.String(platform.Outputs["AlarmTopic"]),
		Protocol: aws.String("sqs"), Endpoint: aws.String(at.Attributes["QueueArn"])}); err != nil {
		t.Fatal(err)
	}
	var subjects strings.Builder
	return func(t *testing.T) string {
		t.Helper()
		res, err := queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.Messages {
			var body struct{ Subject string }
			if err := json.Unmarshal([]byte(*m.Body), &body); err != nil {
				t.Fatal(err)
			}
			subjects.WriteString(body.Subject + "\n")
		}
		return subjects.String()
	}
}

// until polls; the limit is for a platform that hangs.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			t.Fatalf("in vain: %s", what)
		}
		pause(t)
	}
}
