// Command wasmbed is the command line of the platform, and under the name kubectl-wasmbed a kubectl plugin.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "wasmbed: "+err.Error())
		os.Exit(max(1, errs.ExitCode(err)))
	}
}
