package tryton

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
)

// buttons are the methods whose result says nothing: the state is read after
// each.
var buttons = []string{"quote", "confirm", "process", "validate_invoice", "post", "wait", "assign_try", "assign_force", "pick", "pack", "do", "done", "write", "delete"}

// Product is a product as stock is counted and sales are made of it.
type Product struct {
	ID       int64
	Code     string
	Quantity *int64
}

// TopicOf is the method that a file's name begins with, such as
// model.sale.sale.read of model.sale.sale.read/1, or empty where it is none.
func (c *Connector) TopicOf(name string) string {
	method, _, _ := strings.Cut(name, "/")
	if model, _ := modelOf(method); !used(model) && !slices.Contains(common, method) {
		return ""
	}
	return method
}

// common are the methods of no model.
var common = []string{"common.server.version", "common.db.login"}

// modelOf takes a method apart, as sale.sale and read of model.sale.sale.read.
func modelOf(method string) (model, last string) {
	last = method[strings.LastIndex(method, ".")+1:]
	if inner, ok := strings.CutPrefix(method, "model."); ok {
		model = strings.TrimSuffix(inner, "."+last)
	}
	return model, last
}

// Inspect looks at an answer of Tryton's to a method, which a failing status
// may follow: "model.sale.sale.read 403".
func (c *Connector) Inspect(method string, raw []byte, each func(place, object string, canonical any, err error)) {
	method, code, failed := strings.Cut(method, " ")
	if strings.HasPrefix(code, "/") || strings.Contains(method, "/") || slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
		each("", "", nil, fault.New(fault.Permanent, fault.Validation, "the endpoint is not used; methods are called by JSON-RPC").At("endpoint", method+" "+code))
		return
	}
	if method == "" {
		each("", "", nil, fault.New(fault.Permanent, fault.Validation, "is not told, and an answer means nothing without it; give the answer with its request, or name the file after the method").At("method", ""))
		return
	}
	model, last := modelOf(method)
	if !used(model) && !slices.Contains(common, method) {
		each("", "", nil, fault.New(fault.Permanent, fault.Validation, "the method is not used").At("method", method))
		return
	}
	writes := last != "search" && last != "read" && last != "search_read" && model != ""
	if failed {
		status, err := strconv.Atoi(code)
		if err != nil || status < 400 || status > 499 {
			status = 400
		}
		err = refused(status, method)
		if status == 401 || status == 403 {
			err = fault.New(fault.Permanent, fault.Authentication, "Tryton refuses the session, or the method (HTTP %d)", status)
		}
		each("", "answer "+code, fault.Of(err), nil)
		return
	}
	if body := strings.TrimSpace(string(raw)); body == "" || body == "null" {
		each("", "", nil, unlike("body", "is empty: the exchange was recorded without Tryton's answer"))
		return
	}
	var result json.RawMessage
	switch err := c.answer(raw, method, writes, &result); {
	case err == nil:
	case told(raw):
		// An error that Tryton tells in its own form has been understood.
		each("", "error of Tryton's", fault.Of(err), nil)
		return
	case fault.KindOf(err) == fault.Retryable:
		// What was recorded does not change: only a server may answer better later.
		each("", "", nil, unlike("", "is no answer of JSON-RPC, which is JSON in UTF-8 with a result, or an error in Tryton's form"))
		return
	default:
		each("", "", nil, err)
		return
	}
	if place, err := wellFormed("result", result, 0); err != nil {
		each("", "", nil, fault.Wrap(fault.Permanent, fault.Validation, err, "reading the result of %s", method).At(place, ""))
		return
	}
	object, canonical, err := c.interpret(model, last, method, result)
	each("", object, canonical, err)
}

func told(raw []byte) bool {
	var a struct {
		Error []json.RawMessage `json:"error"`
	}
	var kind string
	return utf8.Valid(raw) && json.Unmarshal(raw, &a) == nil && len(a.Error) > 0 && json.Unmarshal(a.Error[0], &kind) == nil
}

// interpret gives a result its canonical form.
func (c *Connector) interpret(model, last, method string, result json.RawMessage) (string, any, error) {
	switch {
	case method == "common.server.version":
		var v string
		err := typed(result, &v)
		return "version", v, err
	case method == "common.db.login":
		var key []json.RawMessage
		var user int64
		var token string
		if json.Unmarshal(result, &key) != nil || len(key) < 2 || json.Unmarshal(key[0], &user) != nil || json.Unmarshal(key[1], &token) != nil || token == "" {
			return "session", nil, unlike("result", "holds no session")
		}
		return "session", map[string]int64{"user": user}, nil
	case last == "create":
		var made ids
		if err := typed(result, &made); err != nil {
			return "receipt", nil, err
		}
		receipts := []effect.Receipt{}
		for _, id := range made {
			receipts = append(receipts, effect.Receipt{Ref: reference(id)})
		}
		return "receipt", receipts, nil
	case last == "search":
		var found ids
		err := typed(result, &found)
		return "ids", found, err
	case slices.Contains(buttons, last):
		return "pressed button", map[string]string{}, nil
	case last != "read" && last != "search_read":
		return "", nil, fault.New(fault.Permanent, fault.Validation, "the method is not used").At("method", method)
	}
	return c.interpretRecords(model, result)
}

// used reports whether the connector reads or writes a model.
func used(model string) bool {
	return slices.Contains([]string{"sale.sale", "account.invoice", "stock.shipment.out", "stock.move", "product.product", "party.party", "party.address",
		"currency.currency", "company.company", "stock.location", "country.country", "country.subdivision"}, model)
}

