//go:build unix

package tryton_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/waybillhq/waybill/internal/connector/tryton"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// parcel is a shipment of quantities by SKU.
func parcel(tracking string, lines map[string]int64) retail.Shipment {
	s := retail.Shipment{ID: "shp_" + tracking, Tracking: tracking}
	for sku, n := range lines {
		s.Lines = append(s.Lines, retail.ShipmentLine{SKU: sku, Quantity: n})
	}
	return s
}

// left is by how much the stock fell.
func left(t *testing.T, c *tryton.Connector, before map[string]int64) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for sku, n := range stock(t, c) {
		if d := before[sku] - n; d != 0 {
			out[sku] = d
		}
	}
	return out
}

func stock(t *testing.T, c *tryton.Connector) map[string]int64 {
	t.Helper()
	s, err := c.Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantSale(t *testing.T, c *tryton.Connector, o retail.Order) tryton.Sale {
	t.Helper()
	sales, err := c.Sales(t.Context(), o.ID)
	if err != nil || len(sales) != 1 {
		t.Fatalf("sales: %+v (%v), want one", sales, err)
	}
	return sales[0]
}

func TestAShipmentPostsExactlyItsQuantitiesAndTheRestStaysOpen(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 3), item("MUG-STONE", "17.95", 2), item("TEE-BLK-M", "20.00", 2)}})
		so := confirmed(t, c, o)
		first, second := parcel("1Z-"+o.ID+"-A", map[string]int64{"TEE-BLK-M": 4}), parcel("1Z-"+o.ID+"-B", map[string]int64{"TEE-BLK-M": 1, "MUG-STONE": 2})

		before := stock(t, c)
		if _, found, err := c.ShipmentPosted(t.Context(), so, first); err != nil || found {
			t.Fatalf("before: %t (%v)", found, err)
		}
		made, err := c.PostShipment(t.Context(), permit, so, first)
		if err != nil || made.Number == "" {
			t.Fatalf("%+v (%v)", made, err)
		}
		if got := left(t, c, before); !maps.Equal(got, map[string]int64{"TEE-BLK-M": 4}) {
			t.Errorf("the first parcel took %v", got)
		}
		if got, found, err := c.ShipmentPosted(t.Context(), so, first); err != nil || !found || got.Ref != made.Ref || got.Number != made.Number {
			t.Errorf("after: %+v, %t (%v), want %+v", got, found, err, made)
		}
		if _, found, err := c.ShipmentPosted(t.Context(), so, second); err != nil || found {
			t.Errorf("the second before it left: %t (%v)", found, err)
		}
		if _, err := c.PostShipment(t.Context(), permit, so, second); err != nil {
			t.Fatal(err)
		}
		if got := left(t, c, before); !maps.Equal(got, map[string]int64{"TEE-BLK-M": 5, "MUG-STONE": 2}) {
			t.Errorf("both parcels took %v", got)
		}
		s := wantSale(t, c, o)
		if len(s.Shipments) != 2 || s.Shipments[0].Reference != first.Tracking || s.Shipments[1].Reference != second.Tracking || s.Shipments[0].State != "done" || s.Shipments[1].State != "done" {
			t.Errorf("shipments: %+v", s.Shipments)
		}
		third := parcel("1Z-"+o.ID+"-C", map[string]int64{"MUG-STONE": 1})
		_, err = c.PostShipment(t.Context(), permit, so, third)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.StateConflict, Field: "lines.sku", Value: "MUG-STONE"})
	})
}

func TestAShipmentThatWasPostedIsNotPostedAgain(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 4)}})
		so := confirmed(t, c, o)
		s := parcel("1Z-"+o.ID, map[string]int64{"TEE-BLK-M": 2})
		before := stock(t, c)
		made, err := c.PostShipment(t.Context(), permit, so, s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.PostShipment(t.Context(), permit, so, s)
		if err != nil || again.Ref != made.Ref {
			t.Errorf("again: %+v (%v), want %+v", again, err, made)
		}
		if got := left(t, c, before); got["TEE-BLK-M"] != 2 {
			t.Errorf("the stock fell by %v", got)
		}
		other := parcel("1Z-"+o.ID, map[string]int64{"TEE-BLK-M": 1})
		_, err = c.PostShipment(t.Context(), permit, so, other)
		wantFault(t, err, fault.Error{Kind: fault.Exception, Class: fault.Duplicate, Field: "tracking_number", Value: other.Tracking})
		if _, found, err := c.ShipmentPosted(t.Context(), so, other); err != nil || found {
			t.Errorf("other quantities under the same number: %t (%v)", found, err)
		}
	})
}

func TestAParcelWithoutATrackingNumberIsFoundByItsID(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 1)}})
		so := confirmed(t, c, o)
		s := parcel("", map[string]int64{"TEE-BLK-M": 1})
		s.ID = "shp_" + o.ID
		if _, err := c.PostShipment(t.Context(), permit, so, s); err != nil {
			t.Fatal(err)
		}
		if _, found, err := c.ShipmentPosted(t.Context(), so, s); err != nil || !found {
			t.Errorf("found: %t (%v)", found, err)
		}
		s.ID += "0"
		if _, found, err := c.ShipmentPosted(t.Context(), so, s); err != nil || found {
			t.Errorf("another parcel: %t (%v)", found, err)
		}
	})
}

