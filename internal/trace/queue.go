package trace

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// writer takes spans somewhere. What it does not take is lost, and counted.
type writer interface {
	write(ctx context.Context, spans []sdk.ReadOnlySpan) error
	name() string
}

// queue holds ended spans until they are written, in batches, by one goroutine. What does not fit is dropped and
// counted. It is the SDK's processor.
type queue struct {
	to  []writer
	log *slog.Logger

	mu      sync.Mutex
	spans   []sdk.ReadOnlySpan
	closed  bool
	wake    chan struct{} // a batch is full, or somebody asks
	ended   chan struct{} // closed by Shutdown
	done    chan struct{} // closed when run has returned
	began   sync.Once     // the goroutine starts with the first span: most short processes need none
	endOnce sync.Once

	dropped atomic.Int64
	written *prometheus.CounterVec
	lost    *prometheus.CounterVec
	failing []bool // by writer; run's own
}

var _ sdk.SpanProcessor = (*queue)(nil)

func newQueue(to []writer, log *slog.Logger, reg prometheus.Registerer) *queue {
	q := &queue{
		to: to, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{}), failing: make([]bool, len(to)),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmbed_trace_spans_total", Help: "Spans written, by where."}, []string{"to"}),
		lost:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmbed_trace_spans_lost_total", Help: "Spans lost, by where: queue (too many waited), or the writer that did not take them."}, []string{"to"}),
	}
	if reg != nil {
		reg.MustRegister(q.written, q.lost)
	}
	return q
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor: it takes a span, or counts it as lost.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	if len(q.to) == 0 {
		return
	}
	q.mu.Lock()
	if q.closed || len(q.spans) >= maxQueue {
		q.mu.Unlock()
		q.dropped.Add(1)
		q.lost.WithLabelValues("queue").Inc()
		return
	}
	q.spans = append(q.spans, s)
	full := len(q.spans) >= maxBatch
	q.mu.Unlock()
	q.began.Do(func() { go q.run() })
	if full {
		q.poke()
	}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []sdk.ReadOnlySpan {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.spans), maxBatch)
	out := q.spans[:n:n]
	q.spans = q.spans[n:]
	if len(q.spans) == 0 {
		q.spans = nil
	}
	return out
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.spans)
}

func (q *queue) run() {
	defer close(q.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-q.wake:
		case <-q.ended:
			over = true
		}
		for batch := q.take(); len(batch) > 0; batch = q.take() {
			q.write(batch)
		}
	}
}

func (q *queue) write(batch []sdk.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(context.Background(), max(writeTimeout, otlpTimeout))
	defer cancel()
	for i, w := range q.to {
		err := w.write(ctx, batch)
		if err == nil {
			q.failing[i] = false
			q.written.WithLabelValues(w.name()).Add(float64(len(batch)))
			continue
		}
		q.lost.WithLabelValues(w.name()).Add(float64(len(batch)))
		if !q.failing[i] {
			q.failing[i] = true
			q.log.Info("spans are not taken; they are lost until they are", "to", w.name(), "err", err)
		}
	}
}

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(ctx context.Context) error {
	q.poke()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for q.waiting() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Shutdown implements sdk.SpanProcessor: what waits is written until ctx ends.
func (q *queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.began.Do(func() { close(q.done) }) // there was no span
	q.endOnce.Do(func() { close(q.ended) })
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
