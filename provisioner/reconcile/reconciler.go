// Package reconcile makes the boards that run what the Devices want: one worker for each Device, each looking at what is
// wanted and what is there, and doing the next thing. It is level-triggered: whatever was missed - an event, an end, a life
// of the provisioner - is seen the next time it looks.
package reconcile

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/console"
)

// Sink takes events: *event.Sink.
type Sink interface {
	Post(context.Context, ce.Event) error
}

// Options of a Reconciler.
type Options struct {
	Devices   client.Resource[v1alpha1.Device]
	Namespace string // "": all
	Engines   map[string]provisioner.Engine
	Default   string // engine of Devices that name none; host devices are always processes
	// Plan returns what plans need beside Device and board, with the gateway's address as that engine's boards' host
	// reaches it. Errors: what is missing, for people.
	Plan func(engine string) (provisioner.PlanOptions, error)
	// Image returns the digest of a firmware image. Errors: NotFound.
	Image func(name string) (string, error)
	Sink  Sink
	// Consoles gets what boards say.
	Consoles *console.Hub
	// Dial reaches the gateway for boards on a serial line.
	Dial     func(ctx context.Context, address string) (net.Conn, error)
	Dir      string         // where notes are kept; "": nowhere
	Instance string         // of this provisioner, in the source of its events
	Jitter   func() float64 // 0…1, spreads restarts
	Random   func([]byte)   // crypto/rand.Read
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Reconciler is the loop.
type Reconciler struct {
	o       Options
	notes   notes
	metrics *metrics
	starts  chan struct{}
	again   chan struct{} // resync now
	listed  atomic.Bool   // Devices and instances have been listed

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	workers map[provisioner.Key]*worker
	work    sync.WaitGroup
}

// New makes a Reconciler. Errors: Invalid.
func New(o Options) (*Reconciler, error) {
	if o.Devices == nil || len(o.Engines) == 0 || o.Plan == nil || o.Image == nil || o.Sink == nil || o.Consoles == nil || o.Jitter == nil || o.Random == nil {
		return nil, errs.New(errs.Invalid, "the reconciler lacks a part")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	r := &Reconciler{o: o, notes: notes{o.Dir}, starts: make(chan struct{}, parallelStarts), again: make(chan struct{}, 1), workers: map[provisioner.Key]*worker{}}
	r.metrics = newMetrics(r, o.Registry)
	return r, nil
}

// Run looks after boards until ctx ends. Then no worker runs any more, and the boards go on.
func (r *Reconciler) Run(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	pause := time.Duration(0)
	for {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			r.mu.Lock()
			r.ctx = nil // no new workers
			r.mu.Unlock()
			r.work.Wait()
			return nil
		case <-t.C:
		case <-r.again:
			t.Stop()
		}
		pause = resyncEvery
		if err := r.resync(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("what is wanted and what runs could not be listed", "cause", err)
			pause = apiRetry
		}
	}
}

// Resync has everything looked at again, soon.
func (r *Reconciler) Resync() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// resync pokes everything that there is: Devices and, for those whose Device is gone, instances.
func (r *Reconciler) resync(ctx context.Context) error {
	keys := map[provisioner.Key]bool{}
	var away []error
	for _, name := range slices.Sorted(maps.Keys(r.o.Engines)) {
		lctx, cancel := context.WithTimeout(ctx, opTimeout)
		all, err := r.o.Engines[name].List(lctx)
		cancel()
		if err != nil { // the others' boards are looked after meanwhile
			away = append(away, err)
		}
		for _, i := range all {
			if r.o.Namespace == "" || i.Key.Namespace == r.o.Namespace {
				keys[i.Key] = true
			}
		}
	}
	err := client.All(ctx, r.o.Devices, r.o.Namespace, "", func(d *v1alpha1.Device) error {
		if d.Spec.Emulation != nil || slices.Contains(d.Finalizers, v1alpha1.FinalizerBoard) {
			keys[provisioner.Key{Namespace: d.Namespace, Name: d.Name}] = true
		}
		return nil
	})
	for k := range keys {
		r.Poke(k.Namespace, k.Name)
	}
	if err == nil && len(away) == 0 {
		r.listed.Store(true)
	}
	if err != nil {
		away = append(away, err)
	}
	return joined(away)
}

// Ready returns nil when everything has been listed once. Errors: Unavailable.
func (r *Reconciler) Ready() error {
	if !r.listed.Load() {
		return errs.New(errs.Unavailable, "Devices and boards have not been listed yet")
	}
	return nil
}

// Poke says that something about a Device may have changed. It never waits.
func (r *Reconciler) Poke(namespace, name string) {
	if r.o.Namespace != "" && namespace != r.o.Namespace {
		return
	}
	k := provisioner.Key{Namespace: namespace, Name: name}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[k]
	if w == nil {
		if r.ctx == nil || r.ctx.Err() != nil {
			return
		}
		w = newWorker(r, k)
		r.workers[k] = w
		ctx := r.ctx
		r.work.Go(func() { w.run(ctx) })
	}
	w.pending = true
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// leave ends a worker that has nothing to look after, unless it was poked meanwhile.
func (r *Reconciler) leave(w *worker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.pending {
		return false
	}
	delete(r.workers, w.key)
	return true
}

// StopAll ends all boards and keeps their storage. After Run has returned. Errors are those of all boards, joined.
func (r *Reconciler) StopAll(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []error
	for _, e := range r.o.Engines {
		list, err := e.List(ctx)
		if err != nil {
			all = append(all, err)
			continue
		}
		for _, i := range list {
			if !i.Running || (r.o.Namespace != "" && i.Key.Namespace != r.o.Namespace) {
				continue
			}
			wg.Go(func() {
				err := e.Stop(ctx, i.ID, false)
				mu.Lock()
				defer mu.Unlock()
				if err != nil && !errs.Is(err, errs.NotFound) {
					all = append(all, err)
				}
			})
		}
	}
	wg.Wait()
	return joined(all)
}
