// Package drivertest is what every keeper of the platform's documents, effects,
// events, stock and configuration must pass, in DynamoDB or in memory.
package drivertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/alert"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Store is all that is kept.
type Store interface {
	document.Store
	OpenExceptions(ctx context.Context, t retail.Tenant) ([]document.Exception, error)
	FirstExceptions(ctx context.Context, t retail.Tenant, limit int) (xs []document.Exception, more bool, err error)
	AllOpenExceptions(ctx context.Context) ([]document.Exception, error)
	Audited(ctx context.Context, t retail.Tenant, from time.Time) ([]document.Audit, error)
	effect.Store
	inbox.Store
	stock.Store
	rate.Store
	mapping.Store
	Configuration
	job.Store
	alert.Store
	order.Activities
	proof.Results
	Proof(ctx context.Context, t retail.Tenant, connection, date string) (proof.Result, bool, error)
	Proofs(ctx context.Context, t retail.Tenant, connection string, limit int) ([]proof.Result, error)
}

// Configuration is what a partner configures, read and written.
type Configuration interface {
	tenancy.Store
	Partner(ctx context.Context) (tenancy.Partner, error)
	PutPartner(ctx context.Context, p tenancy.Partner, with tenancy.Secrets) error
	PutRetailer(ctx context.Context, r tenancy.Retailer, with tenancy.Secrets) error
}

// Entry is one timeline entry as a stream carries it.
type Entry struct {
	Key  document.Key
	Step document.Step
}

// Driver is one empty store under test.
type Driver struct {
	Store Store
	// Settle lets the due index show what was committed before.
	Settle func(t *testing.T)
	// Stream returns the timeline entries that the stream has carried, oldest
	// first.
	Stream func(t *testing.T) []Entry
}

// Now is far ahead, so that nothing that the tests store expires meanwhile.
var Now = time.Date(2096, 3, 1, 12, 0, 0, 123456789, time.UTC)

type test struct {
	name string
	run  func(t *testing.T, d Driver)
}

// Run holds what open returns to all of it; each test opens its own.
func Run(t *testing.T, open func(t *testing.T) Driver) {
	for _, x := range slices.Concat(documentTests, indexTests, effectTests, leaseTests, stockTests, ledgerTests, rateTests, configurationTests, jobTests, channelTests, mapTests, alertTests) {
		t.Run(x.name, func(t *testing.T) {
			d := open(t)
			d.Store = patient{d.Store}
			x.run(t, d)
		})
	}
}

// patient repeats what a store refused because of others at the same time, as
// every caller's redelivery does.
type patient struct{ Store }

func (p patient) Commit(ctx context.Context, t document.Transaction) error {
	return again(func() error { return p.Store.Commit(ctx, t) })
}

func (p patient) Finish(ctx context.Context, t retail.Tenant, connection, event, holder, outcome string, now time.Time) error {
	return again(func() error { return p.Store.Finish(ctx, t, connection, event, holder, outcome, now) })
}

func (p patient) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	return again(func() error { return p.Store.Reserve(ctx, t, order, items, now) })
}

func (p patient) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	return again(func() error { return p.Store.Release(ctx, t, order, items, now) })
}

func (p patient) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	return again(func() error { return p.Store.Apply(ctx, t, moves) })
}

func (p patient) ApplyTogether(ctx context.Context, t retail.Tenant, moves []stock.Move, audit ...document.Audit) (fresh bool, err error) {
	err = again(func() error { fresh, err = p.Store.ApplyTogether(ctx, t, moves, audit...); return err })
	return fresh, err
}

func (p patient) Settle(ctx context.Context, t retail.Tenant, version int64, m stock.Move, f stock.Fence, audit ...document.Audit) (fresh bool, err error) {
	err = again(func() error { fresh, err = p.Store.Settle(ctx, t, version, m, f, audit...); return err })
	return fresh, err
}

func (p patient) PutPartner(ctx context.Context, x tenancy.Partner, with tenancy.Secrets) error {
	return again(func() error { return p.Store.PutPartner(ctx, x, with) })
}

func (p patient) PutRetailer(ctx context.Context, r tenancy.Retailer, with tenancy.Secrets) error {
	return again(func() error { return p.Store.PutRetailer(ctx, r, with) })
}

func (p patient) OpenJob(ctx context.Context, j job.Job) error {
	return again(func() error { return p.Store.OpenJob(ctx, j) })
}

func (p patient) EndJob(ctx context.Context, j job.Job) error {
	return again(func() error { return p.Store.EndJob(ctx, j) })
}

// again takes only a fault that is marked as such for a reason to come back: a
// lost condition is an answer.
func again(do func() error) (err error) {
	for range 200 {
		err = do()
		if f := fault.Of(err); f == nil || f.Kind != fault.Retryable {
			return err
		}
	}
	return err
}

// tenant parses a retailer's id.
func tenant(t *testing.T, id string) retail.Tenant {
	t.Helper()
	tn, err := retail.ParseTenant(id)
	must(t, err)
	return tn
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
