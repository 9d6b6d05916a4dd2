package shipbob

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// The body of POST /order: Orders.CreateOrderModel of the OpenAPI 2026-01,
// with the fields that a release knows.
type createOrder struct {
	ReferenceID    string          `json:"reference_id"`
	OrderNumber    string          `json:"order_number,omitempty"`
	Type           string          `json:"type"`
	ShippingMethod string          `json:"shipping_method"`
	PurchaseDate   *time.Time      `json:"purchase_date,omitempty"`
	LocationID     int64           `json:"location_id,omitempty"`
	Recipient      recipient       `json:"recipient"`
	Products       []createProduct `json:"products"`
}

type createProduct struct {
	ReferenceID string `json:"reference_id"`
	// Name is required and nullable. It is always null: given a name, ShipBob
	// answers an unknown reference by creating a product without stock, and a
	// misspelt SKU would wait in the warehouse instead of being reported.
	Name     *string `json:"name"`
	Quantity int64   `json:"quantity"`
}

type recipient struct {
	Name    string  `json:"name"`
	Email   string  `json:"email,omitempty"`
	Phone   string  `json:"phone_number,omitempty"`
	Address address `json:"address"`
}

type address struct {
	Company  string `json:"company_name,omitempty"`
	Address1 string `json:"address1"`
	Address2 string `json:"address2,omitempty"`
	City     string `json:"city"`
	State    string `json:"state,omitempty"`
	ZipCode  string `json:"zip_code,omitempty"`
	Country  string `json:"country"`
}

// orderView is what the connector reads of Orders.OrderViewModel.
type orderView struct {
	ID          id     `json:"id"`
	ReferenceID string `json:"reference_id"`
	OrderNumber string `json:"order_number"`
	Status      string `json:"status"`
}

func (o orderView) receipt() effect.Receipt {
	return effect.Receipt{Ref: string(o.ID), Number: o.OrderNumber}
}

// Release creates the order at ShipBob under rel.Reference, which ShipBob
// keeps unique. If the reference exists already, the existing order is the
// same effect and its receipt is returned. What people must correct (an
// unknown SKU, an incomplete address) is an exception that names the field.
func (c *Connector) Release(ctx context.Context, p effect.Permit, rel retail.Release, person retail.Person) (effect.Receipt, error) {
	order, err := c.buildOrder(rel, person)
	if err != nil {
		return effect.Receipt{}, err
	}
	body, err := json.Marshal(order)
	if err != nil {
		return effect.Receipt{}, fault.Wrap(fault.Permanent, fault.Internal, err, "encoding the order")
	}
	r, err := c.request(http.MethodPost, "/order", nil, body)
	if err != nil {
		return effect.Receipt{}, err
	}
	res, err := c.client.Write(ctx, p, r)
	if err != nil {
		return effect.Receipt{}, fmt.Errorf("creating the order at ShipBob: %w", err)
	}
	switch {
	case res.Status >= 200 && res.Status < 300:
		return created(res, rel.Reference)
	case res.Status == http.StatusRequestTimeout:
		return effect.Receipt{}, refused(res, r.URL.Path).OutcomeUnknown()
	case res.Status != http.StatusBadRequest && res.Status != http.StatusUnprocessableEntity && res.Status != http.StatusConflict:
		return effect.Receipt{}, refused(res, r.URL.Path)
	}
	f, mayExist := rejection(res, order)
	if !mayExist {
		return effect.Receipt{}, f
	}
	receipt, found, err := c.FindRelease(ctx, rel)
	switch {
	case err != nil:
		return effect.Receipt{}, fmt.Errorf("looking for the order that ShipBob may hold already: %w", err)
	case found:
		return receipt, nil
	default:
		return effect.Receipt{}, f
	}
}

// created reads the new order's id. An answer that cannot be read leaves the
// outcome unknown, so that the ledger reads it back by reference.
func created(res *egress.Response, reference string) (effect.Receipt, error) {
	var o orderView
	if err := unmarshal(res.Body, &o); err != nil || o.ID == "" {
		return effect.Receipt{}, fault.New(fault.Retryable, fault.OutcomeUnknown, "ShipBob accepted the order but its answer has no readable id").OutcomeUnknown()
	}
	if o.ReferenceID != "" && o.ReferenceID != reference {
		return effect.Receipt{}, fault.New(fault.Retryable, fault.OutcomeUnknown, "ShipBob's answer is about another reference").At("reference_id", o.ReferenceID).OutcomeUnknown()
	}
	return o.receipt(), nil
}

