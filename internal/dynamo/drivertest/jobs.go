package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

var jobTests = []test{
	{"AJobReadsBackWhole", jobWhole},
	{"OneJobAtATimeHasAKey", jobKey},
	{"OneOfManyStartsWins", jobStarts},
	{"AJobIsSavedByWhoeverSawItsLastVersion", jobVersions},
	{"AnEndedJobIsOpenedAgainWhereItsKeyIsFree", jobReopened},
	{"JobsAreListedNewestFirstByRetailer", jobsListed},
	{"TheIndexOfDueJobsListsWhatIsDue", jobsDue},
}

func newJob(tn retail.Tenant, id, key string) job.Job {
	return job.Job{Schema: 1, Tenant: tn, ID: id, Kind: "count", Key: key, State: job.Waiting, By: "test", Due: Now, CreatedAt: Now, UpdatedAt: Now}
}

func jobWhole(t *testing.T, d Driver) {
	for _, tn := range []retail.Tenant{tenant(t, "acme"), retail.Partner} {
		want := newJob(tn, "j1", "count:a")
		want.Params, want.Cursor, want.Reason, want.Failure = map[string]string{"a": "b#c"}, `{"at":7}`, "why", "how"
		want.Counts = job.Counts{Read: 4, Applied: 2, Unchanged: 1, Rejected: 1, Total: 9}
		want.Lease, want.Holder, want.Rejects, want.Summary = Now.Add(time.Minute), "h", "raw/job/x", "sum"
		must(t, d.Store.OpenJob(t.Context(), want))
		got, err := d.Store.Job(t.Context(), tn, "j1")
		must(t, err)
		want.Version = 1
		same(t, "job", want, got)
		want.State, want.Due, want.EndedAt, want.Expires = job.Done, time.Time{}, Now, Now.Add(time.Hour)
		must(t, d.Store.EndJob(t.Context(), want))
		got, err = d.Store.Job(t.Context(), tn, "j1")
		must(t, err)
		want.Version = 2
		same(t, "ended job", want, got)
	}
	if _, err := d.Store.Job(t.Context(), tenant(t, "acme2"), "j1"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("another retailer's job: %v", err)
	}
}

