package shopify

import (
	"encoding/json"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// TestOfficialSamples states for each official order document what becomes of
// it. The real payloads are anonymised: their collector replaced ids, amounts
// and times by "example string", so they must be refused, with the first
// reason named.
func TestOfficialSamples(t *testing.T) {
	first := func(raw []byte) []byte {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
			t.Fatalf("no order in the sample: %v", err)
		}
		return list[0]
	}
	for _, tc := range []struct {
		file, member string
		certified    bool
		kind         fault.Kind
		class        fault.Class
		field        string
		id           string // of the shell, where it is refused
	}{
		{file: "webhook_samples_docs/2026-04/orders__create.json", member: "response", certified: true},
		{file: "webhook_samples_docs/2026-04/orders__paid.json", member: "response", certified: true},
		{file: "webhook_samples_docs/2026-04/orders__cancelled.json", member: "response", certified: true},
		{file: "webhook_samples_docs/2026-04/orders__fulfilled.json", member: "response", certified: true},
		{file: "webhook_samples_real/2023-10__orders__1.json", kind: fault.Permanent, class: fault.Validation, field: "admin_graphql_api_id"},
		{file: "webhook_samples_real/2024-01__orders__2.json", kind: fault.Permanent, class: fault.Validation, field: "admin_graphql_api_id"},
		{file: "webhook_samples_real/2024-04__orders__1.json", kind: fault.Permanent, class: fault.Validation, field: "admin_graphql_api_id"},
		{file: "webhook_samples_real/2025-04__orders__1.json", kind: fault.Permanent, class: fault.Validation, field: "admin_graphql_api_id"},
		// A risk record, not an order.
		{file: "webhook_samples_real/2025-04__orders__3.json", kind: fault.Permanent, class: fault.Validation, field: "id"},
		// The REST fixture's lines have empty SKUs.
		{file: "rest_fixtures/orders.json", member: "orders", kind: fault.Exception, class: fault.Mapping, field: "line_items[0].sku", id: "123456"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			raw := sample(t, tc.file)
			if tc.member != "" {
				raw = member(t, raw, tc.member)
			}
			if tc.member == "orders" {
				raw = first(raw)
			}
			o, _, err := decoder(t).DecodeOrder(raw)
			if !tc.certified {
				wantFault(t, err, tc.kind, tc.class, tc.field)
				if o.ExternalID != tc.id {
					t.Errorf("the shell's id is %q, want %q", o.ExternalID, tc.id)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := retail.Certify(o); err != nil {
				t.Errorf("the certificate does not hold: %v", err)
			}
			// The numeric id of the sample was rounded; the gid was not.
			if o.ExternalID != "820982911946154508" || o.Lines[0].ExternalID != "487817672276298554" || o.CustomerRef != "115310627314723954" {
				t.Errorf("ids are %s, %s and %s", o.ExternalID, o.Lines[0].ExternalID, o.CustomerRef)
			}
			if o.Totals.Discounts.String() != "10.00" || o.Totals.Shipping.String() != "0.00" || o.Totals.Total.String() != "404.95" || o.CanceledAt == nil {
				t.Errorf("totals are %+v", o.Totals)
			}
			if len(o.Notes) != 1 {
				t.Errorf("the spread discount is not noted: %v", o.Notes)
			}
		})
	}
}

// TestSamples holds what becomes of every published document, of whatever
// topic, and prints it.
func TestSamples(t *testing.T) {
	connectortest.Samples(t, decoder(t), map[string]string{
		"admin_graphql/admin_schema_*.graphql": "the schema of the GraphQL API, which queries and the simulator are held to",
		"webhook_schemas/2026-07/*/*.json":     "JSON schemas of webhooks (50 files), of which orders/* bind the simulator's payloads",
	})
}
