// Package awsfault lets calls of AWS fail on demand. It is a middleware of the
// SDK's clients, so that what is tested is an adapter together with the SDK's
// own repetition of calls.
package awsfault

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Kind is what befalls a call.
type Kind string

const (
	// Throttle: the service refuses the attempt; the SDK repeats it.
	Throttle Kind = "throttle"
	// Timeout: the attempt never arrives; the SDK repeats it.
	Timeout Kind = "timeout"
	// Lost: the attempt is carried out and its answer is lost, so that the SDK
	// asks for what was done already.
	Lost Kind = "lost answer"
	// Conflict: a transaction meets another one and is canceled; nobody repeats
	// it but the caller.
	Conflict Kind = "conflict"
	// Partial: every second part of a batch is left undone, the first one of
	// all included. The answer says which.
	Partial Kind = "partial batch"
	// SmallPages: a query's page ends after one item.
	SmallPages Kind = "small pages"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Throttle, Timeout, Lost, Conflict, Partial, SmallPages} }

// Rule befalls attempts, or whole calls where the kind is about what they carry.
type Rule struct {
	Kind Kind
	// Operations are those that can be befallen, such as PutItem; none means all
	// that the kind fits.
	Operations []string
	// Every befalls the first of so many attempts of an operation: 1 is each, 2
	// the first, third, fifth. Zero befalls by Chance alone.
	Every int
	// Chance is the share of attempts that are befallen, by the injector's dice.
	Chance float64
	// Times ends the rule after so many; zero never.
	Times int
}

// Injector carries out rules. It is safe for concurrent use.
type Injector struct {
	mu    sync.Mutex
	rand  *rand.Rand
	rules []*state
	n     map[Kind]int
}

type state struct {
	Rule
	seen map[string]int
	done int
}

// New returns an injector; only rules with a chance need dice.
func New(dice *rand.Rand, rules ...Rule) *Injector {
	i := &Injector{rand: dice, n: map[Kind]int{}}
	for _, r := range rules {
		i.rules = append(i.rules, &state{Rule: r, seen: map[string]int{}})
	}
	return i
}

// Count tells how often a kind has befallen something.
func (i *Injector) Count(k Kind) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n[k]
}

// Attempts is how often configured clients try a call: so often that calls at
// once, of which chance befalls every second attempt, all come through.
const Attempts = 30

// Configure makes clients subject to the rules. They repeat a call without a
// wait, so that tests need none.
func (i *Injector) Configure(cfg aws.Config) aws.Config {
	cfg.APIOptions = i.Attach(cfg.APIOptions)
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.RateLimiter = Attempts, ratelimit.None
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	return cfg
}

// Attach is Configure for options alone.
func (i *Injector) Attach(options []func(*middleware.Stack) error) []func(*middleware.Stack) error {
	return append(options[:len(options):len(options)], func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("FaultyCall", i.call), middleware.After)
	}, func(s *middleware.Stack) error {
		// Inside the SDK's repetition, outside the reading of the answer.
		return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("FaultyAttempt", i.attempt), middleware.Before)
	})
}

// befalls takes the decision of all rules of one kind about one attempt.
func (i *Injector) befalls(k Kind, operation string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.rules {
		if r.Kind != k || len(r.Operations) > 0 && !slices.Contains(r.Operations, operation) || r.Times > 0 && r.done >= r.Times {
			continue
		}
		n := r.seen[operation]
		r.seen[operation]++
		if r.Every > 0 && n%r.Every == 0 || r.Chance > 0 && i.rand.Float64() < r.Chance {
			r.done++
			i.n[k]++
			return true
		}
	}
	return false
}

// errGone is what a client sees of an answer that does not come.
var errGone = errors.New("the connection ended before the answer")

type timeout struct{}

