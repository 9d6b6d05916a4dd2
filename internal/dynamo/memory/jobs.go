package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

const jobPrefix = "job\x00"

func jobPart(t retail.Tenant) string { return part(t.String(), "job") }

func jobRow(t retail.Tenant, id string) key { return key{jobPart(t), jobPrefix + id} }

func jobLock(j job.Job) key { return key{jobPart(j.Tenant), part("key", j.Key)} }

// storedJob is a job's row; its due time stands apart for the index, which is
// read from the rows and so never behind: what a caller makes of one that lags
// is tried with the documents.
type storedJob struct {
	version int64
	due     time.Time
	data    encoded
}

func (r storedJob) job() (j job.Job, err error) {
	err = json.Unmarshal(r.data, &j)
	return j, err
}

// jobWrite replaces the version that j has by the next.
func jobWrite(j job.Job) (operation, error) {
	was := j.Version
	j.Version++
	data, err := encode(j)
	if err != nil {
		return operation{}, err
	}
	return operation{jobs, jobRow(j.Tenant, j.ID), func(there any) (any, error) {
		if old, exists := there.(storedJob); exists != (was > 0) || old.version != was {
			return nil, job.ErrConflict
		}
		return storedJob{j.Version, stored(j.Due), data}, nil
	}}, nil
}

// OpenJob implements job.Store.
func (s *Store) OpenJob(ctx context.Context, j job.Job) error {
	row, err := jobWrite(j)
	if err != nil {
		return err
	}
	return s.write(ctx, operation{jobs, jobLock(j), func(there any) (any, error) {
		if id, exists := there.(string); exists && id != j.ID {
			return nil, &job.Taken{Key: j.Key, ID: id}
		}
		return j.ID, nil
	}}, row)
}

// SaveJob implements job.Store.
func (s *Store) SaveJob(ctx context.Context, j job.Job) error {
	row, err := jobWrite(j)
	if err != nil {
		return err
	}
	return s.write(ctx, row)
}

// EndJob implements job.Store.
func (s *Store) EndJob(ctx context.Context, j job.Job) error {
	row, err := jobWrite(j)
	if err != nil {
		return err
	}
	return s.write(ctx, row, operation{jobs, jobLock(j), func(there any) (any, error) {
		if id, exists := there.(string); exists && id != j.ID {
			return nil, job.ErrConflict
		}
		return nil, nil
	}})
}

// Job implements job.Store.
func (s *Store) Job(ctx context.Context, t retail.Tenant, id string) (job.Job, error) {
	r, found, err := read[storedJob](ctx, s, jobs, jobRow(t, id))
	if err != nil {
		return job.Job{}, err
	}
	if !found {
		return job.Job{}, job.ErrNotFound
	}
	return r.job()
}

// Jobs implements job.Store.
func (s *Store) Jobs(ctx context.Context, t retail.Tenant, before string, limit int) ([]job.Job, error) {
	rows, err := list[storedJob](ctx, s, jobs, jobPart(t), jobPrefix)
	if err != nil {
		return nil, err
	}
	var out []job.Job
	for _, r := range slices.Backward(rows) {
		j, err := r.job()
		if err != nil {
			return nil, err
		}
		if (before == "" || j.ID < before) && len(out) < limit {
			out = append(out, j)
		}
	}
	return out, nil
}

// DueJobs implements job.Store.
func (s *Store) DueJobs(ctx context.Context, at time.Time, limit int) ([]job.DueJob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []job.DueJob
	var errs []error
	for partition, rows := range s.tables[jobs] {
		t, err := retail.ParseTenant(strings.SplitN(partition, "\x00", 2)[0])
		errs = append(errs, err)
		for sort, v := range rows {
			r, isJob := v.(storedJob)
			if isJob && !r.due.IsZero() && !r.due.After(at) {
				out = append(out, job.DueJob{Tenant: t, ID: strings.TrimPrefix(sort, jobPrefix), Due: r.due})
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading the index of due jobs: %w", err)
	}
	slices.SortFunc(out, func(a, b job.DueJob) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) })
	return out[:min(limit, len(out))], nil
}
