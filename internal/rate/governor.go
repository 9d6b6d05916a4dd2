package rate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
)

// ErrConflict is returned by Put when somebody else changed the row.
var ErrConflict = errors.New("the connection's state was changed by somebody else")

// Store keeps the rows.
type Store interface {
	// Rate reads a row consistently; an unknown one is zero but for its key.
	Rate(ctx context.Context, k Key) (State, error)
	// PutRate replaces the row that has s.Version, 0 for none, or fails with
	// ErrConflict; the stored version is one more.
	PutRate(ctx context.Context, s State) error
}

// Governor is one function instance's share in the connections' rows.
type Governor struct {
	Store Store
	Now   func() time.Time
	NewID func() string
	// Sleep waits for what is worth waiting for; it ends with the context.
	Sleep func(ctx context.Context, d time.Duration) error

	mu    sync.Mutex
	gates map[Key]*Gate
}

// Gate is passed by every request to one connection.
type Gate struct {
	g      *Governor
	key    Key
	limits Limits
	holder string

	mu    sync.Mutex
	seen  State
	known bool
	lease Lease
	used  bool // since the last Done
}

// block is how many tokens are leased at once: what a task needs.
const block = 4

// longestWait is what is worth waiting for inside an invocation; whatever
// takes longer rests with a due time.
const longestWait = time.Second

// Gate returns the connection's gate, the same for the instance's life. The
// limits are those of the latest call.
func (g *Governor) Gate(k Key, l Limits) *Gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gates == nil {
		g.gates = map[Key]*Gate{}
	}
	gate := g.gates[k]
	if gate == nil {
		gate = &Gate{g: g, key: k, holder: g.NewID()}
		g.gates[k] = gate
	}
	gate.mu.Lock()
	gate.limits = l
	gate.mu.Unlock()
	return gate
}

// Enter lets one request pass, or says when to come again.
func (gate *Gate) Enter(ctx context.Context) error {
	for spent := time.Duration(0); ; {
		err := gate.enter(ctx)
		wait := fault.RetryAfterOf(err)
		if err == nil || wait <= 0 || spent+wait > longestWait {
			return err
		}
		spent += wait
		if serr := gate.g.Sleep(ctx, wait); serr != nil {
			return err
		}
	}
}

// Ready says why no request would pass now or soon, and takes nothing. The vendor is
// proven unless the next request is the one that decides whether its circuit
// closes.
func (gate *Gate) Ready(ctx context.Context) (proven bool, err error) {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	now := gate.g.Now()
	if now.Before(gate.lease.Until) && gate.lease.Tokens != 0 {
		return true, nil // the one request of a probe is taken with its lease
	}
	if err := gate.read(ctx); err != nil {
		return false, err
	}
	s := gate.seen
	if _, _, refused := s.Take(now, gate.limits, gate.holder, 1); refused != nil && refused.RetryAfter > longestWait {
		return false, refused
	}
	return gate.seen.Failures < threshold, nil
}

func (gate *Gate) enter(ctx context.Context) error {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	now := gate.g.Now()
	gate.used = true
	if now.Before(gate.lease.Until) && gate.lease.Tokens != 0 {
		if gate.lease.Tokens > 0 {
			gate.lease.Tokens--
		}
		return nil
	}
	// What an instance saw longer ago than a lease lasts may have changed.
	fresh := gate.known && now.Before(gate.lease.Until)
	for range attempts {
		if !fresh {
			if err := gate.read(ctx); err != nil {
				return err
			}
		}
		next := gate.seen
		lease, changed, refused := next.Take(now, gate.limits, gate.holder, block)
		if refused != nil {
			if fresh { // others may have closed it since
				fresh = false
				continue
			}
			return refused
		}
		if changed {
			if err := gate.put(ctx, next); err != nil {
				if errors.Is(err, ErrConflict) {
					fresh = false
					continue
				}
				return err
			}
		}
		gate.lease = lease
		if lease.Tokens > 0 {
			gate.lease.Tokens--
		}
		return nil
	}
	return fault.New(fault.Retryable, fault.RateLimited, "too many ask for the connection at once").At("connection", gate.key.Connection).After(time.Second)
}

