package functions

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/module"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/errs"
)

// want checks one condition of an application, and the printer column.
func (w *world) want(app, condition, status, reason string) *v1alpha1.Application {
	w.t.Helper()
	a := w.app(app)
	c := meta.FindStatusCondition(a.Status.Conditions, condition)
	if c == nil {
		w.t.Fatalf("%s has no condition %s; status %s", app, condition, dump(a.Status))
	}
	if string(c.Status) != status || c.Reason != reason {
		w.t.Fatalf("%s: %s is %s %s (%s), want %s %s\nstatus %s", app, condition, c.Status, c.Reason, c.Message, status, reason, dump(a.Status))
	}
	if c.ObservedGeneration != a.Generation || a.Status.ObservedGeneration != a.Generation {
		w.t.Fatalf("%s: generation %d, observed %d, by the condition %d", app, a.Generation, a.Status.ObservedGeneration, c.ObservedGeneration)
	}
	return a
}

func dump(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}

// runs checks what every device of a list runs.
func (w *world) runs(app string, mod []byte, devices ...string) {
	w.t.Helper()
	for _, name := range devices {
		d := w.devices[name]
		st := d.apps[app]
		if mod == nil {
			if _, ok := d.apps[app]; ok {
				w.t.Errorf("%s still has %s: %+v", name, app, st)
			}
			continue
		}
		if got := d.digests[app]; got != module.Digest(mod) || st.Running == "" {
			w.t.Errorf("%s: %s is %+v, digest %.20s; want %.20s", name, app, st, got, module.Digest(mod))
		}
	}
}

// TestLife is the life of an application, told plainly, and with every event delivered twice and in any order.
func TestLife(t *testing.T) {
	for _, x := range []struct {
		name        string
		rude, lossy bool
		parallel    int
		seed        uint64
	}{
		{"plain", false, false, 1, 1}, {"replayed 1", true, false, 1, 1}, {"replayed 2", true, false, 1, 2},
		{"answers lost 1", false, true, 1, 1}, {"answers lost 2", true, true, 1, 2}, {"answers lost 3", true, true, 1, 3},
		{"at once", false, false, 16, 1}, {"at once, answers lost", false, true, 16, 1},
	} {
		if n, err := strconv.ParseUint(os.Getenv("LIFE_SEED"), 10, 64); err == nil {
			x.seed += n
		}
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, x.rude, x.seed)
			w.lossy, w.parallel = x.lossy, x.parallel
			life(w)
		})
	}
}

// counted is a revision's name without its hash.
func counted(name string) string { return name[:max(0, strings.LastIndexByte(name, '-'))] }

