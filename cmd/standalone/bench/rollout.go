package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const (
	aimRollout = 10.0 // s, for 1,000 devices
	appName    = "hello"
	window     = time.Second // on trial, before an application is confirmed
)

func rolloutRows(ctx context.Context, o *options) ([]row, error) {
	fleets := []int{1, 100, 1000}
	if o.quick {
		fleets = fleets[:2]
	}
	var out []row
	for _, n := range fleets {
		rows, err := fleetRows(ctx, o, n)
		out = append(out, rows...)
		if err != nil {
			return out, fmt.Errorf("%d devices: %w", n, err)
		}
	}
	return out, nil
}

// fleetRows takes n devices of a fresh platform through their life: enrollment, first application, another
// revision of it, and a while of nothing.
func fleetRows(ctx context.Context, o *options, n int) (out []row, err error) {
	p, err := newPlatform(o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.start(ctx, []string{"WASMBED_SAMPLE=false"}, "--without", "devices"); err != nil {
		return nil, err
	}
	pid := p.main.cmd.Process.Pid
	before, err := spent(pid)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	fleet, err := p.fleet(n)
	if err != nil {
		return nil, err
	}
	defer fleet.end()
	have := 0
	err = until(ctx, "all online", time.Duration(50+n/5)*time.Millisecond, func() (bool, error) {
		if have, err = p.online(ctx); err == nil && have < n {
			err = fmt.Errorf("%d of %d", have, n)
		}
		return have == n, err
	})
	if err != nil {
		return nil, err
	}
	enrolled := time.Since(begun)
	quiet, err := p.settle(ctx)
	if err != nil {
		return nil, err
	}
	now, err := spent(pid)
	if err != nil {
		return nil, err
	}
	// What a device costs once in its life.
	parts, sum := since(now, before)
	who := plural(n)
	if n > 1 {
		out = append(out, of("enrollment of "+who+", all online", "s", enrolled.Seconds()).
			with("%.1f ms of CPU each (%s); %s after %.0f s more", float64(sum.Milliseconds())/float64(n), cores(parts), "settled", quiet.Seconds()))
	}
	for i, module := range []string{"hello.wasm", "hello-v2.wasm"} {
		what := "apply → Running on " + who
		if i == 1 {
			what = "the same, a second revision"
		}
		rows, err := p.rollout(ctx, what, module, n)
		out = append(out, rows...)
		if err != nil {
			return out, fmt.Errorf("%s: %w", what, err)
		}
		if _, err := p.settle(ctx); err != nil {
			return out, err
		}
	}
	if n >= 1000 {
		steady, err := p.steady(ctx, n)
		if err != nil {
			return out, err
		}
		out = append(out, steady)
	}
	return out, nil
}

func plural(n int) string {
	if n == 1 {
		return "1 device"
	}
	return number(float64(n)) + " devices"
}

// settle waits until the platform has done what is left to do: writing status, mostly.
func (p *platform) settle(ctx context.Context) (time.Duration, error) {
	begun, still := time.Now(), 0
	before, err := spent(p.main.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	least := time.Hour
	err = until(ctx, "quiet", 500*time.Millisecond, func() (bool, error) {
		now, err := spent(p.main.cmd.Process.Pid)
		if err != nil {
			return false, err
		}
		_, sum := since(now, before)
		before = now
		// Quiet is a fifth of a core, or as little as it gets: a fleet's own traffic never ends.
		if sum < 100*time.Millisecond || sum < least+least/4 && time.Since(begun) > 15*time.Second {
			still++
		} else {
			still = 0
		}
		least = min(least, sum)
		return still >= 3, nil
	})
	return max(0, time.Since(begun)-1500*time.Millisecond), err
}

// arrivals are when devices were first seen in a state, in seconds after the apply, sorted.
type arrivals struct{ running, confirmed []float64 }

// rollout applies a module and waits for everybody.
func (p *platform) rollout(ctx context.Context, what, module string, n int) ([]row, error) {
	wasm, err := os.ReadFile(filepath.Join(p.o.root, "firmware", "modules", module))
	if err != nil {
		return nil, err
	}
	_, from, err := p.led.Feed(ctx, nil, 0)
	if err != nil {
		return nil, err
	}
	pid := p.main.cmd.Process.Pid
	before, err := spent(pid)
	if err != nil {
		return nil, err
	}
	wctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := time.Now()
	app, err := p.apply(wctx, wasm)
	if err != nil {
		return nil, err
	}
	var seen arrivals
	var feedErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		if seen, feedErr = p.follow(wctx, from, begun, n); feedErr != nil {
			cancel()
		}
	})
	var ready time.Duration
	err = until(wctx, "Ready", 25*time.Millisecond, func() (bool, error) {
		a, err := p.kube.Applications.Get(wctx, ns, appName)
		if err != nil {
			return false, err
		}
		ready = time.Since(begun)
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		ok := a.Generation >= app.Generation && c != nil && c.ObservedGeneration == a.Generation && c.Status == metav1.ConditionTrue && int(a.Status.Ready) == n
		if !ok {
			err = fmt.Errorf("%s ready, %d running", a.Status.ReadyDesired, a.Status.Running)
		}
		return ok, err
	})
	wg.Wait()
	if feedErr != nil {
		return nil, feedErr
	}
	if err != nil {
		return nil, err
	}
	now, err := spent(pid)
	if err != nil {
		return nil, err
	}
	parts, sum := since(now, before)
	spread := ""
	if n > 1 {
		spread = fmt.Sprintf("per device p50 %.2f, p99 %.2f; ", quantile(seen.running, 0.5), quantile(seen.running, 0.99))
	}
	return []row{
		of(what, "s", seen.running[n-1]).atMost(aimRollout).with("%sCPU %.1f s: %s", spread, sum.Seconds(), cores(parts)),
		of("… confirmed after "+window.String()+" on trial, Application Ready", "s", ready.Seconds()).
			with("last device confirmed after %.2f", seen.confirmed[n-1]),
	}, nil
}

