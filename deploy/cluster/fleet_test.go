package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

const ns = "default" // the tenant whose Gateway the manifests install

// address is where devices dial the gateways.
func (w *world) address() string {
	w.t.Helper()
	if a := os.Getenv("WASMBED_CLUSTER_GATEWAY"); a != "" {
		return a
	}
	s, err := w.core.CoreV1().Services(system).Get(w.ctx(), "wasmbed-gateway", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		return net.JoinHostPort(in.IP+in.Hostname, "8081")
	}
	return net.JoinHostPort(s.Spec.ClusterIP, "8081")
}

// trust writes the trust anchors of the gateway's certificate into a file.
func (w *world) trust() string {
	w.t.Helper()
	var pem string
	w.until("the trust anchors are published", func() error {
		c, err := w.core.CoreV1().ConfigMaps(system).Get(w.ctx(), "wasmbed-trust", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pem = c.Data["ca.crt"]; pem == "" {
			return fmt.Errorf("ConfigMap wasmbed-trust has no ca.crt")
		}
		return nil
	})
	path := filepath.Join(w.t.TempDir(), "trust.pem")
	if err := os.WriteFile(path, []byte(pem), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// pairing opens the Gateway's window: whoever asks is let in.
func (w *world) pairing() {
	w.t.Helper()
	w.until("pairing is open", func() error {
		g, err := w.kube.Gateways.Get(w.ctx(), ns, "default")
		if err != nil {
			return err
		}
		until := metav1.NewTime(time.Now().Add(2 * time.Hour))
		g.Spec.Pairing = v1alpha1.Pairing{Until: &until, Approval: "Automatic"}
		g.Spec.Heartbeat = &metav1.Duration{Duration: time.Second}
		_, err = w.kube.Gateways.Update(w.ctx(), g)
		return err
	})
}

// fleet is host devices outside the cluster: processes with the real firmware core.
type fleet struct {
	*world
	name  string
	names []string
	led   *ledger.Ledger
	cmd   *exec.Cmd
	log   *tail
}

// devices starts n of them and waits until all have enrolled and have a session. They are removed when the test ends.
func (w *world) devices(name string, n int) *fleet {
	w.t.Helper()
	f := &fleet{world: w, name: name, led: w.ledger("api"), log: &tail{}}
	for i := 1; i <= n; i++ {
		f.names = append(f.names, fmt.Sprintf("%s-%04d", name, i))
	}
	if n == 1 {
		f.names = []string{name}
	}
	f.cmd = exec.Command(filepath.Join(w.bin, "device"))
	f.cmd.Env = append(os.Environ(), "WASMBED_DEVICE_GATEWAY="+w.address(), "WASMBED_DEVICE_SERVER_NAME=wasmbed-gateway", "WASMBED_DEVICE_TRUST="+w.trust(),
		"WASMBED_DEVICE_DIR="+filepath.Join(w.t.TempDir(), name), "WASMBED_DEVICE_NAME="+name, "WASMBED_DEVICE_BOARD=Mps2An385",
		fmt.Sprintf("WASMBED_DEVICE_COUNT=%d", n), "WASMBED_DEVICE_SYNC=false")
	f.cmd.Stdout, f.cmd.Stderr = f.log, f.log
	if err := f.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("the last that %s said:\n%s", name, f.log)
		}
		for _, d := range f.names {
			_ = w.kube.Devices.Delete(context.Background(), ns, d)
		}
	})
	f.online()
	return f
}

func (f *fleet) view(name string) (ledger.DeviceView, error) {
	return f.led.Device(f.ctx(), event.Device{Namespace: ns, Name: name})
}

