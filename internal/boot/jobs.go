package boot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/replay"
	"github.com/waybillhq/waybill/internal/retail"
)

// Starter starts jobs of the given kinds, which need not say what they do.
func (p *Platform) Starter(kinds ...job.Kind) job.Runner {
	r := job.Runner{Store: p.Store, Kinds: map[string]job.Kind{}, Now: time.Now, NewID: NewID, Jitter: rand.N[time.Duration],
		Wake: func(ctx context.Context, t job.Task) error {
			return p.Queues.Send(ctx, p.Env("JOB_QUEUE"), t.Tenant.String(), t, 0)
		}}
	for _, k := range kinds {
		r.Kinds[k.Name] = k
	}
	return r
}

// Replay takes stored payloads in again.
func (p *Platform) Replay() replay.Replay {
	days, err := strconv.Atoi(p.Env("RAW_RETENTION_DAYS"))
	if err != nil {
		days = 0 // told as unknown
	}
	return replay.Replay{Payloads: p.Payloads(), Now: time.Now, Keep: time.Duration(days) * 24 * time.Hour, Enqueue: p.replayed}
}

// replayed hands a stored payload to the intake of its class.
func (p *Platform) replayed(ctx context.Context, class string, m inbox.Message) error {
	r, err := p.Connections().Retailer(ctx, m.Tenant)
	if err != nil {
		return err
	}
	c, ok := r.Connection(m.Connection)
	if !ok {
		return fault.New(fault.Permanent, fault.Configuration, "the retailer's configuration has no such connection").At("connection", m.Connection)
	}
	m.Connector = c.Connector
	known, err := p.Enqueue(ctx, class, m)
	if err == nil && !known {
		err = fault.New(fault.Permanent, fault.Configuration, "no intake takes payloads of this class").At("class", class)
	}
	return err
}

// Prover proves that nothing is missing.
func (p *Platform) Prover() proof.Prover {
	return proof.Prover{Life: p.Life(), Effects: p.Store, Connections: p.Connections(), Results: p.Store, Objects: p.Payloads(), Zone: p.zone}
}

// zone is a channel's time zone, as its connection says.
func (p *Platform) zone(ctx context.Context, t retail.Tenant, connection string) (string, error) {
	r, err := p.Connections().Retailer(ctx, t)
	if err != nil {
		return "", err
	}
	c, ok := r.Connection(connection)
	if !ok {
		return "", fault.New(fault.Permanent, fault.Configuration, "the retailer's configuration has no such connection").At("connection", connection)
	}
	return c.TimeZone, nil
}

// listener notices silent channels; the function that lists them counts them.
func (p *Platform) listener() order.Listener {
	return order.Listener{Activities: p.Store, Life: p.Life(), Count: func(t retail.Tenant, connection string, silent bool) {
		n := 0.0
		if silent {
			n = 1
		}
		p.Metric("order-reconcile", "SilentChannels", "Count", n, "tenant", t.String(), "connection", connection)
	}}
}

// Scheduled is what a rule tells job-schedule.
type Scheduled struct {
	// Start is the kind of job that is due; empty resumes what is overdue.
	Start string `json:"start"`
}

// perJobSweep bounds one sweep of jobs; the next comes in a minute.
const perJobSweep = 100

// Schedule makes the handler that starts what is scheduled and resumes what is
// due.
func (p *Platform) Schedule() func(context.Context, Scheduled) error {
	r := p.Starter(proof.Job, deadletter.ArchiveJob)
	return func(ctx context.Context, in Scheduled) error {
		began := time.Now()
		var err error
		switch in.Start {
		case "":
			var due int
			var lag time.Duration
			due, lag, err = r.Sweep(ctx, perJobSweep)
			p.Metric("job-schedule", "JobSweepLag", "Seconds", lag.Seconds(), "due", due)
		case deadletter.ArchiveJob.Name:
			err = start(ctx, r, job.Request{Tenant: retail.Partner, Kind: in.Start})
		case proof.Job.Name:
			err = p.eachChannel(ctx, func(t retail.Tenant, channel string) error {
				return start(ctx, r, job.Request{Tenant: t, Kind: in.Start, Params: map[string]string{"connection": channel, "date": "yesterday"}})
			})
		default:
			err = fmt.Errorf("there is nothing to start by the name of %q", in.Start)
		}
		p.Line("job-schedule", began, err, "start", in.Start)
		return err
	}
}

// lookPages of a listing are no long work.
const lookPages = 2

// Reconcile makes the handler that looks at each channel, and starts a job where
// a look is not enough. One channel's outage does not keep the others waiting.
func (p *Platform) Reconcile() func(context.Context) error {
	starter, reconciler := p.Starter(order.ReconcileJob), p.Reconciler()
	return func(ctx context.Context) error {
		return p.eachChannel(ctx, func(t retail.Tenant, channel string) error {
			found, more, err := reconciler.Look(ctx, t, channel, lookPages)
			p.Log.Info("order-reconcile", "tenant", t.String(), "connection", channel, "found", found, "job", more, "failed", err != nil)
			if more {
				err = start(ctx, starter, job.Request{Tenant: t, Kind: order.ReconcileJob.Name, Params: map[string]string{"connection": channel}})
			}
			return err
		})
	}
}

// eachChannel does something for every channel of every retailer; one that fails
// keeps no other waiting.
func (p *Platform) eachChannel(ctx context.Context, do func(t retail.Tenant, channel string) error) error {
	tenants, err := p.Store.Tenants(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range tenants {
		r, err := p.Connections().Retailer(ctx, t)
		failed = append(failed, err)
		for _, w := range r.Routes {
			failed = append(failed, do(t, w.Channel))
		}
	}
	return errors.Join(failed...)
}

// start lets a job that is at work already go on.
func start(ctx context.Context, r job.Runner, q job.Request) error {
	q.By, q.Reason = "schedule", "scheduled"
	_, err := r.Start(ctx, q)
	var taken *job.Taken
	if errors.As(err, &taken) {
		return nil
	}
	return err
}
