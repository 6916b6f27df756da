package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
)

func (c *cli) ns(kind string, more ...string) string {
	parts := []string{"namespaces", url.PathEscape(c.namespace), kind}
	for _, m := range more {
		parts = append(parts, url.PathEscape(m))
	}
	return strings.Join(parts, "/")
}

func (c *cli) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say whether the platform is well", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s struct {
				Version  string            `json:"version"`
				Healthy  bool              `json:"healthy"`
				Parts    map[string]string `json:"parts"`
				Devices  map[string]int    `json:"devices"`
				Gateways []struct {
					ID      string
					State   string
					Address string
					Devices int
				} `json:"gateways"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, "status", nil, nil, &s); err != nil {
				return err
			}
			return c.show(s, func(w *tabwriter.Writer, _ bool) {
				row(w, "PART", "STATE")
				for _, p := range sorted(s.Parts) {
					row(w, p, s.Parts[p])
				}
				for _, g := range s.Gateways {
					row(w, "gateway "+g.ID, fmt.Sprintf("%s, %d devices", g.State, g.Devices))
				}
				for _, ns := range sorted(s.Devices) {
					row(w, "namespace "+ns, fmt.Sprintf("%d devices known", s.Devices[ns]))
				}
			})
		},
	}
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// resource makes the command of one kind: without arguments the list, with a name that one, with --watch
// what changes.
func (c *cli) resource(use, short string, aliases []string, one func(context.Context, string) error, every func(context.Context) error) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: use + " [NAME]", Short: short, Aliases: aliases, Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: c.complete(use),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := one(cmd.Context(), args[0]); err != nil || !watch {
					return err
				}
				return c.watchFeed(cmd.Context(), use, args[0])
			}
			if err := every(cmd.Context()); err != nil || !watch {
				return err
			}
			return c.watchFeed(cmd.Context(), use, "")
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "then print every change until interrupted")
	return cmd
}

func (c *cli) devicesCmd() *cobra.Command {
	var f deviceFilter
	cmd := c.resource("devices", "List devices, show one, or make boards and press their buttons", []string{"device"}, c.device,
		func(ctx context.Context) error { return c.devicesWhere(ctx, f.query(), f.app) })
	f.flags(c, cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error { return f.check(cmd, args) }
	cmd.AddCommand(append(c.deviceVerbs(), c.disconnectCmd())...)
	return cmd
}

func deviceRows(w *tabwriter.Writer, wide bool, views []ledger.DeviceView) {
	head := []any{"NAME", "BOARD", "GATEWAY", "ONLINE", "FIRMWARE", "APPS", "LAST SEEN"}
	if wide {
		head = append(head, "INSTANCE", "EPOCH", "DESIRED", "CERT UNTIL")
	}
	row(w, head...)
	for _, v := range views {
		ready := 0
		for _, a := range v.Apps {
			if a.Set == "done" {
				ready++
			}
		}
		cells := []any{v.Device.Name, v.Board, v.Gateway, v.Online, v.Firmware, fmt.Sprintf("%d/%d", ready, len(v.Apps)), age(v.LastSeen)}
		if wide {
			cells = append(cells, v.Instance, v.Epoch, v.DesiredVersion, v.NotAfter)
		}
		row(w, cells...)
	}
}

func (c *cli) device(ctx context.Context, name string) error {
	var d deviceAnswer
	if err := c.rest.do(ctx, http.MethodGet, c.ns("devices", name), nil, nil, &d); err != nil {
		return err
	}
	return c.show(d, func(w *tabwriter.Writer, wide bool) {
		d.View.Device.Namespace, d.View.Device.Name = c.namespace, name
		deviceRows(w, wide, []ledger.DeviceView{d.View})
		boardRows(w, wide, &d.Object)
		row(w)
		row(w, "APPLICATION", "SET", "WANTED", "RUNNING", "STATE", "REASON", "RESTARTS", "TRAPS")
		for _, a := range d.View.Apps {
			wanted, running, state, restarts := "", "", "", uint32(0)
			if a.Target != nil {
				wanted = a.Target.Revision
			}
			if a.Reported != nil {
				running, state, restarts = a.Reported.Running, a.Reported.State, a.Reported.Restarts
			}
			row(w, a.App, a.Set, wanted, running, state, a.Reason, restarts, a.Traps)
		}
	})
}

func (c *cli) appsCmd() *cobra.Command {
	cmd := c.resource("apps", "List applications, or show or remove one", []string{"app", "applications", "application"}, c.app, c.apps)
	cmd.AddCommand(c.appVerbs()...)
	return cmd
}

func appRows(w *tabwriter.Writer, wide bool, apps []v1alpha1.Application) {
	head := []any{"NAME", "REVISION", "READY", "UPDATED", "FAILED", "CONDITION", "AGE"}
	if wide {
		head = append(head, "STABLE", "IN FLIGHT", "PENDING", "AWAY", "HELD", "DIGEST")
	}
	row(w, head...)
	for _, a := range apps {
		s := a.Status
		cells := []any{a.Name, s.Revision, fmt.Sprintf("%d/%d", s.Ready, s.Desired), s.Updated, s.Failed, s.Condition, age(a.CreationTimestamp.Time)}
		if wide {
			cells = append(cells, s.StableRevision, s.InFlight, s.Pending, s.Away, s.Held, s.Digest)
		}
		row(w, cells...)
	}
}

func (c *cli) apps(ctx context.Context) error {
	apps, err := all[v1alpha1.Application](ctx, c.rest, c.ns("applications"))
	if err != nil {
		return err
	}
	return c.show(apps, func(w *tabwriter.Writer, wide bool) { appRows(w, wide, apps) })
}

type appAnswer struct {
	Object v1alpha1.Application `json:"object"`
	Counts ledger.Counts        `json:"counts"`
}

func (c *cli) app(ctx context.Context, name string) error {
	var a appAnswer
	if err := c.rest.do(ctx, http.MethodGet, c.ns("applications", name), nil, nil, &a); err != nil {
		return err
	}
	return c.show(a, func(w *tabwriter.Writer, wide bool) {
		appRows(w, wide, []v1alpha1.Application{a.Object})
		row(w)
		row(w, "CONDITION", "STATUS", "REASON", "MESSAGE")
		for _, cond := range a.Object.Status.Conditions {
			row(w, cond.Type, cond.Status, cond.Reason, cond.Message)
		}
		if len(a.Counts.Failing) > 0 {
			row(w)
			row(w, "FAILING DEVICE", "REVISION", "REASON", "MESSAGE")
			for _, f := range a.Counts.Failing {
				row(w, f.Device, f.Revision, f.Reason, f.Message)
			}
		}
	})
}

func (c *cli) gatewaysCmd() *cobra.Command {
	cmd := c.resource("gateways", "List gateways, or show, make, change or remove one", []string{"gateway", "gw"}, c.gateway, c.gateways)
	cmd.AddCommand(append(c.gatewayVerbs(), c.gatewaySwitches()...)...)
	return cmd
}

func gatewayRows(w *tabwriter.Writer, gws []v1alpha1.Gateway) {
	row(w, "NAME", "ADDRESS", "READY", "DEVICES", "INSTANCES", "PAIRING UNTIL", "AGE")
	for _, g := range gws {
		ready := ""
		for _, cond := range g.Status.Conditions {
			if cond.Type == "Ready" {
				ready = string(cond.Status)
			}
		}
		until := ""
		if g.Spec.Pairing.Until != nil {
			until = g.Spec.Pairing.Until.UTC().Format("2006-01-02 15:04:05Z")
		}
		row(w, g.Name, g.Spec.Address, ready, g.Status.Devices, len(g.Status.Instances), until, age(g.CreationTimestamp.Time))
	}
}

func (c *cli) gateways(ctx context.Context) error {
	gws, err := all[v1alpha1.Gateway](ctx, c.rest, c.ns("gateways"))
	if err != nil {
		return err
	}
	return c.show(gws, func(w *tabwriter.Writer, _ bool) { gatewayRows(w, gws) })
}

func (c *cli) gateway(ctx context.Context, name string) error {
	var g v1alpha1.Gateway
	if err := c.rest.do(ctx, http.MethodGet, c.ns("gateways", name), nil, nil, &g); err != nil {
		return err
	}
	return c.show(g, func(w *tabwriter.Writer, _ bool) {
		gatewayRows(w, []v1alpha1.Gateway{g})
		for _, i := range g.Status.Instances {
			row(w, "  "+i.ID, "", i.State, i.Devices)
		}
	})
}

// watchFeed prints the moves of devices and applications as the ledger's feed has them.
func (c *cli) watchFeed(ctx context.Context, kind, name string) error {
	return c.rest.follow(ctx, c.ns("watch"), url.Values{}, func(_ string, data []byte) error {
		var e ledger.FeedEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		if name != "" && kind != "gateways" && !(kind == "devices" && e.Device.Name == name) && !(kind == "apps" && e.App == name) {
			return nil
		}
		if kind == "apps" && e.App == "" || kind == "gateways" && e.Kind != "connected" && e.Kind != "disconnected" {
			return nil
		}
		return c.line(data, func() { c.moveRow(&e) })
	})
}
