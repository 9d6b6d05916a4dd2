// simulate runs seeds of the simulation: one with its trace, or many.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/waybillhq/waybill/test/simulation"
)

func main() {
	seed := flag.Uint64("seed", 0, "run this seed alone")
	trace := flag.String("trace", "", "write the seed's trace to this file")
	seeds := flag.Int("seeds", 20_000, "how many seeds are run")
	first := flag.Uint64("first", 1, "the first of them")
	flag.Parse()
	if err := run(*seed, *trace, *first, *seeds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seed uint64, trace string, first uint64, seeds int) error {
	machines, err := simulation.ReadMachines("infra/states")
	if err != nil {
		return err
	}
	if seed > 0 {
		return one(seed, trace, machines)
	}
	stats, failure := simulation.Explore(machines, first, seeds, time.Now)
	fmt.Println(stats)
	if failure == nil {
		return nil
	}
	if err := simulation.Report(os.Stdout, *failure, machines); err != nil {
		return err
	}
	return fmt.Errorf("seed %d fails: %s", failure.Scenario.Seed, failure.Problem.Invariant)
}

func one(seed uint64, trace string, machines map[string]*simulation.Machine) (err error) {
	var out io.Writer
	if trace != "" {
		f, err := os.Create(trace) //nolint:gosec // the file that was asked for
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // what was written is what is shown
		out = f
	}
	s := simulation.Plan(seed)
	fmt.Println(s)
	r := simulation.Run(s, machines, out)
	fmt.Printf("%d documents, %d executions, %d calls of which %d to vendors, %s of virtual time\n", r.Documents, r.Starts, r.Calls, r.VendorCalls, r.End)
	if r.Problem != nil {
		return fmt.Errorf("seed %d fails: %s", seed, r.Problem)
	}
	return nil
}
