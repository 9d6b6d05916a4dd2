package shipbob

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/fault"
)

// rejection turns the vendor's error object, which maps field paths to lists
// of sentences, into a fault about the first field that people can correct.
// mayExist is true where the reason may be that the reference exists already:
// the object names reference_id, or nothing that is understood. The sentences
// are not passed on, because they may quote an address.
func rejection(res *egress.Response, sent createOrder) (f *fault.Error, mayExist bool) {
	var fields map[string]json.RawMessage
	// Nothing is lost where it does not decode: no field is understood then.
	_ = json.Unmarshal(res.Body, &fields)
	paths := make([]string, 0, len(fields))
	for k := range fields {
		paths = append(paths, normalPath(k))
	}
	slices.Sort(paths)
	mayExist = res.Status == http.StatusConflict
	var best *fault.Error
	for _, p := range paths {
		if p == "reference_id" {
			mayExist = true
			continue
		}
		if g := fieldFault(p, sent); g != nil && (best == nil || rank(g) < rank(best)) {
			best = g
		}
	}
	switch {
	case best != nil:
		return best, mayExist
	case mayExist:
		return fault.New(fault.Exception, fault.Duplicate, "ShipBob refused the reference but lists no order under it in this channel").At("reference_id", sent.ReferenceID), true
	default:
		return fault.New(fault.Permanent, fault.Validation, "ShipBob refused the order (HTTP %d) for a reason that it does not attribute to a known field", res.Status), true
	}
}

// rank puts what the business can correct first.
func rank(f *fault.Error) int {
	return slices.Index([]fault.Class{fault.Mapping, fault.Address, fault.Validation, fault.Configuration}, f.Class)
}

var productPath = regexp.MustCompile(`^products\[(\d{1,6})\](?:\.([a-z_]+))?$`)

// fieldFault classifies one normalised path, or returns nil for a path that
// the sent order does not have.
func fieldFault(path string, sent createOrder) *fault.Error {
	if m := productPath.FindStringSubmatch(path); m != nil {
		i, err := strconv.Atoi(m[1])
		if err != nil || i >= len(sent.Products) {
			return nil
		}
		p := sent.Products[i]
		if m[2] == "quantity" {
			return fault.New(fault.Exception, fault.Validation, "ShipBob refused the quantity").At(path, strconv.FormatInt(p.Quantity, 10))
		}
		return fault.New(fault.Exception, fault.Mapping, "ShipBob knows no product with this SKU").At(fmt.Sprintf("products[%d].reference_id", i), p.ReferenceID)
	}
	switch {
	case path == "recipient" || strings.HasPrefix(path, "recipient."):
		return fault.New(fault.Exception, fault.Address, "ShipBob refused it").At(path, "")
	case path == "products":
		return fault.New(fault.Exception, fault.Validation, "ShipBob refused the list of products").At(path, "")
	case path == "shipping_method":
		return fault.New(fault.Exception, fault.Mapping, "ShipBob knows no such shipping method").At(path, sent.ShippingMethod)
	case path == "location_id":
		return fault.New(fault.Permanent, fault.Configuration, "ShipBob refused the location").At(path, strconv.FormatInt(sent.LocationID, 10))
	case path == "shipbob_channel_id":
		return fault.New(fault.Permanent, fault.Configuration, "ShipBob refused the channel").At(path, "")
	case path == "order_number" || path == "purchase_date" || path == "type":
		return fault.New(fault.Permanent, fault.Validation, "ShipBob refused it").At(path, "")
	}
	return nil
}

// normalPath brings the spellings of .NET model errors to the names of the
// request: "$.Products[0].ReferenceId" is "products[0].reference_id".
func normalPath(k string) string {
	k = strings.TrimPrefix(strings.TrimPrefix(k, "$"), ".")
	var b strings.Builder
	previous := '.'
	for _, r := range k {
		if unicode.IsUpper(r) {
			if unicode.IsLower(previous) || unicode.IsDigit(previous) {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
			previous = 'A'
		} else {
			previous = r
		}
		b.WriteRune(r)
	}
	return b.String()
}
