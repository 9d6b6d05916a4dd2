package tryton

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// ShipmentSettle is how long an empty ShipmentPosted or InvoicePosted proves
// nothing.
func (c *Connector) ShipmentSettle() time.Duration { return settle }

// parcel is what the connector reads of a shipment to a customer.
type parcel struct {
	ID        int64  `json:"id"`
	Number    text   `json:"number"`
	State     string `json:"state"`
	Reference text   `json:"reference"`
	Timestamp string `json:"_timestamp"`
	Outgoing  ids    `json:"outgoing_moves"`
	Inventory ids    `json:"inventory_moves"`
	Moves     []move `json:"moves."`
}

var (
	parcelFields = []string{"number", "state", "reference", "outgoing_moves", "inventory_moves", "_timestamp"}
	moveFields   = []string{"state", "quantity", "origin", "product.code"}
)

// below are fields of the records at the other end of a field.
func below(field string, fields ...string) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = field + "." + f
	}
	return out
}

func (s parcel) receipt() effect.Receipt {
	return effect.Receipt{Ref: reference(s.ID), Number: string(s.Number)}
}

// move is a quantity of one product between two places.
type move struct {
	ID       int64    `json:"id"`
	State    string   `json:"state"`
	Quantity quantity `json:"quantity"`
	Origin   text     `json:"origin"`
	Product  struct {
		Code string `json:"code"`
	} `json:"product."`
}

func (s parcel) outgoing() []move { return s.among(s.Outgoing) }

// inventory moves take the goods from the shelf to the door. A warehouse
// whose shelf is its door has none.
func (s parcel) inventory() []move { return s.among(s.Inventory) }

func (s parcel) among(of ids) []move {
	wanted := make(map[int64]bool, len(of))
	for _, id := range of {
		wanted[id] = true
	}
	var out []move
	for _, m := range s.Moves {
		if wanted[m.ID] && m.State != "cancelled" {
			out = append(out, m)
		}
	}
	return out
}

// trackingReference is what a shipment is called in Tryton, and read back by:
// the tracking number, or the platform's id where the parcel has none.
func trackingReference(s retail.Shipment) (string, error) {
	ref := line(s.Tracking)
	if ref == "" && s.ID != "" {
		ref = key(s.ID)
	}
	if ref == "" {
		return "", fault.New(fault.Permanent, fault.Internal, "the shipment has neither a tracking number nor an id").At("tracking_number", "")
	}
	return ref, nil
}

// PostShipment ships s's quantities of the sale, whatever Tryton believes to
// be in stock: the parcel has left. What s does not contain stays open in a
// shipment that Tryton makes by itself. It goes on from wherever an earlier
// attempt for the same tracking number ended.
func (c *Connector) PostShipment(ctx context.Context, p effect.Permit, so effect.Receipt, s retail.Shipment) (effect.Receipt, error) {
	want, err := quantities(s)
	if err != nil {
		return effect.Receipt{}, err
	}
	ref, err := trackingReference(s)
	if err != nil {
		return effect.Receipt{}, err
	}
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, err
	}
	parcels, err := c.parcels(ctx, r, so)
	if err != nil {
		return effect.Receipt{}, err
	}
	mine, err := choose(parcels, ref, want)
	if err != nil {
		return effect.Receipt{}, err
	}
	if planned(mine.State) {
		if mine, err = c.plan(ctx, p, r, mine, ref, want); err != nil {
			return effect.Receipt{}, err
		}
	}
	return c.advance(ctx, p, r, so, mine)
}

// quantities adds up what a shipment contains, by SKU.
func quantities(s retail.Shipment) (map[string]int64, error) {
	want := map[string]int64{}
	for i, l := range s.Lines {
		if l.SKU == "" || l.Quantity <= 0 {
			return nil, fault.New(fault.Permanent, fault.Validation, "the line has no SKU or no quantity").At(fmt.Sprintf("lines[%d]", i), l.SKU)
		}
		want[l.SKU] += l.Quantity
	}
	if len(want) == 0 {
		return nil, fault.New(fault.Permanent, fault.Validation, "the shipment is empty").At("lines", s.ID)
	}
	return want, nil
}

// planned reports whether the quantities of a shipment can still be set.
func planned(state string) bool {
	return state == "draft" || state == "waiting" || state == "assigned"
}

