// Command wasmbed is the command line of the platform, and under the name kubectl-wasmbed a kubectl plugin.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
)

// exitCode is that of the error; a command that there is not is wrong input.
func exitCode(err error) int {
	if strings.HasPrefix(err.Error(), "unknown command ") {
		return errs.ExitCode(errs.New(errs.Invalid, "%v", err))
	}
	return max(1, errs.ExitCode(err))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "wasmbed: "+err.Error())
		os.Exit(exitCode(err))
	}
}
