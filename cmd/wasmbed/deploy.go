package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
)

type deployFlags struct {
	name, to, selector string
	module             string // a kept one, instead of a file
	all, wait          bool
	permissions        []string
	config             map[string]string
	timers             []string
	window             time.Duration
	unavailable, batch string
	pages              int32
	timeout            time.Duration
}

func (c *cli) deployCmd() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy (FILE.wasm | --module NAME) (--to NAME[,NAME…] | --selector KEY=VALUE | --all)",
		Short: "Run a module on devices, and say when it runs everywhere or why not",
		Example: `  wasmbed deploy hello.wasm --all
  wasmbed deploy blink.wasm --to board-1,board-2 --permission log,gpio --timer 1=500ms
  wasmbed deploy hello.wasm --selector site=lab --config greeting=hi --no-wait
  wasmbed deploy --module m-9f86d081884c7d65 --name hello`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nowait, err := cmd.Flags().GetBool("no-wait")
			if err != nil {
				return err
			}
			f.wait = !nowait
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			return c.deploy(cmd.Context(), file, &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "application (default: the file's name)")
	fl.StringVar(&f.module, "module", "", "a module that the platform keeps (wasmbed modules), instead of a file")
	_ = cmd.RegisterFlagCompletionFunc("module", c.completeFlag("modules")) // the flag is there
	fl.StringVar(&f.to, "to", "", "devices by name, separated by commas")
	fl.StringVar(&f.selector, "selector", "", "devices by label, KEY=VALUE[,KEY=VALUE…]")
	fl.BoolVar(&f.all, "all", false, "every device of the namespace")
	fl.StringSliceVar(&f.permissions, "permission", nil, "host functions that the module may use (default log,clock,telemetry)")
	fl.StringToStringVar(&f.config, "config", nil, "KEY=VALUE that the module can read")
	fl.StringSliceVar(&f.timers, "timer", nil, "ID=PERIOD, like 1=5s")
	fl.DurationVar(&f.window, "health-window", 0, "how long a new revision is on trial (default 10s)")
	fl.StringVar(&f.unavailable, "max-unavailable", "", "devices updated at once, number or percentage (default 25%)")
	fl.StringVar(&f.batch, "batch-size", "", "devices in a wave, number or percentage (default: one wave)")
	fl.Int32Var(&f.pages, "memory-pages", 0, "64 KiB pages of linear memory that the module may have (default 1)")
	fl.Bool("no-wait", false, "do not wait for the devices")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long to wait")
	return cmd
}

var notName = regexp.MustCompile(`[^a-z0-9-]+`)

func (c *cli) deploy(ctx context.Context, file string, f *deployFlags) error {
	app, err := f.application(file)
	if err != nil {
		return err
	}
	app.Namespace = c.namespace
	if f.module != "" { // else the Application would wait for one
		var m v1alpha1.Module
		if err := c.rest.do(ctx, http.MethodGet, c.ns("modules", f.module), nil, nil, &m); err != nil {
			return err
		}
	}
	var have appAnswer
	err = c.rest.do(ctx, http.MethodGet, c.ns("applications", app.Name), nil, nil, &have)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if err == nil {
		// Only what was asked for changes: an update of the bytes leaves the policy that is there.
		have.Object.Spec.Module = app.Spec.Module
		merge(&have.Object.Spec, &app.Spec, f)
		app.Spec = have.Object.Spec
	} else if f.to == "" && f.selector == "" && !f.all {
		return errs.New(errs.Invalid, "which devices?").WithMend("give --to, --selector or --all")
	}
	var made v1alpha1.Application
	if err := c.rest.do(ctx, http.MethodPut, c.ns("applications", app.Name), nil, app, &made); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "application %s applied (generation %d)\n", made.Name, made.Generation)
	if !f.wait {
		return c.show(stateOf(&made), func(*tabwriter.Writer, bool) {})
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return c.waitReady(ctx, made.Name, made.Generation)
}

// appState is what deploy and rollback end with, for programs.
type appState struct {
	Application string `json:"application"`
	Namespace   string `json:"namespace"`
	Generation  int64  `json:"generation"`
	Revision    string `json:"revision,omitempty"`
	Desired     int32  `json:"desired"`
	Ready       int32  `json:"ready"`
	Failed      int32  `json:"failed"`
	State       string `json:"state,omitempty"` // of the rollout: Progressing, Complete, Failed; none yet, when it is not waited for
	Reason      string `json:"reason,omitempty"`
	Message     string `json:"message,omitempty"`
}

func stateOf(a *v1alpha1.Application) appState {
	s := appState{Application: a.Name, Namespace: a.Namespace, Generation: a.Generation}
	st := &a.Status
	if st.ObservedGeneration < a.Generation || st.Rollout == nil {
		return s
	}
	s.Revision, s.Desired, s.Ready, s.Failed = st.Rollout.To, st.Desired, st.Ready, st.Failed
	s.State, s.Reason, s.Message = string(st.Rollout.State), st.Rollout.Reason, st.Rollout.Message
	return s
}

