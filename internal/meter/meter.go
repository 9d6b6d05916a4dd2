// Package meter counts what an invocation asks of AWS and of vendors, by which
// its cost is known: every function tells it in the one line that it logs.
package meter

import (
	"context"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Count is what was asked since the last Take. Units are those of DynamoDB's
// on-demand price. What is put counts by its size, what is updated or deleted as
// small, because its size is not known here; what is read is never larger than
// the JSON that came. The entries of indexes are not in it.
type Count struct {
	Calls      map[string]int `json:"calls,omitempty"` // by service and operation, without retries
	ReadUnits  float64        `json:"rru,omitempty"`
	WriteUnits float64        `json:"wru,omitempty"`
	Vendor     int            `json:"vendor,omitempty"` // requests to vendors
	Cold       bool           `json:"cold,omitempty"`   // the first that this instance counted
}

// Meter counts. It is safe for concurrent use.
type Meter struct {
	mu   sync.Mutex
	n    Count
	warm bool
}

// Take returns the count and begins a new one.
func (m *Meter) Take() Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.n
	n.Cold, m.warm = !m.warm, true
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

type readKey struct{}

func (m *Meter) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	name := awsmiddleware.GetServiceID(ctx) + "." + awsmiddleware.GetOperationName(ctx)
	written := 0.0
	switch p := in.Parameters.(type) {
	case *dynamodb.PutItemInput:
		written = units(Size(p.Item), writeUnit)
	case *dynamodb.UpdateItemInput:
		written = units(Size(p.ExpressionAttributeValues), writeUnit)
	case *dynamodb.DeleteItemInput:
		written = 1
	case *dynamodb.TransactWriteItemsInput:
		for _, t := range p.TransactItems {
			own := 1.0
			switch {
			case t.Put != nil:
				own = units(Size(t.Put.Item), writeUnit)
			case t.Update != nil:
				own = units(Size(t.Update.ExpressionAttributeValues), writeUnit)
			}
			written += 2 * own
		}
	case *dynamodb.BatchGetItemInput:
		n := 0
		for _, t := range p.RequestItems {
			n += len(t.Keys)
		}
		ctx = middleware.WithStackValue(ctx, readKey{}, n)
	}
	m.mu.Lock()
	if m.n.Calls == nil {
		m.n.Calls = map[string]int{}
	}
	m.n.Calls[name]++
	m.n.WriteUnits += written
	m.mu.Unlock()
	return next.HandleInitialize(ctx, in)
}

// Bytes that a unit carries.
const (
	writeUnit = 1 << 10
	readUnit  = 4 << 10
)

// units rounds up; nothing costs less than one.
func units(bytes, unit int) float64 {
	return float64(max((bytes+unit-1)/unit, 1))
}

// Size is an item's size as DynamoDB documents it: names and values, three
// bytes for a document or list and one for each of its elements.
func Size(item map[string]types.AttributeValue) (n int) {
	for name, v := range item {
		n += len(name) + sizeOfValue(v)
	}
	return n
}

func sizeOfValue(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return len(v.Value)/2 + 2
	case *types.AttributeValueMemberM:
		return 3 + len(v.Value) + Size(v.Value)
	case *types.AttributeValueMemberL:
		n := 3 + len(v.Value)
		for _, e := range v.Value {
			n += sizeOfValue(e)
		}
		return n
	}
	return 1
}

func (m *Meter) bytes(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	if awsmiddleware.GetServiceID(ctx) != dynamodb.ServiceID {
		return out, meta, err
	}
	received := 0
	if r, ok := out.RawResponse.(*smithyhttp.Response); ok {
		received = int(max(r.ContentLength, 0))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch awsmiddleware.GetOperationName(ctx) {
	case "GetItem", "Query":
		m.n.ReadUnits += units(received, readUnit) // consistent
	case "BatchGetItem":
		n, _ := middleware.GetStackValue(ctx, readKey{}).(int)
		m.n.ReadUnits += max(float64(n), units(received, readUnit))
	}
	return out, meta, err
}
