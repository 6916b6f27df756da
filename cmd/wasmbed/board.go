package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

// boardPoll is how often a device is looked at while its board is waited for.
const boardPoll = 200 * time.Millisecond

func (c *cli) boardsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "boards", Short: "List the boards that are known, and what was really run on each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var page struct {
				Items []api.Board `json:"items"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, "boards", nil, nil, &page); err != nil {
				return err
			}
			return c.show(page.Items, func(w *tabwriter.Writer, wide bool) {
				head := []any{"BOARD", "CPU", "RAM", "FLASH", "TRANSPORT", "BACKENDS", "TRUTH"}
				if wide {
					head = append(head, "MODULE RAM", "MODULE SIZE", "ZEPHYR", "QEMU", "RENODE")
				}
				row(w, head...)
				for _, b := range page.Items {
					cells := []any{b.Name, b.CPU, kib(b.RAM), kib(b.Flash), strings.Join(b.Transports, ","), backends(b), b.Truth}
					if wide {
						cells = append(cells, kib(b.ModuleMemory), kib(b.ModuleSize), b.Zephyr, b.QEMU, b.Renode)
					}
					row(w, cells...)
				}
			})
		},
	}
}

func backends(b api.Board) string {
	var out []string
	if b.QEMU != "" {
		out = append(out, v1alpha1.BackendQEMU)
	}
	if b.Renode != "" {
		out = append(out, v1alpha1.BackendRenode)
	}
	return strings.Join(out, ",")
}

func kib(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n>>10, 10) + " KiB"
}

// deviceVerbs are the subcommands of `wasmbed devices` that make boards and press their buttons.
func (c *cli) deviceVerbs() []*cobra.Command {
	done := func(phases ...string) func(*v1alpha1.Device, *v1alpha1.Device) bool {
		return func(_, now *v1alpha1.Device) bool {
			b := now.Status.Board
			if b == nil {
				return false
			}
			for _, p := range phases {
				if b.Phase == p {
					return true
				}
			}
			return false
		}
	}
	up := done(v1alpha1.BoardBooted, v1alpha1.BoardRunning)
	return []*cobra.Command{
		c.createDeviceCmd(up), c.deleteDeviceCmd(),
		c.powerCmd("start", "Start an emulated board that was stopped", "started", up),
		c.powerCmd("stop", "Stop an emulated board; it keeps its storage", "stopped", done(v1alpha1.BoardStopped)),
		c.powerCmd("reset", "Press the reset button of an emulated board", "reset", func(want, now *v1alpha1.Device) bool {
			return up(want, now) && now.Status.Board.Resets >= want.Spec.Emulation.Resets
		}),
		c.powerCmd("power-cut", "Cut the power of an emulated board in the middle of whatever it does, and give it back", "lost its power and has it back",
			func(want, now *v1alpha1.Device) bool {
				return up(want, now) && now.Status.Board.PowerCuts >= want.Spec.Emulation.PowerCuts
			}),
	}
}

// waiting are the flags of verbs that wait for the board.
type waiting struct {
	not     bool
	timeout time.Duration
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.not, "no-wait", false, "do not wait until the board has done it")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 2*time.Minute, "how long to wait")
}

func (c *cli) createDeviceCmd(up func(*v1alpha1.Device, *v1alpha1.Device) bool) *cobra.Command {
	var e v1alpha1.Emulation
	var board string
	var labels map[string]string
	var wait waiting
	cmd := &cobra.Command{
		Use: "create NAME --board BOARD [--backend qemu]", Short: "Make a device; with --backend also its emulated board",
		Long: `Make a device. It is approved: who may make devices has decided about it.

With --backend the provisioner makes its board, and the device enrolls by a claim that only the two know. Without
it the device is a real board: flash it, and let it enroll inside the gateway's pairing window.`,
		Example: `  wasmbed device create press-7 --board Mps2An385 --backend qemu
  wasmbed device create press-8 --board Mps2An385 --backend qemu --transport Serial --label site=lab
  wasmbed device create bench-1 --board Stm32F746gDisco`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if board == "" {
				return errs.New(errs.Invalid, "which board?").WithMend("give --board; wasmbed boards lists them")
			}
			d := &v1alpha1.Device{
				TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindDevice},
				ObjectMeta: metav1.ObjectMeta{Name: args[0], Labels: labels},
				Spec:       v1alpha1.DeviceSpec{Board: board, Approval: v1alpha1.ApprovalApproved},
			}
			if e.Backend != "" {
				d.Spec.Emulation = &e
			} else if e.Engine != "" || e.Transport != "" {
				return errs.New(errs.Invalid, "--engine and --transport are of an emulated board").WithMend("give --backend host, qemu or renode")
			}
			var made v1alpha1.Device
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("devices"), nil, d, &made); err != nil {
				return err
			}
			if made.Spec.Emulation == nil {
				return c.told(&made, "created")
			}
			return c.waitBoard(cmd.Context(), &made, wait, "created", up)
		},
	}
	f := cmd.Flags()
	f.StringVar(&board, "board", "", "type of the board, like Mps2An385")
	f.StringVar(&e.Backend, "backend", "", "what emulates it: host, qemu or renode; empty: it is a real board")
	f.StringVar(&e.Engine, "engine", "", "what carries the backend: process or docker (default: the provisioner's choice)")
	f.StringVar(&e.Transport, "transport", "", "Ethernet or Serial (default: the board's)")
	f.StringToStringVar(&labels, "label", nil, "KEY=VALUE that applications select by")
	wait.flags(cmd)
	return cmd
}

