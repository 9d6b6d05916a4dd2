package shopify

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/samples"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// in turns an order's amounts into those of another currency of the shop, by a
// factor on the minor units' text.
func in(d doc, currency string, amount func(string) string) {
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case doc:
			for k, x := range v {
				switch s, text := x.(string); {
				case text && (k == "currency_code" || k == "currency" || k == "presentment_currency"):
					v[k] = currency
				case text && (k == "amount" || strings.Contains(k, "price") || strings.HasPrefix(k, "total_")):
					v[k] = amount(s)
				default:
					v[k] = walk(x)
				}
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		}
		return v
	}
	walk(d)
}

// TestOrdersOfEveryKindCertify are orders as shops of other kinds, countries
// and years write them.
func TestOrdersOfEveryKindCertify(t *testing.T) {
	remove := func(keys ...string) func(doc) {
		return func(d doc) {
			for _, k := range keys {
				delete(d, k)
			}
		}
	}
	for name, change := range map[string]func(doc){
		"yen":                     func(d doc) { in(d, "JPY", func(s string) string { return strings.ReplaceAll(s, ".", "") }) },
		"yen with a point":        func(d doc) { in(d, "JPY", func(s string) string { return strings.ReplaceAll(s, ".", "") + ".00" }) },
		"dinar of three digits":   func(d doc) { in(d, "KWD", func(s string) string { return s + "0" }) },
		"amounts without a point": func(d doc) { lineOf(d, 0)["price"], lineOf(d, 1)["price"] = "20", json.Number("10") },
		"a business buyer": func(d doc) {
			d["company"], d["po_number"], d["payment_terms"] = doc{"id": json.Number("1"), "location_id": json.Number("2")}, "PO-7", doc{"due_in_days": json.Number("30"), "payment_schedules": []any{}}
		},
		"a point of sale": func(d doc) {
			d["source_name"], d["location_id"], d["customer"], d["shipping_address"], d["billing_address"], d["email"] = "pos", json.Number("5"), nil, nil, nil, ""
		},
		"from a draft":      func(d doc) { d["source_name"], d["checkout_id"], d["cart_token"] = "shopify_draft_order", nil, nil },
		"without addresses": remove("shipping_address", "billing_address", "customer", "email", "phone"),
		"without sets":      remove("presentment_currency"),
		"refunded in part": func(d doc) {
			d["financial_status"], d["refunds"] = "partially_refunded", []any{doc{"id": json.Number("1")}}
			lineOf(d, 0)["current_quantity"] = json.Number("1")
		},
		"voided and cancelled": func(d doc) {
			d["financial_status"], d["cancelled_at"], d["cancel_reason"] = "voided", "2026-07-02T00:00:00Z", "fraud"
		},
		"numbers for texts": func(d doc) {
			d["shipping_address"].(doc)["zip"], lineOf(d, 0)["sku"] = json.Number("78704"), json.Number("10045")
		},
		"no taxes at all": func(d doc) {
			for i := range 2 {
				delete(lineOf(d, i), "tax_lines")
			}
			d["total_tax"], d["total_price"] = "0.00", "50.00"
		},
		"a gift card as tender": func(d doc) { d["payment_gateway_names"], d["total_outstanding"] = []any{"gift_card"}, "0.00" },
		"an unknown field everywhere": func(d doc) {
			d["x"], lineOf(d, 0)["x"], shippingOf(d, 0)["x"] = doc{"y": []any{nil}}, []any{json.Number("1e9")}, true
		},
		"two taxes on a line": func(d doc) {
			lineOf(d, 0)["tax_lines"] = []any{doc{"title": "State", "price": "2.00", "rate": "0.05"}, doc{"title": "City", "price": "0.88", "rate": nil, "channel_liable": nil}}
		},
		"sets only on lines": func(d doc) {
			l := lineOf(d, 0)
			delete(l, "price")
			l["price_set"] = bagOf("20.00", "20.00", "USD")
			l["discount_allocations"] = []any{doc{"amount_set": bagOf("4.00", "4.00", "USD")}}
			l["tax_lines"] = []any{doc{"price_set": bagOf("2.88", "2.88", "USD")}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := mustDecode(t, decoder(t), edited(t, change))
			if cert, err := retail.Certify(o); err != nil {
				t.Errorf("%v\n%+v", err, cert)
			}
			if strings.HasPrefix(name, "yen") && (o.Totals.Total.Currency != "JPY" || o.Totals.Total.Amount != 5360) || name == "dinar of three digits" && o.Totals.Total.Amount != 53600 {
				t.Errorf("the total is %+v", o.Totals.Total)
			}
		})
	}
}