// revision is the name of an application's n-th revision.
func (w *world) revision(app string, n int64) string {
	w.t.Helper()
	revs, _, err := w.set.Revisions.List(w.ctx, ns, client.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range revs {
		if r.Spec.Application == app && r.Spec.Number == n {
			return r.Name
		}
	}
	w.t.Fatalf("%s has no revision %d", app, n)
	return ""
}

func life(w *world) {
	t := w.t
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 3, map[string]string{"line": "a"})
	w.fleet("oven", 2, map[string]string{"line": "b"})
	w.settle(time.Second)
	all := []string{"press-01", "press-02", "press-03", "oven-01", "oven-02"}
	for _, name := range all {
		d, err := w.set.Devices.Get(w.ctx, ns, name)
		if err != nil || d.Status.Online != "True" || !meta.IsStatusConditionTrue(d.Status.Conditions, "Enrolled") {
			t.Fatalf("%s: %v, %s", name, err, dump(d.Status))
		}
	}

	// From apply to Ready.
	w.create("vibration", wasm(1), func(a *v1alpha1.Application) {
		a.Spec.Targets = v1alpha1.Targets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"line": "a"}}}
	})
	w.settle(2 * time.Second)
	a := w.want("vibration", "Ready", "True", "DevicesReady")
	w.want("vibration", "Progressing", "False", "RolloutComplete")
	if counted(a.Status.Revision) != "vibration-1" || counted(a.Status.StableRevision) != "vibration-1" || a.Status.ReadyDesired != "3/3" || a.Status.Condition != "Ready" {
		t.Fatal(dump(a.Status))
	}
	w.runs("vibration", wasm(1), all[:3]...)
	w.runs("vibration", nil, all[3:]...)
	if n := w.told(event.RolloutCompleted); n != 1 {
		t.Errorf("%d rollouts completed", n)
	}
	d, err := w.set.Devices.Get(w.ctx, ns, "press-01")
	if err != nil || d.Status.Apps != "1/1" {
		t.Errorf("device status %v %s", err, dump(d.Status))
	}

	// An update that works; the same bytes again are the same revision.
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(2) })
	w.settle(2 * time.Second)
	a = w.want("vibration", "Ready", "True", "DevicesReady")
	if counted(a.Status.StableRevision) != "vibration-2" {
		t.Fatal(dump(a.Status))
	}
	w.runs("vibration", wasm(2), all[:3]...)

	// An update that fails is undone by itself.
	for _, name := range all {
		w.devices[name].bad[module.Digest(wasm(3))] = "TrapLoop"
	}
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(3) })
	w.settle(3 * time.Second)
	a = w.want("vibration", "Ready", "True", "DevicesReady")
	c := meta.FindStatusCondition(a.Status.Conditions, "RolledBack")
	if c == nil || c.Status != "True" || c.Reason != "RolloutFailed" || !strings.Contains(c.Message, "TrapLoop") {
		t.Fatal(dump(a.Status))
	}
	if ro := a.Status.Rollout; counted(ro.From) != "vibration-3" || counted(ro.To) != "vibration-2" || counted(ro.SpecRevision) != "vibration-3" || ro.Sequence != 4 || a.Status.Condition != "RolledBack" {
		t.Fatal(dump(a.Status))
	}
	w.runs("vibration", wasm(2), all[:3]...)
	if f, d := w.told(event.RolloutFailed), w.told(event.RollbackDecided); f != 1 || d != 1 {
		t.Errorf("%d rollouts failed, %d rollbacks were decided", f, d)
	}
	touched := 0
	for _, name := range all[:3] {
		if w.devices[name].changes > 2 {
			touched++
		}
	}
	if touched != 1 {
		t.Errorf("%d devices met the bad revision; max unavailable is 1", touched)
	}

	// What does not change the revision leaves the decision: now the targets.
	w.label("press-03", map[string]string{"line": "b"})
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.Rollout.MaxUnavailable = ptr(intstr.FromInt32(2)) })
	w.settle(2 * time.Second)
	a = w.want("vibration", "Ready", "True", "DevicesReady")
	if a.Status.ReadyDesired != "2/2" || counted(a.Status.Rollout.To) != "vibration-2" {
		t.Fatal(dump(a.Status))
	}
	w.runs("vibration", wasm(2), all[:2]...)
	w.runs("vibration", nil, all[2:]...)
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.Targets = v1alpha1.Targets{All: true} })
	w.settle(2 * time.Second)
	w.want("vibration", "Ready", "True", "DevicesReady")
	w.runs("vibration", wasm(2), all...)

	// A person goes back further, and then asks for something new.
	w.post(w.event(event.RollbackRequested, "/wasmbed/api/alice", ns+"/vibration", event.RollbackRequest{Namespace: ns, Application: "vibration", To: w.revision("vibration", 1), Reason: "noise", By: "alice"}))
	w.settle(2 * time.Second)
	a = w.want("vibration", "RolledBack", "True", "Requested")
	w.want("vibration", "Ready", "True", "DevicesReady")
	w.runs("vibration", wasm(1), all...)
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(4) })
	w.settle(2 * time.Second)
	w.want("vibration", "RolledBack", "False", "SpecChanged")
	w.want("vibration", "Ready", "True", "DevicesReady")
	w.runs("vibration", wasm(4), all...)

	// Redis is lost; everybody keeps what runs, and what was derived is what it was.
	before := w.picture()
	runs := w.moduleChanges()
	testcluster.Wipe(t, w.redis)
	w.era()
	for _, name := range all {
		w.devices[name].connect() // gateways announce their sessions
	}
	w.settle(15 * time.Second)
	if after := w.picture(); !reflect.DeepEqual(before, after) {
		t.Errorf("the ledger is not what it was\nbefore %s\nafter  %s", dump(before), dump(after))
	}
	if n := w.moduleChanges(); n != runs {
		t.Errorf("%d modules were started or stopped because the ledger was lost", n-runs)
	}
	w.want("vibration", "Ready", "True", "DevicesReady")

	// Stopped, and running again.
	w.edit("vibration", func(a *v1alpha1.Application) { a.Spec.State = v1alpha1.RunStateStopped })
	w.settle(3 * time.Second)
	w.want("vibration", "Ready", "True", "DevicesReady")
	if s := w.devices["oven-01"].apps["vibration"].State; s != "Stopped" {
		t.Errorf("oven-01 is %s", s)
	}

	// A device leaves.
	if err := w.set.Devices.Delete(w.ctx, ns, "press-02"); err != nil {
		t.Fatal(err)
	}
	delete(w.devices, "press-02")
	w.settle(2 * time.Second)
	if a := w.app("vibration"); a.Status.ReadyDesired != "4/4" {
		t.Errorf("after a device was deleted: %s", dump(a.Status))
	}
	if _, err := w.set.Devices.Get(w.ctx, ns, "press-02"); !errs.Is(err, errs.NotFound) {
		t.Errorf("press-02: %v", err)
	}
	if denied, err := w.ledger.Denied(w.ctx, ns); err != nil || len(denied) != 1 {
		t.Errorf("denied %v, %v", denied, err)
	}

	// The application leaves, and everything that was made for it.
	if err := w.set.Applications.Delete(w.ctx, ns, "vibration"); err != nil {
		t.Fatal(err)
	}
	w.settle(2 * time.Second)
	for name, d := range w.devices {
		if len(d.apps) > 0 {
			t.Errorf("%s still has %v", name, d.apps)
		}
	}
	revs, _, _ := w.set.Revisions.List(w.ctx, ns, client.ListOptions{})
	mods, _, _ := w.set.Modules.List(w.ctx, ns, client.ListOptions{})
	apps, _, _ := w.set.Applications.List(w.ctx, ns, client.ListOptions{})
	if len(revs)+len(mods)+len(apps) > 0 {
		t.Errorf("left: %d revisions, %d modules, %d applications", len(revs), len(mods), len(apps))
	}
}

