// Package shipbob translates between the platform and ShipBob, a warehouse
// network: it releases orders, reads shipments from webhooks and listings, and
// reads stock. It speaks the dated API 2026-01.
package shipbob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// version is the dated path under which every call is made.
const version = "/2026-01"

// DefaultAPIURL is the production host; the sandbox is sandbox-api.shipbob.com.
const DefaultAPIURL = "https://api.shipbob.com"

// Settings are what an administrator configures for one ShipBob account.
type Settings struct {
	// APIURL is the scheme and host; DefaultAPIURL if empty. Only https is
	// accepted, except on a loopback name.
	APIURL string `json:"api_url,omitempty"`
	// ChannelID is the channel with write scopes (GET /channel), in digits.
	ChannelID string `json:"channel_id"`
	// LocationID is the fulfilment centre that must ship; 0 lets ShipBob choose.
	LocationID int64 `json:"location_id,omitempty"`
	// ShippingMethod is sent for a release that names none; "Standard" if empty.
	ShippingMethod string `json:"shipping_method,omitempty"`
	// WebhookTolerance is how far a webhook's time may be from now, as a Go
	// duration up to 15m; "5m" if empty.
	WebhookTolerance string `json:"webhook_tolerance,omitempty"`
}

// Connector is one connection to ShipBob. It is safe for concurrent use.
type Connector struct {
	settings  Settings
	base      *url.URL
	tolerance time.Duration
	token     string
	client    *egress.Client
	now       func() time.Time
}

// New checks the settings strictly: an unknown or missing one is a
// configuration fault that names it. With a client, secrets must hold
// "access_token"; with a nil client only verifying and decoding work.
func New(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (*Connector, error) {
	s, err := decodeSettings(settings)
	if err != nil {
		return nil, err
	}
	c := &Connector{settings: s, token: secrets["access_token"], client: client, now: now}
	if c.base, err = parseBase(s.APIURL); err != nil {
		return nil, err
	}
	if c.tolerance, err = time.ParseDuration(s.WebhookTolerance); err != nil || c.tolerance <= 0 || c.tolerance > 15*time.Minute {
		return nil, misconfigured("webhook_tolerance", s.WebhookTolerance, "must be a duration above zero and up to 15m")
	}
	if client != nil && c.token == "" {
		return nil, misconfigured("access_token", "", "is missing from the connection's secrets")
	}
	return c, nil
}

func decodeSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return s, misconfigured(wrong.Field, "", "must be a "+wrong.Type.String()+", not a "+wrong.Value)
		}
		return s, fault.Wrap(fault.Permanent, fault.Configuration, err, "reading the ShipBob settings")
	}
	if dec.More() {
		return s, misconfigured("settings", "", "has text after the JSON object")
	}
	if s.APIURL == "" {
		s.APIURL = DefaultAPIURL
	}
	if s.ShippingMethod == "" {
		s.ShippingMethod = "Standard"
	}
	if s.WebhookTolerance == "" {
		s.WebhookTolerance = "5m"
	}
	if !digits(s.ChannelID) {
		return s, misconfigured("channel_id", s.ChannelID, "must be the channel's number, as a string")
	}
	if s.LocationID < 0 {
		return s, misconfigured("location_id", "", "must not be negative")
	}
	return s, nil
}

func parseBase(s string) (*url.URL, error) {
	u, value, wrong := egress.ParseAddress(s)
	if wrong != "" {
		return nil, misconfigured("api_url", value, wrong)
	}
	if u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, misconfigured("api_url", "", "must be a scheme and a host only")
	}
	u.Path = ""
	return u, nil
}

func misconfigured(field, value, message string) error {
	return fault.New(fault.Permanent, fault.Configuration, "%s", message).At(field, value)
}

// digits reports whether s is one of ShipBob's numeric ids. It is also what
// makes an id safe inside a path.
func digits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 20
}

// request builds a call with the credential and the channel. query may be nil.
func (c *Connector) request(method, path string, query url.Values, body []byte) (*http.Request, error) {
	u := *c.base
	u.Path, u.RawQuery = version+path, query.Encode()
	return c.requestURL(method, u.String(), body)
}

func (c *Connector) requestURL(method, target string, body []byte) (*http.Request, error) {
	if c.client == nil {
		return nil, fault.New(fault.Permanent, fault.Internal, "calling ShipBob through a connector that only decodes")
	}
	r, err := egress.NewRequest(method, target, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json")
	// The header's name has underscores in the official specification.
	r.Header.Set("shipbob_channel_id", c.settings.ChannelID)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// get reads a resource and decodes a 200 into into.
func (c *Connector) get(ctx context.Context, r *http.Request, into any) error {
	res, err := c.client.Read(ctx, r)
	if err != nil {
		return err
	}
	if res.Status != http.StatusOK {
		return refused(res, r.URL.Path)
	}
	if err := unmarshal(res.Body, into); err != nil {
		return fault.New(fault.Retryable, fault.Connectivity, "%s answered %s with something that is not the documented JSON", r.URL.Host, r.URL.Path)
	}
	return nil
}

// refused classifies a 4xx that no capability gives a meaning of its own.
func refused(res *egress.Response, path string) *fault.Error {
	switch res.Status {
	case http.StatusRequestTimeout:
		return fault.New(fault.Retryable, fault.Connectivity, "ShipBob answered 408 to %s", path)
	case http.StatusNotFound:
		return fault.New(fault.Permanent, fault.Configuration, "ShipBob does not know %s (HTTP 404); check api_url", path)
	default:
		return fault.New(fault.Permanent, fault.Validation, "ShipBob refused %s (HTTP %d)", path, res.Status)
	}
}

// id is an int64 of ShipBob's, kept as its digits: a float64 would lose ids
// above 2^53. It reads a JSON number or a string of digits.
type id string

func (i *id) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		*i = ""
		return nil
	}
	if !digits(s) {
		return errors.New("is not an id")
	}
	*i = id(s)
	return nil
}
