package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/retail"
)

var (
	noon   = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	acme   = must(retail.ParseTenant("acme"))
	beta   = must(retail.ParseTenant("beta"))
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func parked(t retail.Tenant, class, connection, cause string, opened time.Time, sla time.Duration) document.Exception {
	return document.Exception{Tenant: t, ID: fmt.Sprint(rand.Uint64()), Class: class, Connection: connection, Fingerprint: cause, State: document.Open,
		Field: "lines[0].sku", Value: "value-marked", Reason: "reason-marked", Number: "number-marked", OpenedAt: opened, DueAt: opened.Add(sla)}
}

func overdue(t retail.Tenant, late time.Duration) document.DueItem {
	return document.DueItem{Key: document.Key{Tenant: t, Type: "order", ID: "o1"}, Due: noon.Add(-late)}
}

func TestTheRules(t *testing.T) {
	type want struct {
		kind   alert.Kind
		tenant retail.Tenant
		level  alert.Level
		count  int
	}
	sla := 4 * time.Hour
	crowd := make([]document.Exception, 25)
	for i := range crowd {
		crowd[i] = parked(acme, "mapping", "erp", "f", noon, sla)
	}
	for name, c := range map[string]struct {
		seen alert.Observation
		want []want
	}{
		"nothing":                          {alert.Observation{}, nil},
		"a fresh business cause is P2":     {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon, sla)}}, []want{{alert.Stopped, acme, alert.Open, 1}}},
		"documents of one cause are one":   {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon, sla), parked(acme, "mapping", "erp", "f", noon, sla)}}, []want{{alert.Stopped, acme, alert.Open, 2}}},
		"two causes are two":               {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon, sla), parked(acme, "address", "erp", "g", noon, sla)}}, []want{{alert.Stopped, acme, alert.Open, 1}, {alert.Stopped, acme, alert.Open, 1}}},
		"retailers are apart":              {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon, sla), parked(beta, "mapping", "erp", "f", noon.Add(time.Second), sla)}}, []want{{alert.Stopped, acme, alert.Open, 1}, {alert.Stopped, beta, alert.Open, 1}}},
		"a quarter of the SLA left":        {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon.Add(-3*time.Hour), sla)}}, []want{{alert.Stopped, acme, alert.DueSoon, 1}}},
		"a little more of it left":         {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon.Add(-3*time.Hour+time.Second), sla)}}, []want{{alert.Stopped, acme, alert.Open, 1}}},
		"an SLA that is over is P1":        {alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", noon.Add(-5*time.Hour), sla)}}, []want{{alert.Stopped, acme, alert.Urgent, 1}}},
		"the platform's own class is P1":   {alert.Observation{Exceptions: []document.Exception{parked(acme, "internal", "erp", "f", noon, sla)}}, []want{{alert.Stopped, acme, alert.Urgent, 1}}},
		"a crowd is P1":                    {alert.Observation{Exceptions: crowd}, []want{{alert.Stopped, acme, alert.Urgent, 25}}},
		"one fewer is none":                {alert.Observation{Exceptions: crowd[1:]}, []want{{alert.Stopped, acme, alert.Open, 24}}},
		"one credential, whatever failed":  {alert.Observation{Exceptions: []document.Exception{parked(acme, "authentication", "erp", "f", noon, sla), parked(acme, "authentication", "erp", "g", noon, sla)}}, []want{{alert.Credential, acme, alert.Urgent, 2}}},
		"credentials of two connections":   {alert.Observation{Exceptions: []document.Exception{parked(acme, "authentication", "erp", "f", noon, sla), parked(acme, "authentication", "shop", "g", noon.Add(time.Second), sla)}}, []want{{alert.Credential, acme, alert.Urgent, 1}, {alert.Credential, acme, alert.Urgent, 1}}},
		"dead letters":                     {alert.Observation{Letters: []deadletter.Letters{{Queue: "resume", Count: 7, Oldest: noon, Action: "redrive"}}}, []want{{alert.DeadLetter, retail.Partner, alert.Urgent, 7}}},
		"documents that nothing takes up":  {alert.Observation{Overdue: []document.DueItem{overdue(acme, 6*time.Minute), overdue(acme, 9*time.Minute)}}, []want{{alert.Stuck, acme, alert.Urgent, 2}}},
		"those of two retailers":           {alert.Observation{Overdue: []document.DueItem{overdue(acme, 9*time.Minute), overdue(beta, 6*time.Minute), overdue(acme, 7*time.Minute)}}, []want{{alert.Stuck, acme, alert.Urgent, 2}, {alert.Stuck, beta, alert.Urgent, 1}}},
		"documents that are a little late": {alert.Observation{Overdue: []document.DueItem{overdue(acme, 4*time.Minute)}}, nil},
		"a day with a hole":                {alert.Observation{Exceptions: []document.Exception{{Tenant: acme, ID: "x", Class: "missing_reference", Connection: "shop", Field: "date", Value: "2026-03-01", OpenedAt: noon, DueAt: noon.Add(sla)}}}, []want{{alert.Hole, acme, alert.Urgent, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.seen.At = noon
			var got []want
			for _, s := range alert.Judge(c.seen) {
				got = append(got, want{s.Kind, s.Tenant, s.Level, s.Count})
				if s.Text == "" || s.Command == "" || s.First.IsZero() {
					t.Errorf("%+v tells too little", s)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The vector is the specification's own.
func TestASignatureIsTheSpecifications(t *testing.T) {
	var doc struct {
		Sign []struct {
			Secret, ID, Payload, Expect string
			Timestamp                   int64
		}
	}
	raw, err := os.ReadFile("testdata/standard_webhooks.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil || len(doc.Sign) == 0 {
		t.Fatalf("vectors: %v", err)
	}
	v := doc.Sign[0]
	for _, s := range doc.Sign { // the second is the first's key without its prefix
		got, err := alert.Sign(s.Secret, v.ID, time.Unix(v.Timestamp, 0), []byte(v.Payload))
		if err != nil || got != v.Expect {
			t.Errorf("%s signs as %s, %v", s.Secret, got, err)
		}
	}
	h, err := alert.Headers(v.Secret, v.ID, time.Unix(v.Timestamp, 0), []byte(v.Payload))
	if err != nil || h.Get("webhook-id") != v.ID || h.Get("webhook-timestamp") != fmt.Sprint(v.Timestamp) || h.Get("webhook-signature") != v.Expect {
		t.Errorf("headers %v, %v", h, err)
	}
	for name, bad := range map[string]string{"no prefix": secret[6:], "not base64": "whsec_*", "too short": "whsec_QUJD", "nothing": ""} {
		if alert.CheckSecret(bad) == nil {
			t.Errorf("a secret with %s passes", name)
		}
	}
	if err := alert.CheckSecret(secret); err != nil {
		t.Error(err)
	}
}

// post is one message at the receiver.
type post struct {
	id   string
	body []byte
}

type bench struct {
	now   time.Time
	store *memory.Store
	mu    sync.Mutex
	posts []post
	mails []string
	fail  error
}

func newBench() *bench {
	b := &bench{now: noon}
	b.store = memory.New(memory.Options{Now: func() time.Time { return b.now }, Dice: rand.New(rand.NewPCG(1, 2))})
	return b
}

func (b *bench) watch() alert.Watch {
	return alert.Watch{Store: b.store, Now: func() time.Time { return b.now }, NewID: func() string { return fmt.Sprint(rand.Uint64()) },
		Destinations: func(context.Context) (alert.Destinations, error) {
			return alert.Destinations{Partner: "demo", URL: "https://hooks.example", Secret: secret}, nil
		},
		Post: func(_ context.Context, _ alert.Destinations, id string, _ time.Time, body []byte) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.posts = append(b.posts, post{id, body})
			return b.fail
		},
		Mail: func(_ context.Context, subject, text string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.mails = append(b.mails, subject+"\n"+text)
			return nil
		}}
}

// run is one pass after a while.
func (b *bench) run(t *testing.T, after time.Duration, o alert.Observation) {
	t.Helper()
	b.now = b.now.Add(after)
	o.At = b.now
	if _, err := b.watch().Run(t.Context(), o); err != nil && b.fail == nil {
		t.Fatal(err)
	}
}

// told are the events at the webhook so far.
func (b *bench) told(t *testing.T) (out []string) {
	t.Helper()
	for _, p := range b.posts {
		var m struct{ Type string }
		if err := json.Unmarshal(p.body, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(m.Type, "waybill.alert."))
	}
	return out
}

func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := b.told(t); !slices.Equal(got, want) {
		t.Fatalf("told %v, want %v", got, want)
	}
}

func one(opened time.Time) alert.Observation {
	return alert.Observation{Exceptions: []document.Exception{parked(acme, "mapping", "erp", "f", opened, 4*time.Hour)}}
}

func TestACauseIsToldOnceAndAgainWhenItIsWorseOrLastsOrIsOver(t *testing.T) {
	b := newBench()
	b.run(t, 0, one(noon))
	b.expect(t, "raised")
	for range 100 {
		b.run(t, time.Minute, one(noon))
	}
	b.expect(t, "raised")
	b.run(t, 80*time.Minute, one(noon)) // three hours
	b.expect(t, "raised", "escalated")
	b.run(t, 61*time.Minute, one(noon)) // the SLA is over
	b.expect(t, "raised", "escalated", "escalated")
	b.run(t, 3*time.Hour, one(noon))
	b.run(t, time.Hour, one(noon))
	b.expect(t, "raised", "escalated", "escalated", "repeated")
	b.run(t, time.Minute, alert.Observation{})
	b.run(t, time.Minute, one(noon)) // it was there all the time
	b.run(t, time.Minute, alert.Observation{})
	b.run(t, 2*time.Minute, alert.Observation{})
	b.expect(t, "raised", "escalated", "escalated", "repeated")
	b.run(t, time.Minute, alert.Observation{})
	b.run(t, time.Hour, alert.Observation{})
	b.expect(t, "raised", "escalated", "escalated", "repeated", "resolved")
	b.run(t, time.Minute, one(b.now)) // the same cause another time
	b.expect(t, "raised", "escalated", "escalated", "repeated", "resolved", "raised")
	if len(b.mails) != len(b.posts) {
		t.Errorf("%d mails beside %d webhooks", len(b.mails), len(b.posts))
	}
	seen := map[string]bool{}
	for _, p := range b.posts {
		if seen[p.id] {
			t.Errorf("two messages have the id %s", p.id)
		}
		seen[p.id] = true
	}
}

// Their connections have one name, and so have their causes.
func TestTheSameCauseOfTwoRetailersIsTwoAlerts(t *testing.T) {
	b := newBench()
	o := one(noon)
	b.run(t, 0, o)
	other := parked(beta, "mapping", "erp", "f", noon, 4*time.Hour)
	o.Exceptions = append(o.Exceptions, other)
	b.run(t, time.Minute, o)
	b.expect(t, "raised", "raised")
	for range 5 { // one is over, the other is not
		b.run(t, time.Minute, alert.Observation{Exceptions: []document.Exception{other}})
	}
	b.expect(t, "raised", "raised", "resolved")
}

func TestALevelThatFellAndRisesAgainIsToldOnce(t *testing.T) {
	b := newBench()
	var crowd alert.Observation
	for range 25 {
		crowd.Exceptions = append(crowd.Exceptions, parked(acme, "mapping", "erp", "f", noon, 4*time.Hour))
	}
	fewer := alert.Observation{Exceptions: crowd.Exceptions[1:]}
	for range 5 {
		b.run(t, time.Minute, crowd)
		b.run(t, time.Minute, fewer)
	}
	b.expect(t, "raised")
}

// What came first may be dealt with; since when the cause is there stays.
func TestAnAlertSaysHowManyThereAreAndSinceWhen(t *testing.T) {
	b := newBench()
	first, second := parked(acme, "mapping", "erp", "f", noon.Add(-time.Hour), 4*time.Hour), parked(acme, "mapping", "erp", "f", noon, 4*time.Hour)
	for _, xs := range [][]document.Exception{{first}, {first, second}, {second, second, second}} {
		b.run(t, time.Minute, alert.Observation{Exceptions: xs})
		all, err := b.store.Alerts(t.Context())
		if err != nil || len(all) != 1 || all[0].Count != len(xs) || !all[0].FirstAt.Equal(first.OpenedAt) || !all[0].Expires.IsZero() {
			t.Errorf("%d exceptions: %+v, %v", len(xs), all, err)
		}
	}
	for range 6 {
		b.run(t, time.Minute, alert.Observation{})
	}
	if all := must(b.store.Alerts(t.Context())); all[0].Active() || !all[0].Expires.After(b.now.Add(alert.Keep-10*time.Minute)) {
		t.Errorf("over: %+v", all)
	}
}

// A cause that lasts is told again, and so is its end, for about a day.
func TestAWebhookThatNeverAnswersIsGivenUpOn(t *testing.T) {
	b := newBench()
	b.run(t, 0, one(noon))
	b.fail = errors.New("HTTP 410")
	for range 4 * 24 * 12 {
		b.run(t, 5*time.Minute, alert.Observation{})
	}
	if n := len(b.posts) - 1; n != 28 {
		t.Errorf("%d attempts in four days", n)
	}
	if all := must(b.store.Alerts(t.Context())); all[0].Notice.Webhook.State != alert.GivenUp || all[0].Notice.Mail.State != alert.Delivered {
		t.Errorf("%+v", all[0].Notice)
	}
}

func TestACredentialIsOneAlertWhateverItHoldsUpNow(t *testing.T) {
	b := newBench()
	first, second := parked(acme, "authentication", "erp", "f", noon, time.Hour), parked(acme, "authentication", "erp", "g", noon.Add(time.Second), time.Hour)
	b.run(t, 0, alert.Observation{Exceptions: []document.Exception{first, second}})
	for range 6 { // what failed first was retried
		b.run(t, time.Minute, alert.Observation{Exceptions: []document.Exception{second}})
	}
	b.expect(t, "raised")
}

func TestWhatIsNoRetailersNamesNone(t *testing.T) {
	b := newBench()
	o := one(noon)
	o.Letters = []deadletter.Letters{{Queue: "resume", Count: 1, Oldest: noon, Action: "redrive"}}
	b.run(t, 0, o)
	for _, p := range b.posts {
		var m struct{ Data map[string]any }
		if err := json.Unmarshal(p.body, &m); err != nil {
			t.Fatal(err)
		}
		if tn, named := m.Data["tenant"]; named != (m.Data["kind"] == string(alert.Stopped)) || named && tn != "acme" {
			t.Errorf("%s", p.body)
		}
	}
}

// rows are an alert store that somebody is faster at once, or that fails once.
type rows struct {
	alert.Store
	before func()
	fail   error
}

func (r *rows) SaveAlert(ctx context.Context, a alert.Alert) error {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	if err := r.fail; err != nil {
		r.fail = nil
		return err
	}
	return r.Store.SaveAlert(ctx, a)
}

func TestWhoeverLosesTheRaceForAnAlertTellsNothing(t *testing.T) {
	b := newBench()
	o := one(noon)
	o.At = noon
	w := b.watch()
	w.Store = &rows{Store: b.store, before: func() { b.run(t, 0, one(noon)) }}
	if sum, err := w.Run(t.Context(), o); err != nil || sum.Told != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	b.expect(t, "raised")
	if len(b.mails) != 1 {
		t.Errorf("%d mails", len(b.mails))
	}
}

func TestAnAlertThatCannotBeStoredKeepsNoOtherFromBeingTold(t *testing.T) {
	b := newBench()
	o := one(noon)
	o.At, o.Letters = noon, []deadletter.Letters{{Queue: "resume", Count: 1, Oldest: noon, Action: "redrive"}}
	away := errors.New("throttled")
	w := b.watch()
	w.Store = &rows{Store: b.store, fail: away}
	if sum, err := w.Run(t.Context(), o); !errors.Is(err, away) || errors.Is(err, alert.ErrUnsent) || sum.Told != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	b.expect(t, "raised")
	b.run(t, time.Minute, o)
	b.expect(t, "raised", "raised")
}

func TestADestinationThatFailsIsNoFailureOfTheFunction(t *testing.T) {
	b := newBench()
	b.fail = errors.New("HTTP 500")
	o := one(noon)
	o.At = noon
	if sum, err := b.watch().Run(t.Context(), o); !errors.Is(err, alert.ErrUnsent) || !errors.Is(err, b.fail) || sum.Failed != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestWhatCannotBeReadIsNeitherRaisedNorOver(t *testing.T) {
	b := newBench()
	unread := one(noon)
	unread.Blind = []alert.Kind{alert.Stopped} // of part of an index
	b.run(t, 0, unread)
	b.expect(t)
	b.run(t, 0, one(noon))
	for range 10 {
		b.run(t, time.Minute, alert.Observation{Blind: []alert.Kind{alert.Stopped}})
	}
	b.expect(t, "raised")
}

func TestAFailedWebhookIsTriedAgainLaterUnderItsID(t *testing.T) {
	b := newBench()
	b.fail = errors.New("HTTP 500")
	b.run(t, 0, one(noon))
	var waits []time.Duration
	last := b.now
	for len(b.posts) < 6 {
		n := len(b.posts)
		b.run(t, time.Minute, one(noon))
		if len(b.posts) > n {
			waits, last = append(waits, b.now.Sub(last)), b.now
		}
	}
	if want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
	for _, p := range b.posts {
		if p.id != b.posts[0].id || !bytes.Equal(p.body, b.posts[0].body) {
			t.Errorf("an attempt differs from the first: %s %s", p.id, p.body)
		}
	}
	if len(b.mails) != 1 {
		t.Errorf("the mail was sent %d times while the webhook failed", len(b.mails))
	}
	b.fail = nil
	b.run(t, time.Hour, one(noon))
	n := len(b.posts)
	b.run(t, time.Minute, one(noon))
	if len(b.posts) != n {
		t.Error("a delivered notice is sent again")
	}
}

func TestASenderThatDiesLeavesItsAttemptToTheNext(t *testing.T) {
	b := newBench()
	w := b.watch()
	ctx, die := context.WithCancel(t.Context())
	w.Post = func(context.Context, alert.Destinations, string, time.Time, []byte) error { die(); return ctx.Err() }
	w.Mail = nil
	o := one(noon)
	o.At = noon
	_, _ = w.Run(ctx, o)
	b.run(t, time.Minute, one(noon))
	b.expect(t)
	b.run(t, time.Minute, one(noon))
	b.expect(t, "raised")
}

func TestTwoSendersSendOne(t *testing.T) {
	b := newBench()
	o := one(noon)
	o.At = noon
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := b.watch().Run(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	b.expect(t, "raised")
	if len(b.mails) != 1 {
		t.Errorf("%d mails", len(b.mails))
	}
}

func TestNoAlertTellsWhatADocumentHolds(t *testing.T) {
	b := newBench()
	o := one(noon)
	o.Exceptions = append(o.Exceptions, parked(acme, "authentication", "erp", "g", noon, time.Hour))
	o.Letters = []deadletter.Letters{{Queue: "order-inbox", Count: 1, Oldest: noon, Sample: "sample-marked", Action: "redrive"}}
	b.run(t, 0, o)
	if len(b.posts) != 3 {
		t.Fatalf("%d messages", len(b.posts))
	}
	var all strings.Builder
	for _, p := range b.posts {
		all.Write(p.body)
	}
	if s := all.String() + strings.Join(b.mails, ""); strings.Contains(s, "-marked") {
		t.Errorf("an alert holds what a document does: %s", s)
	}
}

func TestATestGoesEverywhereAndIsNotKept(t *testing.T) {
	b := newBench()
	b.fail = errors.New("HTTP 410")
	got, err := b.watch().Try(t.Context(), "1")
	if err != nil || len(got) != 2 || !errors.Is(got["webhook"], b.fail) || got["mail"] != nil {
		t.Errorf("%v, %v", got, err)
	}
	if kept, err := b.store.Alerts(t.Context()); err != nil || len(kept) > 0 {
		t.Errorf("kept %v, %v", kept, err)
	}
}
