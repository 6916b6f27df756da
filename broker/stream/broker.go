// Package stream is the embedded broker: it stores CloudEvents in Redis Streams and delivers them to the
// subscribers of Triggers, in the manner of Knative's data plane, so that what runs against it runs against
// Knative's brokers too.
//
// What it promises (each sentence has a test in contract_test.go or broker_test.go):
//
//   - 202 is answered only after Redis has the event for every matching Trigger. How durable that is,
//     Durability says.
//   - Every matching Trigger gets every accepted event at least once, and once as long as nobody crashes
//     and no answer is lost. Recipients know duplicates by (source, id).
//   - 404, 408, 409, 429, 5xx, no connection and no answer are tried again after a back-off, or after what
//     Retry-After asks; other answers than 2xx are not. What is not delivered in the end is a dead letter:
//     listed here, and sent to the Trigger's dead letter sink. Attempts are counted durably.
//   - An event in a 200 answer is stored for all Triggers, its origin included, in the same transaction in
//     which the delivery is done.
//   - One Trigger's slow subscriber takes nothing from the others: each has its own queue and its own
//     deliveries under way.
//   - What is delivered is deleted. What waits is bounded: beyond it the ingress answers 429.
//   - When Redis forgets everything, the broker makes its queues again and goes on.
//
// The queue of a Trigger is a stream per broker process: an entry that exists is not done. What a process
// accepts it delivers from memory, and reads its stream only when it is behind; the queues of a process that
// died are moved to a living one. What waits for its next attempt is parked beside the streams and belongs to
// nobody. keys.go says why it is so and not consumer groups.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// Options of a Broker; zero values are defaults (limits.go).
type Options struct {
	// Broker is the spec.broker of the Triggers that are meant; default "default". Others are left out.
	Broker string
	// Resolve gives the URL of a Trigger's subscriber.ref. It is asked at each delivery, so an address
	// may change; an error counts as no connection. Needed when a Trigger has a ref.
	Resolve func(Ref) (string, error)
	// Consumer is the name of this process among brokers on the same Redis, for logs and XINFO. A random
	// part is added.
	Consumer string
	// Transport posts to subscribers; default: one tuned for many kept connections to few hosts.
	// Redirects are never followed.
	Transport http.RoundTripper
	// Concurrency is how many deliveries of one Trigger are under way at once.
	Concurrency int
	// Backlog is how many events may wait for one Trigger before the ingress refuses more of them.
	Backlog int64
	// MaxMemory is how many bytes of Redis may be used before the ingress answers 503; 0: Redis' own
	// maxmemory, of which 95 % are used at most; neither: no such limit.
	MaxMemory int64
	// Recent and Dead are how many events the feed and each dead letter list keep, about.
	Recent, Dead int64
	// MaxPosts is how many posts are under way at once.
	MaxPosts int64
	// MaxEvent is the largest body of a post, bytes.
	MaxEvent int64
	// Hops is how many times an event and its replies may pass this broker.
	Hops int
	// Timeout bounds one delivery whose Trigger does not.
	Timeout time.Duration
	// Grace is how long deliveries may go on after Run's context has ended.
	Grace time.Duration
	// Registry takes the broker's metrics; nil: they are counted and shown nowhere.
	Registry prometheus.Registerer
	Log      *slog.Logger
	Now      func() time.Time
	// Trace records deliveries that nobody answered, and dead letters, of events that are traced; nil: nothing. Those
	// that were taken the subscriber records, from what it is told in tracestate.
	Trace *trace.Tracer
}

// Broker is the embedded broker. Its Handler accepts events from the start; Run delivers.
type Broker struct {
	o      Options
	rdb    redis.UniversalClient
	client http.RoundTripper
	log    *slog.Logger
	m      *metrics
	commit *committer

	queues   []*queue // of Triggers, then of their dead letter sinks
	triggers []*queue // those that events are matched with
	consumer string

	posts   atomic.Int64  // under way
	full    atomic.Bool   // Redis' memory is over the limit
	wake    chan struct{} // capacity 1: a queue may have something to read
	dueWake chan struct{} // capacity 1: something was parked
	running atomic.Bool
	warned  sync.Map // what has been logged once
}

