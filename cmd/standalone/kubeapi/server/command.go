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

// gcPercent is where memory and time meet: what the API server holds are mostly schemas that live for ever, and each
// collection marks them all. With 40 it spent two thirds of its time on that while a fleet enrolled, for 40 MB less.
const gcPercent = 100

// Command runs the embedded API as a process: `kubeapi --dir DIR [--listen HOST:PORT] [--oidc-…]`. When the API
// answers, it writes an Endpoint as one line of JSON to out. It returns the exit code.
func Command(args []string, out io.Writer) int {
	fs := flag.NewFlagSet("kubeapi", flag.ContinueOnError)
	dir := fs.String("dir", "", "folder of everything that it keeps")
	address := fs.String("listen", "127.0.0.1:0", "address; port 0: the one of the last time, else any")
	var oidc OIDC
	fs.StringVar(&oidc.Issuer, "oidc-issuer", "", "URL of an OpenID Connect issuer whose tokens are taken; none when empty")
	fs.StringVar(&oidc.ClientID, "oidc-client-id", "", "audience that they must have")
	fs.StringVar(&oidc.UsernameClaim, "oidc-username-claim", "sub", "claim that is the user's name")
	fs.StringVar(&oidc.GroupsClaim, "oidc-groups-claim", "", "claim that names the user's groups")
	fs.StringVar(&oidc.CA, "oidc-ca", "", "file with the certificates that the issuer's is signed by; empty: the system's")
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
	err := Run(ctx, Options{Dir: *dir, Address: *address, OIDC: oidc, Ready: func(e Endpoint) {
		_ = json.NewEncoder(out).Encode(e) // a reader that is gone has ended us already
	}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "kubeapi: %v\n", err)
		return errs.ExitCode(err)
	}
	return 0
}
