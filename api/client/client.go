// Package client reads and writes the objects that Wasmbed keeps in Kubernetes: one small generic client
// over client-go's REST client, and an in-memory twin of it for tests.
package client

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Resource is one kind of object. Its errors are errs.NotFound, Conflict, AlreadyExists, Invalid, TooLarge,
// Denied, Unauthenticated, Exhausted, Deadline, Unavailable or Unsupported. What it returns belongs to the
// caller; what it is given is not kept.
type Resource[T any] interface {
	// Get reads one object. NotFound means that the API answered and has no such object; an API that does
	// not serve the resource at all (its CRD is missing) is Unavailable.
	Get(ctx context.Context, namespace, name string) (*T, error)
	// List reads a page of objects in the order of namespace and name; namespace "" means all. next is
	// the Continue of the following page, empty at the end. A Continue that is too old is Conflict: start
	// again.
	List(ctx context.Context, namespace string, o ListOptions) (items []T, next string, err error)
	// Create stores a new object; its status is ignored where there is a status subresource.
	Create(ctx context.Context, o *T) (*T, error)
	// Update replaces an object, except for its status. Conflict: it was written since it was read.
	Update(ctx context.Context, o *T) (*T, error)
	// UpdateMeta replaces an object's labels, annotations and finalizers and nothing else: what people wrote into the spec
	// stays in their words, and theirs. Conflict as with Update.
	UpdateMeta(ctx context.Context, o *T) (*T, error)
	// UpdateStatus replaces an object's status and nothing else. Conflict as with Update.
	UpdateStatus(ctx context.Context, o *T) (*T, error)
	// Delete asks for the removal of an object; one with finalizers stays until they are gone. With a version, only
	// that resource version is removed; another one is Conflict.
	Delete(ctx context.Context, namespace, name string, version ...string) error
}

// ListOptions narrows a List.
type ListOptions struct {
	Labels   string // a label selector in Kubernetes' syntax; empty: everything
	Limit    int64  // page size; 0: everything at once
	Continue string // of the former page
}

// Set is a client of everything that Wasmbed touches in Kubernetes.
type Set struct {
	Devices      Resource[v1alpha1.Device]
	Applications Resource[v1alpha1.Application]
	Revisions    Resource[v1alpha1.Revision]
	Modules      Resource[v1alpha1.Module]
	Gateways     Resource[v1alpha1.Gateway]
	Webhooks     Resource[v1alpha1.Webhook]
	HookSources  Resource[v1alpha1.WebhookSource]
	Secrets      Resource[corev1.Secret]
	ConfigMaps   Resource[corev1.ConfigMap]
	Events       Resource[corev1.Event]
}

// All lists every object, page by page, and calls fn with each until fn returns an error.
func All[T any](ctx context.Context, r Resource[T], namespace, labels string, fn func(*T) error) error {
	o := ListOptions{Labels: labels, Limit: pageSize}
	for {
		items, next, err := r.List(ctx, namespace, o)
		if err != nil {
			return err
		}
		for i := range items {
			if err := fn(&items[i]); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		o.Continue = next
	}
}

// pageSize is the number of objects that All asks for at once. Applications may carry 512 KiB of module
// each, so it is far below the API server's own limits.
const pageSize = 200

// New returns a client of the API server that cfg describes. It does not connect. cfg's rate limits are
// replaced by none: functions are bounded by the broker's concurrency, and client-go's default of 5
// requests a second would be what a rollout waits for.
func New(cfg *rest.Config) (*Set, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	codecs := serializer.NewCodecFactory(scheme)
	group := func(gv schema.GroupVersion, path string) (rest.Interface, error) {
		c := rest.CopyConfig(cfg)
		c.GroupVersion = &gv
		c.APIPath = path
		c.NegotiatedSerializer = codecs.WithoutConversion()
		c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
		c.QPS, c.Burst, c.RateLimiter = -1, 0, nil
		if c.UserAgent == "" {
			c.UserAgent = "wasmbed"
		}
		rc, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, errs.New(errs.Invalid, "kubernetes client: %w", err)
		}
		return rc, nil
	}
	ours, err := group(v1alpha1.GroupVersion, "/apis")
	if err != nil {
		return nil, err
	}
	core, err := group(corev1.SchemeGroupVersion, "/api")
	if err != nil {
		return nil, err
	}
	return &Set{
		Devices: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindDevice, "devices", true,
			func(l *v1alpha1.DeviceList) []v1alpha1.Device { return l.Items }),
		Applications: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindApplication, "applications", true,
			func(l *v1alpha1.ApplicationList) []v1alpha1.Application { return l.Items }),
		Revisions: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindRevision, "revisions", false,
			func(l *v1alpha1.RevisionList) []v1alpha1.Revision { return l.Items }),
		Modules: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindModule, "modules", true,
			func(l *v1alpha1.ModuleList) []v1alpha1.Module { return l.Items }),
		Gateways: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindGateway, "gateways", true,
			func(l *v1alpha1.GatewayList) []v1alpha1.Gateway { return l.Items }),
		Webhooks: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindWebhook, "webhooks", true,
			func(l *v1alpha1.WebhookList) []v1alpha1.Webhook { return l.Items }),
		HookSources: newREST(ours, v1alpha1.GroupVersion, v1alpha1.KindWebhookSource, "webhooksources", true,
			func(l *v1alpha1.WebhookSourceList) []v1alpha1.WebhookSource { return l.Items }),
		Secrets: newREST(core, corev1.SchemeGroupVersion, "Secret", "secrets", false,
			func(l *corev1.SecretList) []corev1.Secret { return l.Items }),
		ConfigMaps: newREST(core, corev1.SchemeGroupVersion, "ConfigMap", "configmaps", false,
			func(l *corev1.ConfigMapList) []corev1.ConfigMap { return l.Items }),
		Events: newREST(core, corev1.SchemeGroupVersion, "Event", "events", false,
			func(l *corev1.EventList) []corev1.Event { return l.Items }),
	}, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, errs.New(errs.Internal, "register types: %w", err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme, nil
}
