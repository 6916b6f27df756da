package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wasmbed.io/wasmbed/internal/errs"
)

// identity is the API's answer about the caller.
type identity struct {
	Name       string          `json:"name"`
	Groups     []string        `json:"groups"`
	Namespaces []string        `json:"namespaces"`
	May        map[string]bool `json:"may"`
}

type loginFlags struct {
	name, kubeconfig string
	stdin            bool
}

func (c *cli) loginCmd() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login [--server URL]", Short: "Check a token against a server, keep both, and use them from now on", Args: cobra.NoArgs,
		Long: `Check a token against a server, keep both as a context, and select it.

The token is the first of: --token, --token-stdin, --kubeconfig-context, WASMBED_TOKEN, the one of a platform that runs from
this folder (.wasmbed), what is typed at the prompt. A token on the command line is seen by everybody on this machine:
--token-stdin or the prompt keeps it to yourself. With --kubeconfig-context no token is kept, but asked for at each use,
so that short-lived ones and those of an identity provider work.

Without --server the server is that of --name, of the selected context, or of .wasmbed. Contexts are in
wasmbed/config.yaml below XDG_CONFIG_HOME or ~/.config, which only you can read.`,
		Example: `  wasmbed login                                      # the platform that make run started here
  kubectl create token ann | wasmbed login --server https://wasmbed.example --token-stdin
  wasmbed login --server https://wasmbed.example --ca ca.pem --kubeconfig-context lab --name lab -n press`,
		Annotations: offline(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.login(cmd.Context(), cmd.InOrStdin(), &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "name of the context (default: the server's host)")
	fl.BoolVar(&f.stdin, "token-stdin", false, "read the token from standard input")
	fl.StringVar(&f.kubeconfig, "kubeconfig-context", "", "take the token of this context of the kubeconfig, at each use")
	return cmd
}

func (c *cli) login(ctx context.Context, in io.Reader, f *loginFlags) error {
	path, err := contextsPath()
	if err != nil {
		return err
	}
	s, err := loadContexts(path)
	if err != nil {
		return err
	}
	if f.name == "" {
		f.name = c.context
	}
	a, err := c.loginTarget(s, f.name)
	if err != nil {
		return err
	}
	if c.caFile != "" {
		b, err := os.ReadFile(c.caFile)
		if err != nil {
			return errs.New(errs.Invalid, "--ca: %w", err)
		}
		a.CA = string(b)
	}
	token, err := c.loginToken(ctx, in, f, a.Server)
	if err != nil {
		return err
	}
	if c.rest, err = newREST(a.Server, token); err != nil {
		return err
	}
	if err := c.rest.trust(a.CA); err != nil {
		return err
	}
	var me identity
	if err := c.rest.do(ctx, http.MethodGet, "whoami", nil, nil, &me); err != nil {
		return err
	}
	switch ns := os.Getenv("WASMBED_NAMESPACE"); {
	case c.given("namespace"):
		a.Namespace = c.namespace
	case a.Namespace != "":
	case ns != "":
		a.Namespace = ns
	case len(me.Namespaces) == 1:
		a.Namespace = me.Namespaces[0]
	default:
		a.Namespace = "default"
	}
	a.Token, a.KubeconfigContext = token, f.kubeconfig
	if f.kubeconfig != "" {
		a.Token = ""
	}
	if err := a.check(); err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	s.put(*a)
	s.Current = a.Name
	if err := s.save(path); err != nil {
		return err
	}
	return c.show(contextView(a, true), func(w *tabwriter.Writer, _ bool) {
		fmt.Fprintf(w, "logged in to %s as %s; context %s, namespace %s\n", a.Server, oneLine(me.Name), a.Name, a.Namespace)
	})
}

var notContext = regexp.MustCompile(`[^A-Za-z0-9._:@-]+`)

// loginTarget is the context that is made or made anew, without its token.
func (c *cli) loginTarget(s *contexts, name string) (*account, error) {
	server, env := "", os.Getenv("WASMBED_SERVER")
	known := s.find(name)
	state := readLine(filepath.Join(c.stateDir(), "server"))
	switch {
	case c.given("server"):
		server = c.server
	case known != nil:
		server = known.Server
	case c.given("state"):
		server = state
	case env != "":
		server = env
	case s.find(s.Current) != nil && name == "":
		server, known = s.find(s.Current).Server, s.find(s.Current)
	default:
		server = state
	}
	if server == "" {
		return nil, errs.New(errs.Invalid, "which server?").WithMend("wasmbed login --server URL")
	}
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	if known == nil && name == "" {
		name = strings.Trim(notContext.ReplaceAllString(u.Host, "-"), "-.:@_")
		known = s.find(name)
	}
	if known == nil || !sameServer(known.Server, server) { // what was stored for another server is not kept
		known = &account{Name: name}
	}
	a := *known
	a.Server = server
	if !contextName.MatchString(a.Name) {
		return nil, errs.New(errs.Invalid, "%q is no name of a context", a.Name).WithMend("--name NAME: letters, digits and . _ : @ -")
	}
	return &a, nil
}

