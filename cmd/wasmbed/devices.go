package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// bulkPart is how many devices one request is about, so that there is progress to tell.
const bulkPart = 100

// deviceFilter are the flags that narrow a list of devices.
type deviceFilter struct {
	text, board, app, set, selector string
	online, pending                 bool
	onlineGiven                     func() bool
}

func (f *deviceFilter) flags(c *cli, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.text, "q", "", "part of the name or the board")
	fl.StringVar(&f.board, "board", "", "of this type of board")
	fl.BoolVar(&f.online, "online", false, "those that are online; --online=false: those that are not")
	fl.BoolVar(&f.pending, "pending", false, "those that wait for approval")
	fl.StringVar(&f.app, "app", "", "those that this application selects")
	fl.StringVar(&f.set, "set", "", "those in this work set of --app: "+strings.Join(ledger.Sets(), ", "))
	fl.StringVarP(&f.selector, "selector", "l", "", "those with these labels, like site=lab,line!=2")
	f.onlineGiven = func() bool { return fl.Changed("online") }
	for flag, fn := range map[string]cobra.CompletionFunc{
		"app":   c.completeFlag("apps"),
		"set":   completeSets,
		"board": c.completeFlag("boards"),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, fn) // the flags are there
	}
}

func completeSets(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return ledger.Sets(), cobra.ShellCompDirectiveNoFileComp
}

// check refuses filters where they would narrow nothing.
func (f *deviceFilter) check(cmd *cobra.Command, args []string) error {
	if len(f.query()) == 0 {
		return nil
	}
	if len(args) > 0 {
		return errs.New(errs.Invalid, "a name and filters exclude each other")
	}
	if cmd.Flags().Changed("watch") {
		return errs.New(errs.Invalid, "--watch tells of every device").WithMend("leave the filters out, or wasmbed watch DEVICE…")
	}
	return nil
}

// devicesWhere lists devices; with an application also how it is on each.
func (c *cli) devicesWhere(ctx context.Context, q url.Values, app string) error {
	views, err := allOf[ledger.DeviceView](ctx, c.rest, c.ns("devices"), q)
	if err != nil {
		return err
	}
	return c.show(views, func(w *tabwriter.Writer, wide bool) {
		if app == "" {
			deviceRows(w, wide, views)
			return
		}
		row(w, "NAME", "BOARD", "ONLINE", "SET", "WANTED", "RUNNING", "REASON", "SINCE")
		for _, v := range views {
			for _, a := range v.Apps {
				if a.App != app {
					continue
				}
				wanted, running := "", ""
				if a.Target != nil {
					wanted = a.Target.Revision
				}
				if a.Reported != nil {
					running = a.Reported.Running
				}
				row(w, v.Device.Name, v.Board, v.Online, a.Set, wanted, running, short(strings.TrimSpace(a.Reason+" "+a.Message), wide), age(a.Since))
			}
		}
	})
}

// query is what the flags say; empty: nothing.
func (f *deviceFilter) query() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"q": f.text, "board": f.board, "app": f.app, "set": f.set, "labelSelector": f.selector} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.onlineGiven() {
		q.Set("online", fmt.Sprint(f.online))
	}
	if f.pending {
		q.Set("pending", "true")
	}
	return q
}

// chosen returns the devices that are named, or that have the labels.
func (c *cli) chosen(ctx context.Context, names []string, selector string) ([]string, error) {
	switch {
	case len(names) > 0 && selector != "":
		return nil, errs.New(errs.Invalid, "give names or --selector, not both")
	case len(names) > 0:
		return names, nil
	case selector == "":
		return nil, errs.New(errs.Invalid, "which devices?").WithMend("give their names, or --selector KEY=VALUE")
	}
	views, err := allOf[ledger.DeviceView](ctx, c.rest, c.ns("devices"), url.Values{"labelSelector": {selector}})
	if err != nil {
		return nil, err
	}
	if len(views) == 0 {
		return nil, errs.New(errs.NotFound, "no device of namespace %s has %s", c.namespace, selector).WithMend("wasmbed devices -l %s", selector)
	}
	for _, v := range views {
		names = append(names, v.Device.Name)
	}
	return names, nil
}

