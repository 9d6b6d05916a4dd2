//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/boot/operations"
	"github.com/waybillhq/waybill/internal/retail"
)

type alertsCmd struct {
	List alertsListCmd `cmd:"" default:"withargs" help:"List what people are told of."`
	Test alertsTestCmd `cmd:"" help:"Send a test alert to every destination."`
}

type alertsListCmd struct {
	platform
	Tenant string `help:"Of this retailer only."`
	All    bool   `help:"Resolved ones too."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run lists alerts, what presses most first.
func (c alertsListCmd) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	all, err := p.Store.Alerts(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(a alert.Alert) bool {
		return !a.Active() && !c.All || c.Tenant != "" && a.Tenant.String() != c.Tenant
	})
	slices.SortStableFunc(all, func(a, b alert.Alert) int {
		if a.Level != b.Level {
			return int(b.Level - a.Level)
		}
		return a.FirstAt.Compare(b.FirstAt)
	})
	if c.JSON {
		out := make([]alertView, 0, len(all))
		for _, a := range all {
			out = append(out, view(a))
		}
		return printJSON(s.out, map[string]any{"alerts": out})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(s.out, "nobody needs to do anything")
		return err
	}
	for _, a := range all {
		v := view(a)
		_, _ = fmt.Fprintf(s.out, "%s  %s  %s\n  %s\n  since: %s   told: %s, %s (webhook %s, mail %s)\n", v.Fingerprint, v.Severity, v.Kind, v.Text,
			a.FirstAt.Local().Format(time.DateTime), a.Notice.Event, a.Notice.At.Local().Format(time.DateTime), delivered(a.Notice.Webhook), delivered(a.Notice.Mail))
		if a.Active() {
			_, _ = fmt.Fprintf(s.out, "  next: %s\n", v.Next)
		} else {
			_, _ = fmt.Fprintf(s.out, "  over since: %s\n", a.ResolvedAt.Local().Format(time.DateTime))
		}
	}
	return nil
}

func delivered(d alert.Delivery) string {
	text := strings.ReplaceAll(d.State, "_", " ")
	if d.Failure != "" {
		text += fmt.Sprintf(" after %d attempts: %s", d.Attempts, d.Failure)
	}
	return text
}

type alertView struct {
	Fingerprint string         `json:"fingerprint"`
	Kind        alert.Kind     `json:"kind"`
	Severity    string         `json:"severity"`
	Tenant      string         `json:"tenant,omitempty"`
	Connection  string         `json:"connection,omitempty"`
	Class       string         `json:"class,omitempty"`
	Count       int            `json:"count"`
	Text        string         `json:"text"`
	Next        string         `json:"next,omitempty"`
	FirstAt     time.Time      `json:"first_at"`
	LastAt      time.Time      `json:"last_at"`
	ResolvedAt  time.Time      `json:"resolved_at,omitzero"`
	Event       string         `json:"last_notice"`
	ToldAt      time.Time      `json:"told_at"`
	Webhook     alert.Delivery `json:"webhook"`
	Mail        alert.Delivery `json:"mail"`
}

func view(a alert.Alert) alertView {
	v := alertView{Fingerprint: a.Fingerprint, Kind: a.Kind, Severity: a.Level.Severity(), Connection: a.Connection, Class: a.Class, Count: a.Count,
		Text: a.Text, Next: a.Command, FirstAt: a.FirstAt, LastAt: a.LastAt, ResolvedAt: a.ResolvedAt, Event: a.Notice.Event, ToldAt: a.Notice.At,
		Webhook: a.Notice.Webhook, Mail: a.Notice.Mail}
	if a.Tenant != retail.Partner {
		v.Tenant = a.Tenant.String()
	}
	return v
}

type alertsTestCmd struct {
	platform
	JSON bool `name:"json" help:"Print JSON."`
}

// Run sends a test from this machine; it is not stored. It fails where a
// destination did, or where there is none.
func (c alertsTestCmd) Run(ctx context.Context, s streams) error {
	p, err := c.attach(ctx)
	if err != nil {
		return err
	}
	got, err := operations.Watch(p).Try(ctx, boot.NewID())
	if err != nil {
		return err
	}
	texts := map[string]string{}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(got)) {
		texts[name] = "sent"
		if got[name] != nil {
			texts[name], failed = got[name].Error(), errSilent
		}
		if !c.JSON {
			_, _ = fmt.Fprintf(s.out, "%s: %s\n", name, texts[name])
		}
	}
	if c.JSON {
		if err := printJSON(s.out, texts); err != nil {
			return err
		}
	}
	if len(got) == 0 {
		return errors.New("alerts go nowhere; name a webhook in partner.yaml, or deploy with AlarmEmail")
	}
	return failed
}
