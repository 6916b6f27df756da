package trace

import (
	"context"
	"sync"
	"time"

	otel "go.opentelemetry.io/otel/trace"
)

// Work says what a Hop is.
type Work struct {
	Name  string
	Kind  otel.SpanKind
	Start time.Time // zero: now
	Attrs []Attr

	// Parent is the traceparent that the work came with.
	Parent string
	// Derived begins a trace when there is no Parent: out of these words, so that work that comes again is in the
	// same one. Empty: no trace is begun.
	Derived []string
	// Adopts says that the trace may still be replaced by a better one (Adopt) before anything was recorded.
	Adopts bool
	// Ambient says that nobody asked for a trace that is begun here: it is only within the pace of such.
	Ambient bool
	// Before is a stage that the work has behind it.
	Before *Stage
}

// Stage is a part of the way that somebody else went and that we know the times of.
type Stage struct {
	Component, Name string
	Kind            otel.SpanKind
	Start, End      time.Time
	Attrs           []Attr
}

// Hop is a piece of work that is recorded once it has an effect. Nil is none. Safe for concurrent use.
type Hop struct {
	t *Tracer
	w Work

	mu     sync.Mutex
	parent otel.SpanContext
	first  otel.SpanContext // parent before Adopt
	muted  bool             // not recorded
	span   otel.Span        // nil: not recorded yet
}

type hopKey struct{}

// Begin begins a piece of work. The context carries the hop. Nothing is recorded yet, and when the trace is not
// sampled never will be: then the hop is nil and the context as it was.
func (t *Tracer) Begin(ctx context.Context, w Work) (context.Context, *Hop) {
	if t == nil {
		return ctx, nil
	}
	parent, ok := Parse(w.Parent)
	switch {
	case ok && !parent.IsSampled():
		return ctx, nil
	case ok:
		w.Ambient, w.Adopts = false, false
	case len(w.Derived) == 0:
		return ctx, nil
	default:
		parent = derive(w.Derived...)
	}
	if w.Start.IsZero() {
		w.Start = t.now()
	}
	h := &Hop{t: t, w: w, parent: parent, first: parent}
	return context.WithValue(ctx, hopKey{}, h), h
}

// open records that the work is going on, and returns its context; not valid: it is not recorded.
func (h *Hop) open() otel.SpanContext {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.span == nil && !h.muted {
		h.muted = h.w.Ambient && !h.t.allow()
	}
	if h.muted {
		return otel.SpanContext{}
	}
	if h.span == nil {
		parent := h.parent
		if b := h.w.Before; b != nil {
			s := h.t.Named(b.Component).span(context.Background(), parent, b.Name, b.Kind, b.Start, b.Attrs)
			s.End(otel.WithTimestamp(b.End))
			parent = s.SpanContext()
		}
		h.span = h.t.span(context.Background(), parent, h.w.Name, h.w.Kind, h.w.Start, h.w.Attrs)
	}
	return h.span.SpanContext()
}

// End ends the work. With an error, or when effect says that it had one, it is recorded in any case.
func (h *Hop) End(effect bool, err error, attrs ...Attr) {
	if h == nil {
		return
	}
	if effect || err != nil {
		h.open()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.span == nil {
		h.muted = true
		return
	}
	h.span.SetAttributes(attrs...)
	failed(h.span, err)
	h.span.End(otel.WithTimestamp(h.t.now()))
}

// Traceparent of the work, which is recorded then; "" when it is not.
func (h *Hop) Traceparent() string {
	if h == nil {
		return ""
	}
	return Format(h.open())
}

// Adopts reports whether the work in ctx may still change its trace.
func Adopts(ctx context.Context) bool {
	h, _ := ctx.Value(hopKey{}).(*Hop)
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.w.Adopts && h.span == nil
}

// Adopt puts the work in ctx into a trace that was found out later, when it came without one.
func Adopt(ctx context.Context, traceparent string) {
	h, _ := ctx.Value(hopKey{}).(*Hop)
	c, ok := Parse(traceparent)
	if h == nil || !ok || !c.IsSampled() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.w.Adopts && h.span == nil {
		h.parent, h.w.Ambient, h.w.Adopts, h.muted = c, false, false, false
	}
}

// Child begins a part of the work in ctx, which is recorded then. Without a hop in ctx it is nil, and costs nothing.
func Child(ctx context.Context, name string, kind otel.SpanKind, attrs ...Attr) (context.Context, *Active) {
	h, _ := ctx.Value(hopKey{}).(*Hop)
	if h == nil {
		return ctx, nil
	}
	parent := otel.SpanContextFromContext(ctx)
	if !parent.IsValid() {
		if parent = h.open(); !parent.IsValid() {
			return ctx, nil
		}
	}
	return h.child(ctx, parent, name, kind, attrs)
}

func (h *Hop) child(ctx context.Context, parent otel.SpanContext, name string, kind otel.SpanKind, attrs []Attr) (context.Context, *Active) {
	s := h.t.span(ctx, parent, name, kind, time.Time{}, attrs)
	return otel.ContextWithSpan(ctx, s), &Active{h.t, s}
}

// Traced reports whether there is a hop in ctx, so that who would have to work for the words of a Child can save that.
func Traced(ctx context.Context) bool { return ctx.Value(hopKey{}) != nil }

// Of is the traceparent that what follows from the work in ctx carries on; "" when there is none, or it is not recorded.
func Of(ctx context.Context) string {
	h, _ := ctx.Value(hopKey{}).(*Hop)
	if h == nil {
		return ""
	}
	if c := otel.SpanContextFromContext(ctx); c.IsValid() {
		return Format(c)
	}
	return Format(h.open())
}

// Publish begins the sending of something that carries a traceparent already: its own trace goes on, when it is
// another than the one that the work in ctx came with. Nil as with Child.
func Publish(ctx context.Context, has, name string, attrs ...Attr) (context.Context, *Active) {
	h, _ := ctx.Value(hopKey{}).(*Hop)
	if h == nil {
		return ctx, nil
	}
	if c, ok := Parse(has); ok {
		h.mu.Lock()
		other := c.TraceID() != h.parent.TraceID() && c.TraceID() != h.first.TraceID()
		h.mu.Unlock()
		if other {
			return h.child(ctx, c.WithTraceFlags(otel.FlagsSampled), name, Producer, attrs)
		}
	}
	return Child(ctx, name, Producer, attrs...)
}