func TestAmountsBelowZeroAreRefused(t *testing.T) {
	for field, change := range map[string]func(doc){
		"line_items[0].price": func(d doc) { lineOf(d, 0)["price"] = "-20.00" },
		"total_price":         func(d doc) { d["total_price"] = "-53.60" },
		"line_items[0].discount_allocations[0].amount": func(d doc) { lineOf(d, 0)["discount_allocations"] = []any{doc{"amount": "-0.01"}} },
		"shipping_lines[0].price":                      func(d doc) { shippingOf(d, 0)["price"] = json.Number("-5") },
	} {
		_, _, err := decoder(t).DecodeOrder(edited(t, change))
		wantFault(t, err, fault.Exception, fault.Validation, field)
	}
	mustDecode(t, decoder(t), edited(t, func(d doc) { d["total_tip_received"] = "-0.00" }))
}

func TestWordsThatAreNotKnownAreNoted(t *testing.T) {
	o, _ := mustDecode(t, decoder(t), edited(t, func(d doc) {
		d["cancel_reason"], d["fulfillment_status"], lineOf(d, 1)["fulfillment_status"] = "whim", "teleported", "sent@someone"
	}))
	want := []string{`the shop states cancel_reason "whim", which is not known here`, `the shop states fulfillment_status "teleported", which is not known here`}
	if !slices.Equal(o.Notes, want) {
		t.Errorf("notes are %q", o.Notes)
	}
}

func TestTotalsThatTheShopperSawAreLeftOutIfTheyDoNotAddUp(t *testing.T) {
	o, _ := mustDecode(t, decoder(t), edited(t, func(d doc) {
		d["presentment_currency"] = "EUR"
		for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "4.00"},
			"total_tax": {"3.60", "2.88"}, "total_price": {"53.60", "99.99"}, "total_shipping_price": {"5.00", "4.00"}} {
			d[key+"_set"] = bagOf(v[0], v[1], "EUR")
		}
	}))
	if o.Presentment != nil || len(o.Notes) != 1 || !strings.Contains(o.Notes[0], "99.99 EUR") {
		t.Errorf("presentment %+v, notes %q", o.Presentment, o.Notes)
	}
}

