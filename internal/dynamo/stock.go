package dynamo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/retail"
	"github.com/waybillhq/waybill/internal/stock"
)

type positionItem struct {
	PK          string `dynamodbav:"pk"`
	SK          string `dynamodbav:"sk"`
	SKU         string `dynamodbav:"sku"`
	Location    string `dynamodbav:"location"`
	OnHand      int64  `dynamodbav:"on_hand"`
	Reserved    int64  `dynamodbav:"reserved"`
	Damaged     int64  `dynamodbav:"damaged"`
	QualityHold int64  `dynamodbav:"quality_hold"`
	InTransit   int64  `dynamodbav:"in_transit"`
	Unreserved  int64  `dynamodbav:"unreserved"`
	Version     int64  `dynamodbav:"version"`
	Fence       string `dynamodbav:"fence"`
	FenceEnd    string `dynamodbav:"fence_end"` // the fence and its skew, so that a condition compares only
	FenceBy     string `dynamodbav:"fence_by"`
}

func (it positionItem) position() (stock.Position, error) {
	at, err1 := parseStamp(it.Fence)
	end, err2 := parseStamp(it.FenceEnd)
	return stock.Position{SKU: it.SKU, Location: it.Location, OnHand: it.OnHand, Reserved: it.Reserved, Damaged: it.Damaged, QualityHold: it.QualityHold,
		InTransit: it.InTransit, Unreserved: it.Unreserved, Version: it.Version, Fence: stock.Fence{At: at, Skew: end.Sub(at), By: it.FenceBy}}, errors.Join(err1, err2)
}

type holdItem struct {
	PK       string `dynamodbav:"pk"`
	SK       string `dynamodbav:"sk"`
	Quantity int64  `dynamodbav:"quantity"`
	At       string `dynamodbav:"at"`
	Until    string `dynamodbav:"until,omitempty"`
	Day      string `dynamodbav:"day,omitempty"`
}

func (it holdItem) hold(sku string) (stock.Hold, error) {
	order, rest, _ := strings.Cut(strings.TrimPrefix(it.SK, holdPrefix), "#")
	i := strings.LastIndexByte(rest, '#')
	if i < 0 {
		return stock.Hold{}, fmt.Errorf("sort key %q is not a hold's", it.SK)
	}
	until, err := parseStamp(it.Until)
	return stock.Hold{Order: order, Line: rest[:i], Location: rest[i+1:], SKU: sku, Quantity: it.Quantity, Until: until, Day: it.Day}, err
}

// errHeld marks a put whose item was there before: the work is already done.
// errGone marks a hold that is not there any more.
var (
	errHeld = errors.New("already held")
	errGone = errors.New("held no longer")
)

// spentHold is how long a hold is remembered after all of it was shipped, so
// that a late repetition of its reservation takes nothing.
const spentHold = 35 * 24 * time.Hour

// stockContests bound how often a transaction is put together again after its
// positions or holds changed.
const stockContests = 30

// Reserve implements stock.Store. A hold and its position change in one
// transaction, so a repeated call finds the hold and takes nothing twice.
func (s *Store) Reserve(ctx context.Context, t retail.Tenant, order string, items []stock.Item, now time.Time) error {
	if err := stock.CheckItems(items); err != nil {
		return err
	}
	held := make([]bool, len(items))
	for range stockContests {
		ws, of, err := s.reservation(t, order, items, held, now)
		if err != nil || len(ws) == 0 {
			return err
		}
		failed, err := s.transactAll(ctx, ws)
		if err == nil {
			return nil
		}
		if len(failed) == 0 {
			return err
		}
		known := false
		for _, i := range failed {
			if errors.Is(ws[i].means, errHeld) || errors.Is(ws[i].means, errGone) {
				held[of[i]], known = errors.Is(ws[i].means, errHeld), true
			}
		}
		if !known {
			return s.explainShortage(ctx, t, ws[failed[0]].means)
		}
	}
	return fault.New(fault.Retryable, fault.StateConflict, "the order's holds change while they are taken").After(time.Second)
}

