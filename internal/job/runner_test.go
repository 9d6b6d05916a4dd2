package job_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	blobs "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// errCrash is the end of a process: nothing after it happens.
var errCrash = errors.New("crashed")

// flaky is a store that dies at its n-th write, before or after it.
type flaky struct {
	job.Store
	writes int
	at     int // 0: never
	after  bool
}

func (f *flaky) write(do func() error) error {
	f.writes++
	if f.writes != f.at {
		return do()
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errCrash
}

func (f *flaky) SaveJob(ctx context.Context, j job.Job) error {
	return f.write(func() error { return f.Store.SaveJob(ctx, j) })
}

func (f *flaky) EndJob(ctx context.Context, j job.Job) error {
	return f.write(func() error { return f.Store.EndJob(ctx, j) })
}

// bench is a runner over the twins, with a kind that counts to rows by parts of
// three. Every fifth row is rejected. A part may be told to fail.
type bench struct {
	t *testing.T
	job.Runner
	store   *flaky
	objects *blobs.Bucket
	tenant  retail.Tenant
	now     time.Time
	rows    int
	took    time.Duration   // that each part takes
	applied map[int]int     // how often each row's effect was done
	part    func(int) error // befalls a part that begins at a row, after its effects
	woken   []job.Task
}

const size = 3

func open(t *testing.T, rows int) *bench {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	must(t, err)
	b := &bench{t: t, tenant: tn, now: noon, rows: rows, applied: map[int]int{}, objects: &blobs.Bucket{}, part: func(int) error { return nil }}
	b.store = &flaky{Store: memory.New(memory.Options{Now: func() time.Time { return b.now }, Dice: rand.New(rand.NewPCG(1, 2))})}
	ids := 0
	b.Runner = job.Runner{
		Store: b.store, Objects: b.objects, Now: func() time.Time { return b.now }, Jitter: func(time.Duration) time.Duration { return 0 },
		NewID: func() string { ids++; return fmt.Sprintf("id%03d", ids) },
		Wake:  func(_ context.Context, t job.Task) error { b.woken = append(b.woken, t); return nil },
		Kinds: map[string]job.Kind{"count": {Name: "count", Part: b.count, Key: func(p map[string]string) (string, error) {
			if p["what"] == "" {
				return "", fault.New(fault.Permanent, fault.Validation, "is missing").At("what", "")
			}
			return p["what"], nil
		}}},
	}
	return b
}

func (b *bench) count(_ context.Context, j job.Job) (job.Part, error) {
	at := 0
	if j.Cursor != "" {
		at, _ = strconv.Atoi(j.Cursor)
	}
	p := job.Part{Counts: job.Counts{Total: int64(b.rows)}}
	for i := at; i < min(at+size, b.rows); i++ {
		p.Counts.Read++
		if i%5 == 4 {
			p.Rejected = append(p.Rejected, job.Rejected{Line: int64(i + 1), Reason: "five"})
			continue
		}
		b.applied[i]++
		p.Counts.Applied++
	}
	b.now = b.now.Add(b.took)
	if err := b.part(at); err != nil {
		return job.Part{}, err
	}
	p.Cursor, p.Done = strconv.Itoa(at+size), at+size >= b.rows
	return p, nil
}

func (b *bench) start() job.Job {
	b.t.Helper()
	j, err := b.Start(b.t.Context(), job.Request{Tenant: b.tenant, Kind: "count", Params: map[string]string{"what": "rows"}, By: "me", Reason: "why"})
	must(b.t, err)
	return j
}

// drive lets time pass and the sweeper work until the job has ended.
func (b *bench) drive(id string) job.Job {
	b.t.Helper()
	for range 200 {
		for len(b.woken) > 0 {
			t := b.woken[0]
			b.woken = b.woken[1:]
			if _, err := b.Run(b.t.Context(), t); err != nil && !errors.Is(err, errCrash) {
				b.t.Fatal(err)
			}
		}
		if j := b.look(id); j.State.Ended() {
			return j
		}
		b.now = b.now.Add(time.Minute)
		_, _, err := b.Sweep(b.t.Context(), 10)
		must(b.t, err)
	}
	b.t.Fatal("the job never ends")
	return job.Job{}
}

func (b *bench) look(id string) job.Job {
	b.t.Helper()
	j, err := b.store.Job(b.t.Context(), b.tenant, id)
	must(b.t, err)
	return j
}

// whole checks that the job did all of its rows, with counts of each once.
func (b *bench) whole(j job.Job) {
	b.t.Helper()
	rejected := int64(b.rows / 5)
	want := job.Counts{Read: int64(b.rows), Applied: int64(b.rows) - rejected, Rejected: rejected, Total: int64(b.rows)}
	if j.State != job.Partial || j.Counts != want {
		b.t.Errorf("%s, counts %+v, want %+v; %s", j.State, j.Counts, want, j.Failure)
	}
	for i := range b.rows {
		if i%5 != 4 && b.applied[i] == 0 {
			b.t.Errorf("row %d was skipped", i)
		}
	}
	rows, err := b.Rejected(b.t.Context(), j, 1000)
	must(b.t, err)
	var lines []int64
	for _, r := range rows {
		lines = append(lines, r.Line)
	}
	if int64(len(lines)) != rejected || !slices.IsSorted(lines) || len(slices.Compact(lines)) != len(rows) {
		b.t.Errorf("rejected lines %v", lines)
	}
}

func TestAJobDoesAllOfItsParts(t *testing.T) {
	b := open(t, 20)
	j := b.drive(b.start().ID)
	b.whole(j)
	for i, n := range b.applied {
		if n != 1 {
			t.Errorf("row %d was done %d times", i, n)
		}
	}
	if j.Parts != 7 || j.By != "me" || j.Reason != "why" || j.EndedAt.IsZero() || !j.Due.IsZero() || !j.Lease.IsZero() || !j.Expires.Equal(j.EndedAt.Add(job.DefaultKeep)) {
		t.Errorf("%+v", j)
	}
}

// Wherever a process dies, the job ends with every row done; one part at most
// was done twice, and its counts and rejected rows stand once.
func TestACrashAtAnyWriteRepeatsOnePartAndSkipsNone(t *testing.T) {
	clean := open(t, 20)
	clean.drive(clean.start().ID)
	for at := 1; at <= clean.store.writes; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint("write ", at, " after=", after), func(t *testing.T) {
				b := open(t, 20)
				b.store.at, b.store.after = at, after
				b.whole(b.drive(b.start().ID))
				twice := 0
				for i, n := range b.applied {
					if n > 2 {
						t.Errorf("row %d was done %d times", i, n)
					}
					twice += n - 1
				}
				if twice > size {
					t.Errorf("%d rows were done twice", twice)
				}
				if after && at < clean.store.writes && twice > 0 {
					t.Errorf("%d rows were done twice although their checkpoint was written", twice)
				}
			})
		}
	}
}

