package deadletter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	blobs "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/job"
	queues "github.com/waybillhq/waybill/internal/queue/memory"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// failing is queues and a bucket that fail when told to.
type failing struct {
	*queues.Queues
	*blobs.Bucket
	before func(call string) error
}

func (f *failing) Delete(ctx context.Context, url, receipt string) error {
	if err := f.before("delete"); err != nil {
		return err
	}
	return f.Queues.Delete(ctx, url, receipt)
}

func (f *failing) SendBody(ctx context.Context, url, group, body string) error {
	if err := f.before("send " + body); err != nil {
		return err
	}
	return f.Queues.SendBody(ctx, url, group, body)
}

func (f *failing) Put(ctx context.Context, key string, body []byte) error {
	if err := f.before("put"); err != nil {
		return err
	}
	return f.Bucket.Put(ctx, key, body)
}

type bench struct {
	t    *testing.T
	f    *failing
	desk deadletter.Desk
	jobs job.Runner
	now  time.Time
}

// open has two queues, q and r, with a dead-letter queue each.
func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: noon}
	now := func() time.Time { return b.now }
	b.f = &failing{Queues: queues.New(queues.Options{Now: now, Dice: rand.New(rand.NewPCG(1, 2))}), Bucket: &blobs.Bucket{}, before: func(string) error { return nil }}
	b.desk = deadletter.Desk{SQS: b.f, Objects: b.f, Now: now}
	for _, name := range []string{"q", "r"} {
		b.f.Create(name, queues.Settings{})
		b.f.Create(name+"-dead", queues.Settings{Hidden: 30 * time.Second})
		b.desk.Queues = append(b.desk.Queues, deadletter.Queue{Name: name, Dead: name + "-dead", Forward: func(ctx context.Context, m deadletter.Message) error {
			return b.f.SendBody(ctx, name, m.Group, m.Body)
		}})
	}
	ids := 0
	b.jobs = job.Runner{Store: memory.New(memory.Options{Now: now, Dice: rand.New(rand.NewPCG(1, 2))}), Objects: b.f.Bucket, Now: now,
		NewID: func() string { ids++; return fmt.Sprintf("%03d", ids) }, Jitter: func(time.Duration) time.Duration { return 0 },
		Wake:  func(context.Context, job.Task) error { return nil },
		Kinds: map[string]job.Kind{"redrive": b.desk.Redrive(), "archive": b.desk.Archive()}}
	return b
}

func (b *bench) fill(queue string, bodies ...string) {
	b.t.Helper()
	for _, s := range bodies {
		must(b.t, b.f.Queues.SendBody(b.t.Context(), queue, "acme", s))
	}
}

func (b *bench) run(kind string, dry bool, params map[string]string) job.Job {
	b.t.Helper()
	j, err := b.jobs.Start(b.t.Context(), job.Request{Tenant: retail.Partner, Kind: kind, Params: params, DryRun: dry, By: "me", Reason: "mended"})
	must(b.t, err)
	for range 100 {
		_, err := b.jobs.Run(b.t.Context(), j.Task())
		must(b.t, err)
		j, err = b.jobs.Store.Job(b.t.Context(), retail.Partner, j.ID)
		must(b.t, err)
		if j.State.Ended() {
			return j
		}
		b.now = b.now.Add(time.Minute)
	}
	b.t.Fatal("the job never ends")
	return j
}

// bodies empties a queue, however its messages are hidden.
func (b *bench) bodies(queue string) map[string]int {
	b.t.Helper()
	b.now = b.now.Add(24 * time.Hour)
	out := map[string]int{}
	for {
		ms, err := b.f.Take(b.t.Context(), queue, 10, time.Hour)
		must(b.t, err)
		if len(ms) == 0 {
			return out
		}
		for _, m := range ms {
			out[m.Body]++
			must(b.t, b.f.Queues.Delete(b.t.Context(), queue, m.Receipt))
		}
	}
}

func many(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("m", i))
	}
	return out
}