func ptr[T any](v T) *T { return &v }

func (w *world) moduleChanges() int {
	n := 0
	for _, d := range w.devices {
		n += d.changes
	}
	return n
}

// picture is what is derived and must be rebuilt: who is where with what, and the counts.
func (w *world) picture() map[string]any {
	w.t.Helper()
	out := map[string]any{}
	views, _, err := w.ledger.Devices(w.ctx, ns, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range views {
		apps := map[string]any{}
		for _, a := range v.Apps {
			var target ledger.DesiredApp
			if a.Target != nil {
				target = *a.Target
			}
			apps[a.App] = []any{a.Set, target, *a.Reported}
		}
		out[v.Device.Name] = []any{v.Online, v.Known, v.Approved, v.Hold, v.Board, v.Labels, v.Capabilities, apps}
	}
	for _, a := range []string{"vibration"} {
		c, err := w.ledger.Counts(w.ctx, ledger.App{Namespace: ns, Name: a})
		if err != nil {
			w.t.Fatal(err)
		}
		out["counts of "+a] = c
	}
	g, err := w.ledger.Gateway(w.ctx, ns, "main")
	if err != nil {
		w.t.Fatal(err)
	}
	trust, err := w.ledger.Trust(w.ctx, ns)
	if err != nil {
		w.t.Fatal(err)
	}
	out["gateway"], out["trust"] = g, string(trust)
	return out
}

func TestModuleProblems(t *testing.T) {
	w := newWorld(t, false, 1)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 2, nil)
	for _, x := range []struct {
		name   string
		source v1alpha1.ModuleSource
		reason string
	}{
		{"not-wasm", v1alpha1.ModuleSource{Inline: []byte("#!/bin/sh")}, "NotWasm"},
		{"no-entry", v1alpha1.ModuleSource{Inline: []byte("\x00asm\x01\x00\x00\x00")}, "NoEntryPoint"},
		{"not-permitted", v1alpha1.ModuleSource{Inline: wasmWith(1, "gpio_read", 1)}, "PermissionDenied"},
		{"too-much", v1alpha1.ModuleSource{Inline: wasmWith(1, "", 2)}, "InsufficientMemory"},
		{"nowhere", v1alpha1.ModuleSource{OCI: "registry.example/app:1"}, "ModuleNotFound"},
		{"later", v1alpha1.ModuleSource{Name: "later"}, "ModuleNotFound"},
		{"nothing", v1alpha1.ModuleSource{}, "ModuleNotFound"},
	} {
		w.create(x.name, nil, func(a *v1alpha1.Application) { a.Spec.Module = x.source })
		w.settle(time.Second)
		w.want(x.name, "Ready", "False", x.reason)
		w.want(x.name, "Progressing", "False", x.reason)
		if a := w.app(x.name); a.Status.Condition != x.reason || a.Status.Rollout != nil {
			t.Errorf("%s: %s", x.name, dump(a.Status))
		}
	}
	if n := w.moduleChanges(); n != 0 {
		t.Errorf("%d modules reached devices", n)
	}
	// The Module that was waited for comes.
	if _, err := w.set.Modules.Create(w.ctx, &v1alpha1.Module{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "later"}, Spec: v1alpha1.ModuleSpec{Bytes: wasm(7)}}); err != nil {
		t.Fatal(err)
	}
	w.settle(2 * time.Second)
	w.want("later", "Ready", "True", "DevicesReady")
	m, err := w.set.Modules.Get(w.ctx, ns, "later")
	if err != nil || !meta.IsStatusConditionTrue(m.Status.Conditions, "Valid") || m.Status.Digest != module.Digest(wasm(7)) {
		t.Errorf("%v %s", err, dump(m.Status))
	}
	// A broken spec after a good one: what runs goes on, and the reason is there.
	w.edit("later", func(a *v1alpha1.Application) { a.Spec.Module = v1alpha1.ModuleSource{Name: "never"} })
	w.settle(time.Second)
	a := w.want("later", "Ready", "False", "ModuleNotFound")
	if a.Status.ReadyDesired != "2/2" || counted(a.Status.Revision) != "later-1" {
		t.Error(dump(a.Status))
	}
	w.runs("later", wasm(7), "press-01", "press-02")
	w.edit("later", func(a *v1alpha1.Application) { a.Spec.Module = v1alpha1.ModuleSource{Name: "later"} })
	w.settle(time.Second)
	w.want("later", "Ready", "True", "DevicesReady")
	if n := w.told(event.RolloutStarted); n != 1 {
		t.Errorf("%d rollouts", n)
	}
}

