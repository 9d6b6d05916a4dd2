// Package proof shows, for one channel and one day, that nothing is missing:
// what the channel lists is what we have is what the ERP has, and each
// difference is explained by an open exception or by a state.
package proof

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// Result is the proof of one channel and day.
type Result struct {
	Schema     int           `json:"schema"`
	Tenant     retail.Tenant `json:"tenant"`
	Connection string        `json:"connection"`
	Date       string        `json:"date"`
	TimeZone   string        `json:"time_zone"` // whose midnight bounds the day
	From       time.Time     `json:"from"`
	To         time.Time     `json:"to"`
	Listed     int64         `json:"listed"`    // by the channel, placed on the day
	Known      int64         `json:"known"`     // documents of ours among them
	InERP      int64         `json:"in_erp"`    // confirmed there
	ReadBack   int64         `json:"read_back"` // seen there by this proof
	Accounted  int64         `json:"accounted"`
	// States counts the listed orders by what explains them.
	States map[string]int64 `json:"states"`
	Holes  []Hole           `json:"holes,omitempty"` // the first of them
	Open   int64            `json:"holes_count"`
	At     time.Time        `json:"at"`
	Job    string           `json:"job"`
}

// Hole is an order that nothing explains.
type Hole struct {
	External string `json:"external_id"`
	Number   string `json:"number,omitempty"`
	Document string `json:"document_id,omitempty"`
	Reason   string `json:"reason"`
}

func (r Result) String() string {
	return fmt.Sprintf("%s of %s accounted for", thousands(r.Accounted), thousands(r.Listed))
}

// thousands writes 12431 as 12,431.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// What explains an order beside its own state.
const (
	parked   = "parked"     // by an exception that is open
	onItsWay = "on_its_way" // not yet in the ERP, and due
	arriving = "arriving"   // placed a moment ago
	hole     = "hole"
)

const (
	// arrival is how long after its placing an order need not be known: a
	// webhook and its intake take seconds.
	arrival = time.Minute
	// overdue is how long past its due time an order still counts as on its
	// way: the sweeper comes each minute.
	overdue = time.Hour
	// pages of a listing are one part.
	pages = 5
	// kept holes are part of the result; all are among the job's rejected rows.
	keptHoles = 100
)

// Results keeps proofs.
type Results interface {
	PutProof(ctx context.Context, r Result) error
}

// Effects reads the ledger.
type Effects interface {
	Effect(ctx context.Context, s effect.Subject, key string) (*effect.Record, error)
}

// SalesOrderReader is an ERP that reads many sales orders in one call: their
// totals by reference. One that is not there is absent.
type SalesOrderReader interface {
	SalesOrderTotals(ctx context.Context, orders []effect.Receipt) (map[string]retail.Money, error)
}

// Prover proves.
type Prover struct {
	Life        document.Life
	Effects     Effects
	Connections flow.Connections
	Results     Results
	Objects     job.Objects
	// Zone is the channel's time zone; UTC if "".
	Zone func(ctx context.Context, t retail.Tenant, connection string) (string, error)
}

// Job proves one channel and day. Params: connection, and date: YYYY-MM-DD,
// today or yesterday, in the channel's time zone.
var Job = job.Kind{Name: "proof", Key: func(p map[string]string) (string, error) {
	if p["connection"] == "" {
		return "", fault.New(fault.Permanent, fault.Validation, "a channel's connection is needed").At("connection", "")
	}
	switch d := p["date"]; d {
	case "today", "yesterday":
	default:
		if _, err := time.Parse(time.DateOnly, d); err != nil {
			return "", fault.New(fault.Permanent, fault.Validation, "must be YYYY-MM-DD, today or yesterday").At("date", d)
		}
	}
	return p["connection"] + ":" + p["date"], nil
}}

// Kind is the job with its work.
func (p Prover) Kind() job.Kind { return Job.With(p.part) }

// place is where a proof stands; what it knows already is an object, because a
// day may have many orders.
type place struct {
	Date string `json:"date"`
	Zone string `json:"zone"`
	Page string `json:"page,omitempty"`
	Seen string `json:"seen,omitempty"`
}

// row is what is known of a listed order.
type row struct {
	State    string `json:"s"`
	Number   string `json:"n,omitempty"`
	Document string `json:"d,omitempty"`
	Reason   string `json:"r,omitempty"`
	ERP      bool   `json:"e,omitempty"`
	Read     bool   `json:"b,omitempty"`
}