// reservation puts the transaction together: a hold for each item that is not
// held, one update for each position, one for each location's day. of names the
// item of each write.
func (s *Store) reservation(t retail.Tenant, order string, items []stock.Item, held []bool, now time.Time) (ws []write, of []int, err error) {
	type need struct {
		item             stock.Item
		quantity, safety int64
		backorder        bool
	}
	var needs []need
	at, days := map[[2]string]int{}, map[string]bool{}
	var capacity []write
	for i, it := range items {
		key := item{"pk": str(skuPK(t, it.SKU)), "sk": str(holdSK(order, it.Line, it.Location))}
		if held[i] {
			if !it.Until.IsZero() {
				ws, of = append(ws, write{types.TransactWriteItem{Update: &types.Update{TableName: &s.tables.Inventory, Key: key,
					UpdateExpression: aws.String("SET #u = :u"), ConditionExpression: aws.String("attribute_exists(pk)"),
					ExpressionAttributeNames: map[string]string{"#u": "until"}, ExpressionAttributeValues: item{":u": str(stamp(it.Until))}}}, errGone}), append(of, i)
			}
			continue
		}
		h := holdItem{PK: skuPK(t, it.SKU), SK: holdSK(order, it.Line, it.Location), Quantity: it.Quantity, At: stamp(now)}
		if !it.Until.IsZero() {
			h.Until = stamp(it.Until)
		}
		if c := it.Capacity; c != nil && !days[it.Location] {
			days[it.Location], h.Day = true, c.Day
			capacity = append(capacity, write{types.TransactWriteItem{Update: &types.Update{TableName: &s.tables.Inventory,
				Key:                       item{"pk": str(locationPK(t, it.Location)), "sk": str(daySK(c.Day))},
				UpdateExpression:          aws.String("SET orders = if_not_exists(orders, :zero) + :one, expires_at = :x"),
				ConditionExpression:       aws.String("attribute_not_exists(orders) OR orders < :limit"),
				ExpressionAttributeValues: item{":zero": num(0), ":one": num(1), ":limit": num(c.Limit), ":x": num(now.Add(spentHold).Unix())}}},
				&stock.Full{Location: it.Location, Day: c.Day}})
		}
		hold, err := put(s.tables.Inventory, h, "attribute_not_exists(pk)", nil, errHeld)
		if err != nil {
			return nil, nil, err
		}
		ws, of = append(ws, hold), append(of, i)
		k := [2]string{it.SKU, it.Location}
		if _, ok := at[k]; !ok {
			at[k], needs = len(needs), append(needs, need{item: it})
		}
		n := &needs[at[k]]
		n.quantity, n.safety, n.backorder = n.quantity+it.Quantity, max(n.safety, it.Safety), n.backorder || it.Backorder
	}
	for _, n := range needs {
		u := &types.Update{
			TableName:                 &s.tables.Inventory,
			Key:                       item{"pk": str(skuPK(t, n.item.SKU)), "sk": str(positionSK(n.item.Location))},
			UpdateExpression:          aws.String("SET unreserved = unreserved - :q, reserved = reserved + :q, version = version + :one"),
			ConditionExpression:       aws.String("unreserved >= :need"),
			ExpressionAttributeValues: item{":q": num(n.quantity), ":need": num(n.quantity + n.safety), ":one": num(1)},
		}
		if n.backorder {
			u.ConditionExpression = aws.String("attribute_exists(pk)")
			delete(u.ExpressionAttributeValues, ":need")
		}
		ws, of = append(ws, write{types.TransactWriteItem{Update: u}, &stock.Short{SKU: n.item.SKU, Location: n.item.Location}}), append(of, -1)
	}
	for range capacity {
		of = append(of, -1)
	}
	return append(ws, capacity...), of, nil
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
		if err := s.release(ctx, t, order, it); err != nil {
			return fmt.Errorf("releasing %s: %w", it.SKU, err)
		}
	}
	return nil
}

