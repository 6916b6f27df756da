package functions

import (
	"context"
	"os"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/testkube"
)

// TestLifeOnKubernetes is the same life on a real API server, with the CRDs that ship and each function as
// the service account that config/rbac gives it.
func TestLifeOnKubernetes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	kube := testkube.Start(t)
	a, err := apply.New(kube.Config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := apply.Files(os.DirFS("../config"), "rbac")
	if err != nil {
		t.Fatal(err)
	}
	more, err := apply.Decode([]byte(`{apiVersion: v1, kind: Namespace, metadata: {name: ` + ns + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), append(objects, more...)...); err != nil {
		t.Fatal(err)
	}
	w := emptyWorld(t, false, 1)
	set := func(cfg *rest.Config) *client.Set {
		s, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return w.watch(s)
	}
	w.populate(set(kube.Config), func(function string) *client.Set { return set(kube.As(t, "wasmbed-"+function)) })
	life(w)
}

// watch makes a client tell of what it changes, as the source does of what everybody changes.
func (w *world) watch(s *client.Set) *client.Set {
	return &client.Set{
		Devices:      &watched[v1alpha1.Device, *v1alpha1.Device]{s.Devices, v1alpha1.KindDevice, w.changed},
		Applications: &watched[v1alpha1.Application, *v1alpha1.Application]{s.Applications, v1alpha1.KindApplication, w.changed},
		Revisions:    s.Revisions,
		Modules:      &watched[v1alpha1.Module, *v1alpha1.Module]{s.Modules, v1alpha1.KindModule, w.changed},
		Gateways:     &watched[v1alpha1.Gateway, *v1alpha1.Gateway]{s.Gateways, v1alpha1.KindGateway, w.changed},
		Secrets:      s.Secrets,
		Events:       s.Events,
	}
}

type watched[T any, PT interface {
	*T
	metav1.Object
}] struct {
	client.Resource[T]
	kind string
	tell func(client.Change)
}

func (r *watched[T, PT]) told(verb string, in *T, out *T, err error) (*T, error) {
	if err == nil {
		r.tell(client.Change{Verb: verb, Kind: r.kind, Namespace: PT(in).GetNamespace(), Name: PT(in).GetName()})
	}
	return out, err
}

func (r *watched[T, PT]) Create(ctx context.Context, o *T) (*T, error) {
	out, err := r.Resource.Create(ctx, o)
	return r.told("add", o, out, err)
}

func (r *watched[T, PT]) Update(ctx context.Context, o *T) (*T, error) {
	out, err := r.Resource.Update(ctx, o)
	return r.told("update", o, out, err)
}

func (r *watched[T, PT]) UpdateStatus(ctx context.Context, o *T) (*T, error) {
	out, err := r.Resource.UpdateStatus(ctx, o)
	return r.told("update", o, out, err)
}

func (r *watched[T, PT]) Delete(ctx context.Context, namespace, name string, version ...string) error {
	err := r.Resource.Delete(ctx, namespace, name, version...)
	if err == nil {
		r.tell(client.Change{Verb: "delete", Kind: r.kind, Namespace: namespace, Name: name})
	}
	return err
}
