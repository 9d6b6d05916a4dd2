// Package shopify translates between the platform and a Shopify shop: it
// verifies webhooks, reads orders (webhook payloads and the Admin GraphQL API)
// and tells the shop what was shipped.
package shopify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// DefaultAPIVersion is the dated API that the queries are validated against.
const DefaultAPIVersion = "2026-07"

// Settings are what an administrator configures for one shop.
type Settings struct {
	// Shop is the permanent domain, such as "example.myshopify.com": webhooks
	// name it whatever domain shoppers use.
	Shop string `json:"shop"`
	// APIURL is the scheme and host of the Admin API; https://{shop} if empty.
	// Only https is accepted, except on a loopback name.
	APIURL string `json:"api_url"`
	// APIVersion is a quarterly version; DefaultAPIVersion if empty.
	APIVersion string `json:"api_version"`
}

// Secrets are the credentials of one shop: "access_token" for the Admin API.
// They may be empty where the connector only verifies and decodes.
type Secrets map[string]string

// Connector is one connection to a shop. It is safe for concurrent use.
type Connector struct {
	settings Settings
	endpoint string
	token    string
	client   *egress.Client
	now      func() time.Time
	// pause waits between the pages of one long order, or returns early with
	// the context's error.
	pause func(ctx context.Context, d time.Duration) error
}

var (
	domain  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.myshopify\.com$`)
	version = regexp.MustCompile(`^20[0-9]{2}-(01|04|07|10)$`)
)

// New checks the settings strictly: an unknown or missing one is a permanent
// configuration fault that names it. client may be nil for a connector that
// only verifies webhooks and decodes; with a client the access token must be
// there.
func New(settings json.RawMessage, secrets map[string]string, client *egress.Client, now func() time.Time) (*Connector, error) {
	s, err := decodeSettings(settings)
	if err != nil {
		return nil, err
	}
	token := secrets["access_token"]
	if client != nil && token == "" {
		return nil, misconfigured("access_token", "", "is missing from the connection's secrets")
	}
	return &Connector{
		settings: s,
		endpoint: s.APIURL + "/admin/api/" + s.APIVersion + "/graphql.json",
		token:    token, client: client, now: now, pause: pause,
	}, nil
}

func decodeSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return s, misconfigured(first(wrong.Field, "settings"), "", "must be a "+wrong.Type.String()+", not a "+wrong.Value)
		}
		// encoding/json has no typed error for an unknown field, so the name
		// is found by comparing the keys with the settings that exist.
		return s, misconfigured(unknownSetting(raw), "", "is not a setting of a Shopify connection, or the settings are not a JSON object")
	}
	if dec.More() {
		return s, misconfigured("settings", "", "has text after the JSON object")
	}
	if s.Shop == "" {
		return s, misconfigured("shop", "", "is missing")
	}
	if !domain.MatchString(s.Shop) {
		return s, misconfigured("shop", s.Shop, "must be the shop's permanent domain in lower case, such as example.myshopify.com")
	}
	if s.APIVersion == "" {
		s.APIVersion = DefaultAPIVersion
	}
	if !version.MatchString(s.APIVersion) {
		return s, misconfigured("api_version", s.APIVersion, "must be a quarterly version such as "+DefaultAPIVersion)
	}
	if s.APIURL == "" {
		s.APIURL = "https://" + s.Shop
	}
	u, value, wrong := egress.ParseAddress(s.APIURL)
	if wrong != "" {
		return s, misconfigured("api_url", value, wrong)
	}
	if u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return s, misconfigured("api_url", s.APIURL, "must be a scheme and a host only")
	}
	s.APIURL = u.Scheme + "://" + u.Host
	return s, nil
}

func unknownSetting(raw json.RawMessage) string {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return "settings"
	}
	for k := range m {
		if k != "shop" && k != "api_url" && k != "api_version" {
			return k
		}
	}
	return "settings"
}

func misconfigured(field, value, message string) error {
	return fault.New(fault.Permanent, fault.Configuration, "%s", message).At(field, value)
}

// pause waits for d on the context alone: it ends early, with the context's
// error, when the caller gives up.
func pause(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	return ctx.Err()
}