func (p Prover) part(ctx context.Context, j job.Job) (job.Part, error) {
	at, from, to, err := p.place(ctx, j)
	if err != nil {
		return job.Part{}, err
	}
	rows, err := p.seen(ctx, at.Seen)
	if err != nil {
		return job.Part{}, err
	}
	connection := j.Params["connection"]
	lister, err := flow.Port[order.Lister](ctx, p.Connections, j.Tenant, connection, "list orders")
	if err != nil {
		return job.Part{}, err
	}
	decoder, err := flow.Port[order.Decoder](ctx, p.Connections, j.Tenant, connection, "decode orders")
	if err != nil {
		return job.Part{}, err
	}
	var out job.Part
	for range pages {
		page, next, err := lister.ListOrders(ctx, from, at.Page)
		if err != nil {
			return job.Part{}, fmt.Errorf("listing the orders of %s: %w", connection, err)
		}
		out.Counts.Read += int64(len(page))
		if err := p.page(ctx, j, decoder, page, from, to, rows); err != nil {
			return job.Part{}, err
		}
		if at.Page = next; next == "" {
			out.Done = true
			break
		}
	}
	if out.Done {
		return p.end(ctx, j, at, from, to, rows, out)
	}
	if at.Seen, err = p.keep(ctx, j, rows); err != nil {
		return job.Part{}, err
	}
	cursor, err := json.Marshal(at)
	out.Cursor, out.Summary = string(cursor), fmt.Sprintf("%s orders of %s looked at", thousands(int64(len(rows))), at.Date)
	return out, err
}

