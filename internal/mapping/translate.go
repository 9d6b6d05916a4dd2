package mapping

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Translator applies one connection's maps and overrides to documents. What it
// is given stays as it is.
//
// Its encoding happens inside an effect's send. The ledger's payload is the
// canonical document, so that a map that changes between two attempts changes
// no payload: an attempt of unknown outcome is read back first, by ids that no
// map touches, and only what is proven absent is sent anew, in today's words.
type Translator struct {
	Tenant     retail.Tenant
	Connection string
	// Fixed are the maps of the configuration file. A kind that is here is not
	// looked up in Stored.
	Fixed  map[Kind]Fixed
	Stored *Reader // nil: there are none
	Rules  *Rules  // nil: there are none
	// Lenient lets every unmapped value pass and leaves overrides out. A
	// read-back is: what was written must be found whatever is configured now.
	Lenient bool
}

// Patient bounds the reading of maps where a caller gives no time of its own.
const Patient = 10 * time.Second

// slot is a field whose value a map may change.
type slot struct {
	kind Kind
	path string
	at   *string
}

// Empty tells whether nothing is configured that could change a document
// without looking into the store.
func (t *Translator) Empty() bool {
	return t == nil || (t.Stored == nil && len(t.Fixed) == 0 && t.Rules == nil)
}

// Order translates an order. Money that held before an override and does not
// after it is an exception: an override is no way to change what was paid.
func (t *Translator) Order(ctx context.Context, d Direction, o retail.Order) (retail.Order, error) {
	if t.Empty() {
		return o, nil
	}
	out := cloneOrder(o)
	said, err := t.values(ctx, d, orderSlots(&out, d))
	if err != nil {
		return o, err
	}
	_, broken := retail.Certify(out)
	overridden, err := t.override(ctx, "order", d, &out)
	if err != nil {
		return o, err
	}
	if len(overridden) > 0 && broken == nil {
		if _, err := retail.Certify(out); err != nil {
			return o, fault.Wrap(fault.Exception, fault.TotalsDiffer, err, "the overrides of connection %s (%s) change the order's money", t.Connection,
				strings.Join(overridden, ", ")).At("totals", o.Totals.Total.String())
		}
	}
	if said = append(said, overridden...); d == Decode && len(said) > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("connection %s: %s", t.Connection, strings.Join(said, ", ")))
	}
	return out, nil
}

// Shipment translates a shipment.
func (t *Translator) Shipment(ctx context.Context, d Direction, s retail.Shipment) (retail.Shipment, error) {
	if t.Empty() {
		return s, nil
	}
	out := s
	out.Lines = slices.Clone(s.Lines)
	if _, err := t.values(ctx, d, shipmentSlots(&out)); err != nil {
		return s, err
	}
	if _, err := t.override(ctx, "shipment", d, &out); err != nil {
		return s, err
	}
	return out, nil
}

// Release translates a release; it only ever goes out.
func (t *Translator) Release(ctx context.Context, r retail.Release) (retail.Release, error) {
	if t.Empty() {
		return r, nil
	}
	out := r
	out.Lines = slices.Clone(r.Lines)
	if _, err := t.values(ctx, Encode, releaseSlots(&out)); err != nil {
		return r, err
	}
	if _, err := t.override(ctx, "release", Encode, &out); err != nil {
		return r, err
	}
	return out, nil
}

// ReadingBack is t as a read-back uses it.
func (t *Translator) ReadingBack() *Translator {
	c := *t
	c.Lenient = true
	return &c
}

func orderSlots(o *retail.Order, d Direction) []slot {
	var out []slot
	for i := range o.Lines {
		l := &o.Lines[i]
		at := fmt.Sprintf("lines[%d].", i)
		out = append(out, slot{SKU, at + "sku", &l.SKU})
		for j := range l.Taxes {
			out = append(out, slot{Tax, fmt.Sprintf("%stax_lines[%d].title", at, j), &l.Taxes[j].Title})
		}
	}
	for i := range o.Shipping {
		s := &o.Shipping[i]
		for j := range s.Taxes {
			out = append(out, slot{Tax, fmt.Sprintf("shipping[%d].tax_lines[%d].title", i, j), &s.Taxes[j].Title})
		}
	}
	if d == Decode {
		out = append(out, slot{Payment, "financial_status", &o.FinancialStatus})
	}
	return out
}

