package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// inboxKeep is how long an event is remembered: longer than any vendor
// repeats one, and than a queue's and its DLQ's retention together.
const inboxKeep = 40 * 24 * time.Hour

const (
	leasedStatus = "leased"
	doneStatus   = "done"
)

// Begin implements inbox.Store with one conditional put. A lease is taken over
// by comparing its time; its mere presence proves nothing.
func (s *Store) Begin(ctx context.Context, t retail.Tenant, connection, event, holder string, now, until time.Time) (inbox.Lease, error) {
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.tables.Inbox,
		Item: item{
			"pk": str(inboxPK(t, connection, event)), "sk": str("EVENT"), "status": str(leasedStatus),
			"holder": str(holder), "lease_until": str(stamp(until)), "expires_at": num(now.Add(inboxKeep).Unix()),
		},
		ConditionExpression:                 aws.String("attribute_not_exists(pk) OR (#s = :leased AND lease_until < :now)"),
		ExpressionAttributeNames:            map[string]string{"#s": "status"},
		ExpressionAttributeValues:           item{":leased": str(leasedStatus), ":now": str(stamp(now))},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		if err != nil {
			return inbox.Busy, fmt.Errorf("leasing event: %w", err)
		}
		return inbox.Mine, nil
	}
	var there struct {
		Status string `dynamodbav:"status"`
		Holder string `dynamodbav:"holder"`
	}
	if failed.Item != nil {
		err = attributevalue.UnmarshalMap(failed.Item, &there)
	} else {
		_, err = s.get(ctx, s.tables.Inbox, inboxPK(t, connection, event), "EVENT", &there)
	}
	switch {
	case err != nil:
		return inbox.Busy, err
	case there.Status == doneStatus:
		return inbox.Done, nil
	case there.Holder == holder:
		// The put was sent again after its answer was lost.
		return inbox.Mine, nil
	}
	return inbox.Busy, nil
}

// Abandon implements inbox.Store.
func (s *Store) Abandon(ctx context.Context, t retail.Tenant, connection, event, holder string) error {
	_, err := s.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &s.tables.Inbox,
		Key:                       item{"pk": str(inboxPK(t, connection, event)), "sk": str("EVENT")},
		UpdateExpression:          aws.String("SET lease_until = :over"),
		ConditionExpression:       aws.String("#s = :leased AND holder = :h"),
		ExpressionAttributeNames:  map[string]string{"#s": "status"},
		ExpressionAttributeValues: item{":over": str(stamp(time.Unix(0, 0))), ":leased": str(leasedStatus), ":h": str(holder)},
	})
	var other *types.ConditionalCheckFailedException
	if err == nil || errors.As(err, &other) {
		return nil
	}
	return fmt.Errorf("giving up the lease: %w", err)
}

// Finish implements inbox.Store.
func (s *Store) Finish(ctx context.Context, t retail.Tenant, connection, event, holder, outcome string, now time.Time) error {
	return s.transact(ctx, []write{s.inboxDone(document.InboxDone{
		Tenant: t, Connection: connection, Event: event, Holder: holder, Outcome: outcome, At: now,
	})})
}

func (s *Store) inboxDone(d document.InboxDone) write {
	return write{types.TransactWriteItem{Update: &types.Update{
		TableName:                &s.tables.Inbox,
		Key:                      item{"pk": str(inboxPK(d.Tenant, d.Connection, d.Event)), "sk": str("EVENT")},
		UpdateExpression:         aws.String("SET #s = :done, outcome = :o, done_at = :t REMOVE lease_until"),
		ConditionExpression:      aws.String("#s = :leased AND holder = :h"),
		ExpressionAttributeNames: map[string]string{"#s": "status"},
		ExpressionAttributeValues: item{
			":done": str(doneStatus), ":leased": str(leasedStatus), ":h": str(d.Holder), ":o": str(d.Outcome), ":t": str(stamp(d.At)),
		},
	}}, document.ErrLease}
}
