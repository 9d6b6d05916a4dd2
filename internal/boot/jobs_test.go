package boot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/dynamo/memory"
	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

func TestWhatIsScheduledAndAtWorkAlreadyIsNoFailure(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	store, ids := memory.New(memory.Options{Now: now, Dice: rand.New(rand.NewPCG(1, 1))}), 0
	r := job.Runner{Store: store, Now: now, NewID: func() string { ids++; return fmt.Sprint("j", ids) }, Wake: func(context.Context, job.Task) error { return nil },
		Kinds: map[string]job.Kind{deadletter.ArchiveJob.Name: deadletter.ArchiveJob}}
	for range 2 {
		if err := start(t.Context(), r, job.Request{Tenant: retail.Partner, Kind: deadletter.ArchiveJob.Name}); err != nil {
			t.Error(err)
		}
	}
	all, err := store.Jobs(t.Context(), retail.Partner, "", 10)
	if err != nil || len(all) != 1 || all[0].By != "schedule" || all[0].Reason == "" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := start(t.Context(), r, job.Request{Tenant: retail.Partner, Kind: "nothing"}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("of no kind: %v", err)
	}
}
