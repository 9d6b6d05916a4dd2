package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// settles are how long each vendor may take to show what it was sent, from
// the moment when it hears of it.
const (
	channelSettle   = 30 * time.Second
	erpSettle       = 20 * time.Second
	warehouseSettle = 2 * time.Minute
	// transport is the part of it that passes before a vendor hears.
	transport = 2 * time.Second
)

// vendor is what all vendors have in common: calls that take time and fail.
type vendor struct {
	w      *world
	tenant retail.Tenant
	conn   string
	settle time.Duration
	skew   time.Duration // of its clock
	down   span
	locked span // its credential is refused
	limits map[document.Key]limit
	calls  int
}

type span struct{ from, to time.Duration }

func (s span) has(t time.Duration) bool { return t >= s.from && t < s.to }

// limit is what a vendor has asked a document's run to wait for.
type limit struct {
	until time.Duration
	run   int64
}

// sent is one send of an effect, as its vendor knows it.
type sent struct {
	began   time.Duration
	settle  time.Duration
	status  effect.Status
	empty   []time.Duration // read-backs since that found nothing
	payload string
}

func (v *vendor) String() string { return v.tenant.String() + "/" + v.conn }

// clock is the vendor's own.
func (v *vendor) clock() time.Time { return v.w.time().Add(v.skew) }

// ask is the common part of reads and writes. An error means that the vendor
// did nothing.
func (v *vendor) ask(name string, write bool) error {
	w := v.w
	w.budget()
	inv := w.cur.inv
	// The gate is where all functions together are governed: production code.
	gate := w.gate(v)
	if err := gate.Enter(context.Background()); err != nil {
		return err
	}
	err := v.answer(name, write, inv)
	gate.Leave(context.Background(), err)
	return err
}

// answer is the vendor's part of ask.
func (v *vendor) answer(name string, write bool, inv *invocation) error {
	w, k := v.w, inv.task.Key()
	v.calls++
	w.retryAfterIsKept(v, k, inv.task.Run)
	took := 30*time.Millisecond + time.Duration(w.dice.Int64N(int64(400*time.Millisecond)))
	if w.hit(SlowVendors) {
		took += time.Duration(w.dice.Int64N(int64(egress.Timeout - time.Second)))
	}
	w.sleep(took)
	switch {
	case v.down.has(w.now):
		return fault.New(fault.Retryable, fault.Connectivity, "%s refuses the connection", v.conn)
	case v.locked.has(w.now):
		return fault.New(fault.Permanent, fault.Authentication, "%s refuses the credential", v.conn)
	case w.hit(VendorLimits):
		wait := time.Second * time.Duration(1+w.dice.IntN(40))
		if v.limits == nil {
			v.limits = map[document.Key]limit{}
		}
		v.limits[k] = limit{w.now + wait, inv.task.Run}
		return fault.New(fault.Retryable, fault.RateLimited, "%s answers 429", v.conn).After(wait)
	case !write && w.hit(VendorErrors):
		return fault.New(fault.Retryable, fault.Connectivity, "%s answers 503", v.conn)
	}
	return nil
}

// read asks for something; do sees what is visible now.
func (v *vendor) read(name string, do func()) error {
	err := v.ask(name, false)
	if err == nil {
		do()
	}
	if v.w.trace != nil {
		v.w.tell("%s %s: %v", v, name, err)
	}
	return err
}

// find reads an effect back.
func (v *vendor) find(name string, do func() (effect.Receipt, bool)) (r effect.Receipt, found bool, err error) {
	err = v.read(name, func() { r, found = do() })
	if s := v.w.sends[v.w.cur.inv.effect]; err == nil && !found && s != nil {
		s.empty = append(s.empty, v.w.now)
	}
	return r, found, err
}

