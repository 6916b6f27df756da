package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

const (
	barWidth     = 24 // characters
	overviewMore = 8  // boards and matters shown unless -o wide
)

// glance is the API's overview of a namespace.
type glance struct {
	Time    time.Time `json:"time"`
	Devices struct {
		Known   int            `json:"known"`
		Online  int            `json:"online"`
		Offline int            `json:"offline"`
		Pending int            `json:"pending"`
		Held    int            `json:"held"`
		Boards  map[string]int `json:"boards"`
		Partial bool           `json:"partial,omitempty"`
	} `json:"devices"`
	Applications []glanceApp         `json:"applications"`
	Gateways     []affinity.Instance `json:"gateways"`
	Attention    []api.Attention     `json:"attention"`
	Parts        map[string]string   `json:"parts"`
}

type glanceApp struct {
	Name     string         `json:"name"`
	Revision string         `json:"revision,omitempty"`
	Phase    string         `json:"phase"`
	Message  string         `json:"message,omitempty"`
	Counts   *ledger.Counts `json:"counts,omitempty"`
}

func (c *cli) overviewCmd() *cobra.Command {
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use: "overview", Short: "Show the fleet at a glance", Aliases: []string{"top"}, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < time.Second {
				return errs.New(errs.Invalid, "--every %v: the server makes an overview once a second", every)
			}
			return c.overview(cmd.Context(), watch, every)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew until interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often, with --watch")
	return cmd
}

func (c *cli) overview(ctx context.Context, watch bool, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	b := newBars(os.Getenv)
	for shown := false; ; shown = true {
		var o glance
		err := c.rest.do(ctx, http.MethodGet, c.ns("overview"), nil, nil, &o)
		switch {
		case ctx.Err() != nil && watch:
			return nil
		case err != nil && shown && errs.Is(err, errs.Unavailable): // what is shown stays
			fmt.Fprintln(c.err, "wasmbed: "+err.Error())
		case err != nil:
			return err
		default:
			if f, ok := c.out.(*os.File); ok && shown && c.output == "table" && term.IsTerminal(int(f.Fd())) {
				fmt.Fprint(c.out, "\x1b[H\x1b[2J")
			}
			if err := c.show(o, func(w *tabwriter.Writer, wide bool) { c.glance(w, wide, &o, b) }); err != nil {
				return err
			}
		}
		if !watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *cli) glance(w *tabwriter.Writer, wide bool, o *glance, b bars) {
	d := o.Devices
	all := max(d.Known, d.Online+d.Offline)
	more := ""
	if d.Partial {
		more = fmt.Sprintf(", %d of them counted", d.Online+d.Offline)
		all = d.Online + d.Offline
	}
	fmt.Fprintf(w, "%s at %s: %d devices%s\n", c.namespace, clock(o.Time)[:8], d.Known, more)
	fmt.Fprintf(w, "  online\t%s\t%d\t%s\n", b.bar(d.Online, all), d.Online, percent(d.Online, all))
	fmt.Fprintf(w, "  offline\t%s\t%d\t%s\n", b.bar(d.Offline, all), d.Offline, percent(d.Offline, all))
	if d.Pending > 0 {
		fmt.Fprintf(w, "  wait for approval\t%s\t%d\t%s\n", b.bar(d.Pending, all), d.Pending, percent(d.Pending, all))
	}
	if d.Held > 0 {
		fmt.Fprintf(w, "  on hold\t%s\t%d\t%s\n", b.bar(d.Held, all), d.Held, percent(d.Held, all))
	}
	if len(d.Boards) > 0 {
		fmt.Fprintln(w, "\nBOARDS")
		names := slices.SortedFunc(maps.Keys(d.Boards), func(x, y string) int {
			if n := d.Boards[y] - d.Boards[x]; n != 0 {
				return n
			}
			return strings.Compare(x, y)
		})
		for i, n := range names {
			if i == overviewMore && !wide {
				fmt.Fprintf(w, "  and %d more\n", len(names)-i)
				break
			}
			fmt.Fprintf(w, "  %s\t%s\t%d\t%s\n", oneLine(n), b.bar(d.Boards[n], all), d.Boards[n], percent(d.Boards[n], all))
		}
	}
	if len(o.Applications) > 0 {
		fmt.Fprintln(w, "\nAPPLICATIONS")
		for _, a := range o.Applications {
			if a.Counts == nil {
				fmt.Fprintf(w, "  %s\t\t\t%s\n", a.Name, a.Phase)
				continue
			}
			n := a.Counts
			fmt.Fprintf(w, "  %s\t%s\t%d/%d\t%s\n", a.Name, b.bar(n.Ready, n.Desired), n.Ready, n.Desired, appWords(&a))
		}
	}
	if len(o.Gateways) > 0 {
		fmt.Fprintln(w, "\nGATEWAYS")
		for _, g := range o.Gateways {
			fmt.Fprintf(w, "  %s\t%s\t%d\t%s\n", oneLine(g.ID), b.bar(g.Devices, max(d.Known, g.Devices)), g.Devices, g.State)
		}
	}
	fmt.Fprintln(w)
	if len(o.Attention) == 0 {
		fmt.Fprintln(w, "nothing needs a person")
		return
	}
	fmt.Fprintf(w, "%d MATTERS FOR A PERSON\n", len(o.Attention))
	for i, x := range o.Attention {
		if i == overviewMore && !wide {
			fmt.Fprintf(w, "  and %d more: wasmbed alerts\n", len(o.Attention)-i)
			break
		}
		line := "  " + x.Severity + ": " + x.Title
		if x.Cause != "" {
			line += ": " + x.Cause
		}
		if x.Mend != "" {
			line += " (" + x.Mend + ")"
		}
		fmt.Fprintln(w, oneLine(line)) // without tabs it is no row of the table
	}
}

func appWords(a *glanceApp) string {
	out := []string{a.Phase}
	for _, x := range []struct {
		n    int
		word string
	}{{a.Counts.InFlight, "in flight"}, {a.Counts.Pending, "waiting"}, {a.Counts.Away, "away"}, {a.Counts.Held, "held"}, {a.Counts.Failed, "failed"}, {a.Counts.Lost, "lost"}} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.word))
		}
	}
	if a.Revision != "" {
		out = append(out, a.Revision)
	}
	return strings.Join(out, ", ")
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (100*n+of/2)/of)
}

