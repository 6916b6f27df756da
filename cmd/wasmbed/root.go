package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

// cli is what every command shares.
type cli struct {
	out, err         io.Writer
	server, token    string
	namespace, state string
	output           string
	rest             *restClient
}

func newRoot(out, errw io.Writer) *cobra.Command {
	c := &cli{out: out, err: errw}
	root := &cobra.Command{
		Use:   "wasmbed",
		Short: "Deploy, run, watch and roll back WebAssembly on microcontrollers",
		Long: `Deploy, run, watch and roll back WebAssembly on microcontrollers.

The server and the token come from --server and --token, else WASMBED_SERVER and WASMBED_TOKEN, else the
files that "make run" leaves in its state folder (.wasmbed, or WASMBED_DIR). Without a token the bearer
token of the current kubeconfig is used.

Exit codes: 0 done, 1 failed, 2 wrong input, 4 not allowed, 5 not found, 6 conflict, 7 try later, 8 too slow.`,
		SilenceUsage: true, SilenceErrors: true, Version: run.Version,
	}
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl wasmbed"}
	}
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", os.Getenv("WASMBED_SERVER"), "URL of the REST API")
	f.StringVar(&c.token, "token", os.Getenv("WASMBED_TOKEN"), "bearer token")
	f.StringVarP(&c.namespace, "namespace", "n", envOr("WASMBED_NAMESPACE", "default"), "namespace")
	f.StringVar(&c.state, "state", envOr("WASMBED_DIR", ".wasmbed"), "state folder of a standalone platform")
	f.StringVarP(&c.output, "output", "o", "table", "table, wide, json or yaml")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Name() == "help" || strings.HasPrefix(cmd.Name(), "__complete") || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return nil
		}
		switch c.output {
		case "table", "wide", "json", "yaml":
		default:
			return errs.New(errs.Invalid, "-o %s: it is one of table, wide, json, yaml", c.output)
		}
		return c.connect()
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errs.New(errs.Invalid, "%v", err) })
	root.SetOut(out)
	root.SetErr(errw)
	root.AddCommand(c.statusCmd(), c.devicesCmd(), c.appsCmd(), c.gatewaysCmd(), c.deployCmd(), c.rollbackCmd(),
		c.pauseCmd("pause", "Stop sending an application's rollout to further devices"), c.pauseCmd("resume", "Go on with a paused rollout"),
		c.approvalCmd("approve", "Admit a device"), c.approvalCmd("reject", "Refuse a device"), c.approvalCmd("revoke", "End a device's identity at once"),
		c.explainCmd(), c.telemetryCmd(), c.logsCmd(), c.eventsCmd())
	return root
}

func envOr(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}

// connect finds the server and the token.
func (c *cli) connect() error {
	if c.server == "" {
		c.server = readLine(filepath.Join(c.state, "server"))
	}
	if c.server == "" {
		return errs.New(errs.Invalid, "no server: %s holds none", c.state).WithMend("start one with make run, or give --server URL or WASMBED_SERVER")
	}
	if c.token == "" {
		c.token = readLine(filepath.Join(c.state, "token"))
	}
	if c.token == "" {
		if cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig(); err == nil {
			c.token = cfg.BearerToken
		}
	}
	if c.token == "" {
		return errs.New(errs.Unauthenticated, "no token").WithMend("give --token or WASMBED_TOKEN; kubectl create token NAME makes one")
	}
	var err error
	c.rest, err = newREST(c.server, c.token)
	return err
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}
