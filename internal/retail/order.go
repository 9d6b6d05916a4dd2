// Package retail is the canonical model that every vendor's documents are
// translated to: types, invariants, state machines and money arithmetic. It
// holds no personal data except in Person, imports the standard library only,
// and never reads a clock or a random source.
package retail

import "time"

// SchemaVersion is written into every stored document; readers accept the
// previous one too.
const SchemaVersion = 1

// Order is a shopper's order as accepted from a channel. Quantities on the
// lines are the truth; State is their projection. Names and addresses are not
// here but in the Person that Order.ID leads to.
type Order struct {
	Schema          int       `json:"schema"`
	Tenant          Tenant    `json:"tenant_id"`
	ID              string    `json:"id"`
	Channel         string    `json:"channel"`      // connection id
	ExternalID      string    `json:"external_id"`  // the channel's own id, always a string
	Number          string    `json:"order_number"` // what the shopper sees, e.g. "#1001"
	PlacedAt        time.Time `json:"placed_at"`
	SourceVersion   string    `json:"source_version"` // orders the channel's snapshots of this order
	SourceUpdatedAt time.Time `json:"source_updated_at"`
	Currency        Currency  `json:"currency"`
	TaxIncluded     bool      `json:"tax_included"` // prices contain the tax, which is then memo only
	Test            bool      `json:"test,omitempty"`

	Lines    []OrderLine    `json:"lines"`
	Shipping []ShippingLine `json:"shipping,omitempty"`
	Totals   Totals         `json:"totals"`
	// Presentment repeats the totals in the currency that the shopper saw,
	// where that is not Currency.
	Presentment *Totals `json:"presentment,omitempty"`

	FulfillmentPreference string     `json:"fulfillment_preference"`    // ship, pickup, ship_to_store
	PickupLocation        string     `json:"pickup_location,omitempty"` // the location code that a pickup is for
	ShippingMethod        string     `json:"shipping_method,omitempty"`
	FinancialStatus       string     `json:"financial_status,omitempty"` // the channel's word
	CustomerRef           string     `json:"customer_ref,omitempty"`     // the channel's customer id
	CanceledAt            *time.Time `json:"canceled_at,omitempty"`
	DestinationCountry    string     `json:"destination_country,omitempty"` // ISO 3166-1 alpha-2

	// Sourcing is from where the order is taken, once that was decided.
	Sourcing *SourcingDecision `json:"sourcing,omitempty"`

	// Notes say what the decoder did that the source did not spell out, such
	// as spreading an order discount over lines.
	Notes []string `json:"notes,omitempty"`
}

// OrderLine is one line with its money and its quantity buckets.
// Invariant: Ordered = Unallocated + Allocated + Released + Shipped + Canceled.
type OrderLine struct {
	ID               string     `json:"id"`          // position in the order, "1" first
	ExternalID       string     `json:"external_id"` // the channel's line id
	SKU              string     `json:"sku"`
	Title            string     `json:"title,omitempty"`
	UnitPrice        Price      `json:"unit_price"`
	Discounts        []Money    `json:"discount_allocations,omitempty"` // positive amounts taken off the line
	Taxes            []TaxLine  `json:"tax_lines,omitempty"`
	Duties           []Money    `json:"duties,omitempty"`
	RequiresShipping bool       `json:"requires_shipping"`
	GiftCard         bool       `json:"gift_card,omitempty"`
	Quantities       Quantities `json:"quantities"`
}

// Quantities are counts in the line's base unit. Shipped counts what anybody has
// shipped, so that of an order that somebody else began only the rest is sent.
type Quantities struct {
	Ordered     int64 `json:"ordered"`
	Unallocated int64 `json:"unallocated"`
	Allocated   int64 `json:"allocated"`
	Released    int64 `json:"released"`
	Shipped     int64 `json:"shipped"`
	Canceled    int64 `json:"canceled"`
}

// Open are the units that are still to be shipped, wherever they stand.
func (q Quantities) Open() int64 { return max(q.Ordered-q.Canceled-q.Shipped, 0) }

// Balanced reports whether the buckets sum to Ordered and none is negative.
func (q Quantities) Balanced() bool {
	if q.Unallocated < 0 || q.Allocated < 0 || q.Released < 0 || q.Shipped < 0 || q.Canceled < 0 {
		return false
	}
	return q.Ordered == q.Unallocated+q.Allocated+q.Released+q.Shipped+q.Canceled
}

// TaxLine is one tax on a line or on shipping. Rate is the decimal string the
// source gave ("0.0825"); only Amount takes part in arithmetic.
type TaxLine struct {
	Title  string `json:"title,omitempty"`
	Rate   string `json:"rate,omitempty"`
	Amount Money  `json:"amount"`
}

// ShippingLine is a charge for delivery, net of its discounts.
type ShippingLine struct {
	Title     string    `json:"title,omitempty"`
	Code      string    `json:"code,omitempty"`
	Price     Money     `json:"price"`                          // before discounts
	Discounts []Money   `json:"discount_allocations,omitempty"` // positive amounts taken off
	Taxes     []TaxLine `json:"tax_lines,omitempty"`
}

// Totals are what the source document declares, per currency.
// domain.md section 1: Total = Lines − Discounts + Shipping + Duties + Fees +
// Tip + (tax included ? 0 : Tax) + Rounding. Gift cards are tender and so no
// part of it.
type Totals struct {
	Lines     Money `json:"lines"`     // Σ unit price × quantity, before discounts
	Discounts Money `json:"discounts"` // positive; on lines only
	Shipping  Money `json:"shipping"`  // net of shipping discounts
	Duties    Money `json:"duties"`
	Fees      Money `json:"fees"`
	Tip       Money `json:"tip"`
	Tax       Money `json:"tax"` // on lines and shipping
	Rounding  Money `json:"rounding_adjustment"`
	Total     Money `json:"total"`
}