// bars draws shares; full and empty are one character each.
type bars struct{ full, empty string }

// newBars takes blocks where the locale is UTF-8.
func newBars(env func(string) string) bars {
	for _, v := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if s := strings.ToLower(env(v)); s != "" {
			if strings.Contains(s, "utf-8") || strings.Contains(s, "utf8") {
				return bars{"█", "░"}
			}
			break
		}
	}
	return bars{"#", "."}
}

// bar is n of all, as wide as barWidth; who is there at all is seen.
func (b bars) bar(n, all int) string {
	fill := 0
	if all > 0 {
		fill = min(barWidth, (n*barWidth+all/2)/all)
		if n > 0 && fill == 0 {
			fill = 1
		}
		if n < all && fill == barWidth {
			fill--
		}
	}
	return strings.Repeat(b.full, fill) + strings.Repeat(b.empty, barWidth-fill)
}

func (c *cli) alertsCmd() *cobra.Command {
	var severity string
	cmd := &cobra.Command{
		Use: "alerts", Short: "List what a person should look at, each with its mend", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			levels := []string{"critical", "warning", "info"}
			from := slices.Index(levels, severity)
			if from < 0 {
				return errs.New(errs.Invalid, "--severity %s: it is one of %s", severity, strings.Join(levels, ", "))
			}
			items, err := all[api.Attention](cmd.Context(), c.rest, c.ns("alerts"))
			if err != nil {
				return err
			}
			items = slices.DeleteFunc(items, func(x api.Attention) bool { return slices.Index(levels, x.Severity) > from })
			return c.show(items, func(w *tabwriter.Writer, wide bool) {
				if len(items) == 0 {
					fmt.Fprintln(w, "nothing needs a person")
					return
				}
				head := []any{"SEVERITY", "SINCE", "WHAT", "CAUSE", "MEND"}
				if wide {
					head = append(head, "KIND", "NAME", "ID")
				}
				row(w, head...)
				for _, x := range items {
					cells := []any{x.Severity, age(x.Since), x.Title, short(x.Cause, wide), x.Mend}
					if wide {
						cells = append(cells, x.Kind, x.Name, x.ID)
					}
					row(w, cells...)
				}
			})
		},
	}
	cmd.Flags().StringVar(&severity, "severity", "info", "critical, warning or info: this and what is worse")
	return cmd
}

// shortText is how many characters of a long text stand in a table.
const shortText = 120

func short(s string, wide bool) string {
	if wide || utf8.RuneCountInString(s) <= shortText {
		return s
	}
	return string([]rune(s)[:shortText-1]) + "…"
}
