package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/retail"
)

// asked is how a translator shows that it was asked: its maps cannot be read.
var errAsked = errors.New("the translator was asked")

type unreadable struct{ mapping.Store }

func (unreadable) Maps(context.Context, retail.Tenant, string) ([]mapping.Map, error) {
	return nil, errAsked
}

// Every connector of the catalog is translated in all that it reads and
// writes, and loses nothing by it.
func TestEveryConnectorIsTranslatedInAllThatItReadsAndWrites(t *testing.T) {
	acme, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	by := &mapping.Translator{Tenant: acme, Connection: "c", Stored: &mapping.Reader{Store: unreadable{}, Now: time.Now}}
	for _, name := range catalog.Names() {
		opened, err := catalog.Open(name, json.RawMessage(catalog.Bare(name)), nil, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		translated := catalog.Translate(opened, by)
		if was, is := catalog.Capabilities(opened), catalog.Capabilities(translated); !slices.Equal(was, is) {
			t.Errorf("%s could %v and can %v", name, was, is)
		}
		o := retail.Order{Lines: []retail.OrderLine{{SKU: "A"}}}
		r := retail.Release{Lines: []retail.ReleaseLine{{SKU: "A"}}}
		s := retail.Shipment{Lines: []retail.ShipmentLine{{SKU: "A"}}}
		for what, ask := range map[string]func() error{
			"creating a sales order": func() error {
				c, can := translated.(order.SalesOrders)
				if !can {
					return errAsked
				}
				_, err := c.CreateSalesOrder(t.Context(), effect.Permit{}, o, effect.Receipt{}, effect.Receipt{}, effect.Receipt{})
				return err
			},
			"finding a sales order": func() error {
				c, can := translated.(order.SalesOrders)
				if !can {
					return errAsked
				}
				_, _, err := c.FindSalesOrder(t.Context(), o)
				return err
			},
			"releasing": func() error {
				c, can := translated.(order.Releaser)
				if !can {
					return errAsked
				}
				_, err := c.Release(t.Context(), effect.Permit{}, r, retail.Person{})
				return err
			},
			"finding a release": func() error {
				c, can := translated.(order.Releaser)
				if !can {
					return errAsked
				}
				_, _, err := c.FindRelease(t.Context(), r)
				return err
			},
			"confirming a shipment": func() error {
				c, can := translated.(shipment.Channel)
				if !can {
					return errAsked
				}
				_, err := c.ConfirmShipment(t.Context(), effect.Permit{}, o, s)
				return err
			},
			"finding a confirmation": func() error {
				c, can := translated.(shipment.Channel)
				if !can {
					return errAsked
				}
				_, _, err := c.FindShipment(t.Context(), o, s)
				return err
			},
			"posting a shipment": func() error {
				c, can := translated.(shipment.Shipments)
				if !can {
					return errAsked
				}
				_, err := c.PostShipment(t.Context(), effect.Permit{}, effect.Receipt{}, s)
				return err
			},
			"finding a posted shipment": func() error {
				c, can := translated.(shipment.Shipments)
				if !can {
					return errAsked
				}
				_, _, err := c.ShipmentPosted(t.Context(), effect.Receipt{}, s)
				return err
			},
		} {
			if err := ask(); !errors.Is(err, errAsked) {
				t.Errorf("%s: %s is not translated: %v", name, what, err)
			}
		}
		// Decoders need a document of their own; what wraps them is named.
		_, decodes := opened.(order.Decoder)
		if _, wrapped := translated.(interface{ TranslatesOrders() }); decodes != wrapped {
			t.Errorf("%s: decoding orders is not translated", name)
		}
		_, decodes = opened.(shipment.Decoder)
		if _, wrapped := translated.(interface{ TranslatesParcels() }); decodes != wrapped {
			t.Errorf("%s: decoding parcels is not translated", name)
		}
	}
}

func TestAnOrderThatAMapRefusesKeepsItsNumbersAndNoLines(t *testing.T) {
	acme, err := retail.ParseTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := catalog.Open("shopify", json.RawMessage(catalog.Bare("shopify")), nil, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	by := &mapping.Translator{Tenant: acme, Connection: "shop", Fixed: map[mapping.Kind]mapping.Fixed{
		mapping.SKU: {Strict: true, Decode: map[string]string{"X": "Y"}}}}
	d, ok := catalog.Translate(opened, by).(order.Decoder)
	if !ok {
		t.Fatal("decodes no orders")
	}
	o, person, err := d.DecodeOrder(sample(t))
	f := fault.Of(err)
	if f == nil || f.Class != fault.Mapping || f.Kind != fault.Exception || f.Field != "lines[0].sku" || f.Value != "MUG-STONE" {
		t.Fatalf("err = %v", err)
	}
	if o.ExternalID == "" || o.Number == "" || o.Totals.Total.IsZero() || len(o.Lines) != 0 || person != (retail.Person{}) {
		t.Errorf("order = %+v", o)
	}
}

// sample is what a storefront sends.
func sample(t *testing.T) []byte {
	t.Helper()
	sim := shopifytest.NewServer(shopifytest.Options{})
	t.Cleanup(sim.Close)
	placed, err := sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 2}}, DropWebhook: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sim.Payload(placed.ID)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
