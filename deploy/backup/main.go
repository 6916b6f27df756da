// Command backup keeps what Wasmbed cannot make again, in one file, and puts it back: the objects of its CRDs with their
// status, and the Secrets that matter. Redis is in none of it: it is rebuilt from these and from the devices.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/internal/errs"
)

const usage = `backup save FILE       writes everything into FILE, which only its owner may read: keys are in it
backup restore FILE    makes what is in FILE where it is not there yet; run it while the functions are not
backup show FILE       says what is in FILE

  --kubeconfig FILE    the cluster (default: KUBECONFIG, else ~/.kube/config, else the Pod's own account)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "backup:", err)
		os.Exit(max(1, errs.ExitCode(err)))
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("backup", flag.ContinueOnError)
	f.Usage = func() { fmt.Fprint(f.Output(), usage) }
	kubeconfig := f.String("kubeconfig", "", "")
	if err := f.Parse(args); err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	verb, path := f.Arg(0), f.Arg(1)
	if f.NArg() > 2 { // flags may stand at the end too
		if err := f.Parse(f.Args()[2:]); err != nil {
			return errs.New(errs.Invalid, "%w", err)
		}
	}
	if path == "" {
		return errs.New(errs.Invalid, "a verb and a file are needed").WithMend("%s", usage)
	}
	switch verb {
	case "save":
		cfg, err := config(*kubeconfig)
		if err != nil {
			return err
		}
		c, err := save(ctx, cfg, time.Now())
		if err != nil {
			return err
		}
		if err := write(path, c); err != nil {
			return err
		}
		return c.say(out)
	case "restore":
		c, err := read(path)
		if err != nil {
			return err
		}
		cfg, err := config(*kubeconfig)
		if err != nil {
			return err
		}
		return restore(ctx, cfg, c, out)
	case "show":
		c, err := read(path)
		if err != nil {
			return err
		}
		return c.say(out)
	}
	return errs.New(errs.Invalid, "there is no verb %q", verb).WithMend("%s", usage)
}

func config(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err).WithMend("give --kubeconfig")
	}
	cfg.QPS = -1
	return cfg, nil
}

// write replaces the file at once, readable by its owner only.
func write(path string, c *content) error {
	b, err := json.Marshal(c)
	if err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return errs.New(errs.Unavailable, "%w", err)
	}
	if err := os.Chmod(tmp, 0o600); err != nil { // it may have been there
		return errs.New(errs.Unavailable, "%w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errs.New(errs.Unavailable, "%w", err)
	}
	return nil
}

func read(path string) (*content, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	return parse(b)
}

// parse reads a file of write's. Errors: errs.Invalid.
func parse(b []byte) (*content, error) {
	var c content
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, errs.New(errs.Invalid, "not a backup: %w", err)
	}
	if c.Format != format {
		return nil, errs.New(errs.Invalid, "format %q; this program reads %q", c.Format, format)
	}
	for i, o := range c.Objects {
		if !known(o) {
			return nil, errs.New(errs.Invalid, "object %d is a %s %s, which no backup holds", i+1, o.GetAPIVersion(), o.GetKind())
		}
	}
	return &c, nil
}
