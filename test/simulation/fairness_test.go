package simulation

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

// queued is one message of a tenant, 0 quiet and 1 loud.
type queued struct {
	tenant  int
	arrived time.Duration
	visible time.Duration
	seq     int
	tries   int
}

// hidden are messages by the time when they are shown.
type hidden []queued

func (h hidden) Len() int { return len(h) }
func (h hidden) Less(i, j int) bool {
	return h[i].visible < h[j].visible || h[i].visible == h[j].visible && h[i].seq < h[j].seq
}
func (h hidden) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *hidden) Push(x any)   { *h = append(*h, x.(queued)) }
func (h *hidden) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// inboxModel is an inbox queue with its function's instances. Where it is fair
// it follows the documented rule of SQS for message groups: a tenant that has 30
// messages and more than a tenth of those in flight comes after the others.
// Where it has a cap, each instance is the platform's own handler.
type inboxModel struct {
	fair      bool
	cap       int
	instances int
	loud      float64 // messages a second
}

// outcome of a model's run.
type outcome struct {
	p99        time.Duration // the quiet tenant's
	writes     int64         // of the tenants' rows
	taken      int
	lastTries  int // the most that a message was received
	refusedOwn int // of the quiet tenant
}

// counted counts what is written.
type counted struct {
	rate.Store
	writes *int64
}

func (c counted) PutRate(ctx context.Context, s rate.State) error {
	*c.writes++
	return c.Store.PutRate(ctx, s)
}

const (
	fairBacklog = 30
	fairShare   = 0.1
	quietRate   = 0.5
	fairTime    = 20 * time.Minute
	// refusal is what the platform takes to put a message off: it changes the
	// message's visibility.
	refusal = 20 * time.Millisecond
)

// run lets the two tenants' messages arrive for fairTime, and works them off.
func (m inboxModel) run(t *testing.T, seed uint64) (out outcome) {
	t.Helper()
	d := dice(seed, "fairness", 0)
	var later hidden
	for tenant, rate := range []float64{quietRate, m.loud} {
		if rate == 0 {
			continue
		}
		own := dice(seed, "arrivals", tenant)
		for at := time.Duration(0); at < fairTime; {
			at += time.Duration(own.ExpFloat64() / rate * float64(time.Second))
			later = append(later, queued{tenant: tenant, arrived: at, visible: at, seq: len(later)})
		}
	}
	heap.Init(&later)
	var clock, hide time.Duration
	handle := m.handlers(t, &clock, &hide, &out.writes, func() time.Duration {
		return 150*time.Millisecond + time.Duration(d.Int64N(int64(200*time.Millisecond)))
	})
	free := make([]time.Duration, m.instances) // when each is done
	works := make([]int, m.instances)          // for whom
	var waiting [2][]queued
	var took []time.Duration
	for len(later)+len(waiting[0])+len(waiting[1]) > 0 {
		i := 0 // the instance that is free first
		for j := range free {
			if free[j] < free[i] {
				i = j
			}
		}
		now := free[i]
		if len(waiting[0])+len(waiting[1]) == 0 {
			now = max(now, later[0].visible)
		}
		for len(later) > 0 && later[0].visible <= now {
			a := heap.Pop(&later).(queued)
			waiting[a.tenant] = append(waiting[a.tenant], a)
		}
		x := m.pick(d, waiting, free, works, now)
		msg := waiting[x][0]
		waiting[x] = waiting[x][1:]
		msg.tries++
		clock = now
		if !handle(i, msg) {
			free[i] = clock + refusal
			msg.visible = clock + hide
			heap.Push(&later, msg)
			if x == 0 {
				out.refusedOwn++
			}
			continue
		}
		free[i], works[i] = clock, x
		out.taken++
		out.lastTries = max(out.lastTries, msg.tries)
		if x == 0 {
			took = append(took, free[i]-msg.arrived)
		}
	}
	slices.Sort(took)
	out.p99 = took[len(took)*99/100]
	return out
}

