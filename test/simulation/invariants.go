package simulation

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

// mark is in every name, address and e-mail that a shopper has.
const mark = "Pii-"

func personal(s string) bool { return strings.Contains(s, mark) }

// While the course runs.

// checkTenant holds that tenantsNeverMix: a vendor hears only of its own
// retailer's documents.
func (w *world) checkTenant(v *vendor, t retail.Tenant, id string) {
	if t != v.tenant {
		w.fail("tenantsNeverMix", "%s hears of %s of %s", v, id, t)
	}
}

// checkPerson holds tenantsNeverMix for people.
func (w *world) checkPerson(v *vendor, p retail.Person) {
	if !strings.HasPrefix(p.Name, mark+v.tenant.String()+"-") {
		w.fail("tenantsNeverMix", "%s hears of another retailer's shopper %q", v, p.Name)
	}
}

// checkOwner holds tenantsNeverMix for what is stored for one retailer.
func (w *world) checkOwner(t retail.Tenant, what string) {
	if w.shop(t) == nil {
		w.fail("tenantsNeverMix", "%s is of retailer %q", what, t)
	}
}

// checkPayload holds that payloadsAreKept: another one never takes the place
// of what a vendor sent.
func (w *world) checkPayload(key string, body []byte) {
	if old, err := w.bucket.Get(context.Background(), key); err == nil && !bytes.Equal(old, body) {
		w.fail("payloadsAreKept", "%s is overwritten", key)
	}
}

// checkSend looks at every write to a vendor before it is made.
func (w *world) checkSend(v *vendor, name, key, payload string) {
	if !w.intentComesFirst(v, name, key) {
		return
	}
	if before := w.sends[key]; before != nil {
		w.effectsNeverChange(v, name, key, before, payload)
		w.unknownOutcomesAreReadBack(v, name, key, before)
	}
}

// retryAfterIsKept: a later run does not ask before the time that its vendor
// has named.
func (w *world) retryAfterIsKept(v *vendor, k document.Key, run int64) {
	// Of two executions of one run each rests by its own reason, and the first
	// wait to end brings the next run; a function that dies forgets its own.
	if w.s.Faults[DoubleStarts]+w.s.Faults[LambdaErrors]+w.s.Faults[Crashes]+w.s.Faults[Freezes] > 0 {
		return
	}
	if l, ok := v.limits[k]; ok && run > l.run && w.now+5*time.Second < l.until {
		w.fail("retryAfterIsKept", "run %d of %s %s calls %s at %s, which asked to wait until %s", run, k.Type, k.ID, v, w.now, l.until)
	}
}

// intentComesFirst: the ledger's record says that it is being sent.
func (w *world) intentComesFirst(v *vendor, name, key string) bool {
	r, recorded := w.effects[key]
	if !recorded || r.Status != effect.Sending {
		w.fail("intentComesFirst", "%s: %s without an intent under %s", v, name, key)
		return false
	}
	return true
}

// effectsNeverChange: one key carries one payload for ever.
func (w *world) effectsNeverChange(v *vendor, name, key string, before *sent, payload string) {
	if before.payload != payload {
		w.fail("effectsNeverChange", "%s: %s under %s was %s and is %s", v, name, key, before.payload, payload)
	}
}

// unknownOutcomesAreReadBack: a send whose outcome is open is repeated only
// after two empty read-backs, the second after the vendor's settle time.
func (w *world) unknownOutcomesAreReadBack(v *vendor, name, key string, before *sent) {
	if before.status == effect.Refused {
		return
	}
	n := len(before.empty)
	if n < 2 || before.empty[n-1] < before.began+before.settle-transport {
		w.fail("unknownOutcomesAreReadBack", "%s: %s under %s is sent again after %d empty read-backs, %s after the send", v, name, key, n, w.now-before.began)
	}
}