func (timeout) Error() string   { return "the connection timed out" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

type transactionKey struct{}

// transaction is one call of TransactWriteItems over its attempts.
type transaction struct{ items, attempts int }

func (i *Injector) attempt(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	operation := awsmiddleware.GetOperationName(ctx)
	refused := func(err error) (middleware.DeserializeOutput, middleware.Metadata, error) {
		return middleware.DeserializeOutput{}, middleware.Metadata{}, err
	}
	tx, _ := middleware.GetStackValue(ctx, transactionKey{}).(*transaction)
	if tx == nil {
		tx = &transaction{}
	}
	tx.attempts++
	switch {
	case i.befalls(Timeout, operation):
		return refused(&smithyhttp.RequestSendError{Err: timeout{}})
	case i.befalls(Throttle, operation):
		return refused(throttled(awsmiddleware.GetServiceID(ctx)))
	// A repeated attempt may have been carried out before; its token then finds
	// what it did, and no conflict.
	case tx.items > 0 && tx.attempts == 1 && i.befalls(Conflict, operation):
		reasons := make([]ddbtypes.CancellationReason, tx.items)
		for n := range reasons {
			reasons[n].Code = aws.String("None")
		}
		reasons[0] = ddbtypes.CancellationReason{Code: aws.String("TransactionConflict"), Message: aws.String("Transaction is ongoing for the item")}
		return refused(&ddbtypes.TransactionCanceledException{Message: aws.String("Transaction cancelled"), CancellationReasons: reasons})
	}
	lost := i.befalls(Lost, operation)
	out, meta, err := next.HandleDeserialize(ctx, in)
	if !lost {
		return out, meta, err
	}
	if r, ok := out.RawResponse.(*smithyhttp.Response); ok && r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body) // it is lost either way
		_ = r.Body.Close()
	}
	return refused(&smithyhttp.RequestSendError{Err: errGone})
}

func throttled(service string) error {
	const message = "Rate of requests exceeds the allowed throughput."
	code := "ThrottlingException"
	switch service {
	case dynamodb.ServiceID:
		return &ddbtypes.ProvisionedThroughputExceededException{Message: aws.String(message)}
	case sqs.ServiceID:
		code = "RequestThrottled"
	case "S3":
		code = "SlowDown"
	}
	return &smithy.GenericAPIError{Code: code, Message: message, Fault: smithy.FaultClient}
}

