package server

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"wasmbed.io/wasmbed/internal/errs"
)

// gcPercent trades a little time for memory: most of what the API server holds are schemas that live for
// ever, and the default would let as much again stand as garbage.
const gcPercent = 40

// Command runs the embedded API as a process: `kubeapi --dir DIR [--listen HOST:PORT]`. When the API
// answers, it writes an Endpoint as one line of JSON to out. It returns the exit code.
func Command(args []string, out io.Writer) int {
	fs := flag.NewFlagSet("kubeapi", flag.ContinueOnError)
	dir := fs.String("dir", "", "folder of everything that it keeps")
	address := fs.String("listen", "127.0.0.1:0", "address; port 0: the one of the last time, else any")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if *dir == "" || fs.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: kubeapi --dir DIR [--listen HOST:PORT]")
		return 2
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := Run(ctx, Options{Dir: *dir, Address: *address, Ready: func(e Endpoint) {
		_ = json.NewEncoder(out).Encode(e) // a reader that is gone has ended us already
	}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "kubeapi: %v\n", err)
		return errs.ExitCode(err)
	}
	return 0
}