// write does something once it is asked with a permit. apply is told when
// others see it, and returns the vendor's reference.
func (v *vendor) write(name string, p effect.Permit, payload any, apply func(visible time.Duration) effect.Receipt) (effect.Receipt, error) {
	w, none := v.w, effect.Receipt{}
	if err := p.Check(); err != nil {
		return none, err
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		return none, err
	}
	key, began := p.Key(), w.now
	w.checkSend(v, name, key, string(raw))
	s := &sent{began: began, settle: v.settle, status: effect.Unknown, payload: string(raw)}
	if err := v.ask(name, true); err != nil {
		s.status = effect.Refused
		w.sends[key] = s
		w.tell("%s %s: %v", v, name, err)
		return none, err
	}
	w.sends[key] = s
	crash := w.writing()
	if w.hit(Crashes) {
		w.die("before it writes at " + v.String())
	}
	// What is left of the settle time for processing and for its reads' lag.
	left := max(began+v.settle-transport-w.now, 0)
	unknown := w.hit(Unknown) || w.hit(VendorErrors)
	var late, lag time.Duration
	if unknown && w.hit(LateCommits) {
		late = time.Duration(w.dice.Int64N(int64(left) + 1))
	}
	if w.hit(LateReads) {
		lag = time.Duration(w.dice.Int64N(int64(left-late) + 1))
	}
	if unknown && w.chance(Unknown, 0.4) {
		w.tell("%s %s: not done, and no answer", v, name)
		w.sleep(time.Duration(w.dice.Int64N(int64(egress.Timeout))))
		return none, fault.New(fault.Retryable, fault.Connectivity, "%s did not answer", v.conn).OutcomeUnknown()
	}
	var r effect.Receipt
	if late > 0 {
		at, who := w.now+late, w.cur.name
		w.at(at, func() {
			w.tell("%s %s: done late, for %s", v, name, who)
			apply(at + lag)
		})
	} else {
		r = apply(w.now + lag)
		w.tell("%s %s: done, visible in %s", v, name, lag)
	}
	if crash {
		w.die("after it wrote at " + v.String())
	}
	if w.hit(Crashes) {
		w.die("after it wrote at " + v.String())
	}
	if unknown {
		w.sleep(time.Duration(w.dice.Int64N(int64(egress.Timeout))))
		w.tell("%s %s: no answer", v, name)
		return none, fault.New(fault.Retryable, fault.Connectivity, "%s did not answer", v.conn).OutcomeUnknown()
	}
	s.status = effect.Confirmed
	return r, nil
}

// payload is how the channel writes an order.
type payload struct {
	Order  *retail.Order  `json:"order,omitempty"`
	Person *retail.Person `json:"person,omitempty"`
	ID     string         `json:"id,omitempty"`
	Number string         `json:"number,omitempty"`
	Broken string         `json:"broken,omitempty"`
}

// channelOrder is an order at its channel.
type channelOrder struct {
	plan     OrderPlan
	order    retail.Order
	person   retail.Person
	updated  time.Time // by the channel's clock
	listed   time.Duration
	canceled time.Duration // 0: not
	byHand   time.Duration // when the merchant shipped it; 0: not
	fetched  time.Duration // when it was last read again, as it was then; 0: never
	version  int
}

func (o *channelOrder) raw() []byte {
	p := payload{Order: &o.order, Person: &o.person}
	switch o.plan.Kind {
	case Garbage:
		p.Broken, p.Number = "no id", o.order.Number
	case Unreadable:
		p.Broken, p.ID, p.Number = "lines", o.order.ExternalID, o.order.Number
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return b
}

// channel implements the ports of a sales channel.
type channel struct {
	vendor
	orders    []*channelOrder
	confirmed []*confirmation
}

type confirmation struct {
	order, tracking string
	lines           []retail.ShipmentLine
	visible         time.Duration
	ref             string
}

func (c *channel) placed(external string) *channelOrder {
	for _, o := range c.orders {
		if o.order.ExternalID == external {
			return o
		}
	}
	return nil
}

func (c *channel) DecodeOrder(raw []byte) (retail.Order, retail.Person, error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return retail.Order{}, retail.Person{}, fault.Wrap(fault.Permanent, fault.Validation, err, "decoding the order")
	}
	if p.Broken != "" && !c.w.mended { // one day the decoder learns to read it
		return retail.Order{ExternalID: p.ID, Number: p.Number}, retail.Person{}, fault.New(fault.Permanent, fault.Validation, "the order cannot be read").At(p.Broken, "")
	}
	return *p.Order, *p.Person, nil
}

