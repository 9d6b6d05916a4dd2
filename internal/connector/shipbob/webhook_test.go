package shipbob_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/fault"
)

type vector struct {
	Secret    string `json:"secret"`
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"`
	Payload   string `json:"payload"`
	Expect    string `json:"expect"`
}

// officialVector is the signing vector of the Standard Webhooks repository.
func officialVector(t *testing.T) (vector, []string) {
	t.Helper()
	var doc struct {
		Sign []vector `json:"sign"`
	}
	if err := json.Unmarshal(unpack(t, "standard_webhooks_vectors.json.gz"), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Sign) != 2 {
		t.Fatalf("%d vectors, want 2", len(doc.Sign))
	}
	return doc.Sign[0], []string{doc.Sign[0].Secret, doc.Sign[1].Secret}
}

func delivery(v vector, signature string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", v.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(v.Timestamp, 10))
	h.Set("webhook-signature", signature)
	return h
}

func TestWebhookVerification(t *testing.T) {
	v, secrets := officialVector(t)
	const other = "whsec_c2VjcmV0LW9mLXNvbWVib2R5LWVsc2U="
	at := time.Unix(v.Timestamp, 0)
	unsigned := delivery(v, v.Expect)
	unsigned.Del("webhook-signature")
	foreign := delivery(v, v.Expect)
	foreign.Set("webhook-id", "msg_other")
	dotted := delivery(v, shipbobtest.Sign(secrets[0], "msg.1", at, []byte(v.Payload)))
	dotted.Set("webhook-id", "msg.1")
	undated := delivery(v, v.Expect)
	undated.Set("webhook-timestamp", "soon")
	for _, tc := range []struct {
		name    string
		headers http.Header
		body    string
		secrets []string
		now     time.Time
		ok      bool
	}{
		{"the official vector passes", delivery(v, v.Expect), v.Payload, secrets[:1], at, true},
		{"the secret's prefix is optional", delivery(v, v.Expect), v.Payload, secrets[1:], at, true},
		{"any live secret will do", delivery(v, v.Expect), v.Payload, []string{other, secrets[0]}, at, true},
		{"one of several signatures will do", delivery(v, "v1,AAAA v2,xyz "+v.Expect), v.Payload, secrets[:1], at, true},
		{"padding may be missing", delivery(v, strings.TrimRight(v.Expect, "=")), v.Payload, secrets[:1], at, true},
		{"five minutes early passes", delivery(v, v.Expect), v.Payload, secrets[:1], at.Add(-5 * time.Minute), true},
		{"five minutes late passes", delivery(v, v.Expect), v.Payload, secrets[:1], at.Add(5 * time.Minute), true},
		{"more than five minutes early fails", delivery(v, v.Expect), v.Payload, secrets[:1], at.Add(-5*time.Minute - time.Second), false},
		{"more than five minutes late fails", delivery(v, v.Expect), v.Payload, secrets[:1], at.Add(5*time.Minute + time.Second), false},
		{"another body fails", delivery(v, v.Expect), v.Payload + " ", secrets[:1], at, false},
		{"another id fails", foreign, v.Payload, secrets[:1], at, false},
		{"an id with a full stop fails, though it is signed", dotted, v.Payload, secrets[:1], at, false},
		{"a timestamp that is no number fails", undated, v.Payload, secrets[:1], at, false},
		{"another secret fails", delivery(v, v.Expect), v.Payload, []string{other}, at, false},
		{"no secret fails", delivery(v, v.Expect), v.Payload, nil, at, false},
		{"an empty secret fails", emptyKeySigned(v), v.Payload, []string{"whsec_", ""}, at, false},
		{"another version fails", delivery(v, strings.Replace(v.Expect, "v1,", "v1a,", 1)), v.Payload, secrets[:1], at, false},
		{"no signature fails", unsigned, v.Payload, secrets[:1], at, false},
		{"no headers fail", http.Header{}, v.Payload, secrets[:1], at, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := decoder(t).VerifyWebhook(tc.headers, []byte(tc.body), tc.secrets, tc.now)
			if tc.ok {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Authentication})
		})
	}
}

// emptyKeySigned is what anybody can sign with a secret of no bytes.
func emptyKeySigned(v vector) http.Header {
	return delivery(v, shipbobtest.Sign("", v.ID, time.Unix(v.Timestamp, 0), []byte(v.Payload)))
}

func TestSimulatorSignsByTheOfficialVector(t *testing.T) {
	v, secrets := officialVector(t)
	for _, secret := range secrets {
		if got := shipbobtest.Sign(secret, v.ID, time.Unix(v.Timestamp, 0), []byte(v.Payload)); got != v.Expect {
			t.Errorf("signs %s, want %s", got, v.Expect)
		}
	}
}

func TestAnnouncement(t *testing.T) {
	for _, tc := range []struct{ name, topic, flow string }{
		{"order.shipped is a shipment", "order.shipped", "shipment"},
		{"a delivery is for no flow", "order.shipment.delivered", ""},
		{"a return is for no flow", "return.completed", ""},
		{"a topic of the future is for no flow", "order.teleported", ""},
	} {
		h := shipbobtest.Headers(tc.topic, "msg_1", []byte("{"), "whsec_c2VjcmV0", noon)
		a, err := decoder(t).Announce(h)
		if err != nil || a.Flow != tc.flow || a.Topic != tc.topic || a.EventID != "msg_1" || !a.TriggeredAt.Equal(noon) {
			t.Errorf("%s: %+v, %v", tc.name, a, err)
		}
	}
	h := shipbobtest.Headers("", "msg_1", nil, "whsec_c2VjcmV0", noon)
	_, err := decoder(t).Announce(h)
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "x-webhook-topic"})
	h = shipbobtest.Headers("order.shipped", "", nil, "whsec_c2VjcmV0", noon)
	_, err = decoder(t).Announce(h)
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Validation, Field: "webhook-id"})
}