func shipmentSlots(s *retail.Shipment) []slot {
	var out []slot
	for i := range s.Lines {
		out = append(out, slot{SKU, fmt.Sprintf("lines[%d].sku", i), &s.Lines[i].SKU})
	}
	return append(out, slot{Carrier, "carrier", &s.Carrier})
}

func releaseSlots(r *retail.Release) []slot {
	var out []slot
	for i := range r.Lines {
		out = append(out, slot{SKU, fmt.Sprintf("lines[%d].sku", i), &r.Lines[i].SKU})
	}
	return append(out, slot{Carrier, "shipping_method", &r.ShippingMethod}, slot{Location, "location", &r.Location})
}

// known is what the map of a kind has for a document's values.
type known struct {
	to     map[string]string
	strict bool
	name   string
}

// values applies the maps and tells which ones changed something.
func (t *Translator) values(ctx context.Context, d Direction, slots []slot) (said []string, err error) {
	by := map[Kind][]slot{}
	for _, s := range slots {
		if *s.at != "" {
			by[s.kind] = append(by[s.kind], s)
		}
	}
	have, miss, err := t.look(ctx, d, by, false)
	if err == nil && miss != nil {
		// Somebody may have mapped it a moment ago, and the document may have
		// been let go on for that.
		have, miss, err = t.look(ctx, d, by, true)
	}
	if err != nil {
		return nil, err
	}
	if miss != nil {
		return nil, t.unmapped(d, *miss)
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		n := 0
		for _, s := range by[k] {
			if to, ok := have[k].to[*s.at]; ok && to != *s.at {
				*s.at = to
				n++
			}
		}
		if n > 0 {
			said = append(said, fmt.Sprintf("%s map (%s) changed %d values", k, have[k].name, n))
		}
	}
	return said, nil
}

// look reads what the maps have, and finds the first value that a strict one
// lacks.
func (t *Translator) look(ctx context.Context, d Direction, by map[Kind][]slot, anew bool) (have map[Kind]known, miss *slot, err error) {
	var stored map[Kind]Map
	if t.Stored != nil {
		if stored, err = t.Stored.maps(ctx, t.Tenant, t.Connection, anew); err != nil {
			return nil, nil, err
		}
	}
	have = map[Kind]known{}
	for _, k := range slices.Sorted(maps.Keys(by)) {
		var x known
		if f, ok := t.Fixed[k]; ok {
			x = known{f.entries(d), f.strictFor(d), "its configuration"}
		} else if m, ok := stored[k]; ok {
			values := make([]string, 0, len(by[k]))
			for _, s := range by[k] {
				values = append(values, *s.at)
			}
			found, err := t.Stored.Lookup(ctx, m, d, values)
			if err != nil {
				return nil, nil, err
			}
			x = known{found, m.StrictFor(d), fmt.Sprintf("version %d", m.Version)}
		} else {
			continue
		}
		have[k] = x
		for _, s := range by[k] {
			if _, ok := x.to[*s.at]; !ok && x.strict && !t.Lenient && miss == nil {
				miss = &s
			}
		}
	}
	return have, miss, nil
}

// unmapped says what a strict map lacks, and what to do about it.
func (t *Translator) unmapped(d Direction, s slot) error {
	whose := "its value"
	if d == Encode {
		whose = "our value"
	}
	return fault.New(fault.Exception, fault.Mapping, "the strict %s map of connection %s does not have %s; add it with: waybill map set --tenant %s --connection %s --kind %s --direction %s FROM TO --reason …",
		s.kind, t.Connection, whose, t.Tenant, t.Connection, s.kind, d).At(t.field(d, s.path), *s.at)
}

// field is where an exception says it is: what is written to a system is told
// apart from what came from the channel, because both are parked with the
// channel's order.
func (t *Translator) field(d Direction, path string) string {
	if d == Encode {
		return t.Connection + ":" + path
	}
	return path
}

func cloneOrder(o retail.Order) retail.Order {
	o.Lines = slices.Clone(o.Lines)
	for i := range o.Lines {
		l := &o.Lines[i]
		l.Discounts, l.Taxes, l.Duties = slices.Clone(l.Discounts), slices.Clone(l.Taxes), slices.Clone(l.Duties)
	}
	o.Shipping = slices.Clone(o.Shipping)
	for i := range o.Shipping {
		s := &o.Shipping[i]
		s.Discounts, s.Taxes = slices.Clone(s.Discounts), slices.Clone(s.Taxes)
	}
	o.Notes = slices.Clone(o.Notes)
	return o
}
