// Package connectortest is the suite that every connector passes. A connector's
// own conformance_test.go gives a Harness: how to start the vendor and connect
// to it, and what the vendor's documents look like. What the connector can do
// is told by its methods, as flows ask for them, and decides which cases there
// are.
//
// A case that a connector fails for a reason that is understood is waived in
// the harness. A waiver of a case that passes, or that there is not, fails.
package connectortest

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/retail"
)

// Harness is how one connector is tested.
type Harness struct {
	// Connector is the name of its folder.
	Connector string
	// Bare is the connector without a vendor: it verifies and decodes.
	Bare any
	// Open starts a vendor that holds nothing of an earlier case, and connects
	// to it; what it starts ends with t.
	Open func(t testing.TB, o Options) *Vendor
	// Webhooks are needed of a connector that verifies them.
	Webhooks *Webhooks
	// Order and Parcel write one of the vendor's documents, for connectors that
	// decode them.
	Order  func(OrderSpec) []byte
	Parcel func(ParcelSpec) []byte
	// Unknown are documents with a value that no version of the vendor's
	// schema knows.
	Unknown []Unknown
	// Slow leaves out what differs from another case only in how an answer is
	// lost, for a real server.
	Slow bool
	// Brief leaves of each write what happens to it most: that it is done, that
	// its sender dies, that its answer comes too late. It is for an earlier series
	// of a vendor whose newest passes the whole, and keeps no record.
	Brief bool
	// Waivers give a reason for each case that fails.
	Waivers map[string]string
}

// Options say what kind of vendor a case needs.
type Options struct {
	// Limited makes the vendor enforce its smallest published rate limit.
	Limited bool
}

// Vendor is a simulated or real vendor and a connector to it.
type Vendor struct {
	Connector any
	// Reconnect is the connector with another credential.
	Reconnect func(t testing.TB, token string) any
	Clock     *Clock
	Front     *Front
	// Matter is what a write, by its name in Writes, is about. What it needs to
	// exist at the vendor is there when it returns.
	Matter func(t testing.TB, write string) Matter
	// Listing is needed of a connector that lists orders.
	Listing *Listing
	// Stock is needed of a connector that counts stock.
	Stock *Stock
	// Heavy does the heaviest reading there is for one document.
	Heavy func(ctx context.Context) error
	// Parcels makes the vendor ship an order, for connectors that list parcels;
	// it returns the order's reference and the parcels' ids.
	Parcels func(t testing.TB) (orderRef string, ids []string)
}

// Matter is what one write is about, and how the vendor shows that it happened.
type Matter struct {
	Order    retail.Order
	Shipment retail.Shipment
	Release  retail.Release
	Person   retail.Person
	// Ref, Customer, ShipTo and SalesOrder are what an ERP was told before.
	Ref                          string
	Customer, ShipTo, SalesOrder effect.Receipt
	// Operation is the vendor's name of the call that has the effect.
	Operation string
	// Stored are the vendor's ids of what the write made, one per time that it
	// happened.
	Stored func() []string
}

// Listing is how orders come to be listed.
type Listing struct {
	Since time.Time
	// Place makes n orders and returns their ids; Touch changes one, and New
	// places one more.
	Place func(n int) []string
	Touch func(id string)
	New   func()
	// Orders is how many it takes for several pages.
	Orders int
}

// Stock is how a vendor's stock comes to be counted.
type Stock struct {
	// Fill makes so many items of one unit each, named in order; it returns
	// their SKUs. Insert adds one before all of them.
	Fill   func(n int) []string
	Insert func()
	Items  int
}

// Webhooks is how the vendor delivers.
type Webhooks struct {
	// Vectors are the vendor's own signed cases.
	Vectors []Vector
	// Deliver writes a delivery's headers.
	Deliver func(d Delivery) http.Header
	// Secrets are three valid ones.
	Secrets [3]string
	// Mandatory are headers without which a delivery is refused.
	Mandatory []string
	// Topics are those that a flow wants, by topic; Unwanted is another.
	Topics   map[string]string
	Unwanted string
	// Oldest is the greatest age that is accepted.
	Oldest time.Duration
}

// Delivery is one delivery to sign.
type Delivery struct {
	EventID, Topic, Secret string
	Body                   []byte
	At                     time.Time
}

// Vector is a delivery of the vendor's own.
type Vector struct {
	Name    string
	Header  http.Header
	Body    []byte
	Secrets []string
	At      time.Time
	Valid   bool
}

// OrderSpec is an order of one line at Price, whose total is Price too.
type OrderSpec struct {
	ID, Line, Customer  string // digits
	Price               string // decimal
	PlacedAt, UpdatedAt string // RFC 3339
}

// ParcelSpec is a parcel of one line that has shipped.
type ParcelSpec struct {
	ID, OrderRef string // digits
	ShippedAt    string // RFC 3339
	Quantity     string // a JSON number
}

// Unknown is a document that holds Value, which nobody has heard of.
type Unknown struct {
	Name  string
	Value string
	Raw   []byte
}