func TestARedriveGivesEveryMessageBackOnce(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(35)...)
	b.fill("r-dead", "other")
	j := b.run("redrive", false, map[string]string{"queue": "q"})
	if j.State != job.Done || j.Counts != (job.Counts{Read: 35, Applied: 35, Total: 35}) || j.Reason != "mended" || !strings.Contains(j.Summary, "35 messages") {
		t.Errorf("%+v", j)
	}
	if got := b.bodies("q"); len(got) != 35 || got["m7"] != 1 {
		t.Errorf("%d went back", len(got))
	}
	if left, others := b.bodies("q-dead"), b.bodies("r-dead"); len(left) != 0 || len(others) != 1 {
		t.Errorf("left %v, of the other queue %v", left, others)
	}
}

func TestNothingIsLostBetweenSendAndDelete(t *testing.T) {
	for _, call := range []string{"send", "delete"} {
		for at := 1; at <= 25; at++ {
			b := open(t)
			b.fill("q-dead", many(25)...)
			n := 0
			b.f.before = func(c string) error {
				if strings.HasPrefix(c, call) {
					if n++; n == at {
						return errors.New("down")
					}
				}
				return nil
			}
			j := b.run("redrive", false, map[string]string{"queue": "q"})
			if j.State != job.Done {
				t.Errorf("%s %d: %+v", call, at, j)
			}
			b.f.before = func(string) error { return nil }
			got, twice := b.bodies("q"), 0
			for _, n := range got {
				twice += n - 1
			}
			if len(got) != 25 || twice > 1 || call == "send" && twice > 0 {
				t.Errorf("%s %d: %d came back, %d twice", call, at, len(got), twice)
			}
			if left := b.bodies("q-dead"); len(left) > 0 {
				t.Errorf("%s %d: left %v", call, at, left)
			}
		}
	}
}

func TestAMessageThatCannotGoBackStaysAndTheOthersGo(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(12)...)
	b.f.before = func(c string) error {
		if c == "send m3" {
			return fault.New(fault.Permanent, fault.Validation, "no way back")
		}
		return nil
	}
	j := b.run("redrive", false, map[string]string{"queue": "q"})
	if j.State != job.Partial || j.Counts != (job.Counts{Read: 12, Applied: 11, Rejected: 1, Total: 12}) {
		t.Errorf("%+v", j)
	}
	rows, err := b.jobs.Rejected(t.Context(), j, 10)
	if err != nil || len(rows) != 1 || rows[0].Reason != "no way back" || rows[0].ID == "" {
		t.Errorf("rejected %v, %v", rows, err)
	}
	if got, left := b.bodies("q"), b.bodies("q-dead"); len(got) != 11 || left["m3"] != 1 {
		t.Errorf("%d went back, left %v", len(got), left)
	}
}

// Time passes while a batch goes back: what was refused at its beginning must not
// take the place of what was not tried.
func TestARefusedMessageIsNotTriedAgainByTheSameRedrive(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(25)...)
	tried := map[string]int{}
	b.f.before = func(c string) error {
		if !strings.HasPrefix(c, "send") {
			return nil
		}
		b.now = b.now.Add(5 * time.Second)
		if tried[c]++; c <= "send m15" { // m0, m1, m10 to m15
			return fault.New(fault.Permanent, fault.Validation, "no way back")
		}
		return nil
	}
	j := b.run("redrive", false, map[string]string{"queue": "q"})
	if j.Counts != (job.Counts{Read: 25, Applied: 17, Rejected: 8, Total: 25}) || len(tried) != 25 || tried["send m0"] != 1 {
		t.Errorf("%+v, tried %v", j.Counts, tried)
	}
}

func TestWhatIsGivenUpOnAgainIsNotSentRoundAndRound(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(25)...)
	sent := 0
	b.f.before = func(c string) error {
		if body, ok := strings.CutPrefix(c, "send "); ok && sent < 100 {
			sent++
			b.fill("q-dead", body)
		}
		return nil
	}
	if j := b.run("redrive", false, map[string]string{"queue": "q"}); j.State != job.Done || j.Counts.Read < 25 || j.Counts.Read > 35 {
		t.Errorf("%+v", j)
	}
}