func TestNothingToRollBackTo(t *testing.T) {
	w := newWorld(t, true, 4)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 2, nil)
	for _, d := range w.devices {
		d.bad[module.Digest(wasm(1))] = "Trap"
	}
	w.create("first", wasm(1), nil)
	w.settle(time.Second)
	w.want("first", "Ready", "False", "RolloutFailed")
	a := w.want("first", "RolledBack", "False", "NothingToRollBackTo")
	if a.Status.Rollout.State != "Failed" || a.Status.Condition != "Failed" || len(a.Status.FailingDevices) != 2 || a.Status.Reasons["Trap"] != 2 {
		t.Error(dump(a.Status))
	}
	w.settle(time.Minute) // and it stays so, without a word more
	if n := w.told(event.RolloutFailed); n != 1 {
		t.Errorf("told %d times", n)
	}
	// A new spec goes forward.
	w.edit("first", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(2) })
	w.settle(2 * time.Second)
	w.want("first", "Ready", "True", "DevicesReady")
}

func TestPauseHoldAwayAndDeadline(t *testing.T) {
	w := newWorld(t, false, 5)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 4, nil)
	hold := func(name string, on bool) {
		d, err := w.set.Devices.Get(w.ctx, ns, name)
		if err != nil {
			t.Fatal(err)
		}
		d.Spec.Hold = on
		if _, err := w.set.Devices.Update(w.ctx, d); err != nil {
			t.Fatal(err)
		}
		w.drain()
	}
	hold("press-01", true)
	w.devices["press-02"].disconnect()
	w.drain()
	w.create("app", wasm(1), func(a *v1alpha1.Application) { a.Spec.Paused = true })
	w.settle(time.Second)
	a := w.want("app", "Ready", "False", "Paused")
	if a.Status.Held != 1 || a.Status.Away != 1 || a.Status.Pending != 2 {
		t.Fatal(dump(a.Status))
	}
	w.edit("app", func(a *v1alpha1.Application) { a.Spec.Paused = false })
	w.settle(time.Second)
	w.want("app", "Ready", "False", "DevicesHeld")
	w.want("app", "Progressing", "False", "RolloutComplete")
	hold("press-01", false)
	w.settle(time.Second)
	w.want("app", "Ready", "False", "DevicesAway")
	w.devices["press-02"].connect()
	w.settle(time.Second)
	w.want("app", "Ready", "True", "DevicesReady")

	// A device that does not answer fails after the deadline, and the rollout with it.
	w.devices["press-01"].mute = true
	w.edit("app", func(a *v1alpha1.Application) {
		a.Spec.Module.Inline = wasm(2)
		a.Spec.Rollout.MaxUnavailable = ptr(intstr.FromString("100%"))
		a.Spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: 30 * time.Second}
		a.Spec.Rollout.AutomaticRollback = ptr(false)
	})
	w.settle(20 * time.Second)
	w.want("app", "Ready", "False", "RolloutProgressing")
	w.settle(20 * time.Second)
	a = w.want("app", "Ready", "False", "RolloutFailed")
	if a.Status.Reasons["DeadlineExceeded"] != 1 || len(a.Status.FailingDevices) != 1 || a.Status.FailingDevices[0].Name != "press-01" {
		t.Error(dump(a.Status))
	}
	if meta.FindStatusCondition(a.Status.Conditions, "RolledBack") != nil || w.told(event.RollbackDecided) != 0 {
		t.Error("rolled back although the policy says no")
	}
}