// views are those of all devices.
func (f *fleet) views() (map[string]ledger.DeviceView, error) {
	out := make(map[string]ledger.DeviceView, len(f.names))
	for _, n := range f.names {
		v, err := f.view(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		out[n] = v
	}
	return out, nil
}

// online waits until all have a session.
func (f *fleet) online() map[string]ledger.DeviceView {
	f.t.Helper()
	var vs map[string]ledger.DeviceView
	f.until(fmt.Sprintf("%d devices are online", len(f.names)), func() (err error) {
		if vs, err = f.views(); err != nil {
			return err
		}
		for n, v := range vs {
			if !v.Online || !v.Known {
				return fmt.Errorf("%s: online %v, known %v", n, v.Online, v.Known)
			}
		}
		return nil
	})
	return vs
}

// unchanged says that no device was booted again and no instance of the application started again.
func (f *fleet) unchanged(before map[string]ledger.DeviceView, app string) {
	f.t.Helper()
	after, err := f.views()
	if err != nil {
		f.t.Fatal(err)
	}
	for name, b := range before {
		a := after[name]
		x, y := on(b, app), on(a, app)
		if a.BootID != b.BootID {
			f.t.Errorf("%s was booted again", name)
		}
		if x.Revision != y.Revision || x.Restarts != y.Restarts || x.Attempt != y.Attempt || x.State != y.State {
			f.t.Errorf("%s: %s was %+v and is %+v", name, app, x, y)
		}
	}
}

// agrees compares the three: what the CRD says, what the ledger says, and what the devices say of themselves there.
func (f *fleet) agrees(app string) {
	f.t.Helper()
	f.until("CRDs, ledger and devices agree on "+app, func() error {
		a, err := f.kube.Applications.Get(f.ctx(), ns, app)
		if err != nil {
			return err
		}
		vs, err := f.views()
		if err != nil {
			return err
		}
		for n, v := range vs {
			i := slices.IndexFunc(v.Apps, func(x ledger.AppView) bool { return x.App == app })
			if i < 0 || v.Apps[i].Desired == nil || v.Apps[i].Reported == nil {
				return fmt.Errorf("%s has no %s", n, app)
			}
			d, r := v.Apps[i].Desired, v.Apps[i].Reported
			// Who went back by itself says so: it runs the revision that is wanted, and speaks of the one that failed.
			runs := r.State == "Running" && r.Revision == d.Revision && r.Confirmed || r.State == "RolledBack" && r.Running == d.Revision
			if d.Revision != a.Status.Revision || !runs {
				return fmt.Errorf("%s: status %s, desired %s, reported %s %s (confirmed %v)", n, a.Status.Revision, d.Revision, r.Revision, r.State, r.Confirmed)
			}
		}
		if int(a.Status.Ready) != len(vs) {
			return fmt.Errorf("status says %d ready of %d", a.Status.Ready, len(vs))
		}
		return nil
	})
}

// on returns what a device said of an application.
func on(v ledger.DeviceView, app string) event.AppState {
	for _, a := range v.Apps {
		if a.App == app && a.Reported != nil {
			return *a.Reported
		}
	}
	return event.AppState{}
}

// wasm reads a sample module.
func wasm(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../firmware/modules/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// application makes an Application on the fleet, quick: everything at once, a short trial.
func (f *fleet) application(name, module string, change ...func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
	everything := intstr.FromString("100%")
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	a.Spec.Module.Inline = wasm(f.t, module)
	a.Spec.Targets.Names = f.names
	a.Spec.Rollout.MaxUnavailable = &everything
	a.Spec.Manifest.Health.Window = &metav1.Duration{Duration: time.Second}
	a.Spec.Manifest.Permissions = []v1alpha1.Permission{"log", "clock", "telemetry", "kv", "timer"}
	a.Spec.Manifest.Timers = []v1alpha1.Timer{{ID: 1, Period: metav1.Duration{Duration: 2 * time.Second}}}
	for _, c := range change {
		c(&a.Spec)
	}
	return a
}

// apply creates the application or gives it the spec; it is deleted when the test ends.
func (w *world) apply(a *v1alpha1.Application) {
	w.t.Helper()
	w.until("apply "+a.Name, func() error {
		have, err := w.kube.Applications.Get(w.ctx(), a.Namespace, a.Name)
		if errs.Is(err, errs.NotFound) {
			_, err = w.kube.Applications.Create(w.ctx(), a)
			w.t.Cleanup(func() { _ = w.kube.Applications.Delete(context.Background(), a.Namespace, a.Name) })
			return err
		}
		if err == nil {
			have.Spec = a.Spec
			_, err = w.kube.Applications.Update(w.ctx(), have)
		}
		return err
	})
}

// ready waits until the application is Ready on n devices, for the generation that it has.
func (w *world) ready(name string, n int) *v1alpha1.Application {
	w.t.Helper()
	var a *v1alpha1.Application
	w.until(fmt.Sprintf("%s ready on %d", name, n), func() (err error) {
		if a, err = w.kube.Applications.Get(w.ctx(), ns, name); err != nil {
			return err
		}
		c := condition(a.Status.Conditions, "Ready")
		if c.Status != metav1.ConditionTrue || a.Status.ObservedGeneration != a.Generation || int(a.Status.Ready) != n {
			return fmt.Errorf("Ready=%s (%s: %s), generation %d of %d, %d of %d ready", c.Status, c.Reason, c.Message, a.Status.ObservedGeneration, a.Generation, a.Status.Ready, a.Status.Desired)
		}
		return nil
	})
	return a
}

func condition(cs []metav1.Condition, kind string) metav1.Condition {
	for _, c := range cs {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown}
}

// tail keeps the end of what a process says.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() > 64<<10 {
		t.buf.Next(t.buf.Len() - 16<<10)
	}
	return t.buf.Write(b)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// say prints a value as JSON into the test's log.
func say(t *testing.T, what string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", what, b)
}
