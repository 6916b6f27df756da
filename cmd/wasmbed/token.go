package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// serviceToken is a service token; Token is there only when it was just made.
type serviceToken struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	User    string    `json:"user"`
	MadeBy  string    `json:"madeBy,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired"`
	Token   string    `json:"token,omitempty"`
}

func (c *cli) tokenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Make, list and revoke tokens for programs",
		Long: `Make, list and revoke tokens for programs: CI jobs, scripts, other systems. Each is a Kubernetes service account of this
namespace with a role and an end. Kubernetes decides whether you may give the role: nobody gives more than they have.

Roles: viewer reads; operator runs the fleet (approve, hold, power, commands, rollback, pause, pairing); deployer makes and
changes applications and modules, and calls functions; admin does all of it, and webhooks and deleting too.`,
		Example: "  wasmbed token create ci --role deployer --for 720h\n  wasmbed token list\n  wasmbed token revoke ci",
	}
	var role string
	var life time.Duration
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a token; it is shown once", Args: cobra.ExactArgs(1),
		Long: `Make a token. On a terminal it is shown once, with what it is; where the output goes elsewhere, -o json has it in the
field token.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{"name": args[0], "role": role}
			if cmd.Flags().Changed("for") {
				body["for"] = life.String()
			}
			var t serviceToken
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("tokens"), nil, body, &t); err != nil {
				return err
			}
			return c.show(t, func(w *tabwriter.Writer, _ bool) {
				fmt.Fprintf(w, "%s may do what a %s may in namespace %s until %s.\nThis is shown once; wasmbed token revoke %s ends it:\n\n%s\n",
					oneLine(t.User), oneLine(t.Role), c.namespace, t.Expires.Local().Format(time.DateTime), oneLine(t.Name), oneLine(t.Token))
			})
		},
	}
	create.Flags().StringVar(&role, "role", "viewer", "viewer, operator, deployer or admin")
	create.Flags().DurationVar(&life, "for", 90*24*time.Hour, "how long, 10m to 8784h; Kubernetes may shorten it")
	_ = create.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"viewer", "operator", "deployer", "admin"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.AddCommand(create,
		&cobra.Command{
			Use: "list", Short: "List tokens, without what opens", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				items, err := all[serviceToken](cmd.Context(), c.rest, c.ns("tokens"))
				if err != nil {
					return err
				}
				return c.show(items, func(w *tabwriter.Writer, wide bool) {
					head := []any{"NAME", "ROLE", "UNTIL", "MADE BY", "AGE"}
					if wide {
						head = append(head, "USER")
					}
					row(w, head...)
					for _, t := range items {
						until := t.Expires.Local().Format(time.DateTime)
						if t.Expired {
							until += " (over)"
						}
						cells := []any{t.Name, t.Role, until, t.MadeBy, age(t.Created)}
						if wide {
							cells = append(cells, t.User)
						}
						row(w, cells...)
					}
				})
			},
		},
		&cobra.Command{
			Use: "revoke NAME", Short: "End a token", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("tokens"),
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("tokens", args[0]), nil, nil, nil); err != nil {
					return err
				}
				return c.became("token", args[0], "revoked")
			},
		})
	return cmd
}
