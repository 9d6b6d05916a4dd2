package shopify

import (
	"testing"

	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
)

// TestEveryDocumentIsValidAndAffordable runs each document through the
// vendor's schema with the largest page sizes that the connector uses.
func TestEveryDocumentIsValidAndAffordable(t *testing.T) {
	lines := make([]any, maxInputArray)
	for i := range lines {
		lines[i] = map[string]any{"id": "gid://shopify/FulfillmentOrderLineItem/1", "quantity": 1}
	}
	vars := map[string][]map[string]any{
		"ListOrders": {{"first": listPage, "after": "c", "query": "updated_at:>='2026-01-01T00:00:00Z'", "shipping": shippingPage, "lines": listLines, "duties": true}},
		"FetchOrder": {{"id": "gid://shopify/Order/1", "shipping": shippingPage, "lines": fetchLines, "duties": true}},
		"OrderLines": {
			{"id": "gid://shopify/Order/1", "first": morePlain, "after": "c", "duties": false},
			{"id": "gid://shopify/Order/1", "first": moreWithDuty, "after": "c", "duties": true},
		},
		"OrderDeliveries":       {{"id": "gid://shopify/Order/1", "first": fetchLines, "after": "c"}},
		"FulfillmentOrders":     {{"id": "gid://shopify/Order/1", "first": fulfillmentOrders, "lines": fulfillmentLines, "done": fulfillmentsRead, "tracked": true}},
		"FulfillmentOrderLines": {{"id": "gid://shopify/FulfillmentOrder/1", "first": moreFulfillment, "after": "c"}},
		"Fulfillments":          {{"id": "gid://shopify/Order/1", "first": fulfillmentsRead}},
		"FulfillmentLines":      {{"id": "gid://shopify/Fulfillment/1", "first": moreFulfillment}},
		"FulfillmentCreate": {{"fulfillment": map[string]any{"notifyCustomer": false,
			"trackingInfo":                map[string]any{"company": "UPS", "number": "1Z", "url": "https://example.com/1Z"},
			"lineItemsByFulfillmentOrder": []any{map[string]any{"fulfillmentOrderId": "gid://shopify/FulfillmentOrder/1", "fulfillmentOrderLineItems": lines}}}}},
	}
	if len(vars) != len(documents) {
		t.Errorf("%d documents, %d with variables", len(documents), len(vars))
	}
	for name, document := range documents {
		for _, v := range vars[name] {
			points, err := shopifytest.CheckDocument(document, v)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if points > maxQueryCost {
				t.Errorf("%s costs %d points, more than %d", name, points, maxQueryCost)
			}
			t.Logf("%s: %d points", name, points)
		}
	}
}
