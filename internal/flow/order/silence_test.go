package order_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/retail"
)

// days places orders on each of so many days at the given hours.
func days(from time.Time, n int, hours func(day int) []int) (out []time.Time) {
	for d := range n {
		for _, h := range hours(d) {
			out = append(out, from.AddDate(0, 0, d).Add(time.Duration(h)*time.Hour))
		}
	}
	return out
}

func daily(hours ...int) func(int) []int { return func(int) []int { return hours } }

func TestAPauseIsUsualIfItComesEveryWeek(t *testing.T) {
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	weekdays := func(d int) []int {
		if d%7 >= 5 {
			return nil
		}
		return []int{8, 10, 12, 14, 16}
	}
	for name, c := range map[string]struct {
		placed  []time.Time
		usual   time.Duration
		silence time.Duration
	}{
		"little is known":      {days(monday, 6, daily(9, 12)), 0, 0},
		"a week is known":      {days(monday, 7, daily(9, 12)), 21 * time.Hour, 31*time.Hour + 30*time.Minute},
		"a shop with nights":   {days(monday, 28, daily(8, 10, 12, 14, 16, 18, 20, 22)), 10 * time.Hour, 15 * time.Hour},
		"a shop with weekends": {days(monday, 28, weekdays), 64 * time.Hour, 96 * time.Hour},
		"two outages of ours": {days(monday, 28, func(d int) []int {
			if d == 9 || d == 18 {
				return nil
			}
			return []int{8, 14, 20}
		}), 12 * time.Hour, 18 * time.Hour},
		"an order each minute or two": {minutes(monday, 12*24*60), 90 * time.Second, time.Hour},
	} {
		var a order.Activity
		a.Heard(c.placed...)
		usual, silence, ok := a.Usual()
		if ok != (c.usual > 0) || usual != c.usual || silence != c.silence {
			t.Errorf("%s: usual %v, silent from %v, %v", name, usual, silence, ok)
		}
	}
}

func minutes(from time.Time, n int) (out []time.Time) {
	for i := range n {
		out = append(out, from.Add(time.Duration(i)*90*time.Second))
	}
	return out
}

func TestWhatWasHeardBeforeChangesNothing(t *testing.T) {
	placed := days(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), 60, daily(9, 17))
	var a, b order.Activity
	if !a.Heard(placed...) || a.Heard(placed...) || a.Heard() {
		t.Error("repeating is news")
	}
	for _, at := range placed {
		b.Heard(at, at)
	}
	if fmt.Sprint(a) != fmt.Sprint(b) || len(a.Gaps) != 29 {
		t.Errorf("%v and %v", a, b)
	}
}

// listed is a channel whose orders' payload is the time of their placing.
type listed struct{}

func (listed) DecodeOrder(raw []byte) (o retail.Order, p retail.Person, err error) {
	if o.PlacedAt, err = time.Parse(time.RFC3339, string(raw)); err != nil {
		return o, p, errors.New("unreadable")
	}
	return o, p, nil
}

func TestASilenceIsOneExceptionAndEndsWithTheNextOrder(t *testing.T) {
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	store := memory.New(memory.Options{Now: func() time.Time { return now }, Dice: rand.New(rand.NewPCG(1, 2))})
	silent := 0
	l := order.Listener{Activities: store, Count: func(_ retail.Tenant, _ string, s bool) {
		if s {
			silent++
		}
	}, Life: document.Life{Store: store, Now: func() time.Time { return now }, NewID: func() string { return "x" }}}
	hear := func(placed ...time.Time) {
		t.Helper()
		page := []retail.Listed{{Raw: []byte("?")}}
		for _, at := range placed {
			page = append(page, retail.Listed{Raw: []byte(at.Format(time.RFC3339))})
		}
		if err := l.Hear(t.Context(), tn, "shop", listed{}, page, true); err != nil {
			t.Fatal(err)
		}
	}
	open := func() []document.Exception {
		t.Helper()
		xs, err := store.OpenExceptions(context.Background(), tn)
		if err != nil {
			t.Fatal(err)
		}
		return xs
	}
	for _, at := range days(now, 20, daily(8, 14, 20)) {
		now = at.Add(time.Minute)
		hear(at)
	}
	now = now.Add(13 * time.Hour)
	hear()
	if len(open()) != 0 || silent != 0 {
		t.Errorf("a usual night: %v", open())
	}
	for range 3 { // looked at again and again
		now = now.Add(6 * time.Hour)
		hear()
	}
	xs := open()
	if len(xs) != 1 || silent != 3 || !strings.Contains(xs[0].Reason, "12.0 hours") || xs[0].Connection != "shop" {
		t.Fatalf("%+v, counted %d", xs, silent)
	}
	// The activity was not saved: the same exception is met again.
	a, err := store.Activity(t.Context(), tn, "shop")
	if err != nil {
		t.Fatal(err)
	}
	a.Silent = ""
	if err := store.SetActivity(t.Context(), tn, "shop", a); err != nil {
		t.Fatal(err)
	}
	if hear(); len(open()) != 1 {
		t.Errorf("%d exceptions of one silence", len(open()))
	}
	if hear(now); len(open()) != 0 {
		t.Errorf("heard again: %+v", open())
	}
}

