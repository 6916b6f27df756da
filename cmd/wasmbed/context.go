package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
)

// contextLine is a context as it is shown: without its secret.
type contextLine struct {
	Name      string `json:"name"`
	Selected  bool   `json:"selected"`
	Server    string `json:"server"`
	Namespace string `json:"namespace"`
	Token     string `json:"token"` // stored, kubeconfig CONTEXT, or none
	CA        bool   `json:"ca"`    // it has its own
}

func contextView(a *account, selected bool) contextLine {
	l := contextLine{Name: a.Name, Selected: selected, Server: a.Server, Namespace: a.Namespace, Token: "none", CA: a.CA != ""}
	switch {
	case a.Token != "":
		l.Token = "stored"
	case a.KubeconfigContext != "":
		l.Token = "kubeconfig " + a.KubeconfigContext
	}
	if l.Namespace == "" {
		l.Namespace = "default"
	}
	return l
}

// changeContexts reads the file, changes and writes it.
func (c *cli) changeContexts(change func(*contexts) error) error {
	path, err := contextsPath()
	if err != nil {
		return err
	}
	s, err := loadContexts(path)
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return err
	}
	return s.save(path)
}

func (c *cli) contextCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "context", Short: "List the servers that are known, and choose among them", Aliases: []string{"contexts", "ctx"}, Args: cobra.NoArgs,
		Long:        "List the servers that are known, and choose among them. wasmbed login adds one.\n\n" + whereHelp,
		Annotations: offline(),
		RunE:        func(*cobra.Command, []string) error { return c.listContexts() },
	}
	var none bool
	use := &cobra.Command{
		Use: "use (NAME | --none)", Short: "Select a context, or none", Args: cobra.MaximumNArgs(1),
		Annotations: offline(), ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if none == (len(args) == 1) {
				return errs.New(errs.Invalid, "give a context, or --none").WithMend("wasmbed context lists them")
			}
			return c.changeContexts(func(s *contexts) error {
				if none {
					s.Current = ""
					fmt.Fprintln(c.out, "no context is selected")
					return nil
				}
				a, err := s.get(args[0])
				if err != nil {
					return err
				}
				if s.Current = a.Name; c.given("namespace") {
					a.Namespace = c.namespace
				}
				v := contextView(a, true)
				fmt.Fprintf(c.out, "context %s is selected: %s, namespace %s\n", v.Name, v.Server, v.Namespace)
				return nil
			})
		},
	}
	use.Flags().BoolVar(&none, "none", false, "select none: the platform of this machine is used again")
	cmd.AddCommand(use,
		&cobra.Command{
			Use: "list", Short: "List the contexts", Args: cobra.NoArgs, Annotations: offline(),
			RunE: func(*cobra.Command, []string) error { return c.listContexts() },
		},
		&cobra.Command{
			Use: "delete NAME…", Short: "Forget contexts, tokens and all", Args: cobra.MinimumNArgs(1),
			Annotations: offline(), ValidArgsFunction: c.completeContexts,
			RunE: func(_ *cobra.Command, args []string) error {
				return c.changeContexts(func(s *contexts) error {
					for _, name := range args {
						if _, err := s.get(name); err != nil {
							return err
						}
						for i := range s.Contexts {
							if s.Contexts[i].Name == name {
								s.Contexts = append(s.Contexts[:i], s.Contexts[i+1:]...)
								break
							}
						}
						if s.Current == name {
							s.Current = ""
						}
						fmt.Fprintf(c.out, "context %s: forgotten\n", name)
					}
					return nil
				})
			},
		},
		&cobra.Command{
			Use: "show", Short: "Say which server is used, as whom, and why", Args: cobra.NoArgs, Annotations: offline(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				p, err := c.resolve(cmd.Context())
				if err != nil {
					return err
				}
				path, err := contextsPath()
				if err != nil {
					path = ""
				}
				ans := struct {
					Context   string `json:"context,omitempty"`
					Server    string `json:"server"`
					Namespace string `json:"namespace"`
					From      string `json:"from"`
					TokenFrom string `json:"tokenFrom"`
					File      string `json:"file"`
				}{p.Name, p.Server, p.Namespace, p.from, p.tokenFrom, path}
				return c.show(ans, func(w *tabwriter.Writer, _ bool) {
					row(w, "CONTEXT", ans.Context)
					row(w, "SERVER", ans.Server)
					row(w, "NAMESPACE", ans.Namespace)
					row(w, "SERVER FROM", ans.From)
					row(w, "TOKEN FROM", ans.TokenFrom)
					row(w, "CONTEXTS IN", ans.File)
				})
			},
		})
	return cmd
}

func (c *cli) listContexts() error {
	path, err := contextsPath()
	if err != nil {
		return err
	}
	s, err := loadContexts(path)
	if err != nil {
		return err
	}
	c.warnOpen(path)
	out := []contextLine{}
	for i := range s.Contexts {
		out = append(out, contextView(&s.Contexts[i], s.Contexts[i].Name == s.Current))
	}
	return c.show(out, func(w *tabwriter.Writer, _ bool) {
		if len(out) == 0 {
			fmt.Fprintln(w, "no context is known: wasmbed login makes one")
			return
		}
		row(w, "SELECTED", "NAME", "SERVER", "NAMESPACE", "TOKEN", "CA")
		for _, l := range out {
			row(w, map[bool]string{true: "*"}[l.Selected], l.Name, l.Server, l.Namespace, l.Token, map[bool]string{true: "its own", false: "the system's"}[l.CA])
		}
	})
}

// completeContexts offers the names of contexts for the shell.
func (c *cli) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	path, err := contextsPath()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := loadContexts(path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.names(), cobra.ShellCompDirectiveNoFileComp
}