func TestAParcelThatLeftIsPostedWhateverTheERPBelievesToHave(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("CANDLE-FIG", "32.50", 5), item("MUG-STONE", "17.95", 1)}})
		so := confirmed(t, c, o)
		before := stock(t, c)
		if _, err := c.PostShipment(t.Context(), permit, so, parcel("1Z-"+o.ID, map[string]int64{"CANDLE-FIG": 5, "MUG-STONE": 1})); err != nil {
			t.Fatal(err)
		}
		if got := left(t, c, before); !maps.Equal(got, map[string]int64{"CANDLE-FIG": 5, "MUG-STONE": 1}) {
			t.Errorf("the stock fell by %v", got)
		}
		if n := stock(t, c)["CANDLE-FIG"]; n >= 0 {
			t.Errorf("the stock is %d although more left than there was", n)
		}
	})
}

// TestAPostingThatBreaksOffIsContinued loses the answer to every write in turn,
// which is what a crash between two calls looks like to Tryton.
func TestAPostingThatBreaksOffIsContinued(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		for lost := 1; ; lost++ {
			o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 3), item("MUG-STONE", "17.95", 2), item("CANDLE-FIG", "32.50", 9)}})
			so := confirmed(t, c, o)
			s := parcel("1Z-"+o.ID, map[string]int64{"TEE-BLK-M": 2, "CANDLE-FIG": 8})
			before := stock(t, c)
			p.set(func(p *proxy) { p.writes, p.loseAfter = 0, lost })
			_, err := c.PostShipment(t.Context(), permit, so, s)
			p.set(func(p *proxy) { p.loseAfter = 0 })
			if err == nil {
				if lost < 5 {
					t.Fatalf("only %d writes could be lost", lost-1)
				}
				return
			}
			if f := fault.Of(err); f == nil || !f.Unknown {
				t.Fatalf("losing answer %d gives %v, want an unknown outcome", lost, err)
			}
			if _, err := c.PostShipment(t.Context(), permit, so, s); err != nil {
				t.Fatalf("after answer %d was lost: %v", lost, err)
			}
			if got := left(t, c, before); !maps.Equal(got, map[string]int64{"TEE-BLK-M": 2, "CANDLE-FIG": 8}) {
				t.Errorf("after answer %d was lost the stock fell by %v", lost, got)
			}
			done, open := 0, 0
			for _, posted := range wantSale(t, c, o).Shipments {
				switch {
				case posted.State == "done" && posted.Reference == s.Tracking:
					done++
				case posted.State == "waiting" && posted.Reference == "":
					open++
				}
			}
			if done != 1 || open != 1 {
				t.Errorf("after answer %d was lost: %+v", lost, wantSale(t, c, o).Shipments)
			}
		}
	})
}

func TestAShipmentWithoutContentIsRefused(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		for name, s := range map[string]retail.Shipment{
			"no lines":    {ID: "s", Tracking: "t"},
			"no quantity": parcel("t", map[string]int64{"MUG-STONE": 0}),
			"no SKU":      parcel("t", map[string]int64{"": 1}),
		} {
			t.Run(name, func(t *testing.T) {
				_, err := c.PostShipment(t.Context(), permit, effect.Receipt{Ref: "1"}, s)
				if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.Validation {
					t.Errorf("got %v", err)
				}
			})
		}
	})
}

func TestASaleThatIsGoneIsNamed(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		gone := effect.Receipt{Ref: "99999999"}
		want := fault.Error{Kind: fault.Exception, Class: fault.MissingReference, Field: "sales_order", Value: gone.Ref}
		_, err := c.PostInvoice(t.Context(), permit, gone)
		wantFault(t, err, want)
		_, err = c.PostShipment(t.Context(), permit, gone, parcel("t", map[string]int64{"MUG-STONE": 1}))
		wantFault(t, err, want)
		_, _, err = c.SalesOrderConfirmed(t.Context(), gone)
		wantFault(t, err, want)
		_, err = c.SalesOrderTotal(t.Context(), effect.Receipt{Ref: "x"})
		wantFault(t, err, fault.Error{Kind: fault.Permanent, Class: fault.Internal, Field: "sales_order", Value: "x"})
	})
}

func TestTwoPostingsAtOnceTakeNoQuantityTwice(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		c := srs.connect(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 2)}})
		so := confirmed(t, c, o)
		before := stock(t, c)
		errs := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, err := c.PostShipment(t.Context(), permit, so, parcel(fmt.Sprintf("1Z-%s-%d", o.ID, i), map[string]int64{"TEE-BLK-M": 1}))
				errs <- err
			}()
		}
		posted := int64(0)
		for range 2 {
			err := <-errs
			switch f := fault.Of(err); {
			case err == nil:
				posted++
			case f == nil || (f.Class != fault.StateConflict && !f.Unknown):
				t.Errorf("the one that came late got %v", err)
			}
		}
		for i := range 2 {
			if _, err := c.PostShipment(t.Context(), permit, so, parcel(fmt.Sprintf("1Z-%s-%d", o.ID, i), map[string]int64{"TEE-BLK-M": 1})); err != nil {
				t.Errorf("again: %v", err)
			}
		}
		if got := left(t, c, before); got["TEE-BLK-M"] != 2 {
			t.Errorf("the stock fell by %v after %d came through at once", got, posted)
		}
	})
}

