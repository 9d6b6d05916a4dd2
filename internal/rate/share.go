package rate

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Share caps how many instances of one function work for one retailer at a time,
// so that a loud one leaves room for the others. An instance sees by itself how
// busy a retailer keeps it, and asks nobody while that is little: only one that
// is busy with a retailer takes a place in the retailer's row, for as long as
// any work may last, and without a place it takes none of that work up.
type Share struct {
	Store    Store
	Now      func() time.Time
	NewID    func() string
	Function string
	Cap      int // places a retailer; 0 is no cap

	mu      sync.Mutex
	holder  string
	tenants map[retail.Tenant]*presence
}

// presence is one retailer's work at this instance.
type presence struct {
	busy  float64 // seconds of work, fading
	at    time.Time
	until time.Time // the place's end
	full  time.Time // until then no place is looked for
}

const (
	// busyOver is the time over which an instance looks back, and busyShare how
	// much of it a retailer may take before it counts.
	busyOver  = 20 * time.Second
	busyShare = 0.15
	// shareWait is how soon whoever found no place looks again.
	shareWait = 2 * time.Second
)

// Enter takes work up for a retailer, or says when to come again. leave ends it.
func (s *Share) Enter(ctx context.Context, t retail.Tenant) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := s.Now()
	p := s.tenants[t]
	if p == nil {
		if s.tenants == nil {
			s.tenants, s.holder = map[retail.Tenant]*presence{}, s.NewID()
		}
		p = &presence{at: began}
		s.tenants[t] = p
	}
	p.fade(began)
	if s.Cap > 0 && p.busy > busyShare*busyOver.Seconds() && p.until.Sub(began) < slotTime/2 {
		if wait := s.place(ctx, t, p, began); wait > 0 {
			return nil, fault.New(fault.Retryable, fault.RateLimited, "%d instances of %s work for the retailer already", s.Cap, s.Function).At("tenant", t.String()).After(wait)
		}
	}
	return func() { s.leave(t, began) }, nil
}

func (s *Share) leave(t retail.Tenant, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, p := s.Now(), s.tenants[t]
	p.fade(now)
	p.busy += max(now.Sub(began), 0).Seconds()
}

func (p *presence) fade(now time.Time) {
	p.busy *= math.Exp(-max(now.Sub(p.at), 0).Seconds() / busyOver.Seconds())
	p.at = now
}

// place takes or keeps a place in the retailer's row, or says when to look again.
func (s *Share) place(ctx context.Context, t retail.Tenant, p *presence, now time.Time) (wait time.Duration) {
	if now.Before(p.full) {
		return p.full.Sub(now)
	}
	k := Key{Tenant: t, Connection: "function/" + s.Function} // no connection is called so
	for range attempts {
		row, err := s.Store.Rate(ctx, k)
		if err != nil {
			// Nothing is wrong if a cap is passed: the work itself says what is.
			return 0
		}
		if !row.join(now, s.Cap, s.holder) {
			p.full = now.Add(shareWait)
			return shareWait
		}
		switch err := s.Store.PutRate(ctx, row); {
		case err == nil:
			p.until = row.Slots[s.holder]
			return 0
		case !errors.Is(err, ErrConflict):
			return 0
		}
	}
	p.full = now.Add(shareWait / 2) // so many look for a place that there is none
	return shareWait / 2
}