// parcels reads the sale's shipments and their moves, oldest first.
func (c *Connector) parcels(ctx context.Context, r *records, so effect.Receipt) ([]parcel, error) {
	s, err := c.sale(ctx, r, so, below("shipments", parcelFields...), below("shipments.moves", moveFields...))
	return s.Shipments, err
}

// choose returns the shipment that carries the reference already, or else the
// first one that has the quantities open.
func choose(parcels []parcel, ref string, want map[string]int64) (parcel, error) {
	for _, s := range parcels {
		if string(s.Reference) != ref || s.State == "cancelled" {
			continue
		}
		if !planned(s.State) && !maps.Equal(total(s.outgoing()), want) {
			return s, fault.New(fault.Exception, fault.Duplicate, "another shipment of this sale was posted with the same tracking number and other quantities").At("tracking_number", ref)
		}
		return s, nil
	}
	missing, others := first(slices.Sorted(maps.Keys(want))...), false
	for _, s := range parcels {
		if !planned(s.State) || s.Reference != "" {
			others = others || s.Reference != "" && s.State != "done" && s.State != "cancelled"
			continue
		}
		short := lacks(total(s.outgoing()), want)
		if short == "" {
			return s, nil
		}
		missing = short
	}
	if others {
		// Tryton makes a shipment of what another parcel leaves once that is done.
		return parcel{}, fault.New(fault.Retryable, fault.StateConflict, "another parcel of the sale is being posted").At("lines.sku", missing).After(2 * time.Second)
	}
	return parcel{}, fault.New(fault.Exception, fault.StateConflict, "no open shipment of the sale holds this quantity").At("lines.sku", missing)
}

func total(moves []move) map[string]int64 {
	out := map[string]int64{}
	for _, m := range moves {
		if m.Quantity != 0 {
			out[m.Product.Code] += int64(m.Quantity)
		}
	}
	return out
}

// lacks returns the first SKU of which have holds too little.
func lacks(have, want map[string]int64) string {
	for _, sku := range slices.Sorted(maps.Keys(want)) {
		if have[sku] < want[sku] {
			return sku
		}
	}
	return ""
}

// plan claims a shipment for the reference and sets its quantities, in one
// call that fails if somebody else has changed the shipment since it was read.
func (c *Connector) plan(ctx context.Context, p effect.Permit, r *records, s parcel, ref string, want map[string]int64) (parcel, error) {
	if short := lacks(total(s.outgoing()), want); short != "" {
		return s, fault.New(fault.Exception, fault.StateConflict, "the shipment of the sale no longer holds this quantity").At("lines.sku", short)
	}
	if needsReset(s) {
		if _, err := c.press(ctx, p, r, shipmentModel, s.ID, "wait"); err != nil {
			return s, err
		}
		var err error
		if s, err = c.parcel(ctx, r, s.ID); err != nil {
			return s, unread(err)
		}
		// Series 7.0 does not refuse a button that is not for the state: it does
		// nothing. And what was reset may be somebody else's by now.
		if s.State != "waiting" || (s.Reference != "" && string(s.Reference) != ref) {
			return s, fault.New(fault.Retryable, fault.StateConflict, "somebody else has taken the shipment meanwhile").At("state", s.State)
		}
	}
	values := map[string]any{}
	if string(s.Reference) != ref {
		values["reference"] = ref
	}
	if changes := split(s, want); len(changes) > 0 {
		values["moves"] = changes
	}
	if len(values) > 0 {
		extra := c.context(r)
		extra["_timestamp"] = map[string]string{fmt.Sprintf("stock.shipment.out,%d", s.ID): s.Timestamp}
		if err := c.write(ctx, p, "model."+shipmentModel+".write", nil, ids{s.ID}, values, extra); err != nil {
			return s, fmt.Errorf("setting the shipment's quantities: %w", err)
		}
	}
	return s, nil
}

// needsReset reports whether the moves must be made anew before their
// quantities can be set: assigned ones are locked, and an assignment that
// found too little has split them.
func needsReset(s parcel) bool {
	return s.State != "waiting" || slices.ContainsFunc(s.inventory(), func(m move) bool { return m.State != "draft" })
}