// away is a bucket that refuses the n-th put.
type away struct {
	*blobs.Bucket
	puts, at int
}

func (a *away) Put(ctx context.Context, key string, body []byte) error {
	if a.puts++; a.puts == a.at {
		return errCrash
	}
	return a.Bucket.Put(ctx, key, body)
}

func TestACheckpointWaitsForItsRejectedRows(t *testing.T) {
	for at := 1; at <= 4; at++ {
		b := open(t, 20)
		b.Objects = &away{Bucket: b.objects, at: at}
		b.whole(b.drive(b.start().ID))
	}
}

func TestACrashInsideAPartRepeatsIt(t *testing.T) {
	b, died := open(t, 20), false
	b.part = func(at int) error {
		if at == 6 && !died {
			died = true
			panic(errCrash)
		}
		return nil
	}
	id := b.start().ID
	func() {
		defer func() { _ = recover() }()
		b.drive(id)
	}()
	if j := b.look(id); j.State != job.Running || j.Cursor != "6" {
		t.Fatalf("after the crash: %+v", j)
	}
	b.woken = nil // the message died too
	b.whole(b.drive(id))
	if b.applied[5] != 1 || b.applied[6] != 2 {
		t.Errorf("done %v", b.applied)
	}
}

func TestALeaseIsTakenOverByTimeAndItsHolderThenWritesNothing(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	// The first holder hangs in its second part for longer than its lease;
	// meanwhile a second holder does the rest.
	var other job.Job
	b.part = func(at int) error {
		if at != 3 || other.ID != "" {
			return nil
		}
		out, err := b.Run(b.t.Context(), job.Task{Tenant: b.tenant, ID: id})
		if out != "busy" || err != nil {
			t.Errorf("while the lease lasts: %s, %v", out, err)
		}
		other = b.look(id)
		b.now = other.Lease
		other = b.drive(id)
		return nil
	}
	out, err := b.Run(b.t.Context(), b.woken[0])
	if out != "lost" || err != nil {
		t.Errorf("the former holder: %s, %v", out, err)
	}
	b.whole(b.look(id))
	if j := b.look(id); j.Version != other.Version {
		t.Error("the former holder wrote")
	}
}

