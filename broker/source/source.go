// Package source turns changes of custom resources into CloudEvents, in the form of Knative's
// ApiServerSource, mode Reference: an event names the object, whoever cares reads it fresh. On a cluster
// Knative's own source stands in its place.
//
// What it promises: every change of a watched object is announced at least once, in order per object, and
// changes that follow one another while the broker does not take them become one (the object is read fresh
// anyway). It holds of each object its name, uid and version, no more. At start every existing object is
// announced as added. When the API was away, what changed meanwhile is announced, deletions included.
//
// What it cannot know: objects deleted while no source ran. Who keeps something of an object must put a
// finalizer on it, or compare with a list (as deploy and enroll do when the ledger is lost).
//
// Where it says more than Knative's: that one does not announce what exists at its start, nor what was
// deleted while its connection was away, and it forgets an event that the broker does not take after five
// attempts.
package source

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits and times.
const (
	// batch is how many events go into one post, and posters how many posts are under way. More than a
	// few only help when tens of thousands of objects are announced at start.
	batch   = 64
	posters = 4
	// minRetry, maxRetry bound the pause after a post that the broker did not take, and after a failed
	// list or watch.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
	// againSome objects are said again at once, then there is a pause of againPause.
	againSome  = 100
	againPause = time.Second
	// requests is the client's own rate limit, per second; client-go's default of 5 would delay restarts.
	requests = 100
)

// Sink is where events go: *event.Sink. A retryable error (errs.Retryable, or errs.NotFound: no broker
// there yet) means to say it again, any other that it will never be taken.
type Sink interface {
	PostBatch(context.Context, []ce.Event) error
}

// Options of a Source; zero values are defaults.
type Options struct {
	// Resources to watch, in all namespaces. Default: Default().
	Resources []schema.GroupVersionResource
	// Kinds of resources, when discovery shall not be asked. Those of wasmbed.io are known.
	Kinds map[schema.GroupVersionResource]string
	// Hold is how long changes of a resource are held back, so that those that follow one another become one; nil: none
	// is. For a source that says again what another may have missed.
	Hold func(schema.GroupVersionResource) time.Duration
	// Again is how often everything that is there is said once more; 0: never. For a broker that may lose what it took.
	Again time.Duration
	// Source is the source attribute; default: the API's URL, as Knative's does.
	Source string
	Log    *slog.Logger
	// Client is used instead of one made of the rest.Config; for tests.
	Client metadata.Interface
	// Kubernetes resources' kinds are looked up here; for tests.
	Discovery discovery.DiscoveryInterface
}

// Default is every kind of ours: functions listen to some, webhooks to any.
func Default() []schema.GroupVersionResource {
	gv := schema.GroupVersion{Group: "wasmbed.io", Version: "v1alpha1"}
	return []schema.GroupVersionResource{gv.WithResource("applications"), gv.WithResource("devices"), gv.WithResource("gateways"), gv.WithResource("modules"), gv.WithResource("revisions"), gv.WithResource("webhooks"), gv.WithResource("webhooksources")}
}

func knownKind(r schema.GroupVersionResource) string {
	if r.Group != "wasmbed.io" {
		return ""
	}
	return map[string]string{"applications": "Application", "devices": "Device", "gateways": "Gateway", "modules": "Module", "revisions": "Revision", "webhooks": "Webhook", "webhooksources": "WebhookSource"}[r.Resource]
}

// Source watches and announces.
type Source struct {
	o      Options
	sink   Sink
	queue  *queue
	listed atomic.Int64 // resources whose first list is done
	// nonce is in every id: what a new process announces again is said again, not a duplicate of what
	// the one before said; but a post that is repeated keeps its id.
	nonce string
}

// New makes a source that posts to sink. It speaks to nobody yet. Errors: errs.Invalid.
func New(cfg *rest.Config, sink Sink, o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Resources) == 0 {
		o.Resources = Default()
	}
	if cfg != nil {
		c := rest.CopyConfig(cfg)
		c.QPS, c.Burst = requests, 2*requests
		if o.Source == "" {
			o.Source = c.Host
		}
		var err error
		if o.Client == nil {
			if o.Client, err = metadata.NewForConfig(c); err != nil {
				return nil, errs.New(errs.Invalid, "kubernetes: %w", err)
			}
		}
		if o.Discovery == nil {
			if o.Discovery, err = discovery.NewDiscoveryClientForConfig(c); err != nil {
				return nil, errs.New(errs.Invalid, "kubernetes: %w", err)
			}
		}
	}
	if o.Client == nil || sink == nil {
		return nil, errs.New(errs.Invalid, "the source needs a Kubernetes configuration and a sink")
	}
	if o.Source == "" {
		o.Source = "/kubernetes"
	} else if !strings.Contains(o.Source, "/") {
		o.Source = "https://" + o.Source // host:port alone is no URI
	}
	return &Source{o: o, sink: sink, queue: newQueue(o.after()), nonce: event.NewID()}, nil
}

// after holds changes back as o.Hold says.
func (o Options) after() func(object, func()) {
	if o.Hold == nil {
		return nil
	}
	return func(k object, ready func()) { time.AfterFunc(o.Hold(k.resource), ready) }
}

// Listed reports whether every resource has been listed once: what existed is announced or waits to be.
func (s *Source) Listed() bool { return s.listed.Load() == int64(len(s.o.Resources)) }

