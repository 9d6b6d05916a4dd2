//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// platform is the stack that a command works on.
type platform struct {
	Stack string `help:"The CloudFormation stack in the AWS account of the current credentials; the local platform if empty."`
}

func (c platform) attach(ctx context.Context) (*boot.Platform, error) {
	at, err := target{Stack: c.Stack}.attach(ctx)
	return at.platform, err
}

// open lists the open exceptions of all retailers, of each so many at most, and
// names those that have more.
func (c platform) open(ctx context.Context, p *boot.Platform, tenant string, limit int) (all []document.Exception, cut []string, err error) {
	tenants, err := p.Store.Tenants(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = []document.Exception{}
	for _, t := range tenants {
		if tenant != "" && t.String() != tenant {
			continue
		}
		xs, more, err := p.Store.FirstExceptions(ctx, t, limit)
		if err != nil {
			return nil, nil, err
		}
		if all = append(all, xs...); more {
			cut = append(cut, t.String())
		}
	}
	if tenant != "" && !slices.ContainsFunc(tenants, func(t retail.Tenant) bool { return t.String() == tenant }) {
		return nil, nil, fmt.Errorf("there is no retailer %q; there are %v", tenant, tenants)
	}
	return all, cut, nil
}

type exceptions struct {
	platform
	Tenant string `help:"Of this retailer only."`
	Each   bool   `help:"List every exception instead of causes."`
	Limit  int    `default:"1000" help:"Read so many of each retailer's open exceptions at most, the oldest; 0 reads all."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run lists causes, what is due first first.
func (c exceptions) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit: %d is no number of exceptions; 0 reads all", c.Limit)
	}
	if c.Limit == 0 {
		c.Limit = math.MaxInt
	}
	all, cut, err := c.open(ctx, p, c.Tenant, c.Limit)
	if err != nil {
		return err
	}
	if len(cut) > 0 {
		_, _ = fmt.Fprintf(s.err, "%s has more than %d open exceptions: only the oldest are listed and counted; all: waybill exceptions --limit 0\n", strings.Join(cut, ", "), c.Limit)
	}
	if c.JSON && c.Each {
		return printJSON(s.out, all)
	}
	causes := exception.Causes(all)
	// What no function could take in is nobody's document, and work all the same.
	letters, err := operations.DeadLetters(ctx, p)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"causes": causes, "exceptions": all, "dead_letters": letters, "cut": cut})
	}
	for _, l := range letters {
		_, _ = fmt.Fprintf(s.out, "%s  %d dead letters  oldest: %s\n  such as message %s\n  next: %s\n", l.Queue, l.Count, l.Age, l.Sample, l.Action)
	}
	if len(all) == 0 {
		if len(letters) == 0 {
			_, err = fmt.Fprintln(s.out, "nothing is parked")
		}
		return err
	}
	if c.Each {
		for _, x := range all {
			printException(s, x, time.Now())
		}
		return nil
	}
	for _, x := range causes {
		printCause(s, x, time.Now())
	}
	_, err = fmt.Fprintln(s.out, "One of them: waybill exception ID. Each: waybill exceptions --each.")
	return err
}

func printCause(s streams, c exception.Cause, now time.Time) {
	_, _ = fmt.Fprintf(s.out, "%s  %d × %s/%s  %s/%s\n", c.Fingerprint, c.Count, c.Kind, c.Class, c.Tenant, c.Connection)
	_, _ = fmt.Fprintf(s.out, "  %s\n", c.Reason)
	var stake []string
	for cur, v := range c.AtStake {
		stake = append(stake, v+" "+string(cur))
	}
	slices.Sort(stake)
	_, _ = fmt.Fprintf(s.out, "  at stake: %s   oldest: %s   %s", first(strings.Join(stake, ", "), "unknown"), c.OldestAt.Local().Format(time.DateTime), left(c.DueAt, now))
	if len(c.Owners) > 0 {
		_, _ = fmt.Fprintf(s.out, "   with: %s", strings.Join(c.Owners, ", "))
	}
	_, _ = fmt.Fprintln(s.out)
	if c.Asked > 0 {
		_, _ = fmt.Fprintf(s.out, "  %d replays are on their way\n", c.Asked)
	}
	if c.Action != "" {
		_, _ = fmt.Fprintf(s.out, "  next: %s\n", c.Action)
	}
	if c.Count == 1 {
		_, _ = fmt.Fprintf(s.out, "  waybill %s %s --reason …\n", c.Verb, c.Exceptions[0])
		return
	}
	if c.Verb != "retry" {
		_, _ = fmt.Fprintf(s.out, "  waybill %s ID --reason …   for each of: %s\n", c.Verb, strings.Join(c.Exceptions[:min(len(c.Exceptions), 10)], " "))
		return
	}
	_, _ = fmt.Fprintf(s.out, "  waybill retry --cause %s --reason …   (the first: %s)\n", c.Fingerprint, c.Exceptions[0])
}

// left says how much of an SLA is left.
func left(due, now time.Time) string {
	if d := due.Sub(now).Round(time.Minute); d >= 0 {
		return fmt.Sprintf("left: %s", d)
	}
	return fmt.Sprintf("overdue: %s", now.Sub(due).Round(time.Minute))
}

func printException(s streams, x document.Exception, now time.Time) {
	_, _ = fmt.Fprintf(s.out, "%s  %s/%s  %s %s  %s  %s\n  %s\n", x.ID, x.Kind, x.Class, first(x.Type, "delivery"), first(x.Number, x.Document, x.EventID),
		x.State, left(x.DueAt, now), x.Reason)
	if x.Action != "" && x.State == document.Open {
		_, _ = fmt.Fprintf(s.out, "  next: %s\n", x.Action)
	}
	if x.Raw != "" {
		_, _ = fmt.Fprintf(s.out, "  payload: %s\n", x.Raw)
	}
}

// one names an exception: its id, or the beginning of it where only one open
// exception begins so.
type one struct {
	platform
	ID string `arg:"" help:"The exception's id, or its beginning."`
}

func (c one) find(ctx context.Context, p *boot.Platform) (document.Exception, error) {
	tenants, err := p.Store.Tenants(ctx)
	if err != nil {
		return document.Exception{}, err
	}
	for _, t := range tenants {
		x, err := p.Store.Exception(ctx, t, c.ID)
		if err == nil || !errors.Is(err, document.ErrNotFound) {
			return x, err
		}
	}
	all, _, err := c.open(ctx, p, "", math.MaxInt)
	if err != nil {
		return document.Exception{}, err
	}
	all = slices.DeleteFunc(all, func(x document.Exception) bool { return !strings.HasPrefix(x.ID, c.ID) })
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return document.Exception{}, fmt.Errorf("there is no exception %q; list them with: waybill exceptions --each", c.ID)
	}
	return document.Exception{}, fmt.Errorf("%d open exceptions begin with %q; give more of the id", len(all), c.ID)
}

type exceptionCmd struct {
	one
	Payload bool `help:"Print the payload, byte for byte, and nothing else."`
	JSON    bool `name:"json" help:"Print JSON."`
}

// Run shows an exception, open or resolved.
func (c exceptionCmd) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	x, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	if c.Payload {
		if x.Raw == "" {
			return fmt.Errorf("exception %s has no payload", x.ID)
		}
		body, err := p.Payloads().Get(ctx, x.Raw)
		if err != nil {
			return err
		}
		_, err = s.out.Write(body)
		return err
	}
	var found []traced
	if x.Document != "" {
		if found, err = (trace{}).collect(ctx, p.Store, []document.Key{{Tenant: x.Tenant, Type: x.Type, ID: x.Document}}); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"exception": x, "documents": found})
	}
	printException(s, x, time.Now())
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, f := range [][2]string{
		{"tenant", x.Tenant.String()}, {"connection", x.Connection}, {"field", x.Field}, {"value", x.Value}, {"cause", x.Fingerprint},
		{"at stake", strings.TrimSpace(x.AtStake.String() + " " + string(x.AtStake.Currency))}, {"opened", x.OpenedAt.Local().Format(time.DateTime)},
		{"owner", x.Owner}, {"resolution", x.Resolution},
	} {
		if f[1] != "" && (f[0] != "at stake" || x.AtStake.Currency != "") {
			_, _ = fmt.Fprintf(w, "  %s\t%s\n", f[0], f[1])
		}
	}
	if x.Retries > 0 {
		_, _ = fmt.Fprintf(w, "  retries\t%d\n", x.Retries)
	}
	for _, old := range x.Payloads {
		_, _ = fmt.Fprintf(w, "  earlier payload\t%s\n", old)
	}
	for _, n := range x.Notes {
		_, _ = fmt.Fprintf(w, "  note\t%s %s: %s\n", n.At.Local().Format(time.DateTime), n.By, n.Text)
	}
	_ = w.Flush()
	for _, d := range found {
		d.print(s)
	}
	return nil
}

// actor is who decides, and why.
type actor struct {
	Reason string `required:"" help:"Why; it is kept with the decision."`
	By     string `help:"Who decides; the user of this machine if empty."`
}

func (a actor) who() exception.Actor {
	by := a.By
	if by == "" {
		by = os.Getenv("USER")
		if u, err := user.Current(); err == nil && u.Username != "" {
			by = u.Username
		}
	}
	return exception.Actor{By: by, Reason: a.Reason}
}

// decision is a verb on one exception.
type decision struct {
	one
	actor
	JSON bool `name:"json" help:"Print JSON."`
}

func (c decision) run(ctx context.Context, s streams, do func(exception.Desk, document.Exception) (exception.Result, error)) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	x, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	r, err := do(p.Desk(), x)
	return told(s, r, err, c.JSON)
}

// told prints a decision's outcome, or why it was refused.
func told(s streams, r exception.Result, err error, asJSON bool) error {
	if err != nil {
		if f := fault.Of(err); f != nil && asJSON {
			_ = printJSON(s.out, map[string]any{"error": map[string]any{"kind": f.Kind, "class": f.Class, "field": f.Field, "value": f.Value, "why": err.Error()}})
			return errSilent
		}
		return err
	}
	if asJSON {
		return printJSON(s.out, r)
	}
	x := r.Exception
	switch r.Outcome {
	case exception.Repeated:
		_, err = fmt.Fprintf(s.out, "%s: it was decided before: %s\n", x.ID, first(x.Resolution, x.State))
	case exception.Replayed:
		_, err = fmt.Fprintf(s.out, "%s: replay %d is on its way; its outcome: waybill exception %s\n", x.ID, x.Retries, x.ID)
	default:
		_, err = fmt.Fprintf(s.out, "%s: %s\n", x.ID, r.Outcome)
	}
	return err
}

type retryCmd struct {
	platform
	actor
	ID     string `arg:"" optional:"" help:"The exception's id, or its beginning."`
	Cause  string `help:"Retry all exceptions of this cause, oldest first."`
	Tenant string `help:"With --cause: of this retailer only."`
	DryRun bool   `help:"With --cause: say how many, and retry none."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run retries one exception or a cause. Partial success ends with 3.
func (c retryCmd) Run(ctx context.Context, s streams) error {
	switch {
	case (c.ID == "") == (c.Cause == ""):
		return errors.New("say which: an exception's id, or --cause with a cause's fingerprint (waybill exceptions lists both)")
	case c.ID != "":
		return decision{one{c.platform, c.ID}, c.actor, c.JSON}.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
			return d.Retry(ctx, x.Tenant, x.ID, c.who())
		})
	}
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	all, _, err := c.open(ctx, p, c.Tenant, math.MaxInt)
	if err != nil {
		return err
	}
	match := func(x document.Exception) bool { return x.Fingerprint == c.Cause }
	var tenants []retail.Tenant
	count := 0
	for _, x := range all {
		if match(x) {
			count++
			if !slices.Contains(tenants, x.Tenant) {
				tenants = append(tenants, x.Tenant)
			}
		}
	}
	if count == 0 {
		return fmt.Errorf("no open exception has the cause %q; list them with: waybill exceptions", c.Cause)
	}
	if c.DryRun {
		if c.JSON {
			return printJSON(s.out, exception.Drained{Total: count})
		}
		_, err := fmt.Fprintf(s.out, "%d would be retried\n", count)
		return err
	}
	return c.drain(ctx, s, p, tenants, match)
}