// merge takes from n what the flags said.
func merge(have, n *v1alpha1.ApplicationSpec, f *deployFlags) {
	if f.to != "" || f.selector != "" || f.all {
		have.Targets = n.Targets
	}
	if f.permissions != nil {
		have.Manifest.Permissions = n.Manifest.Permissions
	}
	if f.config != nil {
		have.Manifest.Config = n.Manifest.Config
	}
	if f.timers != nil {
		have.Manifest.Timers = n.Manifest.Timers
	}
	if f.window != 0 {
		have.Manifest.Health.Window = n.Manifest.Health.Window
	}
	if f.pages != 0 {
		have.Manifest.Limits.MemoryPages = n.Manifest.Limits.MemoryPages
	}
	if f.unavailable != "" {
		have.Rollout.MaxUnavailable = n.Rollout.MaxUnavailable
	}
	if f.batch != "" {
		have.Rollout.BatchSize = n.Rollout.BatchSize
	}
}

func (f *deployFlags) application(file string) (*v1alpha1.Application, error) {
	var b []byte
	switch {
	case (file == "") == (f.module == ""):
		return nil, errs.New(errs.Invalid, "which module?").WithMend("give a FILE.wasm, or --module NAME of one that is kept")
	case f.module != "" && f.name == "":
		return nil, errs.New(errs.Invalid, "which application?").WithMend("--module needs --name")
	case file != "":
		var err error
		if b, err = os.ReadFile(file); err != nil {
			return nil, errs.New(errs.Invalid, "%w", err)
		}
		if _, err := module.Inspect(b); err != nil {
			return nil, err
		}
	}
	name := f.name
	if name == "" {
		name = strings.Trim(notName.ReplaceAllString(strings.ToLower(strings.TrimSuffix(filepath.Base(file), ".wasm")), "-"), "-")
	}
	app := &v1alpha1.Application{TypeMeta: metav1.TypeMeta{APIVersion: "wasmbed.io/v1alpha1", Kind: "Application"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	app.Spec.Module.Inline, app.Spec.Module.Name = b, f.module
	t := &app.Spec.Targets
	given := 0
	for _, set := range []bool{f.to != "", f.selector != "", f.all} {
		if set {
			given++
		}
	}
	if given > 1 {
		return nil, errs.New(errs.Invalid, "--to, --selector and --all exclude each other")
	}
	switch {
	case f.to != "":
		t.Names = strings.Split(f.to, ",")
	case f.selector != "":
		sel, err := metav1.ParseToLabelSelector(f.selector)
		if err != nil {
			return nil, errs.New(errs.Invalid, "--selector: %w", err)
		}
		t.Selector = sel
	case f.all:
		t.All = true
	}
	m := &app.Spec.Manifest
	for _, p := range f.permissions {
		m.Permissions = append(m.Permissions, v1alpha1.Permission(p))
	}
	m.Config, m.Limits.MemoryPages = f.config, f.pages
	if f.window != 0 {
		m.Health.Window = &metav1.Duration{Duration: f.window}
	}
	for _, s := range f.timers {
		var id int32
		id1, period, ok := strings.Cut(s, "=")
		d, err := time.ParseDuration(period)
		if _, scanErr := fmt.Sscan(id1, &id); !ok || err != nil || scanErr != nil {
			return nil, errs.New(errs.Invalid, "--timer %s: it is ID=PERIOD, like 1=5s", s)
		}
		m.Timers = append(m.Timers, v1alpha1.Timer{ID: id, Period: metav1.Duration{Duration: d}})
	}
	if f.unavailable != "" {
		v := intstr.Parse(f.unavailable)
		app.Spec.Rollout.MaxUnavailable = &v
	}
	if f.batch != "" {
		v := intstr.Parse(f.batch)
		app.Spec.Rollout.BatchSize = &v
	}
	return app, nil
}

// waitReady prints how the rollout moves until the application is Ready, or until it is known that it will
// not be: then the error says why, and a device or two as examples.
func (c *cli) waitReady(ctx context.Context, name string, generation int64) error {
	last := ""
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		var a appAnswer
		if err := c.rest.do(ctx, http.MethodGet, c.ns("applications", name), nil, nil, &a); err != nil && !errs.Is(err, errs.Unavailable) {
			return err
		}
		s := a.Object.Status
		if s.ObservedGeneration >= generation {
			line := fmt.Sprintf("%s: %d of %d ready, %d in flight, %d waiting, %d away, %d failed", s.Revision, s.Ready, s.Desired, s.InFlight, s.Pending, s.Away, s.Failed)
			if line != last {
				fmt.Fprintf(c.err, "%s %s\n", clock(time.Now()), line)
				last = line
			}
			conds := map[string]metav1.Condition{}
			for _, cond := range s.Conditions {
				conds[cond.Type] = cond
			}
			ready, back := conds["Ready"], conds["RolledBack"]
			ended := s.Rollout != nil && s.Rollout.State != v1alpha1.RolloutProgressing
			switch {
			case back.Status == metav1.ConditionTrue && s.Rollout != nil && s.Rollout.State == v1alpha1.RolloutComplete:
				return errs.New(errs.Conflict, "rolled back: %s", back.Message).WithMend("wasmbed explain app %s", name)
			case back.Status == metav1.ConditionTrue:
			case ready.Status == metav1.ConditionTrue:
				return c.show(stateOf(&a.Object), func(w *tabwriter.Writer, _ bool) {
					fmt.Fprintf(w, "application %s: revision %s runs on %d of %d devices\n", name, s.Revision, s.Ready, s.Desired)
				})
			case api.Misapplied(ready), ready.Reason == "NoTargets":
				return errs.New(errs.Invalid, "%s: %s", ready.Reason, ready.Message)
			case ended && s.Rollout.State == v1alpha1.RolloutFailedState && !rollsBack(&a.Object):
				return errs.New(errs.Conflict, "the rollout failed: %s", ready.Message).WithMend("wasmbed explain app %s", name)
			}
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Deadline, "not ready in time: %s", last).WithMend("wasmbed explain app %s says why; the rollout goes on", name)
		case <-tick.C:
		}
	}
}