// handlers make what instance i does with a message: whether it took it in. The
// clock moves meanwhile; hide is after how long it wants to see the message again.
func (m inboxModel) handlers(t *testing.T, clock, hide *time.Duration, writes *int64, work func() time.Duration) func(i int, msg queued) bool {
	t.Helper()
	if m.cap == 0 {
		return func(int, queued) bool { *clock += work(); return true }
	}
	now := func() time.Time { return time.Unix(1_800_000_000, 0).Add(*clock) }
	store := counted{memory.New(memory.Options{Now: now, Dice: dice(0, "store", 0)}), writes}
	p := &boot.Platform{Log: slog.New(slog.DiscardHandler), Meter: &meter.Meter{}}
	var bodies [2]string
	for i, name := range []string{"quiet", "loud"} {
		tn, err := retail.ParseTenant(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(inbox.Message{Tenant: tn})
		if err != nil {
			t.Fatal(err)
		}
		bodies[i] = string(raw)
	}
	var instances []func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)
	for i := range m.instances {
		share := &rate.Share{Store: store, Now: now, NewID: func() string { return fmt.Sprint("i", i) }, Function: "order-intake", Cap: m.cap}
		instances = append(instances, boot.Inbox(p, "order-intake", func(_ context.Context, _ string, d time.Duration) error { *hide = d; return nil }, share,
			func(context.Context, inbox.Message) (string, error) { *clock += work(); return inbox.Accepted, nil }))
	}
	return func(i int, msg queued) bool {
		res, err := instances[i](t.Context(), events.SQSEvent{Records: []events.SQSMessage{{Body: bodies[msg.tenant],
			Attributes: map[string]string{"ApproximateReceiveCount": strconv.Itoa(msg.tries)}}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.BatchItemFailures) == 0
	}
}

// pick chooses whose message is delivered next.
func (m inboxModel) pick(d *rand.Rand, waiting [2][]queued, free []time.Duration, works []int, now time.Duration) int {
	switch {
	case len(waiting[0]) == 0:
		return 1
	case len(waiting[1]) == 0:
		return 0
	}
	flying, loud := 0, 0
	for j := range free {
		if free[j] > now {
			flying++
			loud += works[j]
		}
	}
	if m.fair && len(waiting[1])+loud >= fairBacklog && float64(loud) > fairShare*float64(flying) {
		return 0
	}
	// Otherwise the older comes first, more or less.
	if waiting[0][0].arrived-waiting[1][0].arrived > time.Duration(d.Int64N(int64(100*time.Millisecond))) {
		return 1
	}
	return 0
}

// Beside a neighbor with 100 times its traffic, and more than the function can
// take, a tenant's p99 stays within twice its own: by the rule of the queue, and
// by the cap alone.
func TestAQuietTenantHardlyFeelsALoudNeighbor(t *testing.T) {
	const instances, most = 10, 5 // as the template has it
	for seed := range uint64(2) {
		alone := inboxModel{instances: instances}.run(t, seed)
		unfair := inboxModel{instances: instances, loud: 100 * quietRate}.run(t, seed)
		fair := inboxModel{fair: true, instances: instances, loud: 100 * quietRate}.run(t, seed)
		capped := inboxModel{cap: most, instances: instances, loud: 100 * quietRate}.run(t, seed)
		own := inboxModel{cap: most, instances: instances}.run(t, seed)
		t.Logf("p99 alone %s; beside 100 times the traffic %s by the queue's rule, %s by the cap, and %s without either", alone.p99, fair.p99, capped.p99, unfair.p99)
		t.Logf("%d deliveries took %d writes of the cap's rows; the quiet tenant's own took %d; a message came up to %d times", capped.taken, capped.writes, own.writes, capped.lastTries)
		for by, beside := range map[string]outcome{"the queue's rule": fair, "the cap": capped} {
			if beside.p99 > 2*alone.p99 {
				t.Errorf("by %s p99 is %s beside a loud neighbor, %s alone", by, beside.p99, alone.p99)
			}
		}
		if unfair.p99 <= 2*alone.p99 {
			t.Error("the neighbor is not loud: the test shows nothing")
		}
		if capped.refusedOwn > 0 || own.writes > 0 {
			t.Errorf("the quiet tenant met the cap: %d refusals, %d writes", capped.refusedOwn, own.writes)
		}
		if capped.taken != unfair.taken || capped.writes*50 > int64(capped.taken) {
			t.Errorf("%d of %d deliveries were taken in, with %d writes", capped.taken, unfair.taken, capped.writes)
		}
	}
}