func (s *Store) release(ctx context.Context, t retail.Tenant, order string, it stock.Item) error {
	pk, sk := skuPK(t, it.SKU), holdSK(order, it.Line, it.Location)
	have, day, taken := it.Quantity, "", true
	for range stockContests {
		hold := &types.Delete{
			TableName: &s.tables.Inventory, Key: item{"pk": str(pk), "sk": str(sk)},
			ConditionExpression:      aws.String("quantity = :q AND attribute_not_exists(#d)"),
			ExpressionAttributeNames: map[string]string{"#d": "day"}, ExpressionAttributeValues: item{":q": num(have)},
		}
		if day != "" {
			hold.ConditionExpression, hold.ExpressionAttributeValues[":d"] = aws.String("quantity = :q AND #d = :d"), str(day)
		}
		ws := []write{
			{types.TransactWriteItem{Delete: hold}, errHeld},
			{types.TransactWriteItem{Update: &types.Update{
				TableName:                 &s.tables.Inventory,
				Key:                       item{"pk": str(pk), "sk": str(positionSK(it.Location))},
				UpdateExpression:          aws.String("SET unreserved = unreserved + :q, reserved = reserved - :q, version = version + :one"),
				ConditionExpression:       aws.String("attribute_exists(pk)"),
				ExpressionAttributeValues: item{":q": num(have), ":one": num(1)},
			}}, stock.ErrUnknownSKU},
		}
		if day != "" && taken && have == it.Quantity {
			ws = append(ws, write{types.TransactWriteItem{Update: &types.Update{
				TableName:                 &s.tables.Inventory,
				Key:                       item{"pk": str(locationPK(t, it.Location)), "sk": str(daySK(day))},
				UpdateExpression:          aws.String("SET orders = orders - :one"),
				ConditionExpression:       aws.String("orders > :zero"),
				ExpressionAttributeValues: item{":one": num(1), ":zero": num(0)},
			}}, errGone})
		}
		err := s.transact(ctx, ws)
		if errors.Is(err, errGone) {
			taken = false // the day is long over
			continue
		}
		if !errors.Is(err, errHeld) {
			return err
		}
		// A part of it may have been shipped, and it may be one of a day's orders.
		var h holdItem
		found, err := s.get(ctx, s.tables.Inventory, pk, sk, &h)
		if err != nil || !found || h.Quantity <= 0 || h.Quantity > have || h.Quantity == have && h.Day == day {
			return err
		}
		have, day = h.Quantity, h.Day
	}
	return fault.New(fault.Retryable, fault.StateConflict, "what the order holds of %s changes while it is given back", it.SKU).After(time.Second)
}

type movementItem struct {
	PK          string `dynamodbav:"pk"`
	SK          string `dynamodbav:"sk"`
	SKU         string `dynamodbav:"sku,omitempty"`
	Type        string `dynamodbav:"type"`
	Location    string `dynamodbav:"location"`
	Connection  string `dynamodbav:"connection"`
	Document    string `dynamodbav:"document"`
	Line        string `dynamodbav:"line"`
	OnHand      int64  `dynamodbav:"on_hand"`
	Damaged     int64  `dynamodbav:"damaged,omitempty"`
	QualityHold int64  `dynamodbav:"quality_hold,omitempty"`
	InTransit   int64  `dynamodbav:"in_transit,omitempty"`
	Applied     *int64 `dynamodbav:"applied,omitempty"` // of on_hand, where that is another number
	Took        int64  `dynamodbav:"took,omitempty"`
	Counted     int64  `dynamodbav:"counted,omitempty"`
	AsOf        string `dynamodbav:"as_of,omitempty"`
	Unsure      bool   `dynamodbav:"unsure,omitempty"`
	Reason      string `dynamodbav:"reason,omitempty"`
	By          string `dynamodbav:"by,omitempty"`
	Hold        string `dynamodbav:"hold,omitempty"`
	HoldLine    string `dynamodbav:"hold_line,omitempty"`
	Reverses    string `dynamodbav:"reverses,omitempty"`
	OccurredAt  string `dynamodbav:"occurred_at"`
	RecordedAt  string `dynamodbav:"recorded_at"`
}

