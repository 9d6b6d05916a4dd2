package mapping_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

func override(field, value string) mapping.Override {
	return mapping.Override{Document: "order", Direction: "decode", Field: field, Value: value}
}

func (b *bench) rules(os ...mapping.Override) *mapping.Translator {
	b.Helper()
	r, problems := mapping.Compile("shop", os)
	for _, p := range problems {
		b.Errorf("%s", p)
	}
	return &mapping.Translator{Tenant: b.acme, Connection: "shop", Rules: r}
}

func TestAnOverrideComputesItsField(t *testing.T) {
	for _, c := range []struct {
		name, field, value string
		got                func(retail.Order) any
		want               any
	}{
		{"a constant", "shipping_method", `"Express"`, func(o retail.Order) any { return o.ShippingMethod }, "Express"},
		{"from its own value", "shipping_method", `value.upper()`, func(o retail.Order) any { return o.ShippingMethod }, "STANDARD"},
		{"from the document", "fulfillment_preference", `order.totals.total.amount_minor > 3000 ? "ship" : "pickup"`, func(o retail.Order) any { return o.FulfillmentPreference }, "ship"},
		{"of each line", "lines[].sku", `"ACME-" + line.sku`, func(o retail.Order) any { return o.Lines[0].SKU + o.Lines[1].SKU }, "ACME-MUGACME-CUP"},
		{"of each tax of each line", "lines[].tax_lines[].title", `line.sku + " " + tax.title`, func(o retail.Order) any { return o.Lines[0].Taxes[0].Title }, "MUG State Tax"},
		{"a truth value", "lines[].requires_shipping", `line.sku != "CUP"`, func(o retail.Order) any { return fmt.Sprint(o.Lines[0].RequiresShipping, o.Lines[1].RequiresShipping) }, "true false"},
		{"a loop over lines", "shipping_method", `order.lines.exists(l, l.sku == "CUP") ? "Fragile" : value`, func(o retail.Order) any { return o.ShippingMethod }, "Fragile"},
		{"functions on texts", "shipping_method", `" a-b ".trim().replace("a", "x").after("-").lower() + "x-y".before("-")`, func(o retail.Order) any { return o.ShippingMethod }, "bx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			given := order()
			o, err := b.rules(override(c.field, c.value)).Order(t.Context(), mapping.Decode, given)
			must(t, err)
			if got := c.got(o); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if same := order(); given.Lines[0].SKU != same.Lines[0].SKU || given.Lines[0].Taxes[0].Title != same.Lines[0].Taxes[0].Title {
				t.Error("the order that was given has changed")
			}
		})
	}
}