// whatSomebodyElseShippedIsNotReleased: not by an order that is old enough to be
// asked for, unless it was asked for less than a minute before and shipped after
// that. A younger one goes by the snapshot that it was made of.
func (w *world) whatSomebodyElseShippedIsNotReleased(h *warehouse, rel retail.Release, o *channelOrder, age time.Duration) {
	began := w.cur.inv.began
	if o.byHand == 0 || o.byHand >= began || age <= 5*time.Minute+2*time.Second {
		return
	}
	if o.fetched == 0 || o.byHand < o.fetched || began-o.fetched >= time.Minute+2*time.Second {
		w.fail("whatSomebodyElseShippedIsNotReleased", "%s is asked to ship %s, shipped by hand at %s", h, rel.OrderNumber, o.byHand)
	}
}

// checkRelease holds that aCanceledOrderIsNeverReleased: not if the platform
// had been told before its task began, nor if the order is old enough to be
// asked for, unless it was asked for less than a minute before and canceled
// after that. The ERP must know the order
// with its total by then (moneyIsCertified).
func (w *world) checkRelease(h *warehouse, rel retail.Release) {
	k := document.Key{Tenant: h.tenant, Type: document.Order, ID: rel.Reference}
	head, known := w.heads[k]
	o := w.shop(h.tenant).placed(head.ExternalID)
	if !known || o == nil {
		w.fail("tenantsNeverMix", "%s is asked to ship %s, which its retailer does not have", h, rel.Reference)
		return
	}
	began := w.cur.inv.began
	if o.canceled > 0 && o.canceled < began {
		asked, told := w.canceled[k]
		old := epoch.Add(began).Sub(head.CreatedAt) > 5*time.Minute+2*time.Second
		unseen := o.fetched > 0 && o.canceled >= o.fetched && began-o.fetched < time.Minute+2*time.Second
		if told && asked < began || old && !unseen {
			w.fail("aCanceledOrderIsNeverReleased", "%s is asked to ship %s, canceled at %s (the platform was told: %v, %s old)", h, rel.OrderNumber, o.canceled, told, epoch.Add(began).Sub(head.CreatedAt))
		}
	}
	w.whatSomebodyElseShippedIsNotReleased(h, rel, o, epoch.Add(began).Sub(head.CreatedAt))
	for _, x := range w.tenants {
		if x.id != h.tenant {
			continue
		}
		if !slices.ContainsFunc(x.erp.sales, func(r *record) bool {
			return r.of == o.order.ExternalID && r.confirmed && r.total == o.order.Totals.Total
		}) {
			w.fail("moneyIsCertified", "%s is asked to ship %s before the ERP has it with its total", h, rel.OrderNumber)
		}
	}
}

// invoiceComesLast: an order is invoiced once all of it has left.
func (w *world) invoiceComesLast(e *erp, so effect.Receipt) {
	sale := e.sale(so.Ref)
	for _, t := range w.tenants {
		if t.id != e.tenant || sale == nil {
			continue
		}
		units := int64(0)
		for _, r := range t.wms.released {
			if o := t.shop.placed(sale.of); o == nil || r.rel.OrderNumber != o.order.Number {
				continue
			}
			for _, l := range r.rel.Lines {
				units += l.Quantity
			}
			for _, p := range t.wms.parcels {
				for _, l := range p.shipment.Lines {
					if p.of == r {
						units -= l.Quantity
					}
				}
			}
		}
		if units != 0 {
			w.fail("invoiceComesLast", "%s is to invoice %s, of which %d pieces have not left", e, so.Ref, units)
		}
	}
}

// beforeCommit looks at what is about to be written.
func (w *world) beforeCommit(t document.Transaction) { w.oneConsumerAnEvent(t) }

// oneConsumerAnEvent: whoever did not get an event's lease does not end the
// event.
func (w *world) oneConsumerAnEvent(t document.Transaction) {
	if t.Inbox != nil && w.cur.inv.busy[eventKey(t.Inbox.Tenant, t.Inbox.Connection, t.Inbox.Event)] {
		w.fail("oneConsumerAnEvent", "event %s is worked on without its lease", t.Inbox.Event)
	}
}

// written is one document's change as it was committed.
type written struct {
	*world
	t     document.Transaction
	c     document.Change
	prev  document.Head // what it replaced
	h     document.Head // what is there now
	first bool
	inv   *invocation
}