// attempts is how often a lost race for the row is run again.
const attempts = 5

func (gate *Gate) read(ctx context.Context) error {
	s, err := gate.g.Store.Rate(ctx, gate.key)
	if err != nil {
		return fmt.Errorf("reading the state of connection %s: %w", gate.key.Connection, err)
	}
	gate.seen, gate.known = s, true
	return nil
}

func (gate *Gate) put(ctx context.Context, s State) error {
	if err := gate.g.Store.PutRate(ctx, s); err != nil {
		if errors.Is(err, ErrConflict) {
			return err
		}
		return fmt.Errorf("storing the state of connection %s: %w", gate.key.Connection, err)
	}
	s.Version++
	gate.seen, gate.known = s, true
	return nil
}

// change stores what do makes of the row, where it makes anything of it. What
// cannot be stored is lost: the next failure, or the vendor, says it again.
func (gate *Gate) change(ctx context.Context, do func(*State) bool) {
	for range attempts {
		s := gate.seen
		if !do(&s) {
			return
		}
		err := gate.put(ctx, s)
		if !errors.Is(err, ErrConflict) || gate.read(ctx) != nil {
			return
		}
	}
}

// Leave tells how the request ended: err is classified.
func (gate *Gate) Leave(ctx context.Context, err error) {
	f := fault.Of(err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	gate.mu.Lock()
	defer gate.mu.Unlock()
	now := gate.g.Now()
	switch {
	case err != nil && f == nil: // the caller's own
	case f != nil && f.Class == fault.RateLimited:
		gate.throttled(ctx, now, f.RetryAfter)
	case f != nil && (f.Class == fault.Connectivity || f.Class == fault.Authentication):
		gate.lease = Lease{}
		gate.change(ctx, func(s *State) bool { s.Failed(now, f.Class); return true })
	default:
		gate.change(ctx, (*State).Succeeded)
		if gate.lease.Probe {
			gate.lease = Lease{}
		}
	}
}

// Throttled says that the vendor asked to wait in words that only its
// connector understands.
func (gate *Gate) Throttled(ctx context.Context, wait time.Duration) {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	gate.throttled(ctx, gate.g.Now(), wait)
}

func (gate *Gate) throttled(ctx context.Context, now time.Time, wait time.Duration) {
	gate.lease = Lease{}
	gate.change(ctx, func(s *State) bool { s.Throttled(now, wait); return true })
}

// Done ends an invocation: what its gates hold is given back. A token block
// that is nearly used up is not worth a write.
func (g *Governor) Done(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	g.mu.Lock()
	gates := make([]*Gate, 0, len(g.gates))
	for _, gate := range g.gates {
		gates = append(gates, gate)
	}
	g.mu.Unlock()
	for _, gate := range gates {
		gate.done(ctx)
	}
}

func (gate *Gate) done(ctx context.Context) {
	gate.mu.Lock()
	defer gate.mu.Unlock()
	if !gate.used {
		return
	}
	gate.used = false
	unused := max(gate.lease.Tokens, 0)
	_, slot := gate.seen.Slots[gate.holder]
	if !slot && (unused < block/2 || gate.limits.PerSecond == 0) {
		return
	}
	gate.lease = Lease{}
	now := gate.g.Now()
	gate.change(ctx, func(s *State) bool { return s.Return(now, gate.limits, gate.holder, unused) })
}

// Decide changes a connection's row for an operator.
func (g *Governor) Decide(ctx context.Context, k Key, do func(*State) (changed bool)) (State, error) {
	for range attempts {
		s, err := g.Store.Rate(ctx, k)
		if err != nil {
			return s, err
		}
		if !do(&s) {
			return s, nil
		}
		err = g.Store.PutRate(ctx, s)
		if err == nil {
			s.Version++
			return s, nil
		}
		if !errors.Is(err, ErrConflict) {
			return s, err
		}
	}
	return State{}, fault.New(fault.Retryable, fault.StateConflict, "others change the connection's state at the same time; try again")
}
