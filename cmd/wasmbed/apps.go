package main

import (
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// appVerbs are the subcommands of `wasmbed apps`.
func (c *cli) appVerbs() []*cobra.Command {
	var wait waiting
	del := &cobra.Command{
		Use: "delete NAME…", Short: "Remove applications, from their devices first", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.completeMany("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("applications", name), nil, nil, nil); err != nil {
					return err
				}
			}
			for _, name := range args {
				if !wait.not {
					if err := c.waitAppGone(cmd, name, wait.timeout); err != nil {
						return err
					}
				}
				if err := c.became("application", name, "deleted"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	del.Flags().BoolVar(&wait.not, "no-wait", false, "do not wait until it is gone")
	del.Flags().DurationVar(&wait.timeout, "timeout", 2*time.Minute, "how long to wait")
	var set string
	devs := &cobra.Command{
		Use: "devices NAME", Short: "List the devices of an application, each with its work set", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := (&deviceFilter{app: args[0], set: set, onlineGiven: func() bool { return false }}).query()
			return c.devicesWhere(cmd.Context(), q, args[0])
		},
	}
	devs.Flags().StringVar(&set, "set", "", "only those in this work set")
	_ = devs.RegisterFlagCompletionFunc("set", completeSets) // the flag is there
	return []*cobra.Command{del, devs,
		c.appStateCmd("stop", "Stop applications on their devices, without removing them", "is to stop"),
		c.appStateCmd("start", "Have stopped applications run again", "is to run")}
}

func (c *cli) appStateCmd(verb, short, past string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME…", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.completeMany("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			apps := []v1alpha1.Application{}
			for _, name := range args {
				var app v1alpha1.Application
				if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("applications", name, verb), nil, nil, &app); err != nil {
					return err
				}
				apps = append(apps, app)
			}
			return c.show(apps, func(w *tabwriter.Writer, _ bool) {
				for _, a := range apps {
					fmt.Fprintf(w, "application %s: %s\n", a.Name, past)
				}
			})
		},
	}
}

// waitAppGone waits for an application's end, and says what it waits for.
func (c *cli) waitAppGone(cmd *cobra.Command, name string, limit time.Duration) error {
	ctx := cmd.Context()
	tick := time.NewTicker(boardPoll)
	defer tick.Stop()
	late := time.NewTimer(limit)
	defer late.Stop()
	last := ""
	for {
		var a appAnswer
		err := c.rest.do(ctx, http.MethodGet, c.ns("applications", name), nil, nil, &a)
		switch {
		case errs.Is(err, errs.NotFound):
			return nil
		case err != nil && !errs.Is(err, errs.Unavailable):
			return err
		case err == nil:
			if said := fmt.Sprintf("%s: %d devices still have it", name, a.Counts.Running); said != last {
				fmt.Fprintf(c.err, "%s %s\n", clock(time.Now()), said)
				last = said
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errs.New(errs.Deadline, "application %s is not gone in time; it waits for %s", name, strings.Join(a.Object.Finalizers, ", ")).
				WithMend("it goes on; wasmbed apps devices %s lists where it is", name)
		case <-tick.C:
		}
	}
}

func (c *cli) languagesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "languages", Short: "List the languages that can be compiled here, and what is missing for the others", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := all[source.Language](cmd.Context(), c.rest, "languages")
			if err != nil {
				return err
			}
			return c.show(items, func(w *tabwriter.Writer, _ bool) {
				row(w, "LANGUAGE", "AVAILABLE", "VERSION", "WHY NOT")
				for _, l := range items {
					row(w, l.Name, l.Available, l.Version, l.Why)
				}
			})
		},
	}
}
