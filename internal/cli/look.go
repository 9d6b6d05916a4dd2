//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"bytes"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/retail"
)

type trace struct {
	Number string `arg:"" help:"Any number of the order: storefront, ERP, warehouse, tracking, invoice, or an id."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// refTypes are all numbers that lead to a document.
var refTypes = []string{"order", "order_number", "sales_order", "fulfillment_order", "shipment", "tracking", "fulfillment", "invoice", "erp_shipment"}

type traced struct {
	Document string          `json:"document"`
	Type     string          `json:"type"`
	ID       string          `json:"id"`
	Number   string          `json:"number,omitempty"`
	State    retail.State    `json:"state"`
	Parked   string          `json:"parked,omitempty"`
	Due      time.Time       `json:"due,omitzero"`
	Total    string          `json:"total,omitempty"`
	Currency string          `json:"currency,omitempty"`
	Timeline []document.Step `json:"timeline"`
}

// Run prints the timelines of the documents that the number leads to, and of
// the order behind a shipment.
func (c trace) Run(ctx context.Context, s streams) error {
	l, p, err := attach()
	if err != nil {
		return err
	}
	var refs []document.Ref
	var keys []document.Key
	for _, r := range l.Retailers {
		t, err := retail.ParseTenant(r.Tenant)
		if err != nil {
			return err
		}
		for _, n := range []string{c.Number, "#" + strings.TrimPrefix(c.Number, "#")} {
			for _, x := range r.Connections {
				for _, typ := range refTypes {
					refs = append(refs, document.Ref{Tenant: t, Connection: x.ID, Type: typ, External: n})
				}
			}
		}
		for _, typ := range []string{document.Order, document.Shipment} {
			keys = append(keys, document.Key{Tenant: t, Type: typ, ID: c.Number})
		}
	}
	slices.SortFunc(refs, func(a, b document.Ref) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	found, err := p.Store.Resolve(ctx, slices.Compact(refs)...)
	if err != nil {
		return err
	}
	for _, k := range found {
		keys = append(keys, k)
	}
	out, err := c.collect(ctx, p.Store, keys)
	if err != nil {
		return err
	}
	if len(out) == 0 {
		return fmt.Errorf("no document has the number %q; a delivery that could not be read is among: waybill exceptions", c.Number)
	}
	if c.JSON {
		return printJSON(s.out, out)
	}
	for _, d := range out {
		d.print(s)
	}
	return nil
}

// collect reads each document once, orders before their shipments.
func (c trace) collect(ctx context.Context, store document.Store, keys []document.Key) ([]traced, error) {
	seen := map[document.Key]bool{}
	var out []traced
	for len(keys) > 0 {
		k := keys[0]
		keys = keys[1:]
		if seen[k] {
			continue
		}
		seen[k] = true
		h, err := store.Head(ctx, k)
		if errors.Is(err, document.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		steps, err := store.Steps(ctx, h)
		if err != nil {
			return nil, err
		}
		if h.Parent != "" {
			keys = append(keys, document.Key{Tenant: k.Tenant, Type: document.Order, ID: h.Parent})
		}
		for _, st := range steps {
			if id := first(st.Data["shipment"], st.Data["shipment_id"]); id != "" && k.Type == document.Order {
				keys = append(keys, document.Key{Tenant: k.Tenant, Type: document.Shipment, ID: id})
			}
		}
		d := traced{Document: k.Tenant.String() + "/" + k.Type + "/" + k.ID, Type: k.Type, ID: k.ID, Number: h.Number, State: h.State,
			Parked: h.Parked, Due: h.Due, Timeline: steps}
		if h.Total.Currency != "" {
			d.Total, d.Currency = h.Total.String(), string(h.Total.Currency)
		}
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b traced) int { return strings.Compare(a.Type, b.Type) })
	return out, nil
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

func (d traced) print(s streams) {
	_, _ = fmt.Fprintf(s.out, "%s %s  %s  %s %s\n", d.Type, first(d.Number, d.ID), d.State, d.Total, d.Currency)
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	for _, st := range d.Timeline {
		var data []string
		for k, v := range st.Data {
			if v != "" {
				data = append(data, k+"="+v)
			}
		}
		slices.Sort(data)
		name := strings.TrimSuffix(strings.TrimPrefix(st.Type, "retail."), ".v1")
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\n", st.At.Local().Format("15:04:05.000"), name, strings.Join(data, " "))
	}
	_ = w.Flush()
}

type emit struct {
	Connection string `required:"" help:"Connection to deliver for, such as shop."`
	Topic      string `required:"" help:"The vendor's topic, such as orders/create."`
	File       string `default:"-" help:"The payload; - is standard input."`
	EventID    string `help:"The vendor's event id; a new one if empty."`
	BadSign    bool   `name:"wrong-signature" help:"Sign with a wrong secret."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

// Run delivers one payload. A status other than 2xx ends with exit code 1.
func (c emit) Run(ctx context.Context, s streams) error {
	l, p, err := attach()
	if err != nil {
		return err
	}
	body, err := s.read(c.File, maxPayload)
	if err != nil {
		return err
	}
	var conn LocalConnection
	var tenant retail.Tenant
	var names []string
	for _, r := range l.Retailers {
		for _, x := range r.Connections {
			if x.WebhookURL != "" {
				names = append(names, x.ID)
			}
			if x.ID == c.Connection && x.WebhookURL != "" {
				conn = x
				if tenant, err = retail.ParseTenant(r.Tenant); err != nil {
					return err
				}
			}
		}
	}
	if conn.ID == "" {
		return fmt.Errorf("no connection %q delivers webhooks; there are %s", c.Connection, strings.Join(names, ", "))
	}
	if c.EventID == "" {
		c.EventID = uuid.NewString()
	}
	if c.BadSign {
		conn.WebhookSecret = "whsec_d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldA=="
	}
	var h http.Header
	switch conn.Connector {
	case "shopify":
		r, err := p.Store.Retailer(ctx, tenant)
		if err != nil {
			return err
		}
		configured, _ := r.Connection(conn.ID)
		var settings struct {
			Shop string `json:"shop"`
		}
		if err := json.Unmarshal(configured.Settings, &settings); err != nil {
			return fmt.Errorf("reading the connection's settings: %w", err)
		}
		h = shopifytest.Headers(c.Topic, c.EventID, settings.Shop, body, conn.WebhookSecret, time.Now())
	case "shipbob":
		h = shipbobtest.Headers(c.Topic, c.EventID, body, conn.WebhookSecret, time.Now())
	default:
		return fmt.Errorf("connector %s sends no webhooks", conn.Connector)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, conn.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	req.Header = h
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	_ = res.Body.Close()
	if c.JSON {
		err = printJSON(s.out, map[string]any{"status": res.StatusCode, "event_id": c.EventID})
	} else {
		_, err = fmt.Fprintf(s.out, "%s  event %s\n", res.Status, c.EventID)
	}
	if err == nil && res.StatusCode/100 != 2 {
		return errSilent
	}
	return err
}
