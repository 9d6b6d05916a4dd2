//go:build unix

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/waybillhq/waybill/internal/cost"
	"github.com/waybillhq/waybill/internal/local/demo"
)

type costCmd struct {
	Log  string `help:"Log of the functions; that of what runs, or ran last, if empty."`
	Idle bool   `help:"Compute from the templates what a month costs in which nothing happens."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func functionLogPath(root string) string {
	return filepath.Join(root, ".waybill", "run", "functions.log")
}

// read returns the log that the command names, or of what runs, or ran last.
func (c costCmd) read(ctx context.Context) (name string, log []byte, err error) {
	if c.Log == "" {
		if _, p, err := attach(); err == nil {
			log, err := demo.FunctionLog(ctx, p)
			return "the running platform", log, err
		}
		top, err := root()
		if err != nil {
			return "", nil, err
		}
		c.Log = functionLogPath(top)
	}
	if log, err = os.ReadFile(c.Log); err != nil {
		return c.Log, nil, fmt.Errorf("reading the functions' log: %w; run first: go run . up --once --orders 20 --every 10s", err)
	}
	return c.Log, log, nil
}

// Run prints what a million orders like those of a run cost in AWS. It reports
// and never fails over a budget.
func (c costCmd) Run(ctx context.Context, s streams) error {
	if c.Idle {
		return c.idle(s)
	}
	name, log, err := c.read(ctx)
	if err != nil {
		return err
	}
	r, err := cost.Read(bytes.NewReader(log))
	if err != nil {
		return fmt.Errorf("%s: %w; run first: go run . up --once --orders 20 --every 10s", name, err)
	}
	if c.JSON {
		return printJSON(s.out, r)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(w, "service\tper order\tunit\tdollars per million orders\t\n")
	for _, i := range r.Items {
		_, _ = fmt.Fprintf(w, "%s\t%.3f\t%s\t%.2f\t\n", i.Service, i.Quantity, i.Unit, i.Dollars)
	}
	_, _ = fmt.Fprintf(w, "orchestration and messaging\t\t\t%.2f\t of %.0f\n", r.Messaging, cost.MessagingBudget)
	_, _ = fmt.Fprintf(w, "all\t\t\t%.2f\t of %.0f\n", r.Total, cost.TotalBudget)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "counted over %d orders, one cold start in a hundred; prices of %s, %s; vendor calls modelled at 400 ms\n", r.Orders, cost.PriceRegion, cost.PriceDate)
	return err
}

// idleCost is what waybill cost --idle tells.
type idleCost struct {
	Stack  cost.IdleReport `json:"stack"`
	Beside cost.IdleReport `json:"beside"` // the stack beside, its part region
	Edge   cost.IdleReport `json:"edge"`   // its part edge, which is deployed on demand and not in the sum
	Total  float64         `json:"total_dollars"`
	Tenant cost.IdleReport `json:"tenant"`
}

// idle prints what a month costs in which nothing happens.
func (c costCmd) idle(s streams) error {
	top, err := root()
	if err != nil {
		return err
	}
	var r idleCost
	if r.Stack, err = cost.Idle(filepath.Join(top, "template.yaml"), nil); err != nil {
		return err
	}
	beside := filepath.Join(top, "infra", "aws-only.yaml")
	for part, report := range map[string]*cost.IdleReport{"region": &r.Beside, "edge": &r.Edge} {
		if *report, err = cost.Idle(beside, map[string]string{"Part": part}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	r.Total, r.Tenant = r.Stack.Total+r.Beside.Total, cost.IdleTenant(r.Stack)
	if c.JSON {
		return printJSON(s.out, r)
	}
	w := tabwriter.NewWriter(s.out, 0, 2, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "stack\tservice\twhat\tquantity\tdollars a month\n")
	for _, of := range []struct {
		name   string
		report cost.IdleReport
	}{{"platform", r.Stack}, {"beside", r.Beside}} {
		for _, i := range of.report.Items {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%.4f\n", of.name, i.Service, i.What, i.Quantity, i.Dollars)
		}
	}
	_, _ = fmt.Fprintf(w, "all\t\t\t\t%.2f of %.0f\n", r.Total, cost.IdleStackBudget)
	for _, i := range r.Tenant.Items {
		_, _ = fmt.Fprintf(w, "a tenant\t%s\t%s\t%.0f\t%.4f\n", i.Service, i.What, i.Quantity, i.Dollars)
	}
	_, _ = fmt.Fprintf(w, "a tenant\t\t\t\t%.4f of %.2f\n", r.Tenant.Total, cost.IdleTenantBudget)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "a month of 730 hours without a delivery, nothing stored; prices of %s, %s, free tiers left out; an edge would add %.2f\n",
		cost.PriceRegion, cost.PriceDate, r.Edge.Total)
	return err
}