func TestRefusedDevicesDoNotFailTheOthers(t *testing.T) {
	w := newWorld(t, false, 6)
	w.gateway(v1alpha1.PairingAutomatic)
	tiny := w.newDevice("tiny")
	tiny.caps.ModuleMemory = 1024
	tiny.ask(tiny.request())
	tiny.connect()
	w.fleet("press", 3, nil)
	w.create("app", wasm(1), nil)
	w.settle(time.Second)
	a := w.want("app", "Ready", "False", "DevicesFailed")
	if a.Status.Rollout.State != "Complete" || a.Status.Ready != 3 || a.Status.Reasons["InsufficientMemory"] != 1 || !strings.Contains(a.Status.FailingDevices[0].Message, "bytes of memory") {
		t.Error(dump(a.Status))
	}
	if tiny.changes != 0 {
		t.Error("something was sent to a device that cannot hold it")
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t, false, 7)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 1, nil)
	w.create("app", wasm(0), func(a *v1alpha1.Application) { a.Spec.RevisionHistoryLimit = ptr(int32(2)) })
	w.create("other", wasm(1), nil) // shares a module with app's second revision
	w.settle(time.Second)
	for n := byte(1); n <= 6; n++ {
		w.edit("app", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(n) })
		w.settle(time.Second)
	}
	w.want("app", "Ready", "True", "DevicesReady")
	revs, _, err := w.set.Revisions.List(w.ctx, ns, client.ListOptions{Labels: v1alpha1.LabelApplication + "=app"})
	var names []string
	for _, r := range revs {
		names = append(names, counted(r.Name))
	}
	if want := []string{"app-4", "app-5", "app-6", "app-7"}; err != nil || !slices.Equal(names, want) { // wanted, the one before, and two more
		t.Errorf("revisions %v, want %v", names, want)
	}
	mods, _, _ := w.set.Modules.List(w.ctx, ns, client.ListOptions{})
	var have []string
	for _, m := range mods {
		have = append(have, m.Spec.Digest)
	}
	for n := byte(0); n <= 6; n++ {
		needed := n >= 3 || n == 1
		if slices.Contains(have, module.Digest(wasm(n))) != needed {
			t.Errorf("module %d: kept %v, want %v", n, !needed, needed)
		}
	}
	w.edit("app", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(4) }) // app-5's bytes
	w.settle(time.Second)
	if a := w.app("app"); counted(a.Status.Revision) != "app-5" {
		t.Errorf("equal bytes are revision %s", a.Status.Revision)
	}
}