// afterCommit looks at every change as it was written.
func (w *world) afterCommit(t document.Transaction) {
	for _, c := range t.Changes {
		k, h := c.Head.Key, c.Head
		prev, known := w.heads[k]
		h.Version++
		w.heads[k] = h
		w.steps[k] += int64(len(c.Steps))
		if !known {
			w.order = append(w.order, k)
		}
		x := written{w, t, c, prev, h, !known, w.cur.inv}
		for _, holds := range []func(written){written.anAcceptedEventIsEnded, written.onlyTheRunActs, written.onlyTheOverdueAreSwept,
			written.theTimelineIsWhole, written.aReleaseTellsItsSalesOrder, written.nothingIsForgotten, written.staleSnapshotsChangeNothing} {
			holds(x)
		}
		if h.CancelAsked && !prev.CancelAsked {
			w.canceled[k] = w.now
		}
	}
	w.pendingDrainsInOrder(t)
	w.wakeSweeper()
}

// anAcceptedEventIsEnded in the very transaction that accepts it: no document
// comes to be without the end of its event.
func (x written) anAcceptedEventIsEnded() {
	if x.first && x.t.Inbox == nil {
		x.fail("anAcceptedEventIsEnded", "%s %s is created and its event is not ended with it", x.h.Type, x.h.ID)
	}
}

// onlyTheRunActs: a task changes its document only while the head names its
// run.
func (x written) onlyTheRunActs() {
	if t := x.inv.task; !x.first && t.Run > 0 && t.Key() == x.h.Key && x.prev.Run != t.Run {
		x.fail("onlyTheRunActs", "run %d changes %s %s, which run %d has", t.Run, x.h.Type, x.h.ID, x.prev.Run)
	}
}

// onlyTheOverdueAreSwept, whatever the index said.
func (x written) onlyTheOverdueAreSwept() {
	if t := x.inv.task; x.inv.name == resumeQueue && t.Run == 0 && t.Key() == x.h.Key && x.prev.Due.After(x.sandbox()) {
		x.fail("onlyTheOverdueAreSwept", "%s %s is due only at %s", x.h.Type, x.h.ID, x.prev.Due.Sub(epoch))
	}
}

// theTimelineIsWhole: it is the outbox, so that every entry that a head counts
// was written with it.
func (x written) theTimelineIsWhole() {
	if n := x.steps[x.h.Key]; x.h.Sequence != n {
		x.fail("theTimelineIsWhole", "%s %s has %d entries and counts %d", x.h.Type, x.h.ID, n, x.h.Sequence)
	}
}

// aReleaseTellsItsSalesOrder: what subscribers and people are told of an order
// has its sales order once, before its release.
func (x written) aReleaseTellsItsSalesOrder() {
	for _, st := range x.c.Steps {
		if st.Type == document.Event(document.Order, "sales_order_created") {
			x.sold[x.h.Key]++
		}
	}
	if n := x.sold[x.h.Key]; x.h.State == retail.Released && x.prev.State != retail.Released && n != 1 || n > 1 {
		x.fail("aReleaseTellsItsSalesOrder", "order %s tells of its sales order %d times", x.h.ID, n)
	}
}

// nothingIsForgotten: an open document has a due time, or an exception that was
// opened with its parking.
func (x written) nothingIsForgotten() {
	if x.h.Defective() {
		x.fail("nothingIsForgotten", "%s %s is open in state %s, without a due time and without an exception", x.h.Type, x.h.ID, x.h.State)
	}
	opened := slices.ContainsFunc(x.t.Exceptions, func(e document.Exception) bool { return e.ID == x.h.Parked })
	if x.h.Parked != "" && x.h.Parked != x.prev.Parked && !opened {
		x.fail("nothingIsForgotten", "%s %s is parked by exception %s, which is not there", x.h.Type, x.h.ID, x.h.Parked)
	}
}

// staleSnapshotsChangeNothing: no channel here takes a cancellation back, so
// whoever withdraws one has believed an older snapshot.
func (x written) staleSnapshotsChangeNothing() {
	for _, st := range x.c.Steps {
		if st.Type == document.Event(x.h.Type, "cancellation_withdrawn") {
			x.fail("staleSnapshotsChangeNothing", "the cancellation of %s %s is withdrawn", x.h.Type, x.h.ID)
		}
	}
}