func fromMove(t retail.Tenant, m stock.Move) movementItem {
	it := movementItem{PK: skuPK(t, m.SKU), SK: movementSK(m.ID()), SKU: m.SKU, Type: m.Type, Location: m.Location, Connection: m.Connection, Document: m.Document,
		Line: m.Line, OnHand: m.OnHand, Damaged: m.Damaged, QualityHold: m.QualityHold, InTransit: m.InTransit, Took: m.Took, Counted: m.Counted, Unsure: m.Unsure,
		Reason: m.Reason, By: m.By, Hold: m.Hold, HoldLine: m.HoldLine, Reverses: m.Reverses, OccurredAt: stamp(m.OccurredAt), RecordedAt: stamp(m.RecordedAt)}
	if m.Applied != m.OnHand {
		it.Applied = &m.Applied
	}
	if !m.AsOf.IsZero() {
		it.AsOf = stamp(m.AsOf)
	}
	return it
}

func (it movementItem) move(sku string) (stock.Move, error) {
	occurred, err1 := parseStamp(it.OccurredAt)
	recorded, err2 := parseStamp(it.RecordedAt)
	asOf, err3 := parseStamp(it.AsOf)
	m := stock.Move{SKU: sku, Type: it.Type, Location: it.Location, Connection: it.Connection, Document: it.Document, Line: it.Line, OnHand: it.OnHand,
		Damaged: it.Damaged, QualityHold: it.QualityHold, InTransit: it.InTransit, Applied: it.OnHand, Took: it.Took, Counted: it.Counted, AsOf: asOf, Unsure: it.Unsure,
		Reason: it.Reason, By: it.By, Hold: it.Hold, HoldLine: it.HoldLine, Reverses: it.Reverses, OccurredAt: occurred, RecordedAt: recorded}
	if it.Applied != nil {
		m.Applied = *it.Applied
	}
	return m, errors.Join(err1, err2, err3)
}

// Apply implements stock.Store, one movement a transaction.
func (s *Store) Apply(ctx context.Context, t retail.Tenant, moves []stock.Move) error {
	for i, m := range moves {
		if _, err := s.ApplyTogether(ctx, t, moves[i:i+1]); err != nil {
			return fmt.Errorf("moving %s at %s: %w", m.SKU, m.Location, err)
		}
	}
	return nil
}

// planned is what a movement does to its position and hold, as far as is known.
type planned struct {
	stock.Move
	fence *positionItem // read after a condition failed; nil: there is none that matters
	whole bool          // the hold is what leaves
	held  int64         // what the hold has, where it is not whole
}

func (p *planned) settle() error {
	p.Applied, p.Took, p.Unsure = p.OnHand, 0, false
	if p.fence != nil {
		at, err := p.fence.position()
		if err != nil {
			return err
		}
		var unsure bool
		p.Applied, unsure = at.Fence.Applies(p.Move)
		p.Unsure = unsure && p.Reverses == ""
	}
	if p.Hold != "" {
		p.Took = p.Leaves()
		if !p.whole {
			p.Took = min(p.Took, p.held)
		}
	}
	return nil
}

