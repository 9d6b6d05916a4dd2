package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Failures of AWS, as an adapter hands them on: unmarked.
var (
	errRefused = errors.New("the service refuses the call")
	errLost    = errors.New("the service did not answer")
)

// call is one call of AWS: it takes its time, and may fail before or after it
// was carried out.
func (w *world) call(name string, write bool, do func() error) error {
	w.budget()
	took := time.Millisecond + time.Duration(w.dice.Int64N(int64(8*time.Millisecond)))
	switch w.dice.IntN(40) {
	case 0:
		took += time.Duration(w.dice.Int64N(int64(2 * time.Second)))
	case 1, 2:
		took += time.Duration(w.dice.Int64N(int64(200 * time.Millisecond)))
	}
	if w.hit(Freezes) {
		took += time.Duration(w.of(Freezes).Int64N(int64(100 * time.Second)))
	}
	w.sleep(took)
	crash := false
	if write {
		crash = w.writing()
		if w.hit(Crashes) {
			w.die("before " + name)
		}
	}
	if w.hit(Throttles) {
		w.tell("%s: refused", name)
		return errRefused
	}
	err := do()
	if w.trace != nil {
		w.tell("%s: %v", name, err)
	}
	if !write {
		return err
	}
	if crash || w.hit(Crashes) {
		w.die("after " + name)
	}
	if w.hit(LostAnswers) {
		w.tell("%s: no answer", name)
		return errLost
	}
	return err
}

func (w *world) reads(name string, do func() error) error { return w.call(name, false, do) }

// ports are the store's, each a call that may fail. What is not spelled out
// here goes straight to the twin.
type ports struct {
	*memory.Store
	w *world
}

func (p ports) Head(ctx context.Context, k document.Key) (h document.Head, err error) {
	err = p.w.reads("read head", func() error { h, err = p.Store.Head(ctx, k); return err })
	return h, err
}

func (p ports) Body(ctx context.Context, k document.Key, v int64, out any) error {
	return p.w.reads("read body", func() error { return p.body(ctx, k, v, out) })
}

// body is Store.Body, which decodes an order once: most of a course's reads are
// of one that was read before. Flows change lines only.
func (p ports) body(ctx context.Context, k document.Key, v int64, out any) error {
	o, ok := out.(*retail.Order)
	if !ok {
		return p.Store.Body(ctx, k, v, out)
	}
	at := bodyAt{k, v}
	known, ok := p.w.bodies[at]
	if !ok {
		if err := p.Store.Body(ctx, k, v, &known); err != nil {
			return err
		}
		p.w.bodies[at] = known
	}
	*o = known
	o.Lines = slices.Clone(known.Lines)
	return nil
}

type bodyAt struct {
	key     document.Key
	version int64
}

func (p ports) Steps(ctx context.Context, h document.Head) (s []document.Step, err error) {
	err = p.w.reads("read steps", func() error { s, err = p.Store.Steps(ctx, h); return err })
	return s, err
}

func (p ports) Person(ctx context.Context, k document.Key) (x retail.Person, err error) {
	err = p.w.reads("read person", func() error { x, err = p.Store.Person(ctx, k); return err })
	return x, err
}

func (p ports) Resolve(ctx context.Context, refs ...document.Ref) (m map[document.Ref]document.Key, err error) {
	err = p.w.reads("resolve", func() error { m, err = p.Store.Resolve(ctx, refs...); return err })
	return m, err
}

func (p ports) Due(ctx context.Context, shard int, before time.Time, limit int) (d []document.DueItem, err error) {
	// A shard with nothing in it is not worth a turn.
	if d, err = p.Store.Due(ctx, shard, before, limit); err != nil || len(d) == 0 {
		return nil, err
	}
	err = p.w.reads("read due", func() error { d, err = p.Store.Due(ctx, shard, before, limit); return err })
	return d, err
}

// Commit is two calls where refs are claimed before what refers to them.
func (p ports) Commit(ctx context.Context, t document.Transaction) error {
	if memory.Claims(t) {
		if err := p.w.call("claim", true, func() error { return p.Store.Claim(ctx, t) }); err != nil {
			return err
		}
	}
	err := p.w.call("commit", true, func() error {
		p.w.beforeCommit(t)
		err := p.Store.Commit(ctx, t)
		if err == nil {
			p.w.afterCommit(t)
		}
		return err
	})
	// A put that is sent again after others have committed finds neither what it
	// wrote nor what it was to replace.
	if errors.Is(err, errLost) && memory.Plain(t) && len(t.Changes) == 1 && p.w.dice.IntN(2) == 0 {
		return document.ErrConflict
	}
	return err
}