// pendingDrainsInOrder of the channel's versions, within a run: what came to wait
// when the document was parked once more may be older than what was drained before.
func (w *world) pendingDrainsInOrder(t document.Transaction) {
	for _, p := range t.Drained {
		by := drainedBy{p.Key, w.heads[p.Key].Run}
		if last := w.drained[by]; p.SourceVersion < last {
			w.fail("pendingDrainsInOrder", "%s %s drains %s after %s", p.Type, p.ID, p.SourceVersion, last)
		}
		w.drained[by] = p.SourceVersion
	}
}

// drainedBy is a run that drained a document's waiting events.
type drainedBy struct {
	document.Key
	run int64
}

// When the course has settled.

// settled checks all that must hold once nothing more is to come.
func (w *world) settled() {
	for _, check := range []func(){w.everyAcknowledgedEventEnds, w.nothingWaitsBehindNobody, w.everyOrderIsFound, w.parkedOnlyForAReason, w.closedIsDone, w.moneyIsCertified,
		w.stockIsTrue, w.deadLettersAreExplained, w.nothingPersonalLeaks} {
		if w.problem == nil {
			check()
		}
	}
}

// head leads from an external id to a document.
func (w *world) head(t retail.Tenant, conn, typ, external string) (document.Head, bool) {
	ref := document.Ref{Tenant: t, Connection: conn, Type: typ, External: external}
	found, err := w.store.Resolve(context.Background(), ref)
	if err != nil {
		panic(err)
	}
	k, ok := found[ref]
	return w.heads[k], ok
}

func (w *world) openExceptions(t retail.Tenant) []document.Exception {
	x, err := w.store.OpenExceptions(context.Background(), t)
	if err != nil {
		panic(err)
	}
	return x
}

// exceptionOf returns the exception that holds a document.
func (w *world) exceptionOf(h document.Head) (document.Exception, bool) {
	for _, x := range w.openExceptions(h.Tenant) {
		if x.ID == h.Parked {
			return x, true
		}
	}
	return document.Exception{}, false
}

// ended reports whether a document is finished, or waits for a human with the
// reason told.
func (w *world) ended(h document.Head) bool {
	if !h.Open() {
		return true
	}
	if h.Parked != "" {
		_, ok := w.exceptionOf(h)
		return ok
	}
	// An order waits for those of its parcels that wait for a human.
	return h.Type == document.Order && slices.ContainsFunc(w.order, func(k document.Key) bool {
		s := w.heads[k]
		return k.Type == document.Shipment && k.Tenant == h.Tenant && s.Parked != "" && (s.Parent == h.ID || s.Parent == "")
	})
}

// everyAcknowledgedEventEnds as a finished document or as an open, explained
// exception.
func (w *world) everyAcknowledgedEventEnds() {
	for _, d := range w.events {
		if !d.acked {
			continue
		}
		if d.orders != nil && d.orders.plan.Kind == Garbage && !w.mended {
			// The same bytes delivered again are the same exception.
			if !slices.ContainsFunc(w.openExceptions(d.tenant.id), func(x document.Exception) bool {
				raw, err := w.bucket.Get(context.Background(), x.Raw)
				return err == nil && bytes.Equal(raw, d.body)
			}) {
				w.fail("everyAcknowledgedEventEnds", "%s could not be read, and there is no exception", d)
			}
			continue
		}
		typ, external := "order", ""
		if d.orders != nil {
			external = d.orders.order.ExternalID
		} else {
			typ, external = "shipment", d.parcel.shipment.ExternalID
		}
		h, found := w.head(d.tenant.id, d.conn, typ, external)
		switch {
		case !found:
			w.fail("everyAcknowledgedEventEnds", "%s was acknowledged, and there is no document", d)
		case !w.ended(h):
			w.fail("convergence", "%s %s, made by %s, is still %s, due %s, run %d, attempt %d", h.Type, h.ID, d, h.State, h.Due.Sub(epoch), h.Run, h.Attempt)
		}
	}
}