// ApplyTogether implements stock.Store. The usual movement is after the last
// count and ships the whole of its hold: that is tried first, without a read.
func (s *Store) ApplyTogether(ctx context.Context, t retail.Tenant, moves []stock.Move, audit ...document.Audit) (bool, error) {
	plans := make([]planned, len(moves))
	for i, m := range moves {
		plans[i] = planned{Move: m, whole: true}
	}
	for range stockContests {
		ws, of, err := s.movements(t, plans)
		if err != nil {
			return false, err
		}
		for _, a := range audit {
			w, err := s.audit(a)
			if err != nil {
				return false, err
			}
			ws, of = append(ws, w), append(of, -1)
		}
		failed, err := s.transactAll(ctx, ws)
		fresh := err == nil
		if !fresh {
			if len(failed) == 0 {
				return false, err
			}
			again, err := s.replan(ctx, t, plans, ws, of, failed)
			if err != nil {
				return false, err
			}
			if again {
				continue
			}
		}
		for i := range moves {
			moves[i].Unsure = plans[i].Unsure
		}
		return fresh, nil
	}
	return false, fault.New(fault.Retryable, fault.StateConflict, "the position changes while it is moved").After(time.Second)
}

// replan reads what the failed conditions were about. It reports false where
// the movements are recorded already.
func (s *Store) replan(ctx context.Context, t retail.Tenant, plans []planned, ws []write, of, failed []int) (bool, error) {
	known := 0
	for _, i := range failed {
		if of[i] < 0 {
			return false, ws[i].means
		}
		p := &plans[of[i]]
		switch {
		case errors.Is(ws[i].means, errHeld):
			was, err := s.Movement(ctx, t, p.SKU, p.ID())
			if err != nil {
				return false, err
			}
			if !was.Same(p.Move) {
				return false, stock.Contradiction(was, p.Move)
			}
			p.Unsure = was.Unsure
			known++
		case errors.Is(ws[i].means, errGone):
			var h holdItem
			if _, err := s.get(ctx, s.tables.Inventory, skuPK(t, p.SKU), holdSK(p.Hold, p.HeldLine(), p.Location), &h); err != nil {
				return false, err
			}
			p.whole, p.held = false, max(h.Quantity, 0)
			if p.held == p.Leaves() && p.held > 0 {
				p.whole = true
			}
		case errors.Is(ws[i].means, stock.ErrMoved):
			p.fence = &positionItem{}
			if _, err := s.get(ctx, s.tables.Inventory, skuPK(t, p.SKU), positionSK(p.Location), p.fence); err != nil {
				return false, err
			}
		}
	}
	if known > 0 && known < len(plans) {
		return false, fault.New(fault.Exception, fault.Duplicate, "%d of %d movements that belong together are recorded already. Nothing moved", known, len(plans)).At("document", plans[0].Document)
	}
	return known == 0, nil
}

func (s *Store) movements(t retail.Tenant, plans []planned) (ws []write, of []int, err error) {
	for i := range plans {
		p := &plans[i]
		if err := p.settle(); err != nil {
			return nil, nil, err
		}
		move, err := put(s.tables.Inventory, fromMove(t, p.Move), "attribute_not_exists(pk)", nil, errHeld)
		if err != nil {
			return nil, nil, err
		}
		u := s.moved(t, p.Move)
		if p.fence != nil && p.fence.FenceEnd != "" {
			u.ConditionExpression, u.ExpressionAttributeValues[":fence"] = aws.String("fence_end = :fence"), str(p.fence.FenceEnd)
		} else {
			u.ConditionExpression, u.ExpressionAttributeValues[":at"] = aws.String("attribute_not_exists(fence_end) OR fence_end < :at"), str(stamp(p.OccurredAt))
		}
		ws, of = append(ws, move, write{types.TransactWriteItem{Update: u}, stock.ErrMoved}), append(of, i, i)
		if p.Hold == "" || p.Leaves() == 0 {
			continue
		}
		key := item{"pk": str(skuPK(t, p.SKU)), "sk": str(holdSK(p.Hold, p.HeldLine(), p.Location))}
		h := &types.Update{TableName: &s.tables.Inventory, Key: key}
		switch {
		case p.whole || p.held > 0 && p.Took == p.held:
			// What was shipped whole stays for a while with nothing in it, so that a
			// late repetition of its reservation takes nothing.
			h.UpdateExpression, h.ConditionExpression = aws.String("SET quantity = :zero, expires_at = :x"), aws.String("quantity = :q")
			h.ExpressionAttributeValues = item{":zero": num(0), ":q": num(p.Took), ":x": num(p.RecordedAt.Add(spentHold).Unix())}
		case p.held > 0:
			h.UpdateExpression, h.ConditionExpression = aws.String("SET quantity = :left"), aws.String("quantity = :q")
			h.ExpressionAttributeValues = item{":left": num(p.held - p.Took), ":q": num(p.held)}
		default:
			ws = append(ws, write{types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: &s.tables.Inventory, Key: key,
				ConditionExpression: aws.String("attribute_not_exists(pk) OR quantity = :zero"), ExpressionAttributeValues: item{":zero": num(0)}}}, errGone})
			of = append(of, i)
			continue
		}
		ws, of = append(ws, write{types.TransactWriteItem{Update: h}, errGone}), append(of, i)
	}
	return ws, of, nil
}

