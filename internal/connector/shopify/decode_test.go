package shopify

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// plain is an order of two lines with nothing special about it.
const plain = `{
 "id": 9007199254740993, "admin_graphql_api_id": "gid://shopify/Order/9007199254740993", "name": "#1001",
 "currency": "USD", "presentment_currency": "USD", "taxes_included": false, "test": false,
 "created_at": "2026-07-01T08:00:00-04:00", "processed_at": "2026-07-01T07:59:00-04:00", "updated_at": "2026-07-01T08:00:05-04:00",
 "cancelled_at": null, "financial_status": "paid", "email": "ada@example.com", "phone": null,
 "total_line_items_price": "50.00", "subtotal_price": "45.00", "total_discounts": "5.00", "total_tax": "3.60", "total_tip_received": "0.00", "total_price": "53.60",
 "total_shipping_price_set": {"shop_money": {"amount": "5.00", "currency_code": "USD"}, "presentment_money": {"amount": "5.00", "currency_code": "USD"}},
 "customer": {"id": 9007199254740995, "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com"},
 "shipping_address": {"name": "Ada Lovelace", "address1": "1 Main", "city": "Austin", "zip": "78704", "country_code": "US", "province_code": "TX", "phone": "+15125550100"},
 "billing_address": {"first_name": "Ada", "last_name": "Lovelace", "city": "Toronto", "country_code": "CA", "province_code": "ON"},
 "line_items": [
  {"id": 9007199254740997, "sku": "A", "title": "Alpha", "price": "20.00", "quantity": 2, "current_quantity": 2, "requires_shipping": true, "gift_card": false, "product_id": 1,
   "discount_allocations": [{"amount": "4.00"}], "tax_lines": [{"title": "Tax", "rate": 0.08, "price": "2.88"}], "duties": []},
  {"id": 9007199254740999, "sku": "B", "title": "Beta", "price": "10.00", "quantity": 1, "current_quantity": 1, "requires_shipping": false, "gift_card": false, "product_id": 2,
   "discount_allocations": [{"amount": "1.00"}], "tax_lines": [{"title": "Tax", "rate": 0.08, "price": "0.72"}], "duties": []}],
 "shipping_lines": [{"title": "Standard", "code": "STD", "price": "5.00", "discounted_price": "5.00", "discount_allocations": [], "tax_lines": []}]
}`

type doc = map[string]any

// edited is plain with changes; numbers keep their digits.
func edited(t testing.TB, change func(doc)) []byte {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(plain))
	dec.UseNumber()
	var m doc
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lineOf(d doc, i int) doc     { return d["line_items"].([]any)[i].(doc) }
func shippingOf(d doc, i int) doc { return d["shipping_lines"].([]any)[i].(doc) }

func bagOf(shop, presentment, currency string) doc {
	return doc{"shop_money": doc{"amount": shop, "currency_code": "USD"}, "presentment_money": doc{"amount": presentment, "currency_code": currency}}
}

func TestAnOrderIsDecodedWhole(t *testing.T) {
	o, p := mustDecode(t, decoder(t), []byte(plain))
	if _, err := retail.Certify(o); err != nil {
		t.Fatal(err)
	}
	if o.ExternalID != "9007199254740993" || o.Number != "#1001" || o.CustomerRef != "9007199254740995" || o.Lines[1].ExternalID != "9007199254740999" {
		t.Errorf("ids past 2^53 do not survive: %s %s %s", o.ExternalID, o.CustomerRef, o.Lines[1].ExternalID)
	}
	if !o.Tenant.IsZero() || o.ID != "" || o.Channel != "" || o.Schema != retail.SchemaVersion {
		t.Errorf("the flow's fields are set: %+v", o)
	}
	if o.SourceVersion != "2026-07-01T12:00:05.000Z" || !o.PlacedAt.Equal(time.Date(2026, 7, 1, 11, 59, 0, 0, time.UTC)) || o.PlacedAt.Location() != time.UTC {
		t.Errorf("version %s, placed %s", o.SourceVersion, o.PlacedAt)
	}
	if o.Lines[0].ID != "1" || o.Lines[1].ID != "2" || !o.Lines[0].RequiresShipping || o.Lines[1].RequiresShipping {
		t.Errorf("lines are %+v", o.Lines)
	}
	if q := o.Lines[0].Quantities; q != (retail.Quantities{Ordered: 2, Unallocated: 2}) {
		t.Errorf("quantities are %+v", q)
	}
	if o.Lines[0].Taxes[0].Rate != "0.08" || o.Presentment != nil || o.DestinationCountry != "US" || o.ShippingMethod != "Standard" || o.FinancialStatus != "paid" {
		t.Errorf("got %+v", o)
	}
	want := retail.Person{Name: "Ada Lovelace", Email: "ada@example.com",
		Shipping: retail.Address{Name: "Ada Lovelace", Line1: "1 Main", City: "Austin", Region: "TX", PostalCode: "78704", Country: "US", Phone: "+15125550100"},
		Billing:  retail.Address{Name: "Ada Lovelace", City: "Toronto", Region: "ON", Country: "CA"}}
	if p != want {
		t.Errorf("the person is %+v", p)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"Ada", "Lovelace", "example.com", "Main", "Austin", "5550100"} {
		if bytes.Contains(b, []byte(personal)) {
			t.Errorf("the order holds %q", personal)
		}
	}
}

