// Package order is the way of a shopper's order from a channel's delivery to
// its release to a warehouse.
package order

import (
	"context"
	"time"

	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/retail"
)

// Decoder translates a channel's payload. On an error the order's ExternalID
// and Number are set where they could be read.
type Decoder interface {
	DecodeOrder(raw []byte) (retail.Order, retail.Person, error)
}

// Fetcher reads an order as it stands at the channel now.
type Fetcher interface {
	FetchOrder(ctx context.Context, externalID string) (raw []byte, found bool, err error)
}

// Lister pages through the orders that changed at the channel.
type Lister interface {
	ListOrders(ctx context.Context, since time.Time, cursor string) (page []retail.Listed, next string, err error)
}

// Customers keeps buyers in an ERP. CreateCustomer may keep the person's shipping
// address along: FindAddress is asked before CreateAddress.
type Customers interface {
	CreateCustomer(ctx context.Context, p effect.Permit, ref string, person retail.Person) (effect.Receipt, error)
	FindCustomer(ctx context.Context, ref string) (effect.Receipt, bool, error)
	CreateAddress(ctx context.Context, p effect.Permit, customer effect.Receipt, a retail.Address) (effect.Receipt, error)
	FindAddress(ctx context.Context, customer effect.Receipt, a retail.Address) (effect.Receipt, bool, error)
	CustomerSettle() time.Duration
}

// SalesOrders keeps orders in an ERP: drafted, then confirmed, then read back.
type SalesOrders interface {
	CreateSalesOrder(ctx context.Context, p effect.Permit, o retail.Order, customer, shipTo, billTo effect.Receipt) (effect.Receipt, error)
	FindSalesOrder(ctx context.Context, o retail.Order) (effect.Receipt, bool, error)
	ConfirmSalesOrder(ctx context.Context, p effect.Permit, so effect.Receipt) (effect.Receipt, error)
	SalesOrderConfirmed(ctx context.Context, so effect.Receipt) (effect.Receipt, bool, error)
	SalesOrderTotal(ctx context.Context, so effect.Receipt) (retail.Money, error)
	SalesOrderSettle() time.Duration
}

// Releaser hands orders to a warehouse.
type Releaser interface {
	Release(ctx context.Context, p effect.Permit, r retail.Release, person retail.Person) (effect.Receipt, error)
	FindRelease(ctx context.Context, r retail.Release) (effect.Receipt, bool, error)
	ReleaseSettle() time.Duration
}
