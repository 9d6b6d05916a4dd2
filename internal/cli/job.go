//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// errInterrupted ends a command that was told to stop watching, with the exit
// code of an interrupted program.
var errInterrupted = errors.New("interrupted")

type jobCmd struct {
	List   jobList   `cmd:"" help:"List jobs, the newest first."`
	Show   jobShow   `cmd:"" help:"Show one job with what it rejected."`
	Start  jobStart  `cmd:"" help:"Start a job of any kind, such as reconcile."`
	Resume jobResume `cmd:"" help:"Let a job that failed, was canceled or waits go on after its last part."`
	Cancel jobCancel `cmd:"" help:"Stop a job between two parts; what was done stays done."`
}

// jobOf names a job.
type jobOf struct {
	platform
	ID   string `arg:"" help:"The job's id."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// find looks for the job among all retailers' and the partner's own.
func (c jobOf) find(ctx context.Context) (*boot.Platform, job.Job, error) {
	p, err := c.attach(ctx)
	if err != nil {
		return nil, job.Job{}, err
	}
	owners, err := owners(ctx, p, "")
	if err != nil {
		return nil, job.Job{}, err
	}
	for _, t := range owners {
		j, err := p.Store.Job(ctx, t, c.ID)
		if !errors.Is(err, job.ErrNotFound) {
			return p, j, err
		}
	}
	return nil, job.Job{}, fmt.Errorf("there is no job %s; see: waybill job list", c.ID)
}

// owners are all retailers, and the partner itself.
func owners(ctx context.Context, p *boot.Platform, tenant string) ([]retail.Tenant, error) {
	all, err := p.Store.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	all = append(all, retail.Partner)
	if tenant == "" {
		return all, nil
	}
	for _, t := range all {
		if t.String() == tenant {
			return []retail.Tenant{t}, nil
		}
	}
	return nil, fmt.Errorf("there is no retailer %q; there are %v (- is the partner itself)", tenant, all)
}

type jobList struct {
	platform
	Tenant string `help:"Of this retailer only; - is the partner itself."`
	Kind   string `help:"Of this kind only."`
	State  string `help:"In this state only: waiting, running, done, partial, failed, canceled."`
	Limit  int    `default:"20" help:"How many."`
	DryRun bool   `help:"Changes nothing, as without it."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run lists jobs.
func (c jobList) Run(ctx context.Context, s streams) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return fmt.Errorf("--limit: %d must be between 1 and 1000", c.Limit)
	}
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	of, err := owners(ctx, p, c.Tenant)
	if err != nil {
		return err
	}
	all := []job.Job{}
	for _, t := range of {
		found := 0
		for before := ""; found < c.Limit; {
			page, err := p.Store.Jobs(ctx, t, before, 100)
			if err != nil {
				return err
			}
			for _, j := range page {
				if before = j.ID; found < c.Limit && (c.Kind == "" || j.Kind == c.Kind) && (c.State == "" || string(j.State) == c.State) {
					all, found = append(all, j), found+1
				}
			}
			if len(page) < 100 {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b job.Job) int { return strings.Compare(b.ID, a.ID) })
	all = all[:min(c.Limit, len(all))]
	if c.JSON {
		return printJSON(s.out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(s.out, "there are no jobs")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, j := range all {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.CreatedAt.Local().Format(time.DateTime), j.State, j.Key, j.By, first(j.Summary, j.Failure, counts(j)))
	}
	return w.Flush()
}

func counts(j job.Job) string {
	c := j.Counts
	of := ""
	if c.Total > 0 {
		of = fmt.Sprintf(" of %d", c.Total)
	}
	return fmt.Sprintf("%d%s read, %d applied, %d unchanged, %d rejected", c.Read, of, c.Applied, c.Unchanged, c.Rejected)
}

type jobShow struct {
	jobOf
	Watch    bool `help:"Follow it until it ends; Ctrl-C leaves it running."`
	Rejected int  `default:"20" help:"How many rejected rows, the last ones."`
	DryRun   bool `help:"Changes nothing, as without it."`
}

// Run shows a job.
func (c jobShow) Run(ctx context.Context, s streams) error {
	p, j, err := c.find(ctx)
	if err != nil {
		return err
	}
	if c.Watch && !j.State.Ended() {
		return watchJob(ctx, s, p, j, c.JSON, c.Rejected)
	}
	return showJob(ctx, s, p, j, c.JSON, c.Rejected)
}

// showJob prints a job with its rejected rows.
func showJob(ctx context.Context, s streams, p *boot.Platform, j job.Job, asJSON bool, limit int) error {
	rows := []job.Rejected{}
	if j.Rejects != "" {
		var err error
		if rows, err = operations.Jobs(p).Rejected(ctx, j, limit); err != nil {
			return err
		}
	}
	if asJSON {
		return printJSON(s.out, struct {
			job.Job
			Rejected []job.Rejected `json:"rejected_rows"`
		}{j, rows})
	}
	_, _ = fmt.Fprintf(s.out, "%s  %s  %s\n  %s\n", j.ID, j.Key, j.State, counts(j))
	if j.Summary != "" {
		_, _ = fmt.Fprintf(s.out, "  %s\n", j.Summary)
	}
	if j.Failure != "" {
		_, _ = fmt.Fprintf(s.out, "  why: %s\n", j.Failure)
	}
	why := ""
	if j.Reason != "" {
		why = ": " + j.Reason
	}
	_, _ = fmt.Fprintf(s.out, "  started %s by %s%s\n", j.CreatedAt.Local().Format(time.DateTime), j.By, why)
	switch {
	case j.State == job.Failed || j.State == job.Canceled:
		_, _ = fmt.Fprintf(s.out, "  go on with: waybill job resume %s\n", j.ID)
	case !j.State.Ended():
		_, _ = fmt.Fprintf(s.out, "  watch with: waybill job show %s --watch\n", j.ID)
	}
	for _, r := range rows {
		_, _ = fmt.Fprintf(s.out, "  rejected %d  %s  %s\n", r.Line, r.ID, r.Reason)
	}
	if int64(len(rows)) < j.Counts.Rejected {
		_, _ = fmt.Fprintf(s.out, "  (%d of %d rejected rows)\n", len(rows), j.Counts.Rejected)
	}
	return nil
}

type jobStart struct {
	platform
	Kind   string            `arg:"" help:"The kind, such as reconcile."`
	Tenant string            `help:"For this retailer; - is the partner itself; the only retailer if empty."`
	Params map[string]string `arg:"" optional:"" help:"What the kind asks for, such as connection=shop."`
	Reason string            `help:"Why."`
	runJob
}

// Run starts a job and watches it.
func (c jobStart) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	t, err := theOne(ctx, p, c.Tenant)
	if err != nil {
		return err
	}
	return c.run(ctx, s, p, job.Request{Tenant: t, Kind: c.Kind, Params: c.Params, Reason: c.Reason})
}