// TestMoneyRules states how each peculiarity of money is read; every order
// here must certify.
func TestMoneyRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(doc)
		check  func(retail.Order) bool
	}{
		{"included tax is not added again", func(d doc) {
			d["taxes_included"], d["total_price"] = true, "50.00"
		}, func(o retail.Order) bool { return o.TaxIncluded && o.Totals.Tax.Amount == 360 }},
		{"absent allocations leave the line's own discount", func(d doc) {
			for i, off := range []string{"4.00", "1.00"} {
				delete(lineOf(d, i), "discount_allocations")
				lineOf(d, i)["total_discount"] = off
			}
		}, func(o retail.Order) bool { return o.Totals.Discounts.Amount == 500 && len(o.Notes) == 0 }},
		{"empty allocations outrank the line's own discount", func(d doc) {
			lineOf(d, 1)["discount_allocations"], lineOf(d, 1)["total_discount"] = []any{}, "1.00"
			d["subtotal_price"], d["total_discounts"], d["total_price"] = "46.00", "4.00", "54.60"
		}, func(o retail.Order) bool { return len(o.Lines[1].Discounts) == 0 }},
		{"an order discount on no line is spread by net amounts and noted", func(d doc) {
			d["subtotal_price"], d["total_discounts"], d["total_price"] = "35.00", "15.00", "43.60"
		}, func(o retail.Order) bool {
			// 10.00 over nets 36.00 and 9.00.
			return o.Lines[0].Discounts[1].Amount == 800 && o.Lines[1].Discounts[1].Amount == 200 && len(o.Notes) == 1
		}},
		{"shipping allocations are discounts of shipping", func(d doc) {
			shippingOf(d, 0)["discount_allocations"] = []any{doc{"amount": "2.00"}}
			d["total_discounts"], d["total_price"] = "7.00", "51.60"
		}, func(o retail.Order) bool { return o.Totals.Shipping.Amount == 300 && o.Totals.Discounts.Amount == 500 }},
		{"a discounted shipping price without allocations is a discount", func(d doc) {
			shippingOf(d, 0)["discounted_price"] = "0.00"
			d["total_discounts"], d["total_price"] = "10.00", "48.60"
		}, func(o retail.Order) bool {
			return o.Totals.Shipping.Amount == 0 && o.Shipping[0].Discounts[0].Amount == 500
		}},
		{"a shipping total that is already net stays", func(d doc) {
			shippingOf(d, 0)["discounted_price"] = "0.00"
			d["total_shipping_price_set"] = bagOf("0.00", "0.00", "USD")
			d["total_discounts"], d["total_price"] = "10.00", "48.60"
		}, func(o retail.Order) bool { return o.Totals.Shipping.Amount == 0 }},
		{"a removed shipping line is no charge", func(d doc) {
			d["shipping_lines"] = append(d["shipping_lines"].([]any), doc{"title": "Old", "price": "9.00", "is_removed": true})
		}, func(o retail.Order) bool { return len(o.Shipping) == 1 }},
		{"tax on shipping counts", func(d doc) {
			shippingOf(d, 0)["tax_lines"] = []any{doc{"title": "Tax", "rate": json.Number("0.08"), "price": "0.40"}}
			d["total_tax"], d["total_price"] = "4.00", "54.00"
		}, func(o retail.Order) bool { return o.Totals.Tax.Amount == 400 }},
		{"duties count, and so does the tax on them", func(d doc) {
			lineOf(d, 0)["duties"] = []any{doc{"shop_money": doc{"amount": "6.00", "currency_code": "USD"}, "tax_lines": []any{doc{"price": "0.50"}}}}
			d["original_total_duties_set"] = bagOf("6.00", "6.00", "USD")
			d["total_tax"], d["total_price"] = "4.10", "60.10"
		}, func(o retail.Order) bool { return o.Totals.Duties.Amount == 600 && o.Totals.Tax.Amount == 410 }},
		{"duties that prices contain are not added", func(d doc) {
			lineOf(d, 0)["duties"] = []any{doc{"shop_money": doc{"amount": "6.00", "currency_code": "USD"}}}
			d["original_total_duties_set"], d["duties_included"] = bagOf("6.00", "6.00", "USD"), true
		}, func(o retail.Order) bool { return o.Totals.Duties.Amount == 0 && len(o.Notes) == 1 }},
		{"additional fees count", func(d doc) {
			d["original_total_additional_fees_set"], d["total_price"] = bagOf("1.25", "1.25", "USD"), "54.85"
		}, func(o retail.Order) bool { return o.Totals.Fees.Amount == 125 }},
		{"a tip counts once where only the total tells it", func(d doc) {
			d["total_tip_received"], d["total_price"] = "3.00", "56.60"
		}, func(o retail.Order) bool { return o.Totals.Tip.Amount == 300 && len(o.Lines) == 2 }},
		{"a tip counts once where a marked line repeats it", func(d doc) {
			d["total_tip_received"], d["total_price"] = "3.00", "56.60"
			d["line_items"] = append(d["line_items"].([]any), doc{"id": json.Number("5"), "sku": nil, "title": "Tip", "price": "3.00", "quantity": json.Number("1"),
				"requires_shipping": false, "product_id": nil, "tip_payment_gateway": nil, "discount_allocations": []any{}, "tax_lines": []any{}})
		}, func(o retail.Order) bool { return o.Totals.Tip.Amount == 300 && len(o.Lines) == 2 && len(o.Notes) == 1 }},
		{"a tip counts once where an unmarked line equals it and the lines' total contains it", func(d doc) {
			d["total_tip_received"], d["total_price"], d["total_line_items_price"] = "3.00", "56.60", "53.00"
			d["line_items"] = append(d["line_items"].([]any), doc{"id": json.Number("5"), "sku": "", "title": "Tip", "price": "3.00", "quantity": json.Number("1"),
				"requires_shipping": false, "product_id": nil, "discount_allocations": []any{}, "tax_lines": []any{}})
		}, func(o retail.Order) bool { return o.Totals.Tip.Amount == 300 && o.Totals.Lines.Amount == 5000 }},
		{"a cash rounding inside the total is a rounding", func(d doc) {
			d["total_cash_rounding_payment_adjustment_set"], d["total_price"] = bagOf("-0.02", "-0.02", "USD"), "53.58"
		}, func(o retail.Order) bool { return o.Totals.Rounding.Amount == -2 && len(o.Notes) == 0 }},
		{"a cash rounding of the payment is noted only", func(d doc) {
			d["total_cash_rounding_payment_adjustment_set"] = bagOf("0.05", "0.05", "USD")
		}, func(o retail.Order) bool { return o.Totals.Rounding.Amount == 0 && len(o.Notes) == 1 }},
		{"removed units are canceled and the original total still holds", func(d doc) {
			lineOf(d, 0)["current_quantity"] = json.Number("0")
		}, func(o retail.Order) bool {
			return o.Lines[0].Quantities == retail.Quantities{Ordered: 2, Canceled: 2} && o.Lines[0].Quantities.Balanced()
		}},
		{"units that are not open any more were shipped", func(d doc) {
			lineOf(d, 0)["fulfillable_quantity"] = json.Number("1")
		}, func(o retail.Order) bool {
			return o.Lines[0].Quantities == retail.Quantities{Ordered: 2, Shipped: 1, Unallocated: 1}
		}},
		{"of removed and shipped units each counts once", func(d doc) {
			lineOf(d, 0)["current_quantity"], lineOf(d, 0)["fulfillable_quantity"] = json.Number("1"), json.Number("0")
		}, func(o retail.Order) bool {
			return o.Lines[0].Quantities == retail.Quantities{Ordered: 2, Shipped: 1, Canceled: 1}
		}},
		{"more open than remain is what remains", func(d doc) {
			lineOf(d, 0)["current_quantity"], lineOf(d, 0)["fulfillable_quantity"] = json.Number("1"), json.Number("2")
		}, func(o retail.Order) bool {
			return o.Lines[0].Quantities == retail.Quantities{Ordered: 2, Unallocated: 1, Canceled: 1}
		}},
		{"a line that is fulfilled has nothing open, where its units are not told", func(d doc) {
			lineOf(d, 0)["fulfillment_status"] = "fulfilled"
		}, func(o retail.Order) bool {
			return o.Lines[0].Quantities == retail.Quantities{Ordered: 2, Shipped: 2}
		}},
		{"an amount that its own set contradicts is noted, and the certificate holds the first to the others", func(d doc) {
			d["total_price_set"] = bagOf("54.60", "54.60", "USD")
		}, func(o retail.Order) bool { return o.Totals.Total.Amount == 5360 && len(o.Notes) == 1 }},
		{"the totals that the shopper saw are left out where one part is not told", func(d doc) {
			d["presentment_currency"] = "EUR"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "40.00"},
				"total_tax": {"3.60", "2.88"}, "total_price": {"53.60", "46.88"}, "total_shipping_price": {"5.00", "4.00"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
			}
		}, func(o retail.Order) bool { return o.Presentment == nil && len(o.Notes) == 1 }},
		{"the totals that the shopper saw are left out where a tip would be below zero", func(d doc) {
			d["presentment_currency"], d["total_tip_received"], d["total_price"] = "EUR", "3.00", "56.60"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "4.00"},
				"total_tax": {"3.60", "2.88"}, "total_price": {"56.60", "40.00"}, "total_shipping_price": {"5.00", "4.00"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
			}
		}, func(o retail.Order) bool { return o.Presentment == nil && len(o.Notes) == 1 }},
		{"the totals that the shopper saw are left out where their lines contradict the rest", func(d doc) {
			d["presentment_currency"] = "EUR"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "14.00"},
				"total_tax": {"3.60", "2.88"}, "total_price": {"53.60", "42.88"}, "total_shipping_price": {"5.00", "4.00"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
			}
		}, func(o retail.Order) bool { return o.Presentment == nil && len(o.Notes) == 1 }},
		{"the totals that the shopper saw are left out where more tax than total is included", func(d doc) {
			d["presentment_currency"], d["taxes_included"], d["total_price"] = "EUR", true, "50.00"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "4.00"},
				"total_tax": {"3.60", "99.00"}, "total_price": {"50.00", "40.00"}, "total_shipping_price": {"5.00", "4.00"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
			}
		}, func(o retail.Order) bool { return o.Presentment == nil && len(o.Notes) == 1 }},
		{"the mark of a tip without a value makes no tip of goods", func(d doc) {
			lineOf(d, 0)["tip_payment_gateway"], lineOf(d, 0)["tip_payment_method"] = nil, nil
		}, func(o retail.Order) bool { return len(o.Lines) == 2 && o.Totals.Tip.IsZero() }},
		{"presentment repeats the totals in the shopper's currency", func(d doc) {
			d["presentment_currency"] = "JPY"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "7500"}, "subtotal_price": {"45.00", "6750"}, "total_discounts": {"5.00", "750"},
				"total_tax": {"3.60", "540"}, "total_price": {"53.60", "8040"}, "total_shipping_price": {"5.00", "750"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "JPY")
			}
		}, func(o retail.Order) bool {
			p := o.Presentment
			return p != nil && p.Total == retail.Money{Amount: 8040, Currency: "JPY"} && p.Lines.Amount == 7500 && p.Discounts.Amount == 750 && p.Shipping.Amount == 750
		}},
		{"a tip in the shopper's currency is what the rest leaves", func(d doc) {
			d["presentment_currency"], d["total_tip_received"], d["total_price"] = "EUR", "3.00", "56.60"
			for key, v := range map[string][2]string{"total_line_items_price": {"50.00", "40.00"}, "subtotal_price": {"45.00", "36.00"}, "total_discounts": {"5.00", "4.00"},
				"total_tax": {"3.60", "2.88"}, "total_price": {"56.60", "45.28"}, "total_shipping_price": {"5.00", "4.00"}} {
				d[key+"_set"] = bagOf(v[0], v[1], "EUR")
			}
		}, func(o retail.Order) bool { return o.Presentment.Tip == retail.Money{Amount: 240, Currency: "EUR"} }},
		{"a free order needs nothing special", func(d doc) {
			for i, off := range []string{"40.00", "10.00"} {
				lineOf(d, i)["discount_allocations"], lineOf(d, i)["tax_lines"] = []any{doc{"amount": off}}, []any{}
			}
			d["shipping_lines"], d["total_shipping_price_set"] = []any{}, bagOf("0.00", "0.00", "USD")
			d["subtotal_price"], d["total_discounts"], d["total_tax"], d["total_price"] = "0.00", "50.00", "0.00", "0.00"
		}, func(o retail.Order) bool { return o.Totals.Total.Amount == 0 }},
		{"components that an old version does not declare are computed", func(d doc) {
			delete(d, "total_line_items_price")
			delete(d, "subtotal_price")
			delete(d, "total_discounts")
			delete(d, "total_shipping_price_set")
			d["total_tax"] = nil
		}, func(o retail.Order) bool { return o.Totals.Lines.Amount == 5000 && o.Totals.Tax.Amount == 360 }},
		{"a lines' total that is not declared follows from the subtotal", func(d doc) {
			delete(d, "total_line_items_price")
		}, func(o retail.Order) bool { return o.Totals.Lines.Amount == 5000 }},
		{"numbers are read by their digits", func(d doc) {
			lineOf(d, 0)["price"] = json.Number("20.00")
		}, func(o retail.Order) bool { return o.Lines[0].UnitPrice.Amount == 2000 }},
		{"an order without lines and charges is empty", func(d doc) {
			d["line_items"], d["shipping_lines"], d["total_shipping_price_set"] = []any{}, []any{}, nil
			for _, k := range []string{"total_line_items_price", "subtotal_price", "total_discounts", "total_tax", "total_price"} {
				d[k] = "0.00"
			}
		}, func(o retail.Order) bool { return o.Totals.Total.IsZero() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, _ := mustDecode(t, decoder(t), edited(t, tc.change))
			if cert, err := retail.Certify(o); err != nil {
				t.Errorf("the certificate does not hold: %v %+v", err, cert.Rows)
			}
			if !tc.check(o) {
				t.Errorf("got totals %+v, notes %v, lines %+v", o.Totals, o.Notes, o.Lines)
			}
		})
	}
}

