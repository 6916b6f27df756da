package client

import (
	"context"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/trace"
)

// Traced returns a set whose writes are hops of the trace of their context. Objects whose changes functions hear of
// carry that trace on in an annotation (trace.Annotation), so that what follows from the change is in the same trace,
// also where the source of the change events knows nothing of it. And work that came without a trace goes on in that of
// the object that it reads. Without a trace in the context it is s.
func Traced(s *Set, now func() time.Time) *Set {
	t := *s
	t.Devices = tracedBy(s.Devices, v1alpha1.KindDevice, true, now)
	t.Applications = tracedBy(s.Applications, v1alpha1.KindApplication, true, now)
	t.Revisions = tracedBy(s.Revisions, v1alpha1.KindRevision, false, now)
	t.Modules = tracedBy(s.Modules, v1alpha1.KindModule, false, now)
	t.Gateways = tracedBy(s.Gateways, v1alpha1.KindGateway, true, now)
	t.Webhooks = tracedBy(s.Webhooks, v1alpha1.KindWebhook, true, now)
	t.HookSources = tracedBy(s.HookSources, v1alpha1.KindWebhookSource, false, now)
	return &t
}

func tracedBy[T any](r Resource[T], kind string, annotates bool, now func() time.Time) Resource[T] {
	if r == nil {
		return nil
	}
	return &traced[T]{r, kind, annotates, now}
}

type traced[T any] struct {
	Resource[T]
	kind      string
	annotates bool
	now       func() time.Time
}

func (t *traced[T]) Get(ctx context.Context, namespace, name string) (*T, error) {
	o, err := t.Resource.Get(ctx, namespace, name)
	if err == nil && t.annotates && trace.Adopts(ctx) {
		if m, ok := any(o).(metav1.Object); ok && unanswered(o) {
			trace.Adopt(ctx, trace.Annotated(m.GetAnnotations()[trace.Annotation], m.GetGeneration(), t.now()))
		}
	}
	return o, err
}

// unanswered: the object's last change was not carried out yet, as far as its status says so.
func unanswered(o any) bool {
	a, ok := o.(*v1alpha1.Application)
	return !ok || a.Status.ObservedGeneration != a.Generation || a.Status.Rollout == nil || a.Status.Rollout.StartedAt == nil
}

func (t *traced[T]) Create(ctx context.Context, o *T) (*T, error) {
	o, span := t.write(ctx, "create", o, t.annotates)
	out, err := t.Resource.Create(ctx, o)
	span.End(err)
	return out, err
}

func (t *traced[T]) Update(ctx context.Context, o *T) (*T, error) {
	o, span := t.write(ctx, "update", o, t.annotates)
	out, err := t.Resource.Update(ctx, o)
	span.End(err)
	return out, err
}

func (t *traced[T]) UpdateMeta(ctx context.Context, o *T) (*T, error) {
	o, span := t.write(ctx, "update metadata of", o, t.annotates)
	out, err := t.Resource.UpdateMeta(ctx, o)
	span.End(err)
	return out, err
}

func (t *traced[T]) UpdateStatus(ctx context.Context, o *T) (*T, error) {
	o, span := t.write(ctx, "update status of", o, false)
	out, err := t.Resource.UpdateStatus(ctx, o)
	span.End(err)
	return out, err
}

func (t *traced[T]) Delete(ctx context.Context, namespace, name string, version ...string) error {
	_, span := trace.Child(ctx, "kubernetes delete "+t.kind, trace.Client, about(t.kind, namespace, name)...)
	err := t.Resource.Delete(ctx, namespace, name, version...)
	span.End(err)
	return err
}

// write begins the span of a write, and returns the object as it is to be written: the caller's is not touched.
func (t *traced[T]) write(ctx context.Context, verb string, o *T, annotate bool) (*T, *trace.Active) {
	m, ok := any(o).(metav1.Object)
	if !ok || !trace.Traced(ctx) {
		return o, nil
	}
	_, span := trace.Child(ctx, "kubernetes "+verb+" "+t.kind, trace.Client, about(t.kind, m.GetNamespace(), m.GetName())...)
	tp := span.Traceparent()
	if tp == "" || !annotate {
		return o, span
	}
	c := *o
	m = any(&c).(metav1.Object)
	a := maps.Clone(m.GetAnnotations())
	if a == nil {
		a = map[string]string{}
	}
	a[trace.Annotation] = trace.Annotate(tp, m.GetGeneration(), t.now())
	m.SetAnnotations(a)
	return &c, span
}

func about(kind, namespace, name string) []trace.Attr {
	return []trace.Attr{trace.Namespace(namespace), trace.Subject(namespace + "/" + name), trace.String("k8s.resource.kind", kind)}
}
