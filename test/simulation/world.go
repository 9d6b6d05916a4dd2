package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	blobmemory "github.com/waybillhq/waybill/internal/blob/memory"
	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/hook"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/meter"
	queuememory "github.com/waybillhq/waybill/internal/queue/memory"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Names of the queues, and of the functions behind them.
const (
	orderQueue    = "order-intake"
	shipmentQueue = "shipment-intake"
	resumeQueue   = "document-resume"
)

// Time-outs and redelivery as infra/flows.yaml has them; a test compares.
var timeouts = map[string]time.Duration{
	orderQueue: 60 * time.Second, shipmentQueue: 60 * time.Second, resumeQueue: 30 * time.Second, "document-sweep": 60 * time.Second,
	"order-reconcile": 300 * time.Second, "webhook-receive": 10 * time.Second, "DocumentRest": 30 * time.Second,
}

var visibility = map[string]time.Duration{orderQueue: 360 * time.Second, shipmentQueue: 360 * time.Second, resumeQueue: 180 * time.Second}

const (
	taskTimeout = 90 * time.Second
	maxReceives = 12
	batchSize   = 10
)

// world is one course.
type world struct {
	engine
	s Scenario
	// odds are the dice of each fault.
	odds     map[Fault]*rand.Rand
	store    *memory.Store
	queues   *queuememory.Queues
	bucket   blobmemory.Bucket
	machines map[string]*Machine
	platform *boot.Platform
	life     document.Life
	tasks    map[string]func(context.Context, []byte) error
	batches  map[string]func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)
	receiver *hook.Receiver
	sweep    func(context.Context) error
	recon    order.Reconciler
	desk     exception.Desk
	books    stock.Ledger
	mended   bool // what was wrong at the vendors, and in the decoder, is mended
	drained  map[drainedBy]string
	ids      int
	tenants  []*tenant
	// What the invariants look at, kept as the course goes.
	heads    map[document.Key]document.Head
	order    []document.Key // of heads, by creation
	steps    map[document.Key]int64
	sold     map[document.Key]int // entries about the sales order
	effects  map[string]effect.Record
	sends    map[string]*sent
	events   []*delivery
	polls    map[string]time.Duration // when each queue is looked at next
	sweeping time.Duration            // when the sweeper comes next; 0: not
	lag      time.Duration
	starts   int
	coming   int                            // what the outside world will still do
	canceled map[document.Key]time.Duration // when the platform took a cancellation in
	bodies   map[bodyAt]retail.Order        // decoded
	warm     map[string][]*rate.Governor    // of functions that wait for work
}

// tenant is one retailer with the vendors that it uses.
type tenant struct {
	id        retail.Tenant
	version   int64
	location  string
	changedAt time.Duration
	// configuration is the stored one as it was read last.
	configuration tenancy.Retailer
	shop          *channel
	erp           *erp
	wms           *warehouse
	counts        map[at]counting // of positions, one each
}

// delivery is one event on its way to the platform.
type delivery struct {
	tenant *tenant
	conn   string
	topic  string
	event  string
	body   []byte
	orders *channelOrder
	parcel *parcel
	acked  bool
}

func (d *delivery) String() string {
	return fmt.Sprintf("%s/%s %s %s", d.tenant.id, d.conn, d.topic, d.event)
}

// locations of the warehouse; a changed configuration moves from one to the
// other.
var locations = []string{"MAIN", "SECOND"}

// onHand is what lies at each location at the beginning.
const onHand = 1000

var skus = []string{"MUG", "TEA", "HAT"}

func newWorld(s Scenario, machines map[string]*Machine, trace io.Writer) *world {
	w := &world{s: s, machines: machines, odds: map[Fault]*rand.Rand{}, heads: map[document.Key]document.Head{}, steps: map[document.Key]int64{}, sold: map[document.Key]int{},
		effects: map[string]effect.Record{}, sends: map[string]*sent{}, polls: map[string]time.Duration{}, canceled: map[document.Key]time.Duration{}, bodies: map[bodyAt]retail.Order{}, warm: map[string][]*rate.Governor{}, drained: map[drainedBy]string{}}
	w.live, w.trace, w.dice, w.crashes, w.orders = map[*proc]bool{}, trace, dice(s.Seed, "time", 0), s.Crashes, len(s.Orders)
	if s.Faults[IndexLag] > 0 {
		w.lag = time.Duration(1 + dice(s.Seed, "lag", 0).Int64N(int64(90*time.Second)))
	}
	w.store = memory.New(memory.Options{Now: w.time, Dice: dice(s.Seed, "index", 0), IndexLag: w.lag})
	w.queues = queuememory.New(queuememory.Options{Now: w.time, Dice: dice(s.Seed, "queues", 0)})
	for _, q := range []string{orderQueue, shipmentQueue, resumeQueue} {
		w.queues.Create(q, queuememory.Settings{Hidden: visibility[q], MaxReceives: maxReceives, DeadLetters: q + "-dead"})
		w.queues.Create(q+"-dead", queuememory.Settings{Hidden: time.Hour})
	}
	w.wire()
	for i := range 2 {
		w.addTenant([]string{"acme", "acme2"}[i])
	}
	return w
}