// TestAnInconsistentOrderShowsItsFirstDifference proves that nothing is
// adjusted to make an order hold.
func TestAnInconsistentOrderShowsItsFirstDifference(t *testing.T) {
	for _, tc := range []struct {
		key, value, component string
		difference            int64
	}{
		{"total_line_items_price", "50.01", "lines", -1},
		{"total_discounts", "5.01", "discounts", -1},
		{"total_tax", "3.59", "tax", 1},
		{"total_price", "53.61", "total", -1},
		// The subtotal shows a discount that the discounts do not: not spread.
		{"subtotal_price", "44.00", "", 0},
	} {
		t.Run(tc.key, func(t *testing.T) {
			o, _ := mustDecode(t, decoder(t), edited(t, func(d doc) { d[tc.key] = tc.value }))
			_, err := retail.Certify(o)
			var im *retail.Imbalance
			if tc.component == "" {
				if err != nil || len(o.Notes) != 0 {
					t.Errorf("got %v, notes %v", err, o.Notes)
				}
				return
			}
			if !errors.As(err, &im) || im.Row.Component != tc.component || im.Row.Difference != tc.difference {
				t.Errorf("got %v, want %s off by %d", err, tc.component, tc.difference)
			}
		})
	}
}

func TestAFaultyOrderIsRefusedByFieldAndLeavesAShell(t *testing.T) {
	set := func(k string, v any) func(doc) { return func(d doc) { d[k] = v } }
	line := func(k string, v any) func(doc) { return func(d doc) { lineOf(d, 1)[k] = v } }
	const perm, exc = fault.Permanent, fault.Exception
	for _, tc := range []struct {
		name   string
		change func(doc)
		kind   fault.Kind
		class  fault.Class
		field  string
		value  string
	}{
		{"a line without a SKU", line("sku", ""), exc, fault.Mapping, "line_items[1].sku", ""},
		{"a line with a blank SKU", line("sku", "  "), exc, fault.Mapping, "line_items[1].sku", ""},
		{"a line with a null SKU", line("sku", nil), exc, fault.Mapping, "line_items[1].sku", ""},
		{"a price with too many digits", line("price", "19.999"), exc, fault.Validation, "line_items[1].price", "19.999"},
		{"a price in words", line("price", "ten"), perm, fault.Validation, "line_items[1].price", "ten"},
		{"a price in exponent notation", line("price", json.Number("1e3")), perm, fault.Validation, "line_items[1].price", "1e3"},
		{"a price past 64 bits", line("price", "999999999999999999999.00"), perm, fault.Validation, "line_items[1].price", "999999999999999999999.00"},
		{"a missing price", line("price", nil), perm, fault.Validation, "line_items[1].price", ""},
		{"a negative quantity", line("quantity", json.Number("-1")), perm, fault.Validation, "line_items[1].quantity", "-1"},
		{"a fraction of a unit", line("quantity", json.Number("1.5")), perm, fault.Validation, "line_items[1].quantity", "1.5"},
		{"a quantity in quotes", line("quantity", "1"), perm, fault.Validation, "line_items[1].quantity", ""},
		{"a missing quantity", line("quantity", nil), perm, fault.Validation, "line_items[1].quantity", ""},
		{"more units left than ordered", line("current_quantity", json.Number("7")), perm, fault.Validation, "line_items[1]", "B"},
		{"a line id that is a float", line("id", json.Number("9.1e17")), perm, fault.Validation, "line_items[1].id", "9.1e17"},
		{"one line listed twice", line("id", json.Number("9007199254740997")), perm, fault.Validation, "line_items[1]", "9007199254740997"},
		{"a string where an object is due", set("shipping_address", "here"), perm, fault.Validation, "shipping_address", ""},
		{"an object where a list is due", set("line_items", doc{}), perm, fault.Validation, "line_items", ""},
		{"a string where a line is due", set("line_items", []any{"x"}), perm, fault.Validation, "line_items[0]", ""},
		{"no list of lines", set("line_items", nil), perm, fault.Validation, "line_items", ""},
		{"an unknown currency", set("currency", "ZZZ"), exc, fault.Validation, "currency", "ZZZ"},
		{"an empty currency", set("currency", ""), perm, fault.Validation, "currency", ""},
		{"an empty time of update", set("updated_at", ""), perm, fault.Validation, "updated_at", ""},
		{"a SKU that is no text", line("sku", "MUG-\uFFFD"), exc, fault.Mapping, "line_items[1].sku", ""},
		{"fewer than no units open", line("fulfillable_quantity", json.Number("-1")), perm, fault.Validation, "line_items[1].fulfillable_quantity", "-1"},
		{"a missing currency", set("currency", nil), perm, fault.Validation, "currency", ""},
		{"an amount in another currency", set("total_shipping_price_set", doc{"shop_money": doc{"amount": "5.00", "currency_code": "EUR"}}), exc, fault.Validation, "total_shipping_price_set.shop_money.currency_code", "EUR"},
		{"no total", set("total_price", nil), perm, fault.Validation, "total_price", ""},
		{"a malformed time", set("updated_at", "2019-01-01 00:00:00.000Z"), perm, fault.Validation, "updated_at", "2019-01-01 00:00:00.000Z"},
		{"no time of update", set("updated_at", nil), perm, fault.Validation, "updated_at", ""},
		{"a yes for true", set("taxes_included", "yes"), perm, fault.Validation, "taxes_included", ""},
		{"a country in full", func(d doc) { d["shipping_address"].(doc)["country_code"] = "Texas" }, exc, fault.Address, "shipping_address.country_code", "Texas"},
		{"a discounted shipping price above the price", func(d doc) { shippingOf(d, 0)["discounted_price"] = "6.00" }, exc, fault.Validation, "shipping_lines[0].discounted_price", "6.00"},
		{"a value that looks like an e-mail", line("price", "ada@example.com"), perm, fault.Validation, "line_items[1].price", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, p, err := decoder(t).DecodeOrder(edited(t, tc.change))
			f := wantFault(t, err, tc.kind, tc.class, tc.field)
			if f.Value != tc.value {
				t.Errorf("the value is %q, want %q", f.Value, tc.value)
			}
			if o.ExternalID != "9007199254740993" || o.Number != "#1001" {
				t.Errorf("the shell is %q %q", o.ExternalID, o.Number)
			}
			if p != (retail.Person{}) || len(o.Lines) != 0 {
				t.Error("more than a shell is returned")
			}
			for _, personal := range []string{"Ada", "example.com", "Austin"} {
				if strings.Contains(err.Error(), personal) {
					t.Errorf("the fault tells %q: %v", personal, err)
				}
			}
		})
	}
}

func TestWhatIsNoOrderIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 65) + `1` + strings.Repeat(`}`, 65)
	for _, tc := range []struct{ name, raw, field string }{
		{"nothing", ``, ""},
		{"no JSON", `order`, ""},
		{"a list", `[]`, ""},
		{"null", `null`, ""},
		{"text after the document", plain + `{}`, ""},
		{"half a document", plain[:200], ""},
		{"nesting past 64 levels", deep, ""},
		{"lists past 64 levels", `{"a":` + strings.Repeat(`[`, 64) + strings.Repeat(`]`, 64) + `}`, ""},
		{"a key given twice", strings.Replace(plain, `"sku": "A"`, `"sku": "A", "sku": "B"`, 1), "line_items[0].sku"},
		{"no id", `{"name":"#1"}`, "id"},
		{"an id of zero length", `{"id":"","name":"#1"}`, "id"},
		{"an id that is a float", `{"id":8.2e17}`, "id"},
		{"a gid of another kind", `{"admin_graphql_api_id":"gid://shopify/Product/1"}`, "admin_graphql_api_id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := decoder(t).DecodeOrder([]byte(tc.raw))
			wantFault(t, err, fault.Permanent, fault.Validation, tc.field)
		})
	}
}

func TestUnknownFieldsAndMissingPeopleAreTolerated(t *testing.T) {
	o, p := mustDecode(t, decoder(t), edited(t, func(d doc) {
		d["a_field_of_2031"] = doc{"x": []any{}}
		for _, k := range []string{"customer", "shipping_address", "billing_address", "email", "shipping_lines", "total_shipping_price_set"} {
			d[k] = nil
		}
		d["total_price"] = "48.60"
	}))
	if _, err := retail.Certify(o); err != nil || p != (retail.Person{}) || o.CustomerRef != "" || o.DestinationCountry != "" {
		t.Errorf("%v %+v %+v", err, p, o)
	}
}