// FindRelease looks the order up by its reference, in this channel.
func (c *Connector) FindRelease(ctx context.Context, rel retail.Release) (effect.Receipt, bool, error) {
	if err := checkReference(rel.Reference); err != nil {
		return effect.Receipt{}, false, err
	}
	r, err := c.request(http.MethodGet, "/order", url.Values{"ReferenceIds": {rel.Reference}}, nil)
	if err != nil {
		return effect.Receipt{}, false, err
	}
	var orders []orderView
	if err := c.get(ctx, r, &orders); err != nil {
		return effect.Receipt{}, false, err
	}
	for _, o := range orders {
		if o.ReferenceID == rel.Reference && o.ID != "" {
			return o.receipt(), true, nil
		}
	}
	return effect.Receipt{}, false, nil
}

// ReleaseSettle is how long after a release of unknown outcome an empty
// FindRelease can be believed. ShipBob publishes no figure; two minutes is
// twelve times the longest exchange that the platform waits for.
func (c *Connector) ReleaseSettle() time.Duration { return 2 * time.Minute }

// checkReference refuses what could not be read back: the filter of GET /order
// takes a comma-separated list.
func checkReference(ref string) error {
	if ref == "" || strings.Contains(ref, ",") || strings.TrimSpace(ref) != ref {
		return fault.New(fault.Permanent, fault.Validation, "cannot be looked up at ShipBob").At("reference_id", ref)
	}
	return nil
}

func (c *Connector) buildOrder(rel retail.Release, person retail.Person) (createOrder, error) {
	o := createOrder{
		ReferenceID: rel.Reference, OrderNumber: rel.OrderNumber, Type: "DTC",
		ShippingMethod: rel.ShippingMethod, LocationID: c.settings.LocationID,
	}
	if err := checkReference(rel.Reference); err != nil {
		return o, err
	}
	if o.ShippingMethod == "" {
		o.ShippingMethod = c.settings.ShippingMethod
	}
	if !rel.PlacedAt.IsZero() {
		t := rel.PlacedAt.UTC()
		o.PurchaseDate = &t
	}
	var err error
	if o.Products, err = buildProducts(rel.Lines); err != nil {
		return o, err
	}
	o.Recipient, err = buildRecipient(person)
	return o, err
}

// buildProducts adds lines of one SKU together: a warehouse counts SKUs.
func buildProducts(lines []retail.ReleaseLine) ([]createProduct, error) {
	products := make([]createProduct, 0, len(lines))
	index := make(map[string]int, len(lines))
	for i, l := range lines {
		if strings.TrimSpace(l.SKU) == "" {
			return nil, fault.New(fault.Exception, fault.Mapping, "the line has no SKU").At(fmt.Sprintf("products[%d].reference_id", i), l.OrderLine)
		}
		if l.Quantity <= 0 || l.Quantity > maxQuantity {
			return nil, fault.New(fault.Exception, fault.Validation, "must be above zero and at most %d", int64(maxQuantity)).At(fmt.Sprintf("products[%d].quantity", i), fmt.Sprint(l.Quantity))
		}
		at, ok := index[l.SKU]
		if !ok {
			at = len(products)
			index[l.SKU] = at
			products = append(products, createProduct{ReferenceID: l.SKU})
		}
		products[at].Quantity += l.Quantity
	}
	if len(products) == 0 {
		return nil, fault.New(fault.Permanent, fault.Validation, "there is nothing to release").At("products", "")
	}
	return products, nil
}

// buildRecipient refuses an address that lacks what ShipBob requires. An
// e-mail or a phone is optional there, so a malformed e-mail is left out
// rather than holding up the parcel.
func buildRecipient(person retail.Person) (recipient, error) {
	a := person.Shipping
	r := recipient{
		Name: strings.TrimSpace(first(a.Name, person.Name)), Phone: first(a.Phone, person.Phone),
		Address: address{
			Company: a.Company, Address1: strings.TrimSpace(a.Line1), Address2: a.Line2, City: strings.TrimSpace(a.City),
			State: a.Region, ZipCode: a.PostalCode, Country: strings.TrimSpace(a.Country),
		},
	}
	if m, err := mail.ParseAddress(person.Email); err == nil && m.Address == person.Email {
		r.Email = person.Email
	}
	for _, required := range []struct{ field, value string }{
		{"recipient.name", r.Name},
		{"recipient.address.address1", r.Address.Address1},
		{"recipient.address.city", r.Address.City},
		{"recipient.address.country", r.Address.Country},
	} {
		if required.value == "" {
			return r, fault.New(fault.Exception, fault.Address, "is missing and ShipBob requires it").At(required.field, "")
		}
	}
	return r, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
