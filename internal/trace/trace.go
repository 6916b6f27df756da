// Package trace records the way of a piece of work through the processes: spans of OpenTelemetry, carried by W3C
// traceparents, kept for an hour in Redis and sent on by OTLP when the environment names a collector.
//
// A Tracer is one component's. Work begins with a Hop (Tracer.Begin), which costs next to nothing and is recorded
// only when it has an effect: when a child is opened in it (Child), when it is asked for its traceparent (Of), or when
// it fails. A nil Tracer and a context without a Hop do nothing, so whoever works need not know.
//
// Sampling is decided where a trace begins and carried in the flags: what is not sampled costs a look at them.
// Nothing here blocks or fails the work: spans go through a bounded queue, and what does not fit is counted.
package trace

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"wasmbed.io/wasmbed/internal/errs"
)

// Attributes that the store gives a meaning of its own; the others are OpenTelemetry's semantic conventions.
const (
	keyComponent = attribute.Key("wasmbed.component")
	keyNamespace = attribute.Key("wasmbed.namespace")
	keySubject   = attribute.Key("wasmbed.subject")
	keyMark      = attribute.Key("wasmbed.mark")
	keyEvent     = attribute.Key("cloudevents.event_id")
)

// Kinds of spans.
const (
	Internal = otel.SpanKindInternal
	Server   = otel.SpanKindServer
	Client   = otel.SpanKindClient
	Producer = otel.SpanKindProducer
	Consumer = otel.SpanKindConsumer
)

// Attr is one attribute.
type Attr = attribute.KeyValue

// String makes an attribute; a long value is cut.
func String(key, value string) Attr { return attribute.String(key, clip(value, maxValue)) }

// Int makes an attribute.
func Int(key string, value int) Attr { return attribute.Int(key, value) }

// Namespace says whose the span is: who may read there may read it.
func Namespace(ns string) Attr { return keyNamespace.String(clip(ns, maxValue)) }

// Subject says what the span is about: namespace/name.
func Subject(s string) Attr { return keySubject.String(clip(s, maxValue)) }

// Mark makes the trace the last one under a name, by which it can be found.
func Mark(m string) Attr { return keyMark.String(clip(m, maxMark)) }

// Event is the id of the CloudEvent that the span is about; the trace can be found by it.
func Event(id string) Attr { return keyEvent.String(clip(id, maxValue)) }

// Options of a Tracer.
type Options struct {
	Component string                // shown with each span: gateway, api, deploy …
	Instance  string                // of this process; default: the host's name
	Redis     redis.UniversalClient // nil: nothing is kept
	Registry  prometheus.Registerer // nil: nothing is counted for others
	Log       *slog.Logger
	Now       func() time.Time
	// Getenv gives OTEL_EXPORTER_OTLP_ENDPOINT and its kin; nil: os.Getenv.
	Getenv func(string) string
}

// Tracer records what one component does. Nil records nothing. Safe for concurrent use.
type Tracer struct {
	component string
	*core
}

// core is what the components of a process share.
type core struct {
	now      func() time.Time
	rdb      redis.UniversalClient // nil: nothing is kept
	queue    *queue
	provider *sdk.TracerProvider
	otel     otel.Tracer

	mu      sync.Mutex
	ambient *rate.Limiter
}

// New makes a tracer and starts its writer; Close ends it. It connects to nothing yet. Errors: Invalid, for an OTLP
// endpoint that is none.
func New(o Options) (*Tracer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Instance == "" {
		o.Instance, _ = os.Hostname() // without a name it is shown without
	}
	var to []writer
	if o.Redis != nil {
		to = append(to, newStore(o.Redis, o.Instance, o.Now))
	}
	out, err := newOTLP(o.Getenv, o.Instance)
	if err != nil {
		return nil, err
	}
	if out != nil {
		to = append(to, out)
	}
	q := newQueue(to, o.Log, o.Registry)
	p := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), // by the flags, before a span is made
		sdk.WithResource(resource.Empty()),
		sdk.WithRawSpanLimits(sdk.SpanLimits{AttributeValueLengthLimit: maxMark, AttributeCountLimit: maxAttributes, EventCountLimit: 4, LinkCountLimit: 4, AttributePerEventCountLimit: 4, AttributePerLinkCountLimit: 4}),
		sdk.WithSpanProcessor(q))
	c := &core{now: o.Now, rdb: o.Redis, queue: q, provider: p, otel: p.Tracer("wasmbed.io/wasmbed"), ambient: rate.NewLimiter(ambientPerSecond, ambientBurst)}
	return &Tracer{o.Component, c}, nil
}

