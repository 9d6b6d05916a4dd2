package memory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/queue/drivertest"
	"github.com/waybillhq/waybill/internal/queue/memory"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAQueueInMemoryPassesTheSuite(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivertest.Driver {
		now := start
		q := memory.New(memory.Options{Now: func() time.Time { return now }, Dice: rand.New(rand.NewPCG(1, 2))})
		q.Create("q", memory.Settings{})
		q.Create("letters", memory.Settings{Hidden: 30 * time.Second})
		return drivertest.Driver{
			Letters: q, URL: "letters",
			Send: func(ctx context.Context, group string, v any, delay time.Duration) error {
				return q.Send(ctx, "q", group, v, delay)
			},
			SendAll: func(ctx context.Context, vs []string) error { return memory.SendAll(ctx, q, "q", vs) },
			Hide: func(ctx context.Context, receipt string, d time.Duration) error {
				return q.Hide(ctx, "q", receipt, d)
			},
			Receive: func(t *testing.T) (out []drivertest.Received) {
				got, err := q.Receive(t.Context(), "q", 10)
				must(t, err)
				for _, m := range got {
					out = append(out, drivertest.Received{Body: m.Body, Group: m.Group, Receipt: m.Receipt, Count: m.Count})
				}
				return out
			},
			Delete: func(t *testing.T, receipt string) { must(t, q.Delete(t.Context(), "q", receipt)) },
			Pass:   func(d time.Duration) { now = now.Add(d) },
		}
	})
}

// run sends ten messages, receives for a while and never deletes.
func run(t *testing.T, o memory.Options, s memory.Settings) (course []string, dead int) {
	t.Helper()
	now := start
	o.Now, o.Dice = func() time.Time { return now }, rand.New(rand.NewPCG(1, 2))
	q := memory.New(o)
	q.Create("dead", memory.Settings{Hidden: time.Hour})
	q.Create("q", s)
	for i := range 10 {
		must(t, q.Send(t.Context(), "q", "", i, 0))
	}
	for range 10 {
		got, err := q.Receive(t.Context(), "q", 3)
		must(t, err)
		for _, m := range got {
			course = append(course, m.Receipt)
		}
		now = now.Add(time.Second)
	}
	letters, err := q.Receive(t.Context(), "dead", 100)
	must(t, err)
	return course, len(letters)
}

func TestOneSeedIsOneCourse(t *testing.T) {
	a, _ := run(t, memory.Options{Repeats: 0.3}, memory.Settings{Hidden: 2 * time.Second})
	b, _ := run(t, memory.Options{Repeats: 0.3}, memory.Settings{Hidden: 2 * time.Second})
	if !slices.Equal(a, b) {
		t.Errorf("%v and %v", a, b)
	}
	if inOrder := []string{"m1-1", "m2-1", "m3-1"}; slices.Equal(a[:3], inOrder) {
		t.Errorf("messages come in the order of sending: %v", a)
	}
}

func TestWhatIsDeliveredTooOftenBecomesADeadLetter(t *testing.T) {
	course, dead := run(t, memory.Options{}, memory.Settings{Hidden: time.Second, MaxReceives: 2, DeadLetters: "dead"})
	for _, receipt := range course {
		if receipt[len(receipt)-1] > '2' {
			t.Errorf("delivered as %s", receipt)
		}
	}
	if dead == 0 {
		t.Error("there are no dead letters")
	}
}

func TestTheNextMessageIsTheOneThatIsVisibleFirst(t *testing.T) {
	q := memory.New(memory.Options{Now: func() time.Time { return start }, Dice: rand.New(rand.NewPCG(1, 2))})
	q.Create("q", memory.Settings{})
	if _, ok := q.Next("q"); ok {
		t.Error("an empty queue has a next message")
	}
	for _, delay := range []time.Duration{5, 2, 7} {
		must(t, q.Send(t.Context(), "q", "", fmt.Sprint(delay), delay*time.Second))
	}
	if at, ok := q.Next("q"); !ok || !at.Equal(start.Add(2*time.Second)) {
		t.Errorf("next at %v, %v", at, ok)
	}
}
