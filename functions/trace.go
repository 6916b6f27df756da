package functions

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/trace"
)

// maxWait is the longest time that an event can have been with the broker and its way there be shown: what claims more
// has a clock that is wrong, or was said long after it happened.
const maxWait = time.Hour

// begin begins the hop of one event. Its trace is that of the event; a change event and a request that come without one
// begin one, made of source and id, so that all deliveries of the event share it. The broker's part of the way is shown
// with it, whoever the broker is: from when it took the event (the embedded broker says so, else the event's time) to
// now. The hop is recorded when the function does something because of the event, or fails.
func (h *handler) begin(ctx context.Context, r *http.Request, e *ce.Event, began time.Time) (context.Context, *trace.Hop) {
	t := h.o.Trace
	if t == nil || untraced(e.Type()) {
		return ctx, nil
	}
	t = t.Named(h.e.Name)
	change := strings.HasPrefix(e.Type(), "dev.knative.apiserver.")
	w := trace.Work{
		Name: "process " + e.Type(), Kind: trace.Consumer, Start: began, Parent: parentOf(r.Header, e, change),
		Attrs: append(event.TraceAttrs(e), trace.String("messaging.operation.type", "process"), trace.String("faas.name", h.e.Name), trace.String("faas.trigger", "pubsub")),
	}
	if change || strings.HasSuffix(e.Type(), ".requested.v1") {
		w.Derived, w.Adopts = []string{e.Source(), e.ID()}, change
		switch event.Extension(*e, event.ExtKind) {
		case v1alpha1.KindDevice, v1alpha1.KindRevision, v1alpha1.KindModule:
			w.Ambient = true // there are many, and most change because something else did
		}
	}
	taken, attempt, embedded := brokerSays(r.Header)
	if !embedded {
		taken = e.Time()
	}
	if wait := began.Sub(taken); !taken.IsZero() && wait >= 0 && wait < maxWait {
		s := &trace.Stage{Component: "broker", Name: "deliver " + e.Type(), Kind: trace.Internal, Start: taken, End: began,
			Attrs: append(event.TraceAttrs(e), trace.String("messaging.operation.type", "deliver"), trace.String("messaging.destination.name", h.e.Name))}
		if attempt > 1 {
			s.Attrs = append(s.Attrs, trace.Int("wasmbed.attempt", attempt))
		}
		w.Before = s
	}
	return t.Begin(ctx, w)
}

// untraced: batches of a fleet's telemetry are nobody's request, and too many.
func untraced(typ string) bool {
	return typ == event.TelemetryReceived || typ == event.LogsReceived || typ == event.AuditRecorded
}

// parentOf is the traceparent that an event's handling goes on with: the event's own, which the CloudEvents extension
// says is where it began; HTTP's, when that is a hop of the same trace, or of one that somebody records. A change event's
// is not taken when nobody records it: brokers make such without being asked, anew for each delivery.
func parentOf(h http.Header, e *ce.Event, change bool) string {
	own := event.Extension(*e, event.ExtTraceParent)
	c, ok := trace.Parse(own)
	if ok && (c.IsSampled() || !change) {
		if http := h.Get("Traceparent"); trace.ID(http) == c.TraceID().String() && c.IsSampled() {
			if p, ok := trace.Parse(http); ok && p.IsSampled() {
				return http
			}
		}
		return own
	}
	if p, ok := trace.Parse(h.Get("Traceparent")); ok && p.IsSampled() {
		return h.Get("Traceparent")
	}
	return ""
}

// brokerSays reads what the embedded broker says in tracestate: "wasmbed=<accepted, Unix ms>-<attempt>".
func brokerSays(h http.Header) (taken time.Time, attempt int, ok bool) {
	for member := range strings.SplitSeq(h.Get("Tracestate"), ",") {
		v, found := strings.CutPrefix(strings.TrimSpace(member), "wasmbed=")
		if !found {
			continue
		}
		ms, n, _ := strings.Cut(v, "-")
		at, err := strconv.ParseInt(ms, 10, 64)
		attempt, err2 := strconv.Atoi(n)
		if err != nil || err2 != nil || at <= 0 {
			return time.Time{}, 0, false
		}
		return time.UnixMilli(at), attempt, true
	}
	return time.Time{}, 0, false
}

// traceGrace is how long spans may take to be written at the end.
const traceGrace = time.Second

// endTrace has the spans written that wait. Said again, it does nothing.
func endTrace(t *trace.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), traceGrace)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Info("spans were lost", "err", err)
	}
}
