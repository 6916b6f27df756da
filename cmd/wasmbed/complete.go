package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Limits of what a shell waits for and shows.
const (
	completeFor   = 3 * time.Second
	completePages = 4
)

// complete offers names of a kind (devices, apps, gateways, boards) for the first argument; what cannot be asked
// offers nothing.
func (c *cli) complete(kind string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.namesOf(cmd.Context(), kind, part), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag offers names for the value of a flag.
func (c *cli) completeFlag(kind string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
		return c.namesOf(cmd.Context(), kind, part), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeMany offers names for every argument, each once.
func (c *cli) completeMany(kind string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		names := slices.DeleteFunc(c.namesOf(cmd.Context(), kind, part), func(n string) bool { return slices.Contains(args, n) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOf asks for the names of a kind that begin with part.
func (c *cli) namesOf(ctx context.Context, kind, part string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeFor)
	defer cancel()
	if c.connect(ctx) != nil {
		return nil
	}
	q := url.Values{"limit": {"500"}}
	path := map[string]string{"apps": c.ns("applications"), "devices": c.ns("devices"), "gateways": c.ns("gateways"), "modules": c.ns("modules"), "boards": "boards", "webhooks": c.ns("webhooks"), "webhooksources": c.ns("webhooksources")}[kind]
	if kind == "devices" && part != "" {
		q.Set("q", strings.ToLower(part)) // the server leaves the others out
	}
	var names []string
	for range completePages {
		var p struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		if err := c.rest.do(ctx, "GET", path, q, nil, &p); err != nil {
			break // what is known already is offered
		}
		for _, i := range p.Items {
			var n struct {
				Metadata struct{ Name string }
				Device   struct{ Name string }
				Name     string
			}
			if json.Unmarshal(i, &n) != nil {
				continue
			}
			if name := n.Metadata.Name + n.Device.Name + n.Name; strings.HasPrefix(name, part) {
				names = append(names, name)
			}
		}
		if p.Next == "" {
			break
		}
		q.Set("after", p.Next)
	}
	return names
}
