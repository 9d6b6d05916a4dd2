// Package job is long work: a reconcile, a redrive, a proof, a replay. A job
// goes on part by part. What a part did is done before the cursor moves past it,
// so that a crash repeats at most one part and skips none; the parts of every
// kind are therefore safe to repeat.
package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillhq/waybill/internal/retail"
)

// State is where a job stands.
type State string

const (
	// Waiting: nobody works on it; it goes on when it is due.
	Waiting State = "waiting"
	// Running: a holder works on it while the lease lasts.
	Running State = "running"
	// Done: all of it was dealt with.
	Done State = "done"
	// Partial: all of it was looked at, and some of it was rejected.
	Partial State = "partial"
	// Failed: it could not go on; resuming it begins after the last part.
	Failed State = "failed"
	// Canceled: somebody stopped it between two parts.
	Canceled State = "canceled"
)

// Ended reports whether nothing happens any more unless somebody resumes it.
func (s State) Ended() bool { return s != Waiting && s != Running }

// Counts are how far a job is.
type Counts struct {
	Read      int64 `json:"read"`
	Applied   int64 `json:"applied"`
	Unchanged int64 `json:"unchanged"`
	Rejected  int64 `json:"rejected"`
	Total     int64 `json:"total,omitempty"` // 0: not known
}

// Job is one piece of long work.
type Job struct {
	Schema int           `json:"schema"`
	Tenant retail.Tenant `json:"tenant"` // retail.Partner for what is no retailer's
	ID     string        `json:"id"`     // UUIDv7: ids are in the order of creation
	Kind   string        `json:"kind"`
	// Key is what only one job at a time works on.
	Key    string            `json:"key"`
	Params map[string]string `json:"params,omitempty"`
	DryRun bool              `json:"dry_run,omitempty"` // look, and change nothing
	By     string            `json:"by"`
	Reason string            `json:"reason,omitempty"`

	State  State  `json:"state"`
	Cursor string `json:"cursor,omitempty"` // where the next part begins, in its kind's own words
	Counts Counts `json:"counts"`
	Parts  int64  `json:"parts"` // finished ones
	// Summary is the result in a sentence, and Failure why it does not go on.
	Summary string `json:"summary,omitempty"`
	Failure string `json:"failure,omitempty"`
	Attempt int    `json:"attempt,omitempty"` // failures since the last part
	// Rejects is the stored object with the rows that were rejected last; it
	// names the one before it.
	Rejects string `json:"rejects,omitempty"`

	Holder      string    `json:"holder,omitempty"`
	Lease       time.Time `json:"lease,omitzero"` // until when the holder owns it
	CancelAsked bool      `json:"cancel_asked,omitempty"`
	Due         time.Time `json:"due,omitzero"` // when somebody must look at it; zero once ended
	CreatedAt   time.Time `json:"created_at"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	UpdatedAt   time.Time `json:"updated_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	Expires     time.Time `json:"expires,omitzero"` // when an ended job is forgotten
	Version     int64     `json:"version"`
}

// Part is what one part of a job came to.
type Part struct {
	Cursor string // where the next part begins
	Done   bool   // there is no next part
	// Counts are this part's; Total, if set, replaces the job's.
	Counts   Counts
	Rejected []Rejected
	Summary  string // replaces the job's, if set
	// Wait lets the job rest before its next part.
	Wait time.Duration
}

// Rejected is one row that could not be dealt with. It holds references and
// reasons, never personal data.
type Rejected struct {
	Line   int64  `json:"line"` // 1 is the first that the job read
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason"`
}

// Kind is one sort of work.
type Kind struct {
	Name string
	// Key checks a job's parameters and names what only one job of the kind at
	// a time may work on.
	Key func(params map[string]string) (string, error)
	// Part does the next part and returns once its effects are there. It may be
	// asked for the same part again, after a crash at any moment.
	Part func(ctx context.Context, j Job) (Part, error)
	// Keep is how long an ended job is remembered; DefaultKeep if zero.
	Keep time.Duration
}

// With is the kind with its work, where only its name and key were said before:
// whoever starts jobs does not need what they are made of.
func (k Kind) With(part func(ctx context.Context, j Job) (Part, error)) Kind {
	k.Part = part
	return k
}

// DefaultKeep is how long an ended job is remembered: it is also the record of
// who did what and why.
const DefaultKeep = 400 * 24 * time.Hour

// Task names a job in a message.
type Task struct {
	Schema int           `json:"schema"`
	Tenant retail.Tenant `json:"tenant"`
	ID     string        `json:"id"`
}

// Taken says that another job holds the key.
type Taken struct{ Key, ID string }

func (e *Taken) Error() string {
	return fmt.Sprintf("job %s is at work on %s already; watch it with: waybill job show %s --watch", e.ID, e.Key, e.ID)
}

// Errors of a Store.
var (
	ErrNotFound = errors.New("there is no such job")
	ErrConflict = errors.New("the job was changed by somebody else")
)

// Store keeps jobs. The version of what is written is the one it replaces; what
// is stored has the next. Reads are consistent, except DueJobs.
type Store interface {
	// OpenJob creates a job (version 0), or opens an ended one again, and takes
	// its key: *Taken where another job has it.
	OpenJob(ctx context.Context, j Job) error
	// SaveJob replaces an open job: ErrConflict where its version is another.
	SaveJob(ctx context.Context, j Job) error
	// EndJob replaces a job and gives its key back.
	EndJob(ctx context.Context, j Job) error
	// Job returns ErrNotFound for an unknown one.
	Job(ctx context.Context, t retail.Tenant, id string) (Job, error)
	// Jobs lists the newest first, beginning after the id before, if set.
	Jobs(ctx context.Context, t retail.Tenant, before string, limit int) ([]Job, error)
	// DueJobs lists what is due at a time, earliest first: a hint, never a
	// decision.
	DueJobs(ctx context.Context, at time.Time, limit int) ([]DueJob, error)
}

// DueJob is one entry of the index of due times.
type DueJob struct {
	Tenant retail.Tenant
	ID     string
	Due    time.Time
}
