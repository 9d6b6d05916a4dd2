package dynamo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

type positionItem struct {
	PK          string `dynamodbav:"pk"`
	SKU         string `dynamodbav:"sku"`
	Location    string `dynamodbav:"location"`
	OnHand      int64  `dynamodbav:"on_hand"`
	Reserved    int64  `dynamodbav:"reserved"`
	Damaged     int64  `dynamodbav:"damaged"`
	QualityHold int64  `dynamodbav:"quality_hold"`
	Unreserved  int64  `dynamodbav:"unreserved"`
	Version     int64  `dynamodbav:"version"`
}

// errHeld marks a put whose item was there before: the work is already done.
var errHeld = errors.New("already held")

// Reserve implements stock.Store. A hold and its position change in one
// transaction, so a repeated call finds the hold and takes nothing twice.
func (s *Store) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	open := slices.Clone(items)
	for len(open) > 0 {
		var ws []write
		for _, it := range open {
			hold, err := put(s.tables.Inventory, map[string]any{
				"pk": skuPK(t, it.SKU), "sk": holdSK(order, it.Line, it.Location),
				"quantity": it.Quantity, "at": stamp(now),
			}, "attribute_not_exists(pk)", nil, errHeld)
			if err != nil {
				return err
			}
			ws = append(ws, hold, write{types.TransactWriteItem{Update: &types.Update{
				TableName:           &s.tables.Inventory,
				Key:                 item{"pk": str(skuPK(t, it.SKU)), "sk": str(positionSK(it.Location))},
				UpdateExpression:    aws.String("SET unreserved = unreserved - :q, reserved = reserved + :q, version = version + :one"),
				ConditionExpression: aws.String("unreserved >= :q"),
				ExpressionAttributeValues: item{
					":q": num(it.Quantity), ":one": num(1),
				},
			}}, &stock.Short{SKU: it.SKU, Location: it.Location}})
		}
		failed, err := s.transactAll(ctx, ws)
		if err == nil {
			return nil
		}
		if len(failed) == 0 {
			return err
		}
		var held []int
		for _, i := range failed {
			if errors.Is(ws[i].means, errHeld) {
				held = append(held, i/2)
			}
		}
		if len(held) == 0 {
			return s.explainShortage(ctx, t, ws[failed[0]].means)
		}
		for _, i := range slices.Backward(held) {
			open = slices.Delete(open, i, i+1)
		}
	}
	return nil
}

// explainShortage tells a position that is too small from one that is not there.
func (s *Store) explainShortage(ctx context.Context, t retail.Tenant, means error) error {
	var short *stock.Short
	if !errors.As(means, &short) {
		return means
	}
	found, err := s.Positions(ctx, t, short.Location, []string{short.SKU})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return &stock.Unknown{SKU: short.SKU, Location: short.Location}
	}
	return short
}

// Release implements stock.Store, one item a transaction: an item that is not
// held, or no longer, is skipped.
func (s *Store) Release(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	_ = now
	for _, it := range items {
		ws := []write{
			{types.TransactWriteItem{Delete: &types.Delete{
				TableName:                 &s.tables.Inventory,
				Key:                       item{"pk": str(skuPK(t, it.SKU)), "sk": str(holdSK(order, it.Line, it.Location))},
				ConditionExpression:       aws.String("quantity = :q"),
				ExpressionAttributeValues: item{":q": num(it.Quantity)},
			}}, errHeld},
			{types.TransactWriteItem{Update: &types.Update{
				TableName:                 &s.tables.Inventory,
				Key:                       item{"pk": str(skuPK(t, it.SKU)), "sk": str(positionSK(it.Location))},
				UpdateExpression:          aws.String("SET unreserved = unreserved + :q, reserved = reserved - :q, version = version + :one"),
				ConditionExpression:       aws.String("attribute_exists(pk)"),
				ExpressionAttributeValues: item{":q": num(it.Quantity), ":one": num(1)},
			}}, stock.ErrUnknownSKU},
		}
		if err := s.transact(ctx, ws); err != nil && !errors.Is(err, errHeld) {
			return fmt.Errorf("releasing %s: %w", it.SKU, err)
		}
	}
	return nil
}

// movementHash is a movement's natural key: connection, document, line, type.
func movementHash(m stock.Move) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{m.Connection, m.Document, m.Line, m.Type}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Apply implements stock.Store, one movement a transaction.
func (s *Store) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for _, m := range moves {
		if err := s.apply(ctx, t, m); err != nil && !errors.Is(err, stock.ErrDuplicate) {
			return fmt.Errorf("moving %s at %s: %w", m.SKU, m.Location, err)
		}
	}
	return nil
}

func (s *Store) apply(ctx context.Context, t retail.Tenant, m stock.Move) error {
	move, err := put(s.tables.Inventory, map[string]any{
		"pk": skuPK(t, m.SKU), "sk": movementSK(movementHash(m)), "type": m.Type, "location": m.Location,
		"connection": m.Connection, "document": m.Document, "line": m.Line, "on_hand": m.OnHand, "reserved": m.Reserved,
		"reason": m.Reason, "occurred_at": stamp(m.OccurredAt), "recorded_at": stamp(m.RecordedAt),
	}, "attribute_not_exists(pk)", nil, stock.ErrDuplicate)
	if err != nil {
		return err
	}
	ws := []write{move, {types.TransactWriteItem{Update: &types.Update{
		TableName: &s.tables.Inventory,
		Key:       item{"pk": str(skuPK(t, m.SKU)), "sk": str(positionSK(m.Location))},
		UpdateExpression: aws.String("SET on_hand = if_not_exists(on_hand, :zero) + :h, reserved = if_not_exists(reserved, :zero) + :r, " +
			"unreserved = if_not_exists(unreserved, :zero) + :u, damaged = if_not_exists(damaged, :zero), " +
			"quality_hold = if_not_exists(quality_hold, :zero), version = if_not_exists(version, :zero) + :one, sku = :s, #l = :l"),
		ExpressionAttributeNames: map[string]string{"#l": "location"},
		ExpressionAttributeValues: item{
			":h": num(m.OnHand), ":r": num(m.Reserved), ":u": num(m.OnHand - m.Reserved), ":zero": num(0), ":one": num(1),
			":s": str(m.SKU), ":l": str(m.Location),
		},
	}}, nil}}
	if m.Hold != "" {
		ws = append(ws, write{types.TransactWriteItem{Delete: &types.Delete{
			TableName: &s.tables.Inventory,
			Key:       item{"pk": str(skuPK(t, m.SKU)), "sk": str(holdSK(m.Hold, m.Line, m.Location))},
		}}, nil})
	}
	return s.transact(ctx, ws)
}

// Positions implements stock.Store.
func (s *Store) Positions(ctx context.Context, t retail.Tenant, location string, skus []string) (map[string]stock.Position, error) {
	out := map[string]stock.Position{}
	unique := slices.Compact(slices.Sorted(slices.Values(skus)))
	keys := make([]item, len(unique))
	for i, sku := range unique {
		keys[i] = item{"pk": str(skuPK(t, sku)), "sk": str(positionSK(location))}
	}
	err := s.getAll(ctx, s.tables.Inventory, keys, func(page []item) error {
		var items []positionItem
		if err := attributevalue.UnmarshalListOfMaps(page, &items); err != nil {
			return err
		}
		for _, it := range items {
			out[it.SKU] = stock.Position{SKU: it.SKU, Location: it.Location, OnHand: it.OnHand, Reserved: it.Reserved,
				Damaged: it.Damaged, QualityHold: it.QualityHold, Unreserved: it.Unreserved, Version: it.Version}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	return out, nil
}