func (c retryCmd) drain(ctx context.Context, s streams, p *boot.Platform, tenants []retail.Tenant, match func(document.Exception) bool) error {
	var sum exception.Drained
	began := time.Now()
	for _, t := range tenants {
		n, err := p.Desk().RetryCause(ctx, t, match, c.who(), draining(s, began, c.JSON))
		sum.Total, sum.Done, sum.Refused = sum.Total+n.Total, sum.Done+n.Done, sum.Refused+n.Refused
		if err != nil && n.Done+n.Refused < n.Total {
			return fmt.Errorf("after %d of %d: %w; the rest is still open, run the command again", n.Done+n.Refused, n.Total, err)
		}
	}
	if c.JSON {
		if err := printJSON(s.out, sum); err != nil {
			return err
		}
	}
	if sum.Refused > 0 {
		return errPartly
	}
	return nil
}

// draining tells of each that goes on, and why one does not; of the latter alone
// where JSON follows.
func draining(s streams, began time.Time, quiet bool) func(exception.Drained, exception.Result, error) {
	return func(n exception.Drained, r exception.Result, err error) {
		switch {
		case err != nil:
			_, _ = fmt.Fprintf(s.err, "%s: %v\n", r.Exception.ID, err)
		case !quiet:
			done := n.Done + n.Refused
			rate := float64(done) / max(time.Since(began).Seconds(), 0.001)
			_, _ = fmt.Fprintf(s.out, "%d/%d  %s %s: %s  (%.0f/s, %s left)\n", done, n.Total, first(r.Exception.Type, "delivery"), first(r.Exception.Number, r.Exception.EventID),
				r.Outcome, rate, time.Duration(float64(n.Total-done)/rate*float64(time.Second)).Round(time.Second))
		}
	}
}