// hit throws the dice of a fault.
func (w *world) hit(f Fault) bool { return w.chance(f, 1) }

func (w *world) chance(f Fault, share float64) bool {
	rate := w.s.Faults[f]
	if rate == 0 || w.quiet {
		return false
	}
	return w.of(f).Float64() < rate*share
}

// of are a fault's dice.
func (w *world) of(f Fault) *rand.Rand {
	d := w.odds[f]
	if d == nil {
		d = dice(w.s.Seed, string(f), 0)
		w.odds[f] = d
	}
	return d
}

func (w *world) shop(t retail.Tenant) *channel {
	for _, x := range w.tenants {
		if x.id == t {
			return x.shop
		}
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) addTenant(name string) {
	t := &tenant{id: must(retail.ParseTenant(name)), location: locations[0], changedAt: -time.Hour, counts: map[at]counting{}}
	base := func(conn string, settle time.Duration) vendor {
		v := vendor{w: w, tenant: t.id, conn: conn, settle: settle}
		d := dice(w.s.Seed, "vendor "+name+conn, 0)
		skew, down, length, locked := d.Int64N(int64(20*time.Minute)), d.Int64N(int64(calm)), d.Int64N(int64(40*time.Minute)), d.Int64N(int64(calm))
		if w.s.Faults[Skew] > 0 {
			v.skew = time.Duration(skew) - 10*time.Minute
		}
		if w.s.Faults[Outages] > 0 {
			v.down = span{time.Duration(down), min(time.Duration(down+length), calm)}
		}
		if w.s.Faults[Rotation] > 0 {
			v.locked = span{time.Duration(locked), min(time.Duration(locked)+10*time.Minute, calm)}
		}
		return v
	}
	t.shop = &channel{vendor: base("shop", channelSettle)}
	t.erp = &erp{vendor: base("erp", erpSettle)}
	t.wms = &warehouse{vendor: base("wms", warehouseSettle)}
	if w.s.Down > 0 && len(w.tenants) == 0 {
		of := map[string]*vendor{"": &t.erp.vendor, "shop": &t.shop.vendor, "erp": &t.erp.vendor, "wms": &t.wms.vendor}
		of[w.s.DownOf].down = span{downFrom, downFrom + w.s.Down}
	}
	w.tenants = append(w.tenants, t)
	w.apply(t)
	ctx := context.Background()
	for _, l := range locations {
		for _, sku := range skus {
			if err := w.store.Apply(ctx, t.id, []stock.Move{{SKU: sku, Location: l, Type: "opening", Document: l, OnHand: onHand}}); err != nil {
				panic(err)
			}
		}
	}
}

// apply writes the next version of a tenant's configuration.
func (w *world) apply(t *tenant) {
	t.version++
	r := tenancy.Retailer{Schema: 1, Tenant: t.id, Name: t.id.String(), Version: t.version, AppliedAt: w.time(),
		Connections: []tenancy.Connection{{ID: "shop", Connector: "shop"}, {ID: "erp", Connector: "erp"}, {ID: "wms", Connector: "wms"}},
		Routes:      []tenancy.Route{{Channel: "shop", ERP: "erp", Warehouse: "wms", Location: t.location}}}
	var with tenancy.Secrets
	if t.version == 1 {
		for _, conn := range []string{"shop", "wms"} {
			with.Hooks = append(with.Hooks, tenancy.Hook{Tenant: t.id, Token: "token-" + conn, Connection: conn, Connector: conn, Sealed: []byte("secret-" + t.id.String())})
		}
	}
	if err := w.store.PutRetailer(context.Background(), r, with); err != nil {
		panic(err)
	}
}

// connections implements flow.Connections as internal/boot does: from the
// stored configuration, which may be seen for a minute as it was.
type connections struct{ w *world }

func (c connections) tenant(t retail.Tenant) *tenant {
	for _, x := range c.w.tenants {
		if x.id == t {
			return x
		}
	}
	return nil
}

func (c connections) Open(_ context.Context, t retail.Tenant, connection string) (any, error) {
	x := c.tenant(t)
	switch {
	case x == nil:
	case connection == "shop":
		return x.shop, nil
	case connection == "erp":
		return x.erp, nil
	case connection == "wms":
		return x.wms, nil
	}
	return nil, fault.New(fault.Permanent, fault.Configuration, "there is no such connection").At("connection", connection)
}

// Ready implements what flow.Ready asks.
func (c connections) Ready(ctx context.Context, t retail.Tenant, connection string) (proven bool, err error) {
	return c.w.gate(&vendor{tenant: t, conn: connection}).Ready(ctx)
}

func (c connections) Route(ctx context.Context, t retail.Tenant, channel string) (flow.Route, error) {
	x := c.tenant(t)
	if x == nil {
		return flow.Route{}, fault.New(fault.Permanent, fault.Configuration, "there is no such retailer").At("tenant", t.String())
	}
	r := x.configuration
	if r.Version != x.version {
		var err error
		if r, err = c.w.store.Retailer(ctx, t); err != nil {
			return flow.Route{}, err
		}
		x.configuration = r
	}
	way, ok := r.Route(channel)
	if !ok {
		return flow.Route{}, fault.New(fault.Permanent, fault.Configuration, "there is no route for this channel").At("routes.channel", channel)
	}
	out := flow.Route{Channel: way.Channel, ERP: way.ERP, Warehouse: way.Warehouse, Location: way.Location, ConfigVersion: r.Version}
	if c.w.now < x.changedAt+time.Minute && c.w.of(Configuration).IntN(2) == 0 {
		out.Location, out.ConfigVersion = locations[0], r.Version-1
	}
	return out, nil
}

// sandbox is the clock of the invocation that asks.
func (w *world) sandbox() time.Time {
	if w.cur != nil && w.cur.inv != nil {
		return w.time().Add(w.cur.inv.skew)
	}
	return w.time()
}

func (w *world) newID() string {
	w.ids++
	return "i" + strconv.Itoa(w.ids)
}

func (w *world) send(queue, group string, v any, delay time.Duration) error {
	return w.call("send "+queue, true, func() error {
		if err := w.queues.Send(context.Background(), queue, group, v, delay); err != nil {
			return err
		}
		w.poll(queue)
		return nil
	})
}

// wire puts the platform together as internal/boot does.
func (w *world) wire() {
	w.platform = &boot.Platform{Log: slog.New(logs{w: w}), Env: func(string) string { return "" }, Meter: &meter.Meter{}}
	db := ports{w.store, w}
	jitter := dice(w.s.Seed, "jitter", 0)
	w.life = document.Life{Store: db, Now: w.sandbox, NewID: w.newID, Jitter: func(d time.Duration) time.Duration {
		if d <= 0 {
			return 0
		}
		return time.Duration(jitter.Int64N(int64(d)))
	}}
	open := connections{w}
	w.tasks, w.batches = w.wireFlows(db, open)
	w.batches[resumeQueue] = boot.Batch(w.platform, resumeQueue, w.hide(resumeQueue), w.resumes())
	w.sweep = boot.Sweep(w.life, func(_ context.Context, tasks []document.Task) error {
		for _, t := range tasks {
			if w.hit(PartialSends) {
				return errRefused // a batch of which some were taken
			}
			if err := w.send(resumeQueue, "", t, 0); err != nil {
				return err
			}
		}
		return nil
	}, func(int, time.Duration) {})
	w.recon = order.Reconciler{Store: db, Connections: open, Watermarks: db, Enqueue: w.hand(orderQueue), Now: w.sandbox}
	w.receiver = &hook.Receiver{
		Hook:    db.Hook,
		Secrets: func(_ context.Context, h tenancy.Hook) ([]string, error) { return []string{string(h.Sealed)}, nil },
		Open:    func(tenancy.Hook) (any, error) { return signed{}, nil },
		Put:     db.Put,
		Enqueue: func(_ context.Context, flow string, m inbox.Message) (bool, error) {
			q := map[string]string{"order": orderQueue, "shipment": shipmentQueue}[flow]
			if q == "" {
				return false, nil
			}
			return true, w.send(q, m.Tenant.String(), m, 0)
		},
		Now: w.sandbox,
	}
}

// hand passes what a poller found to an intake.
func (w *world) hand(queue string) func(context.Context, inbox.Message) error {
	return func(_ context.Context, m inbox.Message) error {
		if m.Connector == "" {
			m.Connector = m.Connection
		}
		return w.send(queue, m.Tenant.String(), m, 0)
	}
}

func (w *world) hide(queue string) boot.Hide {
	return func(ctx context.Context, receipt string, d time.Duration) error {
		return w.call("hide", false, func() error {
			if err := w.queues.Hide(ctx, queue, receipt, d); err != nil {
				return err
			}
			w.poll(queue)
			return nil
		})
	}
}

func (w *world) resumes() func(context.Context, document.Task) (string, error) {
	resume := boot.Resume(w.life, w.start)
	return func(ctx context.Context, t document.Task) (string, error) {
		w.cur.inv.task = t
		return resume(ctx, t)
	}
}

// start is stepfn.Machines.Start: at least once, if at all.
func (w *world) start(_ context.Context, t document.Task) error {
	return w.call("start "+t.Type, true, func() error {
		name, ok := map[string]string{document.Order: "fulfillment", document.Shipment: "shipment"}[t.Type]
		if !ok {
			return fault.New(fault.Permanent, fault.Configuration, "no state machine is set for documents of type %s", t.Type)
		}
		if w.hit(LostStarts) {
			w.tell("the start of %s %s is lost", t.Type, t.ID)
			return nil
		}
		w.execute(name, t)
		if w.hit(DoubleStarts) {
			w.execute(name, t)
		}
		return nil
	})
}

func (w *world) execute(name string, t document.Task) {
	w.starts++
	w.spawn(name, w.short(), func() {
		var input map[string]any
		raw := must(json.Marshal(t))
		if err := json.Unmarshal(raw, &input); err != nil {
			panic(err)
		}
		c := &execution{w: w, t: t, until: w.now + time.Duration(w.machines[name].TimeoutSeconds)*time.Second}
		_, failed, err := w.machines[name].carryOut(c, input)
		if err != nil {
			w.fail("machinesAreCarriedOut", "%s: %v", name, err)
		}
		if failed != nil {
			w.tell("%s ends with %s", name, failed.Error)
		}
	})
}

// execution carries out one execution's tasks.
type execution struct {
	w     *world
	t     document.Task
	until time.Duration
}

func (x *execution) over() bool            { return x.w.now >= x.until }
func (x *execution) sleep(d time.Duration) { x.w.engine.sleep(d) }

func (x *execution) branches(each []func()) {
	w, parent, open := x.w, x.w.cur, len(each)
	for i, branch := range each {
		w.spawn("branch"+strconv.Itoa(i), 0, func() {
			branch()
			if open--; open == 0 {
				w.after(0, func() { w.resume(parent) })
			}
		})
	}
	w.suspend(parent)
}

func (x *execution) once(name string, timeout time.Duration, input []byte) *taskError {
	w := x.w
	f := w.tasks[name]
	if f == nil {
		w.fail("machinesAreCarriedOut", "there is no function %s", name)
		return &taskError{"States.Runtime", ""}
	}
	died, err := w.invoke(name, timeout, x.t, w.skewed(), func(ctx context.Context) error {
		err := f(ctx, input)
		w.done(ctx)
		return err
	})
	if died != "" {
		return &taskError{died, ""}
	}
	if err == nil {
		return nil
	}
	var typed messages.InvokeResponse_Error
	if !errors.As(err, &typed) {
		w.fail("machinesAreCarriedOut", "%s fails without a type: %v", name, err)
	}
	return &taskError{typed.Type, string(must(json.Marshal(map[string]string{"errorMessage": typed.Message, "errorType": typed.Type})))}
}

func (x *execution) task(resource string, timeout time.Duration, input []byte) *taskError {
	w, name := x.w, resource[2:len(resource)-1] // ${Name}
	own, ok := timeouts[name]
	if !ok {
		own = taskTimeout
	}
	timeout = min(timeout, own)
	w.engine.sleep(w.short())
	if !w.hit(LambdaErrors) {
		return x.once(name, timeout, input)
	}
	switch w.of(LambdaErrors).IntN(3) {
	case 0:
		return &taskError{"Lambda.TooManyRequestsException", ""}
	case 1: // it ran, and nobody heard
		x.once(name, timeout, input)
		return &taskError{"Lambda.ServiceException", ""}
	default: // it runs on
		w.spawn(name, 0, func() { x.once(name, timeout, input) })
		w.engine.sleep(time.Duration(w.of(LambdaErrors).Int64N(int64(5 * time.Second))))
		return &taskError{"Lambda.SdkClientException", ""}
	}
}

// skewed is a sandbox's clock.
func (w *world) skewed() time.Duration {
	if w.s.Faults[Skew] == 0 {
		return 0
	}
	return time.Duration(w.of(Skew).Int64N(int64(time.Second))) - 500*time.Millisecond
}

// short is the time between a cause and what it starts.
func (w *world) short() time.Duration {
	return time.Millisecond + time.Duration(w.dice.Int64N(int64(40*time.Millisecond)))
}

// poll makes the queue's event source look when its next message can be had.
func (w *world) poll(queue string) {
	next, ok := w.queues.Next(queue)
	if !ok {
		return
	}
	at := max(next.Sub(epoch), w.now)
	if due, waits := w.polls[queue]; waits && due <= at && due >= w.now {
		return
	}
	w.polls[queue] = at
	w.engine.at(at+w.short(), func() {
		if w.polls[queue] == at {
			delete(w.polls, queue)
		}
		w.receive(queue)
	})
}

// receive invokes a queue's function with what can be had.
func (w *world) receive(queue string) {
	got, err := w.queues.Receive(context.Background(), queue, 1+w.dice.IntN(batchSize))
	if err != nil {
		panic(err)
	}
	w.poll(queue)
	if len(got) == 0 {
		return
	}
	var batch events.SQSEvent
	for _, m := range got {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: m.ID, ReceiptHandle: m.Receipt, Body: m.Body,
			Attributes: map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.Count)}})
	}
	w.spawn(queue, 0, func() {
		var res events.SQSEventResponse
		died, err := w.invoke(queue, timeouts[queue], document.Task{}, w.skewed(), func(ctx context.Context) (err error) {
			res, err = w.batches[queue](ctx, batch)
			return err
		})
		if err != nil || died != "" || res.BatchItemFailures == nil {
			w.tell("the batch is not dealt with: %v %s", err, died)
			w.poll(queue)
			return
		}
		for _, m := range got {
			failed := slices.ContainsFunc(res.BatchItemFailures, func(f events.SQSBatchItemFailure) bool { return f.ItemIdentifier == m.ID })
			if failed || w.hit(Redeliveries) {
				continue
			}
			if err := w.queues.Delete(context.Background(), queue, m.Receipt); err != nil {
				panic(err)
			}
		}
		w.poll(queue)
	})
}

