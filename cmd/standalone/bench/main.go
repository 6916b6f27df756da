// Command bench measures the figures of docs/performance.md in one run, on this machine, and prints them as one
// table beside the limit or the peer that each is held against. It needs bin/ (make build), go and redis-server.
//
//	bench                          everything
//	bench --only gateway,rollout   some suites
//	bench --quick                  one sample each, small fleets
//	bench --json                   the same as JSON
//
// A figure that misses its limit is no failure: the exit code says whether everything could be measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	json, quick bool
	only        []string
	bin         string // folder of the built commands
	root        string // of the module
	logs        string // folder that gets the logs of every platform, "" for none
	samples     int    // of each short benchmark
	out         io.Writer
}

// suite measures some rows. Rows that were measured before an error count.
type suite struct {
	name, about string
	run         func(context.Context, *options) ([]row, error)
}

func suites() []suite {
	return []suite{
		{"protocol", "the codec beside plain fxamacker/cbor", protocolRows},
		{"gateway", "handshakes, idle sessions, acknowledged telemetry", gatewayRows},
		{"ledger", "compare-and-sets in Redis", ledgerRows},
		{"broker", "events durable before 202", brokerRows},
		{"api", "REST and WebSockets at 10,000 devices", apiRows},
		{"start", "time and memory to ready of make run", startRows},
		{"rollout", "from apply to Running on 1, 100, 1,000 devices", rolloutRows},
	}
}

func main() {
	// Children are killed with the thread that started them (Pdeathsig); this one lives as long as we do.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	r := report{Machine: machine(ctx, o.root), Started: time.Now()}
	for _, s := range suites() {
		if ctx.Err() != nil {
			break // what was measured is printed
		}
		if len(o.only) > 0 && !slices.Contains(o.only, s.name) {
			continue
		}
		say("%s: %s", s.name, s.about)
		begun := time.Now()
		rows, err := s.run(ctx, o)
		for i := range rows {
			rows[i].Suite = s.name
			rows[i].judge()
		}
		r.Rows = append(r.Rows, rows...)
		if err != nil {
			say("%s: %v", s.name, err)
			r.Failures = append(r.Failures, s.name+": "+err.Error())
		}
		say("%s: %.0f s", s.name, time.Since(begun).Seconds())
	}
	r.Took = time.Since(r.Started).Round(time.Second).String()
	r.Machine.LoadAfter = load()
	if o.json {
		err = r.writeJSON(out)
	} else {
		err = r.writeTable(out)
	}
	if err == nil && len(r.Failures) > 0 {
		err = fmt.Errorf("not measured: %s", strings.Join(r.Failures, "; "))
	}
	return err
}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{out: out, samples: 3}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.json, "json", false, "JSON instead of a table")
	f.BoolVar(&o.quick, "quick", false, "one sample of each, fleets of 1 and 100")
	f.StringVar(&o.bin, "bin", "", "folder of the built commands (default: bin/ of the module)")
	f.StringVar(&o.logs, "logs", "", "folder that gets the logs of every platform that was started")
	only := f.String("only", "", "suites, separated by commas: "+strings.Join(names(), " "))
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.quick {
		o.samples = 1
	}
	for _, s := range strings.Split(*only, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if !slices.Contains(names(), s) {
			return nil, fmt.Errorf("no suite %q; there are %s", s, strings.Join(names(), ", "))
		}
		o.only = append(o.only, s)
	}
	var err error
	if o.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	if o.bin == "" {
		o.bin = o.root + "/bin"
	}
	return o, nil
}

func names() []string {
	var out []string
	for _, s := range suites() {
		out = append(out, s.name)
	}
	return out
}

// say tells who waits what goes on.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