// place finds where the job stands and the bounds of its day.
func (p Prover) place(ctx context.Context, j job.Job) (at place, from, to time.Time, err error) {
	if j.Cursor != "" {
		err = json.Unmarshal([]byte(j.Cursor), &at)
	} else {
		at.Date = j.Params["date"]
		at.Zone, err = p.Zone(ctx, j.Tenant, j.Params["connection"])
	}
	if err != nil {
		return at, from, to, err
	}
	zone, err := time.LoadLocation(at.Zone)
	if err != nil {
		return at, from, to, fault.Wrap(fault.Permanent, fault.Configuration, err, "reading the channel's time zone").At("time_zone", at.Zone)
	}
	at.Zone = zone.String()
	now := p.Life.Now().In(zone)
	switch at.Date {
	case "today":
		at.Date = now.Format(time.DateOnly)
	case "yesterday":
		at.Date = now.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	if from, err = time.ParseInLocation(time.DateOnly, at.Date, zone); err != nil {
		return at, from, to, fault.Wrap(fault.Permanent, fault.Validation, err, "reading the date").At("date", at.Date)
	}
	if from.After(now) {
		return at, from, to, fault.New(fault.Permanent, fault.Validation, "the day has not begun").At("date", at.Date)
	}
	return at, from, from.AddDate(0, 0, 1), nil
}

// page judges the orders of a page that were placed on the day.
func (p Prover) page(ctx context.Context, j job.Job, decoder order.Decoder, page []retail.Listed, from, to time.Time, rows map[string]row) error {
	placed := map[string]time.Time{}
	var refs []document.Ref
	for _, l := range page {
		at := l.UpdatedAt // of one that cannot be read, nothing else is known
		// What a map or an override refuses says at least when it was placed.
		if o, _, err := decoder.DecodeOrder(l.Raw); err == nil || !o.PlacedAt.IsZero() {
			at = o.PlacedAt
		}
		if at.Before(from) || !at.Before(to) {
			continue
		}
		placed[l.ExternalID] = at
		rows[l.ExternalID] = row{State: hole, Number: l.Number}
		refs = append(refs, document.Ref{Tenant: j.Tenant, Connection: j.Params["connection"], Type: "order", External: l.ExternalID})
	}
	return p.judge(ctx, j, refs, placed, rows)
}

// judge explains orders by what we have and what the ERP has.
func (p Prover) judge(ctx context.Context, j job.Job, refs []document.Ref, placed map[string]time.Time, rows map[string]row) error {
	if len(refs) == 0 {
		return nil
	}
	known, err := p.Life.Store.Resolve(ctx, refs...)
	if err != nil {
		return err
	}
	expected := map[string]sold{}
	for _, ref := range refs {
		r := rows[ref.External]
		if k, ok := known[ref]; ok {
			if r, err = p.document(ctx, k, r, ref.External, expected); err != nil {
				return err
			}
		} else if r.State, r.Reason = hole, "no document stands for it"; p.Life.Now().Sub(placed[ref.External]) < arrival {
			r.State, r.Reason = arriving, ""
		}
		rows[ref.External] = r
	}
	return p.readBack(ctx, j, expected, rows)
}

// sold is a sales order that the ERP must have.
type sold struct {
	receipt effect.Receipt
	total   retail.Money
}

// document explains an order by its document.
func (p Prover) document(ctx context.Context, k document.Key, r row, external string, expected map[string]sold) (row, error) {
	h, err := p.Life.Store.Head(ctx, k)
	if err != nil {
		return r, fmt.Errorf("reading the head of order %s: %w", k.ID, err)
	}
	r.Document, r.Number, r.State, r.Reason = h.ID, h.Number, string(h.State), ""
	missing := func(format string, args ...any) (row, error) {
		r.State, r.Reason = hole, fmt.Sprintf(format, args...)
		return r, nil
	}
	switch h.State {
	case retail.Canceled, retail.Rejected:
		return r, nil
	}
	if h.Parked != "" {
		x, err := p.Life.Store.Exception(ctx, k.Tenant, h.Parked)
		switch {
		case errors.Is(err, document.ErrNotFound) || err == nil && x.State == document.Resolved:
			return missing("it is parked by exception %s, which is not open", h.Parked)
		case err != nil:
			return r, fmt.Errorf("reading exception %s: %w", h.Parked, err)
		}
		r.State, r.Reason = parked, "exception "+h.Parked
		return r, nil
	}
	if h.Defective() {
		return missing("it is %s and nothing will ever look at it", h.State)
	}
	if late := p.Life.Now().Sub(h.Due); h.Open() && late > overdue {
		return missing("it is %s and overdue for %s", h.State, late.Round(time.Minute))
	}
	switch h.State {
	case retail.Released, retail.InFulfillment, retail.Shipped, retail.Closed:
	default:
		r.State, r.Reason = onItsWay, string(h.State)
		return r, nil
	}
	rec, err := p.Effects.Effect(ctx, effect.Subject{Tenant: k.Tenant, Type: k.Type, ID: k.ID}, order.ConfirmOrderEffect)
	if err != nil {
		return r, fmt.Errorf("reading the sales order of %s: %w", k.ID, err)
	}
	if rec == nil || rec.Status != effect.Confirmed {
		return missing("it is %s and its sales order was never confirmed", h.State)
	}
	r.ERP = true
	expected[external] = sold{rec.Receipt, h.Total}
	return r, nil
}

// readBack looks for sales orders in the ERP, where it reads many at once.
func (p Prover) readBack(ctx context.Context, j job.Job, expected map[string]sold, rows map[string]row) error {
	if len(expected) == 0 {
		return nil
	}
	route, err := p.Connections.Route(ctx, j.Tenant, j.Params["connection"])
	if err != nil {
		return err
	}
	opened, err := p.Connections.Open(ctx, j.Tenant, route.ERP)
	if err != nil {
		return err
	}
	erp, ok := opened.(SalesOrderReader)
	if !ok {
		return nil // the ledger's record is what there is
	}
	var receipts []effect.Receipt
	for _, external := range slices.Sorted(maps.Keys(expected)) {
		receipts = append(receipts, expected[external].receipt)
	}
	totals, err := erp.SalesOrderTotals(ctx, receipts)
	if err != nil {
		return fmt.Errorf("reading sales orders of %s: %w", route.ERP, err)
	}
	for external, s := range expected {
		r := rows[external]
		total, there := totals[s.receipt.Ref]
		switch {
		case !there:
			r.State, r.ERP, r.Reason = hole, false, fmt.Sprintf("its sales order %s is not in the ERP", s.receipt.Number)
		case total != s.total:
			r.State, r.Reason = hole, fmt.Sprintf("its sales order %s is over %s %s, not %s %s", s.receipt.Number, total, total.Currency, s.total, s.total.Currency)
		}
		r.Read = there
		rows[external] = r
	}
	return nil
}

// end looks once more at what seems to be missing, and stores the result.
func (p Prover) end(ctx context.Context, j job.Job, at place, from, to time.Time, rows map[string]row, out job.Part) (job.Part, error) {
	var again []document.Ref
	for _, external := range slices.Sorted(maps.Keys(rows)) {
		if rows[external].State == hole {
			again = append(again, document.Ref{Tenant: j.Tenant, Connection: j.Params["connection"], Type: "order", External: external})
		}
	}
	if err := p.judge(ctx, j, again, map[string]time.Time{}, rows); err != nil {
		return out, err
	}
	res := Result{Schema: retail.SchemaVersion, Tenant: j.Tenant, Connection: j.Params["connection"], Date: at.Date, TimeZone: at.Zone,
		From: from.UTC(), To: to.UTC(), Listed: int64(len(rows)), States: map[string]int64{}, At: p.Life.Now(), Job: j.ID}
	for _, external := range slices.Sorted(maps.Keys(rows)) {
		r := rows[external]
		if r.Document != "" {
			res.Known++
		}
		if r.ERP {
			res.InERP++
		}
		if r.Read {
			res.ReadBack++
		}
		if r.State != hole {
			res.States[r.State]++
			res.Accounted++
			continue
		}
		res.Open++
		if len(res.Holes) < keptHoles {
			res.Holes = append(res.Holes, Hole{external, r.Number, r.Document, r.Reason})
		}
		out.Rejected = append(out.Rejected, job.Rejected{Line: res.Open, ID: external, Reason: strings.TrimSpace(r.Number + " " + r.Reason)})
	}
	out.Summary = fmt.Sprintf("%s: %s on %s (%s)", res.Connection, res, res.Date, res.TimeZone)
	out.Counts.Applied = res.Listed
	out.Counts.Total = j.Counts.Read + out.Counts.Read
	if j.DryRun {
		return out, nil
	}
	if err := p.Results.PutProof(ctx, res); err != nil {
		return out, err
	}
	return out, p.tell(ctx, res)
}

// tell keeps one exception for a day that is over and has holes.
func (p Prover) tell(ctx context.Context, res Result) error {
	if res.At.Before(res.To) {
		return nil
	}
	id := "proof-" + res.Connection + "-" + res.Date
	x, err := p.Life.Store.Exception(ctx, res.Tenant, id)
	if err != nil && !errors.Is(err, document.ErrNotFound) {
		return fmt.Errorf("reading exception %s: %w", id, err)
	}
	isOpen := err == nil && x.State != document.Resolved
	if isOpen == (res.Open > 0) {
		return nil
	}
	if res.Open > 0 {
		version := x.Version
		x = p.Life.NewException(res.Tenant, res.Connection, fault.New(fault.Exception, fault.MissingReference, "%s; %s orders are not explained, such as %s: %s",
			res, thousands(res.Open), res.Holes[0].External, res.Holes[0].Reason).At("date", res.Date))
		x.ID, x.Version = id, version
		x.Action = "list them: waybill job show " + res.Job + "; take them in: waybill job start reconcile; then prove the day again"
	} else {
		x.State, x.Resolution, x.ResolvedAt = document.Resolved, res.String(), res.At
	}
	if err := p.Life.Store.Commit(ctx, document.Transaction{Exceptions: []document.Exception{x}}); err != nil {
		return fmt.Errorf("telling of holes: %w", err)
	}
	return nil
}

// keep stores what is known so far, under a key that a repeated part writes
// again.
func (p Prover) keep(ctx context.Context, j job.Job, rows map[string]row) (string, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if err := errors.Join(json.NewEncoder(z).Encode(rows), z.Close()); err != nil {
		return "", fmt.Errorf("encoding what was looked at: %w", err)
	}
	key := fmt.Sprintf("raw/job/%s/%s/%s/seen-%06d.json.gz", j.Tenant, j.CreatedAt.UTC().Format("2006/01/02"), j.ID, j.Parts)
	if err := p.Objects.Put(ctx, key, buf.Bytes()); err != nil {
		return "", fmt.Errorf("keeping what was looked at: %w", err)
	}
	return key, nil
}

func (p Prover) seen(ctx context.Context, key string) (map[string]row, error) {
	rows := map[string]row{}
	if key == "" {
		return rows, nil
	}
	body, err := p.Objects.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return rows, json.Unmarshal(raw, &rows)
}
