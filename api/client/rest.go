package client

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/internal/errs"
)

// object is a pointer to an API type.
type object[T any] interface {
	*T
	metav1.Object
	runtime.Object
}

// list is a pointer to the list of an API type.
type list[L any] interface {
	*L
	metav1.ListInterface
	runtime.Object
}

type restResource[T any, PT object[T], L any, PL list[L]] struct {
	rc       rest.Interface
	gvk      schema.GroupVersionKind
	resource string
	status   bool // has a status subresource
	items    func(PL) []T
}

func newREST[T any, PT object[T], L any, PL list[L]](rc rest.Interface, gv schema.GroupVersion, kind, resource string, status bool, items func(PL) []T) Resource[T] {
	return &restResource[T, PT, L, PL]{rc: rc, gvk: gv.WithKind(kind), resource: resource, status: status, items: items}
}

func (r *restResource[T, PT, L, PL]) Get(ctx context.Context, namespace, name string) (*T, error) {
	if err := needName(r.resource, namespace, name); err != nil {
		return nil, err
	}
	var out T
	err := r.rc.Get().Namespace(namespace).Resource(r.resource).Name(name).Do(ctx).Into(PT(&out))
	return r.done(&out, err, "get", namespace, name)
}

func (r *restResource[T, PT, L, PL]) List(ctx context.Context, namespace string, o ListOptions) ([]T, string, error) {
	var l L
	req := r.rc.Get().Namespace(namespace).Resource(r.resource).VersionedParams(&metav1.ListOptions{
		LabelSelector: o.Labels, Limit: o.Limit, Continue: o.Continue,
	}, metav1.ParameterCodec)
	if err := req.Do(ctx).Into(PL(&l)); err != nil {
		return nil, "", toErr(err, "list "+r.resource)
	}
	items := r.items(&l)
	for i := range items {
		PT(&items[i]).GetObjectKind().SetGroupVersionKind(r.gvk)
	}
	return items, PL(&l).GetContinue(), nil
}

func (r *restResource[T, PT, L, PL]) Create(ctx context.Context, in *T) (*T, error) {
	o := PT(in)
	var out T
	err := r.rc.Post().Namespace(o.GetNamespace()).Resource(r.resource).Body(o).Do(ctx).Into(PT(&out))
	return r.done(&out, err, "create", o.GetNamespace(), o.GetName()+o.GetGenerateName())
}

func (r *restResource[T, PT, L, PL]) Update(ctx context.Context, in *T) (*T, error) {
	return r.put(ctx, in, "update")
}

func (r *restResource[T, PT, L, PL]) UpdateStatus(ctx context.Context, in *T) (*T, error) {
	if !r.status {
		return nil, errs.New(errs.Unsupported, "%s have no status", r.resource)
	}
	return r.put(ctx, in, "update status of", "status")
}

func (r *restResource[T, PT, L, PL]) UpdateMeta(ctx context.Context, in *T) (*T, error) {
	o := PT(in)
	if err := needName(r.resource, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	type op struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	whole := func(m map[string]string) map[string]string {
		if m == nil {
			return map[string]string{}
		}
		return m
	}
	finalizers := o.GetFinalizers()
	if finalizers == nil {
		finalizers = []string{}
	}
	body, err := json.Marshal([]op{ // add replaces what is there
		{"add", "/metadata/resourceVersion", o.GetResourceVersion()},
		{"add", "/metadata/labels", whole(o.GetLabels())},
		{"add", "/metadata/annotations", whole(o.GetAnnotations())},
		{"add", "/metadata/finalizers", finalizers},
	})
	if err != nil {
		return nil, errs.New(errs.Internal, "patch: %w", err)
	}
	var out T
	err = r.rc.Patch(types.JSONPatchType).Namespace(o.GetNamespace()).Resource(r.resource).Name(o.GetName()).Body(body).Do(ctx).Into(PT(&out))
	return r.done(&out, err, "update metadata of", o.GetNamespace(), o.GetName())
}

func (r *restResource[T, PT, L, PL]) put(ctx context.Context, in *T, verb string, sub ...string) (*T, error) {
	o := PT(in)
	if err := needName(r.resource, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	var out T
	req := r.rc.Put().Namespace(o.GetNamespace()).Resource(r.resource).Name(o.GetName())
	if len(sub) > 0 {
		req = req.SubResource(sub...)
	}
	err := req.Body(o).Do(ctx).Into(PT(&out))
	return r.done(&out, err, verb, o.GetNamespace(), o.GetName())
}

func (r *restResource[T, PT, L, PL]) Delete(ctx context.Context, namespace, name string, version ...string) error {
	if err := needName(r.resource, namespace, name); err != nil {
		return err
	}
	req := r.rc.Delete().Namespace(namespace).Resource(r.resource).Name(name)
	if len(version) > 0 {
		req = req.Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version[0]}})
	}
	err := req.Do(ctx).Error()
	return toErr(err, "delete "+r.resource+" "+namespace+"/"+name)
}

func (r *restResource[T, PT, L, PL]) done(out *T, err error, verb, namespace, name string) (*T, error) {
	if err != nil {
		return nil, toErr(err, verb+" "+r.resource+" "+namespace+"/"+name)
	}
	// The codec leaves the type out of what it decodes; people and tests want it there.
	PT(out).GetObjectKind().SetGroupVersionKind(r.gvk)
	return out, nil
}

// needName refuses what would otherwise address a collection: all our kinds are namespaced.
func needName(resource, namespace, name string) error {
	if namespace == "" || name == "" {
		return errs.New(errs.Invalid, "%s need a namespace and a name, got %q and %q", resource, namespace, name)
	}
	return nil
}
