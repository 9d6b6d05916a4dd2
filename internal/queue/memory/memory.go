// Package memory is the twin of package queue: queues in this process, by a
// clock and dice that are given to it. Like SQS it delivers at least once and
// in any order.
package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/fault"
)

// The limits of SQS.
const (
	MaxDelay  = 900 * time.Second
	MaxHidden = 12 * time.Hour
	MaxBytes  = 1 << 20
)

// Options are what all queues depend on.
type Options struct {
	Now  func() time.Time
	Dice *rand.Rand // choose the order
	// Repeats is the share of deliveries after which a message stays visible, as
	// if it had not been delivered.
	Repeats float64
}

// Settings are one queue's.
type Settings struct {
	// Hidden is how long a received message is hidden.
	Hidden time.Duration
	// MaxReceives, if set, moves a message that was received so often without
	// being deleted to DeadLetters.
	MaxReceives int
	DeadLetters string
}

// Message is one delivery.
type Message struct {
	ID      string
	Body    string
	Group   string
	Receipt string
	Count   int // deliveries, this one included
	Sent    time.Time
}

// Queues are queues by name. They are safe for concurrent use.
type Queues struct {
	o      Options
	mu     sync.Mutex
	queues map[string]*queue
	next   int
}

type queue struct {
	Settings
	waiting []*message // in the order of sending
}

type message struct {
	Message
	visible time.Time
}

// New returns no queues yet.
func New(o Options) *Queues { return &Queues{o: o, queues: map[string]*queue{}} }

// Create makes a queue, or changes its settings.
func (q *Queues) Create(url string, s Settings) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if there, ok := q.queues[url]; ok {
		there.Settings = s
		return
	}
	q.queues[url] = &queue{Settings: s}
}

func encode(v any) (string, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return "", fault.Wrap(fault.Permanent, fault.Internal, err, "encoding a message")
	}
	if len(body) > MaxBytes {
		return "", fault.New(fault.Permanent, fault.Internal, "a message of %d bytes; the queue takes %d", len(body), MaxBytes)
	}
	return string(body), nil
}

// whole rounds up to seconds, in which queues count.
func whole(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// at returns a queue, with the lock held.
func (q *Queues) at(ctx context.Context, url string) (*queue, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	there, ok := q.queues[url]
	if !ok {
		return nil, fmt.Errorf("there is no queue %s", url)
	}
	return there, nil
}

// Send is queue.Queues.Send.
func (q *Queues) Send(ctx context.Context, url, group string, v any, delay time.Duration) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	if delay > 0 {
		group = ""
	}
	return q.send(ctx, url, group, body, whole(min(max(delay, 0), MaxDelay)))
}

func (q *Queues) send(ctx context.Context, url, group, body string, delay time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	to, err := q.at(ctx, url)
	if err != nil {
		return err
	}
	q.next++
	to.waiting = append(to.waiting, &message{Message{ID: fmt.Sprint("m", q.next), Body: body, Group: group, Sent: q.o.Now()}, q.o.Now().Add(delay)})
	return nil
}

// SendAll is queue.SendAll.
func SendAll[T any](ctx context.Context, q *Queues, url string, vs []T) error {
	for _, v := range vs {
		body, err := encode(v)
		if err != nil {
			return err
		}
		if err := q.send(ctx, url, "", body, 0); err != nil {
			return err
		}
	}
	return nil
}

// Hide is queue.Queues.Hide.
func (q *Queues) Hide(ctx context.Context, url, receipt string, d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, err := q.at(ctx, url)
	if err != nil {
		return err
	}
	for _, m := range from.waiting {
		if m.Receipt == receipt && receipt != "" {
			m.visible = q.o.Now().Add(whole(min(max(d, time.Second), MaxHidden)))
			return nil
		}
	}
	return fmt.Errorf("delaying a redelivery: the receipt is not the last delivery's")
}

// Receive delivers up to n visible messages and hides them.
func (q *Queues) Receive(ctx context.Context, url string, n int) ([]Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, err := q.at(ctx, url)
	if err != nil {
		return nil, err
	}
	return q.receive(from, n, from.Hidden), nil
}

// receive is Receive with the lock held.
func (q *Queues) receive(from *queue, n int, hide time.Duration) []Message {
	now := q.o.Now()
	q.bury(from, now)
	var visible []*message
	for _, m := range from.waiting {
		if !m.visible.After(now) {
			visible = append(visible, m)
		}
	}
	q.o.Dice.Shuffle(len(visible), func(i, j int) { visible[i], visible[j] = visible[j], visible[i] })
	var out []Message
	for _, m := range visible[:min(n, len(visible))] {
		m.Count++
		m.Receipt = fmt.Sprint(m.ID, "-", m.Count)
		if q.o.Repeats == 0 || q.o.Dice.Float64() >= q.o.Repeats {
			m.visible = now.Add(hide)
		}
		out = append(out, m.Message)
	}
	return out
}

// Take implements deadletter.Queues.
func (q *Queues) Take(ctx context.Context, url string, n int, hide time.Duration) ([]deadletter.Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, err := q.at(ctx, url)
	if err != nil {
		return nil, err
	}
	var out []deadletter.Message
	for _, m := range q.receive(from, min(max(n, 1), 10), whole(min(hide, MaxHidden))) {
		out = append(out, deadletter.Message{ID: m.ID, Body: m.Body, Group: m.Group, Receipt: m.Receipt, Sent: m.Sent})
	}
	return out, nil
}

// SendBody implements deadletter.Queues.
func (q *Queues) SendBody(ctx context.Context, url, group, body string) error {
	return q.send(ctx, url, group, body, 0)
}

// Count implements deadletter.Queues.
func (q *Queues) Count(ctx context.Context, url string) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, err := q.at(ctx, url)
	if err != nil {
		return 0, err
	}
	return int64(len(from.waiting)), nil
}

// bury moves what was delivered too often to the dead letters.
func (q *Queues) bury(from *queue, now time.Time) {
	dead, ok := q.queues[from.DeadLetters]
	if from.MaxReceives == 0 || !ok {
		return
	}
	from.waiting = slices.DeleteFunc(from.waiting, func(m *message) bool {
		if m.visible.After(now) || m.Count < from.MaxReceives {
			return false
		}
		dead.waiting = append(dead.waiting, &message{Message{ID: m.ID, Body: m.Body, Group: m.Group, Sent: m.Sent}, now})
		return true
	})
}

// Delete ends a delivery that was dealt with. One that was delivered again
// since, or deleted, is let be.
func (q *Queues) Delete(ctx context.Context, url, receipt string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, err := q.at(ctx, url)
	if err != nil {
		return err
	}
	from.waiting = slices.DeleteFunc(from.waiting, func(m *message) bool { return m.Receipt == receipt && receipt != "" })
	return nil
}

// Next is when the next message of a queue can be received; ok is false where
// there is none.
func (q *Queues) Next(url string) (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from, there := q.queues[url]
	if !there {
		return time.Time{}, false
	}
	for _, m := range from.waiting {
		if !ok || m.visible.Before(at) {
			at, ok = m.visible, true
		}
	}
	return at, ok
}