func (c *Connector) interpretRecords(model string, result json.RawMessage) (string, any, error) {
	switch model {
	case "sale.sale":
		out, err := recordsOf(result, []string{"state"}, func(s saleState) (Sale, error) {
			m, err := c.total(s.Total, s.Currency.Code)
			return Sale{ID: reference(s.ID), Number: string(s.Number), State: s.State, Total: m}, err
		})
		return "sale", out, err
	case "account.invoice":
		out, err := recordsOf(result, []string{"state"}, func(i invoice) (Invoice, error) {
			m, err := c.total(i.Total, i.Currency.Code)
			return Invoice{Number: string(i.Number), State: i.State, Total: m}, err
		})
		return "invoice", out, err
	case "stock.shipment.out":
		out, err := recordsOf(result, []string{"state"}, func(p parcel) (Posted, error) {
			return Posted{Number: string(p.Number), State: p.State, Reference: string(p.Reference)}, nil
		})
		return "shipment", out, err
	case "stock.move":
		out, err := recordsOf(result, []string{"state", "quantity"}, func(m move) (retail.ShipmentLine, error) {
			return retail.ShipmentLine{SKU: m.Product.Code, Quantity: int64(m.Quantity)}, nil
		})
		return "move", out, err
	case "product.product":
		out, err := recordsOf(result, nil, func(p struct {
			ID       int64       `json:"id"`
			Code     text        `json:"code"`
			Quantity json.Number `json:"quantity"`
		}) (Product, error) {
			out := Product{ID: p.ID, Code: string(p.Code)}
			n, ok := whole(string(p.Quantity))
			if !ok {
				return out, unlike("quantity", "is not a quantity")
			}
			if p.Quantity != "" {
				out.Quantity = &n
			}
			return out, nil
		})
		return "product", out, err
	case "currency.currency":
		out, err := recordsOf(result, nil, func(v struct {
			ID       int64   `json:"id"`
			Rounding decimal `json:"rounding"`
		}) (effect.Receipt, error) {
			return effect.Receipt{Ref: reference(v.ID)}, nil
		})
		return "currency", out, err
	default:
		out, err := recordsOf(result, nil, func(v struct {
			ID   int64 `json:"id"`
			Code text  `json:"code"`
		}) (effect.Receipt, error) {
			return effect.Receipt{Ref: reference(v.ID), Number: string(v.Code)}, nil
		})
		return "record", out, err
	}
}

// total is an amount that a record may not state. Without a currency it is
// taken to be in the connection's.
func (c *Connector) total(d decimal, currency string) (retail.Money, error) {
	if d == "" {
		return retail.Money{}, nil
	}
	if currency == "" {
		currency = c.settings.Currency
	}
	return money(d, currency)
}

func unlike(field, message string) *fault.Error {
	return fault.New(fault.Permanent, fault.Validation, "%s", message).At(field, "")
}

func typed(result json.RawMessage, into any) error {
	if err := json.Unmarshal(result, into); err != nil {
		return unlike("result", "is not of the documented type")
	}
	return nil
}

// recordsOf reads a list of records, of which each must state some fields.
func recordsOf[In, Out any](result json.RawMessage, required []string, translate func(In) (Out, error)) ([]Out, error) {
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(result, &raw); err != nil || raw == nil {
		return nil, unlike("result", "is not a list of records")
	}
	out := make([]Out, 0, len(raw))
	for i, r := range raw {
		place := "result[" + strconv.Itoa(i) + "]"
		for _, field := range append([]string{"id"}, required...) {
			if v, ok := r[field]; !ok || string(v) == "null" {
				return nil, unlike(place+"."+field, "is missing")
			}
		}
		var in In
		// One field after the other, so that the wrong one is named.
		for _, field := range slices.Sorted(maps.Keys(r)) {
			one, err := json.Marshal(map[string]json.RawMessage{field: r[field]})
			if err != nil || json.Unmarshal(one, &in) != nil {
				return nil, unlike(place+"."+field, "is not of the documented type")
			}
		}
		v, err := translate(in)
		if f := fault.Of(err); f != nil {
			return nil, f.At(place+"."+f.Field, f.Value)
		}
		out = append(out, v)
	}
	return out, nil
}

// deepest is how far a result may nest: each level is read once more for each
// level above it, and Tryton's records have a handful.
const deepest = 32

var (
	errWrapped = errors.New("is not a value as Tryton's protocol wraps it")
	errDeep    = errors.New("nests deeper than Tryton's records do")
)

// wellFormed checks every wrapped value of a result and names the first that
// is not.
func wellFormed(place string, raw json.RawMessage, depth int) (string, error) {
	if depth > deepest {
		return place, errDeep
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for i, v := range list {
			if at, err := wellFormed(place+"["+strconv.Itoa(i)+"]", v, depth+1); err != nil {
				return at, err
			}
		}
		return "", nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return "", nil
	}
	var class string
	if w, ok := m["__class__"]; ok {
		if json.Unmarshal(w, &class) != nil {
			return place, errWrapped
		}
		var d decimal
		var day date
		switch class {
		case "Decimal":
			if json.Unmarshal(raw, &d) != nil || d == "" {
				return place, errNotDecimal
			}
		case "date", "datetime":
			if json.Unmarshal(raw, &day) != nil || !day.real() {
				return place, errWrapped
			}
		}
		return "", nil
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if at, err := wellFormed(place+"."+key, m[key], depth+1); err != nil {
			return at, err
		}
	}
	return "", nil
}