// nothingWaitsBehindNobody: events wait only behind a document that is parked,
// or behind one that its channel has canceled, to which they add nothing.
func (w *world) nothingWaitsBehindNobody() {
	for _, k := range w.order {
		if h := w.heads[k]; h.Parked == "" && h.State != retail.Canceled && h.Waiting > 0 {
			w.fail("nothingWaitsBehindNobody", "%d events wait behind %s %s, which goes on without them", h.Waiting, k.Type, k.ID)
		}
	}
}

// everyOrderIsFound, announced or not, and every parcel of an order that is
// not parked.
func (w *world) everyOrderIsFound() {
	for _, t := range w.tenants {
		for _, o := range t.shop.orders {
			heard := slices.ContainsFunc(w.events, func(d *delivery) bool { return d.orders == o && d.acked })
			if o.plan.Kind == Garbage && (!w.mended || !heard) {
				continue
			}
			h, found := w.head(t.id, "shop", "order", o.order.ExternalID)
			if !found || !w.ended(h) {
				w.fail("everyOrderIsFound", "order %s of %s: found %v, state %s", o.order.Number, t.id, found, h.State)
			}
		}
		for _, p := range t.wms.parcels {
			h, found := w.head(t.id, "wms", "shipment", p.shipment.ExternalID)
			parent := w.heads[document.Key{Tenant: t.id, Type: document.Order, ID: p.of.rel.Reference}]
			if parent.Parked == "" && (!found || !w.ended(h)) {
				w.fail("everyOrderIsFound", "parcel %s of %s: found %v, state %s, its order %s", p.shipment.ExternalID, t.id, found, h.State, parent.State)
			}
		}
	}
}

// parkedOnlyForAReason: a human is asked only where only a human can help.
func (w *world) parkedOnlyForAReason() {
	for _, k := range w.order {
		h := w.heads[k]
		if h.Parked == "" {
			continue
		}
		x, ok := w.exceptionOf(h)
		if !ok {
			w.fail("nothingIsForgotten", "%s %s is parked by exception %s, which is not open", k.Type, k.ID, h.Parked)
			return
		}
		if !w.explained(h, fault.Class(x.Class)) {
			w.fail("parkedOnlyForAReason", "%s %s is parked as %s: %s", k.Type, k.ID, x.Class, x.Reason)
		}
	}
}

func (w *world) explained(h document.Head, class fault.Class) bool {
	on := func(f Fault) bool { return w.s.Faults[f] > 0 }
	switch {
	case class == fault.Authentication && on(Rotation) && !w.mended, class == fault.Internal && on(Configuration),
		class == fault.InventoryShortage && on(Counts) && !w.mended: // people found less than there was
		return true
	case h.Type == document.Shipment:
		// Its order is not released, as far as we know yet, or never will be.
		parent, known := w.heads[document.Key{Tenant: h.Tenant, Type: document.Order, ID: h.Parent}]
		return class == fault.MissingReference && h.Parent == "" ||
			class == fault.StateConflict && known && (parent.Parked != "" || parent.State == retail.Canceled)
	}
	o := w.shop(h.Tenant).placed(h.ExternalID)
	if class == fault.StateConflict && o.byHand > 0 {
		return true
	}
	switch o.plan.Kind {
	case Immaterial:
		return class == fault.Validation
	case Unbalanced:
		return class == fault.TotalsDiffer || o.canceled > 0 && class == fault.StateConflict
	case Unreadable:
		return class == fault.Validation && !w.mended || o.canceled > 0 && class == fault.StateConflict
	case OffByCent:
		return class == fault.TotalsDiffer && !w.mended || o.canceled > 0 && class == fault.StateConflict
	case UnknownSKU:
		return class == fault.Mapping && !w.mended || o.canceled > 0 && class == fault.StateConflict
	case Short:
		return class == fault.InventoryShortage && !w.mended || o.canceled > 0 && class == fault.StateConflict
	}
	return class == fault.StateConflict && o.canceled > 0
}