func jobKey(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	first := newJob(tn, "j1", "count:a")
	must(t, d.Store.OpenJob(t.Context(), first))
	var taken *job.Taken
	if err := d.Store.OpenJob(t.Context(), newJob(tn, "j2", "count:a")); !errors.As(err, &taken) || taken.ID != "j1" || taken.Key != "count:a" {
		t.Errorf("a second start: %v", err)
	}
	if _, err := d.Store.Job(t.Context(), tn, "j2"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
	must(t, d.Store.OpenJob(t.Context(), newJob(tn, "j3", "count:b")))
	must(t, d.Store.OpenJob(t.Context(), newJob(tenant(t, "acme2"), "j1", "count:a")))
	first.Version, first.State, first.Due = 1, job.Running, Now.Add(time.Hour)
	must(t, d.Store.SaveJob(t.Context(), first))
	if err := d.Store.OpenJob(t.Context(), newJob(tn, "j4", "count:a")); !errors.As(err, &taken) {
		t.Errorf("after a checkpoint: %v", err)
	}
	first.Version, first.State, first.Due = 2, job.Failed, time.Time{}
	must(t, d.Store.EndJob(t.Context(), first))
	must(t, d.Store.OpenJob(t.Context(), newJob(tn, "j5", "count:a")))
	first.Version = 3
	if err := d.Store.EndJob(t.Context(), first); !errors.Is(err, job.ErrConflict) {
		t.Errorf("ended without its key: %v", err)
	}
	if err := d.Store.OpenJob(t.Context(), newJob(tn, "j6", "count:a")); !errors.As(err, &taken) || taken.ID != "j5" {
		t.Errorf("another's key was given back: %v", err)
	}
}

func jobStarts(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	won := count(t, 8, func(n int) (bool, error) {
		err := again(func() error { return d.Store.OpenJob(context.Background(), newJob(tn, fmt.Sprint("j", n), "count:a")) })
		var taken *job.Taken
		if errors.As(err, &taken) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		t.Errorf("%d have the key", won)
	}
}

func jobVersions(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	must(t, d.Store.OpenJob(t.Context(), newJob(tn, "j1", "count:a")))
	won := count(t, 6, func(n int) (bool, error) {
		j := newJob(tn, "j1", "count:a")
		j.Version, j.Holder = 1, fmt.Sprint("h", n)
		err := d.Store.SaveJob(context.Background(), j)
		if errors.Is(err, job.ErrConflict) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		t.Errorf("%d replaced one version", won)
	}
	stale := newJob(tn, "j1", "count:a")
	stale.Version = 1
	for what, err := range map[string]error{
		"saved":   d.Store.SaveJob(t.Context(), stale),
		"ended":   d.Store.EndJob(t.Context(), stale),
		"created": d.Store.OpenJob(t.Context(), newJob(tn, "j1", "count:a")),
	} {
		if !errors.Is(err, job.ErrConflict) {
			t.Errorf("%s by an old version: %v", what, err)
		}
	}
	unknown := newJob(tn, "j9", "count:z")
	unknown.Version = 1
	if err := d.Store.SaveJob(t.Context(), unknown); !errors.Is(err, job.ErrConflict) {
		t.Errorf("saving what was never opened: %v", err)
	}
}

func jobReopened(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	j := newJob(tn, "j1", "count:a")
	must(t, d.Store.OpenJob(t.Context(), j))
	j.Version, j.State, j.Cursor, j.Due = 1, job.Failed, "7", time.Time{}
	must(t, d.Store.EndJob(t.Context(), j))
	other := newJob(tn, "j2", "count:a")
	must(t, d.Store.OpenJob(t.Context(), other))
	j.Version, j.State, j.Due = 2, job.Waiting, Now
	var taken *job.Taken
	if err := d.Store.OpenJob(t.Context(), j); !errors.As(err, &taken) || taken.ID != "j2" {
		t.Errorf("while another has the key: %v", err)
	}
	other.Version, other.State, other.Due = 1, job.Done, time.Time{}
	must(t, d.Store.EndJob(t.Context(), other))
	must(t, d.Store.OpenJob(t.Context(), j))
	got, err := d.Store.Job(t.Context(), tn, "j1")
	must(t, err)
	if got.State != job.Waiting || got.Cursor != "7" || got.Version != 3 {
		t.Errorf("opened again: %+v", got)
	}
}

func jobsListed(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	for i := range 7 {
		must(t, d.Store.OpenJob(t.Context(), newJob(tn, fmt.Sprint("0", i), fmt.Sprint("count:", i))))
	}
	must(t, d.Store.OpenJob(t.Context(), newJob(tenant(t, "acme2"), "09", "count:1")))
	ids := func(before string, limit int) (out string) {
		got, err := d.Store.Jobs(t.Context(), tn, before, limit)
		must(t, err)
		for _, j := range got {
			out += j.ID + " "
		}
		return out
	}
	for _, c := range []struct {
		before string
		limit  int
		want   string
	}{{"", 3, "06 05 04 "}, {"04", 3, "03 02 01 "}, {"01", 3, "00 "}, {"00", 3, ""}, {"", 100, "06 05 04 03 02 01 00 "}} {
		if got := ids(c.before, c.limit); got != c.want {
			t.Errorf("before %q: %s, want %s", c.before, got, c.want)
		}
	}
}

func jobsDue(t *testing.T, d Driver) {
	tn := tenant(t, "acme")
	late, early, exact := newJob(tn, "late", "count:1"), newJob(tn, "early", "count:2"), newJob(retail.Partner, "exact", "count:3")
	late.Due, early.Due, exact.Due = Now.Add(time.Nanosecond), Now.Add(-time.Hour), Now
	for _, j := range []job.Job{late, early, exact} {
		must(t, d.Store.OpenJob(t.Context(), j))
	}
	d.Settle(t)
	got, err := d.Store.DueJobs(t.Context(), Now, 10)
	must(t, err)
	same(t, "due", []job.DueJob{{Tenant: tn, ID: "early", Due: early.Due}, {Tenant: retail.Partner, ID: "exact", Due: Now}}, got)
	if got, err = d.Store.DueJobs(t.Context(), Now, 1); err != nil || len(got) != 1 || got[0].ID != "early" {
		t.Errorf("the first = %v, %v", got, err)
	}
	early.Version, early.State, early.Due = 1, job.Done, time.Time{}
	must(t, d.Store.EndJob(t.Context(), early))
	exact.Version, exact.Due = 1, Now.Add(time.Hour)
	must(t, d.Store.SaveJob(t.Context(), exact))
	d.Settle(t)
	if got, err = d.Store.DueJobs(t.Context(), Now, 10); err != nil || len(got) != 0 {
		t.Errorf("ended and moved, the index lists %v, %v", got, err)
	}
}