// press presses a shipment's button as somebody in the warehouse does.
func (s *series) press(t *testing.T, button string, shipment int64) {
	t.Helper()
	s.administer(t, "model.stock.shipment.out."+button, nil, []int64{shipment}, company)
}

var company = map[string]any{"company": 1}

// open is the id of the sale's one shipment.
func (s *series) open(t *testing.T, so effect.Receipt) int64 {
	t.Helper()
	var found []struct{ Shipments []int64 }
	s.administer(t, "model.sale.sale.search_read", &found, []any{[]any{"id", "=", json.Number(so.Ref)}}, 0, 1, nil, []string{"shipments"}, company)
	if len(found) != 1 || len(found[0].Shipments) != 1 {
		t.Fatalf("shipments: %+v, want one", found)
	}
	return found[0].Shipments[0]
}

// Tryton 8.0 refuses a button that is not for the state, and 7.0 answers as if
// it had been pressed.
func TestAButtonThatSomebodyElsePressedMeanwhileIsNotTakenForOurs(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		for _, button := range []string{"pick", "pack"} {
			p, c := srs.behind(t)
			o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 2)}})
			so := confirmed(t, c, o)
			shipment := srs.open(t, so)
			before := stock(t, c)
			p.set(func(p *proxy) {
				p.before = map[string]func(){"model.stock.shipment.out." + button: func() { srs.press(t, button, shipment) }}
			})
			if _, err := c.PostShipment(t.Context(), permit, so, parcel("1Z-"+o.ID, map[string]int64{"TEE-BLK-M": 2})); err != nil {
				t.Errorf("%s: %v", button, err)
			}
			if s := wantSale(t, c, o); len(s.Shipments) != 1 || s.Shipments[0].State != "done" {
				t.Errorf("%s: shipments: %+v", button, s.Shipments)
			}
			if got := left(t, c, before); got["TEE-BLK-M"] != 2 {
				t.Errorf("%s: the stock fell by %v", button, got)
			}
		}
	})
}

func TestAShipmentThatIsPickedMeanwhileIsNotClaimed(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		p, c := srs.behind(t)
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 2)}})
		so := confirmed(t, c, o)
		shipment := srs.open(t, so)
		srs.press(t, "assign_force", shipment)
		before := stock(t, c)
		p.set(func(p *proxy) {
			p.before = map[string]func(){"model.stock.shipment.out.wait": func() { srs.press(t, "pick", shipment) }}
		})
		_, err := c.PostShipment(t.Context(), permit, so, parcel("1Z-"+o.ID, map[string]int64{"TEE-BLK-M": 2}))
		if f := fault.Of(err); f == nil || f.Unknown {
			t.Fatalf("got %v, want a fault of known outcome", err)
		}
		if s := wantSale(t, c, o); len(s.Shipments) != 1 || s.Shipments[0].State != "picked" || s.Shipments[0].Reference != "" {
			t.Errorf("shipments: %+v", s.Shipments)
		}
		if got := left(t, c, before); len(got) != 0 {
			t.Errorf("the stock fell by %v", got)
		}
	})
}

func TestAWarehouseWhoseShelfIsItsDoorShips(t *testing.T) {
	each(t, func(t *testing.T, srs *series) {
		var made []int64
		srs.administer(t, "model.stock.location.create", &made, []any{map[string]any{"name": "Garage", "type": "storage"}}, company)
		srs.administer(t, "model.stock.location.create", nil, []any{map[string]any{
			"name": "Garage", "code": "GARAGE", "type": "warehouse", "input_location": made[0], "output_location": made[0], "storage_location": made[0],
		}}, company)
		c := srs.connect(t, func(v map[string]any) { v["warehouse"] = "GARAGE" })
		o := order(t, retail.Order{Lines: []retail.OrderLine{item("TEE-BLK-M", "24.00", 3), item("MUG-STONE", "17.95", 1)}})
		so := confirmed(t, c, o)
		for i, content := range []map[string]int64{{"TEE-BLK-M": 2}, {"TEE-BLK-M": 1, "MUG-STONE": 1}} {
			s := parcel(fmt.Sprintf("1Z-%s-%d", o.ID, i), content)
			if _, err := c.PostShipment(t.Context(), permit, so, s); err != nil {
				t.Fatal(err)
			}
			if _, found, err := c.ShipmentPosted(t.Context(), so, s); err != nil || !found {
				t.Errorf("posted: %t (%v)", found, err)
			}
		}
		if got := stock(t, c); got["TEE-BLK-M"] != -3 || got["MUG-STONE"] != -1 {
			t.Errorf("the stock is %v", got)
		}
	})
}