// closedIsDone: of a closed order the ERP has one confirmed sales order, one
// invoice and all parcels, and the channel has all parcels; a canceled one was
// not released.
func (w *world) closedIsDone() {
	for _, k := range w.order {
		h := w.heads[k]
		if k.Type != document.Order || h.Open() {
			continue
		}
		t := w.tenants[slices.IndexFunc(w.tenants, func(t *tenant) bool { return t.id == k.Tenant })]
		out := slices.IndexFunc(t.wms.released, func(r *released) bool { return r.rel.Reference == k.ID })
		if h.State == retail.Canceled {
			if out >= 0 {
				w.fail("aCanceledOrderIsNeverReleased", "order %s is canceled and was released", h.Number)
			}
			continue
		}
		sale := slices.IndexFunc(t.erp.sales, func(r *record) bool { return r.of == h.ExternalID && r.confirmed })
		if out < 0 || sale < 0 || !slices.ContainsFunc(t.erp.invoices, func(r *record) bool { return r.of == t.erp.sales[sale].ref }) {
			w.fail("closedIsDone", "order %s is closed: released %v, in the ERP %v, or its invoice is missing", h.Number, out >= 0, sale >= 0)
			return
		}
		units := map[string]int64{}
		for _, l := range t.wms.released[out].rel.Lines {
			units[l.SKU] += l.Quantity
		}
		for _, p := range t.wms.parcels {
			if p.of != t.wms.released[out] {
				continue
			}
			s := p.shipment
			if !slices.ContainsFunc(t.erp.shipments, func(r *record) bool { return r.of == s.ExternalID }) {
				w.fail("closedIsDone", "the ERP does not know parcel %s of the closed order %s", s.ExternalID, h.Number)
			}
			i := slices.IndexFunc(t.shop.confirmed, func(f *confirmation) bool { return f.order == h.ExternalID && f.tracking == s.Tracking })
			if i < 0 {
				w.fail("closedIsDone", "the channel does not know parcel %s of the closed order %s", s.ExternalID, h.Number)
				return
			}
			for _, l := range t.shop.confirmed[i].lines {
				units[l.SKU] -= l.Quantity
			}
		}
		for _, sku := range skus {
			if units[sku] != 0 {
				w.fail("closedIsDone", "of the closed order %s the channel does not know %d %s", h.Number, units[sku], sku)
			}
		}
	}
}

// moneyIsCertified at every hop: an ERP order that was released, and every
// invoice, has the total that its shopper paid.
func (w *world) moneyIsCertified() {
	for _, t := range w.tenants {
		for _, i := range t.erp.invoices {
			sale := t.erp.sale(i.of)
			o := t.shop.placed(sale.of)
			if i.total != o.order.Totals.Total {
				w.fail("moneyIsCertified", "invoice %s is %v, order %s is %v", i.ref, i.total, o.order.Number, o.order.Totals.Total)
			}
		}
	}
}

// heldAt names a reservation.
type heldAt struct{ order, line, sku, location string }

// stockIsTrue, by location, whatever the configuration was meanwhile.
func (w *world) stockIsTrue() {
	for _, t := range w.tenants {
		w.audit(t)
		left, promised := w.promises(t)
		for _, sku := range append([]string{unknownSKU}, skus...) {
			kept := must(w.store.Stock(context.Background(), t.id, sku))
			for _, holds := range []func(*tenant, string, stock.SKU){w.movementsAreThePosition, w.whatIsPromisedIsThere} {
				holds(t, sku, kept)
			}
			w.whatLeftIsGone(t, kept, left)
			w.noReservationWithoutAnOrder(t, kept, promised)
		}
		for k, n := range promised {
			if n > 0 {
				w.fail("noOrderWithoutItsReservation", "order %s of %s has %d of %s at %s for line %s, which are not reserved", k.order, t.id, n, k.sku, k.location, k.line)
			}
		}
	}
}

// audit is what the job of that name does an hour later where it can be needed:
// of two executions each may have had other rules, and one may have died, or been
// late, before it could give back what it reserved.
func (w *world) audit(t *tenant) {
	if w.s.Faults[Configuration] == 0 || w.s.Faults[DoubleStarts]+w.s.Faults[LambdaErrors]+w.s.Faults[Freezes] == 0 {
		return
	}
	life := w.life
	life.Store, life.Now = w.store, func() time.Time { return w.time().Add(time.Hour) }
	f := order.Fulfillment{Life: life, Stock: w.store}
	for _, sku := range append([]string{unknownSKU}, skus...) {
		if n := must(f.Unclaimed(context.Background(), t.id, sku)); n > 0 {
			w.tell("%d reservations of %s of %s are given back by the audit", n, sku, t.id)
		}
	}
}

