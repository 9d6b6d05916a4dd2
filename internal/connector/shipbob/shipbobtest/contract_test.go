package shipbobtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContractCoversTheSimulatedOperations(t *testing.T) {
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ method, path, id, param string }{
		{"GET", "/2026-01/channel", "get-channels", ""},
		{"POST", "/2026-01/order", "create-order", ""},
		{"GET", "/2026-01/order", "get-orders", ""},
		{"GET", "/2026-01/order/77", "get-order", "77"},
		{"GET", "/2026-01/order/77/shipment", "get-all-shipments-for-order", "77"},
		{"GET", "/2026-01/shipment/78", "get-shipment", "78"},
		{"GET", "/2026-01/inventory-level", "get-all-inventory-levels", ""},
		{"GET", "/2026-01/location", "get-locations", ""},
		{"POST", "/2026-01/webhook", "create-subscription", ""},
		{"GET", "/2026-01/webhook", "get-subscriptions", ""},
	} {
		op, param := c.find(tc.method, tc.path)
		if op == nil || op.id != tc.id || param != tc.param {
			t.Errorf("%s %s finds %+v with %q, want %s with %q", tc.method, tc.path, op, param, tc.id, tc.param)
		}
	}
	if op, _ := c.find("DELETE", "/2026-01/order/77"); op != nil {
		t.Errorf("an operation that is not simulated is found: %s", op.id)
	}
}

func TestContractNamesWhatAnOrderBreaks(t *testing.T) {
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	op, _ := c.find("POST", "/2026-01/order")
	const recipient = `"recipient":{"name":"A","address":{"address1":"1","city":"C","country":"US"}}`
	for _, tc := range []struct {
		name, body string
		want       []breach
	}{
		{"a minimal order is allowed", `{"reference_id":"r","shipping_method":"s","type":"DTC","products":[{"reference_id":"a","name":null,"quantity":1}],` + recipient + `}`, nil},
		{"a product by id is allowed", `{"reference_id":"r","shipping_method":"s","type":"DTC","products":[{"id":9007199254740993,"quantity":1}],` + recipient + `}`, nil},
		{"a quantity as text is not", `{"reference_id":"r","shipping_method":"s","type":"DTC","products":[{"reference_id":"a","name":null,"quantity":"1"}],` + recipient + `}`, []breach{{"products[0].quantity", "type"}}},
		{"a fraction is not a quantity", `{"reference_id":"r","shipping_method":"s","type":"DTC","products":[{"reference_id":"a","name":null,"quantity":1.5}],` + recipient + `}`, []breach{{"products[0].quantity", "type"}}},
		{"an unknown type of order is not", `{"reference_id":"r","shipping_method":"s","type":"B2X","products":[],` + recipient + `}`, []breach{{"type", "enum"}}},
		{"an address without a city is not", `{"reference_id":"r","shipping_method":"s","type":"DTC","products":[],"recipient":{"name":"A","address":{"address1":"1","country":"US"}}}`, []breach{{"recipient.address", "required"}}},
		{"a malformed date is not", `{"reference_id":"r","shipping_method":"s","type":"DTC","purchase_date":"yesterday","products":[],` + recipient + `}`, []breach{{"purchase_date", "format"}}},
		{"text that is not JSON is not", `{`, []breach{{"", "json"}}},
	} {
		if diff := cmp.Diff(tc.want, judge(op.request, []byte(tc.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