func TestAWrongOverrideIsRefusedWithItsPlaceAndWhatIsPossible(t *testing.T) {
	for _, c := range []struct {
		name string
		mapping.Override
		part, says string
		column     int
	}{
		{"an unknown document", mapping.Override{Document: "invoice", Direction: "decode", Field: "x", Value: `"a"`}, "document", "order, shipment and release", 0},
		{"an unknown direction", mapping.Override{Document: "order", Direction: "in", Field: "x", Value: `"a"`}, "direction", "decode is what comes", 0},
		{"a release that is decoded", mapping.Override{Document: "release", Direction: "decode", Field: "location", Value: `"a"`}, "direction", "write encode", 0},
		{"an unknown field", override("shippng_method", `"a"`), "field", "did you mean shipping_method?", 0},
		{"an unknown field of a line", override("lines[].skuu", `"a"`), "field", "did you mean sku?", 0},
		{"a list without brackets", override("lines.sku", `"a"`), "field", "lines[]", 0},
		{"brackets without a list", override("totals[].tip", `"a"`), "field", "without []", 0},
		{"a whole part", override("totals.tip", `1`), "field", "amount_minor", 0},
		{"an id", override("external_id", `"1"`), "field", "identifies the document", 0},
		{"a quantity", override("lines[].quantities.ordered", `1`), "field", "counts goods", 0},
		{"the total", override("totals.total.amount_minor", `1`), "field", "what the shopper paid", 0},
		{"a currency", override("currency", `"EUR"`), "field", "which money", 0},
		{"a time", override("placed_at", `"x"`), "field", "cannot be overridden", 0},
		{"a syntax error", override("shipping_method", `value +`), "value", "Syntax error", 8},
		{"an unknown name", override("shipping_method", `"a" + nope`), "value", "there are value, order", 7},
		{"a person", override("shipping_method", `person.email`), "value", "people are not", 1},
		{"a person's type", override("shipping_method", `retail.Person{}.name`), "value", "", 14},
		{"an unknown field in the expression", override("shipping_method", `order.lnes[0].sku`), "value", "undefined field 'lnes'", 6},
		{"the wrong type", override("shipping_method", `1`), "value", "use string(", 1},
		{"a number for money that is a text", override("totals.tip.amount_minor", `"1"`), "value", "minor units", 1},
		{"an empty expression", override("shipping_method", ``), "value", "1 to 2000", 0},
		{"a long expression", override("shipping_method", `"`+strings.Repeat("a", 2000)+`"`), "value", "1 to 2000", 0},
		{"loops in loops", override("shipping_method", `order.lines.all(a, order.lines.all(b, order.lines.all(c, a.sku != b.sku || b.sku != c.sku))) ? "a" : "b"`), "value", "value map", 1},
		{"a loop over the document for each line", override("lines[].sku", `order.lines.exists(l, l.sku == line.sku) ? "a" : "b"`), "value", "use line", 1},
		{"nesting without end", override("shipping_method", strings.Repeat("(", 200)+`"a"`+strings.Repeat(")", 200)), "value", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := mapping.Compile("shop", []mapping.Override{override("lines[].title", `value`), c.Override})
			if len(problems) != 1 {
				t.Fatalf("problems = %v", problems)
			}
			p := problems[0]
			if p.Index != 1 || p.Part != c.part || !strings.Contains(p.String(), c.says) || (c.column > 0 && p.Column != c.column) {
				t.Errorf("problem = %+v", p)
			}
		})
	}
	_, problems := mapping.Compile("shop", []mapping.Override{override("shipping_method", `"a"`), override("shipping_method", `"b"`)})
	if len(problems) != 1 || !strings.Contains(problems[0].Wrong, "twice") {
		t.Errorf("problems = %v", problems)
	}
}

func TestAWrongOverrideParksItsOwnDocumentsOnly(t *testing.T) {
	b := newBench(t)
	r, _ := mapping.Compile("shop", []mapping.Override{override("shipping_method", `nope`)})
	tr := &mapping.Translator{Tenant: b.acme, Connection: "shop", Rules: r}
	_, err := tr.Order(t.Context(), mapping.Decode, order())
	if f := fault.Of(err); f == nil || f.Kind != fault.Exception || f.Class != fault.Configuration || f.Field != "order.shipping_method" ||
		!strings.Contains(err.Error(), "connection shop") || !strings.Contains(err.Error(), "column 1") {
		t.Errorf("err = %v", err)
	}
	if _, err := tr.Order(t.Context(), mapping.Encode, order()); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	if _, err := tr.Shipment(t.Context(), mapping.Decode, retail.Shipment{}); err != nil {
		t.Errorf("another document: %v", err)
	}
}

