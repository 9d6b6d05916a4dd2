// Package deadletter is what becomes of messages that a queue gave up on: they
// are shown, given back to where they came from, or archived before their
// queue forgets them. None is removed before its copy is elsewhere.
package deadletter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/job"
)

// Message is one message as received.
type Message struct {
	ID         string
	Body       string
	Group      string
	Receipt    string
	Sent       time.Time // to its first queue: its retention counts from then
	Attributes map[string]string
}

// Queues reads and writes queues by their URLs.
type Queues interface {
	// Take receives up to n messages (at most 10) and hides them for a time;
	// hidden for none they are only looked at.
	Take(ctx context.Context, url string, n int, hide time.Duration) ([]Message, error)
	// SendBody sends a body as it is.
	SendBody(ctx context.Context, url, group, body string) error
	Hide(ctx context.Context, url, receipt string, d time.Duration) error
	Delete(ctx context.Context, url, receipt string) error
	// Count is about how many messages there are, hidden ones included.
	Count(ctx context.Context, url string) (int64, error)
}

// Queue is one dead-letter queue.
type Queue struct {
	Name string // of the queue that gave up, such as order-inbox
	Dead string // URL
	// Forward gives a message back to where it came from.
	Forward func(ctx context.Context, m Message) error
}

// Objects keeps archived messages.
type Objects interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
}

// Desk is where dead letters are dealt with.
type Desk struct {
	Queues  []Queue
	SQS     Queues
	Objects Objects
	Now     func() time.Time
}

const (
	// ArchiveAfter is the age from which a message is archived. Its queue
	// forgets it at 14 days, so a failing archive has four days to be noticed.
	ArchiveAfter = 10 * 24 * time.Hour
	// hide covers the handling of one batch.
	hide = 2 * time.Minute
	// refusedHide keeps a refused message from being received again by the
	// redrive that refused it.
	refusedHide = time.Hour
	batch       = 10
	// takes is how often a queue is asked before it counts as empty, and
	// patience about how often a redrive waits for what is hidden.
	takes    = 3
	patience = 4
	// youngLimit and oldLimit bound one pass over a queue. Queues deliver the
	// oldest about first: after so many young ones no old one is expected.
	youngLimit = 200
	oldLimit   = 500
)

// Letters is one dead-letter queue that is not empty.
type Letters struct {
	Queue  string    `json:"queue"`
	Count  int64     `json:"count"`
	Oldest time.Time `json:"oldest_at"` // of those that were looked at
	Age    string    `json:"age"`
	Sample string    `json:"sample_message_id,omitempty"`
	Action string    `json:"suggested_action"`
}

// Letters lists the queues that hold dead letters, without taking any.
func (d Desk) Letters(ctx context.Context) ([]Letters, error) {
	out := []Letters{}
	for _, q := range d.Queues {
		if q.Dead == "" {
			continue // a stack of before this queue
		}
		l, err := d.look(ctx, q)
		if err != nil {
			return out, err
		}
		if l.Count > 0 {
			out = append(out, l)
		}
	}
	return out, nil
}

func (d Desk) look(ctx context.Context, q Queue) (Letters, error) {
	l := Letters{Queue: q.Name, Action: "mend the cause, then: waybill redrive --queue " + q.Name + " --reason WHY"}
	var err error
	if l.Count, err = d.SQS.Count(ctx, q.Dead); err != nil || l.Count == 0 {
		return l, err
	}
	ms, err := d.SQS.Take(ctx, q.Dead, batch, 0)
	if err != nil {
		return l, err
	}
	for _, m := range ms {
		if l.Sample == "" || m.Sent.Before(l.Oldest) {
			l.Sample, l.Oldest = m.ID, m.Sent
		}
	}
	if l.Sample != "" {
		l.Age = d.Now().Sub(l.Oldest).Round(time.Second).String()
	}
	return l, nil
}

// seenLimit bounds one showing of a queue's letters.
const seenLimit = 200

// Each shows a queue's letters, the oldest about first and seenLimit at most, and
// leaves them where they are. It ends with the first error of see.
func (d Desk) Each(ctx context.Context, name string, see func(context.Context, Message) error) error {
	q, err := d.queue(name)
	if err != nil || q.Dead == "" {
		return err
	}
	var shown []Message
	for len(shown) < seenLimit && err == nil {
		ms, terr := d.SQS.Take(ctx, q.Dead, batch, hide)
		if terr != nil {
			return d.release(ctx, q, shown, terr)
		}
		if len(ms) == 0 {
			break
		}
		shown = append(shown, ms...)
		for _, m := range ms {
			if err = see(ctx, m); err != nil {
				break
			}
		}
	}
	return d.release(ctx, q, shown, err)
}

