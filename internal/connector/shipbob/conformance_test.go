package shipbob_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/connectortest"
	"github.com/waybillhq/waybill/internal/connector/shipbob"
	"github.com/waybillhq/waybill/internal/connector/shipbob/shipbobtest"
	"github.com/waybillhq/waybill/internal/effect/effecttest"
	"github.com/waybillhq/waybill/internal/egress"
)

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Connector: "shipbob",
		Bare:      decoder(t),
		Open:      openWarehouse,
		Webhooks:  warehouseHooks(t),
		Parcel:    func(s connectortest.ParcelSpec) []byte { return []byte(parcelOf(s, "Completed")) },
		Unknown:   unheardOf(),
	})
}

// parcelOf is an Orders.ShipmentViewModel, as far as it matters here.
func parcelOf(s connectortest.ParcelSpec, status string) string {
	return fmt.Sprintf(`{"id":%s,"order_id":%s,"reference_id":"r-1","status":%q,"ship_option":"Standard","actual_fulfillment_date":%q,
 "tracking":{"carrier":"USPS","carrier_service":"Ground Advantage","tracking_number":"9400100000000310000001","tracking_url":"https://example.com/9400"},
 "package_material_type":"Box","status_details":[],
 "products":[{"id":9007199254740997,"reference_id":"MUG-STONE","sku":"MUG-STONE","inventory_items":[{"id":9007199254740999,"quantity":%s}]}]}`,
		s.ID, s.OrderRef, status, s.ShippedAt, s.Quantity)
}

func unheardOf() []connectortest.Unknown {
	const never = "NeverHeard"
	plain := parcelOf(connectortest.ParcelSpec{ID: "1", OrderRef: "2", ShippedAt: "2026-07-01T11:00:00Z", Quantity: "1"}, "Completed")
	var out []connectortest.Unknown
	for _, c := range []struct{ name, from, to string }{
		{"status_of_a_parcel_that_left", `"status":"Completed"`, `"status":"NeverHeard"`},
		{"status_of_a_parcel_that_stays", `"status":"Completed","ship_option":"Standard","actual_fulfillment_date":"2026-07-01T11:00:00Z"`, `"status":"NeverHeard"`},
		{"carrier", `"carrier":"USPS"`, `"carrier":"NeverHeard"`},
		{"carrier_service", `"Ground Advantage"`, `"NeverHeard"`},
		{"ship_option", `"carrier_service":"Ground Advantage"`, `"carrier_service":""`},
		{"package_material_type", `"Box"`, `"NeverHeard"`},
		{"status_detail", `"status_details":[]`, `"status_details":[{"id":999,"name":"NeverHeard"}]`},
		{"member", `"reference_id":"r-1"`, `"reference_id":"r-1","NeverHeard":{"NeverHeard":[]}`},
	} {
		raw := strings.Replace(plain, c.from, c.to, 1)
		if c.name == "ship_option" {
			raw = strings.Replace(raw, `"ship_option":"Standard"`, `"ship_option":"NeverHeard"`, 1)
		}
		out = append(out, connectortest.Unknown{Name: c.name, Value: never, Raw: []byte(raw)})
	}
	return out
}