// The activity of a channel that has been silent for days.
func silentSince(t *testing.T, last time.Time) (order.Listener, *memory.Store, retail.Tenant) {
	t.Helper()
	tn, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return last.AddDate(0, 0, 3) }
	store := memory.New(memory.Options{Now: clock, Dice: rand.New(rand.NewPCG(1, 2))})
	var a order.Activity
	a.Heard(days(last.AddDate(0, 0, -20), 21, daily(0, 8, 16))...)
	a.Last = last
	if err := store.SetActivity(t.Context(), tn, "shop", a); err != nil {
		t.Fatal(err)
	}
	return order.Listener{Activities: store, Life: document.Life{Store: store, Now: clock, NewID: func() string { return "x" }}}, store, tn
}

func TestASilenceIsJudgedAfterTheLastPageOnly(t *testing.T) {
	l, store, tn := silentSince(t, time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))
	for _, last := range []bool{false, true} {
		if err := l.Hear(t.Context(), tn, "shop", listed{}, nil, last); err != nil {
			t.Fatal(err)
		}
		if xs, err := store.OpenExceptions(t.Context(), tn); err != nil || (len(xs) == 1) != last {
			t.Errorf("last page %t: %v, %v", last, xs, err)
		}
	}
}

func TestASilenceIsLongerThanItsLimitNotAsLong(t *testing.T) {
	last := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	l, store, tn := silentSince(t, last) // eight hours are usual
	for _, c := range []struct {
		pause  time.Duration
		silent bool
	}{{12 * time.Hour, false}, {12*time.Hour + 1, true}} {
		l.Life.Now = func() time.Time { return last.Add(c.pause) }
		if err := l.Hear(t.Context(), tn, "shop", listed{}, nil, true); err != nil {
			t.Fatal(err)
		}
		if xs, err := store.OpenExceptions(t.Context(), tn); err != nil || (len(xs) == 1) != c.silent {
			t.Errorf("after %s: %v, %v", c.pause, xs, err)
		}
	}
}

func TestASilenceThatSomebodyResolvedStaysAsTheyLeftIt(t *testing.T) {
	last := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	l, store, tn := silentSince(t, last)
	hear := func(placed ...time.Time) document.Exception {
		t.Helper()
		var page []retail.Listed
		for _, at := range placed {
			page = append(page, retail.Listed{Raw: []byte(at.Format(time.RFC3339))})
		}
		err := l.Hear(t.Context(), tn, "shop", listed{}, page, true)
		x, xerr := store.Exception(t.Context(), tn, fmt.Sprintf("silence-shop-%d", last.Unix()))
		if err = errors.Join(err, xerr); err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := hear()
	x.State, x.Resolution = document.Resolved, "a holiday"
	if err := store.Commit(t.Context(), document.Transaction{Exceptions: []document.Exception{x}}); err != nil {
		t.Fatal(err)
	}
	for _, placed := range [][]time.Time{nil, {last.AddDate(0, 0, 3)}} {
		if got := hear(placed...); got.State != document.Resolved || got.Resolution != "a holiday" {
			t.Errorf("%+v", got)
		}
	}
}
