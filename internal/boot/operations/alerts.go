// Package operations wires what watches over a stack and sets it right: jobs, dead
// letters, events and alerts. Its clients of AWS are apart from boot's, because a
// client that is imported is in every archive, called or not.
package operations

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/partner"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/tenancy"
	"github.com/waybillhq/waybill/internal/topic"
)

// overdueLimit bounds what is read of each part of the index: an alert says
// that many are late, not how many exactly.
const overdueLimit = 100

// Watch evaluates alerts and tells them.
func Watch(p *boot.Platform) alert.Watch {
	client := p.Egress()
	w := alert.Watch{Store: p.Store, Now: time.Now, NewID: boot.NewID, Destinations: func(ctx context.Context) (alert.Destinations, error) { return destinations(ctx, p) },
		Post: func(ctx context.Context, d alert.Destinations, id string, at time.Time, body []byte) error {
			h, err := alert.Headers(d.Secret, id, at, body)
			if err != nil {
				return err
			}
			r, err := egress.NewRequest(http.MethodPost, d.URL, body)
			if err != nil {
				return err
			}
			for name := range h {
				r.Header.Set(name, h.Get(name))
			}
			return client.Notify(ctx, r)
		}}
	if p.Env("ALARM_TOPIC") != "" {
		alarms := topic.Topic{Client: sns.NewFromConfig(p.AWS), ARN: p.Env("ALARM_TOPIC")}
		w.Mail = alarms.Publish
	}
	return w
}

// destinations are what the partner configured, read when there is something
// to tell.
func destinations(ctx context.Context, p *boot.Platform) (alert.Destinations, error) {
	own, err := p.Store.Partner(ctx)
	if errors.Is(err, tenancy.ErrNotFound) {
		return alert.Destinations{Partner: "waybill"}, nil
	}
	if err != nil {
		return alert.Destinations{}, err
	}
	d := alert.Destinations{Partner: own.Partner, URL: own.Alerts.Webhook.URL}
	if d.URL == "" {
		return d, nil
	}
	sealed, err := p.Store.Credential(ctx, retail.Partner, partner.AlertsCredential)
	if err != nil {
		return d, fmt.Errorf("reading the secret of the alerts' webhook: %w", err)
	}
	var secrets partner.AlertSecrets
	if err := p.Sealer().Open(ctx, retail.Partner, partner.AlertsCredential, sealed, &secrets); err != nil {
		return d, fmt.Errorf("opening the secret of the alerts' webhook: %w", err)
	}
	d.Secret = secrets.Webhook
	return d, nil
}

// Observe reads what alerts are made of. What cannot be read is named, and does
// not keep the rest from being told.
func Observe(ctx context.Context, p *boot.Platform) (alert.Observation, error) {
	o := alert.Observation{At: time.Now()}
	var failed []error
	blind := func(err error, kinds ...alert.Kind) {
		o.Blind, failed = append(o.Blind, kinds...), append(failed, err)
	}
	var err error
	if o.Exceptions, err = p.Store.AllOpenExceptions(ctx); err != nil {
		blind(err, alert.Stopped, alert.Credential)
	}
	for shard := range document.Shards {
		late, err := p.Store.Due(ctx, shard, o.At.Add(-alert.StuckAfter), overdueLimit)
		if err != nil {
			blind(err, alert.Stuck)
			break
		}
		o.Overdue = append(o.Overdue, late...)
	}
	for _, err := range []error{
		letters(ctx, p, &o, orderInbox, p.Env("ORDER_INBOX_DEAD")),
		letters(ctx, p, &o, shipmentInbox, p.Env("SHIPMENT_INBOX_DEAD")),
		letters(ctx, p, &o, "resume", p.Env("RESUME_DEAD")),
		letters(ctx, p, &o, "job", p.Env("JOB_DEAD")),
		letters(ctx, p, &o, "publish", p.Env("PUBLISH_DEAD")),
		letters(ctx, p, &o, "schedule", p.Env("SCHEDULE_DEAD")),
	} {
		if err != nil {
			blind(err, alert.DeadLetter)
		}
	}
	return o, errors.Join(failed...)
}

func letters(ctx context.Context, p *boot.Platform, o *alert.Observation, name, url string) error {
	n, err := p.Queues.Count(ctx, url)
	if err == nil && n > 0 {
		o.Letters = append(o.Letters, deadletter.Letters{Queue: name, Count: n, Action: "mend the cause, then: waybill redrive --queue " + name + " --reason WHY"})
	}
	return err
}

// Alert makes the handler of the schedule that evaluates alerts.
func Alert(p *boot.Platform, name string) func(context.Context) error {
	w := Watch(p)
	return func(ctx context.Context) error {
		began := time.Now()
		o, blind := Observe(ctx, p)
		reopened, stuck := Reopen(ctx, p, o.Exceptions, o.Letters)
		blind = errors.Join(blind, stuck)
		sum, err := w.Run(ctx, o)
		// What could not be sent is tried again with the next pass; what could
		// not be read or stored is an error of the function.
		p.Line(name, began, errors.Join(blind, err), "active", sum.Active, "told", sum.Told, "failed", sum.Failed, "reopened", reopened)
		return errors.Join(blind, ignoreUnsent(err))
	}
}

func ignoreUnsent(err error) error {
	if errors.Is(err, alert.ErrUnsent) {
		return nil
	}
	return err
}
