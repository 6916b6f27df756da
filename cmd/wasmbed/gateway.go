package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

func (c *cli) pairingCmd() *cobra.Command {
	var gateway, approval string
	var life time.Duration
	show := func(g *v1alpha1.Gateway) error {
		return c.show(g, func(w *tabwriter.Writer, _ bool) { fmt.Fprintln(w, pairingWords(g, time.Now())) })
	}
	cmd := &cobra.Command{
		Use: "pairing", Short: "Let unknown devices ask to be enrolled, for a time", Args: cobra.NoArgs,
		Long: `Let unknown devices ask to be enrolled, for a time. A device that asks while the window is open gets a Device
object: it waits for wasmbed approve (Manual), or is admitted at once (Automatic). Devices that are known may always
connect.`,
		Example: "  wasmbed pairing open --for 10m\n  wasmbed enrollments\n  wasmbed approve press-7\n  wasmbed pairing close",
	}
	cmd.PersistentFlags().StringVar(&gateway, "gateway", "default", "Gateway object")
	open := &cobra.Command{
		Use: "open", Short: "Open the window", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			word, err := approvalWord(approval)
			if err != nil {
				return err
			}
			body := map[string]string{"for": life.String()}
			if word != "" {
				body["approval"] = word
			}
			var g v1alpha1.Gateway
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("gateways", gateway, "pairing"), nil, body, &g); err != nil {
				return c.whichGateway(err)
			}
			return show(&g)
		},
	}
	open.Flags().DurationVar(&life, "for", 10*time.Minute, "how long, at most 24h")
	open.Flags().StringVar(&approval, "approval", "", "Manual or Automatic (default: as it is)")
	cmd.AddCommand(open,
		&cobra.Command{
			Use: "close", Short: "Close the window", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var g v1alpha1.Gateway
				if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("gateways", gateway, "pairing"), nil, nil, &g); err != nil {
					return c.whichGateway(err)
				}
				return show(&g)
			},
		},
		&cobra.Command{
			Use: "status", Short: "Say whether the window is open, and for how long", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var g v1alpha1.Gateway
				if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("gateways", gateway), nil, nil, &g); err != nil {
					return c.whichGateway(err)
				}
				return show(&g)
			},
		})
	_ = cmd.RegisterFlagCompletionFunc("gateway", c.completeFlag("gateways")) // the flag is there
	return cmd
}

func (c *cli) whichGateway(err error) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "%w", err).WithMend("wasmbed gateways lists them; --gateway NAME")
	}
	return err
}

func approvalWord(s string) (string, error) {
	for _, w := range []string{v1alpha1.PairingManual, v1alpha1.PairingAutomatic, ""} {
		if strings.EqualFold(s, w) {
			return w, nil
		}
	}
	return "", errs.New(errs.Invalid, "--approval %s: it is %s or %s", s, v1alpha1.PairingManual, v1alpha1.PairingAutomatic)
}

func pairingWords(g *v1alpha1.Gateway, now time.Time) string {
	p := g.Spec.Pairing
	who := "who asks waits for wasmbed approve"
	if p.Approval == v1alpha1.PairingAutomatic {
		who = "who asks is admitted at once"
	}
	switch {
	case p.Until == nil:
		return fmt.Sprintf("gateway %s: pairing is closed", g.Name)
	case !p.Until.After(now):
		return fmt.Sprintf("gateway %s: pairing is closed since %s", g.Name, p.Until.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("gateway %s: pairing is open for %v, until %s; %s", g.Name, p.Until.Sub(now).Round(time.Second), p.Until.Local().Format(time.DateTime), who)
}

func (c *cli) enrollmentsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "enrollments", Short: "List devices that wait for approval, and what they said of themselves", Aliases: []string{"pending"}, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := all[v1alpha1.Device](cmd.Context(), c.rest, c.ns("enrollments"))
			if err != nil {
				return err
			}
			return c.show(items, func(w *tabwriter.Writer, wide bool) {
				if len(items) == 0 {
					fmt.Fprintln(w, "no device waits for approval")
					return
				}
				head := []any{"NAME", "BOARD", "GATEWAY", "KEY", "SINCE"}
				if wide {
					head = append(head, "FIRMWARE", "LAST SEEN")
				}
				row(w, head...)
				for _, d := range items {
					cells := []any{d.Name, d.Spec.Board, d.Spec.Gateway, keyMark(d.Spec.Identity, wide), age(d.CreationTimestamp.Time)}
					if wide {
						seen := ""
						if d.Status.LastSeen != nil {
							seen = age(d.Status.LastSeen.Time)
						}
						cells = append(cells, d.Status.Firmware, seen)
					}
					row(w, cells...)
				}
				fmt.Fprintln(w, "\nwasmbed approve NAME admits one, wasmbed reject NAME refuses it")
			})
		},
	}
}

