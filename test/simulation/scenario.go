package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one way in which the world is worse than one would wish.
type Fault string

// What can befall a course. A scenario switches each on or off, so that some
// courses meet one fault alone and some all of them.
const (
	Duplicates    Fault = "duplicates"    // a delivery comes up to five times
	Reordering    Fault = "reordering"    // deliveries overtake each other
	LongDelays    Fault = "long_delays"   // a delivery comes up to 14 days late
	LostWebhooks  Fault = "lost_webhooks" // or never
	Throttles     Fault = "throttles"     // AWS refuses a call
	LostAnswers   Fault = "lost_answers"  // AWS does what it was asked and nobody hears of it
	Freezes       Fault = "freezes"       // a call of AWS takes longer than leases last
	VendorErrors  Fault = "vendor_errors" // a vendor answers 5xx
	VendorLimits  Fault = "vendor_limits" // a vendor answers 429
	Outages       Fault = "outages"       // a vendor is down for a while
	Unknown       Fault = "unknown"       // a vendor's answer does not come
	LateCommits   Fault = "late_commits"  // a vendor does what it was asked after it was given up
	LateReads     Fault = "late_reads"    // a vendor's reads are behind its writes
	Crashes       Fault = "crashes"       // an invocation ends at a side effect
	LambdaErrors  Fault = "lambda_errors" // the Lambda service fails, whether the function ran or not
	Redeliveries  Fault = "redeliveries"  // a queue delivers what it has delivered
	DoubleStarts  Fault = "double_starts" // a machine is started twice
	LostStarts    Fault = "lost_starts"   // or never
	PartialSends  Fault = "partial_sends" // of a batch only some messages are taken
	Poison        Fault = "poison"        // a delivery cannot be read
	Skew          Fault = "skew"          // vendors' clocks are wrong by up to ten minutes, ours by seconds
	Rotation      Fault = "rotation"      // a credential is refused for a while
	Configuration Fault = "configuration" // the configuration changes while orders travel
	IndexLag      Fault = "index_lag"     // the due index is behind
	Cancellations Fault = "cancellations" // shoppers change their minds, and merchants ship by hand
	BadOrders     Fault = "bad_orders"    // totals differ, SKUs are unknown, goods are short
	SlowVendors   Fault = "slow_vendors"  // a vendor takes seconds
	Counts        Fault = "counts"        // people count what lies there, and find less
)

// Faults are all of them, in order.
func Faults() []Fault {
	return []Fault{Duplicates, Reordering, LongDelays, LostWebhooks, Throttles, LostAnswers, Freezes, VendorErrors, VendorLimits, Outages,
		Unknown, LateCommits, LateReads, Crashes, LambdaErrors, Redeliveries, DoubleStarts, LostStarts, PartialSends, Poison, Skew,
		Rotation, Configuration, IndexLag, Cancellations, BadOrders, SlowVendors, Counts}
}

// rates are how often a fault strikes where it is on: the least and the most
// that dice choose from.
var rates = map[Fault][2]float64{
	Duplicates: {0.2, 0.9}, Reordering: {0.3, 1}, LongDelays: {0.05, 0.3}, LostWebhooks: {0.1, 0.6}, Throttles: {0.005, 0.06},
	LostAnswers: {0.005, 0.05}, Freezes: {0.002, 0.03}, VendorErrors: {0.02, 0.2}, VendorLimits: {0.02, 0.2}, Outages: {1, 1},
	Unknown: {0.05, 0.3}, LateCommits: {0.3, 1}, LateReads: {0.3, 1}, Crashes: {0.005, 0.08}, LambdaErrors: {0.02, 0.2},
	Redeliveries: {0.05, 0.4}, DoubleStarts: {0.05, 0.5}, LostStarts: {0.05, 0.5}, PartialSends: {0.1, 0.5}, Poison: {0.1, 0.5},
	Skew: {1, 1}, Rotation: {1, 1}, Configuration: {1, 1}, IndexLag: {1, 1}, Cancellations: {0.2, 0.8}, BadOrders: {0.2, 0.8}, SlowVendors: {0.02, 0.3}, Counts: {0.2, 1},
}

// downFrom is late enough for orders to be at every place of their way.
const downFrom = time.Hour

// Scenario is what one course is about. It is made of a seed and may be
// reduced, so that a failure is shown by the least that leads to it.
type Scenario struct {
	Seed   uint64
	Orders []OrderPlan
	Faults map[Fault]float64
	// Crashes are planned ends, by the number of the side effect.
	Crashes []Crash
	// Down is for how long a connection of the first retailer does not answer,
	// from downFrom on.
	Down   time.Duration
	DownOf string // erp unless said
}

// Kind is what is wrong with an order.
type Kind string

// What can be wrong. The zero Kind is nothing.
const (
	Garbage    Kind = "garbage"     // not even an id can be read
	Unreadable Kind = "unreadable"  // only the id can be read
	Unbalanced Kind = "unbalanced"  // its lines and totals differ
	Immaterial Kind = "immaterial"  // nothing in it is to be shipped
	UnknownSKU Kind = "unknown_sku" // the warehouse does not have it
	Short      Kind = "short"       // the warehouse has too little
	OffByCent  Kind = "off_by_cent" // the ERP computes another total
)