// TestInspectFindsTheOrdersInEveryEnvelope also holds other topics to be
// refused as such.
func TestInspectFindsTheOrdersInEveryEnvelope(t *testing.T) {
	const graph = `{"id":"gid://shopify/Order/1","name":"#1","currencyCode":"USD","updatedAt":"2026-07-01T00:00:00Z","createdAt":"2026-07-01T00:00:00Z","totalPriceSet":{"shopMoney":{"amount":"2.0","currencyCode":"USD"}},
		"lineItems":{"edges":[{"node":{"id":"gid://shopify/LineItem/1","sku":"A","quantity":1,"originalUnitPriceSet":{"shopMoney":{"amount":"2.0","currencyCode":"USD"}}}}]}}`
	for _, tc := range []struct {
		name, file, raw string
		decoded         int
		field           string // of the refusal
	}{
		{"bare", "a.json", plain, 1, ""},
		{"of the REST API", "a.json", `{"order":` + plain + `}`, 1, ""},
		{"a listing", "a.json", `{"orders":[` + plain + `,` + plain + `]}`, 2, ""},
		{"a topic that no flow waits for", "orders__partially_fulfilled.json", plain, 1, ""},
		{"of the GraphQL API", "a.json", `{"data":{"order":` + graph + `},"extensions":{}}`, 1, ""},
		{"a page of it", "a.json", `{"data":{"orders":{"nodes":[` + graph + `]}}}`, 1, ""},
		{"edges of it", "a.json", `{"data":{"orders":{"edges":[{"node":` + graph + `}]}}}`, 1, ""},
		{"bare in its form", "a.json", graph, 1, ""},
		{"errors of it", "a.json", `{"errors":[{"message":"Throttled"}]}`, 0, "errors"},
		{"errors of it by their code, not by their words", "a.json", `{"errors":[{"message":"Ann Lee","extensions":{"code":"MAX_COST_EXCEEDED"}}],"data":null}`, 0, "errors[0].extensions.code"},
		{"errors of it under what is no code", "a.json", `{"errors":[{"message":"x","extensions":{"code":"ann@example.com"}}],"data":null}`, 0, "errors"},
		{"errors of it without a code", "a.json", `{"errors":[{"message":"x"}],"data":null}`, 0, "errors"},
		{"errors of it, and data without orders", "a.json", `{"errors":[{"message":"x"}],"data":{"orders":null}}`, 0, "errors"},
		{"errors that are a text", "a.json", `{"errors":"Not Found"}`, 0, "errors"},
		{"no data", "a.json", `{"data":null}`, 0, "id"},
		{"nothing of orders", "a.json", `{"data":{"shop":{"id":"1"}}}`, 0, "data"},
		{"a name of one's own", "orders__kwd.json", plain, 1, ""},
		{"a name of one's own under another resource", "refunds__kwd.json", plain, 1, ""},
		{"a name whose resource the shop does not have", "order__jpy_basic.json", plain, 1, ""},
		{"a name with a year", "pos__2025.json", plain, 1, ""},
		{"a name with a topic inside", "real__orders__1.json", plain, 1, ""},
		{"a name of the shop's own", "shopify__order.json", plain, 1, ""},
		{"a topic and a name of one's own", "2024-10__orders__create__b2b.json", plain, 1, ""},
		{"another topic and a name of one's own", "refunds__create__b2b.json", plain, 0, "topic"},
		{"another topic's sample", "2024-10__products__3.json", `{"id":1}`, 0, "topic"},
		{"another topic", "refunds__create.json", `{"id":1}`, 0, "topic"},
		{"an order that is gone", "orders__delete.json", `{"id":1}`, 0, "topic"},
		{"another kind", "a.json", `{"admin_graphql_api_id":"gid://shopify/Fulfillment/1"}`, 0, "topic"},
		{"another listing", "a.json", `{"products":[]}`, 0, "topic"},
		{"no order at all", "a.json", `{"id":{}}`, 0, "id"},
		{"a list", "a.json", `[` + plain + `,{"order":` + plain + `}]`, 2, ""},
		{"no orders in a list", "a.json", `[]`, 1, ""},
		{"a list inside a list", "a.json", `[[` + plain + `]]`, 0, ""},
		{"no object", "a.json", `7`, 0, ""},
		{"no JSON", "a.json", `{`, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := samples.Read(decoder(t), tc.file, []byte(tc.raw))
			if n := samples.Count(out); n.Decoded != tc.decoded || n.Tried == 0 {
				t.Fatalf("got %+v", out)
			}
			if strings.Contains(fmt.Sprint(out), "Ann") || strings.Contains(fmt.Sprint(out), "ann@") {
				t.Errorf("a person is told of: %+v", out)
			}
			if tc.decoded == 0 && (out[0].Field != tc.field || out[0].Kind != fault.Permanent || out[0].Reason == "") {
				t.Errorf("got %+v", out[0])
			}
		})
	}
}

func TestEveryTopicOfTheSchemaIsKnown(t *testing.T) {
	packed, err := os.Open("shopifytest/spec/admin_2026-07.graphql.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packed.Close() }()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for resource, actions := range topics() {
		for _, action := range actions {
			known[strings.ToUpper(resource+"_"+action)] = true
		}
	}
	_, enum, _ := strings.Cut(string(schema), "enum WebhookSubscriptionTopic {")
	enum, _, _ = strings.Cut(enum, "\n}")
	words := regexp.MustCompile(`(?m)^ +([A-Z]+(?:_[A-Z]+)+)$`).FindAllStringSubmatch(enum, -1)
	if len(words) < 200 {
		t.Fatalf("%d topics in the schema", len(words))
	}
	segment := regexp.MustCompile(`^CUSTOMER_(TAGS_|JOINED_|LEFT_)`)
	for _, w := range words {
		if known[w[1]] == segment.MatchString(w[1]) {
			t.Errorf("topic %s is known: %v", w[1], known[w[1]])
		}
	}
}
