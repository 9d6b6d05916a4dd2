package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

const (
	// SliceTime bounds what one holder does at a stretch.
	SliceTime = 10 * time.Minute
	// reserve is left of a lease for the part that is at work when the slice
	// ends, and for its checkpoint.
	reserve = time.Minute
	// attempts is how often in a row a part may fail before the job does.
	attempts  = 12
	firstWait = 2 * time.Second
	maxWait   = 10 * time.Minute
)

// Objects keeps rejected rows. Put under one key twice is harmless.
type Objects interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
}

// Runner starts jobs and works on them.
type Runner struct {
	Store   Store
	Kinds   map[string]Kind
	Objects Objects
	// Wake sends a job to whoever runs it. One that is lost costs a minute: the
	// due time is the backstop.
	Wake   func(ctx context.Context, t Task) error
	Now    func() time.Time
	NewID  func() string
	Jitter func(d time.Duration) time.Duration // uniform in [0, d)
}

// Request asks for a job.
type Request struct {
	Tenant retail.Tenant
	Kind   string
	Params map[string]string
	DryRun bool
	By     string
	Reason string
}

// Start creates a job and sends it on its way. Where one is at work on the same
// key it returns *Taken.
func (r Runner) Start(ctx context.Context, q Request) (Job, error) {
	kind, ok := r.Kinds[q.Kind]
	if !ok {
		return Job{}, fault.New(fault.Permanent, fault.Validation, "there is no such kind of job").At("kind", q.Kind)
	}
	key, err := kind.Key(q.Params)
	if err != nil {
		return Job{}, err
	}
	key = q.Kind + ":" + key
	if q.DryRun {
		key += ":dry" // looking never waits for doing
	}
	now := r.Now()
	j := Job{Schema: retail.SchemaVersion, Tenant: q.Tenant, ID: r.NewID(), Kind: q.Kind, Key: key, Params: maps.Clone(q.Params), DryRun: q.DryRun,
		By: q.By, Reason: q.Reason, State: Waiting, Due: now, CreatedAt: now, UpdatedAt: now}
	if err := r.Store.OpenJob(ctx, j); err != nil {
		return Job{}, err
	}
	j.Version++
	_ = r.Wake(ctx, j.Task()) // the due time is the backstop
	return j, nil
}

// Task names the job.
func (j Job) Task() Task { return Task{Schema: retail.SchemaVersion, Tenant: j.Tenant, ID: j.ID} }

// errLost says that somebody else holds the job now.
var errLost = errors.New("the job was taken over")

// Run works on a job for one slice and says what came of it. Everything that
// can be known about the job is in its row; an error is the store's.
func (r Runner) Run(ctx context.Context, t Task) (outcome string, err error) {
	j, err := r.Store.Job(ctx, t.Tenant, t.ID)
	if errors.Is(err, ErrNotFound) {
		return "unknown", nil
	}
	if err != nil {
		return "", err
	}
	now := r.Now()
	switch {
	case j.State.Ended():
		return string(j.State), nil
	case j.Lease.After(now):
		return "busy", nil
	case j.CancelAsked:
		return r.end(ctx, j, j.Holder, Canceled)
	case j.Due.After(now) && j.Lease.IsZero():
		return "early", nil
	}
	kind, ok := r.Kinds[j.Kind]
	if !ok {
		j.Failure = "this version of the platform has no such kind of job"
		return r.end(ctx, j, j.Holder, Failed)
	}
	end := now.Add(SliceTime)
	j.Lease = end.Add(reserve)
	if d, ok := ctx.Deadline(); ok && d.Before(j.Lease) {
		j.Lease, end = d, d.Add(-reserve)
	}
	// Should the holder die, whoever finds the lease over goes on.
	j.State, j.Holder, j.Due, j.UpdatedAt = Running, r.NewID(), j.Lease, now
	if j.StartedAt.IsZero() {
		j.StartedAt = now
	}
	switch err := r.Store.SaveJob(ctx, j); {
	case errors.Is(err, ErrConflict):
		return "busy", nil
	case err != nil:
		return "", err
	}
	j.Version++
	outcome, err = r.slice(ctx, kind, j, end)
	if errors.Is(err, errLost) {
		return "lost", nil
	}
	return outcome, err
}