// Names lists the queues.
func (d Desk) Names() []string {
	var out []string
	for _, q := range d.Queues {
		out = append(out, q.Name)
	}
	return out
}

func (d Desk) queue(name string) (Queue, error) {
	for _, q := range d.Queues {
		if q.Name == name {
			return q, nil
		}
	}
	return Queue{}, fault.New(fault.Permanent, fault.Validation, "there is no such queue; there are %s", strings.Join(d.Names(), ", ")).At("queue", name)
}

// Redrive is the kind of job that gives a queue's dead letters back. Params:
// queue, and archived for the key of one archived message instead of the queue's.
func (d Desk) Redrive() job.Kind {
	return job.Kind{Name: "redrive", Part: d.redrive, Key: func(p map[string]string) (string, error) {
		q, err := d.queue(p["queue"])
		return q.Name, err
	}}
}

func (d Desk) redrive(ctx context.Context, j job.Job) (job.Part, error) {
	q, err := d.queue(j.Params["queue"])
	if err != nil {
		return job.Part{}, err
	}
	if key := j.Params["archived"]; key != "" {
		return d.restore(ctx, j, q, key)
	}
	p := job.Part{Counts: job.Counts{Total: j.Counts.Total}, Cursor: strconv.FormatInt(j.Parts+1, 10)}
	if j.Parts == 0 {
		if p.Counts.Total, err = d.SQS.Count(ctx, q.Dead); err != nil {
			return job.Part{}, err
		}
		if p.Counts.Total == 0 {
			p.Done, p.Summary = true, q.Name+" has no dead letters"
			return p, nil
		}
	}
	if j.DryRun {
		l, err := d.look(ctx, q)
		p.Done, p.Summary = true, fmt.Sprintf("%d messages would go back to %s; the oldest seen is %s old (message %s)", l.Count, q.Name, l.Age, l.Sample)
		return p, err
	}
	var ms []Message
	for range takes {
		if ms, err = d.SQS.Take(ctx, q.Dead, batch, hide); err != nil {
			return job.Part{}, err
		}
		if len(ms) > 0 {
			break
		}
	}
	if len(ms) == 0 {
		// What somebody else took, and did not delete, is shown again soon.
		left, err := d.SQS.Count(ctx, q.Dead)
		if err != nil {
			return job.Part{}, err
		}
		if left > j.Counts.Rejected && j.Parts-j.Counts.Read/batch < patience {
			p.Wait = hide
			return p, nil
		}
	}
	for i, m := range ms {
		p.Counts.Read++
		err := q.Forward(ctx, m)
		if err != nil && fault.KindOf(err) != fault.Retryable {
			p.Rejected = append(p.Rejected, job.Rejected{Line: j.Counts.Read + p.Counts.Read, ID: m.ID, Reason: err.Error()})
			if err := d.SQS.Hide(ctx, q.Dead, m.Receipt, refusedHide); err != nil {
				return job.Part{}, err
			}
			continue
		}
		if err == nil {
			// Should this fail, the message is sent again: whoever takes it in
			// knows it by its event.
			err = d.SQS.Delete(ctx, q.Dead, m.Receipt)
		}
		if err != nil {
			return job.Part{}, d.release(ctx, q, ms[i:], err)
		}
		p.Counts.Applied++
	}
	read := j.Counts.Read + p.Counts.Read
	// What was counted at the start bounds the job: a message that is given up
	// on again is not sent round and round.
	if p.Done = len(ms) == 0 || read >= p.Counts.Total; p.Done {
		rejected := j.Counts.Rejected + int64(len(p.Rejected))
		p.Summary = fmt.Sprintf("%d messages went back to %s", read-rejected, q.Name)
		if rejected > 0 {
			p.Summary += fmt.Sprintf("; %d stay where they are", rejected)
		}
	}
	return p, nil
}

// release lets messages be received again at once, because of an error.
func (d Desk) release(ctx context.Context, q Queue, ms []Message, cause error) error {
	for _, m := range ms {
		_ = d.SQS.Hide(ctx, q.Dead, m.Receipt, time.Second) // the time that it was hidden for ends soon
	}
	return cause
}