// bulkOutcome is what became of one action on many devices.
type bulkOutcome struct {
	Done   []string `json:"done"`
	Failed []struct {
		Name  string `json:"name"`
		Error string `json:"error"`
		Code  string `json:"code"`
	} `json:"failed"`
}

// bulk does one thing to many devices, in parts, and says how far it is. The error is of the first device that failed.
func (c *cli) bulk(ctx context.Context, action string, names []string, labels map[string]*string, past string) error {
	var sum bulkOutcome
	for part := range slices.Chunk(names, bulkPart) {
		body := map[string]any{"action": action, "names": part}
		if labels != nil {
			body["labels"] = labels
		}
		var got bulkOutcome
		if err := c.rest.do(ctx, http.MethodPost, c.ns("bulk", "devices"), nil, body, &got); err != nil {
			if n := len(sum.Done); n > 0 {
				fmt.Fprintf(c.err, "%d of %d devices were done before\n", n, len(names))
			}
			return err
		}
		sum.Done, sum.Failed = append(sum.Done, got.Done...), append(sum.Failed, got.Failed...)
		if len(names) > bulkPart {
			fmt.Fprintf(c.err, "%s %d of %d devices\n", clock(time.Now()), len(sum.Done)+len(sum.Failed), len(names))
		}
	}
	if err := c.show(sum, func(w *tabwriter.Writer, _ bool) {
		for _, d := range sum.Done {
			fmt.Fprintf(w, "device %s: %s\n", oneLine(d), past)
		}
		for _, f := range sum.Failed {
			fmt.Fprintf(w, "device %s: failed: %s\n", oneLine(f.Name), oneLine(f.Error))
		}
	}); err != nil {
		return err
	}
	if len(sum.Failed) == 0 {
		return nil
	}
	first := sum.Failed[0]
	if len(names) == 1 {
		return errs.New(errs.Code(first.Code), "%s", first.Error)
	}
	return errs.New(errs.Code(first.Code), "%d of %d devices failed; %s: %s", len(sum.Failed), len(names), first.Name, first.Error)
}

func (c *cli) holdCmd(verb, short, past string) *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use: verb + " (DEVICE… | -l SELECTOR)", Short: short, ValidArgsFunction: c.completeMany("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := c.chosen(cmd.Context(), args, selector)
			if err != nil {
				return err
			}
			return c.bulk(cmd.Context(), verb, names, nil, past)
		},
	}
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "devices by label")
	return cmd
}

func (c *cli) labelCmd() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use: "label (DEVICE… | -l SELECTOR) KEY=VALUE… KEY-…", Short: "Give devices labels, by which applications select, or take them off",
		Example: "  wasmbed label press-7 site=lab line=2\n  wasmbed label press-7 press-8 line-\n  wasmbed label -l line=2 canary=yes",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: c.completeMany("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, labels, err := readLabels(args)
			if err != nil {
				return err
			}
			if names, err = c.chosen(cmd.Context(), names, selector); err != nil {
				return err
			}
			return c.bulk(cmd.Context(), "label", names, labels, "labelled")
		},
	}
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "devices by label")
	return cmd
}

// readLabels splits arguments into names and changes. A name has no = and does not end in -.
func readLabels(args []string) (names []string, change map[string]*string, err error) {
	change = map[string]*string{}
	for _, a := range args {
		key, value, set := strings.Cut(a, "=")
		unset := false
		if !set {
			key, unset = strings.CutSuffix(a, "-")
		}
		if !set && !unset {
			names = append(names, a)
			continue
		}
		bad := validation.IsQualifiedName(key)
		if set {
			bad = append(bad, validation.IsValidLabelValue(value)...)
		}
		if _, twice := change[key]; twice {
			bad = append(bad, "it is there twice")
		}
		if len(bad) > 0 {
			return nil, nil, errs.New(errs.Invalid, "label %s: %s", a, strings.Join(bad, "; "))
		}
		if change[key] = nil; set {
			change[key] = &value
		}
	}
	if len(change) == 0 {
		return nil, nil, errs.New(errs.Invalid, "which label?").WithMend("KEY=VALUE sets one, KEY- takes it off")
	}
	return names, change, nil
}