func (i *Injector) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	operation := awsmiddleware.GetOperationName(ctx)
	proceed := func(input any) (middleware.InitializeOutput, middleware.Metadata, error) {
		in.Parameters = input
		return next.HandleInitialize(ctx, in)
	}
	answer := func(result any) (middleware.InitializeOutput, middleware.Metadata, error) {
		return middleware.InitializeOutput{Result: result}, middleware.Metadata{}, nil
	}
	switch p := in.Parameters.(type) {
	case *dynamodb.TransactWriteItemsInput:
		ctx = middleware.WithStackValue(ctx, transactionKey{}, &transaction{items: len(p.TransactItems)})
	case *dynamodb.QueryInput:
		// An index's reader asks for one page of its own length.
		if p.Limit == nil && i.befalls(SmallPages, operation) {
			c := *p
			c.Limit = aws.Int32(1)
			return proceed(&c)
		}
	case *dynamodb.BatchGetItemInput:
		if !i.befalls(Partial, operation) {
			break
		}
		c, undone := *p, map[string]ddbtypes.KeysAndAttributes{}
		c.RequestItems = map[string]ddbtypes.KeysAndAttributes{}
		for _, table := range slices.Sorted(maps.Keys(p.RequestItems)) {
			r := p.RequestItems[table]
			left, done := split(r.Keys)
			of := func(keys []map[string]ddbtypes.AttributeValue) ddbtypes.KeysAndAttributes {
				r.Keys = keys
				return r
			}
			put(c.RequestItems, table, done, of)
			put(undone, table, left, of)
		}
		if len(c.RequestItems) == 0 {
			return answer(&dynamodb.BatchGetItemOutput{UnprocessedKeys: undone})
		}
		out, meta, err := proceed(&c)
		if r, ok := out.Result.(*dynamodb.BatchGetItemOutput); ok && r != nil {
			for table, more := range r.UnprocessedKeys {
				more.Keys = append(more.Keys, undone[table].Keys...)
				undone[table] = more
			}
			r.UnprocessedKeys = undone
		}
		return out, meta, err
	case *dynamodb.BatchWriteItemInput:
		if !i.befalls(Partial, operation) {
			break
		}
		c, undone := *p, map[string][]ddbtypes.WriteRequest{}
		c.RequestItems = map[string][]ddbtypes.WriteRequest{}
		same := func(w []ddbtypes.WriteRequest) []ddbtypes.WriteRequest { return w }
		for _, table := range slices.Sorted(maps.Keys(p.RequestItems)) {
			left, done := split(p.RequestItems[table])
			put(c.RequestItems, table, done, same)
			put(undone, table, left, same)
		}
		if len(c.RequestItems) == 0 {
			return answer(&dynamodb.BatchWriteItemOutput{UnprocessedItems: undone})
		}
		out, meta, err := proceed(&c)
		if r, ok := out.Result.(*dynamodb.BatchWriteItemOutput); ok && r != nil {
			for table, more := range r.UnprocessedItems {
				undone[table] = append(undone[table], more...)
			}
			r.UnprocessedItems = undone
		}
		return out, meta, err
	case *sqs.SendMessageBatchInput:
		if !i.befalls(Partial, operation) {
			break
		}
		c := *p
		left, done := split(p.Entries)
		var failed []sqstypes.BatchResultErrorEntry
		for _, e := range left {
			failed = append(failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError"), SenderFault: false})
		}
		if c.Entries = done; len(done) == 0 {
			return answer(&sqs.SendMessageBatchOutput{Failed: failed})
		}
		out, meta, err := proceed(&c)
		if r, ok := out.Result.(*sqs.SendMessageBatchOutput); ok && r != nil {
			r.Failed = append(r.Failed, failed...)
		}
		return out, meta, err
	case *eventbridge.PutEventsInput:
		if !i.befalls(Partial, operation) {
			break
		}
		c := *p
		var left []ebtypes.PutEventsRequestEntry
		if left, c.Entries = split(p.Entries); len(c.Entries) == 0 {
			return answer(putEvents(len(left), nil))
		}
		out, meta, err := proceed(&c)
		if r, ok := out.Result.(*eventbridge.PutEventsOutput); ok && r != nil {
			out.Result = putEvents(len(p.Entries), r.Entries)
		}
		return out, meta, err
	}
	return next.HandleInitialize(ctx, in)
}

// split leaves the first and every second after it undone.
func split[T any](all []T) (left, done []T) {
	for n, x := range all {
		if n%2 == 0 {
			left = append(left, x)
		} else {
			done = append(done, x)
		}
	}
	return left, done
}

// put keeps a table out of a request where it would be empty.
func put[P any, V any](m map[string]V, table string, parts []P, with func([]P) V) {
	if len(parts) > 0 {
		m[table] = with(parts)
	}
}

// putEvents puts the answers for the second, fourth … entry between refusals.
func putEvents(n int, done []ebtypes.PutEventsResultEntry) *eventbridge.PutEventsOutput {
	out := &eventbridge.PutEventsOutput{}
	for i := range n {
		if i%2 == 1 && i/2 < len(done) {
			if done[i/2].ErrorCode != nil {
				out.FailedEntryCount++
			}
			out.Entries = append(out.Entries, done[i/2])
			continue
		}
		out.FailedEntryCount++
		out.Entries = append(out.Entries, ebtypes.PutEventsResultEntry{ErrorCode: aws.String("InternalFailure"), ErrorMessage: aws.String("try again")})
	}
	return out
}
