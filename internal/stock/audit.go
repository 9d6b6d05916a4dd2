package stock

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/job"
	"github.com/waybillhq/waybill/internal/retail"
)

// Prove audits one SKU. What moves while it is read is read again.
func Prove(ctx context.Context, s Store, t retail.Tenant, sku string) (found []Imbalance, positions int, err error) {
	for range 5 {
		before, err := s.Stock(ctx, t, sku)
		if err != nil {
			return nil, 0, err
		}
		moves, err := s.Movements(ctx, t, sku, "", time.Time{})
		if err != nil {
			return nil, 0, err
		}
		found, positions = Audit(before, moves), len(before.Positions)
		if len(found) == 0 {
			return nil, positions, nil
		}
		after, err := s.Stock(ctx, t, sku)
		if err != nil {
			return nil, 0, err
		}
		if slices.EqualFunc(before.Positions, after.Positions, func(a, b Position) bool { return a.Location == b.Location && a.Version == b.Version }) {
			return found, positions, nil
		}
	}
	return found, positions, nil
}

// Lister lists a retailer's SKUs for jobs.
type Lister interface {
	SKUs(ctx context.Context, t retail.Tenant, cursor string) (skus []string, next string, err error)
}

// AuditJob proves that a retailer's positions are the sums of their ledgers; what
// is not is among its rejected rows. What is held for orders that do not say that
// they have it is given back first.
var AuditJob = job.Kind{Name: "stock-audit", Key: func(params map[string]string) (string, error) {
	for k := range params {
		return "", fmt.Errorf("a stock audit has no parameter %q; it looks at all of a retailer's SKUs", k)
	}
	return "stock", nil
}}

// Auditing is the kind with its work; unclaimed gives back what no order says that
// it holds of a SKU, and counts it.
func Auditing(s Store, list Lister, unclaimed func(ctx context.Context, t retail.Tenant, sku string) (int, error)) job.Kind {
	return AuditJob.With(func(ctx context.Context, j job.Job) (job.Part, error) {
		skus, next, err := list.SKUs(ctx, j.Tenant, j.Cursor)
		if err != nil {
			return job.Part{}, err
		}
		p := job.Part{Cursor: next, Done: next == ""}
		for _, sku := range skus {
			freed, err := unclaimed(ctx, j.Tenant, sku)
			if err != nil {
				return job.Part{}, fmt.Errorf("giving back what nobody claims of %s: %w", sku, err)
			}
			found, _, err := Prove(ctx, s, j.Tenant, sku)
			if err != nil {
				return job.Part{}, fmt.Errorf("auditing %s: %w", sku, err)
			}
			p.Counts.Read++
			switch {
			case len(found) == 0 && freed > 0:
				p.Counts.Applied++
				continue
			case len(found) == 0:
				p.Counts.Unchanged++
				continue
			}
			p.Counts.Rejected++
			for _, i := range found {
				p.Rejected = append(p.Rejected, job.Rejected{Line: j.Counts.Read + p.Counts.Read, ID: sku, Reason: i.String()})
			}
		}
		p.Summary = strconv.FormatInt(j.Counts.Applied+j.Counts.Unchanged+p.Counts.Applied+p.Counts.Unchanged, 10) + " of " + strconv.FormatInt(j.Counts.Read+p.Counts.Read, 10) + " SKUs are what their ledger says; of " + strconv.FormatInt(j.Counts.Applied+p.Counts.Applied, 10) + " something was given back that no order claims"
		return p, nil
	})
}