func TestASecondStartOnTheSameKeyIsRefused(t *testing.T) {
	b := open(t, 20)
	j := b.start()
	q := job.Request{Tenant: b.tenant, Kind: "count", Params: map[string]string{"what": "rows"}}
	var taken *job.Taken
	if _, err := b.Start(t.Context(), q); !errors.As(err, &taken) || taken.ID != j.ID || !strings.Contains(err.Error(), j.ID) {
		t.Errorf("a second start: %v", err)
	}
	q.DryRun = true
	if _, err := b.Start(t.Context(), q); err != nil {
		t.Errorf("looking meanwhile: %v", err)
	}
	q.DryRun, q.Params = false, map[string]string{"what": "others"}
	if _, err := b.Start(t.Context(), q); err != nil {
		t.Errorf("another key: %v", err)
	}
	b.drive(j.ID)
	q.Params = map[string]string{"what": "rows"}
	if _, err := b.Start(t.Context(), q); err != nil {
		t.Errorf("after its end: %v", err)
	}
	for _, wrong := range []job.Request{{Tenant: b.tenant, Kind: "none"}, {Tenant: b.tenant, Kind: "count"}} {
		if _, err := b.Start(t.Context(), wrong); fault.KindOf(err) != fault.Permanent {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func TestAJobIsCanceledBetweenTwoParts(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	task := job.Task{Tenant: b.tenant, ID: id}
	b.part = func(at int) error {
		if at == 6 {
			j, err := b.Cancel(t.Context(), task)
			if err != nil || !j.CancelAsked || j.State != job.Running {
				t.Errorf("%+v, %v", j, err)
			}
		}
		return nil
	}
	j := b.drive(id)
	if j.State != job.Canceled || j.Counts.Read != 9 || j.Cursor != "9" || b.applied[9] != 0 {
		t.Errorf("%+v", j)
	}
	if _, err := b.Cancel(t.Context(), task); fault.KindOf(err) != fault.Permanent {
		t.Errorf("canceling again: %v", err)
	}
	// It goes on where it was stopped.
	_, err := b.Resume(t.Context(), task)
	must(t, err)
	b.part = func(int) error { return nil }
	b.whole(b.drive(id))
	if b.applied[8] != 1 {
		t.Errorf("done %v", b.applied)
	}
	if _, err := b.Resume(t.Context(), task); fault.KindOf(err) != fault.Permanent {
		t.Errorf("resuming what is complete: %v", err)
	}
}

func TestAWaitingJobIsCanceledAtOnce(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	j, err := b.Cancel(t.Context(), job.Task{Tenant: b.tenant, ID: id})
	if err != nil || j.State != job.Canceled {
		t.Errorf("%+v, %v", j, err)
	}
	if out, err := b.Run(t.Context(), b.woken[0]); out != "canceled" || err != nil || len(b.applied) > 0 {
		t.Errorf("%s, %v; done %v", out, err, b.applied)
	}
	b.start() // its key is free
}

// A slice ends by its time; the next begins when the sweeper finds it due.
func TestASliceEndsByTimeAndTheSweeperResumesIt(t *testing.T) {
	b := open(t, 20)
	b.took = 4 * time.Minute
	id := b.start().ID
	out, err := b.Run(t.Context(), b.woken[0])
	if j := b.look(id); out != "waiting" || err != nil || j.Parts != 3 || !j.Lease.IsZero() || !j.Due.Equal(b.now) {
		t.Errorf("%s, %v: %+v", out, err, j)
	}
	b.woken = nil
	b.whole(b.drive(id))
	if len(b.woken) != 0 {
		t.Errorf("woken %v", b.woken)
	}
}

func TestWhatTimeCanMendIsTriedAgainAndAnythingElseEndsTheJob(t *testing.T) {
	b, failures := open(t, 20), 0
	b.part = func(at int) error {
		if at == 3 && failures < 3 {
			failures++
			return fault.New(fault.Retryable, fault.RateLimited, "slow down").After(5 * time.Minute)
		}
		return nil
	}
	id := b.start().ID
	_, err := b.Run(t.Context(), b.woken[0])
	must(t, err)
	if j := b.look(id); j.State != job.Waiting || j.Attempt != 1 || !j.Due.Equal(b.now.Add(5*time.Minute)) || !strings.Contains(j.Failure, "slow down") {
		t.Errorf("%+v", j)
	}
	if out, _ := b.Run(t.Context(), b.woken[0]); out != "early" {
		t.Errorf("a second message runs it: %s", out)
	}
	j := b.drive(id)
	if b.whole(j); failures != 3 || j.Attempt != 0 || j.Failure != "" {
		t.Errorf("%d failures, %+v", failures, j)
	}

	b = open(t, 20)
	b.part = func(at int) error {
		if at == 3 {
			return fault.New(fault.Permanent, fault.Authentication, "revoked")
		}
		return nil
	}
	id = b.start().ID
	if j = b.drive(id); j.State != job.Failed || j.Cursor != "3" || j.Failure != "revoked" || j.Counts.Read != 3 {
		t.Errorf("%+v", j)
	}
	b.start() // the key is free

	b = open(t, 20)
	b.part = func(int) error { return errors.New("down") }
	if j = b.drive(b.start().ID); j.State != job.Failed || j.Attempt != 12 {
		t.Errorf("%+v", j)
	}
}

// Its function dies at the context's deadline; what is at work then has a minute.
func TestASliceEndsAMinuteBeforeItsFunction(t *testing.T) {
	b := open(t, 20)
	b.now = time.Date(2096, 3, 1, 12, 0, 0, 0, time.UTC) // no deadline of the test's is over by then
	deadline := b.now.Add(5 * time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	b.took = 90 * time.Second
	id := b.start().ID
	b.part = func(int) error {
		if j := b.look(id); !j.Lease.Equal(deadline) || !j.Due.Equal(deadline) {
			t.Errorf("leased until %s, due %s", j.Lease, j.Due)
		}
		return nil
	}
	out, err := b.Run(ctx, b.woken[0])
	if j := b.look(id); out != "waiting" || err != nil || j.Parts != 3 {
		t.Errorf("%s, %v: %+v", out, err, j)
	}
}

func TestAPartThatItsFunctionCutsShortIsWrittenDownAndTriedAgain(t *testing.T) {
	b := open(t, 20)
	ctx, cancel := context.WithCancel(t.Context())
	b.part = func(at int) error {
		if at == 3 {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	id := b.start().ID
	out, err := b.Run(ctx, b.woken[0])
	if j := b.look(id); out != "waiting" || err != nil || j.State != job.Waiting || j.Attempt != 1 || j.Cursor != "3" || !j.Lease.IsZero() {
		t.Errorf("%s, %v: %+v", out, err, j)
	}
}

func TestAPartThatAsksForARestGetsIt(t *testing.T) {
	b := open(t, 20)
	b.Kinds["rests"] = job.Kind{Name: "rests", Key: func(map[string]string) (string, error) { return "", nil },
		Part: func(_ context.Context, j job.Job) (job.Part, error) {
			return job.Part{Cursor: "1", Wait: 2 * time.Minute, Done: j.Parts == 9}, nil
		}}
	j, err := b.Start(t.Context(), job.Request{Tenant: b.tenant, Kind: "rests"})
	must(t, err)
	for i, c := range []struct {
		after time.Duration
		want  string
	}{{0, "waiting"}, {119 * time.Second, "early"}, {120 * time.Second, "waiting"}} {
		b.now = noon.Add(c.after)
		if out, err := b.Run(t.Context(), j.Task()); out != c.want || err != nil || b.look(j.ID).Parts != int64(1+i/2) {
			t.Errorf("after %s: %s, %v, %+v", c.after, out, err, b.look(j.ID))
		}
	}
}

func TestACancellationHoldsAlthoughThePartFails(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	b.part = func(at int) error {
		if at != 3 {
			return nil
		}
		_, err := b.Cancel(t.Context(), job.Task{Tenant: b.tenant, ID: id})
		return errors.Join(err, errors.New("down"))
	}
	if out, err := b.Run(t.Context(), b.woken[0]); out != "canceled" || err != nil || b.look(id).State != job.Canceled {
		t.Errorf("%s, %v: %+v", out, err, b.look(id))
	}
	b.start() // its key is free
}

func TestACancellationHoldsAlthoughTheHolderDies(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	b.part = func(int) error {
		_, err := b.Cancel(t.Context(), job.Task{Tenant: b.tenant, ID: id})
		b.store.at = b.store.writes + 1
		return err
	}
	if _, err := b.Run(t.Context(), b.woken[0]); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	b.now = b.look(id).Lease
	if out, err := b.Run(t.Context(), b.woken[0]); out != "canceled" || err != nil || b.applied[0] != 1 {
		t.Errorf("%s, %v: done %v", out, err, b.applied)
	}
}

func TestAJobIsResumedOnlyWhereNobodyWorksOnIt(t *testing.T) {
	b := open(t, 20)
	id := b.start().ID
	task := job.Task{Tenant: b.tenant, ID: id}
	asked := false
	b.part = func(int) error {
		if !asked {
			asked = true
			if _, err := b.Resume(t.Context(), task); fault.KindOf(err) != fault.Permanent {
				t.Errorf("at work: %v", err)
			}
		}
		return fault.New(fault.Permanent, fault.Authentication, "revoked")
	}
	if j := b.drive(id); j.State != job.Failed {
		t.Fatalf("%+v", j)
	}
	b.part = func(int) error { return nil }
	other := b.start()
	var taken *job.Taken
	if _, err := b.Resume(t.Context(), task); !errors.As(err, &taken) || taken.ID != other.ID || b.look(id).State != job.Failed {
		t.Errorf("while another has its key: %v", err)
	}
	b.drive(other.ID)
	_, err := b.Resume(t.Context(), task)
	must(t, err)
	b.whole(b.drive(id))
}

func TestAnEndedJobIsRememberedAsLongAsItsKindSays(t *testing.T) {
	const keep = 7 * 24 * time.Hour
	for name, end := range map[string]func(b *bench, id string){
		"done":     func(b *bench, id string) { b.drive(id) },
		"canceled": func(b *bench, id string) { _, _ = b.Cancel(b.t.Context(), job.Task{Tenant: b.tenant, ID: id}) },
	} {
		b := open(t, 4)
		k := b.Kinds["count"]
		k.Keep = keep
		b.Kinds["count"] = k
		id := b.start().ID
		end(b, id)
		if j := b.look(id); !j.State.Ended() || !j.Expires.Equal(j.EndedAt.Add(keep)) {
			t.Errorf("%s: ended %s, kept until %s", name, j.EndedAt, j.Expires)
		}
	}
}

// Any mix of crashes, failures, cancellations and overtaken leases ends with
// everything done.
func TestAnyMixOfMishapsEndsWithEverythingDone(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 7))
		b := open(t, 1+dice.IntN(40))
		id := b.start().ID
		b.part = func(int) error {
			b.now = b.now.Add(time.Duration(dice.IntN(300)) * time.Second)
			switch dice.IntN(8) {
			case 0:
				return errors.New("down")
			case 1:
				b.store.at, b.store.after = b.store.writes+1+dice.IntN(2), dice.IntN(2) == 0
			case 2:
				_, err := b.Cancel(t.Context(), job.Task{Tenant: b.tenant, ID: id})
				if err != nil && !errors.Is(err, errCrash) {
					t.Error(err)
				}
			case 3:
				b.now = b.now.Add(20 * time.Minute) // beyond the lease
				if _, err := b.Run(t.Context(), job.Task{Tenant: b.tenant, ID: id}); err != nil && !errors.Is(err, errCrash) {
					t.Error(err)
				}
			}
			return nil
		}
		j := b.drive(id)
		for range 100 {
			if j.State == job.Partial || j.State == job.Done {
				break
			}
			_, err := b.Resume(t.Context(), job.Task{Tenant: b.tenant, ID: id})
			must(t, err)
			j = b.drive(id)
		}
		if b.rows < 5 {
			j.State = job.Partial // nothing of it is rejected
		}
		if b.whole(j); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