// promises are what documents say: what has left each position, and what is
// still held of it for which order.
func (w *world) promises(t *tenant) (left map[[2]string]int64, promised map[heldAt]int64) {
	ctx := context.Background()
	left, promised = map[[2]string]int64{}, map[heldAt]int64{}
	for _, k := range w.order {
		h := w.heads[k]
		if k.Tenant != t.id || h.Body == 0 || k.Type != document.Order {
			continue
		}
		var o retail.Order
		if err := w.store.Body(ctx, k, h.Body, &o); err != nil {
			panic(err)
		}
		if o.Sourcing == nil {
			continue
		}
		for _, a := range o.Sourcing.Allocations {
			left[[2]string{a.SKU, a.Location}] += a.Shipped * a.Quantity / a.Units
			if h.Open() {
				promised[heldAt{h.ID, a.Line, a.SKU, a.Location}] += (a.Units - a.Shipped) * a.Quantity / a.Units
			}
		}
	}
	return left, promised
}

// movementsAreThePosition: Σ movements is what each bucket has, and reserved is
// the sum of what orders hold.
func (w *world) movementsAreThePosition(t *tenant, sku string, kept stock.SKU) {
	for _, x := range stock.Audit(kept, must(w.store.Movements(context.Background(), t.id, sku, "", time.Time{}))) {
		w.fail("movementsAreThePosition", "of %s: %s", t.id, x)
	}
}

// whatIsPromisedIsThere: unreserved is never below zero, unless the world took
// goods away; where orders hold them, people are told.
func (w *world) whatIsPromisedIsThere(t *tenant, sku string, kept stock.SKU) {
	for _, p := range kept.Positions {
		told := slices.ContainsFunc(w.openExceptions(t.id), func(x document.Exception) bool {
			return x.Class == string(fault.ReservationUncovered) && x.Value == sku
		})
		_, counted := t.counts[at{sku, p.Location}]
		if p.Unreserved < 0 && (p.Reserved > 0 || !counted) && !told {
			w.fail("whatIsPromisedIsThere", "%s of %s at %s is %d below what is reserved, and people are told: %v", sku, t.id, p.Location, -p.Unreserved, told)
		}
	}
}

// whatLeftIsGone: on hand is what was there less what parcels have taken.
func (w *world) whatLeftIsGone(t *tenant, kept stock.SKU, left map[[2]string]int64) {
	for _, p := range kept.Positions {
		want := int64(onHand)
		if w.mended {
			want += receipt
		}
		if p.SKU == unknownSKU {
			want -= onHand
		}
		documented := left[[2]string{p.SKU, p.Location}]
		want -= documented
		if _, is := t.counts[at{p.SKU, p.Location}]; is {
			w.countedIsThere(t, p, want, documented)
			continue
		}
		if p.OnHand != want {
			w.fail("whatLeftIsGone", "%s of %s at %s: on hand %d; documents say %d", p.SKU, t.id, p.Location, p.OnHand, want)
		}
	}
}

// noReservationWithoutAnOrder that says that it has it, and none after its end.
// An accepted one may have been parked before it could say so.
func (w *world) noReservationWithoutAnOrder(t *tenant, kept stock.SKU, promised map[heldAt]int64) {
	for _, r := range kept.Holds {
		h, known := w.heads[document.Key{Tenant: t.id, Type: document.Order, ID: r.Order}]
		k := heldAt{r.Order, r.Line, r.SKU, r.Location}
		n := promised[k]
		delete(promised, k)
		switch {
		case !known:
			w.fail("noReservationWithoutAnOrder", "%d of %s at %s are reserved for %s, which %s does not have", r.Quantity, r.SKU, r.Location, r.Order, t.id)
		case !h.Open():
			w.fail("noneLeftAfterClose", "%d of %s at %s are reserved for order %s of %s, which is %s", r.Quantity, r.SKU, r.Location, h.Number, t.id, h.State)
		case r.Quantity != n && h.State != retail.Accepted:
			w.fail("noReservationWithoutAnOrder", "%d of %s at %s are reserved for order %s of %s, which is %s and says %d", r.Quantity, r.SKU, r.Location, h.Number, t.id, h.State, n)
		}
	}
}

