package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// platformPart is one of the platform's own parts.
type platformPart struct {
	Name    string    `json:"name"`
	Healthy bool      `json:"healthy"`
	Message string    `json:"message,omitempty"`
	Log     bool      `json:"log"`
	Figures *partLine `json:"figures,omitempty"`
}

func (c *cli) partsCmd() *cobra.Command {
	var tail int
	cmd := &cobra.Command{
		Use: "parts [PART]", Short: "List the platform's own parts, or show the end of one's log", Args: cobra.MaximumNArgs(1),
		Example: "  wasmbed parts\n  wasmbed parts gateway --tail 50",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				var log struct {
					Part  string   `json:"part"`
					Lines []string `json:"lines"`
				}
				q := url.Values{"tail": {strconv.Itoa(tail)}}
				if err := c.rest.do(cmd.Context(), http.MethodGet, "parts/"+url.PathEscape(args[0])+"/logs", q, nil, &log); err != nil {
					return err
				}
				return c.show(log, func(w *tabwriter.Writer, _ bool) {
					for _, l := range log.Lines {
						fmt.Fprintln(w, strings.Map(printable, l))
					}
				})
			}
			items, err := all[platformPart](cmd.Context(), c.rest, "parts")
			if err != nil {
				return err
			}
			return c.show(items, func(w *tabwriter.Writer, _ bool) {
				row(w, "PART", "WELL", "MEMORY", "CPU", "GOROUTINES", "UP")
				for _, p := range items {
					f := partLine{}
					if p.Figures != nil {
						f = *p.Figures
					}
					f.Name, f.Healthy, f.Message = p.Name, p.Healthy, p.Message
					partRow(w, f)
				}
			})
		},
	}
	cmd.Flags().IntVar(&tail, "tail", 200, "lines, 1 to 2000")
	return cmd
}

// disconnectCmd is `wasmbed devices disconnect`.
func (c *cli) disconnectCmd() *cobra.Command {
	var away time.Duration
	cmd := &cobra.Command{
		Use: "disconnect NAME", Short: "End a device's session; what it runs goes on", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("devices"),
		Long: `End a device's session: its gateway says goodbye and tells it when to come back. What the device runs goes on. wasmbed revoke
is what keeps a device out.`,
		Example: "  wasmbed devices disconnect press-7\n  wasmbed devices disconnect press-7 --retry-after 5m",
		RunE: func(cmd *cobra.Command, args []string) error {
			var body any
			if away > 0 {
				body = map[string]string{"retryAfter": away.String()}
			}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("devices", args[0], "disconnect"), nil, body, nil); err != nil {
				return err
			}
			return c.became("device", args[0], "disconnected")
		},
	}
	cmd.Flags().DurationVar(&away, "retry-after", 0, "how long it is to stay away, at most 24h (default: as it likes)")
	return cmd
}

// gatewaySwitches are `wasmbed gateways disable` and `enable`.
func (c *cli) gatewaySwitches() []*cobra.Command {
	one := func(verb, short, long string) *cobra.Command {
		return &cobra.Command{
			Use: verb + " NAME", Short: short, Long: long, Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("gateways"),
			RunE: func(cmd *cobra.Command, args []string) error {
				var g v1alpha1.Gateway
				if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("gateways", args[0], verb), nil, nil, &g); err != nil {
					return err
				}
				return c.became("gateway", args[0], verb+"d")
			},
		}
	}
	return []*cobra.Command{
		one("disable", "Switch a gateway off: it ends its sessions and takes none", `Switch a gateway off: its processes end the sessions that they have and take none. Devices go on with what they run, and ask
again within a minute.`),
		one("enable", "Switch a gateway on again", ""),
	}
}