// archived is a message in the bucket.
type archived struct {
	Schema     int               `json:"schema"`
	Queue      string            `json:"queue"`
	ID         string            `json:"message_id"`
	SentAt     time.Time         `json:"sent_at"`
	ArchivedAt time.Time         `json:"archived_at"`
	Group      string            `json:"group,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Body       string            `json:"body"`
}

// restore gives one archived message back; its copy stays in the archive.
func (d Desk) restore(ctx context.Context, j job.Job, q Queue, key string) (job.Part, error) {
	p := job.Part{Done: true, Counts: job.Counts{Read: 1, Total: 1}}
	raw, err := d.Objects.Get(ctx, key)
	if err != nil {
		return job.Part{}, err
	}
	var a archived
	if err := json.Unmarshal(raw, &a); err != nil || a.Queue != q.Name {
		return job.Part{}, fault.New(fault.Permanent, fault.Validation, "is no archived message of %s", q.Name).At("archived", key)
	}
	if j.DryRun {
		p.Summary = fmt.Sprintf("message %s would go back to %s", a.ID, q.Name)
		return p, nil
	}
	p.Counts.Applied, p.Summary = 1, fmt.Sprintf("message %s went back to %s", a.ID, q.Name)
	return p, q.Forward(ctx, Message{ID: a.ID, Body: a.Body, Group: a.Group, Sent: a.SentAt, Attributes: a.Attributes})
}

// ArchiveJob moves what is about to be forgotten into the bucket.
var ArchiveJob = job.Kind{Name: "archive", Keep: 90 * 24 * time.Hour, Key: func(map[string]string) (string, error) { return "dead-letters", nil }}

// Archive is the job with its work.
func (d Desk) Archive() job.Kind { return ArchiveJob.With(d.archive) }

// archive deals with one queue a part.
func (d Desk) archive(ctx context.Context, j job.Job) (job.Part, error) {
	at := 0
	if j.Cursor != "" {
		var err error
		if at, err = strconv.Atoi(j.Cursor); err != nil {
			return job.Part{}, fault.Wrap(fault.Permanent, fault.Internal, err, "reading the cursor")
		}
	}
	if at >= len(d.Queues) {
		return job.Part{Done: true}, nil
	}
	q, p := d.Queues[at], job.Part{}
	var young []Message
	full := false
	for len(young) < youngLimit && !full {
		ms, err := d.SQS.Take(ctx, q.Dead, batch, 2*hide)
		if err != nil {
			return job.Part{}, d.release(ctx, q, young, err)
		}
		if len(ms) == 0 {
			break
		}
		for i, m := range ms {
			p.Counts.Read++
			if d.Now().Sub(m.Sent) < ArchiveAfter || j.DryRun {
				if d.Now().Sub(m.Sent) >= ArchiveAfter {
					p.Counts.Applied++
				} else {
					p.Counts.Unchanged++
				}
				young = append(young, m)
				continue
			}
			if err := d.keep(ctx, q, m); err != nil {
				return job.Part{}, d.release(ctx, q, slices.Concat(young, ms[i:]), err)
			}
			p.Counts.Applied++
		}
		full = p.Counts.Applied >= oldLimit && !j.DryRun
	}
	_ = d.release(ctx, q, young, nil)
	if !full {
		at++ // where there may be more, the queue is looked at again
	}
	p.Cursor, p.Done = strconv.Itoa(at), at == len(d.Queues)
	archivedSoFar := j.Counts.Applied + p.Counts.Applied
	if p.Summary = fmt.Sprintf("%d messages archived", archivedSoFar); j.DryRun {
		p.Summary = fmt.Sprintf("%d messages would be archived", archivedSoFar)
	}
	return p, nil
}

// keep removes a message once its copy is written.
func (d Desk) keep(ctx context.Context, q Queue, m Message) error {
	raw, err := json.Marshal(archived{Schema: 1, Queue: q.Name, ID: m.ID, SentAt: m.Sent, ArchivedAt: d.Now(), Group: m.Group, Attributes: m.Attributes, Body: m.Body})
	if err != nil {
		return fault.Wrap(fault.Permanent, fault.Internal, err, "encoding message %s", m.ID)
	}
	if err := d.Objects.Put(ctx, ArchiveKey(q.Name, m), raw); err != nil {
		return fmt.Errorf("archiving message %s: %w", m.ID, err)
	}
	return d.SQS.Delete(ctx, q.Dead, m.Receipt)
}

// ArchiveKey is where a message is archived.
func ArchiveKey(queue string, m Message) string {
	return "raw/dead/" + queue + "/" + m.Sent.UTC().Format("2006/01/02") + "/" + m.ID + ".json"
}
