package shopify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

var permit = effecttest.Permit("tenant#ship#1")

// placed places an order and decodes it as the platform would.
func (h *harness) placed(t *testing.T, p shopifytest.Placement) retail.Order {
	t.Helper()
	p.Plain = true
	o, _ := mustDecode(t, h.Connector, h.payload(t, h.place(t, p).ID))
	return o
}

func threeLines() shopifytest.Placement {
	return shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "TEE-BLK-M", Quantity: 2}, {SKU: "MUG-STONE", Quantity: 1}, {SKU: "TEE-BLK-M", Quantity: 3}}}
}

func shipment(tracking string, lines ...retail.ShipmentLine) retail.Shipment {
	return retail.Shipment{ExternalID: "S1", Tracking: tracking, Carrier: "UPS", TrackingURL: "https://example.com/t/" + tracking, ShippedAt: start, Lines: lines}
}

func of(line, sku string, n int64) retail.ShipmentLine {
	return retail.ShipmentLine{OrderLine: line, SKU: sku, Quantity: n}
}

// whole ships all that an order has.
func whole(o retail.Order, tracking string) retail.Shipment {
	s := shipment(tracking)
	for _, l := range o.Lines {
		s.Lines = append(s.Lines, of(l.ID, l.SKU, l.Quantities.Ordered))
	}
	return s
}

func (h *harness) confirm(t *testing.T, o retail.Order, s retail.Shipment) effect.Receipt {
	t.Helper()
	r, err := h.ConfirmShipment(context.Background(), permit, o, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h *harness) mutations() int {
	n := 0
	for _, r := range h.shop.Requests() {
		if r.Operation == "FulfillmentCreate" {
			n++
		}
	}
	return n
}

func TestAWholeShipmentFulfilsTheOrder(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	s := whole(o, "1Z1")
	if _, found, err := h.FindShipment(context.Background(), o, s); found || err != nil {
		t.Fatalf("found before it was sent: %v %v", found, err)
	}
	r := h.confirm(t, o, s)
	held := h.shop.Orders()[0]
	if held.Status != "FULFILLED" || len(held.Fulfillments) != 1 || held.Fulfillments[0].Tracking[0] != "1Z1" || held.Fulfillments[0].Company != "UPS" {
		t.Errorf("the shop holds %+v", held)
	}
	if r.Ref != held.Fulfillments[0].ID || !strings.HasPrefix(r.Ref, "gid://shopify/Fulfillment/") || r.Number != o.Number+".1" {
		t.Errorf("the receipt is %+v", r)
	}
	back, found, err := h.FindShipment(context.Background(), o, s)
	if err != nil || !found || back.Ref != r.Ref {
		t.Errorf("read back %+v %v %v", back, found, err)
	}
}

func TestPartialShipmentsTakeTheirOwnLines(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	h.confirm(t, o, shipment("A", of("3", "TEE-BLK-M", 2)))
	h.confirm(t, o, shipment("B", of("", "TEE-BLK-M", 3), of("2", "MUG-STONE", 1)))
	if st := h.shop.Orders()[0].Status; st != "FULFILLED" {
		t.Errorf("the order is %s", st)
	}
	for tracking, lines := range map[string][]retail.ShipmentLine{"A": {of("3", "TEE-BLK-M", 2)}, "B": {of("", "TEE-BLK-M", 3), of("2", "MUG-STONE", 1)}} {
		if _, found, err := h.FindShipment(context.Background(), o, shipment(tracking, lines...)); err != nil || !found {
			t.Errorf("%s is not found: %v", tracking, err)
		}
	}
	if _, found, _ := h.FindShipment(context.Background(), o, shipment("A", of("2", "MUG-STONE", 1))); found {
		t.Error("a shipment of other lines is taken for A")
	}
}

func TestAShipmentSpansFulfillmentOrders(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	p := threeLines()
	p.FulfillmentOrders = 3
	o := h.placed(t, p)
	h.confirm(t, o, whole(o, "1Z1"))
	if held := h.shop.Orders()[0]; held.Status != "FULFILLED" || len(held.Fulfillments) != 1 {
		t.Errorf("the shop holds %+v", held)
	}
}

func TestManyFulfillmentOrdersArePaged(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, shopifytest.Placement{LineCount: 26, FulfillmentOrders: 13})
	h.confirm(t, o, whole(o, "1Z1"))
	if st := h.shop.Orders()[0].Status; st != "FULFILLED" {
		t.Errorf("the order is %s", st)
	}
}