func (c *cli) deleteDeviceCmd() *cobra.Command {
	var wait waiting
	cmd := &cobra.Command{
		Use: "delete NAME…", Short: "Remove devices, their keys and their emulated boards", Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("devices", name), nil, nil, nil); err != nil {
					return err
				}
			}
			for _, name := range args {
				if !wait.not {
					if err := c.waitGone(cmd.Context(), name, wait.timeout); err != nil {
						return err
					}
				}
				if err := c.became("device", name, "deleted"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	wait.flags(cmd)
	return cmd
}

func (c *cli) powerCmd(verb, short, past string, done func(want, now *v1alpha1.Device) bool) *cobra.Command {
	var wait waiting
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var want v1alpha1.Device
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("devices", args[0], verb), nil, nil, &want); err != nil {
				return err
			}
			return c.waitBoard(cmd.Context(), &want, wait, past, done)
		},
	}
	wait.flags(cmd)
	return cmd
}

// told prints what became of a device: a sentence, or the object for programs.
func (c *cli) told(d *v1alpha1.Device, past string) error {
	return c.show(d, func(w *tabwriter.Writer, _ bool) {
		line := fmt.Sprintf("device %s: %s", d.Name, past)
		if b := d.Status.Board; b != nil {
			line += fmt.Sprintf(" (%s, %s)", b.Backend, b.Phase)
		}
		fmt.Fprintln(w, line)
	})
}

func (c *cli) deviceObject(ctx context.Context, name string) (*v1alpha1.Device, error) {
	var d struct {
		Object v1alpha1.Device `json:"object"`
	}
	err := c.rest.do(ctx, http.MethodGet, c.ns("devices", name), nil, nil, &d)
	return &d.Object, err
}

// waitBoard waits until the board of a device has done what want says. A board that failed on it is an error.
func (c *cli) waitBoard(ctx context.Context, want *v1alpha1.Device, wait waiting, past string, done func(want, now *v1alpha1.Device) bool) error {
	if wait.not {
		return c.told(want, "asked for")
	}
	ctx, cancel := context.WithTimeout(ctx, wait.timeout)
	defer cancel()
	tick := time.NewTicker(boardPoll)
	defer tick.Stop()
	last := ""
	for {
		now, err := c.deviceObject(ctx, want.Name)
		if err != nil && !errs.Is(err, errs.Unavailable) {
			return timedOut(ctx, err, want.Name, last)
		}
		if err == nil {
			b := now.Status.Board
			if b != nil {
				last = strings.TrimSpace(b.Phase + " " + b.Reason + " " + b.Message)
			}
			switch {
			case done(want, now):
				return c.told(now, past)
			case b != nil && b.Phase == v1alpha1.BoardFailed && b.ObservedGeneration >= want.Generation: // an older failure is no answer
				return errs.New(errs.Unavailable, "the board of %s failed: %s", want.Name, strings.TrimSpace(b.Reason+" "+b.Message)).
					WithMend("wasmbed console %s shows what it said; it is tried again", want.Name)
			}
		}
		select {
		case <-ctx.Done():
			return timedOut(ctx, ctx.Err(), want.Name, last)
		case <-tick.C:
		}
	}
}

func timedOut(ctx context.Context, err error, name, last string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	if last == "" {
		last = "no provisioner has said anything about it"
	}
	return errs.New(errs.Deadline, "device %s: the board is not there in time: %s", name, last).WithMend("wasmbed console %s shows what it said", name)
}

func (c *cli) waitGone(ctx context.Context, name string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(boardPoll)
	defer tick.Stop()
	for {
		d, err := c.deviceObject(ctx, name)
		switch {
		case errs.Is(err, errs.NotFound):
			return nil
		case err != nil && !errs.Is(err, errs.Unavailable) && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errs.New(errs.Deadline, "device %s is not gone in time: it waits for %s", name, strings.Join(d.Finalizers, ", ")).
					WithMend("wasmbed status says whether functions and provisioner are well")
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// boardRows shows the emulated board of a device.
func boardRows(w *tabwriter.Writer, wide bool, d *v1alpha1.Device) {
	e, b := d.Spec.Emulation, d.Status.Board
	if e == nil {
		return
	}
	row(w)
	head := []any{"EMULATION", "ENGINE", "TRANSPORT", "PHASE", "SINCE", "RESETS", "POWER CUTS", "RESTARTS", "WHY"}
	if wide {
		head = append(head, "INSTANCE", "ENDPOINT", "IMAGE")
	}
	row(w, head...)
	if b == nil {
		row(w, e.Backend, e.Engine, e.Transport, v1alpha1.BoardPending, "", 0, 0, 0, "no provisioner has said anything about it")
		return
	}
	since := ""
	if b.Since != nil {
		since = age(b.Since.Time)
	}
	cells := []any{b.Backend, b.Engine, b.Transport, b.Phase, since, b.Resets, b.PowerCuts, b.Restarts, strings.TrimSpace(b.Reason + " " + b.Message)}
	if wide {
		cells = append(cells, b.Instance, b.Endpoint, b.Image)
	}
	row(w, cells...)
}

// deviceAnswer is the API's answer about one device.
type deviceAnswer struct {
	Object v1alpha1.Device   `json:"object"`
	View   ledger.DeviceView `json:"view"`
}