// SourcingDecision is where an order's goods are taken from, and why from there.
type SourcingDecision struct {
	At            time.Time    `json:"at"`
	ConfigVersion int64        `json:"config_version,omitempty"` // whose rules decided
	Allocations   []Allocation `json:"allocations,omitempty"`    // none: stock was short
	Backordered   bool         `json:"backordered,omitempty"`
	// Considered is what became of each location, the last decision first.
	Considered []Considered       `json:"considered,omitempty"`
	Releases   []WarehouseRelease `json:"releases,omitempty"`
}

// Allocation is a quantity that a location holds for an order line: of the
// line's SKU, or of one component where the line is a kit.
type Allocation struct {
	Line      string `json:"line"`
	SKU       string `json:"sku"`
	Location  string `json:"location"`
	Warehouse string `json:"warehouse,omitempty"` // the connection that ships from there
	Quantity  int64  `json:"quantity"`            // of the SKU
	Units     int64  `json:"units"`               // of the line that these are for
	Shipped   int64  `json:"shipped,omitempty"`   // of Units
}

// Considered is the verdict on one location.
type Considered struct {
	Location string `json:"location"`
	Chosen   bool   `json:"chosen,omitempty"`
	Rule     string `json:"rule"`
	Why      string `json:"why"`
	Score    int64  `json:"score,omitempty"`
}

// WarehouseRelease is one warehouse order that an order became.
type WarehouseRelease struct {
	Location  string `json:"location"`
	Warehouse string `json:"warehouse"`
	Ref       string `json:"ref"` // the warehouse's id of it
}

// Locations are where the order's goods are taken from, in the order of its
// lines; none before that was decided.
func (o Order) Locations() (out []string) {
	if o.Sourcing == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, a := range o.Sourcing.Allocations {
		if !seen[a.Location] {
			seen[a.Location], out = true, append(out, a.Location)
		}
	}
	return out
}

// ShippedFrom is the location of the warehouse order with an id, or the only
// location, or "".
func (o Order) ShippedFrom(ref string) string {
	all := o.Locations()
	if len(all) == 1 {
		return all[0]
	}
	if o.Sourcing != nil {
		for _, r := range o.Sourcing.Releases {
			if r.Ref == ref {
				return r.Location
			}
		}
	}
	return ""
}

// Address is a postal address. It is personal data.
type Address struct {
	Name       string `json:"name,omitempty"`
	Company    string `json:"company,omitempty"`
	Line1      string `json:"line1,omitempty"`
	Line2      string `json:"line2,omitempty"`
	City       string `json:"city,omitempty"`
	Region     string `json:"region,omitempty"` // ISO 3166-2 subdivision code without the country
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"` // ISO 3166-1 alpha-2
	Phone      string `json:"phone,omitempty"`
}

// Person is everything personal about one document. It is stored apart from
// the document, encrypted, and can be erased without touching any number.
type Person struct {
	Name     string  `json:"name,omitempty"`
	Email    string  `json:"email,omitempty"`
	Phone    string  `json:"phone,omitempty"`
	Shipping Address `json:"shipping_address"`
	Billing  Address `json:"billing_address"`
}

// Shipment is one parcel, or one set of parcels with one tracking number, that
// left a warehouse for an order.
type Shipment struct {
	Schema        int            `json:"schema"`
	Tenant        Tenant         `json:"tenant_id"`
	ID            string         `json:"id"`
	OrderID       string         `json:"order_id"`
	Warehouse     string         `json:"warehouse"`         // connection id
	ExternalID    string         `json:"external_id"`       // the warehouse's shipment id
	OrderRef      string         `json:"order_external_id"` // the warehouse's id of the released order
	Reference     string         `json:"reference"`         // what the platform gave at release: the order's id
	Carrier       string         `json:"carrier,omitempty"`
	Service       string         `json:"service,omitempty"`
	Tracking      string         `json:"tracking_number,omitempty"`
	TrackingURL   string         `json:"tracking_url,omitempty"`
	ShippedAt     time.Time      `json:"shipped_at"`
	SourceVersion string         `json:"source_version,omitempty"`
	Lines         []ShipmentLine `json:"lines"`
}

// ShipmentLine is a shipped quantity. OrderLine is empty in what a warehouse
// announces, because a warehouse counts SKUs; recording assigns it.
type ShipmentLine struct {
	OrderLine string `json:"order_line,omitempty"`
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
}

// Release is what a warehouse is asked to ship.
type Release struct {
	Reference      string        `json:"reference"` // the order's id: unique and stable, the key of read-back
	OrderNumber    string        `json:"order_number"`
	PlacedAt       time.Time     `json:"placed_at"`
	Location       string        `json:"location"`
	ShippingMethod string        `json:"shipping_method,omitempty"`
	Lines          []ReleaseLine `json:"lines"`
}

// ReleaseLine is one line of a Release.
type ReleaseLine struct {
	OrderLine string `json:"order_line"`
	SKU       string `json:"sku"`
	Title     string `json:"title,omitempty"`
	Quantity  int64  `json:"quantity"`
}

// Announcement is what a webhook's headers alone tell, before any JSON is
// decoded.
type Announcement struct {
	Flow        string    `json:"flow"`     // order or shipment; "" is a topic nobody wants
	Topic       string    `json:"topic"`    // the vendor's word
	EventID     string    `json:"event_id"` // "" where the vendor sends none
	TriggeredAt time.Time `json:"triggered_at,omitzero"`
}

// Listed is one document in a vendor's listing, with the vendor's own bytes
// for the decoder.
type Listed struct {
	ExternalID string
	Number     string
	UpdatedAt  time.Time
	Raw        []byte
}
