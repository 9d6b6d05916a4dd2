package simulation

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// queued is one message of a tenant, 0 quiet and 1 loud.
type queued struct {
	tenant  int
	arrived time.Duration
}

// inboxModel is an inbox queue with its function's instances. Where it is fair
// it follows the documented rule of SQS for message groups: a tenant that has 30
// messages and more than a tenth of those in flight comes after the others.
type inboxModel struct {
	fair      bool
	instances int
	loud      float64 // messages a second
}

const (
	fairBacklog = 30
	fairShare   = 0.1
	quietRate   = 0.5
	fairTime    = 40 * time.Minute
)

// p99 is the quiet tenant's, from a message's arrival to the end of its work.
func (m inboxModel) p99(seed uint64) time.Duration {
	d := dice(seed, "fairness", 0)
	var arrivals []queued
	for tenant, rate := range []float64{quietRate, m.loud} {
		if rate == 0 {
			continue
		}
		own := dice(seed, "arrivals", tenant)
		for at := time.Duration(0); at < fairTime; {
			at += time.Duration(own.ExpFloat64() / rate * float64(time.Second))
			arrivals = append(arrivals, queued{tenant, at})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b queued) int { return int(a.arrived - b.arrived) })
	free := make([]time.Duration, m.instances) // when each is done
	works := make([]int, m.instances)          // for whom
	var waiting [2][]queued
	var took []time.Duration
	next := 0
	for next < len(arrivals) || len(waiting[0])+len(waiting[1]) > 0 {
		i := 0 // the instance that is free first
		for j := range free {
			if free[j] < free[i] {
				i = j
			}
		}
		now := free[i]
		if len(waiting[0])+len(waiting[1]) == 0 {
			now = max(now, arrivals[next].arrived)
		}
		for next < len(arrivals) && arrivals[next].arrived <= now {
			a := arrivals[next]
			waiting[a.tenant] = append(waiting[a.tenant], a)
			next++
		}
		x := m.pick(d, waiting, free, works, now)
		msg := waiting[x][0]
		waiting[x] = waiting[x][1:]
		free[i], works[i] = now+150*time.Millisecond+time.Duration(d.Int64N(int64(200*time.Millisecond))), x
		if x == 0 {
			took = append(took, free[i]-msg.arrived)
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100]
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

// fairToTheQuiet: beside a neighbour with 100 times its traffic, and more than
// the function can take, a tenant's p99 stays within twice its own.
func TestAQuietTenantHardlyFeelsALoudNeighbor(t *testing.T) {
	for seed := range uint64(5) {
		alone := inboxModel{fair: true, instances: 12}.p99(seed)
		beside := inboxModel{fair: true, instances: 12, loud: 100 * quietRate}.p99(seed)
		unfair := inboxModel{instances: 12, loud: 100 * quietRate}.p99(seed)
		t.Logf("p99 alone %s, beside 100 times the traffic %s, and without message groups %s", alone, beside, unfair)
		if beside > 2*alone {
			t.Errorf("p99 is %s beside a loud neighbor, %s alone", beside, alone)
		}
		if unfair <= 2*alone {
			t.Error("the neighbor is not loud: the test shows nothing")
		}
	}
}
