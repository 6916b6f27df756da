package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Pauses after a list or watch that failed.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
)

// emulated selects the Devices that ask for emulation: the API server sends those alone.
const emulated = "spec.emulation.backend!="

// watchDevices tells poke of each emulated Device that changed, and resync of each new list, until ctx ends. It waits for
// an API that is away.
func watchDevices(ctx context.Context, cfg *rest.Config, namespace string, poke func(namespace, name string), resync func()) error {
	c, err := metadata.NewForConfig(cfg)
	if err != nil {
		return errs.New(errs.Invalid, "kubernetes: %w", err)
	}
	devices := c.Resource(v1alpha1.GroupVersion.WithResource("devices")).Namespace(namespace)
	// client-go's list and watch functions want the selector each time.
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = emulated
			return devices.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = emulated
			return devices.Watch(ctx, o)
		},
	}, c)
	quiet := klog.New(nil) // what fails here is seen in /readyz
	ctx = klog.NewContext(ctx, quiet)
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, &pokes{poke: poke, resync: resync}, cache.ReflectorOptions{
		Name: "devices", Logger: &quiet, Backoff: &wait.Backoff{Duration: minRetry, Cap: maxRetry, Factor: 2, Steps: 8, Jitter: 0.5},
	}).RunWithContext(ctx)
	return nil
}

// pokes is what a reflector writes to. It keeps nothing: who is poked reads the Device.
type pokes struct {
	poke   func(namespace, name string)
	resync func()
	mu     sync.Mutex
}

var _ cache.TransformingStore = (*pokes)(nil)

// Transformer drops everything but the name and version.
func (p *pokes) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
			m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
		}
		return obj, nil
	}
}

func (p *pokes) one(obj any) error {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return errs.New(errs.Internal, "%T where metadata is expected", obj)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poke(m.Namespace, m.Name)
	return nil
}

// Add, Update, Delete: a Device changed. One that is not emulated any more is deleted here.
func (p *pokes) Add(obj any) error    { return p.one(obj) }
func (p *pokes) Update(obj any) error { return p.one(obj) }
func (p *pokes) Delete(obj any) error { return p.one(obj) }

// Replace: there is a new list, and what happened before it was not seen.
func (p *pokes) Replace([]any, string) error { p.resync(); return nil }

func (p *pokes) Resync() error { return nil }
