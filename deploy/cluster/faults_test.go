package cluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// pods of the platform that run, by label.
func (w *world) pods(selector string) []corev1.Pod {
	w.t.Helper()
	var out []corev1.Pod
	w.until("the pods of "+selector+" are listed", func() error {
		all, err := w.core.CoreV1().Pods(system).List(w.ctx(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		out = nil
		for _, p := range all.Items {
			if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
				out = append(out, p)
			}
		}
		return nil
	})
	return out
}

// kill ends a pod at once, as a node does that is switched off: without a signal that could be handled.
func (w *world) kill(p corev1.Pod) {
	w.t.Helper()
	now := int64(0)
	if err := w.core.CoreV1().Pods(system).Delete(w.ctx(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("killed %s", p.Name)
}

const gateways = "app.kubernetes.io/name=wasmbed-gateway"

// gatewaysReady waits until n gateways are ready.
func (w *world) gatewaysReady(n int) []corev1.Pod {
	w.t.Helper()
	var ready []corev1.Pod
	w.until(fmt.Sprintf("%d gateways are ready", n), func() error {
		ready = nil
		for _, p := range w.pods(gateways) {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					ready = append(ready, p)
				}
			}
		}
		if len(ready) != n {
			return fmt.Errorf("%d are", len(ready))
		}
		return nil
	})
	return ready
}

// What fails one after another, under a fleet of two hundred: each time all converges, and no device loses its module or
// starts it again.
func TestFaults(t *testing.T) {
	w := reach(t)
	w.pairing()
	const n = 200
	f := w.devices("fault", n)
	w.apply(f.application("steady", "hello"))
	w.ready("steady", n)
	f.agrees("steady")

	t.Run("a function's pod, in the middle of events", func(t *testing.T) {
		f := f.in(t)
		f.apply(f.application("moving", "counter"))
		killed := 0
		f.until("reports are under way", func() error {
			for _, name := range []string{"report", "deploy"} {
				for _, p := range f.pods("serving.knative.dev/service=" + name) {
					f.kill(p)
					killed++
				}
			}
			if killed < 2 {
				return fmt.Errorf("%d pods were killed", killed)
			}
			return nil
		})
		f.ready("moving", n)
		f.agrees("moving")
		f.agrees("steady")
	})

	t.Run("a gateway", func(t *testing.T) {
		f := f.in(t)
		before := f.online()
		per := map[string]int{}
		for _, v := range before {
			per[v.Instance]++
		}
		pods := f.gatewaysReady(2)
		if per[pods[0].Name] == 0 {
			t.Fatalf("the devices are on %v", per)
		}
		began := time.Now()
		f.kill(pods[0])
		f.until("its devices are elsewhere", func() error {
			vs, err := f.views()
			if err != nil {
				return err
			}
			for name, v := range vs {
				if !v.Online || v.Instance == pods[0].Name {
					return fmt.Errorf("%s: online %v on %s", name, v.Online, v.Instance)
				}
			}
			return nil
		})
		t.Logf("its %d devices were elsewhere %s later", per[pods[0].Name], time.Since(began).Round(100*time.Millisecond))
		f.gatewaysReady(2)
		f.unchanged(before, "steady")
		f.agrees("steady")
	})

	t.Run("Redis, with all that it held", func(t *testing.T) {
		f := f.in(t)
		before := f.online()
		rdb := f.redis("api")
		era, err := rdb.Get(f.ctx(), f.led.Keys().Era(0)).Result()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for _, p := range f.pods("app.kubernetes.io/name=wasmbed-redis") {
			f.kill(p)
		}
		f.until("it is another era", func() error {
			now, err := rdb.Get(f.ctx(), f.led.Keys().Era(0)).Result()
			if err == nil && now == era {
				err = fmt.Errorf("era %q", now)
			}
			return err
		})
		f.online()
		f.agrees("steady")
		f.agrees("moving")
		t.Logf("all was rebuilt %s after", time.Since(began).Round(100*time.Millisecond))
		f.unchanged(before, "steady")
	})

	t.Run("the API server, for a minute", func(t *testing.T) {
		pid, err := strconv.Atoi(os.Getenv("WASMBED_CLUSTER_APISERVER"))
		if err != nil {
			t.Skip("not run: the API server stopped for a minute (not a cluster on this machine)")
		}
		f := f.in(t)
		before := f.online()
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped := true
		resume := func() {
			if stopped {
				_ = syscall.Kill(pid, syscall.SIGCONT)
				stopped = false
			}
		}
		defer resume()
		end := time.Now().Add(time.Minute)
		for time.Now().Before(end) { // devices stay, and what they say is still recorded
			vs, err := f.views()
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range vs {
				if !v.Online {
					t.Fatalf("%s is offline with the API server away", name)
				}
			}
			time.Sleep(time.Second)
		}
		resume()
		f.apply(f.application("moving", "hello-v2"))
		f.ready("moving", n)
		f.agrees("moving")
		f.unchanged(before, "steady")
	})
}

// in is the fleet in a test below.
func (f *fleet) in(t *testing.T) *fleet {
	w := *f.world
	w.t = t
	g := *f
	g.world = &w
	return &g
}

// A rolling upgrade of the gateways: every device is told to go elsewhere, nothing that it measured is lost, and no
// module starts again.
func TestRollingUpgrade(t *testing.T) {
	w := reach(t)
	w.pairing()
	const n = 200
	f := w.devices("up", n)
	w.apply(f.application("meter", "hello"))
	w.ready("meter", n)
	before := f.online()
	old := w.gatewaysReady(2)
	began := time.Now()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"wasmbed.io/restarted":%q}}}}}`, began.Format(time.RFC3339))
	if _, err := w.core.AppsV1().Deployments(system).Patch(w.ctx(), "wasmbed-gateway", "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("the gateways are new ones", func() error {
		for _, p := range w.pods(gateways) {
			for _, o := range old {
				if p.UID == o.UID {
					return fmt.Errorf("%s is there still", o.Name)
				}
			}
		}
		vs, err := f.views()
		if err != nil {
			return err
		}
		for name, v := range vs {
			if !v.Online || v.Instance == old[0].Name || v.Instance == old[1].Name {
				return fmt.Errorf("%s: online %v on %s", name, v.Online, v.Instance)
			}
		}
		return nil
	})
	t.Logf("%d devices were on new gateways %s after", n, time.Since(began).Round(100*time.Millisecond))
	w.gatewaysReady(2)
	f.unchanged(before, "meter")
	// Measured on both sides of it, without a hole: records of one boot are numbered.
	seen := 0
	for _, name := range f.names {
		var last []ledger.TelemetryEntry
		f.until(name+" has measured since", func() error {
			es, _, err := f.led.Telemetry(f.ctx(), event.Device{Namespace: ns, Name: name}, "0", 1<<20)
			if err != nil {
				return err
			}
			last = es
			if len(es) == 0 || !es[len(es)-1].Received.After(began.Add(time.Since(began)/2)) {
				return fmt.Errorf("%d values", len(es))
			}
			return nil
		})
		for i := 1; i < len(last); i++ {
			if a, b := last[i-1], last[i]; a.BootID == b.BootID && b.Seq != a.Seq+1 {
				t.Errorf("%s: value %d is followed by %d", name, a.Seq, b.Seq)
			}
		}
		seen += len(last)
	}
	t.Logf("%d values, none missing", seen)
	if strings.Contains(f.log.String(), "panic") {
		t.Error(f.log)
	}
}
