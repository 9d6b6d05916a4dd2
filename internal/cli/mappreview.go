//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/mapping/port"
	"github.com/waybillhq/waybill/internal/tenancy"
)

type mapPreview struct {
	which
	Last int  `default:"50" help:"How many payloads, the newest first."`
	Days int  `default:"30" help:"How many days back."`
	JSON bool `name:"json" help:"Print JSON."`
}

// previewed is the whole of a preview.
type previewed struct {
	Payloads   int            `json:"payloads"`
	Changed    int            `json:"changed"`
	Unreadable int            `json:"unreadable"`
	Documents  []port.Preview `json:"documents"`
}

// Run translates stored payloads with today's map and with the draft. It sends
// nothing and changes nothing.
func (c mapPreview) Run(ctx context.Context, s streams) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	draft, err := m.p.Store.MapDraft(ctx, m.tenant, m.connection.ID, m.kind)
	if errors.Is(err, mapping.ErrNotFound) {
		return fmt.Errorf("the %s map of connection %s has no draft; make one with: waybill map import", m.kind, m.connection.ID)
	}
	if err != nil {
		return err
	}
	out, err := c.compare(ctx, s, m, draft)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, out)
	}
	for _, d := range out.Documents {
		_, _ = fmt.Fprintf(s.out, "%s %s  %s\n", d.Document, d.Number, d.Payload)
		switch {
		case d.Today != "" && d.Proposed == "":
			_, _ = fmt.Fprintf(s.out, "  would no longer be parked: %s\n", d.Today)
		case d.Proposed != "":
			_, _ = fmt.Fprintf(s.out, "  would be parked: %s\n", d.Proposed)
		}
		for _, x := range d.Differences {
			_, _ = fmt.Fprintf(s.out, "  ~ %s: %s → %s\n", x.Field, x.Was, x.Is)
		}
	}
	_, err = fmt.Fprintf(s.out, "%d payloads: %d would change, %d would not, %d could not be read\n", out.Payloads, out.Changed, out.Payloads-out.Changed-out.Unreadable, out.Unreadable)
	return err
}

// feed is one stream of payloads that a map has to do with.
type feed struct {
	class, connection string
	preview           func(key string, body []byte) (port.Preview, error)
}

func (c mapPreview) compare(ctx context.Context, s streams, m mapped, draft mapping.Map) (previewed, error) {
	out := previewed{Documents: []port.Preview{}}
	feeds, err := m.feeds(ctx, draft)
	if err != nil {
		return out, err
	}
	payloads := m.p.Payloads()
	for _, f := range feeds {
		keys, err := newest(ctx, payloads.List, f, m, c.Last-out.Payloads, c.Days)
		if err != nil {
			return out, err
		}
		for i, key := range keys {
			body, err := payloads.Get(ctx, key)
			if err != nil {
				return out, err
			}
			p, err := f.preview(key, body)
			if err != nil {
				return out, err
			}
			out.Payloads++
			switch {
			case p.Changes():
				out.Changed++
				out.Documents = append(out.Documents, p)
			case p.Today != "":
				out.Unreadable++
			}
			if n := i + 1; n%10 == 0 && !c.JSON {
				_, _ = fmt.Fprintf(s.err, "%s: %d of %d payloads\n", f.connection, n, len(keys))
			}
		}
	}
	return out, nil
}

// newest lists a connection's last payloads, day by day. Within a day a key
// tells no time, so that a day is taken as it is listed.
func newest(ctx context.Context, list func(ctx context.Context, prefix, after string, limit int) ([]string, error), f feed, m mapped, limit, days int) ([]string, error) {
	var out []string
	for day := range days {
		if len(out) >= limit {
			break
		}
		keys, err := list(ctx, inbox.RawDay(f.class, m.tenant, f.connection, time.Now().AddDate(0, 0, -day)), "", limit-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, keys...)
	}
	return out, nil
}

// feeds are what the connection reads, and the channels whose orders are
// written to it.
func (m mapped) feeds(ctx context.Context, draft mapping.Map) ([]feed, error) {
	connections := m.p.Overriding()
	today := connections.Translator(m.retailer, m.connection)
	proposed := *today
	proposed.Stored = &mapping.Reader{Store: mapping.Proposed{Store: m.p.Store, Draft: draft}, Now: time.Now}
	var out []feed
	if d, can := m.bare.(order.Decoder); can {
		out = append(out, feed{order.Class, m.connection.ID, func(key string, body []byte) (port.Preview, error) {
			return port.PreviewOrder(key, d, body, today, &proposed)
		}})
	}
	if d, can := m.bare.(shipment.Decoder); can {
		out = append(out, feed{shipment.Class, m.connection.ID, func(key string, body []byte) (port.Preview, error) {
			return port.PreviewParcel(key, d, body, today, &proposed)
		}})
	}
	for _, r := range m.retailer.Routes {
		if !slices.Contains([]string{r.ERP, r.Warehouse}, m.connection.ID) {
			continue
		}
		channel, _ := m.retailer.Connection(r.Channel)
		location := ""
		if r.Warehouse == m.connection.ID {
			location = r.Location
		}
		f, err := written(ctx, channel, connections.Translator(m.retailer, channel), location, today, &proposed)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// written are a channel's orders as the connection would be told of them.
func written(ctx context.Context, channel tenancy.Connection, by *mapping.Translator, location string, today, proposed *mapping.Translator) (feed, error) {
	bare, err := catalog.Open(channel.Connector, channel.Settings, nil, nil, time.Now)
	if err != nil {
		return feed{}, err
	}
	d, can := catalog.Translate(bare, by).(order.Decoder)
	if !can {
		return feed{}, fmt.Errorf("connection %s takes no orders in", channel.ID)
	}
	return feed{order.Class, channel.ID, func(key string, body []byte) (port.Preview, error) {
		o, _, err := d.DecodeOrder(body)
		if err != nil {
			return port.Preview{Payload: key, Document: "order", Number: o.Number, Today: err.Error(), Proposed: err.Error()}, nil
		}
		return port.PreviewWritten(ctx, key, o, location, today, proposed)
	}}, nil
}
