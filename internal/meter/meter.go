// Package meter counts what an invocation asks of AWS and of vendors, by which
// its cost is known: every function tells it in the one line that it logs.
package meter

import (
	"context"
	"maps"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Count is what was asked since the last Take. Units are those of DynamoDB's
// on-demand price, estimated from the bytes that were sent and received: what
// is read and written is never larger than its JSON.
type Count struct {
	Calls      map[string]int `json:"calls,omitempty"` // by service and operation, without retries
	ReadUnits  float64        `json:"rru,omitempty"`
	WriteUnits float64        `json:"wru,omitempty"`
	Vendor     int            `json:"vendor,omitempty"` // requests to vendors
}

// Meter counts. It is safe for concurrent use.
type Meter struct {
	mu sync.Mutex
	n  Count
}

// Take returns the count and begins a new one.
func (m *Meter) Take() Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.n
	m.n = Count{}
	return n
}

// Vendor counts one request to a vendor.
func (m *Meter) Vendor() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n.Vendor++
}

// Attach counts the calls of clients that are made with options like these.
func (m *Meter) Attach(options []func(*middleware.Stack) error) []func(*middleware.Stack) error {
	return append(options[:len(options):len(options)], func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("Meter", m.call), middleware.After)
	}, func(s *middleware.Stack) error {
		// After the answer was read, around the last attempt.
		return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("MeterBytes", m.bytes), middleware.Before)
	})
}

type itemsKey struct{}

// items is what a transaction or a batch works on.
type items struct {
	n           int
	transaction bool
}

func (m *Meter) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	name := awsmiddleware.GetServiceID(ctx) + "." + awsmiddleware.GetOperationName(ctx)
	m.mu.Lock()
	if m.n.Calls == nil {
		m.n.Calls = map[string]int{}
	}
	m.n.Calls[name]++
	m.mu.Unlock()
	switch p := in.Parameters.(type) {
	case *dynamodb.TransactWriteItemsInput:
		ctx = middleware.WithStackValue(ctx, itemsKey{}, items{len(p.TransactItems), true})
	case *dynamodb.BatchGetItemInput:
		n := 0
		for _, t := range p.RequestItems {
			n += len(t.Keys)
		}
		ctx = middleware.WithStackValue(ctx, itemsKey{}, items{n: n})
	}
	return next.HandleInitialize(ctx, in)
}

// kibibytes rounds up.
func kibibytes(n int64, of float64) float64 {
	units := float64(int64(float64(n) / (of * 1024)))
	if units*of*1024 < float64(n) {
		units++
	}
	return max(units, 1)
}

func (m *Meter) bytes(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	if awsmiddleware.GetServiceID(ctx) != dynamodb.ServiceID {
		return out, meta, err
	}
	var sent, received int64
	if r, ok := in.Request.(*smithyhttp.Request); ok {
		sent = max(r.ContentLength, 0)
	}
	if r, ok := out.RawResponse.(*smithyhttp.Response); ok {
		received = max(r.ContentLength, 0)
	}
	about, _ := middleware.GetStackValue(ctx, itemsKey{}).(items)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch awsmiddleware.GetOperationName(ctx) {
	case "PutItem", "UpdateItem", "DeleteItem":
		m.n.WriteUnits += kibibytes(sent, 1)
	case "TransactWriteItems":
		// A transaction's items cost twice their size, each at least one unit.
		m.n.WriteUnits += 2 * max(float64(about.n), kibibytes(sent, 1))
	case "GetItem", "Query":
		m.n.ReadUnits += kibibytes(received, 4) // consistent
	case "BatchGetItem":
		m.n.ReadUnits += max(float64(about.n), kibibytes(received, 4))
	}
	return out, meta, err
}

// Add sums two counts.
func (n Count) Add(o Count) Count {
	calls := maps.Clone(n.Calls)
	if calls == nil {
		calls = map[string]int{}
	}
	for k, v := range o.Calls {
		calls[k] += v
	}
	return Count{calls, n.ReadUnits + o.ReadUnits, n.WriteUnits + o.WriteUnits, n.Vendor + o.Vendor}
}