// moved adds a movement to its position, which it makes where there is none.
func (s *Store) moved(t retail.Tenant, m stock.Move) *types.Update {
	set := []string{"version = if_not_exists(version, :zero) + :one", "sku = :s", "#l = :l"}
	values := item{":zero": num(0), ":one": num(1), ":s": str(m.SKU), ":l": str(m.Location)}
	for i, b := range []struct {
		name  string
		delta int64
	}{
		{"on_hand", m.Applied}, {"reserved", -m.Took}, {"damaged", m.Damaged}, {"quality_hold", m.QualityHold}, {"in_transit", m.InTransit},
		{"unreserved", m.Applied + m.Took - m.Damaged - m.QualityHold},
	} {
		v := fmt.Sprintf(":b%d", i)
		set = append(set, fmt.Sprintf("%s = if_not_exists(%s, :zero) + %s", b.name, b.name, v))
		values[v] = num(b.delta)
	}
	return &types.Update{
		TableName:                 &s.tables.Inventory,
		Key:                       item{"pk": str(skuPK(t, m.SKU)), "sk": str(positionSK(m.Location))},
		UpdateExpression:          aws.String("SET " + strings.Join(set, ", ")),
		ExpressionAttributeNames:  map[string]string{"#l": "location"},
		ExpressionAttributeValues: values,
	}
}

// Settle implements stock.Store.
func (s *Store) Settle(ctx context.Context, t retail.Tenant, version int64, m stock.Move, f stock.Fence, audit ...document.Audit) (bool, error) {
	move, err := put(s.tables.Inventory, fromMove(t, m), "attribute_not_exists(pk)", nil, stock.ErrMoved)
	if err != nil {
		return false, err
	}
	u := s.moved(t, m)
	u.UpdateExpression = aws.String(*u.UpdateExpression + ", fence = :f, fence_end = :fe, fence_by = :fb")
	u.ExpressionAttributeValues[":f"], u.ExpressionAttributeValues[":fe"], u.ExpressionAttributeValues[":fb"] = str(stamp(f.At)), str(stamp(f.At.Add(f.Skew))), str(f.By)
	u.ConditionExpression = aws.String("attribute_not_exists(pk)")
	if version > 0 {
		u.ConditionExpression, u.ExpressionAttributeValues[":v"] = aws.String("version = :v"), num(version)
	}
	ws := []write{move, {types.TransactWriteItem{Update: u}, stock.ErrMoved}}
	for _, a := range audit {
		w, err := s.audit(a)
		if err != nil {
			return false, err
		}
		ws = append(ws, w)
	}
	return true, s.transact(ctx, ws)
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
		for _, raw := range page {
			p, err := readPosition(raw)
			if err != nil {
				return err
			}
			out[p.SKU] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	return out, nil
}

func readPosition(raw item) (stock.Position, error) {
	var it positionItem
	if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
		return stock.Position{}, err
	}
	return it.position()
}

