// Command waybill runs the platform on this machine and looks into it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybillhq/waybill/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