// slice does part after part until the time is up.
func (r Runner) slice(ctx context.Context, kind Kind, j Job, end time.Time) (string, error) {
	for {
		p, err := kind.Part(ctx, j)
		if err != nil {
			return r.fail(ctx, j, err)
		}
		next, err := r.advance(ctx, j, p)
		if err != nil {
			return "", err
		}
		if p.Done {
			state := Done
			if next.Counts.Rejected > 0 {
				state = Partial
			}
			return r.end(ctx, next, j.Holder, state)
		}
		now := r.Now()
		rests := p.Wait > 0 || !now.Before(end)
		if rests {
			next.State, next.Holder, next.Lease, next.Due = Waiting, "", time.Time{}, now.Add(p.Wait)
		}
		if next, err = r.save(ctx, next, j.Holder, r.Store.SaveJob); err != nil {
			return "", err
		}
		switch {
		case next.CancelAsked:
			return r.end(ctx, next, next.Holder, Canceled)
		case rests:
			return string(Waiting), nil
		}
		j = next
	}
}

// advance is the job after a part. The part's rejected rows are stored before
// the cursor moves, like its other effects; doing so again stores the same.
func (r Runner) advance(ctx context.Context, j Job, p Part) (Job, error) {
	if len(p.Rejected) > 0 {
		key := fmt.Sprintf("raw/job/%s/%s/%s/%06d.json", j.Tenant, j.CreatedAt.UTC().Format("2006/01/02"), j.ID, j.Parts)
		body, err := json.Marshal(rejects{Before: j.Rejects, Rows: p.Rejected})
		if err != nil {
			return j, fmt.Errorf("encoding rejected rows: %w", err)
		}
		if err := r.Objects.Put(ctx, key, body); err != nil {
			return j, fmt.Errorf("keeping rejected rows: %w", err)
		}
		j.Rejects = key
	}
	c := &j.Counts
	c.Read, c.Applied, c.Unchanged = c.Read+p.Counts.Read, c.Applied+p.Counts.Applied, c.Unchanged+p.Counts.Unchanged
	c.Rejected += max(p.Counts.Rejected, int64(len(p.Rejected)))
	if p.Counts.Total > 0 {
		c.Total = p.Counts.Total
	}
	if p.Summary != "" {
		j.Summary = p.Summary
	}
	j.Cursor, j.Parts, j.Attempt, j.Failure, j.UpdatedAt = p.Cursor, j.Parts+1, 0, "", r.Now()
	return j, nil
}

// fail lets a job rest after what time can mend, and ends it after anything
// else. The cursor stays where it was.
func (r Runner) fail(ctx context.Context, j Job, cause error) (string, error) {
	// The cause may be that the time is up; this must still be written.
	ctx = context.WithoutCancel(ctx)
	j.Attempt++
	j.Failure, j.UpdatedAt = reason(cause), r.Now()
	if fault.KindOf(cause) != fault.Retryable || j.Attempt >= attempts {
		return r.end(ctx, j, j.Holder, Failed)
	}
	wait := min(firstWait<<(j.Attempt-1), maxWait)
	wait = max(wait/2+r.Jitter(wait/2), fault.RetryAfterOf(cause))
	holder := j.Holder
	j.State, j.Holder, j.Lease, j.Due = Waiting, "", time.Time{}, r.Now().Add(wait)
	j, err := r.save(ctx, j, holder, r.Store.SaveJob)
	if err != nil {
		return "", err
	}
	if j.CancelAsked {
		return r.end(ctx, j, "", Canceled)
	}
	return string(Waiting), nil
}

// end closes a job that the holder has.
func (r Runner) end(ctx context.Context, j Job, holder string, s State) (string, error) {
	_, err := r.save(ctx, r.ended(j, s), holder, r.Store.EndJob)
	if errors.Is(err, errLost) {
		return "lost", nil
	}
	return string(s), err
}

// ended is the job once it has ended, remembered for as long as its kind says.
func (r Runner) ended(j Job, s State) Job {
	now, keep := r.Now(), r.Kinds[j.Kind].Keep
	if keep == 0 {
		keep = DefaultKeep
	}
	j.State, j.Holder, j.Lease, j.Due, j.CancelAsked = s, "", time.Time{}, time.Time{}, false
	j.EndedAt, j.UpdatedAt, j.Expires = now, now, now.Add(keep)
	return j
}