// Candidates implements stock.Store.
func (s *Store) Candidates(ctx context.Context, t retail.Tenant, order string, items []stock.Item, locations []string) (positions []stock.Position, holds []stock.Hold, err error) {
	seen := map[string]bool{}
	var keys []item
	skus := map[string]string{}
	add := func(sku, sk string) {
		pk := skuPK(t, sku)
		skus[pk] = sku
		if k := pk + "\x00" + sk; !seen[k] {
			seen[k], keys = true, append(keys, item{"pk": str(pk), "sk": str(sk)})
		}
	}
	for _, it := range items {
		for _, l := range locations {
			add(it.SKU, positionSK(l))
			add(it.SKU, holdSK(order, it.Line, l))
		}
	}
	err = s.getAll(ctx, s.tables.Inventory, keys, func(page []item) error {
		for _, raw := range page {
			var it holdItem
			if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
				return err
			}
			if !strings.HasPrefix(it.SK, holdPrefix) {
				p, err := readPosition(raw)
				if err != nil {
					return err
				}
				positions = append(positions, p)
				continue
			}
			h, err := it.hold(skus[it.PK])
			if err != nil {
				return err
			}
			holds = append(holds, h)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the candidates' positions: %w", err)
	}
	return positions, holds, nil
}

// Holds implements stock.Store. What others wait for lies in the same partition
// and is not read: in a rush there is more of it than of anything else.
func (s *Store) Holds(ctx context.Context, t retail.Tenant, sku, order string) (out []stock.Hold, err error) {
	prefix := holdPrefix
	if order != "" {
		prefix += order + "#"
	}
	err = s.each(ctx, &dynamodb.QueryInput{KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :s)"),
		ExpressionAttributeValues: item{":p": str(skuPK(t, sku)), ":s": str(prefix)}}, func(raw item) error {
		var it holdItem
		if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
			return err
		}
		h, err := it.hold(sku)
		if err == nil && h.Quantity > 0 {
			out = append(out, h)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the holds of %s: %w", sku, err)
	}
	return out, nil
}

// Orders implements stock.Store.
func (s *Store) Orders(ctx context.Context, t retail.Tenant, location, day string) (int64, error) {
	var it struct {
		Orders int64 `dynamodbav:"orders"`
	}
	_, err := s.get(ctx, s.tables.Inventory, locationPK(t, location), daySK(day), &it)
	return it.Orders, err
}

// each pages through a query of one partition.
func (s *Store) each(ctx context.Context, in *dynamodb.QueryInput, do func(raw item) error) error {
	in.TableName, in.ConsistentRead = &s.tables.Inventory, aws.Bool(true)
	pages := dynamodb.NewQueryPaginator(s.db, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, raw := range page.Items {
			if err := do(raw); err != nil {
				return fmt.Errorf("decoding: %w", err)
			}
		}
	}
	return nil
}

// Stock implements stock.Store.
func (s *Store) Stock(ctx context.Context, t retail.Tenant, sku string) (out stock.SKU, err error) {
	err = s.each(ctx, &dynamodb.QueryInput{KeyConditionExpression: aws.String("pk = :p AND sk < :m"),
		ExpressionAttributeValues: item{":p": str(skuPK(t, sku)), ":m": str(movementPrefix)}}, func(raw item) error {
		var it holdItem
		if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(it.SK, demandPrefix); ok {
			order, line, _ := strings.Cut(rest, "#")
			since, err := parseStamp(it.At)
			out.Demand = append(out.Demand, stock.Demand{Order: order, Line: line, SKU: sku, Quantity: it.Quantity, Since: since})
			return err
		}
		h, err := it.hold(sku)
		if err == nil && h.Quantity > 0 {
			out.Holds = append(out.Holds, h)
		}
		return err
	})
	if err != nil {
		return out, fmt.Errorf("reading the holds of %s: %w", sku, err)
	}
	err = s.each(ctx, &dynamodb.QueryInput{KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :s)"),
		ExpressionAttributeValues: item{":p": str(skuPK(t, sku)), ":s": str(positionPrefix)}}, func(raw item) error {
		p, err := readPosition(raw)
		out.Positions = append(out.Positions, p)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("reading the positions of %s: %w", sku, err)
	}
	return out, nil
}

// Movements implements stock.Store, by the index of occurrence times.
func (s *Store) Movements(ctx context.Context, t retail.Tenant, sku, location string, from time.Time) (out []stock.Move, err error) {
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{TableName: &s.tables.Inventory, IndexName: aws.String("occurred"), ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :p AND occurred_at >= :f"),
		ExpressionAttributeValues: item{":p": str(skuPK(t, sku)), ":f": str(stamp(from))}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the movements of %s: %w", sku, err)
		}
		for _, raw := range page.Items {
			var it movementItem
			if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
				return nil, fmt.Errorf("decoding a movement of %s: %w", sku, err)
			}
			m, err := it.move(sku)
			if err != nil {
				return nil, fmt.Errorf("decoding a movement of %s: %w", sku, err)
			}
			if location == "" || m.Location == location {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// Movement implements stock.Store.
func (s *Store) Movement(ctx context.Context, t retail.Tenant, sku, id string) (stock.Move, error) {
	var it movementItem
	found, err := s.get(ctx, s.tables.Inventory, skuPK(t, sku), movementSK(id), &it)
	if err != nil {
		return stock.Move{}, err
	}
	if !found {
		return stock.Move{}, stock.ErrNoMovement
	}
	return it.move(sku)
}

// Want implements stock.Store. A line's demand is one item of its own.
func (s *Store) Want(ctx context.Context, t retail.Tenant, order string, demand []stock.Demand) error {
	for _, d := range demand {
		key := item{"pk": str(skuPK(t, d.SKU)), "sk": str(demandSK(order, d.Line))}
		var err error
		if d.Quantity > 0 {
			key["quantity"], key["at"] = num(d.Quantity), str(stamp(d.Since))
			_, err = s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.tables.Inventory, Item: key})
		} else {
			_, err = s.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.tables.Inventory, Key: key})
		}
		if err != nil {
			return fmt.Errorf("keeping what order %s waits for: %w", order, err)
		}
	}
	return nil
}

