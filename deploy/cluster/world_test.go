package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/ledger"
)

const (
	system = "wasmbed-system"
	// patience is the ceiling of every wait: generous, because figures belong to the latency table.
	patience = 4 * time.Minute
)

// world is the cluster as the tests reach it.
type world struct {
	t    *testing.T
	host string // where Pods reach this process
	bin  string
	cfg  *rest.Config
	core kubernetes.Interface
	dyn  dynamic.Interface
	kube *client.Set
}

// reach connects to the cluster, or says why nothing is run.
func reach(t *testing.T) *world {
	t.Helper()
	if os.Getenv("WASMBED_CLUSTER_TEST") == "" {
		t.Skip("not run: no cluster (make test-cluster)")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	w := &world{t: t, host: os.Getenv("WASMBED_CLUSTER_HOST"), bin: os.Getenv("WASMBED_CLUSTER_BIN"), cfg: cfg}
	if w.bin == "" {
		w.bin = "../../bin"
	}
	if w.bin, err = filepath.Abs(w.bin); err != nil {
		t.Fatal(err)
	}
	if w.core, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	if w.dyn, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	if w.kube, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// ctx is for one call.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) until(what string, fn func() error) {
	w.t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-end:
			w.t.Fatalf("%s: not so after %s: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

func object(version, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(version)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// create makes an object that is gone when the test is over; what an earlier run left is replaced.
func (w *world) create(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	w.t.Helper()
	r := w.dyn.Resource(gvr).Namespace(u.GetNamespace())
	w.until("create "+u.GetKind()+" "+u.GetName(), func() error {
		_, err := r.Create(w.ctx(), u, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return errors.Join(err, r.Delete(w.ctx(), u.GetName(), metav1.DeleteOptions{}))
		}
		return err
	})
	w.t.Cleanup(func() { _ = r.Delete(w.ctx(), u.GetName(), metav1.DeleteOptions{}) })
}

// namespace makes a namespace for a test, which goes with it.
func (w *world) namespace(name string) string {
	w.t.Helper()
	made, err := w.core.CoreV1().Namespaces().Create(w.ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "wasmbed-test-" + name + "-"}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = w.core.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{})
	})
	return made.Name
}

// isReady reads the condition Ready, as Knative's kinds have it.
func isReady(u *unstructured.Unstructured) error {
	cs, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range cs {
		c, _ := c.(map[string]any)
		if c["type"] == "Ready" {
			if c["status"] == "True" {
				return nil
			}
			return fmt.Errorf("%s %s: Ready=%v %v %v", u.GetKind(), u.GetName(), c["status"], c["reason"], c["message"])
		}
	}
	return fmt.Errorf("%s %s has no condition Ready yet", u.GetKind(), u.GetName())
}

// redis connects as one of the platform's users.
func (w *world) redis(user string) *redis.Client {
	w.t.Helper()
	s, err := w.core.CoreV1().Secrets(system).Get(w.ctx(), "wasmbed-redis-"+user, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := redis.ParseURL(string(s.Data["url"]))
	if err != nil {
		w.t.Fatal(err)
	}
	c := redis.NewClient(o)
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) ledger(user string) *ledger.Ledger {
	return ledger.New(w.redis(user), ledger.Options{})
}

// run runs a program and returns what it printed.
func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