// Named is the tracer of another component of the same process.
func (t *Tracer) Named(component string) *Tracer {
	if t == nil {
		return nil
	}
	return &Tracer{component, t.core}
}

// Close writes what waits, until ctx ends. Errors: Deadline.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return errs.New(errs.Deadline, "spans were not written: %w", err)
	}
	return nil
}

// Flush has what waits written soon, rather than in company.
func (t *Tracer) Flush() {
	if t != nil {
		t.queue.poke()
	}
}

// allow reports whether a trace that nobody asked for may begin now.
func (t *Tracer) allow() bool { return t.ambient.AllowN(t.now(), 1) }

func (t *Tracer) span(ctx context.Context, parent otel.SpanContext, name string, kind otel.SpanKind, start time.Time, attrs []Attr) otel.Span {
	ctx = otel.ContextWithSpanContext(ctx, parent)
	o := []otel.SpanStartOption{otel.WithSpanKind(kind), otel.WithAttributes(keyComponent.String(t.component)), otel.WithAttributes(attrs...)}
	if !start.IsZero() {
		o = append(o, otel.WithTimestamp(start))
	} else {
		o = append(o, otel.WithTimestamp(t.now()))
	}
	_, s := t.otel.Start(ctx, name, o...)
	return s
}

// Moment begins a trace with something that took no time and that nobody asked for, and returns its traceparent. Such
// traces are begun at a bounded pace: when one is not, the traceparent is one that nothing is recorded of.
func (t *Tracer) Moment(name string, attrs ...Attr) string {
	if t == nil || !t.allow() {
		return Fresh()
	}
	now := t.now()
	s := t.span(context.Background(), otel.SpanContext{}, name, Internal, now, attrs)
	s.End(otel.WithTimestamp(now))
	return Format(s.SpanContext())
}

// Active is a span that has begun. Nil is none.
type Active struct {
	t    *Tracer
	span otel.Span
}

// Start begins a span under a traceparent. It is nil when that is not sampled, or nothing is recorded. start zero: now.
func (t *Tracer) Start(traceparent, name string, kind otel.SpanKind, start time.Time, attrs ...Attr) *Active {
	if t == nil {
		return nil
	}
	c, ok := Parse(traceparent)
	if !ok || !c.IsSampled() {
		return nil
	}
	return &Active{t, t.span(context.Background(), c, name, kind, start, attrs)}
}

// Traceparent of the span; "" for none.
func (a *Active) Traceparent() string {
	if a == nil {
		return ""
	}
	return Format(a.span.SpanContext())
}

// Set adds attributes.
func (a *Active) Set(attrs ...Attr) {
	if a != nil {
		a.span.SetAttributes(attrs...)
	}
}

// End ends the span. An error is its status.
func (a *Active) End(err error) {
	if a != nil {
		a.EndAt(a.t.now(), err)
	}
}

// EndAt is End at a time.
func (a *Active) EndAt(at time.Time, err error) {
	if a == nil {
		return
	}
	failed(a.span, err)
	a.span.End(otel.WithTimestamp(at))
}

func failed(s otel.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, clip(err.Error(), maxValue))
		if c := errs.CodeOf(err); c != "" {
			s.SetAttributes(attribute.String("error.type", string(c)))
		}
	}
}

// clip cuts s between runes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