func TestA2000LineShipmentIsOneCallAndAPartOfItSeveral(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, shopifytest.Placement{LineCount: 2000})
	part := whole(o, "P1")
	part.Lines = part.Lines[:600]
	r := h.confirm(t, o, part)
	if n := h.mutations(); n != 3 || len(strings.Fields(r.Data["fulfillments"])) != 3 {
		t.Errorf("600 of 2,000 lines took %d calls: %+v", n, r)
	}
	if _, found, err := h.FindShipment(context.Background(), o, part); err != nil || !found {
		t.Errorf("the part is not found: %v", err)
	}
	rest := whole(o, "P2")
	rest.Lines = rest.Lines[600:]
	h.confirm(t, o, rest)
	if n := h.mutations(); n != 4 || h.shop.Orders()[0].Status != "FULFILLED" {
		t.Errorf("the rest took %d calls, %s", n-3, h.shop.Orders()[0].Status)
	}
}

func TestABrokenOffConfirmationIsCompletedNotRepeated(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, shopifytest.Placement{LineCount: 700})
	s := whole(o, "P1")
	s.Lines = s.Lines[:600]
	h.fail(t, faulty.Rule{Fault: "reset", When: "after", Operation: "FulfillmentCreate"})
	_, err := h.ConfirmShipment(context.Background(), permit, o, s)
	if f := fault.Of(err); f == nil || !f.Unknown {
		t.Fatalf("the outcome is not unknown: %v", err)
	}
	if _, found, err := h.FindShipment(context.Background(), o, s); found || err != nil {
		t.Fatalf("250 of 600 lines count as the shipment: %v", err)
	}
	h.confirm(t, o, s)
	var sum int64
	for _, f := range h.shop.Orders()[0].Fulfillments {
		sum += f.Quantity
	}
	if sum != 600 {
		t.Errorf("%d of 600 units are fulfilled", sum)
	}
}

func TestALostAnswerIsReadBackAndNotSentAgain(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	s := whole(o, "1Z1")
	h.fail(t, faulty.Rule{Fault: "reset", When: "after", Operation: "FulfillmentCreate"})
	if _, err := h.ConfirmShipment(context.Background(), permit, o, s); fault.Of(err) == nil || !fault.Of(err).Unknown {
		t.Fatalf("got %v", err)
	}
	r, found, err := h.FindShipment(context.Background(), o, s)
	if err != nil || !found {
		t.Fatalf("not found: %v", err)
	}
	if again := h.confirm(t, o, s); again.Ref != r.Ref || h.mutations() != 1 {
		t.Errorf("sent %d times: %+v", h.mutations(), again)
	}
}

func TestAThrottledConfirmationIsOfKnownOutcome(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	h.fail(t, faulty.Rule{Fault: "rate_limited", Operation: "FulfillmentCreate"})
	_, err := h.ConfirmShipment(context.Background(), permit, o, whole(o, "1Z1"))
	f := wantFault(t, err, fault.Retryable, fault.RateLimited, "")
	if f.Unknown || f.RetryAfter == 0 || len(h.shop.Orders()[0].Fulfillments) != 0 {
		t.Errorf("got %+v", f)
	}
}

func TestAnInternalErrorLeavesTheOutcomeUnknown(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	h.fail(t, faulty.Rule{Fault: "refused", Code: "INTERNAL_SERVER_ERROR", When: "after", Operation: "FulfillmentCreate"})
	_, err := h.ConfirmShipment(context.Background(), permit, o, whole(o, "1Z1"))
	if f := wantFault(t, err, fault.Retryable, fault.Connectivity, ""); !f.Unknown {
		t.Error("the outcome counts as known")
	}
}