// keyMark is the fingerprint of a device's key, to compare with what the board shows.
func keyMark(id *v1alpha1.DeviceIdentity, wide bool) string {
	if id == nil || len(id.PublicKey) == 0 {
		return ""
	}
	sum := sha256.Sum256(id.PublicKey)
	mark := hex.EncodeToString(sum[:])
	if !wide {
		mark = mark[:16]
	}
	return "sha256:" + mark
}

// gatewayVerbs are the subcommands of `wasmbed gateways`.
func (c *cli) gatewayVerbs() []*cobra.Command {
	var address, attestation string
	var heartbeat, life time.Duration
	var devices int32
	set := &cobra.Command{
		Use: "set NAME", Short: "Make a gateway, or change its terms; running gateways follow within seconds", Args: cobra.ExactArgs(1),
		Example: "  wasmbed gateways set default --heartbeat 5s --certificate-life 24h",
		RunE: func(cmd *cobra.Command, args []string) error {
			var g v1alpha1.Gateway
			err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("gateways", args[0]), nil, nil, &g)
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
			given := cmd.Flags().Changed
			if err != nil && !given("address") {
				return errs.New(errs.NotFound, "there is no gateway %s", args[0]).WithMend("--address HOST:PORT makes it")
			}
			g.Name, g.Namespace = args[0], c.namespace
			if given("address") {
				g.Spec.Address = address
			}
			if given("heartbeat") {
				g.Spec.Heartbeat = &metav1.Duration{Duration: heartbeat}
			}
			if given("certificate-life") {
				g.Spec.Certificate.Life = &metav1.Duration{Duration: life}
			}
			if given("max-devices") {
				g.Spec.Limits.MaxDevices = devices
			}
			if given("attestation") {
				g.Spec.Attestation.Mode = attestation
			}
			var made v1alpha1.Gateway
			if err := c.rest.do(cmd.Context(), http.MethodPut, c.ns("gateways", args[0]), nil, ifVersion{g, g.ResourceVersion}, &made); err != nil {
				return err
			}
			return c.show(made, func(w *tabwriter.Writer, _ bool) { gatewayRows(w, []v1alpha1.Gateway{made}) })
		},
		ValidArgsFunction: c.complete("gateways"),
	}
	f := set.Flags()
	f.StringVar(&address, "address", "", "HOST:PORT that devices dial")
	f.DurationVar(&heartbeat, "heartbeat", 0, "time between two heartbeats, 100ms to 1h; a device that misses three is offline")
	f.DurationVar(&life, "certificate-life", 0, "life of the devices' certificates, 2m to 8760h")
	f.Int32Var(&devices, "max-devices", 0, "devices that one gateway process takes")
	f.StringVar(&attestation, "attestation", "", "None or Require")
	return []*cobra.Command{set, {
		Use: "delete NAME", Short: "Remove a gateway", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("gateways"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("gateways", args[0]), nil, nil, nil); err != nil {
				return err
			}
			return c.became("gateway", args[0], "deleted")
		},
	}}
}