func (p ports) Create(ctx context.Context, r effect.Record) (existing *effect.Record, err error) {
	key := effectKey(r)
	p.w.cur.inv.effect = key
	err = p.w.call("intend "+r.Key, true, func() error {
		if existing, err = p.Store.Create(ctx, r); err == nil && existing == nil {
			p.w.effects[key] = r
		}
		return err
	})
	return existing, err
}

func (p ports) Update(ctx context.Context, r effect.Record) error {
	p.w.cur.inv.effect = effectKey(r)
	return p.w.call("effect "+r.Key+" "+string(r.Status), true, func() error {
		err := p.Store.Update(ctx, r)
		if err == nil {
			p.w.effects[effectKey(r)] = r
		}
		return err
	})
}

func (p ports) Effect(ctx context.Context, s effect.Subject, key string) (r *effect.Record, err error) {
	err = p.w.reads("read effect", func() error { r, err = p.Store.Effect(ctx, s, key); return err })
	return r, err
}

func effectKey(r effect.Record) string {
	return r.Subject.Tenant.Key(r.Subject.Type, r.Subject.ID, r.Key)
}

func eventKey(t retail.Tenant, connection, event string) string {
	return t.String() + "\x00" + connection + "\x00" + event
}

func (p ports) Begin(ctx context.Context, t retail.Tenant, connection, event, holder string, now, until time.Time) (l inbox.Lease, err error) {
	err = p.w.call("begin "+event, true, func() error {
		l, err = p.Store.Begin(ctx, t, connection, event, holder, now, until)
		return err
	})
	if err == nil {
		inv := p.w.cur.inv
		if inv.busy == nil {
			inv.busy = map[string]bool{}
		}
		inv.busy[eventKey(t, connection, event)] = l != inbox.Mine
	}
	return l, err
}

func (p ports) Abandon(ctx context.Context, t retail.Tenant, connection, event, holder string) error {
	return p.w.call("abandon "+event, true, func() error { return p.Store.Abandon(ctx, t, connection, event, holder) })
}

func (p ports) Finish(ctx context.Context, t retail.Tenant, connection, event, holder, outcome string, now time.Time) error {
	return p.w.call("finish "+event, true, func() error {
		return p.Store.Finish(ctx, t, connection, event, holder, outcome, now)
	})
}

func (p ports) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	return p.w.call("reserve", true, func() error { return p.Store.Reserve(ctx, t, order, items, now) })
}

func (p ports) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	return p.w.call("give back", true, func() error { return p.Store.Release(ctx, t, order, items, now) })
}

func (p ports) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for i := range moves { // each is a transaction of its own
		if err := p.w.call("move stock", true, func() error { return p.Store.Apply(ctx, t, moves[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

func (p ports) Settle(ctx context.Context, t retail.Tenant, version int64, m stock.Move, f stock.Fence, audit ...document.Audit) (fresh bool, err error) {
	err = p.w.call("settle a count", true, func() error {
		if fresh, err = p.Store.Settle(ctx, t, version, m, f, audit...); err == nil {
			p.w.settledCount(t, at{m.SKU, m.Location})
		}
		return err
	})
	return fresh, err
}

func (p ports) Hook(ctx context.Context, t retail.Tenant, token string) (h tenancy.Hook, err error) {
	err = p.w.reads("read hook", func() error { h, err = p.Store.Hook(ctx, t, token); return err })
	return h, err
}

func (p ports) Watermark(ctx context.Context, t retail.Tenant, connection string) (at time.Time, err error) {
	err = p.w.reads("read watermark", func() error { at, err = p.Store.Watermark(ctx, t, connection); return err })
	return at, err
}

func (p ports) SetWatermark(ctx context.Context, t retail.Tenant, connection string, at time.Time) error {
	return p.w.call("set watermark", true, func() error { return p.Store.SetWatermark(ctx, t, connection, at) })
}

func (p ports) Rate(ctx context.Context, k rate.Key) (s rate.State, err error) {
	p.w.checkOwner(k.Tenant, "the state of connection "+k.Connection)
	err = p.w.reads("read rate", func() error { s, err = p.Store.Rate(ctx, k); return err })
	return s, err
}

func (p ports) PutRate(ctx context.Context, s rate.State) error {
	return p.w.call("put rate", true, func() error { return p.Store.PutRate(ctx, s) })
}

// The raw bucket.

func (p ports) Put(ctx context.Context, key string, body []byte) error {
	return p.w.call("put payload", true, func() error {
		p.w.checkPayload(key, body)
		return p.w.bucket.Put(ctx, key, body)
	})
}

func (p ports) Get(ctx context.Context, key string) (b []byte, err error) {
	err = p.w.reads("get payload", func() error { b, err = p.w.bucket.Get(ctx, key); return err })
	return b, err
}