func (c *cli) loginToken(ctx context.Context, in io.Reader, f *loginFlags, server string) (token string, err error) {
	n := 0
	for _, is := range []bool{c.given("token"), f.stdin, f.kubeconfig != ""} {
		if is {
			n++
		}
	}
	env, state := os.Getenv("WASMBED_TOKEN"), c.stateDir()
	tty, interactive := in.(*os.File)
	interactive = interactive && term.IsTerminal(int(tty.Fd()))
	switch {
	case n > 1:
		return "", errs.New(errs.Invalid, "--token, --token-stdin and --kubeconfig-context exclude one another")
	case c.given("token"):
		token = c.token
	case f.stdin:
		if token, err = firstLine(in); err != nil {
			return "", err
		}
	case f.kubeconfig != "":
		return kubeToken(ctx, f.kubeconfig)
	case env != "":
		token = env
	case sameServer(server, readLine(filepath.Join(state, "server"))) && readLine(filepath.Join(state, "token")) != "":
		token = readLine(filepath.Join(state, "token"))
	case interactive:
		fmt.Fprintf(c.err, "Token for %s: ", server)
		b, err := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(c.err)
		if err != nil {
			return "", errs.New(errs.Invalid, "%w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token == "" {
		return "", errs.New(errs.Unauthenticated, "which token?").
			WithMend("--token-stdin, --kubeconfig-context or WASMBED_TOKEN; kubectl create token NAME makes one")
	}
	if err := checkToken(token); err != nil {
		return "", errs.New(errs.Invalid, "%w", err)
	}
	return token, nil
}

func firstLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxTokenBytes+2)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", errs.New(errs.Invalid, "standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func (c *cli) logoutCmd() *cobra.Command {
	var every bool
	cmd := &cobra.Command{
		Use: "logout [CONTEXT]", Short: "Forget the token of the selected context, or of a given one", Args: cobra.MaximumNArgs(1),
		Long:        "Forget the token of the selected context, or of a given one. The server stays known: wasmbed login --name CONTEXT is\nenough to come back. The token itself lives on until it expires; who made it can end it.",
		Annotations: offline(), ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.changeContexts(func(s *contexts) error {
				var out []string
				switch name := s.Current; {
				case every && len(args) > 0:
					return errs.New(errs.Invalid, "--all and a context exclude each other")
				case every:
					out = s.names()
				default:
					if len(args) == 1 {
						name = args[0]
					} else if c.context != "" {
						name = c.context
					}
					if name == "" {
						return errs.New(errs.Invalid, "no context is selected").WithMend("wasmbed context lists them: wasmbed logout CONTEXT")
					}
					if _, err := s.get(name); err != nil {
						return err
					}
					out = []string{name}
				}
				for _, name := range out {
					a := s.find(name)
					a.Token, a.KubeconfigContext = "", ""
					fmt.Fprintf(c.out, "logged out of %s (%s)\n", name, a.Server)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&every, "all", false, "of every context")
	return cmd
}

func (c *cli) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say who the server thinks you are, and what you may see", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var me identity
			if err := c.rest.do(cmd.Context(), http.MethodGet, "whoami", nil, nil, &me); err != nil {
				return err
			}
			ans := struct {
				identity
				Server    string `json:"server"`
				Namespace string `json:"namespace"`
				Context   string `json:"context,omitempty"`
			}{me, c.place.Server, c.place.Namespace, c.place.Name}
			return c.show(ans, func(w *tabwriter.Writer, wide bool) {
				row(w, "NAME", me.Name)
				row(w, "GROUPS", strings.Join(me.Groups, ", "))
				row(w, "NAMESPACES", strings.Join(me.Namespaces, ", "))
				for _, what := range sorted(me.May) {
					row(w, "MAY SEE "+strings.ToUpper(what), map[bool]string{true: "yes", false: "no"}[me.May[what]])
				}
				row(w, "SERVER", c.place.Server)
				row(w, "NAMESPACE", c.place.Namespace)
				if wide {
					row(w, "SERVER FROM", c.place.from)
					row(w, "TOKEN FROM", c.place.tokenFrom)
				}
			})
		},
	}
}

func oneLine(s string) string { return strings.Map(printable, s) }
