package connectortest

import (
	"net/http"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
)

func webhookChecks(h Harness) []check {
	applies := has[verifier](h.Bare)
	var out []check
	for _, c := range []struct {
		name string
		run  func(w *hooks)
	}{
		{"vendor_vectors", (*hooks).vectors},
		{"right_signature", (*hooks).right},
		{"wrong_signature", (*hooks).wrong},
		{"missing_header", (*hooks).missing},
		{"stale", (*hooks).stale},
		{"two_live_secrets", (*hooks).rotation},
		{"duplicate", (*hooks).duplicate},
		{"reordered", (*hooks).reordered},
		{"topics", (*hooks).topics},
	} {
		out = append(out, check{"webhook/" + c.name, applies, func(t testing.TB, h Harness) string {
			if h.Webhooks == nil {
				t.Fatal("the harness does not say how the vendor delivers")
			}
			c.run(&hooks{t, must[verifier](t, h.Bare), *h.Webhooks})
			return ""
		}})
	}
	return out
}

type hooks struct {
	testing.TB
	connector verifier
	Webhooks
}

var body = []byte(`{"id":9007199254740993,"note":"ä"}`)

func (w *hooks) delivery(change func(*Delivery)) http.Header {
	d := Delivery{EventID: "evt-1", Topic: w.wanted(), Secret: w.Secrets[0], Body: body, At: Noon}
	if change != nil {
		change(&d)
	}
	return w.Deliver(d)
}

func (w *hooks) wanted() string {
	for topic := range w.Topics {
		return topic
	}
	w.Fatal("the harness names no topic")
	return ""
}

// accepted demands that a delivery passes.
func (w *hooks) accepted(why string, h http.Header, body []byte, secrets []string, now time.Time) {
	w.Helper()
	if err := w.connector.VerifyWebhook(h, body, secrets, now); err != nil {
		w.Errorf("%s: %v", why, err)
	}
}

// refused demands that a delivery is refused for good.
func (w *hooks) refused(why string, h http.Header, body []byte, secrets []string, now time.Time) {
	w.Helper()
	err := w.connector.VerifyWebhook(h, body, secrets, now)
	if err == nil {
		w.Errorf("%s: it is accepted", why)
		return
	}
	if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.Authentication {
		w.Errorf("%s: %v is not Permanent/authentication", why, err)
	}
}

func (w *hooks) vectors() {
	valid := 0
	for _, v := range w.Vectors {
		if v.Valid {
			valid++
			w.accepted(v.Name, v.Header, v.Body, v.Secrets, v.At)
			continue
		}
		w.refused(v.Name, v.Header, v.Body, v.Secrets, v.At)
	}
	if valid == 0 || valid == len(w.Vectors) {
		w.Errorf("%d of %d vectors are valid; both sides are needed", valid, len(w.Vectors))
	}
}

func (w *hooks) right() {
	w.accepted("a right signature", w.delivery(nil), body, w.Secrets[:1], Noon)
}

func (w *hooks) wrong() {
	h := w.delivery(nil)
	w.refused("another secret", h, body, w.Secrets[1:2], Noon)
	w.refused("another body", h, append([]byte(" "), body...), w.Secrets[:1], Noon)
	w.refused("a body cut short", h, body[:len(body)-1], w.Secrets[:1], Noon)
	w.refused("no secret", h, body, nil, Noon)
	w.refused("an empty secret", w.delivery(func(d *Delivery) { d.Secret = "" }), body, []string{""}, Noon)
}

func (w *hooks) missing() {
	if len(w.Mandatory) == 0 {
		w.Fatal("the harness names no mandatory header")
	}
	for _, name := range w.Mandatory {
		h := w.delivery(nil)
		if h.Get(name) == "" {
			w.Errorf("%s is not in a delivery", name)
		}
		h.Del(name)
		w.refused("without "+name, h, body, w.Secrets[:1], Noon)
		h.Set(name, "")
		w.refused("with an empty "+name, h, body, w.Secrets[:1], Noon)
	}
	w.refused("without any header", http.Header{}, body, w.Secrets[:1], Noon)
}

func (w *hooks) stale() {
	old := w.delivery(func(d *Delivery) { d.At = Noon.Add(-w.Oldest) })
	w.accepted("as old as may be", old, body, w.Secrets[:1], Noon)
	w.refused("older", old, body, w.Secrets[:1], Noon.Add(time.Second))
	w.refused("from the future", w.delivery(func(d *Delivery) { d.At = Noon.Add(w.Oldest + time.Hour) }), body, w.Secrets[:1], Noon)
}

func (w *hooks) rotation() {
	fresh, previous, retired := w.Secrets[0], w.Secrets[1], w.Secrets[2]
	live := []string{fresh, previous}
	for _, secret := range live {
		w.accepted("signed with a live secret", w.delivery(func(d *Delivery) { d.Secret = secret }), body, live, Noon)
	}
	w.refused("signed with a retired secret", w.delivery(func(d *Delivery) { d.Secret = retired }), body, live, Noon)
}

// announced is what a delivery's headers tell.
func (w *hooks) announced(change func(*Delivery)) (event string, at time.Time) {
	w.Helper()
	a, err := w.connector.Announce(w.delivery(change))
	if err != nil {
		w.Fatal(err)
	}
	if a.EventID == "" {
		w.Fatal("the event has no id")
	}
	return a.EventID, a.TriggeredAt
}

// duplicate demands that what the vendor sends twice is told to be one event,
// and that two events are told apart.
func (w *hooks) duplicate() {
	first, _ := w.announced(nil)
	retry, _ := w.announced(func(d *Delivery) { d.At = Noon.Add(time.Minute) })
	rotated, _ := w.announced(func(d *Delivery) { d.Secret = w.Secrets[1] })
	other, _ := w.announced(func(d *Delivery) { d.EventID = "evt-2" })
	if retry != first || rotated != first {
		w.Errorf("one event is announced as %q, %q and %q", first, retry, rotated)
	}
	if other == first {
		w.Errorf("two events are announced as %q", first)
	}
}

// reordered demands that deliveries which arrive in the wrong order can be
// brought into the right one.
func (w *hooks) reordered() {
	later, b := w.announced(func(d *Delivery) { d.EventID, d.At = "evt-2", Noon.Add(time.Minute) })
	earlier, a := w.announced(nil)
	if earlier == later || !a.Equal(Noon) || !b.Equal(Noon.Add(time.Minute)) {
		w.Errorf("announced as %q at %s and %q at %s", earlier, a, later, b)
	}
	if a.Location() != time.UTC {
		w.Errorf("the time is in %s", a.Location())
	}
}

func (w *hooks) topics() {
	for topic, flow := range w.Topics {
		a, err := w.connector.Announce(w.delivery(func(d *Delivery) { d.Topic = topic }))
		if err != nil || a.Flow != flow || a.Topic != topic {
			w.Errorf("%s is announced as %+v, %v", topic, a, err)
		}
	}
	a, err := w.connector.Announce(w.delivery(func(d *Delivery) { d.Topic = w.Unwanted }))
	if err != nil || a.Flow != "" {
		w.Errorf("%s, which nobody wants, is announced as %+v, %v", w.Unwanted, a, err)
	}
}
