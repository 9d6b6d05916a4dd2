//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/replay"
	"github.com/waybillhq/waybill/internal/retail"
)

type redriveCmd struct {
	platform
	Queue    string `required:"" help:"The queue that gave up: order-inbox, shipment-inbox, resume, job, publish or schedule."`
	Archived string `help:"The key of one archived message, instead of what the dead-letter queue holds."`
	Reason   string `help:"Why; it is kept with who did it."`
	runJob
}

// Run gives a queue's dead letters back.
func (c redriveCmd) Run(ctx context.Context, s streams) error {
	if c.Reason == "" && !c.DryRun {
		return errors.New("--reason: say why; it is kept with who did it")
	}
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	names := operations.DeadLetterDesk(p).Names()
	if !slices.Contains(names, c.Queue) {
		return fmt.Errorf("--queue: there is no queue %q; there are %v", c.Queue, names)
	}
	if c.Archived == "" {
		letters, err := operations.DeadLetters(ctx, p)
		if err != nil {
			return err
		}
		found := false
		for _, l := range letters {
			found = found || l.Queue == c.Queue
		}
		if !found {
			if c.JSON {
				return printJSON(s.out, map[string]any{"queue": c.Queue, "dead_letters": 0})
			}
			_, err := fmt.Fprintf(s.out, "%s has no dead letters: nothing to redrive. What is parked is among: waybill exceptions\n", c.Queue)
			return err
		}
	}
	q := job.Request{Tenant: retail.Partner, Kind: "redrive", Params: map[string]string{"queue": c.Queue}, Reason: c.Reason}
	if c.Archived != "" {
		q.Params["archived"] = c.Archived
	}
	if !c.DryRun {
		// What people do is told before it is done.
		err := p.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{{Tenant: retail.Partner, ID: boot.NewID(), At: time.Now(), By: person(),
			Verb: "queue.redrive", Subject: c.Queue, Reason: c.Reason, Data: q.Params}}})
		if err != nil {
			return err
		}
	}
	return c.run(ctx, s, p, q)
}

type replayCmd struct {
	platform
	Connection string `required:"" help:"Whose payloads."`
	From       string `required:"" help:"The first day of receipt, UTC: YYYY-MM-DD."`
	To         string `help:"The last day, included; the first if empty."`
	Class      string `enum:"order,shipment," default:"" help:"order or shipment; what the connection delivers if empty."`
	Tenant     string `help:"The retailer; needed where there are several."`
	Reason     string `help:"Why; it is kept with who did it."`
	runJob
}

// Run replays. What the payloads made before is found by its external ids.
func (c replayCmd) Run(ctx context.Context, s streams) error {
	if c.Reason == "" && !c.DryRun {
		return errors.New("--reason: say why; it is kept with who did it")
	}
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	t, err := theOne(ctx, p, c.Tenant)
	if err != nil {
		return err
	}
	r, err := p.Store.Retailer(ctx, t)
	if err != nil {
		return err
	}
	conn, ok := r.Connection(c.Connection)
	if !ok {
		var names []string
		for _, x := range r.Connections {
			names = append(names, x.ID)
		}
		return fmt.Errorf("--connection: retailer %s has no connection %q; there are %v", t, c.Connection, names)
	}
	if c.To == "" {
		c.To = c.From
	}
	if c.Class == "" {
		c.Class = order.Class
		if opened, err := catalog.Open(conn.Connector, []byte(catalog.Bare(conn.Connector)), nil, nil, time.Now); err == nil {
			if _, parcels := opened.(shipment.Decoder); parcels {
				c.Class = shipment.Class
			}
		}
	}
	params := map[string]string{replay.Connection: c.Connection, replay.Class: c.Class, replay.From: c.From, replay.To: c.To}
	if err := p.Replay().Check(ctx, t, params); err != nil {
		return err
	}
	if !c.DryRun {
		err := p.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{{Tenant: t, ID: boot.NewID(), At: time.Now(), By: person(),
			Verb: "connection.replay", Subject: c.Connection, Reason: c.Reason, Data: params}}})
		if err != nil {
			return err
		}
	}
	return c.run(ctx, s, p, job.Request{Tenant: t, Kind: replay.Name, Params: params, Reason: c.Reason})
}

type proofCmd struct {
	platform
	Date       string `default:"yesterday" help:"The day: YYYY-MM-DD, today or yesterday, in the channel's time zone (UTC where its connection says none)."`
	Connection string `help:"Of this channel only."`
	Tenant     string `help:"Of this retailer only."`
	runJob
}

// proved is one channel's proof, as printed.
type proved struct {
	Tenant     string        `json:"tenant"`
	Connection string        `json:"connection"`
	State      job.State     `json:"state"`
	Job        string        `json:"job"`
	Failure    string        `json:"failure,omitempty"`
	Result     *proof.Result `json:"proof,omitempty"`
}

// Run proves the day of each channel, one after the other.
func (c proofCmd) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	of, err := owners(ctx, p, c.Tenant)
	if err != nil {
		return err
	}
	all := []proved{}
	var channels []string
	var worst error
	for _, t := range of {
		if t == retail.Partner {
			continue
		}
		r, err := p.Store.Retailer(ctx, t)
		if err != nil {
			return err
		}
		for _, w := range r.Routes {
			channels = append(channels, t.String()+"/"+w.Channel)
			if c.Connection != "" && c.Connection != w.Channel {
				continue
			}
			x, err := c.prove(ctx, s, p, t, w.Channel)
			if err != nil && !errors.Is(err, errPartly) && !errors.Is(err, errSilent) {
				return err
			}
			if worst == nil || errors.Is(err, errSilent) {
				worst = err
			}
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no channel %q; there are %v", c.Connection, channels)
	}
	if c.JSON {
		if err := printJSON(s.out, all); err != nil {
			return err
		}
	}
	return worst
}

func (c proofCmd) prove(ctx context.Context, s streams, p *boot.Platform, t retail.Tenant, channel string) (proved, error) {
	x := proved{Tenant: t.String(), Connection: channel}
	j, err := operations.Jobs(p).Start(ctx, job.Request{Tenant: t, Kind: proof.Job.Name, Params: map[string]string{"connection": channel, "date": c.Date}, DryRun: c.DryRun, By: person(), Reason: "asked for"})
	if err != nil {
		return x, err
	}
	x.Job, x.State = j.ID, j.State
	if c.Detach {
		if c.JSON {
			return x, nil
		}
		return x, showJob(ctx, s, p, j, false, 0)
	}
	quiet := s
	if c.JSON {
		quiet.out = s.err
	}
	werr := watchJob(ctx, quiet, p, j, false, 100)
	if errors.Is(werr, errInterrupted) {
		return x, werr
	}
	if j, err = p.Store.Job(ctx, t, j.ID); err != nil {
		return x, err
	}
	x.State, x.Failure = j.State, j.Failure
	results, err := p.Store.Proofs(ctx, t, channel, 31)
	if err != nil {
		return x, err
	}
	for _, r := range results {
		if r.Job == j.ID {
			x.Result = &r
		}
	}
	return x, werr
}