type editCmd struct {
	decision
	File string `default:"-" help:"The corrected payload; - is standard input. The present one: waybill exception ID --payload."`
}

// Run edits.
func (c editCmd) Run(ctx context.Context, s streams) error {
	body, err := s.read(c.File, maxPayload)
	if err != nil {
		return err
	}
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Edit(ctx, x.Tenant, x.ID, c.who(), body)
	})
}

type cancelCmd struct{ decision }

// Run cancels.
func (c cancelCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Cancel(ctx, x.Tenant, x.ID, c.who())
	})
}

type resolveCmd struct{ decision }

// Run resolves.
func (c resolveCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Resolve(ctx, x.Tenant, x.ID, c.who())
	})
}

type confirmCmd struct {
	decision
	Ref    string `required:"" help:"The target system's id of what happened."`
	Number string `help:"What people call it there."`
}

// Run confirms.
func (c confirmCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Confirm(ctx, x.Tenant, x.ID, c.who(), effect.Receipt{Ref: c.Ref, Number: c.Number})
	})
}

type resendCmd struct{ decision }

// Run resends.
func (c resendCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Resend(ctx, x.Tenant, x.ID, c.who())
	})
}

type assignCmd struct {
	decision
	To string `help:"Who works on it; nobody if empty."`
}

// Run assigns.
func (c assignCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Assign(ctx, x.Tenant, x.ID, c.who(), c.To)
	})
}

type noteCmd struct{ decision }

// Run notes; the reason is the note.
func (c noteCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s, func(d exception.Desk, x document.Exception) (exception.Result, error) {
		return d.Note(ctx, x.Tenant, x.ID, c.who())
	})
}

type auditCmd struct {
	platform
	Tenant string        `help:"Of this retailer only."`
	Since  time.Duration `default:"168h" help:"How far back."`
	JSON   bool          `name:"json" help:"Print JSON."`
}

// Run lists what people did, oldest first.
func (c auditCmd) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	tenants, err := p.Store.Tenants(ctx)
	if err != nil {
		return err
	}
	all := []document.Audit{}
	for _, t := range tenants {
		if c.Tenant != "" && c.Tenant != t.String() {
			continue
		}
		as, err := p.Store.Audited(ctx, t, time.Now().Add(-c.Since))
		if err != nil {
			return err
		}
		all = append(all, as...)
	}
	if c.JSON {
		return printJSON(s.out, all)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, a := range all {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.At.Local().Format(time.DateTime), a.By, a.Verb, a.Subject, a.Reason)
	}
	return w.Flush()
}
