package shipbob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// maxQuantity bounds what one entry may count: more is a malformed document,
// and sums stay far from 64 bits.
const maxQuantity = 1_000_000_000

// shipmentView is what the connector reads of Orders.ShipmentViewModel.
// ShipBob publishes no schema for the payload of order.shipped; the connector
// assumes that it is this model, as the listing returns it.
type shipmentView struct {
	ReferenceID loose             `json:"reference_id"`
	ShipOption  string            `json:"ship_option"`
	Status      string            `json:"status"`
	ActualDate  moment            `json:"actual_fulfillment_date"`
	LastUpdate  moment            `json:"last_update_at"`
	Tracking    trackingView      `json:"tracking"`
	Products    []shipmentProduct `json:"products"`
}

type trackingView struct {
	Carrier        string `json:"carrier"`
	CarrierService string `json:"carrier_service"`
	Number         loose  `json:"tracking_number"`
	ProNumber      loose  `json:"pro_number"`
	URL            string `json:"tracking_url"`
	ShippingDate   moment `json:"shipping_date"`
}

type shipmentProduct struct {
	ReferenceID loose           `json:"reference_id"`
	SKU         loose           `json:"sku"`
	Items       []inventoryItem `json:"inventory_items"`
}

type inventoryItem struct {
	ID       scalar `json:"id"`
	Quantity scalar `json:"quantity"`
}

// scalar keeps a JSON value as it is written, so that a malformed one can be
// refused with its own path.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error { *s = scalar(b); return nil }

// loose is a text that may be written as a number: its digits. A number with
// a sign, a fraction or an exponent is refused: what wrote it did arithmetic on
// a name, and its digits are lost.
type loose string

func (l *loose) UnmarshalJSON(b []byte) error {
	var s string
	if n := len(b); n > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9') {
		s = string(b)
		if strings.Trim(s, "0123456789") != "" {
			return &json.UnmarshalTypeError{Value: "number", Type: reflect.TypeFor[loose]()}
		}
	} else if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*l = loose(s)
	return nil
}

// moment is a time as it is written, and empty where there is none. .NET writes
// its smallest, of the year 1, with or without an offset, for none.
type moment string

func (m *moment) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if strings.HasPrefix(s, "000") {
		s = ""
	}
	*m = moment(s)
	return nil
}

// quantity reads a whole number within ±maxQuantity.
func (s scalar) quantity() (int64, bool) {
	n, err := strconv.ParseInt(string(s), 10, 64)
	return n, err == nil && -maxQuantity <= n && n <= maxQuantity
}

// whereabouts is what a shipment's document says of where the parcel is.
type whereabouts int

const (
	inside  whereabouts = iota // in the warehouse, or never to leave it
	left                       // out of the platform's reach
	unclear                    // people must find out
)

// statuses is Orders.OrderStatusEnum in lower case, and the other spelling of
// its one word that has two: what a status says by itself. unclear are those
// that say nothing of it.
var statuses = map[string]whereabouts{
	"completed": left, "labeledcreated": left, // a label is printed
	"cancelled": inside, "canceled": inside,
	"": unclear, "none": unclear, "processing": unclear, "exception": unclear, "onhold": unclear, "cleansweeped": unclear, "importreview": unclear,
}

// where judges by the status, and where that says nothing by what only a
// parcel that was packed has: a date of fulfilment, and a tracking number,
// which may be assigned early. A status of a later version may mean that the
// parcel left or that it came back. To believe either would tell a shopper of a
// parcel that never comes, or lose one in silence, so from the date on it is
// for people.
func (s shipmentView) where() whereabouts {
	says, known := statuses[strings.ToLower(s.Status)]
	packed := s.ActualDate != "" || s.Tracking.ShippingDate != ""
	switch {
	case known && says != unclear:
		return says
	case !packed:
		return inside
	case !known:
		return unclear
	case s.number() == "":
		return inside
	default:
		return left
	}
}

// number is the parcel's tracking number, or a freight carrier's PRO number.
func (s shipmentView) number() string {
	return first(string(s.Tracking.Number), string(s.Tracking.ProNumber))
}

// DecodeShipment reads a shipment as a webhook or a listing carries it. Lines
// are one per SKU in the document's order. On an error the shipment still has
// its ExternalID and OrderRef where these could be read.
func (c *Connector) DecodeShipment(raw []byte) (retail.Shipment, error) {
	out := retail.Shipment{Schema: retail.SchemaVersion}
	var ids map[string]json.RawMessage
	if err := unmarshal(raw, &ids); err != nil || ids == nil {
		return out, unreadable(err, "shipment", "is not a JSON object")
	}
	out.ExternalID, out.OrderRef = readID(ids["id"]), readID(ids["order_id"])
	if out.ExternalID == "" {
		return out, malformed("id", "is not a shipment's id")
	}
	if out.OrderRef == "" {
		return out, malformed("order_id", "is not an order's id")
	}
	s, err := readShipment(raw)
	if err != nil {
		return out, err
	}
	out.Reference, out.Carrier, out.Service = string(s.ReferenceID), s.Tracking.Carrier, first(s.Tracking.CarrierService, s.ShipOption)
	out.Tracking, out.TrackingURL, out.SourceVersion = s.number(), webURL(s.Tracking.URL), string(s.LastUpdate)
	switch s.where() {
	case inside:
		return out, fault.New(fault.Exception, fault.StateConflict, "the shipment has not left the warehouse").At("status", s.Status)
	case unclear:
		return out, fault.New(fault.Exception, fault.Validation, "the status is not known here, so that only ShipBob can say whether the parcel left; retry once it tells another, or replace the payload").At("status", s.Status)
	}
	if out.ShippedAt, err = shippedAt(s); err != nil {
		return out, err
	}
	out.Lines, err = shipmentLines(s.Products)
	return out, err
}

