// Package simulation runs the platform's own flows, document, effect and
// handler code in virtual time: over the adapters' twins in memory, with the
// machines of infra/states carried out by a small interpreter, and with
// vendors that are slow, late, forgetful and wrong. One seed is one course of
// events, byte for byte.
//
// Every invocation is a coroutine of which one runs at a time. Each call of a
// port is where it gives way: by dice the call takes its time, fails, is
// carried out without an answer, or ends the invocation before or after its
// effect, so that nothing that comes later in the code ever runs.
package simulation

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/rate"
)

// epoch lies before every real clock, so that a context's deadline is always
// the virtual one.
var epoch = time.Date(2001, 3, 1, 6, 0, 0, 0, time.UTC)

// Problem is an invariant that does not hold.
type Problem struct {
	Invariant string
	Detail    string
	At        time.Duration
}

func (p Problem) String() string {
	return fmt.Sprintf("%s at %s: %s", p.Invariant, p.At, p.Detail)
}

// engine owns time, order and chance.
type engine struct {
	now     time.Duration
	agenda  agenda
	seq     int
	cur     *proc
	live    map[*proc]bool
	idlers  []*proc
	dice    *rand.Rand // latencies: who goes on
	trace   io.Writer
	problem *Problem
	// quiet is whether faults have ended.
	quiet bool
	// writes numbers the side effects of the whole course.
	writes  int
	crashes []Crash
	// calls is a budget that ends a course that goes round in circles.
	calls  int
	orders int
}

// Crash ends an invocation at a side effect, by its number in the course.
type Crash struct {
	Write int
	After bool
}

// proc is one coroutine: an invocation of a function, or a machine.
type proc struct {
	id    int
	name  string
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	inv   *invocation
	body  func()
}

// invocation is one run of a function.
type invocation struct {
	name     string
	began    time.Duration
	deadline time.Duration
	skew     time.Duration // of this sandbox's clock
	task     document.Task // what it was invoked for, if it was a task
	// effect is the ledger's key under which it works; busy are the events
	// whose lease it did not get.
	effect string
	busy   map[string]bool
	// governor is the share that this sandbox has in what all may ask.
	governor *rate.Governor
}

// crashed unwinds a coroutine whose invocation has ended.
type crashed struct{ reason string }

type item struct {
	at  time.Duration
	seq int
	do  func()
}

// agenda is a heap by time, then by order of entry.
type agenda []item

func (a agenda) less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}

func (a *agenda) push(it item) {
	*a = append(*a, it)
	h := *a
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (a *agenda) pop() item {
	h := *a
	top := h[0]
	h[0] = h[len(h)-1]
	h[len(h)-1] = item{}
	h = h[:len(h)-1]
	*a = h
	for i := 0; ; {
		l := 2*i + 1
		if l >= len(h) {
			break
		}
		if l+1 < len(h) && h.less(l+1, l) {
			l++
		}
		if !h.less(l, i) {
			break
		}
		h[i], h[l] = h[l], h[i]
		i = l
	}
	return top
}

func (e *engine) at(t time.Duration, do func()) {
	e.seq++
	e.agenda.push(item{max(t, e.now), e.seq, do})
}

func (e *engine) after(d time.Duration, do func()) { e.at(e.now+d, do) }

// run carries out the agenda up to a time, or to the first problem.
func (e *engine) run(until time.Duration) {
	for len(e.agenda) > 0 && e.problem == nil {
		if e.agenda[0].at > until {
			break
		}
		it := e.agenda.pop()
		e.now = it.at
		it.do()
	}
	if e.problem == nil && e.now < until {
		e.now = until
	}
}

// end unwinds every coroutine that is left.
func (e *engine) end() {
	for len(e.live) > 0 {
		for p := range e.live {
			p.stop()
			delete(e.live, p)
		}
	}
	for _, p := range e.idlers {
		p.stop()
	}
}

func (e *engine) time() time.Time { return epoch.Add(e.now) }

// fail remembers the first problem, which ends the course.
func (e *engine) fail(invariant, format string, args ...any) {
	if e.problem == nil {
		e.problem = &Problem{invariant, fmt.Sprintf(format, args...), e.now}
		e.tell("PROBLEM %s", e.problem)
	}
}

// tell writes a line of the trace. Callers on hot paths check e.trace first.
func (e *engine) tell(format string, args ...any) {
	if e.trace == nil {
		return
	}
	who := "-"
	if e.cur != nil {
		who = e.cur.name
	}
	_, err := fmt.Fprintf(e.trace, "%14.6f %-34s %s\n", e.now.Seconds(), who, fmt.Sprintf(format, args...))
	if err != nil {
		panic(err)
	}
}

// spawn begins a coroutine after d.
func (e *engine) spawn(name string, d time.Duration, body func()) {
	e.seq++
	var p *proc
	if n := len(e.idlers); n > 0 {
		p, e.idlers = e.idlers[n-1], e.idlers[:n-1]
	} else {
		p = e.coroutine()
	}
	p.id, p.inv, p.body = e.seq, nil, body
	if p.name = name; e.trace != nil {
		p.name = fmt.Sprintf("%s.%d", name, p.id)
	}
	e.live[p] = true
	e.after(d, func() { e.resume(p) })
}

// coroutine carries out one body after the other: new ones are dear.
func (e *engine) coroutine() *proc {
	p := &proc{}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		for {
			e.carryOut(p.body)
			p.body = nil
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return p
}

func (e *engine) carryOut(body func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crashed); !ok {
				e.fail("nothingPanics", "%v\n%s", r, debug.Stack())
			}
		}
	}()
	body()
}

