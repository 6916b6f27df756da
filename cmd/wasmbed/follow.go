package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/functions/api"
)

func (c *cli) explainCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "explain", Short: "Say why a device or an application is not up to date"}
	show := func(cmd *cobra.Command, path string, q url.Values) error {
		var ans struct {
			Items []api.Explanation                         `json:"items"`
			Ready *struct{ Status, Reason, Message string } `json:"ready,omitempty"`
		}
		if err := c.rest.do(cmd.Context(), http.MethodGet, path, q, nil, &ans); err != nil {
			return err
		}
		return c.show(ans, func(w *tabwriter.Writer, _ bool) {
			if ans.Ready != nil {
				fmt.Fprintf(w, "Ready: %s (%s) %s\n", ans.Ready.Status, ans.Ready.Reason, ans.Ready.Message)
			}
			if len(ans.Items) == 0 {
				fmt.Fprintln(w, "nothing is behind")
				return
			}
			row(w, "DEVICE", "APPLICATION", "CAUSE", "REASON", "WHY", "MEND")
			for _, x := range ans.Items {
				row(w, x.Device, x.Application, x.Cause, x.Reason, x.Text, x.Mend)
			}
		})
	}
	var app string
	dev := &cobra.Command{
		Use: "device NAME", Short: "One named cause for each application of a device", Args: cobra.ExactArgs(1),
		ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if app != "" {
				q.Set("application", app)
			}
			return show(cmd, c.ns("devices", args[0], "explain"), q)
		},
	}
	dev.Flags().StringVar(&app, "app", "", "only this application, also when it does not select the device")
	cmd.AddCommand(dev, &cobra.Command{
		Use: "app NAME", Short: "The devices that are not up to date, each with its cause", Args: cobra.ExactArgs(1),
		ValidArgsFunction: c.complete("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, c.ns("applications", args[0], "explain"), nil)
		},
	})
	return cmd
}

// stream makes a command that prints a page of entries, or with -f all that come.
func (c *cli) stream(use, short, path string, perDevice bool, q func() url.Values, line func(data []byte) error) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := path
			if perDevice {
				p = c.ns(path)
				if len(args) == 1 {
					p = c.ns("devices", args[0], path)
				}
			}
			print := func(_ string, data []byte) error {
				var err error
				if said := c.line(data, func() { err = line(data) }); said != nil {
					return said
				}
				return err
			}
			if follow {
				return c.rest.follow(cmd.Context(), p, q(), print)
			}
			var page struct {
				Items []json.RawMessage `json:"items"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, p, q(), nil, &page); err != nil {
				return err
			}
			for _, i := range page.Items {
				if err := print("", i); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if perDevice {
		cmd.Args = cobra.MaximumNArgs(1)
		cmd.ValidArgsFunction = c.complete("devices")
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	return cmd
}

func (c *cli) telemetryCmd() *cobra.Command {
	return c.stream("telemetry [DEVICE]", "Show what modules measure, of one device or of all", "telemetry", true,
		func() url.Values { return url.Values{} }, func(data []byte) error {
			var t api.Sample
			if err := json.Unmarshal(data, &t); err != nil {
				return err
			}
			row(c.out, clock(t.Time), t.Device, t.App, t.Name, t.Value)
			return nil
		})
}

func (c *cli) logsCmd() *cobra.Command {
	return c.stream("logs [DEVICE]", "Show what modules and firmware log, of one device or of all", "logs", true,
		func() url.Values { return url.Values{} }, func(data []byte) error {
			var l api.Line
			if err := json.Unmarshal(data, &l); err != nil {
				return err
			}
			row(c.out, clock(l.Time), l.Device, l.App, level(l.Level), l.Text)
			return nil
		})
}

func (c *cli) eventsCmd() *cobra.Command {
	var kind string
	var every bool
	cmd := c.stream("events", "Show the platform's CloudEvents", "events", false, func() url.Values {
		q := url.Values{}
		if !every {
			q.Set("namespace", c.namespace)
		}
		if kind != "" {
			q.Set("type", kind)
		}
		return q
	}, func(data []byte) error {
		var e struct {
			Type, Subject, Source, ID string
			Time                      time.Time
			Data                      json.RawMessage
		}
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		row(c.out, clock(e.Time), e.Type, e.Subject, string(e.Data))
		return nil
	})
	cmd.Flags().StringVar(&kind, "type", "", "only this type")
	cmd.Flags().BoolVarP(&every, "all-namespaces", "A", false, "of every namespace")
	return cmd
}

func level(n uint8) string {
	words := [...]string{"?", "DEBUG", "INFO", "WARN", "ERROR"}
	if int(n) >= len(words) {
		n = 0
	}
	return words[n]
}