func TestVersionsOrderAsText(t *testing.T) {
	var last string
	for _, at := range []string{"2026-07-01T08:00:05-04:00", "2026-07-01T12:00:05.5Z", "2026-07-01T12:00:06Z", "2026-07-01T23:59:59+01:00"} {
		o, _ := mustDecode(t, decoder(t), edited(t, func(d doc) { d["updated_at"] = at }))
		if o.SourceVersion <= last || len(o.SourceVersion) != len(sourceVersion) {
			t.Errorf("%s gives %s after %s", at, o.SourceVersion, last)
		}
		last = o.SourceVersion
	}
}

func FuzzDecodeOrder(f *testing.F) {
	for _, name := range []string{"webhook_samples_docs/2026-04/orders__create.json", "webhook_samples_real/2025-04__orders__1.json", "webhook_samples_real/2025-04__orders__3.json"} {
		raw := sample(f, name)
		f.Add(raw)
		if strings.HasPrefix(name, "webhook_samples_docs") {
			f.Add(member(f, raw, "response"))
		}
	}
	f.Add([]byte(plain))
	f.Add(edited(f, func(d doc) { lineOf(d, 0)["price"] = "92233720368547758.07" }))
	f.Add([]byte(`{"id":"gid://shopify/Order/1","currencyCode":"USD","updatedAt":"2026-07-01T00:00:00Z","createdAt":"2026-07-01T00:00:00Z","totalPriceSet":{"shopMoney":{"amount":"0"}},"lineItems":{"nodes":[{"id":"gid://shopify/LineItem/1"}]}}`))
	c := decoder(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, _, err := c.DecodeOrder(raw)
		if err != nil {
			if fl := fault.Of(err); fl == nil || fl.Kind == fault.Retryable {
				t.Fatalf("a refusal must be classified and final: %v", err)
			}
			return
		}
		if o.ExternalID == "" || !digits(o.ExternalID) {
			t.Fatalf("an order without an id: %q", o.ExternalID)
		}
		for _, l := range o.Lines {
			if !l.Quantities.Balanced() || l.SKU == "" {
				t.Fatalf("line %+v", l)
			}
		}
		_, _ = retail.Certify(o)
	})
}