func (e *engine) resume(p *proc) {
	if !e.live[p] {
		return
	}
	before := e.cur
	e.cur = p
	p.next()
	e.cur = before
	if p.body == nil {
		delete(e.live, p)
		e.idlers = append(e.idlers, p)
	}
}

// sleep gives way for d. An invocation whose deadline comes first ends there.
func (e *engine) sleep(d time.Duration) {
	p := e.cur
	late := false
	if p.inv != nil && e.now+d > p.inv.deadline {
		d, late = p.inv.deadline-e.now, true
	}
	e.after(d, func() { e.resume(p) })
	e.suspend(p)
	if late {
		e.tell("runs out of time")
		panic(crashed{"States.Timeout"})
	}
}

// suspend gives way until somebody resumes p.
func (e *engine) suspend(p *proc) {
	if !p.yield(struct{}{}) {
		panic(crashed{"the course has ended"})
	}
}

// maxCalls bounds a course, as its orders do; none that converges comes near.
const (
	maxCalls        = 60_000
	maxCallsAnOrder = 1_000
)

// budget counts a call.
func (e *engine) budget() {
	if e.calls++; e.calls > maxCalls+maxCallsAnOrder*e.orders {
		e.fail("convergence", "%d calls and no end", e.calls)
		panic(crashed{"the course has ended"})
	}
}

// writing numbers a side effect and crashes before it where that is planned;
// the answer tells whether to crash after it.
func (e *engine) writing() (crashAfter bool) {
	e.writes++
	for _, c := range e.crashes {
		if c.Write == e.writes {
			if !c.After {
				e.die("before a side effect")
			}
			crashAfter = true
		}
	}
	return crashAfter
}

// die ends the invocation.
func (e *engine) die(why string) {
	e.tell("dies %s", why)
	panic(crashed{"Lambda.Unknown"})
}

// invoke runs a function in the current coroutine until it returns, dies or
// runs out of time; died names the error that its caller sees then.
func (e *engine) invoke(name string, timeout time.Duration, task document.Task, skew time.Duration, f func(ctx context.Context) error) (died string, err error) {
	p, outer, outerName := e.cur, e.cur.inv, e.cur.name
	p.inv = &invocation{name: name, began: e.now, deadline: e.now + timeout, task: task, skew: skew}
	if p.name = name; e.trace != nil {
		p.name = fmt.Sprintf("%s.%d", name, p.id)
	}
	defer func() {
		p.inv, p.name = outer, outerName
		r := recover()
		if r == nil {
			return
		}
		c, ok := r.(crashed)
		if !ok || strings.HasPrefix(c.reason, "the course") {
			panic(r)
		}
		died, err = c.reason, nil
	}()
	return "", f(deadline{context.Background(), epoch.Add(p.inv.deadline + skew)})
}

// deadline is a context of virtual time: nobody cancels it, because an
// invocation that reaches its deadline does not go on.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }
