package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

func (c *cli) queuesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "queues", Short: "List the broker's lines, one for each Trigger", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := all[api.QueueLine](cmd.Context(), c.rest, "queues")
			if err != nil {
				return err
			}
			return c.show(items, func(w *tabwriter.Writer, _ bool) {
				row(w, "TRIGGER", "WAITING", "PARKED", "DEAD")
				for _, q := range items {
					row(w, q.Trigger, q.Waiting, q.Parked, q.Dead)
				}
			})
		},
	}
}

func (c *cli) deadLettersCmd() *cobra.Command {
	var again string
	cmd := &cobra.Command{
		Use: "deadletters [TRIGGER]", Short: "List events that a Trigger's subscriber did not take, or deliver them again", Aliases: []string{"deadletter", "dead"},
		Long: `List events that a Trigger's subscriber did not take, or deliver them again: all of them, or those with the given ids.
Without a Trigger, those of every Trigger that has any are listed. A Trigger is NAMESPACE/NAME; wasmbed queues names them.`,
		Example: `  wasmbed deadletters
  wasmbed deadletters wasmbed-system/deploy -o wide
  wasmbed deadletters wasmbed-system/deploy --redeliver all
  wasmbed deadletters wasmbed-system/deploy --redeliver 1722945600000-0 1722945600000-1`,
		Args: cobra.ArbitraryArgs, ValidArgsFunction: c.completeTriggers,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case again == "" && len(args) > 1:
				return errs.New(errs.Invalid, "one Trigger at a time").WithMend("ids are for --redeliver")
			case again != "" && len(args) == 0:
				return errs.New(errs.Invalid, "which Trigger's?").WithMend("wasmbed queues names them")
			case again == "all" && len(args) > 1:
				return errs.New(errs.Invalid, "all, or ids, not both")
			case again == "all":
				return c.redeliver(cmd.Context(), args[0])
			case again != "":
				return c.redeliver(cmd.Context(), args[0], append([]string{again}, args[1:]...)...)
			}
			return c.deadLetters(cmd.Context(), args)
		},
	}
	cmd.Flags().StringVar(&again, "redeliver", "", "deliver again: all, or an id; further ids follow as arguments")
	return cmd
}

func (c *cli) deadLetters(ctx context.Context, triggers []string) error {
	if len(triggers) == 0 {
		lines, err := all[api.QueueLine](ctx, c.rest, "queues")
		if err != nil {
			return err
		}
		for _, q := range lines {
			if q.Dead > 0 {
				triggers = append(triggers, q.Trigger)
			}
		}
	}
	items := []api.Letter{}
	for _, t := range triggers {
		got, err := allOf[api.Letter](ctx, c.rest, "deadletters", url.Values{"trigger": {t}})
		if err != nil {
			return err
		}
		items = append(items, got...)
	}
	return c.show(items, func(w *tabwriter.Writer, wide bool) {
		if len(items) == 0 {
			fmt.Fprintln(w, "there are no dead letters")
			return
		}
		head := []any{"ID", "TRIGGER", "EVENT", "SUBJECT", "TRIES", "STATUS", "WHY", "GIVEN UP"}
		if wide {
			head = append(head, "EVENT ID", "ACCEPTED", "MESSAGE")
		}
		row(w, head...)
		for _, l := range items {
			status := ""
			if l.Status != 0 {
				status = fmt.Sprint(l.Status)
			}
			cells := []any{l.ID, l.Trigger, l.Event.Type(), l.Event.Subject(), l.Attempts, status, l.Reason, age(l.Time)}
			if wide {
				cells = append(cells, l.Event.ID(), l.Accepted.Local().Format(time.DateTime), l.Message)
			}
			row(w, cells...)
		}
	})
}

func (c *cli) redeliver(ctx context.Context, trigger string, ids ...string) error {
	var ans struct {
		Redelivered int `json:"redelivered"`
	}
	body := map[string]any{"trigger": trigger}
	if len(ids) > 0 {
		body["ids"] = ids
	}
	if err := c.rest.do(ctx, http.MethodPost, "deadletters", nil, body, &ans); err != nil {
		return err
	}
	if err := c.show(ans, func(w *tabwriter.Writer, _ bool) {
		fmt.Fprintf(w, "%d events are delivered to %s again\n", ans.Redelivered, oneLine(trigger))
	}); err != nil {
		return err
	}
	if n := len(ids) - ans.Redelivered; n > 0 {
		return errs.New(errs.NotFound, "%d of %d ids are no dead letters of %s", n, len(ids), trigger).WithMend("wasmbed deadletters %s lists them", trigger)
	}
	return nil
}

func (c *cli) completeTriggers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
	defer cancel()
	if c.connect(ctx) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	lines, err := all[api.QueueLine](ctx, c.rest, "queues")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, q := range lines {
		out = append(out, fmt.Sprintf("%s\t%d dead", q.Trigger, q.Dead))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