// split spreads the quantities over the moves that decide what is shipped.
func split(s parcel, want map[string]int64) []command {
	decisive := s.inventory()
	if len(decisive) == 0 {
		decisive = s.outgoing()
	}
	origin := map[string]int64{}
	for _, m := range s.outgoing() {
		origin[fmt.Sprintf("stock.move,%d", m.ID)] = int64(m.Quantity)
	}
	left := maps.Clone(want)
	var changes []command
	for _, m := range decisive {
		most := int64(m.Quantity)
		// What an interrupted attempt left at its shelf is still on its way
		// out.
		if q, ok := origin[string(m.Origin)]; ok {
			most = q
		}
		take := min(most, left[m.Product.Code])
		left[m.Product.Code] -= take
		if take != int64(m.Quantity) {
			changes = append(changes, command{"write", ids{m.ID}, map[string]any{"quantity": take}})
		}
	}
	return changes
}

const shipmentModel = "stock.shipment.out"

// parcel reads a shipment and its moves.
func (c *Connector) parcel(ctx context.Context, r *records, id int64) (parcel, error) {
	var found []parcel
	if err := c.read(ctx, "model."+shipmentModel+".search_read", &found, domain{{"id", "=", id}}, 0, 1, nil,
		slices.Concat(parcelFields, below("moves", moveFields...)), c.context(r)); err != nil {
		return parcel{}, err
	}
	if len(found) != 1 {
		return parcel{}, gone(id)
	}
	return found[0], nil
}

func gone(shipment int64) error {
	return fault.New(fault.Exception, fault.MissingReference, "the shipment is no longer in Tryton").At("shipment", reference(shipment))
}

// advance takes a shipment whose quantities stand to its end: it presses the
// buttons that lead there, and reads what became of the sale. A button that is
// not for the state does nothing, so it goes on from whatever state it finds.
func (c *Connector) advance(ctx context.Context, p effect.Permit, r *records, so effect.Receipt, s parcel) (effect.Receipt, error) {
	force := false
	for range 5 {
		if s.State == "done" {
			return s.receipt(), nil
		}
		id, before, way := s.ID, s.State, c.series.way(s, force)
		if len(way) == 0 {
			return effect.Receipt{}, fault.New(fault.Exception, fault.StateConflict, "the shipment in Tryton cannot be completed").At("state", s.State)
		}
		taken, refusal := c.press(ctx, p, r, shipmentModel, id, way...)
		if refusal != nil && !mayBeDone(refusal) {
			return effect.Receipt{}, refusal
		}
		// The invoice that stands beside the shipment is read along: posting
		// it comes next.
		now, err := c.sale(ctx, r, so, below("shipments", parcelFields...), below("invoices", invoiceFields...))
		if err != nil {
			return effect.Receipt{}, unread(err)
		}
		at := slices.IndexFunc(now.Shipments, func(x parcel) bool { return x.ID == id })
		if at < 0 {
			return effect.Receipt{}, gone(id)
		}
		s = now.Shipments[at]
		c.seen(r, now)
		switch {
		case s.State != before:
		case s.State == "waiting" && force:
			if refusal == nil || taken > 0 {
				refusal = fault.New(fault.Exception, fault.StateConflict, "Tryton does not assign the shipment").At("state", s.State)
			}
			return effect.Receipt{}, refusal
		case s.State == "waiting" && taken > 0:
			force = true // it found too little of the goods
		case refusal != nil:
			return effect.Receipt{}, refusal
		}
	}
	return effect.Receipt{}, fault.New(fault.Retryable, fault.StateConflict, "the shipment stays in the state %s", s.State)
}

// ShipmentPosted looks for a done shipment of the sale with s's reference. One
// that an interrupted attempt left on its way is not posted yet.
func (c *Connector) ShipmentPosted(ctx context.Context, so effect.Receipt, s retail.Shipment) (effect.Receipt, bool, error) {
	want, err := quantities(s)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	ref, err := trackingReference(s)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	r, err := c.inCompany(ctx)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	parcels, err := c.parcels(ctx, r, so)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	for _, parcel := range parcels {
		if string(parcel.Reference) != ref || parcel.State != "done" {
			continue
		}
		if maps.Equal(total(parcel.outgoing()), want) {
			return parcel.receipt(), true, nil
		}
	}
	return effect.Receipt{}, false, nil
}