// SKUs lists a retailer's SKUs that have positions, a page at a time; one may
// come more than once. It reads the whole table and is for jobs alone.
func (s *Store) SKUs(ctx context.Context, t retail.Tenant, cursor string) (skus []string, next string, err error) {
	in := &dynamodb.ScanInput{TableName: &s.tables.Inventory, ProjectionExpression: aws.String("pk, sk, sku"), Limit: aws.Int32(1000),
		FilterExpression:          aws.String("begins_with(pk, :t) AND begins_with(sk, :p)"),
		ExpressionAttributeValues: item{":t": str(t.Key("S", "")), ":p": str(positionPrefix)}}
	if pk, sk, ok := strings.Cut(cursor, "\n"); ok {
		in.ExclusiveStartKey = item{"pk": str(pk), "sk": str(sk)}
	}
	page, err := s.db.Scan(ctx, in)
	if err != nil {
		return nil, "", fmt.Errorf("listing SKUs: %w", err)
	}
	for _, raw := range page.Items {
		var it positionItem
		if err := attributevalue.UnmarshalMap(raw, &it); err != nil {
			return nil, "", fmt.Errorf("decoding a position: %w", err)
		}
		skus = append(skus, it.SKU)
	}
	if page.LastEvaluatedKey != nil {
		var k positionItem
		if err := attributevalue.UnmarshalMap(page.LastEvaluatedKey, &k); err != nil {
			return nil, "", fmt.Errorf("decoding a cursor: %w", err)
		}
		next = k.PK + "\n" + k.SK
	}
	return slices.Compact(slices.Sorted(slices.Values(skus))), next, nil
}