// Waiting is how many objects have something to announce that the broker has not taken yet.
func (s *Source) Waiting() int { return s.queue.len() }

// Run watches and posts until ctx ends, which is no error. It waits for an API that is away or that does
// not know a resource yet. What is not posted when ctx ends is announced by the next Run of a new Source.
func (s *Source) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range s.o.Resources {
		g.Go(func() error { s.watch(ctx, r); return nil })
	}
	for range posters {
		g.Go(func() error { s.post(ctx); return nil })
	}
	context.AfterFunc(ctx, s.queue.close)
	return g.Wait()
}

func (s *Source) watch(ctx context.Context, r schema.GroupVersionResource) {
	kind := s.kind(ctx, r)
	if kind == "" {
		return // ctx ended
	}
	client := s.o.Client.Resource(r)
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, o) },
	}, s.o.Client)
	// client-go logs through klog, at its own ideas of what is worth it; errors are ours to say.
	quiet := klog.New(nil)
	ctx = klog.NewContext(ctx, quiet)
	store := &watched{s: s, resource: r, kind: kind, known: map[string]version{}}
	if s.o.Again > 0 {
		go s.again(ctx, store)
	}
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, store, cache.ReflectorOptions{
		Name: r.Resource, Logger: &quiet,
		Backoff: &wait.Backoff{Duration: minRetry, Cap: maxRetry, Factor: 2, Steps: 8, Jitter: 0.5},
	}).RunWithContext(ctx)
}

// again says everything of a resource once more in each period, and rests in between, so that functions come to rest too.
func (s *Source) again(ctx context.Context, w *watched) {
	period := time.NewTicker(s.o.Again)
	defer period.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-period.C:
		}
		w.again()
		for w.some(againSome) {
			sleep(ctx, againPause)
		}
	}
}

// kind finds a resource's kind, waiting for an API that is away. "" when ctx ended.
func (s *Source) kind(ctx context.Context, r schema.GroupVersionResource) string {
	if k := s.o.Kinds[r]; k != "" {
		return k
	}
	if k := knownKind(r); k != "" {
		return k
	}
	pause := minRetry
	for ctx.Err() == nil {
		if s.o.Discovery != nil {
			list, err := s.o.Discovery.ServerResourcesForGroupVersion(r.GroupVersion().String())
			if err == nil {
				for _, x := range list.APIResources {
					if x.Name == r.Resource {
						return x.Kind
					}
				}
			}
			s.o.Log.Debug("resource is not known to the API yet", "resource", r.String(), "error", err)
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxRetry)
	}
	return ""
}

func (s *Source) post(ctx context.Context) {
	for {
		work := s.queue.take(ctx, batch)
		if len(work) == 0 {
			return
		}
		es := make([]ce.Event, 0, len(work))
		for _, w := range work {
			e, err := s.event(w)
			if err != nil {
				s.o.Log.Error("a change cannot be announced", "object", w.key.String(), "error", err)
				continue
			}
			es = append(es, e)
		}
		if !s.say(ctx, es) {
			return
		}
		s.queue.done(work)
	}
}

// say posts until the broker has taken all of es, or refuses for ever what it refuses. False: ctx ended.
func (s *Source) say(ctx context.Context, es []ce.Event) bool {
	for pause := minRetry; len(es) > 0; pause = min(2*pause, maxRetry) {
		err := s.sink.PostBatch(ctx, es)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errs.Retryable(err) || errs.Is(err, errs.NotFound):
			s.o.Log.Warn("the broker does not take changes, they are said again", "objects", s.queue.len(), "error", err)
			sleep(ctx, pause)
		case len(es) == 1:
			s.o.Log.Error("the broker refuses a change for ever", "object", es[0].Subject(), "error", err)
			return true
		default: // one of them is to blame, the others are not
			for i := range es {
				if !s.say(ctx, es[i:i+1]) {
					return false
				}
			}
			return true
		}
	}
	return true
}

// rounds tells what is said again from what was said: it is another event.
func rounds(n int) string {
	if n == 0 {
		return ""
	}
	return "/" + strconv.Itoa(n)
}

// event makes the CloudEvent of a change.
func (s *Source) event(w change) (ce.Event, error) {
	apiVersion := w.key.resource.GroupVersion().String()
	ref := event.ObjectReference{APIVersion: apiVersion, Kind: w.kind, Namespace: w.key.namespace, Name: w.key.name}
	// Knative writes "namespaces//" for an object without one; the path is no promise there either.
	subject := "/apis/" + apiVersion + "/namespaces/" + w.key.namespace + "/" + w.key.resource.Resource + "/" + w.key.name
	opts := []event.Option{event.At(time.Now()), event.Ext("apiversion", apiVersion), event.Ext(event.ExtKind, w.kind), event.Ext(event.ExtName, w.key.name)}
	if w.key.namespace != "" {
		opts = append(opts, event.In(w.key.namespace))
	}
	if w.version.trace != "" {
		opts = append(opts, event.Ext(event.ExtTraceParent, w.version.trace))
	}
	return event.New(w.typ, s.o.Source, subject, event.DeriveID(s.nonce, w.typ, w.version.uid, w.version.resource+rounds(w.version.round)), ref, opts...)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