func readShipment(raw []byte) (shipmentView, error) {
	var s shipmentView
	if err := unmarshal(raw, &s); err != nil {
		field := "shipment"
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			field = wrong.Field
		}
		// The error itself is dropped: it may quote the document.
		return s, malformed(field, "is not of the documented type")
	}
	return s, nil
}

func readID(raw json.RawMessage) string {
	var i id
	if len(raw) == 0 || json.Unmarshal(raw, &i) != nil {
		return ""
	}
	return string(i)
}

// shippedAt is the moment of fulfilment; a freight shipment may state only the
// day of shipping, and an older one only its last change.
func shippedAt(s shipmentView) (time.Time, error) {
	for _, f := range []struct {
		field string
		value moment
	}{
		{"actual_fulfillment_date", s.ActualDate},
		{"tracking.shipping_date", s.Tracking.ShippingDate},
		{"last_update_at", s.LastUpdate},
	} {
		if f.value == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, string(f.value))
		if err != nil {
			return time.Time{}, malformed(f.field, "is not an RFC 3339 time")
		}
		return t.UTC(), nil
	}
	return time.Time{}, malformed("actual_fulfillment_date", "is missing, and no other date tells when it shipped")
}

func shipmentLines(products []shipmentProduct) ([]retail.ShipmentLine, error) {
	var lines []retail.ShipmentLine
	index := make(map[string]int, len(products))
	for i, p := range products {
		path := fmt.Sprintf("products[%d]", i)
		// The reference is the SKU that the release gave; sku is ShipBob's own.
		sku := first(string(p.ReferenceID), string(p.SKU))
		if sku == "" {
			return nil, fault.New(fault.Exception, fault.Mapping, "the product has neither reference nor SKU").At(path+".reference_id", "")
		}
		n, err := shippedQuantity(p, path)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		if at, ok := index[sku]; ok {
			lines[at].Quantity += n
			continue
		}
		index[sku] = len(lines)
		lines = append(lines, retail.ShipmentLine{SKU: sku, Quantity: n})
	}
	if len(lines) == 0 {
		return nil, fault.New(fault.Exception, fault.Validation, "the shipment lists nothing that shipped").At("products", "")
	}
	return lines, nil
}

// shippedQuantity adds a product's inventory entries, which are lots of one
// item. A bundle has several items, and the document then does not say how
// many bundles shipped, so it is left to people.
func shippedQuantity(p shipmentProduct, path string) (int64, error) {
	if len(p.Items) == 0 {
		return 0, fault.New(fault.Exception, fault.Validation, "the document does not say how many of the product shipped").At(path+".inventory_items", first(string(p.ReferenceID), string(p.SKU)))
	}
	var total int64
	for j, item := range p.Items {
		field := fmt.Sprintf("%s.inventory_items[%d]", path, j)
		if item.ID != p.Items[0].ID {
			return 0, fault.New(fault.Exception, fault.Mapping, "the product is a bundle, of which the document states only the parts").At(field+".id", first(string(p.ReferenceID), string(p.SKU)))
		}
		n, ok := item.Quantity.quantity()
		if !ok || n < 0 {
			return 0, malformed(field+".quantity", "is not a quantity")
		}
		if total += n; total > maxQuantity {
			return 0, malformed(field+".quantity", "adds up to more than a shipment can hold")
		}
	}
	return total, nil
}

// webURL keeps a link only if a browser would open it as a web page: the link
// is shown to shoppers and in the console.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	return s
}

func malformed(field, message string) *fault.Error {
	return fault.New(fault.Permanent, fault.Validation, "%s", message).At(field, "")
}

// ListShipments returns those of an order's shipments that have shipped, or may
// have, each in the shape that DecodeShipment reads. orderRef is ShipBob's order id.
func (c *Connector) ListShipments(ctx context.Context, orderRef string) ([]retail.Listed, error) {
	if !digits(orderRef) {
		return nil, fault.New(fault.Permanent, fault.Validation, "is not an order id of ShipBob").At("order_id", orderRef)
	}
	r, err := c.request(http.MethodGet, "/order/"+orderRef+"/shipment", nil, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.client.Read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("listing the order's shipments: %w", err)
	}
	switch res.Status {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fault.New(fault.Exception, fault.MissingReference, "ShipBob does not know the order").At("order_id", orderRef)
	default:
		return nil, refused(res, r.URL.Path)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(res.Body, &items); err != nil || !utf8.Valid(res.Body) {
		return nil, fault.New(fault.Retryable, fault.Connectivity, "ShipBob answered the listing of shipments with something that is not a JSON array")
	}
	return listShipped(items)
}

func listShipped(items []json.RawMessage) ([]retail.Listed, error) {
	var out []retail.Listed
	for i, raw := range items {
		var ids map[string]json.RawMessage
		_ = json.Unmarshal(raw, &ids) // what is no object has no id
		id := readID(ids["id"])
		if id == "" {
			return nil, malformed(fmt.Sprintf("[%d].id", i), "is not a shipment's id")
		}
		s, err := readShipment(raw)
		if err == nil && s.where() == inside {
			continue
		}
		// What does not decode or is unclear is listed all the same: decoding it
		// gives the reason under its own id, and does not hide its neighbours.
		l := retail.Listed{ExternalID: id, Number: s.number(), Raw: raw}
		if t, err := time.Parse(time.RFC3339, string(s.LastUpdate)); err == nil {
			l.UpdatedAt = t.UTC()
		}
		out = append(out, l)
	}
	return out, nil
}