func TestAnExpressionThatFailsOnADocumentParksIt(t *testing.T) {
	b := newBench(t)
	for name, value := range map[string]string{
		"an index beyond the end": `order.lines[5].sku`,
		"a division by zero":      `string(1 / (order.lines.size() - 2))`,
		"a result too long":       `value.replace("S", "` + strings.Repeat("x", 600) + `")`,
		"a text without end":      `value.replace("", "` + strings.Repeat("x", 900) + `").replace("x", "yy")`,
	} {
		_, err := b.rules(override("shipping_method", value)).Order(t.Context(), mapping.Decode, order())
		if f := fault.Of(err); f == nil || f.Kind != fault.Exception || f.Class != fault.Configuration || f.Field != "order.shipping_method" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an estimate lets pass because of what it supposes is stopped as it runs.
func TestACostlyDocumentIsParkedAndDoesNotHoldUpTheFeed(t *testing.T) {
	b := newBench(t)
	huge := order()
	huge.Lines = slices.Repeat(huge.Lines[:1], 60_000)
	_, err := b.rules(override("shipping_method", `order.lines.all(l, l.sku == "MUG" && l.title != "x") ? "a" : "b"`)).Order(t.Context(), mapping.Decode, huge)
	if f := fault.Of(err); f == nil || f.Kind != fault.Exception || f.Class != fault.Configuration || !strings.Contains(err.Error(), "steps") {
		t.Errorf("err = %v", err)
	}
	huge.Lines = slices.Repeat(huge.Lines[:1], 400_000)
	_, err = b.rules(override("lines[].title", `value.lower()`)).Order(t.Context(), mapping.Decode, huge)
	if f := fault.Of(err); f == nil || f.Class != fault.Configuration || !strings.Contains(err.Error(), "the document's overrides") {
		t.Errorf("err = %v", err)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errors.New("the function ends"))
	huge.Lines = huge.Lines[:5000]
	if _, err := b.rules(override("shipping_method", `order.lines.all(l, l.sku == "MUG") ? "a" : "b"`)).Order(stopped, mapping.Decode, huge); err != nil && fault.KindOf(err) != fault.Retryable {
		t.Errorf("a caller that ends: %v", err)
	}
}

func TestTwoThousandLinesAreOverridden(t *testing.T) {
	b := newBench(t)
	o := order()
	o.Lines = slices.Repeat(o.Lines[:1], 2000)
	got, err := b.rules(override("lines[].sku", `line.title.upper() + "-" + value`), override("shipping_method", `order.lines.exists(l, l.sku == "Z") ? "Z" : value`)).Order(t.Context(), mapping.Decode, o)
	if err != nil || got.Lines[1999].SKU != "MUG-MUG" {
		t.Errorf("err = %v", err)
	}
}

func TestAnOverrideCannotBreakTheMoney(t *testing.T) {
	b := newBench(t)
	for _, d := range []mapping.Direction{mapping.Decode, mapping.Encode} {
		o := override("totals.tip.amount_minor", `100`)
		o.Direction = string(d)
		_, err := b.rules(o).Order(t.Context(), d, order())
		if f := fault.Of(err); f == nil || f.Kind != fault.Exception || f.Class != fault.TotalsDiffer || !strings.Contains(err.Error(), "totals.tip.amount_minor") {
			t.Errorf("%s: %v", d, err)
		}
	}
	// What keeps the sum may be said: shipping that is a fee.
	got, err := b.rules(override("totals.fees.amount_minor", `500`), override("shipping[].price.amount_minor", `0`), override("totals.shipping.amount_minor", `0`)).
		Order(t.Context(), mapping.Decode, func() retail.Order { o := order(); o.Totals.Fees = usd(0); return o }())
	if err != nil || got.Totals.Fees.Amount != 500 || got.Totals.Total != order().Totals.Total {
		t.Errorf("moving an amount: %+v, %v", got.Totals, err)
	}
}

func TestMapsComeFirstAndOverridesLast(t *testing.T) {
	b := newBench(t)
	tr := b.rules(override("lines[].sku", `value + "!"`))
	tr.Fixed = map[mapping.Kind]mapping.Fixed{mapping.SKU: {Decode: map[string]string{"MUG": "OURS"}}}
	o, err := tr.Order(t.Context(), mapping.Decode, order())
	if err != nil || o.Lines[0].SKU != "OURS!" {
		t.Errorf("sku = %s, %v", o.Lines[0].SKU, err)
	}
}

func TestOverridesThatAreNotComputedRefuseTheirDocumentsAndNoOthers(t *testing.T) {
	if mapping.Uncomputed("shop", nil) != nil {
		t.Error("no overrides refuse something")
	}
	acme, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	by := &mapping.Translator{Tenant: acme, Connection: "shop", Rules: mapping.Uncomputed("shop", []mapping.Override{override("shipping_method", `"Express"`)})}
	if _, err := by.Order(t.Context(), mapping.Decode, retail.Order{}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("a document that an override is for: %v", err)
	}
	if _, err := by.ReadingBack().Order(t.Context(), mapping.Decode, retail.Order{}); err != nil {
		t.Errorf("a read-back, which leaves overrides out: %v", err)
	}
	if _, err := by.Order(t.Context(), mapping.Encode, retail.Order{}); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	if _, err := by.Shipment(t.Context(), mapping.Decode, retail.Shipment{}); err != nil {
		t.Errorf("another document: %v", err)
	}
}