// save writes a job that the holder has. Somebody may ask for its cancellation
// meanwhile: that is taken over; anything else means that it was lost.
func (r Runner) save(ctx context.Context, j Job, holder string, write func(context.Context, Job) error) (Job, error) {
	for {
		err := write(ctx, j)
		if err == nil {
			j.Version++
			return j, nil
		}
		if !errors.Is(err, ErrConflict) {
			return j, err
		}
		there, err := r.Store.Job(ctx, j.Tenant, j.ID)
		if err != nil {
			return j, err
		}
		if there.Holder != holder || there.State.Ended() || there.Version == j.Version {
			return j, errLost
		}
		j.Version = there.Version
		if !j.State.Ended() {
			j.CancelAsked = there.CancelAsked
		}
	}
}

// Cancel stops a job between two parts; what was done stays done.
func (r Runner) Cancel(ctx context.Context, t Task) (Job, error) {
	return r.change(ctx, t, func(j Job) (Job, func(context.Context, Job) error, error) {
		now := r.Now()
		switch {
		case j.State.Ended():
			return j, nil, fault.New(fault.Permanent, fault.StateConflict, "the job has ended already").At("state", string(j.State))
		case j.Lease.After(now):
			j.CancelAsked = true
			return j, r.Store.SaveJob, nil
		}
		return r.ended(j, Canceled), r.Store.EndJob, nil
	})
}

// Resume lets a job go on after its last part: one that ended before its time,
// or that waits.
func (r Runner) Resume(ctx context.Context, t Task) (Job, error) {
	j, err := r.change(ctx, t, func(j Job) (Job, func(context.Context, Job) error, error) {
		now := r.Now()
		write := r.Store.SaveJob
		switch {
		case j.State == Done || j.State == Partial:
			return j, nil, fault.New(fault.Permanent, fault.StateConflict, "the job is complete; start another").At("state", string(j.State))
		case j.Lease.After(now):
			return j, nil, fault.New(fault.Permanent, fault.StateConflict, "the job is at work").At("state", string(j.State))
		case j.State.Ended():
			write = r.Store.OpenJob
		}
		j.State, j.Attempt, j.Failure, j.CancelAsked, j.Holder, j.Lease = Waiting, 0, "", false, "", time.Time{}
		j.Due, j.UpdatedAt, j.EndedAt, j.Expires = now, now, time.Time{}, time.Time{}
		return j, write, nil
	})
	if err == nil {
		_ = r.Wake(ctx, t) // the due time is the backstop
	}
	return j, err
}

// change writes what to makes of the job, once more where somebody was faster.
func (r Runner) change(ctx context.Context, t Task, to func(Job) (Job, func(context.Context, Job) error, error)) (Job, error) {
	for {
		j, err := r.Store.Job(ctx, t.Tenant, t.ID)
		if err != nil {
			return j, err
		}
		next, write, err := to(j)
		if err != nil {
			return j, err
		}
		if err = write(ctx, next); err == nil {
			next.Version++
			return next, nil
		}
		if !errors.Is(err, ErrConflict) {
			return j, err
		}
	}
}

// Sweep sends every job on its way that is due, up to limit, and tells how late
// the latest of them is.
func (r Runner) Sweep(ctx context.Context, limit int) (due int, lag time.Duration, err error) {
	now := r.Now()
	all, err := r.Store.DueJobs(ctx, now, limit)
	if err != nil {
		return 0, 0, err
	}
	for _, d := range all {
		lag = max(lag, now.Sub(d.Due))
		if err := r.Wake(ctx, Task{Schema: retail.SchemaVersion, Tenant: d.Tenant, ID: d.ID}); err != nil {
			return len(all), lag, err
		}
	}
	return len(all), lag, nil
}

// rejects is a stored object of rejected rows.
type rejects struct {
	Before string     `json:"before,omitempty"`
	Rows   []Rejected `json:"rows"`
}

// Rejected reads a job's rejected rows, the first of them first, up to limit of
// the last ones.
func (r Runner) Rejected(ctx context.Context, j Job, limit int) ([]Rejected, error) {
	var out []Rejected
	for at := j.Rejects; at != "" && len(out) < limit; {
		body, err := r.Objects.Get(ctx, at)
		if err != nil {
			return out, err
		}
		var o rejects
		if err := json.Unmarshal(body, &o); err != nil {
			return out, fmt.Errorf("decoding %s: %w", at, err)
		}
		out, at = append(o.Rows, out...), o.Before
	}
	return out[max(0, len(out)-limit):], nil
}

// reason is an error's text, safe to store and show.
func reason(err error) string {
	s := err.Error()
	if f := fault.Of(err); f != nil {
		s = f.Error()
	}
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}
