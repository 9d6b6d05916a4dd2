package shipbob_test

import (
	"encoding/json"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

func TestSettingsAreStrict(t *testing.T) {
	for _, tc := range []struct{ name, settings, field, value string }{
		{"a channel is required", `{}`, "channel_id", ""},
		{"a channel is a number", `{"channel_id":"main"}`, "channel_id", "main"},
		{"a channel is written as a string", `{"channel_id":433}`, "channel_id", ""},
		{"plain http is for loopback only", `{"channel_id":"1","api_url":"http://api.shipbob.com"}`, "api_url", "http://api.shipbob.com"},
		{"the URL has a port that there is", `{"channel_id":"1","api_url":"https://api.shipbob.com:99999"}`, "api_url", "https://api.shipbob.com:99999"},
		{"the URL has a host", `{"channel_id":"1","api_url":"https://:443"}`, "api_url", "https://:443"},
		{"the URL has no path", `{"channel_id":"1","api_url":"https://api.shipbob.com/1.0"}`, "api_url", ""},
		{"the URL holds no credential", `{"channel_id":"1","api_url":"https://a:b@api.shipbob.com"}`, "api_url", ""},
		{"the location is a number", `{"channel_id":"1","location_id":"8"}`, "location_id", ""},
		{"the location is not negative", `{"channel_id":"1","location_id":-8}`, "location_id", ""},
		{"the tolerance is a duration", `{"channel_id":"1","webhook_tolerance":"5"}`, "webhook_tolerance", "5"},
		{"the tolerance is bounded", `{"channel_id":"1","webhook_tolerance":"16m"}`, "webhook_tolerance", "16m"},
		{"nothing follows the object", `{"channel_id":"1"} {}`, "settings", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := shipbob.New(json.RawMessage(tc.settings), nil, nil, clock)
			wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: tc.field, Value: tc.value})
		})
	}
	if _, err := shipbob.New(json.RawMessage(`{"channel_id":"1","chanel":"x"}`), nil, nil, clock); err == nil {
		t.Error("an unknown setting is accepted")
	}
	if _, err := shipbob.New(nil, nil, nil, clock); fault.KindOf(err) != fault.Permanent {
		t.Errorf("missing settings give %v", err)
	}
}

func TestAClientNeedsAnAccessToken(t *testing.T) {
	_, err := shipbob.New(json.RawMessage(`{"channel_id":"1"}`), nil, egress.New(clock), clock)
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Configuration, Field: "access_token"})
}

func TestADecodeOnlyConnectorRefusesToCall(t *testing.T) {
	c := decoder(t)
	_, err := c.Stock(t.Context())
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal})
	_, err = c.Release(t.Context(), effecttest.Permit("k"), release("o-1", line("MUG", 1)), shopper())
	wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal})
}