// deadLettersAreExplained: what a queue gave up has no document that waits for
// it, and is not an event that was dealt with.
func (w *world) deadLettersAreExplained() {
	for _, q := range []string{orderQueue, shipmentQueue} {
		if w.s.Faults[Crashes]+w.s.Faults[Freezes]+w.s.Faults[Redeliveries]+w.s.Faults[LongDelays]+w.s.Faults[LostAnswers]+w.s.Faults[Throttles] > 0 {
			return // a crash spends a receive, and a repeated delivery too
		}
		for _, m := range must(w.queues.Receive(context.Background(), q+"-dead", 100)) {
			w.fail("deadLettersAreExplained", "%s has given up %s", q, m.ID)
		}
	}
}

// nothingPersonalLeaks: names, addresses and e-mails are in the Person table
// and in raw payloads, and nowhere else.
func (w *world) nothingPersonalLeaks() {
	w.store.Items(func(table, partition, sort string, item any) {
		if table == "person" || table == "config" || table == "credentials" || table == "inventory" {
			return
		}
		raw, ok := item.([]byte)
		if !ok {
			raw = must(json.Marshal(visible(item)))
		}
		if personal(string(raw)) || personal(partition) || personal(sort) {
			w.fail("nothingPersonalLeaks", "table %s has %s in %q %q", table, raw, partition, sort)
		}
	})
	for _, q := range []string{orderQueue, shipmentQueue, resumeQueue} {
		for _, m := range must(w.queues.Receive(context.Background(), q+"-dead", 100)) {
			if personal(m.Body) { // a payload inside is base64
				w.fail("nothingPersonalLeaks", "queue %s has %s", q, m.Body)
			}
		}
	}
	for _, k := range w.bucket.Keys("") {
		if !strings.HasPrefix(k, "raw/") || personal(k) {
			w.fail("nothingPersonalLeaks", "the bucket has %s", k)
		}
	}
}

// visible makes JSON of items whose fields are not exported.
func visible(item any) any {
	switch item.(type) {
	case document.Head, document.Step, document.Key, document.Pending, effect.Record, document.Exception:
		return item
	}
	return fmt.Sprintf("%+v", item)
}

// digest is all that a repetition of every delivery must leave as it is.
func (w *world) digest() string {
	var b strings.Builder
	for _, k := range w.order {
		h := w.heads[k]
		fmt.Fprintf(&b, "%s %s %s %s parked %s canceled %v steps %d\n", k.Tenant, k.Type, k.ID, h.State, h.Parked, h.CancelAsked, h.Sequence)
	}
	for _, t := range w.tenants {
		fmt.Fprintf(&b, "%s: %d confirmations %d customers %d addresses %d sales %d shipments %d invoices %d releases %d parcels\n", t.id, len(t.shop.confirmed),
			len(t.erp.customers), len(t.erp.addresses), len(t.erp.sales), len(t.erp.shipments), len(t.erp.invoices), len(t.wms.released), len(t.wms.parcels))
	}
	for _, k := range slices.Sorted(maps.Keys(w.effects)) {
		fmt.Fprintf(&b, "%s %s\n", k, w.effects[k].Status)
	}
	return b.String()
}

// replayChangesNothing: every delivery again, under its own id and under a new
// one.
func (w *world) replayChangesNothing() {
	before := w.digest()
	for i, d := range slices.Clone(w.events) {
		if !d.acked {
			continue
		}
		again := *d
		w.soon(time.Duration(i)*time.Second, func() { w.deliver(&again, 0) })
		fresh := *d
		fresh.event = "again-" + base64.RawURLEncoding.EncodeToString([]byte(d.event+d.topic)) + fmt.Sprint(i)
		w.soon(time.Duration(i)*time.Second+time.Minute, func() { w.deliver(&fresh, 0) })
	}
	w.run(w.now + 2*time.Hour)
	if after := w.digest(); w.problem == nil && after != before {
		w.fail("replayChangesNothing", "before:\n%s\nafter:\n%s", before, after)
	}
}