func (c *channel) FetchOrder(_ context.Context, externalID string) (raw []byte, found bool, err error) {
	err = c.read("fetch order", func() {
		if o := c.placed(externalID); o != nil {
			raw, found = o.raw(), true
			o.fetched = c.w.now
		}
	})
	return raw, found, err
}

func (c *channel) ListOrders(_ context.Context, since time.Time, cursor string) (page []retail.Listed, next string, err error) {
	err = c.read("list orders", func() {
		skip := len(cursor)
		for _, o := range c.orders {
			if o.listed > c.w.now || o.updated.Before(since) {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			if len(page) == 2 {
				next = cursor + "xx"
				break
			}
			page = append(page, retail.Listed{ExternalID: o.order.ExternalID, Number: o.order.Number, UpdatedAt: o.updated, Raw: o.raw()})
		}
	})
	return page, next, err
}

func (c *channel) ShipmentSettle() time.Duration { return channelSettle }

func (c *channel) ConfirmShipment(_ context.Context, p effect.Permit, o retail.Order, s retail.Shipment) (effect.Receipt, error) {
	c.w.checkTenant(&c.vendor, o.Tenant, o.ExternalID)
	c.w.checkTenant(&c.vendor, s.Tenant, s.ExternalID)
	return c.write("confirm shipment", p, []any{o.ExternalID, s.Tracking, s.Lines}, func(visible time.Duration) effect.Receipt {
		f := &confirmation{o.ExternalID, s.Tracking, s.Lines, visible, fmt.Sprintf("ful-%d", len(c.confirmed)+1)}
		for _, old := range c.confirmed {
			if old.order == f.order && old.tracking == f.tracking {
				c.w.fail("oneConfirmationAParcel", "%s hears of parcel %s of order %s twice", c, f.tracking, f.order)
			}
		}
		c.confirmed = append(c.confirmed, f)
		return effect.Receipt{Ref: f.ref}
	})
}

func (c *channel) FindShipment(_ context.Context, o retail.Order, s retail.Shipment) (effect.Receipt, bool, error) {
	return c.find("find shipment", func() (effect.Receipt, bool) {
		for _, f := range c.confirmed {
			if f.order == o.ExternalID && f.tracking == s.Tracking && f.visible <= c.w.now {
				return effect.Receipt{Ref: f.ref}, true
			}
		}
		return effect.Receipt{}, false
	})
}

// erp implements the ports of an ERP.
type erp struct {
	vendor
	customers []*record
	addresses []*record
	sales     []*record
	shipments []*record
	invoices  []*record
}

// record is anything that the ERP keeps.
type record struct {
	ref     string
	of      string // what it is about; unique by the law of the platform
	parent  string
	visible time.Duration
	// Of a sales order:
	total     retail.Money
	confirmed bool
	confirmAt time.Duration // from when a read shows that it is confirmed
}

// keep adds a record that must be the only one of its kind.
func (e *erp) keep(invariant string, where *[]*record, prefix, of, parent string, visible time.Duration) *record {
	r := &record{ref: fmt.Sprintf("%s-%d", prefix, len(*where)+1), of: of, parent: parent, visible: visible}
	for _, old := range *where {
		if old.of == of && old.parent == parent {
			e.w.fail(invariant, "%s gets a second %s for %s", e, prefix, of)
		}
	}
	*where = append(*where, r)
	return r
}

func (e *erp) seek(name string, where *[]*record, of, parent string) (effect.Receipt, bool, error) {
	return e.find(name, func() (effect.Receipt, bool) {
		for _, r := range *where {
			if r.of == of && r.parent == parent && r.visible <= e.w.now {
				return effect.Receipt{Ref: r.ref, Number: r.ref}, true
			}
		}
		return effect.Receipt{}, false
	})
}

func (e *erp) CustomerSettle() time.Duration { return erpSettle }

func (e *erp) CreateCustomer(_ context.Context, p effect.Permit, ref string, person retail.Person) (effect.Receipt, error) {
	e.w.checkPerson(&e.vendor, person)
	return e.write("create customer", p, ref, func(visible time.Duration) effect.Receipt {
		r := e.keep("oneCustomerABuyer", &e.customers, "customer", ref, "", visible)
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (e *erp) FindCustomer(_ context.Context, ref string) (effect.Receipt, bool, error) {
	return e.seek("find customer", &e.customers, ref, "")
}

func addressOf(a retail.Address) string { return fmt.Sprintf("%q", a) }

func (e *erp) CreateAddress(_ context.Context, p effect.Permit, customer effect.Receipt, a retail.Address) (effect.Receipt, error) {
	return e.write("create address", p, addressOf(a), func(visible time.Duration) effect.Receipt {
		r := e.keep("oneCustomerABuyer", &e.addresses, "address", addressOf(a), customer.Ref, visible)
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (e *erp) FindAddress(_ context.Context, customer effect.Receipt, a retail.Address) (effect.Receipt, bool, error) {
	return e.seek("find address", &e.addresses, addressOf(a), customer.Ref)
}

func (e *erp) SalesOrderSettle() time.Duration { return erpSettle }

func (e *erp) CreateSalesOrder(_ context.Context, p effect.Permit, o retail.Order, customer, shipTo, billTo effect.Receipt) (effect.Receipt, error) {
	e.w.checkTenant(&e.vendor, o.Tenant, o.ExternalID)
	if customer.Ref == "" || shipTo.Ref == "" || billTo.Ref == "" {
		e.w.fail("moneyIsCertified", "sales order of %s without its customer", o.ExternalID)
	}
	return e.write("create sales order", p, []any{o.ExternalID, o.Totals}, func(visible time.Duration) effect.Receipt {
		r := e.keep("oneSalesOrderAnOrder", &e.sales, "SO", o.ExternalID, "", visible)
		r.total, r.confirmAt = o.Totals.Total, -1
		if own := e.w.shop(e.tenant).placed(o.ExternalID); own != nil && own.plan.Kind == OffByCent && !e.w.mended {
			r.total.Amount++
		}
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (e *erp) FindSalesOrder(_ context.Context, o retail.Order) (effect.Receipt, bool, error) {
	return e.seek("find sales order", &e.sales, o.ExternalID, "")
}

func (e *erp) sale(ref string) *record {
	for _, r := range e.sales {
		if r.ref == ref {
			return r
		}
	}
	return nil
}

func (e *erp) ConfirmSalesOrder(_ context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	return e.write("confirm sales order", p, so.Ref, func(visible time.Duration) effect.Receipt {
		if r := e.sale(so.Ref); r != nil {
			if r.confirmed {
				e.w.fail("oneSalesOrderAnOrder", "%s confirms %s twice", e, so.Ref)
			}
			r.confirmed, r.confirmAt = true, visible
		}
		return so
	})
}

func (e *erp) SalesOrderConfirmed(_ context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	return e.find("read sales order", func() (effect.Receipt, bool) {
		r := e.sale(so.Ref)
		return so, r != nil && r.confirmed && r.confirmAt <= e.w.now
	})
}

var errNoSale = errors.New("there is no such sales order")

func (e *erp) SalesOrderTotal(_ context.Context, so effect.Receipt) (total retail.Money, err error) {
	rerr := e.read("read total", func() {
		r := e.sale(so.Ref)
		if r == nil {
			err = errNoSale
			return
		}
		total = r.total
	})
	return total, errors.Join(rerr, err)
}

func (e *erp) ShipmentSettle() time.Duration { return erpSettle }

func (e *erp) PostShipment(_ context.Context, p effect.Permit, so effect.Receipt, s retail.Shipment) (effect.Receipt, error) {
	e.w.checkTenant(&e.vendor, s.Tenant, s.ExternalID)
	return e.write("post shipment", p, []any{so.Ref, s.ExternalID, s.Lines}, func(visible time.Duration) effect.Receipt {
		r := e.keep("oneERPShipmentAParcel", &e.shipments, "delivery", s.ExternalID, so.Ref, visible)
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (e *erp) ShipmentPosted(_ context.Context, so effect.Receipt, s retail.Shipment) (effect.Receipt, bool, error) {
	return e.seek("find delivery", &e.shipments, s.ExternalID, so.Ref)
}

func (e *erp) PostInvoice(_ context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error) {
	e.w.invoiceComesLast(e, so)
	return e.write("post invoice", p, so.Ref, func(visible time.Duration) effect.Receipt {
		r := e.keep("oneInvoiceAnOrder", &e.invoices, "invoice", so.Ref, "", visible)
		if sale := e.sale(so.Ref); sale != nil {
			r.total = sale.total
		}
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (e *erp) InvoicePosted(_ context.Context, so effect.Receipt) (effect.Receipt, bool, error) {
	return e.seek("find invoice", &e.invoices, so.Ref, "")
}

// warehouse implements the ports of a warehouse.
type warehouse struct {
	vendor
	released []*released
	parcels  []*parcel
}

type released struct {
	ref     string
	rel     retail.Release
	visible time.Duration
}

// parcel is one parcel that has left.
type parcel struct {
	shipment retail.Shipment
	of       *released
	acked    bool
}

func (p *parcel) raw() []byte {
	b, err := json.Marshal(p.shipment)
	if err != nil {
		panic(err)
	}
	return b
}

func (h *warehouse) ReleaseSettle() time.Duration { return warehouseSettle }

func (h *warehouse) Release(_ context.Context, p effect.Permit, rel retail.Release, person retail.Person) (effect.Receipt, error) {
	h.w.checkPerson(&h.vendor, person)
	h.w.checkRelease(h, rel)
	return h.write("release", p, rel, func(visible time.Duration) effect.Receipt {
		r := &released{fmt.Sprintf("wo-%d", len(h.released)+1), rel, visible}
		for _, old := range h.released {
			if old.rel.Reference == rel.Reference || old.rel.OrderNumber == rel.OrderNumber {
				h.w.fail("oneReleaseAnOrder", "%s is asked to ship order %s twice", h, rel.OrderNumber)
			}
		}
		h.released = append(h.released, r)
		h.w.willShip(h, r)
		return effect.Receipt{Ref: r.ref, Number: r.ref}
	})
}

func (h *warehouse) FindRelease(_ context.Context, rel retail.Release) (effect.Receipt, bool, error) {
	return h.find("find release", func() (effect.Receipt, bool) {
		for _, r := range h.released {
			if r.rel.Reference == rel.Reference && r.visible <= h.w.now {
				return effect.Receipt{Ref: r.ref, Number: r.ref}, true
			}
		}
		return effect.Receipt{}, false
	})
}

func (h *warehouse) DecodeShipment(raw []byte) (s retail.Shipment, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fault.Wrap(fault.Permanent, fault.Validation, err, "decoding the shipment")
	}
	return s, nil
}

func (h *warehouse) ListShipments(_ context.Context, orderRef string) (out []retail.Listed, err error) {
	err = h.read("list shipments", func() {
		for _, p := range h.parcels {
			if p.of.ref == orderRef {
				out = append(out, retail.Listed{ExternalID: p.shipment.ExternalID, Number: p.shipment.Tracking, UpdatedAt: p.shipment.ShippedAt, Raw: p.raw()})
			}
		}
	})
	return out, err
}

// signed is what the hooks of all vendors have in common.
type signed struct{}

var errSignature = errors.New("the signature is wrong")

func (signed) VerifyWebhook(h http.Header, body []byte, secrets []string, _ time.Time) error {
	if len(secrets) == 0 || h.Get("X-Signature") != secrets[0] || len(body) == 0 {
		return errSignature
	}
	return nil
}

func (signed) Announce(h http.Header) (retail.Announcement, error) {
	topic := h.Get("X-Topic")
	flow, _, _ := strings.Cut(topic, "/")
	return retail.Announcement{Flow: flow, Topic: topic, EventID: h.Get("X-Event")}, nil
}