// deliver brings an event to the platform, as often as its vendor thinks.
func (w *world) deliver(d *delivery, attempt int) {
	w.spawn("vendor", 0, func() {
		h := http.Header{}
		h.Set("X-Signature", "secret-"+d.tenant.id.String())
		h.Set("X-Topic", d.topic)
		h.Set("X-Event", d.event)
		status := 0
		died, _ := w.invoke("webhook-receive", timeouts["webhook-receive"], document.Task{}, w.skewed(), func(ctx context.Context) error {
			out := w.receiver.Receive(ctx, d.tenant.id.String()+".token-"+d.conn, h, d.body)
			status = out.Status
			if status == http.StatusOK && out.Reason != "" {
				w.fail("everyAcknowledgedEventEnds", "%s is acknowledged and dropped: %s", d, out.Reason)
			}
			return nil
		})
		w.tell("%s: %d %s", d, status, died)
		if status == http.StatusOK && died == "" {
			d.acked = true
			if d.parcel != nil {
				d.parcel.acked = true
			}
			return
		}
		if attempt < 6 {
			w.soon(time.Minute<<attempt, func() { w.deliver(d, attempt+1) })
		}
	})
}

// soon is after, for what the course waits for before it ends.
func (w *world) soon(d time.Duration, do func()) {
	w.coming++
	w.after(d, func() {
		w.coming--
		do()
	})
}