func TestAnArchiveLeavesNothingOldBehindHoweverMuchThereIs(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(1100)...)
	b.now = noon.Add(11 * 24 * time.Hour)
	if j := b.run("archive", false, nil); j.State != job.Done || j.Counts.Applied != 1100 || len(b.f.Keys("raw/dead/q/")) != 1100 {
		t.Errorf("%+v", j)
	}
}

// What somebody looked at and hid comes a little later.
func TestARedriveWaitsForWhatIsHiddenAndNotForEver(t *testing.T) {
	b := open(t)
	b.fill("q-dead", "a", "b")
	if _, err := b.f.Take(t.Context(), "q-dead", 10, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	if j := b.run("redrive", false, map[string]string{"queue": "q"}); j.State != job.Done || j.Counts.Applied != 2 {
		t.Errorf("%+v", j)
	}
	b.fill("q-dead", "c")
	if _, err := b.f.Take(t.Context(), "q-dead", 10, 12*time.Hour); err != nil {
		t.Fatal(err)
	}
	if j := b.run("redrive", false, map[string]string{"queue": "q"}); j.State != job.Done || j.Counts.Applied != 0 {
		t.Errorf("%+v", j)
	}
}

func TestAnEmptyQueueAndADryRunMoveNothing(t *testing.T) {
	b := open(t)
	if j := b.run("redrive", false, map[string]string{"queue": "q"}); j.State != job.Done || j.Summary != "q has no dead letters" {
		t.Errorf("%+v", j)
	}
	b.fill("q-dead", "a", "b")
	b.now = noon.Add(3 * time.Hour)
	if j := b.run("redrive", true, map[string]string{"queue": "q"}); !strings.Contains(j.Summary, "2 messages would go back to q; the oldest seen is 3h0m0s old") {
		t.Errorf("%+v", j)
	}
	if got, left := b.bodies("q"), b.bodies("q-dead"); len(got) != 0 || len(left) != 2 {
		t.Errorf("moved %v, left %v", got, left)
	}
	if _, err := b.jobs.Start(t.Context(), job.Request{Tenant: retail.Partner, Kind: "redrive", Params: map[string]string{"queue": "x"}}); fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), "q, r") {
		t.Errorf("an unknown queue: %v", err)
	}
}

func TestWhatIsTenDaysOldIsArchivedAndTheRestStays(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(30)...)
	b.fill("r-dead", "x")
	b.now = noon.Add(4 * 24 * time.Hour)
	b.fill("q-dead", "young")
	b.now = noon.Add(deadletter.ArchiveAfter)
	if j := b.run("archive", true, nil); j.Counts.Applied != 31 || j.Counts.Unchanged != 1 || len(b.f.Keys("")) != 0 {
		t.Errorf("looking: %+v", j)
	}
	b.now = b.now.Add(time.Minute)
	j := b.run("archive", false, nil)
	if j.State != job.Done || j.Counts.Applied != 31 || j.Counts.Unchanged != 1 || j.Summary != "31 messages archived" {
		t.Errorf("%+v", j)
	}
	keys := b.f.Keys("raw/dead/q/2026/03/01/")
	if len(keys) != 30 || len(b.f.Keys("raw/dead/r/")) != 1 {
		t.Fatalf("archived %v", keys)
	}
	raw, err := b.f.Get(t.Context(), keys[0])
	must(t, err)
	var kept struct{ Body, Group string }
	if err := json.Unmarshal(raw, &kept); err != nil || !strings.HasPrefix(kept.Body, "m") || kept.Group != "acme" {
		t.Errorf("archived %s", raw)
	}
	// One of them goes back from the archive.
	back := map[string]string{"queue": "q", "archived": keys[0]}
	if j := b.run("redrive", true, back); j.State != job.Done || !strings.Contains(j.Summary, "would go back") || len(b.bodies("q")) != 0 {
		t.Errorf("looking: %+v", j)
	}
	if j := b.run("redrive", false, back); j.State != job.Done {
		t.Errorf("%+v", j)
	}
	ms, err := b.f.Take(t.Context(), "q", 10, time.Hour)
	if err != nil || len(ms) != 1 || ms[0].Body != kept.Body || ms[0].Group != "acme" {
		t.Errorf("came back: %+v, %v", ms, err)
	}
	if j := b.run("redrive", false, map[string]string{"queue": "r", "archived": keys[0]}); j.State != job.Failed {
		t.Errorf("to another queue: %+v", j)
	}
	if left := b.bodies("q-dead"); len(left) != 1 || left["young"] != 1 {
		t.Errorf("left %v", left)
	}
}