// OrderPlan is one order from its shopper's side.
type OrderPlan struct {
	Tenant   int
	Number   int // equal for orders of different tenants
	At       time.Duration
	Lines    int
	Customer int
	Kind     Kind
	UpdateAt time.Duration // after At; 0 never
	CancelAt time.Duration // after At; 0 never
	HandAt   time.Duration // after At, when the merchant ships it by hand; 0 never
	Parcels  int
	ShipIn   time.Duration // after the release
}

// times of a course. Faults end at calm; what is left then must settle within
// patience.
const (
	calm     = 3 * time.Hour
	patience = 8 * time.Hour
	latest   = 14 * 24 * time.Hour
)

// dice are a stream of chance of their own for each concern, so that switching
// one off leaves the others as they were.
func dice(seed uint64, concern string, n int) *rand.Rand {
	h := uint64(14695981039346656037)
	for _, b := range []byte(concern) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h+uint64(n)*0x9e3779b97f4a7c15)) //nolint:gosec // chance that must be repeatable
}

// Plan makes a seed's scenario.
func Plan(seed uint64) Scenario {
	d := dice(seed, "plan", 0)
	s := Scenario{Seed: seed, Faults: map[Fault]float64{}}
	density := []float64{0.08, 0.2, 0.4, 0.7}[d.IntN(4)]
	for _, f := range Faults() {
		r := rates[f]
		rate := r[0] + d.Float64()*(r[1]-r[0])
		if d.Float64() < density {
			s.Faults[f] = rate
		}
	}
	n := []int{1, 1, 1, 2, 2, 3}[d.IntN(6)]
	for i := range n {
		o := dice(seed, "order", i)
		p := OrderPlan{Tenant: i % 2, Number: 1001 + i/2, At: time.Duration(o.Int64N(int64(10 * time.Minute))), Lines: 1 + o.IntN(3),
			Customer: 1 + o.IntN(2), Parcels: 1 + o.IntN(2), ShipIn: time.Duration(o.Int64N(int64(time.Hour)))}
		if i > 0 && o.IntN(2) == 0 { // a buyer's orders at once
			p.At = s.Orders[0].At + time.Duration(o.Int64N(int64(2*time.Second)))
		}
		if o.IntN(6) == 0 {
			p.ShipIn = time.Duration(o.Int64N(int64(5 * time.Second)))
		}
		if o.IntN(3) == 0 {
			p.UpdateAt = time.Duration(1 + o.Int64N(int64(3*time.Minute)))
		}
		// What the following faults need is drawn anyway.
		cancelAt := []time.Duration{20 * time.Second, 4 * time.Minute, time.Hour}[o.IntN(3)]
		cancelAt = time.Duration(1 + o.Int64N(int64(cancelAt)))
		if o.Float64() < s.Faults[Cancellations] {
			p.CancelAt = cancelAt
		}
		if hand := dice(seed, "hand", i); hand.Float64() < s.Faults[Cancellations]/2 {
			p.HandAt = time.Duration(1 + hand.Int64N(int64(time.Hour)))
		}
		bad := []Kind{Unbalanced, Immaterial, UnknownSKU, Short, OffByCent}[o.IntN(5)]
		if o.Float64() < s.Faults[BadOrders] {
			p.Kind = bad
		}
		poison := []Kind{Garbage, Unreadable}[o.IntN(2)]
		if o.Float64() < s.Faults[Poison] {
			p.Kind = poison
		}
		s.Orders = append(s.Orders, p)
	}
	return s
}

// String is the scenario in one line.
func (s Scenario) String() string {
	var parts []string
	for _, f := range Faults() {
		if r, on := s.Faults[f]; on {
			parts = append(parts, fmt.Sprintf("%s=%.3f", f, r))
		}
	}
	out := fmt.Sprintf("seed %d, %d orders", s.Seed, len(s.Orders))
	if len(parts) > 0 {
		out += ", " + strings.Join(parts, " ")
	}
	for _, c := range s.Crashes {
		where := "before"
		if c.After {
			where = "after"
		}
		out += fmt.Sprintf(", a crash %s side effect %d", where, c.Write)
	}
	return out
}

// without returns the scenario without a fault.
func (s Scenario) without(f Fault) Scenario {
	c := s
	c.Faults = map[Fault]float64{}
	for k, v := range s.Faults {
		if k != f {
			c.Faults[k] = v
		}
	}
	c.Orders = slices.Clone(s.Orders)
	for i := range c.Orders {
		o := &c.Orders[i]
		switch {
		case f == Cancellations:
			o.CancelAt, o.HandAt = 0, 0
		case f == BadOrders && o.Kind != Garbage && o.Kind != Unreadable, f == Poison && (o.Kind == Garbage || o.Kind == Unreadable):
			o.Kind = ""
		}
	}
	return c
}