// theOne is the retailer that is meant: the named one, or the only one.
func theOne(ctx context.Context, p *boot.Platform, tenant string) (retail.Tenant, error) {
	of, err := owners(ctx, p, tenant)
	if err != nil {
		return retail.Tenant{}, err
	}
	if tenant == "" && len(of) != 2 {
		return retail.Tenant{}, fmt.Errorf("--tenant: one of %v", of)
	}
	return of[0], nil
}

// runJob is what every verb has that starts a job.
type runJob struct {
	DryRun bool `help:"Look what would be done, and change nothing."`
	Detach bool `help:"Start it and do not wait for its end."`
	JSON   bool `name:"json" help:"Print JSON at the end; progress goes to standard error."`
}

func (c runJob) run(ctx context.Context, s streams, p *boot.Platform, q job.Request) error {
	q.DryRun, q.By = c.DryRun, person()
	j, err := operations.Jobs(p).Start(ctx, q)
	if err != nil {
		return err
	}
	if c.Detach {
		return showJob(ctx, s, p, j, c.JSON, 0)
	}
	return watchJob(ctx, s, p, j, c.JSON, 20)
}

// pace is how often a job is looked at.
const pace = 500 * time.Millisecond

// watchJob follows a job to its end, and maps that to an exit code: 0 done, 3
// partial, 1 failed or canceled. Ctrl-C leaves the job running.
func watchJob(ctx context.Context, s streams, p *boot.Platform, j job.Job, asJSON bool, limit int) error {
	to := s.out
	if asJSON {
		to = s.err
	}
	show := newProgress(to, time.Now())
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !j.State.Ended() {
		show.line(j, time.Now())
		select {
		case <-ctx.Done():
			show.end()
			_, _ = fmt.Fprintf(to, "the job goes on; watch it with: waybill job show %s --watch; stop it with: waybill job cancel %s\n", j.ID, j.ID)
			return errInterrupted
		case <-tick.C:
		}
		next, err := p.Store.Job(ctx, j.Tenant, j.ID)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			j = next
		}
	}
	show.end()
	if err := showJob(ctx, s, p, j, asJSON, limit); err != nil {
		return err
	}
	switch j.State {
	case job.Done:
		return nil
	case job.Partial:
		return errPartly
	default:
		return errSilent
	}
}

