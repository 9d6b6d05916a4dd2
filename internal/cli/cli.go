//go:build unix

// Package cli is the waybill command.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

// commands are all verbs; kong reads the tags.
type commands struct {
	Up              up              `cmd:"" help:"Run the whole platform on this machine and watch orders travel through it."`
	Down            down            `cmd:"" help:"Stop what up started."`
	Status          status          `cmd:"" help:"Say what runs and where."`
	Decode          decode          `cmd:"" help:"Print a vendor's document in canonical form, with its money certificate."`
	Trace           trace           `cmd:"" help:"Print the timeline of an order, found by any of its numbers."`
	Emit            emit            `cmd:"" help:"Sign and send a payload to the local platform, as the vendor would."`
	Exceptions      exceptions      `cmd:"" help:"List what is parked by cause: why, what is at stake, what to do."`
	Exception       exceptionCmd    `cmd:"" help:"Show one exception with its document's timeline, notes and payloads."`
	Retry           retryCmd        `cmd:"" help:"Let a parked document, or all of one cause, go on."`
	Edit            editCmd         `cmd:"" help:"Replace a parked document's payload, keep the earlier one, and replay it."`
	Cancel          cancelCmd       `cmd:"" help:"End a parked document that no other system was told of."`
	Resolve         resolveCmd      `cmd:"" help:"Close an exception that holds no document."`
	Confirm         confirmCmd      `cmd:"" help:"Say that an effect of unknown outcome happened."`
	Resend          resendCmd       `cmd:"" help:"Say that an effect of unknown outcome did not happen; it is sent again."`
	Assign          assignCmd       `cmd:"" help:"Name who works on an exception."`
	Note            noteCmd         `cmd:"" help:"Write a note on an exception."`
	Connection      connectionCmd   `cmd:"" help:"List connections and their circuits, or pause and resume one."`
	Alerts          alertsCmd       `cmd:"" help:"List what people are told of, or test whether they are."`
	Audit           auditCmd        `cmd:"" help:"List what people did, and why."`
	Map             mapCmd          `cmd:"" help:"See and change what values mean: SKUs, taxes, carriers and others."`
	Job             jobCmd          `cmd:"" help:"List, show, start, resume and cancel long work."`
	Redrive         redriveCmd      `cmd:"" help:"Give a queue's dead letters back to it."`
	Replay          replayCmd       `cmd:"" help:"Take stored payloads of a connection in again, through today's code and configuration."`
	Proof           proofCmd        `cmd:"" help:"Prove that no order of a channel's day is missing here or in the ERP."`
	Stock           stockCmd        `cmd:"" help:"Show a SKU's stock and what it is made of; adjust, count, open, reverse, audit."`
	ExplainSourcing explainSourcing `cmd:"" help:"Say from where an order is shipped, and why from there."`
	Plan            planCmd         `cmd:"" help:"Show how a partner's folder differs from what runs."`
	Apply           applyCmd        `cmd:"" help:"Bring what runs to what a partner's folder says."`
	Deploy          deployCmd       `cmd:"" help:"Build the platform and deploy it into a partner's AWS account."`
	Cost            costCmd         `cmd:"" help:"Compute what a million orders cost in AWS, from what the last run asked of it."`
	Connectors      connectors      `cmd:"" help:"List the connectors and what each can do."`
	Doctor          doctorCmd       `cmd:"" help:"Examine an AWS account, read-only: quotas, mail, permissions, and the stack."`
}

// streams are a command's input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errSilent ends a command that has said everything with exit code 1.
var errSilent = errors.New("failed")

// errPartly ends a command that did only a part, and has said which, with exit
// code 3.
var errPartly = errors.New("partly done")

// Run executes one command line and returns its exit code: 0 done, 1 failed,
// 2 a wrong command line, 3 partly done, 130 interrupted.
func Run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	code := -1
	var c commands
	parser, err := kong.New(&c, kong.Name("waybill"), kong.Writers(out, errs), kong.Exit(func(n int) { code = n }),
		kong.Description("Waybill keeps a retailer's storefronts, warehouses and ERP in step."), kong.UsageOnError())
	if err != nil {
		_, _ = fmt.Fprintln(errs, "waybill:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(negative(args))
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		_, _ = fmt.Fprintf(errs, "waybill: %v\nRun waybill --help for the commands.\n", err)
		return 2
	}
	k.BindTo(ctx, (*context.Context)(nil))
	switch err := k.Run(streams{in, out, errs}); {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.Is(err, errPartly):
		return 3
	case errors.Is(err, errInterrupted):
		return 130
	default:
		_, _ = fmt.Fprintln(errs, "waybill:", err)
		return 1
	}
}

// negative joins a flag and the negative number after it: no short flag is a
// digit.
func negative(args []string) (out []string) {
	for i := 0; i < len(args); i++ {
		if i+1 < len(args) && strings.HasPrefix(args[i], "--") && !strings.Contains(args[i], "=") && len(args[i+1]) > 1 && args[i+1][0] == '-' && args[i+1][1] >= '0' && args[i+1][1] <= '9' {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

// root finds the repository: the folder with template.yaml, here or above.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the current folder: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "template.yaml")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("there is no template.yaml in %s or above; run waybill inside its repository", dir)
		}
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// read reads a file, or standard input for "-", up to limit bytes.
func (s streams) read(path string, limit int64) ([]byte, error) {
	from := s.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("reading the payload: %w", err)
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("reading the payload: %s is larger than %d MiB", path, limit>>20)
	}
	return b, nil
}