func warehouseHooks(t *testing.T) *connectortest.Webhooks {
	t.Helper()
	v, secrets := officialVector(t)
	at := time.Unix(v.Timestamp, 0)
	var vectors []connectortest.Vector
	add := func(name string, valid bool, secret string, change func(h http.Header)) {
		h := delivery(v, v.Expect)
		if change != nil {
			change(h)
		}
		vectors = append(vectors, connectortest.Vector{Name: name, Header: h, Body: []byte(v.Payload), Secrets: []string{secret}, At: at, Valid: valid})
	}
	add("standard-webhooks", true, secrets[0], nil)
	add("standard-webhooks without the prefix", true, secrets[1], nil)
	add("standard-webhooks among several signatures", true, secrets[0], func(h http.Header) {
		h.Set("webhook-signature", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,"+v.Expect[3:]+" "+v.Expect)
	})
	add("standard-webhooks of another version", false, secrets[0], func(h http.Header) { h.Set("webhook-signature", "v2,"+v.Expect[3:]) })
	add("standard-webhooks under another id", false, secrets[0], func(h http.Header) { h.Set("webhook-id", "msg_other") })
	add("standard-webhooks at another time", false, secrets[0], func(h http.Header) { h.Set("webhook-timestamp", strconv.FormatInt(v.Timestamp+1, 10)) })
	return &connectortest.Webhooks{
		Vectors: vectors,
		Deliver: func(d connectortest.Delivery) http.Header {
			return shipbobtest.Headers(d.Topic, d.EventID, d.Body, d.Secret, d.At)
		},
		Secrets:   [3]string{"whsec_bGl2ZSBzZWNyZXQ=", "whsec_cHJldmlvdXMgc2VjcmV0", "whsec_cmV0aXJlZCBzZWNyZXQ="},
		Mandatory: []string{"webhook-id", "webhook-timestamp", "webhook-signature"},
		Topics:    map[string]string{"order.shipped": "shipment"},
		Unwanted:  "return.created",
		Oldest:    5 * time.Minute,
	}
}

func openWarehouse(t testing.TB, o connectortest.Options) *connectortest.Vendor {
	t.Helper()
	k := connectortest.NewClock()
	sim := shipbobtest.NewServer(shipbobtest.Options{Now: k.Now, HoldOrders: true, FirstID: 9007199254740992,
		Catalogue: []shipbobtest.Item{{SKU: "MUG-STONE", Name: "Stoneware mug", OnHand: 100}}})
	front := connectortest.Serve(t, shipbobtest.Vendor(), sim, k)
	t.Cleanup(func() {
		sim.Close()
		for _, v := range sim.Violations() {
			t.Errorf("the OpenAPI was broken: %+v", v)
		}
	})
	if o.Limited {
		front.Limit(150, time.Minute)
	}
	connect := func(t testing.TB, token string) *shipbob.Connector {
		t.Helper()
		c, err := shipbob.New(json.RawMessage(fmt.Sprintf(`{"api_url":%q,"channel_id":"433"}`, front.URL)),
			map[string]string{"access_token": token}, egress.New(k.Now, loopback), k.Now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := connect(t, "pat-simulator")
	inserted, released := 0, 0
	return &connectortest.Vendor{
		Connector: c,
		Reconnect: func(t testing.TB, token string) any { return connect(t, token) },
		Clock:     k,
		Front:     front,
		Matter: func(testing.TB, string) connectortest.Matter {
			released++
			reference := fmt.Sprintf("order-%d", released)
			return connectortest.Matter{
				Release: release(reference, line("MUG-STONE", 2)), Person: shopper(), Operation: "create-order",
				Stored: func() []string { return sim.OrderIDs(reference) },
			}
		},
		Stock: &connectortest.Stock{
			Items: 3*250 + 1,
			Fill: func(n int) []string {
				counts, skus := map[string]int64{}, make([]string, n)
				for i := range skus {
					skus[i] = fmt.Sprintf("SKU-%05d", i)
					counts[skus[i]] = 1
				}
				sim.SetStock(counts)
				return skus
			},
			Insert: func() {
				inserted++
				sim.SetStock(map[string]int64{fmt.Sprintf("AAA-%d", inserted): 1})
			},
		},
		Heavy: func(ctx context.Context) error {
			counts := map[string]int64{}
			for i := range 2000 {
				counts[fmt.Sprintf("SKU-%05d", i)] = 1
			}
			sim.SetStock(counts)
			_, err := c.Stock(ctx)
			return err
		},
		Parcels: func(t testing.TB) (string, []string) {
			r, err := c.Release(t.Context(), effecttest.Permit("release"), release("order-1", line("MUG-STONE", 2)), shopper())
			if err != nil {
				t.Fatal(err)
			}
			return r.Ref, sim.Ship(r.Ref)
		},
	}
}
