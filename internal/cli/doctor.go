//go:build unix

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/waybillhq/waybill/internal/doctor"
)

type doctorCmd struct {
	Region  string `help:"Region to examine; that of the AWS configuration if empty."`
	Profile string `help:"Profile of the AWS configuration; the current one if empty."`
	Stack   string `help:"The platform's CloudFormation stack; the account alone is examined if empty."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// examination is how long a whole examination may take.
const examination = 3 * time.Minute

// Run examines the account and changes nothing. It ends with 0 if everything is
// known and nothing is worse than a warning.
func (c doctorCmd) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, examination)
	defer cancel()
	report := c.examine(ctx)
	if c.JSON {
		if err := printJSON(s.out, report); err != nil {
			return err
		}
	} else if err := printReport(s.out, report); err != nil {
		return err
	}
	if !report.Healthy() {
		return errSilent
	}
	return nil
}

func (c doctorCmd) examine(ctx context.Context) doctor.Report {
	var load []func(*config.LoadOptions) error
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(c.Profile))
	}
	o := doctor.Options{Profile: c.Profile, Stack: c.Stack}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return doctor.NotLoaded(err, c.Region, o)
	}
	return doctor.Examine(ctx, cfg, o)
}

// printReport writes what is wrong with all there is to say, and what is not in
// a line.
func printReport(w io.Writer, r doctor.Report) error {
	var b strings.Builder
	if r.Account != "" {
		fmt.Fprintf(&b, "account %s, %s\n", r.Account, r.Region)
	}
	counts := map[doctor.Status]int{}
	for _, f := range r.Findings {
		counts[f.Status]++
		fmt.Fprintf(&b, "%-8s %-22s %s\n", f.Status, f.Check, f.Value)
		if f.Status == doctor.OK || f.Class == doctor.NotAsked {
			continue
		}
		fmt.Fprintf(&b, "         should be: %s\n         next: %s\n", f.Want, f.Next)
	}
	fmt.Fprintf(&b, "%d ok, %d warnings, %d unknown, %d failing\n", counts[doctor.OK], counts[doctor.Warning], counts[doctor.Unknown], counts[doctor.Failing])
	_, err := io.WriteString(w, b.String())
	return err
}
