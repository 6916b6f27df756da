package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

// cli is what every command shares.
type cli struct {
	out, err         io.Writer
	server, token    string
	namespace, state string
	context, caFile  string
	output           string
	verbose          bool
	flags            *pflag.FlagSet // the global ones
	place            *place         // which server is spoken to, once connected
	rest             *restClient
}

func newRoot(out, errw io.Writer) *cobra.Command {
	c := &cli{out: out, err: errw}
	root := &cobra.Command{
		Use:   "wasmbed",
		Short: "Deploy, run, watch and roll back WebAssembly on microcontrollers",
		Long: `Deploy, run, watch and roll back WebAssembly on microcontrollers.

` + whereHelp + `

Exit codes: 0 done, 1 failed, 2 wrong input, 4 not allowed, 5 not found, 6 conflict, 7 try later, 8 too slow,
130 interrupted.`,
		SilenceUsage: true, SilenceErrors: true, Version: run.Version,
	}
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl wasmbed"}
	}
	f := root.PersistentFlags()
	c.flags = f
	f.StringVar(&c.server, "server", "", "URL of the REST API (or WASMBED_SERVER)")
	f.StringVar(&c.token, "token", "", "bearer token (or WASMBED_TOKEN)")
	f.StringVar(&c.context, "context", "", "speak to this server that wasmbed login knows (or WASMBED_CONTEXT)")
	f.StringVar(&c.caFile, "ca", "", "file with the certificates that the server's is signed by (default: the context's, or the system's)")
	f.StringVarP(&c.namespace, "namespace", "n", "", "namespace (or WASMBED_NAMESPACE; default: the context's, or default)")
	f.StringVar(&c.state, "state", ".wasmbed", "state folder of a standalone platform (or WASMBED_DIR)")
	_ = root.RegisterFlagCompletionFunc("context", c.completeContexts) // the flag is there
	f.StringVarP(&c.output, "output", "o", "table", "table, wide, json or yaml")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "print the trace id of every change to the standard error (wasmbed trace shows it)")
	asJSON := f.Bool("json", false, "the same as -o json")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Name() == "help" || strings.HasPrefix(cmd.Name(), "__complete") || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return nil
		}
		if *asJSON {
			c.output = "json"
		}
		switch c.output {
		case "table", "wide", "json", "yaml":
		default:
			return errs.New(errs.Invalid, "-o %s: it is one of table, wide, json, yaml", c.output)
		}
		if _, ok := cmd.Annotations[offlineMark]; ok {
			return nil
		}
		return c.connect(cmd.Context())
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errs.New(errs.Invalid, "%v", err) })
	root.SetOut(out)
	root.SetErr(errw)
	root.AddCommand(c.statusCmd(), c.devicesCmd(), c.appsCmd(), c.gatewaysCmd(), c.deployCmd(), c.rollbackCmd(),
		c.pauseCmd("pause", "Stop sending an application's rollout to further devices"), c.pauseCmd("resume", "Go on with a paused rollout"),
		c.approvalCmd("approve", "Admit a device"), c.approvalCmd("reject", "Refuse a device"), c.approvalCmd("revoke", "End a device's identity at once"),
		c.explainCmd(), c.telemetryCmd(), c.logsCmd(), c.eventsCmd(), c.traceCmd(), c.boardsCmd(), c.consoleCmd(),
		c.webhooksCmd(), c.webhookCmd(), c.hooksCmd(), c.hookCmd(), c.postEventCmd(), c.invokeCmd(), c.messageCmd(), c.rebootCmd(), c.compileCmd(), c.templatesCmd(), c.devCmd(),
		c.bridgeCmd(), c.provisionCmd(), c.inspectCmd(),
		c.loginCmd(), c.logoutCmd(), c.contextCmd(), c.whoamiCmd(), c.overviewCmd(), c.alertsCmd(), c.watchCmd(),
		c.pairingCmd(), c.enrollmentsCmd(), c.queuesCmd(), c.deadLettersCmd(), c.timelineCmd(), c.commandsCmd(),
		c.holdCmd("hold", "Send devices nothing new", "on hold"), c.holdCmd("release", "End a hold", "released"), c.labelCmd(),
		c.revisionsCmd(), c.modulesCmd(), c.languagesCmd(), c.metricsCmd(), c.partsCmd(), c.tokenCmd(), c.trustCmd(), docsCmd())
	group(root)
	strict(root)
	return root
}

// offline marks a command that needs no server.
func offline() map[string]string { return map[string]string{offlineMark: ""} }

const offlineMark = "wasmbed.io/offline"

// connect finds the server and the token, and makes ready to speak to it.
func (c *cli) connect(ctx context.Context) error {
	p, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	c.place, c.server, c.token, c.namespace = p, p.Server, p.Token, p.Namespace
	if c.rest, err = newREST(p.Server, p.Token); err != nil {
		return err
	}
	if c.verbose {
		c.rest.verbose = c.err
	}
	if p.Name != "" && p.tokenFrom == "context "+p.Name {
		c.rest.login = "wasmbed login --name " + p.Name
	}
	return c.rest.trust(p.CA)
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}