// progress prints n of N with the rate and the time that is left: one line that
// changes on a terminal, and elsewhere one whenever something moved.
type progress struct {
	w     io.Writer
	tty   bool
	began time.Time
	first int64
	known bool
	last  string
}

func newProgress(w io.Writer, now time.Time) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, tty: ok && isatty.IsTerminal(f.Fd()), began: now}
}

func (p *progress) line(j job.Job, now time.Time) {
	if !p.known {
		p.first, p.known = j.Counts.Read, true
	}
	text := progressText(j, j.Counts.Read-p.first, now.Sub(p.began))
	moved := fmt.Sprint(j.State, j.Counts, j.Failure)
	switch {
	case p.tty:
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	case p.last != moved:
		_, _ = fmt.Fprintln(p.w, text)
	}
	p.last = moved
}

func (p *progress) end() {
	if p.tty && p.last != "" {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// progressText says how far a job is, of which so many were read since.
func progressText(j job.Job, since int64, elapsed time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %d", j.Key, j.State, j.Counts.Read)
	if j.Counts.Total > 0 {
		fmt.Fprintf(&b, "/%d", j.Counts.Total)
	}
	if rate := float64(since) / elapsed.Seconds(); since > 0 && elapsed > 0 {
		fmt.Fprintf(&b, "  %.1f/s", rate)
		if left := j.Counts.Total - j.Counts.Read; left > 0 {
			fmt.Fprintf(&b, "  %s left", (time.Duration(float64(left)/rate) * time.Second).Round(time.Second))
		}
	}
	if j.Counts.Rejected > 0 {
		fmt.Fprintf(&b, "  %d rejected", j.Counts.Rejected)
	}
	if j.Failure != "" {
		fmt.Fprintf(&b, "  waits: %s", j.Failure)
	}
	return b.String()
}

type jobResume struct {
	jobOf
	DryRun bool `help:"Say what would be resumed, and change nothing."`
	Detach bool `help:"Do not wait for its end."`
}

// Run resumes a job.
func (c jobResume) Run(ctx context.Context, s streams) error {
	p, j, err := c.find(ctx)
	if err != nil {
		return err
	}
	if c.DryRun {
		return showJob(ctx, s, p, j, c.JSON, 0)
	}
	if j, err = operations.Jobs(p).Resume(ctx, j.Task()); err != nil {
		return err
	}
	if c.Detach {
		return showJob(ctx, s, p, j, c.JSON, 0)
	}
	return watchJob(ctx, s, p, j, c.JSON, 20)
}

type jobCancel struct {
	jobOf
	DryRun bool `help:"Say what would be canceled, and change nothing."`
}

// Run cancels a job.
func (c jobCancel) Run(ctx context.Context, s streams) error {
	p, j, err := c.find(ctx)
	if err != nil {
		return err
	}
	if !c.DryRun {
		if j, err = operations.Jobs(p).Cancel(ctx, j.Task()); err != nil {
			return err
		}
	}
	return showJob(ctx, s, p, j, c.JSON, 0)
}

// person is who uses the command.
func person() string { return actor{}.who().By }