func TestModuleMissed(t *testing.T) {
	w := newWorld(t, true, 8)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 1, nil)
	w.create("app", wasm(1), nil)
	w.settle(time.Second)
	rdb := w.redis
	key := w.ledger.Keys().Module(ns, module.Digest(wasm(1)))
	if n, err := rdb.Del(w.ctx, key).Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := w.set.Modules.Delete(w.ctx, ns, "m-"+module.Digest(wasm(1))[7:23]); err != nil {
		t.Fatal(err)
	}
	w.fromGateway(event.ModuleMissed, event.ModuleMiss{Namespace: ns, Digest: module.Digest(wasm(1))})
	w.fromGateway(event.ModuleMissed, event.ModuleMiss{Namespace: ns, Digest: "sha256:" + strings.Repeat("0", 64)})
	w.drain()
	if b, err := w.ledger.Module(w.ctx, ns, module.Digest(wasm(1))); err != nil || string(b) != string(wasm(1)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestKubernetesAwayCatchesUp(t *testing.T) {
	w := newWorld(t, false, 9)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 2, nil)
	w.create("app", wasm(1), nil)
	w.settle(time.Second)
	first := w.revision("app", 1)
	w.mu.Lock()
	w.outage = func(verb, resource string) error {
		return errs.New(errs.Unavailable, "%s %s: the API server is away", verb, resource)
	}
	w.mu.Unlock()
	d := w.devices["press-01"]
	report := w.tables[0]["report"]
	d.version++
	e := w.event(event.DeviceReported, gatewaySource, d.who.String(), event.Reported{Device: d.who, Epoch: d.epoch, Era: w.era(), Version: d.version, Full: true,
		Apps: map[string]event.AppState{"app": {State: "Failed", Revision: first, Attempt: 1, Reason: "TrapLoop"}}, StateDigest: "0000000000000000", Time: w.clock()})
	if _, err := report.Function.Handle(w.ctx, e); err != nil {
		t.Fatalf("a report was not recorded because Kubernetes is away: %v", err)
	}
	if _, err := w.tables[0]["deploy"].Function.Handle(w.ctx, w.event(event.TimerDue, gatewaySource, "", event.Timer{Kind: "advance", Namespace: ns, Name: "app"})); Status(err) != 503 {
		t.Fatalf("deploy without Kubernetes: %v", err)
	}
	w.mu.Lock()
	w.outage = nil
	w.mu.Unlock()
	w.settle(3 * time.Second)
	a := w.want("app", "Ready", "False", "DevicesFailed")
	if a.Status.Failed != 1 {
		t.Error(dump(a.Status))
	}
}

func TestManyDevicesStayWithinMaxUnavailable(t *testing.T) {
	w := newWorld(t, true, 10)
	w.gateway(v1alpha1.PairingAutomatic)
	w.fleet("press", 30, nil)
	w.create("app", wasm(1), nil)
	w.settle(time.Second)
	w.want("app", "Ready", "True", "DevicesReady")
	most := int32(0)
	w.edit("app", func(a *v1alpha1.Application) {
		a.Spec.Module.Inline = wasm(2)
		a.Spec.Rollout.MaxUnavailable = ptr(intstr.FromString("20%"))
		a.Spec.Rollout.BatchSize = ptr(intstr.FromInt32(10))
	})
	for range 200 {
		w.drain()
		c, err := w.ledger.Counts(w.ctx, ledger.App{Namespace: ns, Name: "app"})
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, int32(c.InFlight))
		acted := false
		for _, name := range []int{w.rand.IntN(30), w.rand.IntN(30), w.rand.IntN(30)} {
			acted = w.devices[fmt.Sprintf("press-%02d", name+1)].act() || acted
		}
		w.pass(100 * time.Millisecond)
	}
	w.settle(2 * time.Second)
	w.want("app", "Ready", "True", "DevicesReady")
	if most != 6 {
		t.Errorf("%d in flight at most; 20%% of 30 are 6", most)
	}
}