// moment is one line of a device's timeline.
type moment struct {
	Time    time.Time       `json:"time"`
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func (c *cli) timelineCmd() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "timeline DEVICE", Short: "Show what happened to a device, newest first, as far as the broker remembers",
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 0 {
				return errs.New(errs.Invalid, "--limit is a number of lines")
			}
			items, err := all[moment](cmd.Context(), c.rest, c.ns("devices", args[0], "timeline"))
			if err != nil {
				return err
			}
			if c.output == "table" { // the platform's own clockwork is for -o wide
				items = slices.DeleteFunc(items, func(m moment) bool { return m.Type == event.TimerDue })
			}
			if most > 0 && len(items) > most {
				items = items[:most]
			}
			return c.show(items, func(w *tabwriter.Writer, wide bool) {
				head := []any{"TIME", "WHAT", "DETAILS"}
				if wide {
					head = append(head, "EVENT")
				}
				row(w, head...)
				for _, m := range items {
					what := strings.TrimPrefix(m.Type, "io.wasmbed.")
					cells := []any{m.Time.Local().Format(time.DateTime), what, short(details(m.Data, wide), wide)}
					if wide {
						cells = append(cells, m.ID)
					}
					row(w, cells...)
				}
			})
		},
	}
	cmd.Flags().IntVar(&most, "limit", 0, "only the last so many (default: all)")
	return cmd
}

// noise are the fields of events that say nothing to a person who reads about one device.
var noise = map[string]bool{
	"namespace": true, "era": true, "epoch": true, "version": true, "seenDesired": true, "stateDigest": true, "full": true, "shard": true,
	"time": true, "due": true, "apiVersion": true, "bootId": true, "uid": true, "session": true, "address": true,
}

// details is what an event says, in the order of its fields' names; without what is noise, unless all is asked for.
func details(data json.RawMessage, all bool) string {
	flat, err := flatJSON(data)
	if err != nil {
		return string(data)
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(flat)) {
		if s := flat[k]; s != "" && s != "<nil>" && (all || !noise[k[strings.LastIndex(k, ".")+1:]]) {
			out = append(out, k+"="+s)
		}
	}
	return strings.Join(out, " ")
}

func (c *cli) commandsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "commands DEVICE", Short: "List a device's open commands and the last results",
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ans struct {
				Open    []ledger.Command       `json:"open"`
				Results []ledger.CommandResult `json:"results"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("devices", args[0], "commands"), nil, nil, &ans); err != nil {
				return err
			}
			sort.SliceStable(ans.Results, func(i, j int) bool { return ans.Results[i].At.After(ans.Results[j].At) })
			return c.show(ans, func(w *tabwriter.Writer, wide bool) {
				head := []any{"COMMAND", "KIND", "APPLICATION", "WHAT", "STATUS", "SINCE", "BY", "ANSWER"}
				if wide {
					head = append(head, "OPERATION")
				}
				row(w, head...)
				line := func(k ledger.Command, status string, at time.Time, answer string) {
					cells := []any{k.ID, k.Kind, k.App, k.Function + k.Topic, status, age(at), k.By, short(answer, wide)}
					if wide {
						cells = append(cells, k.Operation)
					}
					row(w, cells...)
				}
				for _, k := range ans.Open {
					line(k, "Open", k.At, "")
				}
				for _, r := range ans.Results {
					line(r.Command, r.Status, r.At, strings.TrimSpace(r.Reason+" "+r.Message+" "+payload(r.Payload)))
				}
			})
		},
	}
}

// payload shows bytes: text as it is, others as base64.
func payload(b []byte) string {
	if s := string(b); strings.ToValidUTF8(s, "") == s {
		return s
	}
	j, err := json.Marshal(b)
	if err != nil {
		return ""
	}
	return strings.Trim(string(j), `"`)
}
