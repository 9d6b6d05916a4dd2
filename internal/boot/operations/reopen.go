package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/exception"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/retail"
)

// The queues that replays travel through.
const (
	orderInbox    = "order-inbox"
	shipmentInbox = "shipment-inbox"
)

// Reopen looks among the dead letters for replays that somebody waits for. It
// asks nothing where nobody waits, or there are none.
func Reopen(ctx context.Context, p *boot.Platform, open []document.Exception, letters []deadletter.Letters) (reopened int, err error) {
	asked := map[retail.Tenant]map[string]bool{}
	for _, x := range open {
		if x.State == document.Asked {
			if asked[x.Tenant] == nil {
				asked[x.Tenant] = map[string]bool{}
			}
			asked[x.Tenant][x.ID] = true
		}
	}
	desk := exception.Desk{Life: p.Life(), Store: p.Store}
	dead := deadletter.Desk{SQS: p.Queues, Now: time.Now, Queues: []deadletter.Queue{
		{Name: orderInbox, Dead: p.Env("ORDER_INBOX_DEAD")}, {Name: shipmentInbox, Dead: p.Env("SHIPMENT_INBOX_DEAD")},
	}}
	for _, l := range letters {
		if len(asked) == 0 || !slices.Contains(dead.Names(), l.Queue) {
			continue
		}
		err := dead.Each(ctx, l.Queue, func(ctx context.Context, letter deadletter.Message) error {
			var m inbox.Message
			if json.Unmarshal([]byte(letter.Body), &m) != nil || !asked[m.Tenant][m.Exception] {
				return nil // what cannot be read answers nothing
			}
			r, err := desk.DeadReplay(ctx, l.Queue, letter.ID, m)
			if r.Outcome == exception.Reopened {
				reopened++
			}
			return err
		})
		if err != nil {
			return reopened, fmt.Errorf("looking for replays in the dead letters of %s: %w", l.Queue, err)
		}
	}
	return reopened, nil
}