// cores is CPU time by process.
func cores(parts map[string]time.Duration) string {
	var out []string
	for _, k := range slices.SortedFunc(maps.Keys(parts), func(a, b string) int { return int(parts[b] - parts[a]) }) {
		out = append(out, fmt.Sprintf("%s %.1f", k, parts[k].Seconds()))
	}
	return strings.Join(out, ", ")
}

// apply creates the application, or gives it another module.
func (p *platform) apply(ctx context.Context, wasm []byte) (*v1alpha1.Application, error) {
	for {
		have, err := p.kube.Applications.Get(ctx, ns, appName)
		switch {
		case errs.Is(err, errs.NotFound):
			everything := intstr.FromString("100%")
			a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: appName}}
			a.Spec.Module.Inline = wasm
			a.Spec.Targets.All = true
			a.Spec.Rollout.MaxUnavailable = &everything
			a.Spec.Manifest.Health.Window = &metav1.Duration{Duration: window}
			a.Spec.Manifest.Permissions = []v1alpha1.Permission{"log", "telemetry"}
			a.Spec.Manifest.Timers = []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: time.Second}}}
			return p.kube.Applications.Create(ctx, a)
		case err != nil:
			return nil, err
		}
		have.Spec.Module.Inline = wasm
		if have, err = p.kube.Applications.Update(ctx, have); !errs.Is(err, errs.Conflict) {
			return have, err
		}
	}
}

// follow reads the ledger's feed until n devices run the application's new revision, confirmed. Times are those of
// the ledger: this machine's clock, in ms.
func (p *platform) follow(ctx context.Context, from []string, begun time.Time, n int) (arrivals, error) {
	running, confirmed := map[string]float64{}, map[string]float64{}
	note := func(m map[string]float64, e ledger.FeedEntry) {
		if _, ok := m[e.Device.Name]; !ok {
			m[e.Device.Name] = e.Time.Sub(begun).Seconds()
		}
	}
	for len(confirmed) < n {
		entries, next, err := p.led.Feed(ctx, from, time.Second)
		if err != nil {
			return arrivals{}, fmt.Errorf("%d of %d running, %d confirmed: %w", len(running), n, len(confirmed), err)
		}
		from = next
		for _, e := range entries {
			if e.App != appName {
				continue
			}
			// Until it is dispatched a device says nothing new, so what it says is of the new revision.
			if e.State == "Running" && (e.Kind == "state" || e.To == "done") {
				note(running, e)
			}
			if e.To == "done" {
				note(confirmed, e)
			}
		}
	}
	return arrivals{slices.Sorted(maps.Values(running)), slices.Sorted(maps.Values(confirmed))}, nil
}

// steady is what a fleet costs that runs and reports one telemetry record per device and second.
func (p *platform) steady(ctx context.Context, n int) (row, error) {
	const over = 10 * time.Second
	before, err := spent(p.main.cmd.Process.Pid)
	if err != nil {
		return row{}, err
	}
	begun := time.Now()
	select {
	case <-ctx.Done():
		return row{}, context.Cause(ctx)
	case <-time.After(over):
	}
	now, err := spent(p.main.cmd.Process.Pid)
	if err != nil {
		return row{}, err
	}
	parts, sum := since(now, before)
	return of(plural(n)+" that run, a telemetry record each second", "% of a core", 100*sum.Seconds()/time.Since(begun).Seconds()).
		with("CPU s in 10 s: %s; without the devices themselves", cores(parts)), nil
}