// announce sends an event on its way.
func (w *world) announce(d *delivery) {
	w.events = append(w.events, d)
	if w.hit(LostWebhooks) {
		w.tell("%s: lost", d)
		return
	}
	copies := 1
	if w.hit(Duplicates) {
		copies = 1 + w.of(Duplicates).IntN(5)
	}
	for range copies {
		in := time.Duration(w.dice.Int64N(int64(2 * time.Second)))
		if w.hit(Reordering) {
			in = time.Duration(w.of(Reordering).Int64N(int64(5 * time.Minute)))
		}
		if w.hit(LongDelays) {
			in = time.Duration(w.of(LongDelays).Int64N(int64(latest - calm)))
		}
		w.soon(in, func() { w.deliver(d, 0) })
	}
}

// logs is where functions log; nothing personal may arrive.
type logs struct{ w *world }

func (l logs) Enabled(context.Context, slog.Level) bool { return true }
func (l logs) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindString && personal(a.Value.String()) {
			l.w.fail("nothingPersonalLeaks", "the log of %s has %s=%s", r.Message, a.Key, a.Value)
		}
		if l.w.trace != nil && a.Key == "error" {
			l.w.tell("fails: %v", a.Value)
		}
		return true
	})
	return nil
}
func (l logs) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l logs) WithGroup(string) slog.Handler      { return l }