func TestAnAnswerThatCannotBeReadLeavesTheOutcomeUnknown(t *testing.T) {
	for _, body := range []string{
		`{"data":{"fulfillmentCreate":[]}}`,
		`{"data":{"fulfillmentCreate":{"fulfillment":{"id":7},"userErrors":[]}}}`,
		"{\"data\":{\"fulfillmentCreate\":{\"fulfillment\":{\"id\":\"gid://shopify/Fulfillment/1\xff\"},\"userErrors\":[]}}}",
		`{"data":{"fulfillmentCreate":{"fulfillment":null,"userErrors":[]}}}`,
	} {
		var out struct {
			Create struct {
				Fulfillment *fulfillment `json:"fulfillment"`
			} `json:"fulfillmentCreate"`
		}
		_, err := interpret(&egress.Response{Status: 200, Body: []byte(body)}, &out, true)
		if err == nil && out.Create.Fulfillment == nil {
			continue // create says so itself
		}
		if f := fault.Of(err); f == nil || !f.Unknown || f.Kind != fault.Retryable {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestMoreThanTheShopHasOpenIsAnException(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	_, err := h.ConfirmShipment(context.Background(), permit, o, shipment("X", of("1", "TEE-BLK-M", 2), of("2", "MUG-STONE", 2)))
	if f := wantFault(t, err, fault.Exception, fault.StateConflict, "lines[1]"); f.Value != "MUG-STONE" {
		t.Errorf("the value is %q", f.Value)
	}
	if err := h.shop.Cancel(o.ExternalID); err != nil {
		t.Fatal(err)
	}
	_, err = h.ConfirmShipment(context.Background(), permit, o, whole(o, "Y"))
	wantFault(t, err, fault.Exception, fault.StateConflict, "lines[0]")
	if h.mutations() != 0 {
		t.Error("something was sent")
	}
}

func TestAShipmentWithoutTrackingIsFoundByItsLines(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	s := shipment("", of("1", "TEE-BLK-M", 1))
	s.Carrier, s.TrackingURL = "", ""
	r := h.confirm(t, o, s)
	if back, found, err := h.FindShipment(context.Background(), o, s); err != nil || !found || back.Ref != r.Ref {
		t.Errorf("read back %+v %v %v", back, found, err)
	}
	other := shipment("", of("1", "TEE-BLK-M", 2))
	if _, found, err := h.FindShipment(context.Background(), o, other); err != nil || found {
		t.Errorf("another quantity is taken for it: %v %v", found, err)
	}
}

func TestAnUnknownOrderOrLineIsAMissingReference(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	_, err := h.ConfirmShipment(context.Background(), permit, o, shipment("X", of("9", "TEE-BLK-M", 1)))
	wantFault(t, err, fault.Permanent, fault.MissingReference, "lines[0].order_line")
	o.ExternalID = "5"
	_, err = h.ConfirmShipment(context.Background(), permit, o, whole(o, "X"))
	wantFault(t, err, fault.Exception, fault.MissingReference, "external_id")
	_, err = h.ConfirmShipment(context.Background(), permit, o, shipment("X"))
	wantFault(t, err, fault.Permanent, fault.Validation, "lines")
	_, err = h.ConfirmShipment(context.Background(), permit, o, shipment("X", of("1", "TEE-BLK-M", 0)))
	wantFault(t, err, fault.Permanent, fault.Validation, "lines[0].quantity")
}

func TestNothingIsSentWithoutAPermit(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	if _, err := h.ConfirmShipment(context.Background(), effect.Permit{}, o, whole(o, "X")); !errors.Is(err, effect.ErrNoPermit) {
		t.Errorf("got %v", err)
	}
	if h.mutations() != 0 {
		t.Error("a write was sent")
	}
}

func TestTheShopsUserErrorsAreExceptions(t *testing.T) {
	h := withShop(t, shopifytest.Options{})
	o := h.placed(t, threeLines())
	_, open, err := h.openOrders(context.Background(), "gid://shopify/Order/"+o.ExternalID, "")
	if err != nil {
		t.Fatal(err)
	}
	s := whole(o, "1Z1")
	h.confirm(t, o, s)
	// The lines were open when they were read and closed when they were sent.
	_, err = h.create(context.Background(), permit, s, []orderPick{{id: open[0].id, whole: true}})
	wantFault(t, err, fault.Exception, fault.StateConflict, "fulfillment")
}

func TestTheSettleTimeOutlastsAnExchange(t *testing.T) {
	if s := decoder(t).ShipmentSettle(); s <= 10*time.Second {
		t.Errorf("settle is %s", s)
	}
}

// TestWhatAConfirmationAsks holds each way of a confirmation to its requests,
// because a function pays for each by its time.
func TestWhatAConfirmationAsks(t *testing.T) {
	first := func(o retail.Order, s retail.Shipment) retail.Shipment {
		s.Lines = s.Lines[:1]
		return s
	}
	for name, c := range map[string]struct {
		placed shopifytest.Placement
		of     func(o retail.Order, s retail.Shipment) retail.Shipment
		want   string
	}{
		"a whole order":      {threeLines(), nil, "FulfillmentOrders FulfillmentCreate"},
		"a part of it":       {threeLines(), first, "FulfillmentOrders FulfillmentCreate"},
		"without tracking":   {threeLines(), func(_ retail.Order, s retail.Shipment) retail.Shipment { s.Tracking = ""; return s }, "FulfillmentOrders FulfillmentCreate"},
		"from two locations": {shopifytest.Placement{LineCount: 4, FulfillmentOrders: 2}, nil, "FulfillmentOrders FulfillmentCreate"},
		"seventy lines":      {shopifytest.Placement{LineCount: 70}, nil, "FulfillmentOrders FulfillmentCreate"},
		"a hundred lines":    {shopifytest.Placement{LineCount: 100}, nil, "FulfillmentOrders FulfillmentOrderLines FulfillmentCreate"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withShop(t, shopifytest.Options{})
			o := h.placed(t, c.placed)
			s := whole(o, "1Z1")
			if c.of != nil {
				s = c.of(o, s)
			}
			before := len(h.shop.Requests())
			h.confirm(t, o, s)
			var asked []string
			for _, r := range h.shop.Requests()[before:] {
				asked = append(asked, r.Operation)
			}
			if got := strings.Join(asked, " "); got != c.want {
				t.Errorf("asked %s, want %s", got, c.want)
			}
		})
	}
}