// verifier is the capability of a connector that receives webhooks.
type verifier interface {
	VerifyWebhook(h http.Header, body []byte, secrets []string, now time.Time) error
	Announce(h http.Header) (retail.Announcement, error)
}

// counter is the capability of a warehouse's connector that stock is checked
// against.
type counter interface {
	Stock(ctx context.Context) (map[string]int64, error)
}

// Capabilities tells by a connector's methods what it can do.
func Capabilities(opened any) []string {
	var out []string
	for _, c := range []struct {
		name string
		can  bool
	}{
		{"receive webhooks", has[verifier](opened)},
		{"take orders in", has[order.Decoder](opened)},
		{"read an order again", has[order.Fetcher](opened)},
		{"list orders", has[order.Lister](opened)},
		{"keep customers", has[order.Customers](opened)},
		{"keep sales orders", has[order.SalesOrders](opened)},
		{"ship orders", has[order.Releaser](opened)},
		{"announce parcels", has[shipment.Decoder](opened)},
		{"list parcels", has[shipment.Lister](opened)},
		{"confirm shipments to shoppers", has[shipment.Channel](opened)},
		{"post shipments", has[shipment.Shipments](opened)},
		{"post invoices", has[shipment.Invoices](opened)},
		{"count stock", has[counter](opened)},
	} {
		if c.can {
			out = append(out, c.name)
		}
	}
	return out
}

func has[P any](opened any) bool {
	_, ok := opened.(P)
	return ok
}

// check is one case: what it is called, whether it applies to the connector,
// and what it does. A note goes into the record.
type check struct {
	name    string
	applies bool
	run     func(t testing.TB, h Harness) (note string)
}

func checks(h Harness) []check {
	var out []check
	out = append(out, webhookChecks(h)...)
	out = append(out, documentChecks(h)...)
	out = append(out, readChecks(h)...)
	out = append(out, writeChecks(h)...)
	if h.Brief {
		out = slices.DeleteFunc(out, func(c check) bool { return !brief(c.name) })
	}
	return out
}

func brief(name string) bool {
	of, fault := path.Split(name)
	return !strings.HasPrefix(of, "write/") || slices.Contains([]string{"nothing", "crash_before_record", "timeout_after"}, fault)
}

// Run runs every case and holds the record of how the connector fared against
// the one in testdata/conformance.json.
func Run(t *testing.T, h Harness) {
	t.Helper()
	rec := record{Connector: h.Connector, Capabilities: Capabilities(h.Bare)}
	for _, c := range checks(h) {
		if !c.applies {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			complaints, note := attempt(t, h, c)
			for _, p := range judge(h.Waivers, c.name, complaints) {
				t.Error(p)
			}
			reason, waived := h.Waivers[c.name]
			if waived {
				t.Logf("waived: %s\n%s", reason, strings.Join(complaints, "\n"))
			}
			rec.Cases = append(rec.Cases, result(c.name, note, waived, reason, complaints))
		})
	}
	if h.Brief {
		return
	}
	for _, p := range strangers(h) {
		t.Error(p)
	}
	if !t.Failed() && len(rec.Cases) > 0 && whole() {
		rec.keep(t)
	}
}

// judge tells what is wrong with a case, given what it complains of.
func judge(waivers map[string]string, name string, complaints []string) []string {
	reason, waived := waivers[name]
	switch {
	case waived && reason == "":
		return []string{"the waiver gives no reason"}
	case waived && len(complaints) == 0:
		return []string{"the waiver is stale: the case passes"}
	case waived:
		return nil
	}
	return complaints
}

// strangers are the waivers of cases that there are not.
func strangers(h Harness) []string {
	left := maps.Clone(h.Waivers)
	for _, c := range checks(h) {
		if c.applies {
			delete(left, c.name)
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(left)) {
		out = append(out, fmt.Sprintf("the waiver of %q is of no case that applies to %s", name, h.Connector))
	}
	return out
}

// whole reports whether every case ran: none was selected by -run.
func whole() bool {
	f := flag.Lookup("test.run")
	return f == nil || !strings.Contains(f.Value.String(), "/")
}

// attempt runs a case to its end and returns what it complains of. A panic is
// a complaint: what a vendor sends must not bring a function down.
func attempt(t testing.TB, h Harness, c check) (complaints []string, note string) {
	t.Helper()
	p := &probe{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				p.Errorf("panic: %v", r)
			}
		}()
		defer p.cleanup()
		note = c.run(p, h)
	}()
	<-done
	return p.complaints(), note
}

func must[P any](t testing.TB, opened any) P {
	t.Helper()
	p, ok := opened.(P)
	if !ok {
		t.Fatalf("the connector lost a capability: %s", fmt.Sprintf("%T", *new(P)))
	}
	return p
}

// next is a rule for the next call of an operation.
func next(operation string, r faulty.Rule) faulty.Rule {
	r.Operation, r.Times = operation, 1
	return r
}
