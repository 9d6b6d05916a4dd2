//go:build unix

package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/waybillhq/waybill/internal/cost"
	"github.com/waybillhq/waybill/internal/local/demo"
)

type costCmd struct {
	Log  string `help:"Log of the functions; that of what runs, or ran last, if empty."`
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
		return c.Log, nil, fmt.Errorf("reading the functions' log: %w; run first: go run . up --once --orders 20", err)
	}
	return c.Log, log, nil
}

// Run prints what a million orders like those of a run cost in AWS. It reports
// and never fails over a budget.
func (c costCmd) Run(ctx context.Context, s streams) error {
	name, log, err := c.read(ctx)
	if err != nil {
		return err
	}
	r, err := cost.Read(bytes.NewReader(log))
	if err != nil {
		return fmt.Errorf("%s: %w; run first: go run . up --once --orders 20", name, err)
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
	_, err = fmt.Fprintf(s.out, "counted over %d orders; prices of %s, %s; vendor calls modelled at 400 ms\n", r.Orders, cost.PriceRegion, cost.PriceDate)
	return err
}