// New makes a broker. It does not speak to Redis yet. Errors: errs.Invalid.
func New(rdb redis.UniversalClient, triggers []Trigger, o Options) (*Broker, error) {
	setDefault(&o.Broker, "default")
	setDefault(&o.Concurrency, defaultConcurrency)
	setDefault(&o.Backlog, defaultBacklog)
	setDefault(&o.Recent, defaultRecent)
	setDefault(&o.Dead, defaultDead)
	setDefault(&o.MaxPosts, defaultPosts)
	setDefault(&o.MaxEvent, event.MaxEvent)
	setDefault(&o.Hops, defaultHops)
	setDefault(&o.Timeout, defaultTimeout)
	setDefault(&o.Grace, defaultGrace)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Consumer == "" {
		o.Consumer, _ = os.Hostname()
	}
	b := &Broker{
		o: o, rdb: rdb, log: o.Log, client: newTransport(o.Transport, o.Concurrency), m: newMetrics(o.Registry),
		consumer: o.Consumer + "-" + event.NewID()[:8],
		wake:     make(chan struct{}, 1), dueWake: make(chan struct{}, 1),
	}
	b.commit = newCommitter(rdb, b.consumer, b.m.committed)
	seen := map[string]bool{}
	var sinks []*queue
	for i := range triggers {
		t := triggers[i]
		if t.Broker != o.Broker {
			o.Log.Warn("a Trigger of another broker is left out", "trigger", t.String(), "broker", t.Broker)
			continue
		}
		if seen[t.String()] {
			return nil, errs.New(errs.Invalid, "Trigger %s is there twice", t)
		}
		seen[t.String()] = true
		for _, d := range []*Destination{&t.Subscriber, t.Delivery.DeadLetter} {
			if d != nil && d.Ref != nil && o.Resolve == nil {
				return nil, errs.New(errs.Invalid, "Trigger %s: refs cannot be resolved here, use a uri", t)
			}
		}
		q := b.newQueue(t.String(), t.Subscriber, t.Delivery)
		q.filter = t.Filter
		if t.Delivery.DeadLetter != nil {
			q.sink = b.newQueue(t.String()+sinkSuffix, *t.Delivery.DeadLetter, t.Delivery)
			q.sink.isSink = true
			sinks = append(sinks, q.sink)
		}
		b.triggers = append(b.triggers, q)
	}
	if len(b.triggers) > maxTriggers {
		return nil, errs.New(errs.Invalid, "%d Triggers, at most %d", len(b.triggers), maxTriggers)
	}
	b.queues = append(append(b.queues, b.triggers...), sinks...)
	return b, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Run delivers until ctx ends. Then, in this order: nothing more is taken into memory; deliveries under way
// may end, for Options.Grace; what was done is written down; what is left is moved where any broker takes
// it. Stop the server of Handler before ctx ends; what it accepts later is taken over by another broker, or
// delivered by the next Run. Errors: errs.Conflict when it
// runs already; Redis' absence is no error, Run waits for it.
func (b *Broker) Run(ctx context.Context) error {
	if !b.running.CompareAndSwap(false, true) {
		return errs.New(errs.Conflict, "the broker runs already")
	}
	defer b.running.Store(false)
	// Deliveries outlive ctx by the grace.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)

	var workers sync.WaitGroup
	stopped := make(chan struct{})
	for _, q := range b.queues {
		q.breaker.reset()
		q.setOpen(true)
		q.recheck(true)
		for range b.o.Concurrency {
			workers.Go(func() { b.work(work, q, stopped) })
		}
	}
	var loops sync.WaitGroup
	loops.Go(func() { b.dispatch(ctx) })
	loops.Go(func() { b.due(ctx) })
	loops.Go(func() { b.tend(ctx) })
	loops.Go(func() { b.announce(ctx) })

	<-ctx.Done()
	for _, q := range b.queues {
		q.setOpen(false)
	}
	loops.Wait()
	close(stopped)
	grace := time.AfterFunc(b.o.Grace, func() { cancel(fmt.Errorf("the broker ends")) })
	workers.Wait()
	grace.Stop()
	end, endCancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer endCancel()
	b.commit.drain(end)
	for _, q := range b.queues {
		q.empty()
	}
	b.leave(end)
	b.log.Info("broker ended", "cause", context.Cause(ctx))
	return nil
}

// announce says, once Redis answers, how durable accepted events are.
func (b *Broker) announce(ctx context.Context) {
	for ctx.Err() == nil {
		d, err := GetDurability(ctx, b.rdb)
		if err == nil {
			level := slog.LevelInfo
			if !d.Strong() {
				level = slog.LevelWarn
			}
			b.log.Log(ctx, level, d.String())
			b.announceOrphans(ctx)
			return
		}
		b.once("redis", "redis does not answer; posts are answered 503 until it does", "error", err)
		sleep(ctx, pollPeriod)
	}
}

// announceOrphans names queues that hold events and that no Trigger of this broker serves: of a Trigger
// that was removed, or of another broker's.
func (b *Broker) announceOrphans(ctx context.Context) {
	states, err := Queues(ctx, b.rdb)
	if err != nil {
		return
	}
	mine := map[string]bool{}
	for _, q := range b.queues {
		mine[strings.TrimSuffix(q.name, sinkSuffix)] = true
	}
	for _, s := range states {
		if n := s.Waiting + s.Parked; n > 0 && !mine[s.Trigger] {
			b.log.Warn("events wait for a Trigger that this broker does not have", "trigger", s.Trigger, "events", n)
		}
	}
}

// once logs a warning of a kind one time.
func (b *Broker) once(kind, msg string, args ...any) {
	if _, done := b.warned.LoadOrStore(kind, true); !done {
		b.log.Warn(msg, args...)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
