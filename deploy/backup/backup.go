package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/internal/errs"
)

const (
	format = "wasmbed-backup/1"
	system = "wasmbed-system"
	page   = 200
)

// content is what a file holds. Objects are as Kubernetes gave them, less what only it can say.
type content struct {
	Format  string                      `json:"format"`
	Created time.Time                   `json:"created"`
	Objects []unstructured.Unstructured `json:"objects"`
}

type kind struct{ name, resource string }

// kinds of CRDs, in the order in which they are made again: what is referred to first.
var kinds = []kind{{"Gateway", "gateways"}, {"Module", "modules"}, {"Device", "devices"}, {"Application", "applications"}, {"Revision", "revisions"},
	{"Webhook", "webhooks"}, {"WebhookSource", "webhooksources"}}

var (
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	triggers   = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
)

func ours(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "wasmbed.io", Version: "v1alpha1", Resource: resource}
}

func known(o unstructured.Unstructured) bool {
	gvk := o.GroupVersionKind()
	if o.GetName() == "" {
		return false
	}
	if gvk.Group == "" && gvk.Version == "v1" {
		return gvk.Kind == "Secret" && o.GetNamespace() != "" || gvk.Kind == "Namespace"
	}
	return gvk.Group == "wasmbed.io" && o.GetNamespace() != "" && slices.ContainsFunc(kinds, func(k kind) bool { return k.name == gvk.Kind })
}

func (c *content) say(out io.Writer) error {
	n := map[string]int{}
	for _, o := range c.Objects {
		n[o.GetKind()]++
	}
	fmt.Fprintf(out, "backup of %s:", c.Created.Format(time.RFC3339))
	for _, k := range append([]kind{{"Namespace", ""}, {"Secret", ""}}, kinds...) {
		if n[k.name] > 0 {
			fmt.Fprintf(out, " %d %s", n[k.name], k.name)
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

// save reads everything. What is being deleted is left out.
func save(ctx context.Context, cfg *rest.Config, now time.Time) (*content, error) {
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, errs.New(errs.Invalid, "kubernetes: %w", err)
	}
	c := &content{Format: format, Created: now.UTC().Truncate(time.Second)}
	spaces, wanted := map[string]bool{system: true}, map[string]bool{}
	var objects []unstructured.Unstructured
	for _, k := range kinds {
		err := all(ctx, d.Resource(ours(k.resource)), func(o unstructured.Unstructured) {
			spaces[o.GetNamespace()] = true
			if ref, _, _ := unstructured.NestedString(o.Object, "spec", "secretRef", "name"); ref != "" {
				wanted[o.GetNamespace()+"/"+ref] = true
			}
			objects = append(objects, bare(o))
		})
		if err != nil {
			return nil, err
		}
	}
	// The devices' authority and the keys that were revoked; the keys of webhooks. Redis' passwords are made anew, and the
	// gateways' certificate too.
	err = all(ctx, d.Resource(secrets).Namespace(system), func(o unstructured.Unstructured) {
		if n := o.GetName(); n == "wasmbed-ca" || strings.HasPrefix(n, "wasmbed-revoked-") {
			wanted[system+"/"+n] = true
		}
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sorted(spaces) {
		o, err := d.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, wrap(err, "namespace "+name)
		}
		c.Objects = append(c.Objects, bare(*o))
	}
	for _, name := range sorted(wanted) {
		ns, n, _ := strings.Cut(name, "/")
		o, err := d.Resource(secrets).Namespace(ns).Get(ctx, n, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // the Webhook says that it is missing
		}
		if err != nil {
			return nil, wrap(err, "Secret "+name)
		}
		c.Objects = append(c.Objects, bare(*o))
	}
	c.Objects = append(c.Objects, objects...)
	return c, nil
}

// all hands over what a resource holds, page by page.
func all(ctx context.Context, r dynamic.ResourceInterface, each func(unstructured.Unstructured)) error {
	for next := ""; ; {
		l, err := r.List(ctx, metav1.ListOptions{Limit: page, Continue: next})
		if err != nil {
			return wrap(err, "list")
		}
		for _, o := range l.Items {
			if o.GetDeletionTimestamp() == nil {
				each(o)
			}
		}
		if next = l.GetContinue(); next == "" {
			return nil
		}
	}
}

// bare takes off what Kubernetes alone can say. The uid and the generation stay, for restore.
func bare(o unstructured.Unstructured) unstructured.Unstructured {
	m := o.Object["metadata"].(map[string]any)
	for _, f := range []string{"resourceVersion", "managedFields", "creationTimestamp", "selfLink", "ownerReferences"} {
		delete(m, f)
	}
	if o.GetKind() == "Namespace" {
		delete(o.Object, "status")
		delete(o.Object, "spec")
	}
	return o
}

func sorted(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func wrap(err error, what string) error {
	code := errs.Unavailable
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		code = errs.Denied
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		code = errs.Invalid
	case apierrors.IsNotFound(err):
		code = errs.NotFound
	}
	return errs.New(code, "%s: %w", what, err)
}
