// Package rate keeps what all functions together may ask of one connection:
// its vendor's rate, how much is under way at once, whether its circuit is open
// and whether somebody has paused it. The state is one small row a connection,
// changed under its version; a function leases tokens from it in blocks, so that
// most requests cost no write.
package rate

import (
	"maps"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// Limits are what a vendor publishes, or a partner configures. Zero is no
// limit.
type Limits struct {
	PerSecond float64 `json:"per_second,omitempty"`
	Burst     int     `json:"burst,omitempty"`     // requests at once after a rest
	InFlight  int     `json:"in_flight,omitempty"` // invocations that talk to it at once
}

// Key names a connection.
type Key struct {
	Tenant     retail.Tenant
	Connection string
}

// Pause is why and by whom a connection is paused.
type Pause struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// State is a connection's row.
type State struct {
	Key
	Tokens  float64              // at At
	At      time.Time            // zero: the bucket is full
	Blocked time.Time            // the vendor asked to wait until then
	Slots   map[string]time.Time // holder → until; who talks to it now
	// Failures in a row, and until when nothing is tried. From threshold on the
	// circuit is open; one holder at a time probes it after that time.
	Failures   int
	Open       time.Time
	Probe      string
	ProbeUntil time.Time
	Cause      string // class of the last failure
	Paused     *Pause
	Version    int64 // optimistic lock: the version that a change replaces
}

// LongestRest is how far ahead a document may rest because of a connection that
// was paused, or whose circuit was open.
const LongestRest = longestOpen

const (
	// threshold is how many failures in a row open the circuit. A refused
	// credential opens it at once: the next request would be refused too.
	threshold = 5
	// firstOpen doubles with every failed probe up to longestOpen.
	firstOpen   = 15 * time.Second
	longestOpen = 10 * time.Minute
	// slotTime is longer than any task, so that only the dead lose a slot.
	slotTime  = 100 * time.Second
	probeTime = 30 * time.Second
	pauseWait = LongestRest / 2
	// slotWait is how soon whoever found no slot comes again.
	slotWait = 2 * time.Second
)

// Lease is what a holder may do before it asks again.
type Lease struct {
	Tokens int       // requests; -1 without a limit
	Until  time.Time // when the lease ends
	Probe  bool      // one request, whose outcome decides for everybody
}

// leaseTime is how long a view of the state is good for: a pause and a circuit
// take effect within it.
const leaseTime = 10 * time.Second

// Take leases up to want tokens for the holder, or says why not and when to
// come again. It changes s only where it must be stored.
func (s *State) Take(now time.Time, l Limits, holder string, want int) (lease Lease, changed bool, refused *fault.Error) {
	switch {
	case s.Paused != nil:
		return lease, false, fault.New(fault.Retryable, fault.RateLimited, "the connection is paused").At("connection", s.Connection).After(pauseWait)
	case now.Before(s.Blocked):
		return lease, false, fault.New(fault.Retryable, fault.RateLimited, "the vendor asked to wait").At("connection", s.Connection).After(s.Blocked.Sub(now))
	case now.Before(s.Open):
		return lease, false, s.open(s.Open.Sub(now))
	}
	lease = Lease{Tokens: -1, Until: now.Add(leaseTime)}
	if s.Failures >= threshold {
		if s.Probe != holder && now.Before(s.ProbeUntil) {
			return Lease{}, false, s.open(max(s.ProbeUntil.Sub(now), time.Second))
		}
		s.Probe, s.ProbeUntil = holder, now.Add(probeTime)
		lease.Probe, lease.Tokens, changed = true, 1, true
	}
	if _, mine := s.Slots[holder]; l.InFlight > 0 && (!mine || !now.Before(s.Slots[holder])) {
		if !s.join(now, l.InFlight, holder) {
			return Lease{}, false, fault.New(fault.Retryable, fault.RateLimited, "%d others talk to the vendor already", l.InFlight).At("connection", s.Connection).After(slotWait)
		}
		changed = true
	}
	if l.PerSecond > 0 {
		have := s.filled(now, l)
		if have < 1 {
			wait := time.Duration((1 - have) / l.PerSecond * float64(time.Second))
			return Lease{}, false, fault.New(fault.Retryable, fault.RateLimited, "the vendor's rate is used up").At("connection", s.Connection).After(max(wait, 10*time.Millisecond))
		}
		n := min(want, int(have))
		if lease.Probe {
			n = 1
		}
		s.Tokens, s.At, lease.Tokens, changed = have-float64(n), now, n, true
	}
	return lease, changed, nil
}

// join gives the holder a slot, or keeps it longer, if one of so many is free. The
// dead have lost theirs.
func (s *State) join(now time.Time, of int, holder string) bool {
	slots := maps.Clone(s.Slots)
	maps.DeleteFunc(slots, func(h string, until time.Time) bool { return h == holder || !now.Before(until) })
	if len(slots) >= of {
		return false
	}
	if slots == nil {
		slots = map[string]time.Time{}
	}
	slots[holder] = now.Add(slotTime)
	s.Slots = slots
	return true
}

func (s *State) open(wait time.Duration) *fault.Error {
	return fault.New(fault.Retryable, fault.Connectivity, "the connection's circuit is open after %d failures (%s)", s.Failures, s.Cause).At("connection", s.Connection).After(wait)
}

// filled is how many tokens there are now.
func (s *State) filled(now time.Time, l Limits) float64 {
	burst := float64(max(l.Burst, 1))
	if s.At.IsZero() {
		return burst
	}
	return min(burst, s.Tokens+max(now.Sub(s.At), 0).Seconds()*l.PerSecond)
}

// Return gives back a holder's slot and the tokens that it did not use.
func (s *State) Return(now time.Time, l Limits, holder string, unused int) (changed bool) {
	if _, held := s.Slots[holder]; held {
		s.Slots = maps.Clone(s.Slots)
		delete(s.Slots, holder)
		changed = true
	}
	if l.PerSecond > 0 && unused > 0 {
		s.Tokens, s.At, changed = min(s.filled(now, l)+float64(unused), float64(max(l.Burst, 1))), now, true
	}
	return changed
}

// Throttled empties the bucket for everybody until the vendor's time.
func (s *State) Throttled(now time.Time, wait time.Duration) {
	if until := now.Add(wait); until.After(s.Blocked) {
		s.Blocked = until
	}
	s.Tokens, s.At = 0, s.Blocked
}

// Failed counts a failure. class is its fault's class.
func (s *State) Failed(now time.Time, class fault.Class) {
	s.Failures++
	if class == fault.Authentication {
		s.Failures = max(s.Failures, threshold)
	}
	s.Cause, s.Probe, s.ProbeUntil = string(class), "", time.Time{}
	if s.Failures >= threshold {
		s.Open = now.Add(min(firstOpen<<min(s.Failures-threshold, 10), longestOpen))
	}
}

// Succeeded closes the circuit.
func (s *State) Succeeded() (changed bool) {
	if s.Failures == 0 {
		return false
	}
	s.Failures, s.Open, s.Probe, s.ProbeUntil, s.Cause = 0, time.Time{}, "", time.Time{}, ""
	return true
}

// Resume lets a paused connection, or one whose circuit is open, go on now.
func (s *State) Resume() (changed bool) {
	changed = s.Paused != nil || s.Failures > 0 || !s.Blocked.IsZero()
	s.Paused, s.Blocked = nil, time.Time{}
	s.Succeeded()
	return changed
}

// Holders lists who talks to the vendor at a time.
func (s *State) Holders(now time.Time) []string {
	var out []string
	for h, until := range s.Slots {
		if now.Before(until) {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return out
}