func TestAMessageStaysWhereItsArchiveCannotBeWritten(t *testing.T) {
	b := open(t)
	b.fill("q-dead", many(15)...)
	b.now = noon.Add(11 * 24 * time.Hour)
	b.f.before = func(c string) error {
		if c == "put" {
			return errors.New("bucket down")
		}
		return nil
	}
	if j := b.run("archive", false, nil); j.State != job.Failed || !strings.Contains(j.Failure, "bucket down") {
		t.Errorf("%+v", j)
	}
	b.f.before = func(string) error { return nil }
	if left := b.bodies("q-dead"); len(left) != 15 {
		t.Errorf("left %d", len(left))
	}
	// A bucket that fails for a while delays, and loses nothing.
	b.fill("q-dead", many(15)...)
	b.now, b.f.before = b.now.Add(11*24*time.Hour), sometimes("put", "delete")
	if j := b.run("archive", false, nil); j.State != job.Done {
		t.Errorf("%+v", j)
	}
	if n := len(b.f.Keys("raw/dead/q/")); n != 15 || len(b.bodies("q-dead")) != 0 {
		t.Errorf("archived %d", n)
	}
}

// sometimes fails every seventh of the calls.
func sometimes(calls ...string) func(string) error {
	n := 0
	return func(c string) error {
		for _, x := range calls {
			if c == x {
				if n++; n%7 == 0 {
					return errors.New("down for a moment")
				}
			}
		}
		return nil
	}
}

func TestEachQueueWithDeadLettersIsOneEntry(t *testing.T) {
	b := open(t)
	if got, err := b.desk.Letters(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	b.fill("r-dead", "old")
	b.now = noon.Add(26 * time.Hour)
	b.fill("r-dead", "new")
	got, err := b.desk.Letters(t.Context())
	if err != nil || len(got) != 1 || got[0].Queue != "r" || got[0].Count != 2 || got[0].Age != "26h0m0s" || got[0].Sample != "m1" || !strings.Contains(got[0].Action, "redrive --queue r") {
		t.Errorf("%+v, %v", got, err)
	}
	if left := b.bodies("r-dead"); len(left) != 2 {
		t.Errorf("looking took %v", left)
	}
}

func TestLettersAreShownOnceEachAndStay(t *testing.T) {
	b := open(t)
	b.fill("r-dead", many(25)...)
	seen := map[string]int{}
	must(t, b.desk.Each(t.Context(), "r", func(_ context.Context, m deadletter.Message) error { seen[m.Body]++; return nil }))
	if len(seen) != 25 {
		t.Errorf("saw %v", seen)
	}
	down := errors.New("down")
	b.now = b.now.Add(2 * time.Second) // they are shown again at once
	if err := b.desk.Each(t.Context(), "r", func(context.Context, deadletter.Message) error { return down }); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
	b.now = b.now.Add(2 * time.Second)
	n := 0
	must(t, b.desk.Each(t.Context(), "r", func(context.Context, deadletter.Message) error { n++; return nil }))
	if n != 25 || len(b.bodies("r-dead")) != 25 {
		t.Errorf("%d are shown after an error", n)
	}
	if err := b.desk.Each(t.Context(), "nothing", nil); fault.Of(err) == nil {
		t.Errorf("of no queue: %v", err)
	}
}
