// Package apply writes Kubernetes manifests to an API server, as `kubectl apply --server-side` does.
package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"wasmbed.io/wasmbed/internal/errs"
)

// Manager is the field manager of what this package writes.
const Manager = "wasmbed"

// Applier writes manifests.
type Applier struct {
	dyn    dynamic.Interface
	disc   discovery.CachedDiscoveryInterface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// New returns an Applier for an API server. It does not connect.
func New(cfg *rest.Config) (*Applier, error) {
	c := rest.CopyConfig(cfg)
	c.QPS = -1
	dyn, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
	}
	cached := memory.NewMemCacheClient(d)
	return &Applier{dyn: dyn, disc: cached, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached)}, nil
}

// Decode reads all documents of a YAML or JSON stream. Errors are errs.Invalid.
func Decode(b []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, errs.New(errs.Invalid, "manifest: %w", err)
		case len(o.Object) == 0: // an empty document
		case o.GetKind() == "" || o.GetName() == "":
			return nil, errs.New(errs.Invalid, "manifest: a document without kind or metadata.name")
		default:
			out = append(out, o)
		}
	}
}

// Files reads all documents of the .yaml files of a folder, in the order of their names.
func Files(fsys fs.FS, dir string) ([]*unstructured.Unstructured, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, errs.New(errs.Internal, "manifests: %w", err)
	}
	var out []*unstructured.Unstructured
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		b, err := fs.ReadFile(fsys, path.Join(dir, e.Name()))
		if err != nil {
			return nil, errs.New(errs.Internal, "manifests: %w", err)
		}
		os, err := Decode(b)
		if err != nil {
			return nil, errs.New(errs.Invalid, e.Name()+": %w", err)
		}
		out = append(out, os...)
	}
	return out, nil
}

// Apply writes objects in their order. After the CRDs among them it waits until they are served. An object
// without a namespace whose kind has one goes to "default".
func (a *Applier) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for i, o := range objects {
		if err := a.one(ctx, o); err != nil {
			return err
		}
		last := i == len(objects)-1 || !isCRD(objects[i+1])
		if isCRD(o) && last {
			for _, c := range objects[:i+1] {
				if isCRD(c) {
					if err := a.established(ctx, c); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// settledFor is how old a CRD must look before an API server takes new objects of it at once; it is 2 s there.
const settledFor = 10 * time.Second

// Settle makes CRDs that were established a moment ago look as if it had been a while ago. For an API server that
// stands alone: it makes the first to create an object wait for two seconds, so that other API servers, if there
// were any, hear of the CRD first.
func (a *Applier) Settle(ctx context.Context, crds ...*unstructured.Unstructured) error {
	for _, crd := range crds {
		r, err := a.resource(crd)
		if err != nil {
			return err
		}
		for {
			got, err := r.Get(ctx, crd.GetName(), metav1.GetOptions{})
			if err != nil {
				return wrap(err, crd)
			}
			if !age(got, time.Now()) {
				break
			}
			if _, err = r.UpdateStatus(ctx, got, metav1.UpdateOptions{FieldManager: Manager}); err == nil {
				break
			}
			if !apierrors.IsConflict(err) {
				return wrap(err, crd)
			}
		}
	}
	return nil
}

// age moves a young Established condition back, and reports whether it was one.
func age(crd *unstructured.Unstructured, now time.Time) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != "Established" {
			continue
		}
		at, err := time.Parse(time.RFC3339, fmt.Sprint(m["lastTransitionTime"]))
		if err != nil || now.Sub(at) >= settledFor {
			return false
		}
		m["lastTransitionTime"] = now.Add(-settledFor).UTC().Format(time.RFC3339)
		return unstructured.SetNestedSlice(crd.Object, conditions, "status", "conditions") == nil
	}
	return false
}

// Create writes one object unless it exists, and says whether it did.
func (a *Applier) Create(ctx context.Context, o *unstructured.Unstructured) (bool, error) {
	r, err := a.resource(o)
	if err != nil {
		return false, err
	}
	_, err = r.Create(ctx, o, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	return err == nil, wrap(err, o)
}

func (a *Applier) one(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := a.resource(o)
	if err != nil {
		return err
	}
	_, err = r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: Manager, Force: true})
	return wrap(err, o)
}

func (a *Applier) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	m, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) { // perhaps its CRD was applied a moment ago
		a.mapper.Reset()
		m, err = a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, wrap(err, o)
	}
	if m.Scope.Name() != meta.RESTScopeNameNamespace {
		return a.dyn.Resource(m.Resource), nil
	}
	ns := o.GetNamespace()
	if ns == "" {
		ns = "default"
	}
	return a.dyn.Resource(m.Resource).Namespace(ns), nil
}

func isCRD(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind() == schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
}

// established waits until the API server serves a CRD's resources.
func (a *Applier) established(ctx context.Context, crd *unstructured.Unstructured) error {
	r, err := a.resource(crd)
	if err != nil {
		return err
	}
	for {
		got, err := r.Get(ctx, crd.GetName(), metav1.GetOptions{})
		if err != nil {
			return wrap(err, crd)
		}
		conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
		for _, c := range conditions {
			m, ok := c.(map[string]any)
			switch {
			case !ok || m["status"] != "True" && m["type"] != "NamesAccepted":
			case m["type"] == "Established":
				return a.served(ctx, crd)
			case m["type"] == "NonStructuralSchema":
				return errs.New(errs.Invalid, "%s: %v", crd.GetName(), m["message"])
			}
		}
		if err := pause(ctx); err != nil {
			return errs.New(errs.CodeOf(err), crd.GetName()+" is not established: %w", err)
		}
	}
}

// served waits until discovery knows the CRD's kind: the apiserver's discovery follows Established a moment
// later, and a kubectl that comes in between says "the server doesn't have a resource type".
func (a *Applier) served(ctx context.Context, crd *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	for {
		a.disc.Invalidate()
		a.mapper.Reset()
		if _, err := a.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind}); err == nil {
			return nil
		}
		if err := pause(ctx); err != nil {
			return errs.New(errs.CodeOf(err), kind+" is not served: %w", err)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

func wrap(err error, o *unstructured.Unstructured) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf("apply %s %s: ", o.GetKind(), strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	code := errs.Unavailable
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		code = errs.Invalid
	case apierrors.IsForbidden(err):
		code = errs.Denied
	case apierrors.IsUnauthorized(err):
		code = errs.Unauthenticated
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		code = errs.NotFound
	case apierrors.IsConflict(err):
		code = errs.Conflict
	}
	return errs.New(code, doing+"%w", err)
}
