package rate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/fault"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/retail"
)

// asked counts what is asked of the rows, and fails when told to.
type asked struct {
	rate.Store
	reads, writes int
	down          error
}

func (a *asked) Rate(ctx context.Context, k rate.Key) (rate.State, error) {
	a.reads++
	if a.down != nil {
		return rate.State{}, a.down
	}
	return a.Store.Rate(ctx, k)
}

func (a *asked) PutRate(ctx context.Context, s rate.State) error {
	a.writes++
	return a.Store.PutRate(ctx, s)
}

// floor is several instances of one function, with a cap of two a retailer.
type floor struct {
	*world
	t      *testing.T
	rows   *asked
	shares []*rate.Share
}

func newFloor(t *testing.T, instances int) *floor {
	f := &floor{world: newWorld(t), t: t}
	f.rows = &asked{Store: f.store}
	for i := range instances {
		f.shares = append(f.shares, &rate.Share{Store: f.rows, Now: func() time.Time { return f.now }, NewID: func() string { return fmt.Sprint("i", i) }, Function: "f", Cap: 2})
	}
	return f
}

func (f *floor) tenant(name string) retail.Tenant {
	tn, err := retail.ParseTenant(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return tn
}

// works lets an instance work for a retailer, if it may.
func (f *floor) works(i int, tenant string, d time.Duration) error {
	leave, err := f.shares[i].Enter(f.t.Context(), f.tenant(tenant))
	if err == nil {
		f.now = f.now.Add(d)
		leave()
	}
	return err
}

// busy keeps the instances busy with a retailer, in turn, and returns those that
// were ever refused.
func (f *floor) busy(tenant string, instances ...int) map[int]error {
	refused := map[int]error{}
	for range 30 {
		for _, i := range instances {
			if err := f.works(i, tenant, 500*time.Millisecond); err != nil {
				refused[i] = err
			}
		}
	}
	return refused
}

func TestOnlySoManyInstancesWorkForOneRetailerAndTheOthersForEverybodyElse(t *testing.T) {
	f := newFloor(t, 4)
	refused := f.busy("loud", 0, 1, 2, 3)
	if len(refused) != 2 {
		t.Fatalf("refused: %v", refused)
	}
	for i, err := range refused {
		if g := fault.Of(err); g == nil || g.Kind != fault.Retryable || g.Class != fault.RateLimited || g.RetryAfter <= 0 || g.Field != "tenant" || g.Value != "loud" {
			t.Errorf("instance %d: %#v", i, err)
		}
		writes := f.rows.writes
		if err := f.works(i, "quiet", time.Second); err != nil || f.rows.writes != writes {
			t.Errorf("instance %d for another retailer: %v, %d writes", i, err, f.rows.writes-writes)
		}
	}
	if again := f.busy("loud", 0, 1); len(again) > 0 {
		t.Errorf("those that have a place were refused: %v", again)
	}
}

func TestARetailerThatKeepsNobodyBusyCostsNothing(t *testing.T) {
	f := newFloor(t, 2)
	for range 200 {
		f.now = f.now.Add(5 * time.Second)
		if err := f.works(0, "quiet", 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if f.rows.reads+f.rows.writes > 0 {
		t.Errorf("%d reads and %d writes for 200 documents", f.rows.reads, f.rows.writes)
	}
	f.busy("loud", 1)
	if n := f.rows.writes; n == 0 || n > 3 {
		t.Errorf("%d writes for a busy quarter of a minute", n)
	}
}

func TestThePlaceOfWhoDiedOrWentElsewhereIsFreeAgain(t *testing.T) {
	f := newFloor(t, 3)
	refused := f.busy("loud", 0, 1, 2)
	if len(refused) != 1 {
		t.Fatalf("refused: %v", refused)
	}
	f.now = f.now.Add(2 * time.Minute)
	for i := range refused {
		if refused := f.busy("loud", i); len(refused) > 0 {
			t.Errorf("instance %d is still refused: %v", i, refused)
		}
	}
}

func TestACapThatCannotBeReadKeepsNobodyFromWork(t *testing.T) {
	f := newFloor(t, 3)
	f.rows.down = errors.New("down")
	if refused := f.busy("loud", 0, 1, 2); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	f.rows.down = nil
	for _, s := range f.shares {
		s.Cap = 0
	}
	if refused := f.busy("loud", 0, 1, 2); len(refused) > 0 {
		t.Errorf("refused without a cap: %v", refused)
	}
}

func TestALongCrowdKeepsItsPlacesAndWhoFoundNoneAsksSeldom(t *testing.T) {
	f := newFloor(t, 3)
	for range 5 { // two minutes and a half
		f.busy("loud", 0, 1)
	}
	refused := f.busy("loud", 2)
	if len(refused) != 1 {
		t.Fatalf("a third: %v", refused)
	}
	reads := f.rows.reads
	for range 10 { // at once
		if err := f.works(2, "loud", 0); fault.RetryAfterOf(err) <= 0 {
			t.Errorf("%v", err)
		}
	}
	if n := f.rows.reads - reads; n > 1 {
		t.Errorf("%d reads of a row that is full", n)
	}
}

func TestEachFunctionHasPlacesOfItsOwn(t *testing.T) {
	f := newFloor(t, 4)
	f.shares[2].Function, f.shares[3].Function = "g", "g"
	if refused := f.busy("loud", 0, 1, 2, 3); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
