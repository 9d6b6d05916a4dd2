package memory

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/proof"
	"github.com/waybillhq/waybill/internal/retail"
)

func activityKey(t retail.Tenant, connection string) key {
	return key{part(t.String(), "activity", connection), "activity"}
}

func proofPart(t retail.Tenant, connection string) string {
	return part(t.String(), "proof", connection)
}

func keep(ctx context.Context, s *Store, k key, v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	return s.write(ctx, put(jobs, k, data))
}

// Activity implements order.Activities.
func (s *Store) Activity(ctx context.Context, t retail.Tenant, connection string) (a order.Activity, err error) {
	data, found, err := read[encoded](ctx, s, jobs, activityKey(t, connection))
	if err == nil && found {
		err = json.Unmarshal(data, &a)
	}
	return a, err
}

// SetActivity implements order.Activities.
func (s *Store) SetActivity(ctx context.Context, t retail.Tenant, connection string, a order.Activity) error {
	return keep(ctx, s, activityKey(t, connection), a)
}

// PutProof implements proof.Results.
func (s *Store) PutProof(ctx context.Context, r proof.Result) error {
	return keep(ctx, s, key{proofPart(r.Tenant, r.Connection), r.Date}, r)
}

// Proof returns the proof of a channel's day, if there is one.
func (s *Store) Proof(ctx context.Context, t retail.Tenant, connection, date string) (r proof.Result, found bool, err error) {
	data, found, err := read[encoded](ctx, s, jobs, key{proofPart(t, connection), date})
	if err == nil && found {
		err = json.Unmarshal(data, &r)
	}
	return r, found, err
}

// Proofs lists a channel's proofs, the newest day first.
func (s *Store) Proofs(ctx context.Context, t retail.Tenant, connection string, limit int) ([]proof.Result, error) {
	all, err := list[encoded](ctx, s, jobs, proofPart(t, connection), "")
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	out := make([]proof.Result, min(limit, len(all)))
	for i := range out {
		if err := json.Unmarshal(all[i], &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