// rollsBack says whether a failed rollout will be followed by a rollback.
func rollsBack(a *v1alpha1.Application) bool {
	auto := a.Spec.Rollout.AutomaticRollback
	return (auto == nil || *auto) && a.Status.StableRevision != "" && a.Status.StableRevision != a.Status.Rollout.To
}

func (c *cli) rollbackCmd() *cobra.Command {
	var to, reason string
	var nowait bool
	cmd := &cobra.Command{
		Use: "rollback APP", Short: "Go back to the last revision that was complete, or to a given one", Args: cobra.ExactArgs(1),
		ValidArgsFunction: c.complete("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var before appAnswer
			if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("applications", args[0]), nil, nil, &before); err != nil {
				return err
			}
			var ans struct{ Event string }
			body := map[string]string{"to": to, "reason": reason}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("applications", args[0], "rollback"), nil, body, &ans); err != nil {
				return err
			}
			fmt.Fprintf(c.err, "rollback of %s requested (event %s)\n", args[0], ans.Event)
			if nowait {
				return c.show(map[string]string{"application": args[0], "namespace": c.namespace, "event": ans.Event}, func(*tabwriter.Writer, bool) {})
			}
			return c.waitRollback(cmd.Context(), args[0], before.Object.Status.Rollout)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "revision (default: the last one whose rollout was complete)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read it later")
	cmd.Flags().BoolVar(&nowait, "no-wait", false, "do not wait for the decision and the devices")
	return cmd
}

func (c *cli) waitRollback(ctx context.Context, name string, before *v1alpha1.RolloutStatus) error {
	var seq int64
	if before != nil {
		seq = before.Sequence
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	last := ""
	for {
		var a appAnswer
		if err := c.rest.do(ctx, http.MethodGet, c.ns("applications", name), nil, nil, &a); err != nil && !errs.Is(err, errs.Unavailable) {
			return err
		}
		if r := a.Object.Status.Rollout; r != nil && r.Sequence > seq {
			line := fmt.Sprintf("%s → %s: %s, %d of %d ready", r.From, r.To, r.State, a.Object.Status.Ready, a.Object.Status.Desired)
			if line != last {
				fmt.Fprintf(c.err, "%s %s\n", clock(time.Now()), line)
				last = line
			}
			switch r.State {
			case v1alpha1.RolloutComplete:
				return c.show(stateOf(&a.Object), func(w *tabwriter.Writer, _ bool) {
					fmt.Fprintf(w, "application %s: back on revision %s\n", name, r.To)
				})
			case v1alpha1.RolloutFailedState:
				return errs.New(errs.Conflict, "the rollback failed: %s", r.Message).WithMend("wasmbed explain app %s", name)
			}
		} else {
			for _, cond := range a.Object.Status.Conditions {
				if cond.Type == "RolledBack" && cond.Reason == "NothingToRollBackTo" {
					return errs.New(errs.Conflict, "%s", cond.Message)
				}
			}
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Deadline, "the rollback is not complete in time: %s", last)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (c *cli) pauseCmd(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " APP", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("apps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("applications", args[0], verb), nil, nil, nil); err != nil {
				return err
			}
			return c.became("application", args[0], verb+"d")
		},
	}
}

func (c *cli) approvalCmd(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " DEVICE…", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: c.completeMany("devices"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, d := range args {
				if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("devices", d, verb), url.Values{}, nil, nil); err != nil {
					return err
				}
				if err := c.became("device", d, map[string]string{"approve": "approved", "reject": "rejected", "revoke": "revoked"}[verb]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
