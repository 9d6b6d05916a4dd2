//go:build unix

package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/queue"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

type connectionCmd struct {
	List   connectionList   `cmd:"" help:"List all connections: paused, waiting, circuit open, who talks to them."`
	Pause  connectionPause  `cmd:"" help:"Let nothing be asked of a connection; documents rest meanwhile."`
	Resume connectionResume `cmd:"" help:"Let a paused connection, or one whose circuit is open, go on now, at its rate."`
}

// connectionState is what is known of a connection.
type connectionState struct {
	Tenant     string      `json:"tenant"`
	Connection string      `json:"connection"`
	Connector  string      `json:"connector"`
	State      string      `json:"state"` // ok, paused, waiting, circuit open
	Until      time.Time   `json:"until,omitzero"`
	Why        string      `json:"why,omitempty"`
	By         string      `json:"by,omitempty"`
	InFlight   int         `json:"in_flight"`
	Limits     rate.Limits `json:"limits"`
}

func stateOf(s rate.State, connector string, limits rate.Limits, now time.Time) connectionState {
	out := connectionState{Tenant: s.Tenant.String(), Connection: s.Connection, Connector: connector, State: "ok", InFlight: len(s.Holders(now)), Limits: limits}
	switch {
	case s.Paused != nil:
		out.State, out.Why, out.By, out.Until = "paused", s.Paused.Reason, s.Paused.By, time.Time{}
	case s.Failures > 0 && !s.Open.IsZero():
		out.State, out.Until, out.Why = "circuit open", s.Open, fmt.Sprintf("%d failures in a row, the last: %s", s.Failures, s.Cause)
	case now.Before(s.Blocked):
		out.State, out.Until, out.Why = "waiting", s.Blocked, "the vendor asked to"
	}
	return out
}

type connectionList struct {
	platform
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists.
func (c connectionList) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	all, err := connectionsOf(ctx, p)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, all)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, x := range all {
		until := ""
		if !x.Until.IsZero() {
			until = "until " + x.Until.Local().Format(time.TimeOnly)
		}
		_, _ = fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\n", x.Tenant, x.Connection, x.Connector, x.State, until, strings.TrimSpace(x.Why+" "+x.By))
	}
	return w.Flush()
}

func connectionsOf(ctx context.Context, p *boot.Platform) ([]connectionState, error) {
	tenants, err := p.Store.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	all := []connectionState{}
	for _, t := range tenants {
		r, err := p.Store.Retailer(ctx, t)
		if err != nil {
			return nil, err
		}
		for _, c := range r.Connections {
			st, err := p.Store.Rate(ctx, rate.Key{Tenant: t, Connection: c.ID})
			if err != nil {
				return nil, err
			}
			all = append(all, stateOf(st, c.Connector, boot.Limits(c), time.Now()))
		}
	}
	return all, nil
}

// named is one connection, and why it is changed.
type named struct {
	platform
	actor
	Connection string `arg:"" help:"The connection's id, such as erp."`
	Tenant     string `help:"The retailer; needed where several have a connection of that id."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

func (c named) change(ctx context.Context, s streams, verb string, do func(*rate.State, time.Time) bool) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	all, err := connectionsOf(ctx, p)
	if err != nil {
		return err
	}
	var found []connectionState
	var names []string
	for _, x := range all {
		names = append(names, x.Tenant+"/"+x.Connection)
		if x.Connection == c.Connection && (c.Tenant == "" || c.Tenant == x.Tenant) {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("there is no connection %q; there are %s", c.Connection, strings.Join(names, ", "))
	case 1:
	default:
		return fmt.Errorf("%d retailers have a connection %q; name one with --tenant", len(found), c.Connection)
	}
	x := found[0]
	t, err := retail.ParseTenant(x.Tenant)
	if err != nil {
		return err
	}
	changed := false
	now := time.Now()
	st, err := p.Rates().Decide(ctx, rate.Key{Tenant: t, Connection: x.Connection}, func(s *rate.State) bool {
		changed = do(s, now)
		return changed
	})
	if err != nil {
		return err
	}
	if changed {
		who := c.who()
		if err := p.Store.Commit(ctx, document.Transaction{Audit: []document.Audit{{Tenant: t, ID: boot.NewID(), At: now, By: who.By,
			Verb: "connection." + verb, Subject: x.Connection, Reason: who.Reason}}}); err != nil {
			return fmt.Errorf("the connection was changed, but that could not be written down: %w", err)
		}
	}
	woken := 0
	if changed && verb == "resume" {
		// What rests because of the connection goes on now, not when it is due.
		tasks, err := p.Life().Postponed(ctx, t, now.Add(rate.LongestRest+time.Minute))
		if err == nil {
			err = queue.SendAll(ctx, p.Queues, p.Env("RESUME_QUEUE"), tasks)
		}
		if err != nil {
			return fmt.Errorf("the connection goes on, but what waits for it was not woken and follows within %s: %w", rate.LongestRest, err)
		}
		woken = len(tasks)
	}
	x = stateOf(st, x.Connector, x.Limits, now)
	if woken > 0 && !c.JSON {
		_, _ = fmt.Fprintf(s.out, "%d documents that rest go on now, at the connection's rate\n", woken)
	}
	if c.JSON {
		return printJSON(s.out, map[string]any{"connection": x, "changed": changed, "woken": woken})
	}
	before := ""
	if !changed {
		before = " (it was before)"
	}
	_, err = fmt.Fprintf(s.out, "%s/%s: %s%s\n", x.Tenant, x.Connection, x.State, before)
	return err
}

type connectionPause struct{ named }

// Run pauses.
func (c connectionPause) Run(ctx context.Context, s streams) error {
	return c.change(ctx, s, "pause", func(st *rate.State, now time.Time) bool {
		if st.Paused != nil {
			return false
		}
		who := c.who()
		st.Paused = &rate.Pause{At: now, By: who.By, Reason: who.Reason}
		return true
	})
}

type connectionResume struct{ named }

// Run resumes.
func (c connectionResume) Run(ctx context.Context, s streams) error {
	return c.change(ctx, s, "resume", func(st *rate.State, _ time.Time) bool { return st.Resume() })
}
