package cluster

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

var ksvcs = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}

// deployments of the functions' Knative Services, by Service.
func (w *world) functions() (map[string]appsv1.Deployment, error) {
	all, err := w.core.AppsV1().Deployments(system).List(w.ctx(), metav1.ListOptions{LabelSelector: "serving.knative.dev/service"})
	if err != nil {
		return nil, err
	}
	out := map[string]appsv1.Deployment{}
	for _, d := range all.Items {
		name := d.Labels["serving.knative.dev/service"]
		if old, ok := out[name]; !ok || d.CreationTimestamp.After(old.CreationTimestamp.Time) {
			out[name] = d
		}
	}
	return out, nil
}

// atZero waits until no function runs, and says how long that took.
func (w *world) atZero() time.Duration {
	w.t.Helper()
	began := time.Now()
	w.until("every function is at zero", func() error {
		ds, err := w.functions()
		if err != nil {
			return err
		}
		if len(ds) == 0 {
			return fmt.Errorf("there are no functions")
		}
		for name, d := range ds {
			if d.Status.Replicas != 0 {
				return fmt.Errorf("%s has %d", name, d.Status.Replicas)
			}
		}
		return nil
	})
	return time.Since(began)
}

// From the manifests to a module that runs on devices outside, from zero, twice; and back from a bad one.
func TestPlatform(t *testing.T) {
	w := reach(t)
	w.until("every Knative Service is Ready", func() error {
		all, err := w.dyn.Resource(ksvcs).Namespace(system).List(w.ctx(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range all.Items {
			if err := isReady(&all.Items[i]); err != nil {
				return err
			}
		}
		if len(all.Items) < 7 {
			return fmt.Errorf("there are %d", len(all.Items))
		}
		return nil
	})
	w.pairing()
	f := w.devices("d", 10)

	// Without a timer the modules measure nothing, so that the functions come to rest.
	quiet := func(s *v1alpha1.ApplicationSpec) { s.Manifest.Timers = nil }
	for wave, module := range []string{"hello", "hello-v2"} {
		t.Logf("wave %d: at zero after %s", wave+1, w.atZero().Round(time.Second))
		began := time.Now()
		w.apply(f.application("hello", module, quiet))
		a := w.ready("hello", len(f.names))
		t.Logf("wave %d: %s is Ready on %d devices %s after apply, from zero (1 s of it trial)", wave+1, a.Status.Revision, len(f.names), time.Since(began).Round(10*time.Millisecond))
		f.agrees("hello")
	}
	began := time.Now()
	w.apply(f.application("hello", "hello", quiet))
	w.ready("hello", len(f.names))
	t.Logf("warm: %s", time.Since(began).Round(10*time.Millisecond))
	good := w.ready("hello", len(f.names)).Status.Revision

	// A bad revision is rolled back, and the devices run what they ran.
	w.apply(f.application("hello", "trapper", func(s *v1alpha1.ApplicationSpec) {
		s.Manifest.Health.Window = &metav1.Duration{Duration: 2 * time.Second}
	}))
	w.until("the bad revision is rolled back", func() error {
		a, err := w.kube.Applications.Get(w.ctx(), ns, "hello")
		if err != nil {
			return err
		}
		c := condition(a.Status.Conditions, "RolledBack")
		if c.Status != metav1.ConditionTrue || a.Status.Revision != good {
			return fmt.Errorf("RolledBack=%s (%s: %s), revision %s", c.Status, c.Reason, c.Message, a.Status.Revision)
		}
		return nil
	})
	f.agrees("hello")
}
